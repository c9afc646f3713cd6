/* prompts.c: prompts from a file, one a line or as conversations in JSONL, and the bodies that are made of them turn by turn. Called by script.c. */
#include "bench/script_inner.h"

#define QUESTION       TEXT("Say in one sentence why rivers bend.") /* what is asked when nobody says what */
#define LINE_ARENA_MAX (SCRIPT_LINE_MAX * 32ull)                       /* a line's JSON tree, and its text again */

/* ---- reading ---- */

struct reader {
    struct script *s;
    const char *path;
    int line;
    struct complaint *why;
    struct arena scratch; /* of one line */
};

#define REFUSE(r, ...) complain((r)->why, (r)->path, (r)->line, 0, __VA_ARGS__)

static bool keep(struct reader *r, struct text t, struct text *out)
{
    *out = (struct text){ arena_copy(&r->s->arena, t), t.len };
    return out->at != NULL || REFUSE(r, "no memory left to keep it");
}

static void *alc_malloc(void *arena, size_t size) { return arena_alloc(arena, size); }
static void alc_free(void *arena, void *p) { (void)arena, (void)p; }

static void *alc_realloc(void *arena, void *old, size_t old_size, size_t size)
{
    void *p = arena_alloc(arena, size);
    return p != NULL && old != NULL ? memcpy(p, old, MIN(old_size, size)) : p;
}

/* v as JSON, in scratch. */
static bool json_of(struct reader *r, yyjson_val *v, struct text *out)
{
    const yyjson_alc alc = { alc_malloc, alc_realloc, alc_free, &r->scratch };
    out->at = yyjson_val_write_opts(v, YYJSON_WRITE_NOFLAG, &alc, &out->len, NULL);
    return out->at != NULL || REFUSE(r, "no memory left to read it");
}

static bool take_user(struct reader *r, yyjson_val *content, const struct buf *before, struct turn *turn)
{
    struct text text = { yyjson_get_str(content), yyjson_get_len(content) };
    turn->is_json = !yyjson_is_str(content);
    return (!turn->is_json || json_of(r, content, &text)) && keep(r, text, &turn->content) && keep(r, buf_text(before), &turn->before);
}

/* Messages between two questions go before the next one; a recorded answer is left out: the server's own takes its place. */
static bool take_message(struct reader *r, yyjson_val *message, struct buf *before, struct prompt *p)
{
    yyjson_val *role = yyjson_obj_get(message, "role"), *content = yyjson_obj_get(message, "content");
    struct text json;
    if (!yyjson_is_str(role))
        return REFUSE(r, "a message needs a role");
    if (yyjson_equals_str(role, "assistant"))
        return true;
    if (!yyjson_equals_str(role, "user"))
        return json_of(r, message, &json) && ((buf_add_text(before, json) == OK && buf_add_text(before, TEXT(",")) == OK) || REFUSE(r, "no memory left to read it"));
    if (!yyjson_is_str(content) && !yyjson_is_arr(content))
        return REFUSE(r, "a user's message needs a content");
    if (!take_user(r, content, before, &p->turns[p->turn_count]))
        return false;
    p->turn_count++;
    buf_clear(before);
    return true;
}

static bool take_messages(struct reader *r, yyjson_val *messages, struct prompt *p)
{
    struct buf before;
    size_t i, n;
    yyjson_val *message;
    bool is_ok = true;
    if (!yyjson_is_arr(messages) || yyjson_arr_size(messages) > SCRIPT_TURNS_MAX)
        return REFUSE(r, "messages must be an array of at most %d", SCRIPT_TURNS_MAX);
    p->turns = arena_alloc(&r->s->arena, MAX(1u, yyjson_arr_size(messages)) * sizeof *p->turns);
    if (p->turns == NULL)
        return REFUSE(r, "no memory left to keep it");
    buf_init(&before, SCRIPT_LINE_MAX);
    yyjson_arr_foreach(messages, i, n, message)
        is_ok = is_ok && take_message(r, message, &before, p);
    buf_fini(&before);
    return is_ok && (p->turn_count > 0 || REFUSE(r, "a conversation needs a message of the user"));
}

static bool take_text(struct reader *r, struct text text, struct prompt *p)
{
    p->turns = arena_alloc(&r->s->arena, sizeof *p->turns);
    if (p->turns == NULL)
        return REFUSE(r, "no memory left to keep it");
    p->turns[0] = (struct turn){ .before = TEXT("") };
    p->turn_count = 1;
    return keep(r, text, &p->turns[0].content);
}

static bool take_member(struct reader *r, yyjson_val *key, yyjson_val *value, struct prompt *p)
{
    static const char *const known[] = { "prompt", "messages", "max_tokens" };
    struct text name = { yyjson_get_str(key), yyjson_get_len(key) };
    bool is_prompt = text_eq(name, TEXT("prompt")), is_messages = text_eq(name, TEXT("messages"));
    if ((is_prompt || is_messages) && p->turn_count > 0)
        return REFUSE(r, "a line has a prompt or messages, not both");
    if (is_prompt)
        return yyjson_is_str(value) ? take_text(r, (struct text){ yyjson_get_str(value), yyjson_get_len(value) }, p) : REFUSE(r, "prompt must be a string");
    if (is_messages)
        return take_messages(r, value, p);
    const char *near = text_nearest(name, known, ARRAY_LEN(known));
    if (!text_eq(name, TEXT("max_tokens")))
        return near != NULL ? REFUSE(r, "unknown key \"%.40s\"; did you mean %s?", name.at, near)
                            : REFUSE(r, "unknown key \"%.40s\"; a line has prompt or messages, and max_tokens", name.at);
    if (!yyjson_is_uint(value) || yyjson_get_uint(value) == 0 || yyjson_get_uint(value) > UINT32_MAX)
        return REFUSE(r, "max_tokens must be a number from 1");
    p->max_tokens = (uint32_t)yyjson_get_uint(value);
    return true;
}

static bool take_object(struct reader *r, struct text line, struct prompt *p)
{
    yyjson_doc *doc;
    const char *what = "out of memory";
    size_t i, n;
    yyjson_val *key, *value;
    bool is_ok = true;
    if (json_parse(&r->scratch, line, &doc, &what) != OK)
        return REFUSE(r, "not JSON: %s", what);
    if (!yyjson_is_obj(yyjson_doc_get_root(doc)))
        return REFUSE(r, "not a JSON object");
    yyjson_obj_foreach(yyjson_doc_get_root(doc), i, n, key, value)
        is_ok = is_ok && take_member(r, key, value, p);
    return is_ok && (p->turn_count > 0 || REFUSE(r, "needs a prompt or messages"));
}

static bool take_line(struct reader *r, struct text line, bool is_jsonl, struct prompt *p)
{
    if (line.len > SCRIPT_LINE_MAX)
        return REFUSE(r, "longer than %u MiB", SCRIPT_LINE_MAX >> 20);
    if (!is_jsonl)
        return take_text(r, line, p);
    arena_init(&r->scratch, NULL, 0, LINE_ARENA_MAX);
    bool is_ok = take_object(r, line, p);
    arena_fini(&r->scratch);
    return is_ok;
}

static bool take_file(struct reader *r, struct text rest)
{
    struct prompts *prompts = &r->s->prompts;
    uint64_t lines = 1;
    struct text line;
    bool is_jsonl = false;
    for (size_t i = 0; i < rest.len; i++)
        lines += rest.at[i] == '\n';
    prompts->at = arena_alloc(&r->s->arena, lines * sizeof *prompts->at);
    if (prompts->at == NULL)
        return REFUSE(r, "no memory left to keep it");
    for (r->line = 1; rest.len > 0; r->line++) {
        rest = text_cut(rest, '\n', &line);
        line = text_trim(text_ends(line, TEXT("\r")) ? (struct text){ line.at, line.len - 1 } : line);
        if (line.len == 0)
            continue;
        is_jsonl = prompts->count == 0 ? line.at[0] == '{' : is_jsonl; /* the first line says for all */
        struct prompt *p = &prompts->at[prompts->count++];
        *p = (struct prompt){ 0 };
        if (!take_line(r, line, is_jsonl, p))
            return false;
        prompts->turns_max = MAX(prompts->turns_max, p->turn_count);
    }
    r->line = 0;
    return prompts->count > 0 || REFUSE(r, "holds no prompt");
}

bool prompts_read(struct script *s, const char *path, struct complaint *why)
{
    struct reader r = { .s = s, .path = path, .why = why };
    struct buf file;
    if (!script_file_read(path, &file, why))
        return false;
    bool is_ok = take_file(&r, buf_text(&file));
    buf_fini(&file);
    return is_ok;
}

/* ---- writing ---- */

static const struct prompt *prompt_of(const struct script_session *x)
{
    const struct prompts *p = &x->script->prompts;
    return p->count > 0 ? &p->at[script_prompt(x)] : NULL;
}

uint32_t script_turns(const struct script_session *x)
{
    const struct prompt *p = prompt_of(x);
    return p != NULL ? p->turn_count : 1;
}

static const struct turn *turn_of(const struct script_session *x)
{
    const struct prompt *p = prompt_of(x);
    return p != NULL ? &p->turns[x->turn % p->turn_count] : NULL;
}

enum fail prompts_put(const struct script_session *x, enum template_place place, struct buf *out)
{
    const struct turn *turn = turn_of(x);
    if (x->script->trace.count > 0)
        return trace_write(x->script, x->number, place, out);
    return template_put(out, place, turn != NULL ? turn->content : QUESTION);
}

/* {"role":"user","content":...} with what stands before it. */
static enum fail put_user(const struct script_session *x, struct buf *out)
{
    const struct turn *turn = turn_of(x);
    enum fail f = turn != NULL ? buf_add_text(out, turn->before) : OK;
    f = f == OK ? buf_add_text(out, TEXT("{\"role\":\"user\",\"content\":")) : f;
    if (f == OK && turn != NULL && turn->is_json) {
        f = buf_add_text(out, turn->content);
    } else {
        f = f == OK ? buf_add_text(out, TEXT("\"")) : f;
        f = f == OK ? prompts_put(x, TEMPLATE_JSON, out) : f;
        f = f == OK ? buf_add_text(out, TEXT("\"")) : f;
    }
    return f == OK ? buf_add_text(out, TEXT("}")) : f;
}

static uint32_t tokens_max(const struct script_session *x, const struct request *r)
{
    const struct trace *t = &x->script->trace;
    const struct prompt *p = prompt_of(x);
    if (r->max_tokens > 0)
        return r->max_tokens;
    return t->count > 0 ? t->rows[x->number % t->count].max_tokens : p != NULL ? p->max_tokens : 0;
}

static enum fail put_query(const struct script_session *x, struct buf *out)
{
    enum fail f = buf_add_text(out, TEXT("{\"query\":\""));
    f = f == OK ? prompts_put(x, TEMPLATE_JSON, out) : f;
    return f == OK ? buf_add_text(out, TEXT("\"}")) : f;
}

static enum fail put_chat(const struct script_session *x, const struct request *r, struct buf *out)
{
    uint32_t most = tokens_max(x, r);
    enum fail f = buf_add_text(out, TEXT("{\"model\":"));
    f = f == OK ? json_add_string(out, r->model) : f;
    f = f == OK ? buf_add_text(out, TEXT(",\"messages\":[")) : f;
    f = f == OK ? buf_add_text(out, buf_text(&x->heard)) : f;
    f = f == OK ? put_user(x, out) : f;
    f = f == OK ? buf_printf(out, "],\"stream\":%s", r->stream ? "true" : "false") : f;
    if (f == OK && r->stream && r->api == LOAD_OPENAI)
        f = buf_add_text(out, TEXT(",\"stream_options\":{\"include_usage\":true}"));
    if (f == OK && x->script->prompts.below != NULL && r->api == LOAD_OPENAI)
        f = buf_add_text(out, TEXT(",\"temperature\":0")); /* what is asked again and again has one answer: that is what the mix is about */
    if (f == OK && most > 0)
        f = buf_printf(out, r->api == LOAD_OPENAI ? ",\"max_tokens\":%u" : ",\"options\":{\"num_predict\":%u}", most);
    return f == OK ? buf_add_text(out, TEXT("}")) : f;
}

enum fail prompts_write_body(const struct script_session *x, const struct request *r, struct buf *out)
{
    return r->api == LOAD_QUERY ? put_query(x, out) : put_chat(x, r, out);
}

enum fail prompts_heard(struct script_session *x, struct text answer)
{
    if (x->heard.max == 0)
        buf_init(&x->heard, SCRIPT_HEARD_MAX);
    enum fail f = put_user(x, &x->heard);
    f = f == OK ? buf_add_text(&x->heard, TEXT(",{\"role\":\"assistant\",\"content\":")) : f;
    f = f == OK ? json_add_string(&x->heard, answer) : f;
    return f == OK ? buf_add_text(&x->heard, TEXT("},")) : f;
}
