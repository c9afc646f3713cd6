/* serve.c: from a request's URL to what answers it. http_server calls serve_request in the request's own task. */
#include "serve/serve.h"
#include "base/json.h"
#include "net/http_write.h"

enum who { WHO_OPEN, WHO_USER, WHO_ADMIN, WHO_SOCKET };

struct route {
    enum http_method method;
    struct text path;
    enum who who;
    const struct api *api;
    page_fn *page;
};

static const struct route routes[] = {
#define ROUTE(method, path, who, api, page, what) { METHOD_##method, { path, sizeof(path) - 1 }, WHO_##who, api, page },
#include "serve/routes.def"
#undef ROUTE
};

static bool path_matches(const struct route *r, struct text path, struct text *out_rest)
{
    *out_rest = TEXT_NONE;
    if (r->path.at[r->path.len - 1] != '*')
        return text_eq(r->path, path);
    struct text prefix = { r->path.at, r->path.len - 1 };
    if (!text_starts(path, prefix) || path.len == prefix.len)
        return false;
    *out_rest = (struct text){ path.at + prefix.len, path.len - prefix.len };
    return true;
}

static bool method_matches(const struct route *r, enum http_method m)
{
    return r->method == m || (r->method == METHOD_GET && m == METHOD_HEAD);
}

/* The route, or why there is none. *out_path_known: the path exists, with other methods. */
static const struct route *find_route(enum http_method method, struct text path, bool by_socket, struct text *out_rest, bool *out_path_known)
{
    *out_path_known = text_eq(path, TEXT("*")); /* OPTIONS asks after the whole server; no other method gets here with it */
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (routes[i].who == WHO_SOCKET && !by_socket)
            continue;
        if (!path_matches(&routes[i], path, out_rest))
            continue;
        if (method_matches(&routes[i], method))
            return &routes[i];
        *out_path_known = true;
    }
    return NULL;
}

static enum fail allowed_methods(struct text path, struct buf *out)
{
    struct text rest;
    bool get = false, post = false, del = false;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++)
        if (text_eq(path, TEXT("*")) || path_matches(&routes[i], path, &rest)) {
            get |= routes[i].method == METHOD_GET;
            post |= routes[i].method == METHOD_POST;
            del |= routes[i].method == METHOD_DELETE;
        }
    return buf_printf(out, "%s%s%sOPTIONS", get ? "GET, HEAD, " : "", post ? "POST, " : "", del ? "DELETE, " : "");
}

/* 405 needs its Allow header, so it is not path_refuse's. OPTIONS is answered with the same header. */
static void refuse_method(struct task *t, struct request *rq, struct text path)
{
    struct buf body, allow;
    bool asks = rq->http->head->method == METHOD_OPTIONS;
    buf_init(&body, 4096);
    buf_init(&allow, 256);
    (void)because(rq, FAIL_BAD_METHOD, "%.*s is not allowed here.", (int)MIN(rq->http->head->method_text.len, 32u), rq->http->head->method_text.at);
    enum fail f = allowed_methods(path, &allow);
    if (f == OK && !asks)
        f = rq->api->error(&body, rq, FAIL_BAD_METHOD);
    if (f == OK)
        f = http_answer_begin(rq->http, asks ? 204 : 405);
    if (f == OK)
        f = http_write_header(http_answer_head(rq->http), TEXT("allow"), buf_text(&allow));
    if (f == OK && !asks)
        f = http_write_header(http_answer_head(rq->http), TEXT("content-type"), TEXT("application/json"));
    if (f == OK)
        f = http_answer_whole(t, rq->http, buf_text(&body));
    buf_fini(&body);
    buf_fini(&allow);
    if (f != OK && !rq->http->answer_ended)
        http_answer_abort(rq->http);
    rq->fail = FAIL_BAD_METHOD;
    rq->handled = true;
}

static enum fail may_see(struct request *rq, enum who who, bool by_socket)
{
    if (by_socket || who == WHO_OPEN)
        return OK;
    enum fail f = request_identify(rq->task, rq);
    if (f == OK && who == WHO_ADMIN && rq->who.role != CONF_ROLE_ADMIN)
        f = because(rq, FAIL_FORBIDDEN, "This page needs a key with role admin.");
    if (f != OK)
        COUNT(rq->task->worker, refused_auth);
    return f;
}

/* The path that was most likely meant; NULL if none is near. A base URL without its /v1 is the most common mistake. */
static const char *near_path(struct text path, bool by_socket)
{
    const char *names[ARRAY_LEN(routes)];
    size_t count = 0;
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        const struct route *r = &routes[i];
        if (r->path.len == 1 || r->path.at[r->path.len - 1] == '*' || (r->who == WHO_SOCKET && !by_socket))
            continue;
        if (r->path.len == path.len + 3 && text_starts(r->path, TEXT("/v1")) && text_ends(r->path, path))
            return r->path.at;
        names[count++] = r->path.at;
    }
    return text_nearest(path, names, count);
}

static enum fail nothing_there(struct request *rq, struct text path, bool by_socket)
{
    const char *near = near_path(path, by_socket);
    COUNT(rq->task->worker, refused_unknown);
    return because(rq, FAIL_NO_PATH, near != NULL ? "There is nothing at %.*s; did you mean %s?" : "There is nothing at %.*s.", (int)MIN(path.len, 200u), path.at, near);
}

/* A page, or a no: counted and logged like every request, but it has no steps. A route of models comes here while the server drains: to whoever has the admin socket,
   which stays for its pages. */
static void run_page(struct task *t, struct desk *desk, struct http_request *http, const struct route *route, struct text rest, bool path_known, bool by_socket)
{
    struct request *rq = arena_alloc(&http->arena, sizeof *rq);
    if (rq == NULL) {
        http_answer_abort(http);
        return;
    }
    request_begin(rq, t, desk, http, route == NULL ? &api_nothing : route->api != NULL ? route->api : &api_pages);
    t->deadline = http->began + rq->conf->timeouts.total;
    if (route == NULL && path_known) {
        refuse_method(t, rq, http->head->path);
    } else if (route == NULL) {
        rq->fail = nothing_there(rq, http->head->path, by_socket);
    } else if (route->api != NULL) {
        rq->fail = FAIL_DRAINING;
    } else {
        rq->fail = may_see(rq, route->who, by_socket);
        if (rq->fail == OK)
            rq->fail = route->page(t, rq, rest);
    }
    if (t->cancel != OK && rq->fail != OK)
        rq->fail = t->cancel;
    if (rq->fail != OK && !rq->handled)
        path_refuse(t, rq, rq->fail);
    rq->step = STEP_record;
    enum fail recorded = path_record(t, rq);
    ASSERT(recorded == OK);
}

static void serve(struct task *t, struct http_request *http, struct desk *desk, bool by_socket)
{
    struct text rest;
    bool path_known;
    const struct route *route = find_route(http->head->method, http->head->path, by_socket, &rest, &path_known);
    bool is_late = by_socket && gateway_is_draining(desk->gateway);
    if (route != NULL && route->api != NULL && !is_late)
        path_run(t, desk, http, route->api);
    else
        run_page(t, desk, http, route, rest, path_known, by_socket);
}

void serve_request(struct task *t, struct http_request *http, void *desk)
{
    serve(t, http, desk, false);
}

void serve_admin(struct task *t, struct http_request *http, void *desk)
{
    serve(t, http, desk, true);
}

/* What never became a request still has an id, an outcome and an access line. */
enum fail serve_refusal(struct buf *out, const struct http_request *http, enum fail why, const char *sentence, void *user)
{
    struct desk *desk = user;
    const struct fail_row *row = fail_row(why);
    nanos total = desk->worker->now - http->began;
    struct access_line line = {
        .request_id = text_of(http->id), .client = text_of(http->peer_text), .outcome = OUTCOME_refused, .reason = row->name, .status = row->http,
        .queue = -1, .first_token = -1, .total = total, .overhead = -1, .prompt_tokens = -1, .completion_tokens = -1,
    };
    stat_request_started(desk->worker);
    stat_request_ended(desk->worker, SURFACE_none, OUTCOME_refused, row->http, total);
    log_access(desk->worker, &line);
    enum fail f = buf_add_text(out, TEXT("{\"error\":{\"message\":"));
    if (f == OK)
        f = json_add_string(out, text_of(sentence != NULL ? sentence : row->text));
    return f == OK ? buf_printf(out, ",\"type\":\"%s\",\"param\":null,\"code\":\"%s\",\"request_id\":\"%s\"}}", row->type, row->code, http->id) : f;
}
