/* counters.c: the tables made from counters.def, a worker's numbers and their sums. Whoever starts workers attaches them; every layer above counts. */
#include "stat/inner.h"

#define KIND_total false
#define KIND_gauge true

const struct stat_row stat_rows[] = {
#define COUNTER(name, kind, help)         { ROW_ALONE, KIND_##kind, COUNTER_##name, #name, NULL, help },
#define FAMILY(family, kind, label, help) { ROW_FAMILY, KIND_##kind, COUNTER_COUNT, #family, label, help },
#define MEMBER(name, value, help)         { ROW_MEMBER, false, COUNTER_##name, #name, value, help },
#include "stat/counters.def"
};
const unsigned stat_row_count = ARRAY_LEN(stat_rows);

const struct stat_histogram_row stat_histogram_rows[HISTOGRAM_COUNT] = {
#define HISTOGRAM(name, help) { #name, help },
#include "stat/counters.def"
};

const char *counter_name(enum counter c)
{
    static const char *const names[COUNTER_COUNT] = {
#define COUNTER(name, kind, help) #name,
#define MEMBER(name, value, help) #name,
#include "stat/counters.def"
    };
    ASSERT(c < COUNTER_COUNT);
    return names[c];
}

const char *surface_name(enum surface s)
{
    static const char *const names[SURFACE_COUNT] = {
#define SURFACE(name, help) #name,
#include "stat/counters.def"
    };
    ASSERT(s < SURFACE_COUNT);
    return names[s];
}

const char *outcome_name(enum outcome o)
{
    static const char *const names[OUTCOME_COUNT] = {
#define OUTCOME(name, help) #name,
#include "stat/counters.def"
    };
    ASSERT(o < OUTCOME_COUNT);
    return names[o];
}

/* ---- the process and its workers ---- */

void stat_init(struct stats *s, struct world *world, struct log *log, const char *version, const char *const *step_names, unsigned step_count)
{
    ASSERT(step_count <= STAT_STEPS_MAX);
    memset(s, 0, sizeof *s);
    s->magic = STATS_MAGIC;
    s->world = world;
    s->log = log;
    s->version = version;
    s->step_names = step_names;
    s->step_count = step_count;
    s->started_at = world_now(world);
    s->started_wall = world_wall(world);
}

void stat_fini(struct stats *s)
{
    CHECK(s, STATS);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        mem_free(atomic_load(&s->workers[i]));
    s->magic = 0;
}

static void turn_ended(struct worker *w, nanos busy)
{
    RECORD(w, loop_turn, busy);
}

enum fail stat_attach(struct stats *s, struct worker *w)
{
    CHECK(s, STATS);
    ASSERT(w->index < WORKERS_MAX && w->hooks.stat == NULL);
    struct stat_worker *sw = atomic_load(&s->workers[w->index]);
    if (sw == NULL) { /* else a worker of this index lived before, and its numbers go on */
        sw = mem_zero(sizeof *sw);
        if (sw == NULL)
            return FAIL_NO_MEMORY;
        sw->magic = STAT_WORKER_MAGIC;
        sw->stats = s;
    }
    log_writer_init(&sw->log, s->log);
    /* release: a reader on another thread that sees the pointer sees zeroed numbers behind it */
    atomic_store_explicit(&s->workers[w->index], sw, memory_order_release);
    if (atomic_load(&s->count) <= w->index)
        atomic_store(&s->count, w->index + 1); /* workers are attached by one thread */
    w->hooks.stat = sw;
    w->hooks.turn_ended = turn_ended;
    return OK;
}

void stat_detach(struct worker *w)
{
    struct stat_worker *sw = w->hooks.stat;
    if (sw == NULL)
        return;
    CHECK(sw, STAT_WORKER);
    log_writer_fini(w, &sw->log);
    w->hooks.stat = NULL;
    w->hooks.turn_ended = NULL;
}

void stat_add_source(struct stats *s, struct stat_source source)
{
    CHECK(s, STATS);
    ASSERT(s->source_count < STAT_SOURCES_MAX);
    s->sources[s->source_count++] = source;
}

/* ---- counting ---- */

void stat_step(struct worker *w, unsigned step, nanos span)
{
    struct stat_worker *sw = w->hooks.stat;
    if (sw == NULL)
        return;
    ASSERT(step < sw->stats->step_count);
    hist_add(&sw->steps[step], span);
}

void stat_request_started(struct worker *w)
{
    COUNT(w, requests_started);
    COUNT(w, requests_open);
}

void stat_request_ended(struct worker *w, enum surface surface, enum outcome outcome, int status, nanos total)
{
    static const enum counter of_outcome[OUTCOME_COUNT] = {
#define OUTCOME(name, help) [OUTCOME_##name] = COUNTER_request_##name,
#include "stat/counters.def"
    };
    static const enum counter of_class[] = { [2] = COUNTER_response_2xx, COUNTER_response_3xx, COUNTER_response_4xx, COUNTER_response_5xx };
    ASSERT(surface < SURFACE_COUNT && outcome < OUTCOME_COUNT && status >= 0 && status < 600);

    COUNT_DOWN(w, requests_open);
    stat_count(w, of_outcome[outcome], 1);
    if (status >= 200)
        stat_count(w, of_class[status / 100], 1);
    struct stat_worker *sw = w->hooks.stat;
    if (sw != NULL)
        hist_add(&sw->requests[surface][outcome], total);
}

/* ---- sums ---- */

uint64_t stat_total(const struct stats *s, enum counter c)
{
    CHECK(s, STATS);
    uint64_t sum = 0;
    for (unsigned i = 0; i < atomic_load(&s->count); i++) {
        const struct stat_worker *sw = atomic_load_explicit(&s->workers[i], memory_order_acquire);
        if (sw != NULL)
            sum += __atomic_load_n(&sw->counters[c], __ATOMIC_RELAXED);
    }
    if (c == COUNTER_log_lines_dropped && s->log != NULL)
        sum += atomic_load(&s->log->dropped); /* threads that have no worker lose lines too */
    return sum;
}

int64_t stat_gauge(const struct stats *s, enum counter c)
{
    /* Read beside the writers, a thing opened on one worker and closed on another may for a moment be missing from the sum: never show less than none. */
    return MAX((int64_t)stat_total(s, c), 0);
}

void stat_sum_hist(const struct stats *s, size_t offset, struct hist *into)
{
    for (unsigned i = 0; i < atomic_load(&s->count); i++) {
        const struct stat_worker *sw = atomic_load_explicit(&s->workers[i], memory_order_acquire);
        if (sw == NULL)
            continue;
        const struct hist *from = (const struct hist *)(const void *)((const char *)sw + offset);
        if (__atomic_load_n(&from->count, __ATOMIC_RELAXED) > 0) /* most are empty, and each has two thousand buckets to look at */
            hist_merge(into, from);
    }
}
