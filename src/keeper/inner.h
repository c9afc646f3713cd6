/* inner.h: what the files of keeper/ share: keeper.c, upgrade.c and handover.c, models.c. */
#ifndef WEIR_KEEPER_INNER_H
#define WEIR_KEEPER_INNER_H

#include "keeper/keeper.h"
#include <sys/types.h>

#define BACKOFF_FIRST_NS (50 * NANOS_PER_MS) /* a server is back within 100 ms */
#define BACKOFF_MOST_NS  (5 * NANOS_PER_S)
#define BACKOFF_CALM_NS  (30 * NANOS_PER_S)  /* what ran this long begins anew */

static inline nanos backoff_take(struct backoff *b, nanos ran)
{
    nanos now = ran >= BACKOFF_CALM_NS || b->next == 0 ? BACKOFF_FIRST_NS : b->next;
    b->next = MIN(2 * now, BACKOFF_MOST_NS);
    return now;
}

struct models {
    const struct keeper_options *options;
    struct local_state *rows;
    struct model at[LOCAL_COUNT];
};

void models_init(struct models *m, const struct keeper_options *options, struct local_state *rows);
/* With the processes that the keeper before us left. */
void models_inherit(struct models *m, const struct keeper_options *options, struct local_state *rows, const struct model at[LOCAL_COUNT]);
/* Starts, stops and restarts what is due; returns when to be called again. all_off: nobody wants any model. */
nanos models_step(struct models *m, nanos now, bool all_off);
/* A child ended. False if it was none of ours. */
bool models_ended(struct models *m, pid_t pid, int status, nanos now);
bool models_are_off(const struct models *m);

/* ---- the keeper's own state ---- */

#define DEATHS_MAX     5                  /* within DEATHS_NS: what dies this often will not get better */
#define DRAIN_EXTRA_NS (10 * NANOS_PER_S) /* past timeouts.drain a server hangs */

/* An upgrade's two waits: for what the new program says, in the old one; then, in the new one, for its first server. */
struct upgrade {
    pid_t check;               /* 0 = none */
    int said;                  /* from it */
    nanos check_until;
    pid_t before;              /* the server that serves until ours is ready; 0 = none */
    int before_line;
};

struct keeper {
    const struct keeper_options *options;
    struct models models;
    struct local_state *rows;  /* shared with the server */
    sigset_t before;           /* the mask we were started with */
    int signals;
    int line[2];               /* from the server */
    pid_t server;              /* 0 = none */
    unsigned lives; /* servers that were ready: the first of them tells the address */
    nanos server_started, server_due;
    nanos kill_at;             /* the server had its time to end; NEVER = it was not asked to */
    nanos deaths[DEATHS_MAX];
    unsigned death_count;
    struct backoff backoff;
    unsigned stops;            /* TERM and INT so far */
    bool ended;                /* the server has ended and no other follows */
    int exit_code;
    int rows_fd;
    struct upgrade upgrade;
    struct retired retired[RETIRED_MAX];
};

/* "was killed by signal 6 (Aborted)" or "ended with exit code 1". */
const char *status_print(int status, char out[96]);
/* Fills in what says whose it is. */
void handover_begin(struct handover *h);
void keeper_close(int *fd);
void keeper_drop_line(struct keeper *k); /* from the server */

/* upgrade.c, in the old program: SIGUSR2 came; what was asked has ended; when to be called again. */
void upgrade_asked(struct keeper *k, nanos now);
void upgrade_check_ended(struct keeper *k, int status, nanos now);
nanos upgrade_step(struct keeper *k, nanos now);
/* In the new one: what the keeper before left; our first server is ready; it died instead. */
void upgrade_take_over(struct keeper *k, const struct handover *h);
void upgrade_done(struct keeper *k, nanos now);
void upgrade_failed(struct keeper *k, int status);
/* Servers that were replaced and finish what they have begun. pid 0: a free place. */
struct retired *retired_find(struct keeper *k, pid_t pid);
bool retired_are_there(const struct keeper *k);
void retired_ended(struct retired *r, int status);
void retired_signal(struct keeper *k, int signal, nanos until); /* weir ends, so they end too */
nanos retired_step(struct keeper *k, nanos now);

/* Starts a child that asks the new program whether it would take this over: exit code 0, or what it says comes from *out_said. -1 with errno. */
pid_t handover_check(const struct keeper_options *o, const struct handover *h, int *out_said);
/* Becomes the new program. Returns only when that failed, with errno; all is as before then. */
void handover_become(const struct keeper_options *o, const struct handover *h);
/* In a child before exec or serving: dies with its parent, whose pid was `keeper`. */
void die_with(pid_t keeper);

#endif
