/* openai.c: answers as OpenAI's API gives them: chat, completions, embeddings, models. Called through paths.def. */
#include "mock/inner.h"

static const char *const finish_names[] = { [MOCK_STOP] = "\"stop\"", [MOCK_LENGTH] = "\"length\"", [MOCK_TOOL] = "\"tool_calls\"" };

static const char *finish_of(const struct answer *a, unsigned choice) { return finish_names[a->contents[choice].finish]; }

/* ---- parts ---- */

static void put_usage(const struct answer *a, struct pen *p)
{
    PUTF(p, "{\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"total_tokens\":%llu}", (unsigned long long)a->ask.prompt_tokens,
         (unsigned long long)a->completion_tokens, (unsigned long long)(a->ask.prompt_tokens + a->completion_tokens));
}

/* {"id":…,"object":…,"created":…,"model":…,"system_fingerprint":…, */
static void put_front(const struct answer *a, struct pen *p, const char *prefix, const char *object)
{
    PUTF(p, "{\"id\":\"%s-mock-%llu\",\"object\":\"%s\",\"created\":%lld,\"model\":", prefix, (unsigned long long)a->number, object, (long long)a->created);
    put_string(p, a->ask.model);
    PUT(p, ",\"system_fingerprint\":\"fp_mock\",");
}

/* Each chunk begins alike, so that is written once. */
static enum fail keep_head(struct answer *a, const char *prefix, const char *object)
{
    struct pen *p = mock_pen(a->mock);
    PUT(p, "data: ");
    put_front(a, p, prefix, object);
    PUT(p, "\"choices\":[");
    a->head = (struct text){ arena_copy(&a->rq->arena, buf_text(&p->buf)), buf_len(&p->buf) };
    return p->fail != OK ? p->fail : a->head.at == NULL ? FAIL_NO_MEMORY : OK;
}

static void put_chunk_end(const struct answer *a, struct pen *p)
{
    PUT(p, "]");
    if (a->ask.with_usage)
        PUT(p, ",\"usage\":null"); /* in every chunk but the last, once asked for */
    PUT(p, "}\n\n");
}

static void put_stream_end(const struct answer *a, struct pen *p, bool done)
{
    if (a->ask.with_usage) {
        put(p, a->head);
        PUT(p, "],\"usage\":");
        put_usage(a, p);
        PUT(p, "}\n\n");
    }
    if (done)
        PUT(p, "data: [DONE]\n\n");
}

static void put_error_event(struct answer *a, struct pen *p)
{
    (void)a;
    PUT(p, "data: ");
    mock_put_error(p, MOCK_OPENAI, 500, "the mock was told to fail");
    PUT(p, "\n\n");
}

/* ---- chat ---- */

static void put_tool_call(const struct answer *a, struct pen *p, unsigned choice, struct text arguments)
{
    PUTF(p, "\"id\":\"call_mock_%llu_%u\",\"type\":\"function\",\"function\":{\"name\":", (unsigned long long)a->number, choice);
    put_string(p, a->ask.tool);
    PUT(p, ",\"arguments\":");
    put_string(p, arguments);
    PUT(p, "}}");
}

static void chat_chunk_begin(const struct answer *a, struct pen *p, unsigned choice)
{
    put(p, a->head);
    if (choice == 0)
        PUT(p, "{\"index\":0,\"delta\":{");
    else
        PUTF(p, "{\"index\":%u,\"delta\":{", choice);
}

static void chat_chunk_end(const struct answer *a, struct pen *p, const char *finish)
{
    PUT(p, "},\"logprobs\":null,\"finish_reason\":");
    put(p, text_of(finish));
    PUT(p, "}");
    put_chunk_end(a, p);
}

static void chat_open(struct answer *a, struct pen *p)
{
    for (unsigned i = 0; i < a->ask.choices; i++) {
        chat_chunk_begin(a, p, i);
        PUT(p, "\"role\":\"assistant\",\"content\":");
        if (a->ask.tool.at != NULL) {
            PUT(p, "null,\"tool_calls\":[{\"index\":0,");
            put_tool_call(a, p, i, TEXT_NONE);
            PUT(p, "]");
        } else {
            PUT(p, "\"\"");
        }
        chat_chunk_end(a, p, "null");
    }
}

static void chat_token(struct answer *a, struct pen *p, unsigned choice, struct text token)
{
    bool is_tool = a->ask.tool.at != NULL;
    chat_chunk_begin(a, p, choice);
    put(p, is_tool ? TEXT("\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":") : TEXT("\"content\":"));
    put_string(p, token);
    if (is_tool)
        PUT(p, "}}]");
    chat_chunk_end(a, p, "null");
}

static void chat_close(struct answer *a, struct pen *p, bool done)
{
    for (unsigned i = 0; i < a->ask.choices; i++) {
        chat_chunk_begin(a, p, i);
        chat_chunk_end(a, p, finish_of(a, i));
    }
    put_stream_end(a, p, done);
}

static void chat_whole(struct answer *a, struct pen *p)
{
    put_front(a, p, "chatcmpl", "chat.completion");
    PUT(p, "\"choices\":[");
    for (unsigned i = 0; i < a->ask.choices; i++) {
        PUTF(p, "%s{\"index\":%u,\"message\":{\"role\":\"assistant\",\"content\":", i > 0 ? "," : "", i);
        if (a->ask.tool.at != NULL) {
            PUT(p, "null,\"refusal\":null,\"tool_calls\":[{");
            put_tool_call(a, p, i, mock_content_text(&a->contents[i]));
            PUT(p, "]");
        } else {
            put_string(p, mock_content_text(&a->contents[i]));
            PUT(p, ",\"refusal\":null");
        }
        PUTF(p, "},\"logprobs\":null,\"finish_reason\":%s}", finish_of(a, i));
    }
    PUT(p, "],\"usage\":");
    put_usage(a, p);
    PUT(p, "}");
}

static const struct mock_wire chat_wire = { TEXT("text/event-stream; charset=utf-8"), chat_open, chat_token, chat_close, put_error_event, chat_whole };

static enum fail answer_words(struct answer *a, enum mock_shape shape, const struct mock_wire *wire, const char *prefix, const char *object)
{
    const char *why = NULL;
    enum fail f = mock_ask_read(a, shape, &why);
    if (why != NULL)
        return mock_send_error(a, 400, why, -1);
    a->wire = wire;
    if (f == OK && a->ask.stream)
        f = keep_head(a, prefix, object);
    return f == OK ? mock_send_words(a) : f;
}

enum fail mock_answer_chat(struct answer *a)
{
    return answer_words(a, SHAPE_CHAT, &chat_wire, "chatcmpl", "chat.completion.chunk");
}

/* ---- completions ---- */

static void completion_choice(const struct answer *a, struct pen *p, unsigned choice, struct text text, const char *finish)
{
    (void)a;
    PUT(p, "{\"text\":");
    put_string(p, text);
    PUTF(p, ",\"index\":%u,\"logprobs\":null,\"finish_reason\":%s}", choice, finish);
}

static void completion_chunk(const struct answer *a, struct pen *p, unsigned choice, struct text text, const char *finish)
{
    put(p, a->head);
    completion_choice(a, p, choice, text, finish);
    put_chunk_end(a, p);
}

static void completion_open(struct answer *a, struct pen *p)
{
    (void)a, (void)p; /* the first token says all */
}

static void completion_token(struct answer *a, struct pen *p, unsigned choice, struct text token)
{
    completion_chunk(a, p, choice, token, "null");
}

static void completion_close(struct answer *a, struct pen *p, bool done)
{
    for (unsigned i = 0; i < a->ask.choices; i++)
        completion_chunk(a, p, i, TEXT_NONE, finish_of(a, i));
    put_stream_end(a, p, done);
}

static void completion_whole(struct answer *a, struct pen *p)
{
    put_front(a, p, "cmpl", "text_completion");
    PUT(p, "\"choices\":[");
    for (unsigned i = 0; i < a->ask.choices; i++) {
        if (i > 0)
            PUT(p, ",");
        completion_choice(a, p, i, mock_content_text(&a->contents[i]), finish_of(a, i));
    }
    PUT(p, "],\"usage\":");
    put_usage(a, p);
    PUT(p, "}");
}

static const struct mock_wire completion_wire = { TEXT("text/event-stream; charset=utf-8"), completion_open, completion_token, completion_close, put_error_event,
                                                  completion_whole };

enum fail mock_answer_completions(struct answer *a)
{
    return answer_words(a, SHAPE_PROMPT, &completion_wire, "cmpl", "text_completion");
}

/* ---- embeddings ---- */

static void put_embedding(struct answer *a, struct pen *p, size_t index, struct text text)
{
    uint32_t dimensions = a->ask.dimensions > 0 ? a->ask.dimensions : a->script->embedding_dim;
    PUTF(p, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", index > 0 ? "," : "", index);
    mock_put_vector(p, text, a->script->seed, dimensions, a->ask.base64);
    PUT(p, "}");
}

/* An input may be tokens too: its printed numbers then stand for the text. */
static void put_token_embedding(struct answer *a, struct pen *p, size_t index, yyjson_val *tokens)
{
    struct pen digits = { .fail = OK };
    size_t i, n;
    yyjson_val *token;
    buf_init(&digits.buf, MOCK_PEN_MAX);
    yyjson_arr_foreach(tokens, i, n, token)
        PUTF(&digits, "%llu ", (unsigned long long)yyjson_get_uint(token));
    put_embedding(a, p, index, buf_text(&digits.buf));
    a->ask.prompt_tokens += yyjson_arr_size(tokens);
    buf_fini(&digits.buf);
}

static void put_any_embedding(struct answer *a, struct pen *p, size_t index, yyjson_val *input)
{
    struct text text = { yyjson_get_str(input), yyjson_get_len(input) };
    if (yyjson_is_arr(input)) {
        put_token_embedding(a, p, index, input);
    } else {
        put_embedding(a, p, index, yyjson_is_str(input) ? text : TEXT_NONE);
        a->ask.prompt_tokens += mock_count_words(yyjson_is_str(input) ? text : TEXT_NONE);
    }
}

enum fail mock_answer_embeddings(struct answer *a)
{
    const char *why = NULL;
    size_t i, n;
    yyjson_val *one;
    enum fail f = mock_ask_read(a, SHAPE_INPUT, &why);
    if (why != NULL)
        return mock_send_error(a, 400, why, -1);
    if (f == OK)
        f = mock_wait_first(a);
    if (f != OK)
        return f;
    struct pen *p = mock_pen(a->mock);
    PUT(p, "{\"object\":\"list\",\"data\":[");
    if (yyjson_is_str(a->ask.input) || yyjson_is_num(yyjson_arr_get_first(a->ask.input)))
        put_any_embedding(a, p, 0, a->ask.input);
    else
        yyjson_arr_foreach(a->ask.input, i, n, one)
            put_any_embedding(a, p, i, one);
    PUT(p, "],\"model\":");
    put_string(p, a->ask.model);
    PUTF(p, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", (unsigned long long)a->ask.prompt_tokens, (unsigned long long)a->ask.prompt_tokens);
    return mock_send_plain(a, p);
}

/* ---- models ---- */

enum fail mock_list_openai(struct answer *a)
{
    struct pen *p = mock_pen(a->mock);
    PUT(p, "{\"object\":\"list\",\"data\":[");
    for (uint32_t i = 0; i < a->script->model_count || i == 0; i++) {
        PUTF(p, "%s{\"id\":", i > 0 ? "," : "");
        put_string(p, mock_model_name(a, i));
        PUTF(p, ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"weir-mock\"}", (long long)a->created);
    }
    PUT(p, "]}");
    return mock_send_plain(a, p);
}
