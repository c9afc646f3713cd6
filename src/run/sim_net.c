/* sim_net.c: the simulated world's socket calls, descriptors and addresses. Called through the table of world.h; what a call causes later is sim_wire.c's. */
#include "run/sim_wire.h"
#include <errno.h>
#include <string.h>

#define FD_FIRST   3 /* as in a process whose standard streams are open */
#define PORT_FIRST 32768u
#define PORT_COUNT 28232u

/* ---- places ---- */

/* Without what does not identify it (padding, flow labels). */
static struct addr place_addr(const struct addr *a)
{
    struct addr plain;
    memset(&plain, 0, sizeof plain); /* `= { 0 }` promises only the first member of a union, and these bytes are a key */
    plain.any.sa_family = a->any.sa_family;
    switch (a->any.sa_family) {
    case AF_INET:
        plain.in.sin_port = a->in.sin_port;
        plain.in.sin_addr = a->in.sin_addr;
        plain.len = sizeof plain.in;
        break;
    case AF_INET6:
        plain.in6.sin6_port = a->in6.sin6_port;
        plain.in6.sin6_addr = a->in6.sin6_addr;
        plain.len = sizeof plain.in6;
        break;
    default:
        ASSERT(a->any.sa_family == AF_UNIX && a->len <= sizeof plain.un);
        memcpy(&plain.un, &a->un, a->len);
        plain.len = a->len;
    }
    return plain;
}

static struct text place_key(const struct addr *plain)
{
    return (struct text){ (const char *)&plain->any, plain->len };
}

/* Finds or makes it; NULL when out of memory. */
static struct place *place_get(struct sim_net *net, const struct addr *a)
{
    struct addr plain = place_addr(a);
    struct place *place = map_get(&net->by_addr, place_key(&plain));
    if (place != NULL)
        return place;
    place = slab_take(&net->places);
    if (place == NULL)
        return NULL;
    *place = (struct place){ .addr = plain };
    if (map_set(&net->by_addr, place_key(&place->addr), place, NULL) != OK) {
        slab_give(&net->places, place);
        return NULL;
    }
    return place;
}

struct sock *place_listener(struct sim_net *net, const struct place *place)
{
    if (place->listener != NULL || place->addr.any.sa_family == AF_UNIX)
        return place->listener;
    struct addr every = place->addr;
    if (every.any.sa_family == AF_INET)
        every.in.sin_addr.s_addr = htonl(INADDR_ANY);
    else
        every.in6.sin6_addr = in6addr_any;
    const struct place *wild = map_get(&net->by_addr, place_key(&every));
    return wild != NULL ? wild->listener : NULL;
}

/* ---- descriptors ---- */

static struct sock *sock_of(struct sim *sim, int fd)
{
    unsigned i = (unsigned)(fd - FD_FIRST);
    return i < sim->net->rows_used ? sim->net->rows[i].sock : NULL;
}

static bool fd_take(struct sim *sim, struct sock *s)
{
    struct sim_net *net = sim->net;
    int row = net->free_first;
    if (row >= 0)
        net->free_first = net->rows[row].next_free;
    else if (net->rows_used < sim->options.fds_max)
        row = (int)net->rows_used++;
    else
        return false;
    net->rows[row].sock = s;
    s->fd = row + FD_FIRST;
    return true;
}

void fd_give(struct sim_net *net, int fd)
{
    int row = fd - FD_FIRST;
    net->rows[row] = (struct fd_row){ NULL, net->free_first };
    net->free_first = row;
}

/* ---- the calls ---- */

static int net_listen(struct world *w, const struct addr *a)
{
    struct sim *sim = sim_of(w);
    struct place *place = place_get(sim->net, a);
    if (place == NULL)
        return -ENOMEM;
    if (place->listener != NULL)
        return -EADDRINUSE;
    struct sock *s = sock_new(sim, LISTENS, place);
    if (s == NULL)
        return -ENOMEM;
    if (!fd_take(sim, s)) {
        sock_free(sim, s);
        return -EMFILE;
    }
    s->backlog = BACKLOG_MAX;
    place->listener = s;
    return s->fd;
}

static void net_backlog(struct world *w, int listener, int max)
{
    struct sock *s = sock_of(sim_of(w), listener);
    if (s != NULL)
        s->backlog = (unsigned)max;
}

static void peer_addr(const struct sock *s, struct addr *out)
{
    *out = (struct addr){ .any.sa_family = s->place->addr.any.sa_family };
    switch (out->any.sa_family) {
    case AF_INET:
        out->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        out->in.sin_port = htons(s->port);
        out->len = sizeof out->in;
        break;
    case AF_INET6:
        out->in6.sin6_addr = in6addr_loopback;
        out->in6.sin6_port = htons(s->port);
        out->len = sizeof out->in6;
        break;
    default:
        out->len = sizeof out->any.sa_family; /* as the kernel names a unix client that has bound nothing */
    }
}

static int net_accept(struct world *w, int listener, struct addr *out_peer)
{
    struct sim *sim = sim_of(w);
    struct sock *l = sock_of(sim, listener);
    if (l == NULL || l->stage != LISTENS)
        return l == NULL ? -EBADF : -EINVAL;
    struct node *node = list_first(&l->queue);
    if (node == NULL)
        return -EAGAIN;
    struct sock *s = CONTAINER_OF(node, struct sock, in_queue);
    if (STRIKES(sim, accept_full) || !fd_take(sim, s))
        return -EMFILE;
    list_remove(&l->queue, node);
    peer_addr(s, out_peer);
    sim_trace(sim, TRACE_ACCEPT, (uint64_t)s->fd);
    return s->fd;
}

/* What becomes of a connect: 0 if that will be seen, else the errno of one that fails at once, as it may on loopback and for unix sockets. */
static int ask(struct sim *sim, struct sock *s)
{
    if (s->place->blackhole || STRIKES(sim, hang))
        return 0;
    bool refuse = STRIKES(sim, refuse);
    bool nobody = s->place->addr.any.sa_family == AF_UNIX && place_listener(sim->net, s->place) == NULL;
    if (nobody || (refuse && random_below(&sim->chance, 2)))
        return ECONNREFUSED;
    wire_ask(sim, s, refuse);
    return 0;
}

static int net_connect(struct world *w, const struct addr *a)
{
    struct sim *sim = sim_of(w);
    struct place *place = place_get(sim->net, a);
    struct sock *s = place != NULL ? sock_new(sim, ASKS, place) : NULL;
    if (s == NULL)
        return -ENOMEM;
    s->port = (uint16_t)(PORT_FIRST + sim->net->ports++ % PORT_COUNT);
    int error = !STRIKES(sim, connect_full) && fd_take(sim, s) ? ask(sim, s) : EMFILE;
    sim_trace(sim, TRACE_CONNECT, (uint64_t)s->fd << 8 ^ (uint64_t)error);
    if (error != 0) {
        sock_free(sim, s);
        return -error;
    }
    return s->fd;
}

/* An error is told once, by whichever call comes first; then the socket only looks closed (Linux: sock_error). */
static int take_error(struct sock *s)
{
    int error = s->error;
    s->error = 0;
    return -error;
}

static int net_connect_result(struct world *w, int fd)
{
    struct sock *s = sock_of(sim_of(w), fd);
    return s != NULL ? take_error(s) : -EBADF;
}

static ssize_t take_arrived(struct sim *sim, struct sock *s, void *to, size_t room)
{
    size_t n = MIN(room, s->arrived);
    if (n > 1 && STRIKES(sim, short_read)) {
        n = 1 + random_below(&sim->chance, n - 1);
        sim_poll_edge(sim, &s->watched); /* as if the rest had come a moment later: a kernel's short read means that the socket was empty */
    }
    if (n > 0)
        memcpy(to, buf_text(&s->in).at, n);
    buf_eat(&s->in, n);
    s->arrived -= n;
    if (s->peer != NULL && s->peer->wants_room) {
        s->peer->wants_room = false;
        sim_poll_edge(sim, &s->peer->watched);
    }
    return (ssize_t)n;
}

static ssize_t net_read(struct world *w, int fd, void *to, size_t room)
{
    struct sim *sim = sim_of(w);
    struct sock *s = sock_of(sim, fd);
    if (s == NULL || s->stage == LISTENS)
        return s == NULL ? -EBADF : -ENOTCONN;
    ssize_t n = -EAGAIN;
    if (s->arrived > 0)
        n = take_arrived(sim, s, to, room);
    else if (s->stage == BROKEN)
        n = take_error(s); /* 0 the second time: it then reads as finished */
    else if (s->fin_arrived)
        n = 0;
    sim_trace(sim, TRACE_READ, (uint64_t)fd << 32 ^ (uint64_t)n);
    return n;
}

/* How many of total bytes this write takes; fewer means that an edge will follow when there is room, as after a kernel's short write. */
static size_t write_takes(struct sim *sim, struct sock *s, size_t total)
{
    size_t room = s->peer->in.max - buf_len(&s->peer->in);
    size_t n = MIN(total, room);
    if (n > 1 && STRIKES(sim, short_write)) {
        n = 1 + random_below(&sim->chance, n - 1);
        sim_poll_edge(sim, &s->watched); /* there is room again at once */
    } else if (n < total) {
        s->wants_room = true;
    }
    return n;
}

static ssize_t net_writev(struct world *w, int fd, const struct iovec *parts, int count)
{
    struct sim *sim = sim_of(w);
    struct sock *s = sock_of(sim, fd);
    size_t total = 0;
    if (s == NULL || s->stage == LISTENS)
        return s == NULL ? -EBADF : -ENOTCONN;
    if (s->stage == BROKEN)
        return s->error != 0 ? take_error(s) : -EPIPE;
    if (s->stage != OPEN)
        return -EAGAIN; /* the edge of the answer follows */
    if (s->wrote_fin)
        return -EPIPE;
    for (int i = 0; i < count; i++)
        total += parts[i].iov_len;

    if (s->is_mute) { /* the kernel keeps it, and tries to send it again and again, until it has enough */
        size_t n = MIN(total, s->in.max - s->unsent);
        s->unsent += n;
        return n > 0 || total == 0 ? (ssize_t)n : -EAGAIN;
    }
    if (s->peer == NULL) { /* the kernel takes it, and hears from the other side that nobody is there */
        if (s->reset_due == NEVER)
            wire_send_reset(sim, s);
        return (ssize_t)total;
    }
    size_t n = write_takes(sim, s, total);
    if (n == 0)
        return total == 0 ? 0 : -EAGAIN;
    bool doomed = s->cut_after > 0 && n >= s->cut_after;
    if (wire_send(sim, s->peer, parts, doomed ? s->cut_after : n) != OK)
        return -ENOBUFS;
    if (doomed)
        wire_cut(sim, s);
    else if (s->cut_after > 0)
        s->cut_after -= n;
    return (ssize_t)n;
}

static void net_shutdown(struct world *w, int fd)
{
    struct sim *sim = sim_of(w);
    struct sock *s = sock_of(sim, fd);
    if (s == NULL || s->stage != OPEN || s->wrote_fin)
        return;
    s->wrote_fin = true;
    if (s->peer != NULL)
        wire_send_fin(sim, s->peer);
    if (s->fin_arrived)
        sim_poll_edge(sim, &s->watched); /* both have finished: a hangup */
}

static void net_close(struct world *w, int fd)
{
    struct sim *sim = sim_of(w);
    struct sock *s = sock_of(sim, fd);
    ASSERT(s != NULL); /* closed twice: in the real world this may be another's by now */
    sock_close(sim, s, false);
}

static void net_reset(struct world *w, int fd)
{
    struct sim *sim = sim_of(w);
    struct sock *s = sock_of(sim, fd);
    ASSERT(s != NULL);
    sock_close(sim, s, true);
}

/* ---- for sim.c and sim_poll.c ---- */

struct sim_watched *sim_net_watched(struct sim *sim, int fd)
{
    struct sock *s = sock_of(sim, fd);
    return s != NULL ? &s->watched : NULL;
}

static bool has_room(const struct sock *s)
{
    if (s->is_mute)
        return s->unsent < s->in.max;
    return s->peer == NULL || s->wrote_fin || buf_len(&s->peer->in) < s->peer->in.max;
}

unsigned sim_net_readiness(const struct sim_watched *watched)
{
    const struct sock *s = CONTAINER_OF(watched, const struct sock, watched);
    switch (s->stage) {
    case LISTENS:
        return list_is_empty(&s->queue) ? 0 : WATCH_READ;
    case OPEN:
        if (s->fin_arrived && s->wrote_fin)
            return WATCH_READ | WATCH_WRITE | WATCH_HANGUP;
        return (s->arrived > 0 ? WATCH_READ : 0u) | (s->fin_arrived ? WATCH_READ | WATCH_HANGUP : 0u) |
               (has_room(s) ? WATCH_WRITE : 0u);
    case BROKEN:
        return WATCH_READ | WATCH_WRITE | WATCH_HANGUP;
    default:
        return 0;
    }
}

void sim_reset(struct sim *sim, int fd)
{
    struct sock *s = sock_of(sim, fd);
    ASSERT(s != NULL && s->stage != LISTENS);
    wire_cut(sim, s);
}

enum fail sim_blackhole(struct sim *sim, const struct addr *addr, bool on)
{
    struct place *place = place_get(sim->net, addr);
    if (place == NULL)
        return FAIL_NO_MEMORY;
    place->blackhole = on;
    return OK;
}

unsigned sim_sockets_open(const struct sim *sim)
{
    return sim->net->socks.used;
}

enum fail sim_net_init(struct sim *sim)
{
    struct sim_net *net = sim->net = mem_zero(sizeof *net);
    if (net == NULL)
        return FAIL_NO_MEMORY;
    net->free_first = -1;
    slab_init(&net->socks, sizeof(struct sock), 64);
    slab_init(&net->pieces, sizeof(struct piece), 128);
    slab_init(&net->places, sizeof(struct place), 16);
    map_init(&net->by_addr, sim->options.seed);
    net->rows = mem_alloc(sim->options.fds_max * sizeof *net->rows);

    struct world *w = &sim->world;
    w->listen = net_listen;
    w->backlog = net_backlog;
    w->accept = net_accept;
    w->connect = net_connect;
    w->connect_result = net_connect_result;
    w->read = net_read;
    w->writev = net_writev;
    w->shutdown = net_shutdown;
    w->reset = net_reset;
    w->close = net_close;
    return net->rows != NULL ? OK : FAIL_NO_MEMORY;
}

void sim_net_fini(struct sim *sim)
{
    struct sim_net *net = sim->net;
    if (net == NULL)
        return;
    for (unsigned i = 0; i < net->rows_used; i++)
        if (net->rows[i].sock != NULL)
            sock_close(sim, net->rows[i].sock, true);
    slab_fini(&net->socks);
    slab_fini(&net->pieces);
    slab_fini(&net->places);
    map_fini(&net->by_addr);
    mem_free(net->rows);
    mem_free(net);
    sim->net = NULL;
}
