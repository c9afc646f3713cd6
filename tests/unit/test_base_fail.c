/* test_base_fail.c: units of base/fail.h and of base.h's ASSERT. */
#include "base/fail.h"
#include "test_base.h"

#include <signal.h>

TEST(every_failure_has_a_row_with_a_status_and_a_sentence)
{
    for (unsigned f = 1; f < FAIL_COUNT; f++) {
        const struct fail_row *row = fail_row((enum fail)f);
        assert_in_range(row->http, 400, 599);
        assert_true(strlen(row->name) > 0 && strlen(row->type) > 0 && strlen(row->code) > 0);
        assert_int_equal(row->text[strlen(row->text) - 1], '.');
    }
}

TEST(ok_has_a_row_too)
{
    assert_int_equal(fail_row(OK)->http, 200);
    assert_string_equal(fail_name(OK), "OK");
}

TEST(rows_stand_where_the_enum_says)
{
    assert_string_equal(fail_name(FAIL_DEADLINE), "DEADLINE");
    assert_int_equal(fail_row(FAIL_DEADLINE)->http, 504);
    assert_string_equal(fail_name(FAIL_SYSTEM), "SYSTEM");
    assert_int_equal(fail_row(FAIL_TOO_LARGE)->http, 413);
    assert_true(fail_row(FAIL_BUSY)->retry);
    assert_false(fail_row(FAIL_BAD_JSON)->retry);
}

static void ask_for_a_row_past_the_end(void)
{
    fail_row(FAIL_COUNT);
}
TEST(a_failure_that_does_not_exist_is_a_wrong_program)
{
    asserts(ask_for_a_row_past_the_end, "FAIL_COUNT");
}

TEST(a_complaint_is_false_and_keeps_its_place)
{
    struct complaint c;
    assert_false(complain(&c, "weir.yaml", 7, 3, "unknown key \"%s\"", "lmits"));
    assert_string_equal(c.text, "unknown key \"lmits\"");
    char out[128];
    complaint_print(&c, out, sizeof out);
    assert_string_equal(out, "weir.yaml:7:3: unknown key \"lmits\"");
}

TEST(what_a_complaint_does_not_know_is_left_out)
{
    struct complaint c;
    char out[128];
    complain(&c, NULL, 0, 0, "no such command");
    complaint_print(&c, out, sizeof out);
    assert_string_equal(out, "no such command");
    complain(&c, "weir.yaml", 0, 0, "cannot be read");
    complaint_print(&c, out, sizeof out);
    assert_string_equal(out, "weir.yaml: cannot be read");
    complain(&c, "weir.yaml", 7, 0, "odd");
    complaint_print(&c, out, sizeof out);
    assert_string_equal(out, "weir.yaml:7: odd");
    complain(&c, NULL, 7, 3, "odd");
    complaint_print(&c, out, sizeof out);
    assert_string_equal(out, "7:3: odd");
}

TEST(a_long_complaint_is_cut_and_stays_inside)
{
    struct complaint c;
    char word[600], out[16];
    memset(word, 'x', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    complain(&c, "f", 1, 1, "%s", word);
    assert_int_equal(strlen(c.text), sizeof c.text - 1);
    complaint_print(&c, out, sizeof out);
    assert_string_equal(out, "f:1:1: xxxxxxxx");
}

static void fail_an_assert(void)
{
    ASSERT(1 + 1 == 3);
}
TEST(an_assert_names_the_condition_and_its_place)
{
    char said[512];
    assert_true(dies(fail_an_assert, said, sizeof said));
    assert_non_null(strstr(said, "weir: ASSERT failed: 1 + 1 == 3 ("));
    assert_non_null(strstr(said, "test_base_fail.c:"));
}

static void tell(void)
{
    (void)!write(STDERR_FILENO, "the story\n", 10);
    ASSERT(!"in the story");
}
static void fail_with_a_story(void)
{
    assert_story = tell;
    ASSERT(!"first");
}
TEST(the_story_is_told_once_even_if_it_fails_itself)
{
    char said[1024];
    assert_true(dies(fail_with_a_story, said, sizeof said));
    char *story = strstr(said, "the story\n");
    assert_non_null(story);
    assert_true(strstr(said, "first") < story);
    assert_null(strstr(story + 1, "the story\n"));
    assert_non_null(strstr(story, "in the story"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_failure_has_a_row_with_a_status_and_a_sentence),
        cmocka_unit_test(ok_has_a_row_too),
        cmocka_unit_test(rows_stand_where_the_enum_says),
        cmocka_unit_test(a_failure_that_does_not_exist_is_a_wrong_program),
        cmocka_unit_test(a_complaint_is_false_and_keeps_its_place),
        cmocka_unit_test(what_a_complaint_does_not_know_is_left_out),
        cmocka_unit_test(a_long_complaint_is_cut_and_stays_inside),
        cmocka_unit_test(an_assert_names_the_condition_and_its_place),
        cmocka_unit_test(the_story_is_told_once_even_if_it_fails_itself),
    };
    return cmocka_run_group_tests_name("base_fail", tests, NULL, NULL);
}
