/* flood_client.c: the flood's clients: they send what they should and what they should not, leave when they like, and read answers by rules of their own,
   written apart from src/net. Called by flood.c, as tasks of the outside worker. */
#include "lib/flood_inner.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PATIENCE_NS (5 * NANOS_PER_S) /* beyond timeouts.total and .write; nothing in the gateway takes longer */
#define DRIP_NS     (60 * NANOS_PER_S) /* a long answer that arrives byte by byte takes this much more; a leap of the clock is none of ours */

enum got { GOT_BYTES, GOT_END, GOT_BROKEN, GOT_LEAVE };

static const struct kind_row {
    const char *name;
    int status;
} kinds[KIND_COUNT] = {
#define KIND(name, status, what) { #name, status },
    KINDS(KIND)
#undef KIND
};

/* ---- what is sent ---- */

static bool generates(enum kind k) { return k == KIND_chat || k == KIND_text || k == KIND_embed; }

/* A route that needs a key, for those who have none. */
static const char *line_of(struct client_player *c, const struct ask *a)
{
    static const char *const locked[] = { "POST /v1/chat/completions", "POST /v1/completions", "POST /v1/embeddings", "GET /v1/models", "GET /v1/models/m0", "GET /metrics", "GET /api/v1/metrics" };
    switch (a->kind) {
    case KIND_text:
        return "POST /v1/completions";
    case KIND_embed:
        return "POST /v1/embeddings";
    case KIND_models:
        return "GET /v1/models";
    case KIND_health:
        return "GET /health";
    case KIND_metrics:
    case KIND_low_key:
        return "GET /metrics";
    case KIND_no_key:
    case KIND_wrong_key:
        return locked[below(&c->dice, ARRAY_LEN(locked))];
    case KIND_no_path:
        return "GET /nowhere";
    case KIND_bad_method:
        return "DELETE /v1/chat/completions";
    case KIND_status:
        return "GET /status";
    case KIND_requests:
        return "GET /requests";
    case KIND_reload:
        return "POST /reload";
    case KIND_drain:
        return "POST /drain";
    default:
        return "POST /v1/chat/completions";
    }
}

static void add(struct buf *b, const char *s)
{
    ASSERT(buf_add(b, s, strlen(s)) == OK);
}

static void add_prompt(struct buf *b, const struct ask *a)
{
    for (unsigned i = 0; i < a->pad; i++) {
        char c = prompt_byte(a, i);
        ASSERT(buf_add(b, &c, 1) == OK);
    }
}

static void compose_body(struct client_player *c, const struct ask *a, struct buf *b)
{
    struct dice *d = &c->dice;
    if (a->kind == KIND_bad_json) {
        add(b, "{\"model\":\"m0\",\"messages\":[");
        return;
    }
    add(b, once_in(d, 4) ? " \n{ " : "{");
    ASSERT(buf_printf(b, "\"user\":\"%s\",", a->tag) == OK);
    bool model_first = once_in(d, 2);
    char model[40];
    snprintf(model, sizeof model, a->kind == KIND_no_model ? "\"model\":\"nobody-has-it%u\"," : "\"model\": \"m%u\",", a->model);
    if (model_first)
        add(b, model);
    if (a->kind == KIND_bad_field)
        add(b, "\"temperature\":\"hot\",");
    add(b, a->kind == KIND_text ? "\"prompt\":\"" : a->kind == KIND_embed ? "\"input\":\"" : "\"messages\":[{\"role\":\"user\",\"content\":\"");
    add_prompt(b, a);
    add(b, a->kind == KIND_text || a->kind == KIND_embed ? "\"," : "\"}],");
    if (a->stream || (once_in(d, 4) && a->kind != KIND_embed))
        add(b, a->stream ? "\"stream\":true," : "\"stream\":false,");
    if (a->usage)
        add(b, "\"stream_options\":{\"include_usage\":true},");
    else if (a->stream && once_in(d, 4))
        add(b, once_in(d, 2) ? "\"stream_options\":{\"include_usage\":false,\"x\":[1]}," : "\"stream_options\":{},");
    if (!model_first)
        add(b, model);
    add(b, once_in(d, 2) ? "\"new_field\":{\"a\":[1,2,{\"model\":\"not this\"}]},\"end\":\"" : "\"end\":\"");
    add(b, a->tag);
    add(b, "\" }");
}

static const char *key_of(struct client_player *c, const struct ask *a)
{
    bool bearer = once_in(&c->dice, 2);
    switch (a->kind) {
    case KIND_no_key:
        return "";
    case KIND_wrong_key:
        return bearer ? "authorization: Bearer key-stolen\r\n" : "x-api-key: key-usef\r\n";
    case KIND_narrow_key:
        return bearer ? "authorization: Bearer key-narrow\r\n" : "x-api-key: key-narrow\r\n";
    case KIND_metrics:
        return "authorization: Bearer key-boss\r\n";
    default:
        return bearer ? "authorization: Bearer key-" : "x-api-key: key-"; /* and who it is */
    }
}

static void compose_head(struct client_player *c, const struct ask *a, const char *line, size_t body, struct buf *b)
{
    struct flood *fl = c->flood;
    if (a->kind == KIND_explain)
        ASSERT(buf_printf(b, "GET /explain/%s HTTP/1.1\r\nhost: weir\r\n", fl->some_id[0] != 0 ? fl->some_id : "nobody") == OK);
    else
        ASSERT(buf_printf(b, "%s HTTP/1.%d\r\n%s", line, a->old_http ? 0 : 1, a->kind == KIND_bad_framing ? "" : "Host: weir\r\n") == OK);
    if (fl->has_keys && !c->admin) {
        const char *key = key_of(c, a);
        add(b, key);
        if (key[0] != 0 && key[strlen(key) - 1] == '-')
            ASSERT(buf_printf(b, "%s\r\n", c->who) == OK);
    }
    if (!c->admin)
        policy_head(c, b);
    if (a->timeout_ms > 0)
        ASSERT(buf_printf(b, "x-weir-timeout-ms: %u\r\n", a->timeout_ms) == OK);
    if (a->kind == KIND_bad_timeout)
        add(b, "x-weir-timeout-ms: soon\r\n");
    if (a->closes)
        add(b, "connection: close\r\n");
    if (a->expects)
        add(b, "expect: 100-continue\r\n");
    if (a->kind == KIND_big_head)
        for (unsigned i = 0; i < 20; i++)
            ASSERT(buf_printf(b, "x-long-%u: %0400d\r\n", i, 7) == OK);
    if (a->kind == KIND_big_body)
        ASSERT(buf_printf(b, "content-length: 70000\r\n") == OK);
    else if (a->chunked)
        add(b, "transfer-encoding: chunked\r\n");
    else if (strncmp(line, "POST", 4) == 0 || body > 0)
        ASSERT(buf_printf(b, "content-length: %zu\r\n", body) == OK);
    add(b, "\r\n");
}

static void add_chunked(struct client_player *c, struct buf *b, struct text body)
{
    while (body.len > 0) {
        size_t n = some_of(&c->dice, body.len, 2000);
        ASSERT(buf_printf(b, "%zx\r\n%.*s\r\n", n, (int)n, body.at) == OK);
        body.at += n;
        body.len -= n;
    }
    add(b, "0\r\n\r\n");
}

/* Head and body behind each other; *out_head_bytes of them are the head. */
static void compose(struct client_player *c, const struct ask *a, struct buf *b, size_t *out_head_bytes)
{
    struct buf body;
    const char *line = line_of(c, a);
    buf_init(&body, BODY_MOST);
    if (strncmp(line, "POST", 4) == 0 && a->kind != KIND_big_body && !c->admin)
        compose_body(c, a, &body);
    size_t before = buf_len(b);
    compose_head(c, a, line, buf_len(&body), b);
    *out_head_bytes = buf_len(b) - before;
    if (a->chunked)
        add_chunked(c, b, buf_text(&body));
    else if (buf_len(&body) > 0)
        ASSERT(buf_add_text(b, buf_text(&body)) == OK);
    buf_fini(&body);
}

/* ---- sending and reading ---- */

static nanos patience(const struct flood *fl)
{
    return fl->total + fl->write + PATIENCE_NS + (fl->time_runs ? DRIP_NS : 0);
}

static enum got got_of(struct client_player *c, enum fail f)
{
    if (f == FAIL_TIMEOUT)
        return GOT_LEAVE;
    c->broken = true;
    return GOT_BROKEN;
}

static enum got write_text(struct task *t, struct client_player *c, struct text bytes)
{
    enum fail f = OK;
    nanos until = c->leaves ? c->leave_at : t->worker->now + patience(c->flood);
    while (f == OK && bytes.len > 0) {
        size_t n = c->slow_sender ? some_of(&c->dice, bytes.len, 200) : bytes.len;
        f = actor_write_all(t, &c->actor, bytes.at, n, until);
        bytes.at += n;
        bytes.len -= n;
        if (f == OK && c->slow_sender && task_sleep(t, t->worker->now + (nanos)below(&c->dice, 20) * NANOS_PER_MS) != OK)
            f = FAIL_CANCELLED;
    }
    return f == OK ? GOT_BYTES : got_of(c, f);
}

/* Some more bytes into c->in. */
static enum got more(struct task *t, struct client_player *c, nanos give_up)
{
    size_t n = 0, room = c->slow_reader ? 1u + below(&c->dice, 2000) : 16384;
    if (c->ended_in || c->broken)
        return c->ended_in ? GOT_END : GOT_BROKEN;
    if (c->deaf)
        return task_sleep(t, MIN(c->leave_at, give_up)) == OK ? GOT_LEAVE : GOT_BROKEN;
    if (c->slow_reader && task_sleep(t, t->worker->now + (nanos)below(&c->dice, 10) * NANOS_PER_MS) != OK)
        return GOT_BROKEN;
    ASSERT(buf_reserve(&c->in, room) == OK);
    enum fail f = actor_read(t, &c->actor, buf_end(&c->in), room, c->leaves ? MIN(c->leave_at, give_up) : give_up, &n);
    if (f != OK)
        return got_of(c, f);
    buf_added(&c->in, n);
    c->ended_in = n == 0;
    return n == 0 ? GOT_END : GOT_BYTES;
}

/* Until `end` is in c->in; *out_len: up to and with it. */
static enum got read_through(struct task *t, struct client_player *c, struct text end, nanos give_up, size_t *out_len)
{
    ptrdiff_t at;
    while ((at = text_find(buf_text(&c->in), end)) < 0) {
        enum got g = more(t, c, give_up);
        if (g != GOT_BYTES)
            return g;
    }
    *out_len = (size_t)at + end.len;
    return GOT_BYTES;
}

/* n bytes of the body. Each piece extends our patience: an answer as such may take its time. */
static enum got read_body(struct task *t, struct client_player *c, struct ask *a, uint64_t n, nanos give_up)
{
    while (n > 0) {
        size_t some = MIN(n, buf_len(&c->in));
        ASSERT(buf_add(&a->body, buf_text(&c->in).at, some) == OK);
        buf_eat(&c->in, some);
        n -= some;
        if (n == 0)
            break;
        enum got g = more(t, c, give_up);
        if (g != GOT_BYTES)
            return g;
    }
    return GOT_BYTES;
}

static enum got read_chunks(struct task *t, struct client_player *c, struct ask *a, nanos give_up)
{
    struct flood *fl = c->flood;
    for (;;) {
        size_t line;
        char *end;
        enum got g = read_through(t, c, TEXT("\r\n"), give_up, &line);
        if (g != GOT_BYTES)
            return g;
        char size[20] = "";
        MUST(fl, line > 2 && line < sizeof size, "%s: chunk size of %zu bytes", a->tag, line);
        memcpy(size, buf_text(&c->in).at, line - 2);
        uint64_t n = strtoull(size, &end, 16);
        MUST(fl, *end == 0, "%s: chunk size \"%s\"", a->tag, size);
        buf_eat(&c->in, line);
        g = read_body(t, c, a, n, give_up);
        while (g == GOT_BYTES && buf_len(&c->in) < 2)
            g = more(t, c, give_up);
        if (g != GOT_BYTES)
            return g;
        MUST(fl, memcmp(buf_text(&c->in).at, "\r\n", 2) == 0, "%s: a chunk that does not end where it says", a->tag);
        buf_eat(&c->in, 2);
        if (n == 0)
            return GOT_BYTES;
    }
}

static bool head_has(const char *head, const char *name, char *out, size_t room)
{
    const char *at = strcasestr(head, name);
    if (at == NULL)
        return false;
    at += strlen(name);
    size_t n = MIN(strcspn(at, "\r"), room - 1);
    memcpy(out, at, n);
    out[n] = 0;
    return true;
}

/* Date is the wall clock's time at which the answer began, wherever the clock has jumped; retry-after is a span that somebody could wait. hostile 92 */
static void check_clocks(struct client_player *c, const struct ask *a, const char *head)
{
    struct flood *fl = c->flood;
    struct world *world = fl->house.world;
    struct tm tm = { 0 };
    char value[64];
    nanos wall = world_wall(world);
    bool has_date = head_has(head, "\r\ndate: ", value, sizeof value) && strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm) != NULL;
    MUST(fl, has_date, "%s: no date", a->tag);
    nanos date = (nanos)timegm(&tm) * NANOS_PER_S, since = world_now(world) - a->began_at;
    bool jumped = wall - a->began_wall != since; /* between asking and now: either is right */
    if (a->began_at > 0 && !jumped)
        MUST(fl, date > a->began_wall - NANOS_PER_S && date <= wall, "%s: the date is %s, %lld s off", a->tag, value, (long long)((date - wall) / NANOS_PER_S));
    if (head_has(head, "\r\nretry-after: ", value, sizeof value))
        MUST(fl, strtol(value, NULL, 10) >= 1 && strtol(value, NULL, 10) <= 3600, "%s: retry-after: %s", a->tag, value);
}

static void take_head(struct client_player *c, struct ask *a, const char *head)
{
    struct flood *fl = c->flood;
    char value[64];
    MUST(fl, strncmp(head, "HTTP/1.1 ", 9) == 0, "%s: an answer begins with %.40s", a->tag, head);
    a->status = (int)strtol(head + 9, NULL, 10);
    a->said_attempts = head_has(head, "\r\nx-weir-attempts: ", value, sizeof value) ? (int)strtol(value, NULL, 10) : -1;
    a->has_length = head_has(head, "\r\ncontent-length: ", value, sizeof value);
    a->length = a->has_length ? strtoll(value, NULL, 10) : -1;
    a->answer_chunked = head_has(head, "\r\ntransfer-encoding: ", value, sizeof value);
    a->answer_closes = head_has(head, "\r\nconnection: ", value, sizeof value) ? strcmp(value, "close") == 0 : a->old_http;
    a->retry_said = head_has(head, "\r\nretry-after: ", value, sizeof value);
    head_has(head, "\r\ncontent-type: ", a->content_type, sizeof a->content_type);
    MUST(fl, a->status == 100 || head_has(head, "\r\nx-request-id: ", a->id, sizeof a->id), "%s: no x-request-id", a->tag);
    MUST(fl, !(a->has_length && a->answer_chunked), "%s: two framings", a->tag);
    if (a->status != 100)
        check_clocks(c, a, head);
}

static enum got read_head(struct task *t, struct client_player *c, struct ask *a, nanos give_up)
{
    char head[4096];
    size_t n;
    enum got g = read_through(t, c, TEXT("\r\n\r\n"), give_up, &n);
    if (g != GOT_BYTES)
        return g;
    MUST(c->flood, n < sizeof head, "%s: a head of %zu bytes", a->tag, n);
    memcpy(head, buf_text(&c->in).at, n);
    head[n] = 0;
    buf_eat(&c->in, n);
    take_head(c, a, head);
    return GOT_BYTES;
}

static enum got read_answer(struct task *t, struct client_player *c, struct ask *a, nanos give_up)
{
    enum got g = read_head(t, c, a, give_up);
    if (g != GOT_BYTES || a->status == 100)
        return g;
    if (a->answer_chunked)
        g = read_chunks(t, c, a, give_up);
    else if (a->has_length)
        g = read_body(t, c, a, (uint64_t)a->length, give_up);
    else if ((g = read_body(t, c, a, BODY_MOST, give_up)) == GOT_END)
        return GOT_BYTES; /* HTTP/1.0: what the end of the connection means is for check_answer */
    return g;
}

/* Nothing may follow an answer that nobody asked for. */
static void listen_on(struct task *t, struct client_player *c, const struct ask *a)
{
    enum got g = GOT_BYTES;
    if (buf_len(&c->in) == 0)
        g = more(t, c, t->worker->now + (a->answer_closes ? patience(c->flood) : 5 * NANOS_PER_MS));
    MUST(c->flood, buf_len(&c->in) == 0, "%s: bytes behind its answer: %.*s", a->tag, (int)MIN(buf_len(&c->in), 200u), buf_text(&c->in).at);
    MUST(c->flood, !a->answer_closes || g != GOT_LEAVE || c->leaves || c->flood->drained || c->flood->options.faults.half_open, "%s: Connection: close was said and not done", a->tag);
}

/* ---- a client's life ---- */

static void ended(struct client_player *c, struct ask *a, enum got g)
{
    struct flood *fl = c->flood;
    a->ended_at = world_now(fl->house.world);
    a->clean = g == GOT_BYTES;
    a->ending = a->clean ? END_WHOLE : g == GOT_LEAVE && c->leaves ? END_LEFT : a->status > 0 ? END_CUT : END_NONE;
    flood_say(fl, "%s %s ends: %s, status %d, id %s, %zu bytes", a->tag, kinds[a->kind].name, a->ending == END_WHOLE ? "whole" : a->ending == END_LEFT ? "left" : a->ending == END_CUT ? "cut" : "nothing",
              a->status, a->id, buf_len(&a->body));
    MUST(fl, g != GOT_LEAVE || c->leaves || fl->drained || fl->options.faults.half_open, "%s (%s) waits for ever: status %d", a->tag, kinds[a->kind].name, a->status);
    check_answer(c, a);
    buf_fini(&a->body);
}

static enum got send_and_read(struct task *t, struct client_player *c, struct ask *a)
{
    struct buf request;
    size_t head_bytes;
    buf_init(&request, BODY_MOST);
    if (a->kind == KIND_reload)
        flood_reconfigure(c->flood);
    if (a->kind == KIND_drain)
        c->flood->drained = true;
    compose(c, a, &request, &head_bytes);
    struct text all = buf_text(&request);
    flood_say(c->flood, "%s asks: %s m%u%s%s timeout %u", a->tag, kinds[a->kind].name, a->model, a->stream ? " stream" : "", a->old_http ? " 1.0" : "", a->timeout_ms);
    a->began_at = world_now(c->flood->house.world);
    a->began_wall = world_wall(c->flood->house.world);
    enum got g = write_text(t, c, a->expects ? (struct text){ all.at, head_bytes } : all);
    a->sent_at = world_now(c->flood->house.world);
    nanos give_up = t->worker->now + patience(c->flood);
    if (g == GOT_BROKEN)
        c->broken = false; /* it may have answered before it hung up: what has arrived can still be read */
    if (g != GOT_LEAVE)
        g = read_answer(t, c, a, give_up);
    if (g == GOT_BYTES && a->status == 100) {
        MUST(c->flood, a->expects, "%s: 100 Continue that nobody waits for", a->tag);
        a->status = 0;
        g = write_text(t, c, (struct text){ all.at + head_bytes, all.len - head_bytes });
        a->sent_at = world_now(c->flood->house.world);
        if (g == GOT_BYTES)
            g = read_answer(t, c, a, give_up);
    }
    buf_fini(&request);
    return g;
}

/* One after another, as most do. */
static void take_turns(struct task *t, struct client_player *c)
{
    for (unsigned i = 0; i < c->asks_count; i++) {
        struct ask *a = &c->asks[i];
        enum got g = send_and_read(t, c, a);
        ended(c, a, g);
        if (g != GOT_BYTES)
            return;
        if (a->answer_closes || i + 1 == c->asks_count || once_in(&c->dice, 4))
            listen_on(t, c, a);
        if (a->answer_closes || c->ended_in || c->broken)
            return;
        if (once_in(&c->dice, 3) && task_sleep(t, t->worker->now + (nanos)below(&c->dice, 30) * NANOS_PER_MS) != OK)
            return;
    }
}

/* All at once; answers must come in order. */
static void pipeline(struct task *t, struct client_player *c)
{
    struct buf all;
    size_t head_bytes;
    buf_init(&all, BODY_MOST);
    for (unsigned i = 0; i < c->asks_count; i++) {
        compose(c, &c->asks[i], &all, &head_bytes);
        flood_say(c->flood, "%s asks in a row: %s m%u%s%s", c->asks[i].tag, kinds[c->asks[i].kind].name, c->asks[i].model, c->asks[i].stream ? " stream" : "", c->asks[i].old_http ? " 1.0" : "");
    }
    enum got g = write_text(t, c, buf_text(&all));
    buf_fini(&all);
    c->broken = false;
    for (unsigned i = 0; i < c->asks_count; i++) {
        struct ask *a = &c->asks[i];
        a->sent_at = world_now(c->flood->house.world);
        if (g != GOT_LEAVE)
            g = read_answer(t, c, a, t->worker->now + patience(c->flood));
        ended(c, a, g);
        if (g != GOT_BYTES || a->answer_closes)
            return; /* what stood behind it is void */
    }
    listen_on(t, c, &c->asks[c->asks_count - 1]);
}

void client_play(struct task *t, void *arg)
{
    struct client_player *c = arg;
    struct flood *fl = c->flood;
    const struct sim_faults *f = &fl->options.faults;
    enum fail fail = task_sleep(t, fl->began + c->start_at);
    if (fail == OK)
        fail = actor_connect(t, &c->actor, c->admin ? &fl->house.admin : &fl->house.address, t->worker->now + 2 * NANOS_PER_S);
    MUST(fl, fail == OK || fl->drained || f->refuse || f->hang || fl->can_reset || f->connect_full || fl->time_runs, "client %u cannot connect: %s", c->number, fail_name(fail));
    if (fail == OK && fl->tls_clients != NULL && !c->admin) {
        fail = actor_secure(t, &c->actor, fl->tls_clients, "127.0.0.1", t->worker->now + patience(fl));
        MUST(fl, fail == OK || fl->drained || !fl->calm, "client %u has no TLS: %s", c->number, fail_name(fail));
        if (fail != OK)
            actor_close(&c->actor);
    }
    if (fail == OK) {
        if (c->leaves)
            c->leave_at += t->worker->now;
        if (c->pipelines)
            pipeline(t, c);
        else
            take_turns(t, c);
        if (c->leaves_by_reset)
            actor_reset(&c->actor);
        else
            actor_close(&c->actor);
    }
    buf_fini(&c->in);
    fl->clients_left--;
}

/* ---- drawing one ---- */

static enum kind draw_kind(struct client_player *c)
{
    static const enum kind common[] = { KIND_chat, KIND_chat, KIND_chat, KIND_text, KIND_embed };
    struct flood *fl = c->flood;
    if (c->admin)
        return KIND_status + below(&c->dice, 4);
    if (!once_in(&c->dice, 4))
        return common[below(&c->dice, ARRAY_LEN(common))];
    for (;;) {
        enum kind k = below(&c->dice, KIND_status);
        bool needs_keys = k == KIND_no_key || k == KIND_wrong_key || k == KIND_narrow_key || k == KIND_low_key;
        if (needs_keys ? fl->has_keys : !(k == KIND_metrics && once_in(&c->dice, 2)))
            return k;
    }
}

static void draw_ask(struct client_player *c, struct ask *a, unsigned number)
{
    struct flood *fl = c->flood;
    struct dice *d = &c->dice;
    static const unsigned pads[] = { 0, 1, 20, 200, 3000, 20000 };
    a->kind = draw_kind(c);
    snprintf(a->tag, sizeof a->tag, "c%02ur%u", c->number, number);
    a->model = a->kind == KIND_narrow_key ? 1 : below(d, fl->models_count);
    bool streams = a->kind == KIND_chat || a->kind == KIND_text;
    a->stream = streams && !once_in(d, 3);
    a->usage = a->stream && once_in(d, 3);
    a->old_http = !c->admin && !c->pipelines && once_in(d, 16) && /* its cut is a reset, which would take the answers before it along */
                  a->kind != KIND_bad_framing;
    a->closes = once_in(d, 10);
    a->pad = below(d, pads[below(d, ARRAY_LEN(pads))] + 1);
    bool has_body = generates(a->kind) || a->kind == KIND_bad_json || a->kind == KIND_bad_field || a->kind == KIND_no_model;
    a->chunked = has_body && !a->old_http && once_in(d, 6);
    a->expects = has_body && !a->old_http && !c->pipelines && !a->chunked && once_in(d, 12);
    if (!fl->calm && generates(a->kind) && once_in(d, c->slow_reader ? 2 : 6)) /* a deadline that falls into a long write */
        a->timeout_ms = between(d, 1, once_in(d, 2) ? 50 : 2000);
    a->said_attempts = -1;
    buf_init(&a->body, BODY_MOST);
}

void client_draw(struct flood *fl, struct client_player *c, unsigned number)
{
    static const unsigned spans_ms[] = { 1, 1, 20, 300, 2000 };
    c->flood = fl;
    c->number = number;
    c->dice.state = roll(&fl->dice);
    struct dice *d = &c->dice;
    c->admin = once_in(d, 16);
    c->pipelines = !c->admin && once_in(d, 6);
    c->slow_reader = !fl->calm && once_in(d, 10);
    c->slow_sender = !fl->calm && once_in(d, 12);
    c->leaves = once_in(d, 5);
    c->leaves_by_reset = c->leaves && once_in(d, 2);
    c->leave_at = below(d, 1000 * spans_ms[below(d, ARRAY_LEN(spans_ms))]) * NANOS_PER_US;
    c->deaf = !fl->calm && once_in(d, 25);
    if (c->deaf) {
        c->leaves = true;
        c->leave_at = between(d, 100, 6000) * NANOS_PER_MS;
    }
    c->start_at = below(d, 1000 * spans_ms[below(d, ARRAY_LEN(spans_ms))]) * NANOS_PER_US;
    c->asks_count = between(d, 1, ASKS_MOST);
    buf_init(&c->in, BODY_MOST);
    for (unsigned i = 0; i < c->asks_count; i++)
        draw_ask(c, &c->asks[i], i);
}
