/* pages.c: health, metrics, and what the admin socket tells: status, requests, explain, reload, drain. */
#include "serve/serve.h"
#include "base/json.h"
#include "net/http_write.h"
#include <stdio.h>

#define PAGE_BYTES_MAX (16u << 20) /* 10,000 requests at 400 bytes, and room */

static enum fail answer(struct task *t, struct request *rq, int status, struct text type, struct text body)
{
    enum fail f = http_answer_begin(rq->http, status);
    if (f == OK)
        f = http_write_header(http_answer_head(rq->http), TEXT("content-type"), type);
    if (f == OK)
        f = http_write_header(http_answer_head(rq->http), TEXT("cache-control"), TEXT("no-store"));
    return f == OK ? http_answer_whole(t, rq->http, body) : f;
}

enum fail page_json(struct task *t, struct request *rq, int status, struct text body)
{
    return answer(t, rq, status, TEXT("application/json"), body);
}

enum fail page_healthz(struct task *t, struct request *rq, struct text rest)
{
    (void)rest;
    return answer(t, rq, 200, TEXT("text/plain; charset=utf-8"), TEXT("ok\n"));
}

enum fail page_readyz(struct task *t, struct request *rq, struct text rest)
{
    (void)rest;
    if (gateway_is_ready(rq->desk->gateway))
        return answer(t, rq, 200, TEXT("text/plain; charset=utf-8"), TEXT("ready\n"));
    return answer(t, rq, 503, TEXT("text/plain; charset=utf-8"), TEXT("draining\n"));
}

enum fail page_health(struct task *t, struct request *rq, struct text rest)
{
    struct gateway *g = rq->desk->gateway;
    const struct stats *s = gateway_stats(g);
    uint32_t models;
    char body[256];
    (void)rest;
    (void)roster_models(rq->roster, &models);
    int n = snprintf(body, sizeof body, "{\"status\":\"%s\",\"version\":\"%s\",\"uptime_seconds\":%lld,\"models\":%u}\n", gateway_is_draining(g) ? "draining" : "ok",
                     s->version, (long long)((rq->desk->worker->now - s->started_at) / NANOS_PER_S), models);
    return page_json(t, rq, 200, (struct text){ body, (size_t)n });
}

static enum fail numbers(struct task *t, struct request *rq, enum fail (*print)(const struct stats *, struct buf *), struct text type)
{
    struct buf out;
    buf_init(&out, PAGE_BYTES_MAX);
    enum fail f = print(gateway_stats(rq->desk->gateway), &out);
    if (f == OK)
        f = answer(t, rq, 200, type, buf_text(&out));
    buf_fini(&out);
    return f;
}

enum fail page_metrics(struct task *t, struct request *rq, struct text rest)
{
    (void)rest;
    return numbers(t, rq, stat_metrics, TEXT(STAT_METRICS_TYPE));
}

enum fail page_numbers(struct task *t, struct request *rq, struct text rest)
{
    (void)rest;
    return numbers(t, rq, stat_json, TEXT("application/json"));
}

/* ---- gathered from every worker ---- */

struct gathering {
    struct buf *out;
    struct text id;
    bool found;
    unsigned rows;
    enum fail fail;
    struct request *asker; /* left out of its own list */
};

static const char *waits_for(const struct request *rq)
{
    return rq->task->state == TASK_PARKED && rq->task->what != NULL ? rq->task->what : step_waits[rq->step];
}

static enum fail put_request(struct buf *out, const struct http_request *http, const struct request *rq, nanos now)
{
    const struct flight *fl = rq->flight;
    enum fail f = buf_printf(out, "{\"id\":\"%s\",\"step\":\"%s\",\"waits_for\":\"%s\",\"age_ms\":%lld,\"step_ms\":%lld,\"stream\":%s,"
                             "\"sent_bytes\":%llu,\"path\":", http->id,
                             step_names[rq->step], waits_for(rq), (long long)((now - http->began) / NANOS_PER_MS), (long long)((now - rq->step_began) / NANOS_PER_MS),
                             rq->stream ? "true" : "false", (unsigned long long)http->answer_bytes);
    if (f == OK)
        f = json_add_string(out, http->head->path);
    if (f == OK)
        f = buf_add_text(out, TEXT(",\"model\":"));
    if (f == OK)
        f = json_add_string(out, rq->model);
    if (f == OK)
        f = buf_add_text(out, TEXT(",\"key\":"));
    if (f == OK)
        f = json_add_string(out, rq->who.name);
    if (f == OK)
        f = buf_add_text(out, TEXT(",\"backend\":"));
    if (f == OK)
        f = json_add_string(out, fl != NULL ? flight_backend(fl) : TEXT_NONE);
    if (f == OK)
        f = buf_printf(out, ",\"class\":\"%s\"", conf_class_name(rq->class));
    struct flight_place at = fl != NULL ? fl->place : (struct flight_place){ 0 };
    if (rq->waits != NULL) {
        struct outlook o = slot_outlook(rq->waits);
        at = (struct flight_place){ o.position, o.wait };
    }
    if (f == OK && at.position > 0)
        f = buf_printf(out, ",\"position\":%u,\"wait_ms\":%lld", at.position, (long long)(at.wait / NANOS_PER_MS));
    return f == OK ? buf_printf(out, ",\"attempts\":%u}", fl != NULL ? fl->attempt_count : 0) : f;
}

static void list_one(struct http_request *http, void *arg)
{
    struct gathering *g = arg;
    const struct request *rq = http->story;
    if (rq == NULL || rq == g->asker || g->fail != OK)
        return;
    if (g->rows++ > 0)
        g->fail = buf_add_text(g->out, TEXT(","));
    if (g->fail == OK)
        g->fail = put_request(g->out, http, rq, rq->desk->worker->now);
}

static void list_desk(struct desk *d, void *arg)
{
    http_server_each(d->server, list_one, arg);
}

enum fail page_requests(struct task *t, struct request *rq, struct text rest)
{
    struct buf out;
    struct gathering g = { .out = &out, .asker = rq };
    (void)rest;
    buf_init(&out, PAGE_BYTES_MAX);
    g.fail = buf_add_text(&out, TEXT("{\"requests\":["));
    gateway_each_desk(t, rq->desk->gateway, list_desk, &g);
    if (g.fail == OK)
        g.fail = buf_add_text(&out, TEXT("]}"));
    if (g.fail == OK)
        g.fail = page_json(t, rq, 200, buf_text(&out));
    buf_fini(&out);
    return g.fail;
}

static void find_running(struct http_request *http, void *arg)
{
    struct gathering *g = arg;
    const struct request *rq = http->story;
    if (g->found || rq == NULL || !text_eq(text_of(http->id), g->id))
        return;
    g->found = true;
    g->fail = put_request(g->out, http, rq, rq->desk->worker->now);
}

static void explain_desk(struct desk *d, void *arg)
{
    struct gathering *g = arg;
    if (g->found)
        return;
    g->found = stories_find(d->stories, g->id, g->out);
    if (!g->found)
        http_server_each(d->server, find_running, g);
}

enum fail page_explain(struct task *t, struct request *rq, struct text rest)
{
    struct buf out;
    struct gathering g = { .out = &out, .id = rest };
    buf_init(&out, PAGE_BYTES_MAX);
    gateway_each_desk(t, rq->desk->gateway, explain_desk, &g);
    enum fail f = g.fail;
    if (!g.found)
        f = because(rq, FAIL_NO_PATH, "No request with this id among the last %d of each worker (%d of those answered from memory), and none in flight.",
                    STORIES_MAX, STORIES_HITS_MAX);
    else if (f == OK)
        f = page_json(t, rq, 200, buf_text(&out));
    buf_fini(&out);
    return f;
}

struct census {
    uint64_t connections, requests, tasks, idle_conns;
};

static void count_desk(struct desk *d, void *arg)
{
    struct census *c = arg;
    c->connections += http_server_connections(d->server);
    c->requests += http_server_requests(d->server);
    c->tasks += task_count(d->worker);
    c->idle_conns += conns_idle(d->conns);
}

enum fail page_status(struct task *t, struct request *rq, struct text rest)
{
    struct gateway *g = rq->desk->gateway;
    const struct stats *s = gateway_stats(g);
    struct census c = { 0 };
    struct buf out;
    (void)rest;
    gateway_each_desk(t, g, count_desk, &c);
    buf_init(&out, PAGE_BYTES_MAX);
    enum fail f = buf_printf(&out, "{\"version\":\"%s\",\"uptime_seconds\":%lld,\"draining\":%s,\"workers\":%u,\"connections\":%llu,"
                             "\"requests\":%llu,\"tasks\":%llu,\"idle_upstream_connections\":%llu,",
                             s->version, (long long)((rq->desk->worker->now - s->started_at) / NANOS_PER_S),
                             gateway_is_draining(g) ? "true" : "false", gateway_workers(g),
                             (unsigned long long)c.connections, (unsigned long long)c.requests, (unsigned long long)c.tasks, (unsigned long long)c.idle_conns);
    if (f == OK)
        f = memory_print_json(&out);
    if (f == OK)
        f = buf_add_text(&out, TEXT(","));
    if (f == OK)
        f = store_print_json(gateway_store(g), &out);
    if (f == OK)
        f = buf_add_text(&out, TEXT(",\"fleet\":"));
    if (f == OK)
        f = fleet_print_json(gateway_fleet(g), &out);
    if (f == OK)
        f = buf_add_text(&out, TEXT(",\"limits\":"));
    if (f == OK)
        f = limits_print_json(gateway_limits(g), &out);
    if (f == OK)
        f = buf_add_text(&out, TEXT("}"));
    if (f == OK)
        f = page_json(t, rq, 200, buf_text(&out));
    buf_fini(&out);
    return f;
}

/* ---- doing ---- */

/* Lines as a list of strings. */
static enum fail put_lines(struct buf *out, struct text lines)
{
    enum fail f = buf_add_text(out, TEXT("["));
    for (bool first = true; lines.len > 0 && f == OK; first = false) {
        struct text line;
        lines = text_cut(lines, '\n', &line);
        f = first ? OK : buf_add_text(out, TEXT(","));
        if (f == OK)
            f = json_add_string(out, line);
    }
    return f == OK ? buf_add_text(out, TEXT("]")) : f;
}

static enum fail put_reloaded(struct buf *out, struct text changes)
{
    enum fail f = buf_printf(out, "{\"reloaded\":true,\"message\":\"The configuration was applied%s.\",\"changes\":", changes.len > 0 ? "" : "; nothing changed");
    if (f == OK)
        f = put_lines(out, changes);
    return f == OK ? buf_add_text(out, TEXT("}")) : f;
}

static enum fail put_not_reloaded(struct buf *out, const struct complaint *why)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    enum fail f = buf_add_text(out, TEXT("{\"reloaded\":false,\"message\":"));
    if (f == OK)
        f = json_add_string(out, text_of(text));
    return f == OK ? buf_add_text(out, TEXT("}")) : f;
}

enum fail page_reload(struct task *t, struct request *rq, struct text rest)
{
    struct complaint why = { 0 };
    struct buf out, changes;
    (void)rest;
    buf_init(&out, PAGE_BYTES_MAX);
    bool ok = gateway_reload_now(t, rq->desk->gateway, &why, &changes);
    enum fail f = ok ? put_reloaded(&out, buf_text(&changes)) : put_not_reloaded(&out, &why);
    if (ok)
        buf_fini(&changes);
    if (f == OK)
        f = page_json(t, rq, ok ? 200 : 409, buf_text(&out));
    buf_fini(&out);
    return f;
}

enum fail page_drain(struct task *t, struct request *rq, struct text rest)
{
    (void)rest;
    enum fail f = page_json(t, rq, 202, TEXT("{\"draining\":true}"));
    gateway_drain(rq->desk->gateway);
    return f;
}
