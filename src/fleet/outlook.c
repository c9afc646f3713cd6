/* outlook.c: how long a request will wait, from what was measured: how long each backend's slots are held, and how many of the last ten seconds' grants went
   to classes above. Called by slots.c inside the gate: to refuse who would wait too long, and to tell the others. */
#include "fleet/inner.h"

#define SERVICE_WEIGHT  8   /* one in eight: the average forgets a change of load within about 20 answers */
#define SERVICE_MAX_NS  (3600 * NANOS_PER_S) /* longer is no measure of the queue */
#define LINES_LOOKED_AT 64  /* tenants; where more wait these stand for all: looking costs the gate */
#define WAIT_MAX_NS     (86400 * NANOS_PER_S) /* a longer one is as good as never */
#define GRANTS_MIN      4   /* in RATE_NS: fewer are too few to go by */
#define GROWS_SHARE     8   /* of the mean: a backlog that stands goes up and down by less */

/* ---- measuring ---- */

static void move(_Atomic nanos *average, nanos span)
{
    nanos sample = MIN(MAX(span, 1), SERVICE_MAX_NS), mean = atomic_load_explicit(average, memory_order_relaxed);
    atomic_store_explicit(average, mean == 0 ? sample : mean + (sample - mean) / SERVICE_WEIGHT, memory_order_relaxed);
}

void outlook_measure(const struct slot *slot, nanos held)
{
    move(&slot->pool->service_ns, held);
    move(&slot->backend->service_ns, held);
}

void outlook_count(struct rate *r, nanos now, enum conf_class class)
{
    if (now - r->since >= RATE_NS) {
        bool follows = now - r->since < 2 * RATE_NS;
        for (int c = 0; c < CONF_CLASSES; c++) {
            r->before[c] = follows ? r->now[c] : 0;
            r->now[c] = 0;
        }
        r->since = now;
    }
    r->now[class]++;
}

/* A nanosecond. Of the window before counts what a window that ends now still sees of it. */
static double rate_of(const struct rate *r, nanos now, int class)
{
    nanos age = MAX(now - r->since, 0);
    if (age >= 2 * RATE_NS)
        return 0;
    double seen = age >= RATE_NS ? 0 : (double)(RATE_NS - age) / RATE_NS;
    return age >= RATE_NS ? r->now[class] / (double)age : (r->before[class] * seen + r->now[class]) / RATE_NS;
}

/* Moves the mean towards what was true since then. */
static double mean_of(const struct pool *p, nanos now)
{
    double span = (double)MAX(now - p->mean_at, 0);
    return p->waiting_mean + (pool_waiting(p) - p->waiting_mean) * span / (span + RATE_NS);
}

void outlook_note(const struct fleet *f, struct pool *p)
{
    p->waiting_mean = mean_of(p, f->now);
    p->mean_at = f->now;
}

/* Of one line's waiters, who is served before a request whose turn comes when its tenant's counter has come to `turn`. */
static double before_turn(const struct line *line, uint64_t turn, uint64_t cost)
{
    if (line->tenant->counter > turn)
        return 0;
    return MIN(treap_count(&line->waiters), (turn - line->tenant->counter) / cost + 1);
}

static double before_me(const struct lane *lane, const struct waiter *me, uint64_t turn, uint64_t cost)
{
    const struct treap *lines = &lane->lines[me->class];
    double sum = 0;
    unsigned looked = 0;
    for (const struct treap_node *n = treap_first(lines); n != NULL && looked < LINES_LOOKED_AT; n = treap_next(n), looked++) {
        const struct line *line = CONTAINER_OF(n, struct line, in_lane);
        if (line->counter > turn)
            return sum;
        if (line == me->line)
            sum += treap_rank(&me->in_line);
        else
            sum += before_turn(line, turn, cost);
    }
    return looked < LINES_LOOKED_AT ? sum : sum * treap_count(lines) / LINES_LOOKED_AT;
}

struct ahead {
    double same, above;
};

/* Those who may take what I wait for: in lanes that share backends with mine, as much of them as they share. */
static struct ahead ahead_of(const struct fleet *f, const struct waiter *me)
{
    uint64_t mine = me->line->lane->accepts, cost = MAX(f->tenants.cost, 1);
    uint64_t turn = me->tenant->counter + treap_rank(&me->in_line) * cost;
    struct ahead sum = { 0 };
    LIST_EACH(&f->lanes, node) {
        const struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        if ((lane->accepts & mine) == 0)
            continue;
        double share = (double)__builtin_popcountll(lane->accepts & mine) / __builtin_popcountll(lane->accepts);
        sum.same += share * before_me(lane, me, turn, cost);
        for (int c = CONF_CLASS_HIGH; c > (int)me->class; c--)
            sum.above += share * list_count(&lane->waiters[c]);
    }
    return sum;
}

/* Requests a nanosecond. */
struct drain {
    double all, kept, above; /* kept: by the floors of classes above; above: what they took */
    uint32_t slots;
};

static struct drain drain_of(const struct fleet *f, const struct waiter *me)
{
    struct drain d = { 0 };
    uint32_t measured = 0;
    for (uint64_t left = me->line->lane->accepts; left != 0; left &= left - 1) {
        const struct backend *b = f->backends[__builtin_ctzll(left)];
        nanos service = atomic_load_explicit(&b->service_ns, memory_order_relaxed);
        uint32_t limit = count_now(&b->limit), kept = 0;
        d.slots += limit;
        for (int c = CONF_CLASS_HIGH; c > (int)me->class; c--) {
            kept += f->floors.slots[b->index][c];
            d.above += rate_of(&f->grants[b->index], f->now, c);
        }
        if (service == 0)
            continue; /* as the others, for all we know */
        measured += limit;
        d.all += (double)limit / (double)service;
        d.kept += (double)kept / (double)service;
    }
    double scale = measured > 0 ? (double)d.slots / measured : 0;
    d.all *= scale;
    d.kept *= scale;
    return d;
}

/* Either what is ahead is served by what those above leave, or they leave nothing, and the turns of the aged are left. */
static double wait_by_model(const struct drain *d, const struct ahead *ahead)
{
    if (d->all <= 0)
        return 0;
    double above = d->above * RATE_NS >= GRANTS_MIN ? d->above : 0;
    double left = d->all - MAX(above, d->kept), aged = (ahead->same + 1) / (d->all / AGE_TURN);
    return left > 0 ? MIN((ahead->above + ahead->same + 1) / left, aged) : aged;
}

/* A line in which somebody has waited all the time tells best how fast it moves: what comes to the others meanwhile is in that. */
static nanos wait_of(const struct fleet *f, const struct waiter *me, const struct drain *d, const struct ahead *ahead)
{
    const struct line *line = me->line;
    double rate = rate_of(&line->grants, f->now, me->class);
    bool tells = f->now - line->since >= RATE_NS && rate * RATE_NS >= GRANTS_MIN;
    double wait = tells ? (treap_rank(&me->in_line) + 1) / rate : wait_by_model(d, ahead);
    return (nanos)MIN(wait, (double)WAIT_MAX_NS);
}

struct outlook outlook_of(const struct fleet *f, const struct waiter *me)
{
    struct outlook o = { .wait_max = MAX(MIN(me->deadline, me->until) - f->now, 0), .retry_after = NANOS_PER_S };
    if (me->state != WAITING || me->line == NULL)
        return o;
    struct ahead ahead = ahead_of(f, me);
    struct drain drain = drain_of(f, me);
    double mean = mean_of(me->pool, f->now);
    o.position = (uint32_t)(ahead.above + ahead.same) + 1;
    o.wait = wait_of(f, me, &drain, &ahead);
    o.retry_after = MAX(o.wait > o.wait_max ? o.wait - o.wait_max : o.wait, NANOS_PER_S);
    o.grows = pool_waiting(me->pool) - 1 > mean + MAX(mean / GROWS_SHARE, drain.slots); /* besides me */
    return o;
}

/* ---- telling ---- */

struct outlook slot_outlook(const struct waiter *waiter)
{
    struct fleet *f = waiter->pool->fleet;
    gate_enter(&f->gate);
    struct outlook o = outlook_of(f, waiter);
    gate_leave(&f->gate);
    return o;
}

uint32_t pool_waiting_of(const struct pool *p, enum conf_class class)
{
    CHECK(p, POOL);
    return count_now(&p->waiting[class]);
}

uint32_t pool_waiting(const struct pool *p)
{
    return pool_waiting_of(p, CONF_CLASS_LOW) + pool_waiting_of(p, CONF_CLASS_NORMAL) + pool_waiting_of(p, CONF_CLASS_HIGH);
}
