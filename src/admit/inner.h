/* inner.h: what the files of admit/ share: limits.c (entering, reserving, settling, under the gate), ledgers.c (who has one), bucket.c and budget.c (the arithmetic,
   which knows no gate and no clock), status.c. */
#ifndef WEIR_ADMIT_INNER_H
#define WEIR_ADMIT_INNER_H

#include "admit/admit.h"

#define LIMITS_MAGIC  0x11317500u
#define LEDGERS_MAX  16384 /* names that have or had limits: twice the keys and tenants that a configuration may have */
#define LEDGER_HEADS 4096  /* chains: four names each when all are there */
#define LEDGER_HASH_BYTES 64 /* SHA-256 in hexadecimal digits */
#define LEDGER_LOOKS 64    /* places looked at for a name that may be forgotten, when all are taken */

/* ---- bucket.c: a rate ---- */

/* Units of `used` and `real` are drops: a millionth of a 60th of what is limited, so that a bucket drains `rate` drops each microsecond, without a remainder.

   A reservation is poured in whole when it comes, and drains like all else. What turns out not to be needed may be taken out again, but only as far as it cannot have
   drained yet: never below `real` (what really was used, as if it came when it was known) plus all that is held. So a bucket is never more lenient than one that had
   known each request's real size when it came: levels of delayed use are higher, and levels of sums are lower than sums of levels. */
struct bucket {
    int64_t used;  /* decides */
    int64_t real;
    int64_t held;  /* in whole units: reserved and not settled */
    int64_t at_us; /* when used and real were as they are */
};
/* Drains it up to now. rate: units a minute; 0 = no limit, and an empty bucket. */
void bucket_pass(struct bucket *b, uint32_t rate, nanos now);
uint32_t bucket_left(const struct bucket *b, uint32_t rate);
/* Until so many units are let in: when they fit, or the bucket is empty. 0 = now. */
nanos bucket_wait(const struct bucket *b, uint32_t rate, int64_t units);
void bucket_reserve(struct bucket *b, int64_t units);
void bucket_settle(struct bucket *b, int64_t reserved, int64_t units);
/* One that was used a moment ago is not: a bucket is then more lenient by what drained in that moment. */
void bucket_unuse(struct bucket *b, int64_t units);
/* Units whose size is known. */
void bucket_use(struct bucket *b, int64_t units);
/* It is at least as full as this, in thousandths of a unit. */
void bucket_raise(struct bucket *b, int64_t thousandths);

/* ---- budget.c: money in a period ---- */

struct budget {
    nanos period;        /* 0: not known yet */
    nanos start, opened; /* of the period, by the wall clock; when we found it begun, by the monotonic one */
    int64_t spent, held; /* nano-dollars */
};
/* Begins the next period if it is time: when the wall clock is in a later one, or when it was set back, and this one has lasted its whole length all the same. */
void budget_pass(struct budget *b, nanos period, nanos now, nanos wall);
nanos budget_wait(const struct budget *b, nanos now, nanos wall); /* until the next period */

/* ---- ledgers.c ---- */

struct ledger {
    struct ledger *next; /* of its chain */
    uint32_t place;       /* in limits.all */
    enum limit_owner owner;
    struct conf_limits limits; /* as of the last request */
    uint32_t in_flight;
    uint32_t untold;           /* requests that other instances have not heard of */
    bool is_telling;           /* they hear of some just now; until then it is not forgotten */
    struct bucket requests, tokens;
    struct budget money;
    uint64_t refused[LIMIT_KINDS];
    char hash[LEDGER_HASH_BYTES]; /* of owner and name: what other instances know it by */
    uint32_t name_len;
    char name[];
};

struct limits {
    uint32_t magic;
    struct world *world;
    limits_spend_fn *on_spend;
    void *on_spend_arg;

    struct gate gate; /* over all from here */
    int64_t reserved, returned, overrun, settled; /* tokens */
    uint32_t count, hand;
    struct ledger *heads[LEDGER_HEADS];
    struct ledger *all[LEDGERS_MAX];
};
static inline struct text ledger_name(const struct ledger *a) { return (struct text){ a->name, a->name_len }; }

/* What is counted elsewhere, too: whose limits, and which. */
struct ledger_share {
    enum limit_owner owner;
    struct conf_limits limits;
    char hash[LEDGER_HASH_BYTES];
};
/* Of a stake; how many. */
unsigned limits_shared(struct limits *l, const struct stake *stake, struct ledger_share out[LIMIT_OWNERS]);
/* Others have used it up: notes the no, and gives the request of the minute back; the rest comes back when the stake is settled. */
/* Other instances are to hear of `more` requests of one ledger of a stake; how many it is to be now, with what they know it by. 0: none have a limit, or later,
   as they hear of some just now; else limits_told follows, with the level in thousandths that all of them have reached together, -1: nobody knows. */
uint32_t limits_tell(struct limits *l, struct ledger *a, uint32_t more, struct ledger_share *out);
void limits_told(const struct worker *w, struct limits *l, struct ledger *a, int64_t level);
void limits_take_back(struct limits *l, struct stake *stake, const struct limit_no *no);

/* Inside the gate; NULL if there is none. */
struct ledger *ledger_find(const struct limits *l, enum limit_owner owner, struct text name);
/* Outside the gate: makes it, unless it is there. FAIL_NO_MEMORY, also when LEDGERS_MAX are there and none may be forgotten. */
MUSTUSE enum fail ledger_add(const struct worker *w, struct limits *l, enum limit_owner owner, struct text name);
/* Everything as of now, by the limits that held until now. */
void ledger_pass(struct ledger *a, nanos now, nanos wall);

#endif
