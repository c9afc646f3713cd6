/* anthropic.c: answers as Anthropic's Messages API gives them. Called through paths.def. */
#include "mock/inner.h"

static const char *stop_reason(const struct content *c)
{
    if (c->finish == MOCK_TOOL)
        return "tool_use";
    if (c->finish == MOCK_LENGTH)
        return "max_tokens";
    return c->stopped_by.at != NULL ? "stop_sequence" : "end_turn";
}

static void put_stop(struct pen *p, const struct content *c)
{
    PUTF(p, "\"stop_reason\":\"%s\",\"stop_sequence\":", stop_reason(c));
    if (c->stopped_by.at != NULL)
        put_string(p, c->stopped_by);
    else
        PUT(p, "null");
}

/* "id":…,"type":"message","role":"assistant","model":…, */
static void put_front(const struct answer *a, struct pen *p)
{
    PUTF(p, "\"id\":\"msg_mock_%llu\",\"type\":\"message\",\"role\":\"assistant\",\"model\":", (unsigned long long)a->number);
    put_string(p, a->ask.model);
    PUT(p, ",");
}

static void put_tool_front(const struct answer *a, struct pen *p)
{
    PUTF(p, "{\"type\":\"tool_use\",\"id\":\"toolu_mock_%llu\",\"name\":", (unsigned long long)a->number);
    put_string(p, a->ask.tool);
    PUT(p, ",\"input\":");
}

static void message_open(struct answer *a, struct pen *p)
{
    PUT(p, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{");
    put_front(a, p);
    PUTF(p, "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":%llu,\"output_tokens\":1}}}\n\n",
         (unsigned long long)a->ask.prompt_tokens);
    PUT(p, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":");
    if (a->ask.tool.at != NULL) {
        put_tool_front(a, p);
        PUT(p, "{}}");
    } else {
        PUT(p, "{\"type\":\"text\",\"text\":\"\"}");
    }
    PUT(p, "}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n");
}

static void message_token(struct answer *a, struct pen *p, unsigned choice, struct text token)
{
    (void)choice;
    PUT(p, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":");
    put(p, a->ask.tool.at != NULL ? TEXT("{\"type\":\"input_json_delta\",\"partial_json\":") : TEXT("{\"type\":\"text_delta\",\"text\":"));
    put_string(p, token);
    PUT(p, "}}\n\n");
}

static void message_close(struct answer *a, struct pen *p, bool done)
{
    PUT(p, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n");
    PUT(p, "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{");
    put_stop(p, &a->contents[0]);
    PUTF(p, "},\"usage\":{\"output_tokens\":%llu}}\n\n", (unsigned long long)a->completion_tokens);
    if (done)
        PUT(p, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
}

static void message_error(struct answer *a, struct pen *p)
{
    (void)a;
    PUT(p, "event: error\ndata: ");
    mock_put_error(p, MOCK_ANTHROPIC, 500, "the mock was told to fail");
    PUT(p, "\n\n");
}

static void message_whole(struct answer *a, struct pen *p)
{
    struct text content = mock_content_text(&a->contents[0]);
    PUT(p, "{");
    put_front(a, p);
    PUT(p, "\"content\":[");
    if (a->ask.tool.at != NULL) {
        put_tool_front(a, p);
        put(p, content);
    } else {
        PUT(p, "{\"type\":\"text\",\"text\":");
        put_string(p, content);
    }
    PUT(p, "}],");
    put_stop(p, &a->contents[0]);
    PUTF(p, ",\"usage\":{\"input_tokens\":%llu,\"output_tokens\":%llu}}", (unsigned long long)a->ask.prompt_tokens, (unsigned long long)a->completion_tokens);
}

static const struct mock_wire message_wire = { TEXT("text/event-stream; charset=utf-8"), message_open, message_token, message_close, message_error, message_whole };

enum fail mock_answer_messages(struct answer *a)
{
    const char *why = NULL;
    enum fail f = mock_ask_read(a, SHAPE_MESSAGES, &why);
    if (why != NULL)
        return mock_send_error(a, 400, why, -1);
    a->wire = &message_wire;
    return f == OK ? mock_send_words(a) : f;
}

enum fail mock_list_anthropic(struct answer *a)
{
    struct pen *p = mock_pen(a->mock);
    uint32_t count = MAX(a->script->model_count, 1);
    PUT(p, "{\"data\":[");
    for (uint32_t i = 0; i < count; i++) {
        PUTF(p, "%s{\"type\":\"model\",\"id\":", i > 0 ? "," : "");
        put_string(p, mock_model_name(a, i));
        PUT(p, ",\"display_name\":");
        put_string(p, mock_model_name(a, i));
        PUT(p, ",\"created_at\":\"2026-01-01T00:00:00Z\"}");
    }
    PUT(p, "],\"has_more\":false,\"first_id\":");
    put_string(p, mock_model_name(a, 0));
    PUT(p, ",\"last_id\":");
    put_string(p, mock_model_name(a, count - 1));
    PUT(p, "}");
    return mock_send_plain(a, p);
}
