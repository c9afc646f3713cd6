/* key.c: requests that mean the same have one digest: a body's tree is written in one canonical form, straight into SHA-256.

   The form: each value begins with its type, and says how much belongs to it before that comes, so that no two trees are written alike.
     string   's' length bytes               as decoded: escapes do not count, composed and decomposed letters (NFC, NFD) are different tokens and differ
     number   '+' or '-' magnitude           when it is whole, however it was spelled
              'r' the 8 bytes of a double    any other
     array    'a' count values
     object   'o' count (length name value)  by name. What is called "properties" keeps its order: that of a schema's properties is the one that a model answers in
     true 't', false 'f', null 'z'
   Lengths, counts and magnitudes have 7 bits a byte, the lowest first (LEB128). path/ asks by way of key.h. */
#define OPENSSL_API_COMPAT 0x10100000L /* SHA256_Init …: a fifth of the cost of fetching an EVP method for each request */
#include "cache/key.h"
#include <endian.h>
#include <openssl/sha.h>

_Static_assert(CACHE_ID_BYTES == SHA256_DIGEST_LENGTH, "an identity is a SHA-256");

/* What a hash is of: none of one kind is ever one of another. A new canonical form needs new letters here, since answers outlive the program in a shared cache. */
enum kind { KIND_BODY = 'B', KIND_REST = 'R', KIND_INPUT = 'I', KIND_JOINED = 'J', KIND_IDENTITY = 'Q', KIND_RAW = 'W' };

/* ---- hashing ---- */

#define BLOCK_BYTES 512 /* small parts are gathered; larger ones are hashed where they lie */

struct hash {
    SHA256_CTX sha;
    size_t used;
    uint8_t block[BLOCK_BYTES];
};

static void hash_begin(struct hash *h, enum kind kind)
{
    SHA256_Init(&h->sha);
    h->block[0] = (uint8_t)kind;
    h->used = 1;
}

static void hash_flush(struct hash *h)
{
    SHA256_Update(&h->sha, h->block, h->used);
    h->used = 0;
}

static void put_bytes(struct hash *h, const void *at, size_t len)
{
    if (len > BLOCK_BYTES - h->used)
        hash_flush(h);
    if (len > BLOCK_BYTES) {
        SHA256_Update(&h->sha, at, len);
        return;
    }
    if (len > 0)
        memcpy(h->block + h->used, at, len);
    h->used += len;
}

#define NUMBER_BYTES 10 /* 64 bits at 7 a byte */

static void put_number(struct hash *h, char type, uint64_t n)
{
    if (BLOCK_BYTES - h->used < 1 + NUMBER_BYTES)
        hash_flush(h);
    h->block[h->used++] = (uint8_t)type;
    for (; n >= 0x80; n >>= 7)
        h->block[h->used++] = (uint8_t)(n | 0x80);
    h->block[h->used++] = (uint8_t)n;
}

static void put_text(struct hash *h, struct text t)
{
    put_number(h, 's', t.len);
    put_bytes(h, t.at, t.len);
}

static void put_double(struct hash *h, double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    bits = htole64(bits);
    put_bytes(h, "r", 1);
    put_bytes(h, &bits, sizeof bits);
}

static void hash_end(struct hash *h, uint8_t out[CACHE_ID_BYTES])
{
    hash_flush(h);
    SHA256_Final(out, &h->sha);
}

/* ---- the top level: what counts ---- */

static struct text text_of_value(yyjson_val *v)
{
    return (struct text){ unsafe_yyjson_get_str(v), unsafe_yyjson_get_len(v) };
}

static bool is_token_limit(yyjson_val *v) { return yyjson_is_uint(v) && yyjson_get_uint(v) <= UINT32_MAX; }
static bool is_one(yyjson_val *v) { return yyjson_is_num(v) && yyjson_get_num(v) == 1; }
static bool is_empty(yyjson_val *v) { return yyjson_is_obj(v) && yyjson_obj_size(v) == 0; }
static bool is_type_text(yyjson_val *v) { return yyjson_obj_size(v) == 1 && yyjson_equals_str(yyjson_obj_get(v, "type"), "text"); }
static bool is_float(yyjson_val *v) { return yyjson_equals_str(v, "float"); }

enum surface { C = 1, T = 2, E = 4 };

/* Is it a body of these surfaces, and of no other? */
static bool is_of(yyjson_val *root, unsigned surfaces)
{
    unsigned is = (yyjson_obj_get(root, "messages") ? C : 0u) | (yyjson_obj_get(root, "prompt") ? T : 0u) | (yyjson_obj_get(root, "input") ? E : 0u);
    return is != 0 && (is & ~surfaces) == 0;
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
#define LIMIT(member, why)                   if (text_eq(name, TEXT(#member))) return !is_token_limit(v) || has_two_limits(root);
#define DEFAULT(member, surfaces, test, why) if (text_eq(name, TEXT(#member))) return !test(v) || !is_of(root, surfaces);
#include "cache/defaults.def"
#undef LEFT_OUT
#undef SCOPED
#undef LIMIT
#undef DEFAULT
    return true;
}

/* ---- writing a tree ---- */

#define FEW_MEMBERS 64 /* of an object and all that it lies in; a body with tools has some 20 at once */

/* The names of all objects that are being written, innermost last. */
struct writer {
    struct hash hash;
    struct arena *arena;
    enum fail fail;        /* the first that came: what is hashed behind it is for nothing */
    bool without_input;
    yyjson_val **names;
    size_t used, room;
    yyjson_val *few[FEW_MEMBERS];
};

/* Where a value stands, when its members are not like any others. */
enum place { ANYWHERE, AT_TOP, AT_MESSAGES, AT_MESSAGE, AT_PROPERTIES };

static bool comes_before(yyjson_val *a, yyjson_val *b)
{
    struct text x = text_of_value(a), y = text_of_value(b);
    if (x.len > 0 && y.len > 0 && x.at[0] != y.at[0]) /* mostly */
        return (unsigned char)x.at[0] < (unsigned char)y.at[0];
    int order = memcmp(x.at, y.at, MIN(x.len, y.len));
    return order != 0 ? order < 0 : x.len < y.len;
}

/* Down from i, until neither of the two below is larger (Williams, Algorithm 232: Heapsort, CACM 1964). */
static void sift_down(yyjson_val **at, size_t i, size_t count)
{
    yyjson_val *sinking = at[i];
    for (size_t child; (child = 2 * i + 1) < count; i = child) {
        if (child + 1 < count && comes_before(at[child], at[child + 1]))
            child++;
        if (!comes_before(sinking, at[child]))
            break;
        at[i] = at[child];
    }
    at[i] = sinking;
}

#define INSERTION_MAX 16 /* up to here inserting is faster, the more so as writers tend to keep an order */

/* By name. n log n whatever the names, and in place. */
static void sort(yyjson_val **at, size_t count)
{
    if (count > INSERTION_MAX) {
        for (size_t i = count / 2; i-- > 0;)
            sift_down(at, i, count);
        for (size_t last = count; --last > 0;) {
            yyjson_val *largest = at[0];
            at[0] = at[last];
            at[last] = largest;
            sift_down(at, 0, last);
        }
        return;
    }
    for (size_t i = 1; i < count; i++) {
        yyjson_val *name = at[i];
        size_t k = i;
        for (; k > 0 && comes_before(name, at[k - 1]); k--)
            at[k] = at[k - 1];
        at[k] = name;
    }
}

static bool make_room(struct writer *w, size_t count)
{
    if (w->room - w->used >= count)
        return true;
    size_t room = MAX(2 * w->room, w->used + count);
    yyjson_val **names = arena_alloc(w->arena, room * sizeof(*names));
    if (names == NULL) {
        w->fail = FAIL_NO_MEMORY;
        return false;
    }
    memcpy(names, w->names, w->used * sizeof(*names));
    w->names = names;
    w->room = room;
    return true;
}

/* The names that count, in the order they are written in; behind those that are there. */
static void take_names(struct writer *w, yyjson_val *object, enum place place)
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
        w->names[w->used++] = name;
    }
    if (place != AT_PROPERTIES)
        sort(w->names + from, w->used - from);
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
    size_t from = w->used;
    if (!make_room(w, unsafe_yyjson_get_len(object)))
        return;
    take_names(w, object, place);
    size_t to = w->used;
    put_number(&w->hash, 'o', to - from);
    for (size_t i = from; i < to; i++) {
        struct text name = text_of_value(w->names[i]);
        put_text(&w->hash, name);
        put_value(w, w->names[i] + 1, place_below(place, name), depth);
    }
    w->used = from;
}

static void put_array(struct writer *w, yyjson_val *array, enum place place, unsigned depth)
{
    size_t count = unsafe_yyjson_get_len(array);
    yyjson_val *v = unsafe_yyjson_get_first(array);
    put_number(&w->hash, 'a', count);
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
        put_number(&w->hash, '+', (uint64_t)d);
    else if (d < 0 && d == (double)(int64_t)d)
        put_number(&w->hash, '-', (uint64_t)-(int64_t)d);
    else
        put_double(&w->hash, d);
}

static void put_integer(struct writer *w, yyjson_val *v)
{
    int64_t n = unsafe_yyjson_get_sint(v);
    if (unsafe_yyjson_is_uint(v) || n >= 0)
        put_number(&w->hash, '+', unsafe_yyjson_get_uint(v));
    else
        put_number(&w->hash, '-', -(uint64_t)n);
}

/* Recurses as deep as the body nests, which json_parse has bounded: some 100 bytes of stack a level. */
static void put_value(struct writer *w, yyjson_val *v, enum place place, unsigned depth)
{
    ASSERT(depth <= JSON_DEPTH_MAX);
    if (unsafe_yyjson_is_str(v))
        put_text(&w->hash, text_of_value(v));
    else if (unsafe_yyjson_is_obj(v))
        put_object(w, v, place, depth + 1);
    else if (unsafe_yyjson_is_arr(v))
        put_array(w, v, place, depth + 1);
    else if (unsafe_yyjson_is_real(v))
        put_real(w, unsafe_yyjson_get_real(v));
    else if (unsafe_yyjson_is_num(v))
        put_integer(w, v);
    else
        put_bytes(&w->hash, unsafe_yyjson_is_null(v) ? "z" : unsafe_yyjson_is_true(v) ? "t" : "f", 1);
}

static enum fail digest(struct writer *w, enum kind kind, yyjson_val *v, enum place place, struct cache_digest *out)
{
    hash_begin(&w->hash, kind);
    put_value(w, v, place, 0);
    if (w->fail == OK)
        hash_end(&w->hash, out->sha256);
    return w->fail;
}

static void writer_init(struct writer *w, struct arena *arena)
{
    w->arena = arena;
    w->fail = OK;
    w->without_input = false;
    w->names = w->few;
    w->used = 0;
    w->room = FEW_MEMBERS;
}

enum fail cache_digest(struct arena *arena, yyjson_val *root, struct cache_digest *out)
{
    struct writer w;
    writer_init(&w, arena);
    return digest(&w, KIND_BODY, root, AT_TOP, out);
}

/* ---- inputs of embeddings ---- */

/* Strings alone, or arrays alone: each is an input. Tokens are one input; a mixture means something else to each backend, so it stays together. */
static bool is_of_many(yyjson_val *input)
{
    size_t i, n, strings = 0, arrays = 0;
    yyjson_val *v;
    yyjson_arr_foreach(input, i, n, v) {
        strings += yyjson_is_str(v);
        arrays += yyjson_is_arr(v);
    }
    return strings == n || arrays == n;
}

unsigned cache_inputs(yyjson_val *root)
{
    yyjson_val *input = yyjson_obj_get(root, "input");
    if (yyjson_is_arr(input))
        return is_of_many(input) ? (unsigned)yyjson_arr_size(input) : 1;
    return yyjson_is_str(input) ? 1 : 0;
}

enum fail cache_digest_inputs(struct arena *arena, yyjson_val *root, struct cache_digest *out_rest, struct cache_digest *outs)
{
    struct writer w;
    writer_init(&w, arena);
    yyjson_val *input = yyjson_obj_get(root, "input"), *v;
    size_t i, n;
    w.without_input = true;
    enum fail f = digest(&w, KIND_REST, root, AT_TOP, out_rest);
    if (f != OK)
        return f;
    if (!yyjson_is_arr(input) || !is_of_many(input))
        return digest(&w, KIND_INPUT, input, ANYWHERE, outs);
    yyjson_arr_foreach(input, i, n, v) {
        f = digest(&w, KIND_INPUT, v, ANYWHERE, &outs[i]);
        if (f != OK)
            return f;
    }
    return OK;
}

struct cache_digest cache_digest_join(const struct cache_digest *rest, const struct cache_digest *input)
{
    struct cache_digest out;
    struct hash h;
    hash_begin(&h, KIND_JOINED);
    put_bytes(&h, rest->sha256, sizeof rest->sha256);
    put_bytes(&h, input->sha256, sizeof input->sha256);
    hash_end(&h, out.sha256);
    return out;
}

/* ---- identities ---- */

static void set_hash(struct cache_id *id)
{
    memcpy(&id->hash, id->sha256, sizeof id->hash);
}

void cache_identify(struct cache_id *out, const struct cache_digest *digest, const struct cache_scope *scope)
{
    struct hash h;
    hash_begin(&h, KIND_IDENTITY);
    put_bytes(&h, digest->sha256, sizeof digest->sha256);
    put_text(&h, scope->tenant);
    put_text(&h, scope->surface);
    put_text(&h, scope->model);
    if (scope->has_max_tokens)
        put_number(&h, scope->max_is_completion ? 'c' : 'm', scope->max_tokens);
    if (scope->has_temperature)
        put_double(&h, scope->temperature + 0.0); /* -0 becomes 0 */
    hash_end(&h, out->sha256);
    set_hash(out);
}

struct cache_id cache_id_form(const struct cache_id *id, unsigned form)
{
    struct cache_id out = *id;
    ASSERT(form <= UINT8_MAX);
    out.sha256[0] ^= (uint8_t)form; /* another identity that differs in nothing else is as hard to find as an equal one */
    set_hash(&out);
    return out;
}

void cache_raw(struct cache_digest *out, struct text salt, struct text body)
{
    struct hash h;
    hash_begin(&h, KIND_RAW);
    put_text(&h, salt);
    put_text(&h, body);
    hash_end(&h, out->sha256);
}
