/* inner.h: what keeper.c and models.c share. */
#ifndef WEIR_KEEPER_INNER_H
#define WEIR_KEEPER_INNER_H

#include "keeper/keeper.h"
#include <sys/types.h>

#define BACKOFF_FIRST_NS (50 * NANOS_PER_MS) /* a server is back within 100 ms */
#define BACKOFF_MOST_NS  (5 * NANOS_PER_S)
#define BACKOFF_CALM_NS  (30 * NANOS_PER_S)  /* what ran this long begins anew */

/* Spans between starts of something that keeps dying. */
struct backoff {
    nanos next;
};
static inline nanos backoff_take(struct backoff *b, nanos ran)
{
    nanos now = ran >= BACKOFF_CALM_NS || b->next == 0 ? BACKOFF_FIRST_NS : b->next;
    b->next = MIN(2 * now, BACKOFF_MOST_NS);
    return now;
}

/* One llama-server. */
struct model {
    enum local_model which;
    pid_t pid;               /* 0 = none */
    uint32_t slots, generation;
    nanos started, due;      /* due: not started before */
    nanos kill_at;           /* TERM was sent; KILL follows then. 0 = not asked to end */
    struct backoff backoff;
    bool said_missing;
};

struct models {
    const struct keeper_options *options;
    struct local_state *rows;
    struct model at[LOCAL_COUNT];
};

void models_init(struct models *m, const struct keeper_options *options, struct local_state *rows);
/* Starts, stops and restarts what is due; returns when to be called again. all_off: nobody wants any model. */
nanos models_step(struct models *m, nanos now, bool all_off);
/* A child ended. False if it was none of ours. */
bool models_ended(struct models *m, pid_t pid, int status, nanos now);
bool models_are_off(const struct models *m);

/* "was killed by signal 6 (Aborted)" or "ended with exit code 1". */
const char *status_print(int status, char out[96]);
/* In a child before exec or serving: dies with its parent, whose pid was `keeper`. */
void die_with(pid_t keeper);

#endif
