/* shed.c: weir itself as the bottleneck: a worker whose loop is late (run/lag.c) says no while that is still cheap, to the lowest class first. Called by the step
   auth, since only then the class is known, and before a byte of body is kept. What is already in is never shed: it has cost most of what it will.
   The steps at which load is refused by class are Envoy's overload manager's idea; the measure is the loop's own. */
#include "path/path.h"

#define TELL_NS NANOS_PER_S /* a line a second says enough */

static const struct {
    nanos lag; /* above it the class is refused */
    enum counter counter;
} steps[CONF_CLASSES] = {
    [CONF_CLASS_LOW]    = { 20 * NANOS_PER_MS, COUNTER_refused_lag_low },
    [CONF_CLASS_NORMAL] = { 40 * NANOS_PER_MS, COUNTER_refused_lag_normal },
    [CONF_CLASS_HIGH]   = { 80 * NANOS_PER_MS, COUNTER_refused_lag_high },
};

static void tell(struct worker *w, struct desk *d)
{
    d->shed++;
    if (w->now - d->shed_told < TELL_NS)
        return;
    log_line(w, LOG_LEVEL_WARN, "overload", "weir itself is too busy: this worker is %lld ms late, and has refused %u requests since it last said so",
             (long long)(w->lag / NANOS_PER_MS), d->shed);
    d->shed_told = w->now;
    d->shed = 0;
}

enum fail path_shed(struct task *t, struct request *rq)
{
    struct worker *w = t->worker;
    enum conf_class class = rq->who.priority;
    if (w->lag <= steps[class].lag)
        return OK;
    stat_count(w, steps[class].counter, 1);
    tell(w, rq->desk);
    return because(rq, FAIL_BUSY, "Weir itself is too busy for requests of class %s now; retry later.", conf_class_name(class));
}
