/* status.c: the fleet as JSON, for `weir status` and the pages of admin. Walks a roster, not the fleet, so any worker may print. */
#include "base/json.h"
#include "fleet/inner.h"
#include <stdio.h>

/* One failure ends a print; what follows does nothing. */
struct print {
    struct buf *out;
    enum fail failure;
};
#define PRINT(p, call) ((p)->failure = (p)->failure == OK ? (call) : (p)->failure)

static void print_name(struct print *p, const char *key, const char *value)
{
    PRINT(p, buf_printf(p->out, "\"%s\":", key));
    PRINT(p, json_add_string(p->out, text_of(value)));
}

static void print_number(struct print *p, const char *key, uint64_t value)
{
    PRINT(p, buf_printf(p->out, ",\"%s\":%llu", key, (unsigned long long)value));
}

static uint64_t count_of(const _Atomic uint64_t *counter) { return atomic_load_explicit(counter, memory_order_relaxed); }

/* From its parts: what was written in the file may have held a password. */
static void print_url(struct print *p, const struct endpoint *e)
{
    if (e->host.len == 0)
        return;
    bool is_v6 = text_find(e->host, TEXT(":")) >= 0;
    char url[640];
    int n = snprintf(url, sizeof url, "http://%s%.*s%s:%u%.*s", is_v6 ? "[" : "", TEXT_ARG(e->host), is_v6 ? "]" : "", e->port, TEXT_ARG(e->base));
    PRINT(p, buf_printf(p->out, ",\"url\":"));
    PRINT(p, json_add_string(p->out, (struct text){ url, MIN((size_t)n, sizeof url - 1) }));
}

/* Where connections go, and why its name does not resolve; never a proxy's credentials. */
static void print_addresses(struct print *p, const struct endpoint *e)
{
    char text[64];
    const char *why = atomic_load_explicit(&e->backend->name_why, memory_order_relaxed);
    if (e->proxy != NULL) {
        PRINT(p, buf_printf(p->out, ",\"proxy\":"));
        PRINT(p, json_add_string(p->out, e->dial_host));
        print_number(p, "proxy_port", e->dial_port);
    }
    PRINT(p, buf_printf(p->out, ",\"addresses\":["));
    for (uint32_t i = 0; i < e->addrs.count; i++)
        PRINT(p, buf_printf(p->out, "%s\"%s\"", i > 0 ? "," : "", addr_print(&e->addrs.at[i], text)));
    PRINT(p, buf_printf(p->out, "]"));
    if (why != NULL) {
        PRINT(p, buf_printf(p->out, ","));
        print_name(p, "name_error", why);
    }
}

/* e: NULL for one that is no longer configured. */
static void print_backend(struct print *p, const struct backend *b, const struct endpoint *e, nanos now)
{
    nanos avoid_until = MAX(nanos_now(&b->avoid_until), nanos_now(&b->hold_until));
    PRINT(p, buf_printf(p->out, "{"));
    print_name(p, "name", b->name);
    if (e != NULL) {
        PRINT(p, buf_printf(p->out, ",\"kind\":\"%s\"", conf_kind_name(e->kind)));
        print_url(p, e);
        print_addresses(p, e);
    }
    print_number(p, "limit", atomic_load_explicit(&b->limit, memory_order_relaxed));
    if (e != NULL && e->conf->concurrency == CONF_CONCURRENCY_ADAPTIVE)
        PRINT(p, buf_printf(p->out, ",\"adaptive\":true"));
    print_number(p, "in_flight", atomic_load_explicit(&b->in_flight, memory_order_relaxed));
    print_number(p, "avoided_ms", (uint64_t)(MAX(avoid_until - now, 0) / NANOS_PER_MS));
    print_number(p, "first_token_ms", (uint64_t)(atomic_load_explicit(&b->first_token, memory_order_relaxed) / NANOS_PER_MS));
    PRINT(p, buf_printf(p->out, ",\"breaker\":\"%s\"", breaker_name(count_now(&b->breaker))));
    print_number(p, "open_ms", (uint64_t)(MAX(nanos_now(&b->open_until) - now, 0) / NANOS_PER_MS));
    print_number(p, "opened", count_now(&b->opened));
    print_number(p, "attempts", count_of(&b->attempts));
    print_number(p, "failures", count_of(&b->failures));
    print_number(p, "tokens_in", count_of(&b->tokens_in));
    print_number(p, "tokens_out", count_of(&b->tokens_out));
    PRINT(p, buf_printf(p->out, "}"));
}

static void print_set(struct print *p, const struct roster *r, const char *key, uint64_t set)
{
    PRINT(p, buf_printf(p->out, ",\"%s\":[", key));
    for (uint64_t left = set; left != 0; left &= left - 1) {
        PRINT(p, json_add_string(p->out, text_of(r->by_index[__builtin_ctzll(left)]->backend->name)));
        if ((left & (left - 1)) != 0)
            PRINT(p, buf_printf(p->out, ","));
    }
    PRINT(p, buf_printf(p->out, "]"));
}

static void print_by_class(struct print *p, const char *key, const struct pool *pool)
{
    PRINT(p, buf_printf(p->out, ",\"%s\":{", key));
    for (int c = CONF_CLASS_HIGH; c >= CONF_CLASS_LOW; c--)
        PRINT(p, buf_printf(p->out, "%s\"%s\":%u", c == CONF_CLASS_HIGH ? "" : ",", conf_class_name((enum conf_class)c), pool_waiting_of(pool, (enum conf_class)c)));
    PRINT(p, buf_printf(p->out, "}"));
}

static void print_pool(struct print *p, const struct roster *r, const struct pool *pool)
{
    const struct members *m = roster_members(r, pool);
    PRINT(p, buf_printf(p->out, "{"));
    print_name(p, "model", pool->name);
    print_set(p, r, "use", m->use);
    print_set(p, r, "fallback", m->fallback);
    PRINT(p, buf_printf(p->out, ",\"balance\":\"%s\"", conf_balance_name(m->balance)));
    print_number(p, "waiting", pool_waiting(pool));
    print_by_class(p, "waiting_by_class", pool);
    print_number(p, "queue_max", m->queue_max);
    print_number(p, "service_ms", (uint64_t)(atomic_load_explicit(&pool->service_ns, memory_order_relaxed) / NANOS_PER_MS));
    PRINT(p, buf_printf(p->out, "}"));
}

/* A removed backend is shown while requests are in flight there. */
static void print_backends(struct print *p, const struct fleet *f, const struct roster *r)
{
    nanos now = world_now(f->world);
    const char *separator = "";
    for (uint32_t i = 0; i < r->backends_known; i++) {
        const struct backend *b = f->backends[i];
        if (r->by_index[i] == NULL && atomic_load_explicit(&b->in_flight, memory_order_relaxed) == 0)
            continue;
        PRINT(p, buf_printf(p->out, "%s", separator));
        print_backend(p, b, r->by_index[i], now);
        separator = ",";
    }
}

enum fail fleet_print_json(struct fleet *f, struct buf *out)
{
    struct roster *r = fleet_roster(f);
    struct print p = { out, OK };
    PRINT(&p, buf_printf(out, "{\"backends\":["));
    print_backends(&p, f, r);
    PRINT(&p, buf_printf(out, "],\"pools\":["));
    for (uint32_t i = 0; i < r->names_count; i++) {
        PRINT(&p, buf_printf(out, "%s", i > 0 ? "," : ""));
        print_pool(&p, r, roster_find(r, text_of(r->names[i])));
    }
    PRINT(&p, buf_printf(out, "]"));
    print_number(&p, "models_left_out", r->names_left_out);
    PRINT(&p, buf_printf(out, "}"));
    roster_unref(r);
    return p.failure;
}
