/* inner.h: what the files of fleet/ share: fleet.c (life and changes), roster.c (who serves what), slots.c (taking and giving
   under the gate), breaker.c (who is asked at all), choose.c (from whom), queue.c (who waits), throttle.c (whether to try again), check.c, status.c.

   A waiter     how it gets there                          what may happen
   WAITING      slot_take found all busy                   granted, refused, or leaves by itself (deadline, cancel)
   GRANTED      serve gave it a slot; it counts            it wakes and holds the slot, or wakes too late and passes it on
   REFUSED      a change left nobody who could serve it    it wakes and returns the outcome
   Each move is between lists and under the gate. */
#ifndef WEIR_FLEET_INNER_H
#define WEIR_FLEET_INNER_H

#include "base/list.h"
#include "fleet/fleet.h"

#define FLEET_MAGIC  0xf1ee7a11u
#define POOL_MAGIC   0x9001f1eeu
#define ROSTER_MAGIC 0x405734a1u
#define LANES_MAX    256 /* different sets of backends waited for at once: 64 single ones, and retries that exclude some */

/* One backend of a model. */
struct member {
    const struct endpoint *endpoint;
    struct text model; /* the model's name there */
};

/* The backends of a pool as of one roster. */
struct members {
    uint64_t use, fallback;        /* masks without a common bit */
    struct member *at;             /* one a bit of use | fallback, lowest first */
    const struct conf_model *conf; /* NULL: discovered */
    enum conf_balance balance;
    uint32_t queue_max;
};
static inline const struct member *members_find(const struct members *m, uint64_t bit)
{
    return &m->at[__builtin_popcountll((m->use | m->fallback) & (bit - 1))];
}

struct roster {
    uint32_t magic;
    _Atomic uint32_t references;
    const struct conf *conf; /* NULL in a new fleet */
    struct arena arena;
    struct map by_name;
    const char **names;
    uint32_t names_count, names_left_out; /* left out: discovered beyond POOLS_MAX */
    uint32_t backends_known;              /* of fleet->backends, removed ones too; what comes later is not looked at by those who hold this one */
    struct endpoint *endpoints;
    uint32_t endpoints_count;
    const struct endpoint *by_index[BACKENDS_MAX];
    uint32_t limits[BACKENDS_MAX];
    struct members *members; /* by pool's index; a pool made later, or served no more, has none */
    uint32_t members_count;
    uint64_t *sets;          /* use | fallback of all pools, each different one once */
    uint32_t sets_count;
};

struct pool {
    uint32_t magic, index;
    const char *name;
    struct fleet *fleet;
    /* written under the gate */
    unsigned cursor;            /* index of the backend that had the last turn */
    uint32_t checked;           /* fleet_check's own */
    _Atomic uint32_t waiting;
    _Atomic nanos service_ns;   /* moving average of how long a slot is held; 0 = none given back yet */
    _Atomic int32_t halves;     /* half tokens of its throttle that are gone. Without the gate */
};

/* Waiters that accept the same backends. Any free one of them serves the first, so looking for whom to serve is one look a lane, not one a waiter,
   and a thousand models on one backend share one lane. */
struct lane {
    struct node in_lanes;
    uint64_t use, fallback; /* candidates by tier */
    uint64_t accepts;       /* those of them it would take now */
    struct list waiters;    /* in order of arrival */
};

enum waiter_state { WAITING, GRANTED, REFUSED };

/* On the stack of the task that waits. */
struct waiter {
    enum waiter_state state;
    struct node in_lane;      /* of a lane's waiters, or of refused */
    struct node in_fleet;     /* of waiters, or of granted */
    struct lane *lane;        /* NULL: refused */
    struct pool *pool;
    uint64_t exclude, number; /* number: order of arrival over all lanes */
    struct task_ref task;
    const struct member *member; /* GRANTED */
    struct roster *roster;       /* GRANTED; one reference */
    enum fail outcome;           /* REFUSED */
};

/* The rest of a backend's breaker. Its timer tells waiters when a backend may be asked again; it stays with the worker that began it until nothing is due. */
struct breaker_state {
    struct timer timer;
    struct backend *backend;
    struct worker *worker;  /* NULL = the timer is not set */
    nanos warm_since;       /* 0 = it has all its slots */
    uint32_t slots;         /* when it has all */
    uint32_t place;         /* the place_version that all this is about */
    bool was_down;          /* while open: what it is looked after by has failed too */
};

/* What a backend says it has. */
struct model_list {
    struct text *at; /* one block with the bytes behind it */
    uint32_t count;
};

struct fleet {
    uint32_t magic;
    struct world *world;

    struct gate gate;      /* over all from here */
    struct roster *roster; /* the current one; never NULL */
    uint64_t free;         /* backends with in_flight < limit */
    uint64_t avoided;      /* backends that come after all others: avoid_until, hold_until, an open breaker, or reduced and full */
    uint64_t shut;         /* backends whose breaker is open */
    uint64_t half_open;
    uint64_t reduced;      /* backends that have not all of their slots: their breaker is not closed, or was not a moment ago */
    uint64_t pending;      /* backends that time will change */
    uint32_t held[BACKENDS_MAX];
    uint64_t arrivals;
    struct list waiters, granted; /* by in_fleet; both in order */
    struct list refused;          /* by in_lane; still among waiters */
    struct list lanes, lanes_free;
    struct lane lane_of[LANES_MAX];
    struct breaker_state breakers[BACKENDS_MAX];
    bool serve_due;        /* something may have become acceptable to a waiter */
    bool check_always;     /* to here */

    /* one thread's; the arrays only grow, and what is in them is read by all */
    struct backend *backends[BACKENDS_MAX];
    struct pool *pools[POOLS_MAX];
    uint32_t backends_count, pools_count;
    struct map backends_by_name, pools_by_name;
    struct model_list models[BACKENDS_MAX];
    uint32_t found_limits[BACKENDS_MAX]; /* 0 = none */
    struct addrs addrs[BACKENDS_MAX];
    uint32_t addrs_of[BACKENDS_MAX];     /* the place_version that they belong to: where an old name led says nothing about a new one */
    uint32_t versions[BACKENDS_MAX];     /* the last one given to a place or to addresses */
    void (*on_change)(struct fleet *f, void *arg);
    void *on_change_arg;
};

static inline uint32_t count_now(const _Atomic uint32_t *n) { return atomic_load_explicit(n, memory_order_relaxed); }
static inline void count_set(_Atomic uint32_t *n, uint32_t value) { atomic_store_explicit(n, value, memory_order_relaxed); } /* under the gate */
static inline nanos nanos_now(const _Atomic nanos *n) { return atomic_load_explicit(n, memory_order_relaxed); }
static inline void nanos_set(_Atomic nanos *n, nanos value) { atomic_store_explicit(n, value, memory_order_relaxed); } /* under the gate */

/* ---- fleet.c ---- */

/* The backend or pool of that name, made if it is new. FAIL_TOO_LARGE, FAIL_NO_MEMORY. */
MUSTUSE enum fail fleet_backend(struct fleet *f, struct text name, struct backend **out_backend);
MUSTUSE enum fail fleet_pool(struct fleet *f, struct text name, struct pool **out_pool);
/* Slots of a backend: configured, found, or what its kind usually serves at once. */
uint32_t fleet_limit_of(const struct fleet *f, const struct endpoint *e);

/* ---- roster.c ---- */

/* Who serves what by this configuration and what was discovered so far. conf may be NULL: nobody. */
MUSTUSE enum fail roster_new(struct fleet *f, const struct conf *conf, struct roster **out_roster);
const struct members *roster_members(const struct roster *r, const struct pool *p);

/* ---- queue.c: inside the gate ---- */

/* Which of the candidates may be asked now: those of use, then those of fallback; those that are avoided only if there are no others, and those
   with an open breaker after them. */
uint64_t queue_accepts(const struct fleet *f, uint64_t use, uint64_t fallback);
/* Looks again what each lane accepts, after a change of avoided. */
void queue_judge(struct fleet *f);
/* FAIL_NO_BACKEND, or FAIL_BUSY when LANES_MAX different sets of backends are waited for. */
MUSTUSE enum fail queue_add(struct fleet *f, struct waiter *me);
void queue_remove(struct fleet *f, struct waiter *me);
/* The longest waiting one that accepts something free, or NULL. */
struct waiter *queue_next(const struct fleet *f);
/* Gives all waiters the candidates of the current roster; they keep their order, and those for whom nobody is left are refused. The one walk
   over all of them: some 20 ns each, when a person reloads or a backend's models change. */
void queue_move(struct fleet *f);

/* ---- choose.c: inside the gate ---- */

/* The index of one of set: free ones, not none. */
unsigned choose_backend(const struct fleet *f, const struct pool *p, uint64_t set);

/* ---- breaker.c: inside the gate ---- */

void breaker_init(struct fleet *f);
/* What is over by now is ended; called by each who enters, so that nobody acts on yesterday's news before the timer's turn comes. */
void breaker_pass(struct fleet *f, nanos now);
/* The slots it has when all is well; sets its limit. */
void breaker_slots(struct fleet *f, struct backend *b, uint32_t slots);
/* Its calls in flight or its limit have changed. */
void breaker_counted(struct fleet *f, struct backend *b);
bool breaker_avoids(const struct fleet *f, const struct backend *b);
/* Of these free backends, those that the next call should go to: a half-open one, if there is one, as somebody has to try it. */
static inline uint64_t breaker_prefers(const struct fleet *f, uint64_t set) { return set & f->half_open ? set & f->half_open : set; }

/* ---- slots.c ---- */

void slots_init(struct fleet *f);
void slots_fini(struct fleet *f);
/* Inside the gate: another limit. */
void slots_limit(struct fleet *f, struct backend *b, uint32_t limit);
/* The only way out of the gate after a change. w: the caller's worker, or NULL on another thread. */
void slots_leave(struct fleet *f, struct worker *w);
/* Puts the next roster in place, with its limits, and moves the waiters. Returns the old one. */
struct roster *slots_install(struct fleet *f, struct roster *next);
void slots_set_limit(struct fleet *f, struct backend *b, uint32_t limit);

/* ---- check.c ---- */

/* fleet_check inside the gate. */
void slots_check(struct fleet *f);

#endif
