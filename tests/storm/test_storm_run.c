/* test_storm_run.c: real threads at once in everything run/ offers: mails, wakes across workers, cancels, gates, jobs, races. Built with TSan it looks
   for data races, which the simulated world cannot see. Bounded by counts, not by time. */
#include "../lib/both.h"
#include "run/gate.h"
#include "run/jobs.h"
#include "run/wait.h"

#include "../unit/test_base.h" /* behind the others: it includes cmocka, whose fail() is a macro */

#define ROUNDS 20
#define TASKS  500 /* a round */
#define STEPS  12  /* a task */
#define US     NANOS_PER_US

struct storm {
    struct both *both;
    struct gate gate;                  /* guards refs, known, free and held */
    struct task_ref refs[TASKS];       /* of tasks that have begun; stale ones stay: a late message must find nobody */
    unsigned known;
    unsigned free, held;               /* a pool of a few tokens */
    _Atomic unsigned ended, woken, cancelled, jobs, races, busy;
};

static uint64_t dice(struct task *t, uint64_t sides)
{
    return worker_random(t->worker) % sides;
}

static bool someone(struct task *t, struct storm *s, struct task_ref *out)
{
    uint64_t pick = dice(t, TASKS);
    gate_enter(&s->gate);
    bool known = s->known > 0;
    if (known)
        *out = s->refs[pick % s->known];
    gate_leave(&s->gate);
    return known;
}

static void cancel_letter(struct worker *w, void *arg, uint64_t number)
{
    struct task *t = task_find(w, (uint32_t)(number >> 32), (uint32_t)number);
    if (t == NULL)
        return;
    task_cancel(t, FAIL_CLIENT_GONE);
    ((struct storm *)arg)->cancelled++;
}

/* ---- steps; each returns why the task must end, or OK ---- */

static enum fail step_sleep(struct task *t, struct storm *s)
{
    (void)s;
    return task_sleep(t, t->worker->now + (nanos)dice(t, 300) * US);
}

static enum fail step_wait(struct task *t, struct storm *s)
{
    enum fail f = task_park(t, "a wake from anyone", t->worker->now + (nanos)dice(t, 2000) * US);
    s->woken += f == OK;
    return f == FAIL_TIMEOUT ? OK : f;
}

static enum fail step_wake(struct task *t, struct storm *s)
{
    struct task_ref ref;
    for (int i = 0; i < 8; i++)
        if (someone(t, s, &ref))
            task_wake_mail(ref);
    return OK;
}

static enum fail step_cancel(struct task *t, struct storm *s)
{
    struct task_ref ref;
    if (dice(t, 4) == 0 && someone(t, s, &ref))
        mail_send(ref.worker, cancel_letter, s, (uint64_t)ref.index << 32 | ref.generation);
    return OK;
}

static bool token_move(struct storm *s, bool take)
{
    gate_enter(&s->gate);
    bool moved = take ? s->free > 0 : s->held > 0;
    if (moved) {
        s->free += take ? -1u : 1u;
        s->held += take ? 1u : -1u;
    }
    ASSERT(s->free + s->held == 5);
    gate_leave(&s->gate);
    return moved;
}

static enum fail step_token(struct task *t, struct storm *s)
{
    if (!token_move(s, true))
        return OK;
    enum fail f = task_yield(t);
    ASSERT(token_move(s, false));
    return f;
}

static void sums(void *arg)
{
    unsigned *cells = arg; /* plain memory: the hand-over itself must order it */
    for (int i = 0; i < 64; i++)
        cells[i] += (unsigned)i;
}

static enum fail step_job(struct task *t, struct storm *s)
{
    bool abandoned;
    unsigned *cells = mem_zero(64 * sizeof *cells);
    ASSERT(cells != NULL);
    enum fail f = job_run(t, "sums", sums, mem_free, cells, t->worker->now + (nanos)dice(t, 3000) * US, &abandoned);
    s->jobs += f == OK;
    s->busy += f == FAIL_BUSY;
    ASSERT(f != OK || cells[63] == 63);
    if (!abandoned)
        mem_free(cells);
    return f == FAIL_TIMEOUT || f == FAIL_BUSY ? OK : f;
}

static void racer(struct task *t, void *arg)
{
    (void)arg;
    (void)!task_sleep(t, t->worker->now + (nanos)dice(t, 500) * US);
}

static enum fail step_race(struct task *t, struct storm *s)
{
    struct racer racers[] = { { "one", racer, NULL }, { "two", racer, NULL }, { "three", racer, NULL } };
    unsigned winner;
    enum fail f = race(t, racers, 3, t->worker->now + 5000 * US, &winner);
    s->races += f == OK;
    return f == FAIL_TIMEOUT ? OK : f;
}

typedef enum fail step_fn(struct task *t, struct storm *s);

static void request(struct task *t, void *arg)
{
    static step_fn *const steps[] = { step_sleep, step_wait, step_wake, step_cancel, step_token, step_job, step_race };
    struct storm *s = arg;
    gate_enter(&s->gate);
    s->refs[s->known++] = task_ref(t);
    gate_leave(&s->gate);
    enum fail f = OK;
    for (int i = 0; i < STEPS && f == OK; i++)
        f = steps[dice(t, ARRAY_LEN(steps))](t, s);
    ASSERT(f == OK || f == FAIL_CLIENT_GONE);
    s->ended++;
}

/* Those who still wait when nearly all have ended are not woken by anyone: their own deadlines are. */
static void storm(struct task *t, void *arg)
{
    static struct storm s; /* too large for a task's stack */
    s = (struct storm){ .both = arg, .free = 5 };
    gate_init(&s.gate, s.both->world, GATE_POOL);
    for (unsigned i = 0; i < TASKS; i++)
        both_start(s.both->workers[i % BOTH_WORKERS], "request", request, &s);
    while (s.ended < TASKS)
        ASSERT(task_sleep(t, t->worker->now + NANOS_PER_MS) == OK);
    ASSERT(s.free == 5 && s.held == 0 && s.known == TASKS);
    printf("storm: %u woken, %u cancelled, %u jobs, %u refused, %u races won\n", s.woken, s.cancelled, s.jobs, s.busy, s.races);
    ASSERT(s.woken > 0 && s.cancelled > 0 && s.jobs > 0 && s.races > 0);
    gate_fini(&s.gate);
}

TEST(storm_leaves_nothing_behind) { both_real("storm", storm, ROUNDS); }
TEST(storm_in_the_simulated_world) { both_simulated("storm", storm, 1, 10); }

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(storm_leaves_nothing_behind), cmocka_unit_test(storm_in_the_simulated_world) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
