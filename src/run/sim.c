/* sim.c: the simulated world's threads, clock and jobs, and the loop that chooses what happens next. Tests and `weir plan` call it;
   the gateway in it calls only the table of world.h. */
#include "run/gate.h"
#include "run/jobs.h"
#include "run/sim_own.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define GUARD_BYTES 4096

enum thread_state { THREAD_CAN_GO, THREAD_WAITS, THREAD_ENDED };

struct sim_thread {
    struct sim *sim;
    const char *name;
    void (*fn)(void *arg);
    void *arg;
    bool spared;
    nanos busy_until; /* a slow turn: not before */
    enum thread_state state;
    int poll;    /* what it waits for, */
    nanos until; /* and until when */
    struct context resume; /* at a gate this is within a task, on the task's stack */
    char *stack;
};

struct sim_job {
    struct sim_event event;
    struct job *job;
};

/* ---- options ---- */

struct sim_faults sim_faults_none(void)
{
    return (struct sim_faults){ 0 };
}

struct sim_faults sim_faults_seeded(uint64_t seed)
{
    struct sim_random r = { seed ^ 0xfa0175u }; /* apart from what the same seed draws elsewhere */
    struct sim_faults f = { 0 };
    if (random_below(&r, 8) == 0)
        return f;
#define FAULT(name, seeded_max, one_in, what) f.name = random_below(&r, one_in) == 1 ? (unsigned)random_below(&r, (seeded_max) + 1) : 0;
    SIM_FAULTS(FAULT)
#undef FAULT
    return f;
}

struct sim_options sim_options_default(uint64_t seed)
{
    return (struct sim_options){
        .seed = seed,
        .latency_min = 10 * NANOS_PER_US, .latency_max = 300 * NANOS_PER_US, .delay_max = 200 * NANOS_PER_MS,
        .turn_max = 30 * NANOS_PER_MS, .leap_max = NANOS_PER_S,
        .mail_max = 20 * NANOS_PER_US, .job_min = 100 * NANOS_PER_US, .job_max = 3 * NANOS_PER_MS,
        .step_ns = NANOS_PER_US, .gate_yield = 250, .fds_max = 4096, .window = 65536, .steps_max = 50000000,
    };
}

/* ---- clock, chance, letters, gates ---- */

static nanos now(struct world *w) { return sim_of(w)->now; }

static nanos wall(struct world *w)
{
    struct sim *sim = sim_of(w);
    return SIM_EPOCH + (sim->now - sim->began) + sim->wall_off;
}

static void give_random(struct world *w, void *out, size_t n)
{
    struct sim *sim = sim_of(w);
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t r = random_next(&sim->handed);
        memcpy((char *)out + i, &r, MIN(n - i, sizeof r));
    }
}

static nanos mail_delay(struct world *w)
{
    struct sim *sim = sim_of(w);
    return random_between(&sim->choice, 0, sim->options.mail_max);
}

/* Back to the scheduler; returns when it chooses this thread again. */
static void step_aside(struct sim *sim)
{
    struct sim_thread *self = sim->running;
    sim->running = NULL;
    context_switch(&self->resume, &sim->main);
}

static void before_gate(struct world *w)
{
    struct sim *sim = sim_of(w);
    if (sim->running == NULL || gate_holds_any() || !random_chance(&sim->choice, sim->options.gate_yield))
        return; /* whoever stepped aside inside a gate would leave it locked: all threads here are one to the mutex */
    sim->running->state = THREAD_CAN_GO;
    sim_trace(sim, TRACE_GATE, sim->steps);
    step_aside(sim);
}

void sim_thread_wait(struct sim *sim, int poll, nanos until)
{
    if (sim->running == NULL)
        return; /* a test turns a worker by hand, outside sim_run: it takes what is there */
    sim->running->poll = poll;
    sim->running->until = until;
    sim->running->state = THREAD_WAITS;
    step_aside(sim);
}

/* ---- events and jobs ---- */

enum fail sim_events_own(struct sim *sim, uint32_t count)
{
    enum fail f = heap_reserve(&sim->events, sim->events_owned + count);
    if (f == OK)
        sim->events_owned += count;
    return f;
}

void sim_events_disown(struct sim *sim, uint32_t count)
{
    ASSERT(sim->events_owned >= count);
    sim->events_owned -= count;
}

/* The work is done at one moment of virtual time: what it takes is the delay before it. */
static void job_ends(struct sim *sim, struct sim_event *event)
{
    struct sim_job *j = CONTAINER_OF(event, struct sim_job, event);
    struct job *job = j->job;
    sim_trace(sim, TRACE_JOB, sim->jobs.used);
    slab_give(&sim->jobs, j);
    sim_events_disown(sim, 1);
    job->work(job->arg);
    job_finished(job);
}

static enum fail job_submit(struct world *w, struct job *job)
{
    struct sim *sim = sim_of(w);
    if (sim->jobs.used >= JOBS_QUEUE_MAX || STRIKES(sim, job_full))
        return FAIL_BUSY;
    struct sim_job *j = slab_take(&sim->jobs);
    if (j == NULL)
        return FAIL_NO_MEMORY;
    if (sim_events_own(sim, 1) != OK) {
        slab_give(&sim->jobs, j);
        return FAIL_NO_MEMORY;
    }
    *j = (struct sim_job){ .event.fire = job_ends, .job = job };
    heap_set(&sim->events, &j->event.node, sim->now + random_between(&sim->choice, sim->options.job_min, sim->options.job_max));
    return OK;
}

/* ---- threads ---- */

static void thread_main(void *arg)
{
    struct sim_thread *self = arg;
    self->fn(self->arg);
    self->state = THREAD_ENDED;
    self->sim->running = NULL;
    self->sim->thread_live--;
    context_leave(&self->resume, &self->sim->main);
}

static void thread_free(struct sim_thread *thread)
{
    if (thread->state != THREAD_ENDED)
        context_fini(&thread->resume);
    munmap(thread->stack, SIM_STACK_BYTES + GUARD_BYTES);
    mem_free(thread);
}

enum fail sim_thread(struct sim *sim, const char *name, void (*fn)(void *arg), void *arg)
{
    CHECK(sim, SIM);
    if (sim->thread_count == SIM_THREADS_MAX)
        return FAIL_BUSY;
    struct sim_thread *thread = mem_zero(sizeof *thread);
    if (thread == NULL)
        return FAIL_NO_MEMORY;
    char *stack = mmap(NULL, SIM_STACK_BYTES + GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, GUARD_BYTES, PROT_NONE) != 0) {
        if (stack != MAP_FAILED)
            munmap(stack, SIM_STACK_BYTES + GUARD_BYTES);
        mem_free(thread);
        return FAIL_NO_MEMORY;
    }
    *thread = (struct sim_thread){ .sim = sim, .name = name, .fn = fn, .arg = arg, .state = THREAD_CAN_GO, .stack = stack };
    context_init(&thread->resume, stack + GUARD_BYTES, SIM_STACK_BYTES, thread_main, thread);
    sim->threads[sim->thread_count++] = thread;
    sim->thread_live++;
    return OK;
}

static void run_worker(void *arg)
{
    worker_run(arg);
}

enum fail sim_worker(struct sim *sim, const char *name, struct worker *w)
{
    return sim_thread(sim, name, run_worker, w);
}

void sim_spare(struct sim *sim)
{
    CHECK(sim, SIM);
    ASSERT(sim->thread_count > 0);
    sim->threads[sim->thread_count - 1]->spared = true;
}

/* ---- what happens next ---- */

static bool thread_can_go(struct sim *sim, const struct sim_thread *thread)
{
    if (thread->busy_until > sim->now)
        return false;
    switch (thread->state) {
    case THREAD_CAN_GO:
        return true;
    case THREAD_WAITS:
        return thread->until <= sim->now || sim_poll_has_news(sim, thread->poll);
    default:
        return false;
    }
}

/* One of those that can go on, by the seed; NULL if none can. */
static struct sim_thread *choose_thread(struct sim *sim)
{
    struct sim_thread *can[SIM_THREADS_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < sim->thread_count; i++)
        if (thread_can_go(sim, sim->threads[i]))
            can[count++] = sim->threads[i];
    if (count == 0)
        return NULL;
    uint64_t chosen = count == 1 ? 0 : random_below(&sim->choice, count);
    sim_trace(sim, TRACE_STEP, (uint64_t)sim->now ^ (chosen << 48));
    return can[chosen];
}

static void deliver_due(struct sim *sim)
{
    struct heap_node *first;
    while ((first = heap_first(&sim->events)) != NULL && first->at <= sim->now) {
        struct sim_event *event = CONTAINER_OF(first, struct sim_event, node);
        heap_remove(&sim->events, first);
        event->fire(sim, event);
    }
}

/* The first moment at which anything can happen; NEVER if none will come. */
static nanos next_moment(const struct sim *sim)
{
    struct heap_node *first = heap_first(&sim->events);
    nanos next = first != NULL ? first->at : NEVER;
    for (unsigned i = 0; i < sim->thread_count; i++)
        if (sim->threads[i]->state != THREAD_ENDED && sim->threads[i]->busy_until > sim->now)
            next = MIN(next, sim->threads[i]->busy_until);
        else if (sim->threads[i]->state == THREAD_WAITS)
            next = MIN(next, sim->threads[i]->until);
    return next;
}

#define STARVED_MOST  6  /* the allocation of a step that fails is one of so many; most steps have fewer */
#define STALL_STEPS   200

/* What happens to the clocks, and to the thread, with this step. */
void sim_slow_turns(struct sim *sim, nanos span)
{
    CHECK(sim, SIM);
    sim->options.turn_min = sim->options.turn_max = span;
    sim->options.faults.slow_turn = span > 0 ? 1000 : 0;
}

static void step_faults(struct sim *sim, struct sim_thread *thread)
{
    struct sim_random *r = &sim->chance;
    if (!thread->spared && STRIKES(sim, slow_turn))
        thread->busy_until = sim->now + random_between(r, sim->options.turn_min, sim->options.turn_max);
    if (STRIKES(sim, wall_jump))
        sim->wall_off += random_below(r, 2) ? 86400 * NANOS_PER_S : -3600 * NANOS_PER_S;
    if (STRIKES(sim, leap))
        sim->now += random_between(r, 0, sim->options.leap_max);
    if (sim->stalled == 0 && STRIKES(sim, stall))
        sim->stalled = 1 + (unsigned)random_below(r, STALL_STEPS);
    if (sim->stalled > 0)
        sim->stalled--;
    else
        sim->now += sim->options.step_ns;
}

static void thread_step(struct sim *sim, struct sim_thread *thread)
{
    unsigned starved = !thread->spared && random_chance(&sim->chance, sim->options.faults.no_memory) ? 1 + (unsigned)random_below(&sim->chance, STARVED_MOST) : 0;
    thread->state = THREAD_CAN_GO;
    sim->running = thread;
    if (starved > 0)
        (void)mem_fault(starved);
    context_switch(&sim->main, &thread->resume);
    if (starved > 0)
        sim->struck[SIM_FAULT_no_memory] += mem_fault(0) >= starved;
    if (thread->state == THREAD_ENDED)
        context_fini(&thread->resume);
    sim->steps++;
    step_faults(sim, thread);
    if (sim->on_step != NULL)
        sim->on_step(sim, sim->on_step_arg);
}

static void explain_deadlock(struct sim *sim)
{
    size_t used = (size_t)snprintf(sim->why, sizeof sim->why, "nothing will ever happen again; waiting:");
    for (unsigned i = 0; i < sim->thread_count && used < sizeof sim->why; i++)
        if (sim->threads[i]->state != THREAD_ENDED)
            used += (size_t)snprintf(sim->why + used, sizeof sim->why - used, " \"%s\"", sim->threads[i]->name);
}

/* Nobody can go on now. True if time went on; false, with the reason, if there is nothing to go on to. */
static bool time_goes_on(struct sim *sim, nanos limit)
{
    nanos next = next_moment(sim);
    if (next == NEVER) {
        explain_deadlock(sim);
        return false;
    }
    sim->now = MIN(next, limit);
    if (next > limit) {
        snprintf(sim->why, sizeof sim->why, "the limit of virtual time was reached");
        return false;
    }
    sim_trace(sim, TRACE_JUMP, (uint64_t)next);
    return true;
}

bool sim_run(struct sim *sim, bool (*until)(void *arg), void *arg, nanos span)
{
    CHECK(sim, SIM);
    ASSERT(sim->running == NULL); /* a thread inside cannot run its own world */
    nanos limit = span > NEVER - sim->now ? NEVER : sim->now + span;
    uint64_t steps_end = sim->steps + sim->options.steps_max;
    for (;;) {
        if (until != NULL ? until(arg) : sim->thread_live == 0)
            return true;
        if (sim->now > limit || sim->steps >= steps_end) {
            snprintf(sim->why, sizeof sim->why, "%s", sim->now > limit ? "the limit of virtual time was reached" : "the limit of steps was reached");
            return false;
        }
        deliver_due(sim);
        struct sim_thread *thread = choose_thread(sim);
        if (thread != NULL)
            thread_step(sim, thread);
        else if (!time_goes_on(sim, limit))
            return false;
    }
}

/* ---- the world ---- */

static uint64_t seed_stream(uint64_t seed, uint64_t number)
{
    struct sim_random r = { seed + number * 0xd1342543de82ef95u };
    return random_next(&r);
}

struct sim *sim_new(const struct sim_options *options)
{
    ASSERT(options->step_ns > 0 && options->window > 0 && options->latency_min >= 0);
    struct sim *sim = mem_zero(sizeof *sim);
    if (sim == NULL)
        return NULL;
    sim->magic = SIM_MAGIC;
    sim->options = *options;
    sim->choice.state = seed_stream(options->seed, 1);
    sim->chance.state = seed_stream(options->seed, 2);
    sim->handed.state = seed_stream(options->seed, 3);
    sim->now = sim->began = 1 + random_between(&sim->choice, 0, 1000000 * NANOS_PER_S); /* code that takes 0 for "now" or "never" shows */
    sim->world = (struct world){ .name = "simulated", .now = now, .wall = wall, .random = give_random,
                                 .mail_delay = mail_delay, .before_gate = before_gate, .job_submit = job_submit };
    heap_init(&sim->events);
    slab_init(&sim->jobs, sizeof(struct sim_job), 32);
    sim_poll_init(sim);
    if (sim_net_init(sim) != OK) {
        sim_free(sim);
        return NULL;
    }
    return sim;
}

void sim_free(struct sim *sim)
{
    if (sim == NULL)
        return;
    CHECK(sim, SIM);
    ASSERT(sim->running == NULL);
    for (unsigned i = 0; i < sim->thread_count; i++)
        thread_free(sim->threads[i]);
    sim_poll_fini(sim);
    sim_net_fini(sim);
    slab_fini(&sim->jobs);
    heap_fini(&sim->events);
    sim->magic = 0;
    mem_free(sim);
}

struct world *sim_world(struct sim *sim)
{
    CHECK(sim, SIM);
    return &sim->world;
}

void sim_on_step(struct sim *sim, void (*fn)(struct sim *sim, void *arg), void *arg)
{
    sim->on_step = fn;
    sim->on_step_arg = arg;
}

const char *sim_why(const struct sim *sim) { return sim->why; }
const uint64_t *sim_struck(const struct sim *sim) { return sim->struck; }
uint64_t sim_steps(const struct sim *sim) { return sim->steps; }
uint64_t sim_trace_hash(const struct sim *sim) { return sim->hash; }
