/* forms_body.c: a stream's events become the body that a plain call would have brought. See forms.h. */
#include "net/sse.h"
#include "relay/forms_inner.h"

#define SCRATCH_BYTES 4096       /* an event's tree: most fit */
#define LOOKS_MIN     (1u << 20) /* comparisons that any stream may take; for each of its bytes another one */
#define EVENTS_MAX    (1u << 30) /* bytes: the reader's buffers have a ceiling */

struct reading {
    struct form_join join;
    const struct form_names *names;
    struct form_part body; /* an object */
    char *scratch;
    unsigned events;
    bool done;
};

/* ---- one event ---- */

static enum fail grow_member(struct reading *r, struct form_part *choice, struct text key, yyjson_val *value)
{
    struct form_part *p;
    enum fail f = form_member(&r->join, choice, key, &p);
    if (f == OK && text_eq(key, TEXT("message")))
        p->place = FORM_MESSAGE;
    return f == OK ? form_grow(&r->join, p, value) : f;
}

/* What the model says grows, and so does what is told of its tokens; the rest of a choice is there once, or always as it is now. */
static enum fail take_choice_member(struct reading *r, struct form_part *choice, struct text key, yyjson_val *value)
{
    if (text_eq(key, TEXT("index")))
        return OK;
    if (text_eq(key, r->names->piece))
        return yyjson_is_null(value) || yyjson_is_str(value) == text_eq(key, TEXT("text")) ? grow_member(r, choice, r->names->whole, value) : FAIL_BAD_JSON;
    if (text_eq(key, r->names->whole))
        return FAIL_BAD_JSON;
    if (text_eq(key, TEXT("logprobs")) || text_eq(key, TEXT("token_ids")))
        return grow_member(r, choice, key, value);
    struct form_part *p;
    enum fail f = form_member(&r->join, choice, key, &p);
    return f == OK ? form_replace(&r->join, p, value) : f;
}

static enum fail open_choice(struct reading *r, struct form_part *choices, uint64_t index, struct form_part **out)
{
    struct form_part *choice, *number;
    enum fail f = form_item(&r->join, choices, index, &choice);
    if (f == OK && choice->kind == FORM_NOTHING) {
        struct form_pen pen = { .buf = &r->join.json };
        if (choices->count > FORM_CHOICES_MAX)
            return FAIL_BAD_JSON;
        choice->kind = FORM_OBJECT;
        f = form_member(&r->join, choice, TEXT("index"), &number);
        buf_clear(pen.buf);
        form_put_number(&pen, index);
        if (f == OK)
            f = pen.fail != OK ? pen.fail : form_set_text(&r->join, number, buf_text(pen.buf));
        if (f == OK)
            number->kind = FORM_PLAIN;
    }
    if (f == OK)
        *out = choice;
    return f;
}

static enum fail take_choice(struct reading *r, struct form_part *choices, yyjson_val *v)
{
    size_t i, n;
    yyjson_val *key, *value, *index = yyjson_obj_get(v, "index");
    struct form_part *choice = NULL;
    if (!yyjson_is_obj(v) || (index != NULL && !yyjson_is_uint(index)))
        return FAIL_BAD_JSON;
    enum fail f = open_choice(r, choices, yyjson_get_uint(index), &choice); /* no index: 0 */
    yyjson_obj_foreach(v, i, n, key, value)
        if (f == OK)
            f = take_choice_member(r, choice, form_text(key), value);
    return f;
}

static enum fail take_choices(struct reading *r, yyjson_val *v)
{
    size_t i, n;
    yyjson_val *choice;
    struct form_part *choices = NULL;
    enum fail f = form_member(&r->join, &r->body, TEXT("choices"), &choices);
    if (f == OK && !yyjson_is_arr(v) && !yyjson_is_null(v))
        f = FAIL_BAD_JSON;
    if (f == OK)
        choices->kind = FORM_LIST;
    yyjson_arr_foreach(v, i, n, choice)
        if (f == OK)
            f = take_choice(r, choices, choice);
    return f;
}

/* obfuscation is noise of a stream: it makes events equally long. */
static enum fail take_member(struct reading *r, struct text key, yyjson_val *value)
{
    struct form_part *p;
    if (text_eq(key, TEXT("choices")))
        return take_choices(r, value);
    if (text_eq(key, TEXT("object")) || text_eq(key, TEXT("obfuscation")) || (text_eq(key, TEXT("usage")) && yyjson_is_null(value)))
        return OK;
    enum fail f = form_member(&r->join, &r->body, key, &p);
    return f == OK ? form_replace(&r->join, p, value) : f;
}

static enum fail take_event(struct reading *r, struct text data)
{
    size_t i, n;
    yyjson_val *key, *value, *root;
    struct arena scratch; /* of an event stays only what it says */
    arena_init(&scratch, r->scratch, SCRATCH_BYTES, r->join.arena->bytes_max);
    enum fail f = form_parse(&scratch, data, &root);
    if (f == OK)
        yyjson_obj_foreach(root, i, n, key, value)
            if (f == OK)
                f = take_member(r, form_text(key), value);
    arena_fini(&scratch);
    r->events++;
    return f;
}

/* ---- all of them ---- */

static enum fail read_events(struct reading *r, struct text in)
{
    struct sse_reader reader;
    struct sse_event e = { .found = true };
    enum fail f = in.len <= EVENTS_MAX ? OK : FAIL_TOO_LARGE;
    size_t eaten;
    sse_reader_init(&reader, MIN(in.len, EVENTS_MAX));
    while (f == OK && in.len > 0 && !r->done) { /* each turn eats an event, or all that is left */
        f = sse_feed(&reader, in, &eaten, &e);
        if (f != OK || !e.found)
            break;
        in = (struct text){ in.at + eaten, in.len - eaten };
        if (text_eq(e.name, TEXT("error")))
            f = FAIL_BAD_JSON;
        else if (text_starts(text_trim(e.data), TEXT("[DONE]")))
            r->done = true;
        else
            f = take_event(r, e.data);
    }
    if (f == OK && !e.found)
        f = FAIL_BAD_JSON; /* its end is missing */
    sse_reader_fini(&reader);
    return f;
}

static struct form_part *find(const struct form_part *object, struct text key)
{
    for (struct form_part *p = object->first; p != NULL; p = p->next)
        if (text_eq(p->key, key))
            return p;
    return NULL;
}

/* Has it said something, and come to its end? A message's role and content are there in any plain answer. */
static enum fail finish_choice(struct reading *r, const struct form_part *choice)
{
    struct form_part *said = find(choice, r->names->whole), *finish = find(choice, TEXT("finish_reason")), *p;
    bool is_chat = text_eq(r->names->whole, TEXT("message"));
    if (said == NULL || said->kind != (is_chat ? FORM_OBJECT : FORM_TEXT))
        return FAIL_BAD_JSON;
    if (finish == NULL || finish->kind != FORM_PLAIN || finish->at[0] != '"' || finish->len <= 2)
        return FAIL_BAD_JSON;
    if (!is_chat)
        return OK;
    enum fail f = form_member(&r->join, said, TEXT("content"), &p);
    if (f != OK || find(said, TEXT("role")) != NULL)
        return f;
    f = form_member(&r->join, said, TEXT("role"), &p);
    return f == OK ? form_set_text(&r->join, p, TEXT("assistant")) : f;
}

static enum fail finish(struct reading *r)
{
    struct form_part *choices = find(&r->body, TEXT("choices"));
    if (choices == NULL || choices->first == NULL)
        return FAIL_BAD_JSON;
    for (const struct form_part *choice = choices->first; choice != NULL; choice = choice->next) {
        enum fail f = finish_choice(r, choice);
        if (f != OK)
            return f;
    }
    return OK;
}

static enum fail read_all(struct reading *r, struct text events, struct text usage)
{
    struct form_part *object;
    enum fail f = form_member(&r->join, &r->body, TEXT("object"), &object);
    if (f == OK)
        f = form_set_text(&r->join, object, r->names->object);
    if (f == OK)
        f = read_events(r, events);
    if (f == OK && !r->done)
        f = FAIL_BAD_JSON;
    r->done = false;
    r->events = 0;
    if (f == OK)
        f = read_events(r, usage);
    if (f == OK && usage.len > 0 && (r->events == 0 || r->done))
        f = FAIL_BAD_JSON;
    return f == OK ? finish(r) : f;
}

enum fail form_body(struct arena *arena, enum form_surface surface, struct text events, struct text usage, struct buf *out)
{
    struct reading r = {
        .join = { .arena = arena, .looks_left = LOOKS_MIN + events.len + usage.len },
        .names = form_names(surface),
        .body = { .kind = FORM_OBJECT },
        .scratch = arena_alloc(arena, SCRATCH_BYTES),
    };
    size_t before = buf_len(out);
    if (r.scratch == NULL)
        return FAIL_NO_MEMORY;
    buf_init(&r.join.json, out->max); /* what is longer would not fit in the end */
    enum fail f = read_all(&r, events, usage);
    buf_fini(&r.join.json);
    struct form_pen pen = { out, f };
    form_put_part(&pen, &r.body);
    if (pen.fail != OK)
        out->to = out->from + before; /* no half a body */
    return pen.fail;
}
