/* http_request.c: one request on a connection: reading its body, writing its answer. Called by the request's own task. */
#include "net/http_inner.h"
#include "base/account.h"
#include <string.h>

#define BODY_STEP_BYTES   262144 /* a body of unknown length takes its memory in these steps */
#define DISCARD_BYTES_MAX 65536  /* an unread body up to this is read away to keep the connection */
#define DISCARD_NS        NANOS_PER_S

static bool is_small_unread(const struct http_request *rq)
{
    return !rq->from->wants_continue && rq->head != NULL && rq->head->content_length > 0 && rq->head->content_length <= DISCARD_BYTES_MAX && rq->from->body_fail == OK;
}

/* ---- the body ---- */

static void body_ended(struct downstream *d, enum fail f)
{
    d->body_fail = f;
    d->body_wanted = false;
    if (f == OK) {
        d->request->body_read = true;
        d->request->body_done = down_worker(d)->now;
    }
    task_wake(d->request->task);
}

/* Room for n more bytes, from the share of memory that bodies have: no room is a refusal before more of it is read. */
static enum fail body_room(struct http_request *rq, size_t n)
{
    struct buf *b = &rq->body;
    if (n > b->max - buf_len(b))
        return FAIL_TOO_LARGE;
    if (b->room - b->to >= n)
        return OK;
    size_t step = MIN(MAX(n, BODY_STEP_BYTES), b->max - buf_len(b));
    return account_room(ACCOUNT_BODIES, step) ? buf_reserve_exact(b, step) : FAIL_NO_MEMORY;
}

/* On the loop, or in the task for what came with the head. */
void down_feed_body(struct downstream *d, struct text bytes)
{
    struct http_request *rq = d->request;
    struct http_event event;
    size_t eaten;
    for (;;) { /* each round eats bytes, or ends */
        enum fail f = http_parse(&d->parser, bytes, &eaten, &event);
        bytes.at += eaten;
        bytes.len -= eaten;
        if (f == OK && event.kind == HTTP_GOT_BODY && (f = body_room(rq, event.body.len)) == OK)
            f = buf_add_text(&rq->body, event.body);
        if (f != OK) {
            body_ended(d, f);
            return;
        }
        if (event.kind == HTTP_GOT_END) {
            body_ended(d, OK);
            if (bytes.len > 0 && buf_add_text(&d->in, bytes) != OK)
                rq->answer_close = true; /* the pipelined rest is lost, so the connection must be */
            return;
        }
        if (event.kind == HTTP_NEED_MORE)
            return;
    }
}

/* The usual case: all of the body, and nothing else, came with the head: its buffer becomes the body without a copy. */
static bool take_whole(struct downstream *d, struct buf *kept)
{
    struct http_request *rq = d->request;
    struct http_event event;
    size_t eaten;
    if (rq->head->content_length != (int64_t)buf_len(kept) || buf_len(kept) > rq->body.max)
        return false;
    enum fail f = http_parse(&d->parser, buf_text(kept), &eaten, &event);
    ASSERT(f == OK && event.kind == HTTP_GOT_BODY && eaten == buf_len(kept)); /* counted bytes are not looked into */
    buf_fini(&rq->body);
    rq->body = *kept;
    buf_init_secret(kept, kept->max);
    down_feed_body(d, TEXT("")); /* the end */
    return true;
}

static enum fail body_begin(struct downstream *d)
{
    struct http_request *rq = d->request;
    int64_t length = rq->head->content_length;
    if (length > 0 && (uint64_t)length > rq->body.max)
        return FAIL_TOO_LARGE;
    if (length > (int64_t)buf_len(&d->in)) { /* all of what it says, before a byte more is read; untouched pages cost the system nothing */
        enum fail f = account_room(ACCOUNT_BODIES, (size_t)length) ? buf_reserve_exact(&rq->body, (size_t)length) : FAIL_NO_MEMORY;
        if (f != OK)
            return f;
    }
    if (d->wants_continue) {
        d->wants_continue = false;
        enum fail f = buf_add_text(&d->out, TEXT("HTTP/1.1 100 Continue\r\n\r\n"));
        if (f != OK)
            return f;
        if (!down_push(d))
            return FAIL_CLIENT_GONE;
    }
    d->body_wanted = true;
    struct buf kept = d->in;
    buf_init_secret(&d->in, kept.max);
    if (buf_len(&kept) > 0 && !take_whole(d, &kept))
        down_feed_body(d, buf_text(&kept));
    buf_fini(&kept);
    if (d->body_wanted)
        down_read_in_task(d); /* a full look-ahead left bytes in the socket, whose edge will not come again */
    return OK;
}

static enum fail body_until(struct task *t, struct http_request *rq, nanos deadline)
{
    struct downstream *d = rq->from;
    enum fail f = body_begin(d);
    while (f == OK && !rq->body_read && d->body_fail == OK)
        f = task_park(t, "body", deadline);
    d->body_wanted = false;
    if (f == OK)
        f = d->body_fail;
    return f == FAIL_TIMEOUT ? FAIL_SLOW_BODY : f;
}

enum fail http_body(struct task *t, struct http_request *rq, const char **out_why)
{
    CHECK(rq, HTTP_REQUEST);
    if (rq->body_read)
        return OK;
    enum fail f = body_until(t, rq, t->worker->now + down_options(rq->from)->body_timeout);
    if (f == FAIL_BAD_REQUEST)
        *out_why = rq->from->parser.why;
    if (f != OK)
        rq->from->body_fail = f;
    return f;
}

void http_body_discard(struct task *t, struct http_request *rq)
{
    if (rq->body_read || !rq->answer_ended || rq->answer_close || rq->from->lost || !is_small_unread(rq))
        return;
    rq->body.max = DISCARD_BYTES_MAX;
    if (body_until(t, rq, t->worker->now + DISCARD_NS) != OK)
        rq->answer_close = true;
}

/* ---- the answer ---- */

struct buf *http_answer_head(struct http_request *rq)
{
    return &rq->from->out;
}

enum fail http_answer_begin(struct http_request *rq, int status)
{
    struct buf *out = &rq->from->out;
    CHECK(rq, HTTP_REQUEST);
    ASSERT(!rq->answer_begun);
    if (rq->from->lost)
        return FAIL_CLIENT_GONE;
    enum fail f = http_write_status(out, status, 1);
    if (f == OK)
        f = http_write_date(out, down_date(rq->from));
    if (f == OK)
        f = http_write_header(out, TEXT("x-request-id"), text_of(rq->id));
    rq->answer_status = status;
    rq->answer_begun = true;
    rq->answer_no_body = (rq->head != NULL && rq->head->method == METHOD_HEAD) || status == 204 || status == 304;
    return f;
}

static enum fail end_head(struct http_request *rq)
{
    struct buf *out = &rq->from->out;
    enum fail f = OK;
    if (!rq->body_read && !is_small_unread(rq))
        rq->answer_close = true;
    if (rq->head == NULL || !rq->head->keep_alive || down_is_draining(rq->from))
        rq->answer_close = true;
    if (rq->answer_close)
        f = http_write_header(out, TEXT("connection"), TEXT("close"));
    else if (rq->head->minor == 0)
        f = http_write_header(out, TEXT("connection"), TEXT("keep-alive"));
    return f == OK ? http_write_head_end(out) : f;
}

enum fail http_answer_compose(struct http_request *rq, struct text *io_body)
{
    struct buf *out = &rq->from->out;
    enum fail f = OK;
    if (rq->answer_status != 204 && rq->answer_status != 304)
        f = http_write_length(out, io_body->len);
    if (f == OK)
        f = end_head(rq);
    if (f != OK)
        return f;
    rq->answer_bytes = io_body->len;
    rq->answer_ended = true;
    if (rq->answer_no_body)
        *io_body = TEXT_NONE;
    return OK;
}

static enum fail push(struct http_request *rq, struct text rest)
{
    if (rq->from->lost || !down_push_with(rq->from, rest))
        return FAIL_CLIENT_GONE;
    return OK;
}

enum fail http_answer_whole(struct task *t, struct http_request *rq, struct text body)
{
    (void)t;
    enum fail f = http_answer_compose(rq, &body);
    if (f == OK)
        f = push(rq, body);
    else
        http_answer_abort(rq);
    rq->first_out = down_worker(rq->from)->now;
    return f;
}

enum fail http_answer_stream(struct http_request *rq, int64_t length)
{
    struct buf *out = &rq->from->out;
    enum fail f = OK;
    rq->answer_left = length;
    if (length >= 0)
        f = http_write_length(out, (uint64_t)length);
    else if (rq->head->minor >= 1)
        rq->answer_chunked = true, f = http_write_chunked(out);
    else
        rq->answer_close = true;
    return f == OK ? end_head(rq) : f;
}

enum fail http_answer_flush(struct http_request *rq)
{
    if (rq->first_out == 0)
        rq->first_out = down_worker(rq->from)->now;
    return push(rq, TEXT_NONE);
}

static enum fail queue(struct http_request *rq, struct text bytes)
{
    struct buf *out = &rq->from->out;
    rq->answer_bytes += bytes.len;
    if (rq->answer_no_body || bytes.len == 0)
        return OK;
    if (rq->answer_left >= 0) {
        ASSERT((size_t)rq->answer_left >= bytes.len);
        rq->answer_left -= (int64_t)bytes.len;
    }
    return rq->answer_chunked ? http_write_chunk(out, bytes) : buf_add_text(out, bytes);
}

/* Unsent bytes past which a writer waits. While memory is short none lie here for a slow reader. */
static size_t out_high(void) { return account_is_short() ? 0 : OUT_HIGH_BYTES; }

enum fail http_answer_write(struct task *t, struct http_request *rq, struct text bytes)
{
    struct downstream *d = rq->from;
    if (d->lost)
        return FAIL_CLIENT_GONE;
    enum fail f = queue(rq, bytes);
    while (f == OK && rq->answer_left != 0 && buf_len(&d->out) > out_high()) { /* behind the last byte nothing is to be waited for: no deadline cuts it then */
        f = http_answer_flush(rq);
        if (f != OK || buf_len(&d->out) <= out_high())
            break;
        d->write_waiter = true;
        f = task_park(t, "client to read", NEVER); /* timeouts.write ends it: the connection is then lost */
        d->write_waiter = false;
    }
    return f;
}

enum fail http_answer_end(struct task *t, struct http_request *rq)
{
    (void)t;
    ASSERT(rq->answer_begun && !rq->answer_ended && rq->answer_left <= 0);
    if (rq->from->lost)
        return FAIL_CLIENT_GONE;
    if (rq->answer_chunked && !rq->answer_no_body) {
        enum fail f = http_write_chunk_last(&rq->from->out);
        if (f != OK) {
            http_answer_abort(rq);
            return f;
        }
    }
    rq->answer_ended = true;
    return push(rq, TEXT_NONE);
}

void http_answer_abort(struct http_request *rq)
{
    struct downstream *d = rq->from;
    rq->answer_close = rq->answer_ended = true;
    if (!d->lost)
        (void)down_push(d);
    d->aborted = true;
}

/* ---- wrong answers, for the mock ---- */

enum fail http_answer_raw(struct task *t, struct http_request *rq, struct text bytes)
{
    CHECK(rq, HTTP_REQUEST);
    ASSERT(!rq->answer_ended);
    if (rq->from->lost)
        return FAIL_CLIENT_GONE;
    rq->answer_begun = rq->answer_close = true; /* nobody knows where these bytes end */
    rq->answer_chunked = rq->answer_no_body = false;
    rq->answer_left = -1;
    return http_answer_write(t, rq, bytes);
}

void http_answer_reset(struct http_request *rq)
{
    CHECK(rq, HTTP_REQUEST);
    buf_clear(&rq->from->out);
    rq->answer_begun = rq->answer_ended = rq->answer_close = true;
    rq->answer_chunked = false;
    rq->answer_left = -1; /* neither chunked nor counted: then the connection's end is a RST */
    rq->from->aborted = rq->from->reset_now = true;
}
