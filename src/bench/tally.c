/* tally.c: counts what became of each request, and when. load.c's workers fill one each; reports read their sum. */
#include "bench/tally.h"
#include "base/mem.h"
#include <math.h>

#define OUTSIDE 0.025 /* on each side of a 95 % interval */
#define SIGMAS  8     /* a binomial's chance beyond so many is under 1e-10: the sum may begin there */

/* One writer, so a plain load and a relaxed store are enough; the live view, on another thread, sees whole words. */
#define LOAD(field)       __atomic_load_n(&(field), __ATOMIC_RELAXED)
#define STORE(field, now) __atomic_store_n(&(field), (now), __ATOMIC_RELAXED)
#define BUMP(field, n)    STORE(field, (field) + (n))

const char *tally_outcome_name(enum tally_outcome o)
{
    static const char *const names[TALLY_OUTCOMES] = {
#define OUTCOME(id, name, what) name,
#include "bench/outcomes.def"
#undef OUTCOME
    };
    ASSERT(o < TALLY_OUTCOMES);
    return names[o];
}

const char *tally_outcome_what(enum tally_outcome o)
{
    static const char *const sentences[TALLY_OUTCOMES] = {
#define OUTCOME(id, name, what) what,
#include "bench/outcomes.def"
#undef OUTCOME
    };
    ASSERT(o < TALLY_OUTCOMES);
    return sentences[o];
}

/* ---- spans ---- */

void spans_init(struct spans *s)
{
    *s = (struct spans){ .least = NEVER };
}

void spans_add(struct spans *s, nanos value)
{
    value = MAX(value, 0);
    double squares = s->squares + (double)value * (double)value;
    __atomic_store(&s->squares, &squares, __ATOMIC_RELAXED);
    if (value < s->least)
        STORE(s->least, value);
    hist_add(&s->hist, value);
}

void spans_merge(struct spans *into, const struct spans *from)
{
    double squares;
    __atomic_load(&from->squares, &squares, __ATOMIC_RELAXED);
    into->squares += squares;
    into->least = MIN(into->least, LOAD(from->least));
    hist_merge(&into->hist, &from->hist);
}

static double chance_of(double k, double n, double q)
{
    int sign;
    return exp(lgamma_r(n + 1, &sign) - lgamma_r(k + 1, &sign) - lgamma_r(n - k + 1, &sign) + k * log(q) + (n - k) * log1p(-q));
}

void spans_ranks(uint64_t n, double q, uint64_t *out_low, uint64_t *out_high)
{
    double sigma = sqrt((double)n * q * (1 - q));
    double k = MAX(0.0, floor((double)n * q - SIGMAS * sigma - SIGMAS));
    double chance = chance_of(k, (double)n, q), sum = 0;
    *out_low = 0;
    for (; k < (double)n; k++) {
        sum += chance; /* of at most k samples below */
        if (sum <= OUTSIDE)
            *out_low = (uint64_t)k + 1;
        if (sum >= 1 - OUTSIDE)
            break;
        chance *= ((double)n - k) / (k + 1) * q / (1 - q);
    }
    *out_high = (uint64_t)k + 1;
}

/* ---- windows ---- */

enum fail tally_init(struct tally *t, nanos began, nanos test_span)
{
    nanos whole = NANOS_PER_S * TALLY_WINDOWS_MAX;
    *t = (struct tally){ .began = began, .ended = began, .window_span = NANOS_PER_S * MAX(1, (test_span + whole - 1) / whole) };
    t->window_room = (uint32_t)MIN((test_span + t->window_span - 1) / t->window_span + 1, TALLY_WINDOWS_MAX);
    t->windows = mem_zero(t->window_room * sizeof(*t->windows));
    struct spans *all[] = { &t->latency, &t->service, &t->ttft, &t->itl, &t->failed, &t->lag };
    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        spans_init(all[i]);
    return t->windows != NULL ? OK : FAIL_NO_MEMORY;
}

enum fail tally_init_whole(struct tally *t, nanos began)
{
    enum fail f = tally_init(t, began, 0);
    t->window_room = 0;
    return f;
}

void tally_fini(struct tally *t)
{
    for (uint32_t i = 0; i < t->window_count; i++)
        mem_free(t->windows[i]);
    mem_free(t->windows);
    t->windows = NULL;
    t->window_count = 0;
}

/* Until there are `count` of them; those without an event of their own have what was in flight. False: no memory, or there is no room for so many. */
static bool add_windows(struct tally *t, uint32_t count)
{
    if (count > t->window_room)
        return false;
    while (t->window_count < count) {
        struct window *w = mem_zero(sizeof *w);
        if (w == NULL)
            return false;
        w->in_flight = t->in_flight;
        t->windows[t->window_count] = w;
        __atomic_store_n(&t->window_count, t->window_count + 1, __ATOMIC_RELEASE); /* a reader sees a window only when it is whole */
    }
    return true;
}

static struct window *window_at(struct tally *t, nanos at)
{
    uint64_t i = (uint64_t)(MAX(at - t->began, 0) / t->window_span);
    return i < t->window_room && add_windows(t, (uint32_t)i + 1) ? t->windows[i] : NULL;
}

/* ---- counting ---- */

void tally_started(struct tally *t, nanos at)
{
    struct window *w = window_at(t, at);
    BUMP(t->in_flight, 1);
    if (t->in_flight > t->in_flight_max)
        STORE(t->in_flight_max, t->in_flight);
    if (w == NULL)
        return;
    BUMP(w->started, 1);
    STORE(w->in_flight, t->in_flight);
}

static struct window *leave(struct tally *t, nanos at)
{
    struct window *w = window_at(t, at);
    ASSERT(t->in_flight > 0);
    BUMP(t->in_flight, -1u);
    if (at > t->ended)
        STORE(t->ended, at);
    if (w != NULL)
        STORE(w->in_flight, t->in_flight);
    return w;
}

void tally_dropped(struct tally *t, nanos at)
{
    (void)leave(t, at);
}

void tally_missed(struct tally *t)
{
    BUMP(t->missed, 1);
}

/* The mean between this answer's tokens: of its usage, because pieces are not tokens. */
static bool is_good(const struct sample *s, const struct slo *slo)
{
    nanos itl = s->tokens_out > 1 && s->first_token != 0 ? (s->ended - s->first_token) / (nanos)(s->tokens_out - 1) : 0;
    return (slo->latency == 0 || s->ended - s->intended <= slo->latency) && (slo->itl == 0 || itl <= slo->itl) &&
           (slo->ttft == 0 || (s->first_token != 0 && s->first_token - s->intended <= slo->ttft));
}

static void count_in_window(struct window *w, const struct sample *s, const struct slo *slo)
{
    BUMP(w->ended, 1);
    BUMP(w->outcomes[s->outcome], 1);
    BUMP(w->tokens_out, s->tokens_out);
    if (s->outcome == OUTCOME_OK) {
        hist_add(&w->latency, s->ended - s->intended);
        BUMP(w->good, is_good(s, slo));
    } else
        BUMP(w->failed, 1);
}

static void count_good(struct tally *t, const struct sample *s, const struct slo *slo)
{
    spans_add(&t->latency, s->ended - s->intended);
    spans_add(&t->service, s->ended - s->sent);
    if (s->first_token != 0)
        spans_add(&t->ttft, s->first_token - s->intended);
    BUMP(t->cached, s->is_cached);
    BUMP(t->good, is_good(s, slo));
}

void tally_ended(struct tally *t, const struct sample *s, const struct slo *slo)
{
    struct window *w = leave(t, s->ended);
    if (s->has_left && s->outcome == OUTCOME_OK) {
        BUMP(t->left, !s->is_warmup);
        return;
    }
    if (w != NULL)
        count_in_window(w, s, slo);
    if (s->is_warmup) {
        BUMP(t->warmup, 1);
        return;
    }
    BUMP(t->outcomes[s->outcome], 1);
    if (s->outcome == OUTCOME_OK)
        count_good(t, s, slo);
    else
        spans_add(&t->failed, s->ended - s->intended);
    if (s->outcome == OUTCOME_STATUS && s->status >= TALLY_STATUS_MIN && s->status <= TALLY_STATUS_MAX)
        BUMP(t->statuses[s->status - TALLY_STATUS_MIN], 1);
    if (s->flow < TALLY_FLOWS_MAX)
        BUMP(t->flows[s->flow], 1);
    BUMP(t->tokens_in, s->tokens_in);
    BUMP(t->tokens_out, s->tokens_out);
    BUMP(t->bytes_in, s->bytes_in);
    BUMP(t->bytes_out, s->bytes_out);
}

uint64_t tally_requests(const struct tally *t)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < TALLY_OUTCOMES; i++)
        sum += LOAD(t->outcomes[i]);
    return sum;
}

/* ---- merging ---- */

static void merge_numbers(uint64_t *into, const uint64_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        into[i] += LOAD(from[i]);
}

static void merge_window(struct window *into, const struct window *from)
{
    into->started += LOAD(from->started);
    into->ended += LOAD(from->ended);
    into->failed += LOAD(from->failed);
    into->good += LOAD(from->good);
    for (unsigned i = 0; i < TALLY_OUTCOMES; i++)
        into->outcomes[i] += LOAD(from->outcomes[i]);
    into->in_flight += LOAD(from->in_flight);
    into->tokens_out += LOAD(from->tokens_out);
    hist_merge(&into->latency, &from->latency);
}

/* Where one of them has no window yet, what it has in flight is in flight there too. */
static enum fail merge_windows(struct tally *into, const struct tally *from)
{
    uint32_t count = __atomic_load_n(&from->window_count, __ATOMIC_ACQUIRE);
    bool room = add_windows(into, count);
    for (uint32_t i = 0; i < into->window_count; i++) {
        if (i < count)
            merge_window(into->windows[i], from->windows[i]);
        else
            into->windows[i]->in_flight += LOAD(from->in_flight);
    }
    return room ? OK : FAIL_NO_MEMORY;
}

enum fail tally_merge(struct tally *into, const struct tally *from)
{
    ASSERT(into->began == from->began && into->window_span == from->window_span);
    enum fail f = merge_windows(into, from);
    merge_numbers(into->outcomes, from->outcomes, TALLY_OUTCOMES);
    merge_numbers(into->statuses, from->statuses, ARRAY_LEN(into->statuses));
    merge_numbers(into->flows, from->flows, TALLY_FLOWS_MAX);
    merge_numbers(&into->cached, &from->cached, 1);
    merge_numbers(&into->good, &from->good, 1);
    merge_numbers(&into->tokens_in, &from->tokens_in, 1);
    merge_numbers(&into->tokens_out, &from->tokens_out, 1);
    merge_numbers(&into->bytes_in, &from->bytes_in, 1);
    merge_numbers(&into->bytes_out, &from->bytes_out, 1);
    merge_numbers(&into->missed, &from->missed, 1);
    merge_numbers(&into->warmup, &from->warmup, 1);
    merge_numbers(&into->left, &from->left, 1);
    into->in_flight += LOAD(from->in_flight);
    into->in_flight_max += LOAD(from->in_flight_max);
    spans_merge(&into->latency, &from->latency);
    spans_merge(&into->service, &from->service);
    spans_merge(&into->ttft, &from->ttft);
    spans_merge(&into->itl, &from->itl);
    spans_merge(&into->failed, &from->failed);
    spans_merge(&into->lag, &from->lag);
    into->busy += LOAD(from->busy);
    into->ended = MAX(into->ended, LOAD(from->ended));
    if (into->stopped == OK)
        into->stopped = LOAD(from->stopped);
    return f;
}
