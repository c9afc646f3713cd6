/* fleet.h: who can answer, and how many at once: backends, the pools of each model, slots, and the queue for them.
   Process-wide: all workers share one fleet behind one gate. Used by path/ (slots), upstream/ (endpoints, marks) and serve/ (rosters, status).

   What           lives                                             changes
   backend, pool  as long as the fleet, found again by name         counts, under the gate
   roster         as long as somebody holds a reference             never: a reload or a discovery makes the next one
   slot           from slot_take to slot_give, holds its roster     never                                                */
#ifndef WEIR_FLEET_H
#define WEIR_FLEET_H

#include "base/buf.h"
#include "base/map.h"
#include "conf/conf.h"
#include "run/gate.h"
#include "run/task.h"

#define BACKENDS_MAX       64   /* names seen in one process's life; a set of backends is then one word */
#define POOLS_MAX          1024 /* models seen in one process's life; as many as a configuration may name */
#define BACKEND_MODELS_MAX 1024 /* models taken from one backend's list; the largest public lists have about 500 */
#define MODEL_NAME_MAX     512  /* bytes; a backend's longer ones are not served */
#define BACKEND_MAGIC      0x6bacce4du
#define AVOID_NS           NANOS_PER_S /* after a failed connect others are asked first; short, since a restart takes about this long */

#define BREAKER_FAILURES   5                  /* in a row: then it opens */
#define BREAKER_CALLS      20                 /* or when more than half of so many calls or more, within BREAKER_WINDOW_S, failed */
#define BREAKER_WINDOW_S   10
#define BREAKER_OPEN_NS    (60 * NANOS_PER_S) /* then it is half-open */
#define BREAKER_WARM_NS    (10 * NANOS_PER_S) /* closed again, it gets its slots back over this time */
#define HOLD_MAX_NS        (60 * NANOS_PER_S) /* a Retry-After beyond this is asked again after it: a header must not take a backend away for a day */

struct fleet;
struct pool;

/* Whether a backend is asked. CLOSED: yes. OPEN: it failed too often, and nobody asks it. HALF_OPEN: one call at a time is let through, and what becomes of it
   decides. The table of moves is in breaker.c. */
enum breaker { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };

/* Something that answers models. What a reload may change about it (address, key) is in its endpoint. */
struct backend {
    uint32_t magic;
    uint32_t index;             /* < BACKENDS_MAX; its bit in a mask of backends */
    const char *name;
    uint64_t name_hash;         /* the same in every process */
    struct fleet *fleet;
    _Atomic uint32_t limit;     /* slots now: fewer than are configured while its breaker is not closed, and for BREAKER_WARM_NS after it; 0 = no longer
                                   configured. This and all up to opened: written under the gate, read anywhere */
    _Atomic uint32_t in_flight; /* granted and held; above limit for a while after a reload lowered it */
    _Atomic nanos avoid_until;  /* 0 = its last connect succeeded */
    _Atomic nanos hold_until;   /* it said when to come back, or that it is busy; 0 = it did not */
    _Atomic nanos open_until;   /* of an open breaker */
    _Atomic uint32_t breaker;   /* enum breaker */
    _Atomic uint32_t opened;    /* times */
    _Atomic nanos service_ns;   /* moving average of how long one of its slots is held; 0 = none was given back yet */
    _Atomic nanos first_token;  /* how long one takes here now; 0 = not measured yet */

    const char *_Atomic name_why; /* static; why its name, or its proxy's, does not resolve now; NULL = it does, or needs not */

    char apart[64]; /* attempts are counted without the gate: not on the cache line that its holder writes */
    _Atomic uint64_t attempts, failures, tokens_in, tokens_out; /* relaxed */
    _Atomic uint32_t failures_in_row, busy_in_row; /* busy: pauses that it made us guess */
    _Atomic uint64_t seconds[BREAKER_WINDOW_S]; /* calls and failures of each; breaker.c knows how */
};
static inline uint64_t backend_bit(const struct backend *b) { return 1ull << b->index; }
static inline void backend_count(_Atomic uint64_t *counter, uint64_t n) { atomic_fetch_add_explicit(counter, n, memory_order_relaxed); }

/* How one backend is reached, as of one roster. Its texts live as long as the roster. */
struct endpoint {
    struct backend *backend;
    const struct conf_backend *conf;
    enum conf_kind kind;
    struct text host;         /* a name or a number; empty for kind llama */
    uint16_t port;
    struct text host_header;  /* as requests say it: "gpu1:8000", "[::1]:8000" */
    struct text base;         /* "" or "/prefix" */
    struct text key;          /* secret: for this host only, never logged; empty = none */
    const struct conf_proxy *proxy; /* NULL = none */
    struct text dial_host;    /* whom we connect to: host, or the proxy's */
    uint16_t dial_port;
    struct addrs addrs;       /* of dial_host: a number's, or what fleet_set_addrs was told; the only places that connections go to. Empty: not known yet */
    uint32_t place_version;   /* differs whenever host, port, proxy or TLS context of the same backend does: connections of another version are not for this endpoint */
    uint32_t address_version; /* differs whenever its place or its addresses do */
};

/* Which models are served, and by whom, at one moment. Immutable; any thread may read one it holds. */
struct roster;

/* What is ahead of a request in the queue, by what was measured. */
struct outlook {
    uint32_t position;     /* 1 = the next */
    nanos wait;            /* for a slot; 0 = not known: no slot was given back yet */
    nanos wait_max;        /* the longest it may be: its class's, or less by its deadline */
    nanos retry_after;     /* when the wait will be under wait_max again; when it is already, until who waits now has been served. At least 1 s */
    bool grows;            /* the backlog does: more wait than in the mean of the last ten seconds, by a good round */
};

/* Who wants a slot, and of which backends. */
struct waiter;
struct claim {
    struct pool *pool;
    uint64_t exclude;      /* bits of backends that this request has tried */
    uint64_t affinity;     /* equal ones belong together: the same backend, if it has room; 0 = none. Only where balance is affinity */
    nanos deadline;
    enum conf_class class;
    struct text tenant;    /* whose turn it uses; lives as long as the call */
    uint32_t tokens;       /* what it will take, of foresight_share; 0 = next to nothing */

    /* For who wants to know of the wait; zero otherwise. */
    struct waiter **waits; /* while it waits a name for slot_outlook, NULL before and after. For the task's own worker */
    nanos beat;            /* after so much waiting, and again and again, it is told. Its place in the queue stays as it is while tell itself waits */
    enum fail (*tell)(struct task *t, void *arg, const struct outlook *o); /* what is not OK ends the wait */
    void *arg;
};

/* A right to one of the slots of a backend. Give back exactly what was taken; may be moved, not duplicated. */
struct slot {
    struct backend *backend;
    const struct endpoint *endpoint;
    struct pool *pool;
    struct text model;     /* the model's name at that backend */
    bool fallback;         /* from the model's fallback list */
    nanos taken_at;
    nanos queued_ns;       /* waited for it */
    nanos first_token;     /* these two: see slot_measured */
    bool is_refused;
    struct roster *roster; /* keeps the texts above alive; NULL = no slot */
    enum conf_class class;
    struct tenant *tenant; /* whose turn it was */
    uint32_t charged;      /* claim.tokens */
    int64_t prompt_tokens, answer_tokens; /* for the holder to set before slot_give: what was used; -1 = not known, and the charge stays */
};

/* FAIL_NO_MEMORY. The fleet serves nothing until fleet_apply. Free it after the workers that used it: its timers are in them. */
MUSTUSE enum fail fleet_new(struct world *world, struct fleet **out_fleet);
void fleet_free(struct fleet *f); /* asserts that no slot is held and nobody waits */

/* ---- Changes: from one thread only. Waiters move with them in order; requests in flight keep what they have. ---- */

/* First load and reloads; keeps a reference to conf. FAIL_NO_MEMORY; FAIL_TOO_LARGE past BACKENDS_MAX or POOLS_MAX. On failure all is as before. */
MUSTUSE enum fail fleet_apply(struct fleet *f, const struct conf *conf);
/* The models a backend says it has, in place of those it said before. The names are copied; too long, empty and surplus ones are left out. FAIL_NO_MEMORY. */
MUSTUSE enum fail fleet_set_models(struct fleet *f, struct backend *b, const struct text *names, uint32_t count);
/* Slots of a backend whose concurrency is auto, once known (discovery); 0 = back to the kind's usual number. */
void fleet_set_limit(struct fleet *f, struct backend *b, uint32_t slots);
/* Where a backend whose dial_host is a name, or that has no URL (kind llama), is now; count 0 = nowhere. Does nothing if its place has changed
   since the roster that e is from. FAIL_NO_MEMORY. */
MUSTUSE enum fail fleet_set_addrs(struct fleet *f, const struct endpoint *e, const struct addrs *addrs);
/* Called after every new roster, on the thread that made it, outside the gate. One at most. */
void fleet_on_change(struct fleet *f, void (*fn)(struct fleet *f, void *arg), void *arg);

/* ---- Rosters ---- */

/* The current one, with a reference for the caller. Workers keep one each and swap when told. Any thread. */
struct roster *fleet_roster(struct fleet *f);
struct roster *roster_ref(struct roster *r);
void roster_unref(struct roster *r); /* takes NULL; not inside a gate: the last one frees */
/* The pool of a model as a client names it, or NULL. A configured name wins; else a model that exactly one backend has, or,
   where no model is configured, that any has. */
struct pool *roster_find(const struct roster *r, struct text model);
/* Every name roster_find knows, configured ones first, each list in order; fit for text_nearest. */
const char *const *roster_models(const struct roster *r, uint32_t *out_count);
/* The configured backends, in the order of the file. */
const struct endpoint *roster_endpoints(const struct roster *r, uint32_t *out_count);
/* The one with that name, or NULL. */
const struct endpoint *roster_endpoint(const struct roster *r, struct text name);
/* The configuration it was made from; NULL before the first fleet_apply. */
const struct conf *roster_conf(const struct roster *r);
/* The settings of a configured model; NULL for a discovered one. */
const struct conf_model *roster_conf_model(const struct roster *r, const struct pool *p);
/* Is a backend of that kind configured? */
bool roster_has(const struct roster *r, enum conf_kind kind);
/* May a request for this pool be sent to a backend of that kind? */
bool roster_pool_has(const struct roster *r, const struct pool *p, enum conf_kind kind);

/* ---- Views: one worker's hold on a roster and its configuration, counted without atomics. A request and what it started hold the view they began with. ---- */

struct view {
    unsigned holders;
    struct roster *roster;
    const struct conf *conf;
};
/* Takes over the caller's reference to r, also when it fails. NULL when out of memory. */
struct view *view_new(struct roster *r) MUSTUSE;
static inline struct view *view_take(struct view *v)
{
    v->holders++;
    return v;
}
void view_give(struct view *v); /* the last one lets go of the roster; takes NULL */

/* ---- Slots ---- */

/* Takes a slot of one of the pool's backends, or waits for one until the deadline. Of those who wait the highest class goes first, in it the tenant that was
   served the fewest tokens, of a tenant's requests the one with the earliest deadline; one grant in eight is for the class of who has waited longest.
   Backends that are avoided come after all others; fallback is for when no backend of `use` is acceptable, not for when they are busy.
   FAIL_NO_BACKEND: nobody is acceptable. FAIL_BUSY: limits.queue requests wait for this model already, or the wait is, or would be, longer than outlook.wait_max.
   FAIL_TIMEOUT, FAIL_DEADLINE, why the task was cancelled, or what claim.tell said. */
MUSTUSE enum fail slot_take(struct task *t, const struct claim *claim, struct slot *out_slot);
/* A slot that nobody else wants, for a second attempt beside the one that holds `beside`: of a backend of the same list that is closed, not avoided and not in
   claim->exclude, and only while nobody waits for this model. False: there is none now; it never waits. */
bool slot_try(struct worker *w, const struct claim *claim, const struct slot *beside, struct slot *out_slot);
/* Says, before slot_give, what the attempt saw: the time from its beginning to its first token, or to giving up on one (0 = neither came);
   or that the backend answered 429 or 503. */
static inline void slot_measured(struct slot *slot, nanos first_token, bool is_refused)
{
    slot->first_token = first_token;
    slot->is_refused = is_refused;
}
/* Returns it on the worker that calls; whose turn it is of those who wait for this backend has it next. Not inside a gate. */
void slot_give(struct worker *w, struct slot *slot);
/* Of a request that waits: claim.waits, on its own worker. */
struct outlook slot_outlook(const struct waiter *waiter);
/* It has become more urgent: from now on it waits among those of this class, if that is higher than its own, behind those who do so already; no bound of its
   wait becomes sooner by that. claim.waits, on its own worker, not inside a gate. */
void slot_raise(struct worker *w, struct waiter *waiter, enum conf_class class);
/* Of one that would ask now, or was just refused. */
struct outlook pool_outlook(struct worker *w, const struct claim *claim);

/* ---- Health: what calls say about a backend. Any worker's thread; not inside a gate. ---- */

/* What connecting says: OK clears the avoidance, FAIL_CONNECT and FAIL_NAME begin it for AVOID_NS, other failures change nothing.
   (A connect that timed out is FAIL_CONNECT.) */
void backend_mark(struct worker *w, struct backend *b, enum fail f);

/* How a call ended, as far as it tells how the backend is. What is the client's doing (its leaving, its 400) and our own (our key, our memory) tells nothing,
   and is not told. UNREACHABLE: FAILED so that a health check would have noticed. */
enum backend_news { BACKEND_ANSWERED, BACKEND_FAILED, BACKEND_UNREACHABLE };
/* One call has ended so. True if its breaker has opened by it. */
bool backend_note(struct worker *w, struct backend *b, enum backend_news news);
/* A stream's first token has come: enough for a half-open breaker to close. */
void backend_began(struct worker *w, struct backend *b);
/* It asked for a pause of so long (Retry-After); -1: it is busy and did not say for how long: 1 s, and twice as long each time in a row. Others are asked
   first until then, HOLD_MAX_NS at most. */
void backend_hold(struct worker *w, struct backend *b, nanos pause);
/* A health check of a backend whose breaker is open has ended. One that answers now and did not before is half-open at once; one whose list of models
   answered all along while its calls failed has proved nothing. */
void backend_checked(struct worker *w, struct backend *b, bool is_up);
const char *breaker_name(enum breaker state); /* "half_open" */

/* ---- Retries ---- */

/* Who of the pool may be asked at `at` for a request that will not have those in `except`: members whose breaker is not open and that asked for no pause
   beyond it. None: 0, and *out_when is when the first of them may be; NEVER: nobody will. */
uint64_t pool_ready(struct pool *p, uint64_t except, nanos at, nanos *out_when);
/* Members whose breaker is open. */
uint64_t pool_shut(struct pool *p);

/* The throttle of a pool's retries: RETRY_TOKENS at most and at first, one less for each failed attempt, half a one more for each answer; while half of them
   or less are left nothing is tried again. So one failure in three is ridden out, and an outage costs no more calls than it has requests.
   gRPC, proposal A6 "client retries", retry throttling. */
#define RETRY_TOKENS 100
void pool_answered(struct pool *p);
void pool_failed(struct pool *p);
bool pool_may_retry(const struct pool *p);

/* ---- Hedging: a second call for a request whose first token is late. Any thread. ---- */

/* One more first token took so long; or at least so long, of one that nobody waited for any more. */
void pool_first_token(struct pool *p, bool is_stream, nanos took);
/* 95 % of them were there after so long; NEVER while fewer than 20 are known. */
nanos pool_late(const struct pool *p, bool is_stream);
/* The budget: each call earns a twentieth of a second one. pay: false if there is no whole one; return: what was paid for was not to be had. */
void pool_hedge_earn(struct pool *p);
bool pool_hedge_pay(struct pool *p);
void pool_hedge_return(struct pool *p);

const char *pool_name(const struct pool *p);
uint32_t pool_waiting(const struct pool *p);
uint32_t pool_waiting_of(const struct pool *p, enum conf_class class);

/* ---- What a request will need ---- */

/* Tokens of a request, before it is asked. */
struct foresight {
    uint32_t prompt, answer;
};
/* prompt_bytes: of its text. max_tokens: of each answer, 0 = the request names none; answers: how many it wants, 0 = none at all (embeddings).
   Any thread. */
struct foresight pool_foresee(const struct pool *p, uint64_t prompt_bytes, uint32_t max_tokens, uint32_t answers);
/* What it will take of its tenant's share, for claim.tokens: the prompt, and twice the answer, since a model reads faster than it writes. */
uint32_t foresight_share(struct foresight f);
/* What the backend counted; -1 = it did not say. max_tokens and answers as they were given to pool_foresee. Any thread. */
void pool_learn(struct pool *p, uint64_t prompt_bytes, int64_t prompt_tokens, uint32_t max_tokens, uint32_t answers, int64_t answer_tokens);

/* ---- Looking ---- */

/* {"backends":[...],"pools":[...]} for `weir status`: names, counts, addresses; never a key. FAIL_TOO_LARGE, FAIL_NO_MEMORY of the buffer. */
MUSTUSE enum fail fleet_print_json(struct fleet *f, struct buf *out);
/* Asserts that free + granted + held = limit for each backend, that nobody waits while something acceptable to their class is free, that queues are in order,
   that what waits and is held adds up by class and by tenant, and that no tenant's counter went back.
   Walks everything: for tests. fleet_check_always does it before every release of the gate. */
void fleet_check(struct fleet *f);
void fleet_check_always(struct fleet *f, bool on);

#endif
