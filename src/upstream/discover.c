/* discover.c: where a backend is and which models it has: asked when the server starts and again and again after that, never on a request's way. */
#include "upstream/upstream.h"
#include "base/json.h"
#include "net/http_write.h"
#include "stat/stat.h"
#include <string.h>

#define LIST_BYTES_MAX   (4u << 20)         /* the largest public list of models is 300 KB */
#define DISCOVER_WAIT_NS (5 * NANOS_PER_S)  /* one backend's answer; a slow one is asked again in the next round */
#define FIRST_TIMES      10                 /* while a backend has never answered: once a second, so that what starts together finds each other */
#define LOOK_NS          NANOS_PER_S        /* how soon a due name, or a backend that a reload brought, is noticed */
#define NAME_TTL_MIN     (5 * NANOS_PER_S)  /* a TTL of 0 (hosts file too) is no reason to ask all the time */
#define NAME_TTL_MAX     (300 * NANOS_PER_S) /* who moves a machine should not have to wait for a TTL of a day */
#define NAME_RETRY_MAX   (30 * NANOS_PER_S) /* after 1, 2, 4 ... seconds */

/* What was found out about one backend, and when to look again; a moment of 0 is now. */
struct finding {
    uint32_t place;             /* the version of the place that this is about */
    nanos resolve_at, ask_at;
    unsigned failures;          /* to resolve, in a row */
    unsigned asked;
    bool known;                 /* it has listed its models once */
};

struct discovery {
    struct worker *worker;
    struct fleet *fleet;
    struct conns *conns;
    struct dns *dns;
    struct health health;
    struct finding findings[BACKENDS_MAX];
};

struct question {
    struct discovery *discovery;
    struct finding *finding;
    struct roster *roster;
    const struct endpoint *endpoint;
};

static enum fail list_sink(void *arg, struct text bytes)
{
    return buf_add_text(arg, bytes);
}

enum fail upstream_get(struct task *t, struct conns *cs, const struct endpoint *e, struct text path, nanos until,
                       enum fail (*sink)(void *arg, struct text bytes), void *arg, int *out_status)
{
    const struct http_head *head;
    struct conn *c;
    struct buf request;
    struct arena a;
    enum fail f = conns_take(t, cs, e, true, until, &c);
    if (f != OK)
        return f;
    arena_init(&a, NULL, 0, 16 * CONN_HEAD_BYTES_MAX);
    buf_init_secret(&request, 16384);
    conn_begin(c, &a, false);
    f = compose_get(e, path, &request);
    if (f == OK)
        f = conn_send(t, c, buf_text(&request), TEXT_NONE, until);
    if (f == OK)
        f = conn_head(t, c, until, &head);
    if (f == OK)
        *out_status = head->status;
    while (f == OK && !c->ended)
        f = conn_body(t, c, until, sink, arg);
    buf_fini(&request);
    if (f == OK)
        conns_give(cs, e, c);
    else
        conn_free(c);
    arena_fini(&a);
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
    return fleet_set_models(q->discovery->fleet, q->endpoint->backend, names, count);
}

/* ---- its name ---- */

nanos discover_pause(nanos ttl, unsigned failures)
{
    if (failures == 0)
        return MIN(MAX(ttl, NAME_TTL_MIN), NAME_TTL_MAX);
    return failures > 5 ? NAME_RETRY_MAX : MIN(NANOS_PER_S << (failures - 1), NAME_RETRY_MAX);
}

static bool is_name(const struct endpoint *e)
{
    struct addr a;
    return e->dial_host.len > 0 && !addr_from_text(&a, e->dial_host, e->dial_port);
}

/* The roster has changed under the question: the endpoint as it is now. */
static void look_again(struct question *q)
{
    struct backend *b = q->endpoint->backend;
    roster_unref(q->roster);
    q->roster = fleet_roster(q->discovery->fleet);
    q->endpoint = roster_endpoint(q->roster, text_of(b->name));
}

/* Whatever goes wrong, the addresses that were good last stay: most of what a broken name server hides is where it was. */
static void resolve(struct task *t, struct question *q)
{
    struct dns_answer answer;
    struct finding *found = q->finding;
    const struct endpoint *e = q->endpoint;
    const char *servers = roster_conf(q->roster)->dns.servers;
    enum fail f = dns_resolve(t, q->discovery->dns, servers, e->dial_host, e->dial_port, t->worker->now + DISCOVER_WAIT_NS, &answer);
    if (f != OK && f != FAIL_NAME)
        return;
    COUNT(t->worker, names_asked);
    if (f == OK) {
        if (found->failures > 0)
            log_line(t->worker, LOG_LEVEL_INFO, "name", "%s: %.*s resolves again", e->backend->name, TEXT_ARG(e->dial_host));
        found->failures = 0;
        f = fleet_set_addrs(q->discovery->fleet, e, &answer.addrs);
    } else {
        COUNT(t->worker, names_failed);
        log_line(t->worker, found->failures++ == 0 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "name", "%s: %.*s does not resolve: %s%s", e->backend->name,
                 TEXT_ARG(e->dial_host), answer.why, e->addrs.count > 0 ? "; its last addresses are kept" : "");
    }
    atomic_store(&e->backend->name_why, found->failures > 0 ? answer.why : NULL);
    found->resolve_at = t->worker->now + discover_pause(answer.ttl, f == OK ? 0 : MAX(found->failures, 1u)); /* 1: no memory for a new roster */
    if (e->addrs.count == 0)
        found->ask_at = 0;
    look_again(q);
}

/* ---- one backend ---- */

static void ask_models(struct task *t, struct question *q)
{
    struct finding *found = q->finding;
    struct arena a;
    struct buf body;
    int status = 0;
    arena_init(&a, NULL, 0, 64u << 20);
    buf_init(&body, LIST_BYTES_MAX);
    enum fail f = upstream_get(t, q->discovery->conns, q->endpoint, TEXT("/v1/models"), t->worker->now + DISCOVER_WAIT_NS, list_sink, &body, &status);
    if (f == OK && status != 200)
        f = FAIL_UPSTREAM;
    if (f == OK)
        f = take_list(q, &a, buf_text(&body));
    found->known = found->known || f == OK;
    found->ask_at = t->worker->now + (found->known || ++found->asked >= FIRST_TIMES ? DISCOVER_NS : NANOS_PER_S);
    if (f != OK && t->cancel == OK)
        log_line(t->worker, LOG_LEVEL_DEBUG, "discovery", "%s: %s", q->endpoint->backend->name, fail_row(f)->text);
    buf_fini(&body);
    arena_fini(&a);
}

static void look_at(struct task *t, void *arg)
{
    struct question *q = arg;
    if (t->worker->now >= q->finding->resolve_at && is_name(q->endpoint))
        resolve(t, q);
    if (t->cancel == OK && q->endpoint != NULL && q->endpoint->addrs.count > 0 && t->worker->now >= q->finding->ask_at)
        ask_models(t, q);
}

static bool is_due(struct discovery *d, const struct endpoint *e)
{
    struct finding *found = &d->findings[e->backend->index];
    if (found->place != e->place_version) {
        *found = (struct finding){ .place = e->place_version };
        atomic_store(&e->backend->name_why, NULL);
    }
    if (e->kind == CONF_KIND_LLAMA)
        return false; /* the keeper's children: local.c knows where they are, and we know what they have */
    return (e->addrs.count > 0 && d->worker->now >= found->ask_at) || (d->worker->now >= found->resolve_at && is_name(e));
}

/* All backends at once: a dead one must not delay the others' news. */
static enum fail one_round(struct task *t, struct discovery *d)
{
    struct question *questions;
    struct group g;
    uint32_t count, started = 0;
    struct roster *r = fleet_roster(d->fleet);
    const struct endpoint *e = roster_endpoints(r, &count);
    enum fail f = OK;
    group_init(&g, t);
    questions = mem_alloc(BACKENDS_MAX * sizeof *questions);
    if (questions == NULL)
        f = FAIL_NO_MEMORY;
    for (uint32_t i = 0; i < MIN(count, BACKENDS_MAX) && f == OK; i++) {
        if (!is_due(d, &e[i]))
            continue;
        questions[started] = (struct question){ d, &d->findings[e[i].backend->index], roster_ref(r), &e[i] };
        f = group_start(&g, "discovery", look_at, &questions[started++], NULL);
    }
    if (f == OK)
        f = group_wait(&g, g.started, NEVER);
    group_end(&g);
    while (started > 0)
        roster_unref(questions[--started].roster);
    mem_free(questions);
    roster_unref(r);
    return f;
}

static void discover(struct task *t, void *arg)
{
    struct discovery *d = arg;
    struct group g;
    group_init(&g, t);
    for (;;) {
        enum fail f = one_round(t, d);
        if (f == OK && g.done == g.started && health_is_due(&d->health))
            f = group_start(&g, "health", health_watch, &d->health, NULL);
        if (f != OK && f != FAIL_BUSY && f != FAIL_NO_MEMORY)
            break;
        if (task_sleep(t, t->worker->now + LOOK_NS) != OK)
            break;
    }
    group_end(&g);
    mem_free(d);
}

enum fail upstream_discover(struct worker *w, struct fleet *f, struct conns *cs, struct dns *dns)
{
    struct discovery *d = mem_zero(sizeof *d);
    if (d == NULL)
        return FAIL_NO_MEMORY;
    d->worker = w;
    d->fleet = f;
    d->conns = cs;
    d->health = (struct health){ f, cs };
    d->dns = dns;
    if (task_start(w, "discover", discover, d) == NULL) {
        mem_free(d);
        return FAIL_NO_MEMORY;
    }
    return OK;
}
