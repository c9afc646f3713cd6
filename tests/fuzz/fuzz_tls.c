/* fuzz_tls.c: whatever a client sends instead of a handshake, or inside one: the wire says the same however the bytes are cut, holds a bounded amount of them, and
   gives all memory back. Half of the inputs go in after a client's true hello, so that they reach what only follows one. */
#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_METHOD: equal input, equal run */
#include "net/wire.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HELD_MAX   65536 /* unread by OpenSSL, beyond what it has answered: one record and a message under way */
#define SENT_MOST  65536
#define READS_MOST 100000
#define KEPT_MOST  500   /* blocks that OpenSSL makes once and keeps, in all runs together: a leak of one a run would pass it soon */

/* A world that is one socket: bytes come in pieces of `cut` (0: whole), and what is written is counted. */
struct peer {
    struct world world;
    struct worker worker;
    struct text in;
    size_t cut, served, sent;
    uint32_t sent_sum;
};

static struct peer *peer_of(struct world *w) { return CONTAINER_OF(w, struct peer, world); }

static ssize_t give(struct world *w, int fd, void *to, size_t room)
{
    struct peer *p = peer_of(w);
    (void)fd;
    if (p->in.len == 0)
        return p->served++ % 2 == 0 ? -EAGAIN : 0; /* dry first, then finished */
    size_t n = MIN(p->in.len, room);
    n = p->cut > 0 ? MIN(n, p->cut) : n;
    memcpy(to, p->in.at, n);
    p->in.at += n;
    p->in.len -= n;
    return (ssize_t)n;
}

static ssize_t take(struct world *w, int fd, const struct iovec *parts, int count)
{
    struct peer *p = peer_of(w);
    (void)fd, (void)count;
    p->sent += parts[0].iov_len;
    for (size_t i = 0; i < parts[0].iov_len; i++)
        p->sent_sum = p->sent_sum * 31 + ((const uint8_t *)parts[0].iov_base)[i];
    ASSERT(p->sent <= SENT_MOST);
    return (ssize_t)parts[0].iov_len;
}

static void nothing(struct world *w, int fd) { (void)w, (void)fd; }

/* ---- OpenSSL: no chance, one server, one hello ---- */

static uint8_t chance;
static int random_bytes(unsigned char *out, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = (unsigned char)(chance += 37);
    return 1;
}
static int random_status(void) { return 1; }

static SSL_CTX *server;
static char hello[1024];
static size_t hello_len;

static void start(void)
{
    static const RAND_METHOD method = { .bytes = random_bytes, .pseudorand = random_bytes, .status = random_status };
    wire_library_start();
    ASSERT(RAND_set_rand_method(&method) == 1);
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    X509 *x = X509_new();
    server = SSL_CTX_new(TLS_server_method());
    ASSERT(server != NULL && X509_set_pubkey(x, key) == 1 && X509_gmtime_adj(X509_getm_notBefore(x), 0) != NULL && X509_gmtime_adj(X509_getm_notAfter(x), 9999) != NULL);
    ASSERT(X509_sign(x, key, NULL) > 0 && SSL_CTX_use_certificate(server, x) == 1 && SSL_CTX_use_PrivateKey(server, key) == 1);
    SSL_CTX_set_mode(server, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(server, 1);
    X509_free(x);
    EVP_PKEY_free(key);

    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *client = SSL_new(context);
    BIO *out = BIO_new(BIO_s_mem());
    SSL_set_bio(client, BIO_new(BIO_s_mem()), out);
    SSL_set_connect_state(client);
    (void)SSL_do_handshake(client);
    int n = BIO_read(out, hello, sizeof hello);
    ASSERT(n > 0);
    hello_len = (size_t)n;
    SSL_free(client);
    SSL_CTX_free(context);
    ERR_clear_error();
}

/* ---- one run ---- */

static int64_t kept;
static bool is_first = true;

struct outcome {
    int end;          /* of the last read */
    size_t got, sent; /* plain bytes; bytes answered */
    uint32_t sent_sum;
};

static struct outcome run(struct text in, size_t cut)
{
    static char to[4096];
    struct peer p = { .world = { .read = give, .writev = take, .close = nothing, .shutdown = nothing }, .in = in, .cut = cut };
    struct outcome o = { 0 };
    p.worker.world = &p.world;
    struct wire w = wire_plain(&p.worker, 1);
    int64_t before = mem_alive();
    chance = 0;
    ASSERT(wire_serve_tls(&w, server));
    ssize_t n = -EAGAIN;
    for (int reads = 0; n == -EAGAIN || n > 0; reads++) {
        size_t left = p.in.len;
        n = wire_read(&w, to, sizeof to);
        o.got += n > 0 ? (size_t)n : 0;
        ASSERT(reads < READS_MOST && left - p.in.len <= HELD_MAX + o.got + sizeof to);
    }
    o = (struct outcome){ (int)n, o.got, p.sent, p.sent_sum };
    ASSERT(wire_shutdown(&w) || n == 0);
    wire_close(&w, false);
    OPENSSL_thread_stop();
    kept += mem_alive() - before;
    ASSERT(is_first || kept <= KEPT_MOST);
    is_first = false;
    return o;
}

static void same(struct outcome a, struct outcome b)
{
    ASSERT(a.end == b.end && a.got == b.got && a.sent == b.sent && a.sent_sum == b.sent_sum);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char joined[1024 + 65536];
    if (server == NULL) {
        start();
        (void)run((struct text){ hello, hello_len }, 0); /* what OpenSSL makes once and keeps */
        kept = 0;
    }
    size = MIN(size, (size_t)65536);
    bool behind_hello = size > 0 && data[0] % 2;
    size_t first = behind_hello ? hello_len : 0;
    memcpy(joined, hello, first);
    if (size > 1)
        memcpy(joined + first, data + 1, size - 1);
    struct text in = { joined, first + (size > 0 ? size - 1 : 0) };
    struct outcome whole = run(in, 0);
    same(whole, run(in, 0));
    if (in.len <= 4096)
        same(whole, run(in, 1));
    same(whole, run(in, 7 + (size > 1 ? data[1] : 0)));
    return 0;
}
