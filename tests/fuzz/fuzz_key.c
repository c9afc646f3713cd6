/* fuzz_key.c: two bodies, the first in the first line. Oracles: they have one digest if, and only if, a plain reader finds that they ask for the same; and a body
   that is written otherwise, its members the other way round, keeps its digest. */
#include "cache/key.h"
#include "fuzz/fuzz.h"
#include "lib/meaning.h"

/* NULL: no body that would come as far as a key. */
static yyjson_doc *body_of(struct arena *arena, struct text text)
{
    yyjson_doc *doc;
    yyjson_val *object;
    const char *why;
    if (json_parse(arena, text, &doc, NULL) != OK || !yyjson_is_obj(yyjson_doc_get_root(doc)) || json_check_all_keys(doc, &object, &why) != OK)
        return NULL;
    return doc;
}

static bool has_digest(struct arena *arena, yyjson_doc *doc, struct cache_digest *out)
{
    enum fail f = cache_digest(arena, yyjson_doc_get_root(doc), out);
    ASSERT(f == OK || (f == FAIL_TOO_LARGE && meaning_is_unsure(doc)));
    return f == OK;
}

static bool is_same(const struct cache_digest *a, const struct cache_digest *b)
{
    return memcmp(a->sha256, b->sha256, sizeof a->sha256) == 0;
}

/* Neighbours in a batch are one input if they are the same. */
static void check_inputs(struct arena *arena, yyjson_doc *doc)
{
    struct cache_digest rest, *outs;
    yyjson_val *root = yyjson_doc_get_root(doc), *input = yyjson_obj_get(root, "input");
    unsigned n = cache_inputs(root);
    if (n == 0)
        return;
    outs = arena_alloc(arena, n * sizeof(*outs)); /* the sanitizer sees what is written behind it */
    ASSERT(outs != NULL);
    told(cache_digest_inputs(arena, root, &rest, outs));
    for (unsigned i = 1; i < n; i++)
        ASSERT(is_same(&outs[i - 1], &outs[i]) == meaning_is_same(yyjson_arr_get(input, i - 1), yyjson_arr_get(input, i)));
}

/* The same, with members the other way round, but for those whose order counts. */
static yyjson_mut_val *turned(yyjson_mut_doc *to, yyjson_val *v, bool keeps_order)
{
    yyjson_mut_val *out = yyjson_is_obj(v) ? yyjson_mut_obj(to) : yyjson_is_arr(v) ? yyjson_mut_arr(to) : yyjson_val_mut_copy(to, v);
    yyjson_val *name, *child;
    size_t i, n;
    if (yyjson_is_arr(v))
        yyjson_arr_foreach(v, i, n, child)
            ASSERT(yyjson_mut_arr_append(out, turned(to, child, false)));
    if (yyjson_is_obj(v))
        yyjson_obj_foreach(v, i, n, name, child)
            ASSERT(yyjson_mut_obj_insert(out, yyjson_val_mut_copy(to, name), turned(to, child, yyjson_equals_str(name, "properties")), keeps_order ? i : 0));
    return out;
}

static void check_turned(struct arena *arena, yyjson_doc *doc, const struct cache_digest *digest)
{
    struct cache_digest other;
    yyjson_mut_doc *to = yyjson_mut_doc_new(NULL);
    ASSERT(to != NULL);
    yyjson_mut_doc_set_root(to, turned(to, yyjson_doc_get_root(doc), false));
    size_t len = 0;
    char *written = yyjson_mut_write(to, YYJSON_WRITE_PRETTY | YYJSON_WRITE_ESCAPE_UNICODE, &len);
    ASSERT(written != NULL);
    yyjson_doc *again = body_of(arena, (struct text){ written, len });
    ASSERT(again != NULL && has_digest(arena, again, &other));
    ASSERT(is_same(digest, &other));
    free(written);
    yyjson_mut_doc_free(to);
}

static void check_two(struct arena *arena, struct text first, struct text second)
{
    struct cache_digest a, b;
    yyjson_doc *one = body_of(arena, first), *two = body_of(arena, second);
    bool has_one = one != NULL && has_digest(arena, one, &a), has_two = two != NULL && has_digest(arena, two, &b);
    if (has_one && has_two)
        ASSERT(is_same(&a, &b) == meaning_is_same(yyjson_doc_get_root(one), yyjson_doc_get_root(two)));
    if (has_one) {
        check_turned(arena, one, &a);
        check_inputs(arena, one);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t before = mem_alive();
    struct arena arena;
    struct text rest = { (const char *)data, size }, first = fuzz_line(&rest);
    arena_init(&arena, NULL, 0, 1u << 26);
    check_two(&arena, first, rest);
    arena_fini(&arena);
    ASSERT(mem_alive() == before);
    return 0;
}
