/* task.h: a task: a running story that may wait. A stackful coroutine of one worker; it never leaves its thread.

   states     how it gets there                          what may happen
   READY      started, woken, timed out or cancelled     runs in this turn or the next
   RUNNING    the loop switched to it                    parks, or returns from its function
   PARKED     it called something that waits             wake, deadline, cancel -> READY
   (free)     its function returned                      its place is used again under a new generation

   No `struct task *t` in a function's arguments means it cannot wait. */
#ifndef WEIR_TASK_H
#define WEIR_TASK_H

#include "base/account.h"
#include "run/loop.h"

#define TASK_MAGIC        0x7a5c4e21u
#define TASKS_MAX         (1u << 18)     /* per worker; bounds 64 KiB of address space each */
#define TASK_STACK_BYTES  65536
#define TASK_GUARD_BYTES  4096
#define TASK_MPROTECT_MAX 16000          /* guards by mprotect split mappings, and the kernel allows 65,530 */

typedef void task_fn(struct task *t, void *arg);

enum task_state { TASK_FREE, TASK_READY, TASK_RUNNING, TASK_PARKED };

/* How an overflow of the stack is noticed, best first: GUARD_INSTALLED needs Linux 6.13 and no mapping of its own, GUARD_MPROTECT costs mappings,
   GUARD_CANARY is words at the end that must stay as they are, looked at after each switch: too late for the neighbour's stack, in time for the
   report, and a frame with a hole there steps over it. */
enum task_guard { GUARD_INSTALLED, GUARD_MPROTECT, GUARD_CANARY };

struct group;

struct task {
    uint32_t magic;
    uint32_t index, generation;
    enum task_state state;
    struct worker *worker;
    const char *name;            /* static */
    const char *what;            /* what it waits for; static */
    enum account_share share;    /* whose memory it allocates */
    void *story;                 /* the request it serves, if any; for whoever prints it */
    nanos deadline;              /* caps every wait; NEVER if none. While it is parked others may only move it later */
    enum fail cancel;            /* why it must end; OK while it need not */
    enum fail result;            /* of the current park */
    bool shield;                 /* a wait that cancellation does not end (joining children) */
    int pins;                    /* pointers into shared tables are held: parking is wrong */
    nanos until;                 /* the deadline of the current wait itself */
    nanos parked_at;
    struct node on_list;         /* worker's ready list, or the waitlist it parks in */
    struct list *waits_in;
    struct group *group;         /* the scope it is a child of, or NULL */
    struct node in_group;
    struct timer timer;
    struct context context;
    char *stack;                 /* lowest byte; guard included */
    enum task_guard guard;
    bool is_warm;                /* its stack has pages, and is accounted */
    task_fn *fn;
    void *arg;
};

/* Names a task from anywhere; outlives it. */
struct task_ref {
    struct worker *worker;
    uint32_t index, generation;
};

/* A root task: nobody joins it but drain. NULL when TASKS_MAX live or out of memory. It runs later in this turn. */
struct task *task_start(struct worker *w, const char *name, task_fn *fn, void *arg) MUSTUSE;

/* Waits until woken, `deadline`, the task's own deadline, or cancellation.
   OK: woken, perhaps for nothing: look at what you waited for again. FAIL_TIMEOUT: `deadline` passed. FAIL_DEADLINE: the task's own passed. Else why it was cancelled. */
MUSTUSE enum fail task_park(struct task *t, const char *what, nanos deadline);
/* Same worker only. Nothing happens if it is not parked. */
void task_wake(struct task *t);
/* Ends the current wait and every later one with `why`. Same worker only. */
void task_cancel(struct task *t, enum fail why);
MUSTUSE enum fail task_sleep(struct task *t, nanos until);
/* Goes on next turn: first the other ready tasks, and whatever the sockets bring. Fails as task_park does. */
MUSTUSE enum fail task_yield(struct task *t);

/* Runs fn(arg) on the loop's stack and returns when it has: for libraries that need more stack than a task has. fn must not wait, nor start or wake
   what would run before it returns. Outside tasks it is a plain call. */
void task_call_loop(struct worker *w, void (*fn)(void *arg), void *arg);

/* From here on it allocates of this share, COMMON or PAGES; a task is COMMON at first. */
void task_share(struct task *t, enum account_share share);

struct task_ref task_ref(const struct task *t);
/* On its own worker: the task, or NULL if it has ended. */
struct task *task_find(struct worker *w, uint32_t index, uint32_t generation);
/* Any thread: wakes it if it still lives. A late one finds nobody. */
void task_wake_mail(struct task_ref ref);

unsigned task_count(const struct worker *w);
/* Calls fn for each live task of this worker. */
void task_each(struct worker *w, void (*fn)(struct task *t, void *arg), void *arg);
/* The running task of this thread, or NULL; for assert_failed's story only. */
struct task *task_running(void);
/* The best guard that stacks made from now on may have, as older kernels would have it. For tests. */
void task_guard_limit(enum task_guard best);
/* Installs the SIGSEGV handler that names the task whose stack overflowed, and assert_story; once per process, and task_thread_begin once per thread. */
void task_catch_overflow(void);
void task_thread_begin(void);
void task_thread_end(void);

/* run/ only */
MUSTUSE enum fail task_table_new(struct worker *w);
void task_table_free(struct worker *w);
void task_run_ready(struct worker *w);
void group_child_ended(struct task *t); /* in wait.c */

#endif
