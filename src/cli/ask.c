/* ask.c: asks over HTTP with the same client the gateway uses, on a worker of its own that ends with the last answer. */
#include "cli/ask.h"
#include "net/http_client.h"
#include "net/http_write.h"

struct asking {
    struct worker worker;
    unsigned left;
};

struct one {
    struct asking *asking;
    struct ask *ask;
};

static enum fail take_body(void *arg, struct text bytes)
{
    return buf_add_text(arg, bytes);
}

static enum fail compose(const struct ask *a, struct buf *out)
{
    enum fail f = http_write_request(out, text_of(a->method), text_of(a->target));
    if (f == OK)
        f = http_write_header(out, TEXT("host"), TEXT("localhost"));
    if (f == OK)
        f = http_write_header(out, TEXT("connection"), TEXT("close"));
    if (f == OK && a->content.at != NULL)
        f = http_write_header(out, TEXT("content-type"), TEXT("application/json"));
    if (f == OK && text_eq(text_of(a->method), TEXT("POST")))
        f = http_write_length(out, a->content.len);
    return f == OK ? http_write_head_end(out) : f;
}

static enum fail ask_with(struct task *t, struct ask *a, struct conn *c, struct arena *arena, nanos until)
{
    const struct http_head *head;
    struct buf request;
    buf_init(&request, 16384);
    conn_begin(c, arena, false);
    enum fail f = compose(a, &request);
    if (f == OK)
        f = conn_send(t, c, buf_text(&request), a->content, until);
    if (f == OK)
        f = conn_head(t, c, until, &head);
    if (f == OK)
        a->status = head->status;
    while (f == OK && !c->ended)
        f = conn_body(t, c, until, take_body, &a->body);
    if (f != OK)
        a->error = c->error;
    buf_fini(&request);
    return f;
}

static void ask_one(struct task *t, void *arg)
{
    struct one *one = arg;
    struct ask *a = one->ask;
    struct asking *asking = one->asking;
    nanos until = t->worker->now + a->wait;
    struct arena arena;
    struct conn *c;
    a->fail = conn_open(t, &a->to, until, &c, &a->error);
    if (a->fail == OK) {
        arena_init(&arena, NULL, 0, 1u << 20);
        a->fail = ask_with(t, a, c, &arena, until);
        conn_free(c);
        arena_fini(&arena);
    }
    mem_free(one);
    if (--asking->left == 0)
        worker_stop(&asking->worker);
}

static enum fail start(struct asking *g, struct ask *a)
{
    struct one *one = mem_alloc(sizeof *one);
    buf_init(&a->body, ASK_ANSWER_MAX);
    a->status = a->error = 0;
    a->fail = FAIL_NO_MEMORY;
    if (one == NULL)
        return FAIL_NO_MEMORY;
    *one = (struct one){ g, a };
    g->left++;
    if (task_start(&g->worker, "ask", ask_one, one) != NULL)
        return OK;
    g->left--;
    mem_free(one);
    return FAIL_NO_MEMORY;
}

enum fail ask_all(struct ask *asks, unsigned count)
{
    struct world *world = world_real_new(0);
    struct asking *g = mem_zero(sizeof *g);
    enum fail f = world != NULL && g != NULL ? worker_init(&g->worker, world, 0) : FAIL_NO_MEMORY;
    if (f == OK) {
        for (unsigned i = 0; i < count && f == OK; i++)
            f = start(g, &asks[i]);
        if (g->left > 0) /* some were started, and they use asks */
            worker_run(&g->worker);
        worker_fini(&g->worker);
    }
    mem_free(g);
    if (world != NULL)
        world_real_free(world);
    return f;
}

void ask_fini(struct ask *a)
{
    buf_fini(&a->body);
}

const char *ask_why(const struct ask *a)
{
    return a->error != 0 ? strerror(a->error) : fail_row(a->fail)->text;
}
