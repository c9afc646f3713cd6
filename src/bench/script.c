/* script.c: what a load test sends: scripts from the command line's options, and a session's way through them. Called by the generator and by plans. */
#include "bench/script_inner.h"

#include "base/json.h"

#define SCRIPT_MAGIC 0x73637270u

struct script {
    uint32_t magic;
    struct arena arena;
    struct script_options options; /* texts in the arena */
    struct text body;              /* of --body; at NULL: the api's own */
};

static const struct api_row {
    struct text method, path;
} apis[] = {
    [LOAD_OPENAI] = { TEXT("POST"), TEXT("/v1/chat/completions") },
    [LOAD_OLLAMA] = { TEXT("POST"), TEXT("/api/chat") },
    [LOAD_QUERY] = { TEXT("POST"), TEXT("/query") },
    [LOAD_PLAIN] = { TEXT("GET"), TEXT("/") },
};

static struct text keep(struct script *s, struct text t, struct text otherwise)
{
    t = t.len > 0 ? t : otherwise;
    return (struct text){ arena_copy(&s->arena, t), t.len };
}

static bool read_body(struct script *s, const char *path, struct complaint *why)
{
    struct buf file;
    if (!script_file_read(path, &file, why))
        return false;
    s->body = keep(s, buf_text(&file), TEXT(""));
    buf_fini(&file);
    return s->body.at != NULL || complain(why, path, 0, 0, "no memory left to keep it");
}

bool script_open(struct script **out, const struct script_options *o, struct complaint *why)
{
    struct script *s = mem_zero(sizeof *s);
    if (s == NULL)
        return complain(why, NULL, 0, 0, "no memory left for what is sent");
    s->magic = SCRIPT_MAGIC;
    arena_init(&s->arena, NULL, 0, SCRIPT_ARENA_MAX);
    s->options = *o;
    s->options.method = keep(s, o->method, o->body_file != NULL ? TEXT("POST") : apis[o->api].method);
    s->options.path = keep(s, o->path, apis[o->api].path);
    s->options.model = keep(s, o->model, TEXT("default"));
    if (o->body_file != NULL && !read_body(s, o->body_file, why)) {
        script_free(s);
        return false;
    }
    *out = s;
    return true;
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

const nanos *script_moments(const struct script *s, uint64_t *out_count)
{
    CHECK(s, SCRIPT);
    *out_count = 0;
    return NULL;
}

unsigned script_flow_count(const struct script *s)
{
    CHECK(s, SCRIPT);
    return 1;
}

struct text script_flow_name(const struct script *s, unsigned flow)
{
    CHECK(s, SCRIPT);
    ASSERT(flow == 0);
    return TEXT("default");
}

void script_begin(struct script_session *x, const struct script *s, uint64_t number)
{
    CHECK(s, SCRIPT);
    *x = (struct script_session){ .script = s, .number = number };
}

#define QUESTION TEXT("Say in one sentence why rivers bend.")

static enum fail add_body(const struct script_options *o, struct buf *body)
{
    if (o->api == LOAD_PLAIN)
        return OK;
    if (o->api == LOAD_QUERY) {
        enum fail f = buf_add_text(body, TEXT("{\"query\":"));
        f = f == OK ? json_add_string(body, QUESTION) : f;
        return f == OK ? buf_add_text(body, TEXT("}")) : f;
    }
    enum fail f = buf_add_text(body, TEXT("{\"model\":"));
    f = f == OK ? json_add_string(body, o->model) : f;
    f = f == OK ? buf_add_text(body, TEXT(",\"messages\":[{\"role\":\"user\",\"content\":")) : f;
    f = f == OK ? json_add_string(body, QUESTION) : f;
    f = f == OK ? buf_printf(body, "}],\"stream\":%s", o->stream ? "true" : "false") : f;
    if (f == OK && o->stream && o->api == LOAD_OPENAI)
        f = buf_add_text(body, TEXT(",\"stream_options\":{\"include_usage\":true}"));
    if (f == OK && o->max_tokens > 0)
        f = buf_printf(body, o->api == LOAD_OPENAI ? ",\"max_tokens\":%u" : ",\"options\":{\"num_predict\":%u}", o->max_tokens);
    return f == OK ? buf_add_text(body, TEXT("}")) : f;
}

enum fail script_next(struct script_session *x, struct buf *body, struct script_call *out, bool *out_over)
{
    const struct script *s = x->script;
    const struct script_options *o = &s->options;
    CHECK(s, SCRIPT);
    buf_clear(body);
    *out_over = x->step > 0;
    if (*out_over)
        return OK;
    enum fail f = s->body.at != NULL ? buf_add_text(body, s->body) : add_body(o, body);
    if (f != OK)
        return f;
    bool has_body = buf_len(body) > 0;
    *out = (struct script_call){ .think = o->think, .api = o->api, .stream = o->stream, .method = o->method, .path = o->path, .body = buf_text(body),
                                 .headers = has_body ? TEXT("content-type: application/json\r\n") : TEXT_NONE };
    x->step++;
    return OK;
}

enum fail script_heard(struct script_session *x, struct text answer)
{
    CHECK(x->script, SCRIPT);
    (void)answer;
    return OK;
}

void script_end(struct script_session *x)
{
    buf_fini(&x->heard);
    mem_free(x->values);
    x->values = NULL;
}
