/* gateway.c: the server process: what the workers share, their desks, and how rosters, drain and stop reach each of them. */
#include "serve/inner.h"
#include "base/account.h"
#include <string.h>

#define CACHE_TICK_NS NANOS_PER_S
#define CACHE_SHARE   4 /* of limits.memory, a quarter at most */
#define NEWS_AGAIN_NS (10 * NANOS_PER_MS)
#define RETIRE_IDLE_NS (2 * NANOS_PER_S) /* a client that has asked nothing for this long is not just about to: its connection to a retiring server may end */

struct fleet *gateway_fleet(struct gateway *g) { return g->fleet; }
struct limits *gateway_limits(struct gateway *g) { return g->limits; }
struct store *gateway_store(struct gateway *g) { return g->store; }
struct stats *gateway_stats(struct gateway *g) { return &g->stats; }
struct worker *gateway_worker(struct gateway *g, unsigned i) { return &g->worker[i]; }
unsigned gateway_workers(const struct gateway *g) { return g->workers; }
bool gateway_is_draining(const struct gateway *g) { return atomic_load(&g->draining); }
bool gateway_is_ready(const struct gateway *g) { return atomic_load(&g->ready) && !atomic_load(&g->draining); }

/* Never so much that what is kept keeps out who asks: requests are refused when seven eighths are in use. */
static struct cache_limits cache_limits_of(const struct conf *c)
{
    uint64_t ceiling = account_limit_now(), bytes = c->cache.exact.memory;
    return (struct cache_limits){ .bytes = ceiling > 0 ? MIN(bytes, ceiling / CACHE_SHARE) : bytes, .entries = c->cache.exact.entries };
}

static void cache_timer(struct worker *w, struct timer *self)
{
    struct desk *d = w->owner;
    cache_tick(w, d->cache);
    timer_set(w, self, w->now + CACHE_TICK_NS);
}

/* Of any instance, this one too. */
static void dropped_somewhere(struct task *t, const struct cache_match *match, void *cache)
{
    uint64_t count;
    (void)!cache_drop(t, cache, match, &count); /* a task that must end has no workers behind it any more */
}

static struct shared *shared_of(struct gateway *g, struct worker *w, const struct conf *c)
{
    const struct shared_options o = { .server = g->redis, .wait = c->redis.wait, .dropped = w->index == 0 ? dropped_somewhere : NULL, .arg = g->cache };
    return shared_new(w, &o);
}

/* ---- a desk ---- */

static struct http_server_options server_options(struct desk *d, http_handler *handle)
{
    const struct conf *c = d->view->conf;
    return (struct http_server_options){
        .handle = handle, .refusal = serve_refusal, .user = d,
        .header_timeout = c->timeouts.header, .body_timeout = c->timeouts.body, .write_timeout = c->timeouts.write,
        .body_bytes_max = c->limits.body, .head_bytes_max = (uint32_t)c->limits.header,
        .connections_max = c->limits.connections > 0 ? c->limits.connections : UINT32_MAX,
        .spares_memory = handle == serve_request, /* the operator is let in when clients are not */
    };
}

/* The admin socket is a file with rights of its own, and stays plain. */
static struct http_server_options client_options(struct desk *d)
{
    struct http_server_options o = server_options(d, serve_request);
    o.connections = &d->gateway->connections;
    o.tls = d->view->conf->tls.context;
    return o;
}

/* Turns the desk to the roster that waits for it, and to the store's keys. Short of memory it comes again by the clock, and until then nobody is let in if keys may
   have changed: a revoked one must not stay valid for lack of memory. */
static void read_news(struct worker *w, struct timer *self)
{
    struct desk *d = CONTAINER_OF(self, struct desk, read_again);
    struct roster *roster = d->news != NULL ? d->news : d->view->roster;
    const struct conf *conf = roster_conf(roster);
    bool is_new = conf != d->view->conf || d->keys_changed;
    struct auth *auth = is_new ? stored_auth(d, conf) : NULL;
    struct view *next = is_new && auth == NULL ? NULL : view_new(roster_ref(roster));
    if (is_new) {
        auth_free(d->auth);
        d->auth = next != NULL ? auth : NULL;
    }
    if (next == NULL) {
        auth_free(auth);
        timer_set(w, self, w->now + NEWS_AGAIN_NS);
        return;
    }
    timer_stop(w, self);
    roster_unref(d->news);
    d->news = NULL;
    d->keys_changed = false;
    view_give(d->view);
    d->view = next;
    lane_forget_all(d);
    struct cache_limits room = cache_limits_of(conf);
    if (is_new)
        cache_limit(w, d->cache, &room);
    struct http_server_options clients = client_options(d), admins = server_options(d, serve_admin);
    http_server_options(d->server, &clients);
    http_server_options(d->admin_server, &admins);
}

static enum fail desk_open(struct gateway *g, unsigned i)
{
    struct desk *d = &g->desk[i];
    struct worker *w = &g->worker[i];
    d->gateway = g;
    d->limits = g->limits;
    d->cache = g->cache;
    d->joins = g->joins;
    d->worker = w;
    d->asked_until = g->asked_until;
    d->view = view_new(fleet_roster(g->fleet));
    if (d->view == NULL)
        return FAIL_NO_MEMORY;
    w->owner = d;
    d->read_again.fire = read_news;
    d->cache_tick.fire = cache_timer;
    if (i == 0)
        timer_set(w, &d->cache_tick, w->now + CACHE_TICK_NS);
    hangar_init(&d->hangar);
    d->share = g->redis != NULL ? share_link_new(w, g->redis, d->view->conf->redis.wait) : NULL;
    bool shares = g->redis != NULL && d->view->conf->cache.shared.enabled == CONF_ON;
    d->shared = shares ? shared_of(g, w, d->view->conf) : NULL;
    d->conns = conns_new(w);
    d->auth = stored_auth(d, d->view->conf);
    d->stories = stories_new();
    struct http_server_options clients = client_options(d), admins = server_options(d, serve_admin);
    d->server = http_server_new(w, &clients);
    d->admin_server = http_server_new(w, &admins);
    if ((g->redis != NULL && d->share == NULL) || (shares && d->shared == NULL) || d->conns == NULL || d->auth == NULL || d->stories == NULL || d->server == NULL ||
        d->admin_server == NULL)
        return FAIL_NO_MEMORY;
    enum fail f = OK;
    for (unsigned k = 0; k < g->options.listener_count && f == OK; k++)
        f = http_server_listen(d->server, g->options.listeners[k]);
    for (unsigned k = 0; k < g->options.admin_listener_count && f == OK && i == 0; k++)
        f = http_server_listen(d->admin_server, g->options.admin_listeners[k]);
    return f;
}

static void desk_close(struct desk *d)
{
    if (d->server != NULL)
        http_server_free(d->server);
    if (d->admin_server != NULL)
        http_server_free(d->admin_server);
    share_link_free(d->share);
    shared_free(d->shared);
    lane_forget_all(d);
    conns_free(d->conns);
    auth_free(d->auth);
    stories_free(d->stories);
    if (d->worker != NULL && d->worker->owner == d) {
        hangar_fini(&d->hangar);
        timer_stop(d->worker, &d->read_again);
        timer_stop(d->worker, &d->cache_tick);
    }
    roster_unref(d->news);
    view_give(d->view);
}

/* ---- news for every worker ---- */

static void take_roster(struct worker *w, void *arg, uint64_t number)
{
    struct desk *d = w->owner;
    (void)number;
    roster_unref(d->news);
    d->news = arg; /* with the letter's reference */
    read_news(w, &d->read_again);
    if (d->news != NULL)
        log_line(w, LOG_LEVEL_ERROR, "out_of_memory", "this worker cannot take the new roster yet; it tries again every 10 ms");
}

static void roster_changed(struct fleet *f, void *arg)
{
    struct gateway *g = arg;
    for (unsigned i = 0; i < g->workers; i++)
        if (g->worker[i].magic == WORKER_MAGIC && g->worker[i].owner != NULL)
            mail_send(&g->worker[i], take_roster, fleet_roster(f), 0);
}

/* ---- all desks, one after another ---- */

struct round {
    struct gateway *gateway;
    void (*fn)(struct desk *d, void *arg);
    void *arg;
    struct task_ref asker;
    unsigned next;
    bool done;
};

static void visit(struct worker *w, void *arg, uint64_t number)
{
    struct round *r = arg;
    (void)number;
    r->fn(w->owner, r->arg);
    if (++r->next < r->gateway->workers) {
        mail_send(&r->gateway->worker[r->next], visit, r, 0);
        return;
    }
    struct task_ref asker = r->asker;
    __atomic_store_n(&r->done, true, __ATOMIC_RELEASE); /* from here on r may be gone */
    task_wake_mail(asker);
}

void gateway_each_desk(struct task *t, struct gateway *g, void (*fn)(struct desk *d, void *arg), void *arg)
{
    struct round r = { g, fn, arg, task_ref(t), 0, false };
    bool shield = t->shield;
    t->shield = true; /* the letter holds a pointer to this stack: nothing ends this wait but its return */
    mail_send(&g->worker[0], visit, &r, 0);
    while (!__atomic_load_n(&r.done, __ATOMIC_ACQUIRE)) {
        enum fail f = task_park(t, "workers", NEVER);
        ASSERT(f == OK);
    }
    t->shield = shield;
}

/* ---- drain and stop ---- */

static void cancel_root(struct task *t, void *arg)
{
    (void)arg;
    if (t->group == NULL)
        task_cancel(t, FAIL_DRAINING);
}

/* A worker reads its letters until no worker has a task that could write one: a round (gateway_each_desk) that came to a desk whose worker has ended would
   never return, and a roster's reference would be lost. */
static void settle_timer(struct worker *w, struct timer *self)
{
    struct desk *d = w->owner;
    struct gateway *g = d->gateway;
    bool all = true;
    task_each(w, cancel_root, NULL); /* again: a task may have started another one that is its own root */
    atomic_store(&d->settled, task_count(w) == 0 && w->jobs == 0);
    for (unsigned i = 0; i < g->workers; i++) {
        all = all && atomic_load(&g->desk[i].settled);
    }
    for (unsigned i = 0; i < g->workers && all; i++)
        worker_stop(&g->worker[i]);
    if (!all)
        timer_set(w, self, w->now + NANOS_PER_MS);
}

static void stop_letter(struct worker *w, void *arg, uint64_t number)
{
    struct desk *d = w->owner;
    (void)arg, (void)number;
    http_server_drain(d->server);
    http_server_drain(d->admin_server);
    http_server_end(d->server); /* or a head that was half read could become a request that asks a worker which has ended (settle_timer) */
    http_server_end(d->admin_server);
    task_each(w, cancel_root, NULL);
    d->drain.fire = settle_timer;
    timer_set(w, &d->drain, w->now);
}

void gateway_stop(struct gateway *g)
{
    atomic_store(&g->draining, true);
    for (unsigned i = 0; i < g->workers; i++)
        mail_send(&g->worker[i], stop_letter, NULL, 0);
}

/* No request is left; where another server has taken over, no client either, since each may be about to ask. */
static bool desk_is_quiet(struct desk *d)
{
    if (!atomic_load(&d->gateway->draining) && atomic_load(&d->gateway->retiring)) {
        http_server_sweep(d->server, RETIRE_IDLE_NS);
        http_server_sweep(d->admin_server, RETIRE_IDLE_NS);
        return http_server_connections(d->server) == 0 && http_server_connections(d->admin_server) == 0;
    }
    return http_server_is_quiet(d->server) && http_server_is_quiet(d->admin_server);
}

/* The workers stop as soon as the last request of all has ended, or when timeouts.drain is over: the operator, whom worker 0 serves, may look on until then. */
static void drain_timer(struct worker *w, struct timer *self)
{
    struct desk *d = w->owner;
    struct gateway *g = d->gateway;
    bool all = true;
    atomic_store(&d->quiet, desk_is_quiet(d));
    for (unsigned i = 0; i < g->workers; i++)
        all = all && atomic_load(&g->desk[i].quiet);
    if (w->now >= d->drain_until || all)
        stop_letter(w, NULL, 0);
    else
        timer_set(w, self, w->now + 20 * NANOS_PER_MS);
}

static void drain_letter(struct worker *w, void *arg, uint64_t number)
{
    struct desk *d = w->owner;
    (void)arg, (void)number;
    http_server_drain(d->server);
    d->drain_until = w->now + d->view->conf->timeouts.drain;
    d->drain.fire = drain_timer;
    timer_set(w, &d->drain, w->now);
}

void gateway_drain(struct gateway *g)
{
    if (atomic_exchange(&g->draining, true))
        return;
    for (unsigned i = 0; i < g->workers; i++)
        mail_send(&g->worker[i], drain_letter, NULL, 0);
}

static void retire_letter(struct worker *w, void *arg, uint64_t number)
{
    struct desk *d = w->owner;
    (void)arg, (void)number;
    http_server_retire(d->server);
    http_server_retire(d->admin_server);
    d->drain_until = w->now + d->view->conf->timeouts.upgrade;
    d->drain.fire = drain_timer;
    timer_set(w, &d->drain, w->now);
}

void gateway_retire(struct gateway *g)
{
    if (atomic_load(&g->draining) || atomic_exchange(&g->retiring, true))
        return;
    for (unsigned i = 0; i < g->workers; i++)
        mail_send(&g->worker[i], retire_letter, NULL, 0);
}

/* ---- the whole ---- */

/* What all workers share with other instances. */
static struct redis_server *find_redis(const struct gateway_options *o)
{
    const struct conf_redis *r = &o->conf->redis.server;
    struct redis_place place = { r->host, r->user, r->password, o->conf->dns.servers, r->port, r->db };
    return redis_server_new(&place, o->dns);
}

enum fail gateway_new(const struct gateway_options *o, struct gateway **out)
{
    struct gateway *g = mem_zero(sizeof *g);
    if (g == NULL)
        return FAIL_NO_MEMORY;
    g->magic = GATEWAY_MAGIC;
    g->options = *o;
    g->world = o->world;
    account_limit(o->conf->limits.memory);
    stat_init(&g->stats, o->world, o->log, o->version, step_names, STEP_COUNT);
    g->limits = limits_new(o->world);
    g->joins = joins_new(o->world);
    enum fail f = g->limits == NULL || g->joins == NULL ? FAIL_NO_MEMORY : fleet_new(o->world, &g->fleet);
    if (f == OK)
        f = fleet_apply(g->fleet, o->conf);
    struct cache_limits room = cache_limits_of(o->conf);
    if (f == OK && (g->cache = cache_new(o->world, &room)) == NULL)
        f = FAIL_NO_MEMORY;
    if (f == OK && o->conf->redis.server.url != NULL) {
        g->redis = find_redis(o);
        f = g->redis != NULL ? OK : FAIL_NO_MEMORY;
    }
    if (f == OK && o->store != NULL)
        f = stored_open(g, o, &g->store);
    for (unsigned i = 0; i < o->workers && f == OK; i++) {
        f = worker_init(&g->worker[i], o->world, i);
        if (f != OK)
            break;
        g->workers = i + 1;
        f = stat_attach(&g->stats, &g->worker[i]);
        if (f == OK)
            f = desk_open(g, i);
    }
    if (f == OK) {
        fleet_on_change(g->fleet, roster_changed, g);
        stat_add_source(&g->stats, backend_numbers(g->fleet));
        stat_add_source(&g->stats, memory_numbers());
        stat_add_source(&g->stats, limits_numbers(g->limits));
        stat_add_source(&g->stats, cache_numbers(g->cache));
        reload_begin(g);
    }
    if (f == OK && g->store != NULL) {
        stat_add_source(&g->stats, store_numbers(g->store));
        f = store_start(g->store); /* from here on it may write to the workers */
    }
    if (f == OK) /* the last that may fail: nobody ends a task whose worker never ran */
        f = upstream_discover(&g->worker[0], g->fleet, g->desk[0].conns, o->dns);
    if (f != OK) {
        gateway_free(g);
        return f;
    }
    atomic_store(&g->ready, true);
    *out = g;
    return OK;
}

void gateway_run_worker(struct gateway *g, unsigned i)
{
    CHECK(g, GATEWAY);
    worker_run(&g->worker[i]);
}

void gateway_free(struct gateway *g)
{
    if (g == NULL)
        return;
    CHECK(g, GATEWAY);
    store_free(g->store);
    reload_end(g);
    for (unsigned i = 0; i < g->workers; i++) {
        timer_stop(&g->worker[i], &g->desk[i].drain);
        desk_close(&g->desk[i]);
    }
    for (unsigned i = 0; i < g->workers; i++) {
        stat_detach(&g->worker[i]);
        worker_fini(&g->worker[i]);
    }
    if (g->fleet != NULL)
        fleet_free(g->fleet); /* after the workers: its timers lie in their heaps */
    if (g->cache != NULL)
        cache_free(g->cache);
    redis_server_free(g->redis);
    limits_free(g->limits);
    joins_free(g->joins);
    stat_fini(&g->stats);
    mem_free(g);
    account_limit(0);
}
