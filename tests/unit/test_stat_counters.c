/* test_stat_counters.c: counting, adding the workers up, and both pages of numbers. */
#include "base/json.h"
#include "stat/stat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h> /* last: it makes `fail` a macro */

static const char *const step_names[] = { "head", "route", "record" };

static nanos clock_now, clock_wall;
static nanos fake_now(struct world *w) { (void)w; return clock_now; }
static nanos fake_wall(struct world *w) { (void)w; return clock_wall; }
static struct world fake_world = { .name = "fake", .now = fake_now, .wall = fake_wall };

/* Numbers need no loop: a worker's index and hooks are all they touch. */
struct fixture {
    struct stats stats;
    struct worker workers[2];
    struct buf page;
};

static void begin(struct fixture *f)
{
    clock_now = 5 * NANOS_PER_S;
    clock_wall = 1700000000 * NANOS_PER_S;
    memset(f, 0, sizeof *f);
    stat_init(&f->stats, &fake_world, NULL, "1.2.3", step_names, ARRAY_LEN(step_names));
    for (unsigned i = 0; i < ARRAY_LEN(f->workers); i++) {
        f->workers[i].index = i;
        assert_int_equal(stat_attach(&f->stats, &f->workers[i]), OK);
    }
    buf_init(&f->page, 4u << 20);
}

static void end(struct fixture *f)
{
    buf_fini(&f->page);
    for (unsigned i = 0; i < ARRAY_LEN(f->workers); i++)
        stat_detach(&f->workers[i]);
    stat_fini(&f->stats);
}

static const char *metrics(struct fixture *f)
{
    buf_clear(&f->page);
    assert_int_equal(stat_metrics(&f->stats, &f->page), OK);
    assert_int_equal(buf_add(&f->page, "", 1), OK);
    return buf_text(&f->page).at;
}

static bool has_line(const char *page, const char *line)
{
    size_t len = strlen(line);
    for (const char *at = page; (at = strstr(at, line)) != NULL; at += len)
        if ((at == page || at[-1] == '\n') && at[len] == '\n')
            return true;
    return false;
}

/* ---- counting ---- */

static void test_workers_add_up(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    COUNT(&f.workers[0], attempts);
    COUNT_BY(&f.workers[1], attempts, 41);
    COUNT(&f.workers[1], failovers);
    assert_int_equal(stat_total(&f.stats, COUNTER_attempts), 42);
    assert_int_equal(stat_total(&f.stats, COUNTER_failovers), 1);
    assert_int_equal(stat_total(&f.stats, COUNTER_streams_cut), 0);
    end(&f);
}

static void test_gauge_survives_a_move_between_workers(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    for (int i = 0; i < 3; i++)
        COUNT(&f.workers[0], connections_open);
    COUNT_DOWN(&f.workers[1], connections_open); /* worker 1 is below zero, the sum is right */
    assert_int_equal(stat_gauge(&f.stats, COUNTER_connections_open), 2);
    assert_true(has_line(metrics(&f), "weir_connections_open 2"));
    COUNT_DOWN(&f.workers[1], connections_open);
    COUNT_DOWN(&f.workers[1], connections_open);
    COUNT_DOWN(&f.workers[1], connections_open);
    assert_int_equal(stat_gauge(&f.stats, COUNTER_connections_open), 0); /* never less than none */
    end(&f);
}

static void test_without_numbers_nothing_happens(void **state)
{
    (void)state;
    struct worker bare = { .index = 0 };
    COUNT(&bare, attempts);
    RECORD(&bare, attempt, 5);
    stat_step(&bare, 99, 5);
    stat_request_started(&bare);
    stat_request_ended(&bare, SURFACE_openai, OUTCOME_failed, 502, 5);
}

static void test_numbers_outlive_their_worker(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    COUNT_BY(&f.workers[0], attempts, 7);
    stat_detach(&f.workers[0]);
    assert_int_equal(stat_total(&f.stats, COUNTER_attempts), 7);
    assert_int_equal(stat_attach(&f.stats, &f.workers[0]), OK);
    COUNT(&f.workers[0], attempts);
    assert_int_equal(stat_total(&f.stats, COUNTER_attempts), 8);
    end(&f);
}

static void test_a_request_is_counted_at_both_ends(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    static const struct {
        enum outcome outcome;
        int status;
        enum counter outcome_counter, class_counter;
    } rows[] = {
        { OUTCOME_answered, 200, COUNTER_request_answered, COUNTER_response_2xx },
        { OUTCOME_cached, 304, COUNTER_request_cached, COUNTER_response_3xx },
        { OUTCOME_refused, 429, COUNTER_request_refused, COUNTER_response_4xx },
        { OUTCOME_failed, 502, COUNTER_request_failed, COUNTER_response_5xx },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        stat_request_started(&f.workers[0]);
        assert_int_equal(stat_gauge(&f.stats, COUNTER_requests_open), 1);
        stat_request_ended(&f.workers[0], SURFACE_ollama, rows[i].outcome, rows[i].status, 3 * NANOS_PER_MS);
        assert_int_equal(stat_gauge(&f.stats, COUNTER_requests_open), 0);
        assert_int_equal(stat_total(&f.stats, rows[i].outcome_counter), 1);
        assert_int_equal(stat_total(&f.stats, rows[i].class_counter), 1);
    }
    stat_request_started(&f.workers[0]);
    stat_request_ended(&f.workers[0], SURFACE_ollama, OUTCOME_cancelled, 0, NANOS_PER_MS); /* no head was sent: no class */
    assert_int_equal(stat_total(&f.stats, COUNTER_request_cancelled), 1);
    assert_int_equal(stat_total(&f.stats, COUNTER_response_2xx) + stat_total(&f.stats, COUNTER_response_3xx) +
                     stat_total(&f.stats, COUNTER_response_4xx) + stat_total(&f.stats, COUNTER_response_5xx), ARRAY_LEN(rows));
    assert_int_equal(stat_total(&f.stats, COUNTER_requests_started), ARRAY_LEN(rows) + 1);
    end(&f);
}

static void *count_much(void *arg)
{
    struct worker *w = arg;
    for (int i = 0; i < 200000; i++) {
        COUNT(w, attempts);
        RECORD(w, attempt, i);
    }
    return NULL;
}

static void test_reading_beside_the_writers(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    pthread_t threads[2];
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_much, &f.workers[i]), 0);
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        uint64_t now = stat_total(&f.stats, COUNTER_attempts);
        assert_true(now >= before);
        before = now;
        metrics(&f);
    }
    for (unsigned i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(stat_total(&f.stats, COUNTER_attempts), 400000);
    end(&f);
}

/* ---- the page ---- */

struct family {
    char name[96], type[16];
};

/* Whether a sample of this name belongs to the family that was announced. */
static bool belongs(const struct family *family, const char *name)
{
    size_t len = strlen(family->name);
    if (strncmp(name, family->name, len) != 0)
        return false;
    const char *rest = name + len;
    if (strcmp(family->type, "histogram") != 0)
        return *rest == '\0';
    return strcmp(rest, "_bucket") == 0 || strcmp(rest, "_sum") == 0 || strcmp(rest, "_count") == 0;
}

/* HELP then TYPE then samples of that family only, no family twice, counters end in _total and others do not. Returns the number of samples. */
static unsigned check_page(const char *page)
{
    static char seen[200][96];
    unsigned families = 0, samples = 0;
    struct family now = { "", "" };
    for (const char *line = page; *line != '\0'; line = strchr(line, '\n') + 1) {
        char name[96], type[16];
        assert_non_null(strchr(line, '\n'));
        if (sscanf(line, "# HELP %95s ", name) == 1) {
            for (unsigned i = 0; i < families; i++)
                assert_string_not_equal(seen[i], name);
            assert_true(families < ARRAY_LEN(seen));
            snprintf(seen[families++], sizeof seen[0], "%s", name);
            const char *next = strchr(line, '\n') + 1;
            assert_int_equal(sscanf(next, "# TYPE %95s %15s", now.name, type), 2);
            assert_string_equal(now.name, name);
            snprintf(now.type, sizeof now.type, "%s", type);
            size_t len = strlen(name);
            assert_int_equal(strcmp(type, "counter") == 0, len > 6 && strcmp(name + len - 6, "_total") == 0);
            line = next;
            continue;
        }
        assert_int_equal(sscanf(line, "%95[a-z0-9_]", name), 1);
        assert_true(belongs(&now, name));
        samples++;
    }
    return samples;
}

static void test_page_is_well_formed(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    unsigned idle = check_page(metrics(&f));
    assert_true(idle > COUNTER_COUNT);
    for (int s = 0; s < SURFACE_COUNT; s++)
        for (int o = 0; o < OUTCOME_COUNT; o++)
            stat_request_ended(&f.workers[0], s, o, 200, NANOS_PER_S);
    for (unsigned i = 0; i < ARRAY_LEN(step_names); i++)
        stat_step(&f.workers[1], i, NANOS_PER_MS);
    assert_int_equal(check_page(metrics(&f)), idle + (SURFACE_COUNT * OUTCOME_COUNT + ARRAY_LEN(step_names)) * 28);
    end(&f);
}

static void test_page_shows_every_row(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    for (int c = 0; c < COUNTER_COUNT; c++)
        stat_count(&f.workers[0], c, 1000 + (uint64_t)c);
    const char *page = metrics(&f);
    for (int c = 0; c < COUNTER_COUNT; c++) {
        char value[16];
        snprintf(value, sizeof value, " %d\n", 1000 + c);
        assert_non_null(strstr(page, value)); /* each value is a number of its own */
    }
    assert_non_null(strstr(page, "# TYPE weir_attempts_total counter\n"));
    assert_non_null(strstr(page, "# TYPE weir_connections_open gauge\n"));
    assert_non_null(strstr(page, "\nweir_requests_total{outcome=\"answered\"} "));
    assert_non_null(strstr(page, "\nweir_timeouts_total{kind=\"first_token\"} "));
    assert_true(has_line(page, "weir_build_info{version=\"1.2.3\"} 1"));
    assert_true(has_line(page, "process_start_time_seconds 1700000000"));
    assert_non_null(strstr(page, "\nprocess_resident_memory_bytes "));
    assert_null(strstr(page, "\nprocess_resident_memory_bytes 0\n"));
    assert_null(strstr(page, "\nprocess_open_fds 0\n"));
    end(&f);
}

static void test_histogram_buckets(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    RECORD(&f.workers[0], first_token, 3 * NANOS_PER_MS);
    RECORD(&f.workers[1], first_token, 300 * NANOS_PER_MS);
    RECORD(&f.workers[1], first_token, 2 * 3600 * NANOS_PER_S); /* past the last bucket */
    const char *page = metrics(&f);
    assert_true(has_line(page, "weir_first_token_seconds_bucket{le=\"0.0025\"} 0"));
    assert_true(has_line(page, "weir_first_token_seconds_bucket{le=\"0.005\"} 1"));
    assert_true(has_line(page, "weir_first_token_seconds_bucket{le=\"0.25\"} 1"));
    assert_true(has_line(page, "weir_first_token_seconds_bucket{le=\"0.5\"} 2"));
    assert_true(has_line(page, "weir_first_token_seconds_bucket{le=\"640\"} 2"));
    assert_true(has_line(page, "weir_first_token_seconds_bucket{le=\"+Inf\"} 3"));
    assert_true(has_line(page, "weir_first_token_seconds_sum 7200.303000000"));
    assert_true(has_line(page, "weir_first_token_seconds_count 3"));
    stat_request_ended(&f.workers[0], SURFACE_openai, OUTCOME_answered, 200, NANOS_PER_S);
    page = metrics(&f);
    assert_true(has_line(page, "weir_request_seconds_count{surface=\"openai\",outcome=\"answered\"} 1"));
    assert_null(strstr(page, "surface=\"ollama\"")); /* what never happened takes no series */
    end(&f);
}

static void test_turns_are_timed(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    f.workers[1].hooks.turn_ended(&f.workers[1], 7 * NANOS_PER_MS);
    assert_true(has_line(metrics(&f), "weir_loop_turn_seconds_sum 0.007000000"));
    end(&f);
}

/* ---- sources and labels ---- */

static enum fail two_backends(void *arg, struct buf *out)
{
    char labels[64] = "";
    stat_put_label(labels, sizeof labels, "backend", text_of(arg));
    enum fail f = stat_put_family(out, "backend_slots", "gauge", "Slots of each backend.");
    return f != OK ? f : stat_put_double(out, "backend_slots", labels, 2.5);
}

static enum fail backends_json(void *arg, struct buf *out)
{
    (void)arg;
    return buf_printf(out, "\"backends\":[]");
}

static void test_sources_add_their_own(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    char name[] = "gpu\"1\\\n\xff";
    stat_add_source(&f.stats, (struct stat_source){ two_backends, backends_json, name });
    const char *page = metrics(&f);
    check_page(page);
    assert_true(has_line(page, "weir_backend_slots{backend=\"gpu\\\"1\\\\\\n\xef\xbf\xbd\"} 2.5"));
    end(&f);
}

static void test_label_is_cut_whole(void **state)
{
    (void)state;
    char labels[16] = "";
    stat_put_label(labels, sizeof labels, "m", TEXT("0123456789abcdef"));
    assert_string_equal(labels, "m=\"0123456789a\"");
    labels[0] = '\0';
    stat_put_label(labels, sizeof labels, "m", TEXT("0123456789\xc3\xa9")); /* half of a character would be no UTF-8 */
    assert_string_equal(labels, "m=\"0123456789\"");
    labels[0] = '\0';
    stat_put_label(labels, sizeof labels, "m", TEXT("0123456789\"")); /* nor half of an escape */
    assert_string_equal(labels, "m=\"0123456789\"");
    labels[0] = '\0';
    stat_put_label(labels, sizeof labels, "a", TEXT("1"));
    stat_put_label(labels, sizeof labels, "b", TEXT("2"));
    assert_string_equal(labels, "a=\"1\",b=\"2\"");
}

/* ---- JSON ---- */

static double number_at(yyjson_doc *doc, const char *pointer)
{
    yyjson_val *v = yyjson_doc_ptr_get(doc, pointer);
    assert_non_null(v);
    return yyjson_get_num(v);
}

static void test_json_has_the_same_numbers(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    stat_add_source(&f.stats, (struct stat_source){ NULL, backends_json, NULL });
    COUNT_BY(&f.workers[0], tokens_prompt, 17);
    COUNT(&f.workers[1], streams_open);
    for (int i = 1; i <= 100; i++)
        stat_step(&f.workers[i % 2], 1, i * NANOS_PER_MS);
    stat_request_ended(&f.workers[0], SURFACE_query, OUTCOME_cached, 200, 250 * NANOS_PER_MS);
    clock_now += 1500 * NANOS_PER_MS;
    assert_int_equal(stat_json(&f.stats, &f.page), OK);

    struct arena arena;
    arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    yyjson_doc *doc;
    assert_int_equal(json_parse(&arena, buf_text(&f.page), &doc, NULL), OK);
    assert_string_equal(yyjson_get_str(yyjson_doc_ptr_get(doc, "/version")), "1.2.3");
    assert_string_equal(yyjson_get_str(yyjson_doc_ptr_get(doc, "/started_at")), "2023-11-14T22:13:20Z");
    assert_float_equal(number_at(doc, "/uptime_seconds"), 1.5, 1e-9);
    assert_float_equal(number_at(doc, "/workers"), 2, 0);
    assert_float_equal(number_at(doc, "/counters/tokens_prompt"), 17, 0);
    assert_float_equal(number_at(doc, "/counters/streams_open"), 1, 0);
    assert_float_equal(number_at(doc, "/steps/route/count"), 100, 0);
    assert_float_equal(number_at(doc, "/steps/route/mean_ms"), 50.5, 0.001);
    assert_float_equal(number_at(doc, "/steps/route/p50_ms"), 50, 0.8);
    assert_float_equal(number_at(doc, "/steps/route/p95_ms"), 95, 1.5);
    assert_float_equal(number_at(doc, "/steps/route/p99_ms"), 99, 1.6);
    assert_float_equal(number_at(doc, "/steps/route/max_ms"), 100, 0);
    assert_float_equal(number_at(doc, "/steps/head/count"), 0, 0);
    assert_float_equal(number_at(doc, "/spans/loop_turn/count"), 0, 0);
    assert_float_equal(number_at(doc, "/requests/query/cached/count"), 1, 0);
    assert_true(number_at(doc, "/process/resident_memory_bytes") > 0);
    assert_true(yyjson_is_arr(yyjson_doc_ptr_get(doc, "/backends")));
    assert_int_equal(yyjson_obj_size(yyjson_doc_ptr_get(doc, "/counters")), COUNTER_COUNT);
    arena_fini(&arena);
    end(&f);
}

/* ---- the world fails ---- */

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    int64_t alive = mem_alive();
    for (uint64_t nth = 1, done = 0; done < 2; nth++) {
        assert_true(nth < 200);
        struct buf page;
        buf_init(&page, 4u << 20);
        (void)mem_fault(nth);
        enum fail got = done == 0 ? stat_metrics(&f.stats, &page) : stat_json(&f.stats, &page);
        (void)mem_fault(0);
        buf_fini(&page);
        assert_int_equal(mem_alive(), alive);
        assert_true(got == OK || got == FAIL_NO_MEMORY);
        if (nth == 1)
            assert_int_equal(got, FAIL_NO_MEMORY);
        if (got == OK) {
            print_message("%s: %d allocations failed in turn\n", done == 0 ? "metrics" : "json", (int)nth - 1);
            done++;
            nth = 0;
        }
    }
    end(&f);
}

static void test_page_has_a_ceiling(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct buf small;
    buf_init(&small, 1000);
    assert_int_equal(stat_metrics(&f.stats, &small), FAIL_TOO_LARGE);
    buf_clear(&small);
    assert_int_equal(stat_json(&f.stats, &small), FAIL_TOO_LARGE);
    assert_true(buf_len(&small) <= 1000);
    buf_fini(&small);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers_add_up),
        cmocka_unit_test(test_gauge_survives_a_move_between_workers),
        cmocka_unit_test(test_without_numbers_nothing_happens),
        cmocka_unit_test(test_numbers_outlive_their_worker),
        cmocka_unit_test(test_a_request_is_counted_at_both_ends),
        cmocka_unit_test(test_reading_beside_the_writers),
        cmocka_unit_test(test_page_is_well_formed),
        cmocka_unit_test(test_page_shows_every_row),
        cmocka_unit_test(test_histogram_buckets),
        cmocka_unit_test(test_turns_are_timed),
        cmocka_unit_test(test_sources_add_their_own),
        cmocka_unit_test(test_label_is_cut_whole),
        cmocka_unit_test(test_json_has_the_same_numbers),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_page_has_a_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
