/* board.c: what all workers of one mock share: the script, the slots with their queue, the statistics. Called by mock.c.

     a place    how it gets there                    leaves by
     waiting    every slot was taken                 granted (the slot is then its own, wherever its task is), or its task was cancelled
     answering  a slot was free, or granted          board_leave, which grants the slot to whoever waits longest */
#include "mock/inner.h"
#include "run/gate.h"

#define BOARD_MAGIC 0x60b0a4d1u

struct board {
    uint32_t magic;
    unsigned holders;            /* start-up and end only: one thread */
    struct gate gate;            /* over all below */
    struct held_script *script;
    struct list waiting;         /* struct place */
    struct board_stats stats;
    uint64_t number;             /* of the newest request; a reset does not touch it, so that answers' ids stay different */
    uint64_t since_script;       /* requests that the script has seen: what a fault's AFTER counts */
};

struct board *board_new(struct world *world, const struct mock_script *script)
{
    struct board *b = mem_zero(sizeof *b);
    struct held_script *h = mem_alloc(sizeof *h);
    if (b == NULL || h == NULL || mock_script_copy(&h->script, script) != OK) {
        mem_free(h);
        mem_free(b);
        return NULL;
    }
    h->holders = 1;
    b->magic = BOARD_MAGIC;
    b->holders = 1;
    b->script = h;
    b->stats.sums.last_cancelled = NEVER;
    list_init(&b->waiting);
    gate_init(&b->gate, world, GATE_POOL);
    return b;
}

struct board *board_hold(struct board *b)
{
    b->holders++;
    return b;
}

static void free_script(struct held_script *h)
{
    if (h == NULL)
        return;
    mock_script_fini(&h->script);
    mem_free(h);
}

void board_drop(struct board *b)
{
    CHECK(b, BOARD);
    if (--b->holders > 0)
        return;
    ASSERT(list_is_empty(&b->waiting) && b->script->holders == 1);
    free_script(b->script);
    gate_fini(&b->gate);
    mem_free(b);
}

/* ---- scripts ---- */

static struct held_script *hold(struct board *b)
{
    b->script->holders++;
    return b->script;
}

/* Under the gate. What it returns is nobody's any more: the caller frees it outside. */
static struct held_script *let_go(struct held_script *h)
{
    return --h->holders == 0 ? h : NULL;
}

struct held_script *board_visit(struct board *b)
{
    gate_enter(&b->gate);
    struct held_script *h = hold(b);
    gate_leave(&b->gate);
    return h;
}

void board_release(struct board *b, struct held_script *h)
{
    gate_enter(&b->gate);
    struct held_script *last = let_go(h);
    gate_leave(&b->gate);
    free_script(last);
}

/* ---- slots ---- */

static bool may_enter(const struct board *b)
{
    return b->script->script.slots == 0 || b->stats.sums.active < b->script->script.slots;
}

static void take_slot(struct board *b, struct place *p)
{
    struct mock_stats *s = &b->stats.sums;
    p->has_slot = true;
    s->active++;
    s->max_active = MAX(s->max_active, s->active);
}

/* Gives free slots to those who wait, longest first. Each is told outside the gate; one that ends meanwhile is not found, and has passed its slot on. */
static void grant(struct board *b)
{
    for (;;) { /* ends: each turn shortens the queue */
        struct task_ref next = { 0 };
        gate_enter(&b->gate);
        if (!list_is_empty(&b->waiting) && may_enter(b)) {
            struct place *p = CONTAINER_OF(list_pop(&b->waiting), struct place, node);
            b->stats.sums.queued--;
            p->granted = true;
            take_slot(b, p);
            next = p->task;
        }
        gate_leave(&b->gate);
        if (next.worker == NULL)
            return;
        task_wake_mail(next);
    }
}

void board_set_script(struct board *b, struct held_script *next)
{
    next->holders = 1;
    gate_enter(&b->gate);
    struct held_script *last = let_go(b->script);
    b->script = next;
    b->since_script = 0;
    gate_leave(&b->gate);
    free_script(last);
    grant(b); /* there may be more slots now */
}

/* Each fault by itself: one request may have several. The draw hangs on seed, request and place, so a run can be run again. */
static void draw_faults(struct board *b, struct place *p)
{
    const struct mock_script *s = &p->script->script;
    for (uint32_t i = 0; i < s->fault_count; i++) {
        uint64_t random = s->seed + p->number * MOCK_FAULTS_MAX + i;
        double drawn = (double)(random_step(&random) >> 11) * 0x1p-53;
        if (b->since_script <= s->faults[i].after || drawn >= s->faults[i].rate)
            continue;
        p->fault_set |= 1u << i;
        b->stats.sums.faults[s->faults[i].kind]++;
    }
}
_Static_assert(MOCK_FAULTS_MAX <= 32, "fault_set has a bit for each");

enum fail board_enter(struct task *t, struct board *b, enum mock_path path, struct place *p)
{
    enum fail f = OK;
    *p = (struct place){ .task = task_ref(t) };
    gate_enter(&b->gate);
    b->stats.sums.requests++;
    b->stats.paths[path]++;
    b->since_script++;
    p->number = ++b->number;
    p->script = hold(b);
    draw_faults(b, p);
    if (list_is_empty(&b->waiting) && may_enter(b)) {
        take_slot(b, p);
    } else {
        list_push(&b->waiting, &p->node);
        b->stats.sums.queued++;
    }
    bool mine = p->has_slot;
    gate_leave(&b->gate);
    while (!mine && f == OK) {
        f = task_park(t, "a slot of the mock", NEVER);
        gate_enter(&b->gate);
        mine = p->granted;
        if (f != OK && !mine) {
            list_remove(&b->waiting, &p->node);
            b->stats.sums.queued--;
        }
        gate_leave(&b->gate);
    }
    return f;
}

void board_leave(struct task *t, struct board *b, struct place *p, enum fail outcome)
{
    gate_enter(&b->gate);
    struct mock_stats *s = &b->stats.sums;
    if (outcome == FAIL_CLIENT_GONE) {
        s->cancelled++;
        s->last_cancelled = t->worker->now;
    } else if (outcome == OK) {
        s->completed++;
    }
    if (p->has_slot)
        s->active--;
    struct held_script *last = let_go(p->script);
    bool is_waited_for = !list_is_empty(&b->waiting);
    gate_leave(&b->gate);
    free_script(last);
    if (is_waited_for)
        grant(b);
}

/* ---- statistics ---- */

void board_note_stream(struct board *b)
{
    gate_enter(&b->gate);
    b->stats.sums.streams++;
    gate_leave(&b->gate);
}

void board_note_path(struct board *b, enum mock_path path)
{
    gate_enter(&b->gate);
    b->stats.paths[path]++;
    gate_leave(&b->gate);
}

/* What is under way stays. */
void board_reset(struct board *b)
{
    gate_enter(&b->gate);
    struct mock_stats now = b->stats.sums;
    b->stats = (struct board_stats){ 0 };
    b->stats.sums.active = b->stats.sums.max_active = now.active;
    b->stats.sums.queued = now.queued;
    b->stats.sums.last_cancelled = NEVER;
    b->since_script = 0;
    gate_leave(&b->gate);
}

void board_read(struct board *b, struct board_stats *out)
{
    gate_enter(&b->gate);
    *out = b->stats;
    gate_leave(&b->gate);
}
