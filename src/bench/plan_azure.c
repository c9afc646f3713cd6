/* plan_azure.c: plans in the form of Azure Load Testing with successCriteria: users that ask one request again and again (a closed loop). Called by plan.c. */
#include "bench/plan_inner.h"

/* One set of testPlan's keys. */
struct entry {
    struct text name, method;
    const struct tree *endpoint, *headers, *body;
    uint64_t threads;
    nanos ramp, span, think;
};

static bool walk(struct planning *p, const struct tree *map, const char *section, void *into);

static bool read_label(struct planning *p, const struct tree *value, void *into)
{
    struct text label;
    (void)into;
    return plan_text(p, value, &label);
}

static bool read_name(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_name(p, value); }

/* A bare host is one of http. */
static bool read_target(struct planning *p, const struct tree *value, void *into)
{
    struct tree url = *value;
    struct text text;
    (void)into;
    if (!plan_text(p, value, &text))
        return false;
    if (text_find(text, TEXT("://")) < 0)
        url.text = text_of(arena_printf(&p->scratch, "http://%.*s", TEXT_ARG(text)));
    if (url.text.at == NULL)
        return plan_refuse_memory(p);
    return plan_url(p, &url);
}

static bool read_criteria(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_criteria(p, value); }

/* ---- one entry ---- */

static bool read_type(struct planning *p, const struct tree *value, void *into)
{
    static const struct text known[] = { TEXT("http"), TEXT("https"), TEXT("url") };
    (void)into;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (value->kind == TREE_SCALAR && text_eq_nocase(value->text, known[i]))
            return true;
    return plan_refuse(p, value, "must be http, https or url: nothing else is spoken");
}

static bool read_endpoint(struct planning *p, const struct tree *value, void *into)
{
    struct entry *e = into;
    if (e->endpoint != NULL)
        return plan_refuse(p, value, "endpoint and url are the same; write one");
    e->endpoint = value;
    return true;
}

static bool read_method(struct planning *p, const struct tree *value, void *into)
{
    static const char *const known[] = { "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS" };
    struct entry *e = into;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (value->kind == TREE_SCALAR && text_eq_nocase(value->text, text_of(known[i]))) {
            e->method = text_of(known[i]);
            return true;
        }
    return plan_refuse(p, value, "must be GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS");
}

static bool read_entry_name(struct planning *p, const struct tree *value, void *into) { struct entry *e = into; return plan_text(p, value, &e->name); }
static bool read_threads(struct planning *p, const struct tree *value, void *into)
{
    struct entry *e = into;
    return plan_count(p, value, 1, LOAD_USERS_MAX, &e->threads);
}

static bool read_ramp(struct planning *p, const struct tree *value, void *into) { struct entry *e = into; return plan_span(p, value, NANOS_PER_S, &e->ramp); }
static bool read_duration(struct planning *p, const struct tree *value, void *into) { struct entry *e = into; return plan_span(p, value, NANOS_PER_S, &e->span); }
static bool read_think(struct planning *p, const struct tree *value, void *into) { struct entry *e = into; return plan_span(p, value, NANOS_PER_MS, &e->think); }

static bool read_timeout(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    return plan_span(p, value, NANOS_PER_MS, &p->plan->load.timeout) && (p->plan->load.timeout > 0 || plan_refuse(p, value, "must be above 0"));
}

static bool read_headers(struct planning *p, const struct tree *value, void *into)
{
    struct entry *e = into;
    (void)p;
    e->headers = value;
    return true;
}

static bool read_body(struct planning *p, const struct tree *value, void *into)
{
    struct entry *e = into;
    (void)p;
    e->body = value;
    return true;
}

/* The first whole URL says which server. */
static bool take_host(struct planning *p, const struct tree *endpoint)
{
    struct tree host = *endpoint;
    ptrdiff_t scheme = endpoint->kind == TREE_SCALAR ? text_find(endpoint->text, TEXT("://")) : -1;
    if (p->plan->url[0] != '\0')
        return true;
    if (scheme < 0)
        return plan_refuse(p, endpoint, "needs to be a whole URL, or a target beside it: target: http://127.0.0.1:4040");
    host.text.len = (size_t)scheme + 3;
    while (host.text.len < endpoint->text.len && strchr("/?#", endpoint->text.at[host.text.len]) == NULL)
        host.text.len++;
    return plan_url(p, &host);
}

static bool add_request(struct planning *p, const struct tree *at, const struct entry *e)
{
    const char *method = e->method.at != NULL ? e->method.at : e->body != NULL ? "POST" : "GET";
    struct request *r = plan_request_new(p, method);
    if (r == NULL)
        return plan_refuse_memory(p);
    if (!take_host(p, e->endpoint) || !plan_path(p, e->endpoint, r) || (e->body != NULL && !plan_body(p, e->body, r)) || !plan_headers(p, e->headers, r))
        return false;
    p->step_count = 0;
    return plan_add_step(p, at, (struct step){ .kind = STEP_CALL, .think = e->think, .request = r }) && plan_flow_end(p, at, e->name, e->threads);
}

/* All entries have the same times; users add up. */
static bool add_users(struct planning *p, const struct tree *at, const struct entry *e, const struct entry *first)
{
    struct pace_plan *pace = &p->plan->load.pace;
    if (e->ramp != first->ramp || e->span != first->span)
        return plan_refuse(p, at, "entries that run side by side have the same duration and rampUp");
    if (pace->phase_count == 0) {
        if (e->ramp > 0 && !plan_phase(p, at, MIN(e->ramp, e->span), 0, 0))
            return false;
        if (e->ramp < e->span && !plan_phase(p, at, e->span - e->ramp, 0, 0))
            return false;
    }
    for (unsigned i = 0; i < pace->phase_count; i++) {
        pace->phases[i].to += (double)e->threads;
        pace->phases[i].from += i == 0 && e->ramp > 0 ? 0 : (double)e->threads;
    }
    return true;
}

static bool take_entry(struct planning *p, const struct tree *at, struct entry *first)
{
    struct entry e = { .name = TEXT("testPlan") };
    if (!walk(p, at, "testPlan", &e))
        return false;
    if (e.endpoint == NULL)
        return plan_refuse(p, at, "needs an endpoint");
    if (e.threads == 0)
        return plan_refuse(p, at, "needs threads: how many users ask at a time");
    if (e.span <= 0)
        return plan_refuse(p, at, "needs a duration");
    if (e.ramp > e.span)
        return plan_refuse(p, at, "rampUp is longer than the duration it is part of");
    if (first->threads == 0)
        *first = e;
    return add_request(p, at, &e) && add_users(p, at, &e, first);
}

static bool read_entries(struct planning *p, const struct tree *value, void *into)
{
    struct entry first = { .threads = 0 };
    (void)into;
    if (value->kind != TREE_LIST)
        return take_entry(p, value, &first);
    for (const struct member *m = value->first; m != NULL; m = m->next)
        if (!take_entry(p, m->value, &first))
            return false;
    return true;
}

static const struct plan_key keys[] = {
#define KEY(section, name, read, what) { #section, name, read, what },
#define REFUSED(section, name, why) { #section, name, NULL, why },
#include "bench/plan_azure.def"
#undef REFUSED
#undef KEY
};

static bool walk(struct planning *p, const struct tree *map, const char *section, void *into)
{
    return plan_walk(p, map, keys, ARRAY_LEN(keys), section, into);
}

bool plan_azure(struct planning *p, const struct tree *root)
{
    return walk(p, root, "plan", NULL);
}
