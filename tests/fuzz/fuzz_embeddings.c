/* fuzz_embeddings.c: any bytes as a backend's answer to a batch of as many inputs as the first byte says.
   Oracle: what is read is JSON as a whole, and a tree of it has the same vector at the same index; what a tree finds plain and good is read, with
   whether it says more than we write. What is written from it is read again to the same bytes. */
#include "base/json.h"
#include "cache/batch.h"
#include "fuzz/fuzz.h"

#define COUNT_MAX 8
#define PLAIN_MAX 2048 /* bytes; of more batch_read may refuse what has too many strangers in it */

static bool is_base64(yyjson_val *v)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=-_";
    return yyjson_is_str(v) && yyjson_get_len(v) > 0 && strspn(yyjson_get_str(v), letters) == yyjson_get_len(v);
}

static bool is_vector(yyjson_val *v)
{
    size_t i, n;
    yyjson_val *number;
    yyjson_arr_foreach(v, i, n, number)
        if (!yyjson_is_num(number))
            return false;
    return yyjson_arr_size(v) > 0 || is_base64(v);
}

static bool has_error(yyjson_val *object)
{
    yyjson_val *error = yyjson_obj_get(object, "error");
    return error != NULL && !yyjson_is_null(error);
}

/* The vector that this index has, if all are as they should be: the slow and plain way. */
static bool is_good(struct arena *arena, struct text body, unsigned count, yyjson_val **vectors)
{
    yyjson_doc *doc;
    yyjson_val *object, *item;
    const char *why;
    size_t i, n;
    if (json_parse(arena, body, &doc, NULL) != OK || json_check_all_keys(doc, &object, &why) != OK)
        return false;
    yyjson_val *root = yyjson_doc_get_root(doc), *data = yyjson_obj_get(root, "data");
    if (has_error(root) || !yyjson_is_arr(data) || yyjson_arr_size(data) != count)
        return false;
    yyjson_arr_foreach(data, i, n, item) {
        yyjson_val *index = yyjson_obj_get(item, "index"), *vector = yyjson_obj_get(item, "embedding");
        if (has_error(item) || !is_vector(vector) || !yyjson_is_uint(index) || yyjson_get_uint(index) >= count || vectors[yyjson_get_uint(index)] != NULL)
            return false;
        vectors[yyjson_get_uint(index)] = vector;
    }
    return true;
}

/* Numbers that no double holds are JSON, too: such an answer passes, though our own parser has no tree of it. */
static bool is_json(struct text t)
{
    yyjson_doc *doc = yyjson_read(t.at, t.len, YYJSON_READ_NUMBER_AS_RAW);
    yyjson_doc_free(doc);
    return doc != NULL;
}

/* Has any item more than batch_write writes? */
static bool has_more(struct arena *arena, struct text body)
{
    yyjson_doc *doc;
    yyjson_val *item, *name, *v;
    size_t i, n, k, m;
    bool more = false;
    told(json_parse(arena, body, &doc, NULL));
    yyjson_arr_foreach(yyjson_obj_get(yyjson_doc_get_root(doc), "data"), i, n, item)
        yyjson_obj_foreach(item, k, m, name, v) {
            bool is_object = yyjson_equals_str(name, "object") && yyjson_equals_str(v, "embedding");
            more |= !is_object && !yyjson_equals_str(name, "index") && !yyjson_equals_str(name, "embedding");
        }
    return more;
}

static void check_read(struct arena *arena, const struct batch_answer *answer, struct text body, unsigned count, yyjson_val *const *vectors, bool good)
{
    yyjson_doc *doc;
    ASSERT(!good || answer->has_more == has_more(arena, body));
    for (unsigned i = 0; i < count && good; i++) {
        told(json_parse(arena, answer->items[i].vector, &doc, NULL));
        ASSERT(yyjson_equals(yyjson_doc_get_root(doc), vectors[i]));
    }
}

static void check_written(struct arena *arena, struct batch_answer *answer, unsigned count)
{
    struct batch_item items[COUNT_MAX];
    struct batch_answer again = { .items = items };
    struct buf out;
    buf_init(&out, 64u << 20);
    told(batch_write(answer, count, &out));
    ASSERT(is_json(buf_text(&out)));
    told(batch_read(arena, buf_text(&out), count, &again));
    ASSERT(!again.has_more);
    ASSERT(again.prompt_tokens == answer->prompt_tokens && again.total_tokens == answer->total_tokens && text_eq(again.model, answer->model));
    for (unsigned i = 0; i < count; i++)
        ASSERT(text_eq(items[i].vector, answer->items[i].vector));
    buf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct text body = { (const char *)data + 1, size - 1 };
    unsigned count = data[0] % (COUNT_MAX + 1);
    char *copy = fuzz_copy(body);
    struct batch_item items[COUNT_MAX];
    struct batch_answer answer = { .items = items };
    yyjson_val *vectors[COUNT_MAX] = { 0 };
    struct arena arena;
    arena_init(&arena, NULL, 0, 64u << 20);
    enum fail f = batch_read(&arena, (struct text){ copy, body.len }, count, &answer);
    bool good = is_good(&arena, body, count, vectors);
    ASSERT(f == OK || f == FAIL_PROTOCOL);
    ASSERT(f == OK || !good || body.len > PLAIN_MAX || memchr(body.at, '\\', body.len) != NULL);
    if (f == OK) {
        ASSERT(is_json(body));
        check_read(&arena, &answer, body, count, vectors, good);
        check_written(&arena, &answer, count);
    }
    mem_free(copy);
    arena_fini(&arena);
    return 0;
}
