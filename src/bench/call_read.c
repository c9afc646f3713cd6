/* call_read.c: what an answer says, by its API: whether it is whole, when its pieces came, and what it counts. Called by call.c with each slice. */
#include "base/json.h"
#include "bench/call.h"

#define TREE_BYTES_MAX ((size_t)CALL_ANSWER_MAX * 16) /* json_parse takes 16 bytes a value, and a value has a byte at least */

static enum fail found(struct reading *r, enum tally_outcome o)
{
    r->outcome = o;
    return FAIL_UPSTREAM; /* the rest does not matter */
}

/* ---- pieces ---- */

static void take_piece(struct reading *r)
{
    nanos now = r->worker->now;
    if (r->sample->first_token == 0)
        r->sample->first_token = now;
    else if (r->tally != NULL)
        tally_itl(r->tally, now, now - r->last_piece);
    r->last_piece = now;
}

static bool is_filled(yyjson_val *v)
{
    return (yyjson_is_str(v) && yyjson_get_len(v) > 0) || (yyjson_is_arr(v) && yyjson_arr_size(v) > 0) || (yyjson_is_obj(v) && yyjson_obj_size(v) > 0);
}

/* What a model may say, in a message, a delta or beside them. */
static const char *const content_names[] = { "content", "text", "response", "reasoning_content", "reasoning", "thinking", "refusal", "tool_calls", "function_call" };
#define SPOKEN_NAMES 3 /* the first of them are what the next turn of a conversation repeats */

static enum fail look_into(struct reading *r, yyjson_val *from, bool *out_content)
{
    enum fail f = OK;
    for (size_t i = 0; i < ARRAY_LEN(content_names) && f == OK; i++) {
        yyjson_val *v = yyjson_obj_get(from, content_names[i]);
        if (!is_filled(v))
            continue;
        *out_content = true;
        if (r->keeps_text && i < SPOKEN_NAMES && yyjson_is_str(v))
            f = buf_add(&r->text, yyjson_get_str(v), yyjson_get_len(v));
    }
    return f;
}

static enum fail look_at_choice(struct reading *r, yyjson_val *choice, bool *out_content)
{
    yyjson_val *delta = yyjson_obj_get(choice, "delta"), *message = yyjson_obj_get(choice, "message");
    return look_into(r, delta != NULL ? delta : message != NULL ? message : choice, out_content);
}

static uint64_t number(yyjson_val *object, const char *name)
{
    yyjson_val *v = yyjson_obj_get(object, name);
    return yyjson_is_uint(v) ? yyjson_get_uint(v) : 0;
}

static void take_usage(struct reading *r, yyjson_val *object, const char *in, const char *out)
{
    struct sample *s = r->sample;
    uint64_t tokens_in = number(object, in), tokens_out = number(object, out);
    s->tokens_in = tokens_in > 0 ? tokens_in : s->tokens_in;
    s->tokens_out = tokens_out > 0 ? tokens_out : s->tokens_out;
}

static enum fail look_at_openai(struct reading *r, yyjson_val *root, bool *out_content)
{
    yyjson_val *choices = yyjson_obj_get(root, "choices"), *choice;
    size_t i, n;
    enum fail f = OK;
    r->is_model = r->is_model || choices != NULL;
    yyjson_arr_foreach(choices, i, n, choice)
        if (f == OK)
            f = look_at_choice(r, choice, out_content);
    take_usage(r, yyjson_obj_get(root, "usage"), "prompt_tokens", "completion_tokens");
    return f;
}

static enum fail look_at_ollama(struct reading *r, yyjson_val *root, bool *out_content)
{
    yyjson_val *message = yyjson_obj_get(root, "message");
    r->is_model = r->is_model || message != NULL || yyjson_obj_get(root, "response") != NULL;
    enum fail f = look_into(r, message != NULL ? message : root, out_content);
    take_usage(r, root, "prompt_eval_count", "eval_count");
    if (yyjson_get_bool(yyjson_obj_get(root, "done"))) {
        r->is_done = true;
        r->sample->ended = r->worker->now;
    }
    return f;
}

/* One object: an event's, a line's, or the whole body. */
static enum fail look_at(struct reading *r, yyjson_val *root)
{
    bool has_content = false;
    yyjson_val *error = yyjson_obj_get(root, "error");
    if (error != NULL && !yyjson_is_null(error))
        return found(r, OUTCOME_ERROR);
    enum fail f = r->api == LOAD_OLLAMA ? look_at_ollama(r, root, &has_content) : look_at_openai(r, root, &has_content);
    r->has_content = r->has_content || has_content;
    if (has_content && r->kind != READING_JSON)
        take_piece(r);
    if (f != OK || !r->leaves || r->sample->first_token == 0)
        return f;
    r->sample->has_left = true;
    return FAIL_UPSTREAM; /* whose connection is closed */
}

static enum fail read_object(struct reading *r, struct text json)
{
    struct arena arena;
    yyjson_doc *doc;
    arena_init(&arena, r->pool->room, CALL_ROOM_BYTES, TREE_BYTES_MAX);
    enum fail f = json_parse(&arena, json, &doc, NULL);
    if (f == OK)
        f = yyjson_is_obj(yyjson_doc_get_root(doc)) ? look_at(r, yyjson_doc_get_root(doc)) : found(r, OUTCOME_PROTOCOL);
    else if (f != FAIL_NO_MEMORY)
        f = found(r, OUTCOME_PROTOCOL);
    arena_fini(&arena);
    return f;
}

/* ---- kinds of bodies ---- */

static enum fail feed_events(struct reading *r, struct text bytes)
{
    while (bytes.len > 0 && !r->is_done) {
        struct sse_event event;
        size_t eaten;
        enum fail f = sse_feed(&r->events, bytes, &eaten, &event);
        if (f != OK)
            return f == FAIL_NO_MEMORY ? f : found(r, OUTCOME_PROTOCOL);
        bytes = (struct text){ bytes.at + eaten, bytes.len - eaten };
        if (!event.found)
            continue;
        if (text_eq(event.data, TEXT("[DONE]"))) {
            r->is_done = true;
            r->sample->ended = r->worker->now;
        } else {
            f = read_object(r, event.data);
        }
        if (f != OK)
            return f;
    }
    return OK;
}

static enum fail read_line(struct reading *r, struct text line)
{
    line = text_trim(line);
    if (line.len > 0 && line.at[line.len - 1] == '\r')
        line.len--;
    return line.len > 0 ? read_object(r, line) : OK;
}

/* A line that lies in one slice is read where it is. */
static enum fail feed_lines(struct reading *r, struct text bytes)
{
    struct text line;
    for (struct text rest; bytes.len > 0; bytes = rest) {
        rest = text_cut(bytes, '\n', &line);
        bool is_whole = rest.at != NULL;
        enum fail f = OK;
        if (!is_whole || buf_len(&r->body) > 0)
            f = buf_add_text(&r->body, line);
        if (f == OK && is_whole)
            f = read_line(r, buf_len(&r->body) > 0 ? buf_text(&r->body) : line);
        if (f != OK)
            return f;
        if (is_whole)
            buf_clear(&r->body);
    }
    return OK;
}

enum fail reading_feed(void *reading, struct text bytes)
{
    struct reading *r = reading;
    r->sample->bytes_in += bytes.len;
    if (r->kind <= READING_JSON && r->sample->first_token == 0)
        r->sample->first_token = r->worker->now;
    switch (r->kind) {
    case READING_JSON:
        return buf_add_text(&r->body, bytes);
    case READING_EVENTS:
        return feed_events(r, bytes);
    case READING_LINES:
        return feed_lines(r, bytes);
    default:
        return r->keeps_text && r->outcome == OUTCOME_OK ? buf_add_text(&r->text, bytes) : OK;
    }
}

enum fail reading_end(struct reading *r)
{
    enum fail f = OK;
    if (r->kind == READING_BYTES || r->outcome != OUTCOME_OK)
        return OK;
    if (r->kind == READING_JSON || (r->kind == READING_LINES && buf_len(&r->body) > 0)) /* a last line may lack its end */
        f = read_line(r, buf_text(&r->body));
    if (f == OK && (r->wants_events || (r->kind == READING_JSON && buf_len(&r->body) == 0)))
        r->outcome = OUTCOME_PROTOCOL;
    else if (f == OK && r->kind >= READING_EVENTS && !r->is_done)
        r->outcome = OUTCOME_CUT;
    else if (f == OK && !r->has_content && (r->is_model || r->kind == READING_EVENTS))
        r->outcome = OUTCOME_EMPTY;
    return f == FAIL_UPSTREAM ? OK : f;
}
