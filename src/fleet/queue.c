/* queue.c: who waits for which backends, and whose turn it is. Called by slots.c, always inside the gate. */
#include "fleet/inner.h"

uint64_t queue_accepts(const struct fleet *f, uint64_t use, uint64_t fallback)
{
    if (use & ~f->avoided)
        return use & ~f->avoided;
    if (fallback & ~f->avoided)
        return fallback & ~f->avoided;
    if ((use | fallback) & ~f->shut) { /* one that refused a moment ago comes before one that always fails */
        use &= ~f->shut;
        fallback &= ~f->shut;
    }
    return use ? use : fallback;
}

/* ---- lanes ---- */

void queue_judge(struct fleet *f)
{
    LIST_EACH(&f->lanes, node) {
        struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        lane->accepts = queue_accepts(f, lane->use, lane->fallback);
    }
    f->serve_due = true;
}

static struct lane *lane_find(struct fleet *f, uint64_t use, uint64_t fallback)
{
    LIST_EACH(&f->lanes, node) {
        struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        if (lane->use == use && lane->fallback == fallback)
            return lane;
    }
    if (list_is_empty(&f->lanes_free))
        return NULL;
    struct lane *lane = CONTAINER_OF(list_pop(&f->lanes_free), struct lane, in_lanes);
    lane->use = use;
    lane->fallback = fallback;
    lane->accepts = queue_accepts(f, use, fallback);
    list_push(&f->lanes, &lane->in_lanes);
    return lane;
}

static enum fail lane_enter(struct fleet *f, struct waiter *me)
{
    const struct members *m = roster_members(f->roster, me->pool);
    uint64_t use = m->use & ~me->exclude, fallback = m->fallback & ~me->exclude;
    if ((use | fallback) == 0)
        return FAIL_NO_BACKEND;
    me->lane = lane_find(f, use, fallback);
    if (me->lane == NULL)
        return FAIL_BUSY;
    list_push(&me->lane->waiters, &me->in_lane);
    return OK;
}

static void lane_leave(struct fleet *f, struct waiter *me)
{
    struct lane *lane = me->lane;
    list_remove(lane != NULL ? &lane->waiters : &f->refused, &me->in_lane);
    me->lane = NULL;
    if (lane != NULL && list_is_empty(&lane->waiters)) {
        list_remove(&f->lanes, &lane->in_lanes);
        list_push(&f->lanes_free, &lane->in_lanes);
    }
}

/* ---- the queue ---- */

enum fail queue_add(struct fleet *f, struct waiter *me)
{
    enum fail failure = lane_enter(f, me);
    if (failure != OK)
        return failure;
    me->state = WAITING;
    me->number = f->arrivals++;
    list_push(&f->waiters, &me->in_fleet);
    count_set(&me->pool->waiting, count_now(&me->pool->waiting) + 1);
    return OK;
}

void queue_remove(struct fleet *f, struct waiter *me)
{
    lane_leave(f, me);
    list_remove(&f->waiters, &me->in_fleet);
    count_set(&me->pool->waiting, count_now(&me->pool->waiting) - 1);
}

struct waiter *queue_next(const struct fleet *f)
{
    struct waiter *oldest = NULL;
    LIST_EACH(&f->lanes, node) {
        struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        if ((lane->accepts & f->free) == 0)
            continue;
        struct waiter *first = CONTAINER_OF(list_first(&lane->waiters), struct waiter, in_lane);
        if (oldest == NULL || first->number < oldest->number)
            oldest = first;
    }
    return oldest;
}

/* ---- a reload ---- */

void queue_move(struct fleet *f)
{
    LIST_EACH(&f->waiters, node)
        lane_leave(f, CONTAINER_OF(node, struct waiter, in_fleet));
    LIST_EACH(&f->waiters, node) {
        struct waiter *each = CONTAINER_OF(node, struct waiter, in_fleet);
        each->outcome = lane_enter(f, each);
        if (each->outcome != OK)
            list_push(&f->refused, &each->in_lane);
    }
    f->serve_due = true;
}
