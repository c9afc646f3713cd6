/* queue.c: who waits for which backends, and whose turn it is. Called by slots.c, always inside the gate.

   A lane holds who accepts the same backends; in it, for each class, a line for each tenant, the least served first; in a line waiters, the earliest deadline
   first. Next is of the highest class the line whose tenant was served least, of all lanes with something free for that class. One grant in AGE_TURN of each
   backend goes to the class of who has waited longest, so that none waits for ever; within it tenants and deadlines decide as ever, so that who floods a
   class gains nothing by waiting long. A deadline is a moment, so of one tenant's requests none is passed for ever either. */
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

static bool line_before(const struct treap_node *x, const struct treap_node *y)
{
    const struct line *a = CONTAINER_OF(x, struct line, in_lane), *b = CONTAINER_OF(y, struct line, in_lane);
    return a->counter != b->counter ? a->counter < b->counter : a->number < b->number;
}

static bool waiter_before(const struct treap_node *x, const struct treap_node *y)
{
    const struct waiter *a = CONTAINER_OF(x, struct waiter, in_line), *b = CONTAINER_OF(y, struct waiter, in_line);
    return a->deadline != b->deadline ? a->deadline < b->deadline : a->number < b->number;
}

static struct lane *lane_known(const struct fleet *f, uint64_t use, uint64_t fallback)
{
    LIST_EACH(&f->lanes, node) {
        struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        if (lane->use == use && lane->fallback == fallback)
            return lane;
    }
    return NULL;
}

static struct lane *lane_find(struct fleet *f, uint64_t use, uint64_t fallback)
{
    struct lane *lane = lane_known(f, use, fallback);
    if (lane != NULL)
        return lane;
    struct node *again = list_pop(&f->lanes_free);
    if (again == NULL && f->lanes_made == LANES_MAX)
        return NULL;
    lane = again != NULL ? CONTAINER_OF(again, struct lane, in_lanes) : &f->lane_of[f->lanes_made++];
    lane->use = use;
    lane->fallback = fallback;
    lane->accepts = queue_accepts(f, use, fallback);
    for (int c = 0; c < CONF_CLASSES; c++) {
        list_init(&lane->waiters[c]);
        treap_init(&lane->lines[c], line_before, f->tenants.seed + f->arrivals);
    }
    list_push(&f->lanes, &lane->in_lanes);
    return lane;
}

static void lane_free_if_empty(struct fleet *f, struct lane *lane)
{
    for (int c = 0; c < CONF_CLASSES; c++)
        if (!list_is_empty(&lane->waiters[c]))
            return;
    list_remove(&f->lanes, &lane->in_lanes);
    list_push(&f->lanes_free, &lane->in_lanes);
}

/* ---- lines ---- */

static struct line *line_known(const struct lane *lane, const struct tenant *tn, enum conf_class class)
{
    LIST_EACH(&tn->lines, node) {
        struct line *line = CONTAINER_OF(node, struct line, in_tenant);
        if (line->lane == lane && line->class == class)
            return line;
    }
    return NULL;
}

static struct line *line_find(struct fleet *f, struct lane *lane, struct tenant *tn, enum conf_class class)
{
    struct line *line = line_known(lane, tn, class);
    if (line != NULL)
        return line;
    struct node *again = list_pop(&f->lines_free);
    if (again == NULL && f->lines_made == LINES_MAX)
        return NULL;
    line = again != NULL ? CONTAINER_OF(again, struct line, in_tenant) : &f->line_of[f->lines_made++];
    *line = (struct line){ .lane = lane, .tenant = tn, .class = class, .counter = tn->counter, .number = f->arrivals++, .since = f->now };
    treap_init(&line->waiters, waiter_before, f->tenants.seed + line->number);
    treap_add(&lane->lines[class], &line->in_lane);
    list_push(&tn->lines, &line->in_tenant);
    return line;
}

static void line_free(struct fleet *f, struct line *line)
{
    treap_remove(&line->lane->lines[line->class], &line->in_lane);
    list_remove(&line->tenant->lines, &line->in_tenant);
    list_push(&f->lines_free, &line->in_tenant);
}

struct line *queue_first_line(struct treap *lines)
{
    for (;;) {
        struct treap_node *n = treap_first(lines);
        struct line *line = n != NULL ? CONTAINER_OF(n, struct line, in_lane) : NULL;
        if (line == NULL || line->counter == line->tenant->counter)
            return line;
        treap_remove(lines, n); /* its tenant was served since */
        line->counter = line->tenant->counter;
        treap_add(lines, n);
    }
}

static struct waiter *first_of(const struct line *line)
{
    return CONTAINER_OF(treap_first(&line->waiters), struct waiter, in_line);
}

static enum fail lane_enter(struct fleet *f, struct waiter *me)
{
    const struct members *m = roster_members(f->roster, me->pool);
    uint64_t use = m->use & ~me->exclude, fallback = m->fallback & ~me->exclude;
    me->line = NULL;
    if ((use | fallback) == 0)
        return FAIL_NO_BACKEND;
    struct lane *lane = lane_find(f, use, fallback);
    if (lane == NULL)
        return FAIL_BUSY;
    me->line = line_find(f, lane, me->tenant, me->class);
    if (me->line == NULL) {
        lane_free_if_empty(f, lane);
        return FAIL_BUSY;
    }
    list_push(&lane->waiters[me->class], &me->in_lane);
    treap_add(&me->line->waiters, &me->in_line);
    return OK;
}

static void lane_leave(struct fleet *f, struct waiter *me)
{
    struct line *line = me->line;
    me->line = NULL;
    if (line == NULL) {
        list_remove(&f->refused, &me->in_lane);
        return;
    }
    struct lane *lane = line->lane;
    list_remove(&lane->waiters[me->class], &me->in_lane);
    treap_remove(&line->waiters, &me->in_line);
    if (treap_count(&line->waiters) == 0)
        line_free(f, line);
    lane_free_if_empty(f, lane);
}

/* ---- the queue ---- */

bool queue_is_full(const struct fleet *f, const struct waiter *me)
{
    const struct members *m = roster_members(f->roster, me->pool);
    if (pool_waiting(me->pool) < m->queue_max)
        return false;
    const struct lane *lane = lane_known(f, m->use & ~me->exclude, m->fallback & ~me->exclude);
    const struct line *line = lane != NULL ? line_known(lane, me->tenant, me->class) : NULL;
    return line != NULL && treap_count(&line->waiters) >= MAX(m->queue_max / treap_count(&lane->lines[me->class]), 1);
}

static void count_waiting(struct fleet *f, const struct waiter *me, int by)
{
    _Atomic uint32_t *waiting = &me->pool->waiting[me->class];
    outlook_note(f, me->pool);
    count_set(waiting, count_now(waiting) + (uint32_t)by);
    me->tenant->waiting += (uint32_t)by;
}

enum fail queue_add(struct fleet *f, struct waiter *me)
{
    me->number = f->arrivals++;
    enum fail failure = lane_enter(f, me);
    if (failure != OK)
        return failure;
    tenant_use(f, me->tenant);
    me->state = WAITING;
    list_push(&f->waiters, &me->in_fleet);
    count_waiting(f, me, 1);
    return OK;
}

void queue_remove(struct fleet *f, struct waiter *me)
{
    lane_leave(f, me);
    list_remove(&f->waiters, &me->in_fleet);
    count_waiting(f, me, -1);
    tenant_rest(f, me->tenant);
}

void queue_raise(struct fleet *f, struct waiter *me, enum conf_class class)
{
    enum conf_class before = me->class;
    queue_remove(f, me);
    me->class = class;
    enum fail failure = queue_add(f, me);
    if (failure != OK) { /* too many lines: there was one for it where it stood */
        me->class = before;
        failure = queue_add(f, me);
    }
    ASSERT(failure == OK);
}

/* Of all lanes that accept some of this set, and something free for the class, the line that is next. */
static struct line *next_line(struct fleet *f, enum conf_class class)
{
    struct line *best = NULL;
    LIST_EACH(&f->lanes, node) {
        struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        struct line *line = (lane->accepts & f->free[class]) != 0 ? queue_first_line(&lane->lines[class]) : NULL;
        if (line == NULL)
            continue;
        bool equal = best != NULL && line->counter == best->counter;
        if (best == NULL || line->counter < best->counter || (equal && waiter_before(&first_of(line)->in_line, &first_of(best)->in_line)))
            best = line;
    }
    return best;
}

/* Where and of which class somebody has waited longest, and longer than AGE_NS, for a backend whose turn of the aged it is. */
static struct line *aged_line(struct fleet *f)
{
    const struct waiter *oldest = NULL;
    if ((f->aged & f->free[CONF_CLASS_HIGH]) == 0) /* what is free for anybody is free for high */
        return NULL;
    LIST_EACH(&f->lanes, node) {
        struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        for (int c = 0; c < CONF_CLASSES; c++) {
            struct node *first = (lane->accepts & f->free[c] & f->aged) != 0 ? list_first(&lane->waiters[c]) : NULL;
            const struct waiter *it = first != NULL ? CONTAINER_OF(first, struct waiter, in_lane) : NULL;
            if (it != NULL && it->since + AGE_NS <= f->now && (oldest == NULL || it->number < oldest->number))
                oldest = it;
        }
    }
    return oldest != NULL ? queue_first_line(&oldest->line->lane->lines[oldest->class]) : NULL;
}

struct waiter *queue_next(struct fleet *f, uint64_t *out_set, bool *out_is_aged)
{
    struct line *line = aged_line(f);
    bool is_aged = line != NULL;
    for (int c = CONF_CLASS_HIGH; c >= CONF_CLASS_LOW && line == NULL; c--)
        line = next_line(f, (enum conf_class)c);
    if (line == NULL)
        return NULL;
    *out_is_aged = is_aged;
    *out_set = line->lane->accepts & f->free[line->class] & (is_aged ? f->aged : ~0ull);
    return first_of(line);
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
