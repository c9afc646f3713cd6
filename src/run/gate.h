/* gate.h: a mutex for what the whole process shares, held for under a microsecond by functions that cannot park, log, call out or allocate beyond a slab. */
#ifndef WEIR_GATE_H
#define WEIR_GATE_H

#include "run/world.h"
#include <pthread.h>

/* Enter in this order only, never two of a rank. */
enum gate_rank { GATE_TENANT = 1, GATE_POOL = 2, GATE_FLIGHT = 4, GATE_BACKEND = 8, GATE_CACHE = 16 };

struct gate {
    pthread_mutex_t lock;
    enum gate_rank rank;
    struct world *world;
};
void gate_init(struct gate *g, struct world *world, enum gate_rank rank);
void gate_fini(struct gate *g);
void gate_enter(struct gate *g);
void gate_leave(struct gate *g);
bool gate_holds_any(void); /* of this thread */

#endif
