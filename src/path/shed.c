/* shed.c: weir itself as the bottleneck: a worker whose loop is late (run/lag.c) says no to the lower classes, so that the higher ones are served. Called by the step
   auth, since only then the class is known, and before a byte of body is kept; but for what may be told from memory without parsing (lane.c), which costs about as
   much as a refusal. What is already in is never shed: it has cost most of what it will.
   The highest class that asks is not refused: a refusal costs about two thirds of a call's processor time, so who refuses everybody does little else, stays late,
   and goes on refusing. What bounds that class is that nobody new is accepted past 100 ms (net/http_server.c), which costs nothing.
   The steps at which load is refused by class are Envoy's overload manager's idea; the measure is the loop's own. */
#include "path/path.h"

#define TELL_NS  NANOS_PER_S /* a line a second says enough */
#define ASKED_NS (10 * NANOS_PER_S) /* a class that has not asked for this long needs no room now */

static const struct {
    nanos lag; /* above it the class is refused, if a higher one asks */
    enum counter counter;
} steps[] = {
    [CONF_CLASS_LOW]    = { 20 * NANOS_PER_MS, COUNTER_refused_lag_low },
    [CONF_CLASS_NORMAL] = { 40 * NANOS_PER_MS, COUNTER_refused_lag_normal },
};

static bool higher_asks(const struct desk *d, enum conf_class class, nanos now)
{
    for (unsigned c = class + 1; c < CONF_CLASSES; c++)
        if (now < atomic_load_explicit(&d->asked_until[c], memory_order_relaxed))
            return true;
    return false;
}

static void tell(struct worker *w, struct desk *d)
{
    d->shed++;
    if (w->now - d->shed_told < TELL_NS)
        return;
    log_line(w, LOG_LEVEL_WARN, "overload", "weir itself is too busy: this worker is %lld ms late, and has refused %u requests of lower classes since it last said so",
             (long long)(w->lag / NANOS_PER_MS), d->shed);
    d->shed_told = w->now;
    d->shed = 0;
}

enum fail path_shed(struct task *t, struct request *rq)
{
    struct worker *w = t->worker;
    struct desk *d = rq->desk;
    enum conf_class class = rq->class;
    if (atomic_load_explicit(&d->asked_until[class], memory_order_relaxed) < w->now + ASKED_NS - NANOS_PER_S) /* not each time: workers share the line */
        atomic_store_explicit(&d->asked_until[class], w->now + ASKED_NS, memory_order_relaxed);
    if (class >= ARRAY_LEN(steps) || w->lag <= steps[class].lag || !higher_asks(d, class, w->now))
        return OK;
    rq->is_shed = true;
    return lane_is_possible(rq) ? OK : path_shed_now(t, rq);
}

enum fail path_shed_now(struct task *t, struct request *rq)
{
    struct worker *w = t->worker;
    stat_count(w, steps[rq->class].counter, 1);
    tell(w, rq->desk);
    return because(rq, FAIL_BUSY, "Weir itself is too busy for requests of class %s now; retry later.", conf_class_name(rq->class));
}
