/* task.c: the tasks of a worker: their table, their stacks, and the switch between them and the loop. */
#include "run/task.h"
#include "base/account.h"
#include "run/gate.h"
#include "run/stack.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TASKS_PER_CHUNK   64                       /* 4 MiB of address space at a time */
#define LETTERS_PER_TASK  2                        /* it was granted what it waited for, and a round it started came back */
#define CHUNKS_MAX        (TASKS_MAX / TASKS_PER_CHUNK)
#define WARM_FREE_MAX     128                      /* free stacks that always keep what they have touched */
#define COOL_EVERY        (250 * NANOS_PER_MS)     /* more keep it until nobody has needed them for so long: giving pages back stops the other workers for a moment */
#define COOL_AT_ONCE      512                      /* a quarter of a millisecond */
#define RUNS_PER_TURN     1024                     /* so that ready tasks cannot keep the loop from its sockets */
#define STACK_COLOURS     16                       /* tops of stacks at different cache sets: all at one set halves the speed of 1,000 tasks */
#define STACK_COLOUR_STEP 192

struct task_table {
    struct task *chunks[CHUNKS_MAX]; /* each TASKS_PER_CHUNK tasks, followed by nothing; never moved or freed while the worker lives */
    char *stacks[CHUNKS_MAX];
    uint32_t chunk_count, live;
    struct list warm, cold;          /* those that are free, by on_list; of the warm ones what was used last is first */
    uint32_t warm_spare;             /* the fewest that were warm since cool was set */
    struct timer cool;               /* set while more than WARM_FREE_MAX are warm */
};

static _Thread_local struct worker *here; /* the worker whose loop this thread runs; for stories and overflow reports only */

struct task *task_running(void)
{
    return here != NULL ? here->running : NULL;
}

/* ---- the table ---- */

static void task_main(void *arg);

static void cool_later(struct worker *w)
{
    struct task_table *table = w->tasks;
    if (list_count(&table->warm) <= WARM_FREE_MAX || heap_has(&table->cool.node))
        return;
    table->warm_spare = list_count(&table->warm);
    timer_set(w, &table->cool, w->now + COOL_EVERY);
}

static void cool_spare(struct worker *w, struct timer *timer)
{
    struct task_table *table = CONTAINER_OF(timer, struct task_table, cool);
    uint32_t spare = table->warm_spare > WARM_FREE_MAX ? table->warm_spare - WARM_FREE_MAX : 0;
    for (uint32_t i = MIN(spare, COOL_AT_ONCE); i > 0; i--) {
        struct task *t = CONTAINER_OF(list_last(&table->warm), struct task, on_list);
        list_remove(&table->warm, &t->on_list);
        stack_cool(t);
        list_push(&table->cold, &t->on_list);
    }
    cool_later(w);
}

static void task_prepare(struct worker *w, struct task *t, uint32_t index, char *stack)
{
    memset(t, 0, sizeof *t);
    t->magic = TASK_MAGIC;
    t->worker = w;
    t->index = index;
    t->generation = 1;
    t->stack = stack;
    t->guard = stack_guard(stack);
}

static enum fail table_grow(struct worker *w)
{
    struct task_table *table = w->tasks;
    if (table->chunk_count == CHUNKS_MAX)
        return FAIL_BUSY;
    struct task *tasks = mem_alloc(TASKS_PER_CHUNK * sizeof(*tasks));
    char *stacks = tasks != NULL ? stack_map(TASKS_PER_CHUNK) : NULL;
    bool has_timers = stacks != NULL && timer_own(w, TASKS_PER_CHUNK) == OK;
    if (!has_timers || mail_own(w, LETTERS_PER_TASK * TASKS_PER_CHUNK) != OK) {
        if (has_timers)
            timer_disown(w, TASKS_PER_CHUNK);
        if (stacks != NULL)
            stack_unmap(stacks, TASKS_PER_CHUNK);
        mem_free(tasks);
        return FAIL_NO_MEMORY;
    }
    for (uint32_t i = 0; i < TASKS_PER_CHUNK; i++) {
        task_prepare(w, &tasks[i], table->chunk_count * TASKS_PER_CHUNK + i, stacks + (size_t)i * TASK_STACK_BYTES);
        list_push(&table->cold, &tasks[i].on_list);
    }
    table->chunks[table->chunk_count] = tasks;
    table->stacks[table->chunk_count++] = stacks;
    return OK;
}

enum fail task_table_new(struct worker *w)
{
    w->tasks = mem_zero(sizeof *w->tasks);
    if (w->tasks == NULL)
        return FAIL_NO_MEMORY;
    list_init(&w->tasks->warm);
    list_init(&w->tasks->cold);
    w->tasks->cool.fire = cool_spare;
    return OK;
}

void task_table_free(struct worker *w)
{
    struct task_table *table = w->tasks;
    timer_stop(w, &table->cool);
    for (uint32_t i = 0; i < table->chunk_count; i++) {
        for (uint32_t k = 0; k < TASKS_PER_CHUNK; k++) {
            timer_stop(w, &table->chunks[i][k].timer);
            stack_fini(&table->chunks[i][k]);
        }
        stack_unmap(table->stacks[i], TASKS_PER_CHUNK);
        mem_free(table->chunks[i]);
    }
    mem_free(table);
    w->tasks = NULL;
}

unsigned task_count(const struct worker *w)
{
    return w->tasks->live;
}

struct task_ref task_ref(const struct task *t)
{
    return (struct task_ref){ t->worker, t->index, t->generation };
}

struct task *task_find(struct worker *w, uint32_t index, uint32_t generation)
{
    if (index >= w->tasks->chunk_count * TASKS_PER_CHUNK)
        return NULL;
    struct task *t = &w->tasks->chunks[index / TASKS_PER_CHUNK][index % TASKS_PER_CHUNK];
    return t->state != TASK_FREE && t->generation == generation ? t : NULL;
}

void task_each(struct worker *w, void (*fn)(struct task *t, void *arg), void *arg)
{
    for (uint32_t i = 0; i < w->tasks->chunk_count * TASKS_PER_CHUNK; i++) {
        struct task *t = &w->tasks->chunks[i / TASKS_PER_CHUNK][i % TASKS_PER_CHUNK];
        if (t->state != TASK_FREE)
            fn(t, arg);
    }
}

/* ---- life ---- */

static void make_ready(struct task *t, enum fail result)
{
    ASSERT(t->state == TASK_PARKED);
    if (t->waits_in != NULL) {
        list_remove(t->waits_in, &t->on_list);
        t->waits_in = NULL;
    }
    t->result = result;
    t->state = TASK_READY;
    list_push(&t->worker->ready, &t->on_list);
}

/* When the current wait ends by itself, and as what. */
static nanos wait_ends(const struct task *t, enum fail *out_why)
{
    bool own = !t->shield && t->deadline <= t->until;
    *out_why = own ? FAIL_DEADLINE : FAIL_TIMEOUT;
    return own ? t->deadline : t->until;
}

/* The timer stays in the heap from wait to wait and is only looked at when it fires: most waits end long before their deadline. */
static void task_timer_fired(struct worker *w, struct timer *timer)
{
    struct task *t = CONTAINER_OF(timer, struct task, timer);
    enum fail why;
    if (t->state != TASK_PARKED)
        return;
    nanos ends = wait_ends(t, &why);
    if (ends <= w->now)
        make_ready(t, why);
    else if (ends != NEVER)
        timer_set(w, timer, ends);
}

struct task *task_start(struct worker *w, const char *name, task_fn *fn, void *arg)
{
    struct task_table *table = w->tasks;
    if (list_is_empty(&table->warm) && list_is_empty(&table->cold) && table_grow(w) != OK)
        return NULL;
    struct task *t = CONTAINER_OF(list_pop(list_is_empty(&table->warm) ? &table->cold : &table->warm), struct task, on_list);
    CHECK(t, TASK);
    table->warm_spare = MIN(table->warm_spare, list_count(&table->warm));
    if (!stack_warm(t)) {
        list_push(&table->cold, &t->on_list);
        return NULL;
    }
    t->name = name;
    t->what = "start";
    t->story = NULL;
    t->share = ACCOUNT_COMMON;
    t->deadline = NEVER;
    t->cancel = OK;
    t->shield = false;
    t->pins = 0;
    t->group = NULL;
    t->timer.fire = task_timer_fired;
    t->fn = fn;
    t->arg = arg;
    t->parked_at = w->now;
    char *low = t->stack + TASK_GUARD_BYTES;
    size_t colour = (t->index % STACK_COLOURS) * STACK_COLOUR_STEP;
    context_init(&t->context, low, TASK_STACK_BYTES - TASK_GUARD_BYTES - colour, task_main, t);
    table->live++;
    t->state = TASK_READY;
    list_push(&w->ready, &t->on_list);
    return t;
}

/* First and last function of every task's stack. */
static void task_main(void *arg)
{
    struct task *t = arg;
    t->fn(t, t->arg);
    ASSERT(t->pins == 0);
    if (t->group != NULL)
        group_child_ended(t);
    t->state = TASK_FREE;
    context_leave(&t->context, &t->worker->context);
}

static void task_retire(struct worker *w, struct task *t)
{
    context_fini(&t->context);
    t->generation++;
    t->name = t->what = NULL;
    struct task_table *table = w->tasks;
    table->live--;
    if (list_count(&table->warm) >= WARM_FREE_MAX && account_is_short())
        stack_cool(t);
    list_push_front(t->is_warm ? &table->warm : &table->cold, &t->on_list);
    cool_later(w);
}

/* The next two may run in a signal handler: no stdio, no lock. */
static void tell_overflow(const struct task *t)
{
    char line[160];
    int n = snprintf(line, sizeof line, "weir: stack overflow in task \"%s\" (%d KiB): a frame is too large or a recursion has no bound\n", t->name,
                     TASK_STACK_BYTES / 1024);
    ssize_t written = write(STDERR_FILENO, line, MIN((size_t)n, sizeof line - 1));
    (void)written; /* nobody is left to tell */
}

static void tell_story(void)
{
    const struct task *t = task_running();
    char line[160];
    if (t == NULL)
        return;
    int n = snprintf(line, sizeof line, "weir: in task \"%s\" (worker %u, task %u, its last wait: %s)\n", t->name, t->worker->index, t->index, t->what);
    ssize_t written = write(STDERR_FILENO, line, MIN((size_t)n, sizeof line - 1));
    (void)written;
}

static void task_go(struct worker *w, struct task *t)
{
    t->state = TASK_RUNNING;
    w->running = t;
    here = w;
    if (UNLIKELY(t->share != ACCOUNT_COMMON))
        account_as(t->share);
    context_switch(&w->context, &t->context);
    while (UNLIKELY(w->called != NULL)) { /* ends when the task parks, yields or returns */
        w->called(w->called_arg);
        w->called = NULL;
        context_switch(&w->context, &t->context);
    }
    w->running = NULL;
    if (UNLIKELY(t->share != ACCOUNT_COMMON))
        account_as(ACCOUNT_COMMON);
    if (UNLIKELY(t->guard == GUARD_CANARY && !stack_is_whole(t->stack))) {
        tell_overflow(t);
        ASSERT(!"a task's stack stays within its bounds");
    }
    if (t->state == TASK_FREE)
        task_retire(w, t);
}

void task_run_ready(struct worker *w)
{
    for (unsigned n = list_count(&w->yielded); n > 0; n--)
        list_push(&w->ready, list_pop(&w->yielded));
    for (unsigned n = 0; n < RUNS_PER_TURN && !list_is_empty(&w->ready); n++)
        task_go(w, CONTAINER_OF(list_pop(&w->ready), struct task, on_list));
}

void task_call_loop(struct worker *w, void (*fn)(void *arg), void *arg)
{
    if (w->running == NULL || w->called != NULL) { /* the loop runs, or a call that calls */
        fn(arg);
        return;
    }
    w->called = fn;
    w->called_arg = arg;
    context_switch(&w->running->context, &w->context);
}

static void switch_away(struct task *t)
{
    ASSERT(t->pins == 0 && !gate_holds_any());
    context_switch(&t->context, &t->worker->context);
}

void task_share(struct task *t, enum account_share share)
{
    t->share = share;
    if (t->worker->running == t)
        account_as(share);
}

enum fail task_park(struct task *t, const char *what, nanos deadline)
{
    struct worker *w = t->worker;
    CHECK(t, TASK);
    ASSERT(w->running == t && t->pins == 0);
    if (t->cancel != OK && !t->shield)
        return t->cancel;
    enum fail why;
    t->until = deadline;
    nanos ends = wait_ends(t, &why);
    if (ends <= w->now)
        return why;
    if (ends != NEVER && (!heap_has(&t->timer.node) || t->timer.node.at > ends))
        timer_set(w, &t->timer, ends);
    t->what = what;
    t->parked_at = w->now;
    t->state = TASK_PARKED;
    switch_away(t);
    return t->result;
}

void task_wake(struct task *t)
{
    CHECK(t, TASK);
    if (t->state == TASK_PARKED)
        make_ready(t, OK);
}

void task_cancel(struct task *t, enum fail why)
{
    CHECK(t, TASK);
    ASSERT(why != OK);
    if (t->state == TASK_FREE || t->cancel != OK)
        return;
    t->cancel = why;
    if (t->state == TASK_PARKED && !t->shield)
        make_ready(t, why);
}

enum fail task_sleep(struct task *t, nanos until)
{
    while (t->worker->now < until) {
        enum fail f = task_park(t, "sleep", until);
        if (f == FAIL_TIMEOUT)
            break;
        if (f != OK)
            return f;
    }
    return OK;
}

enum fail task_yield(struct task *t)
{
    struct worker *w = t->worker;
    ASSERT(w->running == t);
    t->what = "yield";
    t->parked_at = w->now;
    t->state = TASK_READY;
    list_push(&w->yielded, &t->on_list);
    switch_away(t);
    if (t->shield)
        return OK;
    if (t->cancel != OK)
        return t->cancel;
    return t->deadline <= w->now ? FAIL_DEADLINE : OK;
}

static void wake_letter(struct worker *w, void *arg, uint64_t number)
{
    struct task *t = task_find(w, (uint32_t)(uintptr_t)arg, (uint32_t)number);
    if (t != NULL)
        task_wake(t);
}

void task_wake_mail(struct task_ref ref)
{
    mail_send(ref.worker, wake_letter, (void *)(uintptr_t)ref.index, ref.generation);
}

/* ---- the end of a wrong program ---- */

static void on_fault(int signal, siginfo_t *info, void *context)
{
    struct task *t = task_running();
    (void)context;
    char *at = info->si_addr;
    if (t != NULL && at >= t->stack && at < t->stack + TASK_GUARD_BYTES)
        tell_overflow(t);
    struct sigaction plain = { .sa_handler = SIG_DFL };
    sigaction(signal, &plain, NULL); /* returning runs the faulting instruction again, and the core is of that place */
    if (info->si_code <= 0)
        raise(signal); /* somebody sent it: there is no such instruction */
}

void task_catch_overflow(void)
{
    struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    assert_story = tell_story;
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

#define FAULT_STACK_BYTES 65536
static _Thread_local void *fault_stack;
static _Thread_local stack_t fault_stack_before; /* a sanitizer may have had one */

void task_thread_begin(void)
{
    fault_stack = mem_alloc(FAULT_STACK_BYTES);
    if (fault_stack == NULL)
        return; /* overflow then ends without its message */
    stack_t alternative = { .ss_sp = fault_stack, .ss_size = FAULT_STACK_BYTES };
    sigaltstack(&alternative, &fault_stack_before);
}

void task_thread_end(void)
{
    if (fault_stack != NULL)
        sigaltstack(&fault_stack_before, NULL);
    mem_free(fault_stack);
    fault_stack = NULL;
    account_settle();
}
