/* admit.h: what one key, and all keys of one tenant together, may use: requests and tokens a minute, requests at once, money in a period.
   path/ calls it (steps limit, admit, record), serve/ makes one for the process; the store is told what is spent.

   call             takes                                             when the answer is no
   limits_enter     a request of the minute, and a place              FAIL_RATE_LIMIT, nothing is taken
   limits_reserve   tokens and money, as far as they can be foreseen  FAIL_RATE_LIMIT or FAIL_BUDGET, nothing more is taken
   limits_settle    gives the place back, and puts what was really used in place of what was foreseen

   Rates are leaky buckets by the monotonic clock: use drains continuously, at the limit's rate, and a minute's worth may be used at once. A request that is larger
   than a whole minute's tokens is let in when the bucket is empty, or its key would be dead; what it leaves has to drain before the next. Budgets are counted by the
   wall clock, in periods that follow each other since 1970. Use belongs to a name: it stays when a reload changes the limit, and the new limit holds at once. */
#ifndef WEIR_ADMIT_H
#define WEIR_ADMIT_H

#include "conf/conf.h"
#include "run/gate.h"
#include "stat/stat.h"

#define LIMIT_TOKENS_MAX 100000000 /* of one request: ten times what max_tokens may be in the configuration, so that no sum overflows */
#define NANO_PER_USD     INT64_C(1000000000) /* money is counted in billionths of a dollar: a small embedding costs less than a millionth */

enum limit_kind { LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_CONCURRENCY, LIMIT_BUDGET, LIMIT_KINDS };
enum limit_owner { LIMIT_OF_KEY, LIMIT_OF_TENANT, LIMIT_OWNERS };
extern const char *const limit_owners[LIMIT_OWNERS]; /* "key", "tenant" */

struct limits;

/* Whose limits hold for a request. Read within the call only. */
struct limits_who {
    struct text name[LIMIT_OWNERS];
    const struct conf_limits *limits[LIMIT_OWNERS]; /* NULL, or without any number: nothing is counted */
};

/* One rate as its owner sees it, for headers. */
struct limit_mark {
    uint32_t limit;     /* 0 = there is none */
    uint32_t remaining;
    nanos reset;        /* until all of it is there again */
};

/* Which limit said no. */
struct limit_no {
    enum limit_kind kind;
    enum limit_owner owner;
    int64_t limit, left, wanted; /* of its kind: requests, tokens, nano-dollars */
    nanos period;                /* of a budget */
    nanos wait;                  /* until the same request would be let in, if nobody else came; -1 = never */
};

/* What one request has taken. Zero: nothing. */
struct stake {
    struct ledger *of[LIMIT_OWNERS]; /* NULL = no limit there */
    int64_t tokens, money;            /* reserved; money in nano-dollars */
    struct limit_mark requests, tokens_mark; /* of whichever of key and tenant has less left */
    struct share_ask *shared;         /* what was reserved for all instances; share.c's */
    struct limit_no no;               /* when one of the calls below refused */
};

/* NULL when out of memory. */
struct limits *limits_new(struct world *world) MUSTUSE;
void limits_free(struct limits *l); /* takes NULL; every stake must be settled */

/* FAIL_RATE_LIMIT with stake->no. FAIL_NO_MEMORY: there is no room for another name; nobody slips past a limit because of that. */
MUSTUSE enum fail limits_enter(const struct worker *w, struct limits *l, const struct limits_who *who, struct stake *stake);
/* tokens: prompt and answer. Once for a stake, after limits_enter. FAIL_RATE_LIMIT, FAIL_BUDGET with stake->no. */
MUSTUSE enum fail limits_reserve(const struct worker *w, struct limits *l, struct stake *stake, int64_t tokens, int64_t money);
/* Ends the stake; for one that has taken nothing it does nothing. tokens and money: really used; 0, 0 for a request that reached no backend. */
void limits_settle(const struct worker *w, struct limits *l, struct stake *stake, int64_t tokens, int64_t money);
static inline bool stake_is_any(const struct stake *s) { return s->of[LIMIT_OF_KEY] != NULL || s->of[LIMIT_OF_TENANT] != NULL; }

/* What so many tokens of a model cost, in nano-dollars; model may be NULL, and then it is 0. */
int64_t limits_cost(const struct conf_model *model, int64_t prompt_tokens, int64_t answer_tokens);

/* ---- what is spent, for whoever keeps it ---- */

/* What a key or tenant has spent in the period that began at period_start (wall clock, ns), so far, in micro-dollars. On the thread that settled, outside the gate, so
   two may overtake each other: of one period the larger number is the later one. name is good within the call. */
typedef void limits_spend_fn(void *arg, enum limit_owner owner, struct text name, nanos period_start, int64_t micros);
/* One at most; before the first request. */
void limits_on_spend(struct limits *l, limits_spend_fn *fn, void *arg);
/* Puts back at start what was told before. If that period is over when the name is first used it counts no more. FAIL_NO_MEMORY. */
MUSTUSE enum fail limits_restore(struct limits *l, enum limit_owner owner, struct text name, nanos period_start, int64_t micros);

/* ---- looking ---- */

/* {"ledgers":[…],"left_out":N}: limits, use and spend of each key and tenant that has limits. FAIL_TOO_LARGE, FAIL_NO_MEMORY of the buffer. */
MUSTUSE enum fail limits_print_json(struct limits *l, struct buf *out);
struct stat_source limits_numbers(struct limits *l);

struct limits_sums {
    int64_t reserved, returned, overrun, settled, held; /* tokens: reserved + overrun = returned + settled + held */
    int64_t money_held;
    uint32_t in_flight, ledgers;
};
/* Asserts what must hold of every ledger; returns the sums over them. For tests. */
struct limits_sums limits_check(struct limits *l);

#endif
