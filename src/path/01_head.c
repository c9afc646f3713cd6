/* 01_head.c: the first step: until when this request may take, and whether there is room for it. */
#include "base/account.h"
#include "path/path.h"

enum fail path_head(struct task *t, struct request *rq)
{
    nanos total = rq->conf->timeouts.total;
    struct text said = http_head_get(rq->http->head, HEADER_X_WEIR_TIMEOUT_MS);
    uint64_t ms;
    if (said.at != NULL) {
        if (!text_to_u64(said, UINT32_MAX, &ms) || ms == 0)
            return because(rq, FAIL_BAD_REQUEST, "x-weir-timeout-ms takes milliseconds, a whole number from 1");
        total = MIN(total, (nanos)ms * NANOS_PER_MS);
    }
    rq->deadline = rq->http->began + total;
    enum fail f = cache_wish_read(rq);
    if (f == OK)
        f = cache_tags_read(rq);
    if (f != OK)
        return f;
    t->deadline = rq->deadline;
    if (account_is_short()) { /* the rest is for those who are in already */
        COUNT(t->worker, refused_memory);
        return because(rq, FAIL_NO_MEMORY, "There is no memory left for more requests (limits.memory); retry later.");
    }
    task_share(t, ACCOUNT_COMMON);
    return OK;
}
