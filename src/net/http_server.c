/* http_server.c: listening sockets, accepting, and the set of a worker's connections. serve/, the admin socket and the mock each open one. */
#include "net/http_inner.h"
#include <errno.h>
#include <string.h>

#define REQUESTS_PER_CHUNK 16
#define CONNECTIONS_PER_CHUNK 32

/* ---- when there is no room for one more ---- */

#define ACCEPT_PAUSE_NS (20 * NANOS_PER_MS) /* 50 looks a second cost nothing; who waits in the kernel's queue waits this much longer at most */
#define ACCEPT_LAG_NS   (100 * NANOS_PER_MS) /* who comes now would only make those late who are in: the kernel's queue costs us nothing */
#define CALM_LAG_NS     (20 * NANOS_PER_MS) /* as shed.c's first step: below it there is no flood */
#define DOOR_PLACES     16
#define DOOR_NS         (100 * NANOS_PER_MS) /* connecting and asking is one thing for a probe */
#define IDLE_LOOK_MAX   64                  /* connections looked at for one that can go; the list turns, so that all have their turn */
#define IDLE_SPARED_NS  NANOS_PER_S         /* one that was used within this is about to be used again */

/* The longest idle of the next few connections, or NULL: between two requests either side may close, and clients know (RFC 9112 section 9.5). */
static struct downstream *who_can_go(struct http_server *s)
{
    nanos now = s->worker->now;
    struct downstream *oldest = NULL;
    for (unsigned i = MIN(list_count(&s->open), IDLE_LOOK_MAX); i > 0; i--) {
        struct node *node = list_pop(&s->open);
        struct downstream *d = CONTAINER_OF(node, struct downstream, node);
        list_push(&s->open, node);
        bool can_go = d->state == DOWN_IDLE && buf_len(&d->out) == 0 && !d->readable && now - d->idle_since >= IDLE_SPARED_NS;
        if (can_go && (oldest == NULL || d->idle_since < oldest->idle_since))
            oldest = d;
    }
    return oldest;
}

/* The listener's edge is spent while others wait behind it: we come back by the clock, or when one of ours closes. */
static void pause_accept(struct http_server *s, nanos span)
{
    if (!s->paused)
        COUNT(s->worker, accept_pauses);
    s->paused = true;
    timer_set(s->worker, &s->accept_again, s->worker->now + span);
}

/* While memory is short nobody new is served, but for operators, who ask what is wrong: so a few at a time get in. Who then says nothing makes way. */
static struct downstream *who_leaves_the_door(struct http_server *s)
{
    struct downstream *d = CONTAINER_OF(list_first(&s->door), struct downstream, at_door);
    return s->worker->now - d->idle_since >= DOOR_NS ? d : NULL;
}

/* For one more. *out_goes: who goes for it. */
static bool has_place(struct http_server *s, bool is_short, struct downstream **out_goes)
{
    bool is_full = atomic_load_explicit(server_connections(s), memory_order_relaxed) >= s->options.connections_max;
    bool is_crowded = is_short && list_count(&s->door) >= DOOR_PLACES;
    *out_goes = is_crowded ? who_leaves_the_door(s) : is_full ? who_can_go(s) : NULL;
    return (!is_full && !is_crowded) || *out_goes != NULL;
}

/* ---- when the worker itself is the bottleneck ---- */

/* While a poll cannot take all that is ready, those who are in fill the worker: who came now would only make them late. So as many get in as polls can take, whatever
   their requests cost and however often a cgroup stops us, and a request that has begun comes before one that has not. */
static bool is_behind(const struct http_server *s)
{
    return s->options.spares_memory && s->worker->emptied != s->worker->now;
}

static bool is_late(const struct http_server *s)
{
    return s->options.spares_memory && s->worker->lag > ACCEPT_LAG_NS;
}

/* The kernel's queue goes by turns: a long one is full of clients that have given up, whom to accept costs nearly as much as to serve others. With a short one the kernel
   leaves new clients unanswered, at no cost of ours, and they ask again after a second. */
static void keep_queue_short(struct http_server *s, bool short_now)
{
    if (s->short_queue == short_now || (short_now && s->retiring)) /* it is our successor's */
        return;
    s->short_queue = short_now;
    for (unsigned i = 0; i < s->listener_count; i++)
        s->worker->world->backlog(s->worker->world, s->listeners[i].fd, short_now ? ACCEPTS_PER_TURN : BACKLOG_MAX);
}

/* Nobody waits. That alone does not end a flood. */
static void queue_is_empty(struct http_server *s)
{
    s->paused = false;
    if (s->short_queue && s->worker->lag > CALM_LAG_NS)
        timer_set(s->worker, &s->accept_again, s->worker->now + NANOS_PER_S);
    else
        keep_queue_short(s, false);
}

void http_server_has_room(struct http_server *s)
{
    if (s->paused && !s->draining)
        timer_set(s->worker, &s->accept_again, s->worker->now);
}

static void on_listener(struct worker *w, struct watch *self, unsigned events)
{
    struct listener *l = CONTAINER_OF(self, struct listener, watch);
    struct http_server *s = l->server;
    (void)events;
    if (is_behind(s) || is_late(s)) {
        keep_queue_short(s, true);
        pause_accept(s, is_late(s) ? ACCEPT_PAUSE_NS : 0);
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct addr peer;
        struct downstream *goes;
        bool is_short = server_is_short(s);
        int fd = has_place(s, is_short, &goes) ? w->world->accept(w->world, l->fd, &peer) : -EMFILE;
        if (fd == -EAGAIN) {
            queue_is_empty(s);
            return;
        }
        if (fd == -ECONNABORTED || fd == -EINTR)
            continue;
        if (fd < 0) { /* EMFILE, ENFILE, ENOBUFS, ENOMEM */
            pause_accept(s, ACCEPT_PAUSE_NS);
            return;
        }
        s->paused = false;
        if (goes != NULL) { /* only now: before, nobody may have been waiting */
            COUNT(w, connections_dropped);
            down_free(goes);
        }
        account_as(is_short ? ACCOUNT_PAGES : ACCOUNT_COMMON);
        down_open(s, fd, &peer, is_short);
        account_as(ACCOUNT_COMMON);
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
    list_init(&s->sated);
    list_init(&s->door);
    s->accept_again.fire = on_accept_again;
    s->next_share.fire = down_next_share;
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
    l->fd = fd;
    l->watch = (struct watch){ -1, on_listener };
    enum fail f = watch_start(s->worker, &l->watch, fd, true);
    if (f == OK) {
        s->listener_count++;
        s->worker->world->backlog(s->worker->world, fd, BACKLOG_MAX); /* a server that died may have left it short */
    }
    return f;
}

void http_server_drain(struct http_server *s)
{
    for (unsigned i = 0; i < s->listener_count && s->paused; i++)
        on_listener(s->worker, &s->listeners[i].watch, WATCH_READ); /* who waited for us shall see an end, and not wait for nobody */
    s->draining = true;
    for (unsigned i = 0; i < s->listener_count; i++)
        watch_stop(s->worker, &s->listeners[i].watch);
    timer_stop(s->worker, &s->accept_again);
    LIST_EACH(&s->open, node) {
        struct downstream *d = CONTAINER_OF(node, struct downstream, node);
        if (d->state == DOWN_IDLE && buf_len(&d->out) > 0)
            down_linger(d); /* its answer is finished and not yet sent */
        else if (d->state == DOWN_IDLE)
            down_free(d);
    }
}

void http_server_end(struct http_server *s)
{
    s->ended = true;
}

/* Whoever the kernel has announced to us alone would wait for nobody: they are accepted once the watch has gone, until the queue was seen empty (see on_listener);
   whoever comes later is announced to our successor. */
void http_server_retire(struct http_server *s)
{
    s->retiring = true;
    keep_queue_short(s, false);
    for (unsigned i = 0; i < s->listener_count; i++)
        watch_stop(s->worker, &s->listeners[i].watch);
    on_accept_again(s->worker, &s->accept_again);
}

void http_server_sweep(struct http_server *s, nanos idle)
{
    LIST_EACH(&s->open, node) {
        struct downstream *d = CONTAINER_OF(node, struct downstream, node);
        if (d->state == DOWN_IDLE && buf_len(&d->out) == 0 && !d->readable && s->worker->now - d->idle_since >= idle)
            down_linger(d);
    }
}

bool http_server_is_quiet(const struct http_server *s)
{
    if (!list_is_empty(&s->running))
        return false;
    LIST_EACH(&s->open, node) {
        const struct downstream *d = CONTAINER_OF(node, struct downstream, node);
        if (buf_len(&d->out) > 0 || d->aborted) /* a cut answer is read before its connection is reset */
            return false;
    }
    return true;
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
    s->paused = false; /* nobody comes in any more */
    LIST_EACH(&s->open, node)
        down_free(CONTAINER_OF(node, struct downstream, node));
    timer_stop(s->worker, &s->next_share);
    slab_fini(&s->requests);
    slab_fini(&s->connections);
    mem_free(s);
}
