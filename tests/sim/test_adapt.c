/* test_adapt.c: concurrency control on simulated backends with known knees, beside the ways that were not taken; prints the table that chose.

   A backend serves `knee` requests at once, each for `first` until its first token and `rest` until its end. What comes on top waits in its queue (slots),
   or makes all of them slower (shares), or is refused. Times are lognormal with that sigma. The load is without end, or a share of what the knee can serve. */
#include "base/random.h"
#include "fleet/adapt.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TEST(sentence) static void sentence(void **state __attribute__((unused)))
#define PHASES_MAX 3
#define ASKED_MAX  (2 * ADAPT_MAX)
#define NO_NEWS    60.0 /* seconds: bounds a step where nobody is in flight */

static double uniform(uint64_t *chance) { return ((double)(random_step(chance) >> 11) + 0.5) / 9007199254740992.0; }

/* With mean 1. */
static double lognormal(uint64_t *chance, double sigma)
{
    double normal = sqrt(-2 * log(uniform(chance))) * cos(2 * M_PI * uniform(chance));
    return exp(sigma * normal - sigma * sigma / 2);
}

/* ---- the ways ---- */

struct way {
    uint32_t limit;
    struct adapt adapt; /* weir's */
    double exact, sum, least, lasting; /* the others' */
    uint32_t count, most;
    nanos since;
};

static void set_exact(struct way *w, double limit)
{
    w->exact = fmin(fmax(limit, 1), ADAPT_MAX);
    w->limit = (uint32_t)w->exact;
    w->count = w->most = 0;
    w->sum = 0;
}

static void begin_fixed(struct way *w) { set_exact(w, 64); }
static void begin_low(struct way *w) { set_exact(w, ADAPT_FIRST); }
static void begin_weir(struct way *w)
{
    adapt_begin(&w->adapt, 0);
    w->limit = w->adapt.limit;
}

static void take_fixed(struct way *w, const struct adapt_sample *s, nanos now) { (void)w, (void)s, (void)now; }

static bool window_is_full(struct way *w, const struct adapt_sample *s, uint32_t size)
{
    w->count++;
    w->sum += (double)s->first;
    w->most = MAX(w->most, s->in_flight);
    return w->count >= size;
}

/* Additive increase, multiplicative decrease (Chiu, Jain 1989): slow is more than twice the least mean there ever was. */
static void take_aimd(struct way *w, const struct adapt_sample *s, nanos now)
{
    if (s->began < w->since || !window_is_full(w, s, MAX(w->limit, 16u)))
        return;
    double mean = w->sum / w->count;
    w->least = w->least == 0 ? mean : fmin(w->least, mean);
    set_exact(w, mean > 2 * w->least ? w->exact * 0.8 : w->most >= w->limit ? w->exact + 1 : w->exact);
    w->since = now;
}

/* Netflix concurrency-limits, Gradient2Limit: a short mean against a lasting one, tolerance 1.5, smoothing 0.2, room for the root of the limit. */
static void take_gradient2(struct way *w, const struct adapt_sample *s, nanos now)
{
    (void)now;
    if (!window_is_full(w, s, 16))
        return;
    double mean = w->sum / w->count;
    w->lasting = w->lasting == 0 ? mean : w->lasting + (mean - w->lasting) * 2 / 101;
    if (w->lasting > 2 * mean)
        w->lasting *= 0.95;
    double gradient = fmax(0.5, fmin(1, 1.5 * w->lasting / mean));
    set_exact(w, w->most * 2 < w->limit ? w->exact : 0.8 * w->exact + 0.2 * (w->exact * gradient + sqrt(w->exact)));
}

/* Netflix concurrency-limits, VegasLimit: each sample against the least one, which is taken anew after 30 times the limit. */
static void take_vegas(struct way *w, const struct adapt_sample *s, nanos now)
{
    (void)now;
    double first = (double)s->first, unit = fmax(1, log10(w->exact));
    if (w->least == 0 || first < w->least || ++w->count >= 30 * w->limit) {
        w->least = first;
        w->count = 0;
        return;
    }
    uint32_t count = w->count;
    double queued = ceil(w->exact * (1 - w->least / first));
    if (s->in_flight * 2 >= w->limit)
        set_exact(w, queued <= unit ? w->exact + 6 * unit : queued < 3 * unit ? w->exact + unit : queued > 6 * unit ? w->exact - unit : w->exact);
    w->count = count;
}

static void take_weir(struct way *w, const struct adapt_sample *s, nanos now)
{
    if (adapt_take(&w->adapt, s, now))
        w->limit = w->adapt.limit;
}

static const struct {
    const char *name;
    void (*begin)(struct way *w);
    void (*take)(struct way *w, const struct adapt_sample *s, nanos now);
} ways[] = {
    { "fixed 64", begin_fixed, take_fixed },   { "AIMD", begin_low, take_aimd },  { "gradient2", begin_low, take_gradient2 },
    { "Vegas", begin_low, take_vegas },        { "weir", begin_weir, take_weir },
};
#define WEIR (ARRAY_LEN(ways) - 1)

/* ---- the backend and the load ---- */

enum manner { SLOTS, SHARES, REFUSES };
struct scenario {
    enum manner manner;
    double first, rest, sigma; /* seconds, seconds, of the lognormal; 0 = always the same */
    unsigned phases;
    uint32_t knees[PHASES_MAX];
    double load;     /* share of what the knee serves; 0 = without end */
    double unlucky;  /* share of requests that are refused whatever the load */
};
#define PHASE_TURNS 300 /* times first + rest; the second half is looked at */

struct outcome {
    double share;     /* of what the knee serves, or of the load */
    double mean;      /* of the limit */
    uint32_t least, most;
};

struct asked {
    double first, rest; /* still to be done */
    nanos began, first_at;
};

struct play {
    const struct scenario *scenario;
    struct way way;
    unsigned chosen;
    struct asked asked[ASKED_MAX]; /* in order of arrival; the first `served` of them are being served */
    uint32_t count, served, knee;
    double now, next_arrival;
    uint64_t arrived, chance;
    double done;
};

static void tell(struct play *p, const struct asked *a, bool is_refused)
{
    bool more = p->scenario->load == 0 || p->arrived > 0; /* a place that comes free is taken at once */
    struct adapt_sample s = { a->began, is_refused ? 0 : a->first_at - a->began, nanos_of(p->now, NANOS_PER_S) - a->began,
                              more ? MAX(p->count, p->way.limit) : p->count, is_refused };
    ways[p->chosen].take(&p->way, &s, nanos_of(p->now, NANOS_PER_S));
}

static void admit(struct play *p)
{
    const struct scenario *s = p->scenario;
    for (int refusals = 0; p->count < MIN(p->way.limit, (uint32_t)ASKED_MAX) && (s->load == 0 || p->arrived > 0);) {
        p->arrived -= s->load != 0;
        struct asked *a = &p->asked[p->count];
        *a = (struct asked){ .first = s->first * (s->sigma > 0 ? lognormal(&p->chance, s->sigma) : 1),
                             .rest = s->rest * (s->sigma > 0 ? lognormal(&p->chance, 0.5) : 1), .began = nanos_of(p->now, NANOS_PER_S) };
        if ((s->manner == REFUSES && p->count >= p->knee) || (s->unlucky > 0 && uniform(&p->chance) < s->unlucky)) {
            p->count++;
            tell(p, a, true);
            p->count--;
            if (++refusals == 20)
                return; /* the rest at the next event: there is no end of it otherwise */
            continue;
        }
        p->count++;
    }
}

static double left_of(const struct asked *a) { return a->first > 0 ? a->first : a->rest; }

/* To the next event; what ends is told. */
static void go_on(struct play *p, double until)
{
    const struct scenario *s = p->scenario;
    p->served = s->manner == SHARES ? p->count : MAX(p->served, MIN(p->count, p->knee));
    double speed = s->manner == SHARES && p->count > p->knee ? (double)p->knee / p->count : 1, step = fmin(until - p->now, NO_NEWS);
    for (uint32_t i = 0; i < p->served; i++)
        step = fmin(step, left_of(&p->asked[i]) / speed);
    if (s->load > 0)
        step = fmin(step, fmax(p->next_arrival - p->now, 0));
    p->now += step + 1e-9;
    for (uint32_t i = 0; i < p->served; i++) {
        struct asked *a = &p->asked[i];
        bool had_first = a->first <= 0;
        *(had_first ? &a->rest : &a->first) -= (step + 1e-9) * speed;
        if (!had_first && a->first <= 0)
            a->first_at = nanos_of(p->now, NANOS_PER_S);
    }
    for (uint32_t i = 0; i < p->served;) {
        struct asked a = p->asked[i];
        if (a.first > 0 || a.rest > 0) {
            i++;
            continue;
        }
        tell(p, &a, false);
        p->done++;
        memmove(&p->asked[i], &p->asked[i + 1], (--p->count - i) * sizeof a);
        p->served--;
    }
    while (s->load > 0 && p->next_arrival <= p->now) {
        p->arrived++;
        p->next_arrival += -log(uniform(&p->chance)) * (s->first + s->rest) / (p->knee * s->load);
    }
}

static void play(unsigned chosen, const struct scenario *s, uint64_t seed, struct outcome out[PHASES_MAX])
{
    static struct play p;
    p = (struct play){ .scenario = s, .chosen = chosen, .chance = seed };
    ways[chosen].begin(&p.way);
    double phase = PHASE_TURNS * (s->first + s->rest);
    for (unsigned i = 0; i < s->phases; i++) {
        double middle = (i + 0.5) * phase, end = (i + 1) * phase, limits = 0;
        p.knee = s->knees[i];
        out[i] = (struct outcome){ .least = UINT32_MAX };
        while (p.now < end) {
            bool counts = p.now >= middle;
            double before = p.now;
            if (!counts)
                p.done = 0;
            admit(&p);
            go_on(&p, end);
            if (counts) {
                limits += p.way.limit * (p.now - before);
                out[i].least = MIN(out[i].least, p.way.limit);
                out[i].most = MAX(out[i].most, p.way.limit);
            }
        }
        out[i].mean = limits / (phase / 2);
        out[i].share = p.done / (phase / 2) * (s->first + s->rest) / p.knee / (s->load > 0 ? s->load : 1);
    }
}

/* ---- the tests ---- */

static const struct {
    const char *name;
    enum manner manner;
    double first, rest, sigma;
} backends[] = {
    { "slots, 0.2 s + 5 s, all the same", SLOTS, 0.2, 5, 0 },
    { "slots, 0.2 s + 5 s, sigma 0.6", SLOTS, 0.2, 5, 0.6 },
    { "slots, 0.2 s + 5 s, sigma 1", SLOTS, 0.2, 5, 1 },
    { "slots, 1 s in one piece, sigma 0.6", SLOTS, 1, 0.001, 0.6 },
    { "shares, 0.2 s + 5 s, sigma 0.6", SHARES, 0.2, 5, 0.6 },
    { "shares, 1 s + 1 s, sigma 0.6", SHARES, 1, 1, 0.6 },
};
static const uint32_t knees[] = { 8, 32, 128 };
#define SEEDS 3

static struct scenario scenario_of(size_t backend, uint32_t knee)
{
    return (struct scenario){ .manner = backends[backend].manner, .first = backends[backend].first, .rest = backends[backend].rest,
                              .sigma = backends[backend].sigma, .phases = 1, .knees = { knee } };
}

static struct scenario moving(size_t backend)
{
    struct scenario s = scenario_of(backend, 32);
    s.phases = 3;
    s.knees[1] = 8;
    s.knees[2] = 32;
    return s;
}

TEST(the_table)
{
    struct outcome out[PHASES_MAX];
    printf("%% of what the knee serves, and the mean limit; load without end, but `half`: of a knee of 32\n");
    for (size_t b = 0; b < ARRAY_LEN(backends); b++) {
        printf("%-36s %9s %9s %9s %11s %9s %9s %9s\n", backends[b].name, "8", "32", "128", "moving: 32", "8", "32", "half");
        for (unsigned w = 0; w < ARRAY_LEN(ways); w++) {
            printf("    %-32s", ways[w].name);
            for (unsigned k = 0; k < ARRAY_LEN(knees); k++) {
                struct scenario s = scenario_of(b, knees[k]);
                play(w, &s, 1, out);
                printf(" %4.0f %4.0f", 100 * out[0].share, out[0].mean);
            }
            struct scenario s = moving(b);
            play(w, &s, 1, out);
            printf("  ");
            for (unsigned i = 0; i < 3; i++)
                printf(" %4.0f %4.0f", 100 * out[i].share, out[i].mean);
            s = scenario_of(b, 32);
            s.load = 0.5;
            play(w, &s, 1, out);
            printf(" %4.0f %4.0f\n", 100 * out[0].share, out[0].mean);
        }
    }
}

/* The most that a limit may be above the knee: what waits inside waits where nobody sees it. Who shares one thing among all hides more of it. */
static uint32_t most_of(size_t backend, uint32_t knee) { return backends[backend].manner == SHARES ? 3 * knee : knee * 3 / 2 + 4; }

TEST(a_knee_is_found_within_a_fifth_of_its_throughput)
{
    struct outcome out[PHASES_MAX];
    for (size_t b = 0; b < ARRAY_LEN(backends); b++)
        for (unsigned k = 0; k < ARRAY_LEN(knees); k++)
            for (uint64_t seed = 1; seed <= SEEDS; seed++) {
                struct scenario s = scenario_of(b, knees[k]);
                play(WEIR, &s, seed, out);
                assert_true(out[0].share > 0.8);
                assert_true(out[0].most <= most_of(b, knees[k]));
            }
}

TEST(a_knee_that_moves_is_followed_down_and_up)
{
    struct outcome out[PHASES_MAX];
    for (size_t b = 0; b < ARRAY_LEN(backends); b++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct scenario s = moving(b);
            play(WEIR, &s, seed, out);
            for (unsigned i = 0; i < s.phases; i++) {
                assert_true(out[i].share > 0.8);
                assert_true(out[i].mean <= most_of(b, s.knees[i]));
            }
        }
}

TEST(below_the_knee_it_does_not_grow_and_noise_does_not_make_it_small)
{
    struct outcome out[PHASES_MAX];
    for (size_t b = 0; b < ARRAY_LEN(backends); b++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            struct scenario s = scenario_of(b, 32);
            s.load = 0.5;
            play(WEIR, &s, seed, out);
            assert_true(out[0].share > 0.9);
            assert_true(out[0].most <= 128); /* it doubles only while every slot is in use */
            assert_true(out[0].least >= 8);
        }
}

TEST(a_single_slot_is_not_overrun)
{
    struct outcome out[PHASES_MAX];
    struct scenario s = scenario_of(1, 1);
    play(WEIR, &s, 1, out);
    assert_true(out[0].share > 0.8 && out[0].most <= ADAPT_FIRST + 1);
}

TEST(a_backend_that_refuses_instead_of_queueing_has_its_knee_too)
{
    struct outcome out[PHASES_MAX];
    for (unsigned k = 0; k < ARRAY_LEN(knees); k++) {
        struct scenario s = scenario_of(1, knees[k]);
        s.manner = REFUSES;
        play(WEIR, &s, 1, out);
        assert_true(out[0].share > 0.6 && out[0].mean <= knees[k] * 3 / 2); /* each look after refusals costs half a window */
    }
}

TEST(refusals_that_come_whatever_the_load_are_no_reason_for_less)
{
    struct outcome out[PHASES_MAX];
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct scenario s = scenario_of(1, 32);
        s.unlucky = 0.3;
        play(WEIR, &s, seed, out);
        assert_true(out[0].share > 0.8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table),
        cmocka_unit_test(a_knee_is_found_within_a_fifth_of_its_throughput),
        cmocka_unit_test(a_knee_that_moves_is_followed_down_and_up),
        cmocka_unit_test(below_the_knee_it_does_not_grow_and_noise_does_not_make_it_small),
        cmocka_unit_test(a_single_slot_is_not_overrun),
        cmocka_unit_test(a_backend_that_refuses_instead_of_queueing_has_its_knee_too),
        cmocka_unit_test(refusals_that_come_whatever_the_load_are_no_reason_for_less),
    };
    return cmocka_run_group_tests_name("adapt", tests, NULL, NULL);
}
