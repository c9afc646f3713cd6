/* plan_native.c: plans in weir's own form, which says all that weir bench can do. Called by plan.c. */
#include "bench/plan_inner.h"

#define SPEED_MAX 1e4 /* a day of a trace in nine seconds */
#define CV_MAX    100.0 /* the burstiest public traces have 13 */

/* What the keys fill besides the plan. */
struct native {
    struct script_options options;
    const struct tree *prompts_at, *body_at; /* where files are named, for complaints */
    double users, rate, speed; /* below 0: not said */
    nanos ramp, span;
    bool has_arrivals;
    const struct tree *ramp_at, *flows;
};
struct phase {
    nanos span;
    double users, rate, to;
};
struct session {
    struct text name;
    uint64_t weight;
    const struct tree *steps;
};

static bool walk(struct planning *p, const struct tree *map, const char *section, void *into);

static bool read_label(struct planning *p, const struct tree *value, void *into)
{
    struct text label;
    (void)into;
    return plan_text(p, value, &label);
}

/* ---- what is asked ---- */

static bool read_name(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_name(p, value); }
static bool read_url(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_url(p, value); }
static bool read_variables(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_variables(p, value); }
static bool read_payload(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_payload(p, value); }
static bool read_criteria(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_criteria(p, value); }
static bool read_model(struct planning *p, const struct tree *value, void *into) { struct native *n = into; return plan_text(p, value, &n->options.model); }
static bool read_stream(struct planning *p, const struct tree *value, void *into) { struct native *n = into; return plan_bool(p, value, &n->options.stream); }
static bool read_method(struct planning *p, const struct tree *value, void *into) { struct native *n = into; return plan_text(p, value, &n->options.method); }
static bool read_think(struct planning *p, const struct tree *value, void *into) { struct native *n = into; return plan_span(p, value, NANOS_PER_S, &n->options.think); }

static bool read_api(struct planning *p, const struct tree *value, void *into)
{
    static const char *const known[] = { [LOAD_OPENAI] = "openai", [LOAD_OLLAMA] = "ollama", [LOAD_QUERY] = "query", [LOAD_PLAIN] = "plain" };
    struct native *n = into;
    struct text name;
    if (!plan_text(p, value, &name))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (text_eq(name, text_of(known[i]))) {
            n->options.api = (enum load_api)i;
            return true;
        }
    return plan_refuse(p, value, "must be openai, ollama, query or plain");
}

static bool read_tokens(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    uint64_t tokens;
    if (!plan_count(p, value, 1, UINT32_MAX, &tokens))
        return false;
    n->options.max_tokens = (uint32_t)tokens;
    return true;
}

static bool read_path(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    return plan_text(p, value, &n->options.path) && (n->options.path.at[0] == '/' || plan_refuse(p, value, "a path begins with /"));
}

static bool read_headers(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    p->headers = value;
    return value->kind == TREE_MAP || plan_refuse(p, value, "must be names with values");
}

static bool read_seed(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    if (!plan_count(p, value, 0, UINT64_MAX, &p->script->seed))
        return false;
    p->plan->load.pace.seed = p->script->seed;
    return true;
}

static bool take_file(struct planning *p, const struct tree *value, const char **out)
{
    struct text name;
    if (!plan_text(p, value, &name))
        return false;
    *out = plan_file(p, name);
    return *out != NULL || plan_refuse_memory(p);
}

static bool read_prompts(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    n->prompts_at = value;
    return take_file(p, value, &n->options.prompts_file);
}

static bool read_trace(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    n->prompts_at = value;
    return take_file(p, value, &n->options.trace_file);
}

static bool read_body_file(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    n->body_at = value;
    return take_file(p, value, &n->options.body_file);
}

/* Prompts and trace, before the first template that may name them. */
static bool read_files(struct planning *p, const struct tree *root, const struct native *n)
{
    struct complaint inner;
    return script_read_files(p->script, &n->options, &inner) || plan_refuse_file(p, n->prompts_at != NULL ? n->prompts_at : root, &inner);
}

/* ---- how much ---- */

static bool read_users(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    return plan_number(p, value, LOAD_USERS_MAX, &n->users);
}

static bool read_rate(struct planning *p, const struct tree *value, void *into) { struct native *n = into; return plan_number(p, value, PLAN_RATE_MAX, &n->rate); }
static bool read_duration(struct planning *p, const struct tree *value, void *into) { struct native *n = into; return plan_span(p, value, NANOS_PER_S, &n->span); }

static bool read_arrivals(struct planning *p, const struct tree *value, void *into)
{
    static const struct text words[] = { [PACE_CONSTANT] = TEXT("constant"), [PACE_POISSON] = TEXT("poisson"), [PACE_MOMENTS] = TEXT("trace") };
    const struct text gamma = TEXT("gamma(");
    struct native *n = into;
    struct pace_plan *pace = &p->plan->load.pace;
    struct text word;
    if (!plan_text(p, value, &word))
        return false;
    n->has_arrivals = true;
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (words[i].at != NULL && text_eq(word, words[i])) {
            pace->kind = (enum pace_kind)i;
            return pace->kind != PACE_MOMENTS || n->options.trace_file != NULL || plan_refuse(p, value, "needs a trace");
        }
    pace->kind = PACE_GAMMA;
    if (text_starts(word, gamma) && text_ends(word, TEXT(")")) && text_to_double((struct text){ word.at + gamma.len, word.len - gamma.len - 1 }, &pace->cv) &&
        pace->cv > 0 && pace->cv <= CV_MAX)
        return true;
    return plan_refuse(p, value, "must be constant, poisson, trace, or gamma(CV) with a coefficient of variation up to %g such as gamma(2.5)", CV_MAX);
}

static bool read_speed(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    return plan_number(p, value, SPEED_MAX, &n->speed) && (n->speed > 0 || plan_refuse(p, value, "must be above 0"));
}

static bool read_most(struct planning *p, const struct tree *value, void *into)
{
    uint64_t most;
    (void)into;
    if (!plan_count(p, value, 1, LOAD_USERS_MAX, &most))
        return false;
    p->plan->load.users_max = (uint32_t)most;
    return true;
}

static bool read_ramp(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    n->ramp_at = value;
    return plan_span(p, value, NANOS_PER_S, &n->ramp);
}

static bool phase_span(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_span(p, value, NANOS_PER_S, &f->span); }
static bool phase_users(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_number(p, value, LOAD_USERS_MAX, &f->users); }
static bool phase_rate(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_number(p, value, PLAN_RATE_MAX, &f->rate); }
static bool phase_to(struct planning *p, const struct tree *value, void *into) { struct phase *f = into; return plan_number(p, value, PLAN_RATE_MAX, &f->to); }

static bool take_phase(struct planning *p, const struct tree *at, bool is_first)
{
    struct phase f = { .users = -1, .rate = -1, .to = -1 };
    if (!walk(p, at, "phase", &f))
        return false;
    if ((f.users < 0) == (f.rate < 0))
        return plan_refuse(p, at, "a phase needs users or rate, one of them");
    if (!is_first && p->plan->load.is_open != (f.rate >= 0))
        return plan_refuse(p, at, "all phases have users, or all have rate");
    p->plan->load.is_open = f.rate >= 0;
    double level = MAX(f.users, f.rate);
    if (f.users >= 0 && f.to > LOAD_USERS_MAX)
        return plan_refuse(p, at, "more than %d users", LOAD_USERS_MAX);
    return plan_phase(p, at, f.span, level, f.to >= 0 ? f.to : level);
}

static bool read_phases(struct planning *p, const struct tree *value, void *into)
{
    const struct native *n = into;
    if (n->users >= 0 || n->rate >= 0 || n->ramp > 0 || n->span > 0)
        return plan_refuse(p, value, "phases stand instead of users, rate, ramp and duration");
    if (value->kind != TREE_LIST || value->count == 0)
        return plan_refuse(p, value, "must be a list of phases");
    for (const struct member *m = value->first; m != NULL; m = m->next)
        if (!take_phase(p, m->value, m == value->first))
            return false;
    return true;
}

static bool read_warmup(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_span(p, value, NANOS_PER_S, &p->plan->load.warmup); }
static bool read_drain(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_span(p, value, NANOS_PER_S, &p->plan->load.drain); }
static bool read_new(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_bool(p, value, &p->plan->load.new_connections); }
static bool read_verify(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_bool(p, value, &p->plan->load.verify); }

static bool read_timeout(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    return plan_span(p, value, NANOS_PER_S, &p->plan->load.timeout) && (p->plan->load.timeout > 0 || plan_refuse(p, value, "must be above 0"));
}

static bool slo_latency(struct planning *p, const struct tree *value, void *into) { struct slo *s = into; return plan_span(p, value, NANOS_PER_S, &s->latency); }
static bool slo_ttft(struct planning *p, const struct tree *value, void *into) { struct slo *s = into; return plan_span(p, value, NANOS_PER_S, &s->ttft); }
static bool slo_itl(struct planning *p, const struct tree *value, void *into) { struct slo *s = into; return plan_span(p, value, NANOS_PER_S, &s->itl); }
static bool read_slo(struct planning *p, const struct tree *value, void *into) { (void)into; return walk(p, value, "slo", &p->plan->load.slo); }

/* ---- flows ---- */

static bool flow_name(struct planning *p, const struct tree *value, void *into) { struct session *s = into; return plan_text(p, value, &s->name); }
static bool flow_weight(struct planning *p, const struct tree *value, void *into) { struct session *s = into; return plan_count(p, value, 1, UINT32_MAX, &s->weight); }

static bool flow_steps(struct planning *p, const struct tree *value, void *into)
{
    struct session *s = into;
    (void)p;
    s->steps = value;
    return true;
}

static bool read_flows(struct planning *p, const struct tree *value, void *into)
{
    struct native *n = into;
    (void)p;
    n->flows = value;
    return true;
}

static bool add_flows(struct planning *p, const struct tree *value, const struct native *n)
{
    if (value->kind != TREE_LIST || value->count == 0)
        return plan_refuse(p, value, "must be a list of flows");
    if (n->options.think > 0)
        return plan_refuse(p, value, "think is for plans without flows; write a step: think");
    for (const struct member *m = value->first; m != NULL; m = m->next) {
        struct session s = { .name = TEXT("flow"), .weight = 1 };
        if (!walk(p, m->value, "flow", &s))
            return false;
        if (s.steps == NULL)
            return plan_refuse(p, m->value, "a flow needs steps");
        if (!plan_flow(p, m->value, s.name, s.weight, s.steps))
            return false;
    }
    return true;
}

static bool add_default_flow(struct planning *p, const struct tree *root, const struct native *n)
{
    p->step_count = 0;
    return plan_ask(p, n->body_at != NULL ? n->body_at : root, n->options.think) && plan_flow_end(p, root, TEXT("default"), 1);
}

/* ---- the whole ---- */

static bool finish_trace(struct planning *p, const struct tree *root, const struct native *n)
{
    struct pace_plan *pace = &p->plan->load.pace;
    if (n->users >= 0 || n->rate >= 0 || n->ramp > 0 || pace->phase_count > 0)
        return plan_refuse(p, root, "a trace's own moments exclude users, rate, ramp and phases");
    p->plan->load.is_open = true;
    pace->speed = n->speed;
    pace->moments = script_moments(p->script, &pace->moment_count);
    nanos end = nanos_of((double)pace->moments[pace->moment_count - 1] / n->speed, 1);
    if (n->span == 0 && end >= PLAN_SPAN_MAX)
        return plan_refuse(p, root, "the trace takes more than 30 days: say how much of it with duration, or speed");
    return plan_phase(p, root, n->span > 0 ? n->span : end + 1, 0, 0); /* the last one is still inside */
}

static bool finish_levels(struct planning *p, const struct tree *root, const struct native *n)
{
    double level = MAX(n->users, n->rate);
    if (p->plan->load.pace.phase_count > 0)
        return true;
    if ((n->users < 0) == (n->rate < 0))
        return plan_refuse(p, root, "a plan needs users or rate, one of them; or phases");
    p->plan->load.is_open = n->rate >= 0;
    return (n->ramp == 0 || plan_phase(p, n->ramp_at, n->ramp, 0, level)) && plan_phase(p, root, n->span, level, level);
}

static const struct plan_key keys[] = {
#define KEY(section, name, read, what) { #section, name, read, what },
#include "bench/plan_native.def"
#undef KEY
};

static bool walk(struct planning *p, const struct tree *map, const char *section, void *into)
{
    return plan_walk(p, map, keys, ARRAY_LEN(keys), section, into);
}

bool plan_native(struct planning *p, const struct tree *root)
{
    struct load_plan *load = &p->plan->load;
    struct native n = { .users = -1, .rate = -1, .speed = 1 };
    p->options = &n.options;
    if (!walk(p, root, "plan", &n))
        return false;
    if (p->plan->url[0] == '\0')
        return plan_refuse(p, root, "url is missing: a plan needs one, such as http://127.0.0.1:4040");
    if (!read_files(p, root, &n))
        return false;
    bool plays_trace = n.has_arrivals ? load->pace.kind == PACE_MOMENTS : n.options.trace_file != NULL && n.users < 0 && n.rate < 0 && load->pace.phase_count == 0;
    load->pace.kind = plays_trace ? PACE_MOMENTS : load->pace.kind;
    if (!(plays_trace ? finish_trace(p, root, &n) : finish_levels(p, root, &n)))
        return false;
    load->users_max = load->is_open && load->users_max == 0 ? PLAN_IN_FLIGHT : load->users_max;
    return n.flows != NULL ? add_flows(p, n.flows, &n) : add_default_flow(p, root, &n);
}
