/* stat.h: what weir counts, times and writes about itself. Everyone above run/ counts; /metrics, `weir status` and the log show it.

   Numbers belong to the worker that counts them: one writer, no lock, relaxed stores; readers on other threads add the workers up.
   The struct of the whole process is called stats, not stat: <fcntl.h> already has a struct stat. */
#ifndef WEIR_STAT_H
#define WEIR_STAT_H

#include "base/buf.h"
#include "base/hist.h"
#include "run/loop.h"

/* ---- the rows of counters.def ---- */

enum counter {
#define COUNTER(name, kind, help) COUNTER_##name,
#define MEMBER(name, value, help) COUNTER_##name,
#include "stat/counters.def"
    COUNTER_COUNT
};

enum histogram {
#define HISTOGRAM(name, help) HISTOGRAM_##name,
#include "stat/counters.def"
    HISTOGRAM_COUNT
};

enum surface {
#define SURFACE(name, help) SURFACE_##name,
#include "stat/counters.def"
    SURFACE_COUNT
};

enum outcome {
#define OUTCOME(name, help) OUTCOME_##name,
#include "stat/counters.def"
    OUTCOME_COUNT
};

const char *counter_name(enum counter c);
const char *surface_name(enum surface s);
const char *outcome_name(enum outcome o);

/* ---- the log ---- */

#define LOG_MAGIC         0x10931e5au
#define LOG_LINE_MAX      4096            /* bytes of one line, newline included: PIPE_BUF, so that a pipe takes a line whole or not at all */
#define LOG_PENDING_MAX   (256u << 10)    /* lines a worker keeps while they cannot be written; later ones are dropped and counted */
#define LOG_WRITE_AT      (32u << 10)     /* written before the turn ends when this much lies there */

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* Where lines go, process-wide. fd keeps its number for life: log_reopen replaces what stands behind it. */
struct log {
    uint32_t magic;
    struct world *world;
    int fd;
    bool is_file;              /* a regular file: whole blocks at once, nothing blocks but the disk */
    const char *path;          /* NULL: stderr. The caller's, kept */
    pthread_mutex_t lock;      /* one writer at a time, so that lines stay whole; nothing held under it waits */
    unsigned missing;          /* lines lost since the last that was written: the next one to be written says so first */
    int missing_error;         /* and why: an errno, 0 = the reader went */
    bool torn;                 /* the last write ended within a line: the next one starts a new line first */
    _Atomic int level, format; /* enum log_level, enum log_format */
    _Atomic bool access;
    _Atomic uint64_t dropped;  /* lines from outside the workers; the workers count their own */
};

/* Sets up `log` for stderr, level info, text, access lines on. The first log of a process also serves those who have no worker. */
void log_init(struct log *log, struct world *world);
void log_fini(struct log *log);
/* Opens path for appending instead of stderr; creates it with mode 0640. NULL goes back to stderr. Blocks as files do. path must outlive the log.
   FAIL_SYSTEM with errno as the world left it, and lines go where they went before. */
MUSTUSE enum fail log_open(struct log *log, const char *path);
/* Opens the file of that name again (USR1, after a rotation); other threads may be writing. FAIL_SYSTEM as log_open. stderr: nothing to do. */
MUSTUSE enum fail log_reopen(struct log *log);
/* What a reload may change; takes effect with the next line. Any thread. */
void log_set(struct log *log, enum log_level level, enum log_format format, bool access);

/* One line: when, level, event (a static word), a message. The message is cut at 1 KiB and escaped. w is the calling thread's worker;
   NULL on a thread that has none, and then the line is written at once. Never put a prompt, a body, a header or a key in it. */
void log_line(struct worker *w, enum log_level level, const char *event, const char *format, ...) PRINTF(4, 5);
/* For a caller whose arguments cost something to make. */
bool log_wants(struct worker *w, enum log_level level);

/* One finished request. There is no place here for a prompt, a body, a header or a key. Texts may be anything: they are cut and escaped. */
struct access_line {
    struct text request_id;
    struct text client;         /* address and port */
    struct text key_name;       /* as the configuration calls it; never the key */
    struct text method, path;   /* the path is cut at its query */
    struct text model, backend; /* the model as the client named it; the last backend asked */
    struct text cache;          /* hit, miss, join, semantic, bypass */
    enum outcome outcome;
    const char *reason;         /* why it did not end well, a static word such as fail_name(); NULL = it did */
    int status;                 /* 0 = no head was sent */
    unsigned attempts;
    nanos queue, first_token, total, overhead;   /* -1 = did not happen */
    int64_t prompt_tokens, completion_tokens;    /* -1 = not known */
    uint64_t received_bytes, sent_bytes;
};
void log_access(struct worker *w, const struct access_line *line);

/* A worker's end of the log. Only log.c looks inside. */
struct log_writer {
    struct log *log;
    struct buf pending;         /* whole lines */
    struct turn_end flush;
    struct timer retry;         /* writes what waits: access lines for company, all while they could not be written */
    bool blocked;               /* the last write left something */
    int64_t second;             /* the one `stamp` shows */
    char stamp[24];             /* 2026-01-31T23:59:59. */
};
void log_writer_init(struct log_writer *lw, struct log *log);
void log_writer_fini(struct worker *w, struct log_writer *lw); /* flushes once more */

/* ---- counting ---- */

#define STATS_MAGIC       0x57a75a11u
#define STAT_WORKER_MAGIC 0x57a70e12u
#define STAT_STEPS_MAX    32 /* rows of the request's step table */
#define STAT_SOURCES_MAX  8  /* layers above that have numbers of their own */

/* One worker's numbers. */
struct stat_worker {
    uint32_t magic;
    struct stats *stats;
    struct log_writer log;
    uint64_t counters[COUNTER_COUNT]; /* gauges too: two's complement, only their sum over the workers means something */
    struct hist histograms[HISTOGRAM_COUNT];
    struct hist steps[STAT_STEPS_MAX];
    struct hist requests[SURFACE_COUNT][OUTCOME_COUNT];
};

/* Numbers that live elsewhere (backends, slots, cache), added by whoever owns them. Called on the thread that asked for the page. Either may be NULL. */
struct stat_source {
    enum fail (*metrics)(void *arg, struct buf *out); /* whole families, by the stat_put_… below */
    enum fail (*json)(void *arg, struct buf *out);    /* members "name":value with commas between them, none before or after; at least one */
    void *arg;
};

/* The whole process. */
struct stats {
    uint32_t magic;
    struct world *world;
    struct log *log;
    const char *version;
    const char *const *step_names;
    unsigned step_count;
    nanos started_at, started_wall;
    _Atomic(struct stat_worker *) workers[WORKERS_MAX]; /* by worker->index */
    _Atomic unsigned count;                             /* one more than the highest index attached */
    struct stat_source sources[STAT_SOURCES_MAX];
    unsigned source_count;
};

/* step_names: of the steps 0..step_count-1, static. log may be NULL: then log_line is silent for these workers. version is static. */
void stat_init(struct stats *s, struct world *world, struct log *log, const char *version, const char *const *step_names, unsigned step_count);
void stat_fini(struct stats *s); /* after every worker was detached */
/* Gives w its numbers and hooks it up; before the worker's thread starts. FAIL_NO_MEMORY. */
MUSTUSE enum fail stat_attach(struct stats *s, struct worker *w);
/* Flushes its log lines and unhooks it; its numbers stay in the sums until stat_fini. One that was never attached is left as it is. */
void stat_detach(struct worker *w);
/* At start-up, before workers run. */
void stat_add_source(struct stats *s, struct stat_source source);

/* A worker without numbers (unit tests of other layers) counts nothing. */
static inline void stat_count(struct worker *w, enum counter c, uint64_t n)
{
    struct stat_worker *s = w->hooks.stat;
    if (LIKELY(s != NULL))
        __atomic_store_n(&s->counters[c], s->counters[c] + n, __ATOMIC_RELAXED);
}
#define COUNT(w, name)          stat_count((w), COUNTER_##name, 1)
#define COUNT_BY(w, name, n)    stat_count((w), COUNTER_##name, (uint64_t)(n))
#define COUNT_DOWN(w, name)     stat_count((w), COUNTER_##name, (uint64_t)-1) /* gauges */

static inline void stat_record(struct worker *w, enum histogram h, nanos span)
{
    struct stat_worker *s = w->hooks.stat;
    if (LIKELY(s != NULL))
        hist_add(&s->histograms[h], span);
}
#define RECORD(w, name, span)   stat_record((w), HISTOGRAM_##name, (span))

/* Time a request spent in a step (index into step_names). */
void stat_step(struct worker *w, unsigned step, nanos span);
/* The two ends of a request: requests_started and requests_open; then outcome, class of status (0 = none was sent) and weir_request_seconds. */
void stat_request_started(struct worker *w);
void stat_request_ended(struct worker *w, enum surface surface, enum outcome outcome, int status, nanos total);

/* ---- reading; any thread ---- */

uint64_t stat_total(const struct stats *s, enum counter c);
int64_t stat_gauge(const struct stats *s, enum counter c);

/* The page /metrics: Prometheus text exposition format 0.0.4. Content-Type: */
#define STAT_METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"
/* FAIL_NO_MEMORY, FAIL_TOO_LARGE; out may then hold a part. */
MUSTUSE enum fail stat_metrics(const struct stats *s, struct buf *out);
/* The same numbers as one JSON object, with p50, p95 and p99 in milliseconds instead of buckets. */
MUSTUSE enum fail stat_json(const struct stats *s, struct buf *out);

/* For sources. name without weir_ and with its suffix; type "counter", "gauge" or "histogram"; labels already written by stat_put_label, or "". */
MUSTUSE enum fail stat_put_family(struct buf *out, const char *name, const char *type, const char *help);
MUSTUSE enum fail stat_put_u64(struct buf *out, const char *name, const char *labels, uint64_t value);
/* Families of one number each. */
struct stat_number {
    const char *name, *type, *help;
    uint64_t value;
};
MUSTUSE enum fail stat_put_numbers(struct buf *out, const struct stat_number *rows, size_t count);
MUSTUSE enum fail stat_put_double(struct buf *out, const char *name, const char *labels, double value);
/* The buckets, sum and count of one series; name ends in _seconds. */
MUSTUSE enum fail stat_put_hist(struct buf *out, const char *name, const char *labels, const struct hist *h);
/* Adds name="value" to labels (a NUL-terminated string in room bytes), after a comma if it is not the first. Value is escaped, and cut where room ends.
   The caller bounds how many values there are. */
void stat_put_label(char *labels, size_t room, const char *name, struct text value);
/* {"count":…,"mean_ms":…,"p50_ms":…,"p95_ms":…,"p99_ms":…,"max_ms":…} */
MUSTUSE enum fail stat_put_hist_json(struct buf *out, const struct hist *h);

#endif
