/* path.c: runs the step table over a request. Called by serve/ in the request's task. */
#include "path/path.h"
#include "net/http_write.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SDK_WAITS_NS (60 * NANOS_PER_S) /* the longest retry-after that every version of OpenAI's SDKs obeys */

const char *const step_names[STEP_COUNT] = {
#define STEP(name, fn, waits, what) #name,
#include "path/steps.def"
#undef STEP
};
const char *const step_waits[STEP_COUNT] = {
#define STEP(name, fn, waits, what) waits,
#include "path/steps.def"
#undef STEP
};

static enum fail (*const step_fns[STEP_COUNT])(struct task *, struct request *) = {
#define STEP(name, fn, waits, what) fn,
#include "path/steps.def"
#undef STEP
};

enum fail because(struct request *rq, enum fail f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(rq->why, sizeof rq->why, format, args);
    va_end(args);
    return f;
}

void request_begin(struct request *rq, struct task *t, struct desk *desk, struct http_request *http, const struct api *api)
{
    memset(rq, 0, offsetof(struct request, why) + 1);
    rq->magic = REQUEST_MAGIC;
    rq->desk = desk;
    rq->task = t;
    rq->http = http;
    rq->api = api;
    rq->view = view_take(desk->view);
    rq->conf = rq->view->conf;
    rq->roster = rq->view->roster;
    rq->who = identity_open();
    rq->class = rq->who.priority;
    rq->deadline = NEVER;
    rq->retry_after = rq->queue_ns = rq->overhead_ns = rq->first_token_ns = -1;
    rq->step_began = world_now(t->worker->world);
    http->story = rq;
    stat_request_started(t->worker);
}

/* Would the same request fare better soon? The official SDKs obey x-should-retry before any status. */
static bool should_retry(const struct request *rq, const struct fail_row *row)
{
    bool no_time = row == fail_row(FAIL_DEADLINE) && rq->flight != NULL; /* a backend had all the time there was: again it would only cost that again */
    bool too_soon = rq->retry_after > SDK_WAITS_NS;                      /* they would not wait so long, but come back at once */
    bool never = row->http == 429 && rq->retry_after < 0;                /* it is larger than its limit */
    return row->retry && !no_time && !too_soon && !never && !rq->backlog_grows && !(rq->flight != NULL && rq->flight->is_hopeless);
}

static enum fail retry_headers(struct request *rq, const struct fail_row *row, struct buf *head)
{
    enum fail f = OK;
    nanos after = rq->retry_after < 0 && row->http == 503 ? RETRY_AFTER_NS : rq->retry_after;
    if (after >= 0 && row->retry) {
        f = http_write_header_number(head, TEXT("retry-after"), (after + NANOS_PER_S - 1) / NANOS_PER_S);
        if (f == OK)
            f = http_write_header_number(head, TEXT("retry-after-ms"), (after + NANOS_PER_MS - 1) / NANOS_PER_MS);
    }
    if (f == OK && (row->http >= 500 || row->http == 429))
        f = http_write_header(head, TEXT("x-should-retry"), should_retry(rq, row) ? TEXT("true") : TEXT("false"));
    return f;
}

/* RFC 6750 3: what was wrong is told of tokens only; a key is known or not. */
static enum fail challenge(const struct request *rq, enum fail why, struct buf *head)
{
    char value[sizeof rq->why + 64];
    if (why != FAIL_BAD_TOKEN)
        return http_write_header(head, TEXT("www-authenticate"), TEXT("Bearer"));
    snprintf(value, sizeof value, "Bearer error=\"invalid_token\", error_description=\"%s\"", rq->why);
    return http_write_header(head, TEXT("www-authenticate"), text_of(value));
}

enum fail path_whole_head(struct request *rq, int status, struct text type)
{
    enum fail f = http_answer_begin(rq->http, status);
    if (f == OK)
        f = http_write_header(http_answer_head(rq->http), TEXT("content-type"), type);
    return f == OK ? path_headers(rq) : f;
}

void path_refuse(struct task *t, struct request *rq, enum fail f)
{
    const struct fail_row *row = fail_row(f);
    struct buf body;
    rq->handled = true;
    if (f == FAIL_CLIENT_GONE || rq->http->answer_ended)
        return;
    if (rq->http->answer_begun) { /* a heartbeat, or the answer's first part, is out: the deadline passed, or we end */
        path_cut(t, rq, f);
        return;
    }
    buf_init(&body, 16384);
    enum fail e = rq->api->error(&body, rq, f);
    if (e == OK)
        e = path_whole_head(rq, row->http, TEXT("application/json"));
    struct buf *head = http_answer_head(rq->http);
    if (e == OK)
        e = retry_headers(rq, row, head);
    if (e == OK && row->http == 401)
        e = challenge(rq, f, head);
    if (e == OK)
        e = http_answer_whole(t, rq->http, buf_text(&body));
    buf_fini(&body);
    if (e != OK && !rq->http->answer_ended)
        http_answer_abort(rq->http);
}

static void leave_step(struct task *t, struct request *rq)
{
    nanos now = world_now(t->worker->world);
    rq->step_ns[rq->step] = now - rq->step_began;
    rq->step_began = now;
    stat_step(t->worker, rq->step, rq->step_ns[rq->step]);
}

static enum fail run_step(struct task *t, struct request *rq, enum step step)
{
    rq->step = step;
    enum fail f = step_fns[step](t, rq);
    leave_step(t, rq);
    return f;
}

void path_run(struct task *t, struct desk *desk, struct http_request *http, const struct api *api)
{
    struct request *rq = arena_alloc(&http->arena, sizeof *rq);
    if (rq == NULL) {
        http_answer_abort(http);
        return;
    }
    request_begin(rq, t, desk, http, api);
    for (enum step step = STEP_head; step < STEP_record && rq->fail == OK && !rq->is_answered; step++)
        rq->fail = run_step(t, rq, step);
    if (t->cancel != OK && rq->fail != OK)
        rq->fail = t->cancel;
    if (rq->fail == FAIL_DEADLINE && rq->flight != NULL)
        COUNT(t->worker, timeout_total);
    if (rq->fail != OK && !rq->handled)
        path_refuse(t, rq, rq->fail);
    if (http->answer_status == 429 || http->answer_status == 503)
        RECORD(t->worker, refusal, world_now(t->worker->world) - http->began);
    enum fail recorded = run_step(t, rq, STEP_record);
    ASSERT(recorded == OK); /* nothing in it can fail */
}
