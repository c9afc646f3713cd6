/* wire.h: where a connection's bytes pass, encrypted or not: http_down.c (clients) and http_client.c (backends) read and write through it.
   Without TLS each call goes straight to the world. With it world.h's contract stays: a read that returns fewer bytes than asked has emptied the socket
   and what could be decrypted; a write takes what the kernel took; both work from a task (OpenSSL then runs on the loop's stack) and from the loop. */
#ifndef WEIR_WIRE_H
#define WEIR_WIRE_H

#include "run/task.h"

struct tls;
struct ssl_ctx_st;     /* OpenSSL's SSL_CTX: made and checked by conf/, shared by many connections */
struct ssl_session_st; /* SSL_SESSION */

struct wire {
    struct worker *worker;
    int fd;
    bool at_end;      /* TLS: the end, or why it broke, is known already and no edge will tell: read again */
    bool hangup;      /* the owner's watch said so: the end may stand behind a short read, and has had its edge */
    bool wants_write; /* TLS: reading goes on only when the socket is writable */
    struct tls *tls;  /* NULL: plain */
};

/* Failures of TLS, as negative results beside -errno. */
enum {
    WIRE_CUT = 4096,  /* the peer's end came without its close_notify: whatever came may be a part */
    WIRE_PLAIN_HTTP,  /* a client that speaks no TLS but a word of HTTP */
    WIRE_NOT_TLS,
    WIRE_BROKEN,      /* what TLS forbids: garbage, wrong record, no common version or suite */
    WIRE_NO_MEMORY,
    WIRE_SLOW,        /* a handshake that took too long */
    WIRE_ALERT = 5000, /* + the alert the peer sent, RFC 8446 6 */
    WIRE_VERIFY = 6000 /* + X509_V_ERR_...: why its certificate is not good */
};
/* "Connection refused", "its certificate has expired": for a person, after "connecting failed:" or alone. */
const char *wire_error_text(int error);

static inline struct wire wire_plain(struct worker *w, int fd) { return (struct wire){ .worker = w, .fd = fd }; }

/* >= 0, -EAGAIN, -errno or one of the above. 0 = the peer has finished, and said so. */
static inline ssize_t wire_read(struct wire *w, void *to, size_t room);
/* As world's writev. With TLS what was not taken must come again, unchanged, at the front of the next call. */
static inline ssize_t wire_writev(struct wire *w, const struct iovec *parts, int count);
/* No more writes from us. False: TLS could not yet say so; call again when the socket is writable. */
static inline bool wire_shutdown(struct wire *w);
/* Closes the descriptor without a word, or with a RST. */
void wire_close(struct wire *w, bool reset);
/* Something came that a reader would get: bytes, an end or a failure. With TLS a readable socket may bring a session ticket only. */
static inline bool wire_has_news(struct wire *w);

/* ---- TLS, on a plain wire before its first byte. The wire must stay where it is in memory. False: no memory. ---- */

bool wire_serve_tls(struct wire *w, struct ssl_ctx_st *context);
/* A backend's last session with one context, so that the next handshake is short; one a worker and backend, and it outlives their connections. */
struct tls_session {
    struct ssl_ctx_st *context;
    struct ssl_session_st *session;
};
void tls_session_forget(struct tls_session *s);
/* host: what the certificate must be for, a name or an address. last may be NULL; one of another context is forgotten. */
bool wire_ask_tls(struct wire *w, struct ssl_ctx_st *context, const char *host, struct tls_session *last);
/* After an answer, by when the peer has sent what a later connection may resume. */
void wire_keep_session(struct wire *w, struct tls_session *out);
/* As far as the handshake gets now: 0 = done; -EAGAIN: when readable, or with wants_write when writable. */
int wire_handshake(struct wire *w);
static inline bool wire_is_plain(const struct wire *w) { return w->tls == NULL; }
/* Plain, or TLS with its handshake done. */
bool wire_is_secured(const struct wire *w);
bool wire_has_begun(const struct wire *w); /* a byte has come: whoever only knocked did not fail a handshake */
/* Back to plain: after a failure, when all that comes is thrown away. */
void wire_drop_tls(struct wire *w);

/* At start, before anything uses OpenSSL: its memory is then counted with ours. Without it there is no TLS. */
void wire_library_start(void);

/* ---- inside ---- */

ssize_t tls_read(struct wire *w, void *to, size_t room);
ssize_t tls_writev(struct wire *w, const struct iovec *parts, int count);
bool tls_shutdown(struct wire *w);
bool tls_has_news(struct wire *w);

static inline ssize_t wire_read(struct wire *w, void *to, size_t room)
{
    return LIKELY(w->tls == NULL) ? w->worker->world->read(w->worker->world, w->fd, to, room) : tls_read(w, to, room);
}

static inline ssize_t wire_writev(struct wire *w, const struct iovec *parts, int count)
{
    return LIKELY(w->tls == NULL) ? w->worker->world->writev(w->worker->world, w->fd, parts, count) : tls_writev(w, parts, count);
}

static inline bool wire_shutdown(struct wire *w)
{
    if (UNLIKELY(w->tls != NULL) && !tls_shutdown(w))
        return false;
    w->worker->world->shutdown(w->worker->world, w->fd);
    return true;
}

static inline bool wire_has_news(struct wire *w)
{
    return LIKELY(w->tls == NULL) || tls_has_news(w);
}

#endif
