/* plan_artillery.c: plans in the common subset of Artillery's form. Called by plan.c. New users arrive at a rate (an open loop); each takes one
   scenario and ends with it. */
#include "bench/plan_inner.h"

struct phase {
    nanos span, pause;
    double rate, ramp, arrivals; /* below 0: not said */
    uint64_t most;
};
struct scenario {
    struct text name;
    uint64_t weight;
    const struct tree *flow;
};

/* ---- what stands in config ---- */

static bool walk(struct planning *p, const struct tree *map, const char *section, void *into);

static bool read_target(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_url(p, value); }
static bool read_variables(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_variables(p, value); }
static bool read_payload(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_payload(p, value); }
static bool read_defaults(struct planning *p, const struct tree *value, void *into) { return walk(p, value, "defaults", into); }
static bool read_http(struct planning *p, const struct tree *value, void *into) { return walk(p, value, "http", into); }
static bool read_config(struct planning *p, const struct tree *value, void *into) { return walk(p, value, "config", into); }

static bool read_headers(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    p->headers = value;
    return value->kind == TREE_MAP || plan_refuse(p, value, "must be names with values");
}

static bool read_timeout(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    return plan_span(p, value, NANOS_PER_S, &p->plan->load.timeout) && (p->plan->load.timeout > 0 || plan_refuse(p, value, "must be above 0"));
}

static bool read_label(struct planning *p, const struct tree *value, void *into)
{
    struct text label;
    (void)into;
    return plan_text(p, value, &label);
}

/* ---- phases ---- */

static bool read_duration(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_span(p, value, NANOS_PER_S, &f->span); }
static bool read_pause(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_span(p, value, NANOS_PER_S, &f->pause); }
static bool read_rate(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_number(p, value, PLAN_RATE_MAX, &f->rate); }
static bool read_ramp(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_number(p, value, PLAN_RATE_MAX, &f->ramp); }
static bool read_most(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_count(p, value, 1, LOAD_USERS_MAX, &f->most); }

static bool read_arrivals(struct planning *p, const struct tree *value, void *into)
{
    struct phase *f = into;
    uint64_t count;
    if (!plan_count(p, value, 0, UINT32_MAX, &count))
        return false;
    f->arrivals = (double)count;
    return true;
}

static bool take_most(struct planning *p, const struct tree *at, const struct phase *f)
{
    uint32_t *most = &p->plan->load.users_max;
    if (f->most > 0 && *most > 0 && f->most != *most)
        return plan_refuse(p, at, "maxVusers differs from an earlier phase's %u: it holds for the whole test", *most);
    *most = f->most > 0 ? (uint32_t)f->most : *most;
    return true;
}

static bool take_phase(struct planning *p, const struct tree *at)
{
    struct phase f = { .rate = -1, .ramp = -1, .arrivals = -1 };
    if (!walk(p, at, "phase", &f) || !take_most(p, at, &f))
        return false;
    if (f.pause > 0 && (f.span > 0 || f.rate >= 0 || f.ramp >= 0 || f.arrivals >= 0 || f.most > 0))
        return plan_refuse(p, at, "a pause is a phase of its own");
    if (f.pause > 0)
        return plan_phase(p, at, f.pause, 0, 0);
    if (f.arrivals >= 0 && (f.rate >= 0 || f.ramp >= 0))
        return plan_refuse(p, at, "arrivalCount excludes arrivalRate and rampTo");
    if (f.span <= 0 || (f.rate < 0 && f.ramp < 0 && f.arrivals < 0))
        return plan_refuse(p, at, "a phase needs a duration above 0 and arrivalRate, rampTo or arrivalCount; or pause");
    double rate = f.arrivals >= 0 ? f.arrivals * NANOS_PER_S / (double)f.span : MAX(f.rate, 0.0);
    return plan_phase(p, at, f.span, rate, f.ramp >= 0 ? f.ramp : rate);
}

static bool read_phases(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    if (value->kind != TREE_LIST || value->count == 0)
        return plan_refuse(p, value, "must be a list of phases");
    for (const struct member *m = value->first; m != NULL; m = m->next)
        if (!take_phase(p, m->value))
            return false;
    return true;
}

/* ---- scenarios ---- */

static bool read_name(struct planning *p, const struct tree *value, void *into) { struct scenario *s = into; return plan_text(p, value, &s->name); }
static bool read_weight(struct planning *p, const struct tree *value, void *into) { struct scenario *s = into; return plan_count(p, value, 1, UINT32_MAX, &s->weight); }

static bool read_flow(struct planning *p, const struct tree *value, void *into)
{
    struct scenario *s = into;
    (void)p;
    s->flow = value;
    return true;
}

static bool read_engine(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    return (value->kind == TREE_SCALAR && text_eq(value->text, TEXT("http"))) || plan_refuse(p, value, "must be http: nothing else is spoken");
}

static bool read_scenarios(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    if (value->kind != TREE_LIST || value->count == 0)
        return plan_refuse(p, value, "must be a list of scenarios");
    if (p->plan->url[0] == '\0')
        return plan_refuse(p, value, "config.target is missing: a plan needs one, such as http://127.0.0.1:4040");
    for (const struct member *m = value->first; m != NULL; m = m->next) {
        struct scenario s = { .name = TEXT("scenario"), .weight = 1 };
        if (!walk(p, m->value, "scenario", &s))
            return false;
        if (s.flow == NULL)
            return plan_refuse(p, m->value, "a scenario needs a flow");
        if (!plan_flow(p, m->value, s.name, s.weight, s.flow))
            return false;
    }
    return true;
}

/* ---- criteria ---- */

static bool ensure(struct planning *p, const struct tree *value, struct text word)
{
    struct text bound;
    return plan_text(p, value, &bound) && plan_criterion_pair(p, value, word, bound);
}

static bool ensure_p50(struct planning *p, const struct tree *value, void *into) { (void)into; return ensure(p, value, TEXT("p50")); }
static bool ensure_p95(struct planning *p, const struct tree *value, void *into) { (void)into; return ensure(p, value, TEXT("p95")); }
static bool ensure_p99(struct planning *p, const struct tree *value, void *into) { (void)into; return ensure(p, value, TEXT("p99")); }
static bool ensure_max(struct planning *p, const struct tree *value, void *into) { (void)into; return ensure(p, value, TEXT("max")); }
static bool ensure_errors(struct planning *p, const struct tree *value, void *into) { (void)into; return ensure(p, value, TEXT("maxErrorRate")); }

static bool read_thresholds(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    if (value->kind != TREE_LIST)
        return plan_refuse(p, value, "must be a list of METRIC: BOUND");
    for (const struct member *m = value->first; m != NULL; m = m->next) {
        if (m->value->kind != TREE_MAP || m->value->count != 1)
            return plan_refuse(p, m->value, "must be METRIC: BOUND");
        if (!ensure(p, m->value->first->value, m->value->first->name))
            return false;
    }
    return true;
}

/* Several joined by and must all hold, which is what several criteria mean. */
static bool read_expression(struct planning *p, const struct tree *value, void *into)
{
    const struct text and = TEXT(" and ");
    struct text rest;
    (void)into;
    if (!plan_text(p, value, &rest))
        return false;
    if (text_find(rest, TEXT(" or ")) >= 0 || text_find(rest, TEXT("(")) >= 0)
        return plan_refuse(p, value, "a condition is METRIC RELATION NUMBER, several with and between them");
    for (ptrdiff_t at; (at = text_find(rest, and)) >= 0;) {
        if (!plan_criterion(p, value, (struct text){ rest.at, (size_t)at }))
            return false;
        rest = (struct text){ rest.at + at + and.len, rest.len - (size_t)at - and.len };
    }
    return plan_criterion(p, value, rest);
}

static bool read_conditions(struct planning *p, const struct tree *value, void *into)
{
    if (value->kind != TREE_LIST)
        return plan_refuse(p, value, "must be a list of expressions");
    for (const struct member *m = value->first; m != NULL; m = m->next)
        if (!(m->value->kind == TREE_SCALAR ? read_expression(p, m->value, into) : walk(p, m->value, "condition", into)))
            return false;
    return true;
}

static bool read_ensure(struct planning *p, const struct tree *value, void *into) { return walk(p, value, "ensure", into); }

/* ---- the table ---- */

static const struct plan_key keys[] = {
#define KEY(section, name, read, what) { #section, name, read, what },
#define REFUSED(section, name, why) { #section, name, NULL, why },
#include "bench/plan_artillery.def"
#undef REFUSED
#undef KEY
};

static bool walk(struct planning *p, const struct tree *map, const char *section, void *into)
{
    return plan_walk(p, map, keys, ARRAY_LEN(keys), section, into);
}

bool plan_artillery(struct planning *p, const struct tree *root)
{
    struct load_plan *load = &p->plan->load;
    load->is_open = true;
    if (!walk(p, root, "plan", NULL))
        return false;
    load->users_max = load->users_max > 0 ? load->users_max : PLAN_IN_FLIGHT;
    return true;
}
