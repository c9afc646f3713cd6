/* local.c: watches the local models that the keeper runs: asks a started one for its health, and tells the fleet where it is. */
#include "upstream/local.h"
#include "net/http_client.h"
#include "stat/stat.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#define HEALTH_WAIT_NS (500 * NANOS_PER_MS) /* llama-server answers at once, also while it loads (503) */

struct local {
    struct worker *worker;
    struct fleet *fleet;
    struct local_state *rows;
    unsigned count;
    void (*wanted)(void *arg);
    void *arg;
    uint32_t healthy[LOCAL_COUNT]; /* the generation that answered 200; 0 = none */
    nanos seen[LOCAL_COUNT];       /* when the generation under way was first seen */
    uint32_t seen_generation[LOCAL_COUNT];
};

/* For local_why, which is asked by every worker. NULL in a process without a keeper: tests, and simulated gateways. */
static _Atomic(struct local_state *) watched;

static const struct local_row rows_of[LOCAL_COUNT] = {
#define LOCAL(id, name, file, what) [LOCAL_##id] = { name, file, what },
#include "upstream/local_models.def"
#undef LOCAL
};

const struct local_row *local_row(enum local_model model)
{
    ASSERT(model < LOCAL_COUNT);
    return &rows_of[model];
}

enum local_model local_find(const char *name)
{
    for (enum local_model m = 0; m < LOCAL_COUNT; m++)
        if (text_eq(text_of(rows_of[m].name), text_of(name)))
            return m;
    return LOCAL_COUNT;
}

uint32_t local_slots_wanted(const struct conf *conf, enum local_model model)
{
    uint32_t most = 0;
    for (uint32_t i = 0; conf != NULL && i < conf->backends_count; i++) {
        const struct conf_backend *b = &conf->backends[i];
        if (b->kind == CONF_KIND_LLAMA && local_find(b->model) == model)
            most = MAX(most, b->slots != 0 ? MIN(b->slots, LOCAL_SLOTS_MAX) : LOCAL_SLOTS_AUTO);
    }
    return most;
}

/* ---- health ---- */

static enum fail ignore(void *arg, struct text bytes)
{
    (void)arg, (void)bytes;
    return OK;
}

static void loopback(struct addr *a, uint16_t port)
{
    bool ok = addr_from_text(a, TEXT("127.0.0.1"), port);
    ASSERT(ok);
}

static bool answers_health(struct task *t, uint16_t port)
{
    static const struct text request = TEXT("GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    nanos until = t->worker->now + HEALTH_WAIT_NS;
    const struct http_head *head;
    struct arena a;
    struct addr to;
    struct conn *c;
    int error, status = 0;
    loopback(&to, port);
    if (conn_open(t, &to, until, &c, &error) != OK)
        return false;
    arena_init(&a, NULL, 0, 2 * CONN_HEAD_BYTES_MAX);
    conn_begin(c, &a, false);
    enum fail f = conn_send(t, c, request, TEXT_NONE, until);
    if (f == OK)
        f = conn_head(t, c, until, &head);
    if (f == OK)
        status = head->status;
    while (f == OK && !c->ended)
        f = conn_body(t, c, until, ignore, NULL);
    conn_free(c);
    arena_fini(&a);
    return status == 200;
}

/* ---- a look at every row ---- */

static void look(struct task *t, struct local *l, enum local_model m)
{
    struct local_state *row = &l->rows[m];
    uint32_t generation = atomic_load(&row->generation);
    if (atomic_load(&row->phase) != LOCAL_RUNNING || (l->healthy[m] != 0 && l->healthy[m] != generation)) {
        if (l->healthy[m] != 0)
            log_line(t->worker, LOG_LEVEL_WARN, "local_down", "%s does not run any more", rows_of[m].name);
        l->healthy[m] = 0;
        return;
    }
    if (l->healthy[m] == generation)
        return;
    if (l->seen_generation[m] != generation) {
        l->seen_generation[m] = generation;
        l->seen[m] = t->worker->now;
    }
    if (!answers_health(t, (uint16_t)atomic_load(&row->port)) || atomic_load(&row->generation) != generation)
        return;
    l->healthy[m] = generation;
    log_line(t->worker, LOG_LEVEL_INFO, "local_up", "%s answers on port %u after %lld ms", rows_of[m].name, (unsigned)atomic_load(&row->port),
             (long long)((t->worker->now - l->seen[m]) / NANOS_PER_MS));
}

/* Makes one endpoint agree with its row. FAIL_NO_MEMORY is tried again at the next look. */
static void tell_fleet(struct local *l, const struct endpoint *e)
{
    enum local_model m = local_find(e->conf->model);
    struct addrs addrs = { .count = 0 };
    if (m < l->count && l->healthy[m] != 0)
        loopback(&addrs.at[addrs.count++], (uint16_t)atomic_load(&l->rows[m].port));
    enum fail f = fleet_set_addrs(l->fleet, e, &addrs);
    if (f != OK)
        log_line(l->worker, LOG_LEVEL_ERROR, "local", "%s: %s", e->backend->name, fail_row(f)->text);
}

static void tell_keeper(struct local *l, const struct conf *conf)
{
    bool news = false;
    for (enum local_model m = 0; m < l->count; m++) {
        uint32_t slots = local_slots_wanted(conf, m);
        news |= atomic_exchange(&l->rows[m].slots, slots) != slots;
    }
    if (news && l->wanted != NULL)
        l->wanted(l->arg);
}

static void watch_rows(struct task *t, void *arg)
{
    struct local *l = arg;
    do {
        for (enum local_model m = 0; m < l->count; m++)
            look(t, l, m);
        uint32_t count;
        struct roster *r = fleet_roster(l->fleet);
        const struct endpoint *e = roster_endpoints(r, &count);
        tell_keeper(l, roster_conf(r));
        for (uint32_t i = 0; i < count; i++)
            if (e[i].kind == CONF_KIND_LLAMA)
                tell_fleet(l, &e[i]);
        roster_unref(r);
    } while (task_sleep(t, t->worker->now + LOCAL_WATCH_NS) == OK);
    mem_free(l);
}

enum fail local_watch(struct worker *w, struct fleet *f, struct local_state *rows, unsigned count, void (*wanted)(void *arg), void *arg)
{
    struct local *l = mem_zero(sizeof *l);
    if (l == NULL)
        return FAIL_NO_MEMORY;
    *l = (struct local){ .worker = w, .fleet = f, .rows = rows, .count = MIN(count, (unsigned)LOCAL_COUNT), .wanted = wanted, .arg = arg };
    atomic_store(&watched, rows);
    if (task_start(w, "local models", watch_rows, l) == NULL) {
        mem_free(l);
        return FAIL_NO_MEMORY;
    }
    return OK;
}

/* Looks at the row, not only at the address: that of a model which has just died stays in the roster until the next look. */
const char *local_why(const struct endpoint *e, bool *out_is_starting)
{
    struct local_state *rows = atomic_load(&watched);
    *out_is_starting = false;
    if (e->kind != CONF_KIND_LLAMA || (rows == NULL && e->addrs.count > 0))
        return NULL;
    enum local_model m = local_find(e->conf->model);
    if (m == LOCAL_COUNT)
        return "is no local model: kind llama knows smollm2 (chat) and all-minilm-l6-v2 (embeddings)";
    if (rows == NULL)
        return "is not started by this process: weir serve starts it";
    enum local_phase phase = (enum local_phase)atomic_load(&rows[m].phase);
    if (phase == LOCAL_RUNNING && e->addrs.count > 0 && ntohs(e->addrs.at[0].in.sin_port) == atomic_load(&rows[m].port))
        return NULL;
    if (phase == LOCAL_MISSING)
        return "is not installed: tools/local-model.sh (or ./run) makes it, and weir starts it as soon as its files are there";
    *out_is_starting = true;
    return phase == LOCAL_DOWN ? "has stopped and is being started again" : "is starting";
}
