/* http_server.c: connections from clients: accepting, heads, and what happens between requests. Requests themselves are in http_request.c. */
#include "net/http_inner.h"
#include <errno.h>
#include <string.h>

#define LISTENERS_MAX 8
#define REQUESTS_PER_CHUNK 16
#define CONNECTIONS_PER_CHUNK 32

struct listener {
    struct watch watch; /* first: a watch is its listener */
    struct http_server *server;
};

struct http_server {
    struct worker *worker;
    struct http_server_options options;
    struct slab requests, connections;
    struct list open;    /* struct downstream */
    struct list running; /* struct http_request with a task */
    struct listener listeners[LISTENERS_MAX];
    unsigned listener_count;
    struct timer accept_again; /* descriptors ran out: the listener's edge is spent, so we come back by the clock */
    struct http_date date;
    uint64_t ids;
    bool draining;
};

struct worker *down_worker(const struct downstream *d) { return d->server->worker; }
const struct http_server_options *down_options(const struct downstream *d) { return &d->server->options; }
bool down_is_draining(const struct downstream *d) { return d->server->draining; }

struct text down_date(struct downstream *d)
{
    return http_date_at(&d->server->date, d->server->worker->wall / NANOS_PER_S);
}

/* ---- the clock of a connection: one lazy timer ---- */

void down_due(struct downstream *d, nanos at)
{
    d->due = at;
    if (at != NEVER && (!heap_has(&d->timer.node) || d->timer.node.at > at))
        timer_set(down_worker(d), &d->timer, at);
}

/* ---- closing ---- */

static void give_request(struct downstream *d)
{
    struct http_request *rq = d->request;
    if (rq == NULL)
        return;
    buf_fini(&rq->body);
    arena_fini(&rq->arena);
    rq->magic = 0;
    slab_give(&d->server->requests, rq);
    d->request = NULL;
}

static void down_free(struct downstream *d)
{
    struct http_server *s = d->server;
    ASSERT(d->request == NULL || d->request->task == NULL);
    watch_stop(s->worker, &d->watch);
    timer_stop(s->worker, &d->timer);
    if (node_is_in(&d->again.node))
        list_remove(&s->worker->turn_end, &d->again.node);
    if (d->aborted)
        s->worker->world->reset(s->worker->world, d->fd);
    else
        s->worker->world->close(s->worker->world, d->fd);
    give_request(d);
    buf_fini(&d->in);
    buf_fini(&d->out);
    list_remove(&s->open, &d->node);
    COUNT_DOWN(s->worker, connections_open);
    d->magic = 0;
    slab_give(&s->connections, d);
}

/* The peer is gone, or must be treated so. A running task learns it as cancellation and ends by itself. */
void down_lost(struct downstream *d)
{
    d->lost = true;
    buf_fini(&d->out);
    if (d->state != DOWN_TASK)
        down_free(d);
    else if (d->request->task != NULL)
        task_cancel(d->request->task, FAIL_CLIENT_GONE);
}

/* Says FIN, then reads away what still comes, so that our last bytes are not destroyed by a RST. */
static void down_linger(struct downstream *d)
{
    give_request(d);
    buf_fini(&d->in);
    d->state = DOWN_LINGER;
    d->lingered = 0;
    down_due(d, d->server->worker->now + LINGER_NS);
    if (buf_len(&d->out) == 0) {
        d->server->worker->world->shutdown(d->server->worker->world, d->fd);
        d->said_fin = true;
    }
}

/* ---- writing ---- */

/* As much as the kernel takes. False if the connection was lost. */
bool down_push(struct downstream *d)
{
    struct worker *w = down_worker(d);
    if (d->write_due == 0)
        d->write_due = w->now + d->server->options.write_timeout;
    while (buf_len(&d->out) > 0 && d->writable) {
        struct iovec part = { (void *)(uintptr_t)buf_text(&d->out).at, buf_len(&d->out) };
        ssize_t n = w->world->writev(w->world, d->fd, &part, 1);
        if (n == -EAGAIN) {
            d->writable = false;
            break;
        }
        if (n < 0) {
            down_lost(d);
            return false;
        }
        COUNT_BY(w, client_sent_bytes, n);
        buf_eat(&d->out, (size_t)n);
        d->write_due = w->now + d->server->options.write_timeout;
    }
    if (buf_len(&d->out) == 0) {
        buf_release_if_empty(&d->out);
        d->write_due = 0;
    } else if (!heap_has(&d->timer.node) || d->timer.node.at > d->write_due) {
        timer_set(w, &d->timer, d->write_due);
    }
    return true;
}

/* ---- heads ---- */

/* 24 letters of five random bits: unique, and no secret hangs on it. splitmix64 (Steele, Lea, Flood 2014) over a seeded counter. */
static void request_id(struct http_server *s, char out[28])
{
    static const char letters[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford's base 32: none is mistaken for another */
    for (int half = 0; half < 2; half++) {
        uint64_t z = (s->ids += 0x9e3779b97f4a7c15ULL);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        z ^= z >> 31;
        for (int i = 0; i < 12; i++, z >>= 5)
            out[half * 12 + i] = letters[z & 31];
    }
    out[24] = 0;
}

static bool take_request(struct downstream *d)
{
    struct http_server *s = d->server;
    struct http_request *rq = slab_take(&s->requests);
    if (rq == NULL)
        return false;
    memset(rq, 0, offsetof(struct http_request, block));
    rq->magic = HTTP_REQUEST_MAGIC;
    rq->from = d;
    rq->peer_text = d->peer_text;
    rq->began = s->worker->now;
    rq->answer_left = -1;
    arena_init(&rq->arena, rq->block, sizeof rq->block, REQUEST_ARENA_MAX);
    buf_init(&rq->body, s->options.body_bytes_max);
    request_id(s, rq->id);
    d->request = rq;
    http_parser_begin(&d->parser, &rq->arena);
    return true;
}

static void count_refusal(struct worker *w, enum fail why)
{
    if (why == FAIL_HEADERS_TOO_LARGE)
        COUNT(w, refused_headers_size);
    else if (why == FAIL_BUSY || why == FAIL_NO_MEMORY)
        COUNT(w, refused_memory);
    else if (why != FAIL_SLOW_BODY)
        COUNT(w, refused_framing);
}

/* A request that never got a task: one whole answer, then the connection ends. False if it is gone already. */
static bool refuse(struct downstream *d, enum fail why, const char *sentence)
{
    struct http_server *s = d->server;
    struct http_request *rq = d->request;
    struct buf body;
    buf_init(&body, 4096);
    count_refusal(s->worker, why);
    struct text path = rq->head != NULL ? rq->head->path : TEXT_NONE;
    enum fail f = s->options.refusal(&body, path, why, sentence, text_of(rq->id), s->options.user);
    rq->answer_close = true;
    if (f == OK)
        f = http_answer_begin(rq, fail_row(why)->http);
    if (f == OK)
        f = http_write_header(&d->out, TEXT("content-type"), TEXT("application/json"));
    if (f == OK)
        f = http_answer_compose(rq, buf_text(&body));
    buf_fini(&body);
    if (f != OK) {
        down_free(d);
        return false;
    }
    if (!down_push(d))
        return false;
    down_linger(d);
    return true;
}

static void request_main(struct task *t, void *arg)
{
    struct http_request *rq = arg;
    struct downstream *d = rq->from;
    CHECK(rq, HTTP_REQUEST);
    d->server->options.handle(t, rq, d->server->options.user);
    http_body_discard(t, rq);
    ASSERT(rq->answer_ended || d->lost || t->cancel != OK);
    rq->task = NULL;
    list_remove(&d->server->running, &rq->node);
    turn_end_ask(down_worker(d), &d->again); /* the rest needs no stack */
}

static bool start_task(struct downstream *d)
{
    struct http_request *rq = d->request;
    d->body_wanted = d->write_waiter = false;
    d->body_fail = OK;
    d->wants_continue = rq->head->expect_continue && !rq->body_read && buf_len(&d->in) == 0;
    rq->task = task_start(d->server->worker, "request", request_main, rq);
    if (rq->task == NULL)
        return refuse(d, FAIL_BUSY, "too many requests are in flight");
    rq->task->story = rq;
    d->state = DOWN_TASK;
    d->due = NEVER;
    list_push(&d->server->running, &rq->node);
    return true;
}

/* The head is whole. A request without a body ends here; of any other the rest is kept until its task asks. */
static enum fail head_whole(struct downstream *d, struct text rest)
{
    struct http_request *rq = d->request;
    struct http_event event;
    size_t eaten = 0;
    rq->head = d->parser.head;
    rq->head_done = rq->body_done = d->server->worker->now;
    if (!rq->head->chunked && rq->head->content_length <= 0) {
        enum fail f = http_parse(&d->parser, rest, &eaten, &event);
        if (f != OK)
            return f;
        ASSERT(event.kind == HTTP_GOT_END);
        rq->body_read = true;
    }
    return buf_add(&d->in, rest.at + eaten, rest.len - eaten);
}

/* Takes bytes of a head. False if the connection is gone. */
static bool feed_head(struct downstream *d, struct text bytes)
{
    struct http_event event;
    size_t eaten;
    if (d->state == DOWN_IDLE) {
        if (!take_request(d)) {
            down_free(d);
            return false;
        }
        d->state = DOWN_HEAD;
        down_due(d, d->server->worker->now + d->server->options.header_timeout);
    }
    enum fail f = http_parse(&d->parser, bytes, &eaten, &event);
    if (f == OK && event.kind == HTTP_NEED_MORE)
        return true;
    if (f == OK)
        f = head_whole(d, (struct text){ bytes.at + eaten, bytes.len - eaten });
    if (f != OK)
        return refuse(d, f, d->parser.why);
    return start_task(d);
}

/* ---- reading ---- */

/* One read. False when there is nothing more now, or the connection is gone. */
static bool read_some(struct downstream *d, struct text *out_bytes)
{
    struct worker *w = down_worker(d);
    ssize_t n = w->world->read(w->world, d->fd, w->scratch, SCRATCH_BYTES);
    if (n > 0) {
        COUNT_BY(w, client_received_bytes, n);
        if (n < SCRATCH_BYTES)
            d->readable = d->half_closed; /* a short read emptied the socket; a new byte is a new edge. A FIN behind it has had its edge */
        *out_bytes = (struct text){ w->scratch, (size_t)n };
        return true;
    }
    d->readable = false;
    if (n != -EAGAIN)
        down_lost(d);
    return false;
}

static void read_away(struct downstream *d)
{
    struct text bytes;
    while (d->readable && read_some(d, &bytes)) {
        d->lingered += bytes.len;
        if (d->lingered > LINGER_BYTES_MAX) {
            down_free(d);
            return;
        }
    }
}

/* While its task runs: body bytes if the task asks for them, else a bounded look-ahead, through which a FIN is noticed. */
void down_read_in_task(struct downstream *d)
{
    struct text bytes;
    while (d->readable && !d->lost) {
        if (!d->body_wanted && buf_len(&d->in) >= PIPELINE_BYTES_MAX)
            return; /* the buffer is full: the rest waits in the kernel */
        if (!read_some(d, &bytes))
            return;
        if (d->body_wanted)
            down_feed_body(d, bytes);
        else if (buf_add_text(&d->in, bytes) != OK)
            down_lost(d);
    }
}

static void read_between(struct downstream *d)
{
    struct text bytes;
    if (d->state == DOWN_IDLE && buf_len(&d->out) > OUT_HIGH_BYTES)
        return; /* a client that asks on and does not read: its next question waits until it has */
    while (d->readable && (d->state == DOWN_IDLE || d->state == DOWN_HEAD)) {
        if (!read_some(d, &bytes))
            return; /* gone or dry */
        if (!feed_head(d, bytes))
            return;
    }
    if (d->state == DOWN_TASK)
        down_read_in_task(d);
    else if (d->state == DOWN_LINGER)
        read_away(d);
}

/* ---- after a request ---- */

static bool may_go_on(const struct downstream *d)
{
    const struct http_request *rq = d->request;
    return !d->lost && rq->answer_ended && !rq->answer_close && rq->body_read && !d->server->draining && http_parser_is_idle(&d->parser);
}

/* The next request, from what came early or from the socket. */
static void go_on(struct downstream *d)
{
    if (buf_len(&d->out) > OUT_HIGH_BYTES)
        return; /* as in read_between: pipelined answers that nobody reads would fill memory */
#ifdef PLANT_pipelined_bytes_lost
    buf_clear(&d->in);
#endif
    if (buf_len(&d->in) > 0) {
        struct buf next = d->in;
        buf_init(&d->in, PIPELINE_BYTES_MAX + SCRATCH_BYTES);
        bool lives = feed_head(d, buf_text(&next));
        buf_fini(&next);
        if (!lives)
            return;
    }
    if (d->readable)
        read_between(d);
}

/* Back on the loop, its task has ended. */
static void request_over(struct worker *w, struct turn_end *self)
{
    struct downstream *d = CONTAINER_OF(self, struct downstream, again);
    if (d->state != DOWN_TASK || d->request->task != NULL)
        return;
    if (d->lost) {
        down_free(d);
        return;
    }
    if (d->aborted && buf_len(&d->out) == 0 && d->request->answer_left < 0 && !d->request->answer_chunked) {
        down_free(d); /* only a RST tells this answer's cut from its end */
        return;
    }
    d->aborted = false;
    if (!may_go_on(d)) {
        if (!d->request->answer_ended && buf_len(&d->out) == 0) { /* cancelled without an answer */
            down_free(d);
            return;
        }
        if (!down_push(d))
            return;
        down_linger(d);
        if (d->readable)
            read_away(d); /* what the look-ahead left: closing over unread bytes would be a RST */
        return;
    }
    give_request(d);
    d->state = DOWN_IDLE;
    down_due(d, w->now + KEEPALIVE_IDLE_NS);
    go_on(d);
}

/* ---- events ---- */

static void on_ready(struct worker *w, struct watch *self, unsigned events)
{
    struct downstream *d = CONTAINER_OF(self, struct downstream, watch);
    CHECK(d, DOWNSTREAM);
    if (events & WATCH_READ)
        d->readable = true;
    if (events & WATCH_HANGUP)
        d->half_closed = true;
    if (events & WATCH_WRITE) {
        d->writable = true;
        if (buf_len(&d->out) > 0 && !down_push(d))
            return;
        if (d->state == DOWN_TASK && d->write_waiter && buf_len(&d->out) <= OUT_HIGH_BYTES / 2 && d->request->task != NULL)
            task_wake(d->request->task);
        if (d->state == DOWN_LINGER && !d->said_fin && buf_len(&d->out) == 0) {
            w->world->shutdown(w->world, d->fd);
            d->said_fin = true;
        }
    }
    if (d->state == DOWN_IDLE)
        go_on(d);
    else if (!d->readable)
        return;
    else if (d->state == DOWN_LINGER)
        read_away(d);
    else if (d->state == DOWN_TASK)
        down_read_in_task(d);
    else
        read_between(d);
}

static void on_time(struct worker *w, struct timer *self)
{
    struct downstream *d = CONTAINER_OF(self, struct downstream, timer);
    nanos due = d->due;
    if (buf_len(&d->out) > 0 && d->state != DOWN_LINGER)
        due = MIN(due, d->write_due);
    if (due == NEVER)
        return;
    if (due > w->now) {
        timer_set(w, &d->timer, due);
    } else if (due == d->write_due && due != d->due) {
        COUNT(w, timeout_write);
        down_lost(d); /* the peer takes nothing */
    } else if (d->state == DOWN_HEAD) {
        COUNT(w, timeout_header);
        refuse(d, FAIL_SLOW_BODY, "the request's head did not arrive in time");
    } else if (d->state != DOWN_TASK) {
        down_free(d); /* idle or lingered long enough */
    }
}

static void open_connection(struct http_server *s, int fd, const struct addr *peer)
{
    struct downstream *d = slab_take(&s->connections);
    if (d == NULL) {
        s->worker->world->close(s->worker->world, fd);
        return;
    }
    memset(d, 0, sizeof *d);
    d->magic = DOWNSTREAM_MAGIC;
    d->server = s;
    d->fd = fd;
    (void)addr_print(peer, d->peer_text);
    d->state = DOWN_IDLE;
    d->due = NEVER;
    d->timer.fire = on_time;
    d->again.run = request_over;
    d->watch = (struct watch){ -1, on_ready };
    buf_init(&d->in, PIPELINE_BYTES_MAX + SCRATCH_BYTES);
    buf_init(&d->out, 1u << 30); /* writers stop at OUT_HIGH_BYTES; one write may pass it */
    struct http_parse_limits limits = { s->options.head_bytes_max, TARGET_BYTES_MAX, HTTP_HEADERS_MAX };
    http_parser_init(&d->parser, HTTP_KIND_REQUEST, &limits);
    list_push(&s->open, &d->node);
    COUNT(s->worker, connections_accepted);
    COUNT(s->worker, connections_open);
    if (watch_start(s->worker, &d->watch, fd, false) != OK) {
        down_free(d);
        return;
    }
    down_due(d, s->worker->now + s->options.header_timeout);
}

static void on_listener(struct worker *w, struct watch *self, unsigned events)
{
    struct listener *l = CONTAINER_OF(self, struct listener, watch);
    struct http_server *s = l->server;
    (void)events;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct addr peer;
        if (list_count(&s->open) >= s->options.connections_max) {
            COUNT(w, connections_refused);
            break;
        }
        int fd = w->world->accept(w->world, self->fd, &peer);
        if (fd == -EAGAIN)
            return;
        if (fd == -ECONNABORTED || fd == -EINTR)
            continue;
        if (fd < 0) {
            COUNT(w, connections_refused);
            break;
        }
        open_connection(s, fd, &peer);
    }
    timer_set(w, &s->accept_again, w->now + NANOS_PER_MS); /* more wait, but the edge is spent */
}

static void on_accept_again(struct worker *w, struct timer *self)
{
    struct http_server *s = CONTAINER_OF(self, struct http_server, accept_again);
    for (unsigned i = 0; i < s->listener_count && !s->draining; i++)
        on_listener(w, &s->listeners[i].watch, WATCH_READ);
}

/* ---- the server ---- */

struct http_server *http_server_new(struct worker *w, const struct http_server_options *options)
{
    struct http_server *s = mem_zero(sizeof *s);
    if (s == NULL)
        return NULL;
    s->worker = w;
    s->options = *options;
    s->ids = worker_random(w);
    slab_init(&s->requests, sizeof(struct http_request), REQUESTS_PER_CHUNK);
    slab_init(&s->connections, sizeof(struct downstream), CONNECTIONS_PER_CHUNK);
    list_init(&s->open);
    list_init(&s->running);
    s->accept_again.fire = on_accept_again;
    return s;
}

void http_server_options(struct http_server *s, const struct http_server_options *options)
{
    s->options = *options;
}

enum fail http_server_listen(struct http_server *s, int fd)
{
    ASSERT(s->listener_count < LISTENERS_MAX);
    struct listener *l = &s->listeners[s->listener_count];
    l->server = s;
    l->watch = (struct watch){ -1, on_listener };
    enum fail f = watch_start(s->worker, &l->watch, fd, true);
    if (f == OK)
        s->listener_count++;
    return f;
}

void http_server_drain(struct http_server *s)
{
    s->draining = true;
    for (unsigned i = 0; i < s->listener_count; i++)
        watch_stop(s->worker, &s->listeners[i].watch);
    timer_stop(s->worker, &s->accept_again);
    LIST_EACH(&s->open, node) {
        struct downstream *d = CONTAINER_OF(node, struct downstream, node);
        if (d->state == DOWN_IDLE)
            down_free(d);
    }
}

unsigned http_server_connections(const struct http_server *s) { return list_count(&s->open); }
unsigned http_server_requests(const struct http_server *s) { return list_count(&s->running); }

void http_server_each(struct http_server *s, void (*fn)(struct http_request *rq, void *arg), void *arg)
{
    LIST_EACH(&s->running, node)
        fn(CONTAINER_OF(node, struct http_request, node), arg);
}

static void cancel_one(struct http_request *rq, void *arg)
{
    task_cancel(rq->task, *(enum fail *)arg);
}

void http_server_cancel_all(struct http_server *s, enum fail why)
{
    http_server_each(s, cancel_one, &why);
}

void http_server_free(struct http_server *s)
{
    ASSERT(list_is_empty(&s->running));
    for (unsigned i = 0; i < s->listener_count; i++)
        watch_stop(s->worker, &s->listeners[i].watch);
    timer_stop(s->worker, &s->accept_again);
    LIST_EACH(&s->open, node)
        down_free(CONTAINER_OF(node, struct downstream, node));
    slab_fini(&s->requests);
    slab_fini(&s->connections);
    mem_free(s);
}
