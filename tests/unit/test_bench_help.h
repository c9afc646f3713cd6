/* test_bench_help.h: files made from strings, and what a script sends as one string. Used by test_bench_script.c, test_bench_plan.c and test_bench_special.c. */
#ifndef TEST_BENCH_HELP_H
#define TEST_BENCH_HELP_H

#include "bench/script.h"

#include "test_base.h" /* last: cmocka takes the word fail */
#include <stdio.h>
#include <stdlib.h>

static char bench_folder[64];

static inline int bench_folder_make(void **state)
{
    (void)state;
    snprintf(bench_folder, sizeof bench_folder, "/tmp/weir_bench_XXXXXX");
    return mkdtemp(bench_folder) != NULL ? 0 : -1;
}

static inline int bench_folder_remove(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", bench_folder);
    FILE *done = popen(command, "r");
    return done != NULL ? pclose(done) : -1;
}

/* The path of a file in the test's folder; one of a few buffers. */
static inline const char *bench_file_of(const char *name, const void *bytes, size_t len)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", bench_folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
    return path;
}

static inline const char *bench_file(const char *name, const char *text)
{
    return bench_file_of(name, text, strlen(text));
}

static char bench_said[1 << 20];
static size_t bench_said_len;

static inline __attribute__((format(printf, 1, 2))) void bench_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(bench_said + bench_said_len, sizeof bench_said - bench_said_len, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof bench_said - bench_said_len);
    bench_said_len += (size_t)n;
}

/* Everything a session does, a line each: think 1000ms / METHOD PATH [stream] / headers / body. Each request is answered with `answer`; NULL: nobody is told. */
static inline const char *bench_session(const struct script *s, uint64_t number, const char *answer)
{
    struct script_session x;
    struct script_call call;
    struct buf body;
    bool is_over = false;
    bench_said_len = 0;
    bench_said[0] = '\0';
    buf_init(&body, 64u << 20);
    script_begin(&x, s, number);
    for (;;) {
        assert_int_equal(script_next(&x, &body, &call, &is_over), OK);
        if (call.think > 0)
            bench_say("think %lldms\n", (long long)(call.think / NANOS_PER_MS));
        if (is_over)
            break;
        bench_say("%.*s %.*s%s\n%.*s%.*s\n", TEXT_ARG(call.method), TEXT_ARG(call.path), call.stream ? " stream" : "", TEXT_ARG(call.headers), TEXT_ARG(call.body));
        if (call.wants_answer && answer != NULL)
            assert_int_equal(script_heard(&x, text_of(answer)), OK);
    }
    assert_int_equal(script_next(&x, &body, &call, &is_over), OK);
    assert_true(is_over); /* and stays over */
    script_end(&x);
    buf_fini(&body);
    return bench_said;
}

#endif
