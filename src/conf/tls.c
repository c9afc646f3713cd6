/* tls.c: certificates, keys and authorities: from the files that the configuration names into what OpenSSL serves and asks with. Called by check.c, so that
   whatever cannot be served is refused with its place, before anything runs. Protocols, cipher suites and groups are Mozilla's intermediate profile
   (wiki.mozilla.org/Security/Server_Side_TLS, version 5.7) without its DHE suites: no client that lacks ECDHE is left, and DHE costs the server most. */
#include "conf/inner.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#define TLS12_SUITES "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:" \
                     "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
#define TLS13_SUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS       "X25519:P-256:P-384"
#define SECURITY     2 /* OpenSSL's level: 112 bits, RSA from 2048 */

/* One file, named by a key of the configuration. Complaints name the key and not the path: ${...} may have brought it in. */
struct pem {
    const char *key;             /* "tls.cert" */
    const char *path;
    const struct place *place;
    struct buf content;
    BIO *bio;
};

static bool pem_open(struct loading *l, struct pem *p)
{
    buf_init_secret(&p->content, CONF_FILE_MAX); /* it may be a key */
    p->bio = NULL;
    const char *what = say(l, p->path[0] == '/' ? "%s: " : "%s (from the working directory): ", p->key); /* which is another one under systemd; and ~ is no home */
    if (!file_read(l, p->place, p->path, what, &p->content))
        return false;
    p->bio = BIO_new_mem_buf(buf_text(&p->content).at, (int)buf_len(&p->content));
    return p->bio != NULL || refuse_memory(l);
}

static void pem_close(struct pem *p)
{
    BIO_free(p->bio);
    buf_fini(&p->content);
    ERR_clear_error();
}

static bool pem_refuse(struct loading *l, const struct pem *p, const char *what)
{
    return refuse(l, p->place, "%s: the file %s", p->key, what);
}

/* What OpenSSL has against it. */
static bool pem_unfit(struct loading *l, const struct pem *p)
{
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    return pem_refuse(l, p, say(l, "cannot be used: %s", why != NULL ? why : "OpenSSL does not say why"));
}

/* The next certificate of the file; NULL at its end, *out_broken if what stands there is none. */
static X509 *next_certificate(struct pem *p, bool *out_broken)
{
    ERR_clear_error();
    X509 *x = PEM_read_bio_X509(p->bio, NULL, NULL, NULL);
    *out_broken = x == NULL && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
    return x;
}

/* ---- a certificate with its chain, and its key ---- */

static bool use_chain(struct loading *l, SSL_CTX *c, struct pem *p)
{
    bool broken, is_ok = true;
    X509 *x = next_certificate(p, &broken);
    if (x == NULL)
        return pem_refuse(l, p, broken ? "holds a certificate that cannot be read" : "holds no certificate in PEM");
    if (SSL_CTX_use_certificate(c, x) != 1)
        is_ok = pem_unfit(l, p);
    X509_free(x);
    while (is_ok && (x = next_certificate(p, &broken)) != NULL)
        if (SSL_CTX_add0_chain_cert(c, x) != 1) {
            X509_free(x);
            is_ok = pem_unfit(l, p);
        }
    return is_ok && (!broken || pem_refuse(l, p, "holds a certificate that cannot be read"));
}

/* Nobody is there to be asked for a passphrase. */
static int no_passphrase(char *out, int room, int writes, void *was_asked)
{
    (void)out, (void)room, (void)writes;
    *(bool *)was_asked = true;
    return -1;
}

static bool use_key(struct loading *l, SSL_CTX *c, struct pem *p, const char *certificate)
{
    bool was_asked = false, is_ok;
    ERR_clear_error();
    EVP_PKEY *key = PEM_read_bio_PrivateKey(p->bio, NULL, no_passphrase, &was_asked);
    if (key == NULL)
        return pem_refuse(l, p, was_asked ? "is locked with a passphrase; weir has nobody to ask for it" : "holds no private key in PEM");
    if (X509_check_private_key(SSL_CTX_get0_certificate(c), key) != 1)
        is_ok = pem_refuse(l, p, say(l, "is not the key of the certificate in %s", certificate));
    else
        is_ok = SSL_CTX_use_PrivateKey(c, key) == 1 || pem_unfit(l, p);
    EVP_PKEY_free(key);
    return is_ok;
}

static bool use_pair(struct loading *l, SSL_CTX *c, struct pem *cert, struct pem *key)
{
    bool is_ok = pem_open(l, cert) && use_chain(l, c, cert);
    pem_close(cert);
    if (!is_ok)
        return false;
    is_ok = pem_open(l, key) && use_key(l, c, key, cert->key);
    pem_close(key);
    return is_ok;
}

/* ---- authorities ---- */

/* Into the store; and into names, unless that is NULL. */
static bool add_authorities(struct loading *l, struct pem *p, X509_STORE *store, STACK_OF(X509_NAME) *names)
{
    bool broken, is_ok = true;
    X509 *x;
    unsigned count = 0;
    for (; is_ok && (x = next_certificate(p, &broken)) != NULL; count++) { /* ends with the file, which has CONF_FILE_MAX bytes at most */
        X509_NAME *name = names != NULL ? X509_NAME_dup(X509_get_subject_name(x)) : NULL;
        is_ok = X509_STORE_add_cert(store, x) == 1 || pem_unfit(l, p);
        if (name != NULL && sk_X509_NAME_push(names, name) <= 0) {
            X509_NAME_free(name);
            is_ok = refuse_memory(l);
        }
        X509_free(x);
    }
    if (is_ok && broken)
        return pem_refuse(l, p, "holds a certificate that cannot be read");
    return is_ok && (count > 0 || pem_refuse(l, p, "holds no certificate in PEM"));
}

/* What it names is trusted as it is, whether or not it is a root: who names a server's own certificate means just that one. */
static bool trust_file(struct loading *l, SSL_CTX *c, struct pem *p, STACK_OF(X509_NAME) *names)
{
    X509_STORE *store = SSL_CTX_get_cert_store(c);
    bool is_ok = pem_open(l, p) && add_authorities(l, p, store, names);
    pem_close(p);
    return is_ok && (X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN) == 1 || refuse_memory(l));
}

/* Where systems keep the authorities of the public web, read whole at once: verifying must not open files. */
static const char *system_bundle(struct loading *l)
{
    static const char *const usual[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem" };
    const char *said = variable_get(l, TEXT("SSL_CERT_FILE"));
    if (said != NULL)
        return said;
    for (size_t i = 0; i < ARRAY_LEN(usual); i++)
        if (file_is_there(usual[i]))
            return usual[i];
    return NULL;
}

/* The system's store is read once a load, for the first backend that needs it. */
static bool trust_system(struct loading *l, SSL_CTX *c, const struct place *at, const char *key)
{
    if (l->system_store == NULL) {
        struct pem p = { .key = say(l, "%s (auto)", key), .path = system_bundle(l), .place = at };
        X509_STORE *store = X509_STORE_new();
        if (store == NULL)
            return refuse_memory(l);
        bool is_ok = p.path != NULL ? pem_open(l, &p) && add_authorities(l, &p, store, NULL)
                                    : refuse(l, at, "%s: this system has no file of authorities (package ca-certificates); name one with ca", key);
        if (p.path != NULL)
            pem_close(&p);
        if (!is_ok) {
            X509_STORE_free(store);
            return false;
        }
        l->system_store = store;
    }
    return SSL_CTX_set1_verify_cert_store(c, l->system_store) == 1 || refuse_memory(l);
}

/* ---- contexts ---- */

static SSL_CTX *context_new(struct loading *l, const SSL_METHOD *method)
{
    SSL_CTX *c = SSL_CTX_new(method);
    if (c != NULL) {
        SSL_CTX_set_security_level(c, SECURITY);
        SSL_CTX_set_options(c, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
        SSL_CTX_set_mode(c, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        SSL_CTX_set_read_ahead(c, 1); /* a record's head and body in one read */
        if (SSL_CTX_set_min_proto_version(c, TLS1_2_VERSION) == 1 && SSL_CTX_set_cipher_list(c, TLS12_SUITES) == 1 &&
            SSL_CTX_set_ciphersuites(c, TLS13_SUITES) == 1 && SSL_CTX_set1_groups_list(c, GROUPS) == 1)
            return c;
    }
    SSL_CTX_free(c);
    (void)refuse_memory(l);
    return NULL;
}

/* RFC 7301 3.2: a client whose list has nothing we speak is told so. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    (void)ssl, (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool require_clients(struct loading *l, SSL_CTX *c, struct pem *ca)
{
    STACK_OF(X509_NAME) *names = sk_X509_NAME_new_null();
    if (names == NULL)
        return refuse_memory(l);
    SSL_CTX_set_client_CA_list(c, names); /* takes it over */
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return trust_file(l, c, ca, names);
}

bool tls_check_server(struct loading *l, const struct tree *section)
{
    struct conf *conf = l->conf;
    struct pem cert = { .key = "tls.cert", .path = conf->tls.cert, .place = tree_place(section, "cert") };
    struct pem key = { .key = "tls.key", .path = conf->tls.key, .place = tree_place(section, "key") };
    struct pem ca = { .key = "tls.client_ca", .path = conf->tls.client_ca, .place = tree_place(section, "client_ca") };
    if (cert.path == NULL && key.path == NULL)
        return ca.path == NULL || refuse(l, ca.place, "tls.client_ca can have no effect without tls.cert and tls.key");
    if (key.path == NULL)
        return refuse(l, cert.place, "tls.cert needs tls.key, its private key");
    if (cert.path == NULL)
        return refuse(l, key.place, "tls.key needs tls.cert, its certificate");
    SSL_CTX *c = conf->tls.context = context_new(l, TLS_server_method()); /* conf_unref frees it, also after a refusal */
    if (c == NULL || !use_pair(l, c, &cert, &key) || (ca.path != NULL && !require_clients(l, c, &ca)))
        return false;
    SSL_CTX_set_alpn_select_cb(c, choose_protocol, NULL);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF); /* tickets resume, and no memory is held for them */
    return SSL_CTX_set_session_id_context(c, (const unsigned char *)"weir", 4) == 1 || refuse_memory(l);
}

bool tls_check_backend(struct loading *l, const struct member *m, struct conf_backend *b)
{
    static const char *const keys[] = { "ca", "client_cert", "client_key" };
    const char *name[ARRAY_LEN(keys)];
    const struct place *at[ARRAY_LEN(keys)];
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        name[i] = say(l, "backends.%s.%s", b->name, keys[i]);
        at[i] = tree_place(m->value, keys[i]);
        if (at[i] != NULL && !b->url.is_https)
            return refuse(l, at[i], "%s can have no effect without an https url", name[i]);
    }
    if (!b->url.is_https)
        return true;
    struct pem ca = { .key = name[0], .path = b->ca, .place = at[0] }, cert = { .key = name[1], .path = b->client_cert, .place = at[1] },
               key = { .key = name[2], .path = b->client_key, .place = at[2] };
    if ((cert.path == NULL) != (key.path == NULL))
        return refuse(l, cert.path != NULL ? cert.place : key.place, "%s needs %s too", cert.path != NULL ? cert.key : key.key, cert.path != NULL ? key.key : cert.key);
    SSL_CTX *c = b->tls = context_new(l, TLS_client_method());
    if (c == NULL || !(ca.path != NULL ? trust_file(l, c, &ca, NULL) : trust_system(l, c, tree_place(m->value, "url"), ca.key)))
        return false;
    if (cert.path != NULL && !use_pair(l, c, &cert, &key))
        return false;
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF); /* a worker keeps one session a backend itself */
    return SSL_CTX_set_alpn_protos(c, (const unsigned char *)"\x08http/1.1", 9) == 0 || refuse_memory(l);
}

void tls_forget(struct conf *c)
{
    SSL_CTX_free(c->tls.context);
    for (uint32_t i = 0; i < c->backends_count; i++)
        SSL_CTX_free(c->backends[i].tls);
}
