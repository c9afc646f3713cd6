/* test_bench_queue.c: a law that neither the generator nor the mock knows of: Poisson arrivals at k slots with exponential service wait as Erlang's formula C says.
   QUEUE_ARRIVALS=N plays N arrivals instead of a few, and the line that it prints is read by tools/figures.py. */
#include "bench/load.h"
#include "mock/inner.h"
#include "run/sim.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define S        NANOS_PER_S
#define SLOTS    4
#define SERVICE  50  /* ms, in the mean */
#define LOAD     0.7 /* of what the slots can do: 56 arrivals a second */
#define ARRIVALS 200000
#define SIGMAS   3   /* how far from the law one seed in a few hundred would be by chance; this is always the same seed */

struct house {
    struct sim *sim;
    struct world *world;
    struct worker server, generator;
    struct load_plan plan;
    struct mock *mock;
    struct load *load;
    int listener;
};

/* Erlang 1917: the chance that all k slots are taken at load a (in slots), by the recursion of his formula B; then the mean wait. */
static double mean_wait_ms(unsigned k, double a)
{
    double b = 1;
    for (unsigned i = 1; i <= k; i++)
        b = a * b / (i + a * b);
    double c = b / (1 - a / k * (1 - b));
    return c * SERVICE / (k - a);
}

static bool is_over(void *arg)
{
    struct house *h = arg;
    return load_is_over(h->load) && task_count(&h->generator) == 0;
}

static void stop_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)number;
    mock_stop(arg);
    worker_stop(w);
}

static void open_mock(struct house *h, const char *service)
{
    struct mock_script script;
    struct complaint why;
    mock_script_init(&script);
    assert_true(mock_script_set(&script, TEXT("slots"), TEXT("4"), &why) && mock_script_set(&script, TEXT("ttft"), text_of(service), &why) &&
                mock_script_set(&script, TEXT("tokens"), TEXT("1"), &why));
    h->mock = mock_new(&h->server, &script);
    assert_non_null(h->mock);
    h->listener = h->world->listen(h->world, &h->plan.target.addrs.at[0]);
    assert_true(h->listener >= 0);
    assert_int_equal(mock_listen(h->mock, h->listener), OK);
    mock_script_fini(&script);
}

static void open_house(struct house *h, const char *service, double seconds)
{
    struct sim_options o = sim_options_default(1);
    struct script_options script = { .api = LOAD_OPENAI, .model = TEXT("mock-1") };
    struct complaint why;
    double rate = LOAD * SLOTS * 1000 / SERVICE;
    o.latency_min = o.latency_max = NANOS_PER_US;
    h->sim = sim_new(&o);
    assert_non_null(h->sim);
    h->world = sim_world(h->sim);
    h->plan = (struct load_plan){ .is_open = true, .users_max = 3000, .timeout = 3600 * S, .drain = 3600 * S };
    h->plan.pace = (struct pace_plan){ .kind = PACE_POISSON, .seed = 1, .phase_count = 1, .phases = { { (nanos)(seconds * (double)S), rate, rate } } };
    snprintf(h->plan.target.host, sizeof h->plan.target.host, "10.0.0.1:8000");
    h->plan.target.addrs.count = 1;
    assert_true(addr_from_text(&h->plan.target.addrs.at[0], TEXT("10.0.0.1"), 8000));
    assert_true(script_open(&h->plan.script, &script, &why));
    assert_int_equal(worker_init(&h->server, h->world, 0), OK);
    assert_int_equal(sim_worker(h->sim, "server", &h->server), OK);
    assert_int_equal(worker_init(&h->generator, h->world, 1), OK);
    assert_int_equal(sim_worker(h->sim, "generator", &h->generator), OK);
    open_mock(h, service);
    h->load = load_new(&h->generator, &h->plan, 0, 1, world_now(h->world) + NANOS_PER_MS);
    assert_non_null(h->load);
}

static void close_house(struct house *h)
{
    worker_stop(&h->generator);
    mail_send(&h->server, stop_letter, h->mock, 0);
    assert_true(sim_run(h->sim, NULL, NULL, 3600 * S));
    mock_free(h->mock);
    h->world->close(h->world, h->listener);
    load_free(h->load);
    worker_fini(&h->generator);
    worker_fini(&h->server);
    sim_free(h->sim);
    script_free(h->plan.script);
}

/* What the slots were really given to do, drawn again: the wait is what is left of the latency. */
static double mean_drawn_ms(uint64_t count)
{
    struct mock_span span = { .kind = SPAN_EXPONENTIAL, .span = SERVICE * NANOS_PER_MS };
    double sum = 0;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t random = i * 0x9e3779b97f4a7c15ULL; /* seed 0 */
        sum += (double)mock_span_draw(&span, &random, i);
    }
    return sum / (double)count / NANOS_PER_MS;
}

/* One run: its mean wait, and how many arrivals it is of. */
static double wait_of_run(double seconds, uint64_t *out_count)
{
    static struct house h;
    char service[32];
    snprintf(service, sizeof service, "exponential(%dms)", SERVICE);
    open_house(&h, service, seconds);
    if (!sim_run(h.sim, is_over, &h, (nanos)(seconds * (double)S) + 3600 * S))
        fail_msg("it never ends: %s", sim_why(h.sim));
    const struct tally *t = load_tally(h.load);
    *out_count = t->latency.hist.count;
    assert_int_equal(tally_requests(t), *out_count);
    assert_int_equal(t->missed, 0);
    double mean = (double)t->latency.hist.sum / (double)*out_count / NANOS_PER_MS;
    close_house(&h);
    return mean - mean_drawn_ms(*out_count);
}

/* The standard error of a mean whose samples depend on each other: that of a queue with one slot, as fast as all of these, which waits in the same way while all are
   taken, and more often (Daley, "The Serial Correlation Coefficients of Waiting Times in a Stationary Single Server Queue", 1968). */
static double standard_error_ms(double count)
{
    const double r = LOAD;
    double variance = r * (2 + 5 * r - 4 * r * r + r * r * r) / pow(1 - r, 4);
    return sqrt(variance / count) * SERVICE / SLOTS;
}

static void waits_are_erlangs(void **state)
{
    const char *wanted = getenv("QUEUE_ARRIVALS");
    double arrivals = wanted != NULL ? strtod(wanted, NULL) : ARRIVALS;
    uint64_t count;
    (void)state;
    double measured = wait_of_run(arrivals * SERVICE / (LOAD * SLOTS * 1000), &count), law = mean_wait_ms(SLOTS, LOAD * SLOTS), error = standard_error_ms((double)count);
    printf("{\"arrivals\":%llu,\"slots\":%d,\"load\":%g,\"service_ms\":%d,\"wait_ms\":%.6f,\"erlang_ms\":%.6f,\"standard_error_ms\":%.6f}\n", (unsigned long long)count, SLOTS, LOAD,
           SERVICE, measured, law, error);
    if (fabs(measured - law) > SIGMAS * error)
        fail_msg("a mean wait of %.3f ms, and Erlang's formula says %.3f ms (standard error %.3f ms)", measured, law, error);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(waits_are_erlangs) };
    return cmocka_run_group_tests_name("bench_queue", tests, NULL, NULL);
}
