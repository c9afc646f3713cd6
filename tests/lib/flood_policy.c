/* flood_policy.c: what a flood's configuration says beyond who answers: limits of keys and tenants, classes, balances, adaptive concurrency, and backends that fail
   for a while. Called by flood.c (what goes into the configuration) and flood_client.c (who a client is).

   In half of the seeds, by dice of its own, so that what else a seed draws does not depend on it. Calm seeds have no limits, no short waits and nothing that fails. */
#include "lib/flood_inner.h"

#define GUESTS 3

static const char *const people[GUESTS] = { "user", "guest", "vip" };

void policy_draw(struct flood *fl)
{
    struct policy *p = &fl->policy;
    p->dice.state = fl->seed ^ 0x90117c7u;
    p->is_on = once_in(&p->dice, 2);
    p->has_limits = p->is_on && !fl->calm && fl->has_keys && !once_in(&p->dice, 3);
    if (!p->is_on)
        return;
    for (unsigned i = 0; i < fl->backends_count && !fl->calm; i++) {
        struct backend_player *b = &fl->backends[i];
        if (!once_in(&p->dice, 3))
            continue;
        b->out_from = (nanos)between(&p->dice, 0, 200) * NANOS_PER_MS;
        b->out_until = b->out_from + (nanos)between(&p->dice, 1, 3000) * NANOS_PER_MS;
    }
}

void policy_of_client(struct client_player *c)
{
    c->policy.state = c->flood->seed * 64 + c->number;
    c->who = c->flood->policy.is_on ? people[below(&c->policy, GUESTS)] : people[0];
}

/* ---- the configuration ---- */

static size_t put_limits(struct flood *fl, size_t at)
{
    struct dice *d = &fl->policy.dice;
    if (!fl->policy.has_limits)
        return at;
    if (once_in(d, 2))
        at = flood_put(fl, at, ", rpm: %u", between(d, 1, 60));
    if (once_in(d, 2))
        at = flood_put(fl, at, ", tpm: %u", between(d, 2000, 60000)); /* the largest request is 8000: nobody is told to wait for an hour */
    if (once_in(d, 2))
        at = flood_put(fl, at, ", concurrency: %u", between(d, 1, 8));
    if (once_in(d, 3))
        at = flood_put(fl, at, ", budget: {usd: 0.0%u, per: 1h}", between(d, 1, 99));
    return at;
}

/* Each key but those whose answers are foreseen. */
size_t policy_keys(struct flood *fl, size_t at)
{
    static const char *const classes[] = { "low", "normal", "high" };
    struct dice *d = &fl->policy.dice;
    bool last_is_shared = false;
    if (!fl->policy.is_on || !fl->has_keys)
        return at;
    at = flood_put(fl, at, "keys:\n  narrow: {key: key-narrow, models: [m0]}\n  boss: {key: key-boss, role: admin}\n");
    for (unsigned i = 0; i < GUESTS; i++) {
        unsigned most = below(d, 3);
        at = flood_put(fl, at, "  %s: {key: key-%s, priority: %s, priority_max: %s", people[i], people[i], classes[below(d, most + 1)], classes[most]);
        last_is_shared = once_in(d, 2);
        at = flood_put(fl, at, last_is_shared ? ", tenant: shared" : "");
        at = flood_put(fl, put_limits(fl, at), "}\n");
    }
    if (!fl->policy.has_limits)
        return at;
    return flood_put(fl, at, "tenants: {%s: {rpm: %u, tpm: %u, concurrency: %u}}\n", last_is_shared ? "shared" : people[GUESTS - 1], between(d, 1, 100), between(d, 2000, 100000), between(d, 1, 12));
}

size_t policy_classes(struct flood *fl, size_t at)
{
    struct dice *d = &fl->policy.dice;
    static const unsigned waits_ms[] = { 5, 100, 1000, 60000 };
    if (!fl->policy.is_on || fl->calm)
        return at;
    return flood_put(fl, at, "classes: {high: {floor: %u, wait: %ums}, normal: {floor: %u, wait: %ums}, low: {wait: %ums}}\n", below(d, 101), waits_ms[below(d, 4)], below(d, 101),
                     waits_ms[below(d, 4)], waits_ms[below(d, 4)]);
}

bool policy_is_adaptive(struct flood *fl)
{
    return fl->policy.is_on && once_in(&fl->policy.dice, 3);
}

const char *policy_balance(struct flood *fl, const char *otherwise)
{
    static const char *const balances[] = { "round_robin", "least_loaded", "power_of_two", "weighted", "affinity" };
    return fl->policy.is_on ? balances[below(&fl->policy.dice, ARRAY_LEN(balances))] : otherwise;
}

const char *policy_price(const struct flood *fl)
{
    return fl->policy.has_limits ? ", price: {in: 2, out: 10}" : "";
}

/* ---- hedging ---- */

const char *policy_hedge(const struct flood *fl)
{
    return fl->hedges ? ", hedge: on" : "";
}

void policy_teach(struct flood *fl)
{
    struct dice d = { fl->seed ^ 0x4ed6eu };
    struct roster *r = fleet_roster(gateway_fleet(fl->house.gateway));
    for (unsigned m = 0; m < fl->models_count && fl->hedges; m++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", m);
        struct pool *p = roster_find(r, text_of(name));
        nanos usual = (nanos)between(&d, 100, 5000) * NANOS_PER_US;
        for (unsigned i = 0; i < POLICY_TAUGHT && p != NULL; i++) {
            pool_first_token(p, i % 2, usual);
            pool_hedge_earn(p);
        }
    }
    roster_unref(r);
}

/* ---- a request ---- */

void policy_head(struct client_player *c, struct buf *out)
{
    static const char *const classes[] = { "low", "normal", "high" };
    if (!c->flood->policy.is_on)
        return;
    if (once_in(&c->policy, 2))
        ASSERT(buf_printf(out, "x-weir-priority: %s\r\n", classes[below(&c->policy, 3)]) == OK);
    if (once_in(&c->policy, 3))
        ASSERT(buf_printf(out, "x-weir-session: s%u\r\n", below(&c->policy, 4)) == OK);
}
