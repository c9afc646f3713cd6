/* words.c: what a mock says: words, arguments of tools and vectors that seed and request decide alone. Called by the dialects' answers. */
#include "mock/inner.h"
#include <math.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define BIG_TOKEN_BYTES (10u << 20) /* HOSTILE: a line far above what any reader wants to hold */
#define ECHO_ID_MAX     128
#define WORD_BYTES_MAX  32          /* of the longest word below, with its blank */
#define ARGUMENT_BYTES  12          /* of a tool's arguments in one event */
#define ARGUMENTS_MAX   65536

static const char *const plain_words[] = {
    "the", "river", "runs", "under", "a", "quiet", "bridge", "and", "water", "finds", "its", "own", "level", "slowly", "past", "stones",
    "where", "small", "fish", "wait", "for", "light", "or", "rain",
};
/* One token in four is one of these: whoever cuts bytes without looking cuts them. */
static const char *const wide_words[] = { "naïve", "café", "水", "河流", "ñandú", "🌊", "👩‍🔬", "Ω", "реке", "橋の下", "🇨🇭", "ﬁn" };

struct text mock_token(const struct content *c, uint32_t i)
{
    uint32_t from = i > 0 ? c->ends[i - 1] : 0;
    return (struct text){ c->bytes + from, c->ends[i] - from };
}

struct text mock_content_text(const struct content *c)
{
    return (struct text){ c->bytes, c->count > 0 ? c->ends[c->count - 1] : 0 };
}

/* ---- words ---- */

static char *copy_to(char *to, struct text t)
{
    memcpy(to, t.at, t.len);
    return to + t.len;
}

static char *add_word(char *to, uint32_t i, struct text id, uint64_t *random)
{
    uint64_t r = random_step(random);
    const char *word = i % 4 == 2 ? wide_words[r % ARRAY_LEN(wide_words)] : plain_words[r % ARRAY_LEN(plain_words)];
    if (i > 0)
        *to++ = ' ';
    if (id.len > 0) {
        to = copy_to(to, id);
        *to++ = ':';
    }
    return copy_to(to, text_of(word));
}

static enum fail fill_words(struct arena *arena, const struct ask *ask, const struct mock_saying *how, uint64_t random, struct content *c)
{
    uint32_t count = MIN(how->tokens, ask->tokens_max);
    uint32_t big = how->has_big_token ? count / 2 : UINT32_MAX;
    size_t room = (size_t)count * (WORD_BYTES_MAX + how->id.len + 1) + (big < count ? BIG_TOKEN_BYTES : 0);
    if (room > UINT32_MAX)
        return FAIL_NO_MEMORY;
    c->bytes = arena_alloc(arena, room + 1);
    c->ends = arena_alloc(arena, ((size_t)count + 1) * sizeof *c->ends);
    if (c->bytes == NULL || c->ends == NULL)
        return FAIL_NO_MEMORY;
    char *to = c->bytes;
    for (uint32_t i = 0; i < count; i++) {
        to = add_word(to, i, how->id, &random);
        if (i == big) {
            memset(to, 'x', BIG_TOKEN_BYTES);
            to += BIG_TOKEN_BYTES;
        }
        c->ends[i] = (uint32_t)(to - c->bytes);
    }
    c->count = count;
    c->finish = ask->tokens_max < how->tokens ? MOCK_LENGTH : MOCK_STOP;
    return OK;
}

/* Ends before the first stop word, within a token if it stands there. */
static void stop_at(const struct ask *ask, struct content *c)
{
    struct text all = mock_content_text(c);
    size_t cut = all.len + 1;
    for (unsigned i = 0; i < ask->stop_count; i++) {
        ptrdiff_t at = text_find(all, ask->stops[i]);
        if (at >= 0 && (size_t)at < cut) {
            cut = (size_t)at;
            c->stopped_by = ask->stops[i];
        }
    }
    if (cut > all.len)
        return;
    uint32_t count = 0;
    while (count < c->count && c->ends[count] < cut)
        count++;
    if (count < c->count && (count > 0 ? c->ends[count - 1] : 0) < cut)
        c->ends[count++] = (uint32_t)cut;
    c->count = count;
    c->finish = MOCK_STOP;
}

/* ---- arguments of a tool ---- */

static void put_argument(struct pen *p, yyjson_val *type, uint64_t *random)
{
    if (yyjson_equals_str(type, "integer") || yyjson_equals_str(type, "number"))
        PUTF(p, "%u", (unsigned)(random_step(random) % 100));
    else if (yyjson_equals_str(type, "boolean"))
        PUT(p, "true");
    else if (yyjson_equals_str(type, "array"))
        PUT(p, "[]");
    else if (yyjson_equals_str(type, "object"))
        PUT(p, "{}");
    else
        put_string(p, text_of(plain_words[random_step(random) % ARRAY_LEN(plain_words)]));
}

static void put_arguments(struct pen *p, yyjson_val *schema, uint64_t random)
{
    yyjson_val *required = yyjson_obj_get(schema, "required"), *properties = yyjson_obj_get(schema, "properties"), *name;
    size_t i, n;
    unsigned put_so_far = 0;
    PUT(p, "{");
    yyjson_arr_foreach(required, i, n, name) {
        if (!yyjson_is_str(name))
            continue;
        if (put_so_far++ > 0)
            PUT(p, ",");
        put_string(p, (struct text){ yyjson_get_str(name), yyjson_get_len(name) });
        PUT(p, ":");
        yyjson_val *property = yyjson_obj_getn(properties, yyjson_get_str(name), yyjson_get_len(name));
        yyjson_val *first = yyjson_arr_get_first(yyjson_obj_get(property, "enum"));
        if (yyjson_is_str(first))
            put_string(p, (struct text){ yyjson_get_str(first), yyjson_get_len(first) });
        else
            put_argument(p, yyjson_obj_get(property, "type"), &random);
    }
    PUT(p, "}");
}

/* Cut into tokens between characters: what a token is written into must be valid JSON by itself. */
static enum fail fill_arguments(struct arena *arena, const struct ask *ask, uint64_t random, struct content *c)
{
    struct pen p = { .fail = OK };
    buf_init(&p.buf, ARGUMENTS_MAX);
    put_arguments(&p, ask->tool_schema, random);
    struct text all = buf_text(&p.buf);
    if (p.fail == OK) {
        c->bytes = arena_copy(arena, all);
        c->ends = arena_alloc(arena, (all.len / ARGUMENT_BYTES + 1) * sizeof *c->ends);
    }
    buf_fini(&p.buf);
    if (p.fail != OK || c->bytes == NULL || c->ends == NULL)
        return p.fail != OK ? p.fail : FAIL_NO_MEMORY;
    for (size_t at = 0; at < all.len;) {
        at = MIN(at + ARGUMENT_BYTES, all.len);
        while (at < all.len && ((unsigned char)c->bytes[at] & 0xc0) == 0x80)
            at++;
        c->ends[c->count++] = (uint32_t)at;
    }
    c->finish = MOCK_TOOL;
    return OK;
}

enum fail mock_say(struct arena *arena, const struct ask *ask, const struct mock_saying *how, unsigned choice, struct content *out)
{
    *out = (struct content){ .finish = MOCK_STOP };
    if (ask->tool.at != NULL)
        return fill_arguments(arena, ask, ask->hash + choice, out);
    enum fail f = fill_words(arena, ask, how, ask->hash + choice, out);
    if (f == OK)
        stop_at(ask, out);
    return f;
}

enum fail mock_words(struct answer *a)
{
    struct mock_saying how = { .tokens = a->script->tokens, .has_big_token = has_fault(a, MOCK_FAULT_BIGLINE) };
    enum fail f = OK;
    if (has_fault(a, MOCK_FAULT_ECHO_ID)) {
        struct text id = http_head_find(a->rq->head, TEXT("x-request-id"));
        how.id = id.len > 0 ? (struct text){ id.at, MIN(id.len, ECHO_ID_MAX) } : TEXT("none");
    }
    a->contents = arena_alloc(&a->rq->arena, a->ask.choices * sizeof *a->contents);
    if (a->contents == NULL)
        return FAIL_NO_MEMORY;
    for (unsigned i = 0; i < a->ask.choices && f == OK; i++) {
        f = mock_say(&a->rq->arena, &a->ask, &how, i, &a->contents[i]);
        a->completion_tokens += a->contents[i].count;
    }
    return f;
}

/* ---- vectors ---- */

static double uniform(uint64_t *random)
{
    return (double)(int64_t)random_step(random) * 0x1p-63;
}

/* Ten million to one is finer than a float; printf with %g would cost more than all the rest of the answer. */
static void put_number(struct pen *p, double v)
{
    char digits[16];
    int64_t n = (int64_t)(fabs(v) * 1e8 + 0.5);
    char *at = digits;
    if (v < 0)
        *at++ = '-';
    *at++ = (char)('0' + n / 100000000);
    *at++ = '.';
    for (int64_t unit = 10000000; unit > 0; unit /= 10)
        *at++ = (char)('0' + n / unit % 10);
    put(p, (struct text){ digits, (size_t)(at - digits) });
}

struct base64 {
    uint32_t bits;
    unsigned bytes; /* of three */
};

static const char base64_letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void put_base64_group(struct pen *p, struct base64 *b)
{
    uint32_t bits = b->bits << (8 * (3 - b->bytes));
    char out[4] = "====";
    for (unsigned i = 0; i <= b->bytes; i++)
        out[i] = base64_letters[bits >> (18 - 6 * i) & 63];
    put(p, (struct text){ out, 4 });
    *b = (struct base64){ 0 };
}

static void put_float(struct pen *p, struct base64 *b, float v)
{
    unsigned char bytes[sizeof v];
    memcpy(bytes, &v, sizeof v); /* little-endian, as all of weir's targets are */
    for (size_t i = 0; i < sizeof bytes; i++) {
        b->bits = b->bits << 8 | bytes[i];
        if (++b->bytes == 3)
            put_base64_group(p, b);
    }
}

void mock_put_vector(struct pen *p, struct text text, uint64_t seed, uint32_t dimensions, bool base64)
{
    uint64_t hash = XXH3_64bits_withSeed(text.at != NULL ? text.at : "", text.len, seed);
    double squares = 0;
    struct base64 b = { 0 };
    uint64_t random = hash;
    for (uint32_t i = 0; i < dimensions; i++) {
        double v = uniform(&random);
        squares += v * v;
    }
    double scale = squares > 0 ? 1 / sqrt(squares) : 0;
    random = hash;
    PUTF(p, base64 ? "\"" : "[");
    for (uint32_t i = 0; i < dimensions; i++) {
        if (base64) {
            put_float(p, &b, (float)(uniform(&random) * scale));
            continue;
        }
        if (i > 0)
            PUT(p, ",");
        put_number(p, uniform(&random) * scale);
    }
    if (b.bytes > 0)
        put_base64_group(p, &b);
    PUTF(p, base64 ? "\"" : "]");
}
