/* script.c: what a load test sends: scripts as they are built from options or by plans, and a session's way through a flow. Called by the generator and by plans. */
#include "bench/script_inner.h"

#define SCRIPT_MAGIC 0x73637270u

static const struct api_row {
    struct text method, path;
    bool has_prompt; /* its body is made of a prompt */
} apis[] = {
    [LOAD_OPENAI] = { TEXT("POST"), TEXT("/v1/chat/completions"), true },
    [LOAD_OLLAMA] = { TEXT("POST"), TEXT("/api/chat"), true },
    [LOAD_QUERY] = { TEXT("POST"), TEXT("/query"), true },
    [LOAD_PLAIN] = { TEXT("GET"), TEXT("/"), false },
};

/* ---- building ---- */

struct script *script_new(uint64_t seed, struct complaint *why)
{
    struct script *s = mem_zero(sizeof *s);
    if (s == NULL) {
        (void)complain(why, NULL, 0, 0, "no memory left for what is sent");
        return NULL;
    }
    s->magic = SCRIPT_MAGIC;
    s->seed = seed;
    s->calls_max = 1;
    arena_init(&s->arena, NULL, 0, SCRIPT_ARENA_MAX);
    return s;
}

void script_free(struct script *s)
{
    if (s == NULL)
        return;
    CHECK(s, SCRIPT);
    arena_fini(&s->arena);
    s->magic = 0;
    mem_free(s);
}

enum load_api script_api_of(struct text path)
{
    struct text bare;
    (void)text_cut(path, '?', &bare);
    if (text_ends(bare, TEXT("/chat/completions")) || text_ends(bare, TEXT("/v1/completions")))
        return LOAD_OPENAI;
    if (text_ends(bare, TEXT("/api/chat")) || text_ends(bare, TEXT("/api/generate")))
        return LOAD_OLLAMA;
    return text_ends(bare, TEXT("/query")) ? LOAD_QUERY : LOAD_PLAIN;
}

int script_find_name(const struct script *s, struct text name)
{
    for (uint32_t i = 0; i < s->name_count; i++)
        if (text_eq(s->names[i].name, name))
            return (int)i;
    return -1;
}

struct name *script_add_name(struct script *s, struct text name, enum name_kind kind)
{
    int found = script_find_name(s, name);
    if (found >= 0)
        return kind == NAME_CAPTURED && s->names[found].kind == NAME_CAPTURED ? &s->names[found] : NULL;
    const char *copy = s->name_count < SCRIPT_NAMES_MAX ? arena_copy(&s->arena, name) : NULL;
    if (copy == NULL)
        return NULL;
    struct name *n = &s->names[s->name_count++];
    *n = (struct name){ .name = { copy, name.len }, .kind = kind, .stride = 1, .group = s->group_count++ };
    if (kind == NAME_CAPTURED)
        n->place = s->captured_count++;
    return n;
}

static uint64_t calls_of(const struct script *s, const struct step *step)
{
    return step->kind != STEP_CALL ? 0 : step->request->kind == BODY_PROMPT ? MAX(1u, s->prompts.turns_max) : 1;
}

/* Requests of a session, each round of a loop and each turn of a conversation counted. */
static uint64_t count_calls(const struct script *s, const struct flow *f)
{
    uint64_t calls = 0;
    for (uint32_t i = 0; i < f->step_count; i++) {
        const struct step *step = &f->steps[i];
        calls += calls_of(s, step);
        for (uint32_t k = step->first; step->kind == STEP_AGAIN && k < i; k++)
            calls += calls_of(s, &f->steps[k]) * (step->rounds - 1);
    }
    return calls;
}

bool script_add_flow(struct script *s, struct text name, uint64_t weight, const struct step *steps, uint32_t step_count)
{
    ASSERT(s->flow_count < SCRIPT_FLOWS_MAX && step_count <= SCRIPT_STEPS_MAX);
    struct flow *f = &s->flows[s->flow_count];
    f->name = (struct text){ arena_copy(&s->arena, name), name.len };
    f->steps = arena_alloc(&s->arena, MAX(1u, step_count) * sizeof *steps);
    if (f->name.at == NULL || f->steps == NULL)
        return false;
    if (step_count > 0)
        memcpy(f->steps, steps, step_count * sizeof *steps);
    f->step_count = step_count;
    f->weight = weight;
    s->weight += weight;
    s->calls_max = MAX(s->calls_max, count_calls(s, f));
    s->flow_count++;
    return true;
}

/* ---- from options ---- */

struct text script_content_type(struct text body)
{
    size_t i = 0;
    while (i < body.len && strchr(" \t\r\n", body.at[i]) != NULL)
        i++;
    return i < body.len && (body.at[i] == '{' || body.at[i] == '[') ? TEXT("application/json") : TEXT("text/plain; charset=utf-8");
}

static bool read_body(struct script *s, struct request *r, const char *path, struct complaint *why)
{
    struct template_source from = { .file = path, .line = 1, .syntax = TEMPLATE_DOLLAR, .why = why };
    struct buf file;
    if (!script_file_read(path, &file, why))
        return false;
    r->kind = BODY_TEMPLATE;
    r->content_type = script_content_type(buf_text(&file));
    bool is_ok = template_add_body(s, &r->body, buf_text(&file), &from);
    buf_fini(&file);
    return is_ok;
}

static bool fill_request(struct script *s, struct request *r, const struct script_options *o, struct text prefix, struct complaint *why)
{
    struct template_source from = { .column = 1, .syntax = TEMPLATE_DOLLAR, .why = why };
    struct text method = o->method.len > 0 ? o->method : o->body_file != NULL ? TEXT("POST") : apis[o->api].method;
    struct text model = o->model.len > 0 ? o->model : TEXT("default");
    *r = (struct request){ .api = o->api, .stream = o->stream, .max_tokens = o->max_tokens, .kind = apis[o->api].has_prompt ? BODY_PROMPT : BODY_NONE };
    r->method = (struct text){ arena_copy(&s->arena, method), method.len };
    r->model = (struct text){ arena_copy(&s->arena, model), model.len };
    if (r->method.at == NULL || r->model.at == NULL)
        return complain(why, NULL, 0, 0, "no memory left for what is sent");
    r->content_type = r->kind == BODY_PROMPT ? TEXT("application/json") : TEXT_NONE;
    if (o->body_file != NULL && !read_body(s, r, o->body_file, why))
        return false;
    return template_add_literal(s, &r->path, prefix, &from) &&
           template_add(s, &r->path, o->path.len > 0 ? o->path : apis[o->api].path, TEMPLATE_URL, &from);
}

struct request *script_make_request(struct script *s, const struct script_options *o, struct text prefix, struct complaint *why)
{
    struct request *r = arena_alloc(&s->arena, sizeof *r);
    if (r == NULL)
        (void)complain(why, NULL, 0, 0, "no memory left for what is sent");
    return r != NULL && fill_request(s, r, o, prefix, why) ? r : NULL;
}

bool script_read_files(struct script *s, const struct script_options *o, struct complaint *why)
{
    if (o->prompts_file != NULL && o->trace_file != NULL)
        return complain(why, NULL, 0, 0, "prompts and a trace exclude each other: a trace makes its own prompts");
    if (o->made.count > 0 && !prompts_make(s, &o->made, why))
        return false;
    if ((o->prompts_file != NULL && !prompts_read(s, o->prompts_file, why)) || (o->trace_file != NULL && !trace_read(s, o->trace_file, why)))
        return false;
    if (script_find_name(s, TEXT("prompt")) >= 0)
        return complain(why, NULL, 0, 0, "the name prompt is the session's prompt already");
    return script_add_name(s, TEXT("prompt"), NAME_PROMPT) != NULL || complain(why, NULL, 0, 0, "no memory left for what is sent");
}

static bool add_header(struct script *s, struct request *r, struct text name, struct text value, struct complaint *why)
{
    struct template_source from = { .column = 1, .why = why };
    return template_add_literal(s, &r->headers, name, &from) && template_add_literal(s, &r->headers, value, &from) &&
           template_add_literal(s, &r->headers, TEXT("\r\n"), &from);
}

static bool add_asker(struct script *s, const struct script_options *o, const struct script_asker *who, struct complaint *why)
{
    struct step call = { .kind = STEP_CALL, .think = o->think };
    struct script_options own = *o;
    own.stream = who->stream;
    struct request *r = script_make_request(s, &own, TEXT(""), why);
    if (r == NULL || (r->kind != BODY_NONE && !add_header(s, r, TEXT("content-type: "), r->content_type, why)) ||
        (who->key.len > 0 && !add_header(s, r, TEXT("authorization: Bearer "), who->key, why)))
        return false;
    call.request = r;
    return script_add_flow(s, who->name, who->weight, &call, 1) || complain(why, NULL, 0, 0, "no memory left for what is sent");
}

static bool open_parts(struct script *s, const struct script_options *o, struct complaint *why)
{
    struct script_asker alone = { .name = TEXT("default"), .weight = 1, .stream = o->stream };
    const struct script_asker *askers = o->askers != NULL ? o->askers : &alone;
    unsigned count = o->askers != NULL ? o->asker_count : 1;
    ASSERT(count > 0 && count <= SCRIPT_FLOWS_MAX);
    if (!script_read_files(s, o, why))
        return false;
    for (unsigned i = 0; i < count; i++)
        if (!add_asker(s, o, &askers[i], why))
            return false;
    return true;
}

bool script_open(struct script **out, const struct script_options *o, struct complaint *why)
{
    struct script *s = script_new(o->seed, why);
    if (s == NULL)
        return false;
    if (!open_parts(s, o, why)) {
        script_free(s);
        return false;
    }
    *out = s;
    return true;
}

const nanos *script_moments(const struct script *s, uint64_t *out_count)
{
    CHECK(s, SCRIPT);
    *out_count = s->trace.count;
    return s->trace.moments;
}

unsigned script_flow_count(const struct script *s)
{
    CHECK(s, SCRIPT);
    return s->flow_count;
}

struct text script_flow_name(const struct script *s, unsigned flow)
{
    CHECK(s, SCRIPT);
    ASSERT(flow < s->flow_count);
    return s->flows[flow].name;
}

/* ---- a session ---- */

enum { MIX_PROMPT = 0, MIX_FLOW = 3, MIX_CHANCE, MIX_GROUP }; /* what a session's numbers are drawn for; 1 and 2 are trace.c's; groups have all from MIX_GROUP on */

void script_begin(struct script_session *x, const struct script *s, uint64_t number)
{
    CHECK(s, SCRIPT);
    *x = (struct script_session){ .script = s, .number = number, .random = script_mix(s->seed, number, MIX_CHANCE) };
    uint64_t at = script_mix(s->seed, number, MIX_FLOW) % s->weight;
    while (at >= s->flows[x->flow].weight)
        at -= s->flows[x->flow++].weight;
}

uint64_t script_prompt(const struct script_session *x)
{
    const struct prompts *p = &x->script->prompts;
    if (p->count == 0)
        return 0;
    if (p->below == NULL)
        return x->number % p->count;
    double drawn = (double)(script_mix(x->script->seed, x->number, MIX_PROMPT) >> 11) * 0x1p-53;
    uint64_t low = 0, high = p->count - 1;
    while (low < high) { /* the first whose chance, with all before it, is above what was drawn */
        uint64_t middle = low + (high - low) / 2;
        if (p->below[middle] > drawn)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct value script_value(const struct script_session *x, const struct name *n)
{
    const struct captured *captured = x->values;
    if (n->kind == NAME_VALUES) {
        uint64_t which = n->in_order ? x->number : script_mix(x->script->seed, x->number, MIX_GROUP + n->group);
        return n->values[which % n->count * n->stride];
    }
    if (captured == NULL || captured[n->place].text == NULL)
        return (struct value){ .text = TEXT("") };
    return (struct value){ { captured[n->place].text, captured[n->place].len }, captured[n->place].is_bare };
}

static enum fail write_call(struct script_session *x, const struct request *r, struct buf *body, struct script_call *out)
{
    enum fail f = template_write(&r->path, x, body);
    size_t path_len = buf_len(body);
    f = f == OK ? template_write(&r->headers, x, body) : f;
    size_t headers_len = buf_len(body) - path_len;
    if (f == OK && r->kind != BODY_NONE)
        f = r->kind == BODY_TEMPLATE ? template_write(&r->body, x, body) : prompts_write_body(x, r, body);
    if (f != OK)
        return f;
    const char *at = buf_text(body).at; /* it stands still from here on */
    out->path = (struct text){ at, path_len };
    out->headers = (struct text){ at + path_len, headers_len };
    out->body = (struct text){ at + path_len + headers_len, buf_len(body) - path_len - headers_len };
    return OK;
}

static bool has_more_turns(const struct script_session *x, const struct request *r)
{
    return r->kind == BODY_PROMPT && x->turn + 1 < script_turns(x);
}

/* Goes on to the next call, adding pauses on the way to *io_think. NULL: the flow is over. Each AGAIN goes back a counted number of times. */
static const struct step *find_call(struct script_session *x, nanos *io_think)
{
    const struct flow *f = &x->script->flows[x->flow];
    while (x->step < f->step_count) {
        const struct step *step = &f->steps[x->step];
        *io_think += step->kind == STEP_AGAIN ? 0 : step->think;
        if (step->kind == STEP_CALL)
            return step;
        if (step->kind == STEP_THINK)
            x->step++;
        else if (++x->loop < step->rounds)
            x->step = step->first;
        else
            x->loop = 0, x->step++;
    }
    return NULL;
}

/* The call before is over: on to its next turn, or to the next step. */
static void step_on(struct script_session *x)
{
    const struct flow *f = &x->script->flows[x->flow];
    if (x->calls == 0 || x->step == f->step_count)
        return;
    if (has_more_turns(x, f->steps[x->step].request)) {
        x->turn++;
        return;
    }
    x->turn = 0;
    x->step++;
    buf_clear(&x->heard);
}

enum fail script_next(struct script_session *x, struct buf *body, struct script_call *out, bool *out_over)
{
    struct script_call call = { .think = 0 };
    CHECK(x->script, SCRIPT);
    buf_clear(body);
    step_on(x);
    const struct step *step = find_call(x, &call.think);
    if (step != NULL) {
        const struct request *r = step->request;
        call.api = r->api;
        call.stream = r->stream;
        call.method = r->method;
        call.wants_answer = r->captures != NULL || has_more_turns(x, r);
        enum fail f = write_call(x, r, body, &call);
        if (f != OK)
            return f;
        x->calls++;
    }
    *out = call;
    *out_over = step == NULL;
    return OK;
}

enum fail script_heard(struct script_session *x, struct text answer)
{
    CHECK(x->script, SCRIPT);
    const struct request *r = x->script->flows[x->flow].steps[x->step].request;
    enum fail f = r->captures != NULL ? capture_take(x, r->captures, answer) : OK;
    return f == OK && has_more_turns(x, r) ? prompts_heard(x, answer) : f;
}

void script_end(struct script_session *x)
{
    struct captured *captured = x->values;
    for (uint32_t i = 0; captured != NULL && i < x->script->captured_count; i++)
        mem_free(captured[i].text);
    mem_free(captured);
    buf_fini(&x->heard);
    x->values = NULL;
}
