/* test_net_http_write.c: units of net/http_write.h. What is written is also read back by http_parse. */
#include "test_base.h"

#include "../lib/http_story.h"
#include "net/http_write.h"

static struct buf out;

static int fresh(void **state)
{
    (void)state;
    buf_init(&out, 4096);
    return 0;
}

static int gone(void **state)
{
    (void)state;
    buf_fini(&out);
    return 0;
}

static void wrote(const char *expected)
{
    if (!text_eq(buf_text(&out), text_of(expected)))
        fail_msg("wrote\n%.*s\nnot\n%s", TEXT_ARG(buf_text(&out)), expected);
}

TEST(an_answer_is_written_line_by_line)
{
    assert_int_equal(http_write_status(&out, 200, 1), OK);
    assert_int_equal(http_write_header(&out, TEXT("content-type"), TEXT("text/plain")), OK);
    assert_int_equal(http_write_header(&out, TEXT("x-empty"), TEXT_NONE), OK);
    assert_int_equal(http_write_header_number(&out, TEXT("retry-after"), 12), OK);
    assert_int_equal(http_write_header_number(&out, TEXT("x-low"), INT64_MIN), OK);
    assert_int_equal(http_write_length(&out, UINT64_MAX), OK);
    assert_int_equal(http_write_head_end(&out), OK);
    wrote("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-empty: \r\nretry-after: 12\r\nx-low: -9223372036854775808\r\n"
          "content-length: 18446744073709551615\r\n\r\n");
}

TEST(an_unknown_status_has_no_reason)
{
    assert_int_equal(http_write_status(&out, 299, 0), OK);
    wrote("HTTP/1.0 299 \r\n");
    assert_true(text_eq(http_reason(404), TEXT("Not Found")));
    assert_int_equal(http_reason(99).len, 0);
}

TEST(every_status_our_failures_use_has_a_reason)
{
    for (int f = OK; f < FAIL_COUNT; f++)
        assert_true(http_reason(fail_row((enum fail)f)->http).len > 0);
}

static const struct {
    const char *name, *value, *twin_name, *twin_value;
    size_t value_len;
} headers[] = { /* refused, and a twin that is written */
    { "x", "a\r\nset-cookie: b", "x", "a, set-cookie: b", 16 },
    { "x", "a\rb", "x", "a b", 3 },
    { "x", "a\nb", "x", "a\tb", 3 },
    { "x", "a\0b", "x", "a0b", 3 },
    { "x", "a\x7f" "b", "x", "a\x80" "b", 3 },
    { "x", "a\x1f" "b", "x", "a\xff" "b", 3 },
    { "x:", "a", "x-", "a", 1 },
    { "x y", "a", "x_y", "a", 1 },
    { "x\r", "a", "xr", "a", 1 },
    { "x\xc3", "a", "xc", "a", 1 },
    { "", "a", "x", "a", 1 },
};

TEST(what_would_end_a_header_line_is_refused_and_leaves_nothing)
{
    for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
        buf_clear(&out);
        assert_int_equal(http_write_header(&out, text_of(headers[i].name), (struct text){ headers[i].value, headers[i].value_len }), FAIL_BAD_REQUEST);
        assert_int_equal(buf_len(&out), 0);
        assert_int_equal(http_write_header(&out, text_of(headers[i].twin_name), text_of(headers[i].twin_value)), OK);
        assert_int_equal(buf_len(&out), strlen(headers[i].twin_name) + strlen(headers[i].twin_value) + 4);
    }
}

TEST(a_request_line_takes_no_blank_or_control)
{
    assert_int_equal(http_write_request(&out, TEXT("POST"), TEXT("/a b")), FAIL_BAD_REQUEST);
    assert_int_equal(http_write_request(&out, TEXT("POST"), TEXT("/a\nb")), FAIL_BAD_REQUEST);
    assert_int_equal(http_write_request(&out, TEXT("POST"), TEXT("/a\xc3")), FAIL_BAD_REQUEST);
    assert_int_equal(http_write_request(&out, TEXT("PO ST"), TEXT("/")), FAIL_BAD_REQUEST);
    assert_int_equal(http_write_request(&out, TEXT("POST"), TEXT_NONE), FAIL_BAD_REQUEST);
    assert_int_equal(buf_len(&out), 0);
    assert_int_equal(http_write_request(&out, TEXT("POST"), TEXT("/a+b?c=[%20]")), OK);
    wrote("POST /a+b?c=[%20] HTTP/1.1\r\n");
}

TEST(what_is_written_is_read_back)
{
    static const struct http_parse_limits limits = { .head_bytes_max = 4096, .target_bytes_max = 1024, .headers_max = 100 };
    assert_int_equal(http_write_status(&out, 503, 1), OK);
    assert_int_equal(http_write_header(&out, TEXT("retry-after"), TEXT("2")), OK);
    assert_int_equal(http_write_chunked(&out), OK);
    assert_int_equal(http_write_head_end(&out), OK);
    assert_int_equal(http_write_chunk(&out, TEXT("sixteen bytes: ok")), OK);
    assert_int_equal(http_write_chunk(&out, TEXT_NONE), OK); /* nothing, and not the end */
    assert_int_equal(http_write_chunk_begin(&out, 3), OK);
    assert_int_equal(buf_add(&out, "abc", 3), OK);
    assert_int_equal(http_write_chunk_end(&out), OK);
    assert_int_equal(http_write_chunk_last(&out), OK);
    struct buf story;
    buf_init(&story, 4096);
    http_story(&story, HTTP_KIND_RESPONSE, false, &limits, buf_text(&out), (struct cutter){ .next = cut_bytes }, true);
    const char *expected = "<|503|?||1.1|length -1 chunked keep>(29 retry-after=2)(3 transfer-encoding=chunked)sixteen bytes: okabc[end][clean]";
    if (!text_eq(buf_text(&story), text_of(expected)))
        fail_msg("%.*s", TEXT_ARG(buf_text(&story)));
    buf_fini(&story);
}

TEST(chunk_sizes_are_hexadecimal)
{
    assert_int_equal(http_write_chunk_begin(&out, 0x1fab0), OK);
    wrote("1fab0\r\n");
}

TEST(a_full_buffer_keeps_what_it_had)
{
    struct buf small;
    buf_init(&small, 20);
    assert_int_equal(http_write_status(&small, 200, 1), OK);
    assert_int_equal(buf_len(&small), 17);
    assert_int_equal(http_write_header(&small, TEXT("a"), TEXT("b")), FAIL_TOO_LARGE);
    assert_int_equal(http_write_length(&small, 5), FAIL_TOO_LARGE);
    assert_int_equal(buf_len(&small), 17);
    assert_int_equal(http_write_head_end(&small), OK);
    buf_fini(&small);
}

TEST(dates_are_those_of_the_standard)
{
    static const struct {
        int64_t second;
        const char *text;
    } days[] = {
        { 0, "Thu, 01 Jan 1970 00:00:00 GMT" },
        { 784111777, "Sun, 06 Nov 1994 08:49:37 GMT" }, /* RFC 9110 section 5.6.7 */
        { 951782399, "Mon, 28 Feb 2000 23:59:59 GMT" },
        { 951782400, "Tue, 29 Feb 2000 00:00:00 GMT" },
        { 951868800, "Wed, 01 Mar 2000 00:00:00 GMT" },
        { 1735689599, "Tue, 31 Dec 2024 23:59:59 GMT" },
        { 4107542400, "Mon, 01 Mar 2100 00:00:00 GMT" }, /* 2100 has no leap day */
        { 253402300799, "Fri, 31 Dec 9999 23:59:59 GMT" },
    };
    struct http_date d = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(days); i++) {
        assert_true(text_eq(http_date_at(&d, days[i].second), text_of(days[i].text)));
        assert_true(text_eq(http_date_at(&d, days[i].second), text_of(days[i].text))); /* from memory */
    }
    assert_int_equal(http_write_date(&out, http_date_at(&d, 0)), OK);
    wrote("date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
}

/* A wall clock may be set back or on: the date follows, whatever it said last. */
TEST(a_date_follows_a_clock_that_jumps)
{
    static const struct { int64_t second; const char *text; } jumps[] = {
        { 1700000000, "Tue, 14 Nov 2023 22:13:20 GMT" }, { 1699996400, "Tue, 14 Nov 2023 21:13:20 GMT" }, { 1700082800, "Wed, 15 Nov 2023 21:13:20 GMT" },
        { 0, "Thu, 01 Jan 1970 00:00:00 GMT" }, { 253402300799, "Fri, 31 Dec 9999 23:59:59 GMT" }, { 1700000000, "Tue, 14 Nov 2023 22:13:20 GMT" },
    };
    struct http_date d = { 0 };
    for (size_t i = 0; i < ARRAY_LEN(jumps); i++)
        assert_true(text_eq(http_date_at(&d, jumps[i].second), text_of(jumps[i].text)));
}

TEST(every_day_of_four_centuries_follows_the_one_before)
{
    struct http_date d = { 0 };
    char before[30];
    memcpy(before, http_date_at(&d, 0).at, sizeof(before));
    int64_t read;
    for (int64_t day = 1; day < 146097; day++) {
        const char *now = http_date_at(&d, day * 86400 + day % 86400).at;
        assert_true(http_date_read(text_of(now), &read) && read == day * 86400 + day % 86400);
        now = http_date_at(&d, day * 86400).at;
        bool next_day = memcmp(now + 5, before + 5, 2) > 0 && memcmp(now + 8, before + 8, 8) == 0;
        bool next_month = memcmp(now + 5, "01", 2) == 0 && memcmp(before + 5, "28", 2) >= 0 && memcmp(now + 8, before + 8, 3) != 0;
        assert_true(next_day || next_month);
        memcpy(before, now, sizeof(before));
    }
    assert_string_equal(before, "Wed, 31 Dec 2369 00:00:00 GMT");
}

/* hostile 78: what stands in a Retry-After. */
TEST(dates_are_read_in_three_forms_and_nothing_else)
{
    static const char *const good[] = { "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994" };
    static const char *const bad[] = {
        "", "Sun", "784111777", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nov 1994 08:49:37 GMT ", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Now 1994 08:49:37 GMT",
        "Sun, 06 ovD 1994 08:49:37 GMT", "Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1969 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 1994 08:60:37 GMT", "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 06 Nov 1994 -8:49:37 GMT", "Sun Nov  6 08:49:37 1994 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, 06 Nov 19940 08:49:37 GMT", "Sunday, the sixth of November in the year of 1994",
    };
    int64_t read;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_true(http_date_read(text_of(good[i]), &read));
        assert_int_equal(read, 784111777);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (http_date_read(text_of(bad[i]), &read))
            fail_msg("read as a date: \"%s\"", bad[i]);
    assert_true(http_date_read(TEXT("Monday, 01-Jan-01 00:00:00 GMT"), &read) && read == 978307200); /* two digits below 70 are this century */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_is_written_line_by_line, fresh, gone),
        cmocka_unit_test_setup_teardown(an_unknown_status_has_no_reason, fresh, gone),
        cmocka_unit_test_setup_teardown(every_status_our_failures_use_has_a_reason, fresh, gone),
        cmocka_unit_test_setup_teardown(what_would_end_a_header_line_is_refused_and_leaves_nothing, fresh, gone),
        cmocka_unit_test_setup_teardown(a_request_line_takes_no_blank_or_control, fresh, gone),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_back, fresh, gone),
        cmocka_unit_test_setup_teardown(chunk_sizes_are_hexadecimal, fresh, gone),
        cmocka_unit_test_setup_teardown(a_full_buffer_keeps_what_it_had, fresh, gone),
        cmocka_unit_test_setup_teardown(dates_are_those_of_the_standard, fresh, gone),
        cmocka_unit_test_setup_teardown(a_date_follows_a_clock_that_jumps, fresh, gone),
        cmocka_unit_test_setup_teardown(every_day_of_four_centuries_follows_the_one_before, fresh, gone),
        cmocka_unit_test_setup_teardown(dates_are_read_in_three_forms_and_nothing_else, fresh, gone),
    };
    return cmocka_run_group_tests_name("net_http_write", tests, NULL, NULL);
}
