/* flood_backend.c: the flood's model servers: what they were asked is checked to the byte, and each token they answer names the request, the id and the answer it
   belongs to. Called by flood.c, as tasks of the outside worker. */
#include "lib/flood_inner.h"
#include "base/json.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_MOST 16384

/* One connection. */
struct visit {
    struct backend_player *backend;
    struct actor actor;
    struct dice dice;
    struct buf in, out;
    bool split;
};

/* One request and what is to be answered. */
struct question {
    struct ask *ask;
    const char *name;   /* "TAG.ID.SERIAL" */
    enum mood mood;
    bool stream, completion;
    unsigned count;     /* tokens of a stream, bytes of a plain content */
    unsigned pad;       /* of one token */
};

static const struct mood_row {
    const char *name;
    bool honest;
} moods[MOOD_COUNT] = {
#define MOOD(name, honest, what) { #name, honest },
    MOODS(MOOD)
#undef MOOD
};

/* ---- sending ---- */

static void put(struct visit *v, const char *format, ...) PRINTF(2, 3);
static void put(struct visit *v, const char *format, ...)
{
    char some[4096];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(some, sizeof some, format, args);
    va_end(args);
    ASSERT(n >= 0 && (size_t)n < sizeof some);
    ASSERT(buf_add(&v->out, some, (size_t)n) == OK);
}

static enum fail rest(struct task *t, struct visit *v, unsigned most_us)
{
    return most_us == 0 ? OK : task_sleep(t, t->worker->now + (nanos)below(&v->dice, most_us) * NANOS_PER_US);
}

static enum fail flush(struct task *t, struct visit *v)
{
    enum fail f = OK;
    while (f == OK && buf_len(&v->out) > 0) {
        size_t n = v->split ? some_of(&v->dice, buf_len(&v->out), 300) : buf_len(&v->out);
        f = actor_write_all(t, &v->actor, buf_text(&v->out).at, n, NEVER);
        buf_eat(&v->out, n);
        if (f == OK && v->split && once_in(&v->dice, 4))
            f = rest(t, v, v->backend->pace_us / 4);
    }
    buf_clear(&v->out);
    return f;
}

/* Until the other side has had enough. */
static enum fail wait_for_the_end(struct task *t, struct visit *v)
{
    size_t n;
    enum fail f;
    do {
        char some[256];
        f = actor_read(t, &v->actor, some, sizeof some, NEVER, &n);
    } while (f == OK && n > 0);
    return f == OK ? FAIL_RESET : f;
}

static void put_chunk(struct visit *v, const char *bytes, size_t n)
{
    size_t first = v->split && n > 1 ? 1 + below(&v->dice, (unsigned)n - 1) : n;
    put(v, "%zx\r\n", first);
    ASSERT(buf_add(&v->out, bytes, first) == OK);
    put(v, "\r\n");
    if (first < n)
        put_chunk(v, bytes + first, n - first);
}

/* ---- answers ---- */

static void put_stray(struct visit *v)
{
    static const char body[] = "{\"id\":\"stray\",\"choices\":[{\"index\":0,\"message\":{\"content\":\"stray\"}}]}";
    put(v, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", sizeof body - 1, body);
}

static void put_token(struct visit *v, const struct question *q, unsigned i)
{
    char event[4096];
    size_t n = (size_t)snprintf(event, sizeof event, q->completion ? "data: {\"id\":\"%s\",\"choices\":[{\"index\":0,\"text\":\"%u/%u é " : "data: {\"id\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%u/%u é ",
                                q->name, i, q->count);
    for (unsigned k = 0; k < q->pad; k++)
        event[n++] = prompt_byte(q->ask, i + k);
    n += (size_t)snprintf(event + n, sizeof event - n, "%s", q->completion ? "\"}]}\n\n" : "\"}}]}\n\n");
    put_chunk(v, event, n);
}

static void put_event(struct visit *v, const char *format, ...) PRINTF(2, 3);
static void put_event(struct visit *v, const char *format, ...)
{
    char event[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(event, sizeof event, format, args);
    va_end(args);
    put_chunk(v, event, (size_t)n);
}

/* The middle in which an answer breaks. FAIL_RESET: the connection is done with. */
static enum fail break_stream(struct task *t, struct visit *v, const struct question *q)
{
    enum fail f = OK;
    if (q->mood == MOOD_error_event)
        put_event(v, "data: {\"error\":{\"message\":\"boom\"}}\n\n");
    if (q->mood == MOOD_no_finish)
        put(v, "0\r\n\r\n");
    f = flush(t, v);
    if (q->mood == MOOD_no_finish && f == OK)
        return OK;
    if (q->mood == MOOD_stall && f == OK)
        f = wait_for_the_end(t, v);
    return f == OK ? FAIL_RESET : f;
}

static bool breaks(enum mood m)
{
    return m == MOOD_stall || m == MOOD_cut || m == MOOD_reset || m == MOOD_short_body || m == MOOD_error_event || m == MOOD_no_finish;
}

static enum fail end_stream(struct task *t, struct visit *v, const struct question *q)
{
    put_event(v, "data: {\"id\":\"%s\",\"choices\":[{\"index\":0,%s,\"finish_reason\":\"stop\"}]}\n\n", q->name, q->completion ? "\"text\":\"\"" : "\"delta\":{}");
    if (once_in(&v->dice, 2) && q->mood != MOOD_tail) {
        enum fail f = flush(t, v);
        if (f == OK)
            f = rest(t, v, v->backend->pace_us);
        if (f != OK)
            return f;
    }
    put_event(v, "data: {\"id\":\"%s\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":%u,\"total_tokens\":%u}}\n\n", q->name, q->count, q->count + 3);
    if (q->mood != MOOD_no_done)
        put_event(v, "data: [DONE]\n\n");
    if (q->mood == MOOD_late_end || q->mood == MOOD_no_end) {
        enum fail f = flush(t, v);
        if (f == OK)
            f = q->mood == MOOD_no_end ? wait_for_the_end(t, v) : task_sleep(t, t->worker->now + between(&v->dice, 20, 200) * NANOS_PER_MS);
        if (f != OK)
            return f;
    }
    put(v, "0\r\n\r\n");
    if (q->mood == MOOD_tail)
        put_stray(v);
    return flush(t, v);
}

static enum fail answer_stream(struct task *t, struct visit *v, const struct question *q)
{
    unsigned break_at = breaks(q->mood) ? below(&v->dice, q->count + 1) : UINT32_MAX;
    put(v, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n%s\r\n", q->mood == MOOD_closes ? "connection: close\r\n" : "");
    if (once_in(&v->dice, 2))
        put_event(v, "data: {\"id\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n", q->name);
    if (once_in(&v->dice, 4))
        put_event(v, ": a comment of the backend\n\n");
    for (unsigned i = 0; i < q->count; i++) {
        if (i == break_at)
            return break_stream(t, v, q);
        if (q->mood == MOOD_bad_line && i == q->count / 2)
            put_event(v, "data: {\"id\":\"%s\",\"choi\n\n", q->name);
        put_token(v, q, i);
        if (once_in(&v->dice, 3))
            continue; /* two or more in one write */
        enum fail f = flush(t, v);
        if (f == OK)
            f = rest(t, v, v->backend->pace_us);
        if (f != OK)
            return f;
    }
    return break_at != UINT32_MAX ? break_stream(t, v, q) : end_stream(t, v, q);
}

static void put_plain(struct buf *b, const struct question *q)
{
    ASSERT(buf_printf(b, "{\"id\":\"%s\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"", q->name) == OK);
    for (unsigned i = 0; i < q->count; i++) {
        char c = prompt_byte(q->ask, i);
        ASSERT(buf_add(b, &c, 1) == OK);
    }
    ASSERT(buf_printf(b, "\"},\"finish_reason\":\"stop\"}],\"count\":%u,\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}", q->count) == OK);
}

static enum fail send_plain(struct task *t, struct visit *v, const struct question *q, struct text body)
{
    bool chunked = once_in(&v->dice, 2) && q->mood != MOOD_short_body;
    size_t n = breaks(q->mood) ? below(&v->dice, (unsigned)body.len) : body.len;
    put(v, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%s", q->mood == MOOD_closes || q->mood == MOOD_until_close ? "connection: close\r\n" : "");
    if (q->mood == MOOD_until_close)
        put(v, "\r\n");
    else if (chunked)
        put(v, "transfer-encoding: chunked\r\n\r\n");
    else
        put(v, "content-length: %zu\r\n\r\n", body.len);
    for (size_t at = 0, piece; at < n; at += piece) {
        piece = some_of(&v->dice, n - at, 8192);
        if (chunked && q->mood != MOOD_until_close)
            put_chunk(v, body.at + at, piece);
        else
            ASSERT(buf_add(&v->out, body.at + at, piece) == OK);
        if (q->mood != MOOD_tail && once_in(&v->dice, 2)) {
            enum fail f = flush(t, v);
            if (f == OK)
                f = rest(t, v, v->backend->pace_us);
            if (f != OK)
                return f;
        }
    }
    if (breaks(q->mood)) {
        enum fail f = flush(t, v);
        if (f == OK && q->mood == MOOD_stall)
            f = wait_for_the_end(t, v);
        return f == OK ? FAIL_RESET : f;
    }
    if (chunked && q->mood != MOOD_until_close)
        put(v, "0\r\n\r\n");
    if (q->mood == MOOD_tail)
        put_stray(v);
    return flush(t, v);
}

static enum fail answer_plain(struct task *t, struct visit *v, const struct question *q)
{
    struct buf body;
    buf_init(&body, BODY_MOST);
    if (q->mood == MOOD_error_event)
        ASSERT(buf_printf(&body, "{\"error\":{\"message\":\"boom\"}}") == OK);
    else
        put_plain(&body, q);
    struct question whole = *q;
    if (q->mood == MOOD_error_event)
        whole.mood = MOOD_honest;
    enum fail f = send_plain(t, v, &whole, buf_text(&body));
    buf_fini(&body);
    return f;
}

/* Answers that are none. */
static enum fail say_no(struct task *t, struct visit *v, const struct question *q)
{
    char body[200];
    int n = snprintf(body, sizeof body, "{\"error\":{\"message\":\"said %s\"},\"id\":\"%s\"}", moods[q->mood].name, q->name);
    switch (q->mood) {
    case MOOD_says_400:
        q->ask->seen_400 = true;
        put(v, "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
        return flush(t, v);
    case MOOD_says_429:
        put(v, "HTTP/1.1 429 Too Many\r\ncontent-type: application/json\r\nretry-after: 2\r\ncontent-length: %d\r\n\r\n%s", n, body);
        return flush(t, v);
    case MOOD_says_500:
        put(v, "HTTP/1.1 500 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
        return flush(t, v);
    case MOOD_html:
        put(v, "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 13\r\n\r\n<html></html>");
        return flush(t, v);
    case MOOD_garbage:
        put(v, "this is not HTTP\r\n\r\n");
        return flush(t, v) == OK ? FAIL_RESET : FAIL_CANCELLED;
    case MOOD_hang_head:
        put(v, "HTTP/1.1 200 OK\r\ncontent-ty");
        if (flush(t, v) != OK)
            return FAIL_RESET;
        return wait_for_the_end(t, v);
    default:
        return wait_for_the_end(t, v); /* hang */
    }
}

/* ---- being asked ---- */

static void head_value(const char *head, const char *name, char *out, size_t room)
{
    const char *at = strcasestr(head, name);
    size_t n = at != NULL ? strcspn(at + strlen(name), "\r\n") : 0;
    n = MIN(n, room - 1);
    memcpy(out, at != NULL ? at + strlen(name) : "", n);
    out[n] = 0;
}

/* What arrived is what this backend should get of what the client sent. */
static struct ask *check_question(struct visit *v, const char *head, yyjson_val *root)
{
    struct flood *fl = v->backend->flood;
    char key[200], id[64];
    const char *tag = yyjson_get_str(yyjson_obj_get(root, "user")), *model = yyjson_get_str(yyjson_obj_get(root, "model")), *end = yyjson_get_str(yyjson_obj_get(root, "end"));
    MUST(fl, yyjson_is_obj(root) && tag != NULL && model != NULL && end != NULL, "b%u was asked without user, model or end: %s", v->backend->number, head);
    struct ask *a = flood_ask(fl, tag);
    yyjson_val *messages = yyjson_obj_get(root, "messages");
    yyjson_val *pad = messages != NULL ? yyjson_obj_get(yyjson_arr_get_first(messages), "content") : yyjson_obj_get(root, a->kind == KIND_text ? "prompt" : "input");
    MUST(fl, strcmp(end, tag) == 0 && yyjson_get_len(pad) == a->pad, "%s: a body of other bytes", tag);
    for (unsigned i = 0; i < a->pad; i++)
        MUST(fl, yyjson_get_str(pad)[i] == prompt_byte(a, i), "%s: prompt differs at byte %u", tag, i);
    MUST(fl, strncmp(model, "up-m", 4) == 0 && (unsigned)(model[4] - '0') == a->model, "%s asked for m%u, the backend gets %s", tag, a->model, model);
    MUST(fl, yyjson_is_true(yyjson_obj_get(root, "stream")) == a->stream, "%s", tag);
    MUST(fl, !a->stream || yyjson_is_true(yyjson_obj_get(yyjson_obj_get(root, "stream_options"), "include_usage")), "%s", tag);
    head_value(head, "\r\nauthorization: ", key, sizeof key);
    MUST(fl, strstr(head, "key-") == NULL, "%s: a client's key went on to a backend", tag);
    MUST(fl, v->backend->key[0] == 0 ? key[0] == 0 : strcmp(key + strlen("Bearer "), v->backend->key) == 0, "%s: b%u was asked with the key \"%s\"", tag, v->backend->number, key);
    head_value(head, "\r\nx-request-id: ", id, sizeof id);
    MUST(fl, strlen(id) == 24, "%s: x-request-id \"%s\"", tag, id);
    MUST(fl, a->attempts == 0 || a->id[0] == 0 || strcmp(a->id, id) == 0, "%s was asked under two ids", tag);
    a->attempts++;
    return a;
}

static enum mood draw_mood(struct visit *v)
{
    struct flood *fl = v->backend->flood;
    const struct sim_faults *f = &fl->options.faults;
    nanos since = world_now(fl->house.world) - fl->began;
    bool honest = below(&v->dice, 8) < v->backend->honest_of_8;
    if (since >= v->backend->out_from && since < v->backend->out_until)
        return MOOD_says_500;
    if (honest && once_in(&v->dice, 2))
        return MOOD_honest;
    for (;;) {
        enum mood m = below(&v->dice, MOOD_COUNT);
        if (m == MOOD_tail && (f->split || f->short_read || f->short_write || f->drip))
            continue; /* bytes of nobody that come after the connection was taken again are nobody's fault: HTTP/1.1 cannot tell */
        if (moods[m].honest == honest)
            return m;
    }
}

static enum fail answer(struct task *t, struct visit *v, const char *head, struct text body)
{
    struct flood *fl = v->backend->flood;
    char name[96], id[64];
    yyjson_doc *doc = yyjson_read(body.at, body.len, 0);
    MUST(fl, doc != NULL, "b%u gets a body that is no JSON: %.*s", v->backend->number, (int)MIN(body.len, 400u), body.at);
    struct ask *a = check_question(v, head, yyjson_doc_get_root(doc));
    yyjson_doc_free(doc);
    head_value(head, "\r\nx-request-id: ", id, sizeof id);
    snprintf(name, sizeof name, "%s.%s.%u", a->tag, id, ++fl->serial);
    struct question q = { .ask = a, .name = name, .mood = draw_mood(v), .stream = a->stream, .completion = a->kind == KIND_text };
    bool is_long = below(&v->dice, 16) < v->backend->long_of_16 && q.mood != MOOD_tail;
    q.count = a->stream ? (is_long ? between(&v->dice, 20, 160) : below(&v->dice, 10)) : below(&v->dice, is_long ? 120000 : 300);
    q.pad = below(&v->dice, is_long ? 2000 : 30);
    flood_say(fl, "b%u answers %s: %s, %u", v->backend->number, name, moods[q.mood].name, q.count);
    v->split = q.mood == MOOD_split;
    enum fail f = rest(t, v, v->backend->pace_us * 4);
    if (f != OK)
        return f;
    if (q.mood == MOOD_interim)
        put(v, "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n");
    if (!breaks(q.mood) && !moods[q.mood].honest)
        f = say_no(t, v, &q);
    else
        f = a->stream ? answer_stream(t, v, &q) : answer_plain(t, v, &q);
    if (f == FAIL_RESET && q.mood == MOOD_reset)
        return FAIL_CANCELLED; /* visit resets */
    if (f == OK && q.mood == MOOD_leaves)
        f = rest(t, v, 2000);
    return f == OK && (q.mood == MOOD_closes || q.mood == MOOD_until_close || q.mood == MOOD_leaves) ? FAIL_RESET : f;
}

static enum fail answer_list(struct task *t, struct visit *v)
{
    static const char list[] = "{\"data\":[{\"id\":\"up-m0\"},{\"id\":\"up-m1\"}]}";
    if (below(&v->dice, 8) < v->backend->honest_of_8)
        put(v, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", sizeof list - 1, list);
    else
        put(v, "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    return flush(t, v);
}

static enum fail more(struct task *t, struct visit *v)
{
    size_t n;
    ASSERT(buf_reserve(&v->in, 16384) == OK);
    enum fail f = actor_read(t, &v->actor, buf_end(&v->in), 16384, NEVER, &n);
    if (f == OK && n == 0)
        f = FAIL_RESET;
    if (f == OK)
        buf_added(&v->in, n);
    return f;
}

/* Reads one request and answers it. */
static enum fail one_request(struct task *t, struct visit *v)
{
    char head[HEAD_MOST], length[24];
    ptrdiff_t end;
    while ((end = text_find(buf_text(&v->in), TEXT("\r\n\r\n"))) < 0) {
        enum fail f = more(t, v);
        if (f != OK)
            return f;
    }
    ASSERT((size_t)end + 4 < sizeof head);
    memcpy(head, buf_text(&v->in).at, (size_t)end + 4);
    head[end + 4] = 0;
    head_value(head, "\r\ncontent-length: ", length, sizeof length);
    size_t body = strtoul(length, NULL, 10);
    while (buf_len(&v->in) < (size_t)end + 4 + body) {
        enum fail f = more(t, v);
        if (f != OK)
            return f;
    }
    struct flood *fl = v->backend->flood;
    MUST(fl, buf_len(&v->in) == (size_t)end + 4 + body, "b%u gets bytes behind a request", v->backend->number);
    enum fail f = strncmp(head, "GET ", 4) == 0 ? answer_list(t, v) : answer(t, v, head, (struct text){ buf_text(&v->in).at + end + 4, body });
    buf_clear(&v->in);
    return f;
}

static void visit(struct task *t, void *arg)
{
    struct visit *v = arg;
    SSL_CTX *tls = v->backend->flood->tls_backends;
    enum fail f = tls != NULL ? actor_secure(t, &v->actor, tls, NULL, NEVER) : OK;
    while (f == OK)
        f = one_request(t, v);
    if (f == FAIL_CANCELLED) {
        actor_reset(&v->actor);
    } else {
        actor_finish(t, &v->actor);
        actor_close(&v->actor);
    }
    buf_fini(&v->in);
    buf_fini(&v->out);
    mem_free(v);
}

static struct visit *visit_new(struct backend_player *b)
{
    struct visit *v = mem_zero(sizeof *v);
    ASSERT(v != NULL);
    v->backend = b;
    v->dice.state = roll(&b->dice);
    buf_init(&v->in, BODY_MOST);
    buf_init(&v->out, BODY_MOST);
    return v;
}

/* Until it is over (*until passed) or everything is. */
static enum fail accept_until(struct task *t, struct backend_player *b, nanos until)
{
    enum fail f = OK;
    while (f == OK) {
        struct visit *v = visit_new(b);
        f = actor_accept(t, &b->listener, &v->actor, until);
        if (f == OK && task_start(t->worker, "visit", visit, v) != NULL)
            continue;
        ASSERT(f != OK);
        mem_free(v);
    }
    return f;
}

void backend_play(struct task *t, void *arg)
{
    struct backend_player *b = arg;
    enum fail f = b->listens ? FAIL_TIMEOUT : OK;
    while (f == FAIL_TIMEOUT) {
        ASSERT(actor_listen(t->worker, &b->listener, &b->addr) == OK);
        f = accept_until(t, b, b->blinks ? t->worker->now + (nanos)between(&b->dice, 1, 400) * NANOS_PER_MS : NEVER);
        actor_close(&b->listener);
        if (f == FAIL_TIMEOUT && task_sleep(t, t->worker->now + (nanos)between(&b->dice, 1, 200) * NANOS_PER_MS) != OK)
            break;
    }
}

void backend_draw(struct flood *fl, struct backend_player *b, unsigned number)
{
    char host[24];
    static const unsigned paces[] = { 0, 20, 300, 2000, 20000, 100000 };
    b->flood = fl;
    b->number = number;
    b->dice.state = roll(&fl->dice);
    snprintf(host, sizeof host, "10.0.0.%u", number + 1);
    ASSERT(addr_from_text(&b->addr, text_of(host), 8000));
    if (once_in(&b->dice, 3))
        snprintf(b->key, sizeof b->key, "secret-of-b%u", number);
    b->listens = fl->calm || !once_in(&b->dice, 10);
    b->blinks = !fl->calm && once_in(&b->dice, 6);
    b->honest_of_8 = fl->calm ? 8 : once_in(&b->dice, 3) ? 8 : between(&b->dice, 1, 7);
    b->pace_us = paces[below(&b->dice, fl->calm ? 4 : 6)];
    b->long_of_16 = once_in(&b->dice, 3) ? between(&b->dice, 1, 8) : 0;
}
