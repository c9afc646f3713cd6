/* sim_poll.c: edge-triggered watches of the simulated world, as epoll has them: an edge puts a watch on its poll's list, and what is told is the readiness
   at the moment of asking. Called by the world's table, and by sim_net.c when something happens to a socket. */
#include "run/sim_own.h"
#include <errno.h>

struct sim_poll {
    struct list watches; /* by in_poll */
    struct list pending; /* by in_pending, in order of their edges */
    bool woken;
};

struct sim_watch {
    struct node in_poll, in_watched, in_pending;
    struct sim_poll *poll;
    struct sim_watched *watched;
    void *subject;
    bool shared;
};

static struct sim_poll *poll_of(struct sim *sim, int poll)
{
    unsigned i = (unsigned)(poll - SIM_POLL_FIRST);
    ASSERT(i < SIM_POLLS_MAX && sim->polls[i] != NULL);
    return sim->polls[i];
}

static int poll_new(struct world *w)
{
    struct sim *sim = sim_of(w);
    for (int i = 0; i < SIM_POLLS_MAX; i++) {
        if (sim->polls[i] != NULL)
            continue;
        struct sim_poll *p = sim->polls[i] = mem_zero(sizeof *p);
        if (p == NULL)
            return -ENOMEM;
        list_init(&p->watches);
        list_init(&p->pending);
        return SIM_POLL_FIRST + i;
    }
    return -EMFILE;
}

static void watch_drop(struct sim *sim, struct sim_watch *watch)
{
    if (node_is_in(&watch->in_pending))
        list_remove(&watch->poll->pending, &watch->in_pending);
    list_remove(&watch->poll->watches, &watch->in_poll);
    list_remove(&watch->watched->watches, &watch->in_watched);
    slab_give(&sim->watches, watch);
}

static void poll_free(struct world *w, int poll)
{
    struct sim *sim = sim_of(w);
    struct sim_poll *p = poll_of(sim, poll);
    LIST_EACH(&p->watches, node)
        watch_drop(sim, CONTAINER_OF(node, struct sim_watch, in_poll));
    mem_free(p);
    sim->polls[poll - SIM_POLL_FIRST] = NULL;
}

void sim_poll_fini(struct sim *sim)
{
    for (int i = 0; i < SIM_POLLS_MAX; i++)
        if (sim->polls[i] != NULL)
            poll_free(&sim->world, SIM_POLL_FIRST + i);
    slab_fini(&sim->watches);
}

static struct sim_watch *watch_find(struct sim_poll *p, struct sim_watched *watched)
{
    LIST_EACH(&watched->watches, node) { /* one a worker at most */
        struct sim_watch *watch = CONTAINER_OF(node, struct sim_watch, in_watched);
        if (watch->poll == p)
            return watch;
    }
    return NULL;
}

static void watch_tell(struct sim *sim, struct sim_watch *watch)
{
    if (node_is_in(&watch->in_pending))
        return;
    list_push(&watch->poll->pending, &watch->in_pending);
    sim_trace(sim, TRACE_EDGE, list_count(&watch->poll->pending));
}

static int poll_add(struct world *w, int poll, int fd, void *subject, bool shared)
{
    struct sim *sim = sim_of(w);
    struct sim_poll *p = poll_of(sim, poll);
    struct sim_watched *watched = sim_net_watched(sim, fd);
    if (watched == NULL)
        return -EBADF;
    if (watch_find(p, watched) != NULL)
        return -EEXIST;
    struct sim_watch *watch = slab_take(&sim->watches);
    if (watch == NULL)
        return -ENOMEM;

    *watch = (struct sim_watch){ .poll = p, .watched = watched, .subject = subject, .shared = shared };
    list_push(&p->watches, &watch->in_poll);
    list_push(&watched->watches, &watch->in_watched);
    if (sim_net_readiness(watched) != 0)
        watch_tell(sim, watch);
    return 0;
}

static void poll_remove(struct world *w, int poll, int fd)
{
    struct sim *sim = sim_of(w);
    struct sim_watched *watched = sim_net_watched(sim, fd);
    struct sim_watch *watch = watched != NULL ? watch_find(poll_of(sim, poll), watched) : NULL;
    if (watch != NULL)
        watch_drop(sim, watch);
}

void sim_poll_edge(struct sim *sim, struct sim_watched *watched)
{
    unsigned shared = 0;
    LIST_EACH(&watched->watches, node) {
        struct sim_watch *watch = CONTAINER_OF(node, struct sim_watch, in_watched);
        if (watch->shared)
            shared++;
        else
            watch_tell(sim, watch);
    }
    if (shared == 0)
        return;
    uint64_t chosen = random_below(&sim->choice, shared);
    LIST_EACH(&watched->watches, node) {
        struct sim_watch *watch = CONTAINER_OF(node, struct sim_watch, in_watched);
        if (watch->shared && chosen-- == 0)
            watch_tell(sim, watch);
    }
}

void sim_poll_forget(struct sim *sim, struct sim_watched *watched)
{
    LIST_EACH(&watched->watches, node)
        watch_drop(sim, CONTAINER_OF(node, struct sim_watch, in_watched));
}

/* What was read or written since its edge is no news: epoll does not return for it either. */
static struct sim_watch *first_ready(struct sim_poll *p, unsigned *out_events)
{
    struct node *node;
    while ((node = list_first(&p->pending)) != NULL) {
        struct sim_watch *watch = CONTAINER_OF(node, struct sim_watch, in_pending);
        *out_events = sim_net_readiness(watch->watched);
        if (*out_events != 0)
            return watch;
        list_remove(&p->pending, node);
    }
    return NULL;
}

bool sim_poll_has_news(struct sim *sim, int poll)
{
    unsigned events;
    struct sim_poll *p = poll_of(sim, poll);
    return p->woken || first_ready(p, &events) != NULL;
}

static int poll_wait(struct world *w, int poll, struct world_event *out, int max, nanos until)
{
    struct sim *sim = sim_of(w);
    sim_thread_wait(sim, poll, until);

    struct sim_poll *p = poll_of(sim, poll);
    p->woken = false;
    int n = 0;
    unsigned events;
    struct sim_watch *watch;
    while (n < max && (watch = first_ready(p, &events)) != NULL) {
        list_remove(&p->pending, &watch->in_pending);
        out[n++] = (struct world_event){ watch->subject, events };
    }
    return n;
}

static void poll_wake(struct world *w, int poll)
{
    poll_of(sim_of(w), poll)->woken = true;
}

void sim_poll_init(struct sim *sim)
{
    slab_init(&sim->watches, sizeof(struct sim_watch), 64);
    sim->world.poll_new = poll_new;
    sim->world.poll_free = poll_free;
    sim->world.poll_add = poll_add;
    sim->world.poll_remove = poll_remove;
    sim->world.poll_wait = poll_wait;
    sim->world.poll_wake = poll_wake;
}
