/* health.c: looks after backends whose breaker is open, so that one that comes back is asked again before its time is over. A child of discovery. */
#include "upstream/upstream.h"
#include "stat/stat.h"

#define HEALTH_EVERY_NS  (2 * NANOS_PER_S) /* a second more at random: many gateways shall not look at one backend in step */
#define HEALTH_JITTER_NS NANOS_PER_S
#define HEALTH_WAIT_NS   (2 * NANOS_PER_S) /* for the answer: a list of models takes milliseconds */

struct look {
    const struct health *health;
    const struct endpoint *endpoint;
};

static enum fail ignore(void *arg, struct text bytes)
{
    (void)arg, (void)bytes;
    return OK;
}

/* Where to look: the list of models, which costs nothing, unless a path is configured. */
static struct text path_of(const struct endpoint *e)
{
    if (e->conf->health[0] == '/')
        return text_of(e->conf->health);
    return e->kind == CONF_KIND_OLLAMA ? TEXT("/api/tags") : TEXT("/v1/models");
}

static bool is_up(struct task *t, const struct look *l)
{
    const struct endpoint *e = l->endpoint;
    struct conns *cs = l->health->conns;
    nanos until = t->worker->now + HEALTH_WAIT_NS;
    struct conn *c;
    int status = 0;
    if (text_eq(text_of(e->conf->health), TEXT("tcp"))) {
        enum fail f = conns_take(t, cs, e, true, until, &c);
        if (f == OK)
            conn_free(c);
        return f == OK;
    }
    enum fail f = upstream_get(t, cs, e, path_of(e), until, ignore, NULL, &status);
    return f == OK && (e->conf->health[0] == '/' ? status / 100 == 2 : status < 500); /* one that has no list, or not for our key, lives */
}

static void look_at(struct task *t, void *arg)
{
    const struct look *l = arg;
    bool up = is_up(t, l);
    if (t->cancel != OK)
        return;
    COUNT(t->worker, health_checks);
    if (!up)
        COUNT(t->worker, health_checks_failed);
    backend_checked(t->worker, l->endpoint->backend, up);
}

static bool is_due(const struct endpoint *e)
{
    return atomic_load_explicit(&e->backend->breaker, memory_order_relaxed) == BREAKER_OPEN && !text_eq(text_of(e->conf->health), TEXT("off"));
}

/* All of them at once: one that hangs must not delay the others. */
static void look_round(struct task *t, const struct health *h)
{
    struct look looks[BACKENDS_MAX];
    struct group g;
    uint32_t count;
    enum fail f = OK;
    struct roster *r = fleet_roster(h->fleet);
    const struct endpoint *e = roster_endpoints(r, &count);
    group_init(&g, t);
    for (uint32_t i = 0; i < MIN(count, BACKENDS_MAX) && f == OK; i++) {
        looks[i] = (struct look){ h, &e[i] };
        if (is_due(&e[i]))
            f = group_start(&g, "health", look_at, &looks[i], NULL);
    }
    if (f == OK)
        f = group_wait(&g, g.started, NEVER);
    if (f == FAIL_BUSY || f == FAIL_NO_MEMORY)
        log_line(t->worker, LOG_LEVEL_DEBUG, "health", "%s", fail_row(f)->text); /* the next round finds more room */
    group_end(&g);
    roster_unref(r);
}

bool health_is_due(const struct health *h)
{
    uint32_t count;
    bool any = false;
    struct roster *r = fleet_roster(h->fleet);
    const struct endpoint *e = roster_endpoints(r, &count);
    for (uint32_t i = 0; i < count; i++)
        any = any || is_due(&e[i]);
    roster_unref(r);
    return any;
}

void health_watch(struct task *t, void *arg)
{
    const struct health *h = arg;
    struct worker *w = t->worker;
    while (health_is_due(h) && task_sleep(t, w->now + HEALTH_EVERY_NS + (nanos)(worker_random(w) % HEALTH_JITTER_NS)) == OK)
        look_round(t, h);
}
