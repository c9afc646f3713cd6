/* load_real.c: a whole load test with threads of its own, and whether it counts. Called by `weir bench`. */
#include "bench/load.h"
#include "run/task.h"
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <time.h>

#define START_NS    (20 * NANOS_PER_MS) /* until the threads are there, who all count from one moment */
#define LOOK_NS     (50 * NANOS_PER_MS) /* how soon *stop is seen */
#define LAG_MIN_NS  NANOS_PER_MS        /* a scheduler's own: what is measured in milliseconds does not suffer from less */
#define LAG_SHARE   0.1                 /* of what is measured, quantile by quantile */
#define BUSY_SHARE  0.9                 /* of a processor: above, a request more is a request later */

/* ---- does it count? ---- */

static const char *why_stopped(const struct tally *t, char out[200])
{
    if (t->stopped == FAIL_NO_DESCRIPTORS)
        snprintf(out, 200, "the generator ran out of descriptors or local ports with %u requests in flight; ulimit -n says how many descriptors it may have",
                 t->in_flight_max);
    else if (t->stopped == FAIL_NO_MEMORY)
        snprintf(out, 200, "the generator ran out of memory with %u requests in flight", t->in_flight_max);
    else if (t->stopped == FAIL_BAD_REQUEST)
        snprintf(out, 200, "a request could not be written: its method, path or a header has a blank or a control byte");
    else
        snprintf(out, 200, "the generator could not go on: %s", fail_row(t->stopped)->text);
    return out;
}

/* Of what is reported the shortest, at this quantile: lag spoils it first. Where nothing was good, failures are what is reported. */
static nanos reported(const struct tally *t, double q)
{
    nanos whole = hist_quantile(t->latency.hist.count > 0 ? &t->latency.hist : &t->failed.hist, q);
    return t->ttft.hist.count > 0 ? MIN(whole, hist_quantile(&t->ttft.hist, q)) : whole;
}

/* Of few moments of lag one or two may be a scheduler's whim; so it is the lower end of the quantile's 95 % interval that must be too high. */
static bool is_late(const struct tally *t, double q, nanos bound)
{
    uint64_t n = t->lag.hist.count, low, high;
    spans_ranks(n, q, &low, &high);
    return low > 0 && low <= n && hist_quantile(&t->lag.hist, ((double)low - 0.5) / (double)n) > bound;
}

static bool was_late(const struct tally *t, char out[200])
{
    static const double judged[] = { 0.5, 0.9, 0.99 };
    char words[3][24];
    for (size_t i = 0; i < ARRAY_LEN(judged); i++) {
        double q = judged[i];
        nanos span = reported(t, q), bound = MAX(LAG_MIN_NS, (nanos)(LAG_SHARE * (double)span));
        if (!is_late(t, q, bound))
            continue;
        snprintf(out, 200, "the generator was late: p%g of its lag is %s, and only %s is allowed (the larger of 1ms and a tenth of p%g of what it measured, %s)", 100 * q,
                 nanos_print(hist_quantile(&t->lag.hist, q), words[0]), nanos_print(bound, words[1]), 100 * q, nanos_print(span, words[2]));
        return true;
    }
    return false;
}

double load_busy(const struct load_plan *plan, const struct tally *t, unsigned worker_count)
{
    nanos span = MIN(t->ended - t->began, pace_span(&plan->pace));
    return span > 0 ? (double)t->busy / ((double)span * worker_count) : 0;
}

const char *load_invalid(const struct load_plan *plan, const struct tally *t, unsigned worker_count, char out[200])
{
    double share = load_busy(plan, t, worker_count);
    if (t->stopped != OK)
        return why_stopped(t, out);
    if (tally_requests(t) == 0)
        snprintf(out, 200, "no request ended%s", t->warmup > 0 ? " after the warm-up" : "");
    else if (t->missed > 0)
        snprintf(out, 200, "%llu requests were due while %u were in flight already, and were not sent", (unsigned long long)t->missed, plan->users_max);
    else if (was_late(t, out))
        return out;
    else if (share > BUSY_SHARE)
        snprintf(out, 200, "the generator's threads were busy %.0f %% of the time, and only %.0f %% is allowed: more workers, or a smaller load", 100 * share,
                 100 * BUSY_SHARE);
    else
        return NULL;
    return out;
}

/* ---- threads ---- */

struct run;
struct seat {
    struct run *run;
    struct worker worker;
    struct load *load;
    pthread_t thread;
    nanos busy; /* of the thread, until the plan had ended; 0: it has not */
};

struct run {
    struct world *world;
    unsigned count, alive;
    nanos began, ends; /* of the plan */
    pthread_mutex_t lock; /* of alive */
    pthread_cond_t ended;
    struct seat seats[];
};

static nanos thread_time(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (nanos)ts.tv_sec * NANOS_PER_S + ts.tv_nsec;
}

/* Once. The live view may be looking. */
static void note_busy(struct seat *seat)
{
    if (seat->busy == 0)
        __atomic_store_n(&seat->busy, thread_time(), __ATOMIC_RELAXED);
}

static void *work(void *arg)
{
    struct seat *seat = arg;
    struct run *r = seat->run;
    prctl(PR_SET_TIMERSLACK, 1); /* the kernel wakes us when a request is due, and not up to 50 us later */
    task_thread_begin();
    while (!load_is_over(seat->load)) { /* at the latest when drained */
        worker_turn(&seat->worker, NEVER);
        if (seat->worker.now >= r->ends)
            note_busy(seat);
    }
    worker_stop(&seat->worker);
    worker_run(&seat->worker);
    task_thread_end();
    pthread_mutex_lock(&r->lock);
    note_busy(seat); /* it was stopped */
    r->alive--;
    pthread_cond_signal(&r->ended);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

static void stop_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)w, (void)number;
    if (!load_is_over(arg))
        load_stop(arg);
}

static void stop_all(struct run *r)
{
    for (unsigned i = 0; i < r->count; i++)
        mail_send(&r->seats[i].worker, stop_letter, r->seats[i].load, 0);
}

static enum fail sum_up(struct run *r, nanos span, struct tally *out)
{
    enum fail f = tally_init(out, r->began, span);
    for (unsigned i = 0; i < r->count && f == OK; i++) {
        f = tally_merge(out, load_tally(r->seats[i].load));
        out->busy += __atomic_load_n(&r->seats[i].busy, __ATOMIC_RELAXED);
    }
    return f;
}

/* All of them, or none is left. */
static enum fail sum_up_parts(const struct run *r, const struct load_parts *parts)
{
    unsigned made = 0;
    enum fail f = OK;
    for (; parts != NULL && made < parts->count && f == OK; made++) {
        f = tally_init_whole(&parts->tallies[made], r->began);
        for (unsigned i = 0; i < r->count && f == OK; i++)
            f = tally_merge(&parts->tallies[made], load_part(r->seats[i].load, made));
    }
    for (unsigned i = 0; f != OK && i < made; i++)
        tally_fini(&parts->tallies[i]);
    return f;
}

static void tell(struct run *r, nanos span, void (*each)(const struct tally *so_far, nanos elapsed, void *arg), void *arg)
{
    struct tally *so_far = mem_alloc(sizeof *so_far);
    if (so_far == NULL)
        return; /* a look less */
    if (sum_up(r, span, so_far) == OK)
        each(so_far, MAX(world_now(r->world) - r->began, 0), arg);
    tally_fini(so_far);
    mem_free(so_far);
}

/* Until no thread is left. */
static void watch(struct run *r, nanos span, nanos every, void (*each)(const struct tally *so_far, nanos elapsed, void *arg), void *arg, const volatile bool *stop)
{
    nanos next = r->began + every;
    bool stopped = false;
    pthread_mutex_lock(&r->lock);
    while (r->alive > 0) {
        nanos until = world_now(r->world) + LOOK_NS;
        struct timespec ts = { .tv_sec = until / NANOS_PER_S, .tv_nsec = until % NANOS_PER_S };
        (void)pthread_cond_timedwait(&r->ended, &r->lock, &ts);
        pthread_mutex_unlock(&r->lock);
        if (*stop && !stopped)
            stop_all(r);
        stopped = stopped || *stop;
        for (; each != NULL && !stopped && world_now(r->world) >= next; next += every)
            tell(r, span, each, arg);
        pthread_mutex_lock(&r->lock);
    }
    pthread_mutex_unlock(&r->lock);
}

/* How many have a thread; the others have none, and no load either. */
static unsigned start_all(struct run *r, const struct load_plan *plan, unsigned workers, enum fail *out_fail)
{
    for (unsigned i = 0; i < workers; i++) {
        struct seat *seat = &r->seats[i];
        seat->run = r;
        *out_fail = worker_init(&seat->worker, r->world, i);
        if (*out_fail != OK)
            return i;
        seat->load = load_new(&seat->worker, plan, i, workers, r->began);
        pthread_mutex_lock(&r->lock);
        r->alive++;
        pthread_mutex_unlock(&r->lock);
        if (seat->load != NULL && pthread_create(&seat->thread, NULL, work, seat) == 0)
            continue;
        pthread_mutex_lock(&r->lock);
        r->alive--;
        pthread_mutex_unlock(&r->lock);
        *out_fail = FAIL_NO_MEMORY;
        if (seat->load != NULL) {
            load_stop(seat->load);
            load_free(seat->load);
        }
        worker_fini(&seat->worker);
        return i;
    }
    return workers;
}

static struct run *run_new(unsigned workers, nanos span)
{
    struct run *r = mem_zero(sizeof *r + workers * sizeof r->seats[0]);
    pthread_condattr_t monotonic;
    if (r == NULL)
        return NULL;
    r->world = world_real_new(0);
    if (r->world == NULL) {
        mem_free(r);
        return NULL;
    }
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    r->began = world_now(r->world) + START_NS;
    r->ends = r->began + span;
    return r;
}

static void run_free(struct run *r)
{
    for (unsigned i = 0; i < r->count; i++) {
        load_free(r->seats[i].load);
        worker_fini(&r->seats[i].worker);
    }
    pthread_cond_destroy(&r->ended);
    pthread_mutex_destroy(&r->lock);
    world_real_free(r->world);
    mem_free(r);
}

enum fail load_run(const struct load_plan *plan, unsigned workers, nanos every, void (*each)(const struct tally *so_far, nanos elapsed, void *arg), void *arg,
                   const volatile bool *stop, struct tally *out)
{
    enum fail f = OK;
    nanos span = pace_span(&plan->pace) + plan->drain;
    ASSERT(workers > 0 && workers <= WORKERS_MAX && every > 0);
    struct run *r = run_new(workers, pace_span(&plan->pace));
    if (r == NULL)
        return FAIL_NO_MEMORY;
    r->count = start_all(r, plan, workers, &f);
    if (f != OK)
        stop_all(r);
    watch(r, span, every, f == OK ? each : NULL, arg, stop);
    for (unsigned i = 0; i < r->count; i++)
        pthread_join(r->seats[i].thread, NULL);
    if (f == OK) {
        f = sum_up(r, span, out);
        f = f == OK ? sum_up_parts(r, plan->parts) : f;
        if (f != OK)
            tally_fini(out);
    }
    run_free(r);
    return f;
}
