/* openai.c: OpenAI's surface: errors in its shape, its list of models. What a body must have is in openai_body.c. */
#include "serve/serve.h"
#include "base/json.h"
#include "net/sse.h"
#include <stdio.h>

/* ---- errors ---- */

static enum fail put_error(struct buf *out, const struct request *rq, enum fail f)
{
    const struct fail_row *row = fail_row(f);
    enum fail e = buf_add_text(out, TEXT("{\"error\":{\"message\":"));
    if (e == OK)
        e = json_add_string(out, text_of(rq->why[0] != 0 ? rq->why : row->text));
    if (e == OK)
        e = buf_printf(out, ",\"type\":\"%s\",\"param\":", row->type);
    if (e == OK)
        e = rq->param != NULL ? json_add_string(out, text_of(rq->param)) : buf_add_text(out, TEXT("null"));
    return e == OK ? buf_printf(out, ",\"code\":\"%s\",\"request_id\":\"%s\"}}", row->code, rq->http->id) : e;
}

static enum fail put_stream_error(struct buf *out, const struct request *rq, enum fail f)
{
    struct buf body;
    buf_init(&body, 4096);
    enum fail e = put_error(&body, rq, f);
    if (e == OK)
        e = sse_write(out, TEXT_NONE, buf_text(&body));
    buf_fini(&body);
    return e;
}

/* ---- surfaces; openai_body.c reads them ---- */

const struct api api_chat = { "chat", SURFACE_openai, openai_read_chat, openai_take_generation, put_error, put_stream_error, "/v1/chat/completions", FIELD_CHAT };
const struct api api_completions = { "completions", SURFACE_openai, openai_read_completion, openai_take_generation, put_error, put_stream_error,
                                     "/v1/completions", FIELD_COMPLETION };
const struct api api_embeddings = { "embeddings", SURFACE_openai, openai_read_embedding, openai_take_embedding, put_error, put_stream_error,
                                    "/v1/embeddings", FIELD_EMBEDDING };
/* Nobody reads a body for these */
const struct api api_nothing = { "none", SURFACE_none, NULL, NULL, put_error, put_stream_error, "", FIELD_CHAT };
const struct api api_pages = { "page", SURFACE_admin, NULL, NULL, put_error, put_stream_error, "", FIELD_CHAT };

/* ---- models ---- */

static enum fail put_model(struct buf *out, const char *name)
{
    enum fail f = buf_add_text(out, TEXT("{\"id\":"));
    if (f == OK)
        f = json_add_string(out, text_of(name));
    return f == OK ? buf_add_text(out, TEXT(",\"object\":\"model\",\"created\":0,\"owned_by\":\"weir\"}")) : f;
}

enum fail page_models(struct task *t, struct request *rq, struct text rest)
{
    struct buf out;
    uint32_t count;
    bool any = false;
    const char *const *names = roster_models(rq->roster, &count);
    (void)rest;
    buf_init(&out, 4u << 20);
    enum fail f = buf_add_text(&out, TEXT("{\"object\":\"list\",\"data\":["));
    for (uint32_t i = 0; i < count && f == OK; i++) {
        if (!auth_may_use(&rq->who, text_of(names[i])))
            continue;
        if (any)
            f = buf_add_text(&out, TEXT(","));
        if (f == OK)
            f = put_model(&out, names[i]);
        any = true;
    }
    if (f == OK)
        f = buf_add_text(&out, TEXT("]}"));
    if (f == OK)
        f = page_json(t, rq, 200, buf_text(&out));
    buf_fini(&out);
    return f;
}

struct text serve_decoded(struct arena *a, struct text t)
{
    char *out = arena_copy(a, t);
    size_t n = 0;
    if (out == NULL)
        return TEXT_NONE;
    for (size_t i = 0; i < t.len; i++) {
        bool coded = t.at[i] == '%' && i + 2 < t.len && hex_digit(t.at[i + 1]) >= 0 && hex_digit(t.at[i + 2]) >= 0;
        out[n++] = coded ? (char)(hex_digit(t.at[i + 1]) * 16 + hex_digit(t.at[i + 2])) : t.at[i];
        i += coded ? 2 : 0;
    }
    return (struct text){ out, n };
}

enum fail page_model(struct task *t, struct request *rq, struct text rest)
{
    struct buf out;
    rq->model = serve_decoded(&rq->http->arena, rest);
    struct pool *pool = roster_find(rq->roster, rq->model);
    if (pool == NULL || !auth_may_use(&rq->who, rq->model)) {
        rq->param = "model";
        return because(rq, FAIL_NO_MODEL, "The model \"%.*s\" does not exist.", (int)MIN(rq->model.len, 200u), rq->model.at);
    }
    buf_init(&out, 8192);
    enum fail f = put_model(&out, pool_name(pool));
    if (f == OK)
        f = page_json(t, rq, 200, buf_text(&out));
    buf_fini(&out);
    return f;
}
