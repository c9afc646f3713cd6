/* load.h: a load test: a plan of arrivals or users (pace.h), what they send (script.h), to whom, and what was measured (tally.h). Virtual users are tasks; the generator
   runs on any worker of either world. cli/bench.c starts it as `weir bench`.

   Latency counts from the moment a request was meant to start, so that a server that stops is seen by everyone who would have come meanwhile (coordinated omission:
   Tene, "How NOT to Measure Latency", 2013). A closed loop's user means to start when the last answer, and the pause after it, are over. */
#ifndef WEIR_LOAD_H
#define WEIR_LOAD_H

#include "bench/pace.h"
#include "bench/script.h"
#include "bench/tally.h"
#include "bench/verify.h"
#include "run/loop.h"

#define LOAD_USERS_MAX 100000 /* of all workers */

/* Whom to ask. */
struct load_target {
    char host[256];        /* for the Host header and TLS, with its port where that is not the scheme's */
    struct addrs addrs;    /* resolved before the test; connections take them in turn */
    struct ssl_ctx_st *tls; /* NULL: plain; the caller's */
    struct text key;       /* sent as Authorization: Bearer; empty: none */
};

/* Parts of a test that are also measured by themselves: tenants, hits and misses, stretches of a conversation. A request counts in one of them at most. */
struct load_parts {
    unsigned count;
    /* Told of each request that ended behind the warm-up, on its worker's thread: several at once. Says in which part it counts; count: in none. */
    unsigned (*ended)(void *arg, const struct script_session *x, const struct sample *s);
    void *arg;
    struct tally *tallies; /* count of them: load_run's to fill, the caller's to tally_fini then. Without windows, and without spans between tokens */
};

struct load_plan {
    struct load_target target;
    struct script *script;
    struct pace_plan pace;
    bool is_open;          /* arrivals; else users that ask one request after the other */
    uint32_t users_max;    /* open: requests in flight at most; what comes then is missed, and the run invalid */
    nanos timeout;         /* of a request, from when it started */
    nanos warmup;          /* requests meant to start before this are left out */
    nanos drain;           /* after the last arrival: what is in flight then may take this long, and is a timeout afterwards */
    uint64_t sessions_max; /* users: so many sessions in all, and then it is over; 0: as many as there is time for */
    bool verify;           /* compare with what `weir mock` must have said: outcome WRONG */
    struct verify mock;    /* VERIFY: that mock */
    double leave_share;    /* of the streams: their user leaves at the first piece. They are counted apart, and evenly spread */
    bool new_connections;  /* one a request instead of keeping them */
    struct slo slo;
    struct load_parts *parts; /* NULL: none; the caller's, outlives the plan */
};

struct load;
/* The part of a test that one worker does: every worker_count-th arrival, or its share of users. Nothing starts before `began`, a moment of the world's clock that all
   workers are given. NULL when out of memory. plan is the caller's and outlives it. */
struct load *load_new(struct worker *w, const struct load_plan *plan, unsigned worker_number, unsigned worker_count, nanos began) MUSTUSE;
/* Over: the plan has ended and nothing is in flight. On its worker. */
bool load_is_over(const struct load *l);
/* Ends it now: no more arrivals, what is in flight is cancelled and not counted. */
void load_stop(struct load *l);
const struct tally *load_tally(const struct load *l); /* any thread, see tally.h */
const struct tally *load_part(const struct load *l, unsigned part); /* after load_is_over */
void load_free(struct load *l);                       /* after load_is_over; takes NULL */

/* The share of the workers' time that they worked, while requests were due. */
double load_busy(const struct load_plan *plan, const struct tally *t, unsigned worker_count);
/* Why a run does not count, as a sentence without its full stop; NULL: it does. The generator gave up, missed arrivals, was late, or had no processor
   time left. Late: p50, p90 or p99 of its lag is, 95 times of 100, above 1 ms and above a tenth of the same quantile of latency, or of the time to the first token. */
const char *load_invalid(const struct load_plan *plan, const struct tally *t, unsigned worker_count, char out[200]);

/* The whole of it with threads of its own, in the real world: returns when it is over, or has ended because *stop was set. each: called about every `every` on the
   calling thread with what has been measured so far, merged. FAIL_NO_MEMORY, FAIL_NO_DESCRIPTORS: it could not start. out is to be freed with tally_fini. */
MUSTUSE enum fail load_run(const struct load_plan *plan, unsigned workers, nanos every, void (*each)(const struct tally *so_far, nanos elapsed, void *arg), void *arg,
                           const volatile bool *stop, struct tally *out);

#endif
