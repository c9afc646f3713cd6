/* test_bench_live.c: units of the live view: report/live.c draws it, cli/bench_live.c shows it. The commands are not in the library: that file is read in. */
#include "cli/bench_live.c"
#include "test_base.h"

#define MS(n) ((n) * NANOS_PER_MS)
#define S(n)  ((n) * NANOS_PER_S)

static struct tally tally;
static struct buf drawn;
static const struct slo no_slo;

static int begin(void **state)
{
    (void)state;
    buf_init(&drawn, 64u << 10);
    return tally_init(&tally, S(1000), S(60)) == OK ? 0 : 1;
}

static int end(void **state)
{
    (void)state;
    tally_fini(&tally);
    buf_fini(&drawn);
    return 0;
}

/* `count` requests that ended at a second of the test, each of them so long. */
static void requests(unsigned count, int64_t second, nanos latency, enum tally_outcome outcome, int status)
{
    for (unsigned i = 0; i < count; i++) {
        nanos ended = S(1000 + second) + MS(500);
        struct sample s = { .intended = ended - latency, .started = ended - latency, .sent = ended - latency, .ended = ended, .outcome = outcome, .status = status };
        tally_started(&tally, s.started);
        tally_ended(&tally, &s, &no_slo);
    }
}

static void twenty_seconds(void)
{
    for (int i = 0; i < 20; i++)
        requests(100 + 10 * (unsigned)i, i, MS(10 + i), OUTCOME_OK, 200);
    requests(7, 19, MS(1), OUTCOME_STATUS, 503);
    requests(2, 19, MS(900), OUTCOME_TIMEOUT, 0);
    tally_started(&tally, S(1019) + MS(900));
}

static const char *text_drawn(void)
{
    assert_int_equal(buf_reserve(&drawn, 1), OK);
    *buf_end(&drawn) = '\0';
    return drawn.mem + drawn.from;
}

static const char *block(const struct live_view *v, nanos elapsed)
{
    buf_clear(&drawn);
    assert_int_equal(live_block(v, &tally, elapsed, &drawn), OK);
    return text_drawn();
}

static void has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("not drawn: \"%s\" in\n%s", part, text);
}

/* Every line fits, there are not too many, and nothing in them moves a cursor. */
static void check_shape(const char *text, unsigned columns, bool is_coloured)
{
    unsigned lines = 0;
    for (struct text rest = text_of(text), line; rest.len > 0; lines++) {
        rest = text_cut(rest, '\n', &line);
        if (width_of(line) > columns)
            fail_msg("%u columns where %u fit: %.*s", width_of(line), columns, TEXT_ARG(line));
        assert_true(text_is_utf8(line));
        for (size_t i = 0; i < line.len; i++) {
            bool is_colour = is_coloured && line.at[i] == '\033';
            assert_true(is_colour || text_obeyed_len((struct text){ line.at + i, line.len - i }) == 0);
        }
    }
    assert_in_range(lines, 5, LIVE_LINES_MAX);
}

TEST(a_block_tells_rate_percentiles_errors_and_what_is_left)
{
    const struct live_view v = { .target = "http://127.0.0.1:4040", .span = S(60), .columns = 80, .is_utf8 = true };
    twenty_seconds();
    const char *text = block(&v, S(20));
    check_shape(text, 80, false);
    has(text, "weir bench http://127.0.0.1:4040\n");
    has(text, "20 s of 60 s, 40 s left");
    has(text, "  rate            299 /s  \u2583\u2583\u2584");
    has(text, "\u2588\n");
    has(text, "in flight            1  at most 1");
    has(text, "last 1s        29.0 ms     29.0 ms     29.0 ms"); /* hist: to 1.6 % */
    has(text, "3,900 ok, 9 errors (0.23 %)");
    has(text, "errors     timeout 2, http_503 7");
    text = block(&v, S(61));
    has(text, "waiting for 1\n");
}

TEST(it_fits_every_width_with_colours_and_without_unicode)
{
    twenty_seconds();
    requests(3, 20, MS(5), OUTCOME_RESET, 0);
    tally_missed(&tally);
    tally.tokens_out = 5;
    spans_add(&tally.ttft, MS(3));
    for (unsigned columns = LIVE_COLUMNS_MIN; columns < 300; columns++)
        for (unsigned kind = 0; kind < 4; kind++) {
            const struct live_view v = { .target = "http://\x1b]0;gotcha\a\xe2\x80\xae\xff\xf0/", .span = kind > 1 ? S(60) : 0, .columns = columns, .is_coloured = kind & 1, .is_utf8 = kind > 1 };
            const char *text = block(&v, S(21));
            check_shape(text, columns, v.is_coloured);
            has(text, "http://?]0;gotcha?");
            if (!v.is_utf8)
                for (const char *c = text; *c != '\0'; c++)
                    assert_true(*c > 0);
        }
}

TEST(it_can_be_drawn_before_anything_happened_and_during_the_warm_up)
{
    const struct live_view v = { .target = "x", .span = S(60), .columns = 80 };
    const char *text = block(&v, 0);
    check_shape(text, 80, false);
    has(text, "0 s of 60 s");
    struct sample s = { .intended = S(1000), .started = S(1000), .sent = S(1000), .ended = S(1000) + MS(4), .is_warmup = true };
    tally_started(&tally, s.started);
    tally_ended(&tally, &s, &no_slo);
    has(block(&v, S(1)), "warm-up              1 requests, which are not counted");
}

TEST(a_window_without_an_answer_is_a_gap_in_the_line)
{
    const struct live_view v = { .target = "x", .span = S(60), .columns = 80 };
    requests(10, 0, MS(10), OUTCOME_OK, 200);
    requests(10, 3, MS(20), OUTCOME_OK, 200);
    has(block(&v, S(4)), "=  #\n"); /* p95: half, nothing twice, all */
}

TEST(a_log_gets_one_line)
{
    const struct live_view v = { .target = "x", .span = S(60), .columns = 40, .is_coloured = true };
    twenty_seconds();
    assert_int_equal(live_line(&v, &tally, S(20), &drawn), OK);
    assert_string_equal(text_drawn(), "20 s: 299 /s, 1 in flight, p50 29.0 ms, p95 29.0 ms, p99 29.0 ms; 3900 ok, 9 errors (timeout 2, http_503 7)\n");
}

/* What the whole of it writes to fd 2, which is no terminal here. */
static void show_a_test(void)
{
    struct bench_live l;
    setenv("TERM", "xterm", 1);
    bench_live_init(&l, S(60), "x");
    for (int second = 0; second <= 12; second++)
        bench_live(&tally, S(second), &l);
    bench_live_end(&l);
}

TEST(without_a_terminal_there_is_a_line_after_one_second_and_then_every_five)
{
    char said[4096];
    requests(10, 0, MS(10), OUTCOME_OK, 200);
    assert_false(dies(show_a_test, said, sizeof said));
    assert_null(strchr(said, '\033'));
    unsigned lines = 0;
    static const char *const begins[] = { "1 s: ", "5 s: ", "10 s: " };
    for (struct text rest = text_of(said), line; rest.len > 0; lines++) {
        rest = text_cut(rest, '\n', &line);
        assert_true(lines < ARRAY_LEN(begins) && text_starts(line, text_of(begins[lines])));
    }
    assert_int_equal(lines, 3);
}

static void check_encoding(const char *all, const char *ctype, const char *lang, bool is_utf8)
{
    setenv("LC_ALL", all, 1);
    setenv("LC_CTYPE", ctype, 1);
    setenv("LANG", lang, 1);
    assert_int_equal(locale_is_utf8(), is_utf8);
}

TEST(the_first_variable_of_the_locale_that_is_set_counts)
{
    check_encoding("", "", "", false);
    check_encoding("", "", "de_DE.UTF-8", true);
    check_encoding("C", "", "de_DE.UTF-8", false);
    check_encoding("", "C.utf8", "C", true);
    check_encoding("", "", "de_DE.ISO-8859-1", false);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        ROW(a_block_tells_rate_percentiles_errors_and_what_is_left),
        ROW(it_fits_every_width_with_colours_and_without_unicode),
        ROW(it_can_be_drawn_before_anything_happened_and_during_the_warm_up),
        ROW(a_window_without_an_answer_is_a_gap_in_the_line),
        ROW(a_log_gets_one_line),
        ROW(without_a_terminal_there_is_a_line_after_one_second_and_then_every_five),
        ROW(the_first_variable_of_the_locale_that_is_set_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
