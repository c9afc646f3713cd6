/* faulty.c: see faulty.h. Called by test_faults.c; the linker leads task_park here first (--wrap). */
#include "fault/faulty.h"
#include "run/jobs.h"
#include <errno.h>
#include <string.h>

#define POLLS_MAX HOUSE_WORKERS
#define FDS_MAX   4200 /* sim_options_default's fds_max, and the first ones */
#define JOBS_MAX  16   /* under way at once: a configuration, some names */

struct queued_job {
    void *arg;
    void (*work)(void *arg);
};

static struct {
    struct house *house;
    struct world real;         /* what the simulated world had in its table */
    struct faulty_plan plan;
    uint64_t seen;
    bool struck;
    bool inside;               /* the gateway's code runs */
    int polls[POLLS_MAX];
    unsigned polls_count;
    void *subjects[POLLS_MAX][FDS_MAX]; /* as given to poll_add; for the edge behind a spurious EAGAIN */
    struct queued_job jobs[JOBS_MAX];
    const struct actor *client; /* who leaves */
    int victim_fd;              /* the gateway's end of it; -1 = not yet, or gone */
    bool victim_wanted, victim_dead;
} now;

/* ---- whose code runs ---- */

static void go_in(void)
{
    now.inside = true;
    if (now.plan.kind == FAULTY_MEMORY)
        (void)mem_fault(now.plan.nth > now.seen ? now.plan.nth - now.seen : 0);
}

static bool go_out(void)
{
    if (!now.inside)
        return false;
    now.inside = false;
    if (now.plan.kind == FAULTY_MEMORY) {
        now.seen += mem_fault(0);
        now.struck = now.plan.nth > 0 && now.seen >= now.plan.nth;
    }
    return true;
}

static bool is_gateways(int poll)
{
    for (unsigned i = 0; i < now.polls_count; i++)
        if (now.polls[i] == poll)
            return true;
    return false;
}

void faulty_as_gateway(void (*fn)(void *arg), void *arg)
{
    go_in();
    fn(arg);
    (void)go_out();
}

/* ---- what goes wrong ---- */

/* One more chance; true when it is the one. */
static bool strikes(void)
{
    bool hit = ++now.seen == now.plan.nth;
    now.struck |= hit;
    return hit;
}

static void victim_dies(bool by_reset)
{
    if (now.victim_fd < 0)
        return;
    if (by_reset) {
        now.victim_dead = true;
        sim_reset(now.house->sim, now.victim_fd);
    } else if (now.client->watch.fd >= 0) {
        now.real.shutdown(now.house->world, now.client->watch.fd);
    }
}

/* At the begin of each call. Whether it must fail; the gateway's code stops here if *out_was_inside. */
static bool call_begins(enum faulty_call call, bool *out_was_inside)
{
    *out_was_inside = now.inside;
    if (!now.inside)
        return false;
    if (now.plan.kind == FAULTY_RESET_AT_CALL && strikes())
        victim_dies(true);
    bool fails = now.plan.kind == FAULTY_CALL && now.plan.call == call && strikes();
    (void)go_out();
    return fails;
}

static void call_ends(bool was_inside)
{
    if (was_inside)
        go_in();
}

/* The edge that follows a spurious EAGAIN. */
static void edge(struct world *w, int fd)
{
    for (unsigned i = 0; i < now.polls_count; i++) {
        void *subject = now.subjects[i][fd];
        if (subject == NULL)
            continue;
        now.real.poll_remove(w, now.polls[i], fd);
        ASSERT(now.real.poll_add(w, now.polls[i], fd, subject, fd == now.house->listener || fd == now.house->admin_listener) == 0);
    }
}

#define FAILS(call, w, fd, result) \
    bool was_inside; \
    if (call_begins(CALL_##call, &was_inside)) { \
        result = -now.plan.error; \
        if (now.plan.error == EAGAIN) \
            edge(w, fd); \
        call_ends(was_inside); \
        return result; \
    }

static int faulty_accept(struct world *w, int listener, struct addr *out_peer)
{
    int fd;
    FAILS(accept, w, listener, fd)
    fd = now.real.accept(w, listener, out_peer);
    if (was_inside && fd >= 0 && now.victim_wanted) {
        now.victim_wanted = false;
        now.victim_fd = fd;
    }
    call_ends(was_inside);
    return fd;
}

static int faulty_connect(struct world *w, const struct addr *a)
{
    int fd;
    FAILS(connect, w, 0, fd)
    fd = now.real.connect(w, a);
    call_ends(was_inside);
    return fd;
}

static int faulty_connect_result(struct world *w, int fd)
{
    int rc;
    FAILS(connect_result, w, fd, rc)
    rc = now.real.connect_result(w, fd);
    call_ends(was_inside);
    return rc;
}

static ssize_t faulty_read(struct world *w, int fd, void *to, size_t room)
{
    ssize_t n;
    FAILS(read, w, fd, n)
    n = fd == now.victim_fd && now.victim_dead ? -ECONNRESET : now.real.read(w, fd, to, room);
    call_ends(was_inside);
    return n;
}

static ssize_t faulty_writev(struct world *w, int fd, const struct iovec *parts, int count)
{
    ssize_t n;
    FAILS(writev, w, fd, n)
    n = fd == now.victim_fd && now.victim_dead ? -EPIPE : now.real.writev(w, fd, parts, count);
    call_ends(was_inside);
    return n;
}

static void forget(int fd)
{
    for (unsigned i = 0; i < POLLS_MAX; i++)
        now.subjects[i][fd] = NULL;
    if (fd == now.victim_fd)
        now.victim_fd = -1;
}

static void faulty_close(struct world *w, int fd)
{
    bool was_inside = go_out();
    forget(fd);
    now.real.close(w, fd);
    call_ends(was_inside);
}

static void faulty_reset(struct world *w, int fd)
{
    bool was_inside = go_out();
    forget(fd);
    now.real.reset(w, fd);
    call_ends(was_inside);
}

static int faulty_poll_new(struct world *w)
{
    int poll;
    FAILS(poll_new, w, 0, poll)
    poll = now.real.poll_new(w);
    if (was_inside && poll >= 0) {
        ASSERT(now.polls_count < POLLS_MAX);
        now.polls[now.polls_count++] = poll;
    }
    call_ends(was_inside);
    return poll;
}

static int faulty_poll_add(struct world *w, int poll, int fd, void *subject, bool shared)
{
    int rc;
    FAILS(poll_add, w, fd, rc)
    ASSERT(fd >= 0 && fd < FDS_MAX);
    for (unsigned i = 0; i < now.polls_count; i++)
        if (now.polls[i] == poll)
            now.subjects[i][fd] = subject;
    rc = now.real.poll_add(w, poll, fd, subject, shared);
    call_ends(was_inside);
    return rc;
}

/* Where threads change: who comes back from here runs, whoever ran before. */
static int faulty_poll_wait(struct world *w, int poll, struct world_event *out, int max, nanos until)
{
    bool was_inside;
    bool fails = call_begins(CALL_poll_wait, &was_inside);
    int n = fails ? 0 : now.real.poll_wait(w, poll, out, max, until); /* interrupted: nothing is told, and nothing lost */
    now.inside = false;
    if (is_gateways(poll))
        go_in();
    return n;
}

static void faulty_before_gate(struct world *w)
{
    bool was_inside = go_out();
    now.real.before_gate(w);
    (void)go_out(); /* another one ran in between */
    call_ends(was_inside);
}

static void job_work(void *arg)
{
    for (unsigned i = 0; i < JOBS_MAX; i++)
        if (now.jobs[i].work != NULL && now.jobs[i].arg == arg) {
            void (*work)(void *) = now.jobs[i].work;
            now.jobs[i].work = NULL;
            faulty_as_gateway(work, arg);
            return;
        }
    ASSERT(!"a job that was never submitted");
}

static enum fail faulty_job_submit(struct world *w, struct job *job)
{
    bool was_inside;
    if (call_begins(CALL_job_submit, &was_inside)) {
        call_ends(was_inside);
        return (enum fail)now.plan.error;
    }
    unsigned i = 0;
    while (i < JOBS_MAX && now.jobs[i].work != NULL)
        i++;
    ASSERT(i < JOBS_MAX);
    now.jobs[i] = (struct queued_job){ job->arg, job->work };
    job->work = job_work;
    enum fail f = now.real.job_submit(w, job);
    if (f != OK)
        now.jobs[i].work = NULL;
    call_ends(was_inside);
    return f;
}

/* ---- parks ---- */

enum fail __real_task_park(struct task *t, const char *what, nanos deadline);
enum fail __wrap_task_park(struct task *t, const char *what, nanos deadline);

enum fail __wrap_task_park(struct task *t, const char *what, nanos deadline)
{
    bool is_discovery = strncmp(t->name, "discover", 8) == 0; /* nobody cancels it but drain, after which nobody needs it */
    bool counts = now.inside && ((now.plan.kind == FAULTY_CANCEL && !is_discovery) || now.plan.kind == FAULTY_RESET_AT_PARK || now.plan.kind == FAULTY_FIN_AT_PARK);
    if (counts && strikes()) {
        if (now.plan.kind == FAULTY_CANCEL)
            task_cancel(t, FAIL_DRAINING);
        else
            victim_dies(now.plan.kind == FAULTY_RESET_AT_PARK);
    }
    return __real_task_park(t, what, deadline);
}

/* ---- begin and end ---- */

void faulty_victim(const struct actor *client)
{
    now.client = client;
    now.victim_wanted = true;
}

bool faulty_struck(void) { return now.struck; }

void faulty_begin(struct house *h, const struct faulty_plan *plan)
{
    struct world *w = h->world;
    memset(&now, 0, sizeof now);
    now.house = h;
    now.real = *w;
    now.plan = *plan;
    now.victim_fd = -1;
    w->accept = faulty_accept;
    w->connect = faulty_connect;
    w->connect_result = faulty_connect_result;
    w->read = faulty_read;
    w->writev = faulty_writev;
    w->close = faulty_close;
    w->reset = faulty_reset;
    w->poll_new = faulty_poll_new;
    w->poll_add = faulty_poll_add;
    w->poll_wait = faulty_poll_wait;
    w->before_gate = faulty_before_gate;
    w->job_submit = faulty_job_submit;
}

uint64_t faulty_end(void)
{
    (void)go_out();
    now.plan = (struct faulty_plan){ 0 };
    return now.seen;
}
