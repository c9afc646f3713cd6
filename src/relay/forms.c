/* forms.c: a body becomes the events of a stream that says the same. See forms.h; the other direction is forms_body.c.

   A delta for each choice with its role and what else its message has, then texts and tool calls in pieces, choice by choice, then an event for each with its
   finish_reason and what else the choice has; the last of those brings what else the body has. Logprobs come whole with the first piece of text, for tokens and
   pieces need not end together. Nothing is written that clients, who join deltas, would read as another answer: see form_is_one_delta. */
#include "relay/forms_inner.h"

#define PIECES_MAX      512 /* about so many for a whole answer: long ones come in larger pieces, so that what surrounds them stays small */
#define PIECE_WORDS     4
#define PIECE_BYTES_MAX 64  /* of a short answer's, where no blanks are: some twenty Chinese characters */

struct writing {
    struct form_pen pen;
    const struct form_names *names;
    yyjson_val *root, *choices;
    struct buf head;        /* how every event begins */
    size_t piece_bytes_min;
};

/* ---- what is what ---- */

static bool is_any(struct text key, const struct text *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (text_eq(key, names[i]))
            return true;
    return false;
}

/* Every event has them. */
static bool is_head(struct text key)
{
    static const struct text names[] = { TEXT("id"), TEXT("created"), TEXT("model"), TEXT("system_fingerprint"), TEXT("service_tier") };
    return is_any(key, names, ARRAY_LEN(names));
}

/* Comes in pieces: text, reasoning, a refusal, and what else a message may say. */
static bool is_said(struct text key, yyjson_val *value) { return form_has_text(value) && !form_is_name(key); }

static bool is_calls(struct text key, yyjson_val *value) { return text_eq(key, TEXT("tool_calls")) && form_is_objects(value); }

/* ---- may it be said in events? ---- */

static bool are_calls_fit(yyjson_val *calls)
{
    size_t i, n, k, m;
    yyjson_val *call, *key, *value;
    yyjson_arr_foreach(calls, i, n, call)
        yyjson_obj_foreach(call, k, m, key, value)
            if (!form_is_one_delta(value))
                return false;
    return true;
}

static bool is_message_fit(yyjson_val *message)
{
    size_t i, n;
    yyjson_val *key, *value;
    if (!yyjson_is_obj(message))
        return false;
    yyjson_obj_foreach(message, i, n, key, value)
        if (is_calls(form_text(key), value) ? !are_calls_fit(value) : !form_is_one_delta(value))
            return false;
    return true;
}

static bool is_choice_fit(const struct writing *w, yyjson_val *choice)
{
    yyjson_val *said = yyjson_obj_getn(choice, w->names->whole.at, w->names->whole.len);
    bool is_chat = w->names->open.len > 0;
    return (is_chat ? is_message_fit(said) && yyjson_obj_get(choice, "delta") == NULL : yyjson_is_str(said)) &&
           form_has_text(yyjson_obj_get(choice, "finish_reason")) && form_is_one_delta(yyjson_obj_get(choice, "logprobs")) &&
           form_is_one_delta(yyjson_obj_get(choice, "token_ids"));
}

/* Choices stand by their index; one alone needs none. */
static bool is_fit(const struct writing *w)
{
    size_t i, n;
    yyjson_val *choice, *before = NULL;
    yyjson_arr_foreach(w->choices, i, n, choice) {
        yyjson_val *index = yyjson_obj_get(choice, "index");
        if (!is_choice_fit(w, choice) || (index == NULL ? n > 1 : !yyjson_is_uint(index)) || (before != NULL && yyjson_get_uint(index) <= yyjson_get_uint(before)))
            return false;
        before = index;
    }
    n = yyjson_arr_size(w->choices);
    return n > 0 && n <= FORM_CHOICES_MAX;
}

/* ---- one event ---- */

static enum fail write_head(struct writing *w)
{
    size_t i, n;
    yyjson_val *key, *value;
    struct form_pen pen = { .buf = &w->head };
    FORM_PUT(&pen, "data: {");
    form_put_key(&pen, TEXT("object"));
    form_put_string(&pen, w->names->chunk);
    yyjson_obj_foreach(w->root, i, n, key, value)
        if (is_head(form_text(key))) {
            form_put_key(&pen, form_text(key));
            form_put_value(&pen, value);
        }
    FORM_PUT(&pen, ",\"choices\":[");
    return pen.fail;
}

static void begin_event(struct writing *w, yyjson_val *choice)
{
    form_put(&w->pen, buf_text(&w->head));
    FORM_PUT(&w->pen, "{\"index\":");
    form_put_number(&w->pen, yyjson_get_uint(yyjson_obj_get(choice, "index")));
    form_put(&w->pen, w->names->open);
}

static void end_event(struct writing *w)
{
    FORM_PUT(&w->pen, ",\"finish_reason\":null}]}\n\n");
}

/* ---- text in pieces ---- */

static bool is_blank(char c) { return c == ' ' || c == '\n'; }

/* Ends behind a blank where it can, never within a character. */
static size_t piece_length(struct text t, size_t min)
{
    size_t i = 0, words = 0, max = MAX(2 * min, (size_t)PIECE_BYTES_MAX);
    while (i < t.len && i < max) {
        i++;
        if (is_blank(t.at[i - 1]) && i < t.len && !is_blank(t.at[i]) && ++words >= PIECE_WORDS && i >= min)
            return i;
    }
    while (i < t.len && ((unsigned char)t.at[i] & 0xC0) == 0x80) /* three at most: it was valid when it was parsed */
        i--;
    return i;
}

static struct text next_piece(const struct writing *w, struct text *io_rest)
{
    size_t n = piece_length(*io_rest, w->piece_bytes_min);
    struct text piece = { io_rest->at, n };
    *io_rest = (struct text){ io_rest->at + n, io_rest->len - n };
    return piece;
}

/* Logprobs stand beside the text that they are about, if there is any. */
static yyjson_val *logprobs_with(const struct writing *w, yyjson_val *choice)
{
    yyjson_val *said = yyjson_obj_getn(choice, w->names->whole.at, w->names->whole.len), *logprobs = yyjson_obj_get(choice, "logprobs");
    bool has_text = form_has_text(yyjson_is_obj(said) ? yyjson_obj_get(said, "content") : said);
    return has_text && !yyjson_is_null(logprobs) ? logprobs : NULL;
}

static void write_text(struct writing *w, yyjson_val *choice, struct text key, struct text text, yyjson_val *logprobs)
{
    while (text.len > 0 && w->pen.fail == OK) {
        begin_event(w, choice);
        form_put_key(&w->pen, key);
        form_put_string(&w->pen, next_piece(w, &text));
        form_put(&w->pen, w->names->close);
        if (logprobs != NULL) {
            form_put_key(&w->pen, TEXT("logprobs"));
            form_put_value(&w->pen, logprobs);
            logprobs = NULL;
        }
        end_event(w);
    }
}

/* ---- a message ---- */

static void write_first(struct writing *w, yyjson_val *choice)
{
    size_t i, n;
    yyjson_val *key, *value, *message = yyjson_obj_get(choice, "message");
    begin_event(w, choice);
    if (yyjson_obj_get(message, "role") == NULL)
        FORM_PUT(&w->pen, "\"role\":\"assistant\"");
    yyjson_obj_foreach(message, i, n, key, value) {
        bool later = is_said(form_text(key), value);
        if ((later && !text_eq(form_text(key), TEXT("content"))) || is_calls(form_text(key), value))
            continue;
        form_put_key(&w->pen, form_text(key));
        if (later)
            FORM_PUT(&w->pen, "\"\"");
        else
            form_put_value(&w->pen, value);
    }
    form_put(&w->pen, w->names->close);
    end_event(w);
}

/* What a model says in a call, and where. */
static const struct { struct text outer, inner; } spoken[] = { { TEXT("function"), TEXT("arguments") }, { TEXT("custom"), TEXT("input") } };

static void begin_call(struct writing *w, yyjson_val *choice, size_t index)
{
    begin_event(w, choice);
    FORM_PUT(&w->pen, "\"tool_calls\":[{\"index\":");
    form_put_number(&w->pen, index);
}

static void end_call(struct writing *w)
{
    FORM_PUT(&w->pen, "}]");
    form_put(&w->pen, w->names->close);
    end_event(w);
}

/* The object with "" in the place of what is said later. */
static void put_unspoken(struct form_pen *p, yyjson_val *object, struct text inner)
{
    size_t i, n;
    yyjson_val *key, *value;
    FORM_PUT(p, "{");
    yyjson_obj_foreach(object, i, n, key, value) {
        form_put_key(p, form_text(key));
        if (yyjson_is_str(value) && text_eq(form_text(key), inner))
            FORM_PUT(p, "\"\"");
        else
            form_put_value(p, value);
    }
    FORM_PUT(p, "}");
}

static void write_call_head(struct writing *w, yyjson_val *choice, size_t index, yyjson_val *call)
{
    size_t i, n;
    yyjson_val *key, *value;
    begin_call(w, choice, index);
    yyjson_obj_foreach(call, i, n, key, value) {
        struct text inner = TEXT_NONE;
        if (text_eq(form_text(key), TEXT("index")))
            continue;
        for (size_t k = 0; k < ARRAY_LEN(spoken); k++)
            if (yyjson_is_obj(value) && text_eq(form_text(key), spoken[k].outer))
                inner = spoken[k].inner;
        form_put_key(&w->pen, form_text(key));
        if (inner.len > 0)
            put_unspoken(&w->pen, value, inner);
        else
            form_put_value(&w->pen, value);
    }
    end_call(w);
}

static void write_call(struct writing *w, yyjson_val *choice, size_t index, yyjson_val *call)
{
    write_call_head(w, choice, index, call);
    for (size_t k = 0; k < ARRAY_LEN(spoken); k++) {
        yyjson_val *outer = yyjson_obj_getn(call, spoken[k].outer.at, spoken[k].outer.len);
        yyjson_val *inner = yyjson_obj_getn(outer, spoken[k].inner.at, spoken[k].inner.len);
        for (struct text rest = form_text(inner); rest.len > 0 && w->pen.fail == OK;) {
            begin_call(w, choice, index);
            form_put_key(&w->pen, spoken[k].outer);
            FORM_PUT(&w->pen, "{");
            form_put_key(&w->pen, spoken[k].inner);
            form_put_string(&w->pen, next_piece(w, &rest));
            FORM_PUT(&w->pen, "}");
            end_call(w);
        }
    }
}

/* Reasoning and the like first, then the answer, then calls: as models do it. */
static void write_message(struct writing *w, yyjson_val *choice)
{
    size_t i, n, k, m;
    yyjson_val *key, *value, *call, *message = yyjson_obj_get(choice, "message");
    yyjson_obj_foreach(message, i, n, key, value)
        if (is_said(form_text(key), value) && !text_eq(form_text(key), TEXT("content")))
            write_text(w, choice, form_text(key), form_text(value), NULL);
    write_text(w, choice, TEXT("content"), form_text(yyjson_obj_get(message, "content")), logprobs_with(w, choice));
    yyjson_obj_foreach(message, i, n, key, value)
        if (is_calls(form_text(key), value))
            yyjson_arr_foreach(value, k, m, call)
                write_call(w, choice, k, call);
}

/* ---- the end ---- */

static void put_rest(struct writing *w, yyjson_val *object, const struct text *told, size_t count)
{
    size_t i, n;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, i, n, key, value) {
        if (is_any(form_text(key), told, count) || (object == w->root && is_head(form_text(key))))
            continue;
        form_put_key(&w->pen, form_text(key));
        form_put_value(&w->pen, value);
    }
}

static void write_finish(struct writing *w, yyjson_val *choice, bool is_last)
{
    const struct text told[] = { w->names->whole, TEXT("index"), TEXT("logprobs") }, told_above[] = { TEXT("object"), TEXT("choices"), TEXT("usage") };
    begin_event(w, choice);
    if (w->names->open.len == 0)
        FORM_PUT(&w->pen, ",\"text\":\"\"");
    form_put(&w->pen, w->names->close);
    put_rest(w, choice, told, logprobs_with(w, choice) != NULL ? 3 : 2);
    FORM_PUT(&w->pen, "}]");
    if (is_last)
        put_rest(w, w->root, told_above, ARRAY_LEN(told_above));
    FORM_PUT(&w->pen, "}\n\n");
}

static void write_answer(struct writing *w)
{
    size_t i, n;
    yyjson_val *choice;
    bool is_chat = w->names->open.len > 0;
    yyjson_arr_foreach(w->choices, i, n, choice)
        if (is_chat)
            write_first(w, choice);
    yyjson_arr_foreach(w->choices, i, n, choice)
        if (is_chat)
            write_message(w, choice);
        else
            write_text(w, choice, w->names->piece, form_text(yyjson_obj_get(choice, "text")), logprobs_with(w, choice));
    yyjson_arr_foreach(w->choices, i, n, choice)
        write_finish(w, choice, i + 1 == n);
    FORM_PUT(&w->pen, "data: [DONE]\n\n");
}

static void write_usage(struct writing *w)
{
    yyjson_val *usage = yyjson_obj_get(w->root, "usage");
    if (usage == NULL || yyjson_is_null(usage))
        return;
    form_put(&w->pen, buf_text(&w->head));
    FORM_PUT(&w->pen, "],\"usage\":");
    form_put_value(&w->pen, usage);
    FORM_PUT(&w->pen, "}\n\n");
}

enum fail form_events(struct arena *arena, enum form_surface surface, struct text body, struct buf *out, size_t *out_usage_from)
{
    struct writing w = { .pen = { .buf = out }, .names = form_names(surface), .piece_bytes_min = body.len / PIECES_MAX + 1 };
    size_t before = buf_len(out), usage_from = 0;
    enum fail f = form_parse(arena, body, &w.root);
    if (f != OK)
        return f;
    w.choices = yyjson_obj_get(w.root, "choices");
    if (!is_fit(&w))
        return FAIL_BAD_JSON;
    buf_init(&w.head, out->max);
    w.pen.fail = write_head(&w);
    write_answer(&w);
    usage_from = buf_len(out);
    write_usage(&w);
    buf_fini(&w.head);
    if (w.pen.fail != OK)
        out->to = out->from + before; /* no half a stream */
    else
        *out_usage_from = usage_from;
    return w.pen.fail;
}
