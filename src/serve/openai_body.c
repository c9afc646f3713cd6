/* openai_body.c: what a body of OpenAI's surface must have (openai_read_…, on any thread), and what is changed in it on its way (openai_take_…). */
#include "serve/serve.h"
#include "base/json.h"
#include "route/affinity.h"
#include <stdio.h>
#include <string.h>

#define CHOICES_SAID_MAX 128  /* OpenAI's n */
#define PICTURE_BYTES    4096 /* about a thousand tokens, which is what a picture in high detail usually is */
#define VALUE_BYTES      4    /* about a token */

/* ---- reading ---- */

static enum fail wrong(struct reading *r, const char *param, const char *must)
{
    r->param = param;
    return reading_refuse(r, FAIL_BAD_FIELD, "\"%s\" must be %s.", param, must);
}

/* The body's members in source order beside yyjson's: a name may be written with escapes, so only yyjson knows it. */
static void find_places(struct reading *r, yyjson_val *root)
{
    struct text body = buf_text(&r->body);
    struct json_span span;
    size_t cursor = 0;
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    r->brace = text_find(body, TEXT("{")) + 1;
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it)) != NULL;) {
        bool found = json_span_next(body, &cursor, &span);
        ASSERT(found);
        size_t from = (size_t)(span.value.at - body.at), to = from + span.value.len;
        if (yyjson_equals_str(key, "model"))
            r->model_from = from, r->model_to = to;
        else if (yyjson_equals_str(key, "stream_options"))
            r->options_from = from, r->options_to = to;
        else if (yyjson_equals_str(key, "input"))
            r->input_from = from, r->input_to = to;
    }
}

static enum fail read_model(struct reading *r, yyjson_val *root)
{
    yyjson_val *model = yyjson_obj_get(root, "model");
    if (model == NULL)
        return wrong(r, "model", "given: the name of a model, see GET /v1/models");
    size_t len = yyjson_get_len(model);
    if (!yyjson_is_str(model) || len == 0 || len > MODEL_NAME_MAX || memchr(yyjson_get_str(model), '\0', len) != NULL)
        return wrong(r, "model", "a string: the name of a model");
    memcpy(r->model, yyjson_get_str(model), len);
    r->model_len = len;
    return OK;
}

static void read_generation(struct reading *r, yyjson_val *root)
{
    yyjson_val *temperature = yyjson_obj_get(root, "temperature"), *options = yyjson_obj_get(root, "stream_options"), *n = yyjson_obj_get(root, "n");
    yyjson_val *completion = yyjson_obj_get(root, "max_completion_tokens"), *older = yyjson_obj_get(root, "max_tokens");
    yyjson_val *max = json_is_count(completion) ? completion : older;
    r->max_is_completion = max == completion;
    r->says_max = json_is_count(max);
    r->says_temperature = yyjson_is_num(temperature);
    r->stream = yyjson_is_true(yyjson_obj_get(root, "stream"));
    r->usage_wanted = yyjson_is_true(yyjson_obj_get(options, "include_usage"));
    r->has_max_tokens = older != NULL || completion != NULL;
    r->answers = yyjson_is_uint(n) ? (uint32_t)MIN(MAX(yyjson_get_uint(n), 1), CHOICES_SAID_MAX) : 1;
    r->has_temperature = temperature != NULL;
    r->temperature = yyjson_get_num(temperature);
    r->has_tools = yyjson_arr_size(yyjson_obj_get(root, "tools")) > 0 || yyjson_arr_size(yyjson_obj_get(root, "functions")) > 0;
    r->max_tokens = r->says_max ? (uint32_t)MIN(yyjson_get_uint(max), (uint64_t)UINT32_MAX) : 0;
}

/* Text, names and structure are read by a model more or less as they stand. Numbers are tokens themselves, or near it; a picture or file in a data: URL is not read as
   the letters that it is written in. In one walk over the values, which lie one behind another (yyjson.h: of a document that was read). */
static uint64_t prompt_bytes(yyjson_doc *doc)
{
    uint64_t bytes = 0;
    yyjson_val *v = yyjson_doc_get_root(doc);
    for (size_t left = yyjson_doc_get_val_count(doc); left > 0; left--, v++) {
        size_t len = yyjson_is_str(v) ? yyjson_get_len(v) : VALUE_BYTES;
        bool is_data = len > PICTURE_BYTES && memcmp(yyjson_get_str(v), "data:", 5) == 0;
        bytes += is_data ? PICTURE_BYTES : len;
    }
    return bytes;
}

/* Might any model keep the answer to this? */
static bool may_be_kept(const struct reading *r)
{
    if (r->keeps != CONF_CACHE_DETERMINISTIC || r->api->fields == FIELD_EMBEDDING)
        return r->keeps >= CONF_CACHE_DETERMINISTIC;
    return !r->has_tools && (r->has_temperature ? r->says_temperature && r->temperature == 0 : r->zero_by_default);
}

/* An embedding is known by its input alone, whatever it was asked together with. What has no digest, for a number that nobody can hold, or for want of memory,
   is answered all the same. */
static enum fail read_digest(struct reading *r, yyjson_val *root)
{
    if (r->api->fields != FIELD_EMBEDDING)
        return cache_digest(&r->arena, root, &r->digest);
    r->input_count = cache_inputs(root);
    if (r->input_count == 0 || r->input_count > ITEMS_MAX)
        return FAIL_TOO_LARGE;
    r->inputs = mem_alloc(r->input_count * sizeof *r->inputs);
    return r->inputs != NULL ? cache_digest_inputs(&r->arena, root, &r->digest, r->inputs) : FAIL_NO_MEMORY;
}

static enum fail read_common(struct reading *r)
{
    yyjson_val *root = yyjson_doc_get_root(r->doc);
    char must[128];
    const char *bad = fields_check(root, r->api->fields, must, sizeof must);
    if (bad != NULL)
        return wrong(r, bad, must);
    struct border_refusal no = border_body(root, r->private_urls, &r->fetches);
    if (no.why != NULL) {
        snprintf(r->field, sizeof r->field, "%.*s", (int)MIN(no.field.len, sizeof r->field - 1), no.field.at);
        r->param = r->field;
        return reading_refuse(r, FAIL_BAD_FIELD, "\"%s\" %s.", r->field, no.why);
    }
    r->llama_param = !r->for_llama ? NULL : fields_check_llama(root, r->llama_must, sizeof r->llama_must);
    enum fail f = read_model(r, root);
    if (f != OK)
        return f;
    if (r->api->fields != FIELD_EMBEDDING)
        read_generation(r, root);
    r->prompt_bytes = prompt_bytes(r->doc);
    find_places(r, root);
    if (may_be_kept(r))
        r->has_digest = read_digest(r, root) == OK;
    return OK;
}

enum fail openai_read_chat(struct reading *r)
{
    yyjson_val *message, *messages = yyjson_obj_get(yyjson_doc_get_root(r->doc), "messages");
    size_t i, n;
    if (!yyjson_is_arr(messages) || yyjson_arr_size(messages) == 0)
        return wrong(r, "messages", "an array of at least one message");
    yyjson_arr_foreach(messages, i, n, message) {
        if (!yyjson_is_obj(message))
            return wrong(r, "messages", "an array of objects");
        if (!yyjson_is_str(yyjson_obj_get(message, "role")))
            return wrong(r, "messages", "an array of messages with a \"role\" each");
    }
    r->affinity = affinity_of_messages(messages);
    return read_common(r);
}

enum fail openai_read_completion(struct reading *r)
{
    yyjson_val *prompt = yyjson_obj_get(yyjson_doc_get_root(r->doc), "prompt");
    if (!yyjson_is_str(prompt) && !yyjson_is_arr(prompt))
        return wrong(r, "prompt", "a string or an array");
    r->affinity = affinity_of_prompt(prompt);
    return read_common(r);
}

enum fail openai_read_embedding(struct reading *r)
{
    yyjson_val *input = yyjson_obj_get(yyjson_doc_get_root(r->doc), "input");
    if (!yyjson_is_str(input) && !(yyjson_is_arr(input) && yyjson_arr_size(input) > 0))
        return wrong(r, "input", "a string or an array that is not empty");
    return read_common(r);
}

/* ---- taking ---- */

static void splice(struct request *rq, size_t from, size_t to, struct text with, bool is_model)
{
    ASSERT(rq->splice_count < SPLICES_MAX);
    rq->splices[rq->splice_count++] = (struct splice){ from, to, with, is_model };
}

/* {"include_usage":true} and whatever else the client's object had. */
static enum fail stream_options_text(struct request *rq, struct text old, struct text *out)
{
    struct buf b;
    struct json_span span;
    size_t cursor = 0;
    buf_init(&b, 4096);
    enum fail f = buf_add_text(&b, TEXT("{\"include_usage\":true"));
    while (f == OK && old.at[0] == '{' && json_span_next(old, &cursor, &span))
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
    if (f != FAIL_TOO_LARGE)
        return f;
    rq->param = "stream_options";
    return because(rq, FAIL_BAD_FIELD, "\"stream_options\" must be smaller than 4 KiB.");
}

/* What is put right behind the body's '{': what the client left out and the configuration or the meter wants. */
static enum fail additions(struct request *rq, const struct reading *r)
{
    char text[160];
    size_t n = 0;
    const struct conf_model *m = rq->pool_conf;
    if (r->stream && r->options_to == 0)
        n += (size_t)snprintf(text + n, sizeof text - n, "\"stream_options\":{\"include_usage\":true},");
    if (m != NULL && m->defaults.max_tokens > 0 && !r->has_max_tokens) {
        n += (size_t)snprintf(text + n, sizeof text - n, "\"max_tokens\":%u,", m->defaults.max_tokens);
        rq->max_tokens = m->defaults.max_tokens;
    }
    if (m != NULL && m->defaults.temperature.is_set && !r->has_temperature)
        n += (size_t)snprintf(text + n, sizeof text - n, "\"temperature\":%g,", m->defaults.temperature.value);
    if (n == 0)
        return OK;
    char *copy = arena_copy(&rq->http->arena, (struct text){ text, n });
    if (copy == NULL)
        return FAIL_NO_MEMORY;
    splice(rq, r->brace, r->brace, (struct text){ copy, n }, false);
    return OK;
}

/* max_tokens and temperature as they go out: see additions. */
static void take_cache(struct request *rq, const struct reading *r)
{
    struct request_cache *c = &rq->cache;
    const struct conf_model *m = rq->pool_conf;
    struct text meaning = m != NULL && m->cache.meaning != NULL ? text_of(m->cache.meaning) : rq->model;
    c->has_digest = r->has_digest;
    c->has_tools = r->has_tools;
    c->digest = r->digest;
    c->input_count = r->input_count;
    c->input_from = r->input_from;
    c->input_to = r->input_to;
    c->scope = (struct cache_scope){ .tenant = rq->who.tenant, .owner = rq->who.owner, .surface = text_of(rq->api->name), .model = meaning,
                                     .has_max_tokens = r->says_max, .max_is_completion = r->says_max && r->max_is_completion, .max_tokens = r->max_tokens,
                                     .has_temperature = r->says_temperature, .temperature = r->temperature };
    if (rq->api->fields == FIELD_EMBEDDING)
        return;
    if (m != NULL && !r->has_max_tokens && m->defaults.max_tokens > 0) {
        c->scope.has_max_tokens = true;
        c->scope.max_tokens = m->defaults.max_tokens;
    }
    if (m != NULL && !r->has_temperature && m->defaults.temperature.is_set) {
        c->scope.has_temperature = true;
        c->scope.temperature = m->defaults.temperature.value;
    }
    if (c->has_digest) {
        cache_identify(&c->base, &c->digest, &c->scope);
        cache_fetch(rq->task->worker, rq->desk->cache, &c->base);
    }
}

static enum fail take_model(struct request *rq, const struct reading *r)
{
    rq->fetches = r->fetches;
    rq->prompt_bytes = r->prompt_bytes;
    rq->model = (struct text){ arena_copy(&rq->http->arena, (struct text){ r->model, r->model_len }), r->model_len };
    if (rq->model.at == NULL) {
        rq->model = TEXT_NONE;
        return FAIL_NO_MEMORY;
    }
    struct pool *pool = rq->pool = roster_find(rq->roster, rq->model);
    rq->pool_conf = pool != NULL ? roster_conf_model(rq->roster, pool) : NULL;
    take_cache(rq, r);
    if (r->llama_param == NULL || pool == NULL || !roster_pool_has(rq->roster, pool, CONF_KIND_LLAMA))
        return OK;
    rq->param = r->llama_param;
    return because(rq, FAIL_BAD_FIELD, "For a local model \"%s\" must be %s.", r->llama_param, r->llama_must);
}

/* Splices stand in the order of their places. */
static enum fail take_stream_options(struct request *rq, const struct reading *r)
{
    struct text with = TEXT_NONE;
    if (r->options_to == 0 || !r->stream || r->usage_wanted)
        return OK;
    enum fail f = stream_options_text(rq, (struct text){ buf_text(&rq->http->body).at + r->options_from, r->options_to - r->options_from }, &with);
    if (f == OK)
        splice(rq, r->options_from, r->options_to, with, false);
    return f;
}

enum fail openai_take_generation(struct request *rq, const struct reading *r)
{
    enum fail f = take_model(rq, r);
    rq->stream = r->stream;
    rq->usage_wanted = r->usage_wanted;
    rq->max_tokens = r->max_tokens;
    rq->answers = r->answers;
    rq->affinity = r->affinity;
    if (f == OK)
        f = additions(rq, r);
    if (f == OK && r->options_from < r->model_from)
        f = take_stream_options(rq, r);
    if (f == OK)
        splice(rq, r->model_from, r->model_to, TEXT_NONE, true);
    if (f == OK && r->options_from > r->model_from)
        f = take_stream_options(rq, r);
    return f;
}

enum fail openai_take_embedding(struct request *rq, const struct reading *r)
{
    enum fail f = take_model(rq, r);
    if (f == OK)
        splice(rq, r->model_from, r->model_to, TEXT_NONE, true);
    return f;
}
