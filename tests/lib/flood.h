/* flood.h: a seeded flood over a whole gateway in the simulated world: configuration, backends, clients and faults all drawn from one number.
   tests/sim/test_gateway.c runs thousands of them; what must hold is listed at the functions that look at it (flood_check.c, flood_client.c). */
#ifndef WEIR_TESTS_FLOOD_H
#define WEIR_TESTS_FLOOD_H

#include "run/sim.h"
#include "stat/stat.h"
#include <stdbool.h>
#include <stdint.h>

/* Where seeds must come to, now and then: a refusal or another turn that only a policy takes, and its counter. */
#define FLOOD_REACHED(ROW) \
    ROW(limit_requests,    COUNTER_refused_limit_requests,    "requests that a limit on requests refused") \
    ROW(limit_tokens,      COUNTER_refused_limit_tokens,      "requests that a limit on tokens refused") \
    ROW(limit_concurrency, COUNTER_refused_limit_concurrency, "requests that a limit on concurrency refused") \
    ROW(limit_budget,      COUNTER_refused_limit_budget,      "requests that a budget refused") \
    ROW(queue_full,        COUNTER_refused_queue_full,        "requests that a full queue refused") \
    ROW(queue_wait,        COUNTER_refused_queue_wait,        "requests that would have waited too long") \
    ROW(queue_timeout,     COUNTER_refused_queue_timeout,     "requests that did") \
    ROW(throttled,         COUNTER_retries_throttled,         "requests whose retries were throttled") \
    ROW(hedged,            COUNTER_hedges,                    "second calls for requests that were late") \
    ROW(hedges_won,        COUNTER_hedges_won,                "of these, how many were sooner")

enum flood_reached {
#define ROW(name, counter, what) FLOOD_##name,
    FLOOD_REACHED(ROW)
#undef ROW
    FLOOD_REACHED_COUNT
};

struct flood_sum {
    uint64_t requests;  /* sent whole or in part */
    uint64_t whole;     /* answered to the last byte: 200 */
    uint64_t refused;   /* a status and an error body */
    uint64_t cut;       /* begun and not ended well */
    uint64_t left;      /* the client went first, or its connection broke */
    uint64_t steps;     /* of the simulation */
    uint64_t reached[FLOOD_REACHED_COUNT], breakers_opened;
    uint64_t drawn[SIM_FAULT_COUNT], struck[SIM_FAULT_COUNT]; /* seeds that had each fault; how often it happened */
};

/* Runs one seed from start to drain and adds to *sum. What must hold and does not ends the process, with the seed on stderr.
   trace: tells on stderr what clients and backends do. */
void flood_run(uint64_t seed, bool trace, struct flood_sum *sum);

#endif
