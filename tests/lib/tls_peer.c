/* tls_peer.c: see tls_peer.h. */
#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_METHOD is the one way to seed OpenSSL */
#include "lib/tls_peer.h"
#include "auth/auth.h"
#include "conf/conf.h"
#include "lib/tokens.h"
#include "net/wire.h"
#include "run/sim.h"
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EPOCH_S (SIM_EPOCH / NANOS_PER_S)
#define DAY_S   86400L

/* ---- what replays ---- */

/* OpenSSL writes the time into session tickets, so a replayed run needs the same one. It stands still, at the simulated world's beginning. */
time_t time(time_t *out)
{
    if (out != NULL)
        *out = EPOCH_S;
    return EPOCH_S;
}

static uint64_t dice;

static int random_bytes(unsigned char *out, int n)
{
    for (int i = 0; i < n; i++) { /* splitmix64, a byte a step */
        uint64_t z = dice += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        out[i] = (unsigned char)(z >> 56);
    }
    return 1;
}

static int random_status(void) { return 1; }

/* ---- certificates ---- */

static char folder[] = "/tmp/weir-tls.XXXXXX";

const char *tls_peer_path(const char *file)
{
    static char paths[4][128];
    static unsigned at;
    char *path = paths[at++ % ARRAY_LEN(paths)];
    snprintf(path, sizeof paths[0], "%s/%s", folder, file);
    return path;
}

static void add_extension(X509 *x, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, x, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    ASSERT(e != NULL && X509_add_ext(x, e, -1) == 1);
    X509_EXTENSION_free(e);
}

static FILE *file_new(const char *name, const char *suffix)
{
    char file[64];
    snprintf(file, sizeof file, "%s.%s", name, suffix);
    FILE *f = fopen(tls_peer_path(file), "w");
    ASSERT(f != NULL);
    return f;
}

struct issuer {
    X509 *certificate;
    EVP_PKEY *key;
};

/* Valid from `from` to `to` days after the epoch. issuer NULL: signed by itself. names NULL: an authority. */
static struct issuer make(const char *name, const char *names, const struct issuer *issuer, long from, long to)
{
    static long serial;
    struct issuer made = { X509_new(), EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") };
    X509_NAME *subject = X509_get_subject_name(made.certificate);
    const struct issuer *by = issuer != NULL ? issuer : &made;
    ASSERT(made.key != NULL && X509_set_version(made.certificate, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), ++serial) == 1);
    ASSERT(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)(strcmp(name, "common") == 0 ? "backend.test" : name), -1, -1, 0) == 1);
    ASSERT(X509_set_issuer_name(made.certificate, X509_get_subject_name(by->certificate)) == 1 && X509_set_pubkey(made.certificate, made.key) == 1);
    ASSERT(ASN1_TIME_set(X509_getm_notBefore(made.certificate), EPOCH_S + from * DAY_S) != NULL && ASN1_TIME_set(X509_getm_notAfter(made.certificate), EPOCH_S + to * DAY_S) != NULL);
    if (names == NULL)
        add_extension(made.certificate, NID_basic_constraints, "critical,CA:TRUE");
    else if (names[0] != 0)
        add_extension(made.certificate, NID_subject_alt_name, names);
    ASSERT(X509_sign(made.certificate, by->key, NULL) > 0);
    FILE *crt = file_new(name, "crt"), *key = file_new(name, "key");
    ASSERT(PEM_write_X509(crt, made.certificate) == 1 && PEM_write_PrivateKey(key, made.key, NULL, NULL, 0, NULL, NULL) == 1);
    ASSERT(fclose(crt) == 0 && fclose(key) == 0);
    return made;
}

static void drop(struct issuer i)
{
    X509_free(i.certificate);
    EVP_PKEY_free(i.key);
}

static void make_all(void)
{
    static const char backend[] = "IP:10.0.0.1,IP:10.0.0.2,IP:10.0.0.3,IP:10.0.0.4,DNS:backend.test";
    struct issuer ca = make("ca", NULL, NULL, -30, 30), stranger = make("stranger-ca", NULL, NULL, -30, 30);
    drop(make("weir", "IP:127.0.0.1,DNS:localhost", &ca, -1, 30));
    drop(make("other", "IP:127.0.0.1,DNS:localhost", &ca, -1, 30));
    drop(make("backend", backend, &ca, -1, 30));
    drop(make("expired", backend, &ca, -20, -1));
    drop(make("early", backend, &ca, 1, 20));
    drop(make("wrong", "DNS:elsewhere.test", &ca, -1, 30));
    drop(make("common", "", &ca, -1, 30));
    drop(make("self", backend, NULL, -1, 30));
    drop(make("stranger", backend, &stranger, -1, 30));
    drop(make("client", "DNS:client.test", &ca, -1, 30));
    drop(ca);
    drop(stranger);
}

static void remove_all(void)
{
    static const char *const names[] = { "ca", "stranger-ca", "weir", "other", "backend", "expired", "early", "wrong", "common", "self", "stranger", "client", "rfc" };
    char file[64];
    for (size_t i = 0; i < 2 * ARRAY_LEN(names); i++) {
        snprintf(file, sizeof file, "%s.%s", names[i / 2], i % 2 ? "key" : "crt");
        unlink(tls_peer_path(file));
    }
    rmdir(folder);
}

/* ---- contexts ---- */

static void use(SSL_CTX *c, const char *name)
{
    char crt[64], key[64];
    snprintf(crt, sizeof crt, "%s.crt", name);
    snprintf(key, sizeof key, "%s.key", name);
    ASSERT(SSL_CTX_use_certificate_file(c, tls_peer_path(crt), SSL_FILETYPE_PEM) == 1 && SSL_CTX_use_PrivateKey_file(c, tls_peer_path(key), SSL_FILETYPE_PEM) == 1);
}

static SSL_CTX *context_new(const SSL_METHOD *method)
{
    SSL_CTX *c = SSL_CTX_new(method);
    ASSERT(c != NULL && SSL_CTX_load_verify_locations(c, tls_peer_path("ca.crt"), NULL) == 1);
    X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(c), EPOCH_S);
    return c;
}

SSL_CTX *tls_peer_server(const char *name, bool client_ca)
{
    SSL_CTX *c = context_new(TLS_server_method());
    use(c, name);
    if (client_ca)
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_id_context(c, (const unsigned char *)"test", 4);
    return c;
}

SSL_CTX *tls_peer_client(const char *name)
{
    SSL_CTX *c = context_new(TLS_client_method());
    if (name != NULL)
        use(c, name);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
    return c;
}

/* ---- start ---- */

/* Whatever OpenSSL makes once and keeps is made here: by reading files as a configuration does, and by handshakes. */
static void read_files(void)
{
    char yaml[512];
    struct complaint why;
    const struct conf *conf;
    snprintf(yaml, sizeof yaml, "tls: {cert: %s, key: %s, client_ca: %s}\n", tls_peer_path("weir.crt"), tls_peer_path("weir.key"), tls_peer_path("ca.crt"));
    struct conf_options o = { .yaml = text_of(yaml) };
    ASSERT(conf_load(&o, &conf, &why));
    conf_unref(conf);
}

/* And by verifying a token of each kind. */
static void read_tokens(void)
{
    static struct worker worker = { .wall = 1300819380 * NANOS_PER_S };
    char yaml[256], value[1024];
    struct complaint why;
    const struct conf *conf;
    FILE *f = file_new("rfc", "crt");
    ASSERT(fputs(tokens_rfc_set, f) >= 0 && fclose(f) == 0);
    snprintf(yaml, sizeof yaml, "jwt: {jwks: %s, tenant: iss}\n", tls_peer_path("rfc.crt"));
    struct conf_options o = { .yaml = text_of(yaml) };
    ASSERT(conf_load(&o, &conf, &why));
    struct auth *auth = auth_new(conf, NULL);
    ASSERT(auth != NULL);
    for (size_t i = 0; i < ARRAY_LEN(tokens_rfc); i++) {
        struct identity who;
        const char *sentence;
        snprintf(value, sizeof value, "Bearer %s", tokens_rfc[i]);
        struct http_header header = { TEXT("authorization"), text_of(value), HEADER_AUTHORIZATION };
        struct http_head head = { .count = 1, .headers = &header };
        head.first[HEADER_AUTHORIZATION] = 1;
        ASSERT(auth_check(auth, &worker, &head, &who, &sentence) == OK);
        identity_end(&who);
    }
    auth_free(auth);
    conf_unref(conf);
}

/* Returns the session. */
static SSL_SESSION *shake_hands(SSL_CTX *sc, SSL_CTX *cc, int version, SSL_SESSION *session)
{
    SSL *s = SSL_new(sc), *c = SSL_new(cc);
    BIO *to_server = BIO_new(BIO_s_mem()), *to_client = BIO_new(BIO_s_mem());
    char some[16];
    SSL_set_max_proto_version(c, version);
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c), "127.0.0.1");
    if (session != NULL)
        SSL_set_session(c, session);
    BIO_up_ref(to_server);
    BIO_up_ref(to_client);
    SSL_set_bio(s, to_server, to_client);
    SSL_set_bio(c, to_client, to_server);
    SSL_set_accept_state(s);
    SSL_set_connect_state(c);
    for (int i = 0; i < 8; i++) {
        (void)SSL_do_handshake(c);
        (void)SSL_do_handshake(s);
    }
    ASSERT(SSL_write(s, "x", 1) == 1 && SSL_read(c, some, sizeof some) == 1 && SSL_session_reused(c) == (session != NULL));
    SSL_SESSION *made = SSL_get1_session(c);
    SSL_shutdown(c);
    SSL_free(s);
    SSL_free(c);
    SSL_SESSION_free(session);
    return made;
}

static void meet(int version)
{
    SSL_CTX *sc = tls_peer_server("weir", true), *cc = tls_peer_client("client");
    SSL_SESSION *session = shake_hands(sc, cc, version, NULL);
    SSL_SESSION_free(shake_hands(sc, cc, version, session));
    SSL_CTX_free(sc);
    SSL_CTX_free(cc);
}

void tls_peer_start(void)
{
    static const RAND_METHOD method = { .bytes = random_bytes, .pseudorand = random_bytes, .status = random_status };
    static bool is_started;
    if (is_started)
        return;
    is_started = true;
    wire_library_start();
    ASSERT(RAND_set_rand_method(&method) == 1 && mkdtemp(folder) != NULL);
    make_all();
    atexit(remove_all);
    read_files();
    read_tokens();
    meet(TLS1_3_VERSION);
    meet(TLS1_2_VERSION);
}

void tls_peer_seed(uint64_t seed)
{
    dice = seed;
    OPENSSL_thread_stop();
}
