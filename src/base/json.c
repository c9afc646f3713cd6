/* json.c: a bounded parse with yyjson, a scanner for the top-level spans, and the escape writer. path/, serve/ and upstream/ call it. */
#include "base/json.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* --- scanning --- */

#ifdef __SSE2__
#include <emmintrin.h>
#define STRIDE 16
/* How many of these STRIDE bytes stand before the first quote or backslash; STRIDE if there is none. */
static unsigned first_special(const char *at)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i special = _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')));
    unsigned mask = (unsigned)_mm_movemask_epi8(special);
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

    char *copy = arena_alloc(a, body.len + YYJSON_PADDING_SIZE);
    if (copy == NULL)
        return FAIL_NO_MEMORY;
    memcpy(copy, body.at, body.len);
    memset(copy + body.len, 0, YYJSON_PADDING_SIZE);

    struct tree tree = { .arena = a, .bytes = tree_bytes(shape.values) };
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
        else if (depth == 0 && (c == ',' || c == '}' || c == ' ' || c == '\t' || c == '\n' || c == '\r'))
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

/* --- duplicate keys --- */

#define FEW_MEMBERS 16 /* up to here comparing all pairs is faster than a table */

static struct text key_text(yyjson_val *key)
{
    return (struct text){ yyjson_get_str(key), yyjson_get_len(key) };
}

static bool few_have_duplicates(yyjson_val *object)
{
    struct text keys[FEW_MEMBERS];
    size_t count = 0, i, max;
    yyjson_val *key, *value;
    yyjson_obj_foreach(object, i, max, key, value) {
        keys[count] = key_text(key);
        for (size_t k = 0; k < count; k++)
            if (text_eq(keys[k], keys[count]))
                return true;
        count++;
    }
    return false;
}

/* Puts key into the table (linear probing) and tells whether it was there. */
static bool seen_before(yyjson_val **table, size_t mask, yyjson_val *key, uint64_t seed)
{
    struct text t = key_text(key);
    for (size_t i = XXH3_64bits_withSeed(t.at, t.len, seed) & mask;; i = (i + 1) & mask) {
        if (table[i] == NULL) {
            table[i] = key;
            return false;
        }
        if (text_eq(key_text(table[i]), t))
            return true;
    }
}

bool json_has_duplicate_keys(yyjson_val *object)
{
    size_t count = yyjson_obj_size(object);
    if (count <= FEW_MEMBERS)
        return few_have_duplicates(object);

    size_t room = 64;
    while (room < 2 * count)
        room *= 2;
    yyjson_val **table = mem_zero(room * sizeof *table);
    if (table == NULL)
        return true; /* cannot tell: refused rather than passed on unchecked */

    bool found = false;
    size_t i, max;
    yyjson_val *key, *value;
    uint64_t seed = (uintptr_t)table; /* an address: who writes the body cannot know it and aim collisions */
    yyjson_obj_foreach(object, i, max, key, value) {
        found = seen_before(table, room - 1, key, seed);
        if (found)
            break;
    }
    mem_free(table);
    return found;
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
