/* conns.c: a worker's connections to backends: idle ones in a list a backend, last used first. */
#include "upstream/upstream.h"
#include "stat/stat.h"
#include "base/limits.h"
#include <errno.h>
#include <string.h>

#define JSON_POOL_BYTES 32768 /* an event of 2 KB; larger ones take memory of their own */

#define SPARES_MAX      16    /* buffers in hand: as many requests as are composed within a turn, most turns */
#define SPARE_BYTES_MAX 16384 /* a larger one goes back to the system */
#define REQUEST_BYTES_MAX (1u << 30)

struct shelf {
    struct conns *conns;
    struct list idle;  /* struct conn; newest first, so that the surplus grows old and closes */
    uint32_t place, addresses; /* versions of the endpoint they lead to */
    uint32_t first;    /* the address that worked last; a hint */
    struct tls_session session; /* the last one with this backend */
};

struct conns {
    struct worker *worker;
    struct shelf shelves[BACKENDS_MAX];
    struct buf spares[SPARES_MAX];
    unsigned spare_count;
    char json_pool[JSON_POOL_BYTES];
    char why[DIAL_WHY_MAX];
};

struct conns *conns_new(struct worker *w)
{
    struct conns *cs = mem_zero(sizeof *cs);
    if (cs == NULL)
        return NULL;
    cs->worker = w;
    for (unsigned i = 0; i < BACKENDS_MAX; i++) {
        cs->shelves[i].conns = cs;
        list_init(&cs->shelves[i].idle);
    }
    return cs;
}

static void close_idle(struct conn *c)
{
    struct shelf *shelf = c->keeper;
    list_remove(&shelf->idle, &c->node);
    conn_free(c);
}

static void idle_too_long(struct worker *w, struct timer *timer)
{
    (void)w;
    close_idle(CONTAINER_OF(timer, struct conn, timer));
}

static void shelf_clear(struct shelf *s)
{
    LIST_EACH(&s->idle, node)
        close_idle(CONTAINER_OF(node, struct conn, node));
}

void conns_free(struct conns *cs)
{
    if (cs == NULL)
        return;
    for (unsigned i = 0; i < BACKENDS_MAX; i++) {
        shelf_clear(&cs->shelves[i]);
        tls_session_forget(&cs->shelves[i].session);
    }
    while (cs->spare_count > 0)
        buf_fini(&cs->spares[--cs->spare_count]);
    mem_free(cs);
}

struct buf conns_buf_take(struct conns *cs)
{
    struct buf b;
    if (cs->spare_count > 0)
        return cs->spares[--cs->spare_count];
    buf_init(&b, REQUEST_BYTES_MAX);
    return b;
}

void conns_buf_give(struct conns *cs, struct buf *b)
{
    buf_clear(b);
    if (b->room == 0 || b->room > SPARE_BYTES_MAX || cs->spare_count == SPARES_MAX)
        buf_fini(b);
    else
        cs->spares[cs->spare_count++] = *b;
}

unsigned conns_idle(const struct conns *cs)
{
    unsigned n = 0;
    for (unsigned i = 0; i < BACKENDS_MAX; i++)
        n += list_count(&cs->shelves[i].idle);
    return n;
}

/* The endpoint has changed: what leads to another place, or to an address that is no longer its own, is closed. */
static void shelf_follow(struct shelf *s, const struct endpoint *e)
{
    LIST_EACH(&s->idle, node) {
        struct conn *c = CONTAINER_OF(node, struct conn, node);
        if (s->place != e->place_version || !addrs_have(&e->addrs, &c->peer))
            close_idle(c);
    }
    s->place = e->place_version;
    s->addresses = e->address_version;
    s->first = 0;
}

static struct conn *take_idle(struct conns *cs, const struct endpoint *e)
{
    struct shelf *shelf = &cs->shelves[e->backend->index];
    if (shelf->addresses != e->address_version)
        shelf_follow(shelf, e);
    struct node *node = list_pop(&shelf->idle);
    if (node == NULL)
        return NULL;
    struct conn *c = CONTAINER_OF(node, struct conn, node);
    timer_stop(cs->worker, &c->timer);
    return c;
}

/* Closes the connection of some backend that is idle longest there. False if all are in use. */
static bool give_up_idle(struct conns *cs)
{
    for (unsigned i = 0; i < BACKENDS_MAX; i++) {
        struct node *node = list_last(&cs->shelves[i].idle);
        if (node == NULL)
            continue;
        close_idle(CONTAINER_OF(node, struct conn, node));
        return true;
    }
    return false;
}

enum fail conns_take(struct task *t, struct conns *cs, const struct endpoint *e, bool fresh, nanos deadline, struct conn **out)
{
    struct conn *c = fresh ? NULL : take_idle(cs, e);
    if (c != NULL) {
        COUNT(cs->worker, upstream_connections_reused);
        *out = c;
        return OK;
    }
    struct shelf *shelf = &cs->shelves[e->backend->index];
    struct dial d = { .first = shelf->first, .session = &shelf->session };
    nanos began = cs->worker->now;
    enum fail f = dial(t, e, deadline, &d, out);
    if (f == FAIL_NO_DESCRIPTORS && give_up_idle(cs)) /* one that nobody uses holds what a request needs */
        f = dial(t, e, deadline, &d, out);
    shelf->first = d.first;
    memcpy(cs->why, d.why, sizeof cs->why);
    if (f == OK) {
        COUNT(cs->worker, upstream_connections_opened);
        RECORD(cs->worker, upstream_connect, cs->worker->now - began);
    } else if (d.error == ETIMEDOUT || d.error == WIRE_SLOW) {
        COUNT(cs->worker, timeout_connect);
    }
    return f;
}

void conns_give(struct conns *cs, const struct endpoint *e, struct conn *c)
{
    struct shelf *shelf = &cs->shelves[e->backend->index];
    if (!conn_is_reusable(c) || shelf->addresses != e->address_version || list_count(&shelf->idle) >= CONNS_IDLE_MAX) {
        conn_free(c);
        return;
    }
    conn_rest(c);
    wire_keep_session(&c->wire, &shelf->session);
    c->keeper = shelf;
    c->on_gone = close_idle;
    c->timer.fire = idle_too_long;
    timer_set(cs->worker, &c->timer, cs->worker->now + CONNS_IDLE_NS);
    list_push_front(&shelf->idle, &c->node);
}

const char *conns_why(const struct conns *cs)
{
    return cs->why;
}

char *conns_json_pool(struct conns *cs, size_t *out_room)
{
    *out_room = sizeof cs->json_pool;
    return cs->json_pool;
}
