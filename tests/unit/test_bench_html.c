/* test_bench_html.c: units of the HTML report: report/html.c, chart.c, markup.c, figure.c. What it looks like is for people and for tests/clients. */
#include "bench/figure.h"
#include "bench/markup.h"
#include "report/report.h"
#include "lib/bench_runs.h"
#include "test_base.h"
#include <math.h>

#define PAGE_MAX   (4u << 20)
#define RUN_MAX    (300u << 10) /* of one run with 600 windows: a report is mailed, and kept with many others */

static struct result made[BENCH_RUN_COUNT];
static struct buf page;

static int make_all(void **state)
{
    (void)state;
    buf_init(&page, PAGE_MAX);
    for (unsigned i = 0; i < BENCH_RUN_COUNT; i++)
        bench_run_make(&made[i], (enum bench_run)i);
    return 0;
}

static int drop_page(void **state)
{
    (void)state;
    buf_fini(&page);
    return 0;
}

/* The page with its end, as a string. */
static const char *render(const struct result *const *runs, unsigned count)
{
    buf_clear(&page);
    assert_int_equal(report_html(runs, count, &page), OK);
    assert_int_equal(buf_reserve(&page, 1), OK);
    *buf_end(&page) = '\0';
    return page.mem + page.from;
}

static const char *render_one(enum bench_run which)
{
    const struct result *run = &made[which];
    return render(&run, 1);
}

static void has(const char *html, const char *part)
{
    if (strstr(html, part) == NULL)
        fail_msg("the page lacks: %s", part);
}

static void lacks(const char *html, const char *part)
{
    const char *at = strstr(html, part);
    if (at != NULL)
        fail_msg("the page has: %.80s", at);
}

static unsigned count_of(const char *html, const char *part)
{
    unsigned n = 0;
    for (const char *at = html; (at = strstr(at, part)) != NULL; at++)
        n++;
    return n;
}

/* Each stands behind the one before it. */
static void in_order(const char *html, const char *const *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *at = strstr(html, parts[i]);
        if (at == NULL)
            fail_msg("missing, or not behind \"%s\": %s", i > 0 ? parts[i - 1] : "the beginning", parts[i]);
        html = at;
    }
}

TEST(a_page_tells_the_verdict_first_and_then_why)
{
    static const char *const parts[] = { "<h1>Load test: spike</h1>", "Missed: 2 of 3 criteria, the first of them p95 &lt; 200ms: it was 2.1s.",
                                         "http://127.0.0.1:4040/v1/chat/completions", "200 /s meant", ">Requests<", "239,500", ">Errors<", "4.32 % of all", ">Criteria<",
                                         "p95 &lt; 200ms", "2.1s", "missed", ">Times<", "p50", "p99.9", "Latency over time", "Percentiles", "Rate over time",
                                         "In flight over time", "Errors over time", "The server's CPU", "The server's memory", "http_503", "9,120", "timeout", "1,204" };
    in_order(render_one(BENCH_RUN_SPIKE), parts, ARRAY_LEN(parts));
}

TEST(verdicts_are_told_apart_in_words)
{
    has(render_one(BENCH_RUN_STEADY), "<p class=\"verdict met\">Met: 2 of 2 criteria.");
    has(render_one(BENCH_RUN_SPIKE), "<p class=\"verdict missed\">");
    has(render_one(BENCH_RUN_SEARCH), "No criteria were given.");
    const char *invalid = render_one(BENCH_RUN_INVALID);
    has(invalid, "<p class=\"verdict invalid\">INVALID: the generator was 41ms late");
    lacks(invalid, ">Met"); /* its criterion is met, and that says nothing */
}

TEST(charts_are_there_when_something_was_measured_and_only_then)
{
    const char *steady = render_one(BENCH_RUN_STEADY);
    has(steady, "Tokens over time");
    lacks(steady, "Errors over time");
    lacks(steady, "The server's");
    lacks(steady, "against load");
    const char *spike = render_one(BENCH_RUN_SPIKE);
    lacks(spike, "Tokens over time");
    has(spike, "</i>timeout</span>");
    has(spike, "</i>reset</span>");
    lacks(spike, "</i>connect</span>"); /* there was none */
    assert_int_equal(count_of(spike, "<rect class=\"bad\""), 2); /* windows 296 to 324, and 480 */
    const char *search = render_one(BENCH_RUN_SEARCH);
    has(search, "Throughput against load");
    has(search, ">knee</text>");
    has(search, "Throughput stops growing at about 400");
    lacks(render_one(BENCH_RUN_HOSTILE), ">knee</text>"); /* one level bends nowhere */
    search = render_one(BENCH_RUN_SEARCH);
    assert_int_equal(count_of(search, "<circle class=\"dot"), 7);
    assert_int_equal(count_of(search, "<circle class=\"ring"), 4);
    assert_int_equal(count_of(render_one(BENCH_RUN_EMPTY), "<svg"), 0);
}

TEST(nothing_comes_from_elsewhere_and_no_script_runs)
{
    for (unsigned i = 0; i < BENCH_RUN_COUNT; i++) {
        static const char *const never[] = { "<script", "<img", "<link", "<iframe", "src=\"", "href=\"h", "url(", "@import", "onload", "javascript:" };
        const char *html = render_one((enum bench_run)i);
        for (size_t k = 0; k < ARRAY_LEN(never); k++)
            lacks(html, never[k]);
        assert_int_equal(count_of(html, " href="), 0); /* a page of one run links nowhere */
        assert_true(buf_len(&page) < RUN_MAX);
    }
}

TEST(what_comes_from_outside_is_escaped_everywhere)
{
    const char *html = render_one(BENCH_RUN_HOSTILE);
    assert_true(text_is_utf8(buf_text(&page)));
    lacks(html, "alert('1')");
    lacks(html, "<b>\"");
    lacks(html, "<i>");
    lacks(html, "\x1b");
    lacks(html, "\xe2\x80\xae");
    assert_int_equal(count_of(html, "</title></circle>") + count_of(html, "</title></rect>") + 1, count_of(html, "</title>"));
    has(html, "&lt;/title&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;&#39;&amp;&lt;b&gt;&#xFFFD;[31m&#xFFFD;&#xFFFD;");
}

TEST(what_was_not_measured_is_a_dash)
{
    for (unsigned i = 0; i < BENCH_RUN_COUNT; i++) {
        const char *html = render_one((enum bench_run)i);
        static const char *const never[] = { ">nan", "nan ", " nan", "-nan", ">inf", " inf ", "-inf", "nan\"", "inf\"" };
        for (size_t k = 0; k < ARRAY_LEN(never); k++)
            lacks(html, never[k]);
    }
    has(render_one(BENCH_RUN_EMPTY), "<dt>p99</dt><dd>-</dd>");
}

TEST(several_runs_have_a_table_of_contents_and_stand_side_by_side)
{
    const struct result *runs[BENCH_RUN_COUNT];
    for (unsigned i = 0; i < BENCH_RUN_COUNT; i++)
        runs[i] = &made[i];
    const char *html = render(runs, BENCH_RUN_COUNT);
    static const char *const parts[] = { "several runs", "<nav>", "href=\"#run1\">steady", "href=\"#run2\">spike", "</nav>", "Side by side", "<td class=\"name\">steady",
                                         ">met<", "<td class=\"name\">spike", ">missed<", "Latency, percentiles", "id=\"run1\"", "id=\"run2\"", "id=\"run6\"" };
    in_order(html, parts, ARRAY_LEN(parts));
    assert_int_equal(count_of(html, "<section "), BENCH_RUN_COUNT);
    for (unsigned i = 0; i < BENCH_RUN_COUNT; i++)
        runs[i] = &made[BENCH_RUN_STEADY];
    const struct result *many[20];
    for (unsigned i = 0; i < ARRAY_LEN(many); i++)
        many[i] = &made[BENCH_RUN_STEADY];
    has(render(many, ARRAY_LEN(many)), "Only the first eight runs are drawn.");
    const struct result *levels[] = { &made[BENCH_RUN_STEADY], &made[BENCH_RUN_SEARCH] }; /* the last one's curve is about both: it stands before them */
    static const char *const first[] = { "Side by side", "Throughput against load", "id=\"run1\"" };
    int drawn_once = count_of(render_one(BENCH_RUN_SEARCH), "Throughput against load");
    html = render(levels, 2);
    in_order(html, first, ARRAY_LEN(first));
    assert_int_equal(count_of(html, "Throughput against load"), drawn_once);
}

TEST(without_memory_or_room_it_fails_and_leaks_nothing)
{
    const struct result *run = &made[BENCH_RUN_SEARCH];
    int64_t alive = mem_alive();
    uint64_t needed = 0;
    buf_fini(&page);
    (void)mem_fault(0);
    assert_int_equal(report_html(&run, 1, &page), OK);
    needed = mem_fault(0);
    assert_true(needed > 2);
    for (uint64_t n = 1; n <= needed; n++) {
        buf_fini(&page);
        (void)mem_fault(n);
        assert_int_equal(report_html(&run, 1, &page), FAIL_NO_MEMORY);
        (void)mem_fault(0);
    }
    buf_fini(&page);
    buf_init(&page, 1000);
    assert_int_equal(report_html(&run, 1, &page), FAIL_TOO_LARGE);
    buf_fini(&page);
    assert_int_equal(mem_alive(), alive);
}

static void figure(double value, enum figure_unit unit, const char *expected, const char *expected_short)
{
    char out[FIGURE_MAX];
    assert_string_equal(figure_print(out, value, unit), expected);
    assert_string_equal(figure_print_short(out, value, unit), expected_short);
}

TEST(figures_have_three_digits_that_count_and_a_unit)
{
    figure(0, FIGURE_MS, "0 ms", "0 ms");
    figure(0.0478, FIGURE_MS, "47.8 us", "47.8 us");
    figure(0.9996, FIGURE_MS, "1.00 ms", "1 ms");
    figure(12.34, FIGURE_MS, "12.3 ms", "12.3 ms");
    figure(9.996, FIGURE_MS, "10.0 ms", "10 ms");
    figure(999.6, FIGURE_MS, "1.00 s", "1 s");
    figure(2100, FIGURE_MS, "2.10 s", "2.1 s");
    figure(NAN, FIGURE_MS, "-", "-");
    figure(INFINITY, FIGURE_RATE, "-", "-");
    figure(1234567, FIGURE_COUNT, "1,234,567", "1.235M");
    figure(123456, FIGURE_RATE, "123,456 /s", "123.5k /s");
    figure(7, FIGURE_COUNT, "7", "7");
    figure(0.5, FIGURE_COUNT, "0.50", "0.5");
    figure(1e17, FIGURE_COUNT, "1e+17", "1e+17");
    figure(0, FIGURE_SHARE, "0 %", "0 %");
    figure(1, FIGURE_SHARE, "100 %", "100 %");
    figure(0.00001, FIGURE_SHARE, "under 0.01 %", "under 0.01 %");
    figure(0.99999, FIGURE_SHARE, "over 99.99 %", "over 99.99 %");
    figure(0.9999, FIGURE_SHARE, "99.99 %", "99.99 %");
    figure(0.314, FIGURE_SHARE, "31.4 %", "31.4 %");
    figure(90, FIGURE_TIME, "90 s", "90 s");
    figure(1200, FIGURE_TIME, "20 min", "20 min");
    figure(10800, FIGURE_TIME, "3 h", "3 h");
    figure(113.4, FIGURE_MB, "113 MB", "113 MB");
    figure(1, FIGURE_CORES, "1.00 cores", "1");
}

TEST(text_that_no_page_may_hold_is_replaced)
{
    struct markup m = { &page, OK };
    buf_clear(&page);
    markup_text(&m, "a\xc3\xa4<&>\"'\t\xc2\x85\xed\xa0\x80\xef\xbf\xbf\xe2\x80\xa8z\xc3");
    assert_int_equal(m.fail, OK);
    struct text expected = TEXT("a\xc3\xa4&lt;&amp;&gt;&quot;&#39;&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;&#xFFFD;z&#xFFFD;");
    assert_int_equal(buf_len(&page), expected.len);
    assert_memory_equal(page.mem + page.from, expected.at, expected.len);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, make_all, drop_page)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        ROW(a_page_tells_the_verdict_first_and_then_why),
        ROW(verdicts_are_told_apart_in_words),
        ROW(charts_are_there_when_something_was_measured_and_only_then),
        ROW(nothing_comes_from_elsewhere_and_no_script_runs),
        ROW(what_comes_from_outside_is_escaped_everywhere),
        ROW(what_was_not_measured_is_a_dash),
        ROW(several_runs_have_a_table_of_contents_and_stand_side_by_side),
        ROW(without_memory_or_room_it_fails_and_leaks_nothing),
        ROW(figures_have_three_digits_that_count_and_a_unit),
        ROW(text_that_no_page_may_hold_is_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
