/* flood.c: draws a seed's plan, runs it, and looks at what is left at its end. Called by tests/sim/test_gateway.c.

   At every release of the fleet's gate: free + granted + held = limit, and nobody waits while something is free (fleet_check_always).
   Every 64 steps: no more requests have ended than have begun; no token of a limit comes from nowhere, and none is lost (limits_check).
   When the last client has gone: no slot in use within 50 ms; within some seconds no request, no producer, no slot in use, nothing held of a limit, no stream open, no connection open; each request counted once by its end;
   second calls for late requests were at most 5 % of them.
   Whatever the clocks do: the Date header is the wall clock's, no deadline but time that has passed ends anything in calm weather, and who has vanished
   without a word is let go of by the clock (half_open). Whatever memory does: a request may be refused for want of it, and the rest of this list holds.
   After drain: no task, socket or block of memory (house_close). */
#include "lib/flood_inner.h"
#include "base/limits.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_STEPS 64
#define QUIET_NS    (8 * NANOS_PER_S)  /* linger takes 2 s, a late byte's delay some more */
#define IDLE_NS     (50 * NANOS_PER_MS) /* README's promise: a gone client frees its slot in 50 ms */
#define FLOOD_NS    (900 * NANOS_PER_S)

static struct flood flood; /* 200 requests with their tags and bodies: not for a stack */

/* ---- telling ---- */

static void tell(struct flood *fl, const char *format, va_list args)
{
    nanos now = fl->house.world != NULL ? world_now(fl->house.world) - fl->began : 0;
    fprintf(stderr, "seed %llu at %.6f s: ", (unsigned long long)fl->seed, (double)now / 1e9);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void flood_say(struct flood *fl, const char *format, ...)
{
    if (!fl->trace)
        return;
    va_list args;
    va_start(args, format);
    tell(fl, format, args);
    va_end(args);
}

void flood_broken(struct flood *fl, const char *what, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    tell(fl, format, args);
    va_end(args);
    fprintf(stderr, "seed %llu: broken: %s\n", (unsigned long long)fl->seed, what);
    abort();
}

static void tell_seed(void)
{
    fprintf(stderr, "seed %llu: an assertion failed\n", (unsigned long long)flood.seed);
}

struct ask *flood_ask(struct flood *fl, const char *tag)
{
    unsigned client, ask;
    bool found = sscanf(tag, "c%ur%u", &client, &ask) == 2 && client < fl->clients_count && ask < fl->clients[client].asks_count;
    MUST(fl, found, "a request of nobody: %s", tag);
    return &fl->clients[client].asks[ask];
}

/* ---- the plan ---- */

static nanos ms_of(struct dice *d, const unsigned *choices, unsigned count)
{
    return (nanos)choices[below(d, count)] * NANOS_PER_MS;
}
#define MS_OF(d, ...) ms_of(d, (const unsigned[]){ __VA_ARGS__ }, ARRAY_LEN(((const unsigned[]){ __VA_ARGS__ })))
#define MS(ns) (long long)((ns) / NANOS_PER_MS)

size_t flood_put(struct flood *fl, size_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(fl->yaml + at, sizeof fl->yaml - at, format, args);
    va_end(args);
    ASSERT(n >= 0 && at + (size_t)n < sizeof fl->yaml);
    return at + (size_t)n;
}

static size_t put_model(struct flood *fl, size_t at, unsigned m)
{
    struct dice *d = &fl->dice;
    unsigned use = 1 + below(d, (1u << fl->backends_count) - 1), fallback = once_in(d, 2) ? ~use & ((1u << fl->backends_count) - 1) : 0;
    at = flood_put(fl, at, "  m%u: {use: [", m);
    const char *comma = "";
    for (unsigned i = 0; i < fl->backends_count; i++)
        if (use & (1u << i))
            at = flood_put(fl, at, "%sb%u/up-m%u", comma, i, m), comma = ", ";
    at = flood_put(fl, at, "]");
    comma = ", fallback: [";
    for (unsigned i = 0; i < fl->backends_count; i++)
        if (fallback & (1u << i))
            at = flood_put(fl, at, "%sb%u/up-m%u", comma, i, m), comma = ", ";
    const char *balance = policy_balance(fl, once_in(d, 2) ? "round_robin" : "least_loaded");
    return flood_put(fl, at, "%s, balance: %s%s%s%s}\n", fallback ? "]" : "", balance, policy_price(fl), policy_hedge(fl), once_in(d, 4) ? ", defaults: {max_tokens: 7, temperature: 0.5}" : "");
}

static void put_times(struct flood *fl, size_t *at)
{
    struct dice *d = &fl->dice;
    if (fl->calm) {
        *at = flood_put(fl, *at, "timeouts: {total: %lldms, write: %lldms, first_token: 60s, between_tokens: 60s}\n", MS(fl->total), MS(fl->write));
        return;
    }
    *at = flood_put(fl, *at, "timeouts: {total: %lldms, write: %lldms, header: %lldms, body: %lldms, connect: %lldms, first_token: %lldms, between_tokens: %lldms, drain: %lldms}\n", MS(fl->total), MS(fl->write),
              MS(MS_OF(d, 500, 5000)), MS(MS_OF(d, 500, 5000)), MS(MS_OF(d, 5, 100, 1000)), MS(MS_OF(d, 20, 200, 1000, 5000)), MS(MS_OF(d, 20, 200, 1000, 5000)), MS(MS_OF(d, 0, 100, 3000, 30000)));
}

/* The configuration, anew for each reload. What stays: addresses, keys, timeouts.total and .write. */
void flood_configure(struct flood *fl)
{
    struct dice *d = &fl->dice;
    static const unsigned buffers[] = { 4, 4, 16, 256 };
    size_t at = flood_put(fl, 0, "limits: {queue: %u, body: 64KiB, header: 4KiB}\n", fl->calm ? 1000 : between(d, 1, once_in(d, 2) ? 8 : 64));
    at = flood_put(fl, at, "stream: {buffer: %uKiB, heartbeat: %lldms}\n", buffers[below(d, ARRAY_LEN(buffers))], MS(MS_OF(d, 100, 100, 1000, 15000)));
    put_times(fl, &at);
    at = flood_put(fl, at, "retries: {attempts: %u}\n", fl->attempts_most);
    if (fl->tls_clients != NULL)
        at = flood_put(fl, at, "tls: {cert: %s, key: %s}\n", tls_peer_path("weir.crt"), tls_peer_path("weir.key"));
    at = policy_classes(fl, at);
    at = policy_keys(fl, at);
    if (fl->has_keys && !fl->policy.is_on)
        at = flood_put(fl, at, "keys: {user: {key: key-user, rpm: 100000000, tpm: 4000000000, concurrency: 1000000}, narrow: {key: key-narrow, models: [m0]}, boss: {key: key-boss, role: admin}}\n");
    at = flood_put(fl, at, "backends:\n");
    for (unsigned i = 0; i < fl->backends_count; i++) {
        char slots[16];
        snprintf(slots, sizeof slots, "%u", between(d, 1, 8));
        at = flood_put(fl, at, "  b%u: {url: 'http%s://10.0.0.%u:8000', concurrency: %s%s%s%s%s}\n", i, fl->tls_backends != NULL ? "s" : "", i + 1, policy_is_adaptive(fl) ? "adaptive" : slots,
                 fl->backends[i].key[0] != 0 ? ", key: " : "", fl->backends[i].key, fl->tls_backends != NULL ? ", ca: " : "", fl->tls_backends != NULL ? tls_peer_path("ca.crt") : "");
    }
    at = flood_put(fl, at, "models:\n");
    unsigned models = fl->models_count - (fl->model_may_go && fl->models_count > 1 && once_in(d, 2));
    for (unsigned m = 0; m < models; m++)
        at = put_model(fl, at, m);
    flood_say(fl, "configuration:\n%s", fl->yaml);
}

void flood_reconfigure(struct flood *fl)
{
    fl->model_may_go = fl->models_count > 1 && !fl->calm;
    if (once_in(&fl->dice, 5))
        flood_put(fl, 0, "models: {m0: {use: [nobody/x]}}\n"); /* refused: the old one stays */
    else
        flood_configure(fl);
}

static void draw_options(struct flood *fl)
{
    struct dice *d = &fl->dice;
    static const unsigned yields[] = { 0, 100, 250, 500 };
    fl->options = sim_options_default(fl->seed);
    if (!fl->calm && !once_in(d, 3))
        fl->options.faults = sim_faults_seeded(fl->seed);
    fl->options.faults.drip = MIN(fl->options.faults.drip, 5); /* a step a byte: a little shows what a lot would */
    fl->options.gate_yield = yields[below(d, ARRAY_LEN(yields))];
    if (once_in(d, 4))
        fl->options.window = 2048u << below(d, 5);
    if (once_in(d, 4))
        fl->options.latency_max = 20 * NANOS_PER_US;
    if (fl->seed % 7 == 3) /* not by the dice, so that seeds go on meaning what they meant; in calm weather too: nobody may notice */
        fl->options.faults.wall_jump = 1;
    const struct sim_faults *f = &fl->options.faults;
    fl->can_reset = f->reset || f->no_memory || f->half_open || f->leap; /* a leap may be longer than timeouts.write */
    fl->time_runs = f->drip || f->delay || f->half_open || f->slow_turn || f->leap;
}

static void become_admin(struct client_player *c, enum kind kind)
{
    c->admin = true;
    c->pipelines = c->leaves = c->leaves_by_reset = c->deaf = c->slow_reader = c->slow_sender = false;
    for (unsigned i = 0; i < c->asks_count; i++) {
        struct ask was = c->asks[i];
        c->asks[i] = (struct ask){ .kind = kind, .said_attempts = -1, .body = was.body };
        memcpy(c->asks[i].tag, was.tag, sizeof was.tag);
    }
}

/* Dice of its own: what else a seed draws does not depend on it. */
static void draw_tls(struct flood *fl)
{
    struct dice d = { fl->seed ^ 0x715u };
    bool is_on = once_in(&d, 10);
    unsigned side = below(&d, 3);
    tls_peer_seed(fl->seed);
    fl->tls_backends = is_on && side != 0 ? tls_peer_server("backend", false) : NULL;
    fl->tls_clients = is_on && side != 1 ? tls_peer_client(NULL) : NULL;
}

static void draw(struct flood *fl)
{
    struct dice *d = &fl->dice;
    fl->calm = once_in(d, 5);
    draw_options(fl);
    fl->has_keys = once_in(d, 2);
    fl->attempts_most = 1 + (unsigned)(fl->seed % 6); /* not by the dice either */
    fl->hedges = fl->seed % 4 == 1;
    fl->total = fl->calm ? 120 * NANOS_PER_S : MS_OF(d, 300, 2000, 5000);
    fl->write = MS_OF(d, 200, 3000);
    fl->backends_count = between(d, 1, BACKENDS_MOST);
    fl->models_count = between(d, 2, MODELS_MOST);
    fl->clients_count = between(d, 4, CLIENTS_MOST);
    for (unsigned i = 0; i < fl->backends_count; i++)
        backend_draw(fl, &fl->backends[i], i);
    for (unsigned i = 0; i < fl->clients_count; i++)
        client_draw(fl, &fl->clients[i], i);
    policy_draw(fl);
    for (unsigned i = 0; i < fl->clients_count; i++)
        policy_of_client(&fl->clients[i]);
    if (once_in(d, 6) && !fl->calm) { /* somebody drains the gateway in the middle of it, and others watch */
        for (unsigned i = between(d, 0, 4); i > 0; i--)
            become_admin(&fl->clients[below(d, fl->clients_count)], once_in(d, 2) ? KIND_status : KIND_requests);
        become_admin(&fl->clients[below(d, fl->clients_count)], KIND_drain);
    }
}

/* ---- running ---- */

static uint64_t ended_requests(struct flood *fl)
{
    struct house *h = &fl->house;
    return house_count(h, COUNTER_request_answered) + house_count(h, COUNTER_request_cached) + house_count(h, COUNTER_request_refused) + house_count(h, COUNTER_request_failed) +
           house_count(h, COUNTER_request_cancelled);
}

static void on_step(struct sim *sim, void *arg)
{
    struct flood *fl = arg;
    if (sim_steps(sim) % CHECK_STEPS != 0)
        return;
    fleet_check(gateway_fleet(fl->house.gateway));
    limits_check(gateway_limits(fl->house.gateway));
    uint64_t ended = ended_requests(fl), started = house_count(&fl->house, COUNTER_requests_started);
    MUST(fl, ended <= started, "%llu requests have ended and %llu begun", (unsigned long long)ended, (unsigned long long)started);
}

static bool clients_gone(void *arg)
{
    return ((struct flood *)arg)->clients_left == 0;
}

static void count_producer(struct task *t, void *arg)
{
    *(unsigned *)arg += strcmp(t->name, "producer") == 0 || strcmp(t->name, "request") == 0;
}

static uint32_t slots_in_use(struct flood *fl)
{
    uint32_t count, used = 0;
    struct roster *r = fleet_roster(gateway_fleet(fl->house.gateway));
    const struct endpoint *e = roster_endpoints(r, &count);
    for (uint32_t i = 0; i < count; i++)
        used += atomic_load(&e[i].backend->in_flight);
    roster_unref(r);
    return used;
}

static bool idle(void *arg)
{
    return slots_in_use(arg) == 0;
}

static bool quiet(void *arg)
{
    struct flood *fl = arg;
    struct house *h = &fl->house;
    unsigned stories = 0;
    for (unsigned i = 0; i < HOUSE_WORKERS; i++)
        task_each(gateway_worker(h->gateway, i), count_producer, &stories);
    return stories == 0 && slots_in_use(fl) == 0 && house_count(h, COUNTER_requests_open) == 0 &&
           (fl->drained || house_count(h, COUNTER_connections_open) == 0); /* a worker that has stopped leaves lingering ones to gateway_free */
}

static void check_quiet(struct flood *fl)
{
    struct house *h = &fl->house;
    nanos late = fl->time_runs ? 60 * NANOS_PER_S : 0; /* a FIN behind bytes that are late */
    if (fl->options.faults.half_open) /* who has vanished is noticed by the clock alone */
        late += KEEPALIVE_IDLE_NS + fl->total + fl->write;
    bool stopped = sim_run(h->sim, idle, fl, IDLE_NS + late);
    MUST(fl, stopped, "%u slots are in use for clients that have gone", slots_in_use(fl));
    bool calmed = sim_run(h->sim, quiet, fl, QUIET_NS + late);
    MUST(fl, calmed, "after the last client: %u slots in use, %llu requests and %llu connections open: %s", slots_in_use(fl), (unsigned long long)house_count(h, COUNTER_requests_open),
         (unsigned long long)house_count(h, COUNTER_connections_open), sim_why(h->sim));
    uint64_t started = house_count(h, COUNTER_requests_started);
    MUST(fl, ended_requests(fl) == started, "%llu requests began, %llu ended", (unsigned long long)started, (unsigned long long)ended_requests(fl));
    MUST(fl, house_count(h, COUNTER_streams_open) == 0 && house_count(h, COUNTER_queue_waiting) == 0, "%llu streams are open", (unsigned long long)house_count(h, COUNTER_streams_open));
    uint64_t hedges = house_count(h, COUNTER_hedges);
    MUST(fl, hedges * 20 <= started + POLICY_TAUGHT * fl->models_count && (fl->hedges || hedges == 0), "%llu second calls for %llu requests", (unsigned long long)hedges, (unsigned long long)started);
    struct limits_sums limits = limits_check(gateway_limits(h->gateway));
    MUST(fl, limits.in_flight == 0 && limits.held == 0 && limits.money_held == 0, "%u requests, %lld tokens are held of limits", limits.in_flight, (long long)limits.held);
    MUST(fl, house_count(h, COUNTER_request_answered) >= fl->sum.whole, "%llu counted as answered, %llu were", (unsigned long long)house_count(h, COUNTER_request_answered), (unsigned long long)fl->sum.whole);
}

/* Whether a seed came to where the policies are. */
static void note_reached(struct flood *fl)
{
    struct house *h = &fl->house;
    uint32_t count;
#define REACHED(name, counter, what) fl->sum.reached[FLOOD_##name] = house_count(h, counter);
    FLOOD_REACHED(REACHED)
#undef REACHED
    struct roster *r = fleet_roster(gateway_fleet(h->gateway));
    const struct endpoint *e = roster_endpoints(r, &count);
    for (uint32_t i = 0; i < count; i++)
        fl->sum.breakers_opened += atomic_load(&e[i].backend->opened);
    roster_unref(r);
}

static void add_up(struct flood_sum *to, const struct flood_sum *s)
{
    to->requests += s->requests;
    to->whole += s->whole;
    to->refused += s->refused;
    to->cut += s->cut;
    to->left += s->left;
    to->steps += s->steps;
    to->breakers_opened += s->breakers_opened;
    for (unsigned i = 0; i < FLOOD_REACHED_COUNT; i++)
        to->reached[i] += s->reached[i];
    for (unsigned i = 0; i < SIM_FAULT_COUNT; i++) {
        to->drawn[i] += s->drawn[i];
        to->struck[i] += s->struck[i];
    }
}

void flood_run(uint64_t seed, bool trace, struct flood_sum *sum)
{
    struct flood *fl = &flood;
    memset(fl, 0, sizeof *fl);
    fl->seed = seed;
    fl->trace = trace;
    fl->dice.state = seed * 0xd1342543de82ef95u;
    assert_story = tell_seed;
    draw(fl);
    draw_tls(fl);
    flood_configure(fl);
    house_open(&fl->house, &fl->options, fl->yaml);
    fl->began = world_now(fl->house.world);
    fleet_check_always(gateway_fleet(fl->house.gateway), true);
    sim_on_step(fl->house.sim, on_step, fl);
    for (unsigned i = 0; i < fl->backends_count; i++)
        house_task(&fl->house, "backend", backend_play, &fl->backends[i]);
    policy_teach(fl);
    fl->clients_left = fl->clients_count;
    for (unsigned i = 0; i < fl->clients_count; i++)
        house_task(&fl->house, "client", client_play, &fl->clients[i]);
    bool gone = sim_run(fl->house.sim, clients_gone, fl, FLOOD_NS);
    MUST(fl, gone, "%u clients wait for ever: %s", fl->clients_left, sim_why(fl->house.sim));
    check_quiet(fl);
    sim_on_step(fl->house.sim, NULL, NULL);
    fl->sum.steps = sim_steps(fl->house.sim);
    memcpy(fl->sum.struck, sim_struck(fl->house.sim), sizeof fl->sum.struck);
#define FAULT(name, seeded_max, one_in, what) fl->sum.drawn[SIM_FAULT_##name] = fl->options.faults.name > 0;
    SIM_FAULTS(FAULT)
#undef FAULT
    note_reached(fl);
    flood_say(fl, "drains");
    house_close(&fl->house);
    SSL_CTX_free(fl->tls_backends);
    SSL_CTX_free(fl->tls_clients);
    add_up(sum, &fl->sum);
}
