/* test_run_both.c: what a single worker's tasks promise each other (scopes, cancelling, deadlines, leaving clients), in both worlds. */
#include "run/jobs.h"
#include "../lib/both.h"
#include "../unit/test_base.h"
#include "run/wait.h"

#define MS NANOS_PER_MS

/* What a child was told when its wait ended. */
#define TURNS_MAX 100 /* of a loop, in which whatever is going to happen without time has happened */

struct ending {
    bool ended;
    enum fail why;
    struct task *slow;    /* of ends_slowly: waits for leave to end */
    struct ending *child; /* of scope: its child's */
};

static void sleeps_long(struct task *t, void *arg)
{
    struct ending *e = arg;
    e->why = task_sleep(t, t->worker->now + 1000 * NANOS_PER_S);
    e->ended = true;
}

static void sleeps_short(struct task *t, void *arg)
{
    struct ending *e = arg;
    e->why = task_sleep(t, t->worker->now + MS);
    e->ended = true;
}

/* ---- race ---- */

static void loser_is_cancelled_and_joined(struct task *t, void *arg)
{
    struct ending slow = { 0 }, fast = { 0 }, slower = { 0 };
    struct racer racers[] = { { "slow", sleeps_long, &slow }, { "fast", sleeps_short, &fast }, { "slower", sleeps_long, &slower } };
    unsigned winner = 99;
    (void)arg;
    ASSERT(race(t, racers, 3, NEVER, &winner) == OK);
    ASSERT(winner == 1 && fast.ended && fast.why == OK);
    ASSERT(slow.ended && slow.why == FAIL_CANCELLED);
    ASSERT(slower.ended && slower.why == FAIL_CANCELLED);
    ASSERT(task_count(t->worker) == 1);
}

static void race_without_winner_joins_all(struct task *t, void *arg)
{
    struct ending a = { 0 }, b = { 0 };
    struct racer racers[] = { { "a", sleeps_long, &a }, { "b", sleeps_long, &b } };
    unsigned winner = 99;
    (void)arg;
    ASSERT(race(t, racers, 2, t->worker->now + MS, &winner) == FAIL_TIMEOUT);
    ASSERT(winner == 99); /* outputs stay as they were */
    ASSERT(a.ended && b.ended && a.why == FAIL_CANCELLED && b.why == FAIL_CANCELLED);
}

/* ---- group ---- */

static void counts(struct task *t, void *arg)
{
    int *sum = arg;
    for (int i = 0; i < 3; i++)
        ASSERT(task_yield(t) == OK);
    ++*sum;
}

static void group_waits_for_all(struct task *t, void *arg)
{
    struct group g;
    int sum = 0;
    (void)arg;
    group_init(&g, t);
    for (int i = 0; i < 10; i++)
        ASSERT(group_start(&g, "counts", counts, &sum, NULL) == OK);
    ASSERT(group_wait(&g, 1, NEVER) == OK);
    ASSERT(sum >= 1);
    ASSERT(group_wait(&g, 10, NEVER) == OK);
    ASSERT(sum == 10 && g.done == 10);
    group_end(&g);
}

/* A child of one group that ends must not throw its owner out of another queue. */
static void waits_in_queue(struct task *t, void *arg)
{
    struct list *queue = arg;
    ASSERT(wait_in(t, queue, "queue", NEVER) == OK);
}

static void ends_at_once(struct task *t, void *arg)
{
    (void)t;
    ++*(int *)arg;
}

struct queue_story {
    struct list queue;
    int ended;
};

static void owner(struct task *t, void *arg)
{
    struct queue_story *s = arg;
    struct group g;
    group_init(&g, t);
    ASSERT(group_start(&g, "child", ends_at_once, &s->ended, NULL) == OK);
    ASSERT(wait_in(t, &s->queue, "queue", NEVER) == OK);
    ASSERT(s->ended == 2); /* only the story's wake-up ended this wait */
    group_end(&g);
}

static void child_leaves_its_owners_place_in_a_queue(struct task *t, void *arg)
{
    struct queue_story s = { .ended = 0 };
    struct group g;
    (void)arg;
    list_init(&s.queue);
    group_init(&g, t);
    ASSERT(group_start(&g, "owner", owner, &s, NULL) == OK);
    ASSERT(group_start(&g, "behind", waits_in_queue, &s.queue, NULL) == OK);
    while (list_count(&s.queue) < 2 || s.ended < 1)
        ASSERT(task_yield(t) == OK);
    s.ended++;
    wait_wake_one(&s.queue);
    ASSERT(group_wait(&g, 1, NEVER) == OK);
    ASSERT(list_count(&s.queue) == 1);
    wait_wake_all(&s.queue);
    ASSERT(group_wait(&g, 2, NEVER) == OK);
    group_end(&g);
}

/* ---- shield ---- */

/* A child that needs a while to end after it was told to: until somebody lets it. */
static void ends_slowly(struct task *t, void *arg)
{
    struct ending *e = arg;
    e->why = task_park(t, "the end", NEVER);
    t->shield = true;
    e->slow = t;
    ASSERT(task_park(t, "leave to end", NEVER) == OK);
    t->shield = false;
    e->ended = true;
}

static void scope(struct task *t, void *arg)
{
    struct ending *e = arg;
    struct group g;
    group_init(&g, t);
    ASSERT(group_start(&g, "slow end", ends_slowly, e->child, NULL) == OK);
    ASSERT(task_yield(t) == OK);
    group_end(&g);
    ASSERT(e->child->ended && e->child->why == FAIL_CANCELLED); /* though we were cancelled while we waited */
    ASSERT(t->cancel == FAIL_CLIENT_GONE);
    e->why = task_park(t, "anything", NEVER);
    e->ended = true;
}

static void cancelled_owner_still_joins(struct task *t, void *arg)
{
    struct ending slow = { 0 }, e = { .child = &slow };
    struct task *child;
    struct group g;
    (void)arg;
    group_init(&g, t);
    ASSERT(group_start(&g, "scope", scope, &e, &child) == OK);
    for (int turns = 0; slow.slow == NULL; turns++)
        ASSERT(turns < TURNS_MAX && task_yield(t) == OK);
    ASSERT(child->shield && child->state == TASK_PARKED);
    task_cancel(child, FAIL_CLIENT_GONE);
    for (int turns = 0; turns < TURNS_MAX; turns++)
        ASSERT(task_yield(t) == OK && !e.ended && child->state == TASK_PARKED); /* it goes on waiting for its own */
    task_wake(slow.slow);
    ASSERT(group_wait(&g, 1, NEVER) == OK);
    ASSERT(e.ended && e.why == FAIL_CLIENT_GONE);
    group_end(&g);
}

/* ---- cancelling ---- */

static void nothing(void *arg)
{
    (void)arg;
}

static void every_wait_says_why(struct task *t, void *arg)
{
    struct ending *e = arg;
    struct list list;
    struct group g;
    struct racer racers[] = { { "a", sleeps_long, e } };
    unsigned winner;
    bool abandoned;
    list_init(&list);
    group_init(&g, t);
    ASSERT(task_park(t, "first", NEVER) == FAIL_DRAINING);
    task_cancel(t, FAIL_CLIENT_GONE); /* the first reason stays */
    ASSERT(task_park(t, "second", NEVER) == FAIL_DRAINING);
    ASSERT(task_park(t, "passed", t->worker->now - 1) == FAIL_DRAINING);
    ASSERT(task_sleep(t, t->worker->now + 1) == FAIL_DRAINING);
    ASSERT(task_yield(t) == FAIL_DRAINING);
    ASSERT(wait_in(t, &list, "list", NEVER) == FAIL_DRAINING);
    ASSERT(list_is_empty(&list) && !node_is_in(&t->on_list));
    ASSERT(group_start(&g, "child", sleeps_long, e, NULL) == FAIL_DRAINING);
    ASSERT(race(t, racers, 1, NEVER, &winner) == FAIL_DRAINING);
    ASSERT(job_run(t, "job", nothing, NULL, NULL, NEVER, &abandoned) == FAIL_DRAINING && abandoned);
    group_end(&g);
    e->ended = true;
}

static void cancelled_stays_cancelled(struct task *t, void *arg)
{
    struct ending e = { 0 };
    struct task *child;
    struct group g;
    (void)arg;
    group_init(&g, t);
    ASSERT(group_start(&g, "child", every_wait_says_why, &e, &child) == OK);
    ASSERT(task_yield(t) == OK);
    ASSERT(child->state == TASK_PARKED);
    task_cancel(child, FAIL_DRAINING);
    ASSERT(group_wait(&g, 1, NEVER) == OK);
    ASSERT(e.ended);
    group_end(&g);
}

/* Woken and cancelled in one turn: it got what it waited for, and learns the rest at its next wait. */
static void woken_then_cancelled(struct task *t, void *arg)
{
    struct ending *e = arg;
    ASSERT(task_park(t, "first", NEVER) == OK);
    e->why = task_park(t, "second", NEVER);
    e->ended = true;
}

static void wake_before_cancel_is_not_lost(struct task *t, void *arg)
{
    struct ending e = { 0 };
    struct task *child;
    struct group g;
    (void)arg;
    group_init(&g, t);
    ASSERT(group_start(&g, "child", woken_then_cancelled, &e, &child) == OK);
    ASSERT(task_yield(t) == OK);
    task_wake(child);
    task_wake(child); /* the second finds it ready: nothing happens */
    task_cancel(child, FAIL_CANCELLED);
    ASSERT(group_wait(&g, 1, NEVER) == OK);
    ASSERT(e.ended && e.why == FAIL_CANCELLED);
    group_end(&g);
}

/* ---- deadlines ---- */

static void has_a_deadline(struct task *t, void *arg)
{
    struct ending *e = arg;
    ASSERT(task_park(t, "the inner one", t->worker->now + MS) == FAIL_TIMEOUT);
    ASSERT(task_park(t, "the outer one", t->worker->now + 1000 * MS) == FAIL_DEADLINE);
    ASSERT(t->worker->now >= t->deadline);
    ASSERT(task_park(t, "after it", NEVER) == FAIL_DEADLINE);
    ASSERT(task_sleep(t, NEVER) == FAIL_DEADLINE);
    ASSERT(task_yield(t) == FAIL_DEADLINE);
    e->ended = true;
}

static void deadline_inside_a_deadline(struct task *t, void *arg)
{
    struct ending e = { 0 };
    struct task *child;
    struct group g;
    (void)arg;
    group_init(&g, t);
    t->deadline = t->worker->now + 3 * MS;
    ASSERT(group_start(&g, "child", has_a_deadline, &e, &child) == OK);
    ASSERT(child->deadline == t->deadline); /* inherited */
    t->deadline = NEVER;
    ASSERT(group_wait(&g, 1, NEVER) == OK);
    ASSERT(e.ended);
    group_end(&g);
}

/* A later reader of a flight moves its producer's deadline while the producer waits. */
static void waits_for_its_deadline(struct task *t, void *arg)
{
    struct ending *e = arg;
    e->why = task_park(t, "deadline", NEVER);
    e->ended = t->worker->now >= t->deadline;
}

static void deadline_moved_later_while_parked(struct task *t, void *arg)
{
    struct ending e = { 0 };
    struct task *child;
    struct group g;
    (void)arg;
    group_init(&g, t);
    ASSERT(group_start(&g, "child", waits_for_its_deadline, &e, &child) == OK);
    child->deadline = t->worker->now + MS;
    ASSERT(task_yield(t) == OK);
    child->deadline += 2 * MS;
    ASSERT(group_wait(&g, 1, NEVER) == OK);
    ASSERT(e.ended && e.why == FAIL_DEADLINE);
    group_end(&g);
}

/* ---- yield, spurious wakes, timers ---- */

struct log {
    char text[64];
    unsigned len;
};

static void writes_a(struct task *t, void *arg)
{
    struct log *log = arg;
    for (int i = 0; i < 3; i++) {
        log->text[log->len++] = 'a';
        ASSERT(task_yield(t) == OK);
    }
}

static void writes_b(struct task *t, void *arg)
{
    struct log *log = arg;
    for (int i = 0; i < 3; i++) {
        log->text[log->len++] = 'b';
        ASSERT(task_yield(t) == OK);
    }
}

static void yield_lets_the_others_go_first(struct task *t, void *arg)
{
    struct log log = { .len = 0 };
    struct group g;
    (void)arg;
    group_init(&g, t);
    ASSERT(group_start(&g, "a", writes_a, &log, NULL) == OK);
    ASSERT(group_start(&g, "b", writes_b, &log, NULL) == OK);
    ASSERT(group_wait(&g, 2, NEVER) == OK);
    ASSERT(strcmp(log.text, "ababab") == 0);
    group_end(&g);
}

struct gong {
    struct timer timer;
    struct log *log;
    char letter;
    unsigned again; /* how often it sets itself again while it fires */
    uint64_t turn;  /* of the last time */
};

static void gong_fired(struct worker *w, struct timer *timer)
{
    struct gong *g = CONTAINER_OF(timer, struct gong, timer);
    ASSERT(!heap_has(&timer->node)); /* firing removed it */
    ASSERT(g->turn == 0 || g->turn != atomic_load(&w->turns)); /* once a turn */
    g->turn = atomic_load(&w->turns);
    g->log->text[g->log->len++] = g->letter;
    if (g->again-- > 0)
        timer_set(w, timer, w->now - 5); /* a moment long past */
    else
        g->again = 0;
}

static void timers_fire_in_order(struct task *t, void *arg)
{
    struct worker *w = t->worker;
    struct log log = { .len = 0 };
    struct gong gongs[5];
    (void)arg;
    for (unsigned i = 0; i < 5; i++)
        gongs[i] = (struct gong){ .timer.fire = gong_fired, .log = &log, .letter = (char)('a' + i) };
    gongs[0].again = 2;
    timer_set(w, &gongs[4].timer, w->now + 3 * MS);
    timer_set(w, &gongs[3].timer, w->now + 1 * MS);
    timer_set(w, &gongs[0].timer, w->now + 500 * NANOS_PER_US);
    timer_set(w, &gongs[1].timer, w->now + 9000 * MS);
    timer_set(w, &gongs[3].timer, w->now + 4 * MS); /* moved */
    timer_set(w, &gongs[2].timer, w->now + 2 * MS);
    timer_stop(w, &gongs[1].timer);
    timer_stop(w, &gongs[1].timer); /* a stopped one may be stopped */
    while (log.len < 6)
        ASSERT(task_sleep(t, w->now + MS) == OK);
    char seen[8] = { 0 };
    for (unsigned i = 0, n = 0; i < log.len; i++) /* in a late turn the repeats of a may fall between the others */
        if (n == 0 || log.text[i] != 'a')
            seen[n++] = log.text[i];
    ASSERT(strcmp(seen, "aced") == 0 && log.len == 6);
}

/* ---- a client that leaves while its request waits ---- */

struct edge {
    struct both *both;
    struct addr addr;
    struct watch listener, peer;
    struct task *request;
    enum fail why;
    bool accepted, done;
};

static void peer_ready(struct worker *w, struct watch *watch, unsigned events)
{
    struct edge *e = CONTAINER_OF(watch, struct edge, peer);
    char bytes[16];
    (void)events;
    ssize_t n;
    while ((n = w->world->read(w->world, watch->fd, bytes, sizeof bytes)) > 0) {
    }
    if (n == 0 && e->request != NULL)
        task_cancel(e->request, FAIL_CLIENT_GONE);
}

static void request(struct task *t, void *arg)
{
    struct edge *e = arg;
    e->why = task_park(t, "upstream", NEVER);
    int fd = e->peer.fd;
    e->request = NULL;
    watch_stop(t->worker, &e->peer);
    t->worker->world->close(t->worker->world, fd);
    e->done = true;
}

static void listener_ready(struct worker *w, struct watch *watch, unsigned events)
{
    struct edge *e = CONTAINER_OF(watch, struct edge, listener);
    struct addr from;
    (void)events;
    int fd = w->world->accept(w->world, watch->fd, &from);
    if (fd < 0)
        return;
    e->accepted = true;
    e->peer = (struct watch){ .fd = -1, .ready = peer_ready };
    e->request = task_start(w, "request", request, e);
    ASSERT(e->request != NULL && watch_start(w, &e->peer, fd, false) == OK);
}

/* On the other worker. */
static void client(struct task *t, void *arg)
{
    struct edge *e = arg;
    struct world *world = t->worker->world;
    int fd = world->connect(world, &e->addr);
    ASSERT(fd >= 0);
    ASSERT(task_sleep(t, t->worker->now + 2 * MS) == OK);
    world->close(world, fd);
}

static void leaving_client_cancels_its_request(struct task *t, void *arg)
{
    struct edge e = { .both = arg, .listener = { .fd = -1, .ready = listener_ready } };
    struct worker *w = t->worker;
    char path[64];
    snprintf(path, sizeof path, "%s/edge", e.both->scratch);
    addr_unix(&e.addr, path);
    int fd = w->world->listen(w->world, &e.addr);
    ASSERT(fd >= 0 && watch_start(w, &e.listener, fd, true) == OK);
    both_start(e.both->workers[1], "client", client, &e);
    while (!e.done)
        ASSERT(task_sleep(t, w->now + MS) == OK);
    ASSERT(e.accepted && e.why == FAIL_CLIENT_GONE);
    watch_stop(w, &e.listener);
    w->world->close(w->world, fd);
    if (e.both->sim == NULL)
        unlink(path);
}

/* ---- more is ready than a poll takes ---- */

#define MANY (EVENTS_PER_POLL + EVENTS_PER_POLL / 2)

struct many {
    struct watch at[MANY];
    unsigned seen, behind; /* events; those of a poll that could not take all */
};

static struct many many;

static void one_of_many(struct worker *w, struct watch *self, unsigned events)
{
    (void)self, (void)events;
    many.seen++;
    many.behind += w->emptied != w->now;
}

static void see_them_all(struct task *t, const int *fds)
{
    many.seen = many.behind = 0;
    for (unsigned i = 0; i < MANY; i++) {
        many.at[i] = (struct watch){ -1, one_of_many };
        ASSERT(watch_start(t->worker, &many.at[i], fds[i], false) == OK); /* writable: an edge at once */
    }
    for (unsigned turns = 0; many.seen < MANY && turns < TURNS_MAX; turns++)
        ASSERT(task_yield(t) == OK);
    for (unsigned i = 0; i < MANY; i++)
        watch_stop(t->worker, &many.at[i]);
}

static void a_full_poll_is_known(struct task *t, void *arg)
{
    const struct both *b = arg;
    struct worker *w = t->worker;
    static int fds[MANY];
    struct addr at;
    char path[64];
    snprintf(path, sizeof path, "%s/many", b->scratch);
    addr_unix(&at, path);
    int listener = w->world->listen(w->world, &at);
    ASSERT(listener >= 0);
    for (unsigned i = 0; i < MANY; i++)
        ASSERT((fds[i] = w->world->connect(w->world, &at)) >= 0);
    ASSERT(task_sleep(t, w->now + NANOS_PER_S / 10) == OK); /* in the simulated world they connect by and by */
    see_them_all(t, fds);
    ASSERT(many.seen >= MANY && many.behind >= EVENTS_PER_POLL - 1 && many.behind <= EVENTS_PER_POLL); /* the rest came with a poll that took all */
    for (unsigned i = 0; i < MANY; i++)
        w->world->close(w->world, fds[i]);
    w->world->close(w->world, listener);
    if (b->sim == NULL)
        unlink(path);
}

/* ---- drain ---- */

static _Atomic unsigned drained;

static void until_drained(struct task *t, void *arg)
{
    (void)arg;
    ASSERT(task_park(t, "drain", NEVER) == FAIL_DRAINING);
    drained++;
}

static void drain_ends_parked_tasks(struct task *t, void *arg)
{
    struct both *b = arg;
    drained = 0;
    for (unsigned i = 0; i < 40; i++)
        both_start(b->workers[i % BOTH_WORKERS], "parked", until_drained, NULL);
    ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        worker_stop(b->workers[i]); /* ends no turn while tasks live */
    both_cancel_others(b, t, FAIL_DRAINING);
    while (drained < 40)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
}

#define STORY(name) static void test_##name(void **state) { (void)state; both_run(#name, name); }
#define STORIES(S) \
    S(loser_is_cancelled_and_joined) S(race_without_winner_joins_all) S(group_waits_for_all) S(child_leaves_its_owners_place_in_a_queue) \
    S(cancelled_owner_still_joins) S(cancelled_stays_cancelled) S(wake_before_cancel_is_not_lost) S(deadline_inside_a_deadline) \
    S(deadline_moved_later_while_parked) S(yield_lets_the_others_go_first) S(timers_fire_in_order) S(leaving_client_cancels_its_request) \
    S(a_full_poll_is_known) S(drain_ends_parked_tasks)
STORIES(STORY)

int main(void)
{
#define ROW(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = { STORIES(ROW) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
