/* play.c: plays a flow: a gateway in the simulated world, and a task for each client, each connection to a backend, and the director, who starts
   the clients, waits for the end and looks at the counters. Called by flow.c. */
#include "flow/play.h"
#include <stdio.h>

#define PLAY_SPAN  (3 * 3600 * NANOS_PER_S)
#define DISCOVERY  (50 * NANOS_PER_MS)        /* before the clients begin: the backends have been asked for their models */
#define SETTLE     (100 * NANOS_PER_MS)       /* after the last act: what weir does behind everyone's back has happened */
#define CALLS_WAIT (5 * NANOS_PER_S)          /* after the last client: what backends still have to do */

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
        play_follow(p, &p->play->flow->acts[p->script->first], p->script->count);
        if (!p->stop && p->peer.is_open && !play_is_read(&p->peer))
            play_fails(p, "the last answer was not read to its end");
        if (!p->stop && p->peer.is_open && buf_len(&p->peer.in) > 0)
            play_fails(p, "bytes came that nobody expected");
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
    f = actor_write_all(p->task, &p->peer.sock, buf_text(&head).at, buf_len(&head), play_patience(p));
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
        play_fails(p, "  %.*s is asked once more than line %u and its calls say: %s", TEXT_ARG(p->backend->name), p->backend->line, play_show(p->peer.start, shown));
        return;
    }
    s->taken++;
    p->script = s;
    play_follow(p, &p->play->flow->acts[s->first], s->count);
    if (!p->stop && p->peer.is_open)
        play_read_body(p, NULL);
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
            play_fails(p, "  what came to %.*s is no HTTP: %s", TEXT_ARG(p->backend->name), p->peer.wrong);
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
            play_fails(p, "line %u: this call never came to %.*s: %.*s", s->line, TEXT_ARG(s->name), TEXT_ARG(first->source));
        else if (s->side == BACKEND && s->ended < s->repeat)
            play_fails(p, "line %u: this call to %.*s did not come to its end", s->line, TEXT_ARG(s->name));
    }
}

static void check_counters(struct player *p)
{
    for (unsigned i = 0; i < p->play->flow->counter_count && !p->stop; i++) {
        const struct flow_counter *c = &p->play->flow->counters[i];
        uint64_t came = c->is_calls ? p->play->calls : house_count(&p->play->house, c->counter);
        if (came != c->value)
            play_fails(p, "line %u: %.*s; came: %llu", c->line, TEXT_ARG(c->source), (unsigned long long)came);
    }
}

/* What every flow leaves behind: nothing. */
static void check_gauges(struct player *p)
{
    static const enum counter gauges[] = { COUNTER_requests_open, COUNTER_streams_open, COUNTER_queue_waiting };
    for (unsigned i = 0; i < ARRAY_LEN(gauges) && !p->stop; i++)
        if (house_count(&p->play->house, gauges[i]) != 0)
            play_fails(p, "at the end %s is %lld", counter_name(gauges[i]), (long long)house_count(&p->play->house, gauges[i]));
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
    play_follow(p, acts, ARRAY_LEN(acts));
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
    play_sleep(p, t->worker->now + DISCOVERY);
    play_signal(play, TEXT("start"), t->worker->now);
    for (unsigned i = 0; i < play->flow->script_count; i++)
        if (play->flow->scripts[i].side == CLIENT)
            start_client(play, &play->flow->scripts[i]);
    wait_for_scripts(p);
    check_calls(p);
    play_sleep(p, t->worker->now + SETTLE);
    check_counters(p);
    ask_canary(p);
    play_sleep(p, t->worker->now + SETTLE);
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
    for (unsigned i = 0; i < f->name_count; i++)
        if (!names_set(&play.house.names, f->names[i].name, f->names[i].says)) {
            snprintf(report, room, "  name %.*s: not ADDRESS ... [ttl SPAN], fails or silent", TEXT_ARG(f->names[i].name));
            return false;
        }
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
