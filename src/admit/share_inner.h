/* share_inner.h: what share.c (what is asked) and share_link.c (a worker's connection to Redis, and whether it is worth waiting for) share. */
#ifndef WEIR_SHARE_INNER_H
#define WEIR_SHARE_INNER_H

#include "admit/inner.h"
#include "admit/share.h"
#include "admit/share_scripts.h"
#include "net/redis.h"

#define SHARE_SESSION_BYTES 16 /* hexadecimal digits: random, so that no two connections of all instances have the same */
#define SHARE_SHA_BYTES     40 /* of a script, as SCRIPT LOAD says it */

struct share {
    const struct conf *conf; /* of the start: redis.url changes with a restart only */
    struct dns *dns;
    _Atomic unsigned streak; /* late and failed answers in a row, of all workers */
    _Atomic unsigned away;   /* links that have told so: the first and the last one log */
};

struct share_link {
    struct share *share;
    struct worker *worker;
    struct redis *redis;
    struct task *keeper;   /* the task that connects, pings and refreshes; NULL before its start and after its end */
    struct timer start;
    bool is_up;            /* connected, and the last PING was answered in time */
    bool is_told;          /* counted in share->away */
    nanos wait;            /* redis.wait, as of the last request */
    struct list waiting;   /* tasks */
    char session[SHARE_SESSION_BYTES];
    char take_sha[SHARE_SHA_BYTES], settle_sha[SHARE_SHA_BYTES];
    char why[160];
};

/* Not worth waiting for: down, or too many have waited in vain. */
bool share_link_is_away(struct share_link *link);
/* What was held could not be given back: its session ends, and with it all that is held in its name. */
void share_link_lost(struct share_link *link);
/* Somebody waited in vain; an answer came in time; Redis refused to run a script. */
void share_link_late(struct share_link *link);
void share_link_answered(struct share_link *link);
void share_link_refused(struct share_link *link, const struct redis_reply *reply);

#endif
