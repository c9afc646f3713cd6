/* flood_check.c: what one answer must be. Called by flood_client.c when a request has come to its end, whatever that was.

   - a status that CONTRACT has for such a request, and an error body in OpenAI's shape that names the request
   - an answer of a backend that was made for this request: its tag and x-request-id stand in every token, and one answer is one backend's
   - a stream that ended well is whole: every token in order, a finish_reason, [DONE] once and last, usage if and only if it was asked for
   - a stream that is not whole never ends well, and says why
   - an end before the deadline, and no more attempts than retries.attempts

   hostile 58, hostile 60: floods of clients that leave and backends that break are the search for an answer that reaches another client. */
#include "lib/flood_inner.h"
#include "base/json.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLACK_NS (40 * NANOS_PER_MS) /* the way there and back, and the steps of a busy simulation */

static const int statuses[KIND_COUNT] = {
#define KIND(name, status, what) status,
    KINDS(KIND)
#undef KIND
};

/* Whether somebody other than the gateway may have ended this connection. */
static bool may_break(const struct client_player *c)
{
    const struct flood *fl = c->flood;
    bool is_late = fl->tls_clients != NULL && (fl->options.faults.drip || fl->options.faults.delay); /* of half a record nobody can say which request it is */
    return fl->can_reset || fl->drained || c->slow_reader || c->slow_sender || is_late;
}

static bool is_slow(const struct client_player *c)
{
    return c->slow_sender || c->flood->time_runs;
}

static bool status_fits(const struct client_player *c, const struct ask *a)
{
    const struct flood *fl = c->flood;
    int s = a->status, due = statuses[a->kind];
    if (s == 503 && (fl->drained || fl->options.faults.no_memory || fl->options.faults.slow_turn || fl->options.faults.leap)) /* late workers shed */
        return true;
    if (s == 408)
        return is_slow(c);
    if (s == 429) /* the route is looked for behind the limits */
        return fl->policy.has_limits && (due == 0 || a->kind == KIND_no_model);
    if (due != 0) /* a deadline may come before a refusal that needs the body */
        return s == due || (a->kind == KIND_explain && s == 404) || (a->kind == KIND_reload && s == 409) || (s == 504 && is_slow(c));
    if (s == 400)
        return a->seen_400;
    if (s == 404)
        return fl->model_may_go && a->model + 1 == fl->models_count;
    if (fl->calm)
        return s == 200;
    return s == 200 || s == 502 || s == 503 || s == 504;
}

/* "c12r3.ID.SERIAL": the same in all of one answer. name[0] == 0: not seen yet. */
static void check_name(struct client_player *c, const struct ask *a, yyjson_val *root, char name[96])
{
    struct flood *fl = c->flood;
    char due[64];
    const char *id = yyjson_get_str(yyjson_obj_get(root, "id"));
    int n = snprintf(due, sizeof due, "%s.%s.", a->tag, a->id);
    MUST(fl, id != NULL && strncmp(id, due, (size_t)n) == 0, "%s with id %s gets the answer %s", a->tag, a->id, id != NULL ? id : "of nobody");
    MUST(fl, name[0] == 0 || strcmp(name, id) == 0, "%s gets %s and %s in one answer", a->tag, name, id);
    snprintf(name, 96, "%s", id);
}

static void check_padding(struct client_player *c, const struct ask *a, const char *s, size_t n, unsigned from)
{
    for (size_t k = 0; k < n; k++)
        MUST(c->flood, s[k] == prompt_byte(a, (unsigned)(from + k)), "%s: token %u has other bytes", a->tag, from);
}

/* ---- refusals ---- */

static void check_error(struct client_player *c, const struct ask *a, yyjson_val *root)
{
    struct flood *fl = c->flood;
    yyjson_val *error = yyjson_obj_get(root, "error");
    const char *message = yyjson_get_str(yyjson_obj_get(error, "message")), *code = yyjson_get_str(yyjson_obj_get(error, "code")), *id = yyjson_get_str(yyjson_obj_get(error, "request_id"));
    MUST(fl, message != NULL && message[0] != 0 && code != NULL && id != NULL, "%s: an error without message, code or request_id", a->tag);
    MUST(fl, strcmp(id, a->id) == 0, "%s: an error of another request, %s", a->tag, id);
    MUST(fl, (strcmp(code, "overloaded") != 0 && strcmp(code, "out_of_memory") != 0) || a->status < 400 || a->retry_said, "%s: overloaded, but not for how long", a->tag);
    MUST(fl, a->status != 429 || strcmp(code, "insufficient_quota") == 0 || a->retry_said, "%s: limited, but not for how long", a->tag);
}

static void check_refusal(struct client_player *c, struct ask *a)
{
    struct flood *fl = c->flood;
    char name[96] = "";
    yyjson_doc *doc = yyjson_read(buf_text(&a->body).at, buf_len(&a->body), 0);
    MUST(fl, doc != NULL, "%s: %d with a body that is no JSON: %.*s", a->tag, a->status, TEXT_ARG(buf_text(&a->body)));
    if (a->status == 400 && a->seen_400)
        check_name(c, a, yyjson_doc_get_root(doc), name);
    else if (a->status != 409)
        check_error(c, a, yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    fl->sum.refused++;
}

/* ---- streams ---- */

struct told {
    char name[96];
    unsigned tokens, count; /* so far; of the whole */
    unsigned usages, dones;
    bool finished, failed;
};

static void check_event(struct client_player *c, const struct ask *a, struct told *s, struct text data)
{
    struct flood *fl = c->flood;
    MUST(fl, s->dones == 0 && !s->failed, "%s: an event behind the last one: %.*s", a->tag, TEXT_ARG(data));
    if (text_eq(data, TEXT("[DONE]"))) {
        s->dones++;
        return;
    }
    yyjson_doc *doc = yyjson_read(data.at, data.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc), *choice = yyjson_arr_get_first(yyjson_obj_get(root, "choices"));
    MUST(fl, doc != NULL, "%s: an event that is no JSON: %.*s", a->tag, TEXT_ARG(data));
    if (yyjson_obj_get(root, "error") != NULL) {
        check_error(c, a, root);
        s->failed = true;
        yyjson_doc_free(doc);
        return;
    }
    check_name(c, a, root, s->name);
    yyjson_val *text = a->kind == KIND_text ? yyjson_obj_get(choice, "text") : yyjson_obj_get(yyjson_obj_get(choice, "delta"), "content");
    if (yyjson_obj_get(root, "usage") != NULL)
        s->usages++;
    if (yyjson_is_str(yyjson_obj_get(choice, "finish_reason")))
        s->finished = true;
    if (yyjson_get_len(text) > 0) {
        unsigned number, count;
        int n = 0;
        MUST(fl, sscanf(yyjson_get_str(text), "%u/%u é %n", &number, &count, &n) == 2, "%s: token %s", a->tag, yyjson_get_str(text));
        MUST(fl, number == s->tokens, "%s: token %u where %u is due", a->tag, number, s->tokens);
        check_padding(c, a, yyjson_get_str(text) + n, yyjson_get_len(text) - (size_t)n, number);
        s->tokens++;
        s->count = count;
    }
    yyjson_doc_free(doc);
}

/* The events that are whole; what is left behind the last one is returned. */
static struct text check_events(struct client_player *c, const struct ask *a, struct told *s)
{
    struct text rest = buf_text(&a->body);
    for (;;) {
        ptrdiff_t end = text_find(rest, TEXT("\n\n"));
        if (end < 0)
            return rest;
        struct text event = { rest.at, (size_t)end };
        if (text_starts(event, TEXT("data: ")))
            check_event(c, a, s, (struct text){ event.at + 6, event.len - 6 });
        else
            MUST(c->flood, event.at[0] == ':', "%s: an event that is none: %.*s", a->tag, TEXT_ARG(event));
        rest.at += end + 2;
        rest.len -= (size_t)end + 2;
    }
}

static void check_stream(struct client_player *c, struct ask *a)
{
    struct flood *fl = c->flood;
    struct told s = { 0 };
    struct text rest = check_events(c, a, &s);
    bool clean = a->ending == END_WHOLE && (a->answer_chunked || s.dones == 1); /* without chunks only [DONE] can tell */
    MUST(fl, a->answer_chunked || a->answer_closes, "%s: a stream without an end", a->tag);
    if (clean) {
        MUST(fl, !s.failed, "%s: failed and ended well", a->tag);
        MUST(fl, rest.len == 0 && s.dones == 1 && s.finished && s.tokens == s.count, "%s: ended well with %u of %u tokens, %u [DONE], %zu bytes over", a->tag, s.tokens, s.count, s.dones, rest.len);
        MUST(fl, a->usage || s.usages == 0, "%s: usage that it did not ask for", a->tag);
        MUST(fl, !a->usage || s.usages == 1, "%s: usage %u times", a->tag, s.usages);
        fl->sum.whole++;
        return;
    }
    fl->sum.cut++;
    MUST(fl, !fl->calm || a->ending == END_LEFT || fl->drained, "%s: a stream was cut in calm weather", a->tag);
    if (a->ending != END_LEFT && !may_break(c))
        MUST(fl, s.failed, "%s: cut without an error event behind %u of %u tokens", a->tag, s.tokens, s.count);
}

/* ---- whole bodies ---- */

static void check_plain(struct client_player *c, struct ask *a)
{
    struct flood *fl = c->flood;
    char name[96] = "";
    yyjson_doc *doc = yyjson_read(buf_text(&a->body).at, buf_len(&a->body), 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (doc == NULL && a->old_http && !a->has_length) { /* its end and a cut look alike */
        fl->sum.cut++;
        return;
    }
    MUST(fl, doc != NULL, "%s: 200 with a body that is no JSON: %zu bytes", a->tag, buf_len(&a->body));
    check_name(c, a, root, name);
    yyjson_val *content = yyjson_obj_get(yyjson_obj_get(yyjson_arr_get_first(yyjson_obj_get(root, "choices")), "message"), "content");
    MUST(fl, yyjson_get_uint(yyjson_obj_get(root, "count")) == yyjson_get_len(content), "%s: %zu bytes of content", a->tag, yyjson_get_len(content));
    check_padding(c, a, yyjson_get_str(content), yyjson_get_len(content), 0);
    yyjson_doc_free(doc);
    fl->sum.whole++;
}

static void check_page(struct client_player *c, struct ask *a)
{
    if (a->kind != KIND_metrics) {
        yyjson_doc *doc = yyjson_read(buf_text(&a->body).at, buf_len(&a->body), 0);
        MUST(c->flood, doc != NULL, "%s: a page that is no JSON: %.*s", a->tag, (int)MIN(buf_len(&a->body), 300u), buf_text(&a->body).at);
        yyjson_doc_free(doc);
    }
    c->flood->sum.whole++;
}

/* ---- all ---- */

static void check_id(struct client_player *c, const struct ask *a)
{
    struct flood *fl = c->flood;
    for (unsigned i = 0; i < fl->clients_count; i++)
        for (unsigned k = 0; k < fl->clients[i].asks_count; k++) {
            const struct ask *other = &fl->clients[i].asks[k];
            MUST(fl, other == a || strcmp(other->id, a->id) != 0, "%s and %s have one id, %s", a->tag, other->tag, a->id);
        }
    memcpy(fl->some_id, a->id, sizeof fl->some_id);
}

static void check_time(struct client_player *c, const struct ask *a)
{
    struct flood *fl = c->flood;
    const struct sim_faults *f = &fl->options.faults;
    nanos most = a->timeout_ms > 0 ? MIN(fl->total, (nanos)a->timeout_ms * NANOS_PER_MS) : fl->total;
    if (a->old_http || f->no_memory)
        most += CUT_READ_NS; /* its cut is a reset, which lets the event be read first; so is a refusal that there was no memory for */
    if (c->pipelines || c->slow_reader || c->slow_sender || fl->time_runs || f->hang || f->accept_full || a->ending == END_LEFT || c->admin || fl->drained)
        return;
    MUST(fl, a->ended_at - a->sent_at <= most + SLACK_NS, "%s ends %.3f s after it was sent; its deadline was %.3f s", a->tag, (double)(a->ended_at - a->sent_at) / 1e9, (double)most / 1e9);
}

void check_answer(struct client_player *c, struct ask *a)
{
    struct flood *fl = c->flood;
    fl->sum.requests++;
    check_time(c, a);
    if (a->status == 0) {
        MUST(fl, a->ending == END_LEFT || may_break(c) || a->old_http, "%s: the connection ended without an answer", a->tag);
        fl->sum.left++;
        return;
    }
    check_id(c, a);
    MUST(fl, status_fits(c, a), "%s: status %d: %.*s", a->tag, a->status, (int)MIN(buf_len(&a->body), 300u), buf_text(&a->body).at != NULL ? buf_text(&a->body).at : "");
    MUST(fl, a->said_attempts <= (int)fl->attempts_most, "%s: %d attempts where %u are allowed", a->tag, a->said_attempts, fl->attempts_most);
    MUST(fl, !fl->calm || a->said_attempts <= 1 + fl->hedges, "%s: %d attempts in calm weather", a->tag, a->said_attempts);
    MUST(fl, a->ending != END_CUT || a->status == 200 || may_break(c), "%s: a refusal was cut", a->tag);
    bool is_stream = strcmp(a->content_type, "text/event-stream") == 0;
    if (is_stream) {
        MUST(fl, a->stream && a->status == 200, "%s: a stream that it did not ask for", a->tag);
        check_stream(c, a);
    } else if (a->ending != END_WHOLE) {
        MUST(fl, !fl->calm || a->ending == END_LEFT || fl->drained, "%s: an answer was cut in calm weather", a->tag);
        fl->sum.cut++;
    } else if (a->status >= 400) {
        check_refusal(c, a);
    } else if (statuses[a->kind] != 0) {
        check_page(c, a);
    } else {
        MUST(fl, !a->stream, "%s: a plain answer to a stream", a->tag);
        check_plain(c, a);
    }
}
