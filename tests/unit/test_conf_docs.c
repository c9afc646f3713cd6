/* test_conf_docs.c: the pages that are generated from keys.def: complete, and true of the program. */
#include "test_conf_help.h"

#include "base/json.h"

#define PAGE_MAX (1u << 20)

static struct buf page;

static int page_begin(void **state)
{
    (void)state;
    buf_init(&page, PAGE_MAX);
    return 0;
}

static int page_end(void **state)
{
    (void)state;
    buf_fini(&page);
    return 0;
}

static const struct {
    const char *path;
    const char *reload;
} keys[] = {
#define KEY(path, struct_, field, type, def, reload, ...) { path, #reload },
#define REFUSED(path, ...) { path, "LATER" },
#include "conf/keys.def"
};

static void every_key_is_in_the_reference(void **state)
{
    (void)state;
    char cell[128];
    assert_int_equal(conf_docs_markdown(&page), OK);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        bool is_later = strcmp(keys[i].reload, "LATER") == 0;
        snprintf(cell, sizeof cell, "\n| `%s` | ", keys[i].path);
        ptrdiff_t at = text_find(buf_text(&page), text_of(cell));
        ptrdiff_t later = text_find(buf_text(&page), TEXT("## Known, but not served"));
        assert_true(at > 0);
        assert_int_equal(at > later, is_later); /* what is refused is not advertised */
    }
}

static void every_row_has_the_columns_of_its_table(void **state)
{
    (void)state;
    assert_int_equal(conf_docs_markdown(&page), OK);
    unsigned columns = 0, rows = 0;
    for (struct text line, rest = buf_text(&page); rest.at != NULL;) {
        rest = text_cut(rest, '\n', &line);
        unsigned bars = 0;
        for (size_t i = 0; i < line.len; i++)
            bars += line.at[i] == '|' && (i == 0 || line.at[i - 1] != '\\');
        if (line.len == 0 || line.at[0] != '|') {
            columns = 0;
            continue;
        }
        columns = columns == 0 ? bars : columns;
        assert_int_equal(bars, columns);
        rows++;
    }
    assert_true(rows > ARRAY_LEN(keys));
}

static void the_example_loads(void **state)
{
    (void)state;
    struct conf_options o = { 0 };
    assert_int_equal(conf_print_example(&page), OK);
    assert_int_equal(buf_add(&page, "", 1), OK);
    conf_unref(loaded_with(&o, buf_text(&page).at));
}

static void the_schema_is_json(void **state)
{
    (void)state;
    struct arena a;
    yyjson_doc *doc = NULL;
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    assert_int_equal(conf_schema_json(&page), OK);
    assert_int_equal(json_parse(&a, buf_text(&page), &doc, NULL), OK);
    yyjson_val *root = yyjson_obj_get(yyjson_doc_get_root(doc), "properties");
    yyjson_val *limits = yyjson_obj_get(yyjson_obj_get(root, "limits"), "properties");
    assert_non_null(yyjson_obj_get(limits, "queue"));
    yyjson_val *cache = yyjson_obj_get(yyjson_obj_get(root, "cache"), "properties");
    assert_non_null(yyjson_obj_get(cache, "exact"));
    assert_null(yyjson_obj_get(cache, "semantic")); /* not served */
    yyjson_val *backend = yyjson_obj_get(yyjson_obj_get(root, "backends"), "additionalProperties");
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(yyjson_obj_get(yyjson_obj_get(backend, "properties"), "kind"), "enum")), 3);
    arena_fini(&a);
}

static void a_full_buffer_is_said(void **state)
{
    (void)state;
    struct buf small;
    buf_init(&small, 100);
    assert_int_equal(conf_docs_markdown(&small), FAIL_TOO_LARGE);
    buf_clear(&small);
    assert_int_equal(conf_schema_json(&small), FAIL_TOO_LARGE);
    buf_fini(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_key_is_in_the_reference, page_begin, page_end),
        cmocka_unit_test_setup_teardown(every_row_has_the_columns_of_its_table, page_begin, page_end),
        cmocka_unit_test_setup_teardown(the_example_loads, page_begin, page_end),
        cmocka_unit_test_setup_teardown(the_schema_is_json, page_begin, page_end),
        cmocka_unit_test_setup_teardown(a_full_buffer_is_said, page_begin, page_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
