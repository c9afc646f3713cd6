/* share.h: limits counted for several instances together, in a Redis. path/ calls it between what this instance counts (admit.h) and the queue; serve/ makes one
   for each worker.

   The instance's own ledgers stay the first check: what they refuse Redis is not asked about. What they let in is reserved in Redis too, all of it (request, place,
   tokens, money, of key and tenant) in one visit of a script that Redis runs without a break between; what it refuses is taken back here. At the end another visit, for
   which nobody waits, puts what was used in place of what was reserved. A request that takes no tokens (an answer from memory, or shared with one under way) waits
   for nobody: Redis hears of it afterwards, many in one visit, and by what all instances together have used then the next ones are judged here.

   Redis never delays a request by more than redis.wait and never fails one: without an answer in time this instance's own count decides. After 5 late or failed
   answers in a row nobody waits, until Redis answers a PING in that time.

   In Redis                            what                                                                              until
   weir:limit:SHA256                   a hash for each key and tenant: levels of the rates (r, t, real) as of at,        an hour after its last use, or its
                                       spent in the period from start on; n:, h:, m: in flight, tokens and money         budget's period and a minute
                                       reserved by one session
   weir:limit:session:ID               one connection of one worker, refreshed: what a dead one held counts no more      15 s
   All times are Redis' own. Rates are the leaky buckets of bucket.c, budgets the periods of budget.c. */
#ifndef WEIR_SHARE_H
#define WEIR_SHARE_H

#include "admit/admit.h"
#include "net/redis_link.h"

struct share_link;

/* A worker's connection, made and mended by a task of its own, which ends when it is cancelled. wait: redis.wait. NULL when out of memory. */
struct share_link *share_link_new(struct worker *w, struct redis_server *server, nanos wait) MUSTUSE;
void share_link_free(struct share_link *share); /* after its worker's tasks have ended; takes NULL */

/* After limits_reserve; share NULL: nothing is shared. FAIL_RATE_LIMIT, FAIL_BUDGET with stake->no when the instances together have used it up, and then the request of
   the minute is given back here; or why the task must end. OK also when Redis did not answer within wait. */
MUSTUSE enum fail share_take(struct task *t, struct share_link *share, struct limits *l, struct stake *stake, nanos wait);
/* Before limits_settle, of a stake that Redis was not asked about: its request counts there, too. */
void share_note(struct share_link *share, struct limits *l, const struct stake *stake);
/* Before limits_settle, with the same numbers. For a stake that Redis knows nothing of it does nothing. */
void share_settle(struct stake *stake, int64_t tokens, int64_t money);

#endif
