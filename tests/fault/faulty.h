/* faulty.h: one thing goes wrong in a whole gateway: the Nth allocation, the Nth call of the world, or the client is gone at the Nth moment.
   It stands between the gateway and the simulated world (the table of world.h) and knows whose code runs: clients and backends of the test never fail.
   Used by tests/fault/test_faults.c. */
#ifndef WEIR_TESTS_FAULTY_H
#define WEIR_TESTS_FAULTY_H

#include "lib/actor.h"
#include "lib/house.h"

/* The calls of world.h that can fail. */
#define FAULTY_CALLS(CALL) \
    CALL(accept) CALL(connect) CALL(connect_result) CALL(read) CALL(writev) CALL(poll_new) CALL(poll_add) CALL(poll_wait) CALL(job_submit)

enum faulty_call {
#define CALL(name) CALL_##name,
    FAULTY_CALLS(CALL)
#undef CALL
    CALL_COUNT
};

enum faulty_kind {
    FAULTY_NOTHING,
    FAULTY_MEMORY,        /* the Nth allocation fails */
    FAULTY_CALL,          /* the Nth `call` fails with `error` (of job_submit: an enum fail); EAGAIN is followed by an edge, as the kernel's is */
    FAULTY_CANCEL,        /* whoever parks as the Nth is cancelled, as drain does */
    FAULTY_RESET_AT_PARK, /* the client is gone when a task parks as the Nth */
    FAULTY_FIN_AT_PARK,
    FAULTY_RESET_AT_CALL, /* the client is gone within the Nth call of any kind: what the gateway does on its connection fails from then on */
};

struct faulty_plan {
    enum faulty_kind kind;
    enum faulty_call call;
    int error;
    uint64_t nth; /* 0: never, only count */
};

/* Between house_prepare and house_start. */
void faulty_begin(struct house *h, const struct faulty_plan *plan);
/* Nothing fails from here on. How many chances there were. */
uint64_t faulty_end(void);
/* Has the fault happened? */
bool faulty_struck(void);
/* Runs fn as the gateway's own code: its allocations and calls count. */
void faulty_as_gateway(void (*fn)(void *arg), void *arg);
/* The client that leaves: the first one that is accepted from now on, and its own end. */
void faulty_victim(const struct actor *client);

#endif
