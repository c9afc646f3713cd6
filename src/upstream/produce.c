/* produce.c: a call's producer: one attempt after another until an answer has begun, then that answer into the flight. A root task of its worker.
   Whether there is another attempt, where and when, is retry.c's. */
#include "upstream/upstream.h"
#include "upstream/answer.h"
#include "upstream/hedge.h"
#include "upstream/local.h"
#include "upstream/retry.h"
#include "stat/stat.h"
#include <stdio.h>
#include <string.h>

#define FIRST_BYTE_NS_PER_TOKEN (100 * NANOS_PER_MS) /* a plain answer comes after its last token: 10 tokens a second is the slowest that is no hang */
#define STALE_RETRIES 1                              /* an idle connection may have been closed under us: once more on a fresh one is no second attempt */

void call_fini(struct worker *w, struct call *call)
{
    if (call->slot.roster != NULL)
        slot_give(w, &call->slot);
    buf_fini(&call->body);
    view_give(call->view);
}

/* What ended an attempt, as a sentence for the person who reads the 502. */
static void explain(struct attempt_story *a, enum fail f, const struct call *call, const struct conn *c)
{
    struct flight *fl = call->flight;
    const struct endpoint *e = call->slot.endpoint;
    char span[24];
    const char *why, *unresolved, *what = c != NULL && c->error != 0 ? wire_error_text(c->error) : "it closed the connection";
    bool is_starting;
    switch (f) {
    case FAIL_CONNECT:
        attempt_because(fl, a, "connecting failed: %s", conns_why(call->conns));
        break;
    case FAIL_NAME:
        why = local_why(e, &is_starting);
        if (why == NULL && (unresolved = atomic_load(&e->backend->name_why)) != NULL)
            attempt_because(fl, a, "the name %.*s does not resolve: %s", TEXT_ARG(e->dial_host), unresolved);
        else
            attempt_because(fl, a, "%s", why != NULL ? why : "its address is not known yet");
        break;
    case FAIL_RESET:
        attempt_because(fl, a, "%s: %s", a->first_token != 0 ? "the answer was cut" : "no answer", what);
        break;
    case FAIL_PROTOCOL:
        attempt_because(fl, a, "its answer is not HTTP as we know it: %s", c != NULL && c->parser.why != NULL ? c->parser.why : "malformed");
        break;
    case FAIL_TIMEOUT:
        if (a->first_token != 0)
            attempt_because(fl, a, "fell silent for %s (timeouts.between_tokens)", nanos_print(call->conf->timeouts.between_tokens, span));
        else
            attempt_because(fl, a, "no first token within %s (timeouts.first_token)", nanos_print(call->conf->timeouts.first_token, span));
        break;
    case FAIL_NO_DESCRIPTORS:
        fl->retry_after = MAX(fl->retry_after, NANOS_PER_S);
        attempt_because(fl, a, "%s", fail_row(f)->text);
        break;
    default:
        attempt_because(fl, a, "%s", fail_row(f)->text);
    }
}

static enum fail send_and_head(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, nanos deadline, const struct http_head **out_head)
{
    struct worker *w = t->worker;
    struct buf bytes = conns_buf_take(call->conns);
    size_t head_from = 0;
    conn_begin(c, &call->flight->arena, false);
    enum fail f = request_compose(call, &call->slot, &bytes, &head_from);
    if (f == OK) {
        if (call->flight->first_upstream_byte_out == 0) /* of the first attempt: what failed ones took is their backends' time */
            call->flight->first_upstream_byte_out = world_now(w->world);
        struct text all = buf_text(&bytes);
        f = conn_send(t, c, (struct text){ all.at + head_from, all.len - head_from }, (struct text){ all.at, head_from }, deadline);
        mem_wipe((char *)(uintptr_t)all.at + head_from, all.len - head_from); /* the backend's key was in it, and the buffer is used again */
    }
    conns_buf_give(call->conns, &bytes);
    if (f == OK)
        f = conn_head(t, c, deadline, out_head);
    if (f == OK) {
        a->first_byte = call->flight->first_upstream_byte_in = w->now;
        a->status = (*out_head)->status;
    }
    return f;
}

/* Until when the first token must be there. A plain answer's first byte comes with its last token, so what was asked for counts too. */
static nanos first_token_deadline(const struct call *call, nanos now)
{
    nanos limit = call->conf->timeouts.first_token;
    if (!call->stream)
        limit += call->max_tokens * FIRST_BYTE_NS_PER_TOKEN;
    return now + limit;
}

/* Connects, asks, and has the answer read. Leaves no connection behind. */
static enum fail attempt_once(struct task *t, struct call *call, struct attempt_story *a, bool fresh, bool *out_stale)
{
    const struct endpoint *e = call->slot.endpoint;
    struct worker *w = t->worker;
    const struct http_head *head;
    struct conn *c = NULL;
    *out_stale = false;
    enum fail f = conns_take(t, call->conns, e, fresh, w->now + call->conf->timeouts.connect, &c);
    backend_mark(w, e->backend, f == OK || f == FAIL_CONNECT || f == FAIL_NAME ? f : FAIL_BUSY);
    if (f != OK) {
        explain(a, f, call, NULL);
        return f;
    }
    a->connected = w->now;
    a->reused = c->used_before;
    nanos deadline = first_token_deadline(call, w->now);
    f = send_and_head(t, call, a, c, deadline, &head);
    if (f == OK)
        f = answer_read(t, call, a, c, head, deadline);
    *out_stale = f == FAIL_RESET && a->reused && !c->any_byte;
    if (f != OK)
        explain(a, f, call, c);
    if (f == OK)
        conns_give(call->conns, e, c);
    else
        conn_free(c);
    return f;
}

static enum fail attempt(struct task *t, struct call *call, struct attempt_story *a)
{
    struct worker *w = t->worker;
    struct backend *b = call->slot.backend;
    bool stale = false;
    enum fail f = OK;
    memset(a, 0, sizeof *a);
    a->backend = b->name;
    a->why = "";
    a->breaker = atomic_load_explicit(&b->breaker, memory_order_relaxed) == BREAKER_HALF_OPEN ? "probe" : "";
    a->hedge = call->is_hedge ? "asked" : "";
    a->retry_after = -1;
    a->began = w->now;
    a->queued = call->slot.queued_ns;
    COUNT(w, attempts);
    backend_count(&b->attempts, 1);
    for (int i = 0; i <= STALE_RETRIES; i++) {
        f = attempt_once(t, call, a, i > 0, &stale);
        if (!stale)
            break;
        a->why = "";
    }
    if (call->lost) {
        f = FAIL_CANCELLED;
        a->why = "another backend, asked at the same time, was sooner";
    }
    a->fail = f;
    a->ended = w->now;
    RECORD(w, attempt, a->ended - a->began);
    bool was_slow = f == FAIL_TIMEOUT || f == FAIL_DEADLINE || (call->lost && !call->is_hedge);
    nanos until = a->first_token != 0 ? a->first_token : was_slow ? a->ended : a->began;
    slot_measured(&call->slot, until - a->began, a->status == 429 || a->status == 503);
    if (!call->lost) { /* the flight is the other one's now */
        backend_count(&b->tokens_in, (uint64_t)MAX(call->flight->prompt_tokens, 0));
        backend_count(&b->tokens_out, (uint64_t)MAX(call->flight->completion_tokens, 0));
    }
    if (f != OK && f != FAIL_CLIENT_GONE && f != FAIL_CANCELLED) {
        COUNT(w, attempts_failed);
        backend_count(&b->failures, 1);
        if (f == FAIL_TIMEOUT && a->first_token == 0) {
            COUNT(w, timeout_first_token);
            backend_mark(w, b, FAIL_CONNECT); /* it hangs: the next ones ask others first */
        } else if (f == FAIL_TIMEOUT) {
            COUNT(w, timeout_between_tokens);
        }
    }
    return f;
}

static void tell(struct flight *fl, const char *whom, const char *why)
{
    const char *text = arena_printf(&fl->arena, "%s%s%s: %s", fl->fail_text, fl->fail_text[0] != 0 ? "; " : "", whom, why);
    if (text != NULL)
        fl->fail_text = text;
}

/* "gpu1: connecting failed: Connection refused; gpu2: …", each reason once. */
static void tell_failures(const struct call *call)
{
    struct flight *fl = call->flight;
    for (unsigned i = 0; i < fl->attempt_count; i++) {
        const struct attempt_story *a = &fl->attempts[i];
        unsigned k = 0;
        while (k < i && (a->backend != fl->attempts[k].backend || strcmp(a->why, fl->attempts[k].why) != 0))
            k++;
        if (k == i)
            tell(fl, a->backend, a->why);
    }
    uint32_t count;
    uint64_t shut = pool_shut(call->claim.pool);
    const struct endpoint *e = roster_endpoints(call->view->roster, &count);
    for (uint32_t i = 0; i < count; i++)
        if (shut & backend_bit(e[i].backend))
            tell(fl, e[i].backend->name, "not asked, as its calls fail (its breaker is open)");
}

/* What the client is told when no attempt brought an answer: 504 if they all ran out of time, else 502 with each one's reason. */
static enum fail verdict(const struct flight *fl, enum fail f)
{
    if (f == FAIL_CLIENT_GONE || f == FAIL_CANCELLED || f == FAIL_DEADLINE || f == FAIL_DRAINING || f == FAIL_NO_MEMORY || f == FAIL_NO_DESCRIPTORS)
        return f; /* our own trouble is not every backend's */
    for (unsigned i = 0; i < fl->attempt_count; i++)
        if (fl->attempts[i].fail != FAIL_TIMEOUT)
            return FAIL_UPSTREAM;
    return FAIL_TIMEOUT;
}

static bool all_are_lasting(const struct flight *fl)
{
    for (unsigned i = 0; i < fl->attempt_count; i++)
        if (!retry_is_hopeless(&fl->attempts[i]))
            return false;
    return true;
}

/* What the attempt took of its tenant's share, as far as the backend said: nothing if it brought nothing, or another's answer was sooner. */
static void note_used(struct call *call, enum fail f)
{
    const struct flight *fl = call->flight;
    bool brought = !call->lost && (f == OK || fl->state != FLIGHT_WAITING || f == FAIL_CLIENT_GONE || f == FAIL_CANCELLED || f == FAIL_DEADLINE);
    call->slot.prompt_tokens = brought ? fl->prompt_tokens : 0;
    call->slot.answer_tokens = brought ? fl->completion_tokens : 0;
}

enum fail produce_attempt(struct task *t, struct call *call, struct retry *retry, struct attempt_story *a)
{
    enum fail f = attempt(t, call, a);
    a->paused = retry->paused;
    retry_note(t->worker, call, retry, a);
    note_used(call, f);
    slot_give(t->worker, &call->slot);
    return f;
}

static void produce(struct task *t, void *arg)
{
    struct call *call = arg;
    struct flight *fl = call->flight;
    struct worker *w = t->worker;
    struct retry retry = { 0 };
    t->deadline = call->deadline;
    enum fail f = call->admit != NULL ? call->admit(t, call) : OK;
    bool again = f == OK;
    while (again) {
        struct attempt_story *a = &fl->attempts[fl->attempt_count++];
        f = fl->attempt_count == 1 && hedge_is_on(call) ? hedge_attempt(t, call, &retry, a) : produce_attempt(t, call, &retry, a);
        again = retry_may(w, call, f);
        if (again)
            flight_forget(fl); /* events before the first content were held back; the next backend sends its own */
        again = again && retry_take(t, call, &retry);
    }
    if (t->cancel != OK)
        f = t->cancel;
    if (f != OK && fl->attempt_count > 0) {
        tell_failures(call);
        fl->is_hopeless = all_are_lasting(fl);
        f = fl->state == FLIGHT_WAITING ? verdict(fl, f) : f;
    }
    if (fl->state != FLIGHT_ENDED)
        flight_end(fl, f);
    call_fini(w, call);
    flight_producer_leaves(fl);
}

enum fail upstream_start(struct worker *w, struct call *call)
{
    struct task *t = task_start(w, "producer", produce, call);
    if (t == NULL)
        return FAIL_BUSY;
    flight_producer_begins(call->flight, t);
    return OK;
}
