/* 09_relay.c: the answer to the client: one whole body, or pieces as they come, with an error event if the backend dies on the way. */
#include "net/http_write.h"
#include "path/path.h"

#define SLICE_BYTES 65536 /* a large event goes out in slices, so that a slow reader holds it once, not once more in its connection's buffer */

static enum fail answer_head(struct request *rq)
{
    struct flight *fl = rq->flight;
    if (fl->is_stream)
        return path_stream_head(rq);
    return path_whole_head(rq, fl->status, text_of(fl->content_type));
}

/* A whole body that lies in one piece. */
static enum fail relay_whole(struct task *t, struct request *rq)
{
    struct text body = flight_next(&rq->reader);
    enum fail f = answer_head(rq);
    if (f == OK)
        f = http_answer_whole(t, rq->http, body);
    return f;
}

enum fail path_write(struct task *t, struct request *rq, struct text some)
{
    enum fail f = http_answer_write(t, rq->http, some);
    bool is_queued = f != FAIL_NO_MEMORY && f != FAIL_TOO_LARGE; /* what else goes wrong does so behind that */
    rq->is_told |= is_queued && text_ends(some, EVENTS_END);
    return f;
}

static enum fail write_ready(struct task *t, struct request *rq)
{
    struct flight_reader *r = &rq->reader;
    for (struct text some = flight_next(r); some.len > 0; some = flight_next(r)) {
        some.len = MIN(some.len, SLICE_BYTES);
        enum fail f = path_write(t, rq, some);
        if (f != OK)
            return f;
        cache_tee(rq, some);
        flight_took(r, some.len);
    }
    return http_answer_flush(rq->http);
}

/* Until the flight has ended and all of it is written. */
static enum fail write_all(struct task *t, struct request *rq)
{
    struct flight *fl = rq->flight;
    for (;;) {
        nanos beat = fl->is_stream ? t->worker->now + rq->conf->stream.heartbeat : NEVER;
        enum fail f = flight_wait(t, &rq->reader, false, beat);
        if (f == FAIL_TIMEOUT)
            f = path_beat(t, rq, TEXT("waiting"));
        else if (f == OK)
            f = write_ready(t, rq);
        if (f != OK)
            return f;
        if (rq->reader.is_dropped)
            return because(rq, FAIL_TIMEOUT, "Others read the same answer, and this client was too far behind them for too long (timeouts.write).");
        if (flight_is_read(&rq->reader))
            return OK;
    }
}

void path_cut(struct task *t, struct request *rq, enum fail why)
{
    const struct flight *fl = rq->flight;
    struct buf event;
    if (rq->is_told) { /* it waited for its client to read the end, and an error event behind that would belong to nothing */
        rq->handled = true;
        if (http_answer_end(t, rq->http) != OK)
            http_answer_abort(rq->http);
        return;
    }
    buf_init(&event, 8192);
    enum fail f = rq->beats || (fl != NULL && fl->is_stream) ? rq->api->stream_error(&event, rq, why) : OK;
    COUNT(t->worker, streams_cut);
    if (f == OK)
        f = http_answer_write(t, rq->http, buf_text(&event));
    buf_fini(&event);
    (void)f; /* who does not get the event sees the cut */
    rq->handled = true;
    http_answer_abort(rq->http); /* pushes what is queued first */
}

static enum fail relay_pieces(struct task *t, struct request *rq)
{
    struct flight *fl = rq->flight;
    enum fail f = OK;
    COUNT(t->worker, streams_started);
    COUNT(t->worker, streams_open);
    if (!rq->http->answer_begun) { /* a heartbeat may have begun it */
        f = answer_head(rq);
        if (f == OK)
            f = http_answer_stream(rq->http, fl->is_stream ? -1 : fl->length);
    }
    if (f == OK)
        f = write_all(t, rq);
    if (f == OK && fl->fail != OK)
        f = because(rq, fl->fail, "%s", fl->fail_text); /* the backend died in the middle */
    else if (f == OK)
        f = http_answer_end(t, rq->http);
    COUNT_DOWN(t->worker, streams_open);
    return f;
}

/* Events were promised by a heartbeat, and then the backend answered in one piece: most likely that something is wrong with the request. */
static enum fail no_events(struct request *rq)
{
    struct text body = flight_next(&rq->reader);
    return because(rq, FAIL_UPSTREAM, "The backend answered %d where a stream was due: %.*s", rq->flight->status, (int)MIN(body.len, 400u), body.len > 0 ? body.at : "");
}

enum fail path_relay(struct task *t, struct request *rq)
{
    struct flight *fl = rq->flight;
    struct world *world = t->worker->world;
    nanos in = fl->first_upstream_byte_in;
    if (fl->first_upstream_byte_out != 0 && in != 0 && rq->role != JOIN_FOLLOWS) {
        rq->overhead_ns = (fl->first_upstream_byte_out - rq->http->body_done - MAX(rq->queue_ns, 0)) + (fl->is_stream ? 0 : world_now(world) - in);
        RECORD(t->worker, overhead, rq->overhead_ns);
    }
    rq->first_token_ns = t->worker->now - rq->http->body_done;
    RECORD(t->worker, first_token, rq->first_token_ns);
    if (rq->role == JOIN_FOLLOWS && fl->status == 200 && fl->is_stream != rq->stream)
        return cache_relay_converted(t, rq);
    if (rq->beats && !fl->is_stream)
        return no_events(rq);
    if (rq->cache.is_partial && fl->status == 200)
        return items_relay(t, rq);
    bool whole = !fl->is_stream && !fl->is_long && flight_is_whole(&rq->reader) && !rq->http->answer_begun;
    enum fail f = whole ? relay_whole(t, rq) : relay_pieces(t, rq);
    if (f == FAIL_CLIENT_GONE)
        COUNT(t->worker, client_left_streaming);
    return f;
}
