/* test_base_json.c: units of base/json.h. */
#include "base/json.h"
#include "test_json.h"

#include <stdlib.h>

static const char *why_refused(struct text body)
{
    yyjson_doc *doc = NULL;
    const char *why = NULL;
    if (json_parse(&arena, body, &doc, &why) != FAIL_BAD_JSON)
        fail_msg("\"%.*s\" was not refused", TEXT_ARG(body));
    assert_null(doc);
    return why;
}

TEST(a_body_is_parsed_and_its_own_bytes_are_left_alone)
{
    char body[] = "{\"model\":\"m\\n\",\"n\":[1,2.5,true,null]}";
    char before[sizeof body];
    memcpy(before, body, sizeof body);
    yyjson_val *root = parsed(text_of(body));
    assert_memory_equal(body, before, sizeof body);
    memset(body, '?', sizeof body); /* the tree does not look back */
    assert_string_equal(yyjson_get_str(yyjson_obj_get(root, "model")), "m\n");
    assert_int_equal(yyjson_arr_size(yyjson_obj_get(root, "n")), 4);
    assert_true(yyjson_get_real(yyjson_arr_get(yyjson_obj_get(root, "n"), 1)) == 2.5);
}

TEST(what_is_not_json_is_refused_with_a_reason_and_a_place)
{
    const char *const bad[] = {
        "", " ", "{", "[1,]", "{\"a\":1,}", "[1 2]", "{\"a\" 1}", "{a:1}", "nul", "NaN", "[Infinity]", "01", "+1", "1.", "\"a", "\"\t\"", "\"\\x\"",
        "\"\\ud800\"", "\"\xFF\"", "\"\xED\xA0\x80\"", "/**/1", "1//", "[1]]", "{}{}", "\xEF\xBB\xBF{}", "]", "}}", ",,,,", "[[[[", "{\"a\":}", "\"\\",
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        assert_non_null(strstr(why_refused(text_of(bad[i])), " at byte "));
    assert_non_null(strstr(why_refused(TEXT("[1, x]")), " at byte 4"));
    assert_non_null(strstr(why_refused((struct text){ "1\0", 2 }), " at byte 1"));
    yyjson_doc *doc;
    assert_int_equal(json_parse(&arena, TEXT("x"), &doc, NULL), FAIL_BAD_JSON);
}

TEST(depth_64_is_parsed_and_65_is_refused_at_its_bracket)
{
    char body[2 * 65 + 1] = { 0 };
    memset(body, '[', 64);
    memset(body + 64, ']', 64);
    parsed((struct text){ body, 128 });
    memset(body, '[', 65);
    memset(body + 65, ']', 65);
    assert_string_equal(why_refused((struct text){ body, 130 }), "nested deeper than 64 levels at byte 64");
}

TEST(brackets_in_strings_do_not_count_as_depth)
{
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(buf_printf(&b, "[\"\\\"%0*d\\\\\",\"", 5, 0), OK);
    for (unsigned i = 0; i < 500; i++)
        assert_int_equal(buf_add_text(&b, TEXT("[{")), OK);
    assert_int_equal(buf_add_text(&b, TEXT("\"]")), OK);
    assert_int_equal(yyjson_arr_size(parsed(buf_text(&b))), 2);
    buf_fini(&b);
}

/* Densest and sparsest bodies: the tree's size is counted beforehand, and ASan guards its end. */
TEST(trees_of_every_density_fit_what_was_counted)
{
    const char *const units[] = { "0,", "[],", "{},", "{\"\":0},", "\"\",", "[[0]],", "\"\\\"[,:\",", "1 ,", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"," };
    struct buf b;
    buf_init(&b, 1 << 20);
    for (unsigned u = 0; u < ARRAY_LEN(units); u++)
        for (unsigned n = 1; n < 3000; n = n * 3 + 1) {
            buf_clear(&b);
            assert_int_equal(buf_add_text(&b, u % 2 ? TEXT("[") : TEXT("[\n  ")), OK); /* yyjson has a reader for each look */
            for (unsigned i = 0; i < n; i++)
                assert_int_equal(buf_add_text(&b, text_of(units[u])), OK);
            assert_int_equal(buf_add_text(&b, TEXT("0]")), OK);
            assert_int_equal(yyjson_arr_size(parsed(buf_text(&b))), n + 1);
            buf_eat(&b, 1); /* and its broken twin */
            why_refused(buf_text(&b));
        }
    buf_fini(&b);
}

TEST(random_cuts_and_flips_never_write_past_the_tree)
{
    const char seed[] = "{\"a\":[1,{\"b\\\"\":\"c[,\"},null],\"d\":{\"e\":-1.5e3,\"\\u00e9\":[true,[]]}}";
    uint32_t dice = 11;
    unsigned accepted = 0;
    for (unsigned round = 0; round < 20000; round++) {
        char body[sizeof seed];
        memcpy(body, seed, sizeof seed);
        for (unsigned flips = 0; flips < round % 4; flips++) {
            dice = dice * 1664525u + 1013904223u;
            body[(dice >> 8) % (sizeof seed - 1)] = "[]{},:\"\\ 1"[(dice >> 24) % 10];
        }
        dice = dice * 1664525u + 1013904223u;
        struct text t = { body, round % 3 ? sizeof seed - 1 : (dice >> 8) % sizeof seed };
        struct arena a;
        yyjson_doc *doc;
        arena_init(&a, NULL, 0, ARENA_NO_MAX);
        accepted += json_parse(&a, t, &doc, NULL) == OK;
        arena_fini(&a);
    }
    assert_in_range(accepted, 1000, 19000);
}

TEST(an_arena_at_its_ceiling_refuses_before_building)
{
    char body[10000];
    memset(body, '[', sizeof body);
    for (unsigned i = 1; i < sizeof body; i++)
        body[i] = i % 2 ? '0' : ',';
    body[sizeof body - 1] = ']'; /* [0,0,...,0 ] */
    body[sizeof body - 2] = ' ';
    body[sizeof body - 3] = '0';
    struct arena a;
    yyjson_doc *doc = NULL;
    const char *why = "untouched";
    arena_init(&a, NULL, 0, 60000);
    assert_int_equal(json_parse(&a, (struct text){ body, sizeof body }, &doc, &why), FAIL_TOO_LARGE);
    assert_int_equal(a.bytes, 0);
    arena_fini(&a);
    assert_null(doc);
    assert_string_equal(why, "untouched");
    arena_init(&a, NULL, 0, 110000);
    assert_int_equal(json_parse(&a, (struct text){ body, sizeof body }, &doc, &why), OK);
    arena_fini(&a);
}

TEST(every_failed_allocation_of_a_parse_is_told)
{
    for (uint64_t nth = 1;; nth++) {
        struct arena a;
        yyjson_doc *doc = NULL;
        char body[20000];
        memset(body, ' ', sizeof body);
        memcpy(body, "[1,2", 4);
        body[sizeof body - 1] = ']';
        arena_init(&a, NULL, 0, ARENA_NO_MAX);
        mem_fault(nth);
        enum fail f = json_parse(&a, (struct text){ body, sizeof body }, &doc, NULL);
        bool reached = mem_fault(0) >= nth;
        arena_fini(&a);
        assert_true(f == OK || f == FAIL_NO_MEMORY);
        assert_true((doc != NULL) == (f == OK));
        if (!reached) {
            assert_int_equal(f, OK);
            assert_true(nth > 2);
            return;
        }
    }
}

static void check_span(struct text body, size_t *cursor, const char *key, const char *value)
{
    struct json_span span;
    assert_true(json_span_next(body, cursor, &span));
    if (!text_eq(span.key, text_of(key)) || !text_eq(span.value, text_of(value)))
        fail_msg("expected %s = %s, got %.*s = %.*s", key, value, TEXT_ARG(span.key), TEXT_ARG(span.value));
}

TEST(spans_are_the_raw_bytes_of_each_member)
{
    struct text body = TEXT(" {\"a\" : 1 ,\n\"b\\\"}\":\"x,}\\\\\",\"c\":[1,{\"d\":\"]\"}] , \"\":{\"e\":[]}\t,\"f\":-1.5e3,\"g\":true} ");
    size_t cursor = 0;
    parsed(body);
    check_span(body, &cursor, "a", "1");
    check_span(body, &cursor, "b\\\"}", "\"x,}\\\\\"");
    check_span(body, &cursor, "c", "[1,{\"d\":\"]\"}]");
    check_span(body, &cursor, "", "{\"e\":[]}");
    check_span(body, &cursor, "f", "-1.5e3");
    check_span(body, &cursor, "g", "true");
    struct json_span span = { TEXT("kept"), TEXT("kept") };
    assert_false(json_span_next(body, &cursor, &span));
    assert_false(json_span_next(body, &cursor, &span)); /* the end stays the end */
    assert_true(text_eq(span.key, TEXT("kept")));
}

TEST(every_blank_of_json_ends_a_number)
{
    struct text body = TEXT("\r{\r\"a\"\r:\r1\r,\t\"b\"\t:\t2\t,\n\"c\"\n:\n3\n,\"d\":4\r\n}");
    size_t cursor = 0;
    parsed(body);
    check_span(body, &cursor, "a", "1");
    check_span(body, &cursor, "b", "2");
    check_span(body, &cursor, "c", "3");
    check_span(body, &cursor, "d", "4");
}

TEST(an_empty_object_has_no_spans)
{
    struct json_span span;
    size_t cursor = 0;
    assert_false(json_span_next(TEXT("{}"), &cursor, &span));
    assert_false(json_span_next(TEXT("{}"), &cursor, &span));
    cursor = 0;
    assert_false(json_span_next(TEXT(" { \n} "), &cursor, &span));
    assert_false(json_span_next(TEXT(" { \n} "), &cursor, &span));
}

TEST(items_of_an_array_are_its_raw_bytes)
{
    struct text array = TEXT("[ 1,\"a]\\\"\" ,\n[2,[3]]\t,{\"b\":[]},null , -1.5e3]");
    const char *const expected[] = { "1", "\"a]\\\"\"", "[2,[3]]", "{\"b\":[]}", "null", "-1.5e3" };
    struct text item;
    size_t cursor = 0;
    parsed(array);
    for (unsigned i = 0; i < ARRAY_LEN(expected); i++) {
        assert_true(json_item_next(array, &cursor, &item));
        if (!text_eq(item, text_of(expected[i])))
            fail_msg("expected %s, got %.*s", expected[i], TEXT_ARG(item));
    }
    assert_false(json_item_next(array, &cursor, &item));
    assert_false(json_item_next(array, &cursor, &item)); /* the end stays the end */
    cursor = 0;
    assert_false(json_item_next(TEXT(" [ \n] "), &cursor, &item));
}

static void walk_an_array(void)
{
    struct json_span span;
    size_t cursor = 0;
    json_span_next(TEXT("[1]"), &cursor, &span);
}
static void walk_off_the_end(void)
{
    struct json_span span;
    size_t cursor = 0;
    json_span_next(TEXT("{\"a\""), &cursor, &span);
}
TEST(walking_what_was_not_accepted_as_an_object_is_a_wrong_program)
{
    asserts(walk_an_array, "{");
    asserts(walk_off_the_end, "t.len");
}

static bool has_repeat(yyjson_val *object)
{
    const char *why = NULL;
    enum fail f = json_check_keys(object, &why);
    assert_true(f == OK || (f == FAIL_BAD_JSON && strstr(why, "twice") != NULL));
    return f != OK;
}

TEST(duplicate_keys_are_seen_as_the_receiver_would_see_them)
{
    assert_false(has_repeat(parsed(TEXT("{}"))));
    assert_false(has_repeat(parsed(TEXT("{\"a\":1,\"A\":1,\"aa\":1,\"\":1,\"a\\u0001\":1}"))));
    assert_true(has_repeat(parsed(TEXT("{\"a\":1,\"b\":1,\"a\":1}"))));
    assert_true(has_repeat(parsed(TEXT("{\"model\":1,\"\\u006dodel\":1}"))));
    assert_true(has_repeat(parsed(TEXT("{\"\":1,\"\":1}"))));
    assert_false(has_repeat(parsed(TEXT("{\"a\":{\"b\":1},\"b\":{\"a\":1}}")))); /* one object, not its children */
}

/* {"k0":0,...}, with the last key written twice if twice is 1. */
static struct text many_members(struct buf *b, unsigned count, unsigned twice)
{
    buf_clear(b);
    assert_int_equal(buf_add_text(b, TEXT("{")), OK);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(buf_printf(b, "\"k%u\":%u%c", i + 1 < count ? i : i - twice, i, i + 1 < count ? ',' : '}'), OK);
    return buf_text(b);
}

TEST(one_duplicate_is_found_among_few_and_among_many)
{
    const unsigned counts[] = { 2, 15, 16, 17, 18, 32, 33, 1000, 200000 };
    struct buf b;
    buf_init(&b, 8 << 20);
    for (unsigned i = 0; i < ARRAY_LEN(counts); i++) {
        assert_false(has_repeat(parsed(many_members(&b, counts[i], 0))));
        assert_true(has_repeat(parsed(many_members(&b, counts[i], 1))));
    }
    yyjson_val *object = parsed(many_members(&b, 17, 0));
    const char *why = NULL;
    mem_fault(1);
    assert_int_equal(json_check_keys(object, &why), FAIL_NO_MEMORY); /* unable to look, it does not say yes */
    mem_fault(0);
    buf_fini(&b);
}

/* hostile 63 */
TEST(a_name_that_holds_a_nul_is_refused_and_its_twin_is_not)
{
    const char *why = NULL;
    assert_int_equal(json_check_keys(parsed(TEXT("{\"model\\u0000x\":1}")), &why), FAIL_BAD_JSON);
    assert_non_null(strstr(why, "NUL"));
    assert_int_equal(json_check_keys(parsed(TEXT("{\"model\\u0001x\":1,\"m\":\"\\u0000\"}")), &why), OK);
}

TEST(every_object_is_looked_at_whatever_its_depth)
{
    yyjson_doc *doc;
    yyjson_val *at = NULL;
    const char *why = NULL;
    struct text good = TEXT("{\"a\":[{\"b\":{\"c\":1,\"d\":2}},{\"b\":1}],\"e\":{\"a\":1}}"), bad = TEXT("{\"a\":[{\"b\":{\"c\":1,\"c\":2}},{\"b\":1}],\"e\":{\"a\":1}}");
    assert_int_equal(json_parse(&arena, good, &doc, NULL), OK);
    assert_int_equal(json_check_all_keys(doc, &at, &why), OK);
    assert_int_equal(json_parse(&arena, bad, &doc, NULL), OK);
    assert_int_equal(json_check_all_keys(doc, &at, &why), FAIL_BAD_JSON);
    assert_ptr_equal(at, yyjson_obj_get(yyjson_arr_get(yyjson_obj_get(yyjson_doc_get_root(doc), "a"), 0), "b"));
}

/* hostile 62: what one reader takes for infinity, another for an error, a third for 2^63-1, is refused here; what all read alike passes. */
TEST(numbers_that_backends_read_differently_are_refused)
{
    const char *const bad[] = { "1e400", "-1e400", "1e1000000", "1e99999999999999999999", "-01", "00", "0x10", "1.e5", ".5", "1e", "--1", "- 1", "1_000" };
    const char *const good[] = { "1e308", "1e-400", "-0", "0", "-0.0", "9223372036854775807", "-9223372036854775808", "18446744073709551615", "18446744073709551616", "1E+2" };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        why_refused(text_of(bad[i]));
    for (unsigned i = 0; i < ARRAY_LEN(good); i++)
        assert_true(yyjson_is_num(parsed(text_of(good[i]))));
    assert_true(yyjson_is_int(parsed(TEXT("18446744073709551615"))) && yyjson_is_real(parsed(TEXT("18446744073709551616"))));
}

/* hostile 63: a hundred thousand brackets, cut or whole, a million elements, a million keys. */
TEST(bodies_of_a_million_parts_are_read_or_refused_by_their_bound)
{
    struct buf b;
    buf_init(&b, 64 << 20);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buf_add_text(&b, i % 2 ? TEXT("[") : TEXT("{\"a\":")), OK);
    assert_non_null(strstr(why_refused(buf_text(&b)), "nested deeper than 64"));
    buf_clear(&b);
    assert_int_equal(buf_add_text(&b, TEXT("[")), OK);
    for (unsigned i = 0; i < 1000000; i++)
        assert_int_equal(buf_add_text(&b, TEXT("0,")), OK);
    assert_int_equal(buf_add_text(&b, TEXT("0]")), OK);
    assert_int_equal(yyjson_arr_size(parsed(buf_text(&b))), 1000001);
    assert_false(has_repeat(parsed(many_members(&b, 1000000, 0))));
    assert_true(has_repeat(parsed(many_members(&b, 1000000, 1))));
    buf_fini(&b);
}

static void check_string(struct text s, const char *expected)
{
    struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(json_add_string(&b, s), OK);
    if (!text_eq(buf_text(&b), text_of(expected)))
        fail_msg("expected %s, got %.*s", expected, TEXT_ARG(buf_text(&b)));
    buf_fini(&b);
}

TEST(strings_are_escaped_where_json_needs_it)
{
    check_string(TEXT_NONE, "\"\"");
    check_string(TEXT("plain / text\x7F"), "\"plain / text\x7F\"");
    check_string(TEXT("\"\\\b\f\n\r\t"), "\"\\\"\\\\\\b\\f\\n\\r\\t\"");
    check_string(TEXT("\0\x1F"), "\"\\u0000\\u001f\"");
    check_string(TEXT("\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80"), "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"");
    check_string(TEXT("a\xFFz"), "\"a\xEF\xBF\xBDz\"");
    check_string(TEXT("\xE2\x82"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\"");
}

TEST(any_bytes_written_as_a_string_parse_back)
{
    struct buf b;
    buf_init(&b, 1 << 16);
    uint32_t dice = 5;
    for (unsigned round = 0; round < 500; round++) {
        char bytes[64];
        bool ascii = round % 2;
        for (unsigned i = 0; i < sizeof bytes; i++) {
            dice = dice * 1664525u + 1013904223u;
            bytes[i] = (char)(dice >> 24 & (ascii ? 0x7F : 0xFF));
        }
        buf_clear(&b);
        assert_int_equal(json_add_string(&b, (struct text){ bytes, sizeof bytes }), OK);
        yyjson_val *back = parsed(buf_text(&b));
        if (ascii) {
            assert_int_equal(yyjson_get_len(back), sizeof bytes);
            assert_memory_equal(yyjson_get_str(back), bytes, sizeof bytes);
        }
    }
    buf_fini(&b);
}

TEST(a_string_that_does_not_fit_leaves_nothing_behind)
{
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_add_text(&b, TEXT("xx")), OK);
    assert_int_equal(json_add_string(&b, TEXT("abcdefg")), FAIL_TOO_LARGE);
    assert_int_equal(json_add_string(&b, TEXT("\n\n\n\n")), FAIL_TOO_LARGE); /* fits before escaping, not after */
    assert_true(text_eq(buf_text(&b), TEXT("xx")));
    assert_int_equal(json_add_string(&b, TEXT("abcdef")), OK);
    assert_true(text_eq(buf_text(&b), TEXT("xx\"abcdef\"")));
    buf_fini(&b);
}

#define JSON_TEST(sentence) cmocka_unit_test_setup_teardown(sentence, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        JSON_TEST(a_body_is_parsed_and_its_own_bytes_are_left_alone),
        JSON_TEST(what_is_not_json_is_refused_with_a_reason_and_a_place),
        JSON_TEST(depth_64_is_parsed_and_65_is_refused_at_its_bracket),
        JSON_TEST(brackets_in_strings_do_not_count_as_depth),
        JSON_TEST(trees_of_every_density_fit_what_was_counted),
        JSON_TEST(random_cuts_and_flips_never_write_past_the_tree),
        JSON_TEST(an_arena_at_its_ceiling_refuses_before_building),
        JSON_TEST(every_failed_allocation_of_a_parse_is_told),
        JSON_TEST(spans_are_the_raw_bytes_of_each_member),
        JSON_TEST(every_blank_of_json_ends_a_number),
        JSON_TEST(an_empty_object_has_no_spans),
        JSON_TEST(items_of_an_array_are_its_raw_bytes),
        JSON_TEST(walking_what_was_not_accepted_as_an_object_is_a_wrong_program),
        JSON_TEST(duplicate_keys_are_seen_as_the_receiver_would_see_them),
        JSON_TEST(one_duplicate_is_found_among_few_and_among_many),
        JSON_TEST(a_name_that_holds_a_nul_is_refused_and_its_twin_is_not),
        JSON_TEST(every_object_is_looked_at_whatever_its_depth),
        JSON_TEST(numbers_that_backends_read_differently_are_refused),
        JSON_TEST(bodies_of_a_million_parts_are_read_or_refused_by_their_bound),
        JSON_TEST(strings_are_escaped_where_json_needs_it),
        JSON_TEST(any_bytes_written_as_a_string_parse_back),
        JSON_TEST(a_string_that_does_not_fit_leaves_nothing_behind),
    };
    return cmocka_run_group_tests_name("base_json", tests, NULL, NULL);
}
