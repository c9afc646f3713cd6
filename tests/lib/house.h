/* house.h: a whole gateway in the simulated world, with room beside it for the clients and backends that a test plays. Used by tests/sim, flows and fault loops. */
#ifndef WEIR_TESTS_HOUSE_H
#define WEIR_TESTS_HOUSE_H

#include "lib/names.h"
#include "run/sim.h"
#include "serve/serve.h"

#define HOUSE_WORKERS 2

struct house {
    struct sim *sim;
    struct world *world;
    struct gateway *gateway;
    struct worker outside;        /* where the test's own tasks run: actors, and mocks */
    struct addr address, admin;   /* of the gateway */
    int listener, admin_listener;
    struct names names;           /* what name servers say */
    const char *yaml;             /* what a reload finds */
    const struct conf *conf;      /* until the gateway has its own reference */
    int64_t blocks_before;        /* mem_alive at the start */
    uint64_t bytes_before;        /* account_used at the start */
    uint64_t seed;
};

/* Starts a gateway with the configuration `yaml` (its listen address is 127.0.0.1:4040 unless it says otherwise). Asserts on a bad configuration. */
void house_open(struct house *h, const struct sim_options *options, const char *yaml);
/* The same in its parts, for who lets them fail: the world and the listeners; the gateway (its failure leaves nothing but conf); threads for its workers and ours. */
void house_prepare(struct house *h, const struct sim_options *options, const char *yaml);
MUSTUSE enum fail house_start(struct house *h);
void house_inhabit(struct house *h);
/* The end of house_close: for a gateway that never was. Asserts that nothing is left. */
void house_leave(struct house *h);
/* Starts a task on the outside worker. */
struct task *house_task(struct house *h, const char *name, task_fn *fn, void *arg);
/* A task for it that takes no argument: a backend at 10.0.0.1:8000 that answers every question plainly and at once. Each must come in one piece. */
void house_backend(struct task *t, void *arg);
/* Runs until until(arg), at most span of virtual time; false with a line on stderr. */
bool house_run(struct house *h, bool (*until)(void *arg), void *arg, nanos span);
/* Drains the gateway, lets the outside's tasks end, and asserts that nothing is left: tasks, sockets, slots, memory. */
void house_close(struct house *h);
uint64_t house_count(struct house *h, enum counter c);

#endif
