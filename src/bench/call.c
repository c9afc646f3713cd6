/* call.c: sends a request of a load test and takes its answer. Called by load.c. */
#include "bench/call.h"
#include "net/http_write.h"
#include <errno.h>

#define REQUEST_HEAD_MAX 65536               /* of a request: whoever wants to send more tests another thing */
#define HEAD_ARENA_MAX   (256u << 10)        /* CONN_HEAD_BYTES_MAX, and its headers' places */
#define KEPT_BYTES_MAX   (256u << 10)        /* what a user keeps of its buffers between two requests: there are thousands of users */
#define DONE_WAIT_NS     (50 * NANOS_PER_MS) /* from a stream's end mark to the end of its body, which is due in the same packet; then the connection is closed */

/* ---- memory ---- */

void caller_init(struct caller *c)
{
    buf_init_secret(&c->head, REQUEST_HEAD_MAX);
    buf_init(&c->reading.body, CALL_ANSWER_MAX);
    buf_init(&c->reading.text, CALL_ANSWER_MAX);
}

void caller_fini(struct caller *c)
{
    buf_fini(&c->head);
    buf_fini(&c->reading.body);
    buf_fini(&c->reading.text);
}

static void start_anew(struct buf *b)
{
    if (b->room > KEPT_BYTES_MAX)
        buf_fini(b);
    buf_clear(b);
}

/* ---- connections ---- */

static void host_of_certificate(const struct load_target *target, char out[256])
{
    struct text host = text_of(target->host), name;
    if (host.len > 0 && host.at[0] == '[')
        (void)text_cut((struct text){ host.at + 1, host.len - 1 }, ']', &name);
    else
        (void)text_cut(host, ':', &name);
    memcpy(out, name.at, name.len);
    out[name.len] = '\0';
}

enum fail call_pool_init(struct call_pool *p, struct worker *w, const struct load_target *target, bool new_connections)
{
    ASSERT(target->addrs.count > 0);
    *p = (struct call_pool){ .worker = w, .target = target, .new_connections = new_connections, .room = mem_alloc(CALL_ROOM_BYTES) };
    list_init(&p->idle);
    host_of_certificate(target, p->host);
    return p->room != NULL ? OK : FAIL_NO_MEMORY;
}

static void let_go(struct conn *c)
{
    struct call_pool *p = c->keeper;
    list_remove(&p->idle, &c->node);
    conn_free(c);
}

void call_pool_fini(struct call_pool *p)
{
    for (struct node *n; (n = list_pop(&p->idle)) != NULL;)
        conn_free(CONTAINER_OF(n, struct conn, node));
    tls_session_forget(&p->session);
    mem_free(p->room);
}

static enum fail open_new(struct task *t, struct call_pool *p, nanos deadline, struct conn **out)
{
    const struct load_target *target = p->target;
    struct conn *c;
    int error = 0;
    enum fail f = conn_open(t, &target->addrs.at[p->next_address++ % target->addrs.count], deadline, &c, &error);
    if (f != OK)
        return error == EADDRNOTAVAIL ? FAIL_NO_DESCRIPTORS : f; /* no local port is left: as much ours as descriptors are */
    if (target->tls != NULL)
        f = conn_secure(t, c, target->tls, p->host, &p->session, deadline, &error);
    p->error = error;
    if (f == OK)
        *out = c;
    else
        conn_free(c);
    return f;
}

static enum fail take(struct task *t, struct call_pool *p, bool fresh, nanos deadline, struct conn **out)
{
    struct node *n = fresh ? NULL : list_pop(&p->idle);
    if (n == NULL)
        return open_new(t, p, deadline, out);
    *out = CONTAINER_OF(n, struct conn, node);
    (*out)->on_gone = NULL;
    return OK;
}

static void give_back(struct call_pool *p, struct conn *c)
{
    if (p->new_connections || !conn_is_reusable(c)) {
        conn_free(c);
        return;
    }
    wire_keep_session(&c->wire, &p->session);
    conn_rest(c);
    c->keeper = p;
    c->on_gone = let_go;
    list_push_front(&p->idle, &c->node);
}

/* ---- the request ---- */

static bool may_lack_body(struct text method)
{
    return text_eq(method, TEXT("GET")) || text_eq(method, TEXT("HEAD")) || text_eq(method, TEXT("DELETE")) || text_eq(method, TEXT("OPTIONS"));
}

static enum fail compose(const struct call_pool *p, const struct script_call *what, struct buf *head)
{
    buf_clear(head);
    enum fail f = http_write_request(head, what->method, what->path);
    if (f == OK)
        f = http_write_header(head, TEXT("host"), text_of(p->target->host));
    if (f == OK)
        f = buf_add_text(head, what->headers);
    if (f == OK && p->target->key.len > 0) {
        f = buf_add_text(head, TEXT("authorization: Bearer "));
        if (f == OK)
            f = buf_add_text(head, p->target->key);
        if (f == OK)
            f = buf_add_text(head, TEXT("\r\n"));
    }
    if (f == OK && p->new_connections)
        f = http_write_header(head, TEXT("connection"), TEXT("close"));
    if (f == OK && (what->body.len > 0 || !may_lack_body(what->method)))
        f = http_write_length(head, what->body.len);
    return f == OK ? http_write_head_end(head) : f;
}

/* ---- the answer ---- */

static bool is_cached(const struct http_head *head)
{
    struct text said = http_head_find(head, TEXT("x-weir-cache"));
    return said.at != NULL && (text_eq(said, TEXT("hit")) || text_eq(said, TEXT("join")) || text_eq(said, TEXT("joined")) || text_eq(said, TEXT("semantic")));
}

static bool says_events(const struct http_head *head)
{
    struct text type = http_head_get(head, HEADER_CONTENT_TYPE);
    return type.at != NULL && type.len >= 17 && text_eq_nocase((struct text){ type.at, 17 }, TEXT("text/event-stream"));
}

/* Where events are asked for and something else comes, it is read as JSON: it may be an error that says so. */
static enum reading_kind kind_of(const struct script_call *what, const struct http_head *head)
{
    if (what->api == LOAD_PLAIN || head->status / 100 != 2)
        return READING_BYTES;
    if (!what->stream)
        return READING_JSON;
    if (what->api == LOAD_OLLAMA)
        return READING_LINES;
    return says_events(head) ? READING_EVENTS : READING_JSON;
}

/* To the answer's last byte; behind its end mark only for a moment. */
static enum fail read_body(struct task *t, struct conn *c, struct reading *r, nanos deadline)
{
    enum fail f = OK;
    while (f == OK && !c->ended) {
        if (r->is_done)
            deadline = MIN(deadline, r->sample->ended + DONE_WAIT_NS);
        f = conn_body(t, c, deadline, reading_feed, r);
    }
    if (r->is_done && f != OK && t->cancel == OK && f != FAIL_NO_MEMORY) {
        c->keep_alive = false;
        f = OK;
    }
    return f;
}

static enum fail take_answer(struct task *t, struct conn *c, struct caller *m, const struct script_call *what, nanos deadline)
{
    const struct http_head *head;
    struct reading *r = &m->reading;
    struct sample *s = r->sample;
    enum fail f = conn_head(t, c, deadline, &head);
    if (f != OK)
        return f;
    s->status = head->status;
    s->tells_cache = http_head_find(head, TEXT("x-weir-cache")).at != NULL;
    s->is_cached = is_cached(head);
    r->kind = kind_of(what, head);
    r->wants_events = what->stream && r->kind == READING_JSON;
    if (r->kind == READING_EVENTS)
        sse_reader_init(&r->events, CALL_ANSWER_MAX);
    if (head->status / 100 != 2)
        r->outcome = OUTCOME_STATUS;
    f = read_body(t, c, r, deadline);
    if (f == OK)
        f = reading_end(r);
    if (r->kind == READING_EVENTS)
        sse_reader_fini(&r->events);
    return f;
}

/* What a failure of the wire means for who asked. */
static enum tally_outcome outcome_of(enum fail f, const struct conn *c)
{
    switch (f) {
    case FAIL_TIMEOUT:
    case FAIL_DEADLINE:
        return OUTCOME_TIMEOUT;
    case FAIL_RESET:
        return c->any_byte ? OUTCOME_CUT : OUTCOME_RESET;
    default:
        return OUTCOME_PROTOCOL;
    }
}

static enum fail talk(struct task *t, struct conn *c, struct caller *m, const struct script_call *what, nanos deadline)
{
    struct arena arena;
    struct sample *s = m->reading.sample;
    arena_init(&arena, m->first, sizeof m->first, HEAD_ARENA_MAX);
    conn_begin(c, &arena, text_eq(what->method, TEXT("HEAD")));
    enum fail f = conn_send(t, c, buf_text(&m->head), what->body, deadline);
    s->sent = world_now(t->worker->world); /* not the turn's: others' work may stand between them, and is not the server's */
    if (f == OK)
        f = take_answer(t, c, m, what, deadline);
    arena_fini(&arena);
    return f;
}

static void begin(struct reading *r, struct call_pool *p, const struct script_call *what, struct tally *tally, struct sample *s)
{
    start_anew(&r->body);
    start_anew(&r->text);
    *r = (struct reading){ .api = what->api, .keeps_text = what->wants_answer, .leaves = what->leaves, .worker = p->worker, .pool = p, .tally = tally,
                           .sample = s, .body = r->body, .text = r->text };
    s->bytes_out = what->body.len;
    s->outcome = OUTCOME_OK;
}

/* A kept connection that turns out closed before a byte came was only too old: it is replaced once, as every client does. */
static enum fail talk_or_again(struct task *t, struct call_pool *p, struct caller *m, const struct script_call *what, nanos deadline, struct conn **c)
{
    enum fail f = talk(t, *c, m, what, deadline);
    if (f != FAIL_RESET || !(*c)->used_before || (*c)->any_byte)
        return f;
    conn_free(*c);
    *c = NULL;
    f = take(t, p, true, deadline, c);
    return f == OK ? talk(t, *c, m, what, deadline) : f;
}

static bool is_ours(struct task *t, enum fail f)
{
    return t->cancel != OK || f == FAIL_NO_DESCRIPTORS || f == FAIL_NO_MEMORY || f == FAIL_SYSTEM;
}

enum fail call_make(struct task *t, struct call_pool *p, struct caller *m, const struct script_call *what, nanos deadline, struct tally *tally, struct sample *s)
{
    struct reading *r = &m->reading;
    struct conn *c = NULL;
    begin(r, p, what, tally, s);
    enum fail f = compose(p, what, &m->head);
    if (f != OK)
        return f;
    f = take(t, p, false, deadline, &c);
    if (f == OK)
        f = talk_or_again(t, p, m, what, deadline, &c);
    if (f == OK)
        s->outcome = r->outcome;
    else if (c == NULL)
        s->outcome = f == FAIL_DEADLINE ? OUTCOME_TIMEOUT : OUTCOME_CONNECT;
    else
        s->outcome = r->outcome != OUTCOME_OK || s->has_left ? r->outcome : outcome_of(f, c);
    s->ended = s->ended != 0 && f == OK ? s->ended : t->worker->now;
    s->sent = MIN(s->sent != 0 ? s->sent : s->ended, s->ended); /* the turn in which the answer came may have begun before the last byte was counted as sent */
    if (c != NULL && f == OK)
        give_back(p, c);
    else
        conn_free(c);
    return is_ours(t, f) ? (t->cancel != OK ? t->cancel : f) : OK;
}
