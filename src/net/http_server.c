/* http_server.c: listening sockets, accepting, and the set of a worker's connections. serve/, the admin socket and the mock each open one. */
#include "net/http_inner.h"
#include "base/account.h"
#include <errno.h>
#include <string.h>

#define REQUESTS_PER_CHUNK 16
#define CONNECTIONS_PER_CHUNK 32

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
        if (s->options.spares_memory && account_is_short()) {
            COUNT(w, connections_held);
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
        down_open(s, fd, &peer);
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
        if (d->state == DOWN_IDLE && buf_len(&d->out) > 0)
            down_linger(d); /* its answer is finished and not yet sent */
        else if (d->state == DOWN_IDLE)
            down_free(d);
    }
}

bool http_server_is_quiet(const struct http_server *s)
{
    if (!list_is_empty(&s->running))
        return false;
    LIST_EACH(&s->open, node)
        if (buf_len(&CONTAINER_OF(node, struct downstream, node)->out) > 0)
            return false;
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
    LIST_EACH(&s->open, node)
        down_free(CONTAINER_OF(node, struct downstream, node));
    slab_fini(&s->requests);
    slab_fini(&s->connections);
    mem_free(s);
}
