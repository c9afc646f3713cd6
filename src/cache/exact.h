/* exact.h: answers kept in this process, found by identity. One for all workers: finding takes no lock and copies nothing.

   What is found stays whole until the worker's turn ends (quiescence, see run/quiesce.h); who needs it for longer holds it. Which answers stay is S3-FIFO's decision
   (Yang et al., FIFO queues are all you need for cache eviction, SOSP 2023), each tenant having queues of its own: the tenant that holds the most pays for the next
   answer, so that a flood of one evicts nobody else's. */
#ifndef WEIR_CACHE_EXACT_H
#define WEIR_CACHE_EXACT_H

#include "base/buf.h"
#include "cache/key.h"
#include "run/loop.h"

enum cache_form {
    CACHE_BODY,   /* one JSON body */
    CACHE_EVENTS, /* the events of a stream as they went out, [DONE] last; the usage that not everybody asked for lies behind them */
    CACHE_VECTOR, /* one embedding: its JSON value */
};

/* An answer. Immutable once it was put. Every byte before `bytes` is paid a hundred thousand times. */
struct cache_value {
    _Atomic uint32_t references;
    uint32_t len;                /* of bytes */
    uint32_t usage_from;         /* CACHE_EVENTS: the event with usage alone begins here and ends at len; == len: none */
    uint32_t prompt_tokens, completion_tokens; /* what its making took */
    uint32_t service_ms;         /* how long that took */
    int64_t nano_usd;            /* and what it cost, by models.*.price */
    uint32_t made;               /* wall clock, seconds; until 2106 */
    uint8_t form;                /* enum cache_form */
    char bytes[];
};

struct cache;

struct cache_limits {
    uint64_t bytes;   /* of entries with all that belongs to them */
    uint32_t entries;
};

/* Whose an answer is, and what it can be dropped by. Copied. */
struct cache_label {
    struct text tenant, model;
    struct text tags; /* "a,b": each is a name; "" = none */
};

#define CACHE_ENTRIES_MAX ((1u << 22) - 1) /* who asks for more gets so many, which take half a gigabyte without their answers */

struct cache *cache_new(struct world *world, const struct cache_limits *limits) MUSTUSE; /* NULL when out of memory */
void cache_free(struct cache *c); /* no worker runs any more; values that are held live on */
/* Takes effect at once, which may take some ms. Out of memory the number of entries may stay lower than asked for. */
void cache_limit(struct worker *w, struct cache *c, const struct cache_limits *limits);
/* About once a second, on any worker: frees what has expired, also where nobody puts any more; and while the process is short of memory it lets go of a part of all. */
void cache_tick(struct worker *w, struct cache *c);

/* With room for len bytes, one reference, the caller's; everything but bytes zero. NULL when out of memory, or the process is short of it. */
struct cache_value *cache_value_new(size_t len) MUSTUSE;
/* An answer that outlives the turn it was found in. */
void cache_value_hold(const struct cache_value *v);
void cache_value_drop(const struct cache_value *v); /* any thread; takes NULL */

/* Ahead of finding it: what that touches comes into the processor's cache. */
void cache_fetch(const struct worker *w, const struct cache *c, const struct cache_id *id);
/* NULL: not there, or over its time. Good until the turn ends. Counts as a use. */
const struct cache_value *cache_find(struct worker *w, struct cache *c, const struct cache_id *id) MUSTUSE;
/* The same; where it is not there, another form of it will do: cache_id_form(id, form). */
const struct cache_value *cache_find_form(struct worker *w, struct cache *c, const struct cache_id *id, unsigned form, bool *out_is_other) MUSTUSE;
/* Keeps v for ttl (its end is up to 70 ms early); an older one of that identity goes. v's reference stays the caller's. FAIL_TOO_LARGE: it could never stay (more than a
   tenth of the bytes); FAIL_NO_MEMORY, also while the process is short of memory, when others go first, or while much that has gone may still be looked at. */
MUSTUSE enum fail cache_put(struct worker *w, struct cache *c, const struct cache_id *id, const struct cache_value *v, const struct cache_label *label, nanos ttl);

/* The same of what a backend was asked for at that moment, and in the same moment another form of it goes, if it is there: cache_id_form(id, form); 0: none. Of either
   form, what was kept since that moment for a ttl as long is newer and stays: FAIL_NOT_CACHED. asked == NEVER: this one is the newest. */
MUSTUSE enum fail cache_put_form(struct worker *w, struct cache *c, const struct cache_id *id, unsigned form, const struct cache_value *v,
                                 const struct cache_label *label, nanos ttl, nanos asked);
/* Keeps v beside the answer that it was made of, cache_id_form(id, form): with its label, and until its end. FAIL_NOT_CACHED: that one has gone; else as cache_put. */
MUSTUSE enum fail cache_put_beside(struct worker *w, struct cache *c, const struct cache_id *id, unsigned form, const struct cache_value *v);

/* Nobody finds it from now on. */
void cache_remove(struct worker *w, struct cache *c, const struct cache_id *id);

/* What a deletion means: all that are given must match; `*` at the end of a text matches any rest. at == NULL: not asked. */
struct cache_match {
    struct text model, tenant;
    struct text tag; /* "a,b*": each of them, as an answer may have several */
};
/* How many went. Walks all entries in steps, parking between them. Those put meanwhile may stay. FAIL_…: why the task must end. */
MUSTUSE enum fail cache_drop(struct task *t, struct cache *c, const struct cache_match *match, uint64_t *out_count);

struct cache_status {
    uint64_t bytes, entries, tenants;
    uint64_t bytes_max, entries_max;
    uint64_t retired_bytes; /* of what has gone and may still be looked at; not among bytes */
    uint64_t puts, replaced, evictions, expired, dropped, too_large, refused; /* since the start; refused: for want of memory */
    int64_t oldest;         /* wall clock, seconds: when the oldest was made of those that are first in a queue: of all, unless some went round; INT64_MAX: none */
};
void cache_status(struct cache *c, struct cache_status *out);

#endif
