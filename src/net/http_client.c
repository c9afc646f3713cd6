/* http_client.c: calls on a connection to a backend. Called by upstream's attempts and by discovery, in their own tasks. */
#include "net/http_client.h"
#include "stat/stat.h"
#include <errno.h>
#include <string.h>

static void on_ready(struct worker *w, struct watch *self, unsigned events)
{
    struct conn *c = CONTAINER_OF(self, struct conn, watch);
    (void)w;
    CHECK(c, CONN);
    if (events & WATCH_READ)
        c->readable = true;
    if (events & WATCH_WRITE)
        c->writable = true;
    if (events & WATCH_HANGUP)
        c->half_closed = c->wire.hangup = true;
    if (c->waiter != NULL) {
        task_wake(c->waiter);
    } else if (!wire_has_news(&c->wire) && !c->half_closed) {
        c->readable = false; /* a session ticket */
    } else if (c->readable || c->half_closed) {
        c->gone = true; /* an idle backend has nothing to say but goodbye */
        if (c->on_gone != NULL)
            c->on_gone(c);
    }
}

void conn_free(struct conn *c)
{
    if (c == NULL)
        return;
    CHECK(c, CONN);
    watch_stop(c->worker, &c->watch);
    timer_stop(c->worker, &c->timer);
    if (!wire_is_plain(&c->wire) && c->error == 0)
        (void)wire_shutdown(&c->wire); /* a polite end; if there is no room for it, an end all the same */
    wire_close(&c->wire, false);
    timer_disown(c->worker, 1);
    buf_fini(&c->in);
    c->magic = 0;
    mem_free(c);
}

/* Waits for an edge, as the task that makes this call. */
static enum fail wait_edge(struct task *t, struct conn *c, const char *what, nanos deadline)
{
    c->waiter = t;
    enum fail f = task_park(t, what, deadline);
    return f;
}

void conn_parser_init(struct conn *c)
{
    struct http_parse_limits limits = { CONN_HEAD_BYTES_MAX, 0, HTTP_HEADERS_MAX };
    http_parser_init(&c->parser, HTTP_KIND_RESPONSE, &limits);
}

static struct conn *conn_new(struct worker *w, int fd)
{
    struct conn *c = mem_zero(sizeof *c);
    if (c == NULL || timer_own(w, 1) != OK) {
        mem_free(c);
        return NULL;
    }
    c->magic = CONN_MAGIC;
    c->wire = wire_plain(w, fd);
    c->worker = w;
    c->watch = (struct watch){ -1, on_ready };
    buf_init(&c->in, SCRATCH_BYTES);
    conn_parser_init(c);
    return c;
}

static enum fail finish_connect(struct task *t, struct conn *c, nanos deadline)
{
    struct world *world = c->worker->world;
    while (!c->writable && !c->half_closed) {
        enum fail f = wait_edge(t, c, "connect", deadline);
        if (f == FAIL_TIMEOUT) {
            c->error = ETIMEDOUT;
            return FAIL_CONNECT;
        }
        if (f != OK)
            return f;
    }
    c->error = -world->connect_result(world, c->wire.fd);
    c->connected = c->error == 0;
    return c->connected ? OK : FAIL_CONNECT;
}

enum fail conn_open(struct task *t, const struct addr *to, nanos deadline, struct conn **out, int *out_error)
{
    struct worker *w = t->worker;
    int fd = w->world->connect(w->world, to);
    if (fd < 0) {
        *out_error = -fd;
        return fd == -EMFILE || fd == -ENFILE ? FAIL_NO_DESCRIPTORS : FAIL_CONNECT;
    }
    struct conn *c = conn_new(w, fd);
    if (c == NULL) {
        w->world->close(w->world, fd);
        return FAIL_NO_MEMORY;
    }
    c->peer = *to;
    enum fail f = watch_start(w, &c->watch, fd, false);
    if (f == OK)
        f = finish_connect(t, c, deadline);
    if (f != OK) {
        *out_error = c->error;
        conn_free(c);
        return f;
    }
    *out = c;
    return OK;
}

enum fail conn_secure(struct task *t, struct conn *c, struct ssl_ctx_st *context, const char *host, struct tls_session *last, nanos deadline, int *out_error)
{
    int n = wire_ask_tls(&c->wire, context, host, last) ? -EAGAIN : -WIRE_NO_MEMORY;
    while (n == -EAGAIN) {
        c->readable = false;
        n = wire_handshake(&c->wire);
        if (n != -EAGAIN)
            break;
        if (c->wire.wants_write)
            c->writable = false;
        enum fail f = OK;
        while (f == OK && !c->readable && !(c->wire.wants_write && c->writable))
            f = wait_edge(t, c, "TLS handshake", deadline);
        if (f == FAIL_TIMEOUT)
            n = -WIRE_SLOW;
        else if (f != OK)
            return f;
    }
    *out_error = -n;
    return n == 0 ? OK : n == -WIRE_NO_MEMORY ? FAIL_NO_MEMORY : FAIL_CONNECT;
}

void conn_begin(struct conn *c, struct arena *arena, bool answers_head)
{
    http_parser_begin(&c->parser, arena);
    if (answers_head)
        http_parser_answers_head(&c->parser);
    c->ended = c->any_byte = c->sent = false;
    c->keep_alive = false;
    c->error = 0;
}

/* One attempt to write; moves the parts on. */
static enum fail write_parts(struct conn *c, struct iovec parts[2])
{
    int from = parts[0].iov_len > 0 ? 0 : 1;
    ssize_t n = wire_writev(&c->wire, &parts[from], parts[1].iov_len > 0 ? 2 - from : 1);
    if (n == -EAGAIN) {
        c->writable = false;
        return OK;
    }
    if (n < 0) {
        c->error = (int)-n;
        return FAIL_RESET;
    }
    COUNT_BY(c->worker, upstream_sent_bytes, n);
    for (int i = 0; i < 2 && n > 0; i++) { /* a part without bytes may have no place either */
        size_t k = MIN((size_t)n, parts[i].iov_len);
        parts[i].iov_base = (char *)parts[i].iov_base + k;
        parts[i].iov_len -= k;
        n -= (ssize_t)k;
    }
    return OK;
}

static bool has_answer(struct conn *c)
{
    c->readable = wire_has_news(&c->wire);
    return c->readable;
}

enum fail conn_send(struct task *t, struct conn *c, struct text head, struct text body, nanos deadline)
{
    struct iovec parts[2] = { { (void *)(uintptr_t)head.at, head.len }, { (void *)(uintptr_t)body.at, body.len } };
    CHECK(c, CONN);
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        enum fail f = c->writable ? write_parts(c, parts) : wait_edge(t, c, "backend to read", deadline);
        if (f == FAIL_RESET && c->readable)
            return OK; /* it refused early and said why: the answer tells more than the broken pipe */
        if (f != OK)
            return f;
        if (c->readable && !c->writable && has_answer(c))
            return OK;
    }
    c->sent = true;
    return OK;
}

/* A backend that sends faster than we read would never let us wait, so neither another task nor a deadline would have its turn. */
static enum fail pause_burst(struct task *t, struct conn *c, nanos deadline)
{
    c->burst = 0;
    enum fail f = task_yield(t);
    return f == OK && t->worker->now >= deadline ? FAIL_TIMEOUT : f;
}

#define SHORT_READ_BYTES 4096 /* while memory is short: a thousand answers may each come to their reader's end in the same moment */

/* Bytes into the worker's scratch. OK with len 0: the peer has finished. */
static enum fail read_bytes(struct task *t, struct conn *c, const char *what, nanos deadline, struct text *out)
{
    for (;;) {
        enum fail f = c->burst > CONN_BURST_MAX ? pause_burst(t, c, deadline) : OK;
        while (f == OK && !c->readable) {
            c->burst = 0;
            f = wait_edge(t, c, what, deadline);
        }
        if (f != OK)
            return f;
        size_t most = account_is_short() ? SHORT_READ_BYTES : SCRATCH_BYTES;
        ssize_t n = wire_read(&c->wire, c->worker->scratch, most);
        if (n >= 0) {
            COUNT_BY(c->worker, upstream_received_bytes, n);
            c->any_byte = c->any_byte || n > 0;
            c->burst += (size_t)n;
            if ((size_t)n < most)
                c->readable = c->half_closed || c->wire.at_end;
            *out = (struct text){ c->worker->scratch, (size_t)n };
            return OK;
        }
        c->readable = false;
        if (n != -EAGAIN) {
            c->error = (int)-n;
            return FAIL_RESET;
        }
    }
}

static enum fail keep(struct conn *c, struct text rest)
{
    return rest.len > 0 ? buf_add_text(&c->in, rest) : OK;
}

enum fail conn_head(struct task *t, struct conn *c, nanos deadline, const struct http_head **out_head)
{
    struct http_event event;
    struct text bytes;
    size_t eaten;
    for (;;) {
        enum fail f = read_bytes(t, c, "backend's answer", deadline, &bytes);
        if (f != OK)
            return f;
        if (bytes.len == 0)
            return FAIL_RESET;
        f = http_parse(&c->parser, bytes, &eaten, &event);
        if (f != OK)
            return f;
        if (event.kind == HTTP_GOT_HEAD) {
            c->head_only = true;
            c->keep_alive = c->parser.head->keep_alive;
            *out_head = c->parser.head;
            return keep(c, (struct text){ bytes.at + eaten, bytes.len - eaten });
        }
    }
}

/* Parses all of `bytes`, or up to the answer's end. */
static enum fail feed_body(struct conn *c, struct text bytes, conn_sink *sink, void *arg)
{
    struct http_event event;
    size_t eaten;
    for (;;) {
        enum fail f = http_parse(&c->parser, bytes, &eaten, &event);
        bytes.at += eaten;
        bytes.len -= eaten;
        if (f == OK && event.kind == HTTP_GOT_BODY)
            f = sink(arg, event.body);
        if (f != OK)
            return f;
        if (event.kind == HTTP_GOT_END) {
            c->ended = true;
            if (bytes.len > 0)
                c->keep_alive = false; /* bytes nobody asked for: whose answer would they be? */
            return OK;
        }
        if (event.kind == HTTP_NEED_MORE)
            return OK;
    }
}

static enum fail body_at_eof(struct conn *c)
{
    struct http_event event;
    enum fail f = http_parse_eof(&c->parser, &event);
    c->keep_alive = false;
    if (f == OK)
        c->ended = event.kind == HTTP_GOT_END;
    return f == OK && !c->ended ? FAIL_RESET : f;
}

enum fail conn_body(struct task *t, struct conn *c, nanos deadline, conn_sink *sink, void *arg)
{
    struct text bytes;
    CHECK(c, CONN);
    ASSERT(!c->ended);
    if (c->head_only) { /* what came with the head; also tells whether a body is to come at all */
        bool some = buf_len(&c->in) > 0;
        c->head_only = false;
        enum fail fed = feed_body(c, some ? buf_text(&c->in) : TEXT(""), sink, arg);
        buf_fini(&c->in);
        if (fed != OK || c->ended || some)
            return fed;
    }
    enum fail f = read_bytes(t, c, "backend's bytes", deadline, &bytes);
    if (f != OK)
        return f;
    return bytes.len == 0 ? body_at_eof(c) : feed_body(c, bytes, sink, arg);
}

bool conn_is_reusable(const struct conn *c)
{
    return c->ended && c->sent && c->keep_alive && !c->gone && !c->half_closed && !c->readable && buf_len(&c->in) == 0 && http_parser_is_idle(&c->parser);
}

void conn_rest(struct conn *c)
{
    c->waiter = NULL;
    c->used_before = true;
}
