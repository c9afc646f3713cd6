/* spend.h: money on its way to the disk, one row for each key or tenant and period, however many requests paid into it. store.c has two: what comes in, and what
   is being written. */
#ifndef WEIR_STORE_SPEND_H
#define WEIR_STORE_SPEND_H

#include "base/map.h"
#include "store/db.h"

#define SPEND_ROWS_MAX 32768 /* every key and tenant that a configuration may have, in two periods; what comes on top is counted, and comes again with the next request */

struct spend {
    struct map rows; /* kind, start and name -> struct spend_row */
};

void spend_init(struct spend *s);
void spend_fini(struct spend *s); /* takes all rows out */
static inline uint32_t spend_count(const struct spend *s) { return s->rows.count; }
/* The sum of a period so far; the larger one stays. FAIL_NO_MEMORY; FAIL_BUSY past SPEND_ROWS_MAX. */
MUSTUSE enum fail spend_set(struct spend *s, enum spend_kind kind, struct text name, int64_t start, int64_t micro);
/* Until fn fails. */
MUSTUSE enum fail spend_each(const struct spend *s, enum fail (*fn)(void *arg, enum spend_kind kind, struct text name, int64_t start, int64_t micro), void *arg);

#endif
