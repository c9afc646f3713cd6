/* 08_upstream.c: starts the producer, then waits until its answer has begun or is known to fail. */
#include "path/path.h"
#include <string.h>

/* What the producer needs must outlive this request, whose client may leave first: it moves into the flight. */
static struct call *make_call(struct request *rq)
{
    struct flight *fl = rq->flight;
    struct call *call = arena_alloc(&fl->arena, sizeof *call);
    char *id = arena_copy(&fl->arena, text_of(rq->http->id)), *tenant = arena_copy(&fl->arena, rq->who.tenant);
    if (call == NULL || id == NULL || tenant == NULL)
        return NULL;
    memset(call, 0, sizeof *call);
    for (enum border_pass i = 0; i < BORDER_PASS_COUNT; i++) {
        struct text value = border_header(rq->http->head, i);
        call->passed[i] = (struct text){ value.len > 0 ? arena_copy(&fl->arena, value) : NULL, value.len };
        if (value.len > 0 && call->passed[i].at == NULL)
            return NULL;
    }
    for (unsigned i = 0; i < rq->splice_count; i++) {
        call->splices[i] = rq->splices[i];
        if (!rq->splices[i].is_model && (call->splices[i].with.at = arena_copy(&fl->arena, rq->splices[i].with)) == NULL)
            return NULL;
    }
    call->splice_count = rq->splice_count;
    call->flight = fl;
    call->conns = rq->desk->conns;
    call->view = view_take(rq->view);
    call->conf = rq->conf;
    call->claim = path_claim(rq);
    call->claim.tenant.at = tenant;
    call->slot = rq->slot;
    rq->slot.roster = NULL;
    call->path = text_of(rq->api->upstream_path);
    call->fields = rq->api->fields;
    call->body = rq->http->body;
    buf_init(&rq->http->body, 0);
    call->stream = rq->stream;
    call->usage_wanted = rq->usage_wanted;
    call->max_tokens = rq->max_tokens;
    call->request_id = text_of(id);
    call->deadline = rq->deadline;
    return call;
}

static enum fail begin_alone(struct request *rq)
{
    rq->flight = flight_new(&rq->desk->hangar, rq->conf->stream.buffer);
    if (rq->flight == NULL)
        return FAIL_NO_MEMORY;
    flight_reader_begins(rq->flight, &rq->reader);
    flight_let_go(rq->flight);
    return OK;
}

static enum fail start(struct task *t, struct request *rq)
{
    struct call *call = make_call(rq);
    if (call == NULL)
        return FAIL_NO_MEMORY;
    enum fail f = rq->role == JOIN_LEADS ? path_admit_later(rq, call) : OK;
    if (f == OK)
        f = upstream_start(t->worker, call);
    if (f != OK)
        call_fini(t->worker, call);
    return f;
}

/* Unless another request has begun it. */
static enum fail begin(struct task *t, struct request *rq)
{
    enum fail f = rq->flight == NULL ? begin_alone(rq) : OK;
    if (f == OK && rq->role != JOIN_FOLLOWS)
        f = start(t, rq);
    if (f != OK && rq->role == JOIN_LEADS)
        flight_end(rq->flight, f); /* others may read it by now */
    return f;
}

static enum fail wait_begun(struct task *t, struct request *rq)
{
    for (;;) {
        nanos beat = rq->stream ? t->worker->now + rq->conf->stream.heartbeat : NEVER;
        enum fail f = flight_wait(t, &rq->reader, true, beat);
        if (f != FAIL_TIMEOUT)
            return f;
        f = path_beat_waiting(t, rq, rq->flight->place);
        if (f != OK)
            return f;
    }
}

enum fail path_upstream(struct task *t, struct request *rq)
{
    enum fail f = begin(t, rq);
    if (f == OK)
        f = wait_begun(t, rq);
    if (f == FAIL_CLIENT_GONE)
        COUNT(t->worker, client_left_waiting);
    if (f != OK)
        return f;
    struct flight *fl = rq->flight;
    if (rq->role == JOIN_LEADS && fl->attempt_count > 0)
        rq->queue_ns = fl->attempts[0].queued;
    if (fl->state == FLIGHT_ENDED && fl->status == 0) { /* it never began */
        rq->retry_after = fl->retry_after;
        rq->backlog_grows = fl->backlog_grows;
        if (fl->fail == FAIL_TIMEOUT || fl->fail == FAIL_UPSTREAM || (fl->attempt_count == 0 && fl->fail_text[0] != 0))
            return because(rq, fl->fail, "%s", fl->fail_text);
        return fl->fail;
    }
    return OK;
}
