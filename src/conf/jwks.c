/* jwks.c: the key set of jwt.jwks (RFC 7517, RFC 7518 6). Called by jwt.c. */
#include "base/base64url.h"
#include "base/json.h"
#include "conf/jwt.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/param_build.h>

#define COORDINATE_BYTES 32 /* of P-256, and all of an Ed25519 key */
#define EXPONENT_BYTES   8  /* OpenSSL's bound for large keys */
#define KID_BYTES_MAX    256

/* at NULL: it is absent, or no text. */
static struct text member(yyjson_val *jwk, const char *name)
{
    yyjson_val *v = yyjson_obj_get(jwk, name);
    return yyjson_is_str(v) ? (struct text){ yyjson_get_str(v), yyjson_get_len(v) } : TEXT_NONE;
}

/* Bytes of a member in base64url, in scratch; at NULL: it is absent, or none. */
static struct text member_bytes(const struct jwt_source *s, yyjson_val *jwk, const char *name)
{
    struct text t = member(jwk, name);
    size_t len;
    uint8_t *out = t.at != NULL ? arena_alloc(&s->l->scratch, BASE64URL_BYTES(t.len)) : NULL;
    if (out == NULL || !base64url_read(t, out, &len) || len == 0)
        return TEXT_NONE;
    return (struct text){ (const char *)out, len };
}

static EVP_PKEY *key_from(const char *type, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *make = params != NULL ? EVP_PKEY_CTX_new_from_name(NULL, type, NULL) : NULL;
    if (make == NULL || EVP_PKEY_fromdata_init(make) != 1 || EVP_PKEY_fromdata(make, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(make);
    OSSL_PARAM_free(params);
    return key;
}

static EVP_PKEY *rsa_key(struct text n, struct text e)
{
    EVP_PKEY *key = NULL;
    BIGNUM *bn = BN_bin2bn((const unsigned char *)n.at, (int)n.len, NULL), *be = BN_bin2bn((const unsigned char *)e.at, (int)e.len, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    if (bn != NULL && be != NULL && build != NULL && OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, bn) == 1 &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, be) == 1)
        key = key_from("RSA", build);
    OSSL_PARAM_BLD_free(build);
    BN_free(bn);
    BN_free(be);
    return key;
}

static EVP_PKEY *ec_key(struct text x, struct text y)
{
    unsigned char point[1 + 2 * COORDINATE_BYTES] = { POINT_CONVERSION_UNCOMPRESSED };
    EVP_PKEY *key = NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    memcpy(point + 1, x.at, COORDINATE_BYTES);
    memcpy(point + 1 + COORDINATE_BYTES, y.at, COORDINATE_BYTES);
    if (build != NULL && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, SN_X9_62_prime256v1, 0) == 1 &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point) == 1)
        key = key_from("EC", build);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static bool read_rsa(const struct jwt_source *s, yyjson_val *jwk, const char *kid)
{
    struct text n = member_bytes(s, jwk, "n"), e = member_bytes(s, jwk, "e");
    if (n.at == NULL || e.at == NULL)
        return jwt_unfit(s, "needs n and e in base64url");
    if (n.len > JWT_RSA_BITS_MAX / 8 || e.len > EXPONENT_BYTES)
        return jwt_unfit(s, say(s->l, "has an n of more than %d bits, or an e of more than 64", JWT_RSA_BITS_MAX));
    return jwt_keep_public(s, kid, rsa_key(n, e));
}

static bool read_ec(const struct jwt_source *s, yyjson_val *jwk, const char *kid)
{
    struct text x = member_bytes(s, jwk, "x"), y = member_bytes(s, jwk, "y");
    if (x.len != COORDINATE_BYTES || y.len != COORDINATE_BYTES) /* RFC 7518 6.2.1.2 */
        return jwt_unfit(s, "needs x and y of 32 bytes in base64url");
    return jwt_keep_public(s, kid, ec_key(x, y));
}

static bool read_okp(const struct jwt_source *s, yyjson_val *jwk, const char *kid)
{
    struct text x = member_bytes(s, jwk, "x");
    if (x.len != COORDINATE_BYTES)
        return jwt_unfit(s, "needs x of 32 bytes in base64url");
    return jwt_keep_public(s, kid, EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, (const unsigned char *)x.at, x.len));
}

static bool read_oct(const struct jwt_source *s, yyjson_val *jwk, const char *kid)
{
    struct text k = member_bytes(s, jwk, "k");
    return k.at != NULL ? jwt_keep_secret(s, kid, k) : jwt_unfit(s, "needs k in base64url");
}

static const struct {
    const char *kty, *crv; /* crv NULL: the kind has none */
    enum conf_jwt_alg alg;
    bool (*read)(const struct jwt_source *s, yyjson_val *jwk, const char *kid);
} kinds[] = {
    { "RSA", NULL, CONF_JWT_RS256, read_rsa },
    { "EC", "P-256", CONF_JWT_ES256, read_ec },
    { "OKP", "Ed25519", CONF_JWT_EDDSA, read_okp },
    { "oct", NULL, CONF_JWT_HS256, read_oct },
};

static bool may_verify(yyjson_val *jwk)
{
    yyjson_val *use = yyjson_obj_get(jwk, "use"), *ops = yyjson_obj_get(jwk, "key_ops"), *op;
    size_t i, count;
    if (use != NULL && !yyjson_equals_str(use, "sig"))
        return false;
    yyjson_arr_foreach(ops, i, count, op)
        if (yyjson_equals_str(op, "verify"))
            return true;
    return ops == NULL;
}

static bool keep_kid(const struct jwt_source *s, yyjson_val *jwk, const char **out)
{
    struct text kid = member(jwk, "kid");
    *out = NULL;
    if (yyjson_obj_get(jwk, "kid") == NULL)
        return true;
    if (kid.at == NULL || kid.len == 0 || kid.len > KID_BYTES_MAX || memchr(kid.at, 0, kid.len) != NULL)
        return jwt_unfit(s, say(s->l, "has a kid that is no text of 1 to %d bytes", KID_BYTES_MAX));
    *out = arena_copy(&s->l->conf->arena, kid);
    return *out != NULL || refuse_memory(s->l);
}

/* A set may also have keys for others: of kinds and uses that are not ours they are passed over (RFC 7517 5). */
static bool read_jwk(const struct jwt_source *s, yyjson_val *jwk)
{
    const char *kid;
    if (!yyjson_is_obj(jwk) || member(jwk, "kty").at == NULL)
        return jwt_unfit(s, "is no key: an object with kty");
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        yyjson_val *alg = yyjson_obj_get(jwk, "alg");
        if (!text_eq(member(jwk, "kty"), text_of(kinds[i].kty)) || (kinds[i].crv != NULL && !text_eq(member(jwk, "crv"), text_of(kinds[i].crv))))
            continue;
        if (!may_verify(jwk) || (alg != NULL && !yyjson_equals_str(alg, conf_jwt_alg_names[kinds[i].alg])))
            return true;
        if (yyjson_obj_get(jwk, "d") != NULL)
            return jwt_unfit(s, "is a private key (it has d); weir only verifies, and takes the public one");
        return keep_kid(s, jwk, &kid) && kinds[i].read(s, jwk, kid);
    }
    return true;
}

static bool read_set(const struct jwt_source *whole, struct text t)
{
    struct loading *l = whole->l;
    struct jwt_source s = *whole;
    yyjson_doc *doc;
    yyjson_val *object, *jwk;
    const char *why = "";
    size_t i, count;
    if (t.len == 0)
        return jwt_unfit(&s, "is empty");
    enum fail f = json_parse(&l->scratch, t, &doc, &why);
    if (f == OK)
        f = json_check_all_keys(doc, &object, &why);
    if (f != OK)
        return f == FAIL_NO_MEMORY ? refuse_memory(l) : jwt_unfit(&s, say(l, "is not JSON: %s", why));
    yyjson_val *keys = yyjson_obj_get(yyjson_doc_get_root(doc), "keys");
    if (!yyjson_is_arr(keys))
        return jwt_unfit(&s, "is no key set: an object with keys, a list");
    yyjson_arr_foreach(keys, i, count, jwk) {
        s.which = say(l, "keys[%zu]", i);
        if (!read_jwk(&s, jwk))
            return false;
    }
    return true;
}

bool jwt_read_set(struct loading *l, const struct place *place, const char *path)
{
    const struct jwt_source s = { l, "jwt.jwks", place, "the file" };
    struct buf content;
    uint32_t before = l->conf->jwt.verify_count;
    bool is_ok = jwt_source_open(&s, path, &content) && read_set(&s, buf_text(&content));
    if (is_ok && l->conf->jwt.verify_count == before)
        is_ok = jwt_unfit(&s, "holds no key that tokens could be verified by: RSA, EC on P-256, OKP on Ed25519 or oct, for signatures");
    buf_fini(&content);
    return is_ok;
}
