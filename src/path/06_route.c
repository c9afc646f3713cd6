/* 06_route.c: which pool answers this model. */
#include "path/path.h"

enum fail path_route(struct task *t, struct request *rq)
{
    uint32_t count;
    if (rq->pool != NULL && rq->fetches && roster_pool_has(rq->roster, rq->pool, CONF_KIND_LLAMA)) {
        COUNT(t->worker, refused_body);
        rq->param = "messages";
        return because(rq, FAIL_BAD_FIELD, "The local model fetches nothing: send images and files as data: URLs.");
    }
    if (rq->pool != NULL)
        return OK;
    COUNT(t->worker, refused_unknown);
    const char *const *names = roster_models(rq->roster, &count);
    const char *near = text_nearest(rq->model, names, count);
    int len = (int)MIN(rq->model.len, 200u);
    rq->param = "model";
    if (count == 0)
        return because(rq, FAIL_NO_MODEL, "The model \"%.*s\" does not exist: no backend has named a model yet.", len, rq->model.at);
    if (near != NULL)
        return because(rq, FAIL_NO_MODEL, "The model \"%.*s\" does not exist; did you mean \"%s\"?", len, rq->model.at, near);
    return because(rq, FAIL_NO_MODEL, "The model \"%.*s\" does not exist. There is: %s%s%s%s%s.", len, rq->model.at, names[0],
                   count > 1 ? ", " : "", count > 1 ? names[1] : "", count > 2 ? ", " : "", count > 3 ? "and more (GET /v1/models)" : count > 2 ? names[2] : "");
}
