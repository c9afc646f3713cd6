/* sim_own.h: what the parts of the simulated world share: sim.c (threads, clock, jobs), sim_poll.c (watches), sim_net.c and sim_wire.c (sockets).
   Nobody else includes it. */
#ifndef WEIR_SIM_OWN_H
#define WEIR_SIM_OWN_H

#include "base/random.h"
#include "run/sim.h"

/* ---- chance ---- */

struct sim_random {
    uint64_t state;
};
static inline uint64_t random_next(struct sim_random *r)
{
    return random_step(&r->state);
}
static inline uint64_t random_below(struct sim_random *r, uint64_t n) { return random_next(r) % n; } /* n is small: the bias is not worth a loop */
static inline nanos random_between(struct sim_random *r, nanos low, nanos high)
{
    return high <= low ? low : low + (nanos)random_below(r, (uint64_t)(high - low) + 1);
}
/* A fault that is off draws nothing. */
static inline bool random_chance(struct sim_random *r, unsigned per_mille)
{
    return per_mille > 0 && random_below(r, 1000) < per_mille;
}

/* ---- what happens later ---- */

/* Owned by a socket or a job, so that planning one can never run out of memory. */
struct sim_event {
    struct heap_node node;
    void (*fire)(struct sim *sim, struct sim_event *self);
};

/* ---- the whole ---- */

struct sim_thread;
struct sim_poll;
struct sim_net;

enum sim_trace_tag { TRACE_STEP = 1, TRACE_GATE, TRACE_JUMP, TRACE_ARRIVAL, TRACE_CONNECT, TRACE_ACCEPT, TRACE_READ, TRACE_WRITE, TRACE_CLOSE, TRACE_EDGE, TRACE_JOB };

#define SIM_POLLS_MAX 64       /* one per worker */
#define SIM_POLL_FIRST (1 << 20) /* polls are numbered from here: one taken for a socket is noticed */

struct sim {
    uint32_t magic;
    struct world world;
    struct sim_options options;
    /* Whose turn; the net's delays and faults; what world.random gives. Apart, so that one more draw here leaves the others alone. */
    struct sim_random choice, chance, handed;
    nanos now, began;
    struct heap events;
    uint32_t events_owned; /* the heap has room for all of them */
    uint64_t steps, hash;
    uint64_t struck[SIM_FAULT_COUNT];
    nanos wall_off;              /* what the jumps of the wall clock sum up to */
    unsigned stalled;            /* steps until the clock goes on */
    char why[320];

    struct context main;         /* of whoever called sim_run */
    struct sim_thread *running;  /* NULL between steps */
    struct sim_thread *threads[SIM_THREADS_MAX];
    unsigned thread_count, thread_live;
    void (*on_step)(struct sim *sim, void *arg);
    void *on_step_arg;

    struct slab jobs;
    struct sim_poll *polls[SIM_POLLS_MAX];
    struct slab watches;
    struct sim_net *net;
};

static inline struct sim *sim_of(struct world *w)
{
    struct sim *sim = CONTAINER_OF(w, struct sim, world);
    CHECK(sim, SIM);
    return sim;
}
static inline void sim_trace(struct sim *sim, enum sim_trace_tag tag, uint64_t what)
{
    uint64_t h = (sim->hash ^ ((uint64_t)tag << 56) ^ what) * 0x9e3779b97f4a7c15u;
    sim->hash = h ^ (h >> 29);
}

/* Whether this fault happens now; per_mille is its strength. */
static inline bool sim_strikes(struct sim *sim, enum sim_fault fault, unsigned per_mille)
{
    bool hit = random_chance(&sim->chance, per_mille);
    sim->struck[fault] += hit;
    return hit;
}
#define STRIKES(sim, name) sim_strikes(sim, SIM_FAULT_##name, (sim)->options.faults.name)

/* Room in the heap for `count` more events; sim_events_disown gives it back. */
MUSTUSE enum fail sim_events_own(struct sim *sim, uint32_t count);
void sim_events_disown(struct sim *sim, uint32_t count);

/* ---- sim_poll.c ---- */

/* What can be watched; part of a socket. */
struct sim_watched {
    struct list watches;
};
void sim_poll_init(struct sim *sim); /* puts the poll functions into the world's table, too */
void sim_poll_fini(struct sim *sim);
/* Something happened: every watch that is not shared, and one of the shared ones, will be told. */
void sim_poll_edge(struct sim *sim, struct sim_watched *watched);
void sim_poll_forget(struct sim *sim, struct sim_watched *watched); /* the socket closes */
bool sim_poll_has_news(struct sim *sim, int poll);
/* In sim.c: lets the running thread wait until its poll has news or the moment has come. */
void sim_thread_wait(struct sim *sim, int poll, nanos until);

/* ---- sim_net.c ---- */

MUSTUSE enum fail sim_net_init(struct sim *sim); /* the same for the sockets' functions */
void sim_net_fini(struct sim *sim);
struct sim_watched *sim_net_watched(struct sim *sim, int fd); /* NULL if fd is not open */
unsigned sim_net_readiness(const struct sim_watched *watched); /* WATCH_*: what epoll would report now */

#endif
