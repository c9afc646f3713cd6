/* 07_admit.c: a slot of the pool, or a wait for one, or a refusal with when to come back. */
#include "path/path.h"
#include "route/affinity.h"
#include "upstream/local.h"

#define LOCAL_START_NS (10 * NANOS_PER_S)      /* the local model loads in 0.4 s on an idle machine, in seconds on a busy one */
#define LOCAL_LOOK_NS  (50 * NANOS_PER_MS)     /* so the wait below has 200 rounds at most */

static void refused(struct task *t, struct request *rq, enum fail f)
{
    rq->retry_after = pool_retry_after(rq->pool);
    if (f == FAIL_BUSY) {
        COUNT(t->worker, refused_queue_full);
        (void)because(rq, f, "The queue for the model \"%s\" is full (%u waiting).", pool_name(rq->pool), pool_waiting(rq->pool));
    } else if (f == FAIL_DEADLINE || f == FAIL_TIMEOUT) {
        COUNT(t->worker, refused_queue_timeout);
        (void)because(rq, f, "No slot for the model \"%s\" became free before the request's deadline.", pool_name(rq->pool));
    } else if (f == FAIL_NO_BACKEND) {
        COUNT(t->worker, refused_no_backend);
    } else if (f == FAIL_CLIENT_GONE) {
        COUNT(t->worker, client_left_queued);
    }
}

/* A slot of a backend that can be asked. A local model without an address cannot: the others come first, then a short wait if it is starting, then a
   refusal that says how to mend it. */
static enum fail take_slot(struct task *t, struct request *rq)
{
    nanos give_up = t->worker->now + LOCAL_START_NS;
    const char *why = NULL;
    uint64_t exclude = 0;
    bool any_starting = false;
    struct text session = http_head_get(rq->http->head, HEADER_X_WEIR_SESSION);
    if (session.len > 0)
        rq->affinity = affinity_of_session(session);
    for (;;) {
        struct claim claim = { .pool = rq->pool, .exclude = exclude, .affinity = rq->affinity, .deadline = NEVER }; /* the request's own deadline caps it */
        enum fail f = slot_take(t, &claim, &rq->slot);
        if (f == FAIL_NO_BACKEND && any_starting && t->worker->now < give_up) {
            f = task_sleep(t, t->worker->now + LOCAL_LOOK_NS);
            exclude = 0;
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
        exclude |= backend_bit(rq->slot.backend);
        slot_give(t->worker, &rq->slot);
    }
}

enum fail path_admit(struct task *t, struct request *rq)
{
    nanos asked = t->worker->now;
    rq->body_exact = world_now(t->worker->world);
    COUNT(t->worker, queue_waiting);
    enum fail f = take_slot(t, rq);
    COUNT_DOWN(t->worker, queue_waiting);
    rq->queue_ns = t->worker->now - asked;
    if (f != OK)
        refused(t, rq, f);
    if (rq->queue_ns > 0) {
        COUNT(t->worker, queue_waits);
        RECORD(t->worker, queue_wait, rq->queue_ns);
    }
    return f;
}
