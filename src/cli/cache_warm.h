/* cache_warm.h: what the parts of `weir cache warm` share: cache_lines.c (what is asked), cache_ask.c (asking it), cache_warm.c (options, progress and report). */
#ifndef WEIR_CACHE_WARM_H
#define WEIR_CACHE_WARM_H

#include "bench/load.h"

#define WARM_TASKS_MAX    256 /* questions at once: more would fill the queue of any model */
#define WARM_REASONS_MAX  16  /* why answers were not kept; weir has about ten reasons */
#define WARM_FAILURES_MAX 10  /* that are told with their sentence */

/* ---- what is asked ---- */

/* A line. Texts lie in the file. */
struct cache_question {
    uint32_t line;
    bool is_prompt;     /* text: the words to ask; else the body */
    bool lacks_model;   /* a body that names none */
    struct text path, text;
};
struct cache_lines {
    struct buf file;
    struct cache_question *at;
    uint32_t count;
};
/* model may be NULL. False after all that is wrong was told on stderr. Nothing is held then. */
MUSTUSE bool cache_lines_read(struct cache_lines *l, const char *path, const char *model);
void cache_lines_free(struct cache_lines *l);
/* The body to send. FAIL_TOO_LARGE (out's ceiling), FAIL_NO_MEMORY. */
MUSTUSE enum fail cache_lines_body(const struct cache_question *q, const char *model, struct buf *out);

/* ---- asking ---- */

struct cache_count {
    char why[32];
    uint32_t count;
};
struct cache_failure {
    uint32_t line; /* 0: none */
    char why[240];
};
/* Of all questions; one worker's. */
struct cache_warming {
    const struct load_target *target;
    const struct cache_lines *lines;
    const char *model;         /* NULL: none was named */
    const char *certified;     /* the host that its certificate must be for */
    uint32_t next;             /* the next to be asked */
    uint32_t stored, hits, bypassed, unkept, untold, failed; /* unkept: asked for again, they are not there; untold: answered without a word about a cache */
    unsigned reason_count, failure_count;
    struct cache_count reasons[WARM_REASONS_MAX];
    struct cache_failure failures[WARM_FAILURES_MAX];
    nanos not_before;          /* the server asked to be left alone until then */
    bool is_answering;         /* there was an answer, and no question since then that was sent again and again in vain */
    enum fail gone;            /* why nobody goes on asking; OK: somebody does */
    int error;                 /* of the last connect that failed, for wire_error_text */
};
static inline uint32_t cache_warming_done(const struct cache_warming *w) { return w->stored + w->hits + w->bypassed + w->unkept + w->untold + w->failed; }
/* A task: asks one question after the other until none is left, w->gone is set, or it is cancelled. arg: struct cache_warming. */
void cache_ask(struct task *t, void *arg);

#endif
