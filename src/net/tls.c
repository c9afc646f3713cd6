/* tls.c: one connection's TLS, by OpenSSL on the loop's stack. Called through wire.h only.
   OpenSSL reads and writes through a BIO that stands on the world's socket, so a connection holds at most one unread and one unsent record, and none while it
   is idle (SSL_MODE_RELEASE_BUFFERS). A record that the kernel did not take whole counts as not written: the caller still has its bytes, and brings them again. */
#include "net/wire.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <string.h>

#define TLS_MAGIC    0x715a11edu
#define RECORD_BYTES 16384 /* RFC 8446 5.1 */

struct tls {
    uint32_t magic;
    SSL *ssl;
    struct wire *wire;
    bool is_server;
    bool begun;      /* a byte has come */
    bool secured;    /* the handshake was done; OpenSSL forgets it when something fails later */
    bool kept;       /* its session is remembered */
    bool empty;      /* of this call: the socket had less than it was asked for */
    bool finished;   /* the socket's end was read */
    int error;       /* latched; what every later call returns */
    int write_error; /* of the socket: what came before may still be read */
};

/* ---- the BIO: OpenSSL's way to the socket ---- */

static int bio_read(BIO *b, char *to, int room)
{
    struct tls *t = BIO_get_data(b);
    struct world *world = t->wire->worker->world;
    BIO_clear_retry_flags(b);
    ssize_t n = t->empty ? -EAGAIN : world->read(world, t->wire->fd, to, (size_t)room);
    t->empty = n < room && !t->wire->hangup;
    t->finished = n == 0;
    bool is_first = n > 0 && !t->begun;
    t->begun = t->begun || n > 0;
    if (is_first && t->is_server && isalpha((unsigned char)to[0])) /* a hello's first byte is 22, or 128 of old ones */
        n = -WIRE_PLAIN_HTTP;
    if (n >= 0)
        return (int)n;
    if (n == -EAGAIN)
        BIO_set_retry_read(b);
    else if (t->error == 0)
        t->error = (int)-n;
    return -1;
}

static int bio_write(BIO *b, const char *from, int len)
{
    struct tls *t = BIO_get_data(b);
    struct world *world = t->wire->worker->world;
    int done = 0;
    BIO_clear_retry_flags(b);
    while (done < len) { /* until the kernel has it, or says that it is full: then its edge will come */
        struct iovec part = { (char *)(uintptr_t)from + done, (size_t)(len - done) };
        ssize_t n = world->writev(world, t->wire->fd, &part, 1);
        if (n < 0 && done > 0)
            return done;
        if (n < 0) {
            t->write_error = n == -EAGAIN ? 0 : (int)-n;
            BIO_set_retry_write(b);
            return -1;
        }
        done += (int)n;
    }
    return done;
}

static long bio_ctrl(BIO *b, int what, long number, void *pointer)
{
    (void)number, (void)pointer;
    if (what == BIO_CTRL_EOF)
        return ((struct tls *)BIO_get_data(b))->finished;
    return what == BIO_CTRL_FLUSH; /* nothing waits in here */
}

static BIO_METHOD *bio_method;

/* ---- the library ---- */

static void *library_alloc(size_t bytes, const char *file, int line) { (void)file, (void)line; return mem_alloc(bytes); }
static void library_free(void *p, const char *file, int line) { (void)file, (void)line; mem_free(p); }

static void *library_resize(void *p, size_t bytes, const char *file, int line)
{
    (void)file, (void)line;
    if (bytes > 0)
        return mem_resize(p, bytes);
    mem_free(p);
    return NULL;
}

void wire_library_start(void)
{
    int is_early = CRYPTO_set_mem_functions(library_alloc, library_resize, library_free);
    ASSERT(is_early == 1);
    ASSERT(OPENSSL_init_ssl(0, NULL) == 1);
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wire");
    ASSERT(bio_method != NULL && BIO_meth_set_read(bio_method, bio_read) && BIO_meth_set_write(bio_method, bio_write) && BIO_meth_set_ctrl(bio_method, bio_ctrl));
}

/* ---- failures ---- */

/* What OpenSSL stopped at. Latches it: nothing may be asked of this SSL any more. */
static int failed(struct tls *t)
{
    unsigned long e = ERR_peek_error();
    int reason = ERR_GET_REASON(e);
    long verified = SSL_get_verify_result(t->ssl);
    if (t->error != 0)
        ; /* the socket's own */
    else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED && verified != X509_V_OK)
        t->error = WIRE_VERIFY + (int)verified;
    else if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        t->error = WIRE_CUT;
    else if (reason > SSL_AD_REASON_OFFSET)
        t->error = WIRE_ALERT + reason - SSL_AD_REASON_OFFSET;
    else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST)
        t->error = WIRE_NOT_TLS;
    else
        t->error = reason == ERR_R_MALLOC_FAILURE ? WIRE_NO_MEMORY : WIRE_BROKEN;
    ERR_clear_error(); /* the queue is the thread's: the next connection must not find ours */
    return t->error;
}

/* After OpenSSL said n <= 0: 0 = the peer has finished; else negative. */
static int outcome_of(struct tls *t, int n)
{
    int e = SSL_get_error(t->ssl, n);
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return -EAGAIN;
    return e == SSL_ERROR_ZERO_RETURN ? 0 : -failed(t);
}

/* ---- on the loop's stack ---- */

enum what { HANDSHAKE, READ, WRITE, PEEK, SHUTDOWN };

struct call {
    struct tls *tls;
    enum what what;
    void *to;
    size_t room;
    const struct iovec *parts;
    int count;
    ssize_t result;
};

static ssize_t read_here(struct tls *t, char *to, size_t room)
{
    size_t got = 0;
    int end = -EAGAIN;
    while (got < room) {
        int n = SSL_read(t->ssl, to + got, (int)(room - got));
        if (n <= 0) {
            end = outcome_of(t, n);
            break;
        }
        t->secured = true; /* now: what fails behind these bytes makes OpenSSL forget it */
        got += (size_t)n;
    }
    t->wire->at_end = got > 0 && end != -EAGAIN;
    return got > 0 ? (ssize_t)got : end;
}

/* At most a record from where `done` bytes of the parts are behind us. A call's head and body share one. */
static struct text next_piece(struct tls *t, const struct iovec *parts, int count, size_t done)
{
    char *joined = t->wire->worker->scratch; /* nobody writes while he reads out of it */
    size_t len = 0;
    for (int i = 0; i < count && len < RECORD_BYTES; i++) {
        size_t skip = MIN(done, parts[i].iov_len), some = MIN(parts[i].iov_len - skip, RECORD_BYTES - len);
        done -= skip;
        if (len == 0 && (i + 1 == count || some == RECORD_BYTES))
            return (struct text){ (const char *)parts[i].iov_base + skip, some };
        if (some > 0)
            memcpy(joined + len, (const char *)parts[i].iov_base + skip, some);
        len += some;
    }
    return (struct text){ joined, len };
}

static ssize_t write_here(struct tls *t, const struct iovec *parts, int count)
{
    size_t done = 0;
    for (;;) {
        struct text some = next_piece(t, parts, count, done);
        int n = some.len > 0 ? SSL_write(t->ssl, some.at, (int)some.len) : 0;
        if (n <= 0) {
            int end = some.len > 0 ? outcome_of(t, n) : 0;
            return done > 0 || some.len == 0 ? (ssize_t)done : t->write_error != 0 ? -t->write_error : end;
        }
        done += (size_t)n;
    }
}

static ssize_t news_here(struct tls *t)
{
    char one;
    int n = SSL_peek(t->ssl, &one, 1);
    return n > 0 || outcome_of(t, n) != -EAGAIN;
}

static ssize_t shutdown_here(struct tls *t)
{
    if (!t->secured)
        return 0;
    int n = SSL_shutdown(t->ssl);
    return n >= 0 || outcome_of(t, n) != -EAGAIN ? 0 : -EAGAIN;
}

static void run_call(void *arg)
{
    struct call *c = arg;
    struct tls *t = c->tls;
    ERR_clear_error();
    t->empty = false;
    if (c->what == HANDSHAKE) {
        int n = SSL_do_handshake(t->ssl);
        c->result = n == 1 ? 0 : outcome_of(t, n);
        if (n == 0 && c->result == 0)
            c->result = -failed(t);
    } else if (c->what == READ) {
        c->result = read_here(t, c->to, c->room);
    } else if (c->what == WRITE) {
        c->result = write_here(t, c->parts, c->count);
    } else if (c->what == PEEK) {
        c->result = news_here(t);
    } else {
        c->result = shutdown_here(t);
    }
    t->secured = t->secured || SSL_is_init_finished(t->ssl);
    if (c->what == WRITE || c->what == SHUTDOWN)
        return; /* those who write wait for room anyway */
    t->wire->wants_write = SSL_want_write(t->ssl);
    if (c->result == -EAGAIN && t->write_error != 0)
        c->result = -t->write_error;
}

static ssize_t call(struct wire *w, struct call c)
{
    CHECK(w->tls, TLS);
    if (w->tls->error != 0)
        return -w->tls->error;
    c.tls = w->tls;
    task_call_loop(w->worker, run_call, &c);
    return c.result;
}

ssize_t tls_read(struct wire *w, void *to, size_t room)
{
    w->at_end = false;
    return call(w, (struct call){ .what = READ, .to = to, .room = room });
}

ssize_t tls_writev(struct wire *w, const struct iovec *parts, int count)
{
    return call(w, (struct call){ .what = WRITE, .parts = parts, .count = count });
}

bool tls_shutdown(struct wire *w) { return call(w, (struct call){ .what = SHUTDOWN }) != -EAGAIN; }
bool tls_has_news(struct wire *w) { return call(w, (struct call){ .what = PEEK }) != 0; }
int wire_handshake(struct wire *w) { return (int)call(w, (struct call){ .what = HANDSHAKE }); }

/* ---- life ---- */

static struct tls *tls_new(struct wire *w, SSL_CTX *context, bool is_server)
{
    struct tls *t = mem_zero(sizeof *t);
    ASSERT(bio_method != NULL); /* wire_library_start was called */
    SSL *ssl = t != NULL ? SSL_new(context) : NULL;
    BIO *bio = ssl != NULL ? BIO_new(bio_method) : NULL;
    if (bio == NULL) {
        SSL_free(ssl);
        mem_free(t);
        return NULL;
    }
    *t = (struct tls){ .magic = TLS_MAGIC, .ssl = ssl, .wire = w, .is_server = is_server };
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio); /* takes it over */
    SSL_set_app_data(ssl, t);
    X509_VERIFY_PARAM_set_time(SSL_get0_param(ssl), (time_t)(w->worker->wall / NANOS_PER_S)); /* the world's clock, not the library's */
    return t;
}

static void drop_here(void *arg)
{
    struct tls *t = arg;
    SSL_free(t->ssl);
    t->magic = 0;
    mem_free(t);
}

void wire_drop_tls(struct wire *w)
{
    if (w->tls != NULL)
        task_call_loop(w->worker, drop_here, w->tls);
    w->tls = NULL;
    w->at_end = w->wants_write = false;
}

void wire_close(struct wire *w, bool reset)
{
    struct world *world = w->worker->world;
    wire_drop_tls(w);
    if (reset)
        world->reset(world, w->fd);
    else
        world->close(world, w->fd);
}

bool wire_is_secured(const struct wire *w) { return w->tls == NULL || w->tls->secured; }
bool wire_has_begun(const struct wire *w) { return w->tls != NULL && w->tls->begun; }

/* Opening runs in tasks, too. */
struct opening {
    struct wire *wire;
    SSL_CTX *context;
    const char *host; /* NULL: we serve */
    struct tls_session *last;
    bool ok;
};

static void serve_here(void *arg)
{
    struct opening *o = arg;
    struct tls *t = tls_new(o->wire, o->context, true);
    o->ok = t != NULL;
    o->wire->tls = t;
    if (t != NULL)
        SSL_set_accept_state(t->ssl);
}

bool wire_serve_tls(struct wire *w, SSL_CTX *context)
{
    struct opening o = { .wire = w, .context = context };
    task_call_loop(w->worker, serve_here, &o);
    return o.ok;
}

/* ---- asking: who the peer must be, and sessions ---- */

void tls_session_forget(struct tls_session *s)
{
    SSL_SESSION_free(s->session);
    SSL_CTX_free(s->context);
    *s = (struct tls_session){ 0 };
}

static void keep_here(void *arg)
{
    struct opening *o = arg;
    struct tls_session *s = o->last;
    if (s->context != SSL_get_SSL_CTX(o->wire->tls->ssl))
        return; /* an old connection: what it trusted may be trusted no more */
    SSL_SESSION_free(s->session);
    SSL_SESSION *now = SSL_get0_session(o->wire->tls->ssl);
    s->session = now != NULL ? SSL_SESSION_dup(now) : NULL; /* a copy: OpenSSL spoils the original when its connection ends without a close_notify */
}

void wire_keep_session(struct wire *w, struct tls_session *out)
{
    struct opening o = { .wire = w, .last = out };
    if (w->tls == NULL || w->tls->kept)
        return;
    w->tls->kept = true;
    task_call_loop(w->worker, keep_here, &o);
}

/* A session skips the certificate, so it must not outlive it. */
static bool is_still_good(SSL_SESSION *session, time_t now)
{
    X509 *peer = SSL_SESSION_get0_peer(session);
    return peer != NULL && SSL_SESSION_is_resumable(session) && X509_cmp_time(X509_get0_notAfter(peer), &now) > 0;
}

/* RFC 9525: the names in subjectAltName count, the common name does not. A number is no name: no SNI then (RFC 6066 3). */
static bool expect(struct tls *t, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(t->ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1)
        return true;
    ERR_clear_error();
    return X509_VERIFY_PARAM_set1_host(param, host, 0) == 1 && SSL_set_tlsext_host_name(t->ssl, host) == 1;
}

static void ask_here(void *arg)
{
    struct opening *o = arg;
    struct tls *t = tls_new(o->wire, o->context, false);
    struct tls_session *s = o->last;
    o->wire->tls = t;
    o->ok = t != NULL && expect(t, o->host);
    if (!o->ok)
        return;
    SSL_set_connect_state(t->ssl);
    if (s != NULL && s->context != o->context) {
        tls_session_forget(s);
        SSL_CTX_up_ref(o->context); /* held, so that no later context can have its address */
        s->context = o->context;
    }
    if (s != NULL && s->session != NULL && is_still_good(s->session, (time_t)(o->wire->worker->wall / NANOS_PER_S)) && SSL_set_session(t->ssl, s->session) != 1)
        ERR_clear_error(); /* then it is a whole handshake */
}

bool wire_ask_tls(struct wire *w, SSL_CTX *context, const char *host, struct tls_session *last)
{
    struct opening o = { .wire = w, .context = context, .host = host, .last = last };
    task_call_loop(w->worker, ask_here, &o);
    return o.ok;
}
