/* retry.h: what happens behind a failed attempt. Called by produce.c. */
#ifndef WEIR_RETRY_H
#define WEIR_RETRY_H

#include "upstream/upstream.h"

/* What one request has behind it. All zero at first. */
struct retry {
    uint64_t tried;    /* backends */
    uint64_t never;    /* of these: not again */
    unsigned returns;  /* to ones that were tried */
    nanos paused;      /* before the attempt under way */
};

/* Does it last until somebody changes a configuration? 401, 403, 404 and redirects do: our key there, its models, where it sends us. */
bool retry_is_hopeless(const struct attempt_story *a);
/* An attempt has ended: tells the fleet what it says about its backend, and remembers it. call->slot is still its own. */
void retry_note(struct worker *w, struct call *call, struct retry *r, struct attempt_story *a);
/* After a failure f: may there be another attempt? */
bool retry_may(struct worker *w, const struct call *call, enum fail f);
/* Picks the next backend, waits where that is due, and takes its slot into call->slot. False: nobody is left, or not in time. */
bool retry_take(struct task *t, struct call *call, struct retry *r);
/* How long to wait before going back for the nth time (from 0) to backends that failed; random: any 64 bits. */
nanos retry_pause(unsigned n, uint64_t random);

#endif
