/* gate.c: gates. Called by fleet/ and admit/ for what all workers share. */
#include "run/gate.h"

static _Thread_local unsigned held; /* ranks this thread is inside of */

void gate_init(struct gate *g, struct world *world, enum gate_rank rank)
{
    pthread_mutexattr_t how;
    pthread_mutexattr_init(&how);
    pthread_mutexattr_settype(&how, PTHREAD_MUTEX_ADAPTIVE_NP); /* whoever is inside is out again before the kernel could have put another to sleep */
    pthread_mutex_init(&g->lock, &how);
    pthread_mutexattr_destroy(&how);
    g->rank = rank;
    g->world = world;
}

void gate_fini(struct gate *g)
{
    pthread_mutex_destroy(&g->lock);
}

void gate_enter(struct gate *g)
{
    ASSERT(held < (unsigned)g->rank); /* in order, never two of a rank: so no two threads can wait for each other */
    if (g->world->before_gate != NULL && held == 0)
        g->world->before_gate(g->world);
    pthread_mutex_lock(&g->lock);
    held |= (unsigned)g->rank;
}

void gate_leave(struct gate *g)
{
    ASSERT(held & (unsigned)g->rank);
    held &= ~(unsigned)g->rank;
    pthread_mutex_unlock(&g->lock);
}

bool gate_holds_any(void)
{
    return held != 0;
}
