/* tally.h: what a load test measures. Each worker of the generator fills one tally of its own; tally_merge makes one of all, and statistics (result.h), criteria and
   reports read that. One writer; the live view reads others' as it goes and may see a request half counted. */
#ifndef WEIR_TALLY_H
#define WEIR_TALLY_H

#include "base/fail.h"
#include "base/hist.h"
#include "base/text.h"

/* stat/ has outcomes too, of the gateway's requests. */
enum tally_outcome {
#define OUTCOME(id, name, what) OUTCOME_##id,
#include "bench/outcomes.def"
#undef OUTCOME
    TALLY_OUTCOMES
};
const char *tally_outcome_name(enum tally_outcome o);
const char *tally_outcome_what(enum tally_outcome o);

/* A measured span: its histogram, and what a histogram forgets. */
struct spans {
    struct hist hist;
    double squares; /* of nanoseconds, summed */
    nanos least;    /* NEVER while there is none */
};
void spans_init(struct spans *s);
void spans_add(struct spans *s, nanos value);
void spans_merge(struct spans *into, const struct spans *from);
/* Ranks (from 1) of the two samples between which the quantile q of what n were drawn from lies 95 times of 100: how many samples lie below it is binomial, and
   all of its chances are summed, so nothing is approximated for small n. *out_low 0 or *out_high above n: there are too few samples for a bound on that side.
   Hahn and Meeker, Statistical Intervals (1991), 5.2. */
void spans_ranks(uint64_t n, double q, uint64_t *out_low, uint64_t *out_high);

/* One request, as its user saw it. Moments are of the world's clock; 0 = did not happen. */
struct sample {
    nanos intended;       /* when it was meant to start: latency counts from here */
    nanos started;        /* when the generator got to it */
    nanos sent;           /* its last byte */
    nanos first_token;    /* first content; of what has no tokens: first byte of the body */
    nanos ended;
    enum tally_outcome outcome;
    int status;           /* 0: none came */
    bool is_warmup;       /* counted nowhere but in the windows */
    bool has_left;        /* the user left on purpose when the first piece came: it counts as neither good nor bad, unless what came was WRONG */
    bool tells_cache;     /* the answer has a word about a cache */
    bool is_cached;       /* the answer said so (x-weir-cache: hit or joined) */
    uint32_t flow;        /* which flow of the script */
    uint64_t tokens_in, tokens_out; /* as the server's usage says; 0: it did not */
    uint64_t bytes_in, bytes_out;   /* of bodies */
};

/* What happened in one stretch of time; windows of one test are equally long. */
struct window {
    uint32_t started, ended, failed, good; /* by when they started and ended; good: as below */
    uint32_t outcomes[TALLY_OUTCOMES]; /* of those that ended in it */
    uint32_t in_flight;              /* at its end, as far as it has come */
    uint64_t tokens_out;
    struct hist latency;             /* of those that ended in it */
};

#define TALLY_WINDOWS_MAX 600 /* ten minutes of seconds, or longer windows; 8.5 KiB each */
#define TALLY_FLOWS_MAX   64
#define TALLY_STATUS_MIN  100
#define TALLY_STATUS_MAX  599

struct tally {
    nanos began;                      /* the moment that everything counts from */
    nanos counts_from;                /* and the warm-up's end */
    nanos window_span;
    uint32_t window_count, window_room;
    struct window **windows;          /* each owned, the first window_count are there; windows[i] begins at began + i * window_span */
    uint64_t outcomes[TALLY_OUTCOMES]; /* after the warm-up */
    uint64_t statuses[TALLY_STATUS_MAX + 1 - TALLY_STATUS_MIN]; /* of outcome STATUS */
    uint64_t flows[TALLY_FLOWS_MAX];
    uint64_t cached, good;            /* good: ok and within every limit of the SLO */
    uint64_t tokens_in, tokens_out, bytes_in, bytes_out;
    uint64_t missed;                  /* arrivals that no user could be started for: the generator was the limit */
    uint64_t warmup;                  /* requests that were left out */
    uint64_t left;                    /* whose users left on purpose */
    uint32_t in_flight, in_flight_max; /* merged: the sum of the workers' highest, which they need not have had at the same moment */
    struct spans latency;             /* intended to ended, of ok; the rest of these too */
    struct spans service;             /* sent to ended */
    struct spans ttft;                /* intended to first token */
    struct spans itl;                 /* between two pieces of content of one stream */
    struct spans failed;              /* intended to ended, of all that is not ok */
    struct spans lag;                 /* of the generator: how late it started what was due. Closed loops: how late a clock of 10 ms struck */
    nanos busy;                       /* processor time of the workers' threads until the plan had ended: what is waited for afterwards is no load */
    nanos ended;                      /* the last moment counted */
    enum fail stopped;                /* why the generator could not go on (FAIL_NO_DESCRIPTORS, FAIL_NO_MEMORY); OK: it could */
};

/* Limits of a good answer; 0: none. */
struct slo {
    nanos latency, ttft, itl; /* itl: the mean between this answer's tokens */
};

/* test_span: until the last request may end. window_span is a second, or as many as TALLY_WINDOWS_MAX windows need; what ends later is in none. FAIL_NO_MEMORY. */
MUSTUSE enum fail tally_init(struct tally *t, nanos began, nanos test_span);
/* The same without windows. */
MUSTUSE enum fail tally_init_whole(struct tally *t, nanos began);
void tally_fini(struct tally *t);
void tally_started(struct tally *t, nanos at);
/* A request has ended. Without memory for another window only that window is not counted. */
void tally_ended(struct tally *t, const struct sample *s, const struct slo *slo);
/* One that had started was cancelled: it counts as neither good nor bad. */
void tally_dropped(struct tally *t, nanos at);
static inline void tally_itl(struct tally *t, nanos now, nanos span)
{
    if (now >= t->counts_from)
        spans_add(&t->itl, span);
}
static inline void tally_lag(struct tally *t, nanos span) { spans_add(&t->lag, span); }
void tally_missed(struct tally *t);
/* Both began together and have windows of the same length. FAIL_NO_MEMORY: for windows only, the rest is merged. */
MUSTUSE enum fail tally_merge(struct tally *into, const struct tally *from);
uint64_t tally_requests(const struct tally *t); /* all that ended after the warm-up */

#endif
