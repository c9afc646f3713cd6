/* play.h: a play under way: who takes part, and the acts they do. play.c puts it on; acts.c has one function for each row of acts.def. */
#ifndef WEIR_TESTS_FLOW_PLAY_H
#define WEIR_TESTS_FLOW_PLAY_H

#include "flow/flow.h"
#include "flow/peer.h"
#include "lib/house.h"

#define PATIENCE (1000 * NANOS_PER_S) /* of one act: longer than any limit of weir's own */

struct signal {
    struct text name;
    nanos at;
};

/* Where a backend listens. */
struct stand {
    struct play *play;
    struct flow_backend *backend;
    struct actor listener;
};

struct play {
    struct flow *flow;
    const struct way *way;
    struct house house;
    struct list players;
    struct stand stands[FLOW_BACKENDS_MAX];
    struct signal signals[FLOW_SIGNALS_MAX];
    unsigned signal_count;
    unsigned clients_left, calls;
    struct task *director;
    bool over, failed;
    char *report;
    size_t room;
};

/* Whoever follows a script: a client, or one connection of a backend. */
struct player {
    struct node node;
    struct play *play;
    struct task *task;
    struct script *script;     /* NULL between calls */
    struct flow_backend *backend;
    const struct act *act;     /* where it is */
    struct peer peer;
    unsigned calls;            /* finished on this connection */
    bool asked_head;           /* its last request was a HEAD */
    bool stop;                 /* something failed, or the play is over */
};

/* ---- acts.c ---- */

/* The first failure is the report; the play ends. */
void play_fails(struct player *p, const char *format, ...) PRINTF(2, 3);
/* For failures of the sockets and of waiting; a failure has stopped the player. */
bool play_went_well(struct player *p, enum fail f, const char *what);
nanos play_patience(const struct player *p);
char *play_show(struct text t, char out[700]);
void play_signal(struct play *play, struct text name, nanos now);
void play_sleep(struct player *p, nanos until);
/* Until the body has ended, the connection has, or enough(body). */
void play_read_body(struct player *p, bool (*enough)(struct text body));
bool play_is_read(const struct peer *peer);
/* Does these acts, until one fails. */
void play_follow(struct player *p, const struct act *acts, unsigned count);

#endif
