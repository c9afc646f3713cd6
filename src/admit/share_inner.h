/* share_inner.h: what share.c (what is asked) and share_link.c (a worker's connection: its scripts and its session) share. */
#ifndef WEIR_SHARE_INNER_H
#define WEIR_SHARE_INNER_H

#include "admit/inner.h"
#include "admit/share.h"
#include "admit/share_scripts.h"

#define SHARE_SESSION_BYTES 16 /* hexadecimal digits: random, so that no two connections of all instances have the same */
#define SHARE_SHA_BYTES     40 /* of a script, as SCRIPT LOAD says it */

struct share_link {
    struct redis_link link;
    char session[SHARE_SESSION_BYTES];
    char take_sha[SHARE_SHA_BYTES], settle_sha[SHARE_SHA_BYTES], note_sha[SHARE_SHA_BYTES];
};

/* Redis refused to run a script. */
void share_link_refused(struct share_link *share, const struct redis_reply *reply);
/* What was held could not be given back: its session ends, and with it all that is held in its name. */
void share_link_lost(struct share_link *share);

#endif
