/* cache_ask.c: asks the questions of `weir cache warm`, and counts what the answers say about the cache. Called by cache_warm.c; see cache_warm.h. */
#include "base/json.h"
#include "cli/cache_warm.h"
#include "cli/tell.h"
#include "net/http_client.h"
#include "net/http_write.h"
#include <stdarg.h>
#include <stdio.h>

#define HEAD_MAX      65536                /* bytes of a request's head */
#define HEADERS_MAX   (256u << 10)         /* of an answer: CONN_HEAD_BYTES_MAX, and their places */
#define BODY_MAX      (33u << 20)          /* a line's, and what stands around it */
#define REFUSAL_MAX   65536                /* of an answer that is no answer: its sentence is in the first part */
#define ANSWER_NS     (900 * NANOS_PER_S)  /* for an answer: more than timeouts.total, so that weir is who gives up and says why */
#define PATIENCE_NS   (900 * NANOS_PER_S)  /* for a question that is told to come again later; a budget may be spent for a day */
#define LATER_NS      NANOS_PER_S          /* where a 503 does not say when */
#define UNREACHED_NS  (10 * NANOS_PER_S)   /* while nobody answers any more: weir starts again within that, or is gone */
#define KNOCK_NS      (250 * NANOS_PER_MS)
#define LOOK_NS       (250 * NANOS_PER_MS) /* until who joined looks again: who asked may not have kept it yet */

/* What an answer's head says. */
struct answer {
    int status;
    nanos later;               /* how long to stay away; -1: it does not say */
    char cache[16], why[32];   /* x-weir-cache and x-weir-cache-why; "": not there */
};

/* A task's own. */
struct asker {
    struct cache_warming *warming;
    struct conn *conn;         /* kept from question to question; NULL: none */
    struct tls_session session;
    struct answer answer;
    bool is_unheard;           /* the last connection ended before a byte of an answer came */
    struct buf head, body, refusal;
    char first[2048];          /* of an answer's head */
};

/* ---- one question, once ---- */

/* wish: x-weir-cache; at == NULL: none. */
static enum fail compose(struct asker *a, const struct cache_question *q, struct text wish)
{
    const struct load_target *target = a->warming->target;
    buf_clear(&a->head);
    buf_clear(&a->body);
    enum fail f = cache_lines_body(q, a->warming->model, &a->body);
    if (f == OK)
        f = http_write_request(&a->head, TEXT("POST"), q->path);
    if (f == OK)
        f = http_write_header(&a->head, TEXT("host"), text_of(target->host));
    if (f == OK)
        f = http_write_header(&a->head, TEXT("content-type"), TEXT("application/json"));
    if (f == OK && wish.at != NULL)
        f = http_write_header(&a->head, TEXT("x-weir-cache"), wish);
    if (f == OK && target->key.len > 0) {
        f = buf_add_text(&a->head, TEXT("authorization: Bearer ")); /* bench_plan_key has looked at it */
        f = f == OK ? buf_add_text(&a->head, target->key) : f;
        f = f == OK ? buf_add_text(&a->head, TEXT("\r\n")) : f;
    }
    if (f == OK)
        f = http_write_length(&a->head, buf_len(&a->body));
    return f == OK ? http_write_head_end(&a->head) : f;
}

static enum fail open_at(struct task *t, struct asker *a, const struct addr *to, nanos deadline)
{
    const struct load_target *target = a->warming->target;
    enum fail f = conn_open(t, to, deadline, &a->conn, &a->warming->error);
    if (f != OK) {
        a->conn = NULL;
    } else if (target->tls != NULL) {
        f = conn_secure(t, a->conn, target->tls, a->warming->certified, &a->session, deadline, &a->warming->error);
        if (f != OK) {
            conn_free(a->conn);
            a->conn = NULL;
        }
    }
    return f;
}

static enum fail open_new(struct task *t, struct asker *a)
{
    const struct addrs *to = &a->warming->target->addrs;
    enum fail f = FAIL_CONNECT;
    conn_free(a->conn);
    a->conn = NULL;
    for (uint32_t i = 0; f == FAIL_CONNECT && i < to->count; i++)
        f = open_at(t, a, &to->at[i], t->worker->now + UNREACHED_NS);
    return f;
}

static void copy(const struct http_head *head, const char *name, char *out, size_t room)
{
    struct text value = http_head_find(head, text_of(name));
    snprintf(out, room, "%.*s", TEXT_ARG(value));
}

static void note_head(struct asker *a, const struct http_head *head)
{
    struct text ms = http_head_get(head, HEADER_RETRY_AFTER_MS), s = http_head_get(head, HEADER_RETRY_AFTER);
    uint64_t n;
    a->answer = (struct answer){ .status = head->status, .later = head->status == 503 ? LATER_NS : -1 };
    if (ms.at != NULL && text_to_u64(ms, INT64_MAX / NANOS_PER_MS, &n))
        a->answer.later = (nanos)n * NANOS_PER_MS;
    else if (s.at != NULL && text_to_u64(s, INT64_MAX / NANOS_PER_S, &n))
        a->answer.later = (nanos)n * NANOS_PER_S;
    copy(head, "x-weir-cache", a->answer.cache, sizeof a->answer.cache);
    copy(head, "x-weir-cache-why", a->answer.why, sizeof a->answer.why);
}

/* Answers are read to their end and not looked at: only a whole one is kept. */
static enum fail take_body(void *arg, struct text bytes)
{
    struct asker *a = arg;
    bool wanted = a->answer.status / 100 != 2 && buf_len(&a->refusal) + bytes.len <= REFUSAL_MAX;
    return wanted ? buf_add_text(&a->refusal, bytes) : OK;
}

static enum fail talk(struct task *t, struct asker *a)
{
    const struct http_head *head;
    struct arena arena;
    nanos deadline = t->worker->now + ANSWER_NS;
    arena_init(&arena, a->first, sizeof a->first, HEADERS_MAX);
    buf_clear(&a->refusal);
    conn_begin(a->conn, &arena, false);
    enum fail f = conn_send(t, a->conn, buf_text(&a->head), buf_text(&a->body), deadline);
    if (f == OK)
        f = conn_head(t, a->conn, deadline, &head);
    if (f == OK)
        note_head(a, head);
    while (f == OK && !a->conn->ended)
        f = conn_body(t, a->conn, deadline, take_body, a);
    arena_fini(&arena);
    return f;
}

/* A kept connection that turns out closed before a byte came was only too old, and is replaced once. */
static enum fail ask_once(struct task *t, struct asker *a)
{
    enum fail f = a->conn == NULL || a->conn->gone ? open_new(t, a) : OK;
    if (f == OK)
        f = talk(t, a);
    if (f == FAIL_RESET && a->conn != NULL && a->conn->used_before && !a->conn->any_byte) {
        f = open_new(t, a);
        f = f == OK ? talk(t, a) : f;
    }
    a->is_unheard = f == FAIL_RESET && (a->conn == NULL || !a->conn->any_byte);
    a->warming->is_answering |= f == OK;
    if (f == OK && conn_is_reusable(a->conn)) {
        wire_keep_session(&a->conn->wire, &a->session);
        conn_rest(a->conn);
    } else {
        conn_free(a->conn);
        a->conn = NULL;
    }
    return f;
}

/* ---- what came of it ---- */

/* A line with its sentence; io_count: of those it is among. */
static void note_line(struct cache_warming *w, uint32_t *io_count, uint32_t line, const char *format, ...) PRINTF(4, 5);
static void note_line(struct cache_warming *w, uint32_t *io_count, uint32_t line, const char *format, ...)
{
    va_list args;
    ++*io_count;
    if (w->failure_count == WARM_FAILURES_MAX)
        return;
    struct cache_failure *failure = &w->failures[w->failure_count++];
    failure->line = line;
    va_start(args, format);
    vsnprintf(failure->why, sizeof failure->why, format, args);
    va_end(args);
}

/* {"error":{"message":…}} of a refusal. */
static void note_refusal(struct asker *a, uint32_t line)
{
    struct arena arena;
    yyjson_doc *doc;
    arena_init(&arena, NULL, 0, 17 * REFUSAL_MAX);
    yyjson_val *root = json_parse(&arena, buf_text(&a->refusal), &doc, NULL) == OK ? yyjson_doc_get_root(doc) : NULL;
    yyjson_val *message = yyjson_obj_get(yyjson_obj_get(root, "error"), "message");
    note_line(a->warming, &a->warming->failed, line, "status %d%s%s", a->answer.status, message != NULL ? ": " : "", tell_plain(message));
    arena_fini(&arena);
}

static void note_bypass(struct cache_warming *w, const char *why)
{
    unsigned i = 0;
    w->bypassed++;
    why = *why != '\0' ? why : "no reason given";
    while (i < w->reason_count && strcmp(w->reasons[i].why, why) != 0)
        i++;
    if (i == WARM_REASONS_MAX) /* a server that has so many is no weir; its last one stands for them */
        i--;
    else if (i == w->reason_count)
        snprintf(w->reasons[w->reason_count++].why, sizeof w->reasons[0].why, "%s", why);
    w->reasons[i].count++;
}

static void note_answer(struct asker *a, uint32_t line)
{
    struct cache_warming *w = a->warming;
    const struct answer *said = &a->answer;
    if (said->status / 100 != 2)
        note_refusal(a, line);
    else if (strcmp(said->cache, "hit") == 0)
        w->hits++;
    else if (strcmp(said->cache, "bypass") == 0)
        note_bypass(w, said->why);
    else
        w->untold++;
}

/* ---- one question, until it is answered ---- */

static bool is_ours(struct task *t, enum fail f)
{
    return t->cancel != OK || f == FAIL_NO_MEMORY || f == FAIL_NO_DESCRIPTORS || f == FAIL_SYSTEM;
}

/* The server is asked by none of the tasks until then. */
static void stay_away(struct cache_warming *w, nanos until)
{
    w->not_before = MAX(w->not_before, until);
}

/* Did the answer say to come again, and is there time for that? */
static bool is_put_off(const struct answer *said, nanos left)
{
    return (said->status == 429 || said->status == 503) && said->later >= 0 && said->later < left;
}

/* Nobody is there, or somebody who goes before saying a word: who ends or starts just now may be back in a moment. If all connections end so it is no weir. */
static bool is_away(const struct asker *a, enum fail f)
{
    const struct cache_warming *w = a->warming;
    return (f == FAIL_CONNECT && cache_warming_done(w) > 0) || (a->is_unheard && w->is_answering);
}

/* Asks again while nobody answers for a moment, or the answer is to come again later. FAIL_CONNECT: nobody answers any more. */
static enum fail ask_again(struct task *t, struct asker *a)
{
    struct cache_warming *w = a->warming;
    nanos patience = t->worker->now + PATIENCE_NS, unreached = NEVER;
    for (;;) { /* ends: patience, and UNREACHED_NS */
        enum fail f = w->not_before > t->worker->now ? task_sleep(t, w->not_before) : OK;
        f = f == OK ? ask_once(t, a) : f;
        nanos now = t->worker->now;
        bool waits = is_away(a, f);
        unreached = waits ? MIN(unreached, now + UNREACHED_NS) : NEVER;
        if (waits && now < unreached)
            stay_away(w, now + KNOCK_NS);
        else if (f == OK && is_put_off(&a->answer, patience - now))
            stay_away(w, now + MAX(a->answer.later, NANOS_PER_MS));
        else {
            w->is_answering &= !waits;
            return f;
        }
    }
}

static bool is_made_now(const struct answer *said)
{
    return said->status / 100 == 2 && (strcmp(said->cache, "miss") == 0 || strcmp(said->cache, "join") == 0);
}

/* Not every answer is kept, and its head goes out before anybody knows. */
static enum fail look_for_it(struct task *t, struct asker *a, const struct cache_question *q)
{
    struct cache_warming *w = a->warming;
    bool joined = strcmp(a->answer.cache, "join") == 0;
    enum fail f = compose(a, q, TEXT("only"));
    if (f == OK)
        f = ask_again(t, a);
    if (f == OK && joined && a->answer.status == 504) {
        f = task_sleep(t, t->worker->now + LOOK_NS);
        f = f == OK ? ask_again(t, a) : f;
    }
    if (f != OK)
        return f;
    if (a->answer.status == 504)
        note_line(w, &w->unkept, q->line, "answered, and not kept: the model refused, a filter cut it, it is too large, or there is no room");
    else if (a->answer.status / 100 == 2 && strcmp(a->answer.cache, "hit") == 0)
        w->stored++;
    else
        note_answer(a, q->line);
    return OK;
}

/* OK: it was counted. Else why nobody should go on. */
static enum fail ask_one(struct task *t, struct asker *a, const struct cache_question *q)
{
    enum fail f = compose(a, q, TEXT_NONE);
    if (f == OK)
        f = ask_again(t, a);
    bool is_new = f == OK && is_made_now(&a->answer);
    if (is_new)
        f = look_for_it(t, a, q);
    if (is_ours(t, f) || f == FAIL_CONNECT)
        return f;
    if (f == OK && !is_new)
        note_answer(a, q->line);
    else if (f != OK)
        note_line(a->warming, &a->warming->failed, q->line, "%s",
                  f == FAIL_RESET ? "the answer was cut" : f == FAIL_TIMEOUT ? "no answer within 15 minutes" : fail_row(f)->text);
    return f == OK && a->answer.status == 401 ? FAIL_NO_KEY : OK;
}

void cache_ask(struct task *t, void *arg)
{
    struct cache_warming *w = arg;
    struct asker *a = mem_zero(sizeof *a);
    enum fail f = OK;
    if (a == NULL) {
        w->gone = FAIL_NO_MEMORY;
        return;
    }
    a->warming = w;
    buf_init_secret(&a->head, HEAD_MAX);
    buf_init(&a->body, BODY_MAX);
    buf_init(&a->refusal, REFUSAL_MAX);
    while (f == OK && w->gone == OK && w->next < w->lines->count)
        f = ask_one(t, a, &w->lines->at[w->next++]);
    if (f != OK && t->cancel == OK)
        w->gone = f;
    conn_free(a->conn);
    tls_session_forget(&a->session);
    buf_fini(&a->head);
    buf_fini(&a->body);
    buf_fini(&a->refusal);
    mem_free(a);
}
