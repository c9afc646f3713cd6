/* agent.c: what agents ask of a gateway besides models: to be registered, and to have something inferred. Called through paths.def. */
#include "mock/inner.h"

/* Any JSON object is right, so that a wrong one shows: what was asked comes back as it was sent, with spans and faults of the script as for a model. */
enum fail mock_answer_agent(struct answer *a)
{
    yyjson_doc *doc;
    const char *why = NULL;
    enum fail f = json_parse(&a->rq->arena, buf_text(&a->rq->body), &doc, &why);
    if (f == FAIL_BAD_JSON || (f == OK && !yyjson_is_obj(yyjson_doc_get_root(doc))))
        return mock_send_error(a, 400, why != NULL ? why : "the body must be a JSON object", -1);
    if (f == OK)
        f = mock_wait_first(a);
    if (f != OK)
        return f;
    struct pen *p = mock_pen(a->mock);
    PUTF(p, "{\"id\":\"agent-mock-%llu\",\"status\":\"ok\",\"asked\":", (unsigned long long)a->number);
    put(p, buf_text(&a->rq->body));
    PUT(p, "}");
    return mock_send_plain(a, p);
}
