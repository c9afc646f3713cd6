/* test_base_text.c: units of base/text.h. */
#include "base/text.h"
#include "test_base.h"

static void check(struct text t, const char *expected)
{
    if (!text_eq(t, text_of(expected)))
        fail_msg("expected \"%s\", got \"%.*s\"", expected, TEXT_ARG(t));
}

TEST(words_compare_by_bytes_with_and_without_case)
{
    assert_true(text_eq(TEXT("a"), TEXT("a")));
    assert_false(text_eq(TEXT("a"), TEXT("A")));
    assert_false(text_eq(TEXT("a"), TEXT("ab")));
    assert_true(text_eq(TEXT_NONE, TEXT("")));
    assert_true(text_eq_nocase(TEXT("Content-LENGTH"), TEXT("content-length")));
    assert_false(text_eq_nocase(TEXT("[a"), TEXT("{a"))); /* 0x5B and 0x7B differ in the case bit only */
    assert_false(text_eq_nocase(TEXT("a"), TEXT("ab")));
    assert_true(text_eq_nocase(TEXT_NONE, TEXT("")));
    assert_true(text_eq_secret(TEXT("sk-1"), TEXT("sk-1")));
    assert_false(text_eq_secret(TEXT("sk-1"), TEXT("sk-2")));
    assert_false(text_eq_secret(TEXT("sk-1"), TEXT("tk-1")));
    assert_false(text_eq_secret(TEXT("sk-1"), TEXT("sk-")));
}

TEST(starts_and_ends_are_told)
{
    assert_true(text_starts(TEXT("abc"), TEXT("ab")));
    assert_true(text_starts(TEXT("abc"), TEXT_NONE));
    assert_false(text_starts(TEXT("abc"), TEXT("abcd")));
    assert_false(text_starts(TEXT("abc"), TEXT("b")));
    assert_true(text_ends(TEXT("abc"), TEXT("bc")));
    assert_true(text_ends(TEXT_NONE, TEXT("")));
    assert_false(text_ends(TEXT("abc"), TEXT("ab")));
    assert_false(text_ends(TEXT("c"), TEXT("bc")));
}

TEST(trimming_takes_blanks_off_both_ends_only)
{
    check(text_trim(TEXT(" \ta b\t ")), "a b");
    check(text_trim(TEXT("  ")), "");
    check(text_trim(TEXT("\na\r")), "\na\r");
    check(text_trim(TEXT_NONE), "");
}

TEST(cutting_walks_a_list)
{
    struct text head, rest = text_cut(TEXT("a,,bc"), ',', &head);
    check(head, "a");
    rest = text_cut(rest, ',', &head);
    check(head, "");
    assert_non_null(rest.at);
    rest = text_cut(rest, ',', &head);
    check(head, "bc");
    assert_null(rest.at);
    rest = text_cut(TEXT("x,"), ',', &head);
    assert_true(rest.at != NULL && rest.len == 0); /* an empty last part is not the same as none */
    rest = text_cut(TEXT_NONE, ',', &head);
    check(head, "");
    assert_null(rest.at);
}

TEST(finding_tells_the_first_place)
{
    assert_int_equal(text_find(TEXT("hello"), TEXT("l")), 2);
    assert_int_equal(text_find(TEXT("hello"), TEXT("lo")), 3);
    assert_int_equal(text_find(TEXT("hello"), TEXT("lox")), -1);
    assert_int_equal(text_find(TEXT("hello"), TEXT("")), 0);
    assert_int_equal(text_find(TEXT_NONE, TEXT("a")), -1);
    assert_int_equal(text_find(TEXT("a\0b"), TEXT("\0b")), 1);
}

TEST(numbers_are_digits_only_and_stop_at_their_maximum)
{
    uint64_t n = 7;
    assert_true(text_to_u64(TEXT("0"), 0, &n) && n == 0);
    assert_true(text_to_u64(TEXT("18446744073709551615"), UINT64_MAX, &n) && n == UINT64_MAX);
    assert_true(text_to_u64(TEXT("255"), 255, &n) && n == 255);
    assert_true(text_to_u64(TEXT("007"), 255, &n) && n == 7);
    const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "0x1", "1e3", "256", "99999999999999999999" };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(text_to_u64(text_of(bad[i]), 255, &n));
    assert_false(text_to_u64(TEXT("18446744073709551616"), UINT64_MAX, &n));
    assert_false(text_to_u64(TEXT("4"), 3, &n));
    assert_int_equal(n, 7); /* untouched by failures */
}

TEST(spans_need_a_unit_and_do_not_overflow)
{
    const struct {
        const char *word;
        nanos span;
    } good[] = {
        { "0", 0 },
        { "15us", 15 * NANOS_PER_US },
        { "250ms", 250 * NANOS_PER_MS },
        { "10s", 10 * NANOS_PER_S },
        { "5m", 300 * NANOS_PER_S },
        { "1h", 3600 * NANOS_PER_S },
        { "2d", 172800 * NANOS_PER_S },
        { "1.5s", 1500 * NANOS_PER_MS },
        { "0.1h", 360 * NANOS_PER_S },
        { "106751d", 106751 * (86400 * NANOS_PER_S) },
    };
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        nanos span = -1;
        assert_true(text_to_nanos(text_of(good[i].word), &span));
        assert_int_equal(span, good[i].span);
    }
    const char *const bad[] = { "", "10", "s", "-1s", "1 s", "1.s", ".5s", "1.5", "1.5ns", "1w", "106752d", "106751.992d", "1.0000000001s", "00", "1s1s" };
    nanos span = 7;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        if (text_to_nanos(text_of(bad[i]), &span))
            fail_msg("\"%s\" was taken for %lld ns", bad[i], (long long)span);
    assert_int_equal(span, 7);
}

TEST(sizes_know_thousands_from_1024s)
{
    const struct {
        const char *word;
        uint64_t bytes;
    } good[] = {
        { "0", 0 }, { "1000", 1000 }, { "12B", 12 }, { "64k", 65536 }, { "256KiB", 262144 }, { "10MB", 10000000 },
        { "32MiB", 33554432 }, { "1GiB", 1073741824 }, { "1.5kib", 1536 }, { "16777215TiB", 16777215ULL << 40 },
    };
    for (unsigned i = 0; i < ARRAY_LEN(good); i++) {
        uint64_t bytes = 7;
        assert_true(text_to_bytes(text_of(good[i].word), &bytes));
        assert_int_equal(bytes, good[i].bytes);
    }
    const char *const bad[] = { "", "KiB", "-1", "1 KiB", "1.5", "1.5B", "1Ki", "1b1", "16777216TiB", "18446744073709551616" };
    uint64_t bytes = 7;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        if (text_to_bytes(text_of(bad[i]), &bytes))
            fail_msg("\"%s\" was taken for %llu bytes", bad[i], (unsigned long long)bytes);
    assert_int_equal(bytes, 7);
}

TEST(decimals_are_read_whole_or_not_at_all)
{
    double d = 7;
    assert_true(text_to_double(TEXT("0.7"), &d) && d == 0.7);
    assert_true(text_to_double(TEXT("-2"), &d) && d == -2.0);
    assert_true(text_to_double(TEXT("1e-3"), &d) && d == 0.001);
    assert_true(text_to_double(TEXT("2.5E+2"), &d) && d == 250.0);
    d = 7;
    const char *const bad[] = { "", "-", ".5", "5.", "0,7", "1e", "1e+", "nan", "inf", "0x10", "1 ", " 1", "1e999", "+1", "1.2.3" };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        if (text_to_double(text_of(bad[i]), &d))
            fail_msg("\"%s\" was taken for %g", bad[i], d);
    char zeros[65] = { 0 };
    memset(zeros, '0', 64);
    assert_false(text_to_double(text_of(zeros), &d));
    assert_false(text_to_double((struct text){ "1\0", 2 }, &d));
    assert_true(d == 7);
}

TEST(spans_and_sizes_print_as_a_person_would_say_them)
{
    const struct {
        nanos span;
        const char *said;
    } spans[] = {
        { 0, "0" }, { 999, "999ns" }, { 8 * NANOS_PER_US, "8us" }, { 250 * NANOS_PER_MS, "250ms" }, { 1500 * NANOS_PER_MS, "1.5s" },
        { 90 * NANOS_PER_S, "1.5m" }, { 7200 * NANOS_PER_S, "2h" }, { 86400 * NANOS_PER_S, "1d" }, { -1500, "-1.5us" }, { NEVER, "never" },
        { 123456, "123us" }, { INT64_MIN, "-106752d" },
    };
    char out[24];
    for (unsigned i = 0; i < ARRAY_LEN(spans); i++)
        assert_string_equal(nanos_print(spans[i].span, out), spans[i].said);
    assert_string_equal(bytes_print(0, out), "0B");
    assert_string_equal(bytes_print(1023, out), "1023B");
    assert_string_equal(bytes_print(1536, out), "1.5KiB");
    assert_string_equal(bytes_print(32 << 20, out), "32MiB");
    assert_string_equal(bytes_print(UINT64_MAX, out), "16777216TiB");
}

TEST(what_is_printed_can_be_typed_back)
{
    const nanos spans[] = { 0, 15, 8 * NANOS_PER_US, 250 * NANOS_PER_MS, 1500 * NANOS_PER_MS, 90 * NANOS_PER_S, 36 * 3600 * NANOS_PER_S };
    char out[24];
    for (unsigned i = 0; i < ARRAY_LEN(spans); i++) {
        nanos back = -1;
        assert_true(text_to_nanos(text_of(nanos_print(spans[i], out)), &back));
        assert_int_equal(back, spans[i]);
    }
    uint64_t bytes;
    assert_true(text_to_bytes(text_of(bytes_print(256 << 10, out)), &bytes) && bytes == 256 << 10);
}

/* The definition, by decoding: slow and plain, to judge the fast one by. */
static bool is_utf8_slowly(const unsigned char *s, size_t len)
{
    for (size_t i = 0; i < len;) {
        uint32_t c = s[i];
        size_t more = c < 0x80 ? 0 : (c & 0xE0) == 0xC0 ? 1 : (c & 0xF0) == 0xE0 ? 2 : (c & 0xF8) == 0xF0 ? 3 : 9;
        if (more == 9 || i + more >= len)
            return false;
        c = more == 0 ? c : c & (0x3Fu >> more);
        for (size_t k = 1; k <= more; k++) {
            if ((s[i + k] & 0xC0) != 0x80)
                return false;
            c = c << 6 | (s[i + k] & 0x3F);
        }
        const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
        if (c < least[more] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
            return false;
        i += more + 1;
    }
    return true;
}

TEST(utf8_agrees_with_its_definition_on_every_lead_pair_and_edge)
{
    const unsigned char edges[] = { 0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF };
    unsigned valid = 0;
    for (unsigned lead = 0; lead < 256; lead++)
        for (unsigned second = 0; second < 256; second++)
            for (unsigned e = 0; e < ARRAY_LEN(edges); e++)
                for (size_t len = 1; len <= 4; len++) {
                    unsigned char s[4] = { (unsigned char)lead, (unsigned char)second, edges[e], 0x80 };
                    bool expected = is_utf8_slowly(s, len);
                    valid += expected;
                    if (text_is_utf8((struct text){ (const char *)s, len }) != expected)
                        fail_msg("%02x %02x %02x %02x, first %zu", s[0], s[1], s[2], s[3], len);
                }
    assert_true(valid > 1000);
}

TEST(utf8_is_checked_behind_the_fast_path_at_every_place)
{
    char s[40];
    for (size_t at = 0; at < sizeof s; at++) {
        memset(s, 'a', sizeof s);
        assert_true(text_is_utf8((struct text){ s, sizeof s }));
        s[at] = (char)0xFF;
        assert_false(text_is_utf8((struct text){ s, sizeof s }));
        if (at + 2 < sizeof s) {
            memcpy(s + at, "\xE2\x82\xAC", 3);
            assert_true(text_is_utf8((struct text){ s, sizeof s }));
            assert_false(text_is_utf8((struct text){ s, at + 2 }));
        }
    }
    assert_true(text_is_utf8(TEXT_NONE));
}

TEST(the_length_of_a_character_is_0_when_it_is_cut_or_wrong)
{
    assert_int_equal(text_utf8_len(TEXT("a")), 1);
    assert_int_equal(text_utf8_len(TEXT("\xC3\xA9x")), 2);
    assert_int_equal(text_utf8_len(TEXT("\xE2\x82\xAC")), 3);
    assert_int_equal(text_utf8_len(TEXT("\xF0\x9F\x98\x80")), 4);
    assert_int_equal(text_utf8_len(TEXT("\xF0\x9F\x98")), 0);
    assert_int_equal(text_utf8_len(TEXT("\xED\xA0\x80")), 0);
    assert_int_equal(text_utf8_len(TEXT_NONE), 0);
}

TEST(distances_count_edits_and_swaps)
{
    assert_int_equal(text_distance(TEXT(""), TEXT("")), 0);
    assert_int_equal(text_distance(TEXT("abc"), TEXT("")), 3);
    assert_int_equal(text_distance(TEXT(""), TEXT("ab")), 2);
    assert_int_equal(text_distance(TEXT("kitten"), TEXT("sitting")), 3);
    assert_int_equal(text_distance(TEXT("serve"), TEXT("sevre")), 1);
    assert_int_equal(text_distance(TEXT("ca"), TEXT("abc")), 3); /* optimal string alignment; true Damerau would say 2 */
    char longest[64];
    memset(longest, 'x', sizeof longest);
    assert_int_equal(text_distance((struct text){ longest, 63 }, (struct text){ longest, 63 }), 0);
    assert_true(text_distance((struct text){ longest, 64 }, TEXT("x")) > 1000);
    assert_true(text_distance(TEXT("x"), (struct text){ longest, 64 }) > 1000);
}

TEST(a_near_word_is_suggested_and_a_far_one_is_not)
{
    const char *const words[] = { "serve", "check", "bench" };
    assert_string_equal(text_nearest(TEXT("srve"), words, 3), "serve");
    assert_string_equal(text_nearest(TEXT("chekc"), words, 3), "check");
    assert_null(text_nearest(TEXT("ingest"), words, 3));
    assert_null(text_nearest(TEXT("ab"), words, 3));
    assert_null(text_nearest(TEXT("x"), words, 0));
}

TEST(what_is_obeyed_instead_of_shown_is_known_by_its_bytes)
{
    static const struct { const char *at; size_t len; } rows[] = {
        { "a", 0 }, { " ", 0 }, { "~", 0 }, { "\x1f", 1 }, { "\x7f", 1 }, { "\xc2\x9f", 2 }, { "\xc2\xa0", 0 }, { "\xc3\x85", 0 }, { "\xc2", 0 },
        { "\xe2\x80\x8e", 3 }, { "\xe2\x80\x93", 0 }, { "\xe2\x80\xa8", 3 }, { "\xe2\x80\xae", 3 }, { "\xe2\x80\xaf", 0 }, { "\xe2\x81\xa6", 3 }, { "\xe2\x81\xaa", 0 }, { "\xe2\x80", 0 },
    };
    assert_int_equal(text_obeyed_len(TEXT_NONE), 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(text_obeyed_len(text_of(rows[i].at)), rows[i].len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_compare_by_bytes_with_and_without_case),
        cmocka_unit_test(starts_and_ends_are_told),
        cmocka_unit_test(trimming_takes_blanks_off_both_ends_only),
        cmocka_unit_test(cutting_walks_a_list),
        cmocka_unit_test(finding_tells_the_first_place),
        cmocka_unit_test(numbers_are_digits_only_and_stop_at_their_maximum),
        cmocka_unit_test(spans_need_a_unit_and_do_not_overflow),
        cmocka_unit_test(sizes_know_thousands_from_1024s),
        cmocka_unit_test(decimals_are_read_whole_or_not_at_all),
        cmocka_unit_test(spans_and_sizes_print_as_a_person_would_say_them),
        cmocka_unit_test(what_is_printed_can_be_typed_back),
        cmocka_unit_test(utf8_agrees_with_its_definition_on_every_lead_pair_and_edge),
        cmocka_unit_test(utf8_is_checked_behind_the_fast_path_at_every_place),
        cmocka_unit_test(the_length_of_a_character_is_0_when_it_is_cut_or_wrong),
        cmocka_unit_test(distances_count_edits_and_swaps),
        cmocka_unit_test(a_near_word_is_suggested_and_a_far_one_is_not),
        cmocka_unit_test(what_is_obeyed_instead_of_shown_is_known_by_its_bytes),
    };
    return cmocka_run_group_tests_name("base_text", tests, NULL, NULL);
}
