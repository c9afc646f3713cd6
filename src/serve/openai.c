/* openai.c: OpenAI's surface: what a body must have, what is changed in it on its way, and errors in OpenAI's shape. */
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

/* ---- bodies ---- */

static enum fail wrong(struct request *rq, const char *param, const char *must)
{
    rq->param = param;
    return because(rq, FAIL_BAD_FIELD, "\"%s\" must be %s.", param, must);
}

static enum fail splice(struct request *rq, struct text body, const char *from, const char *to, struct text with, bool is_model)
{
    ASSERT(rq->splice_count < SPLICES_MAX);
    rq->splices[rq->splice_count++] = (struct splice){ (size_t)(from - body.at), (size_t)(to - body.at), with, is_model };
    return OK;
}

/* {"include_usage":true} and whatever else the client's object had. */
static enum fail stream_options_text(struct request *rq, struct text old, struct text *out)
{
    struct buf b;
    struct json_span span;
    size_t cursor = 0;
    buf_init(&b, 4096);
    enum fail f = buf_add_text(&b, TEXT("{\"include_usage\":true"));
    while (f == OK && old.len > 0 && old.at[0] == '{' && json_span_next(old, &cursor, &span))
        if (!text_eq(span.key, TEXT("include_usage")))
            f = buf_printf(&b, ",\"%.*s\":%.*s", TEXT_ARG(span.key), TEXT_ARG(span.value));
    if (f == OK)
        f = buf_add_text(&b, TEXT("}"));
    char *copy = f == OK ? arena_copy(&rq->http->arena, buf_text(&b)) : NULL;
    if (f == OK && copy == NULL)
        f = FAIL_NO_MEMORY;
    if (f == OK)
        *out = (struct text){ copy, buf_len(&b) };
    buf_fini(&b);
    return f == FAIL_TOO_LARGE ? wrong(rq, "stream_options", "smaller than 4 KiB") : f;
}

/* What is put right behind the body's '{': what the client left out and the configuration or the meter wants. */
static enum fail additions(struct request *rq, struct text body, bool has_stream_options, bool has_max_tokens, bool has_temperature)
{
    char text[160];
    size_t n = 0;
    const struct conf_model *m = rq->pool_conf;
    if (rq->stream && !has_stream_options)
        n += (size_t)snprintf(text + n, sizeof text - n, "\"stream_options\":{\"include_usage\":true},");
    if (m != NULL && m->defaults.max_tokens > 0 && !has_max_tokens) {
        n += (size_t)snprintf(text + n, sizeof text - n, "\"max_tokens\":%u,", m->defaults.max_tokens);
        rq->max_tokens = m->defaults.max_tokens;
    }
    if (m != NULL && m->defaults.temperature.is_set && !has_temperature)
        n += (size_t)snprintf(text + n, sizeof text - n, "\"temperature\":%g,", m->defaults.temperature.value);
    if (n == 0)
        return OK;
    char *copy = arena_copy(&rq->http->arena, (struct text){ text, n });
    const char *brace = body.at + text_find(body, TEXT("{")) + 1;
    return copy == NULL ? FAIL_NO_MEMORY : splice(rq, body, brace, brace, (struct text){ copy, n }, false);
}

/* The body's members in source order beside yyjson's: a name may be written with escapes, so only yyjson knows it. */
static enum fail make_splices(struct request *rq, yyjson_val *root, bool generates)
{
    struct text body = buf_text(&rq->http->body), options = TEXT_NONE;
    struct json_span span;
    size_t cursor = 0;
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    bool has_options = yyjson_obj_get(root, "stream_options") != NULL;
    bool has_max = yyjson_obj_get(root, "max_tokens") != NULL || yyjson_obj_get(root, "max_completion_tokens") != NULL;
    enum fail f = generates ? additions(rq, body, has_options, has_max, yyjson_obj_get(root, "temperature") != NULL) : OK;
    for (yyjson_val *key; f == OK && (key = yyjson_obj_iter_next(&it)) != NULL;) {
        bool found = json_span_next(body, &cursor, &span);
        ASSERT(found);
        if (yyjson_equals_str(key, "model"))
            f = splice(rq, body, span.value.at, span.value.at + span.value.len, TEXT_NONE, true);
        else if (yyjson_equals_str(key, "stream_options") && rq->stream && !rq->usage_wanted && (f = stream_options_text(rq, span.value, &options)) == OK)
            f = splice(rq, body, span.value.at, span.value.at + span.value.len, options, false);
    }
    return f;
}

static enum fail read_model(struct request *rq, yyjson_val *root)
{
    yyjson_val *model = yyjson_obj_get(root, "model");
    if (model == NULL)
        return wrong(rq, "model", "given: the name of a model, see GET /v1/models");
    if (!yyjson_is_str(model) || yyjson_get_len(model) == 0 || yyjson_get_len(model) > MODEL_NAME_MAX)
        return wrong(rq, "model", "a string: the name of a model");
    rq->model = (struct text){ yyjson_get_str(model), yyjson_get_len(model) };
    struct pool *pool = roster_find(rq->roster, rq->model);
    rq->pool_conf = pool != NULL ? roster_conf_model(rq->roster, pool) : NULL;
    return OK;
}

static enum fail read_generation(struct request *rq, yyjson_val *root)
{
    yyjson_val *max = yyjson_obj_get(root, "max_completion_tokens"), *options = yyjson_obj_get(root, "stream_options");
    if (max == NULL)
        max = yyjson_obj_get(root, "max_tokens");
    rq->stream = yyjson_is_true(yyjson_obj_get(root, "stream"));
    rq->usage_wanted = yyjson_is_true(yyjson_obj_get(options, "include_usage"));
    rq->max_tokens = yyjson_is_uint(max) ? (uint32_t)MIN(yyjson_get_uint(max), (uint64_t)UINT32_MAX) : 0;
    return OK;
}

static enum fail read_common(struct request *rq, bool generates)
{
    yyjson_val *root = yyjson_doc_get_root(rq->doc);
    char must[128];
    const char *bad = fields_check(root, rq->api->fields, must, sizeof must);
    if (bad != NULL)
        return wrong(rq, bad, must);
    struct border_refusal no = border_body(root, rq->conf->limits.private_urls == CONF_ON, &rq->fetches);
    if (no.why != NULL) {
        rq->param = arena_copy(&rq->http->arena, no.field);
        return because(rq, FAIL_BAD_FIELD, "\"%.*s\" %s.", (int)MIN(no.field.len, 64u), no.field.at, no.why);
    }
    enum fail f = read_model(rq, root);
    if (f == OK && generates)
        f = read_generation(rq, root);
    return f == OK ? make_splices(rq, root, generates) : f;
}

static enum fail read_chat(struct request *rq)
{
    yyjson_val *message, *messages = yyjson_obj_get(yyjson_doc_get_root(rq->doc), "messages");
    size_t i, n;
    if (!yyjson_is_arr(messages) || yyjson_arr_size(messages) == 0)
        return wrong(rq, "messages", "an array of at least one message");
    yyjson_arr_foreach(messages, i, n, message) {
        if (!yyjson_is_obj(message))
            return wrong(rq, "messages", "an array of objects");
        if (!yyjson_is_str(yyjson_obj_get(message, "role")))
            return wrong(rq, "messages", "an array of messages with a \"role\" each");
        if (json_has_duplicate_keys(message))
            return because(rq, FAIL_BAD_JSON, "Message %zu names a field twice: backends disagree on which one wins.", i);
    }
    return read_common(rq, true);
}

static enum fail read_completion(struct request *rq)
{
    yyjson_val *prompt = yyjson_obj_get(yyjson_doc_get_root(rq->doc), "prompt");
    if (!yyjson_is_str(prompt) && !yyjson_is_arr(prompt))
        return wrong(rq, "prompt", "a string or an array");
    return read_common(rq, true);
}

static enum fail read_embedding(struct request *rq)
{
    yyjson_val *input = yyjson_obj_get(yyjson_doc_get_root(rq->doc), "input");
    if (!yyjson_is_str(input) && !(yyjson_is_arr(input) && yyjson_arr_size(input) > 0))
        return wrong(rq, "input", "a string or an array that is not empty");
    return read_common(rq, false);
}

static enum fail read_nothing(struct request *rq)
{
    (void)rq;
    return OK;
}

const struct api api_chat = { "chat", SURFACE_openai, read_chat, put_error, put_stream_error, "/v1/chat/completions", FIELD_CHAT };
const struct api api_completions = { "completions", SURFACE_openai, read_completion, put_error, put_stream_error, "/v1/completions", FIELD_COMPLETION };
const struct api api_embeddings = { "embeddings", SURFACE_openai, read_embedding, put_error, put_stream_error, "/v1/embeddings", FIELD_EMBEDDING };
const struct api api_nothing = { "none", SURFACE_none, read_nothing, put_error, put_stream_error, "", FIELD_CHAT };
const struct api api_pages = { "page", SURFACE_admin, read_nothing, put_error, put_stream_error, "", FIELD_CHAT };

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
        if (!auth_may_use(rq->key, text_of(names[i])))
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

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A name out of a path: %xx are bytes. */
static struct text percent_decoded(struct arena *a, struct text t)
{
    char *out = arena_copy(a, t);
    size_t n = 0;
    if (out == NULL)
        return TEXT_NONE;
    for (size_t i = 0; i < t.len; i++) {
        bool coded = t.at[i] == '%' && i + 2 < t.len && hex(t.at[i + 1]) >= 0 && hex(t.at[i + 2]) >= 0;
        out[n++] = coded ? (char)(hex(t.at[i + 1]) * 16 + hex(t.at[i + 2])) : t.at[i];
        i += coded ? 2 : 0;
    }
    return (struct text){ out, n };
}

enum fail page_model(struct task *t, struct request *rq, struct text rest)
{
    struct buf out;
    rq->model = percent_decoded(&rq->http->arena, rest);
    struct pool *pool = roster_find(rq->roster, rq->model);
    if (pool == NULL || !auth_may_use(rq->key, rq->model)) {
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
