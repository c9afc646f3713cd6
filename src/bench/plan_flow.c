/* plan_flow.c: the steps of one flow of a plan: requests, pauses and loops. The same for weir's own form and Artillery's. */
#include "bench/plan_inner.h"

static bool read_get(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_call(p, "GET", value); }
static bool read_post(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_call(p, "POST", value); }
static bool read_put(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_call(p, "PUT", value); }
static bool read_patch(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_call(p, "PATCH", value); }
static bool read_delete(struct planning *p, const struct tree *value, void *into) { (void)into; return plan_call(p, "DELETE", value); }

static bool read_ask(struct planning *p, const struct tree *value, void *into)
{
    (void)into;
    if (p->options == NULL)
        return plan_refuse(p, value, "ask belongs to weir's own plans; write the request: post with url and json");
    if (value->count > 0 || (value->kind == TREE_SCALAR && !tree_is_empty(value)))
        return plan_refuse(p, value, "ask takes no keys: api, model and prompts are the plan's");
    return plan_ask(p, value, 0);
}

static bool read_think(struct planning *p, const struct tree *value, void *into)
{
    nanos span;
    (void)into;
    return plan_span(p, value, NANOS_PER_S, &span) && plan_add_step(p, value, (struct step){ .kind = STEP_THINK, .think = span });
}

static bool read_log(struct planning *p, const struct tree *value, void *into)
{
    struct template unused = { 0 };
    struct template_source from = plan_source(p, value);
    struct text text;
    (void)into;
    return plan_text(p, value, &text) && template_add(p->script, &unused, text, TEMPLATE_TEXT, &from);
}

static bool read_steps(struct planning *p, const struct tree *steps);

static bool read_loop(struct planning *p, const struct tree *value, void *into)
{
    const struct tree *step = into;
    const struct member *count = tree_find(step, TEXT("count"));
    uint64_t rounds;
    if (p->loop_first != UINT32_MAX)
        return plan_refuse(p, value, "a loop inside a loop is not supported; write the inner steps again");
    if (count == NULL)
        return plan_refuse(p, value, "a loop needs a count beside it: a flow must end");
    if (!plan_count(p, count->value, 1, SCRIPT_LOOP_MAX, &rounds))
        return false;
    p->loop_first = p->step_count;
    if (!read_steps(p, value))
        return false;
    struct step again = { .kind = STEP_AGAIN, .first = p->loop_first, .rounds = (uint32_t)rounds };
    p->loop_first = UINT32_MAX;
    return plan_add_step(p, value, again);
}

static bool read_count(struct planning *p, const struct tree *value, void *into) /* read_loop has taken it */
{
    return tree_find(into, TEXT("loop")) != NULL || plan_refuse(p, value, "count belongs to a loop");
}

static const struct plan_key keys[] = {
#define KEY(section, name, read, what) { #section, name, read, what },
#define REFUSED(section, name, why) { #section, name, NULL, why },
#include "bench/plan_flow.def"
#undef REFUSED
#undef KEY
};

static bool read_step(struct planning *p, const struct tree *step)
{
    bool is_loop = tree_find(step, TEXT("loop")) != NULL;
    if (!plan_walk(p, step, keys, ARRAY_LEN(keys), "step", (void *)step))
        return false;
    return step->count == (is_loop ? 2u : 1u) || plan_refuse(p, step, "a step is one thing: get, post, think, loop with count, ...");
}

static bool read_steps(struct planning *p, const struct tree *steps)
{
    if (steps->kind != TREE_LIST || steps->count == 0)
        return plan_refuse(p, steps, "must be a list of steps");
    for (const struct member *m = steps->first; m != NULL; m = m->next)
        if (!read_step(p, m->value))
            return false;
    return true;
}

bool plan_flow(struct planning *p, const struct tree *at, struct text name, uint64_t weight, const struct tree *steps)
{
    p->step_count = 0;
    return read_steps(p, steps) && plan_flow_end(p, at, name, weight);
}

bool plan_flow_end(struct planning *p, const struct tree *at, struct text name, uint64_t weight)
{
    bool has_call = false;
    for (uint32_t i = 0; i < p->step_count; i++)
        has_call |= p->steps[i].kind == STEP_CALL;
    if (!has_call)
        return plan_refuse(p, at, "a flow needs at least one request");
    if (p->script->flow_count == SCRIPT_FLOWS_MAX)
        return plan_refuse(p, at, "more than %d flows", SCRIPT_FLOWS_MAX);
    return script_add_flow(p->script, name, weight, p->steps, p->step_count) || plan_refuse_memory(p);
}
