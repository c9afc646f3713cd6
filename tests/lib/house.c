/* house.c: see house.h. */
#include "lib/house.h"
#include "base/account.h"
#include "base/mem.h"
#include "lib/actor.h"
#include "lib/tls_peer.h"
#include <stdio.h>
#include <string.h>

static bool load(const struct conf **out, struct complaint *why, void *arg)
{
    const struct house *h = arg;
    struct conf_options co = { .path = "test.yaml", .yaml = text_of(h->yaml) };
    return conf_load(&co, out, why);
}

void house_prepare(struct house *h, const struct sim_options *options, const char *yaml)
{
    struct complaint why;
    memset(h, 0, sizeof *h);
    h->yaml = yaml;
    names_init(&h->names);
    tls_peer_seed(options->seed);
    h->blocks_before = mem_alive();
    h->bytes_before = account_used();
    h->seed = options->seed;
    h->sim = sim_new(options);
    ASSERT(h->sim != NULL);
    h->world = sim_world(h->sim);
    if (!load(&h->conf, &why, h)) {
        fprintf(stderr, "house: %d:%d: %s\n", why.line, why.column, why.text);
        ASSERT(!"the test's configuration is refused");
    }
    ASSERT(addr_from_text(&h->address, text_of(h->conf->listen.host), h->conf->listen.port));
    addr_unix(&h->admin, "/run/weir/test.sock");
    h->listener = h->world->listen(h->world, &h->address);
    h->admin_listener = h->world->listen(h->world, &h->admin);
    ASSERT(h->listener >= 0 && h->admin_listener >= 0);
}

enum fail house_start(struct house *h)
{
    struct gateway_options go = { .world = h->world, .conf = h->conf, .workers = HOUSE_WORKERS, .listeners = &h->listener, .listener_count = 1,
                                  .admin_listeners = &h->admin_listener, .admin_listener_count = 1, .dns = &h->names.dns, .version = "test", .load = load, .load_arg = h };
    return gateway_new(&go, &h->gateway);
}

void house_inhabit(struct house *h)
{
    conf_unref(h->conf);
    enum fail f = worker_init(&h->outside, h->world, HOUSE_WORKERS);
    ASSERT(f == OK);
    for (unsigned i = 0; i < HOUSE_WORKERS; i++) {
        f = sim_worker(h->sim, i == 0 ? "worker 0" : "worker 1", gateway_worker(h->gateway, i));
        ASSERT(f == OK);
    }
    f = sim_worker(h->sim, "outside", &h->outside);
    ASSERT(f == OK);
    sim_spare(h->sim);
}

void house_open(struct house *h, const struct sim_options *options, const char *yaml)
{
    house_prepare(h, options, yaml);
    enum fail f = house_start(h);
    ASSERT(f == OK);
    house_inhabit(h);
}

struct task *house_task(struct house *h, const char *name, task_fn *fn, void *arg)
{
    struct task *t = task_start(&h->outside, name, fn, arg);
    ASSERT(t != NULL);
    return t;
}

static void answer_calls(struct task *t, void *arg)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 48\r\n\r\n{\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}";
    struct actor *a = arg;
    char in[2048];
    size_t n;
    while (actor_read(t, a, in, sizeof in, NEVER, &n) == OK && n > 0)
        if (actor_write_all(t, a, answer, sizeof answer - 1, NEVER) != OK)
            break;
    actor_close(a);
    mem_free(a);
}

void house_backend(struct task *t, void *arg)
{
    struct addr at;
    (void)arg;
    ASSERT(addr_from_text(&at, TEXT("10.0.0.1"), 8000));
    actor_serve(t, &at, answer_calls);
}

bool house_run(struct house *h, bool (*until)(void *arg), void *arg, nanos span)
{
    if (sim_run(h->sim, until, arg, span))
        return true;
    fprintf(stderr, "house: seed %llu: %s\n", (unsigned long long)h->seed, sim_why(h->sim));
    return false;
}

static bool gateway_ended(void *arg)
{
    struct house *h = arg;
    for (unsigned i = 0; i < HOUSE_WORKERS; i++) {
        struct worker *w = gateway_worker(h->gateway, i);
        if (!atomic_load(&w->stopping) || task_count(w) > 0)
            return false;
    }
    return true;
}

static void cancel(struct task *t, void *arg)
{
    (void)arg;
    if (t->group == NULL)
        task_cancel(t, FAIL_CANCELLED);
}

void house_leave(struct house *h)
{
    h->world->close(h->world, h->listener);
    h->world->close(h->world, h->admin_listener);
    ASSERT(sim_sockets_open(h->sim) == 0);
    sim_free(h->sim);
    tls_peer_seed(0);
    ASSERT(mem_alive() == h->blocks_before);
    ASSERT(account_used() == h->bytes_before);
}

void house_close(struct house *h)
{
    gateway_drain(h->gateway);
    ASSERT(house_run(h, gateway_ended, h, 700 * NANOS_PER_S));
    task_each(&h->outside, cancel, NULL);
    worker_stop(&h->outside);
    ASSERT(house_run(h, NULL, NULL, 10 * NANOS_PER_S));
    fleet_check(gateway_fleet(h->gateway));
    struct limits_sums limits = limits_check(gateway_limits(h->gateway));
    ASSERT(limits.in_flight == 0 && limits.held == 0 && limits.money_held == 0);
    gateway_free(h->gateway);
    worker_fini(&h->outside);
    house_leave(h);
}

uint64_t house_count(struct house *h, enum counter c)
{
    return stat_total(gateway_stats(h->gateway), c);
}
