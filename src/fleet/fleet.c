/* fleet.c: a fleet's life and its changes: reloads, discoveries, limits. Called at start-up, by reload and by discovery. */
#include "fleet/inner.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Slots of a backend whose concurrency is auto and that has not told us. */
#define LIMIT_BATCHING 64 /* vLLM batches 256; half of its throughput is reached long before, and waiting here costs nobody a timeout there */
#define LIMIT_LOCAL    4  /* what Ollama and llama-server decode at once unless told otherwise; the rest would wait inside, unseen */

uint32_t fleet_limit_of(const struct fleet *f, const struct endpoint *e)
{
    uint32_t found = f->found_limits[e->backend->index];
    if (e->conf->concurrency != 0)
        return e->conf->concurrency;
    if (found != 0)
        return found;
    if (e->kind == CONF_KIND_LLAMA && e->conf->slots != 0)
        return e->conf->slots;
    return e->kind == CONF_KIND_LLAMA || e->kind == CONF_KIND_OLLAMA ? LIMIT_LOCAL : LIMIT_BATCHING;
}

/* ---- what stays: backends and pools by name ---- */

enum fail fleet_backend(struct fleet *f, struct text name, struct backend **out_backend)
{
    struct backend *known = map_get(&f->backends_by_name, name);
    if (known != NULL) {
        *out_backend = known;
        return OK;
    }
    if (f->backends_count == BACKENDS_MAX)
        return FAIL_TOO_LARGE;
    struct backend *b = mem_zero(sizeof *b);
    char *own_name = b != NULL ? mem_copy_text(name) : NULL;
    if (own_name == NULL || map_set(&f->backends_by_name, text_of(own_name), b, NULL) != OK) {
        mem_free(own_name);
        mem_free(b);
        return FAIL_NO_MEMORY;
    }
    b->magic = BACKEND_MAGIC;
    b->index = f->backends_count;
    b->name = own_name;
    b->name_hash = XXH3_64bits(name.at, name.len);
    b->fleet = f;
    f->breakers[b->index].backend = b;
    f->backends[f->backends_count++] = b;
    *out_backend = b;
    return OK;
}

enum fail fleet_pool(struct fleet *f, struct text name, struct pool **out_pool)
{
    struct pool *known = map_get(&f->pools_by_name, name);
    if (known != NULL) {
        *out_pool = known;
        return OK;
    }
    if (f->pools_count == POOLS_MAX)
        return FAIL_TOO_LARGE;
    struct pool *p = mem_zero(sizeof *p);
    char *own_name = p != NULL ? mem_copy_text(name) : NULL;
    if (own_name == NULL || map_set(&f->pools_by_name, text_of(own_name), p, NULL) != OK) {
        mem_free(own_name);
        mem_free(p);
        return FAIL_NO_MEMORY;
    }
    p->magic = POOL_MAGIC;
    p->index = f->pools_count;
    p->name = own_name;
    p->fleet = f;
    p->cursor = BACKENDS_MAX - 1; /* the first turn is the first backend's */
    f->pools[f->pools_count++] = p;
    *out_pool = p;
    return OK;
}

const char *pool_name(const struct pool *p)
{
    CHECK(p, POOL);
    return p->name;
}

/* ---- life ---- */

enum fail fleet_new(struct world *world, struct fleet **out_fleet)
{
    struct fleet *f = mem_zero(sizeof *f);
    if (f == NULL)
        return FAIL_NO_MEMORY;
    uint64_t seeds[3];
    world->random(world, seeds, sizeof seeds);
    f->magic = FLEET_MAGIC;
    f->world = world;
    f->chance = seeds[0] ^ seeds[1];
    map_init(&f->backends_by_name, seeds[0]);
    map_init(&f->pools_by_name, seeds[1]);
    enum fail failure = roster_new(f, NULL, &f->roster);
    if (failure != OK) {
        mem_free(f);
        return failure;
    }
    gate_init(&f->gate, world, GATE_POOL);
    tenants_init(f, seeds[2]);
    slots_init(f);
    *out_fleet = f;
    return OK;
}

void fleet_free(struct fleet *f)
{
    if (f == NULL)
        return;
    CHECK(f, FLEET);
    slots_fini(f);
    gate_fini(&f->gate);
    roster_unref(f->roster);
    for (uint32_t i = 0; i < f->backends_count; i++) {
        mem_free((char *)f->backends[i]->name);
        mem_free(f->backends[i]);
        mem_free(f->models[i].at);
    }
    for (uint32_t i = 0; i < f->pools_count; i++) {
        mem_free((char *)f->pools[i]->name);
        mem_free(f->pools[i]);
    }
    map_fini(&f->backends_by_name);
    map_fini(&f->pools_by_name);
    f->magic = 0;
    mem_free(f);
}

void fleet_on_change(struct fleet *f, void (*fn)(struct fleet *f, void *arg), void *arg)
{
    f->on_change = fn;
    f->on_change_arg = arg;
}

struct roster *fleet_roster(struct fleet *f)
{
    CHECK(f, FLEET);
    gate_enter(&f->gate);
    struct roster *r = roster_ref(f->roster);
    gate_leave(&f->gate);
    return r;
}

/* ---- changes ---- */

static enum fail renew(struct fleet *f, const struct conf *conf)
{
    struct roster *next;
    enum fail failure = roster_new(f, conf, &next);
    if (failure != OK)
        return failure;
    roster_unref(slots_install(f, next));
    if (f->on_change != NULL)
        f->on_change(f, f->on_change_arg);
    return OK;
}

static void models_drop(struct fleet *f, uint32_t index)
{
    mem_free(f->models[index].at);
    f->models[index] = (struct model_list){ 0 };
}

enum fail fleet_apply(struct fleet *f, const struct conf *conf)
{
    CHECK(f, FLEET);
    enum fail failure = renew(f, conf);
    if (failure != OK)
        return failure;
    for (uint32_t i = 0; i < f->backends_count; i++)
        if (f->roster->by_index[i] == NULL)
            models_drop(f, i); /* one that comes back later may be another machine: it is asked again */
    return OK;
}

static bool name_is_usable(struct text name)
{
    return name.len > 0 && name.len <= MODEL_NAME_MAX && memchr(name.at, '\0', name.len) == NULL;
}

/* One block: the texts, then their bytes. */
static enum fail models_copy(const struct text *names, uint32_t count, struct model_list *out)
{
    size_t bytes = 0;
    uint32_t usable = 0;
    for (uint32_t i = 0; i < count && usable < BACKEND_MODELS_MAX; i++)
        if (name_is_usable(names[i])) {
            bytes += names[i].len;
            usable++;
        }
    struct text *block = mem_alloc(usable * sizeof *block + bytes + 1);
    if (block == NULL)
        return FAIL_NO_MEMORY;
    char *to = (char *)(block + usable);
    uint32_t taken = 0;
    for (uint32_t i = 0; taken < usable; i++) {
        if (!name_is_usable(names[i]))
            continue;
        memcpy(to, names[i].at, names[i].len);
        block[taken++] = (struct text){ to, names[i].len };
        to += names[i].len;
    }
    *out = (struct model_list){ block, usable };
    return OK;
}

static bool models_equal(const struct model_list *a, const struct model_list *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!text_eq(a->at[i], b->at[i]))
            return false;
    return true;
}

enum fail fleet_set_models(struct fleet *f, struct backend *b, const struct text *names, uint32_t count)
{
    CHECK(f, FLEET);
    CHECK(b, BACKEND);
    struct model_list *mine = &f->models[b->index], before = *mine, next;
    if (f->roster->by_index[b->index] == NULL)
        return OK; /* removed while it was asked */
    enum fail failure = models_copy(names, count, &next);
    if (failure != OK)
        return failure;
    if (before.at != NULL && models_equal(&before, &next)) { /* asked again and again, and mostly nothing is new */
        mem_free(next.at);
        return OK;
    }
    *mine = next;
    failure = renew(f, f->roster->conf);
    if (failure != OK)
        *mine = before;
    mem_free(failure != OK ? next.at : before.at);
    return failure;
}

void fleet_set_limit(struct fleet *f, struct backend *b, uint32_t slots)
{
    CHECK(f, FLEET);
    CHECK(b, BACKEND);
    f->found_limits[b->index] = slots;
    const struct endpoint *e = f->roster->by_index[b->index];
    if (e != NULL)
        slots_set_limit(f, b, fleet_limit_of(f, e));
}

enum fail fleet_set_addrs(struct fleet *f, const struct endpoint *e, const struct addrs *addrs)
{
    CHECK(f, FLEET);
    uint32_t i = e->backend->index;
    const struct endpoint *now = f->roster->by_index[i];
    if (now == NULL || now->place_version != e->place_version || addrs_equal(&now->addrs, addrs)) /* name servers change the order with each answer */
        return OK;
    struct addrs before = f->addrs[i];
    uint32_t before_of = f->addrs_of[i];
    f->addrs[i] = *addrs;
    f->addrs_of[i] = e->place_version;
    enum fail failure = renew(f, f->roster->conf);
    if (failure != OK) {
        f->addrs[i] = before;
        f->addrs_of[i] = before_of;
    }
    return failure;
}
