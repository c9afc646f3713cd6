/* 07_admit.c: a slot of the pool, or a wait for one, or a refusal with when to come back. */
#include "path/path.h"
#include "route/affinity.h"
#include "upstream/local.h"
#include <stdio.h>
#include <string.h>

#define LOCAL_START_NS (10 * NANOS_PER_S)      /* the local model loads in 0.4 s on an idle machine, in seconds on a busy one */
#define LOCAL_LOOK_NS  (50 * NANOS_PER_MS)     /* so the wait below has 200 rounds at most */

struct claim path_claim(const struct request *rq)
{
    return (struct claim){ .pool = rq->pool, .affinity = rq->affinity, .deadline = rq->deadline, .class = rq->class, .tenant = rq->who.tenant,
                           .tokens = rq->tokens };
}

static long long seconds(nanos span) { return (span + NANOS_PER_S / 2) / NANOS_PER_S; }

/* ", position 12, about 30 s": for sentences and comments. */
static struct text place_print(unsigned position, nanos wait, char *to, size_t room)
{
    int n = wait > 0 ? snprintf(to, room, ", position %u, about %lld s", position, seconds(wait)) : snprintf(to, room, ", position %u", position);
    return (struct text){ to, (size_t)n };
}

/* Which of its bounds a wait would pass. */
static void too_long(struct request *rq, enum fail f, const struct outlook *o)
{
    char place[64], span[24];
    struct text where = place_print(o->position, o->wait, place, sizeof place);
    nanos class_wait = rq->conf->classes[rq->class].wait;
    if (o->wait_max < class_wait)
        (void)because(rq, f, "The queue for the model \"%s\" is too long%.*s: the request's deadline is sooner.", pool_name(rq->pool), TEXT_ARG(where));
    else
        (void)because(rq, f, "The queue for the model \"%s\" is too long%.*s: requests of class %s wait %s at most (classes.%s.wait).", pool_name(rq->pool),
                      TEXT_ARG(where), conf_class_name(rq->class), nanos_print(class_wait, span), conf_class_name(rq->class));
}

static void refused_busy(struct task *t, struct request *rq, enum fail f, const struct outlook *o)
{
    char place[64], span[24];
    if (t->worker->now > rq->asked_at) {
        COUNT(t->worker, refused_queue_timeout);
        (void)because(rq, f, "No slot for the model \"%s\" became free within %s (classes.%s.wait).", pool_name(rq->pool),
                      nanos_print(rq->conf->classes[rq->class].wait, span), conf_class_name(rq->class));
    } else if (o->wait > o->wait_max) {
        COUNT(t->worker, refused_queue_wait);
        too_long(rq, f, o);
    } else {
        COUNT(t->worker, refused_queue_full);
        struct text where = o->wait > 0 ? place_print(o->position, o->wait, place, sizeof place) : TEXT_NONE;
        (void)because(rq, f, "The queue for the model \"%s\" is full (%u waiting)%.*s.", pool_name(rq->pool), pool_waiting(rq->pool), TEXT_ARG(where));
    }
}

static void refused(struct task *t, struct request *rq, enum fail f)
{
    if (f == FAIL_CLIENT_GONE) { /* nobody hears when to come back */
        COUNT(t->worker, client_left_queued);
        return;
    }
    struct claim claim = path_claim(rq);
    struct outlook o = pool_outlook(t->worker, &claim);
    rq->retry_after = o.retry_after;
    rq->backlog_grows = o.grows;
    if (f == FAIL_BUSY) {
        refused_busy(t, rq, f, &o);
    } else if (f == FAIL_DEADLINE || f == FAIL_TIMEOUT) {
        COUNT(t->worker, refused_queue_timeout);
        (void)because(rq, f, "No slot for the model \"%s\" became free before the request's deadline.", pool_name(rq->pool));
    } else if (f == FAIL_NO_BACKEND) {
        COUNT(t->worker, refused_no_backend);
    }
}

enum fail path_beat_waiting(struct task *t, struct request *rq, struct flight_place at)
{
    char comment[80] = "waiting";
    struct text place = at.position > 0 ? place_print(at.position, at.wait, comment + 7, sizeof comment - 7) : TEXT_NONE;
    return path_beat(t, rq, (struct text){ comment, 7 + place.len });
}

static enum fail tell_place(struct task *t, void *arg, const struct outlook *o) { return path_beat_waiting(t, arg, (struct flight_place){ o->position, o->wait }); }

/* A slot of a backend that can be asked. A local model without an address cannot: the others come first, then a short wait if it is starting, then a
   refusal that says how to mend it. */
static enum fail take_slot(struct task *t, struct request *rq, struct claim claim)
{
    nanos give_up = t->worker->now + LOCAL_START_NS;
    const char *why = NULL;
    bool any_starting = false;
    for (;;) {
        enum fail f = slot_take(t, &claim, &rq->slot);
        if (f == FAIL_NO_BACKEND && any_starting && t->worker->now < give_up) {
            f = task_sleep(t, t->worker->now + LOCAL_LOOK_NS);
            claim.exclude = 0;
            any_starting = false;
            if (f == OK)
                continue;
        }
        if (f != OK)
            return f == FAIL_NO_BACKEND && why != NULL ? because(rq, f, "The local model \"%s\" %s.", pool_name(rq->pool), why) : f;
        bool is_starting;
        const char *not_now = local_why(rq->slot.endpoint, &is_starting);
        if (not_now == NULL)
            return OK;
        why = not_now;
        any_starting |= is_starting;
        claim.exclude |= backend_bit(rq->slot.backend);
        rq->slot.prompt_tokens = rq->slot.answer_tokens = 0;
        slot_give(t->worker, &rq->slot);
    }
}

static enum fail wait_for_slot(struct task *t, struct request *rq, struct claim claim)
{
    COUNT(t->worker, queue_waiting);
    enum fail f = take_slot(t, rq, claim);
    COUNT_DOWN(t->worker, queue_waiting);
    rq->queue_ns = t->worker->now - rq->asked_at;
    if (f != OK)
        refused(t, rq, f);
    if (rq->queue_ns > 0) {
        COUNT(t->worker, queue_waits);
        RECORD(t->worker, queue_wait, rq->queue_ns);
    }
    return f;
}

static enum fail wait_alone(struct task *t, struct request *rq)
{
    struct claim claim = path_claim(rq);
    claim.waits = &rq->waits;
    claim.beat = rq->conf->stream.heartbeat;
    claim.tell = rq->stream ? tell_place : NULL;
    claim.arg = rq;
    return wait_for_slot(t, rq, claim);
}

/* ---- joined ones ---- */

/* Its readers hear of it in time for what they tell their clients after a heartbeat's silence. */
#define STANDS_NS(heartbeat) MIN((heartbeat) / 3, NANOS_PER_S)

static enum fail tell_readers(struct task *t, void *arg, const struct outlook *o)
{
    struct call *call = arg;
    (void)t;
    flight_stands(call->flight, (struct flight_place){ o->position, o->wait });
    return OK;
}

/* Somebody more urgent reads it: from now on the call asks as one of that class, where it waits and for each further attempt. */
static void urged(struct flight *fl)
{
    struct call *call = fl->urgency_arg;
    struct request *all = call->admit_arg;
    call->claim.class = all->class = (enum conf_class)fl->urgency;
    if (all->waits != NULL)
        slot_raise(fl->worker, all->waits, all->class);
}

/* The producer of a flight that several may read waits for the slot itself, as any of them may leave. It asks as its leader would, but as the most
   urgent of them and until any deadline a request may have: each reader has its own. */
static enum fail admit_for_all(struct task *t, struct call *call)
{
    struct request *rq = call->admit_arg;
    struct flight *fl = call->flight;
    enum fail f = wait_for_slot(t, rq, call->claim);
    flight_stands(fl, (struct flight_place){ 0 });
    call->slot = rq->slot;
    if (f != OK) {
        fl->fail_text = rq->why;
        fl->retry_after = rq->retry_after;
        fl->backlog_grows = rq->backlog_grows;
    }
    return f;
}

enum fail path_admit_later(struct request *rq, struct call *call)
{
    struct request *all = arena_alloc(&call->flight->arena, sizeof *all);
    if (all == NULL)
        return FAIL_NO_MEMORY;
    call->deadline = NEVER;
    memset(all, 0, offsetof(struct request, why) + 1);
    call->claim.deadline = rq->task->worker->now + rq->conf->timeouts.total;
    call->claim.waits = &all->waits;
    call->claim.beat = STANDS_NS(rq->conf->stream.heartbeat);
    call->claim.tell = tell_readers;
    call->claim.arg = call;
    call->flight->on_urgency = urged;
    call->flight->urgency_arg = call;
    all->desk = rq->desk;
    all->conf = rq->conf;
    all->class = call->claim.class = (enum conf_class)call->flight->urgency;
    all->who.tenant = call->claim.tenant;
    all->pool = rq->pool;
    all->asked_at = rq->asked_at;
    all->deadline = call->claim.deadline;
    all->retry_after = -1;
    call->admit = admit_for_all;
    call->admit_arg = all;
    return OK;
}

/* Whom it may read beside, and what others may read of it. */
static enum fail join(struct task *t, struct request *rq, bool may_lead)
{
    rq->join.hangar = &rq->desk->hangar;
    rq->join.buffer_max = rq->conf->stream.buffer;
    rq->join.late_ns = rq->conf->timeouts.write;
    rq->join.urgency = rq->class;
    rq->join.may_lead = may_lead;
    enum fail f = joins_enter(t->worker, rq->desk->joins, &rq->join, &rq->reader, &rq->role);
    rq->flight = rq->reader.flight;
    return f;
}

/* A call that others may join waits until nobody's deadline, so it is seen here that the one who would begin it has no chance. */
static enum fail look_ahead(struct task *t, struct request *rq)
{
    struct claim claim = path_claim(rq);
    if (pool_waiting(rq->pool) == 0)
        return OK;
    struct outlook o = pool_outlook(t->worker, &claim);
    if (o.wait <= o.wait_max)
        return OK;
    refused(t, rq, FAIL_BUSY);
    return FAIL_BUSY;
}

enum fail path_admit(struct task *t, struct request *rq)
{
    rq->asked_at = t->worker->now;
    bool may_be_refused = stake_is_any(&rq->stake) || pool_waiting(rq->pool) > 0; /* below; who follows reserves nothing, and needs no place */
    enum fail f = rq->joins && may_be_refused ? join(t, rq, false) : OK;
    if (f != OK || rq->role == JOIN_FOLLOWS)
        return f;
    f = limit_reserve(t, rq);
    if (f != OK)
        return f;
    rq->tokens = foresight_share(rq->foreseen);
    struct text session = http_head_get(rq->http->head, HEADER_X_WEIR_SESSION);
    if (session.len > 0)
        rq->affinity = affinity_of_session(session);
    if (rq->joins)
        f = look_ahead(t, rq);
    if (f == OK && rq->joins)
        f = join(t, rq, true); /* who follows here pays nothing either */
    return f == OK && rq->role == JOIN_NONE ? wait_alone(t, rq) : f;
}
