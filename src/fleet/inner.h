/* inner.h: what the files of fleet/ share: fleet.c (life and changes), roster.c (who serves what), slots.c (taking and giving
   under the gate), choose.c (from whom), load.c and adapt.c (what attempts say about their backends), queue.c (who waits), check.c, status.c.

   A waiter     how it gets there                          what may happen
   WAITING      slot_take found all busy                   granted, refused, or leaves by itself (deadline, cancel)
   GRANTED      serve gave it a slot; it counts            it wakes and holds the slot, or wakes too late and passes it on
   REFUSED      a change left nobody who could serve it    it wakes and returns the outcome
   Each move is between lists and under the gate. */
#ifndef WEIR_FLEET_INNER_H
#define WEIR_FLEET_INNER_H

#include "base/list.h"
#include "fleet/adapt.h"
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
};

struct pool {
    uint32_t magic, index;
    const char *name;
    struct fleet *fleet;
    /* written under the gate */
    unsigned cursor;            /* index of the backend that had the last turn */
    int64_t credit[BACKENDS_MAX]; /* balance weighted: turns owed to each, times the weights of all */
    uint32_t checked;           /* fleet_check's own */
    _Atomic uint32_t waiting;
    _Atomic nanos service_ns;   /* moving average of how long a slot is held; 0 = none given back yet */
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
    uint64_t affinity;
    struct task_ref task;
    const struct member *member; /* GRANTED */
    struct roster *roster;       /* GRANTED; one reference */
    enum fail outcome;           /* REFUSED */
};

/* Tells waiters when a backend may be asked again. The timer stays with the worker that began it until it has fired for good. */
struct avoidance {
    struct timer timer;
    struct backend *backend;
    struct worker *worker; /* NULL = not set */
};

/* What attempts say about a backend, besides its first_token. */
struct load {
    nanos measured_at; /* its first_token */
    struct adapt adapt;
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
    uint64_t avoided;      /* backends with avoid_until != 0 */
    uint32_t held[BACKENDS_MAX];
    struct load loads[BACKENDS_MAX];
    nanos now;             /* of the last one who came with a clock */
    uint64_t chance;       /* state of random_step */
    uint64_t arrivals;
    struct list waiters, granted; /* by in_fleet; both in order */
    struct list refused;          /* by in_lane; still among waiters */
    struct list lanes, lanes_free;
    struct lane lane_of[LANES_MAX];
    struct avoidance avoidances[BACKENDS_MAX];
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
static inline nanos avoided_until(const struct backend *b) { return atomic_load_explicit(&b->avoid_until, memory_order_relaxed); }

/* ---- fleet.c ---- */

/* The backend or pool of that name, made if it is new. FAIL_TOO_LARGE, FAIL_NO_MEMORY. */
MUSTUSE enum fail fleet_backend(struct fleet *f, struct text name, struct backend **out_backend);
MUSTUSE enum fail fleet_pool(struct fleet *f, struct text name, struct pool **out_pool);
/* Slots of a backend: configured (perhaps CONF_CONCURRENCY_ADAPTIVE), found, or what its kind usually serves at once. */
uint32_t fleet_limit_of(const struct fleet *f, const struct endpoint *e);

/* ---- roster.c ---- */

/* Who serves what by this configuration and what was discovered so far. conf may be NULL: nobody. */
MUSTUSE enum fail roster_new(struct fleet *f, const struct conf *conf, struct roster **out_roster);
const struct members *roster_members(const struct roster *r, const struct pool *p);

/* ---- queue.c: inside the gate ---- */

/* Which of the candidates may be asked now: those of use, then those of fallback; ones that do not accept connects only if there are no others. */
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

/* The index of one of set: free ones, not none. affinity: as a claim has it. */
unsigned choose_backend(struct fleet *f, struct pool *p, uint64_t set, uint64_t affinity);

/* ---- load.c: inside the gate ---- */

/* Takes in what the attempt saw that is about to give this slot back; may change the backend's limit. */
void load_measured(struct fleet *f, const struct slot *slot, nanos now);
/* The limit in place of one that may be CONF_CONCURRENCY_ADAPTIVE; control of that backend begins or ends with it. */
uint32_t load_limit(struct fleet *f, uint32_t index, uint32_t limit);
/* How long a first token takes at two backends, as far as it is known and still true; equal otherwise. No unit: only their ratio says something. */
void load_compare(const struct fleet *f, unsigned one, unsigned two, double *out_one, double *out_two);

/* ---- slots.c ---- */

void slots_init(struct fleet *f);
void slots_fini(struct fleet *f);
/* Puts the next roster in place, with its limits, and moves the waiters. Returns the old one. */
struct roster *slots_install(struct fleet *f, struct roster *next);
void slots_set_limit(struct fleet *f, struct backend *b, uint32_t limit);

/* ---- check.c ---- */

/* fleet_check inside the gate. */
void slots_check(struct fleet *f);

#endif
