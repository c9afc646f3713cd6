/* actor.c: blocking-style sockets on watches and parked tasks. Called by simulated and real clients and backends in tests. */
#include "actor.h"
#include "base/mem.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

static enum fail fail_of(ssize_t rc)
{
    switch (-rc) {
    case ECONNREFUSED:
        return FAIL_CONNECT;
    case ECONNRESET:
    case EPIPE:
        return FAIL_RESET;
    case EMFILE:
    case ENFILE:
        return FAIL_NO_DESCRIPTORS;
    case ENOMEM:
    case ENOBUFS:
        return FAIL_NO_MEMORY;
    default:
        return FAIL_SYSTEM;
    }
}

static void ready(struct worker *w, struct watch *watch, unsigned events)
{
    struct actor *a = CONTAINER_OF(watch, struct actor, watch);
    (void)w;
    a->events |= events;
    if (a->waiter != NULL)
        task_wake(a->waiter);
}

static enum fail begin(struct worker *w, struct actor *a, int fd)
{
    *a = (struct actor){ .watch = { .fd = -1, .ready = ready }, .worker = w };
    enum fail f = watch_start(w, &a->watch, fd, false);
    if (f != OK)
        w->world->close(w->world, fd);
    return f;
}

/* Until the socket's next edge; woken for nothing is fine, callers try again. */
static enum fail wait_for(struct task *t, struct actor *a, const char *what, nanos deadline)
{
    ASSERT(a->waiter == NULL && a->worker == t->worker);
    a->waiter = t;
    enum fail f = task_park(t, what, deadline);
    a->waiter = NULL;
    return f;
}

enum fail actor_connect(struct task *t, struct actor *a, const struct addr *to, nanos deadline)
{
    struct world *world = t->worker->world;
    int fd = world->connect(world, to);
    if (fd < 0)
        return fail_of(fd);
    enum fail f = begin(t->worker, a, fd);
    if (f != OK)
        return f;
    while (f == OK && a->events == 0) /* its first edge is the answer */
        f = wait_for(t, a, "actor connect", deadline);
    int rc = f == OK ? world->connect_result(world, fd) : 0;
    if (rc < 0)
        f = fail_of(rc);
    if (f != OK)
        actor_close(a);
    return f;
}

enum fail actor_listen(struct worker *w, struct actor *a, const struct addr *at)
{
    int fd = w->world->listen(w->world, at);
    return fd < 0 ? fail_of(fd) : begin(w, a, fd);
}

enum fail actor_accept(struct task *t, struct actor *listener, struct actor *out_a, nanos deadline)
{
    struct world *world = t->worker->world;
    struct addr peer;
    for (;;) {
        int fd = world->accept(world, listener->watch.fd, &peer);
        if (fd >= 0)
            return begin(t->worker, out_a, fd);
        enum fail f = OK;
        if (fd == -EAGAIN)
            f = wait_for(t, listener, "actor accept", deadline);
        else if (fd == -EMFILE && world_now(world) < deadline)
            f = task_sleep(t, t->worker->now + NANOS_PER_MS); /* it still waits, and no edge will say so again */
        else
            f = fail_of(fd);
        if (f != OK)
            return f;
    }
}

void actor_serve(struct task *t, const struct addr *at, task_fn *fn)
{
    struct actor listener;
    ASSERT(actor_listen(t->worker, &listener, at) == OK);
    for (;;) {
        struct actor *a = mem_zero(sizeof *a);
        ASSERT(a != NULL);
        if (actor_accept(t, &listener, a, NEVER) != OK) {
            mem_free(a);
            break;
        }
        ASSERT(task_start(t->worker, "call", fn, a) != NULL);
    }
    actor_close(&listener);
}

static enum fail socket_read(struct task *t, struct actor *a, void *to, size_t room, nanos deadline, size_t *out_n)
{
    struct world *world = t->worker->world;
    for (;;) {
        ssize_t n = world->read(world, a->watch.fd, to, room);
        if (n >= 0) {
            *out_n = (size_t)n;
            return OK;
        }
        enum fail f = n == -EAGAIN ? wait_for(t, a, "actor read", deadline) : fail_of(n);
        if (f != OK)
            return f;
    }
}

static enum fail socket_write_all(struct task *t, struct actor *a, const void *bytes, size_t n, nanos deadline)
{
    struct world *world = t->worker->world;
    size_t put = 0;
    while (put < n) {
        struct iovec part = { (char *)(uintptr_t)bytes + put, n - put };
        ssize_t k = world->writev(world, a->watch.fd, &part, 1);
        enum fail f = OK;
        if (k >= 0)
            put += (size_t)k;
        else
            f = k == -EAGAIN ? wait_for(t, a, "actor write", deadline) : fail_of(k);
        if (f != OK)
            return f;
    }
    return OK;
}

/* ---- TLS, with memory BIOs: bytes go between them and the socket ---- */

static enum fail send_pending(struct task *t, struct actor *a, nanos deadline)
{
    char some[4096];
    enum fail f = OK;
    int n;
    while (f == OK && (n = BIO_read(SSL_get_wbio(a->tls), some, sizeof some)) > 0)
        f = socket_write_all(t, a, some, (size_t)n, deadline);
    return f;
}

/* After OpenSSL could not go on: sends what it has to say, and reads what it waits for. FAIL_PROTOCOL: it is over. */
static enum fail feed(struct task *t, struct actor *a, int result, nanos deadline)
{
    char some[4096];
    size_t n;
    int why = SSL_get_error(a->tls, result);
    ERR_clear_error();
    enum fail f = send_pending(t, a, deadline);
    if (f != OK)
        return f;
    if (why != SSL_ERROR_WANT_READ)
        return FAIL_PROTOCOL;
    f = socket_read(t, a, some, sizeof some, deadline, &n);
    if (f == OK && n == 0)
        return FAIL_RESET; /* no close_notify */
    if (f == OK)
        ASSERT(BIO_write(SSL_get_rbio(a->tls), some, (int)n) == (int)n);
    return f;
}

enum fail actor_secure(struct task *t, struct actor *a, SSL_CTX *context, const char *host, nanos deadline)
{
    struct addr number;
    enum fail f = OK;
    int n;
    a->tls = SSL_new(context);
    ASSERT(a->tls != NULL);
    SSL_set_bio(a->tls, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    if (host == NULL)
        SSL_set_accept_state(a->tls);
    else
        SSL_set_connect_state(a->tls);
    if (host != NULL && addr_from_text(&number, text_of(host), 1))
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(a->tls), host);
    else if (host != NULL)
        SSL_set1_host(a->tls, host), SSL_set_tlsext_host_name(a->tls, host);
    while (f == OK && (n = SSL_do_handshake(a->tls)) != 1)
        f = feed(t, a, n, deadline);
    if (f == OK)
        return send_pending(t, a, deadline);
    size_t left = f == FAIL_PROTOCOL;
    char some[256];
    actor_shutdown(a);
    while (left > 0 && socket_read(t, a, some, sizeof some, deadline, &left) == OK) /* closing over unread bytes would destroy our alert */
        ;
    return f;
}

void actor_finish(struct task *t, struct actor *a)
{
    if (a->tls == NULL || !SSL_is_init_finished(a->tls))
        return;
    (void)SSL_shutdown(a->tls);
    ERR_clear_error();
    enum fail f = send_pending(t, a, NEVER);
    (void)f; /* then it is no clean end */
}

enum fail actor_read(struct task *t, struct actor *a, void *to, size_t room, nanos deadline, size_t *out_n)
{
    if (a->tls == NULL)
        return socket_read(t, a, to, room, deadline, out_n);
    for (;;) {
        int n = SSL_read(a->tls, to, (int)room);
        if (n > 0 || SSL_get_error(a->tls, n) == SSL_ERROR_ZERO_RETURN) {
            *out_n = (size_t)MAX(n, 0);
            return OK;
        }
        enum fail f = feed(t, a, n, deadline);
        if (f != OK)
            return f;
    }
}

enum fail actor_read_all(struct task *t, struct actor *a, void *to, size_t n, nanos deadline)
{
    size_t got = 0;
    while (got < n) {
        size_t k = 0;
        enum fail f = actor_read(t, a, (char *)to + got, n - got, deadline, &k);
        if (f == OK && k == 0)
            f = FAIL_PROTOCOL;
        if (f != OK)
            return f;
        got += k;
    }
    return OK;
}

enum fail actor_write_all(struct task *t, struct actor *a, const void *bytes, size_t n, nanos deadline)
{
    if (a->tls == NULL)
        return socket_write_all(t, a, bytes, n, deadline);
    if (n > 0 && SSL_write(a->tls, bytes, (int)n) != (int)n) {
        ERR_clear_error();
        return FAIL_PROTOCOL;
    }
    return send_pending(t, a, deadline);
}

void actor_shutdown(struct actor *a)
{
    a->worker->world->shutdown(a->worker->world, a->watch.fd);
}

static void end(struct actor *a, void (*how)(struct world *, int fd))
{
    SSL_free(a->tls);
    int fd = a->watch.fd;
    watch_stop(a->worker, &a->watch);
    how(a->worker->world, fd);
}

void actor_close(struct actor *a)
{
    end(a, a->worker->world->close);
}

void actor_reset(struct actor *a)
{
    end(a, a->worker->world->reset);
}
