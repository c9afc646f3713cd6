/* inner.h: what the files of fleet/ share: fleet.c (life and changes), roster.c (who serves what), slots.c (taking and giving
   under the gate), breaker.c (who is asked at all), choose.c (from whom), floor.c (what is free for whom), queue.c (who waits, and who is next), tenant.c (who
   was served how much), outlook.c (how long it will take), throttle.c (whether to try again), tail.c (when to ask a second one), load.c and adapt.c (what
   attempts say about their backends), foresee.c (what a request will need), check.c, status.c.

   A waiter     how it gets there                          what may happen
   WAITING      slot_take found all busy                   granted, refused, or leaves by itself (deadline, cancel)
   GRANTED      serve gave it a slot; it counts            it wakes and holds the slot, or wakes too late and passes it on
   REFUSED      a change left nobody who could serve it    it wakes and returns the outcome
   Each move is between lists and under the gate. */
#ifndef WEIR_FLEET_INNER_H
#define WEIR_FLEET_INNER_H

#include "base/list.h"
#include "base/treap.h"
#include "fleet/adapt.h"
#include "fleet/fleet.h"

#define FLEET_MAGIC  0xf1ee7a11u
#define POOL_MAGIC   0x9001f1eeu
#define ROSTER_MAGIC 0x405734a1u
#define LANES_MAX    256 /* different sets of backends waited for at once: 64 single ones, and retries that exclude some */
#define TENANTS_MAX  1024 /* known at once; idle ones are forgotten, longest ago first, and who finds no place shares one */
#define LINES_MAX    4096 /* tenants times sets of backends times classes with somebody waiting: each tenant in four */
#define FLOOR_NS     (60 * NANOS_PER_S) /* a class that has not asked for so long has no floor: conf's pages say so */
#define RATE_NS      (10 * NANOS_PER_S) /* what is measured as "now": twenty answers of half a second, and no longer than a person remembers */
#define AGE_NS       (5 * NANOS_PER_S)  /* who has waited longer may have the turn of the aged */
#define AGE_TURN     8                  /* one grant in so many, of each backend: what a flood of low may take at most from those above it */

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
    uint32_t backends_known, pools_known; /* of the fleet's, removed ones too; what comes later is not looked at by those who hold this one */
    struct endpoint *endpoints;
    uint32_t endpoints_count;
    const struct endpoint *by_index[BACKENDS_MAX];
    uint32_t limits[BACKENDS_MAX];
    struct members *members; /* by pool's index; a pool made later, or served no more, has none */
    uint32_t members_count;
    uint64_t *sets;          /* use | fallback of all pools, each different one once */
    uint32_t sets_count;
};

/* foresee.c: what the requests of a pool turned out to need: moving averages, written by any worker without the gate. */
struct habits {
    _Atomic uint32_t answers_seen;               /* of requests that named no max_tokens; counted up to HABITS_SETTLED */
    _Atomic uint64_t answer_mean, answer_deviation; /* of these, in 256ths of a token */
    _Atomic uint64_t prompt_bytes, prompt_tokens; /* in 256ths; 0 = none seen */
};

/* tail.c: how long first tokens took of late, one histogram for streams and one for plain answers, whose first is their last. Without the gate. */
#define TAIL_BUCKETS 192 /* up to 36 minutes */
struct tail {
    _Atomic uint32_t samples;
    _Atomic uint32_t buckets[TAIL_BUCKETS];
};

struct pool {
    uint32_t magic, index;
    const char *name;
    struct fleet *fleet;
    /* written under the gate */
    unsigned cursor;            /* index of the backend that had the last turn */
    int64_t credit[BACKENDS_MAX]; /* balance weighted: turns owed to each, times the weights of all */
    uint32_t checked[CONF_CLASSES]; /* fleet_check's own */
    _Atomic uint32_t waiting[CONF_CLASSES];
    _Atomic nanos service_ns;   /* moving average of how long a slot is held; 0 = none given back yet */
    double waiting_mean;        /* of about the last RATE_NS, as of mean_at */
    nanos mean_at;
    nanos ask_floor_at[CONF_CLASSES]; /* when floor_asked has to look at its backends again */
    struct habits habits;
    _Atomic int32_t halves;     /* half tokens of its throttle that are gone. Without the gate, as is all below */
    _Atomic int32_t hedge_credit; /* in twentieths of a call */
    struct tail tails[2];       /* by is_stream */
};

/* Waiters that accept the same backends. Any free one of them serves the first of a class, so looking for whom to serve is one look a lane, not one a waiter,
   and a thousand models on one backend share one lane. */
struct lane {
    struct node in_lanes;
    uint64_t use, fallback; /* candidates by tier */
    uint64_t accepts;       /* those of them it would take now */
    struct list waiters[CONF_CLASSES]; /* in order of arrival */
    struct treap lines[CONF_CLASSES];  /* one for each tenant that waits here; the least served first */
};

/* How many in the last RATE_NS, by class: what was counted in this window, and what in the one before. */
struct rate {
    nanos since;
    uint32_t now[CONF_CLASSES], before[CONF_CLASSES];
};

/* A tenant's waiters of one class in one lane. */
struct line {
    struct treap_node in_lane;
    struct node in_tenant;  /* of its tenant's lines, or of lines_free */
    struct lane *lane;
    struct tenant *tenant;
    enum conf_class class;
    uint64_t counter;       /* the tenant's, as of when the line was last put in its place: counters only grow, so a line may stand too early, never too late */
    uint64_t number;        /* order of lines whose counters are equal */
    nanos since;            /* somebody has been waiting in it */
    struct rate grants;
    struct treap waiters;   /* earliest deadline first */
};

/* Whose requests share turns. Known by the hash of its name alone: two that collide would share turns, and no more. */
struct tenant {
    uint64_t id;
    uint64_t counter;       /* tokens it was served, weighed; never less */
    uint64_t credit;        /* of them, what was charged and then not used: pays for what comes */
    uint64_t checked_counter; /* this and the next: fleet_check's own */
    uint32_t checked_requests;
    uint32_t waiting, held; /* requests; while there are any it is not forgotten */
    uint32_t next;          /* of the same bucket: index + 1 */
    struct node in_idle;
    struct list lines;
};

enum waiter_state { WAITING, GRANTED, REFUSED };

/* On the stack of the task that waits. */
struct waiter {
    enum waiter_state state;
    struct node in_lane;      /* of a lane's waiters, or of refused */
    struct node in_fleet;     /* of waiters, or of granted */
    struct treap_node in_line;
    struct line *line;        /* NULL: refused */
    struct tenant *tenant;
    enum conf_class class;
    struct pool *pool;
    uint64_t exclude, number; /* number: order of arrival over all lanes */
    nanos since, deadline;
    nanos until;              /* deadline, or its class's longest wait if that ends sooner */
    uint32_t tokens;
    uint64_t affinity;
    struct task_ref task;
    const struct member *member; /* GRANTED */
    struct roster *roster;       /* GRANTED; one reference */
    enum fail outcome;           /* REFUSED */
};

/* Who keeps which slots free. */
struct floors {
    uint32_t percent[CONF_CLASSES];
    uint64_t held[CONF_CLASSES];   /* backends where this class has one now */
    uint32_t slots[BACKENDS_MAX][CONF_CLASSES]; /* that it keeps from the classes below */
    nanos until[BACKENDS_MAX][CONF_CLASSES];
    nanos look_at;                 /* when the first of them may be over; NEVER = none is held */
    struct timer timer;            /* stays with the worker that began it until none is held */
    struct worker *worker;         /* NULL = not set */
};

struct tenants {
    uint64_t seed;
    uint32_t made;                 /* at[0] is the one that is shared when all others are taken */
    uint32_t buckets[TENANTS_MAX]; /* index + 1; 0 = empty */
    struct list idle;              /* longest ago first */
    struct tenant at[TENANTS_MAX];
    uint64_t level;                /* the counter of who was served last */
    uint64_t cost;                 /* moving average of what a request takes */
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
    nanos now;             /* the latest that any worker's clock said here */
    uint64_t free[CONF_CLASSES]; /* backends with a slot that this class may have */
    uint64_t avoided;      /* backends that come after all others: avoid_until, hold_until, an open breaker, or reduced and full */
    uint64_t shut;         /* backends whose breaker is open */
    uint64_t half_open;
    uint64_t reduced;      /* backends that have not all of their slots: their breaker is not closed, or was not a moment ago */
    uint64_t pending;      /* backends that time will change */
    uint32_t held[BACKENDS_MAX][CONF_CLASSES];
    uint32_t in_flight[BACKENDS_MAX][CONF_CLASSES]; /* granted and held */
    struct load loads[BACKENDS_MAX];
    uint64_t chance;       /* state of random_step */
    uint64_t arrivals;
    struct floors floors;
    nanos wait_max[CONF_CLASSES];
    struct rate grants[BACKENDS_MAX];
    uint64_t aged;         /* backends whose next grant is for the class of who has waited longest */
    uint8_t turns[BACKENDS_MAX]; /* grants since the last such */
    struct list waiters, granted; /* by in_fleet; both in order */
    struct list refused;          /* by in_lane; still among waiters */
    struct list lanes, lanes_free;
    uint32_t lanes_made;
    struct lane lane_of[LANES_MAX];
    struct list lines_free;
    uint32_t lines_made;
    struct line line_of[LINES_MAX];
    struct tenants tenants;
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
/* Slots of a backend: configured (perhaps CONF_CONCURRENCY_ADAPTIVE), found, or what its kind usually serves at once. */
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
/* Puts a waiter in its place. FAIL_NO_BACKEND, or FAIL_BUSY when LANES_MAX different sets of backends are waited for, or LINES_MAX lines. */
MUSTUSE enum fail queue_add(struct fleet *f, struct waiter *me);
void queue_remove(struct fleet *f, struct waiter *me);
/* Puts one that waits in a line behind those of another class; where there is no room for that it stands behind those of its own. */
void queue_raise(struct fleet *f, struct waiter *me, enum conf_class class);
/* Whose turn it is of those who accept something free, what of it is theirs, and whether this is a turn of the aged; or NULL. */
struct waiter *queue_next(struct fleet *f, uint64_t *out_set, bool *out_is_aged);
/* The line whose tenant was served least, or NULL. */
struct line *queue_first_line(struct treap *lines);
/* limits.queue of its pool wait, and of its own line a fair share of that: a flood of one tenant or class keeps nobody else out. */
bool queue_is_full(const struct fleet *f, const struct waiter *me);
/* Gives all waiters the candidates of the current roster; they keep their order, and those for whom nobody is left are refused. The one walk
   over all of them: some 20 ns each, when a person reloads or a backend's models change. */
void queue_move(struct fleet *f);

/* ---- tenant.c: inside the gate, but tenant_id ---- */

#define ANSWER_WEIGHT 2 /* a token written costs about as much as two that are read (Sheng et al. weigh them so, too) */
static inline uint64_t tenant_weigh(uint64_t prompt_tokens, uint64_t answer_tokens) { return prompt_tokens + ANSWER_WEIGHT * answer_tokens; }

void tenants_init(struct fleet *f, uint64_t seed);
uint64_t tenant_id(const struct fleet *f, struct text name);
struct tenant *tenant_find(struct fleet *f, uint64_t id);
/* Before and after waiting or held goes up or down: one with neither is idle. */
void tenant_use(struct fleet *f, struct tenant *tn);
void tenant_rest(struct fleet *f, struct tenant *tn);
/* It asks and did not wait: what it did not use while it was away is not saved up. */
void tenant_lift(struct fleet *f, struct tenant *tn);
void tenant_charge(struct fleet *f, struct tenant *tn, uint32_t tokens);
/* The rest of the bill, or what was charged too much. */
void tenant_settle(struct fleet *f, struct tenant *tn, uint32_t charged, uint64_t used);

/* ---- floor.c: inside the gate ---- */

void floor_init(struct fleet *f);
/* After a change of its limit, or of percent. */
void floor_note(struct fleet *f, const struct backend *b);
void floor_occupy(struct fleet *f, struct backend *b, enum conf_class class);
void floor_vacate(struct fleet *f, struct backend *b, enum conf_class class);
/* A class asks for these backends of a pool: its floors there are held from now on. Not 0: the caller sets the timer to it, behind the gate. */
nanos floor_asked(struct fleet *f, struct worker *w, struct pool *p, enum conf_class class, uint64_t accepts);
/* Ends the floors that are over: due from look_at on. */
void floor_end(struct fleet *f);
/* After a new roster: what its configuration says of classes. The caller notes every backend again. */
void floor_read(struct fleet *f);

/* ---- outlook.c: inside the gate ---- */

struct outlook outlook_of(const struct fleet *f, const struct waiter *me);
/* A slot comes back. */
void outlook_measure(const struct slot *slot, nanos held);
void outlook_count(struct rate *r, nanos now, enum conf_class class);
/* Before the number of a pool's waiters changes. */
void outlook_note(const struct fleet *f, struct pool *p);

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
/* Into the gate, at a worker's time: what is over by then is ended first. */
void slots_enter(struct fleet *f, nanos now);
/* The only way out of the gate after a change. w: the caller's worker, or NULL on another thread. */
void slots_leave(struct fleet *f, struct worker *w);
/* Puts the next roster in place, with its limits, and moves the waiters. Returns the old one. */
struct roster *slots_install(struct fleet *f, struct roster *next);
void slots_set_limit(struct fleet *f, struct backend *b, uint32_t limit);

/* ---- check.c ---- */

/* fleet_check inside the gate. */
void slots_check(struct fleet *f);

#endif
