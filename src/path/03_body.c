/* 03_body.c: the body: read whole, checked to be a JSON object with unambiguous keys, and what the surface needs to know taken from it. A large one is
   parsed by a job, which owns it meanwhile: its tree may take long to build, and the loop has others to serve. */
#include "base/account.h"
#include "base/json.h"
#include "path/path.h"
#include "run/jobs.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ASIDE_JOBS_MAX 32             /* of a worker: a second's work for the job threads, that reloads wait for too */
#define TREE_ROOM      (16u << 20)    /* a tree is at most 9 times its body, but no more than this over it: a million values */
#define TREE_MIN       8192           /* for the smallest */

static enum fail read_whole(struct task *t, struct request *rq)
{
    const char *why = NULL;
    char size[24];
    enum fail f = http_body(t, rq->http, &why);
    if (f == FAIL_BAD_REQUEST && why != NULL)
        return because(rq, f, "The body's framing is wrong: %s", why);
    if (f == FAIL_TOO_LARGE) {
        COUNT(t->worker, refused_body_size);
        return because(rq, f, "The body is larger than %s (limits.body).", bytes_print(rq->conf->limits.body, size));
    }
    if (f == FAIL_NO_MEMORY)
        return because(rq, f, "There is no memory left for this body (limits.memory); retry later.");
    if (f == FAIL_SLOW_BODY)
        COUNT(t->worker, timeout_body);
    return f;
}

/* ---- reading: on the loop or in a job ---- */

enum fail reading_refuse(struct reading *r, enum fail f, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(r->why, sizeof r->why, format, args);
    va_end(args);
    return f;
}

static enum fail check_keys(struct reading *r)
{
    yyjson_val *object, *message;
    const char *why;
    size_t i, n;
    enum fail f = json_check_all_keys(r->doc, &object, &why);
    if (f != FAIL_BAD_JSON)
        return f;
    yyjson_val *root = yyjson_doc_get_root(r->doc);
    if (object == root)
        return reading_refuse(r, f, "The body %s.", why);
    yyjson_arr_foreach(yyjson_obj_get(root, "messages"), i, n, message)
        if (message == object)
            return reading_refuse(r, f, "Message %zu %s.", i, why);
    return reading_refuse(r, f, "An object within the body %s.", why);
}

static enum fail parse(struct reading *r)
{
    const char *why = NULL;
    if (buf_len(&r->body) == 0)
        return reading_refuse(r, FAIL_BAD_JSON, "The body is empty: send a JSON object.");
    enum fail f = json_parse(&r->arena, buf_text(&r->body), &r->doc, &why);
    if (f == FAIL_BAD_JSON)
        return reading_refuse(r, f, "The body is not valid JSON: %s", why != NULL ? why : "malformed");
    if (f == FAIL_TOO_LARGE)
        return reading_refuse(r, f, "The body holds more values than this server keeps of one: about a million.");
    if (f == OK && !yyjson_is_obj(yyjson_doc_get_root(r->doc)))
        return reading_refuse(r, FAIL_BAD_JSON, "The body must be a JSON object.");
    return f == OK ? check_keys(r) : f;
}

static void reading_begin(struct reading *r, struct request *rq)
{
    memset(r, 0, offsetof(struct reading, model));
    r->why[0] = 0;
    r->api = rq->api;
    r->private_urls = rq->conf->limits.private_urls == CONF_ON;
    r->keeps = rq->cache.wish == CACHE_LEAVE ? CONF_CACHE_NEVER : rq->conf->cache.exact.most;
    r->zero_by_default = rq->conf->cache.exact.zero_by_default;
    r->for_llama = roster_has(rq->roster, CONF_KIND_LLAMA);
    r->body = rq->http->body;
    buf_init(&rq->http->body, 0);
}

static size_t tree_bytes_max(const struct reading *r)
{
    size_t len = buf_len(&r->body);
    return MIN(13 * len, len + TREE_ROOM) + TREE_MIN;
}

static void reading_run(struct reading *r)
{
    r->fail = parse(r);
    if (r->fail == OK)
        r->fail = r->api->read_body(r);
    arena_fini(&r->arena);
    r->doc = NULL;
}

static enum fail reading_take(struct request *rq, struct reading *r)
{
    rq->http->body = r->body;
    rq->cache.inputs = r->inputs;
    if (r->fail == OK)
        return rq->api->take_body(rq, r);
    rq->param = r->param != r->field ? r->param : arena_copy(&rq->http->arena, text_of(r->field));
    return r->why[0] != 0 ? because(rq, r->fail, "%s", r->why) : r->fail;
}

static enum fail read_here(struct request *rq)
{
    struct reading r;
    size_t room;
    char *pool = conns_json_pool(rq->desk->conns, &room);
    reading_begin(&r, rq);
    arena_init(&r.arena, pool, room, room + tree_bytes_max(&r));
    reading_run(&r);
    return reading_take(rq, &r);
}

/* On a job thread. All that the tree may come to is asked for at once, so that two large ones do not both end half built. */
static void read_job(void *arg)
{
    struct reading *r = arg;
    size_t most = tree_bytes_max(r);
    if (!account_room(ACCOUNT_WORK, most)) {
        r->fail = FAIL_NO_MEMORY;
        return;
    }
    arena_init(&r->arena, NULL, 0, most);
    reading_run(r);
    account_give(0); /* what was asked for and not needed */
}

static void reading_drop(void *arg)
{
    struct reading *r = arg;
    buf_fini(&r->body);
    mem_free(r->inputs);
    mem_free(r);
}

static enum fail read_aside(struct task *t, struct request *rq)
{
    bool abandoned;
    if (jobs_alive(t->worker) >= ASIDE_JOBS_MAX)
        return because(rq, FAIL_BUSY, "Too many large bodies are being read; retry later.");
    struct reading *r = mem_alloc(sizeof *r);
    if (r == NULL)
        return FAIL_NO_MEMORY;
    COUNT(t->worker, bodies_read_aside);
    reading_begin(r, rq);
    enum fail f = job_run(t, "the body's parse", read_job, reading_drop, r, NEVER, &abandoned);
    if (abandoned)
        return f; /* the client has left, or its deadline has passed; the body is the job's */
    if (f == OK) {
        f = reading_take(rq, r);
    } else {
        rq->http->body = r->body;
    }
    mem_free(r);
    return f;
}

/* ---- the step ---- */

static enum fail refuse_encoding(struct request *rq)
{
    struct text said = http_head_get(rq->http->head, HEADER_CONTENT_ENCODING);
    if (said.at == NULL || (http_head_times(rq->http->head, HEADER_CONTENT_ENCODING) == 1 && text_eq_nocase(said, TEXT("identity"))))
        return OK;
    COUNT(rq->task->worker, refused_encoding);
    return because(rq, FAIL_BAD_ENCODING, "The body is encoded as \"%.*s\"; this server reads bodies only as they are.", (int)MIN(said.len, 60u), said.at);
}

static void count_refusal(struct worker *w, enum fail f)
{
    if (f == FAIL_BAD_JSON || f == FAIL_BAD_FIELD)
        COUNT(w, refused_body);
    else if (f == FAIL_NO_MEMORY || f == FAIL_BUSY)
        COUNT(w, refused_memory);
}

enum fail body_parse(struct task *t, struct request *rq)
{
    enum fail f = buf_len(&rq->http->body) > ASIDE_BYTES ? read_aside(t, rq) : read_here(rq);
    if (f == FAIL_BAD_JSON || f == FAIL_BAD_FIELD)
        rq->http->body.is_secret = true; /* a key in the wrong place is such a mistake */
    count_refusal(t->worker, f);
    return f;
}

enum fail path_body(struct task *t, struct request *rq)
{
    enum fail f = refuse_encoding(rq);
    if (f == OK)
        f = read_whole(t, rq);
    if (f == OK)
        f = lane_find(rq) ? OK : rq->is_shed ? path_shed_now(t, rq) : body_parse(t, rq);
    else
        count_refusal(t->worker, f);
    if (f != OK)
        return f;
    if (!auth_may_use(&rq->who, rq->model)) {
        COUNT(t->worker, refused_auth);
        return because(rq, FAIL_FORBIDDEN, "This API key may not use the model \"%.*s\".", (int)MIN(rq->model.len, 200u), rq->model.at);
    }
    return OK;
}
