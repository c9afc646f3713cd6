/* 03_body.c: the body: read whole, checked to be a JSON object with unambiguous keys, and what the surface needs to know taken from it. */
#include "base/json.h"
#include "path/path.h"

static enum fail read_whole(struct task *t, struct request *rq)
{
    const char *why = NULL;
    enum fail f = http_body(t, rq->http, &why);
    if (f == FAIL_BAD_REQUEST && why != NULL)
        return because(rq, f, "The body's framing is wrong: %s", why);
    if (f == FAIL_TOO_LARGE) {
        char size[24];
        COUNT(t->worker, refused_body_size);
        return because(rq, f, "The body is larger than %s (limits.body).", bytes_print(rq->conf->limits.body, size));
    }
    if (f == FAIL_SLOW_BODY)
        COUNT(t->worker, timeout_body);
    return f;
}

static enum fail parse(struct request *rq)
{
    const char *why = NULL;
    struct text body = buf_text(&rq->http->body);
    if (body.len == 0)
        return because(rq, FAIL_BAD_JSON, "The body is empty: send a JSON object.");
    enum fail f = json_parse(&rq->http->arena, body, &rq->doc, &why);
    if (f == FAIL_BAD_JSON)
        return because(rq, f, "The body is not valid JSON: %s", why != NULL ? why : "malformed");
    if (f != OK)
        return f;
    yyjson_val *root = yyjson_doc_get_root(rq->doc);
    if (!yyjson_is_obj(root))
        return because(rq, FAIL_BAD_JSON, "The body must be a JSON object.");
    if (json_has_duplicate_keys(root))
        return because(rq, FAIL_BAD_JSON, "The body names a field twice: backends disagree on which one wins.");
    return OK;
}

enum fail path_body(struct task *t, struct request *rq)
{
    enum fail f = read_whole(t, rq);
    if (f == OK)
        f = parse(rq);
    if (f == OK)
        f = rq->api->read_body(rq);
    if (f == FAIL_BAD_JSON || f == FAIL_BAD_FIELD)
        COUNT(t->worker, refused_body);
    if (f != OK)
        return f;
    if (!auth_may_use(rq->key, rq->model)) {
        COUNT(t->worker, refused_auth);
        return because(rq, FAIL_FORBIDDEN, "This API key may not use the model \"%.*s\".", (int)MIN(rq->model.len, 200u), rq->model.at);
    }
    return OK;
}
