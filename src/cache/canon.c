/* canon.c: the canonical form of a request's body, straight from its tree into SHA-256.

   Each value begins with its type, and says how much belongs to it before that comes, so that no two trees are hashed alike.
     string   's' length bytes               as decoded: escapes do not count, composed and decomposed letters (NFC, NFD) are different tokens and differ
     number   '+' or '-' magnitude           when it is whole, however it was spelled
              'r' the 8 bytes of a double    any other
     array    'a' count values
     object   'o' count (string value)       by name. What is called "properties" keeps its order: that of a schema's properties is the one that a model answers in
     true 't', false 'f', null 'z' */
#include "cache/canon.h"

/* ---- the top level: what counts ---- */

static struct text text_of_value(yyjson_val *v)
{
    return (struct text){ unsafe_yyjson_get_str(v), unsafe_yyjson_get_len(v) };
}

static bool is_token_limit(yyjson_val *v) { return json_is_count(v) && yyjson_get_uint(v) <= UINT32_MAX; }
static bool is_one(yyjson_val *v) { return yyjson_is_num(v) && yyjson_get_num(v) == 1; }
static bool is_empty(yyjson_val *v) { return yyjson_is_obj(v) && yyjson_obj_size(v) == 0; }
static bool is_type_text(yyjson_val *v) { return yyjson_obj_size(v) == 1 && yyjson_equals_str(yyjson_obj_get(v, "type"), "text"); }
static bool is_usage_alone(yyjson_val *v) { return yyjson_is_obj(v) && yyjson_obj_size(v) == (yyjson_obj_get(v, "include_usage") != NULL); }
static bool is_float(yyjson_val *v) { return yyjson_equals_str(v, "float"); }

enum surface { C = 1, T = 2, E = 4 };

/* Is it a body of these surfaces, and of no other? */
static bool is_of(yyjson_val *root, unsigned surfaces)
{
    unsigned is = (yyjson_obj_get(root, "messages") ? C : 0u) | (yyjson_obj_get(root, "prompt") ? T : 0u) | (yyjson_obj_get(root, "input") ? E : 0u);
    return is != 0 && (is & ~surfaces) == 0;
}

/* A scope of embeddings has the model alone. */
static bool has_input(yyjson_val *root)
{
    yyjson_val *input = yyjson_obj_get(root, "input");
    return input != NULL && !yyjson_is_null(input);
}

/* A scope has one limit of tokens. Of two, which one counts is the backend's choice. */
static bool has_two_limits(yyjson_val *root)
{
    yyjson_val *old = yyjson_obj_get(root, "max_tokens"), *new = yyjson_obj_get(root, "max_completion_tokens");
    return old != NULL && new != NULL && !yyjson_is_null(old) && !yyjson_is_null(new);
}

static bool counts_at_top(yyjson_val *root, struct text name, yyjson_val *v)
{
#define LEFT_OUT(member, why)                if (text_eq(name, TEXT(#member))) return false;
#define SCOPED(member, test, why)            if (text_eq(name, TEXT(#member))) return !test(v);
#define GENERATED(member, test, why)         if (text_eq(name, TEXT(#member))) return !test(v) || has_input(root);
#define LIMIT(member, why)                   if (text_eq(name, TEXT(#member))) return !is_token_limit(v) || has_two_limits(root) || has_input(root);
#define DEFAULT(member, surfaces, test, why) if (text_eq(name, TEXT(#member))) return !test(v) || !is_of(root, surfaces);
#include "cache/defaults.def"
#undef LEFT_OUT
#undef SCOPED
#undef GENERATED
#undef LIMIT
#undef DEFAULT
    return true;
}

/* ---- writing a tree ---- */

#define FEW_MEMBERS 64 /* of an object and all that it lies in; a body with tools has some 20 at once. More come from the arena */

/* A name, and its first eight bytes as a number that sorts as they do: mostly they decide, and lie where the sorting looks. */
struct member {
    uint64_t front;
    yyjson_val *name;
};

/* The members of all objects that are being written, innermost last. */
struct writer {
    struct hash *hash;
    struct arena *arena;
    enum fail fail;        /* the first that came: what is hashed behind it is for nothing */
    bool without_input;
    struct member *members;
    size_t used, room;
};

/* Where a value stands, when its members are not like any others. */
enum place { ANYWHERE, AT_TOP, AT_MESSAGES, AT_MESSAGE, AT_PROPERTIES };

static uint64_t front_of(struct text name)
{
    uint64_t front = 0;
    if (name.len >= sizeof front) {
        memcpy(&front, name.at, sizeof front);
        return be64toh(front);
    }
    for (size_t i = 0; i < name.len; i++)
        front |= (uint64_t)(unsigned char)name.at[i] << (56 - 8 * i);
    return front;
}

static bool comes_before(const struct member *a, const struct member *b)
{
    if (LIKELY(a->front != b->front))
        return a->front < b->front;
    struct text x = text_of_value(a->name), y = text_of_value(b->name);
    int order = memcmp(x.at, y.at, MIN(x.len, y.len));
    return order != 0 ? order < 0 : x.len < y.len;
}

#define RUN 16 /* up to here inserting is faster than merging, the more so as writers tend to keep an order */

static void sort_run(struct member *at, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct member next = at[i];
        size_t k = i;
        for (; k > 0 && comes_before(&next, &at[k - 1]); k--)
            at[k] = at[k - 1];
        at[k] = next;
    }
}

static void merge(const struct member *a, size_t a_count, const struct member *b, size_t b_count, struct member *to)
{
    while (a_count > 0 && b_count > 0)
        if (comes_before(b, a))
            *to++ = *b++, b_count--;
        else
            *to++ = *a++, a_count--;
    memcpy(to, a, a_count * sizeof(*a));
    memcpy(to + a_count, b, b_count * sizeof(*b));
}

/* By name: n log n whatever the names. Behind them there is room for as many. */
static void sort(struct member *at, size_t count)
{
    struct member *from = at, *to = at + count;
    for (size_t i = 0; i < count; i += RUN)
        sort_run(at + i, MIN(count - i, (size_t)RUN));
    for (size_t run = RUN; run < count; run *= 2) {
        for (size_t i = 0; i < count; i += 2 * run) {
            size_t a = MIN(run, count - i), b = MIN(run, count - i - a);
            merge(from + i, a, from + i + a, b, to + i);
        }
        struct member *swap = from;
        from = to;
        to = swap;
    }
    if (from != at)
        memcpy(at, from, count * sizeof(*at));
}

static bool make_room(struct writer *w, size_t count)
{
    if (w->room - w->used >= count)
        return true;
    size_t room = MAX(2 * w->room, w->used + count);
    struct member *members = arena_alloc(w->arena, room * sizeof(*members));
    if (members == NULL) {
        w->fail = FAIL_NO_MEMORY;
        return false;
    }
    memcpy(members, w->members, w->used * sizeof(*members));
    w->members = members;
    w->room = room;
    return true;
}

/* The members that count, in the order they are written in; behind those that are there. */
static void take_members(struct writer *w, yyjson_val *object, enum place place)
{
    size_t from = w->used, count = unsafe_yyjson_get_len(object);
    yyjson_val *name = unsafe_yyjson_get_first(object);
    for (size_t i = 0; i < count; i++, name = unsafe_yyjson_get_next(name + 1)) {
        if ((place == AT_TOP || place == AT_MESSAGE) && unsafe_yyjson_is_null(name + 1))
            continue; /* OpenAI's schema: what may be null there may be missing. In tools and schemas null is a value */
        if (place == AT_TOP && !counts_at_top(object, text_of_value(name), name + 1))
            continue;
        if (place == AT_TOP && w->without_input && unsafe_yyjson_equals_str(name, "input"))
            continue;
        w->members[w->used++] = (struct member){ front_of(text_of_value(name)), name };
    }
    if (place != AT_PROPERTIES)
        sort(w->members + from, w->used - from);
}

static enum place place_below(enum place place, struct text name)
{
    if (text_eq(name, TEXT("properties")))
        return AT_PROPERTIES;
    return place == AT_TOP && text_eq(name, TEXT("messages")) ? AT_MESSAGES : ANYWHERE;
}

static void put_value(struct writer *w, yyjson_val *v, enum place place, unsigned depth);

static void put_object(struct writer *w, yyjson_val *object, enum place place, unsigned depth)
{
    size_t from = w->used, count = unsafe_yyjson_get_len(object);
    if (!make_room(w, count > RUN ? 2 * count : count)) /* merging needs as much again */
        return;
    take_members(w, object, place);
    size_t to = w->used;
    hash_number(w->hash, 'o', to - from);
    for (size_t i = from; i < to; i++) {
        yyjson_val *member = w->members[i].name;
        struct text name = text_of_value(member);
        hash_text(w->hash, name);
        put_value(w, member + 1, place_below(place, name), depth);
    }
    w->used = from;
}

static void put_array(struct writer *w, yyjson_val *array, enum place place, unsigned depth)
{
    size_t count = unsafe_yyjson_get_len(array);
    yyjson_val *v = unsafe_yyjson_get_first(array);
    hash_number(w->hash, 'a', count);
    for (size_t i = 0; i < count; i++, v = unsafe_yyjson_get_next(v))
        put_value(w, v, place == AT_MESSAGES && unsafe_yyjson_is_obj(v) ? AT_MESSAGE : ANYWHERE, depth);
}

#define TWO_TO_63 9223372036854775808.0
#define TWO_TO_64 18446744073709551616.0

/* By its value. From 2^64 on, and from -2^63 down, it may have been an integer that only some readers know exactly, and yyjson does not. */
static void put_real(struct writer *w, double d)
{
    if (d >= TWO_TO_64 || d <= -TWO_TO_63)
        w->fail = w->fail == OK ? FAIL_TOO_LARGE : w->fail;
    else if (d >= 0 && d == (double)(uint64_t)d)
        hash_number(w->hash, '+', (uint64_t)d);
    else if (d < 0 && d == (double)(int64_t)d)
        hash_number(w->hash, '-', (uint64_t)-(int64_t)d);
    else
        hash_double(w->hash, d);
}

static void put_integer(struct writer *w, yyjson_val *v)
{
    int64_t n = unsafe_yyjson_get_sint(v);
    if (unsafe_yyjson_is_uint(v) || n >= 0)
        hash_number(w->hash, '+', unsafe_yyjson_get_uint(v));
    else
        hash_number(w->hash, '-', -(uint64_t)n);
}

/* Recurses as deep as the body nests, which json_parse has bounded: some 200 bytes of stack a level. */
static void put_value(struct writer *w, yyjson_val *v, enum place place, unsigned depth)
{
    ASSERT(depth <= JSON_DEPTH_MAX);
    if (unsafe_yyjson_is_str(v))
        hash_text(w->hash, text_of_value(v));
    else if (unsafe_yyjson_is_obj(v))
        put_object(w, v, place, depth + 1);
    else if (unsafe_yyjson_is_arr(v))
        put_array(w, v, place, depth + 1);
    else if (unsafe_yyjson_is_real(v))
        put_real(w, unsafe_yyjson_get_real(v));
    else if (unsafe_yyjson_is_num(v))
        put_integer(w, v);
    else
        hash_bytes(w->hash, unsafe_yyjson_is_null(v) ? "z" : unsafe_yyjson_is_true(v) ? "t" : "f", 1);
}

enum fail canon_hash(struct hash *h, struct arena *arena, yyjson_val *v, enum canon_what what)
{
    struct member few[FEW_MEMBERS];
    struct writer w = { .hash = h, .arena = arena, .without_input = what == CANON_REST, .members = few, .room = FEW_MEMBERS };
    put_value(&w, v, what == CANON_VALUE ? ANYWHERE : AT_TOP, 0);
    return w.fail;
}
