/* json.c: a bounded parse with yyjson, a scanner for the top-level spans, and the escape writer. path/, serve/ and upstream/ call it. */
#include "base/json.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* --- scanning --- */

#ifdef __SSE2__
#include <emmintrin.h>
#define STRIDE 32
static unsigned specials(const char *at)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i special = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
    return (unsigned)_mm_movemask_epi8(special);
}

/* How many of these STRIDE bytes stand before the first quote or backslash; STRIDE if there is none. */
static unsigned first_special(const char *at)
{
    unsigned mask = specials(at) | specials(at + STRIDE / 2) << STRIDE / 2;
    return mask != 0 ? (unsigned)__builtin_ctz(mask) : STRIDE;
}
#else
#define STRIDE 8
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "first_special counts from the lowest byte");
/* The same with eight (Bit Twiddling Hacks, "haszero": its false alarms are only ever above a true one, so the lowest is true). */
static unsigned first_special(const char *at)
{
    const uint64_t ones = 0x0101010101010101ULL, tops = 0x8080808080808080ULL;
    uint64_t eight;
    memcpy(&eight, at, sizeof eight);
    uint64_t quote = eight ^ (ones * '"'), slash = eight ^ (ones * '\\');
    uint64_t found = (((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & tops;
    return found ? (unsigned)__builtin_ctzll(found) / 8 : STRIDE;
}
#endif

/* i is behind an opening quote; returns the place behind the closing one, or t.len if there is none. */
static size_t skip_string(struct text t, size_t i)
{
    while (i < t.len) {
        if (t.len - i >= STRIDE) {
            unsigned plain = first_special(t.at + i);
            i += plain;
            if (plain == STRIDE)
                continue;
        }
        if (t.at[i] == '"')
            return i + 1;
        i += t.at[i] == '\\' ? 2 : 1;
    }
    return t.len; /* not i: an escape may have stepped over the end */
}

struct shape {
    size_t values;   /* at most so many, keys included */
    size_t too_deep; /* where the bracket stands that nests too deep; the body's length = nowhere */
};

/* Each value but the root stands behind one of { [ , : outside a string, so counting those bounds the tree closely enough to allocate it once.
   Up to yyjson's first error we read strings as it does; behind that nobody writes any more. (Tables, not a switch: brackets come
   unpredictably, and mispredicted branches made this pass dearer than the parse itself.) */
static struct shape measure(struct text body)
{
    static const unsigned char values[256] = { ['{'] = 1, ['['] = 1, [','] = 1, [':'] = 1 };
    static const signed char deeper[256] = { ['{'] = 1, ['['] = 1, ['}'] = -1, [']'] = -1 };
    struct shape shape = { .values = 1, .too_deep = body.len };
    ptrdiff_t depth = 0; /* below 0 in what yyjson is about to refuse */
    for (size_t i = 0; i < body.len;) {
        unsigned char c = (unsigned char)body.at[i++];
        shape.values += values[c];
        depth += deeper[c];
        if (c == '"')
            i = skip_string(body, i);
        if (UNLIKELY(depth > JSON_DEPTH_MAX)) {
            shape.too_deep = i - 1;
            break;
        }
    }
    return shape;
}

/* --- parsing --- */

/* yyjson guesses the size of its tree (2.7 times the body) and grows by half, leaving the old trees behind in an arena; its published worst
   case is 12 times the body. We have counted the values, so it gets one piece that is right from the start, and "growing" it is free. */
struct tree {
    struct arena *arena;
    void *mem;
    size_t bytes;
};

#define ARENA_OVERHEAD 128 /* of two allocations: headers, padding, rounding */

static void *tree_alloc(void *ctx, size_t size)
{
    struct tree *tree = ctx;
    (void)size;
    ASSERT(tree->mem == NULL); /* with INSITU the tree is yyjson's only allocation */
    return tree->mem = arena_alloc(tree->arena, tree->bytes);
}

static void *tree_grow(void *ctx, void *mem, size_t old_size, size_t size)
{
    const struct tree *tree = ctx;
    (void)old_size, (void)size;
    ASSERT(mem == tree->mem);
    return mem;
}

static void tree_free(void *ctx, void *mem)
{
    (void)ctx, (void)mem; /* dies with the arena */
}

#define QUOTED(number)         #number
#define TEXT_OF_NUMBER(number) QUOTED(number)

static enum fail refuse(struct arena *a, const char **out_why, const char *why, size_t offset)
{
    if (out_why != NULL) {
        char *said = arena_printf(a, "%s at byte %zu", why, offset);
        *out_why = said ? said : why;
    }
    return FAIL_BAD_JSON;
}

/* The doc, the values, and the two that yyjson keeps free at the end. */
static size_t tree_bytes(size_t values)
{
    return sizeof(yyjson_doc) + sizeof(yyjson_val) + (values + 2) * sizeof(yyjson_val);
}

enum fail json_parse(struct arena *a, struct text body, yyjson_doc **out_doc, const char **out_why)
{
    if (body.len == 0)
        return refuse(a, out_why, "the body is empty", 0);
    struct shape shape = measure(body);
    if (shape.too_deep < body.len)
        return refuse(a, out_why, "nested deeper than " TEXT_OF_NUMBER(JSON_DEPTH_MAX) " levels", shape.too_deep);

    struct tree tree = { .arena = a, .bytes = tree_bytes(shape.values) };
    if (tree.bytes + body.len + ARENA_OVERHEAD > a->bytes_max)
        return FAIL_TOO_LARGE;
    char *copy = arena_alloc(a, body.len + YYJSON_PADDING_SIZE);
    if (copy == NULL)
        return FAIL_NO_MEMORY;
    memcpy(copy, body.at, body.len);
    memset(copy + body.len, 0, YYJSON_PADDING_SIZE);

    yyjson_alc alc = { tree_alloc, tree_grow, tree_free, &tree };
    yyjson_read_err err;
    yyjson_doc *doc = yyjson_read_opts(copy, body.len, YYJSON_READ_INSITU, &alc, &err);
    if (doc == NULL && err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        return FAIL_NO_MEMORY;
    if (doc == NULL)
        return refuse(a, out_why, err.msg, err.pos);
    ASSERT(yyjson_doc_get_val_count(doc) <= shape.values);
    *out_doc = doc;
    return OK;
}

/* --- spans of the top-level object --- */

static size_t skip_blanks(struct text t, size_t i)
{
    while (i < t.len && (t.at[i] == ' ' || t.at[i] == '\t' || t.at[i] == '\n' || t.at[i] == '\r'))
        i++;
    ASSERT(i < t.len); /* a valid object goes on until its brace */
    return i;
}

/* i is at a value's first byte; returns the place behind it. */
static size_t skip_value(struct text t, size_t i)
{
    if (t.at[i] == '"')
        return skip_string(t, i + 1);
    unsigned depth = 0;
    for (; i < t.len; i++) {
        char c = t.at[i];
        if (c == '"')
            i = skip_string(t, i + 1) - 1;
        else if (c == '{' || c == '[')
            depth++;
        else if (depth == 0 && (c == ',' || c == '}' || c == ']' || c == ' ' || c == '\t' || c == '\n' || c == '\r'))
            return i; /* behind a number or a literal */
        else if ((c == '}' || c == ']') && --depth == 0)
            return i + 1;
    }
    return i;
}

bool json_span_next(struct text body, size_t *cursor, struct json_span *out_span)
{
    size_t i = skip_blanks(body, *cursor);
    if (body.at[i] == '}') {
        *cursor = i;
        return false;
    }
    ASSERT(body.at[i] == (*cursor == 0 ? '{' : ','));
    i = skip_blanks(body, i + 1);
    if (body.at[i] == '}') { /* {} */
        *cursor = i;
        return false;
    }
    ASSERT(body.at[i] == '"');
    size_t key = i + 1, key_end = skip_string(body, key) - 1;
    i = skip_blanks(body, key_end + 1);
    ASSERT(body.at[i] == ':');
    size_t value = skip_blanks(body, i + 1), value_end = skip_value(body, value);
    out_span->key = (struct text){ body.at + key, key_end - key };
    out_span->value = (struct text){ body.at + value, value_end - value };
    *cursor = value_end;
    return true;
}

bool json_item_next(struct text array, size_t *cursor, struct text *out_item)
{
    size_t i = skip_blanks(array, *cursor);
    if (array.at[i] != ']') {
        ASSERT(array.at[i] == (*cursor == 0 ? '[' : ','));
        i = skip_blanks(array, i + 1);
    }
    if (array.at[i] == ']') {
        *cursor = i;
        return false;
    }
    *cursor = skip_value(array, i);
    *out_item = (struct text){ array.at + i, *cursor - i };
    return true;
}

/* --- duplicate keys --- */

#define FEW_MEMBERS 16 /* up to here comparing all pairs is faster than a table */

static struct text key_text(yyjson_val *key)
{
    return (struct text){ unsafe_yyjson_get_str(key), unsafe_yyjson_get_len(key) };
}

static yyjson_val *key_after(yyjson_val *key)
{
    return unsafe_yyjson_get_next(key + 1);
}

/* A NUL comes only by an escape, and yyjson marks what had none. */
static bool holds_nul(yyjson_val *key)
{
    return UNLIKELY(unsafe_yyjson_get_subtype(key) != YYJSON_SUBTYPE_NOESC) && memchr(unsafe_yyjson_get_str(key), '\0', unsafe_yyjson_get_len(key)) != NULL;
}

static bool few_are_unique(yyjson_val *object, size_t count)
{
    yyjson_val *keys[FEW_MEMBERS], *key = unsafe_yyjson_get_first(object);
    for (size_t i = 0; i < count; i++, key = key_after(key)) {
        keys[i] = key;
        for (size_t k = 0; k < i; k++)
            if (UNLIKELY(unsafe_yyjson_get_len(keys[k]) == unsafe_yyjson_get_len(key)) && text_eq(key_text(keys[k]), key_text(key)))
                return false;
    }
    return true;
}

/* Keys by their hash, linear probing. Half empty, a key takes 1.5 looks on average; PROBES_MAX a key on average means that somebody has aimed collisions,
   though the seed is an address that who writes the body cannot know. Then it is refused: the time stays linear whatever the hash is worth. */
#define PROBES_MAX 16
struct key_table {
    yyjson_val **at;
    size_t mask, probes_left;
    uint64_t seed;
};

/* Puts key into the table. False if it was there already, or looking for it takes too long. */
static bool is_new_key(struct key_table *t, yyjson_val *key)
{
    struct text text = key_text(key);
    for (size_t i = XXH3_64bits_withSeed(text.at, text.len, t->seed) & t->mask; t->probes_left > 0; i = (i + 1) & t->mask, t->probes_left--) {
        if (t->at[i] == NULL) {
            t->at[i] = key;
            return true;
        }
        if (text_eq(key_text(t->at[i]), text))
            return false;
    }
    return false;
}

static enum fail many_are_unique(yyjson_val *object, size_t count)
{
    size_t room = 64;
    enum fail f = OK;
    while (room < 2 * count)
        room *= 2;
    struct key_table t = { .at = mem_zero(room * sizeof(*t.at)), .mask = room - 1, .probes_left = PROBES_MAX * count };
    if (t.at == NULL)
        return FAIL_NO_MEMORY;
    t.seed = (uintptr_t)t.at;
    yyjson_val *key = unsafe_yyjson_get_first(object);
    for (size_t i = 0; i < count && f == OK; i++, key = key_after(key))
        f = is_new_key(&t, key) ? OK : FAIL_BAD_JSON;
    mem_free(t.at);
    return f;
}

enum fail json_check_keys(yyjson_val *object, const char **out_why)
{
    size_t count = unsafe_yyjson_get_len(object);
    yyjson_val *key = unsafe_yyjson_get_first(object);
    for (size_t i = 0; i < count; i++, key = key_after(key))
        if (holds_nul(key)) {
            *out_why = "has a NUL in the name of a field: some backends read only what stands before it";
            return FAIL_BAD_JSON;
        }
    enum fail f = count > FEW_MEMBERS ? many_are_unique(object, count) : few_are_unique(object, count) ? OK : FAIL_BAD_JSON;
    if (f == FAIL_BAD_JSON)
        *out_why = "names a field twice: backends disagree on which one wins";
    return f;
}

/* The values lie one behind the other, whatever their depth, so nothing here recurses. */
enum fail json_check_all_keys(yyjson_doc *doc, yyjson_val **out_object, const char **out_why)
{
    yyjson_val *v = yyjson_doc_get_root(doc);
    for (size_t left = yyjson_doc_get_val_count(doc); left > 0; left--, v++) {
        enum fail f = yyjson_is_obj(v) ? json_check_keys(v, out_why) : OK;
        if (f != OK) {
            *out_object = v;
            return f;
        }
    }
    return OK;
}

/* --- writing --- */

/* Bytes at the front of t that go out as they are. */
static size_t plain_run(struct text t)
{
    size_t i = 0;
    while (i < t.len) {
        unsigned char c = (unsigned char)t.at[i];
        if (c < 0x20 || c == '"' || c == '\\')
            break;
        size_t len = c < 0x80 ? 1 : text_utf8_len((struct text){ t.at + i, t.len - i });
        if (len == 0)
            break;
        i += len;
    }
    return i;
}

static enum fail add_escaped(struct buf *b, unsigned char c)
{
    switch (c) {
    case '"':  return buf_add_text(b, TEXT("\\\""));
    case '\\': return buf_add_text(b, TEXT("\\\\"));
    case '\b': return buf_add_text(b, TEXT("\\b"));
    case '\f': return buf_add_text(b, TEXT("\\f"));
    case '\n': return buf_add_text(b, TEXT("\\n"));
    case '\r': return buf_add_text(b, TEXT("\\r"));
    case '\t': return buf_add_text(b, TEXT("\\t"));
    default:
        if (c < 0x20)
            return buf_printf(b, "\\u%04x", c);
        return buf_add_text(b, TEXT("\xEF\xBF\xBD")); /* U+FFFD, one for each byte that is not UTF-8 */
    }
}

static enum fail add_content(struct buf *b, struct text s)
{
    enum fail f = OK;
    while (f == OK && s.len > 0) {
        size_t run = plain_run(s);
        f = buf_add(b, s.at, run);
        if (f == OK && run < s.len)
            f = add_escaped(b, (unsigned char)s.at[run++]);
        s = (struct text){ s.at + run, s.len - run };
    }
    return f;
}

enum fail json_add_string(struct buf *b, struct text s)
{
    size_t before = buf_len(b);
    enum fail f = s.len <= b->max ? buf_reserve(b, s.len + 2) : FAIL_TOO_LARGE; /* usually all that is needed, so it grows once */
    if (f == OK)
        f = buf_add_text(b, TEXT("\""));
    if (f == OK)
        f = add_content(b, s);
    if (f == OK)
        f = buf_add_text(b, TEXT("\""));
    if (f != OK)
        b->to = b->from + before; /* no half a string */
    return f;
}
