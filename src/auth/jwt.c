/* jwt.c: a signed token (JWS compact, RFC 7515; RFC 7518 3): is it whole, and did one of the configured keys sign it? Called by auth.c, on the loop's stack.
   After RFC 8725: a key has one algorithm, and what the token says of it must agree; nothing but kid and alg is used of the header, and a kid is a name to
   compare, never a place to look. The payload is not read before the signature holds. */
#include "auth/inner.h"
#include "base/base64url.h"
#include "base/json.h"

#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#define SCRATCH_MAX  (256u << 10) /* the JSON tree of 8 KiB at its worst takes half */
#define HALF_BYTES   32           /* of a signature by ES256: r, then s */
#define DER_MAX      80           /* the same in DER takes 72 */

struct parts {
    struct text header, payload, signature;
    struct text what; /* was signed: header and payload with their dot */
};

/* What a header is asked for. */
struct header {
    enum conf_jwt_alg alg;
    struct text kid; /* at NULL: it names none */
};

static enum fail bad(const char **out_why, const char *why)
{
    *out_why = why;
    return FAIL_BAD_TOKEN;
}

bool jwt_has_shape(struct text t)
{
    unsigned dots = 0;
    for (size_t i = 0; i < t.len; i++)
        dots += t.at[i] == '.';
    return dots == 2;
}

static struct parts parts_of(struct text t)
{
    struct parts p;
    struct text rest = text_cut(t, '.', &p.header);
    p.signature = text_cut(rest, '.', &p.payload);
    p.what = (struct text){ t.at, p.header.len + 1 + p.payload.len };
    return p;
}

/* ---- JSON ---- */

/* An object in base64url. FAIL_NO_MEMORY; else whatever is wrong with it. */
static enum fail read_object(struct arena *a, struct text encoded, yyjson_val **out)
{
    const char *why;
    yyjson_doc *doc;
    yyjson_val *object;
    size_t len;
    uint8_t *bytes = arena_alloc(a, BASE64URL_BYTES(encoded.len));
    if (bytes == NULL)
        return FAIL_NO_MEMORY;
    if (!base64url_read(encoded, bytes, &len))
        return FAIL_BAD_TOKEN;
    enum fail f = json_parse(a, (struct text){ (const char *)bytes, len }, &doc, NULL);
    if (f == OK)
        f = json_check_all_keys(doc, &object, &why);
    if (f != OK)
        return f;
    *out = yyjson_doc_get_root(doc);
    return yyjson_is_obj(*out) ? OK : FAIL_BAD_TOKEN;
}

static enum fail read_header(struct arena *a, struct text encoded, struct header *out, const char **out_why)
{
    yyjson_val *root;
    enum fail f = read_object(a, encoded, &root);
    if (f != OK)
        return f == FAIL_NO_MEMORY ? f : bad(out_why, "The token's header is not a JSON object in base64url, each name in it once.");
    yyjson_val *alg = yyjson_obj_get(root, "alg"), *kid = yyjson_obj_get(root, "kid");
    if (yyjson_obj_get(root, "crit") != NULL)
        return bad(out_why, "The token asks for extensions (crit), of which none is known here.");
    if (kid != NULL && !yyjson_is_str(kid))
        return bad(out_why, "The token's kid is not a text.");
    out->kid = (struct text){ yyjson_get_str(kid), yyjson_get_len(kid) };
    for (out->alg = 0; out->alg < CONF_JWT_ALGS; out->alg++)
        if (yyjson_equals_str(alg, conf_jwt_alg_names[out->alg]))
            return OK;
    return bad(out_why, "The token's alg is not HS256, RS256, ES256 or EdDSA.");
}

/* ---- signatures ---- */

static enum fail verify_hmac(struct text secret, struct text what, struct text signature)
{
    unsigned char ours[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (HMAC(EVP_sha256(), secret.at, (int)secret.len, (const unsigned char *)what.at, what.len, ours, &len) == NULL)
        return FAIL_NO_MEMORY;
    return text_eq_secret(signature, (struct text){ (const char *)ours, len }) ? OK : FAIL_BAD_TOKEN;
}

/* r and s as OpenSSL wants them. */
static enum fail der_of(struct text signature, unsigned char der[DER_MAX], size_t *out_len)
{
    const unsigned char *raw = (const unsigned char *)signature.at;
    if (signature.len != 2 * HALF_BYTES)
        return FAIL_BAD_TOKEN;
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, HALF_BYTES, NULL), *s = BN_bin2bn(raw + HALF_BYTES, HALF_BYTES, NULL);
    int len = 0;
    if (pair != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* the pair's now */
        len = i2d_ECDSA_SIG(pair, &der);
    }
    ECDSA_SIG_free(pair);
    BN_free(r);
    BN_free(s);
    *out_len = (size_t)len;
    return len > 0 ? OK : FAIL_NO_MEMORY;
}

static enum fail verify_public(const struct conf_jwt_key *k, struct text what, struct text signature)
{
    unsigned char der[DER_MAX];
    enum fail f = OK;
    if (k->alg == CONF_JWT_ES256) {
        f = der_of(signature, der, &signature.len);
        signature.at = (const char *)der;
    }
    if (f != OK)
        return f;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int right = -1;
    bool is_ready = c != NULL && EVP_DigestVerifyInit(c, NULL, k->alg == CONF_JWT_EDDSA ? NULL : EVP_sha256(), NULL, k->public) == 1;
    if (is_ready) /* else there is no memory: the key is sound */
        right = EVP_DigestVerify(c, (const unsigned char *)signature.at, signature.len, (const unsigned char *)what.at, what.len);
    bool no_memory = right != 1 && (!is_ready || ERR_GET_REASON(ERR_peek_error()) == ERR_R_MALLOC_FAILURE); /* the first thing that went wrong */
    EVP_MD_CTX_free(c);
    return right == 1 ? OK : no_memory ? FAIL_NO_MEMORY : FAIL_BAD_TOKEN;
}

/* By the key's algorithm, whatever the token says of it. */
static enum fail verify(const struct conf_jwt_key *k, struct text what, struct text signature)
{
    ERR_clear_error();
    enum fail f = k->alg == CONF_JWT_HS256 ? verify_hmac(k->secret, what, signature) : verify_public(k, what, signature);
    ERR_clear_error();
    return f;
}

/* ---- keys ---- */

static const struct conf_jwt_key *key_named(const struct conf *conf, const struct header *h)
{
    for (uint32_t i = 0; i < conf->jwt.verify_count; i++) {
        const struct conf_jwt_key *k = &conf->jwt.verify[i];
        if (k->alg == h->alg && k->kid != NULL && text_eq(text_of(k->kid), h->kid))
            return k;
    }
    return NULL;
}

static unsigned keys_of(const struct conf *conf, enum conf_jwt_alg alg)
{
    unsigned count = 0;
    for (uint32_t i = 0; i < conf->jwt.verify_count; i++)
        count += conf->jwt.verify[i].alg == alg;
    return count;
}

/* The key that the token names; else each that has no name, of which there are CONF_JWT_UNNAMED_MAX at most; or the only one, if the token names none. */
static enum fail verify_by_any(const struct conf *conf, const struct header *h, struct text what, struct text signature, const char **out_why)
{
    const struct conf_jwt_key *named = h->kid.at != NULL ? key_named(conf, h) : NULL;
    bool is_only = h->kid.at == NULL && keys_of(conf, h->alg) == 1;
    enum fail f = FAIL_BAD_TOKEN;
    *out_why = "No key here has the token's kid and alg.";
    for (uint32_t i = 0; i < conf->jwt.verify_count && f == FAIL_BAD_TOKEN; i++) {
        const struct conf_jwt_key *k = &conf->jwt.verify[i];
        bool is_meant = named != NULL ? k == named : k->alg == h->alg && (k->kid == NULL || is_only);
        if (!is_meant)
            continue;
        *out_why = "The token's signature is wrong.";
        f = verify(k, what, signature);
    }
    return f;
}

/* ---- a token ---- */

static enum fail verify_parts(const struct conf *conf, struct arena *a, const struct parts *p, const char **out_why)
{
    struct header h;
    size_t len;
    uint8_t *signature = arena_alloc(a, BASE64URL_BYTES(p->signature.len));
    if (signature == NULL)
        return FAIL_NO_MEMORY;
    enum fail f = read_header(a, p->header, &h, out_why);
    if (f != OK)
        return f;
    if (!base64url_read(p->signature, signature, &len))
        return bad(out_why, "The token's signature is not base64url.");
    return verify_by_any(conf, &h, p->what, (struct text){ (const char *)signature, len }, out_why);
}

enum fail jwt_read(const struct conf *conf, struct text t, nanos wall, struct token **out, const char **out_why)
{
    struct parts p = parts_of(t);
    struct arena scratch;
    yyjson_val *root;
    arena_init(&scratch, NULL, 0, SCRATCH_MAX);
    enum fail f = verify_parts(conf, &scratch, &p, out_why);
    if (f == OK) {
        f = read_object(&scratch, p.payload, &root);
        if (f != OK && f != FAIL_NO_MEMORY)
            f = bad(out_why, "The token's payload is not a JSON object in base64url, each name in it once.");
    }
    if (f == OK)
        f = claims_read(conf, root, wall, out, out_why);
    arena_fini(&scratch);
    return f;
}
