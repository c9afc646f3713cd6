/* joins.h: identical requests under way become one (single flight): by its identity the answer that is being made is found, and who asks for the same
   becomes a reader of it. path/ asks; one registry a process.

   On the worker where it is made others read the flight itself. A worker beside it has one link to it: a task that copies what was published into a shared
   flight of that worker, which its requests read; so no memory of a flight is touched by two threads but for bytes that are written and stay.

     published   under the shard's gate, at the end of a turn in which something came; one letter then wakes each link whose last one was read
     read        the link says under that gate how far it is; it counts as one reader, which may be the slowest, or dropped
     over        the link's task ends; a letter says so, the flight's worker unlinks it, and a letter back lets it go

   A flight is found until it ends, has buffer_max bytes, or nobody reads it any more: what was found lies there from its first byte.
   Neither class nor deadline are part of an identity. A joined call is as urgent as the most urgent of those who have read it. Its deadline is the latest of
   its readers': each of them leaves at its own, and the last one's leaving ends it. */
#ifndef WEIR_JOINS_H
#define WEIR_JOINS_H

#include "relay/flight.h"

#define JOIN_ID_BYTES 32 /* a SHA-256: two requests with one id are one */

struct joins;
struct joins *joins_new(struct world *world) MUSTUSE; /* NULL when out of memory */
void joins_free(struct joins *js);                    /* no flight is left */

/* What is asked for: an identity in which tenant, policy, form and whatever else decides about the answer stand. */
struct join_ask {
    uint8_t id[JOIN_ID_BYTES];
    uint64_t hash;        /* of it */
    struct hangar *hangar;
    size_t buffer_max;
    nanos late_ns;        /* see flight_share */
    unsigned urgency;     /* the reader's: the flight becomes as urgent */
    bool may_lead;
};

enum join_role {
    JOIN_NONE,    /* nobody asks for that now, or others begin and end it so fast that it is not worth to go on trying */
    JOIN_LEADS,   /* r reads a new flight that is found from now on: start its producer before anything waits, or end it */
    JOIN_FOLLOWS, /* r reads what another request began */
};
/* FAIL_NO_MEMORY, FAIL_BUSY: no task is to be had, and nothing is read. */
MUSTUSE enum fail joins_enter(struct worker *w, struct joins *js, const struct join_ask *ask, struct flight_reader *r, enum join_role *out);
unsigned joins_count(struct joins *js); /* flights that can be found now; for numbers and tests */

#endif
