/* 04_limit.c: what this key and its tenant may use: their requests a minute and at once, as a step; tokens and money for the steps admit and record. */
#include "net/http_write.h"
#include "path/path.h"
#include <stdio.h>

static struct limits_who who_of(const struct request *rq)
{
    const struct conf_tenant *tenant = rq->who.tenant.len > 0 ? conf_tenant_find(rq->conf, rq->who.tenant) : NULL;
    return (struct limits_who){ .name = { rq->who.name, rq->who.tenant }, .limits = { rq->who.limits, tenant != NULL ? &tenant->limits : NULL } };
}

/* "key \"team-a\"" */
static const char *owner_of(const struct request *rq, enum limit_owner owner, char out[160])
{
    struct text name = owner == LIMIT_OF_KEY ? rq->who.name : rq->who.tenant;
    snprintf(out, 160, "%s \"%.*s\"", limit_owners[owner], (int)MIN(name.len, 100u), name.at);
    return out;
}

static double usd(int64_t nano) { return (double)nano / NANO_PER_USD; }

static enum fail say_budget(struct request *rq, const char *owner)
{
    const struct limit_no *no = &rq->stake.no;
    char period[24], wait[24];
    nanos_print(no->period, period);
    if (no->wait < 0)
        return because(rq, FAIL_BUDGET, "The %s has a budget of $%.6g in %s, and this request may cost $%.6g: with a smaller max_tokens it may fit.", owner,
                       usd(no->limit), period, usd(no->wanted));
    return because(rq, FAIL_BUDGET, "The %s has $%.6g left of its budget of $%.6g in %s, and this request may cost $%.6g; the next period begins in %s.", owner,
                   usd(no->left), usd(no->limit), period, usd(no->wanted), nanos_print(no->wait, wait));
}

/* Which limit, how much of it, and when to come back. */
static enum fail refused(struct request *rq)
{
    const struct limit_no *no = &rq->stake.no;
    struct worker *w = rq->task->worker;
    char name[160], wait[24];
    const char *owner = owner_of(rq, no->owner, name);
    rq->retry_after = no->wait;
    nanos_print(no->wait, wait);
    switch (no->kind) {
    case LIMIT_REQUESTS:
        COUNT(w, refused_limit_requests);
        return because(rq, FAIL_RATE_LIMIT, "The %s has used its %lld requests a minute; the next is let in after %s.", owner, (long long)no->limit, wait);
    case LIMIT_CONCURRENCY:
        COUNT(w, refused_limit_concurrency);
        return because(rq, FAIL_RATE_LIMIT, "The %s has %lld requests in flight, as many as it may; retry when one has ended.", owner, (long long)no->limit);
    case LIMIT_TOKENS:
        COUNT(w, refused_limit_tokens);
        return because(rq, FAIL_RATE_LIMIT, "The %s has %lld of its %lld tokens a minute left, and this request may need %lld; it is let in after %s.", owner,
                       (long long)no->left, (long long)no->limit, (long long)no->wanted, wait);
    default:
        COUNT(w, refused_limit_budget);
        return say_budget(rq, owner);
    }
}

enum fail path_limit(struct task *t, struct request *rq)
{
    struct limits_who who = who_of(rq);
    enum fail f = limits_enter(t->worker, rq->desk->limits, &who, &rq->stake);
    return f == FAIL_RATE_LIMIT ? refused(rq) : f;
}

/* ---- tokens and money ---- */

enum fail limit_reserve(struct task *t, struct request *rq)
{
    struct worker *w = t->worker;
    if (rq->is_reserved)
        return OK; /* it has joined a call since, and asks by itself after all */
    rq->foreseen = pool_foresee(rq->pool, rq->prompt_bytes, rq->max_tokens, rq->answers);
    int64_t tokens = (int64_t)rq->foreseen.prompt + rq->foreseen.answer;
    enum fail f = limits_reserve(w, rq->desk->limits, &rq->stake, tokens, limits_cost(rq->pool_conf, rq->foreseen.prompt, rq->foreseen.answer));
    if (f == OK) {
        COUNT_BY(w, limited_tokens_reserved, rq->stake.tokens);
        f = share_take(t, rq->desk->share, rq->desk->limits, &rq->stake, rq->conf->redis.wait);
    }
    if (f == FAIL_RATE_LIMIT || f == FAIL_BUDGET)
        return refused(rq);
    rq->is_reserved = f == OK;
    return f;
}

/* Of an answer whose backend did not say: what came of it. A piece of a stream is about a token; of a body all is counted as if it were text. */
static int64_t answer_estimate(const struct request *rq)
{
    const struct flight *fl = rq->flight;
    if (fl->is_stream)
        return fl->pieces;
    return rq->answers > 0 ? (int64_t)(rq->http->answer_bytes / 4) : 0;
}

/* What the answer took so far. Nothing, unless a backend answered, or was at it when the client left. */
static struct foresight used(const struct request *rq)
{
    const struct flight *fl = rq->flight;
    if (fl == NULL || fl->first_upstream_byte_out == 0)
        return (struct foresight){ 0 };
    bool is_at_it = fl->state == FLIGHT_WAITING, is_answer = fl->status >= 200 && fl->status < 300;
    if (fl->prompt_tokens < 0 && fl->completion_tokens < 0 && !is_at_it && !is_answer)
        return (struct foresight){ 0 };
    int64_t prompt = fl->prompt_tokens >= 0 ? fl->prompt_tokens : rq->foreseen.prompt;
    int64_t answer = fl->completion_tokens >= 0 ? fl->completion_tokens : is_at_it || fl->prompt_tokens >= 0 ? 0 : answer_estimate(rq);
    return (struct foresight){ (uint32_t)MIN(prompt, LIMIT_TOKENS_MAX), (uint32_t)MIN(answer, LIMIT_TOKENS_MAX) };
}

/* What the request pays: all of that, or of an answer that several read what is not paid yet, or nothing. */
static struct foresight due(struct request *rq)
{
    if (rq->flight == NULL || !rq->pays)
        return (struct foresight){ 0 };
    if (rq->role == JOIN_FOLLOWS)
        rq->foreseen = pool_foresee(rq->pool, rq->prompt_bytes, rq->max_tokens, rq->answers);
    struct foresight all = used(rq);
    int64_t prompt = all.prompt, answer = all.answer;
    flight_pay(&rq->reader, &prompt, &answer);
    return (struct foresight){ (uint32_t)prompt, (uint32_t)answer };
}

void limit_settle(struct request *rq)
{
    struct worker *w = rq->task->worker;
    const struct flight *fl = rq->flight;
    struct foresight real = due(rq);
    int64_t tokens = (int64_t)real.prompt + real.answer, money = limits_cost(rq->pool_conf, real.prompt, real.answer);
    if (fl != NULL && rq->fail == OK && rq->role != JOIN_FOLLOWS)
        pool_learn(rq->pool, rq->prompt_bytes, fl->prompt_tokens, rq->max_tokens, rq->answers, fl->completion_tokens);
    COUNT_BY(w, spent_nanodollars, money);
    if (!stake_is_any(&rq->stake))
        return;
    COUNT_BY(w, limited_tokens_returned, MAX(rq->stake.tokens - tokens, 0));
    COUNT_BY(w, limited_tokens_overrun, MAX(tokens - rq->stake.tokens, 0));
    share_note(rq->desk->share, rq->desk->limits, &rq->stake);
    share_settle(&rq->stake, tokens, money);
    limits_settle(w, rq->desk->limits, &rq->stake, tokens, money);
}

/* ---- headers ---- */

/* "12ms", "59s", "6m0s", "1h0m0s": rounded up, so that who waits this long has waited long enough. */
static enum fail put_span(struct buf *head, struct text name, nanos span)
{
    char text[32];
    nanos ms = (span + NANOS_PER_MS - 1) / NANOS_PER_MS, s = (ms + 999) / 1000;
    int n = ms < 1000 ? snprintf(text, sizeof text, "%lldms", (long long)ms)
          : s < 60 ? snprintf(text, sizeof text, "%llds", (long long)s)
          : s < 3600 ? snprintf(text, sizeof text, "%lldm%llds", (long long)(s / 60), (long long)(s % 60))
                     : snprintf(text, sizeof text, "%lldh%lldm%llds", (long long)(s / 3600), (long long)(s / 60 % 60), (long long)(s % 60));
    return http_write_header(head, name, (struct text){ text, (size_t)n });
}

static enum fail put_mark(struct buf *head, const struct limit_mark *m, const struct text names[3])
{
    if (m->limit == 0)
        return OK;
    enum fail f = http_write_header_number(head, names[0], m->limit);
    if (f == OK)
        f = http_write_header_number(head, names[1], m->remaining);
    return f == OK ? put_span(head, names[2], m->reset) : f;
}

enum fail limit_headers(const struct request *rq, struct buf *head)
{
    const struct text requests[] = { TEXT("x-ratelimit-limit-requests"), TEXT("x-ratelimit-remaining-requests"), TEXT("x-ratelimit-reset-requests") };
    const struct text tokens[] = { TEXT("x-ratelimit-limit-tokens"), TEXT("x-ratelimit-remaining-tokens"), TEXT("x-ratelimit-reset-tokens") };
    enum fail f = put_mark(head, &rq->stake.requests, requests);
    return f == OK ? put_mark(head, &rq->stake.tokens_mark, tokens) : f;
}
