/* forms_join.c: values that grow by deltas. forms_body.c reads a stream into them; forms.c asks whether a value could be told by one delta. */
#include "relay/forms_inner.h"

#define ROOM_MIN 32 /* bytes of a text at first: most are a name or a word */

/* ---- bytes of a part ---- */

static enum fail add_bytes(struct form_join *j, struct form_part *p, struct text t)
{
    if (t.len > p->room - p->len) {
        size_t room = MAX(MAX(2 * p->room, p->len + t.len), (size_t)ROOM_MIN); /* doubled: what a long answer leaves behind is no more than itself */
        char *at = arena_alloc(j->arena, room);
        if (at == NULL)
            return FAIL_NO_MEMORY;
        if (p->len > 0)
            memcpy(at, p->at, p->len);
        p->at = at;
        p->room = room;
    }
    if (t.len > 0)
        memcpy(p->at + p->len, t.at, t.len);
    p->len += t.len;
    return OK;
}

static enum fail add_json(struct form_join *j, struct form_part *p, yyjson_val *v)
{
    struct form_pen pen = { .buf = &j->json };
    buf_clear(&j->json);
    form_put_value(&pen, v);
    return pen.fail != OK ? pen.fail : add_bytes(j, p, buf_text(&j->json));
}

static enum fail set_json(struct form_join *j, struct form_part *p, yyjson_val *v)
{
    p->kind = FORM_PLAIN;
    p->len = 0;
    return add_json(j, p, v);
}

enum fail form_set_text(struct form_join *j, struct form_part *p, struct text t)
{
    p->kind = FORM_TEXT;
    p->len = 0;
    return add_bytes(j, p, t);
}

/* ---- members and items ---- */

/* FAIL_BAD_JSON for what would take too long: no answer has so many different names. */
static enum fail take_look(struct form_join *j)
{
    if (j->looks_left == 0)
        return FAIL_BAD_JSON;
    j->looks_left--;
    return OK;
}

static bool is_it(const struct form_part *of, const struct form_part *p, struct text key, uint64_t index)
{
    return of->kind == FORM_LIST ? p->index == index : text_eq(p->key, key);
}

/* Deltas name their members in one order, so the next is likely to stand behind the last. */
static enum fail look(struct form_join *j, struct form_part *of, struct text key, uint64_t index, struct form_part **out)
{
    struct form_part *p = of->hint;
    *out = NULL;
    for (unsigned left = of->count; left > 0; left--, p = p->next) {
        if (p == NULL)
            p = of->first;
        enum fail f = take_look(j);
        if (f != OK)
            return f;
        if (is_it(of, p, key, index)) {
            while (of->kind == FORM_LIST && p->next != NULL && p->next->index == index)
                p = p->next; /* of several calls with one index the last is under way */
            of->hint = p->next;
            *out = p;
            return OK;
        }
    }
    return OK;
}

static enum form_place place_in(const struct form_part *of, struct text key)
{
    if (of->place == FORM_MESSAGE)
        return text_eq(key, TEXT("tool_calls")) ? FORM_CALLS : FORM_ANYWHERE;
    return of->place == FORM_CALLS && of->kind == FORM_LIST ? FORM_CALL : FORM_ANYWHERE;
}

/* Members stand as they came, items by their index. */
static enum fail make(struct form_join *j, struct form_part *of, struct text key, uint64_t index, struct form_part **out)
{
    struct form_part *p = arena_alloc(j->arena, sizeof(*p)), *before = of->last;
    char *name = key.len > 0 ? arena_copy(j->arena, key) : NULL;
    if (p == NULL || (key.len > 0 && name == NULL))
        return FAIL_NO_MEMORY;
    *p = (struct form_part){ .key = { name, key.len }, .index = index, .place = place_in(of, key) };
    if (of->kind == FORM_LIST && before != NULL && before->index > index) {
        before = NULL;
        for (struct form_part *q = of->first; q->index <= index; q = q->next) {
            enum fail f = take_look(j);
            if (f != OK)
                return f;
            before = q;
        }
    }
    p->next = before != NULL ? before->next : of->first;
    *(before != NULL ? &before->next : &of->first) = p;
    if (p->next == NULL)
        of->last = p;
    of->count++;
    *out = p;
    return OK;
}

enum fail form_member(struct form_join *j, struct form_part *object, struct text key, struct form_part **out)
{
    struct form_part *p;
    enum fail f = look(j, object, key, 0, &p);
    if (f == OK && p == NULL)
        f = make(j, object, key, 0, &p);
    if (f == OK)
        *out = p;
    return f;
}

enum fail form_item(struct form_join *j, struct form_part *list, uint64_t index, struct form_part **out)
{
    struct form_part *p;
    enum fail f = look(j, list, TEXT_NONE, index, &p);
    if (f == OK && p == NULL)
        f = make(j, list, TEXT_NONE, index, &p);
    if (f == OK)
        *out = p;
    return f;
}

/* ---- growing ---- */

/* Not "text", "arguments", "data" and whatever else a model says piece by piece. "format": of reasoning_details. */
bool form_is_name(struct text key)
{
    static const struct text names[] = { TEXT("role"), TEXT("id"), TEXT("type"), TEXT("name"), TEXT("format") };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (text_eq(key, names[i]))
            return true;
    return false;
}

/* Is p of this kind, or of none yet? */
static bool becomes(struct form_part *p, enum form_kind kind)
{
    if (p->kind == FORM_NOTHING)
        p->kind = kind;
    return p->kind == kind;
}

static enum fail grow_text(struct form_join *j, struct form_part *p, struct text t)
{
    if (!becomes(p, FORM_TEXT))
        return FAIL_BAD_JSON;
    if (form_is_name(p->key) && p->len > 0)
        return t.len == 0 || text_eq(t, (struct text){ p->at, p->len }) ? OK : FAIL_BAD_JSON;
    return add_bytes(j, p, t);
}

static enum fail grow_object(struct form_join *j, struct form_part *p, yyjson_val *v)
{
    size_t i, n;
    yyjson_val *key, *value;
    bool is_new = p->first == NULL; /* v names nothing twice, so there is nothing to look for */
    if (!becomes(p, FORM_OBJECT))
        return FAIL_BAD_JSON;
    yyjson_obj_foreach(v, i, n, key, value) {
        struct form_part *member = NULL;
        enum fail f = is_new ? make(j, p, form_text(key), 0, &member) : form_member(j, p, form_text(key), &member);
        if (f == OK)
            f = form_grow(j, member, value);
        if (f != OK)
            return f;
    }
    return OK;
}

/* Some servers give every call the index 0 (Ollama, while a model has no parser of its own): then another id is another call. */
static bool is_another_call(const struct form_part *item, yyjson_val *v)
{
    yyjson_val *id = yyjson_obj_get(v, "id");
    for (const struct form_part *p = item->first; p != NULL && form_has_text(id); p = p->next)
        if (text_eq(p->key, TEXT("id")))
            return p->len > 0 && !text_eq(form_text(id), (struct text){ p->at, p->len });
    return false;
}

/* A call without an index is one of its own, as older servers send it. */
static enum fail grow_item(struct form_join *j, struct form_part *list, yyjson_val *v)
{
    struct form_part *item;
    yyjson_val *said = yyjson_obj_get(v, "index");
    bool is_indexed = yyjson_is_uint(said);
    uint64_t index = is_indexed ? yyjson_get_uint(said) : list->last != NULL ? list->last->index : 0;
    enum fail f = is_indexed ? form_item(j, list, index, &item) : make(j, list, TEXT_NONE, index, &item);
    if (f == OK && list->place == FORM_CALLS && is_another_call(item, v))
        f = make(j, list, TEXT_NONE, index, &item);
    return f == OK ? form_grow(j, item, v) : f;
}

/* Items that grow by themselves. */
static size_t count_indexed(yyjson_val *array)
{
    size_t i, n, indexed = 0;
    yyjson_val *item;
    yyjson_arr_foreach(array, i, n, item)
        indexed += yyjson_is_uint(yyjson_obj_get(item, "index"));
    return indexed;
}

bool form_is_objects(yyjson_val *v)
{
    size_t i, n;
    yyjson_val *item;
    yyjson_arr_foreach(v, i, n, item)
        if (!yyjson_is_obj(item))
            return false;
    return yyjson_arr_size(v) > 0;
}

static enum fail grow_items(struct form_join *j, struct form_part *p, yyjson_val *v)
{
    struct form_pen pen = { .buf = &j->json };
    if (!becomes(p, FORM_ITEMS))
        return FAIL_BAD_JSON;
    buf_clear(&j->json);
    form_put_value(&pen, v);
    if (pen.fail != OK)
        return pen.fail;
    struct text items = { buf_text(&j->json).at + 1, buf_len(&j->json) - 2 }; /* without brackets */
    enum fail f = p->len > 0 ? add_bytes(j, p, TEXT(",")) : OK;
    return f == OK ? add_bytes(j, p, items) : f;
}

static enum fail grow_array(struct form_join *j, struct form_part *p, yyjson_val *v)
{
    size_t i, n, indexed = p->place == FORM_CALLS && form_is_objects(v) ? yyjson_arr_size(v) : count_indexed(v);
    yyjson_val *item;
    if (yyjson_arr_size(v) == 0) /* so does who has no calls to tell of */
        return becomes(p, FORM_ITEMS) || p->kind == FORM_LIST ? OK : FAIL_BAD_JSON;
    if (indexed == 0)
        return grow_items(j, p, v);
    if (p->kind == FORM_ITEMS && p->len == 0)
        p->kind = FORM_NOTHING;
    if (indexed < yyjson_arr_size(v) || !becomes(p, FORM_LIST))
        return FAIL_BAD_JSON;
    yyjson_arr_foreach(v, i, n, item) {
        enum fail f = grow_item(j, p, item);
        if (f != OK)
            return f;
    }
    return OK;
}

/* As deep as a document: JSON_DEPTH_MAX at most. */
enum fail form_grow(struct form_join *j, struct form_part *p, yyjson_val *v)
{
    switch (yyjson_get_type(v)) {
    case YYJSON_TYPE_NULL: return OK;
    case YYJSON_TYPE_STR:  return grow_text(j, p, form_text(v));
    case YYJSON_TYPE_ARR:  return grow_array(j, p, v);
    case YYJSON_TYPE_OBJ:  return grow_object(j, p, v);
    default:               return becomes(p, FORM_PLAIN) ? set_json(j, p, v) : FAIL_BAD_JSON;
    }
}

enum fail form_replace(struct form_join *j, struct form_part *p, yyjson_val *v)
{
    bool says_nothing = yyjson_is_null(v) || (yyjson_is_str(v) && yyjson_get_len(v) == 0) || (yyjson_is_uint(v) && yyjson_get_uint(v) == 0);
    return yyjson_is_null(v) || (says_nothing && p->kind != FORM_NOTHING) ? OK : set_json(j, p, v);
}

static bool are_members_one_delta(yyjson_val *object)
{
    size_t i, n;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, i, n, key, value)
        if (!form_is_one_delta(value))
            return false;
    return true;
}

bool form_is_one_delta(yyjson_val *v)
{
    size_t i, n, indexed = count_indexed(v);
    yyjson_val *item, *before = NULL;
    if (yyjson_is_obj(v))
        return are_members_one_delta(v);
    if (indexed == 0)
        return true;
    yyjson_arr_foreach(v, i, n, item) {
        yyjson_val *index = yyjson_obj_get(item, "index");
        if (!yyjson_is_uint(index) || (before != NULL && yyjson_get_uint(index) <= yyjson_get_uint(before)) || !are_members_one_delta(item))
            return false;
        before = index;
    }
    return true;
}

/* ---- writing ---- */

void form_put_part(struct form_pen *p, const struct form_part *part)
{
    struct text bytes = { part->at, part->len };
    switch (part->kind) {
    case FORM_NOTHING: FORM_PUT(p, "null"); break;
    case FORM_PLAIN:   form_put(p, bytes); break;
    case FORM_TEXT:    form_put_string(p, bytes); break;
    case FORM_ITEMS:
        FORM_PUT(p, "[");
        form_put(p, bytes);
        FORM_PUT(p, "]");
        break;
    case FORM_OBJECT:
        FORM_PUT(p, "{");
        for (const struct form_part *member = part->first; member != NULL; member = member->next) {
            if (part->place == FORM_CALL && text_eq(member->key, TEXT("index")))
                continue;
            form_put_key(p, member->key);
            form_put_part(p, member);
        }
        FORM_PUT(p, "}");
        break;
    case FORM_LIST:
        FORM_PUT(p, "[");
        for (const struct form_part *item = part->first; item != NULL; item = item->next) {
            if (item != part->first)
                FORM_PUT(p, ",");
            form_put_part(p, item);
        }
        FORM_PUT(p, "]");
        break;
    }
}
