/* test_base_buf.c: units of base/buf.h. */
#include "base/buf.h"
#include "test_base.h"

static void check_text(const struct buf *b, const char *expected)
{
    assert_int_equal(buf_len(b), strlen(expected));
    assert_memory_equal(buf_text(b).at, expected, strlen(expected));
}

TEST(bytes_go_in_at_the_end_and_out_at_the_front)
{
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(buf_add(&b, "hello ", 6), OK);
    assert_int_equal(buf_add_text(&b, TEXT("world")), OK);
    buf_eat(&b, 6);
    check_text(&b, "world");
    buf_clear(&b);
    assert_int_equal(buf_len(&b), 0);
    assert_true(b.room > 0);
    buf_fini(&b);
}

TEST(the_ceiling_is_exact_and_refusing_changes_nothing) /* hostile 71 */
{
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_add(&b, "0123456789", 10), OK);
    assert_int_equal(buf_add(&b, "x", 1), FAIL_TOO_LARGE);
    assert_int_equal(buf_printf(&b, "x"), FAIL_TOO_LARGE);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), FAIL_TOO_LARGE);
    check_text(&b, "0123456789");
    assert_int_equal(buf_add(&b, NULL, 0), OK);
    buf_eat(&b, 3);
    assert_int_equal(buf_add(&b, "abc", 3), OK); /* what was eaten makes room again */
    check_text(&b, "3456789abc");
    assert_true(b.room <= 11);
    buf_fini(&b);
}

TEST(nothing_added_takes_no_memory)
{
    int64_t before = mem_alive();
    struct buf b;
    buf_init(&b, 10);
    assert_int_equal(buf_add_text(&b, TEXT_NONE), OK);
    assert_null(buf_text(&b).at);
    assert_int_equal(mem_alive(), before);
    buf_fini(&b);
}

TEST(a_reserve_makes_contiguous_room_to_write_into)
{
    struct buf b;
    buf_init(&b, 5000);
    assert_int_equal(buf_add(&b, "ab", 2), OK);
    assert_int_equal(buf_reserve(&b, 4998), OK);
    memset(buf_end(&b), 'z', 4998);
    buf_added(&b, 4998);
    assert_int_equal(buf_len(&b), 5000);
    assert_int_equal(buf_text(&b).at[1], 'b');
    assert_int_equal(buf_text(&b).at[4999], 'z');
    buf_fini(&b);
}

TEST(printing_grows_as_far_as_it_needs)
{
    struct buf b;
    char word[1000];
    memset(word, 'w', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    buf_init(&b, 1003);
    assert_int_equal(buf_printf(&b, "%d:", 42), OK);
    assert_int_equal(buf_printf(&b, "%s", word), OK);
    assert_int_equal(buf_len(&b), 1002);
    assert_int_equal(buf_printf(&b, "%c", '!'), OK); /* the last byte under the ceiling; its NUL stands outside */
    assert_int_equal(buf_text(&b).at[1002], '!');
    assert_memory_equal(buf_text(&b).at, "42:www", 6);
    assert_int_equal(buf_printf(&b, "%c", '!'), FAIL_TOO_LARGE);
    buf_fini(&b);
}

TEST(printing_into_exactly_the_room_there_is_loses_nothing)
{
    for (int n = 500; n < 530; n++) {
        struct buf b;
        buf_init(&b, 4096);
        assert_int_equal(buf_reserve(&b, 1), OK);
        assert_int_equal(buf_printf(&b, "%*d", n, 7), OK); /* its NUL falls before, on and past the end of the first memory */
        assert_int_equal(buf_len(&b), n);
        assert_int_equal(buf_text(&b).at[n - 1], '7');
        buf_fini(&b);
    }
}

TEST(a_long_stream_through_a_small_buffer_stays_whole_and_bounded)
{
    struct buf b;
    buf_init(&b, 64);
    unsigned char in = 0, out = 0;
    for (unsigned round = 0; round < 10000; round++) {
        unsigned n = (round * 7) % 13;
        for (unsigned i = 0; i < n && buf_len(&b) < 64; i++, in++)
            assert_int_equal(buf_add(&b, &in, 1), OK);
        for (unsigned eat = (round * 5) % 11; eat > 0 && buf_len(&b) > 0; eat--, out++) {
            assert_int_equal((unsigned char)buf_text(&b).at[0], out);
            buf_eat(&b, 1);
        }
        assert_true(b.room <= 65);
    }
    buf_fini(&b);
}

TEST(an_empty_buffer_gives_its_memory_back)
{
    int64_t before = mem_alive();
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(buf_add(&b, "x", 1), OK);
    buf_release_if_empty(&b);
    check_text(&b, "x");
    buf_eat(&b, 1);
    buf_release_if_empty(&b);
    assert_int_equal(mem_alive(), before);
    assert_int_equal(buf_add(&b, "y", 1), OK); /* and may be used again, under its old ceiling */
    assert_int_equal(buf_reserve(&b, 100), FAIL_TOO_LARGE);
    buf_fini(&b);
    assert_int_equal(mem_alive(), before);
}

TEST(without_memory_the_content_stays)
{
    struct buf b;
    buf_init(&b, 100000);
    assert_int_equal(buf_add(&b, "keep", 4), OK);
    buf_eat(&b, 1);
    mem_fault(1);
    assert_int_equal(buf_reserve(&b, 50000), FAIL_NO_MEMORY);
    mem_fault(1);
    assert_int_equal(buf_printf(&b, "%2000d", 1), FAIL_NO_MEMORY);
    check_text(&b, "eep");
    mem_fault(0);
    buf_fini(&b);
}

static void eat_too_much(void)
{
    struct buf b;
    buf_init(&b, 10);
    buf_eat(&b, 1);
}
TEST(eating_what_is_not_there_is_a_wrong_program)
{
    asserts(eat_too_much, "buf_len");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_in_at_the_end_and_out_at_the_front),
        cmocka_unit_test(the_ceiling_is_exact_and_refusing_changes_nothing),
        cmocka_unit_test(nothing_added_takes_no_memory),
        cmocka_unit_test(a_reserve_makes_contiguous_room_to_write_into),
        cmocka_unit_test(printing_grows_as_far_as_it_needs),
        cmocka_unit_test(printing_into_exactly_the_room_there_is_loses_nothing),
        cmocka_unit_test(a_long_stream_through_a_small_buffer_stays_whole_and_bounded),
        cmocka_unit_test(an_empty_buffer_gives_its_memory_back),
        cmocka_unit_test(without_memory_the_content_stays),
        cmocka_unit_test(eating_what_is_not_there_is_a_wrong_program),
    };
    return cmocka_run_group_tests_name("base_buf", tests, NULL, NULL);
}
