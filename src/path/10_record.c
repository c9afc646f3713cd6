/* 10_record.c: the last step, always: numbers, the access line, the story; and everything the request held is let go of. */
#include "path/path.h"
#include "net/http_write.h"

static enum outcome outcome_of(const struct request *rq)
{
    switch (rq->fail) {
    case OK:
        return rq->cache.result == CACHE_HIT ? OUTCOME_cached : OUTCOME_answered;
    case FAIL_CLIENT_GONE:
    case FAIL_CANCELLED:
        return OUTCOME_cancelled;
    case FAIL_TIMEOUT:
    case FAIL_DEADLINE:
    case FAIL_UPSTREAM:
    case FAIL_RESET:
    case FAIL_PROTOCOL:
    case FAIL_SYSTEM:
        return OUTCOME_failed;
    default:
        return OUTCOME_refused;
    }
}

static struct text last_backend(const struct request *rq)
{
    const struct flight *fl = rq->flight;
    return fl != NULL ? flight_backend(fl) : TEXT_NONE;
}

enum fail path_headers(struct request *rq)
{
    struct buf *head = http_answer_head(rq->http);
    const struct flight *fl = rq->flight;
    enum fail f = limit_headers(rq, head);
    if (f == OK)
        f = cache_headers(rq, head);
    if (fl == NULL || fl->attempt_count == 0)
        return f;
    if (f == OK)
        f = http_write_header(head, TEXT("x-weir-backend"), last_backend(rq));
    if (f == OK)
        f = http_write_header_number(head, TEXT("x-weir-attempts"), fl->attempt_count);
    if (f == OK)
        f = http_write_header_number(head, TEXT("x-weir-queue-ms"), MAX(rq->queue_ns, 0) / NANOS_PER_MS);
    if (f == OK && rq->overhead_ns >= 0)
        f = http_write_header_number(head, TEXT("x-weir-overhead-us"), rq->overhead_ns / NANOS_PER_US);
    return f;
}

static void log_it(struct task *t, struct request *rq, enum outcome outcome, nanos total)
{
    const struct flight *fl = rq->flight;
    const struct http_request *http = rq->http;
    struct access_line line = {
        .request_id = text_of(http->id),
        .client = text_of(http->peer_text),
        .key_name = rq->who.name,
        .method = http->head->method_text,
        .path = http->head->path,
        .model = rq->model,
        .backend = last_backend(rq),
        .outcome = outcome,
        .reason = rq->fail == OK ? NULL : fail_name(rq->fail),
        .status = http->answer_status,
        .attempts = fl != NULL ? fl->attempt_count : 0,
        .queue = rq->queue_ns,
        .first_token = rq->first_token_ns,
        .total = total,
        .overhead = rq->overhead_ns,
        .prompt_tokens = fl != NULL ? fl->prompt_tokens : -1,
        .completion_tokens = fl != NULL ? fl->completion_tokens : -1,
        .received_bytes = http->head->content_length > 0 ? (uint64_t)http->head->content_length : buf_len(&http->body),
        .sent_bytes = http->answer_bytes,
    };
    log_access(t->worker, &line);
}

enum fail path_record(struct task *t, struct request *rq)
{
    struct worker *w = t->worker;
    struct flight *fl = rq->flight;
    enum outcome outcome = outcome_of(rq);
    nanos total = w->now - rq->http->began;
    rq->pays = fl != NULL && flight_pays(&rq->reader);
    bool counts = rq->pays && (rq->role == JOIN_NONE || fl->state == FLIGHT_ENDED); /* what several read counts once */
    if (counts && fl->prompt_tokens > 0)
        COUNT_BY(w, tokens_prompt, fl->prompt_tokens);
    if (counts && fl->completion_tokens > 0)
        COUNT_BY(w, tokens_completion, fl->completion_tokens);
    if (rq->step == STEP_record && rq->fail == FAIL_CLIENT_GONE && !rq->http->body_read)
        COUNT(w, client_left_sending);
    cache_keep(rq);
    limit_settle(rq);
    stat_request_ended(w, rq->api->number, outcome, rq->http->answer_status, total);
    log_it(t, rq, outcome, total);
    stories_add(rq->desk->stories, rq);
    if (fl != NULL)
        flight_reader_leaves(&rq->reader);
    rq->flight = NULL;
    if (rq->slot.roster != NULL)
        slot_give(w, &rq->slot);
    identity_end(&rq->who);
    view_give(rq->view);
    rq->http->story = NULL;
    return OK;
}
