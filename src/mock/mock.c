/* mock.c: the mock as a server: which path answers what, a model request's way through it, and the rig's own pages under /_mock/. */
#include "mock/inner.h"
#include "run/jobs.h"

#define MOCK_MAGIC       0x60c4e3a1u
#define PEN_KEEP_BYTES   (1u << 20)  /* scratch above this is given back: one big line must not stay for ever */
#define BODY_BYTES_MAX   (64u << 20)
#define HEAD_BYTES_MAX   (1u << 20)
#define CONNECTIONS_MAX  100000
#define HEADER_WAIT_NS   (60 * NANOS_PER_S)
#define PATIENCE_NS      (600 * NANOS_PER_S) /* for bodies and for clients that do not read: it is others' time-outs that are being tested */

struct mock {
    uint32_t magic;
    struct worker *worker;
    struct board *board;
    struct http_server *server;
    struct pen pen;
};

struct pen *mock_pen(struct mock *m)
{
    if (m->pen.buf.room > PEN_KEEP_BYTES)
        buf_fini(&m->pen.buf);
    buf_clear(&m->pen.buf);
    m->pen.fail = OK;
    return &m->pen;
}

void mock_note_stream(struct mock *m)
{
    board_note_stream(m->board);
}

struct text mock_model_name(const struct answer *a, uint32_t i)
{
    return i < a->script->model_count ? text_of(a->script->models[i]) : TEXT("mock-1");
}

/* ---- paths ---- */

struct path_row {
    struct text path;
    enum http_method method;
    enum mock_dialect dialect;
    enum fail (*answer)(struct answer *a);
};

static const struct path_row paths[] = {
#define PATH(id, verb, where, language, answers) [MOCK_PATH_##id] = { TEXT(where), METHOD_##verb, MOCK_##language, answers },
#include "mock/paths.def"
#undef PATH
};

static bool asks_a_model(const struct path_row *row)
{
    return row->method == METHOD_POST && row->dialect != MOCK_ANY;
}

/* The row for this request; or NULL and, if the path exists with another method, that row in *out_other. */
static const struct path_row *find_path(const struct http_head *head, enum mock_dialect dialect, const struct path_row **out_other)
{
    *out_other = NULL;
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const struct path_row *row = &paths[i];
        if ((row->dialect != dialect && row->dialect != MOCK_ANY) || !text_eq(row->path, head->path))
            continue;
        if (row->method == head->method || (row->method == METHOD_GET && head->method == METHOD_HEAD))
            return row;
        *out_other = row;
    }
    return NULL;
}

static enum fail answer_nothing(struct answer *a, const struct path_row *other)
{
    if (other == NULL)
        return mock_send_error(a, 404, "there is nothing at this URL in this dialect", -1);
    a->allow = other->method == METHOD_POST ? TEXT("POST") : TEXT("GET");
    return mock_send_error(a, 405, "this URL takes another method", -1);
}

/* ---- a request's way ---- */

/* An answer that cannot be given is an error while nothing was sent, and a cut connection afterwards. */
static void give_up(struct answer *a, enum fail f)
{
    if (a->rq->answer_ended || f == FAIL_CLIENT_GONE)
        return;
    if (a->rq->answer_begun || a->t->cancel != OK || mock_send_error(a, fail_row(f)->http, fail_row(f)->text, -1) != OK)
        http_answer_abort(a->rq);
}

static void take_faults(struct answer *a, const struct place *p)
{
    for (uint32_t i = 0; i < a->script->fault_count; i++)
        if ((p->fault_set >> i & 1) != 0 && a->faults[a->script->faults[i].kind] == NULL)
            a->faults[a->script->faults[i].kind] = &a->script->faults[i];
}

static void answer_model(struct answer *a, const struct path_row *row)
{
    struct board *b = a->mock->board;
    struct place place;
    bool is_handled = false;
    enum fail f = board_enter(a->t, b, (enum mock_path)(row - paths), &place);
    a->started = a->t->worker->now; /* waiting for a slot is not the model's time */
    a->script = &place.script->script;
    a->number = place.number;
    a->random = a->script->seed ^ place.number * 0x9e3779b97f4a7c15ULL; /* spans differ from request to request */
    take_faults(a, &place);
    if (f == OK)
        f = mock_send_early_fault(a, &is_handled);
    if (f == OK && !is_handled)
        f = row->answer(a);
    if (f != OK)
        give_up(a, f);
    board_leave(a->t, b, &place, f);
}

static void handle(struct task *t, struct http_request *rq, void *user)
{
    struct mock *m = user;
    struct answer *a = arena_alloc(&rq->arena, sizeof *a);
    const char *why = "the body could not be read";
    const struct path_row *other;
    if (a == NULL) {
        http_answer_abort(rq);
        return;
    }
    *a = (struct answer){ .mock = m, .t = t, .rq = rq, .created = t->worker->wall / NANOS_PER_S, .started = t->worker->now };
    enum fail f = http_body(t, rq, &why);
    struct held_script *h = board_visit(m->board);
    a->script = &h->script;
    const struct path_row *row = find_path(rq->head, h->script.dialect, &other);
    if (f == OK && row != NULL && asks_a_model(row)) {
        answer_model(a, row);
        board_release(m->board, h);
        return;
    }
    if (f == OK && row != NULL)
        board_note_path(m->board, (enum mock_path)(row - paths));
    if (f == OK)
        f = row != NULL ? row->answer(a) : answer_nothing(a, other);
    else if (f != FAIL_CLIENT_GONE)
        f = mock_send_error(a, fail_row(f)->http, why, -1);
    if (f != OK)
        give_up(a, f);
    board_release(m->board, h);
}

static enum fail refusal(struct buf *out, const struct http_request *rq, enum fail why, const char *sentence, void *user)
{
    struct pen p = { .buf = *out, .fail = OK };
    (void)rq, (void)user;
    mock_put_error(&p, MOCK_OPENAI, fail_row(why)->http, sentence);
    *out = p.buf;
    return p.fail;
}

/* ---- the rig's pages ---- */

static void put_faults(struct pen *p, const struct mock_stats *s)
{
    const char *comma = "";
    PUT(p, ",\"faults\":{");
    for (unsigned i = 0; i < MOCK_FAULT_COUNT; i++) {
        if (s->faults[i] == 0)
            continue;
        PUTF(p, "%s\"%s\":%llu", comma, mock_fault_names[i], (unsigned long long)s->faults[i]);
        comma = ",";
    }
    PUT(p, "}");
}

static void put_paths(struct pen *p, const struct board_stats *s)
{
    const char *comma = "";
    PUT(p, ",\"paths\":{");
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        if (s->paths[i] == 0)
            continue;
        PUTF(p, "%s\"%s\":%llu", comma, paths[i].path.at, (unsigned long long)s->paths[i]);
        comma = ",";
    }
    PUT(p, "}");
}

enum fail mock_rig_stats(struct answer *a)
{
    struct board_stats stats;
    board_read(a->mock->board, &stats);
    const struct mock_stats *s = &stats.sums;
    struct pen *p = mock_pen(a->mock);
    PUTF(p, "{\"requests\":%llu,\"streams\":%llu,\"active\":%u,\"queued\":%u,\"max_active\":%u,\"completed\":%llu,\"cancelled\":%llu,\"last_cancelled_ms_ago\":",
         (unsigned long long)s->requests, (unsigned long long)s->streams, s->active, s->queued, s->max_active, (unsigned long long)s->completed,
         (unsigned long long)s->cancelled);
    if (s->last_cancelled == NEVER)
        PUT(p, "null");
    else
        PUTF(p, "%.3f", (double)MAX(0, a->t->worker->now - s->last_cancelled) / NANOS_PER_MS);
    PUTF(p, ",\"script\":{\"seed\":%llu,\"tokens\":%u,\"pauses\":%s}", (unsigned long long)a->script->seed, a->script->tokens,
         mock_span_pauses(&a->script->itl) ? "true" : "false"); /* so that others can know what is said */
    put_faults(p, s);
    put_paths(p, &stats);
    PUT(p, "}");
    return mock_send_plain(a, p);
}

enum fail mock_rig_reset(struct answer *a)
{
    board_reset(a->mock->board);
    struct pen *p = mock_pen(a->mock);
    PUT(p, "{\"ok\":true}");
    return mock_send_plain(a, p);
}

/* A new script on its way: read by a job, since a trace is a file. */
struct rewrite {
    struct held_script *next;
    struct buf json;
    struct complaint why;
    bool ok;
};

static void rewrite_work(void *arg)
{
    struct rewrite *r = arg;
    r->ok = mock_script_set_json(&r->next->script, buf_text(&r->json), &r->why);
}

static void rewrite_free(void *arg)
{
    struct rewrite *r = arg;
    if (r == NULL)
        return;
    if (r->next != NULL)
        mock_script_fini(&r->next->script);
    mem_free(r->next);
    buf_fini(&r->json);
    mem_free(r);
}

static struct rewrite *rewrite_new(struct answer *a)
{
    struct rewrite *r = mem_zero(sizeof *r);
    struct held_script *next = mem_alloc(sizeof *next);
    if (r == NULL || next == NULL || mock_script_copy(&next->script, a->script) != OK) {
        mem_free(next);
        mem_free(r);
        return NULL;
    }
    r->next = next;
    r->json = a->rq->body; /* moved: the job may outlive the request */
    buf_init(&a->rq->body, r->json.max);
    return r;
}

enum fail mock_rig_script(struct answer *a)
{
    bool is_abandoned;
    struct rewrite *r = rewrite_new(a);
    if (r == NULL)
        return FAIL_NO_MEMORY;
    enum fail f = job_run(a->t, "the mock's script", rewrite_work, rewrite_free, r, NEVER, &is_abandoned);
    if (is_abandoned)
        return f;
    if (f == OK && r->ok) {
        board_set_script(a->mock->board, r->next);
        r->next = NULL;
        struct pen *p = mock_pen(a->mock);
        PUT(p, "{\"ok\":true}");
        f = mock_send_plain(a, p);
    } else if (f == OK) {
        f = mock_send_error(a, 400, r->why.text, -1);
    }
    rewrite_free(r);
    return f;
}

/* ---- the mock ---- */

static struct mock *new_on(struct worker *w, struct board *b)
{
    const struct http_server_options options = {
        .handle = handle, .refusal = refusal,
        .header_timeout = HEADER_WAIT_NS, .body_timeout = PATIENCE_NS, .write_timeout = PATIENCE_NS,
        .body_bytes_max = BODY_BYTES_MAX, .head_bytes_max = HEAD_BYTES_MAX, .connections_max = CONNECTIONS_MAX,
    };
    struct mock *m = b != NULL ? mem_zero(sizeof *m) : NULL;
    struct http_server_options o = options;
    o.user = m;
    if (m != NULL)
        m->server = http_server_new(w, &o);
    if (m == NULL || m->server == NULL) {
        mem_free(m);
        if (b != NULL)
            board_drop(b);
        return NULL;
    }
    m->magic = MOCK_MAGIC;
    m->worker = w;
    m->board = b;
    buf_init(&m->pen.buf, MOCK_PEN_MAX);
    return m;
}

struct mock *mock_new(struct worker *w, const struct mock_script *script)
{
    return new_on(w, board_new(w->world, script));
}

struct mock *mock_new_beside(struct worker *w, struct mock *other)
{
    CHECK(other, MOCK);
    return new_on(w, board_hold(other->board));
}

enum fail mock_listen(struct mock *m, int listener)
{
    CHECK(m, MOCK);
    return http_server_listen(m->server, listener);
}

void mock_stop(struct mock *m)
{
    CHECK(m, MOCK);
    http_server_drain(m->server);
    http_server_cancel_all(m->server, FAIL_DRAINING);
}

void mock_free(struct mock *m)
{
    if (m == NULL)
        return;
    CHECK(m, MOCK);
    http_server_free(m->server);
    board_drop(m->board);
    buf_fini(&m->pen.buf);
    mem_free(m);
}

void mock_stats_read(struct mock *m, struct mock_stats *out)
{
    struct board_stats stats;
    board_read(m->board, &stats);
    *out = stats.sums;
}
