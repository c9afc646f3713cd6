/* replay_trace.c: what a cache is asked, question by question: from a file, or made up. See replay.h; called by `weir cache simulate`. */
#include "base/json.h"
#include "base/random.h"
#include "bench/replay.h"
#include "bench/script.h"
#include "cache/key.h"
#include "upstream/fields.h"
#include <math.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define QUESTION_MAX (32u << 20)            /* bytes: what a request may weigh */
#define TREE_MAX     (41ull * QUESTION_MAX) /* see json_parse, and cache_digest */
#define KEYS_MAX     (1u << 23)             /* of a law that is made up: a table of 64 MB */
#define ALPHA_MAX    10                     /* the first key is then 99.9 % of all */

/* ---- names to numbers ---- */

struct named {
    uint64_t name;
    uint32_t key; /* plus 1; 0: nobody is here */
};
struct replay_names {
    uint64_t room; /* a power of two, at most half full */
    struct named at[];
};

/* Names may be numbers in a row, so they are mixed first. */
static struct named *find(struct replay_names *n, uint64_t name)
{
    uint64_t mixed = name;
    struct named *d;
    for (uint64_t i = random_step(&mixed);; i++) { /* ends at an empty place: half of them are */
        d = &n->at[i & (n->room - 1)];
        if (d->key == 0 || d->name == name)
            return d;
    }
}

static enum fail grow_names(struct replay_trace *t)
{
    struct replay_names *old = t->names;
    uint64_t room = old != NULL ? 2 * old->room : 1024;
    struct replay_names *n = mem_zero(sizeof *n + room * sizeof n->at[0]);
    if (n == NULL)
        return FAIL_NO_MEMORY;
    n->room = room;
    for (uint64_t i = 0; old != NULL && i < old->room; i++)
        if (old->at[i].key != 0)
            *find(n, old->at[i].name) = old->at[i];
    mem_free(old);
    t->names = n;
    return OK;
}

static enum fail grow_keys(struct replay_trace *t)
{
    uint32_t room = MAX(2 * t->room, 1024u);
    uint32_t *keys = mem_resize(t->keys, room * sizeof *keys);
    if (keys == NULL)
        return FAIL_NO_MEMORY;
    t->keys = keys;
    t->room = room;
    return OK;
}

enum fail replay_trace_add(struct replay_trace *t, uint64_t name)
{
    enum fail f = OK;
    if (t->count == REPLAY_COUNT_MAX)
        return FAIL_TOO_LARGE;
    if (t->names == NULL || 2ull * t->distinct >= t->names->room)
        f = grow_names(t);
    if (f == OK && t->count == t->room)
        f = grow_keys(t);
    if (f != OK)
        return f;
    struct named *d = find(t->names, name);
    if (d->key == 0)
        *d = (struct named){ name, ++t->distinct };
    t->keys[t->count++] = d->key - 1;
    return OK;
}

enum fail replay_trace_end(struct replay_trace *t)
{
    uint32_t *coming = mem_alloc(MAX(t->distinct, 1u) * sizeof *coming); /* each key's next question, seen from the end */
    t->next = mem_alloc(MAX(t->count, 1u) * sizeof *t->next);
    mem_free(t->names);
    t->names = NULL;
    bool is_ok = coming != NULL && t->next != NULL;
    for (uint32_t k = 0; is_ok && k < t->distinct; k++)
        coming[k] = REPLAY_NEVER;
    for (uint32_t i = t->count; is_ok && i-- > 0;) {
        t->next[i] = coming[t->keys[i]];
        coming[t->keys[i]] = i;
    }
    mem_free(coming);
    return is_ok ? OK : FAIL_NO_MEMORY;
}

void replay_trace_free(struct replay_trace *t)
{
    mem_free(t->keys);
    mem_free(t->next);
    mem_free(t->names);
    *t = (struct replay_trace){ 0 };
}

static bool add(struct replay_trace *t, uint64_t name, const char *path, int line, struct complaint *why)
{
    enum fail f = replay_trace_add(t, name);
    if (f == FAIL_TOO_LARGE)
        return complain(why, path, line, 0, "a trace of more than %u questions: a part of it says as much", REPLAY_COUNT_MAX);
    return f == OK || complain(why, path, line, 0, "no memory left to keep it");
}

/* ---- made up ---- */

struct law {
    double alpha;
    uint64_t keys, requests, seed;
    bool drifts;
};

static bool read_law(struct text words, struct law *out, struct complaint *why)
{
    struct text alpha, keys, requests, seed;
    *out = (struct law){ .drifts = text_starts(words, TEXT("drift:")), .seed = 1 };
    seed = text_cut(text_cut(text_cut((struct text){ words.at + text_find(words, TEXT(":")) + 1, words.len - (size_t)text_find(words, TEXT(":")) - 1 },
                                      ',', &alpha), ',', &keys), ',', &requests);
    if (!text_to_double(alpha, &out->alpha) || !(out->alpha >= 0 && out->alpha <= ALPHA_MAX))
        return complain(why, NULL, 0, 0, "\"%.*s\": ALPHA must be a number from 0 to %d", TEXT_ARG(words), ALPHA_MAX);
    if (!text_to_u64(keys, KEYS_MAX, &out->keys) || out->keys == 0)
        return complain(why, NULL, 0, 0, "\"%.*s\": KEYS must be a number from 1 to %u", TEXT_ARG(words), KEYS_MAX);
    if (!text_to_u64(requests, REPLAY_COUNT_MAX, &out->requests) || out->requests == 0)
        return complain(why, NULL, 0, 0, "\"%.*s\": REQUESTS must be a number from 1 to %u", TEXT_ARG(words), REPLAY_COUNT_MAX);
    if (seed.at != NULL && !text_to_u64(seed, UINT64_MAX, &out->seed))
        return complain(why, NULL, 0, 0, "\"%.*s\": SEED must be a number", TEXT_ARG(words));
    return true;
}

/* The first whose sum is above the draw. */
static uint64_t draw(const double *sums, uint64_t count, double at)
{
    uint64_t low = 0, high = count - 1;
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (sums[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static bool make(struct replay_trace *t, const struct law *law, struct complaint *why)
{
    double sum = 0, *sums = mem_alloc(law->keys * sizeof *sums);
    uint64_t state = law->seed;
    bool is_ok = sums != NULL || complain(why, NULL, 0, 0, "no memory left for so many keys");
    for (uint64_t r = 0; is_ok && r < law->keys; r++)
        sums[r] = sum += pow((double)r + 1, -law->alpha);
    for (uint64_t i = 0; is_ok && i < law->requests; i++) {
        double at = (double)(random_step(&state) >> 11) * 0x1p-53 * sum; /* 53 bits: a double's */
        bool is_other = law->drifts && i >= law->requests / 2;
        is_ok = add(t, draw(sums, law->keys, at) + is_other * law->keys, NULL, 0, why);
    }
    mem_free(sums);
    return is_ok;
}

/* ---- files ---- */

static bool add_blocks(struct replay_trace *t, yyjson_val *hashes, const char *path, int line, struct complaint *why)
{
    size_t i, n;
    yyjson_val *hash;
    if (!yyjson_is_arr(hashes))
        return complain(why, path, line, 0, "hash_ids must be an array of numbers");
    yyjson_arr_foreach(hashes, i, n, hash) {
        if (!yyjson_is_uint(hash))
            return complain(why, path, line, 0, "hash_ids must be an array of numbers");
        if (!add(t, yyjson_get_uint(hash), path, line, why))
            return false;
    }
    return true;
}

static bool is_fit(yyjson_doc *doc, yyjson_val *body, struct text path)
{
    char must[256];
    const char *why;
    yyjson_val *where;
    enum field_surface surface = text_ends(path, TEXT("/embeddings")) ? FIELD_EMBEDDING : text_ends(path, TEXT("/chat/completions")) ? FIELD_CHAT : FIELD_COMPLETION;
    return json_check_all_keys(doc, &where, &why) == OK && fields_check(body, surface, must, sizeof must) == NULL;
}

/* What weir would know the answer by: fields in another order make no other request. {"path": ..., "body": {...}} is a request to another path than chat's. False: it is
   none that weir would take, so its bytes have to do. */
static bool identify(yyjson_doc *doc, struct arena *arena, uint64_t *out)
{
    yyjson_val *root = yyjson_doc_get_root(doc), *path = yyjson_obj_get(root, "path"), *body = yyjson_obj_get(root, "body");
    bool is_wrapped = yyjson_is_str(path) && yyjson_is_obj(body);
    struct text surface = is_wrapped ? text_of(yyjson_get_str(path)) : TEXT("/v1/chat/completions");
    body = is_wrapped ? body : root;
    yyjson_val *temperature = yyjson_obj_get(body, "temperature"), *newer = yyjson_obj_get(body, "max_completion_tokens");
    yyjson_val *most = json_is_count(newer) ? newer : yyjson_obj_get(body, "max_tokens");
    const struct cache_scope scope = {
        .surface = surface, .model = text_of(yyjson_get_str(yyjson_obj_get(body, "model"))), .has_temperature = yyjson_is_num(temperature),
        .temperature = yyjson_get_num(temperature), .has_max_tokens = json_is_count(most), .max_tokens = (uint32_t)yyjson_get_uint(most),
        .max_is_completion = json_is_count(newer),
    };
    struct cache_digest digest;
    struct cache_id id;
    if (!is_fit(doc, body, surface) || cache_digest(arena, body, &digest) != OK)
        return false;
    cache_identify(&id, &digest, &scope);
    *out = id.hash;
    return true;
}

static bool add_object(struct replay_trace *t, struct text text, struct arena *arena, const char *path, int line, struct complaint *why)
{
    yyjson_doc *doc;
    const char *what = "out of memory";
    if (json_parse(arena, text, &doc, &what) != OK)
        return complain(why, path, line, 0, "not JSON: %s", what);
    yyjson_val *hashes = yyjson_obj_get(yyjson_doc_get_root(doc), "hash_ids");
    if (hashes != NULL)
        return add_blocks(t, hashes, path, line, why);
    uint64_t name;
    return add(t, identify(doc, arena, &name) ? name : XXH3_64bits(text.at, text.len), path, line, why);
}

static bool add_line(struct replay_trace *t, struct text text, const char *path, int line, struct complaint *why)
{
    struct arena arena;
    if (text.len > QUESTION_MAX)
        return complain(why, path, line, 0, "longer than %u MiB", QUESTION_MAX >> 20);
    if (text.at[0] != '{')
        return add(t, XXH3_64bits(text.at, text.len), path, line, why);
    arena_init(&arena, NULL, 0, TREE_MAX);
    bool is_ok = add_object(t, text, &arena, path, line, why);
    arena_fini(&arena);
    return is_ok;
}

static bool read_file(struct replay_trace *t, const char *path, struct complaint *why)
{
    struct buf file;
    struct text rest, line;
    bool is_ok = true;
    if (!script_file_read(path, &file, why))
        return false;
    rest = buf_text(&file);
    for (int number = 1; is_ok && rest.len > 0; number++) {
        rest = text_cut(rest, '\n', &line);
        line = text_trim(text_ends(line, TEXT("\r")) ? (struct text){ line.at, line.len - 1 } : line);
        is_ok = line.len == 0 || add_line(t, line, path, number, why);
    }
    buf_fini(&file);
    return is_ok && (t->count > 0 || complain(why, path, 0, 0, "holds no question"));
}

bool replay_trace_read(struct replay_trace *t, const char *what, struct complaint *why)
{
    struct law law;
    bool is_made = text_starts(text_of(what), TEXT("zipf:")) || text_starts(text_of(what), TEXT("drift:"));
    if (!(is_made ? read_law(text_of(what), &law, why) && make(t, &law, why) : read_file(t, what, why)))
        return false;
    return replay_trace_end(t) == OK || complain(why, NULL, 0, 0, "no memory left to keep it");
}
