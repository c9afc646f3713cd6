/* play.c: plays a flow: a gateway in the simulated world, and a task for each client, each connection to a backend, and the director, who starts
   the clients, waits for the end and looks at the counters. Called by flow.c. */
#include "flow/flow.h"
#include "flow/peer.h"
#include "lib/house.h"
#include <stdarg.h>
#include <stdio.h>

#define PATIENCE   (1000 * NANOS_PER_S)       /* of one act: longer than any limit of weir's own */
#define PLAY_SPAN  (3 * 3600 * NANOS_PER_S)
#define DISCOVERY  (50 * NANOS_PER_MS)        /* before the clients begin: the backends have been asked for their models */
#define SETTLE     (100 * NANOS_PER_MS)       /* after the last act: what weir does behind everyone's back has happened */
#define CALLS_WAIT (5 * NANOS_PER_S)          /* after the last client: what backends still have to do */

struct signal {
    struct text name;
    nanos at;
};

/* Where a backend listens. */
struct stand {
    struct play *play;
    struct flow_backend *backend;
    struct actor listener;
};

struct play {
    struct flow *flow;
    const struct way *way;
    struct house house;
    struct list players;
    struct stand stands[FLOW_BACKENDS_MAX];
    struct signal signals[FLOW_SIGNALS_MAX];
    unsigned signal_count;
    unsigned clients_left, calls;
    struct task *director;
    bool over, failed;
    char *report;
    size_t room;
};

/* Whoever follows a script: a client, or one connection of a backend. */
struct player {
    struct node node;
    struct play *play;
    struct task *task;
    struct script *script;     /* NULL between calls */
    struct flow_backend *backend;
    const struct act *act;   /* where it is */
    struct peer peer;
    unsigned calls;            /* finished on this connection */
    bool asked_head;           /* its last request was a HEAD */
    bool stop;                 /* something failed, or the play is over */
};

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

/* The first failure is the report; the play ends. */
static void PRINTF(2, 3) fails(struct player *p, const char *format, ...)
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

/* For failures of the sockets and of waiting. */
static bool went_well(struct player *p, enum fail f, const char *what)
{
    if (f == OK)
        return true;
    if (f == FAIL_PROTOCOL && p->peer.wrong != NULL)
        fails(p, "what came is no HTTP: %s", p->peer.wrong);
    else if (f == FAIL_TIMEOUT)
        fails(p, "nothing came for %lld seconds", (long long)(PATIENCE / NANOS_PER_S));
    else if (f == FAIL_CANCELLED)
        p->stop = true;
    else
        fails(p, "%s: %s", what, fail_row(f)->text);
    return false;
}

static nanos patience(const struct player *p)
{
    return p->task->worker->now + PATIENCE;
}

static char *show(struct text t, char out[700])
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

static void give_signal(struct play *play, struct text name, nanos now)
{
    ASSERT(play->signal_count < FLOW_SIGNALS_MAX);
    if (find_signal(play, name) == NULL)
        play->signals[play->signal_count++] = (struct signal){ name, now };
    LIST_EACH(&play->players, node)
        task_wake(CONTAINER_OF(node, struct player, node)->task); /* those that wait for something else look again, and wait on */
}

static void do_signal(struct player *p, const struct act *s)
{
    give_signal(p->play, s->words[0], p->task->worker->now);
}

static void do_wait(struct player *p, const struct act *s)
{
    nanos until = patience(p);
    while (!p->stop && find_signal(p->play, s->words[0]) == NULL)
        (void)went_well(p, task_park(p->task, "signal", until), "waiting");
}

static void do_not_yet(struct player *p, const struct act *s)
{
    if (find_signal(p->play, s->words[0]) != NULL)
        fails(p, "the signal was given already");
}

static void sleep_until(struct player *p, nanos until)
{
    while (!p->stop && p->task->worker->now < until)
        (void)went_well(p, task_sleep(p->task, until), "sleeping");
}

static void do_pause(struct player *p, const struct act *s)
{
    sleep_until(p, p->task->worker->now + s->spans[0]);
}

static void do_at(struct player *p, const struct act *s)
{
    sleep_until(p, find_signal(p->play, TEXT("start"))->at + s->spans[0]);
}

static void do_time(struct player *p, const struct act *s)
{
    const struct signal *since = find_signal(p->play, s->words[0]);
    char span[24];
    if (since == NULL) {
        fails(p, "this signal was not given");
        return;
    }
    nanos passed = p->task->worker->now - since->at;
    if (passed < s->spans[0] || passed > s->spans[1])
        fails(p, "%s have passed", nanos_print(passed, span));
}

static void do_new_config(struct player *p, const struct act *s)
{
    p->play->house.yaml = s->body.at; /* an arena's copy, which ends in a NUL */
}

static void need_open(struct player *p)
{
    struct house *h = &p->play->house;
    if (p->peer.is_open || p->script->side == BACKEND)
        return; /* a backend never calls */
    peer_fini(&p->peer);
    peer_init(&p->peer);
    p->peer.is_open = went_well(p, actor_connect(p->task, &p->peer.sock, p->script->to_admin ? &h->admin : &h->address, patience(p)), "connecting to weir");
}

static void put(struct player *p, struct text bytes)
{
    need_open(p);
    if (p->stop)
        return;
    if (!p->peer.is_open)
        fails(p, "the connection is closed");
    else
        (void)went_well(p, actor_write_all(p->task, &p->peer.sock, bytes.at, bytes.len, patience(p)), "sending");
}

/* Until the body has ended, the connection has, or enough(body). */
static void read_body(struct player *p, bool (*enough)(struct text body))
{
    nanos until = patience(p);
    for (;;) {
        if (!went_well(p, peer_decode(&p->peer), "the body") || p->peer.whole || (enough != NULL && enough(buf_text(&p->peer.body))))
            return;
        if (p->peer.finished || !went_well(p, peer_fill(p->task, &p->peer, until), "the body"))
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
        read_body(p, NULL); /* or the close would be a RST: that is what reset is for */
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
    nanos until = patience(p);
    (void)s;
    if (p->peer.has_head && p->script->side == BACKEND)
        read_body(p, NULL);
    while (!p->stop && !p->peer.finished && buf_len(&p->peer.in) == 0)
        (void)went_well(p, peer_fill(p->task, &p->peer, until), "waiting for the end");
    struct text more = buf_len(&p->peer.in) > 0 ? buf_text(&p->peer.in) : p->script->side == CLIENT ? buf_text(&p->peer.body) : TEXT_NONE;
    if (!p->stop && more.len > 0)
        fails(p, "this came before the end: %s", show(more, shown));
    if (!p->stop)
        peer_close(&p->peer, false);
}

/* ---- messages ---- */

static bool need_head(struct player *p)
{
    if (!p->peer.has_head)
        fails(p, "no message has come yet");
    return p->peer.has_head;
}

static void do_expect_header(struct player *p, const struct act *s)
{
    char shown[700];
    if (!need_head(p))
        return;
    struct text value = peer_header_get(&p->peer, s->words[0]);
    if (value.at == NULL)
        fails(p, "there is no such header");
    else if (!match_glob(s->words[1], value))
        fails(p, "came: %.*s: %s", TEXT_ARG(s->words[0]), show(value, shown));
}

static void do_expect_no_header(struct player *p, const struct act *s)
{
    char shown[700];
    if (!need_head(p))
        return;
    struct text value = peer_header_get(&p->peer, s->words[0]);
    if (value.at != NULL)
        fails(p, "came: %.*s: %s", TEXT_ARG(s->words[0]), show(value, shown));
}

static void do_expect_body(struct player *p, const struct act *s)
{
    char why[1500], shown[700];
    if (!need_head(p))
        return;
    read_body(p, NULL);
    if (p->stop)
        return;
    struct text body = buf_text(&p->peer.body);
    if (!p->peer.whole)
        fails(p, "the connection ended in the middle of the body: %s", show(body, shown));
    else if (!(s->is_json ? match_json : match_bytes)(s->body, body, why, sizeof why))
        fails(p, "%s\n  all that came: %s", why, show(body, shown));
    else
        buf_clear(&p->peer.body);
}

/* ---- a client's acts ---- */

static bool is_read_to_its_end(const struct peer *peer)
{
    return !peer->has_head || (peer->whole && buf_len(&peer->body) == 0);
}

static void do_expect_status(struct player *p, const struct act *s)
{
    char shown[700];
    if (!is_read_to_its_end(&p->peer)) {
        fails(p, "the answer before was not read to its end");
        return;
    }
    if (!p->peer.is_open) {
        fails(p, "nothing was asked");
        return;
    }
    enum fail f = peer_head(p->task, &p->peer, p->asked_head, patience(p));
    if (f == FAIL_RESET) {
        fails(p, "the connection ended; before that came: %s", show(buf_text(&p->peer.in), shown));
        return;
    }
    if (!went_well(p, f, "the answer"))
        return;
    struct text start = p->peer.start;
    uint64_t status = 0;
    if (!text_starts(start, TEXT("HTTP/1.1 ")) || start.len < 12 || !text_to_u64((struct text){ start.at + 9, 3 }, 999, &status) || status != s->number) {
        read_body(p, NULL);
        fails(p, "came: %.*s\n  with: %s", TEXT_ARG(start), show(buf_text(&p->peer.body), shown));
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
    read_body(p, has_event);
    struct text body = buf_text(&p->peer.body);
    ptrdiff_t n = text_find(body, TEXT("\n\n"));
    if (!p->stop && n < 0)
        fails(p, "the stream ended%s; left over: %s", p->peer.whole ? "" : " unfinished", show(body, shown));
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
        fails(p, "came: %s", show(part, shown));
    else if (!(s->is_json ? match_json : match_bytes)(s->body, data, why, sizeof why))
        fails(p, "%s\n  the event: %s", why, show(part, shown));
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
    read_body(p, NULL);
    if (p->stop)
        return;
    if (broken)
        buf_clear(&p->peer.body);
    if (buf_len(&p->peer.body) > 0)
        fails(p, "this came before the end: %s", show(buf_text(&p->peer.body), shown));
    else if (p->peer.whole != clean)
        fails(p, clean ? "the connection ended, the answer had not" : "it ended as if it were complete");
    else
        p->peer.whole = true; /* as whole as it was expected to be */
}

/* ---- a backend's acts ---- */

static void do_expect_call(struct player *p, const struct act *s)
{
    char expected[600];
    snprintf(expected, sizeof expected, "%.*s %.*s HTTP/1.1", TEXT_ARG(s->words[0]), TEXT_ARG(s->words[1]));
    if (!text_eq(p->peer.start, text_of(expected)))
        fails(p, "came: %.*s", TEXT_ARG(p->peer.start));
}

static void do_expect_connection(struct player *p, const struct act *s)
{
    if (text_eq(s->words[0], TEXT("reused")) != (p->calls > 0))
        fails(p, p->calls > 0 ? "it came by a connection that had carried %u calls" : "it came by a new connection", p->calls);
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
    read_body(p, NULL); /* a backend that answers before it has read would see its answer die with a RST */
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

/* ---- scripts ---- */

static void (*const act_fns[VERB_COUNT])(struct player *p, const struct act *s) = {
#define ACT(id, word, who, arguments, what) do_##id,
#include "flow/acts.def"
#undef ACT
};

static void follow(struct player *p, const struct act *acts, unsigned count)
{
    for (unsigned i = 0; i < count && !p->stop; i++) {
        p->act = &acts[i];
        for (unsigned k = 0; k < p->act->repeat && !p->stop; k++)
            act_fns[p->act->verb](p, p->act);
    }
}

static void wake_director(struct play *play)
{
    if (play->director != NULL)
        task_wake(play->director);
}

static struct player *player_new(struct play *play, struct task *t)
{
    struct player *p = mem_zero(sizeof *p);
    ASSERT(p != NULL);
    p->play = play;
    p->task = t;
    peer_init(&p->peer);
    list_push(&play->players, &p->node);
    return p;
}

static void player_free(struct player *p)
{
    peer_fini(&p->peer);
    list_remove(&p->play->players, &p->node);
    wake_director(p->play);
    mem_free(p);
}

struct part {
    struct play *play;
    struct script *script;
};

static void client(struct task *t, void *arg)
{
    struct part *part = arg;
    struct player *p = player_new(part->play, t);
    p->script = part->script;
    mem_free(part);
    for (unsigned i = 0; i < p->script->repeat && !p->stop; i++) {
        follow(p, &p->play->flow->acts[p->script->first], p->script->count);
        if (!p->stop && p->peer.is_open && !is_read_to_its_end(&p->peer))
            fails(p, "the last answer was not read to its end");
        if (!p->stop && p->peer.is_open && buf_len(&p->peer.in) > 0)
            fails(p, "bytes came that nobody expected");
        peer_close(&p->peer, false);
        peer_init(&p->peer);
    }
    p->play->clients_left--;
    player_free(p);
}

static void start_client(struct play *play, struct script *s)
{
    struct part *part = mem_alloc(sizeof *part);
    ASSERT(part != NULL);
    *part = (struct part){ play, s };
    play->clients_left++;
    house_task(&play->house, "client", client, part);
}

/* ---- backends ---- */

static void tell_models(struct player *p)
{
    struct buf b, head;
    struct text names = p->backend->models, name;
    const char *comma = "";
    buf_init(&b, 65536);
    buf_init(&head, 131072);
    enum fail f = buf_printf(&b, "{\"object\":\"list\",\"data\":[");
    while (f == OK && names.len > 0) {
        names = text_trim(text_cut(names, ' ', &name));
        f = buf_printf(&b, "%s{\"id\":\"%.*s\",\"object\":\"model\"}", comma, TEXT_ARG(name));
        comma = ",";
    }
    if (f == OK)
        f = buf_printf(&b, "]}");
    if (f == OK)
        f = buf_printf(&head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %zu\r\n\r\n", buf_len(&b));
    if (f == OK)
        f = buf_add_text(&head, buf_text(&b));
    ASSERT(f == OK);
    f = actor_write_all(p->task, &p->peer.sock, buf_text(&head).at, buf_len(&head), patience(p));
    (void)f; /* weir need not care for the answer: it may be shutting down */
    buf_fini(&head);
    buf_fini(&b);
    peer_close(&p->peer, false);
}

static struct script *next_call(struct play *play, unsigned backend)
{
    for (unsigned i = 0; i < play->flow->script_count; i++) {
        struct script *s = &play->flow->scripts[i];
        if (s->side == BACKEND && s->backend == backend && s->taken < s->repeat)
            return s;
    }
    return NULL;
}

static void take_call(struct player *p)
{
    char shown[700];
    struct script *s = next_call(p->play, (unsigned)(p->backend - p->play->flow->backends));
    p->play->calls++;
    if (s == NULL) {
        fails(p, "  %.*s is asked once more than line %u and its calls say: %s", TEXT_ARG(p->backend->name), p->backend->line, show(p->peer.start, shown));
        return;
    }
    s->taken++;
    p->script = s;
    follow(p, &p->play->flow->acts[s->first], s->count);
    if (!p->stop && p->peer.is_open)
        read_body(p, NULL);
    s->ended += !p->stop;
    p->script = NULL;
    p->act = NULL;
    p->calls++;
    wake_director(p->play);
}

/* One connection from weir: call after call. */
static void serve_connection(struct task *t, void *arg)
{
    struct player *p = arg;
    p->task = t;
    while (!p->stop && p->peer.is_open) {
        enum fail f = peer_head(t, &p->peer, false, NEVER);
        if (f == FAIL_PROTOCOL)
            fails(p, "  what came to %.*s is no HTTP: %s", TEXT_ARG(p->backend->name), p->peer.wrong);
        if (f != OK)
            break; /* weir has closed it, or the play is over */
        if (text_starts(p->peer.start, TEXT("GET /v1/models ")))
            tell_models(p);
        else
            take_call(p);
    }
    player_free(p);
}

static void accept_calls(struct task *t, void *arg)
{
    struct stand *st = arg;
    for (;;) {
        struct player *p = player_new(st->play, t); /* a watch stays where it was started: its place must be there first */
        if (actor_accept(t, &st->listener, &p->peer.sock, NEVER) != OK) {
            player_free(p);
            break;
        }
        p->peer.is_open = true;
        p->backend = st->backend;
        p->task = house_task(&st->play->house, "backend", serve_connection, p);
    }
    actor_close(&st->listener);
}

static void open_backend(struct play *play, unsigned i)
{
    struct flow_backend *b = &play->flow->backends[i];
    struct stand *st = &play->stands[i];
    enum fail f = OK;
    if (b->manner == REFUSES)
        return;
    if (b->manner == SILENT)
        f = sim_blackhole(play->house.sim, &b->addr, true);
    ASSERT(f == OK);
    st->play = play;
    st->backend = b;
    f = actor_listen(&play->house.outside, &st->listener, &b->addr);
    ASSERT(f == OK);
    house_task(&play->house, "backend", accept_calls, st);
}

/* ---- the director ---- */

static bool calls_are_done(const struct play *play)
{
    for (unsigned i = 0; i < play->flow->script_count; i++) {
        const struct script *s = &play->flow->scripts[i];
        if (s->side == BACKEND && s->ended < s->repeat)
            return false;
    }
    return true;
}

static void check_calls(struct player *p)
{
    for (unsigned i = 0; i < p->play->flow->script_count && !p->stop; i++) {
        const struct script *s = &p->play->flow->scripts[i];
        const struct act *first = &p->play->flow->acts[s->first];
        if (s->side == BACKEND && s->taken < s->repeat)
            fails(p, "line %u: this call never came to %.*s: %.*s", s->line, TEXT_ARG(s->name), TEXT_ARG(first->source));
        else if (s->side == BACKEND && s->ended < s->repeat)
            fails(p, "line %u: this call to %.*s did not come to its end", s->line, TEXT_ARG(s->name));
    }
}

static void check_counters(struct player *p)
{
    for (unsigned i = 0; i < p->play->flow->counter_count && !p->stop; i++) {
        const struct flow_counter *c = &p->play->flow->counters[i];
        uint64_t came = c->is_calls ? p->play->calls : house_count(&p->play->house, c->counter);
        if (came != c->value)
            fails(p, "line %u: %.*s; came: %llu", c->line, TEXT_ARG(c->source), (unsigned long long)came);
    }
}

/* What every flow leaves behind: nothing. */
static void check_gauges(struct player *p)
{
    static const enum counter gauges[] = { COUNTER_requests_open, COUNTER_streams_open, COUNTER_queue_waiting };
    for (unsigned i = 0; i < ARRAY_LEN(gauges) && !p->stop; i++)
        if (house_count(&p->play->house, gauges[i]) != 0)
            fails(p, "at the end %s is %lld", counter_name(gauges[i]), (long long)house_count(&p->play->house, gauges[i]));
}

/* A stranger asks when all is over: whatever happened, weir serves on. */
static void ask_canary(struct player *p)
{
    static struct script canary = { .name = { "the canary", 10 }, .side = CLIENT };
    static const struct act acts[] = {
        { .source = { "get /healthz", 12 }, .verb = VERB_get, .repeat = 1, .words = { { "/healthz", 8 } }, .headers = { "connection: close\r\n", 19 } },
        { .source = { "expect 200", 10 }, .verb = VERB_expect_status, .repeat = 1, .number = 200 },
        { .source = { "expect-body ok", 14 }, .verb = VERB_expect_body, .repeat = 1, .body = { "ok\n", 3 } },
    };
    if (p->stop || gateway_is_draining(p->play->house.gateway))
        return;
    p->script = &canary;
    follow(p, acts, ARRAY_LEN(acts));
    peer_close(&p->peer, false);
    p->script = NULL;
    p->act = NULL;
}

static void wait_for_scripts(struct player *p)
{
    struct play *play = p->play;
    while (!p->stop && play->clients_left > 0)
        p->stop = task_park(p->task, "clients", NEVER) != OK;
    nanos until = p->task->worker->now + CALLS_WAIT;
    while (!p->stop && !calls_are_done(play) && p->task->worker->now < until) {
        enum fail f = task_park(p->task, "calls", until);
        p->stop = f != OK && f != FAIL_TIMEOUT;
    }
}

static void direct(struct task *t, void *arg)
{
    struct play *play = arg;
    struct player *p = player_new(play, t);
    play->director = t;
    sleep_until(p, t->worker->now + DISCOVERY);
    give_signal(play, TEXT("start"), t->worker->now);
    for (unsigned i = 0; i < play->flow->script_count; i++)
        if (play->flow->scripts[i].side == CLIENT)
            start_client(play, &play->flow->scripts[i]);
    wait_for_scripts(p);
    check_calls(p);
    sleep_until(p, t->worker->now + SETTLE);
    check_counters(p);
    ask_canary(p);
    sleep_until(p, t->worker->now + SETTLE);
    check_gauges(p);
    play->over = true;
    play->director = NULL;
    player_free(p);
}

static bool is_over(void *arg)
{
    const struct play *play = arg;
    return play->over || play->failed;
}

static void begin(struct flow *f)
{
    for (unsigned i = 0; i < f->script_count; i++)
        f->scripts[i].taken = f->scripts[i].ended = 0;
}

bool flow_play(struct flow *f, const struct way *way, char *report, size_t room)
{
    static struct play play;
    struct sim_options o = sim_options_default(way->seed);
    play = (struct play){ .flow = f, .way = way, .report = report, .room = room };
    o.faults = way->faults;
    list_init(&play.players);
    begin(f);
    house_open(&play.house, &o, f->config.at);
    for (unsigned i = 0; i < f->backend_count; i++)
        open_backend(&play, i);
    house_task(&play.house, "director", direct, &play);
    if (!house_run(&play.house, is_over, &play, PLAY_SPAN) && !play.failed) {
        snprintf(report, room, "  %s", sim_why(play.house.sim));
        return false;
    }
    if (play.failed)
        return false;
    house_close(&play.house);
    return true;
}
