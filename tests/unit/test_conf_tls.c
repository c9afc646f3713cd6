/* test_conf_tls.c: certificates, keys and authorities in the configuration: what is refused, with which words and where, and what each refusal's twin gets. */
#include "lib/tls_peer.h"
#include "test_conf_help.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* $F in a template is the folder of the certificates. */
static const char *filled(const char *template)
{
    static char yaml[2][2048];
    static unsigned at;
    char *out = yaml[at++ % 2], folder[128];
    size_t n = 0;
    snprintf(folder, sizeof folder, "%s", tls_peer_path(""));
    for (const char *p = template; *p != 0; p++) {
        if (p[0] == '$' && p[1] == 'F') {
            n += (size_t)snprintf(out + n, sizeof yaml[0] - n, "%s", folder);
            p++;
        } else {
            out[n++] = *p;
        }
    }
    out[n] = 0;
    return out;
}

struct row {
    const char *refused, *complaint; /* complaint without "weir.yaml:" */
    const char *twin;
};

static void check_rows(const struct row *rows, size_t count)
{
    char expected[640];
    for (size_t i = 0; i < count; i++) {
        struct conf_options o = { 0 };
        snprintf(expected, sizeof expected, "weir.yaml:%s", rows[i].complaint);
        assert_complaint(load(filled(rows[i].refused)), expected);
        conf_unref(loaded_with(&o, filled(rows[i].twin)));
    }
}

static void file_with(const char *name, const char *content)
{
    FILE *f = fopen(tls_peer_path(name), "w");
    assert_non_null(f);
    assert_true(fputs(content, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void a_server_has_a_certificate_and_its_key(void **state)
{
    static const char good[] = "tls:\n  cert: $Fweir.crt\n  key: $Fweir.key\n";
    static const struct row rows[] = {
        { "tls:\n  cert: $Fweir.crt\n", "2:9: tls.cert needs tls.key, its private key", good },
        { "tls:\n  key: $Fweir.key\n", "2:8: tls.key needs tls.cert, its certificate", good },
        { "tls:\n  client_ca: $Fca.crt\n", "2:14: tls.client_ca can have no effect without tls.cert and tls.key", "tls:\n  client_ca: $Fca.crt\n  cert: $Fweir.crt\n  key: $Fweir.key\n" },
        { "tls:\n  cert: $Fnone.crt\n  key: $Fweir.key\n", "2:9: tls.cert: cannot be opened: No such file or directory", good },
        { "tls:\n  cert: $F\n  key: $Fweir.key\n", "2:9: tls.cert: not a regular file", good },
        { "tls:\n  cert: $Fweir.key\n  key: $Fweir.key\n", "2:9: tls.cert: the file holds no certificate in PEM", good },
        { "tls:\n  cert: $Ftorn.crt\n  key: $Fweir.key\n", "2:9: tls.cert: the file holds a certificate that cannot be read", good },
        { "tls:\n  cert: $Ftail.crt\n  key: $Fweir.key\n", "2:9: tls.cert: the file holds a certificate that cannot be read", good },
        { "tls:\n  cert: $Fweir.crt\n  key: $Fweir.crt\n", "3:8: tls.key: the file holds no private key in PEM", good },
        { "tls:\n  cert: $Fweir.crt\n  key: $Fother.key\n", "3:8: tls.key: the file is not the key of the certificate in tls.cert", "tls:\n  cert: $Fother.crt\n  key: $Fother.key\n" },
        { "tls:\n  cert: $Fweir.crt\n  key: $Flocked.key\n", "3:8: tls.key: the file is locked with a passphrase; weir has nobody to ask for it", good },
        { "tls:\n  cert: $Fweak.crt\n  key: $Fweak.key\n", "2:9: tls.cert: the file cannot be used: ee key too small", good },
        { "tls:\n  cert: $Fweir.crt\n  key: $Fweir.key\n  client_ca: $Fempty\n", "4:14: tls.client_ca: the file holds no certificate in PEM", good },
        { "tls: {cert: \"\"}", "1:13: tls.cert must not be empty", good },
        { "tls:\n  cert: $Fweir.crt\n  key: [$Fweir.key]\n", "3:8: tls.key must be one value, not a list: the path of a PEM file", good },
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void a_backend_has_what_its_url_needs(void **state)
{
    static const char good[] = "backends: {a: {url: \"https://h\", ca: $Fca.crt}}";
    static const struct row rows[] = {
        { "backends: {a: {url: \"http://h\", ca: $Fca.crt}}", "1:37: backends.a.ca can have no effect without an https url", good },
        { "backends: {a: {kind: llama, ca: $Fca.crt}}", "1:29: backends.a.ca can have no effect on kind llama", "backends: {a: {kind: llama}}" },
        { "backends: {a: {url: \"https://h\", ca: $Fnone}}", "1:38: backends.a.ca: cannot be opened: No such file or directory", good },
        { "backends: {a: {url: \"https://h\", ca: off}}", "1:38: backends.a.ca must be the path of a PEM file, or auto: certificates are always verified, perhaps against the backend's own", good },
        { "backends: {a: {url: \"https://h\", ca: $Fempty}}", "1:38: backends.a.ca: the file holds no certificate in PEM", good },
        { "backends:\n  a:\n    url: https://h\n    ca: $Fca.crt\n    client_cert: $Fclient.crt\n", "5:18: backends.a.client_cert needs backends.a.client_key too",
          "backends:\n  a:\n    url: https://h\n    ca: $Fca.crt\n    client_cert: $Fclient.crt\n    client_key: $Fclient.key\n" },
        { "backends:\n  a:\n    url: https://h\n    ca: $Fca.crt\n    client_cert: $Fclient.crt\n    client_key: $Fweir.key\n",
          "6:17: backends.a.client_key: the file is not the key of the certificate in backends.a.client_cert", good },
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void https_urls(void **state)
{
    struct conf_options o = { 0 };
    (void)state;
    const struct conf *c = loaded_with(&o, filled("backends: {a: {url: \"https://h.test/v1\", ca: $Fca.crt}, b: {url: \"http://h.test\"}, c: {url: \"https://[::1]:8443\", ca: $Fca.crt}}"));
    assert_true(c->backends[0].url.is_https && !c->backends[1].url.is_https);
    assert_int_equal(c->backends[0].url.port, 443);
    assert_int_equal(c->backends[1].url.port, 80);
    assert_int_equal(c->backends[2].url.port, 8443);
    assert_non_null(c->backends[0].tls);
    assert_null(c->backends[1].tls);
    assert_null(c->tls.context);
    conf_unref(c);
}

/* Backends without a ca trust what the system trusts, where the system says. */
static void the_system_s_authorities(void **state)
{
    static char set[192];
    const char *const env[] = { set, NULL };
    struct conf_options o = { .environ = (char *const *)env };
    (void)state;
    snprintf(set, sizeof set, "SSL_CERT_FILE=%s", tls_peer_path("ca.crt"));
    const struct conf *c = loaded_with(&o, "backends: {a: {url: \"https://h\"}, b: {url: \"https://i\", ca: auto}}");
    assert_non_null(c->backends[1].tls);
    conf_unref(c);
    snprintf(set, sizeof set, "SSL_CERT_FILE=%s", tls_peer_path("none"));
    assert_complaint(load_with(&o, "backends: {a: {url: \"https://h\"}}"), "weir.yaml:1:21: backends.a.ca (auto): cannot be opened: No such file or directory");
}

/* Reachable from elsewhere needs a way to say no: a key, or certificates. Encryption alone lets everyone in. */
static void an_open_address_needs_more_than_encryption(void **state)
{
    static const struct row rows[] = {
        { "listen: 0.0.0.0:1\ntls: {cert: $Fweir.crt, key: $Fweir.key}", "1:9: listen: a non-loopback address needs at least one key, or tls.client_ca",
          "listen: 0.0.0.0:1\ntls: {cert: $Fweir.crt, key: $Fweir.key, client_ca: $Fca.crt}" },
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

/* hostile 39: what ${...} brought in is not repeated, a path or not. */
static void what_was_brought_in_is_not_repeated(void **state)
{
    const char *const env[] = { "SECRET=sk-CANARY", NULL };
    struct conf_options o = { .environ = (char *const *)env };
    (void)state;
    assert_null(load_with(&o, filled("tls: {cert: $Fweir.crt, key: \"${SECRET}\"}")));
    assert_null(strstr(complaint, "CANARY"));
    assert_non_null(strstr(complaint, "tls.key: cannot be opened"));
}

/* hostile 39: who writes the key itself where its path belongs does not find it in the log. */
static void a_key_in_place_of_its_path_is_not_repeated(void **state)
{
    static const struct row rows[] = {
        { "tls:\n  cert: $Fweir.crt\n  key: |\n    -----BEGIN EC PRIVATE KEY-----\n    sk-CANARY\n", "3:8: tls.key must be the path of a PEM file, not what stands in it",
          "tls:\n  cert: $Fweir.crt\n  key: $Fweir.key\n" },
        { "tls:\n  cert: $Fweir.crt\n  key: |\n    sk-CANARY\n    sk-CANARY\n", "3:8: tls.key must be without control characters", "tls:\n  cert: $Fweir.crt\n  key: $Fweir.key\n" },
        { "backends: {a: {url: \"https://h\", ca: \"-----BEGIN CERTIFICATE-----\"}}", "1:38: backends.a.ca must be the path of a PEM file, not what stands in it",
          "backends: {a: {url: \"https://h\", ca: $Fca.crt}}" },
    };
    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static int make_files(void **state)
{
    FILE *f;
    char content[4096] = "";
    (void)state;
    file_with("empty", "nothing\n");
    file_with("torn.crt", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    assert_non_null(f = fopen(tls_peer_path("weir.crt"), "r"));
    size_t n = fread(content, 1, sizeof content - 200, f);
    fclose(f);
    snprintf(content + n, sizeof content - n, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    file_with("tail.crt", content);
    EVP_PKEY *locked = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), *weak = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
    assert_non_null(f = fopen(tls_peer_path("locked.key"), "w"));
    assert_int_equal(PEM_write_PrivateKey(f, locked, EVP_aes_256_cbc(), (const unsigned char *)"pass", 4, NULL, NULL), 1);
    fclose(f);
    X509 *x = X509_new();
    ASN1_TIME_set(X509_getm_notBefore(x), 0);
    ASN1_TIME_set(X509_getm_notAfter(x), INT32_MAX);
    assert_true(X509_set_pubkey(x, weak) == 1 && X509_sign(x, weak, EVP_sha256()) > 0);
    assert_non_null(f = fopen(tls_peer_path("weak.crt"), "w"));
    assert_int_equal(PEM_write_X509(f, x), 1);
    fclose(f);
    assert_non_null(f = fopen(tls_peer_path("weak.key"), "w"));
    assert_int_equal(PEM_write_PrivateKey(f, weak, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    X509_free(x);
    EVP_PKEY_free(locked);
    EVP_PKEY_free(weak);
    return 0;
}

static int remove_files(void **state)
{
    static const char *const names[] = { "empty", "torn.crt", "tail.crt", "locked.key", "weak.crt", "weak.key" };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unlink(tls_peer_path(names[i]));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_has_a_certificate_and_its_key), cmocka_unit_test(a_backend_has_what_its_url_needs), cmocka_unit_test(https_urls),
        cmocka_unit_test(the_system_s_authorities), cmocka_unit_test(an_open_address_needs_more_than_encryption), cmocka_unit_test(what_was_brought_in_is_not_repeated),
        cmocka_unit_test(a_key_in_place_of_its_path_is_not_repeated),
    };
    tls_peer_start();
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
