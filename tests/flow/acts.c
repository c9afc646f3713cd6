/* acts.c: what scripts do: sending, expecting, waiting; and saying what came instead. play.c calls it for each act of a script. */
#include "flow/play.h"
#include <stdarg.h>
#include <stdio.h>

/* ---- failing ---- */

static void report_others(const struct player *me, size_t at)
{
    struct play *play = me->play;
    LIST_EACH(&play->players, node) {
        const struct player *p = CONTAINER_OF(node, const struct player, node);
        if (p == me || p->script == NULL || p->act == NULL || at + 200 > play->room)
            continue;
        at += (size_t)snprintf(play->report + at, play->room - at, "\n  meanwhile %.*s is at line %u: %.*s", TEXT_ARG(p->script->name), p->act->line,
                               (int)MIN(p->act->source.len, 100u), p->act->source.at);
    }
}

void play_fails(struct player *p, const char *format, ...)
{
    struct play *play = p->play;
    va_list args;
    p->stop = true;
    if (play->failed || play->over)
        return;
    play->failed = true;
    size_t at = 0;
    if (p->act != NULL)
        at = (size_t)snprintf(play->report, play->room, "  line %u, %.*s: %.*s\n  ", p->act->line, TEXT_ARG(p->script->name), (int)MIN(p->act->source.len, 200u), p->act->source.at);
    va_start(args, format);
    at += (size_t)vsnprintf(play->report + at, play->room - at, format, args);
    va_end(args);
    nanos since = p->task->worker->now - (play->signal_count > 0 ? play->signals[0].at : p->task->worker->now);
    char span[24];
    at += (size_t)snprintf(play->report + at, play->room - MIN(at, play->room), " (at %s)", nanos_print(since, span));
    report_others(p, MIN(at, play->room));
}

bool play_went_well(struct player *p, enum fail f, const char *what)
{
    if (f == OK)
        return true;
    if (f == FAIL_PROTOCOL && p->peer.wrong != NULL)
        play_fails(p, "what came is no HTTP: %s", p->peer.wrong);
    else if (f == FAIL_TIMEOUT)
        play_fails(p, "nothing came for %lld seconds", (long long)(PATIENCE / NANOS_PER_S));
    else if (f == FAIL_CANCELLED)
        p->stop = true;
    else
        play_fails(p, "%s: %s", what, fail_row(f)->text);
    return false;
}

nanos play_patience(const struct player *p)
{
    return p->task->worker->now + PATIENCE;
}

char *play_show(struct text t, char out[700])
{
    return match_show(t, 500, out, 700);
}

/* ---- acts of both sides ---- */

static const struct signal *find_signal(const struct play *play, struct text name)
{
    for (unsigned i = 0; i < play->signal_count; i++)
        if (text_eq(play->signals[i].name, name))
            return &play->signals[i];
    return NULL;
}

void play_signal(struct play *play, struct text name, nanos now)
{
    ASSERT(play->signal_count < FLOW_SIGNALS_MAX);
    if (find_signal(play, name) == NULL)
        play->signals[play->signal_count++] = (struct signal){ name, now };
    LIST_EACH(&play->players, node)
        task_wake(CONTAINER_OF(node, struct player, node)->task); /* those that wait for something else look again, and wait on */
}

static void do_signal(struct player *p, const struct act *s)
{
    play_signal(p->play, s->words[0], p->task->worker->now);
}

static void do_wait(struct player *p, const struct act *s)
{
    nanos until = play_patience(p);
    while (!p->stop && find_signal(p->play, s->words[0]) == NULL)
        play_went_well(p, task_park(p->task, "signal", until), "waiting");
}

static void do_not_yet(struct player *p, const struct act *s)
{
    if (find_signal(p->play, s->words[0]) != NULL)
        play_fails(p, "the signal was given already");
}

void play_sleep(struct player *p, nanos until)
{
    while (!p->stop && p->task->worker->now < until)
        play_went_well(p, task_sleep(p->task, until), "sleeping");
}

static void do_pause(struct player *p, const struct act *s)
{
    play_sleep(p, p->task->worker->now + s->spans[0]);
}

static void do_at(struct player *p, const struct act *s)
{
    play_sleep(p, find_signal(p->play, TEXT("start"))->at + s->spans[0]);
}

static void do_time(struct player *p, const struct act *s)
{
    const struct signal *since = find_signal(p->play, s->words[0]);
    char span[24];
    if (since == NULL) {
        play_fails(p, "this signal was not given");
        return;
    }
    nanos passed = p->task->worker->now - since->at;
    if (passed < s->spans[0] || passed > s->spans[1])
        play_fails(p, "%s have passed", nanos_print(passed, span));
}

static void do_new_config(struct player *p, const struct act *s)
{
    p->play->house.yaml = s->body.at; /* an arena's copy, which ends in a NUL */
}

static void do_name(struct player *p, const struct act *s)
{
    if (!names_set(&p->play->house.names, s->words[0], s->words[1]))
        play_fails(p, "not ADDRESS ... [ttl SPAN], fails or silent");
}

static void need_open(struct player *p)
{
    struct house *h = &p->play->house;
    if (p->peer.is_open || p->script->side == BACKEND)
        return; /* a backend never calls */
    peer_fini(&p->peer);
    peer_init(&p->peer);
    p->peer.is_open = play_went_well(p, actor_connect(p->task, &p->peer.sock, p->script->to_admin ? &h->admin : &h->address, play_patience(p)), "connecting to weir");
}

static void put(struct player *p, struct text bytes)
{
    need_open(p);
    if (p->stop)
        return;
    if (!p->peer.is_open)
        play_fails(p, "the connection is closed");
    else
        play_went_well(p, actor_write_all(p->task, &p->peer.sock, bytes.at, bytes.len, play_patience(p)), "sending");
}

void play_read_body(struct player *p, bool (*enough)(struct text body))
{
    nanos until = play_patience(p);
    for (;;) {
        if (!play_went_well(p, peer_decode(&p->peer), "the body") || p->peer.whole || (enough != NULL && enough(buf_text(&p->peer.body))))
            return;
        if (p->peer.finished || !play_went_well(p, peer_fill(p->task, &p->peer, until), "the body"))
            return;
    }
}

static void do_send(struct player *p, const struct act *s)
{
    put(p, s->body);
}

static void do_finish(struct player *p, const struct act *s)
{
    (void)s;
    actor_shutdown(&p->peer.sock);
}

static void do_close(struct player *p, const struct act *s)
{
    (void)s;
    if (p->script->side == BACKEND && p->peer.has_head)
        play_read_body(p, NULL); /* or the close would be a RST: that is what reset is for */
    peer_close(&p->peer, false);
}

static void do_reset(struct player *p, const struct act *s)
{
    (void)s;
    peer_close(&p->peer, true);
}

static void do_expect_closed(struct player *p, const struct act *s)
{
    char shown[700];
    nanos until = play_patience(p);
    (void)s;
    if (p->peer.has_head && p->script->side == BACKEND)
        play_read_body(p, NULL);
    while (!p->stop && !p->peer.finished && buf_len(&p->peer.in) == 0)
        play_went_well(p, peer_fill(p->task, &p->peer, until), "waiting for the end");
    struct text more = buf_len(&p->peer.in) > 0 ? buf_text(&p->peer.in) : p->script->side == CLIENT ? buf_text(&p->peer.body) : TEXT_NONE;
    if (!p->stop && more.len > 0)
        play_fails(p, "this came before the end: %s", play_show(more, shown));
    if (!p->stop)
        peer_close(&p->peer, false);
}

/* ---- messages ---- */

static bool need_head(struct player *p)
{
    if (!p->peer.has_head)
        play_fails(p, "no message has come yet");
    return p->peer.has_head;
}

static void do_expect_header(struct player *p, const struct act *s)
{
    char shown[700];
    if (!need_head(p))
        return;
    struct text value = peer_header_get(&p->peer, s->words[0]);
    if (value.at == NULL)
        play_fails(p, "there is no such header");
    else if (!match_glob(s->words[1], value))
        play_fails(p, "came: %.*s: %s", TEXT_ARG(s->words[0]), play_show(value, shown));
}

static void do_expect_no_header(struct player *p, const struct act *s)
{
    char shown[700];
    if (!need_head(p))
        return;
    struct text value = peer_header_get(&p->peer, s->words[0]);
    if (value.at != NULL)
        play_fails(p, "came: %.*s: %s", TEXT_ARG(s->words[0]), play_show(value, shown));
}

static void do_expect_body(struct player *p, const struct act *s)
{
    char why[1500], shown[700];
    if (!need_head(p))
        return;
    play_read_body(p, NULL);
    if (p->stop)
        return;
    struct text body = buf_text(&p->peer.body);
    if (!p->peer.whole)
        play_fails(p, "the connection ended in the middle of the body: %s", play_show(body, shown));
    else if (!(s->is_json ? match_json : match_bytes)(s->body, body, why, sizeof why))
        play_fails(p, "%s\n  all that came: %s", why, play_show(body, shown));
    else
        buf_clear(&p->peer.body);
}

/* ---- a client's acts ---- */

bool play_is_read(const struct peer *peer)
{
    return !peer->has_head || (peer->whole && buf_len(&peer->body) == 0);
}

static void do_expect_status(struct player *p, const struct act *s)
{
    char shown[700];
    if (!play_is_read(&p->peer)) {
        play_fails(p, "the answer before was not read to its end");
        return;
    }
    if (!p->peer.is_open) {
        play_fails(p, "nothing was asked");
        return;
    }
    enum fail f = peer_head(p->task, &p->peer, p->asked_head, play_patience(p));
    if (f == FAIL_RESET) {
        play_fails(p, "the connection ended; before that came: %s", play_show(buf_text(&p->peer.in), shown));
        return;
    }
    if (!play_went_well(p, f, "the answer"))
        return;
    struct text start = p->peer.start;
    uint64_t status = 0;
    if (!text_starts(start, TEXT("HTTP/1.1 ")) || start.len < 12 || !text_to_u64((struct text){ start.at + 9, 3 }, 999, &status) || status != s->number) {
        play_read_body(p, NULL);
        play_fails(p, "came: %.*s\n  with: %s", TEXT_ARG(start), play_show(buf_text(&p->peer.body), shown));
    }
}

static void compose(struct player *p, struct text method, const struct act *s, const char *type)
{
    struct buf b;
    buf_init(&b, 64u << 20);
    enum fail f = buf_printf(&b, "%.*s %.*s HTTP/1.1\r\nhost: weir\r\n%.*s", TEXT_ARG(method), TEXT_ARG(s->words[text_eq(method, s->words[0]) ? 1 : 0]), TEXT_ARG(s->headers));
    if (f == OK && s->body.len > 0)
        f = buf_printf(&b, "content-type: %s\r\ncontent-length: %zu\r\n", type, s->body.len);
    if (f == OK)
        f = buf_add_text(&b, TEXT("\r\n"));
    if (f == OK)
        f = buf_add_text(&b, s->body);
    ASSERT(f == OK);
    p->asked_head = text_eq(method, TEXT("HEAD"));
    put(p, buf_text(&b));
    buf_fini(&b);
}

static void do_get(struct player *p, const struct act *s) { compose(p, TEXT("GET"), s, ""); }
static void do_post(struct player *p, const struct act *s) { compose(p, TEXT("POST"), s, "application/json"); }
static void do_request(struct player *p, const struct act *s) { compose(p, s->words[0], s, ""); }

static bool has_event(struct text body) { return text_find(body, TEXT("\n\n")) >= 0; }

/* The next part of the stream up to its empty line, without that; at == NULL if it ended before. */
static struct text next_event(struct player *p)
{
    char shown[700];
    if (!need_head(p))
        return TEXT_NONE;
    play_read_body(p, has_event);
    struct text body = buf_text(&p->peer.body);
    ptrdiff_t n = text_find(body, TEXT("\n\n"));
    if (!p->stop && n < 0)
        play_fails(p, "the stream ended%s; left over: %s", p->peer.whole ? "" : " unfinished", play_show(body, shown));
    return p->stop ? TEXT_NONE : (struct text){ body.at, (size_t)n };
}

static void expect_part(struct player *p, const struct act *s, struct text prefix)
{
    char why[1500], shown[700];
    struct text part = next_event(p);
    if (part.at == NULL)
        return;
    struct text data = { part.at + prefix.len, part.len - MIN(part.len, prefix.len) };
    if (!text_starts(part, prefix) || memchr(part.at, '\n', part.len) != NULL)
        play_fails(p, "came: %s", play_show(part, shown));
    else if (!(s->is_json ? match_json : match_bytes)(s->body, data, why, sizeof why))
        play_fails(p, "%s\n  the event: %s", why, play_show(part, shown));
    else
        buf_eat(&p->peer.body, part.len + 2);
}

static void do_expect_event(struct player *p, const struct act *s) { expect_part(p, s, TEXT("data: ")); }
static void do_expect_comment(struct player *p, const struct act *s) { expect_part(p, s, TEXT(": ")); }

static void do_expect_end(struct player *p, const struct act *s)
{
    char shown[700];
    bool clean = text_eq(s->words[0], TEXT("clean")), broken = text_eq(s->words[0], TEXT("broken"));
    if (!need_head(p))
        return;
    play_read_body(p, NULL);
    if (p->stop)
        return;
    if (broken)
        buf_clear(&p->peer.body);
    if (buf_len(&p->peer.body) > 0)
        play_fails(p, "this came before the end: %s", play_show(buf_text(&p->peer.body), shown));
    else if (p->peer.whole != clean)
        play_fails(p, clean ? "the connection ended, the answer had not" : "it ended as if it were complete");
    else
        p->peer.whole = true; /* as whole as it was expected to be */
}

/* ---- a backend's acts ---- */

static void do_expect_call(struct player *p, const struct act *s)
{
    char expected[600];
    snprintf(expected, sizeof expected, "%.*s %.*s HTTP/1.1", TEXT_ARG(s->words[0]), TEXT_ARG(s->words[1]));
    if (!text_eq(p->peer.start, text_of(expected)))
        play_fails(p, "came: %.*s", TEXT_ARG(p->peer.start));
}

static void do_expect_connection(struct player *p, const struct act *s)
{
    if (text_eq(s->words[0], TEXT("reused")) != (p->calls > 0))
        play_fails(p, p->calls > 0 ? "it came by a connection that had carried %u calls" : "it came by a new connection", p->calls);
}

static void put_chunk(struct player *p, struct text data, struct text after)
{
    struct buf b;
    buf_init(&b, 64u << 20);
    enum fail f = data.len > 0 ? buf_printf(&b, "%zx\r\n", data.len) : OK;
    if (f == OK)
        f = buf_add_text(&b, data);
    if (f == OK && data.len > 0)
        f = buf_add_text(&b, TEXT("\r\n"));
    if (f == OK)
        f = buf_add_text(&b, after);
    ASSERT(f == OK);
    put(p, buf_text(&b));
    buf_fini(&b);
}

static void put_event(struct player *p, struct text data, struct text after)
{
    struct buf b;
    buf_init(&b, 64u << 20);
    enum fail f = buf_printf(&b, "data: ");
    if (f == OK)
        f = buf_add_text(&b, data);
    if (f == OK)
        f = buf_add_text(&b, TEXT("\n\n"));
    ASSERT(f == OK);
    put_chunk(p, buf_text(&b), after);
    buf_fini(&b);
}

#define LAST_CHUNK TEXT("0\r\n\r\n")

static void do_event(struct player *p, const struct act *s) { put_event(p, s->body, TEXT_NONE); }
static void do_part(struct player *p, const struct act *s) { put_chunk(p, s->body, TEXT_NONE); }

static void do_done(struct player *p, const struct act *s)
{
    (void)s;
    put_event(p, TEXT("[DONE]"), LAST_CHUNK);
}

static void do_end(struct player *p, const struct act *s)
{
    (void)s;
    put(p, LAST_CHUNK);
}

static void do_answer(struct player *p, const struct act *s)
{
    struct buf b;
    bool is_sse = text_eq(s->words[0], TEXT("sse"));
    struct text type = is_sse ? TEXT("text/event-stream") : text_eq(s->words[0], TEXT("json")) ? TEXT("application/json") : s->words[0];
    buf_init(&b, 64u << 20);
    play_read_body(p, NULL); /* a backend that answers before it has read would see its answer die with a RST */
    enum fail f = buf_printf(&b, "HTTP/1.1 %u Status\r\ncontent-type: %.*s\r\n%.*s", s->number, TEXT_ARG(type), TEXT_ARG(s->headers));
    if (f == OK && is_sse)
        f = buf_add_text(&b, TEXT("transfer-encoding: chunked\r\n\r\n"));
    else if (f == OK)
        f = buf_printf(&b, "content-length: %zu\r\n\r\n", s->body.len);
    if (f == OK)
        f = buf_add_text(&b, s->body);
    ASSERT(f == OK);
    put(p, buf_text(&b));
    buf_fini(&b);
}

/* ---- all of them ---- */

static void (*const act_fns[VERB_COUNT])(struct player *p, const struct act *s) = {
#define ACT(id, word, who, arguments, what) do_##id,
#include "flow/acts.def"
#undef ACT
};

void play_follow(struct player *p, const struct act *acts, unsigned count)
{
    for (unsigned i = 0; i < count && !p->stop; i++) {
        p->act = &acts[i];
        for (unsigned k = 0; k < p->act->repeat && !p->stop; k++)
            act_fns[p->act->verb](p, p->act);
    }
}
