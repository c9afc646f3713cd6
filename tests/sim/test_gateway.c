/* test_gateway.c: seeded floods over the whole gateway (lib/flood.h says what must hold). First the seeds that once found something, then SIM_SEEDS more from
   SIM_FIRST on. `test_gateway SEED` replays one and tells what happens. */
#include "lib/child.h"
#include "lib/flood.h"
#include "lib/tls_peer.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SEEDS         10000
#define FAULT_SEEDS   1000 /* so many meet every kind of fault */
#define FAILURES      10 /* then it is one bug, or all of them; SIM_FAILURES in the environment says otherwise */
#define SEEDS_FILE    "tests/sim/seeds.txt"

/* Shared with the child that runs seeds: a seed that ends its process is told apart from the others, and the rest still run. */
struct progress {
    uint64_t at;
    struct flood_sum sum;
    uint64_t seeds;
};

static struct progress *progress;

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s != NULL && s[0] != 0 ? strtoull(s, NULL, 10) : otherwise;
}

/* Seeds next(…) until it says no; false if one failed, which is then progress->at. */
static bool run_in_child(bool (*next)(void *arg, uint64_t *out_seed), void *arg)
{
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        while (next(arg, &progress->at)) {
            flood_run(progress->at, false, &progress->sum);
            progress->seeds++;
        }
        child_ends(0);
    }
    while (waitpid(child, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct span {
    uint64_t next, end;
};

static bool next_of_span(void *arg, uint64_t *out_seed)
{
    struct span *s = arg;
    *out_seed = s->next;
    return s->next++ < s->end;
}

static void tell_sum(const char *what, unsigned failures, double seconds)
{
    const struct flood_sum *s = &progress->sum;
    printf("%s: %llu seeds in %.1f s (%.1f ms each), %llu simulated requests: %llu whole, %llu refused, %llu cut, %llu left; %llu steps; %u seeds failed\n", what, (unsigned long long)progress->seeds, seconds,
           progress->seeds ? seconds * 1000 / (double)progress->seeds : 0, (unsigned long long)s->requests, (unsigned long long)s->whole, (unsigned long long)s->refused, (unsigned long long)s->cut,
           (unsigned long long)s->left, (unsigned long long)s->steps, failures);
}

/* How many seeds had each fault, and how often it happened; and what else seeds came to. In a run of some length each one must. */
static unsigned tell_faults(void)
{
    const struct flood_sum *s = &progress->sum;
    unsigned never = 0;
#define FAULT(name, seeded_max, one_in, what) \
    printf("  %-12s in %6llu seeds, %9llu times: %s\n", #name, (unsigned long long)s->drawn[SIM_FAULT_##name], (unsigned long long)s->struck[SIM_FAULT_##name], what); \
    never += s->struck[SIM_FAULT_##name] == 0;
    SIM_FAULTS(FAULT)
#undef FAULT
#define REACHED(name, counter, what) \
    printf("  %-17s %9llu %s\n", #name, (unsigned long long)s->reached[FLOOD_##name], what); \
    never += s->reached[FLOOD_##name] == 0;
    FLOOD_REACHED(REACHED)
#undef REACHED
    printf("  breakers opened   %9llu times\n", (unsigned long long)s->breakers_opened);
    never += s->breakers_opened == 0;
    return progress->seeds >= FAULT_SEEDS ? never : 0;
}

static unsigned run_span(uint64_t first, uint64_t count)
{
    struct span span = { first, first + count };
    unsigned failures = 0;
    while (span.next < span.end && failures < number_of("SIM_FAILURES", FAILURES) && !run_in_child(next_of_span, &span)) {
        printf("seed %llu failed; replay: test_gateway %llu\n", (unsigned long long)progress->at, (unsigned long long)progress->at);
        failures++;
        span.next = progress->at + 1;
    }
    return failures;
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void seeds_that_found_something(void **state)
{
    char line[256];
    unsigned failures = 0;
    FILE *f = fopen(SEEDS_FILE, "r");
    double began = now_s();
    (void)state;
    assert_non_null(f); /* tests run in the repository's root */
    memset(progress, 0, sizeof *progress);
    while (fgets(line, sizeof line, f) != NULL)
        if (line[0] >= '0' && line[0] <= '9')
            failures += run_span(strtoull(line, NULL, 10), 1);
    fclose(f);
    tell_sum("known seeds", failures, now_s() - began);
    assert_int_equal(failures, 0);
}

static void floods(void **state)
{
    double began = now_s();
    (void)state;
    memset(progress, 0, sizeof *progress);
    unsigned failures = run_span(number_of("SIM_FIRST", 1), number_of("SIM_SEEDS", SEEDS));
    tell_sum("floods", failures, now_s() - began);
    assert_int_equal(tell_faults(), 0);
    assert_int_equal(failures, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(seeds_that_found_something), cmocka_unit_test(floods) };
    struct flood_sum sum = { 0 };
    tls_peer_start();
    if (argc > 1) {
        flood_run(strtoull(argv[1], NULL, 10), true, &sum);
        return 0;
    }
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
