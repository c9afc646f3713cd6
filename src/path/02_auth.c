/* 02_auth.c: who asks, from headers alone: a stranger's body is never kept. */
#include "path/path.h"

enum fail path_auth(struct task *t, struct request *rq)
{
    enum fail f = auth_check(rq->desk->auth, rq->http->head, &rq->who);
    if (f != OK)
        COUNT(t->worker, refused_auth);
    return f == OK ? path_shed(t, rq) : f;
}
