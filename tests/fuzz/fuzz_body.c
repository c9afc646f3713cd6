/* fuzz_body.c: request bodies: whatever comes, our scanner and yyjson must agree about it, and what the field table lets through must parse again.
   Oracles: members found by spans are yyjson's members in order, and each span is a value of its own; filtering twice is filtering once. */
#include "base/json.h"
#include "fuzz/fuzz.h"
#include "upstream/fields.h"

static void spans_agree(struct arena *a, struct text body, yyjson_val *root)
{
    struct json_span span;
    size_t cursor = 0, members = 0;
    yyjson_obj_iter it = yyjson_obj_iter_with(root);
    while (json_span_next(body, &cursor, &span)) {
        yyjson_doc *value;
        yyjson_val *key = yyjson_obj_iter_next(&it);
        ASSERT(key != NULL);
        ASSERT(json_parse(a, span.value, &value, NULL) == OK); /* a deeper value is shallower on its own */
        ASSERT(yyjson_equals(yyjson_doc_get_root(value), yyjson_obj_iter_get_val(key)));
        if (memchr(span.key.at, '\\', span.key.len) == NULL)
            ASSERT(span.key.len == yyjson_get_len(key) && memcmp(span.key.at, yyjson_get_str(key), span.key.len) == 0);
        members++;
    }
    ASSERT(members == yyjson_obj_size(root));
}

static void filter_is_idempotent(struct arena *a, struct text body)
{
    struct buf once, twice;
    yyjson_doc *doc;
    buf_init(&once, 1u << 20);
    buf_init(&twice, 1u << 20);
    ASSERT(fields_filter(body, FIELD_CHAT, &once) == OK);
    ASSERT(json_parse(a, buf_text(&once), &doc, NULL) == OK && yyjson_is_obj(yyjson_doc_get_root(doc)));
    ASSERT(fields_filter(buf_text(&once), FIELD_CHAT, &twice) == OK);
    ASSERT(text_eq(buf_text(&once), buf_text(&twice)));
    buf_fini(&once);
    buf_fini(&twice);
}

/* hostile 63 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text body = { (const char *)data, size };
    struct arena a;
    yyjson_doc *doc;
    const char *why = NULL;
    char wrong[160];
    int64_t before = mem_alive();
    if (size > 65536)
        return 0;
    arena_init(&a, NULL, 0, 64u << 20);
    enum fail f = json_parse(&a, body, &doc, &why);
    ASSERT(f == OK || f == FAIL_BAD_JSON || f == FAIL_NO_MEMORY || f == FAIL_TOO_LARGE);
    ASSERT(f != FAIL_BAD_JSON || (why != NULL && why[0] != 0 && text_is_utf8(text_of(why))));
    if (f == OK && yyjson_is_obj(yyjson_doc_get_root(doc))) {
        yyjson_val *root = yyjson_doc_get_root(doc);
        spans_agree(&a, body, root);
        filter_is_idempotent(&a, body);
        yyjson_val *object = NULL;
        f = json_check_all_keys(doc, &object, &why);
        ASSERT(f == OK || (f == FAIL_BAD_JSON && yyjson_is_obj(object) && json_check_keys(object, &why) == FAIL_BAD_JSON));
        const char *bad = fields_check(root, FIELD_CHAT, wrong, sizeof wrong);
        ASSERT(bad == NULL || yyjson_obj_get(root, bad) != NULL);
        bad = fields_check_llama(root, wrong, sizeof wrong);
        ASSERT(bad == NULL || yyjson_obj_get(root, bad) != NULL);
    }
    arena_fini(&a);
    ASSERT(mem_alive() == before);
    return 0;
}
