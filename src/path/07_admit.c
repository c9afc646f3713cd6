/* 07_admit.c: a slot of the pool, or a wait for one, or a refusal with when to come back. */
#include "path/path.h"

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

enum fail path_admit(struct task *t, struct request *rq)
{
    nanos asked = t->worker->now;
    rq->body_exact = world_now(t->worker->world);
    enum fail f = slot_take(t, rq->pool, 0, NEVER, &rq->slot); /* the request's own deadline caps it */
    rq->queue_ns = t->worker->now - asked;
    if (f != OK)
        refused(t, rq, f);
    if (rq->queue_ns > 0) {
        COUNT(t->worker, queue_waits);
        RECORD(t->worker, queue_wait, rq->queue_ns);
    }
    return f;
}
