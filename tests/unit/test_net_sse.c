/* test_net_sse.c: units of net/sse.h. Each stream is fed whole, byte by byte, and cut at every point. */
#include "test_base.h"

#include "net/sse.h"

#define LINE_BOUND 64

/* Events as "name|data|id|retry;" and how the stream ended. cut: where the first piece ends; step: bytes a piece after it, 0 for all. */
static void tell(struct buf *story, struct text in, size_t cut, size_t step)
{
    struct sse_reader r;
    sse_reader_init(&r, LINE_BOUND);
    buf_init(story, 1u << 20);
    enum fail f = OK;
    for (size_t at = 0, n; f == OK && at < in.len; at += n) {
        n = at < cut ? cut - at : step ? step : in.len - at;
        n = MIN(n, in.len - at);
        char piece[4096]; /* overwritten after each piece: nothing may be left pointing into it */
        assert_true(n <= sizeof(piece));
        memcpy(piece, in.at + at, n);
        for (size_t from = 0, eaten = 0; f == OK && from < n; from += eaten) {
            struct sse_event e;
            f = sse_feed(&r, (struct text){ piece + from, n - from }, &eaten, &e);
            if (f != OK)
                break;
            assert_true(eaten > 0 && (e.found || eaten == n - from));
            if (!e.found)
                continue;
            assert_int_equal(buf_add_text(story, e.name), OK);
            assert_int_equal(buf_add(story, "|", 1), OK);
            assert_int_equal(buf_add_text(story, e.data), OK);
            assert_int_equal(buf_printf(story, "|%.*s|%lld;", TEXT_ARG(e.id.at ? e.id : TEXT("-")), (long long)e.retry_ms), OK);
        }
        memset(piece, '#', sizeof(piece));
    }
    const char *end = f != OK ? fail_name(f) : sse_is_clean_end(&r) ? "clean" : "cut";
    assert_int_equal(buf_add(story, end, strlen(end)), OK);
    sse_reader_fini(&r);
}

static void tells(struct text in, const char *expected)
{
    static const size_t steps[] = { 0, 1, 2, 9, 14 }; /* some long enough to end one line and begin another */
    for (size_t cut = 0; cut <= in.len; cut++)
        for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
            struct buf story;
            tell(&story, in, cut, steps[i]);
            if (!text_eq(buf_text(&story), text_of(expected)))
                fail_msg("cut at %zu, then by %zu:\n%.*s\nis told as\n%.*s\nnot as\n%s", cut, steps[i], TEXT_ARG(in), TEXT_ARG(buf_text(&story)), expected);
            buf_fini(&story);
        }
}

TEST(events_of_real_dialects)
{
    tells(TEXT("data: {\"a\":1}\n\ndata: [DONE]\n\n"), "|{\"a\":1}|-|-1;|[DONE]|-|-1;clean");
    tells(TEXT("event: message_start\ndata: {}\n\n: ping\n\nevent: ping\ndata: {}\n\n"), "message_start|{}|-|-1;ping|{}|-|-1;clean");
    tells(TEXT("id: 7\nretry: 250\ndata: x\n\n"), "|x|7|250;clean");
}

TEST(any_line_end_ends_a_line)
{
    const char *told = "e|a\nb|-|-1;|c|-|-1;clean";
    tells(TEXT("event: e\ndata: a\ndata: b\n\ndata: c\n\n"), told);
    tells(TEXT("event: e\r\ndata: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n"), told);
    tells(TEXT("event: e\rdata: a\rdata: b\r\rdata: c\r\r"), told);
    tells(TEXT("event: e\rdata: a\r\ndata: b\n\r\ndata: c\r\n\r"), told); /* the last CR ends the event; no LF is waited for */
}

TEST(fields_are_read_as_the_standard_says)
{
    tells(TEXT("data:a\n\ndata: a\n\ndata:  a\n\n"), "|a|-|-1;|a|-|-1;| a|-|-1;clean");       /* one blank goes */
    tells(TEXT("data\n\ndata:\n\ndata\ndata\n\n"), "||-|-1;||-|-1;|\n|-|-1;clean");            /* no colon is an empty value */
    tells(TEXT("data: a:b\n\n"), "|a:b|-|-1;clean");
    tells(TEXT("dat: a\nDATA: b\n data: c\ndatax: d\n\n"), "clean");                             /* none of these is a field */
    tells(TEXT("event: a\nevent: b\ndata: c\n\ndata: d\n\n"), "b|c|-|-1;|d|-|-1;clean");        /* the last counts, for one event */
    tells(TEXT("event: lost\n\ndata: d\n\n"), "|d|-|-1;clean");                                  /* no data, no event */
    tells(TEXT("retry: 1x\nretry: -1\nretry:\ndata: d\n\nretry: 99999999999999999999\ndata: e\n\n"), "|d|-|-1;|e|-|-1;clean");
    tells(TEXT("id\ndata: d\n\nid: a\0b\ndata: e\n\n"), "|d||-1;|e|-|-1;clean");                /* an id with NUL is ignored */
    tells(TEXT(": c\n:\n:data: x\ndata: y\n: z\n\n"), "|y|-|-1;clean");
}

TEST(a_byte_order_mark_counts_at_the_start_alone)
{
    tells(TEXT("\xEF\xBB\xBF" "data: a\n\n\xEF\xBB\xBF" "data: b\n\n"), "|a|-|-1;clean");
    tells(TEXT("\xEF\xBB\xBF\n\xEF\xBB\xBF" "data: b\n\n"), "clean");
    tells(TEXT("\xEF\xBB" "data: a\n\n"), "clean");
}

TEST(a_character_of_several_bytes_survives_any_cut)
{
    tells(TEXT("data: \xF0\x9F\x8C\x8A\xC3\xA9\ndata: \xE2\x82\xAC\n\n"), "|\xF0\x9F\x8C\x8A\xC3\xA9\n\xE2\x82\xAC|-|-1;clean");
}

TEST(a_cut_stream_is_told_from_a_complete_one)
{
    tells(TEXT(""), "clean");
    tells(TEXT("\n\r\n"), "clean");
    tells(TEXT("data: a\n\n: comment\n"), "|a|-|-1;clean");
    tells(TEXT("data: a\n\n: comm"), "|a|-|-1;cut");
    tells(TEXT("data: a\n\nid: 7\n"), "|a|-|-1;cut");
    tells(TEXT("data: a\n\nevent: b\n"), "|a|-|-1;cut");
    tells(TEXT("data: a\n\ndata: b\n"), "|a|-|-1;cut");
    tells(TEXT("data: a\n\ndata: b"), "|a|-|-1;cut");
    tells(TEXT("event: x\n"), "cut");
}

TEST(the_bounds_of_a_line_and_of_an_event_are_exact)
{
    char in[256];
    int n = snprintf(in, sizeof(in), "data: %0*d\n\n", LINE_BOUND - 6, 7);
    char told[256];
    snprintf(told, sizeof(told), "|%0*d|-|-1;clean", LINE_BOUND - 6, 7);
    tells((struct text){ in, (size_t)n }, told);
    n = snprintf(in, sizeof(in), "data: %0*d\n\n", LINE_BOUND - 5, 7);
    tells((struct text){ in, (size_t)n }, "TOO_LARGE");
    n = snprintf(in, sizeof(in), "data:%0*d\ndata:%0*d\n\n", 40, 7, LINE_BOUND - 41, 7); /* joined by one LF */
    snprintf(told, sizeof(told), "|%0*d\n%0*d|-|-1;clean", 40, 7, LINE_BOUND - 41, 7);
    tells((struct text){ in, (size_t)n }, told);
    n = snprintf(in, sizeof(in), "data:%0*d\ndata:%0*d\n\n", 40, 7, LINE_BOUND - 40, 7);
    tells((struct text){ in, (size_t)n }, "TOO_LARGE");
}

TEST(an_event_that_lies_whole_in_the_input_is_not_copied)
{
    struct sse_reader r;
    struct sse_event e;
    size_t eaten;
    struct text in = TEXT("event: a\ndata: b\nid: c\n\n");
    (void)mem_fault(0); /* counts from here */
    sse_reader_init(&r, LINE_BOUND);
    assert_int_equal(sse_feed(&r, in, &eaten, &e), OK);
    assert_true(e.found && eaten == in.len);
    assert_ptr_equal(e.name.at, in.at + 7);
    assert_ptr_equal(e.data.at, in.at + 15);
    assert_ptr_equal(e.id.at, in.at + 21);
    assert_int_equal(mem_fault(0), 0); /* not one allocation */
    sse_reader_fini(&r);
}

TEST(without_memory_a_cut_event_fails_cleanly)
{
    for (uint64_t nth = 1;; nth++) {
        int64_t alive = mem_alive();
        struct sse_reader r;
        struct sse_event e = { 0 };
        size_t eaten;
        sse_reader_init(&r, LINE_BOUND);
        mem_fault(nth);
        enum fail f = sse_feed(&r, TEXT("id: i\nevent: a\ndata: b\nda"), &eaten, &e);
        if (f == OK)
            f = sse_feed(&r, TEXT("ta: c\n\n"), &eaten, &e);
        uint64_t reached = mem_fault(0);
        assert_true(f == FAIL_NO_MEMORY || (f == OK && e.found && text_eq(e.data, TEXT("b\nc")) && text_eq(e.name, TEXT("a"))));
        sse_reader_fini(&r);
        assert_int_equal(mem_alive(), alive);
        if (reached < nth) {
            assert_int_equal(f, OK);
            print_message("reached allocation %u\n", (unsigned)reached);
            break;
        }
    }
}

static void writes(struct text name, struct text data, const char *expected)
{
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(sse_write(&b, name, data), OK);
    if (!text_eq(buf_text(&b), text_of(expected)))
        fail_msg("wrote\n%.*s\nnot\n%s", TEXT_ARG(buf_text(&b)), expected);
    buf_fini(&b);
}

TEST(written_events_are_the_ones_read)
{
    writes(TEXT_NONE, TEXT("{}"), "data: {}\n\n");
    writes(TEXT("error"), TEXT("{}"), "event: error\ndata: {}\n\n");
    writes(TEXT_NONE, TEXT_NONE, "data: \n\n");
    writes(TEXT_NONE, TEXT("a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n");
    writes(TEXT_NONE, TEXT("a\r"), "data: a\ndata: \n\n");

    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(sse_write_comment(&b, TEXT("ping")), OK);
    assert_int_equal(sse_write_event(&b, &(struct sse_event){ .name = TEXT("n"), .data = TEXT(" x\n\ny"), .id = TEXT("5"), .retry_ms = INT64_MAX }), OK);
    assert_int_equal(sse_write_event(&b, &(struct sse_event){ .data = TEXT(""), .id = TEXT(""), .retry_ms = 0 }), OK);
    tells(buf_text(&b), "n| x\n\ny|5|9223372036854775807;|||0;clean");
    buf_fini(&b);
}

TEST(what_would_forge_a_line_is_refused_and_leaves_nothing)
{
    struct buf b;
    buf_init(&b, 16);
    assert_int_equal(sse_write(&b, TEXT("a\ndata: x"), TEXT("y")), FAIL_BAD_FIELD);
    assert_int_equal(sse_write(&b, TEXT("a\rb"), TEXT("y")), FAIL_BAD_FIELD);
    assert_int_equal(sse_write_comment(&b, TEXT("a\nb")), FAIL_BAD_FIELD);
    assert_int_equal(sse_write_event(&b, &(struct sse_event){ .id = TEXT("a\0b"), .retry_ms = -1 }), FAIL_BAD_FIELD);
    assert_int_equal(sse_write_event(&b, &(struct sse_event){ .id = TEXT("a\nb"), .retry_ms = -1 }), FAIL_BAD_FIELD);
    assert_int_equal(sse_write(&b, TEXT_NONE, TEXT("123456789")), FAIL_TOO_LARGE); /* 17 bytes */
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(sse_write(&b, TEXT_NONE, TEXT("12345678")), OK);
    assert_int_equal(buf_len(&b), 16);
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_real_dialects),
        cmocka_unit_test(any_line_end_ends_a_line),
        cmocka_unit_test(fields_are_read_as_the_standard_says),
        cmocka_unit_test(a_byte_order_mark_counts_at_the_start_alone),
        cmocka_unit_test(a_character_of_several_bytes_survives_any_cut),
        cmocka_unit_test(a_cut_stream_is_told_from_a_complete_one),
        cmocka_unit_test(the_bounds_of_a_line_and_of_an_event_are_exact),
        cmocka_unit_test(an_event_that_lies_whole_in_the_input_is_not_copied),
        cmocka_unit_test(without_memory_a_cut_event_fails_cleanly),
        cmocka_unit_test(written_events_are_the_ones_read),
        cmocka_unit_test(what_would_forge_a_line_is_refused_and_leaves_nothing),
    };
    return cmocka_run_group_tests_name("net_sse", tests, NULL, NULL);
}
