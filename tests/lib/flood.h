/* flood.h: a seeded flood over a whole gateway in the simulated world: configuration, backends, clients and faults all drawn from one number.
   tests/sim/test_gateway.c runs thousands of them; what must hold is listed at the functions that look at it (flood_check.c, flood_client.c). */
#ifndef WEIR_TESTS_FLOOD_H
#define WEIR_TESTS_FLOOD_H

#include "run/sim.h"
#include <stdbool.h>
#include <stdint.h>

struct flood_sum {
    uint64_t requests;  /* sent whole or in part */
    uint64_t whole;     /* answered to the last byte: 200 */
    uint64_t refused;   /* a status and an error body */
    uint64_t cut;       /* begun and not ended well */
    uint64_t left;      /* the client went first, or its connection broke */
    uint64_t steps;     /* of the simulation */
    uint64_t hedges, hedges_won; /* second calls for late requests; how many were sooner */
    uint64_t drawn[SIM_FAULT_COUNT], struck[SIM_FAULT_COUNT]; /* seeds that had each fault; how often it happened */
};

/* Runs one seed from start to drain and adds to *sum. What must hold and does not ends the process, with the seed on stderr.
   trace: tells on stderr what clients and backends do. */
void flood_run(uint64_t seed, bool trace, struct flood_sum *sum);

#endif
