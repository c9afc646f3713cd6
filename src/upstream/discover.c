/* discover.c: what a backend's address is and which models it has: asked when the server starts and every DISCOVER_NS, never on a request's way. */
#include "upstream/upstream.h"
#include "base/json.h"
#include "net/dns.h"
#include "net/http_write.h"
#include "stat/stat.h"
#include <string.h>

#define LIST_BYTES_MAX   (4u << 20)         /* the largest public list of models is 300 KB */
#define DISCOVER_WAIT_NS (5 * NANOS_PER_S)  /* one backend's answer; a slow one is asked again in the next round */
#define FIRST_ROUNDS     10                 /* while a backend has never answered: once a second, so that what starts together finds each other */

struct discovery {
    struct worker *worker;
    struct fleet *fleet;
    struct conns *conns;
    uint64_t known;     /* backends that have listed their models once */
};

struct question {
    struct discovery *discovery;
    struct backend *backend;
    struct roster *roster;
    const struct endpoint *endpoint;
};

static enum fail list_sink(void *arg, struct text bytes)
{
    return buf_add_text(arg, bytes);
}

static enum fail ask(struct task *t, struct question *q, struct arena *a, struct buf *out)
{
    const struct endpoint *e = q->endpoint;
    const struct http_head *head;
    struct conn *c;
    struct buf request;
    int error;
    nanos until = t->worker->now + DISCOVER_WAIT_NS;
    enum fail f = conns_take(t, q->discovery->conns, e, true, until, &c, &error);
    if (f != OK)
        return f;
    buf_init_secret(&request, 16384);
    conn_begin(c, a, false);
    f = models_request(e, &request);
    if (f == OK)
        f = conn_send(t, c, buf_text(&request), TEXT_NONE, until);
    if (f == OK)
        f = conn_head(t, c, until, &head);
    while (f == OK && !c->ended)
        f = conn_body(t, c, until, list_sink, out);
    if (f == OK && head->status != 200)
        f = FAIL_UPSTREAM;
    buf_fini(&request);
    if (f == OK)
        conns_give(q->discovery->conns, e, c);
    else
        conn_free(c);
    return f;
}

/* {"data":[{"id":"…"},…]} */
static enum fail take_list(struct question *q, struct arena *a, struct text body)
{
    yyjson_doc *doc;
    yyjson_val *row;
    size_t i, n;
    enum fail f = json_parse(a, body, &doc, NULL);
    if (f != OK)
        return FAIL_PROTOCOL;
    yyjson_val *data = yyjson_obj_get(yyjson_doc_get_root(doc), "data");
    struct text *names = arena_alloc(a, (yyjson_arr_size(data) + 1) * sizeof *names);
    uint32_t count = 0;
    if (names == NULL || !yyjson_is_arr(data))
        return names == NULL ? FAIL_NO_MEMORY : FAIL_PROTOCOL;
    yyjson_arr_foreach(data, i, n, row) {
        yyjson_val *id = yyjson_obj_get(row, "id");
        if (yyjson_is_str(id))
            names[count++] = (struct text){ yyjson_get_str(id), yyjson_get_len(id) };
    }
    return fleet_set_models(q->discovery->fleet, q->backend, names, count);
}

static void ask_one(struct task *t, void *arg)
{
    struct question *q = arg;
    struct arena a;
    struct buf body;
    struct addr addr;
    enum fail f = OK;
    bool named = q->endpoint->host.len > 0 && (!q->endpoint->has_addr || !addr_from_text(&addr, q->endpoint->host, q->endpoint->port));
    if (named) {
        f = dns_resolve(t, q->endpoint->host, q->endpoint->port, t->worker->now + DISCOVER_WAIT_NS, &addr);
        bool news = f == OK && (!q->endpoint->has_addr || addr.len != q->endpoint->addr.len || memcmp(&addr.any, &q->endpoint->addr.any, addr.len) != 0);
        if (news)
            f = fleet_set_addr(q->discovery->fleet, q->backend, &addr);
        roster_unref(q->roster);
        q->roster = fleet_roster(q->discovery->fleet);
        q->endpoint = roster_endpoint(q->roster, text_of(q->backend->name));
    }
    arena_init(&a, NULL, 0, 64u << 20);
    buf_init(&body, LIST_BYTES_MAX);
    if (f == OK && q->endpoint != NULL && q->endpoint->has_addr && q->endpoint->kind != CONF_KIND_LLAMA) {
        f = ask(t, q, &a, &body);
        if (f == OK)
            f = take_list(q, &a, buf_text(&body));
        if (f == OK)
            q->discovery->known |= backend_bit(q->backend);
    }
    if (f != OK && t->cancel == OK)
        log_line(t->worker, LOG_LEVEL_DEBUG, "discovery", "%s: %s", q->backend->name, fail_row(f)->text);
    buf_fini(&body);
    arena_fini(&a);
}

/* All backends at once: a dead one must not delay the others' news. */
static enum fail one_round(struct task *t, struct discovery *d, bool *out_all_known)
{
    struct question *questions;
    struct group g;
    uint32_t count;
    struct roster *r = fleet_roster(d->fleet);
    const struct endpoint *e = roster_endpoints(r, &count);
    enum fail f = OK;
    group_init(&g, t);
    uint32_t asked = MIN(count, BACKENDS_MAX);
    *out_all_known = false;
    questions = mem_alloc(BACKENDS_MAX * sizeof *questions);
    if (questions == NULL) {
        roster_unref(r);
        return FAIL_NO_MEMORY;
    }
    for (uint32_t i = 0; i < asked; i++) {
        questions[i] = (struct question){ d, e[i].backend, roster_ref(r), &e[i] };
        if (f == OK)
            f = group_start(&g, "discovery", ask_one, &questions[i], NULL);
    }
    if (f == OK)
        f = group_wait(&g, g.started, NEVER);
    group_end(&g);
    *out_all_known = true;
    for (uint32_t i = 0; i < asked; i++) {
        *out_all_known = *out_all_known && (d->known & backend_bit(e[i].backend));
        roster_unref(questions[i].roster);
    }
    mem_free(questions);
    roster_unref(r);
    return f;
}

static void discover(struct task *t, void *arg)
{
    struct discovery *d = arg;
    bool all_known;
    for (unsigned round = 0;; round++) {
        enum fail f = one_round(t, d, &all_known);
        nanos pause = all_known || round >= FIRST_ROUNDS ? DISCOVER_NS : NANOS_PER_S;
        if (f != OK && f != FAIL_BUSY && f != FAIL_NO_MEMORY)
            break;
        if (task_sleep(t, t->worker->now + pause) != OK)
            break;
    }
    mem_free(d);
}

enum fail upstream_discover(struct worker *w, struct fleet *f, struct conns *cs)
{
    struct discovery *d = mem_zero(sizeof *d);
    if (d == NULL)
        return FAIL_NO_MEMORY;
    d->worker = w;
    d->fleet = f;
    d->conns = cs;
    if (task_start(w, "discover", discover, d) == NULL) {
        mem_free(d);
        return FAIL_NO_MEMORY;
    }
    return OK;
}
