/* shared.h: answers that instances share through a Redis. path/ asks here what its own process has not kept (exact.h), and puts here what it keeps; serve/ makes one a
   worker.

   A value is one string with its identity, its tenant, a checksum and the bytes, packed by zstd when that is shorter; what is damaged, another's, of another version or
   larger than it says is a miss (shared_value.c). Redis takes it away when its time is over. Whoever may write to that Redis can write answers: it is trusted.

   Drops are a short list in Redis, newest first, each an identity and what it matches. A value carries the newest drop that its writer knew of, and is served only if
   that one is still in the list and nothing newer matches it. So a drop is one command, walks no keys, and works for what was put by an instance that had not yet heard
   of it. A question asks for the newest drop along with the value: if it is unknown here, the answer is a miss, and the list is read again. The bound:

     from Redis               a dropped answer is never served once shared_drop has returned OK, on whatever instance
     from another process's   it stays until that one has heard: at once by pub/sub; 5 s later where a message was lost; while it cannot reach Redis until its
     own cache                time is over. Where more was dropped meanwhile than the list holds, or Redis lost the list, all goes
     Redis lost drops         (an old snapshot was loaded): answers of the same snapshot live until their time is over

   In Redis                   what                                                       until
   weir:cache:SHA256          an answer; the name is its identity, in hexadecimal        its time is over
   weir:cache:drops           the list; and the channel that tells of a new one          30 days after it was last read

   Redis never delays a request by more than redis.wait, and never fails one. Nobody waits behind a question that is late already, so a Redis that stops keeps
   the first ones of each connection waiting for that long, and no more; the breaker of net/redis_link.h is for one that answers, and always too late.

   The list is Varnish's ban list in Redis: there, too, an object names the newest ban that it was tested against. */
#ifndef WEIR_SHARED_H
#define WEIR_SHARED_H

#include "cache/exact.h"
#include "net/redis_link.h"

#define SHARED_CONNECTIONS_MAX 50
#define SHARED_VALUE_MAX       (4u << 20) /* bytes of an answer: some 20,000 tokens of a stream. Packing so much holds a loop for 2 ms, of one body for 12 */
#define SHARED_DROPS_MAX       256        /* an answer put before so many drops is a miss, whatever they were */
#define SHARED_MATCH_MAX       1000       /* bytes of a drop's texts */

/* One worker's. */
struct shared;

struct shared_options {
    struct redis_server *server;
    nanos wait; /* redis.wait, until a question says otherwise */
    /* Told of each drop of any instance, this one too, oldest first; nothing asked in it: of everything, as when Redis is found for the first time. In a task of its
       own, in which it may wait. One worker of a process has it, for what the process keeps; NULL: the others. */
    void (*dropped)(struct task *t, const struct cache_match *match, void *arg);
    void *arg;
};

/* Connects with the worker's first turn; its tasks end when they are cancelled. NULL when out of memory. */
struct shared *shared_new(struct worker *w, const struct shared_options *options) MUSTUSE;
void shared_free(struct shared *s); /* after its worker's tasks have ended; takes NULL */

/* value NULL: a miss. Else one reference, the caller's. */
struct shared_hit {
    struct cache_value *value;
    nanos ttl;        /* what is left of its time */
    struct text tags; /* that it was put with; as long as value is held */
};
/* Waits for `wait` at most. OK whatever Redis does; else why the task must end. s NULL: nothing is shared. */
MUSTUSE enum fail shared_get(struct task *t, struct shared *s, const struct cache_id *id, struct text tenant, nanos wait, struct shared_hit *out);
/* The same for count identities of one tenant, as a batch of embeddings has them; `wait` is for all of them, and what has not come by then is a miss. */
MUSTUSE enum fail shared_get_many(struct task *t, struct shared *s, const struct cache_id *ids, unsigned count, struct text tenant, nanos wait, struct shared_hit *outs);
/* Nobody waits for it, and nothing is kept of it. Drops that this worker has heard of do not concern it, also where its making began before. What cannot be put (Redis
   is away, too much is not yet written, it is too large) is counted and forgotten. */
void shared_put(struct shared *s, const struct cache_id *id, const struct cache_label *label, const struct cache_value *v, nanos ttl);
/* OK: no instance gets from Redis what matches, and all that hear of it drop it themselves. FAIL_TOO_LARGE: its texts are. FAIL_BUSY: Redis is away; FAIL_TIMEOUT,
   FAIL_RESET: it may or may not have heard. Or why the task must end. */
MUSTUSE enum fail shared_drop(struct task *t, struct shared *s, const struct cache_match *match, nanos deadline);

#endif
