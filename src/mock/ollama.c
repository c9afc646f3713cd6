/* ollama.c: answers as Ollama gives them: lines of JSON, spans in nanoseconds. Called through paths.def. */
#include "mock/inner.h"
#include <stdio.h>
#include <time.h>

/* {"model":…,"created_at":…, */
static void put_front(const struct answer *a, struct pen *p)
{
    char stamp[32];
    time_t second = (time_t)a->created;
    struct tm tm;
    gmtime_r(&second, &tm);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &tm);
    PUT(p, "{\"model\":");
    put_string(p, a->ask.model);
    PUTF(p, ",\"created_at\":\"%s\",", stamp);
}

static enum fail keep_head(struct answer *a)
{
    struct pen *p = mock_pen(a->mock);
    put_front(a, p);
    a->head = (struct text){ arena_copy(&a->rq->arena, buf_text(&p->buf)), buf_len(&p->buf) };
    return p->fail != OK ? p->fail : a->head.at == NULL ? FAIL_NO_MEMORY : OK;
}

static void put_end(const struct answer *a, struct pen *p)
{
    nanos now = a->t->worker->now, first = a->first_token > 0 ? a->first_token : now;
    PUTF(p, "\"done\":true,\"done_reason\":\"%s\",\"total_duration\":%lld,\"load_duration\":0,", a->contents[0].finish == MOCK_LENGTH ? "length" : "stop",
         (long long)MAX(1, now - a->started));
    PUTF(p, "\"prompt_eval_count\":%llu,\"prompt_eval_duration\":%lld,\"eval_count\":%llu,\"eval_duration\":%lld}", (unsigned long long)a->ask.prompt_tokens,
         (long long)MAX(1, first - a->started), (unsigned long long)a->completion_tokens, (long long)MAX(1, now - first));
}

/* Ollama tells a tool's arguments as an object, all at once. */
static void put_message(const struct answer *a, struct pen *p, struct text content)
{
    PUT(p, "\"message\":{\"role\":\"assistant\",\"content\":");
    put_string(p, a->ask.tool.at != NULL ? TEXT_NONE : content);
    if (a->ask.tool.at != NULL && content.len > 0) {
        PUT(p, ",\"tool_calls\":[{\"function\":{\"name\":");
        put_string(p, a->ask.tool);
        PUT(p, ",\"arguments\":");
        put(p, content);
        PUT(p, "}}]");
    }
    PUT(p, "},");
}

static void put_response(const struct answer *a, struct pen *p, struct text content)
{
    (void)a;
    PUT(p, "\"response\":");
    put_string(p, content);
    PUT(p, ",");
}

static void nothing(struct answer *a, struct pen *p)
{
    (void)a, (void)p; /* a stream of lines needs no opening */
}

static void error_line(struct answer *a, struct pen *p)
{
    (void)a;
    mock_put_error(p, MOCK_OLLAMA, 500, "the mock was told to fail");
    PUT(p, "\n");
}

/* ---- chat ---- */

static void chat_token(struct answer *a, struct pen *p, unsigned choice, struct text token)
{
    const struct content *c = &a->contents[choice];
    struct text all = mock_content_text(c);
    if (a->ask.tool.at != NULL && token.at + token.len < all.at + all.len)
        return; /* the whole call comes with its last piece */
    put(p, a->head);
    put_message(a, p, a->ask.tool.at != NULL ? all : token);
    PUT(p, "\"done\":false}\n");
}

static void chat_close(struct answer *a, struct pen *p, bool done)
{
    if (!done)
        return;
    put(p, a->head);
    put_message(a, p, TEXT_NONE);
    put_end(a, p);
    PUT(p, "\n");
}

static void chat_whole(struct answer *a, struct pen *p)
{
    put_front(a, p);
    put_message(a, p, mock_content_text(&a->contents[0]));
    put_end(a, p);
}

static const struct mock_wire chat_wire = { TEXT("application/x-ndjson"), nothing, chat_token, chat_close, error_line, chat_whole };

/* ---- generate ---- */

static void generate_token(struct answer *a, struct pen *p, unsigned choice, struct text token)
{
    (void)choice;
    put(p, a->head);
    put_response(a, p, token);
    PUT(p, "\"done\":false}\n");
}

static void generate_close(struct answer *a, struct pen *p, bool done)
{
    if (!done)
        return;
    put(p, a->head);
    put_response(a, p, TEXT_NONE);
    PUT(p, "\"context\":[1,2,3],");
    put_end(a, p);
    PUT(p, "\n");
}

static void generate_whole(struct answer *a, struct pen *p)
{
    put_front(a, p);
    put_response(a, p, mock_content_text(&a->contents[0]));
    PUT(p, "\"context\":[1,2,3],");
    put_end(a, p);
}

static const struct mock_wire generate_wire = { TEXT("application/x-ndjson"), nothing, generate_token, generate_close, error_line, generate_whole };

static enum fail answer_words(struct answer *a, enum mock_shape shape, const struct mock_wire *wire)
{
    const char *why = NULL;
    enum fail f = mock_ask_read(a, shape, &why);
    if (why != NULL)
        return mock_send_error(a, 400, why, -1);
    a->wire = wire;
    if (f == OK && a->ask.stream)
        f = keep_head(a);
    return f == OK ? mock_send_words(a) : f;
}

enum fail mock_answer_ollama_chat(struct answer *a) { return answer_words(a, SHAPE_OLLAMA_CHAT, &chat_wire); }
enum fail mock_answer_ollama_generate(struct answer *a) { return answer_words(a, SHAPE_OLLAMA_PROMPT, &generate_wire); }

/* ---- embeddings and lists ---- */

static void put_embedding(struct answer *a, struct pen *p, size_t index, yyjson_val *input)
{
    struct text text = yyjson_is_str(input) ? (struct text){ yyjson_get_str(input), yyjson_get_len(input) } : TEXT_NONE;
    if (index > 0)
        PUT(p, ",");
    mock_put_vector(p, text, a->script->seed, a->ask.dimensions > 0 ? a->ask.dimensions : a->script->embedding_dim, false);
    a->ask.prompt_tokens += mock_count_words(text);
}

enum fail mock_answer_ollama_embed(struct answer *a)
{
    const char *why = NULL;
    size_t i, n;
    yyjson_val *one;
    enum fail f = mock_ask_read(a, SHAPE_OLLAMA_INPUT, &why);
    if (why != NULL)
        return mock_send_error(a, 400, why, -1);
    if (f == OK)
        f = mock_wait_first(a);
    if (f != OK)
        return f;
    struct pen *p = mock_pen(a->mock);
    PUT(p, "{\"model\":");
    put_string(p, a->ask.model);
    PUT(p, ",\"embeddings\":[");
    if (yyjson_is_str(a->ask.input))
        put_embedding(a, p, 0, a->ask.input);
    else
        yyjson_arr_foreach(a->ask.input, i, n, one)
            put_embedding(a, p, i, one);
    PUTF(p, "],\"total_duration\":%lld,\"load_duration\":0,\"prompt_eval_count\":%llu}", (long long)(a->t->worker->now - a->started),
         (unsigned long long)a->ask.prompt_tokens);
    return mock_send_plain(a, p);
}

enum fail mock_list_ollama(struct answer *a)
{
    struct pen *p = mock_pen(a->mock);
    PUT(p, "{\"models\":[");
    for (uint32_t i = 0; i < a->script->model_count || i == 0; i++) {
        PUTF(p, "%s{\"name\":", i > 0 ? "," : "");
        put_string(p, mock_model_name(a, i));
        PUT(p, ",\"model\":");
        put_string(p, mock_model_name(a, i));
        PUTF(p, ",\"modified_at\":\"2026-01-01T00:00:00Z\",\"size\":1000000,\"digest\":\"%064u\","
                "\"details\":{\"parent_model\":\"\",\"format\":\"gguf\",\"family\":\"mock\","
                "\"families\":[\"mock\"],\"parameter_size\":\"1B\",\"quantization_level\":\"Q4_0\"}}", i);
    }
    PUT(p, "]}");
    return mock_send_plain(a, p);
}

enum fail mock_list_ollama_version(struct answer *a)
{
    struct pen *p = mock_pen(a->mock);
    PUT(p, "{\"version\":\"0.5.0\"}");
    return mock_send_plain(a, p);
}
