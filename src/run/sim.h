/* sim.h: the simulated world: sockets, threads, jobs and time in memory, single-threaded and seeded. Tests and `weir plan` run the shipped
   gateway in it; behind world.h nobody can tell. One seed is one run, byte for byte.

   A simulated thread runs until it waits in poll_wait (or stands before a gate and the seed lets another go first). Then:
     some thread can go on      the seed picks which; its step costs step_ns of virtual time
     none can                   time jumps to the next delivery, job or `until`
     nothing will ever happen   sim_run returns false, and sim_why says so */
#ifndef WEIR_SIM_H
#define WEIR_SIM_H

#include "run/loop.h"

#define SIM_MAGIC       0x51b0a7e5u
#define SIM_THREADS_MAX 64       /* one per worker, see WORKERS_MAX */
#define SIM_STACK_BYTES 262144   /* of a simulated thread; tasks have their own */
#define SIM_EPOCH       (1767225600LL * NANOS_PER_S) /* 2026-01-01T00:00:00Z, the wall clock when a simulation starts */

/* Every fault, one row: name, what a seeded profile draws at most (per mille of the chances), one profile in how many has it at all, what happens.
   Short reads and writes are followed by an edge, as the kernel's are. */
#define SIM_FAULTS(FAULT) \
    FAULT(short_read,  400,  2, "a read returns fewer bytes than lie there") \
    FAULT(short_write, 400,  2, "a write takes fewer bytes than there is room for") \
    FAULT(split,       600,  2, "a written piece arrives in random parts") \
    FAULT(drip,         20,  2, "a written piece arrives byte by byte") \
    FAULT(delay,       100,  2, "a written piece takes up to delay_max longer, and what follows waits behind it") \
    FAULT(reset,        60,  2, "a connection is reset after a random time or at a random byte") \
    FAULT(refuse,       60,  2, "a connect is refused") \
    FAULT(hang,         30,  2, "a connect is never answered") \
    FAULT(accept_full,  60,  2, "an accept fails with EMFILE; the connection goes on waiting") \
    FAULT(connect_full, 60, 12, "a connect fails with EMFILE") \
    FAULT(half_open,   300, 12, "a connection's other end vanishes after a random time: no FIN, no RST, nothing arrives any more") \
    FAULT(no_memory,   100, 12, "an allocation of a thread's step fails; never one of a spared thread") \
    FAULT(job_full,    300, 12, "a job is refused: the queue is full") \
    FAULT(slow_turn,    20, 12, "a step of a thread that is not spared takes up to turn_max; the others go on") \
    FAULT(wall_jump,     2, 12, "the wall clock goes back an hour, or forward a day") \
    FAULT(leap,          2, 12, "the clock leaps forward by up to leap_max, as after a machine was paused") \
    FAULT(stall,         5, 12, "the clock stands still for some steps")

struct sim_faults { /* per mille */
#define FAULT(name, seeded_max, one_in, what) unsigned name;
    SIM_FAULTS(FAULT)
#undef FAULT
};
enum sim_fault {
#define FAULT(name, seeded_max, one_in, what) SIM_FAULT_##name,
    SIM_FAULTS(FAULT)
#undef FAULT
    SIM_FAULT_COUNT
};
struct sim_faults sim_faults_none(void);
/* A profile drawn from the seed: each fault is off or of some strength; one seed in eight has none at all. */
struct sim_faults sim_faults_seeded(uint64_t seed);

struct sim_options {
    uint64_t seed;
    struct sim_faults faults;
    nanos latency_min, latency_max; /* of a piece of bytes, one way */
    nanos delay_max;                /* on top, for the fault `delay` */
    nanos turn_min, turn_max, leap_max; /* for slow_turn and leap */
    nanos mail_max;                 /* letters between workers take 0..mail_max */
    nanos job_min, job_max;         /* from submitting a job to its end */
    nanos step_ns;                  /* virtual time one step of a thread costs; > 0, or a task that yields would stop the clock */
    unsigned gate_yield;            /* per mille of the gates before which another thread may go first */
    unsigned fds_max;               /* open sockets, then -EMFILE */
    size_t window;                  /* bytes written and not yet read, one direction of a connection */
    uint64_t steps_max;             /* bounds one sim_run against threads that never rest */
};
/* No faults (but delays to 200 ms, turns to 30 ms, leaps to 1 s, should there be some);
   latency 10-300 us, letters to 20 us, jobs 0.1-3 ms, a step 1 us, one gate in four, 4096 sockets, 64 KiB, 50 M steps. */
struct sim_options sim_options_default(uint64_t seed);

struct sim;
/* NULL when out of memory. */
struct sim *sim_new(const struct sim_options *options) MUSTUSE;
/* Frees all, open sockets and unfinished threads too: tests look at sim_sockets_open first. Takes NULL. */
void sim_free(struct sim *sim);
struct world *sim_world(struct sim *sim);
/* Descriptors not closed, connections no one has accepted yet included. */
unsigned sim_sockets_open(const struct sim *sim);

/* A thread that runs fn(arg) within sim_run; name is static. FAIL_BUSY past SIM_THREADS_MAX, FAIL_NO_MEMORY. */
MUSTUSE enum fail sim_thread(struct sim *sim, const char *name, void (*fn)(void *arg), void *arg);
/* The thread made last is the test's own: its allocations do not fail. */
void sim_spare(struct sim *sim);
/* The same for worker_run(w). */
MUSTUSE enum fail sim_worker(struct sim *sim, const char *name, struct worker *w);

/* Runs until until(arg) holds, looked at before each step; NULL: until every thread has ended. False, with the reason in sim_why, after `span` of
   virtual time (NEVER: no limit), steps_max steps, or when nothing will ever happen again. It may be called again to go on. */
MUSTUSE bool sim_run(struct sim *sim, bool (*until)(void *arg), void *arg, nanos span);
const char *sim_why(const struct sim *sim);
/* Called after every step, on sim_run's stack: the place for invariants. */
void sim_on_step(struct sim *sim, void (*fn)(struct sim *sim, void *arg), void *arg);

/* From now on every step of a thread that is not spared takes so long; 0: no time of its own again. */
void sim_slow_turns(struct sim *sim, nanos span);
/* Resets the connection of fd for both its ends, behind what is under way. */
void sim_reset(struct sim *sim, int fd);
/* While on, connects to this address are never answered. FAIL_NO_MEMORY. */
MUSTUSE enum fail sim_blackhole(struct sim *sim, const struct addr *addr, bool on);

/* How often each fault has struck, by enum sim_fault. */
const uint64_t *sim_struck(const struct sim *sim);
/* Steps so far, and a hash over every choice, delivery, read and write: equal for equal seeds. */
uint64_t sim_steps(const struct sim *sim);
uint64_t sim_trace_hash(const struct sim *sim);

#endif
