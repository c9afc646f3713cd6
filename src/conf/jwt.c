/* jwt.c: what tokens are verified by: from the files of jwt.keys to keys that each know their one algorithm. Called by check.c, so that
   whatever cannot be used is refused with its place, before anything runs; the key set of jwt.jwks is read by jwks.c. Nothing public may become a secret: an issuer's
   public key, taken for the secret of HS256, would let everybody who has read it sign (RFC 8725 2.1). */
#include "conf/jwt.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#define SECRET_BYTES_MIN 32   /* RFC 7518 3.2: as long as the hash */
#define RSA_BITS_MIN     2048 /* RFC 7518 3.3 */

const char *const conf_jwt_alg_names[CONF_JWT_ALGS] = { "HS256", "RS256", "ES256", "EdDSA" };

bool jwt_unfit(const struct jwt_source *s, const char *what)
{
    ERR_clear_error();
    return refuse(s->l, s->place, "%s: %s %s", s->key, s->which, what);
}

/* ---- keys ---- */

static bool check_unnamed(const struct jwt_source *s, const struct conf_jwt_key *k)
{
    const struct conf *c = s->l->conf;
    unsigned unnamed = 0;
    for (uint32_t i = 0; i < c->jwt.verify_count; i++) {
        const struct conf_jwt_key *other = &c->jwt.verify[i];
        if (other->alg != k->alg)
            continue;
        unnamed += other->kid == NULL;
        if (k->kid != NULL && other->kid != NULL && strcmp(other->kid, k->kid) == 0)
            return jwt_unfit(s, say(s->l, "has the kid and the algorithm of an earlier one, %s", clipped(s->l, text_of(k->kid))));
    }
    if (k->kid == NULL && unnamed == CONF_JWT_UNNAMED_MAX)
        return jwt_unfit(s, say(s->l, "is one too many for %s without a kid; %d may be, as each is tried: name the others in jwt.jwks", conf_jwt_alg_names[k->alg],
                                CONF_JWT_UNNAMED_MAX));
    return true;
}

/* Takes k's public key over, also when it refuses. */
static bool keep(const struct jwt_source *s, struct conf_jwt_key k)
{
    struct conf *c = s->l->conf;
    bool is_ok = check_unnamed(s, &k);
    if (is_ok && c->jwt.verify_count == CONF_JWT_KEYS_MAX)
        is_ok = jwt_unfit(s, say(s->l, "is one key more than %d", CONF_JWT_KEYS_MAX));
    if (is_ok)
        c->jwt.verify[c->jwt.verify_count++] = k;
    else
        EVP_PKEY_free(k.public);
    return is_ok;
}

bool jwt_keep_secret(const struct jwt_source *s, const char *kid, struct text secret)
{
    if (secret.len < SECRET_BYTES_MIN)
        return jwt_unfit(s, say(s->l, "is a secret of %zu bytes; HS256 needs at least %d", secret.len, SECRET_BYTES_MIN));
    const char *copy = arena_copy(&s->l->conf->arena, secret);
    if (copy == NULL)
        return refuse_memory(s->l);
    return keep(s, (struct conf_jwt_key){ .kid = kid, .alg = CONF_JWT_HS256, .secret = { copy, secret.len } });
}

/* NULL, or why no token can be verified by it. */
static const char *judge(const struct jwt_source *s, EVP_PKEY *key, enum conf_jwt_alg *out_alg)
{
    char group[32] = "";
    int bits = EVP_PKEY_get_bits(key);
    if (EVP_PKEY_is_a(key, "RSA")) {
        *out_alg = CONF_JWT_RS256;
        if (bits < RSA_BITS_MIN || bits > JWT_RSA_BITS_MAX)
            return say(s->l, "is an RSA key of %d bits; %d to %d are taken", bits, RSA_BITS_MIN, JWT_RSA_BITS_MAX);
    } else if (EVP_PKEY_is_a(key, "EC")) {
        *out_alg = CONF_JWT_ES256;
        if (EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1 || strcmp(group, SN_X9_62_prime256v1) != 0)
            return say(s->l, "is a key on the curve %s; ES256 takes P-256", group[0] != 0 ? group : "?");
    } else if (EVP_PKEY_is_a(key, "ED25519")) {
        *out_alg = CONF_JWT_EDDSA;
    } else {
        return "is a key of a kind that is not taken; RSA, EC P-256 and Ed25519 are";
    }
    EVP_PKEY_CTX *check = EVP_PKEY_CTX_new(key, NULL);
    bool is_sound = check != NULL && EVP_PKEY_public_check(check) == 1; /* an exponent of 1 or a point off the curve would make signing easy for all */
    EVP_PKEY_CTX_free(check);
    return is_sound ? NULL : "is a key that is not sound";
}

/* Takes the key over. */
bool jwt_keep_public(const struct jwt_source *s, const char *kid, EVP_PKEY *key)
{
    struct conf_jwt_key k = { .kid = kid, .public = key };
    const char *why = key != NULL ? judge(s, key, &k.alg) : "holds a key that cannot be read";
    if (why == NULL)
        return keep(s, k);
    EVP_PKEY_free(key);
    return jwt_unfit(s, why);
}

/* ---- files of jwt.keys ---- */

static EVP_PKEY *key_of(const char *name, const unsigned char *der, long len)
{
    if (strcmp(name, PEM_STRING_PUBLIC) == 0)
        return d2i_PUBKEY(NULL, &der, len);
    if (strcmp(name, PEM_STRING_RSA_PUBLIC) == 0)
        return d2i_PublicKey(EVP_PKEY_RSA, NULL, &der, len);
    X509 *x = d2i_X509(NULL, &der, len);
    EVP_PKEY *key = x != NULL ? X509_get_pubkey(x) : NULL;
    X509_free(x);
    return key;
}

static bool keep_pem(const struct jwt_source *s, BIO *bio)
{
    char *name = NULL, *header = NULL, *more = NULL, *more_header = NULL;
    unsigned char *der = NULL, *more_der = NULL;
    long len, more_len;
    bool is_ok;
    if (PEM_read_bio(bio, &name, &header, &der, &len) != 1)
        return jwt_unfit(s, "holds PEM that cannot be read");
    if (strstr(name, "PRIVATE KEY") != NULL)
        is_ok = jwt_unfit(s, "holds a private key; weir only verifies, and takes the public one");
    else if (strcmp(name, PEM_STRING_PUBLIC) != 0 && strcmp(name, PEM_STRING_RSA_PUBLIC) != 0 && strcmp(name, PEM_STRING_X509) != 0)
        is_ok = jwt_unfit(s, "holds neither a public key nor a certificate");
    else
        is_ok = jwt_keep_public(s, NULL, key_of(name, der, len));
    if (is_ok && PEM_read_bio(bio, &more, &more_header, &more_der, &more_len) == 1) /* behind a certificate stands its authority, which signs no tokens */
        is_ok = jwt_unfit(s, "holds more than one key or certificate; give each its file");
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    OPENSSL_free(more);
    OPENSSL_free(more_header);
    OPENSSL_free(more_der);
    ERR_clear_error();
    return is_ok;
}

static bool is_der(const unsigned char *der, long len)
{
    const unsigned char *at = der, *again = der;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, len);
    X509 *x = key == NULL ? d2i_X509(NULL, &again, len) : NULL;
    bool is = key != NULL || x != NULL;
    EVP_PKEY_free(key);
    X509_free(x);
    ERR_clear_error();
    return is;
}

/* A public key without its PEM lines, as providers' consoles show it. */
static bool is_bare(struct loading *l, struct text t)
{
    unsigned char *der = arena_alloc(&l->scratch, t.len / 4 * 3 + 4);
    EVP_ENCODE_CTX *decode = EVP_ENCODE_CTX_new();
    int len = 0, rest = 0;
    bool is = false;
    if (der != NULL && decode != NULL) {
        EVP_DecodeInit(decode);
        is = EVP_DecodeUpdate(decode, der, &len, (const unsigned char *)t.at, (int)t.len) >= 0 && EVP_DecodeFinal(decode, der + len, &rest) == 1 &&
             is_der(der, len + rest);
    }
    EVP_ENCODE_CTX_free(decode);
    return is;
}

/* NULL, or what else the file is than a secret. */
static const char *no_secret(struct loading *l, struct text t)
{
    static const char *const ssh[] = { "ssh-", "ecdsa-sha2-", "sk-ssh-" };
    struct text first = text_trim(t);
    if (text_starts(first, TEXT("{")))
        return "is JSON; a key set belongs in jwt.jwks";
    for (size_t i = 0; i < ARRAY_LEN(ssh); i++)
        if (text_starts(first, text_of(ssh[i])))
            return "is a public key of SSH, and no secret; give it in PEM (ssh-keygen -e -m PKCS8)";
    if (is_der((const unsigned char *)t.at, (long)t.len) || is_bare(l, t))
        return "is a public key without PEM, and no secret; give it in PEM (-----BEGIN PUBLIC KEY-----)";
    return NULL;
}

static struct text without_line_end(struct text t)
{
    if (text_ends(t, TEXT("\n")))
        t.len -= text_ends(t, TEXT("\r\n")) ? 2 : 1;
    return t;
}

bool jwt_source_open(const struct jwt_source *s, const char *path, struct buf *content)
{
    buf_init_secret(content, CONF_INCLUDE_MAX);
    const char *what = say(s->l, path[0] == '/' ? "%s: " : "%s (from the working directory): ", s->key);
    return file_read(s->l, s->place, path, what, content);
}

static bool read_key(struct loading *l, const struct place *place, const char *path)
{
    const struct jwt_source s = { l, "jwt.keys", place, "the file" };
    struct buf content;
    bool is_ok = jwt_source_open(&s, path, &content);
    struct text t = buf_text(&content);
    if (is_ok && text_find(t, TEXT("-----BEGIN ")) >= 0) {
        BIO *bio = BIO_new_mem_buf(t.at, (int)t.len);
        is_ok = bio != NULL ? keep_pem(&s, bio) : refuse_memory(l);
        BIO_free(bio);
    } else if (is_ok) {
        const char *else_is = no_secret(l, t);
        is_ok = else_is == NULL ? jwt_keep_secret(&s, NULL, without_line_end(t)) : jwt_unfit(&s, else_is);
    }
    buf_fini(&content);
    return is_ok;
}

bool jwt_check(struct loading *l, const struct tree *section)
{
    struct conf *c = l->conf;
    if (c->jwt.keys.count == 0 && c->jwt.jwks == NULL) {
        const struct member *m = section != NULL && section->kind == TREE_MAP ? section->first : NULL;
        return m == NULL || refuse(l, &m->place, "jwt.%.*s can have no effect without jwt.keys or jwt.jwks", TEXT_ARG(m->name));
    }
    c->jwt.verify = arena_alloc(&c->arena, CONF_JWT_KEYS_MAX * sizeof *c->jwt.verify);
    if (c->jwt.verify == NULL)
        return refuse_memory(l);
    struct member *list = tree_find(section, TEXT("keys"));
    const struct member *item = list != NULL ? list->value->first : NULL;
    for (uint32_t i = 0; i < c->jwt.keys.count; i++, item = item->next)
        if (!read_key(l, &item->value->place, c->jwt.keys.at[i]))
            return false;
    return c->jwt.jwks == NULL || jwt_read_set(l, tree_place(section, "jwks"), c->jwt.jwks);
}

void jwt_forget(struct conf *c)
{
    for (uint32_t i = 0; i < c->jwt.verify_count; i++)
        EVP_PKEY_free(c->jwt.verify[i].public);
}
