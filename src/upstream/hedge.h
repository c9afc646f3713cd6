/* hedge.h: a second backend for a request whose first token is late. produce.c makes its first attempt here where the model says `hedge: on`; answer.c and
   stream.c say when an attempt's answer becomes the client's. */
#ifndef WEIR_HEDGE_H
#define WEIR_HEDGE_H

#include "upstream/retry.h"
#include "upstream/upstream.h"

bool hedge_is_on(const struct call *call);
/* The first attempt, and a second one beside it if that is due and to be had. Returns when both have ended: OK if one brought the answer, else how the
   last one failed. All slots are given back. */
MUSTUSE enum fail hedge_attempt(struct task *t, struct call *call, struct retry *retry, struct attempt_story *a);
/* The call is about to commit: call->flight is the request's own from here on, with what the call has written so far, and the other one has lost. */
void hedge_commits(struct call *call);

#endif
