/* ask.c: reads what a request asks for, in any of the three dialects. Called by their answers. */
#include "mock/inner.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct text text_of_value(yyjson_val *v)
{
    return yyjson_is_str(v) ? (struct text){ yyjson_get_str(v), yyjson_get_len(v) } : TEXT_NONE;
}

uint64_t mock_count_words(struct text t)
{
    uint64_t words = 0;
    bool inside = false;
    for (size_t i = 0; i < t.len; i++) {
        bool blank = t.at[i] == ' ' || t.at[i] == '\n' || t.at[i] == '\t' || t.at[i] == '\r';
        words += !blank && !inside;
        inside = !blank;
    }
    return words;
}

/* Of a string, or of an array whose members are strings, numbers (tokens) or parts with a text. */
static uint64_t words_of(yyjson_val *v)
{
    size_t i, n;
    yyjson_val *part;
    uint64_t words = 0;
    if (!yyjson_is_arr(v))
        return mock_count_words(text_of_value(v));
    yyjson_arr_foreach(v, i, n, part) {
        if (yyjson_is_num(part))
            words++;
        else
            words += mock_count_words(text_of_value(yyjson_is_obj(part) ? yyjson_obj_get(part, "text") : part));
    }
    return words;
}

static uint64_t words_of_messages(yyjson_val *messages)
{
    size_t i, n;
    yyjson_val *message;
    uint64_t words = 0;
    yyjson_arr_foreach(messages, i, n, message)
        words += words_of(yyjson_obj_get(message, "content"));
    return words;
}

static void take_limit(struct ask *ask, yyjson_val *limit)
{
    if (yyjson_is_uint(limit))
        ask->tokens_max = (uint32_t)MIN(yyjson_get_uint(limit), UINT32_MAX);
}

static void take_stops(struct ask *ask, yyjson_val *stops)
{
    size_t i, n;
    yyjson_val *stop;
    if (yyjson_is_str(stops) && yyjson_get_len(stops) > 0)
        ask->stops[ask->stop_count++] = text_of_value(stops);
    yyjson_arr_foreach(stops, i, n, stop)
        if (yyjson_get_len(stop) > 0 && yyjson_is_str(stop) && ask->stop_count < MOCK_STOPS_MAX)
            ask->stops[ask->stop_count++] = text_of_value(stop);
}

/* The tool to call: the named one, or the first if one is required. OpenAI and Ollama wrap a tool in "function", Anthropic does not. */
static void take_tool(struct ask *ask, yyjson_val *root)
{
    yyjson_val *tools = yyjson_obj_get(root, "tools"), *choice = yyjson_obj_get(root, "tool_choice"), *tool;
    size_t i, n;
    yyjson_val *named = yyjson_obj_get(yyjson_obj_get(choice, "function"), "name");
    if (named == NULL)
        named = yyjson_obj_get(choice, "name");
    bool any = yyjson_equals_str(choice, "required") || yyjson_equals_str(yyjson_obj_get(choice, "type"), "any");
    if (!any && !yyjson_is_str(named))
        return;
    yyjson_arr_foreach(tools, i, n, tool) {
        yyjson_val *function = yyjson_obj_get(tool, "function");
        if (function == NULL)
            function = tool;
        yyjson_val *name = yyjson_obj_get(function, "name"), *schema = yyjson_obj_get(function, "parameters");
        if (!yyjson_is_str(name) || (!any && !yyjson_equals(name, named)))
            continue;
        ask->tool = text_of_value(name);
        ask->tool_schema = schema != NULL ? schema : yyjson_obj_get(function, "input_schema");
        return;
    }
}

static enum fail take_choices(struct ask *ask, yyjson_val *n, const char **out_why)
{
    ask->choices = 1;
    if (n == NULL || yyjson_is_null(n))
        return OK;
    if (!yyjson_is_uint(n) || yyjson_get_uint(n) < 1 || yyjson_get_uint(n) > MOCK_CHOICES_MAX) {
        *out_why = "n must be a number from 1 to 128";
        return FAIL_BAD_FIELD;
    }
    ask->choices = (unsigned)yyjson_get_uint(n);
    return OK;
}

static enum fail take_prompt(struct ask *ask, yyjson_val *root, enum mock_shape shape, const char **out_why)
{
    yyjson_val *messages = yyjson_obj_get(root, "messages"), *prompt = yyjson_obj_get(root, "prompt"), *input = yyjson_obj_get(root, "input");
    switch (shape) {
    case SHAPE_CHAT:
    case SHAPE_OLLAMA_CHAT:
    case SHAPE_MESSAGES:
        if (!yyjson_is_arr(messages)) {
            *out_why = "messages must be an array";
            return FAIL_BAD_FIELD;
        }
        ask->prompt_tokens = words_of_messages(messages) + words_of(yyjson_obj_get(root, "system"));
        return OK;
    case SHAPE_PROMPT:
    case SHAPE_OLLAMA_PROMPT:
        if (!yyjson_is_str(prompt) && (!yyjson_is_arr(prompt) || shape == SHAPE_OLLAMA_PROMPT)) {
            *out_why = "prompt must be a string";
            return FAIL_BAD_FIELD;
        }
        ask->prompt_tokens = words_of(prompt);
        return OK;
    case SHAPE_INPUT:
    case SHAPE_OLLAMA_INPUT:
        if (!yyjson_is_str(input) && !(yyjson_is_arr(input) && yyjson_arr_size(input) > 0)) {
            *out_why = "input must be a string or an array";
            return FAIL_BAD_FIELD;
        }
        ask->input = input;
        return OK;
    }
    return OK;
}

/* What only one of the dialects has, or each calls something else. */
static enum fail take_details(struct ask *ask, yyjson_val *root, enum mock_shape shape, const char **out_why)
{
    yyjson_val *options = yyjson_obj_get(root, "options"), *stream = yyjson_obj_get(root, "stream"), *dimensions = yyjson_obj_get(root, "dimensions");
    bool is_ollama = shape == SHAPE_OLLAMA_CHAT || shape == SHAPE_OLLAMA_PROMPT;
    ask->stream = yyjson_is_bool(stream) ? yyjson_get_bool(stream) : is_ollama; /* Ollama streams unless told otherwise */
    ask->with_usage = yyjson_get_bool(yyjson_obj_get(yyjson_obj_get(root, "stream_options"), "include_usage"));
    take_limit(ask, yyjson_obj_get(root, "max_tokens"));
    take_limit(ask, yyjson_obj_get(root, "max_completion_tokens"));
    take_limit(ask, yyjson_obj_get(options, "num_predict"));
    take_stops(ask, yyjson_obj_get(root, shape == SHAPE_MESSAGES ? "stop_sequences" : "stop"));
    take_stops(ask, yyjson_obj_get(options, "stop"));
    take_tool(ask, root);
    ask->base64 = yyjson_equals_str(yyjson_obj_get(root, "encoding_format"), "base64");
    if (yyjson_is_uint(dimensions)) {
        if (yyjson_get_uint(dimensions) < 1 || yyjson_get_uint(dimensions) > MOCK_DIM_MAX) {
            *out_why = "dimensions is out of range";
            return FAIL_BAD_FIELD;
        }
        ask->dimensions = (uint32_t)yyjson_get_uint(dimensions);
    }
    if (shape == SHAPE_MESSAGES && ask->tokens_max == UINT32_MAX) {
        *out_why = "max_tokens: Field required";
        return FAIL_BAD_FIELD;
    }
    return take_choices(ask, is_ollama || shape == SHAPE_MESSAGES ? NULL : yyjson_obj_get(root, "n"), out_why);
}

/* Of the members of the body that a question consists of. What gateways write anew is left out: the model's name, and how the answer is to travel. So the words are
   the same in front of one and behind it, and in a stream and in a plain answer. */
static uint64_t hash_of(struct text body, uint64_t seed)
{
    static const struct text left_out[] = { { "model", 5 }, { "stream", 6 }, { "stream_options", 14 } };
    struct json_span member;
    uint64_t hash = seed;
    for (size_t at = 0; json_span_next(body, &at, &member);) {
        bool counts = true;
        for (size_t i = 0; i < ARRAY_LEN(left_out); i++)
            counts = counts && !text_eq(member.key, left_out[i]);
        if (!counts)
            continue;
        hash = XXH3_64bits_withSeed(member.key.at, member.key.len, hash);
        hash = XXH3_64bits_withSeed(member.value.at, member.value.len, hash);
    }
    return hash;
}

enum fail mock_ask_parse(struct arena *arena, struct text body, uint64_t seed, enum mock_shape shape, struct ask *ask, const char **out_why)
{
    yyjson_doc *doc;
    enum fail f = json_parse(arena, body, &doc, out_why);
    if (f != OK)
        return f;
    yyjson_val *root = yyjson_doc_get_root(doc);
    *ask = (struct ask){ .tokens_max = UINT32_MAX, .model = text_of_value(yyjson_obj_get(root, "model")) };
    if (ask->model.len == 0) {
        *out_why = "you must provide a model parameter";
        return FAIL_BAD_FIELD;
    }
    ask->hash = hash_of(body, seed);
    f = take_prompt(ask, root, shape, out_why);
    return f == OK ? take_details(ask, root, shape, out_why) : f;
}

enum fail mock_ask_read(struct answer *a, enum mock_shape shape, const char **out_why)
{
    return mock_ask_parse(&a->rq->arena, buf_text(&a->rq->body), a->script->seed, shape, &a->ask, out_why);
}
