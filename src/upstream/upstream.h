/* upstream.h: asking backends: connections kept for reuse, one attempt after another until an answer has begun, and finding out what a backend has.
   path/ starts a call's producer; the gateway starts discovery. */
#ifndef WEIR_UPSTREAM_H
#define WEIR_UPSTREAM_H

#include "fleet/fleet.h"
#include "net/dns.h"
#include "net/http_client.h"
#include "relay/flight.h"
#include "upstream/border.h"
#include "upstream/fields.h"

/* ---- connections of one worker ---- */

struct conns;
struct conns *conns_new(struct worker *w) MUSTUSE; /* NULL when out of memory */
void conns_free(struct conns *cs);                 /* closes the idle ones; the others must be back */
/* An idle connection to the endpoint, or a new one. fresh: do not take an idle one. FAIL_CONNECT (see conns_why), FAIL_NAME (no address yet) … */
MUSTUSE enum fail conns_take(struct task *t, struct conns *cs, const struct endpoint *e, bool fresh, nanos deadline, struct conn **out);
/* Keeps it for the next call if it may carry one, else closes it. */
void conns_give(struct conns *cs, const struct endpoint *e, struct conn *c);
unsigned conns_idle(const struct conns *cs);
/* A buffer for one request's bytes, empty; its memory is used again. */
struct buf conns_buf_take(struct conns *cs);
void conns_buf_give(struct conns *cs, struct buf *b);
/* Memory for the tree of one event, for whoever does not wait meanwhile. */
char *conns_json_pool(struct conns *cs, size_t *out_room);

/* Why this worker's last conns_take failed with FAIL_CONNECT: the addresses that were tried, or what the proxy said. Good until anything waits. */
const char *conns_why(const struct conns *cs);

/* One new connection. */
#define DIAL_WHY_MAX 300 /* five addresses with a reason each; what does not fit is cut off, as in an attempt's story */
struct dial {
    uint32_t first;         /* in and out: index of the address to begin with, the one that worked last */
    struct tls_session *session; /* to resume, and to remember; NULL = none */
    int error;              /* of the last address, for wire_error_text */
    char why[DIAL_WHY_MAX]; /* of those that failed */
};
/* Tries the addresses in turn, each for its share of the time, asks the proxy if there is one, and speaks TLS where the URL says so.
   FAIL_CONNECT with d->why, FAIL_NAME (no address), ... */
MUSTUSE enum fail dial(struct task *t, const struct endpoint *e, nanos deadline, struct dial *d, struct conn **out);

/* ---- a call ---- */

#define SPLICES_MAX 6

/* A change of the client's body on its way: bytes [from, to) become `with`; is_model: the backend's own name of the model, as a JSON string. */
struct splice {
    size_t from, to;
    struct text with;
    bool is_model;
};

/* What the producer needs to ask. In the flight's arena, as is all it points to; body is the call's own. */
struct call {
    struct flight *flight;
    struct conns *conns;
    struct view *view;            /* held */
    const struct conf *conf;      /* the view's */
    struct claim claim;           /* what each next attempt takes its slot with */
    struct slot slot;             /* of the attempt under way; the first one was taken by the caller */
    struct text path;             /* "/v1/chat/completions" */
    enum field_surface fields;    /* which rows of fields.def apply */
    struct buf body;
    struct splice splices[SPLICES_MAX]; /* in order of from, not overlapping */
    unsigned splice_count;
    bool stream;                  /* the client asked for one */
    bool usage_wanted;            /* the client asked for usage in the stream */
    uint32_t max_tokens;          /* as asked; 0 = not said */
    struct text request_id;
    struct text passed[BORDER_PASS_COUNT]; /* the client's headers that travel; at == NULL: it sent none */
    nanos deadline;
    enum fail (*admit)(struct task *t, struct call *call); /* takes the first slot, or says in the flight why there is none; NULL: the call has it */
    void *admit_arg;
    struct contest *contest;      /* hedge.c: another backend is asked at the same time; else NULL */
    bool is_hedge;                /* it is the second one */
    bool lost;                    /* the other's answer is the client's, and nothing of this one may be */
};

/* Starts the producer: a root task of this worker. On failure call and flight are the caller's still; else the producer has the call and gives its slot back. */
MUSTUSE enum fail upstream_start(struct worker *w, struct call *call);
/* Frees what a call holds and was not started. */
void call_fini(struct worker *w, struct call *call);

/* ---- discovery ---- */

/* Asks every configured backend for its models, now and every DISCOVER_NS, resolves names, now and whenever a TTL is over, and looks after backends whose
   breaker is open; in a root task of this worker that ends when the worker stops. Of one worker only. */
#define DISCOVER_NS (30 * NANOS_PER_S)
MUSTUSE enum fail upstream_discover(struct worker *w, struct fleet *f, struct conns *cs, struct dns *dns);

/* upstream/ only */
/* Looks after backends whose breaker is open, every few seconds, by what backends.*.health says: nothing that costs. A task's function, which ends when
   there are none. */
struct health {
    struct fleet *fleet;
    struct conns *conns;
};
void health_watch(struct task *t, void *health);
bool health_is_due(const struct health *h);
/* When a name is asked again after an answer with this ttl, or after so many failures in a row; never a time without a bound. */
nanos discover_pause(nanos ttl, unsigned failures);
/* One GET on a connection of its own, kept if it may be: the answer's body goes to sink, its status to out_status. Failures as those of an attempt. */
MUSTUSE enum fail upstream_get(struct task *t, struct conns *cs, const struct endpoint *e, struct text path, nanos until,
                               enum fail (*sink)(void *arg, struct text bytes), void *arg, int *out_status);
MUSTUSE enum fail compose_get(const struct endpoint *e, struct text path, struct buf *out); /* whole */
/* One attempt with call->slot, which is given back; what it says about its backend is noted. In produce.c, for itself and hedge.c. */
struct retry;
MUSTUSE enum fail produce_attempt(struct task *t, struct call *call, struct retry *retry, struct attempt_story *a);
/* Body first, head behind it (its length is known by then): bytes [0, *out_head_from) and the rest. */
MUSTUSE enum fail request_compose(const struct call *call, const struct slot *slot, struct buf *out, size_t *out_head_from);

#endif
