/* http_begin.c: from the first byte of a head to the request's task, or to a refusal. Called by http_down.c as bytes come. */
#include "net/http_inner.h"
#include "base/random.h"
#include <errno.h>
#include <string.h>

/* ---- heads ---- */

/* 24 letters of five random bits: unique, and no secret hangs on it. */
static void request_id(struct http_server *s, char out[28])
{
    static const char letters[] = "0123456789abcdefghjkmnpqrstvwxyz"; /* Crockford's base 32: none is mistaken for another */
    for (int half = 0; half < 2; half++) {
        uint64_t z = random_step(&s->ids);
        for (int i = 0; i < 12; i++, z >>= 5)
            out[half * 12 + i] = letters[z & 31];
    }
    out[24] = 0;
}

static bool take_request(struct downstream *d)
{
    struct http_server *s = d->server;
    struct http_request *rq = slab_take(&s->requests);
    if (rq == NULL)
        return false;
    memset(rq, 0, offsetof(struct http_request, block));
    rq->magic = HTTP_REQUEST_MAGIC;
    rq->from = d;
    rq->peer_text = d->peer_text;
    rq->began = s->worker->now;
    rq->answer_left = -1;
    arena_init(&rq->arena, rq->block, sizeof rq->block, REQUEST_ARENA_MAX);
    buf_init(&rq->body, s->options.body_bytes_max);
    request_id(s, rq->id);
    d->request = rq;
    http_parser_begin(&d->parser, &rq->arena);
    if (node_is_in(&d->at_door)) {
        list_remove(&s->door, &d->at_door);
        rq->answer_close = true;
    }
    return true;
}

static void count_refusal(struct worker *w, enum fail why)
{
    if (why == FAIL_HEADERS_TOO_LARGE || why == FAIL_URL_TOO_LONG)
        COUNT(w, refused_headers_size);
    else if (why == FAIL_BUSY || why == FAIL_NO_MEMORY)
        COUNT(w, refused_memory);
    else if (why != FAIL_SLOW_BODY)
        COUNT(w, refused_framing);
}

/* A request that never got a task: one whole answer, then the connection ends. False if it is gone already. */
bool down_refuse(struct downstream *d, enum fail why, const char *sentence)
{
    struct http_server *s = d->server;
    struct http_request *rq = d->request;
    struct buf body;
    buf_init(&body, 4096);
    count_refusal(s->worker, why);
    enum fail f = s->options.refusal(&body, rq, why, sentence, s->options.user);
    rq->answer_close = true;
    if (f == OK)
        f = http_answer_begin(rq, fail_row(why)->http);
    if (d->parser.line_done && d->parser.head->method == METHOD_HEAD)
        rq->answer_no_body = true; /* rq->head is not set before the head is whole */
    if (f == OK)
        f = http_write_header(&d->out, TEXT("content-type"), TEXT("application/json"));
    if (f == OK && fail_row(why)->http == 503)
        f = http_write_header_number(&d->out, TEXT("retry-after"), RETRY_AFTER_NS / NANOS_PER_S);
    struct text rest = buf_text(&body);
    if (f == OK)
        f = http_answer_compose(rq, &rest);
    bool lives = f == OK && down_push_with(d, rest);
    buf_fini(&body);
    if (lives)
        down_linger(d);
    else if (f != OK)
        down_free(d);
    return lives;
}

bool down_refuse_plain(struct downstream *d)
{
    if (take_request(d))
        return down_refuse(d, FAIL_BAD_REQUEST, "This port speaks TLS: write https:// instead of http://.");
    down_free(d);
    return false;
}

static void request_main(struct task *t, void *arg)
{
    struct http_request *rq = arg;
    struct downstream *d = rq->from;
    CHECK(rq, HTTP_REQUEST);
    d->server->options.handle(t, rq, d->server->options.user);
    http_body_discard(t, rq);
    ASSERT(rq->answer_ended || d->lost || t->cancel != OK);
    rq->task = NULL;
    list_remove(&d->server->running, &rq->node);
    turn_end_ask(down_worker(d), &d->again); /* the rest needs no stack */
}

static bool start_task(struct downstream *d)
{
    struct http_request *rq = d->request;
    if (d->server->ended)
        return down_refuse(d, FAIL_DRAINING, "the server has shut down");
    d->body_wanted = d->write_waiter = false;
    d->body_fail = OK;
    d->wants_continue = rq->head->expect_continue && !rq->body_read && buf_len(&d->in) == 0;
    rq->task = task_start(d->server->worker, "request", request_main, rq);
    if (rq->task == NULL)
        return down_refuse(d, FAIL_BUSY, "too many requests are in flight");
    rq->task->story = rq;
    if (account_is_short())
        task_share(rq->task, ACCOUNT_PAGES); /* until somebody has seen what it asks for */
    d->state = DOWN_TASK;
    d->due = NEVER;
    list_push(&d->server->running, &rq->node);
    return true;
}

/* The head is whole. A request without a body ends here; of any other the rest is kept until its task asks. */
static enum fail head_whole(struct downstream *d, struct text rest)
{
    struct http_request *rq = d->request;
    struct http_event event;
    size_t eaten = 0;
    rq->head = d->parser.head;
    if (rq->arena.bytes <= sizeof rq->block)
        rq->head_end = rq->arena.at;
    rq->body_done = d->server->worker->now;
    if (!rq->head->chunked && rq->head->content_length <= 0) {
        enum fail f = http_parse(&d->parser, rest, &eaten, &event);
        if (f != OK)
            return f;
        ASSERT(event.kind == HTTP_GOT_END);
        rq->body_read = true;
    }
    return buf_add(&d->in, rest.at + eaten, rest.len - eaten);
}

/* Takes bytes of a head. False if the connection is gone. */
bool down_feed_head(struct downstream *d, struct text bytes)
{
    struct http_event event;
    size_t eaten;
    if (d->state == DOWN_IDLE) {
        if (!take_request(d)) {
            down_free(d);
            return false;
        }
        d->state = DOWN_HEAD;
        down_due(d, d->server->worker->now + d->server->options.header_timeout);
    }
    enum fail f = http_parse(&d->parser, bytes, &eaten, &event);
    if (f == OK && event.kind == HTTP_NEED_MORE)
        return !server_is_short(d->server) || down_refuse(d, FAIL_NO_MEMORY, "There is no memory left for a request that comes in pieces (limits.memory); retry later.");
    if (f == OK)
        f = head_whole(d, (struct text){ bytes.at + eaten, bytes.len - eaten });
    if (f != OK)
        return down_refuse(d, f, d->parser.why);
    return start_task(d);
}
