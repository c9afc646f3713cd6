/* quiesce.c: waiting until nobody can look any more. cache/ calls it inside its gate. */
#include "run/quiesce.h"

static bool is_awake(uint64_t turns)
{
    return turns % 2 == 1;
}

void quiesce_begin(struct quiesce *q)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        if (q->worker[i] != NULL)
            q->turns[i] = atomic_fetch_add_explicit(&q->worker[i]->turns, 0, memory_order_acq_rel);
}

bool quiesce_passed(const struct quiesce *q)
{
    for (unsigned i = 0; i < WORKERS_MAX; i++) /* one that came behind quiesce_begin has 0 there */
        if (q->worker[i] != NULL && is_awake(q->turns[i]) && atomic_load_explicit(&q->worker[i]->turns, memory_order_acquire) == q->turns[i])
            return false;
    return true;
}
