/* loop.c: a worker's turn: events, mail, timers, ready tasks, and what was left for the end of the turn. Called by the thread that owns the worker. */
#include "run/lag.h"
#include "run/loop.h"
#include "run/quiesce.h"
#include "run/release.h"
#include "run/task.h"
#include <errno.h>
#include <string.h>

#define LETTERS_PER_TURN 1024 /* as many as tasks run in a turn */
#define TIMERS_FIXED     128 /* a worker's own: drain, log, accepting, cooling stacks, and one for each of 64 backends; what comes and goes asks timer_own */
#define MAIL_FIXED       256 /* letters that come from the outside: signals, that the store's keys have changed, and rosters that a worker has not read yet */

struct worker *workers_all[WORKERS_MAX];

void timer_set(struct worker *w, struct timer *timer, nanos at)
{
    ASSERT(heap_has(&timer->node) || heap_reserve(&w->timers, w->timers.count + 1) == OK); /* there is room: see timer_own */
    heap_set(&w->timers, &timer->node, MAX(at, w->now + 1));
}

void timer_stop(struct worker *w, struct timer *timer)
{
    heap_remove(&w->timers, &timer->node);
}

enum fail timer_own(struct worker *w, uint32_t count)
{
    enum fail f = heap_reserve(&w->timers, w->timers_owned + count);
    if (f == OK)
        w->timers_owned += count;
    return f;
}

void timer_disown(struct worker *w, uint32_t count)
{
    ASSERT(w->timers_owned >= count);
    w->timers_owned -= count;
}

enum fail watch_start(struct worker *w, struct watch *watch, int fd, bool shared)
{
    int rc = w->world->poll_add(w->world, w->poll, fd, watch, shared);
    if (rc < 0)
        return rc == -ENOMEM ? FAIL_NO_MEMORY : FAIL_SYSTEM;
    watch->fd = fd;
    return OK;
}

void watch_stop(struct worker *w, struct watch *watch)
{
    if (watch->fd < 0)
        return;
    w->world->poll_remove(w->world, w->poll, watch->fd);
    for (int i = 0; i < w->events_count; i++)
        if (w->events[i].subject == watch)
            w->events[i].subject = NULL;
    watch->fd = -1;
}

/* ---- mail ---- */

/* Room for n letters at least. */
static enum fail mailbox_grow(struct mailbox *m, uint32_t n)
{
    uint32_t room = MAX(m->room, MAIL_FIXED);
    while (room < n && room <= MAIL_MAX)
        room *= 2;
    if (room > MAIL_MAX)
        return FAIL_BUSY;
    struct mail *ring = mem_alloc(room * sizeof(*ring));
    if (ring == NULL)
        return FAIL_NO_MEMORY;
    for (uint32_t i = 0; i < m->count; i++)
        ring[i] = m->ring[(m->first + i) & (m->room - 1)];
    mem_free(m->ring);
    m->ring = ring;
    m->room = room;
    m->first = 0;
    return OK;
}

enum fail mail_own(struct worker *w, uint32_t count)
{
    struct mailbox *m = &w->mailbox;
    pthread_mutex_lock(&m->lock);
    enum fail f = m->owned + count <= m->room ? OK : mailbox_grow(m, m->owned + count);
    if (f == OK)
        m->owned += count;
    pthread_mutex_unlock(&m->lock);
    return f;
}

void mail_disown(struct worker *w, uint32_t count)
{
    pthread_mutex_lock(&w->mailbox.lock);
    ASSERT(w->mailbox.owned >= count);
    w->mailbox.owned -= count;
    pthread_mutex_unlock(&w->mailbox.lock);
}

void mail_send(struct worker *to, mail_fn *fn, void *arg, uint64_t number)
{
    struct mailbox *m = &to->mailbox;
    nanos due = 0;
    nanos delay = to->world->mail_delay(to->world);
    if (delay > 0)
        due = world_now(to->world) + delay;

    pthread_mutex_lock(&m->lock);
    if (m->count == m->room)
        ASSERT(mailbox_grow(m, m->count + 1) == OK); /* there is room: see mail_own */
    m->ring[(m->first + m->count++) & (m->room - 1)] = (struct mail){ fn, arg, number, due };
    bool poke = !m->poked;
    m->poked = true;
    pthread_mutex_unlock(&m->lock);

    if (poke)
        to->world->poll_wake(to->world, to->poll);
}

/* Takes the next letter that is due. If none is, it says in next_due when to look again; until then senders need not wake us,
   because letters are taken in the order of their sending. */
static bool mail_take(struct worker *w, struct mail *out)
{
    struct mailbox *m = &w->mailbox;
    pthread_mutex_lock(&m->lock);
    struct mail *first = m->count > 0 ? &m->ring[m->first] : NULL;
    bool got = first != NULL && first->due <= w->now;
    if (got) {
        *out = *first;
        m->first = (m->first + 1) & (m->room - 1);
        m->count--;
    } else {
        m->next_due = first != NULL ? first->due : NEVER;
        m->poked = first != NULL;
    }
    pthread_mutex_unlock(&m->lock);
    return got;
}

/* Bounded, so that two workers that answer each other's letters still get to their sockets. */
static void mail_read(struct worker *w)
{
    struct mail letter;
    for (unsigned i = 0; i < LETTERS_PER_TURN; i++) {
        if (!mail_take(w, &letter))
            return;
        letter.fn(w, letter.arg, letter.number);
    }
    w->mailbox.next_due = w->now; /* perhaps more: come again at once */
}

/* ---- a turn ---- */

static void run_timers(struct worker *w)
{
    /* ends: each removes one that was due, and none is set for a moment that has passed */
    for (struct heap_node *first; (first = heap_first(&w->timers)) != NULL && first->at <= w->now;) {
        struct timer *timer = CONTAINER_OF(first, struct timer, node);
        heap_remove(&w->timers, first);
        timer->fire(w, timer);
    }
}

static void run_turn_ends(struct worker *w)
{
    for (unsigned n = list_count(&w->turn_end); n > 0 && !list_is_empty(&w->turn_end); n--) {
        struct turn_end *e = CONTAINER_OF(list_pop(&w->turn_end), struct turn_end, node);
        e->run(w, e);
    }
}

static void read_clock(struct worker *w)
{
    w->now = world_now(w->world);
    w->wall = world_wall(w->world);
}

static void handle_events(struct worker *w)
{
    for (int i = 0; i < w->events_count; i++) {
        struct watch *watch = w->events[i].subject;
        if (watch != NULL)
            watch->ready(w, watch, w->events[i].events);
    }
    w->events_count = 0;
}

void worker_turn(struct worker *w, nanos until)
{
    CHECK(w, WORKER);
    struct heap_node *first = heap_first(&w->timers);
    if (first != NULL)
        until = MIN(until, first->at);
    until = MIN(until, w->mailbox.next_due);
    if (!list_is_empty(&w->ready) || !list_is_empty(&w->yielded) || !list_is_empty(&w->turn_end))
        until = 0;

    until = lag_look(w, until);
    w->events_count = w->world->poll_wait(w->world, w->poll, w->events, EVENTS_PER_POLL, until);
    quiesce_turn(w);
    read_clock(w);
    nanos began = w->now;
    lag_note(w, until, w->events_count >= EVENTS_PER_POLL - 1); /* a wake-up takes a place and is no event */

    handle_events(w);
    mail_read(w);
    run_timers(w);
    task_run_ready(w);
    run_turn_ends(w);

    quiesce_turn(w);
    w->ended = world_now(w->world);
    if (account_is_short())
        account_settle(); /* else what was freed in this turn would be free for this worker only */
    if (w->hooks.turn_ended != NULL)
        w->hooks.turn_ended(w, w->ended - began);
}

void worker_run(struct worker *w)
{
    while (!atomic_load_explicit(&w->stopping, memory_order_acquire) || task_count(w) > 0 || w->jobs > 0 || !list_is_empty(&w->turn_end))
        worker_turn(w, NEVER);
}

static void stop_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)arg, (void)number;
    atomic_store_explicit(&w->stopping, true, memory_order_release);
}

void worker_stop(struct worker *w)
{
    mail_send(w, stop_letter, NULL, 0);
}

uint64_t worker_random(struct worker *w)
{
    uint64_t r;
    w->world->random(w->world, &r, sizeof r);
    return r;
}

enum fail worker_init(struct worker *w, struct world *world, unsigned index)
{
    ASSERT(index < WORKERS_MAX);
    memset(w, 0, sizeof *w);
    w->index = index;
    w->world = world;
    heap_init(&w->timers);
    list_init(&w->ready);
    list_init(&w->yielded);
    list_init(&w->turn_end);
    release_init(w);
    w->poll = world->poll_new(world);
    if (w->poll < 0)
        return FAIL_NO_DESCRIPTORS;
    pthread_mutex_init(&w->mailbox.lock, NULL);
    w->mailbox.next_due = NEVER;
    w->magic = WORKER_MAGIC;
    read_clock(w);
    w->ended = w->emptied = w->now;
    w->events = mem_alloc(EVENTS_PER_POLL * sizeof(*w->events));
    w->scratch = mem_alloc(SCRATCH_BYTES);
    if (w->events == NULL || w->scratch == NULL || timer_own(w, TIMERS_FIXED) != OK || mail_own(w, MAIL_FIXED) != OK ||
        task_table_new(w) != OK) {
        worker_fini(w);
        return FAIL_NO_MEMORY;
    }
    workers_all[index] = w;
    return OK;
}

void worker_fini(struct worker *w)
{
    CHECK(w, WORKER);
    if (workers_all[w->index] == w)
        workers_all[w->index] = NULL;
    if (w->tasks != NULL) {
        ASSERT(task_count(w) == 0);
        task_table_free(w);
    }
    release_rest(w);
    w->world->poll_free(w->world, w->poll);
    heap_fini(&w->timers);
    mem_free(w->mailbox.ring);
    pthread_mutex_destroy(&w->mailbox.lock);
    mem_free(w->events);
    mem_free(w->scratch);
    w->magic = 0;
}
