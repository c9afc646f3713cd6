/* loop.h: a worker: one thread's event loop, with its timers, tasks, mailbox and watches. Everything here belongs to that thread,
   except mail_* and worker_stop, which any thread may call. */
#ifndef WEIR_LOOP_H
#define WEIR_LOOP_H

#include "base/heap.h"
#include "base/list.h"
#include "base/mem.h"
#include "run/context.h"
#include "run/world.h"
#include <pthread.h>
#include <stdatomic.h>

#define WORKER_MAGIC   0x770b4e12u
#define WORKERS_MAX    64
#define SCRATCH_BYTES  65536 /* one read at most; also DESIGN's bound of pipelined bytes */

struct worker;
struct task;

/* Something to do at a moment. Zero-initialise, set fire. Firing removes it first, so fire may set it again.
   A moment that has passed counts as the next nanosecond: what sets itself again fires once a turn and keeps nobody waiting. */
struct timer {
    struct heap_node node;
    void (*fire)(struct worker *w, struct timer *self);
};
void timer_set(struct worker *w, struct timer *timer, nanos at);
/* Room for `count` more timers: whoever makes something with a timer asks for it first, so that setting one never runs out of memory. FAIL_NO_MEMORY. */
MUSTUSE enum fail timer_own(struct worker *w, uint32_t count);
void timer_disown(struct worker *w, uint32_t count);
void timer_stop(struct worker *w, struct timer *timer);

/* A descriptor of interest. Edge-triggered: after an event read or write until -EAGAIN, or remember that you did not. */
struct watch {
    int fd; /* -1 while not watched */
    void (*ready)(struct worker *w, struct watch *self, unsigned events);
};
/* shared: several workers watch the same listener and one of them wakes. FAIL_SYSTEM, FAIL_NO_MEMORY. */
MUSTUSE enum fail watch_start(struct worker *w, struct watch *watch, int fd, bool shared);
/* Events of it that were already fetched this turn are dropped. Does not close fd. */
void watch_stop(struct worker *w, struct watch *watch);

/* A call made on another worker's thread, in order of sending per sender. */
typedef void mail_fn(struct worker *to, void *arg, uint64_t number);
/* Bounded by MAIL_MAX; beyond, the program is wrong (every sender has at most a fixed number of letters under way). */
#define MAIL_MAX (1u << 20)
void mail_send(struct worker *to, mail_fn *fn, void *arg, uint64_t number);
/* Room for `count` more letters to w: whoever makes something that will be written to asks for it first, as nobody can handle a letter that found no memory.
   Any thread. FAIL_NO_MEMORY. */
MUSTUSE enum fail mail_own(struct worker *w, uint32_t count);
void mail_disown(struct worker *w, uint32_t count);

struct mail {
    mail_fn *fn;
    void *arg;
    uint64_t number;
    nanos due; /* in a simulated world letters take time; one that is due waits behind one that is not */
};
struct mailbox {
    pthread_mutex_t lock;
    struct mail *ring;
    uint32_t room, first, count;
    uint32_t owned; /* letters that must find room; at most room */
    nanos next_due; /* the reader's own: when the first letter it left there is due; NEVER if it left none */
    bool poked;     /* the reader has been woken and not yet looked, or will look by itself at next_due */
};

/* What stat/ may hang in. Any may be NULL. */
struct run_hooks {
    void (*turn_ended)(struct worker *w, nanos busy); /* time this turn spent outside poll */
    void *stat;
};

struct task_table; /* task.c */

/* Something to do when the current turn ends (one flush for all that was written in it). Asked for twice it runs once. */
struct turn_end {
    struct node node;
    void (*run)(struct worker *w, struct turn_end *self);
};

struct worker {
    uint32_t magic;
    unsigned index;
    struct world *world;
    int poll;
    nanos now;                    /* the clock, read once a turn and after every long wait */
    nanos wall;                   /* the wall clock at now */
    nanos lag;                    /* how long what is ready waits for us, lately; see lag.c */
    nanos ended, emptied;         /* lag.c: the last turn's end; when a poll last took all that was ready */
    bool probing;
    struct heap timers;
    uint32_t timers_owned;        /* the heap has room for all of them */
    struct list ready;            /* tasks that may go on */
    struct list yielded;          /* tasks that may go on next turn: first the others, and the sockets */
    struct task *running;         /* NULL while the loop itself runs */
    struct context context;       /* the loop's own, while a task runs */
    void (*called)(void *arg);    /* what the running task wants done on the loop's stack; see task_call_loop */
    void *called_arg;
    struct task_table *tasks;
    struct mailbox mailbox;
    struct world_event *events;   /* this turn's, so that watch_stop can drop some */
    int events_count;
    struct list turn_end;         /* struct turn_end: run once when the turn ends */
    struct list releases;         /* large buffers on their way back, and what takes the next step; release.c */
    struct turn_end release_turn;
    unsigned jobs;                /* handed to other threads and not yet back, abandoned ones too; and answers of which others may still write */
    char *scratch;                /* SCRATCH_BYTES for whoever runs on the loop; nobody keeps it */
    atomic_bool stopping;
    _Atomic uint64_t turns;       /* odd within a turn: no pointer into shared tables is held between them; quiesce.h */
    struct run_hooks hooks;
    void *owner;                  /* the product's own per-worker state */
};

static inline void turn_end_ask(struct worker *w, struct turn_end *e)
{
    if (!node_is_in(&e->node))
        list_push(&w->turn_end, &e->node);
}

/* By index, those that live now: for debuggers (tools/weir-gdb.py), which have no other way in. Nobody else reads it. */
extern struct worker *workers_all[WORKERS_MAX];

/* index < WORKERS_MAX. FAIL_NO_DESCRIPTORS, FAIL_NO_MEMORY. */
MUSTUSE enum fail worker_init(struct worker *w, struct world *world, unsigned index);
void worker_fini(struct worker *w); /* asserts that no task lives */
/* Turns until worker_stop, no task lives, every job is back (each ends in a letter to us) and no turn_end is asked for. */
void worker_run(struct worker *w);
/* One turn: events, mail, timers, ready tasks. Waits for events until `until` at most. */
void worker_turn(struct worker *w, nanos until);
void worker_stop(struct worker *w); /* any thread */
/* Unguessable (or seeded) 64 bits. */
uint64_t worker_random(struct worker *w);

#endif
