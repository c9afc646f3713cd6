/* cache_storm.c: the storm of cache_storm.h. What must hold:
     - who finds a key finds a whole answer of that key, within its time, not older than the last one whose put had ended, and none whose put had ended before a deletion began
     - that answer stays as it was until the turn ends, and if it is held until it is let go, whatever others do
     - bytes and entries are within the limits, and what was put is there, or is counted as gone, once
     - at the end everything is free
   A key is put by one worker alone, so that its versions have an order. */
#include "cache_storm.h"
#include "cache_values.h"
#include "run/wait.h"
#include <stdio.h>

#define KEYS     300
#define TASKS    10 /* of each worker */
#define STEPS    200
#define ENTRIES  150
#define BYTES    60000
#define LEN_MAX  1200

struct cache_storm_counts cache_storm_counts;

struct key {
    _Atomic uint64_t begun, put; /* versions whose put has begun, and ended */
    _Atomic uint64_t deleted;    /* none up to this one may be found */
};

struct storm {
    struct cache *cache;
    struct key key[KEYS];
    _Atomic unsigned resizing, ended;
    _Atomic uint64_t found, missed, held, resized, waited;
};

static uint64_t dice(struct task *t, uint64_t sides)
{
    return worker_random(t->worker) % sides;
}

/* Few keys are asked for often. */
static uint64_t some_key(struct task *t)
{
    return dice(t, 1 + dice(t, KEYS));
}

static void look(struct task *t, struct storm *s, uint64_t key, const struct cache_value **out)
{
    struct key *k = &s->key[key];
    uint64_t least = atomic_load(&k->put), deleted = atomic_load(&k->deleted);
    const struct cache_value *v = find_one(t->worker, s->cache, key);
    *out = v;
    if (v == NULL) {
        s->missed++;
        return;
    }
    s->found++;
    ASSERT(value_number(v) == key && value_is_whole(v));
    ASSERT(value_version(v) >= least && value_version(v) > deleted && value_version(v) <= atomic_load(&k->begun));
    ASSERT(t->worker->now < v->nano_usd); /* its end */
}

static enum fail put_some(struct task *t, struct storm *s)
{
    static const char *const tenants[] = { "acme", "other" }, *const models[] = { "chat", "embed" }, *const tags[] = { "", "", "a", "a,b" };
    uint64_t number = some_key(t) / BOTH_WORKERS * BOTH_WORKERS + t->worker->index, version;
    if (number >= KEYS)
        return OK;
    struct key *k = &s->key[number];
    version = atomic_fetch_add(&k->begun, 1) + 1;
    struct cache_label label = label_of(tenants[number / 2 % 2], models[number / 4 % 2], tags[dice(t, 4)]);
    struct cache_value *v = value_of(number, version, dice(t, LEN_MAX));
    struct cache_id id = id_of(number);
    nanos ttl = (nanos)(1 + dice(t, 500)) * NANOS_PER_MS;
    ASSERT(v != NULL);
    v->nano_usd = t->worker->now + ttl;
    enum fail f = cache_put(t->worker, s->cache, &id, v, &label, ttl);
    cache_value_drop(v);
    ASSERT(f == OK || f == FAIL_NO_MEMORY); /* much has gone and waits */
    if (f == OK)
        atomic_store(&k->put, version);
    s->waited += f != OK;
    return OK;
}

static enum fail find_some(struct task *t, struct storm *s)
{
    const struct cache_value *v[8];
    for (unsigned i = 0; i < ARRAY_LEN(v); i++)
        look(t, s, some_key(t), &v[i]);
    if (dice(t, 4) == 0)
        (void)put_some(t, s);
    for (unsigned i = 0; i < ARRAY_LEN(v); i++)
        ASSERT(v[i] == NULL || value_is_whole(v[i])); /* still the same turn */
    return OK;
}

static enum fail hold_one(struct task *t, struct storm *s)
{
    const struct cache_value *v;
    uint64_t key = some_key(t);
    look(t, s, key, &v);
    if (v == NULL)
        return OK;
    uint64_t version = value_version(v);
    s->held++;
    cache_value_hold(v);
    enum fail f = task_sleep(t, t->worker->now + (nanos)dice(t, 3000) * NANOS_PER_US);
    ASSERT(value_number(v) == key && value_version(v) == version && value_is_whole(v));
    cache_value_drop(v);
    return f;
}

static bool is_of(uint64_t key, const struct cache_match *m)
{
    return (m->tenant.at == NULL || text_eq(m->tenant, key / 2 % 2 == 0 ? TEXT("acme") : TEXT("other"))) && (m->model.at == NULL || key / 4 % 2 == 0);
}

static enum fail delete_some(struct task *t, struct storm *s)
{
    uint64_t *before, count;
    struct cache_match m = { .tenant = dice(t, 2) ? TEXT("acme") : TEXT_NONE, .model = dice(t, 2) ? TEXT("ch*") : TEXT_NONE, .tag = dice(t, 3) == 0 ? TEXT("a") : TEXT_NONE };
    if (dice(t, 40) > 0)
        return OK;
    before = mem_alloc(KEYS * sizeof *before);
    ASSERT(before != NULL);
    for (unsigned i = 0; i < KEYS; i++)
        before[i] = atomic_load(&s->key[i].put);
    enum fail f = cache_drop(t, s->cache, &m, &count);
    for (uint64_t i = 0; i < KEYS && f == OK && m.tag.at == NULL; i++) { /* which tags a version had is not noted */
        uint64_t known = atomic_load(&s->key[i].deleted);
        while (is_of(i, &m) && known < before[i] && !atomic_compare_exchange_weak(&s->key[i].deleted, &known, before[i])) {
        }
    }
    mem_free(before);
    return f;
}

static enum fail change_limits(struct task *t, struct storm *s)
{
    if (dice(t, 20) > 0)
        return OK;
    s->resizing++;
    cache_limit(t->worker, s->cache, &(struct cache_limits){ BYTES / 2 + dice(t, BYTES), ENTRIES / 2 + (uint32_t)dice(t, ENTRIES) });
    s->resizing--;
    s->resized++;
    return OK;
}

static enum fail count_up(struct task *t, struct storm *s)
{
    struct cache_status c;
    bool is_steady = s->resizing == 0;
    uint64_t resized = s->resized;
    cache_tick(t->worker, s->cache);
    cache_status(s->cache, &c);
    is_steady = is_steady && s->resizing == 0 && resized == s->resized;
    ASSERT(!is_steady || (c.bytes <= c.bytes_max && c.entries <= c.entries_max));
    ASSERT(c.puts == c.entries + c.replaced + c.evictions + c.expired + c.dropped);
    ASSERT(c.retired_bytes <= 2 * BYTES);
    return OK;
}

typedef enum fail act_fn(struct task *t, struct storm *s);

static void actor(struct task *t, void *arg)
{
    static act_fn *const acts[] = { find_some, find_some, put_some, put_some, put_some, hold_one, delete_some, change_limits, count_up };
    struct storm *s = arg;
    for (unsigned i = 0; i < STEPS; i++) {
        ASSERT(acts[dice(t, ARRAY_LEN(acts))](t, s) == OK);
        ASSERT((dice(t, 2) ? task_yield(t) : task_sleep(t, t->worker->now + (nanos)dice(t, 2000) * NANOS_PER_US)) == OK);
    }
    s->ended++;
}

static void tell(const struct storm *s, const struct cache_status *c)
{
    struct cache_storm_counts *sum = &cache_storm_counts;
    sum->found += s->found;
    sum->missed += s->missed;
    sum->held += s->held;
    sum->resized += s->resized;
    sum->waited += s->waited;
    sum->put += c->puts;
    sum->evicted += c->evictions;
    sum->expired += c->expired;
    sum->dropped += c->dropped;
    sum->replaced += c->replaced;
}

void cache_storm(struct task *t, void *arg)
{
    struct both *b = arg;
    struct storm *s = mem_zero(sizeof *s);
    ASSERT(s != NULL);
    s->cache = cache_new(b->world, &(struct cache_limits){ BYTES, ENTRIES });
    ASSERT(s->cache != NULL);
    for (unsigned i = 0; i < TASKS * BOTH_WORKERS; i++)
        both_start(b->workers[i % BOTH_WORKERS], "actor", actor, s);
    while (s->ended < TASKS * BOTH_WORKERS)
        ASSERT(task_sleep(t, t->worker->now + NANOS_PER_MS) == OK);
    struct cache_status c = { .retired_bytes = 1 };
    ASSERT(task_sleep(t, t->worker->now + 2 * NANOS_PER_S) == OK);
    for (unsigned i = 0; i < 1000 && (c.retired_bytes > 0 || c.entries > 0); i++) { /* all are over their time, and nobody looks */
        cache_tick(t->worker, s->cache);
        cache_status(s->cache, &c);
        ASSERT(task_sleep(t, t->worker->now + NANOS_PER_MS) == OK);
    }
    ASSERT(c.retired_bytes == 0 && c.entries == 0 && c.bytes == 0 && c.tenants == 0);
    tell(s, &c);
    cache_free(s->cache);
    mem_free(s);
}
