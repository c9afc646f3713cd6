/* test_conf_jwt.c: what tokens are verified by, in the configuration: what is refused, with which words and where, and what each refusal's twin gets. */
#include "lib/tokens.h"
#include "test_conf_help.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <string.h>

/* $F in a template is the folder of the keys. */
static const char *filled(const char *template)
{
    static char yaml[8192];
    char folder[128];
    size_t n = 0;
    snprintf(folder, sizeof folder, "%s", tokens_path(""));
    for (const char *p = template; *p != 0; p++) {
        if (p[0] == '$' && p[1] == 'F') {
            n += (size_t)snprintf(yaml + n, sizeof yaml - n, "%s", folder);
            p++;
        } else {
            yaml[n++] = *p;
        }
    }
    yaml[n] = 0;
    return yaml;
}

static void refuses(const char *template, const char *why)
{
    char expected[640];
    snprintf(expected, sizeof expected, "weir.yaml:%s", why);
    assert_complaint(load(filled(template)), expected);
}

static void takes(const char *template, uint32_t count)
{
    struct conf_options o = { 0 };
    const struct conf *c = loaded_with(&o, filled(template));
    assert_int_equal(c->jwt.verify_count, count);
    conf_unref(c);
}

static void write_key(const char *file, EVP_PKEY *key, bool is_private)
{
    char text[16384];
    BIO *b = BIO_new(BIO_s_mem());
    assert_non_null(key);
    assert_int_equal(is_private ? PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) : PEM_write_bio_PUBKEY(b, key), 1);
    int n = BIO_read(b, text, sizeof text);
    tokens_file(file, (struct text){ text, (size_t)n });
    BIO_free(b);
    EVP_PKEY_free(key);
}

/* The public key of rsa.pem as DER, and as one line of base64. */
static void write_bare(void)
{
    struct text pem = tokens_read("rsa.pem");
    BIO *b = BIO_new_mem_buf(pem.at, (int)pem.len);
    EVP_PKEY *key = PEM_read_bio_PUBKEY(b, NULL, NULL, NULL);
    unsigned char *der = NULL, line[1024];
    int len = i2d_PUBKEY(key, &der);
    tokens_file("rsa.der", (struct text){ (char *)der, (size_t)len });
    tokens_file("rsa.line", (struct text){ (char *)line, (size_t)EVP_EncodeBlock(line, der, len) });
    OPENSSL_free(der);
    EVP_PKEY_free(key);
    BIO_free(b);
}

static void write_twice(const char *file, const char *one, const char *other)
{
    char both[16384];
    struct text t = tokens_read(one);
    memcpy(both, t.at, t.len);
    size_t n = t.len;
    t = tokens_read(other);
    memcpy(both + n, t.at, t.len);
    tokens_file(file, (struct text){ both, n + t.len });
}

static int begin(void **state)
{
    (void)state;
    tokens_start();
    write_key("small.pem", EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024), false);
    write_key("p384.pem", EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384"), false);
    write_key("x25519.pem", EVP_PKEY_Q_keygen(NULL, NULL, "X25519"), false);
    write_key("private.pem", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), true);
    write_bare();
    write_twice("chain.crt", "rsa.crt", "rsa.crt");
    write_twice("commented.pem", "secret", "ec.pem");
    tokens_file("torn.pem", TEXT("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0B\n"));
    tokens_file("csr.pem", TEXT("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"));
    tokens_file("junk.pem", TEXT("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"));
    tokens_file("short", TEXT("0123456789012345678901234567890\n"));
    tokens_file("exact", TEXT("01234567890123456789012345678901\r\n"));
    tokens_file("empty", TEXT(""));
    tokens_file("ssh.pub", TEXT("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ann@host\n"));
    return 0;
}

static void files_are_keys_or_secrets(void **state)
{
    (void)state;
    takes("jwt: {keys: [$Frsa.pem, $Fec.pem, $Fed.pem, $Fsecret, $Frsa.crt, $Fexact, $Fcommented.pem]}", 7);
    refuses("jwt:\n  keys:\n    - $Fec.pem\n    - $Fnone\n", "4:7: jwt.keys: cannot be opened: No such file or directory");
    refuses("jwt: {keys: [none]}", "1:14: jwt.keys (from the working directory): cannot be opened: No such file or directory");
    refuses("jwt: {keys: [$F]}", "1:14: jwt.keys: not a regular file");
    refuses("jwt: {keys: [$Fsmall.pem]}", "1:14: jwt.keys: the file is an RSA key of 1024 bits; 2048 to 8192 are taken");
    refuses("jwt: {keys: [$Fp384.pem]}", "1:14: jwt.keys: the file is a key on the curve secp384r1; ES256 takes P-256");
    refuses("jwt: {keys: [$Fx25519.pem]}", "1:14: jwt.keys: the file is a key of a kind that is not taken; RSA, EC P-256 and Ed25519 are");
    refuses("jwt: {keys: [$Fprivate.pem]}", "1:14: jwt.keys: the file holds a private key; weir only verifies, and takes the public one");
    refuses("jwt: {keys: [$Fchain.crt]}", "1:14: jwt.keys: the file holds more than one key or certificate; give each its file");
    refuses("jwt: {keys: [$Ftorn.pem]}", "1:14: jwt.keys: the file holds PEM that cannot be read");
    refuses("jwt: {keys: [$Fjunk.pem]}", "1:14: jwt.keys: the file holds a key that cannot be read");
    refuses("jwt: {keys: [$Fcsr.pem]}", "1:14: jwt.keys: the file holds neither a public key nor a certificate");
    refuses("jwt: {keys: [$Fshort]}", "1:14: jwt.keys: the file is a secret of 31 bytes; HS256 needs at least 32");
    refuses("jwt: {keys: [$Fempty]}", "1:14: jwt.keys: the file is a secret of 0 bytes; HS256 needs at least 32");
}

/* hostile 41: a public key in another form than PEM would otherwise be a secret that everybody knows. */
static void what_is_public_never_becomes_a_secret(void **state)
{
    (void)state;
    refuses("jwt: {keys: [$Frsa.der]}", "1:14: jwt.keys: the file is a public key without PEM, and no secret; give it in PEM (-----BEGIN PUBLIC KEY-----)");
    refuses("jwt: {keys: [$Frsa.line]}", "1:14: jwt.keys: the file is a public key without PEM, and no secret; give it in PEM (-----BEGIN PUBLIC KEY-----)");
    refuses("jwt: {keys: [$Fssh.pub]}", "1:14: jwt.keys: the file is a public key of SSH, and no secret; give it in PEM (ssh-keygen -e -m PKCS8)");
    refuses("jwt: {keys: [$Fset.json]}", "1:14: jwt.keys: the file is JSON; a key set belongs in jwt.jwks");
}

#define ED_X  "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\""
#define ED    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\"," ED_X
#define OCT   "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\""
#define EC_XY "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""

static void sets_are_read(void **state)
{
    static const struct {
        const char *keys, *complaint; /* NULL: count keys are taken */
        uint32_t count;
    } rows[] = {
        { ED "}", NULL, 1 },
        { ED "},{\"kty\":\"EC\",\"crv\":\"P-256\"," EC_XY "}," OCT "}", NULL, 3 },
        { ED ",\"alg\":\"EdDSA\",\"use\":\"sig\",\"kid\":\"a\"}," ED ",\"kid\":\"b\"}", NULL, 2 },
        /* of other kinds, algorithms and uses: passed over */
        { ED "},{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":\"\"},{\"kty\":\"OKP\",\"crv\":\"X25519\"," ED_X "},{\"kty\":\"AKP\"}", NULL, 1 },
        { ED "}," OCT ",\"alg\":\"HS512\"}," OCT ",\"alg\":\"A256KW\"}," ED ",\"alg\":\"ES256\"}", NULL, 1 },
        { ED "}," ED ",\"use\":\"enc\"}," ED ",\"key_ops\":[\"sign\"]}," ED ",\"key_ops\":[]}," ED ",\"use\":5}", NULL, 1 },
        { ED ",\"use\":\"enc\"}", "the file holds no key that tokens could be verified by: RSA, EC on P-256, OKP on Ed25519 or oct, for signatures", 0 },
        { "", "the file holds no key that tokens could be verified by: RSA, EC on P-256, OKP on Ed25519 or oct, for signatures", 0 },
        { ED "},5", "keys[1] is no key: an object with kty", 0 },
        { "{}", "keys[0] is no key: an object with kty", 0 },
        { "{\"kty\":[\"OKP\"]}", "keys[0] is no key: an object with kty", 0 },
        { "{\"kty\":\"EC\",\"crv\":[1,2,3,4,5]}", "the file holds no key that tokens could be verified by: RSA, EC on P-256, OKP on Ed25519 or oct, for signatures", 0 },
        { ED ",\"d\":\"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A\"}", "keys[0] is a private key (it has d); weir only verifies, and takes the public one", 0 },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qY\"}", "keys[0] needs x of 32 bytes in base64url", 0 },
        { "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}", "keys[0] needs x of 32 bytes in base64url", 0 },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1\"}", "keys[0] needs x and y of 32 bytes in base64url", 0 },
        { "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5aw\"}", "keys[0] holds a key that cannot be read", 0 },
        { "{\"kty\":\"RSA\",\"n\":\"AQAB\"}", "keys[0] needs n and e in base64url", 0 },
        { "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJj\",\"e\":\"AQAB\"}", "keys[0] is an RSA key of 120 bits; 2048 to 8192 are taken", 0 },
        { "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQABAQABAQABAQAB\"}", "keys[0] has an n of more than 8192 bits, or an e of more than 64", 0 },
        { "{\"kty\":\"oct\",\"k\":\"AyM1\"}", "keys[0] is a secret of 3 bytes; HS256 needs at least 32", 0 },
        { "{\"kty\":\"oct\",\"k\":\"\"}", "keys[0] needs k in base64url", 0 },
        { ED ",\"kid\":\"a\"}," ED ",\"kid\":\"a\"}", "keys[1] has the kid and the algorithm of an earlier one, a", 0 },
        { ED ",\"kid\":\"a\"}," OCT ",\"kid\":\"a\"}", NULL, 2 },
        { ED ",\"kid\":5}", "keys[0] has a kid that is no text of 1 to 256 bytes", 0 },
        { ED ",\"kid\":\"\"}", "keys[0] has a kid that is no text of 1 to 256 bytes", 0 },
        { ED ",\"kid\":\"a\\u0000b\"}", "keys[0] has a kid that is no text of 1 to 256 bytes", 0 },
        { ED "}," ED "}," ED "}," ED "}," ED "}," ED "}," ED "}," ED "}", NULL, 8 },
        { ED "}," ED "}," ED "}," ED "}," ED "}," ED "}," ED "}," ED "}," ED "}", "keys[8] is one too many for EdDSA without a kid; 8 may be, as each is tried: name the others in jwt.jwks", 0 },
    };
    char set[4096], expected[640], file[16], template[64];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(set, sizeof set, "{\"keys\":[%s]}", rows[i].keys);
        snprintf(file, sizeof file, "row%zu", i);
        snprintf(template, sizeof template, "jwt: {jwks: $F%s}", file);
        tokens_file(file, text_of(set));
        snprintf(expected, sizeof expected, "1:13: jwt.jwks: %s", rows[i].complaint != NULL ? rows[i].complaint : "");
        if (rows[i].complaint != NULL)
            refuses(template, expected);
        else
            takes(template, rows[i].count);
    }
}

/* An exponent of 1 signs everything: s^1 is the padded hash itself. Even ones and an n that is even are no RSA either. */
static void an_rsa_key_is_sound(void **state)
{
    static const char *const exponents[] = { "AQ", "Ag", "AA" };
    char set[2048], n[512], template[64], file[16];
    (void)state;
    struct text whole = tokens_read("set.json");
    const char *at = strstr(whole.at, "\"n\":\"") + 5;
    snprintf(n, sizeof n, "%.*s", (int)(strchr(at, '"') - at), at);
    for (size_t i = 0; i < ARRAY_LEN(exponents); i++) {
        snprintf(set, sizeof set, "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"}]}", n, exponents[i]);
        snprintf(file, sizeof file, "e%zu", i);
        tokens_file(file, text_of(set));
        snprintf(template, sizeof template, "jwt: {jwks: $F%s}", file);
        refuses(template, "1:13: jwt.jwks: keys[0] is a key that is not sound");
    }
    snprintf(set, sizeof set, "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"AQAB\"}]}", n);
    tokens_file("e_right", text_of(set));
    takes("jwt: {jwks: $Fe_right}", 1);
}

static void a_set_is_json(void **state)
{
    (void)state;
    tokens_file("not_json", TEXT("{\"keys\":["));
    tokens_file("twice", TEXT("{\"keys\":[" ED "," ED_X "}]}"));
    tokens_file("bare", TEXT("[" ED "}]"));
    tokens_file("one", TEXT(ED "}"));
    refuses("jwt: {jwks: $Fnot_json}", "1:13: jwt.jwks: the file is not JSON: unexpected end of data at byte 9");
    refuses("jwt: {jwks: $Fempty}", "1:13: jwt.jwks: the file is empty");
    assert_null(load(filled("jwt: {jwks: $Ftwice}")));
    assert_non_null(strstr(complaint, "1:13: jwt.jwks: the file is not JSON: "));
    refuses("jwt: {jwks: $Fbare}", "1:13: jwt.jwks: the file is no key set: an object with keys, a list");
    refuses("jwt: {jwks: $Fone}", "1:13: jwt.jwks: the file is no key set: an object with keys, a list");
    refuses("jwt: {jwks: $Frsa.pem}", "1:13: jwt.jwks: the file is not JSON: no digit after minus sign at byte 1");
}

static void what_has_no_effect_is_refused(void **state)
{
    (void)state;
    refuses("jwt: {issuer: x}", "1:7: jwt.issuer can have no effect without jwt.keys or jwt.jwks");
    refuses("jwt: {skew: 1s}", "1:7: jwt.skew can have no effect without jwt.keys or jwt.jwks");
    takes("jwt: {issuer: x, skew: 1s, keys: [$Fsecret]}", 1);
    takes("jwt: {}", 0);
}

/* Whoever shows a token says who they are. */
static void tokens_guard_an_open_address(void **state)
{
    (void)state;
    refuses("listen: 0.0.0.0:1", "1:9: listen: a non-loopback address needs at least one key");
    takes("listen: 0.0.0.0:1\njwt: {keys: [$Fsecret]}", 1);
    takes("listen: 0.0.0.0:1\njwt: {jwks: $Fset.json}", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_keys_or_secrets),
        cmocka_unit_test(what_is_public_never_becomes_a_secret),
        cmocka_unit_test(sets_are_read),
        cmocka_unit_test(an_rsa_key_is_sound),
        cmocka_unit_test(a_set_is_json),
        cmocka_unit_test(what_has_no_effect_is_refused),
        cmocka_unit_test(tokens_guard_an_open_address),
    };
    return cmocka_run_group_tests(tests, begin, NULL);
}
