/* tokens.c: see tokens.h. */
#include "lib/tokens.h"
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILES_MAX 64

static char folder[] = "/tmp/weir-tokens.XXXXXX";
static char files[FILES_MAX][64];
static unsigned files_count;
static EVP_PKEY *keys[SIGNERS];

const char *tokens_path(const char *file)
{
    static char paths[4][128];
    static unsigned at;
    char *path = paths[at++ % ARRAY_LEN(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", folder, file);
    return path;
}

static FILE *file_new(const char *file)
{
    ASSERT(files_count < FILES_MAX);
    snprintf(files[files_count++], sizeof files[0], "%s", file);
    FILE *f = fopen(tokens_path(file), "w");
    ASSERT(f != NULL);
    return f;
}

void tokens_file(const char *file, struct text content)
{
    FILE *f = file_new(file);
    ASSERT(fwrite(content.at, 1, content.len, f) == content.len && fclose(f) == 0);
}

struct text tokens_read(const char *file)
{
    static char content[65536];
    FILE *f = fopen(tokens_path(file), "r");
    ASSERT(f != NULL);
    size_t n = fread(content, 1, sizeof content - 1, f);
    content[n] = 0;
    fclose(f);
    return (struct text){ content, n };
}

size_t token_encode(struct text bytes, char *out)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t n = 0;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t has = MIN(bytes.len - i, (size_t)3);
        uint32_t bits = 0;
        for (size_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < has ? (unsigned char)bytes.at[i + k] : 0);
        for (size_t k = 0; k <= has; k++)
            out[n++] = letters[bits >> (18 - 6 * k) & 63];
    }
    out[n] = 0;
    return n;
}

/* ---- the RFCs' own ---- */

const char tokens_rfc_set[] =
    "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"},"
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47"
    "soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2eth"
    "FkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\",\"e\":\"AQAB\"},"
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"},"
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

#define JOE  ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."

const char *const tokens_rfc[3] = {
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9" JOE "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", /* 7515 A.1 */
        "eyJhbGciOiJSUzI1NiJ9" JOE "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4" /* A.2 */
        "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgG"
        "Y9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        "eyJhbGciOiJFUzI1NiJ9" JOE "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", /* A.3 */
};

/* ---- signing ---- */

static size_t write_parts(const char *header, const char *payload, char *out)
{
    size_t n = token_encode(text_of(header), out);
    out[n++] = '.';
    return n + token_encode(text_of(payload), out + n);
}

static char *add_signature(char *out, size_t n, struct text signature)
{
    out[n++] = '.';
    token_encode(signature, out + n);
    return out;
}

char *token_sign_secret(struct text secret, const char *header, const char *payload, char *out)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned len;
    size_t n = write_parts(header, payload, out);
    ASSERT(HMAC(EVP_sha256(), secret.at != NULL ? secret.at : "", (int)secret.len, (unsigned char *)out, n, mac, &len) != NULL);
    return add_signature(out, n, (struct text){ (char *)mac, len });
}

/* From OpenSSL's DER to r and s. */
static size_t raw_of(unsigned char *signature, size_t len)
{
    const unsigned char *at = signature;
    ECDSA_SIG *pair = d2i_ECDSA_SIG(NULL, &at, (long)len);
    ASSERT(pair != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(pair), signature, 32) == 32 && BN_bn2binpad(ECDSA_SIG_get0_s(pair), signature + 32, 32) == 32);
    ECDSA_SIG_free(pair);
    return 64;
}

char *token_sign(enum signer by, const char *header, const char *payload, char *out)
{
    unsigned char signature[1024];
    size_t len = sizeof signature, n;
    bool is_ec = by == SIGN_ES256 || by == SIGN_ES256_TWIN, is_ed = by == SIGN_EDDSA || by == SIGN_EDDSA_TWIN;
    if (by == SIGN_HS256)
        return token_sign_secret(TEXT(TOKENS_SECRET), header, payload, out);
    n = write_parts(header, payload, out);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    ASSERT(EVP_DigestSignInit(c, NULL, is_ed ? NULL : EVP_sha256(), NULL, keys[by]) == 1 && EVP_DigestSign(c, signature, &len, (unsigned char *)out, n) == 1);
    EVP_MD_CTX_free(c);
    if (is_ec)
        len = raw_of(signature, len);
    return add_signature(out, n, (struct text){ (char *)signature, len });
}

/* ---- keys and files ---- */

static void write_pem(const char *file, enum signer by)
{
    FILE *f = file_new(file);
    ASSERT(PEM_write_PUBKEY(f, keys[by]) == 1 && fclose(f) == 0);
}

static void write_certificate(const char *file, enum signer by)
{
    X509 *x = X509_new();
    FILE *f = file_new(file);
    ASSERT(X509_set_pubkey(x, keys[by]) == 1 && X509_gmtime_adj(X509_getm_notBefore(x), 0) != NULL && X509_gmtime_adj(X509_getm_notAfter(x), 86400) != NULL);
    ASSERT(X509_sign(x, keys[by], EVP_sha256()) > 0 && PEM_write_X509(f, x) == 1 && fclose(f) == 0);
    X509_free(x);
}

/* "name":"…" of a number of the key. */
static void write_number(FILE *f, enum signer by, const char *param, const char *name, int bytes)
{
    unsigned char raw[512];
    char text[1024];
    BIGNUM *n = NULL;
    ASSERT(EVP_PKEY_get_bn_param(keys[by], param, &n) == 1);
    int len = BN_bn2binpad(n, raw, bytes > 0 ? bytes : BN_num_bytes(n));
    token_encode((struct text){ (char *)raw, (size_t)len }, text);
    fprintf(f, ",\"%s\":\"%s\"", name, text);
    BN_free(n);
}

static void write_set(void)
{
    FILE *f = file_new("set.json");
    unsigned char raw[32];
    char text[128];
    size_t len = sizeof raw;
    fprintf(f, "{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"rsa\",\"use\":\"sig\",\"alg\":\"RS256\"");
    write_number(f, SIGN_RS256, OSSL_PKEY_PARAM_RSA_N, "n", 0);
    write_number(f, SIGN_RS256, OSSL_PKEY_PARAM_RSA_E, "e", 0);
    fprintf(f, "},\n{\"kty\":\"EC\",\"kid\":\"ec\",\"crv\":\"P-256\"");
    write_number(f, SIGN_ES256, OSSL_PKEY_PARAM_EC_PUB_X, "x", 32);
    write_number(f, SIGN_ES256, OSSL_PKEY_PARAM_EC_PUB_Y, "y", 32);
    ASSERT(EVP_PKEY_get_raw_public_key(keys[SIGN_EDDSA], raw, &len) == 1);
    token_encode((struct text){ (char *)raw, len }, text);
    fprintf(f, "},\n{\"kty\":\"OKP\",\"kid\":\"ed\",\"crv\":\"Ed25519\",\"key_ops\":[\"verify\"],\"x\":\"%s\"},\n", text);
    token_encode(TEXT(TOKENS_SECRET), text);
    fprintf(f, "{\"kty\":\"oct\",\"kid\":\"oct\",\"k\":\"%s\"}]}\n", text);
    ASSERT(fclose(f) == 0);
}

static void remove_all(void)
{
    for (unsigned i = 0; i < files_count; i++)
        unlink(tokens_path(files[i]));
    rmdir(folder);
    for (unsigned i = 0; i < SIGNERS; i++)
        EVP_PKEY_free(keys[i]);
}

void tokens_start(void)
{
    if (files_count > 0)
        return;
    ASSERT(mkdtemp(folder) != NULL);
    for (unsigned i = 0; i < 2; i++) {
        keys[i ? SIGN_RS256_TWIN : SIGN_RS256] = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
        keys[i ? SIGN_ES256_TWIN : SIGN_ES256] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
        keys[i ? SIGN_EDDSA_TWIN : SIGN_EDDSA] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    }
    write_pem("rsa.pem", SIGN_RS256);
    write_pem("ec.pem", SIGN_ES256);
    write_pem("ed.pem", SIGN_EDDSA);
    write_certificate("rsa.crt", SIGN_RS256);
    write_set();
    tokens_file("secret", TEXT(TOKENS_SECRET "\n"));
    atexit(remove_all);
}
