/* 02_auth.c: who asks, and in which class, from headers alone: a stranger's body is never kept. */
#include "path/path.h"

enum fail request_identify(struct task *t, struct request *rq)
{
    const char *why = NULL;
    enum fail f = auth_check(rq->desk->auth, t->worker, rq->http->head, &rq->who, &why);
    return f == FAIL_BAD_TOKEN ? because(rq, f, "%s", why) : f;
}

/* A client may ask for less than its key allows, and for no more: what is more becomes the most. */
static enum fail choose_class(struct request *rq)
{
    struct text said = http_head_get(rq->http->head, HEADER_X_WEIR_PRIORITY);
    rq->class = rq->who.priority;
    if (said.at == NULL)
        return OK;
    for (enum conf_class c = 0; c < CONF_CLASSES; c++)
        if (text_eq(said, text_of(conf_class_name(c))) && http_head_times(rq->http->head, HEADER_X_WEIR_PRIORITY) == 1) {
            rq->class = MIN(c, rq->who.priority_max);
            return OK;
        }
    return because(rq, FAIL_BAD_REQUEST, "x-weir-priority takes high, normal or low");
}

enum fail path_auth(struct task *t, struct request *rq)
{
    enum fail f = request_identify(t, rq);
    if (f != OK) {
        COUNT(t->worker, refused_auth);
        return f;
    }
    f = choose_class(rq);
    return f == OK ? path_shed(t, rq) : f;
}
