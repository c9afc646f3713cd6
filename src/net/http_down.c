/* http_down.c: a client's connection: reading, writing, closing, and what happens between its requests. Events of the loop drive it. */
#include "net/http_inner.h"
#include "run/release.h"
#include <errno.h>
#include <string.h>

#define LATE_NS (20 * NANOS_PER_MS) /* as shed.c's first step */

struct worker *down_worker(const struct downstream *d) { return d->server->worker; }
const struct http_server_options *down_options(const struct downstream *d) { return &d->server->options; }
bool down_is_draining(const struct downstream *d) { return d->server->draining || d->server->retiring; }

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

void down_give_request(struct downstream *d)
{
    struct http_request *rq = d->request;
    if (rq == NULL)
        return;
    release_buf(down_worker(d), &rq->body);
    if (rq->head_end == NULL)
        arena_wipe(&rq->arena);
    arena_fini(&rq->arena);
    if (rq->head_end != NULL) /* Authorization, and wherever else a client put its key; not the body's tree, which is larger */
        mem_wipe(rq->block, (size_t)(rq->head_end - rq->block));
    rq->magic = 0;
    slab_give(&d->server->requests, rq);
    d->request = NULL;
}

void down_free(struct downstream *d)
{
    struct http_server *s = d->server;
    ASSERT(d->request == NULL || d->request->task == NULL);
    watch_stop(s->worker, &d->watch);
    timer_stop(s->worker, &d->timer);
    if (node_is_in(&d->again.node))
        list_remove(&s->worker->turn_end, &d->again.node);
    if (node_is_in(&d->sated))
        list_remove(&s->sated, &d->sated);
    if (node_is_in(&d->at_door))
        list_remove(&s->door, &d->at_door);
    if (wire_has_begun(&d->wire) && !wire_is_secured(&d->wire))
        COUNT(s->worker, tls_handshakes_failed);
    wire_close(&d->wire, d->aborted);
    down_give_request(d);
    buf_fini(&d->in);
    buf_fini(&d->out);
    list_remove(&s->open, &d->node);
    atomic_fetch_sub_explicit(server_connections(s), 1, memory_order_relaxed);
    timer_disown(s->worker, 1);
    COUNT_DOWN(s->worker, connections_open);
    d->magic = 0;
    slab_give(&s->connections, d);
    http_server_has_room(s);
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

/* Says FIN, then reads away what still comes, so that our last bytes are not destroyed by a RST. An answer whose cut only a RST can tell gets no FIN,
   which would look like its end, but a moment in which it can be read. */
static void say_fin(struct downstream *d)
{
    struct worker *w = down_worker(d);
    d->said_fin = d->aborted || wire_shutdown(&d->wire);
    down_due(d, w->now + (d->aborted ? CUT_READ_NS : LINGER_NS));
}

void down_linger(struct downstream *d)
{
    down_give_request(d);
    buf_fini(&d->in);
    d->state = DOWN_LINGER;
    d->lingered = 0;
    d->due = NEVER; /* while bytes are unsent only timeouts.write ends it */
    if (buf_len(&d->out) == 0)
        say_fin(d);
}

/* ---- writing ---- */

bool down_push_with(struct downstream *d, struct text rest)
{
    struct worker *w = down_worker(d);
    ssize_t n = 0;
    if (d->write_due == 0)
        d->write_due = w->now + d->server->options.write_timeout;
    while (buf_len(&d->out) + rest.len > 0 && d->writable) {
        struct iovec parts[2] = { { (void *)(uintptr_t)buf_text(&d->out).at, buf_len(&d->out) }, { (void *)(uintptr_t)rest.at, rest.len } };
        int from = buf_len(&d->out) == 0;
        n = wire_writev(&d->wire, &parts[from], rest.len > 0 ? 2 - from : 1);
        if (n < 0)
            break;
        COUNT_BY(w, client_sent_bytes, n);
        size_t of_out = MIN((size_t)n, buf_len(&d->out)), of_rest = (size_t)n - of_out;
        buf_eat(&d->out, of_out);
        if (of_rest > 0)
            rest = (struct text){ rest.at + of_rest, rest.len - of_rest };
        d->write_due = w->now + d->server->options.write_timeout;
    }
    d->writable = d->writable && n != -EAGAIN;
    if ((n < 0 && n != -EAGAIN) || buf_add_text(&d->out, rest) != OK) {
        down_lost(d);
        return false;
    }
    if (buf_len(&d->out) == 0) {
        buf_release_if_empty(&d->out);
        d->write_due = 0;
    } else if (!heap_has(&d->timer.node) || d->timer.node.at > d->write_due) {
        timer_set(w, &d->timer, d->write_due);
    }
    return true;
}

/* ---- reading ---- */

static void read_away(struct downstream *d);

/* Who spoke HTTP to a port that wants TLS is told so in HTTP; the alert for all others is on its way already. */
static void handshake_failed(struct downstream *d, int error)
{
    struct worker *w = down_worker(d);
    bool has_begun = wire_has_begun(&d->wire);
    wire_drop_tls(&d->wire); /* what still comes is nobody's, and read away */
    if (!has_begun) {
        down_lost(d);
        return;
    }
    COUNT(w, tls_handshakes_failed);
    if (w->now - d->server->tls_told >= NANOS_PER_S) {
        d->server->tls_told = w->now;
        log_line(w, LOG_LEVEL_DEBUG, "tls", "%s: %s", d->peer_text, wire_error_text(error));
    }
    bool lives = error != WIRE_PLAIN_HTTP || down_refuse_plain(d);
    if (lives && error != WIRE_PLAIN_HTTP)
        down_linger(d);
    if (lives) {
        d->readable = true;
        read_away(d); /* closing over unread bytes would be a RST */
    }
}

/* A sender as fast as we are would otherwise have the loop for itself, and the processor. */
static bool has_share(struct downstream *d)
{
    struct http_server *s = d->server;
    nanos now = s->worker->now;
    if (now - d->share_began >= SHARE_NS) {
        d->share_began = now;
        d->share_left = SHARE_BYTES;
    }
    if (d->share_left == 0 && !node_is_in(&d->sated)) {
        if (!heap_has(&s->next_share.node))
            timer_set(s->worker, &s->next_share, now + SHARE_NS);
        list_push(&s->sated, &d->sated);
    }
    return d->share_left > 0;
}

/* One read. False when there is nothing more now, when its share of this millisecond is used up, or the connection is gone. */
static bool read_some(struct downstream *d, struct text *out_bytes)
{
    struct worker *w = down_worker(d);
    if (!has_share(d))
        return false;
    ssize_t n = wire_read(&d->wire, w->scratch, SCRATCH_BYTES);
    if (n > 0) {
        COUNT_BY(w, client_received_bytes, n);
        d->share_left -= MIN(d->share_left, (uint32_t)n);
        if (n < SCRATCH_BYTES)
            d->readable = d->half_closed || d->wire.at_end; /* a short read emptied the socket; a new byte is a new edge. A FIN behind it has had its edge */
        *out_bytes = (struct text){ w->scratch, (size_t)n };
        return true;
    }
    d->readable = false;
    if (UNLIKELY(d->shaking) && wire_is_secured(&d->wire)) {
        d->shaking = false;
        down_due(d, w->now + d->server->options.header_timeout); /* the handshake had as long for itself */
    }
    if (n != -EAGAIN && !wire_is_secured(&d->wire))
        handshake_failed(d, (int)-n);
    else if (n != -EAGAIN)
        down_lost(d);
    return false;
}

/* What was read may be a head with a key in it, and the scratch lives as long as the worker. */
static void forget(struct text bytes)
{
    mem_wipe((char *)(uintptr_t)bytes.at, bytes.len);
}

static void read_away(struct downstream *d)
{
    struct text bytes;
    while (d->readable && read_some(d, &bytes)) {
        forget(bytes);
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
        forget(bytes);
    }
}

/* Who hung up behind a question that a late worker has only now come to read has given up. In time, it may be one that has said all and waits for its answer. */
static bool gave_up(struct downstream *d)
{
    struct worker *w = down_worker(d);
    if (!d->half_closed || w->lag <= LATE_NS)
        return false;
    COUNT(w, client_left_unheard);
    down_lost(d);
    return true;
}

static void read_between(struct downstream *d)
{
    struct text bytes;
    if (d->state == DOWN_IDLE && buf_len(&d->out) > OUT_HIGH_BYTES)
        return; /* a client that asks on and does not read: its next question waits until it has */
    while (d->readable && (d->state == DOWN_IDLE || d->state == DOWN_HEAD)) {
        if (!read_some(d, &bytes))
            return; /* gone, dry, or others come first */
        bool lives = !gave_up(d) && down_feed_head(d, bytes);
        forget(bytes);
        if (!lives)
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
    if (buf_len(&d->in) > 0) {
        struct buf next = d->in;
        buf_init_secret(&d->in, PIPELINE_BYTES_MAX + SCRATCH_BYTES);
        bool lives = down_feed_head(d, buf_text(&next));
        buf_fini(&next);
        if (!lives)
            return;
    }
    if (d->readable)
        read_between(d);
}

/* What has begun when memory was short is perhaps the operator's. */
static void read_on(struct downstream *d)
{
    account_as(d->state == DOWN_IDLE && account_is_short() ? ACCOUNT_PAGES : ACCOUNT_COMMON);
    if (d->state == DOWN_IDLE)
        go_on(d);
    else if (d->readable && d->state == DOWN_LINGER)
        read_away(d);
    else if (d->readable && d->state == DOWN_TASK)
        down_read_in_task(d);
    else if (d->readable)
        read_between(d);
    account_as(ACCOUNT_COMMON);
}

/* Back on the loop, its task has ended. */
static void request_over(struct worker *w, struct downstream *d)
{
    if (d->lost) {
        down_free(d);
        return;
    }
    d->aborted = d->aborted && d->request->answer_left < 0 && !d->request->answer_chunked; /* else the framing tells its cut from its end */
    if (d->aborted && d->reset_now) {
        down_free(d);
        return;
    }
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
    down_give_request(d);
    d->state = DOWN_IDLE;
    d->idle_since = w->now;
    down_due(d, w->now + KEEPALIVE_IDLE_NS);
    read_on(d);
}

/* ---- events ---- */

/* At a turn's end: its task has ended. */
static void on_again(struct worker *w, struct turn_end *self)
{
    request_over(w, CONTAINER_OF(self, struct downstream, again));
}

void down_next_share(struct worker *w, struct timer *self)
{
    struct http_server *s = CONTAINER_OF(self, struct http_server, next_share);
    (void)w;
    for (unsigned n = list_count(&s->sated); n > 0 && !list_is_empty(&s->sated); n--)
        read_on(CONTAINER_OF(list_pop(&s->sated), struct downstream, sated));
}

static void on_ready(struct worker *w, struct watch *self, unsigned events)
{
    struct downstream *d = CONTAINER_OF(self, struct downstream, watch);
    CHECK(d, DOWNSTREAM);
    if (events & WATCH_READ)
        d->readable = true;
    if (events & WATCH_HANGUP)
        d->half_closed = d->wire.hangup = true;
    if (events & WATCH_WRITE) {
        d->writable = true;
        if (d->wire.wants_write)
            d->readable = true; /* TLS has to say something before it can hear more */
        bool had_unsent = buf_len(&d->out) > 0;
        if (had_unsent && !down_push(d))
            return;
        if (had_unsent && d->state == DOWN_IDLE && buf_len(&d->out) == 0)
            down_due(d, w->now + KEEPALIVE_IDLE_NS); /* idle from now on */
        if (d->state == DOWN_TASK && d->write_waiter && buf_len(&d->out) <= OUT_HIGH_BYTES / 2 && d->request->task != NULL)
            task_wake(d->request->task);
        if (d->state == DOWN_LINGER && !d->said_fin && buf_len(&d->out) == 0)
            say_fin(d);
    }
    read_on(d);
}

static void on_time(struct worker *w, struct timer *self)
{
    struct downstream *d = CONTAINER_OF(self, struct downstream, timer);
    bool unsent = buf_len(&d->out) > 0;
    bool finished = d->state == DOWN_IDLE || d->state == DOWN_LINGER;
    nanos due = !unsent ? d->due : finished ? d->write_due : MIN(d->due, d->write_due); /* a slow reader of a finished answer is not idle */
    if (due == NEVER)
        return;
    if (due > w->now) {
        timer_set(w, &d->timer, due);
    } else if (unsent && due == d->write_due) {
        COUNT(w, timeout_write);
        down_lost(d); /* the peer takes nothing */
    } else if (d->state == DOWN_HEAD) {
        COUNT(w, timeout_header);
        down_refuse(d, FAIL_SLOW_BODY, "the request's head did not arrive in time");
    } else if (d->state != DOWN_TASK) {
        down_free(d); /* idle or lingered long enough */
    }
}

void down_open(struct http_server *s, int fd, const struct addr *peer, bool is_short)
{
    struct downstream *d = slab_take(&s->connections);
    if (d == NULL || timer_own(s->worker, 1) != OK) {
        if (d != NULL)
            slab_give(&s->connections, d);
        s->worker->world->close(s->worker->world, fd);
        return;
    }
    memset(d, 0, sizeof *d);
    d->magic = DOWNSTREAM_MAGIC;
    d->server = s;
    d->wire = wire_plain(s->worker, fd);
    (void)addr_print(peer, d->peer_text);
    d->state = DOWN_IDLE;
    d->idle_since = s->worker->now;
    d->due = NEVER;
    d->timer.fire = on_time;
    d->again.run = on_again;
    d->watch = (struct watch){ -1, on_ready };
    buf_init_secret(&d->in, PIPELINE_BYTES_MAX + SCRATCH_BYTES); /* pipelined heads */
    buf_init(&d->out, 1u << 30); /* writers stop at OUT_HIGH_BYTES; one write may pass it */
    struct http_parse_limits limits = { s->options.head_bytes_max, TARGET_BYTES_MAX, HTTP_HEADERS_MAX };
    http_parser_init(&d->parser, HTTP_KIND_REQUEST, &limits);
    list_push(&s->open, &d->node);
    if (is_short)
        list_push(&s->door, &d->at_door);
    atomic_fetch_add_explicit(server_connections(s), 1, memory_order_relaxed);
    d->shaking = s->options.tls != NULL;
    COUNT(s->worker, connections_accepted);
    COUNT(s->worker, connections_open);
    if (watch_start(s->worker, &d->watch, fd, false) != OK || (s->options.tls != NULL && !wire_serve_tls(&d->wire, s->options.tls))) {
        down_free(d);
        return;
    }
    down_due(d, s->worker->now + s->options.header_timeout);
}
