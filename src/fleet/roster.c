/* roster.c: rosters: immutable answers to "which models are served, and by whom". Made by fleet.c, read by every worker. */
#include "fleet/inner.h"

struct roster *roster_ref(struct roster *r)
{
    atomic_fetch_add_explicit(&r->references, 1, memory_order_relaxed);
    return r;
}

static void roster_free(struct roster *r)
{
    map_fini(&r->by_name);
    arena_fini(&r->arena);
    conf_unref(r->conf);
    r->magic = 0;
    mem_free(r);
}

void roster_unref(struct roster *r)
{
    if (r == NULL)
        return;
    CHECK(r, ROSTER);
    if (atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) == 1)
        roster_free(r);
}

/* ---- reading ---- */

struct pool *roster_find(const struct roster *r, struct text model)
{
    CHECK(r, ROSTER);
    return map_get(&r->by_name, model);
}

const char *const *roster_models(const struct roster *r, uint32_t *out_count)
{
    CHECK(r, ROSTER);
    *out_count = r->names_count;
    return r->names;
}

const struct endpoint *roster_endpoints(const struct roster *r, uint32_t *out_count)
{
    CHECK(r, ROSTER);
    *out_count = r->endpoints_count;
    return r->endpoints;
}

const struct endpoint *roster_endpoint(const struct roster *r, struct text name)
{
    CHECK(r, ROSTER);
    for (uint32_t i = 0; i < r->endpoints_count; i++)
        if (text_eq(text_of(r->endpoints[i].backend->name), name))
            return &r->endpoints[i];
    return NULL;
}

const struct conf *roster_conf(const struct roster *r)
{
    CHECK(r, ROSTER);
    return r->conf;
}

const struct members *roster_members(const struct roster *r, const struct pool *p)
{
    static const struct members nobody;
    return p->index < r->members_count ? &r->members[p->index] : &nobody;
}

const struct conf_model *roster_conf_model(const struct roster *r, const struct pool *p)
{
    CHECK(r, ROSTER);
    return roster_members(r, p)->conf;
}

bool roster_has(const struct roster *r, enum conf_kind kind)
{
    for (uint32_t i = 0; i < r->endpoints_count; i++)
        if (r->endpoints[i].kind == kind)
            return true;
    return false;
}

bool roster_pool_has(const struct roster *r, const struct pool *p, enum conf_kind kind)
{
    const struct members *m = roster_members(r, p);
    for (int i = 0; i < __builtin_popcountll(m->use | m->fallback); i++)
        if (m->at[i].endpoint->kind == kind)
            return true;
    return false;
}

/* ---- building: endpoints ---- */

static struct text host_header(struct roster *r, const struct endpoint *e)
{
    bool v6 = text_find(e->host, TEXT(":")) >= 0;
    if (e->conf->url.is_https && e->port == 443) /* as every client writes it: some front ends know no other */
        return text_of(arena_printf(&r->arena, v6 ? "[%.*s]" : "%.*s", TEXT_ARG(e->host)));
    return text_of(e->host.len == 0 ? arena_copy(&r->arena, TEXT("localhost")) : arena_printf(&r->arena, v6 ? "[%.*s]:%u" : "%.*s:%u", TEXT_ARG(e->host), e->port));
}

static bool same_place(const struct endpoint *a, const struct endpoint *b)
{
    return text_eq(a->host, b->host) && a->port == b->port && text_eq(a->dial_host, b->dial_host) && a->dial_port == b->dial_port &&
           (a->proxy == NULL) == (b->proxy == NULL);
}

/* A number is its own address; a name's, and a local model's, are what fleet_set_addrs was told last. */
static void set_place(struct fleet *f, struct endpoint *e)
{
    uint32_t i = e->backend->index;
    const struct endpoint *before = f->roster != NULL ? f->roster->by_index[i] : NULL;
    bool is_same = before != NULL && same_place(before, e), trusts_same = is_same && before->conf->tls == e->conf->tls;
    e->place_version = trusts_same ? before->place_version : ++f->versions[i];
    if (is_same && f->addrs_of[i] == before->place_version)
        f->addrs_of[i] = e->place_version; /* a reload makes TLS contexts anew: connections end, what is known of the name stays */
    if (e->dial_host.len > 0 && addr_from_text(&e->addrs.at[0], e->dial_host, e->dial_port))
        e->addrs.count = 1;
    else if (f->addrs_of[i] == e->place_version)
        e->addrs = f->addrs[i];
    else if (text_eq_nocase(e->dial_host, TEXT("localhost")) && addr_from_text(&e->addrs.at[0], TEXT("127.0.0.1"), e->dial_port) &&
             addr_from_text(&e->addrs.at[1], TEXT("::1"), e->dial_port))
        e->addrs.count = 2; /* until /etc/hosts was read: the first request may be there before that */
    e->address_version = trusts_same && addrs_equal(&before->addrs, &e->addrs) ? before->address_version : ++f->versions[i];
}

static enum fail add_endpoint(struct fleet *f, struct roster *r, const struct conf_backend *cb)
{
    struct endpoint *e = &r->endpoints[r->endpoints_count];
    enum fail failure = fleet_backend(f, text_of(cb->name), &e->backend);
    if (failure != OK)
        return failure;
    uint32_t index = e->backend->index;
    e->conf = cb;
    e->kind = cb->kind;
    e->host = text_of(cb->url.host);
    e->port = cb->url.port;
    e->base = text_of(cb->url.base);
    e->key = text_of(cb->key);
    e->proxy = cb->proxy.host != NULL ? &cb->proxy : NULL;
    e->dial_host = e->proxy != NULL ? text_of(e->proxy->host) : e->host;
    e->dial_port = e->proxy != NULL ? e->proxy->port : e->port;
    e->host_header = host_header(r, e);
    if (e->host_header.at == NULL)
        return FAIL_NO_MEMORY;
    set_place(f, e);
    r->by_index[index] = e;
    r->limits[index] = fleet_limit_of(f, e);
    r->endpoints_count++;
    return OK;
}

/* ---- building: pools ---- */

static enum fail add_name(struct fleet *f, struct roster *r, struct text name, struct pool **out_pool)
{
    enum fail failure = fleet_pool(f, name, out_pool);
    if (failure != OK)
        return failure;
    failure = map_set(&r->by_name, text_of((*out_pool)->name), *out_pool, NULL);
    if (failure == OK)
        r->names[r->names_count++] = (*out_pool)->name;
    return failure;
}

static uint64_t mask_of(const struct roster *r, const struct conf_targets *targets)
{
    uint64_t mask = 0;
    for (uint32_t i = 0; i < targets->count; i++)
        mask |= backend_bit(r->endpoints[targets->at[i].backend].backend);
    return mask;
}

/* A backend listed twice serves the model of its first place: its slots are the same ones, and a retry excludes all of it. */
static void fill_members(const struct roster *r, struct members *m, const struct conf_targets *targets, uint64_t left)
{
    for (uint32_t i = 0; i < targets->count; i++) {
        const struct endpoint *e = &r->endpoints[targets->at[i].backend];
        uint64_t bit = backend_bit(e->backend);
        if (left & bit)
            *(struct member *)members_find(m, bit) = (struct member){ e, text_of(targets->at[i].model) };
        left &= ~bit;
    }
}

static enum fail add_configured(struct fleet *f, struct roster *r, const struct conf_model *cm)
{
    struct pool *p;
    enum fail failure = add_name(f, r, text_of(cm->name), &p);
    if (failure != OK)
        return failure;
    struct members *m = &r->members[p->index];
    m->conf = cm;
    m->balance = cm->balance;
    m->queue_max = r->conf->limits.queue;
    m->use = mask_of(r, &cm->use);
    m->fallback = mask_of(r, &cm->fallback) & ~m->use;
    m->at = arena_alloc(&r->arena, (size_t)__builtin_popcountll(m->use | m->fallback) * sizeof *m->at + 1);
    if (m->at == NULL)
        return FAIL_NO_MEMORY;
    fill_members(r, m, &cm->use, m->use);
    fill_members(r, m, &cm->fallback, m->fallback);
    return OK;
}

/* A discovered name and who has it; in the roster's arena, as the list it came from may be replaced while a slot still shows it. */
struct found {
    struct found *next; /* in order of finding */
    struct text name;
    uint64_t backends;
};

static enum fail find_name(struct roster *r, struct map *by_name, struct found ***end, struct text name, uint64_t bit)
{
    if (map_get(&r->by_name, name) != NULL)
        return OK; /* configured: that wins */
    struct found *known = map_get(by_name, name);
    if (known == NULL) {
        known = arena_alloc(&r->arena, sizeof *known);
        char *copy = known != NULL ? arena_copy(&r->arena, name) : NULL;
        if (copy == NULL)
            return FAIL_NO_MEMORY;
        *known = (struct found){ NULL, { copy, name.len }, 0 };
        enum fail failure = map_set(by_name, known->name, known, NULL);
        if (failure != OK)
            return failure;
        **end = known;
        *end = &known->next;
    }
    known->backends |= bit;
    return OK;
}

/* All names that backends have and no configured model has. */
static enum fail find_names(const struct fleet *f, struct roster *r, struct found **out_first)
{
    struct map by_name;
    map_init(&by_name, r->by_name.seed);
    *out_first = NULL;
    struct found **end = out_first;
    enum fail failure = OK;
    for (uint32_t i = 0; i < r->endpoints_count && failure == OK; i++) {
        const struct endpoint *e = &r->endpoints[i];
        const struct model_list *list = &f->models[e->backend->index];
        if (list->at == NULL && e->conf->model != NULL) /* not asked yet, but we know what we start there */
            failure = find_name(r, &by_name, &end, text_of(e->conf->model), backend_bit(e->backend));
        for (uint32_t k = 0; k < list->count && failure == OK; k++)
            failure = find_name(r, &by_name, &end, list->at[k], backend_bit(e->backend));
    }
    map_fini(&by_name);
    return failure;
}

static enum fail add_found(struct fleet *f, struct roster *r, const struct found *found)
{
    struct pool *p;
    enum fail failure = add_name(f, r, found->name, &p);
    if (failure == FAIL_TOO_LARGE) {
        r->names_left_out++;
        return OK;
    }
    if (failure != OK)
        return failure;
    struct members *m = &r->members[p->index];
    *m = (struct members){ .use = found->backends, .balance = CONF_BALANCE_LEAST_LOADED, .queue_max = r->conf->limits.queue };
    m->at = arena_alloc(&r->arena, (size_t)__builtin_popcountll(m->use) * sizeof *m->at);
    if (m->at == NULL)
        return FAIL_NO_MEMORY;
    uint32_t n = 0;
    for (uint32_t i = 0; i < BACKENDS_MAX; i++)
        if (m->use & 1ull << i)
            m->at[n++] = (struct member){ r->by_index[i], found->name };
    return OK;
}

/* Where models are configured, their author decides who shares a name: a discovered one needs a single owner. Where none are, all who have it share it. */
static enum fail add_discovered(struct fleet *f, struct roster *r)
{
    struct found *first;
    enum fail failure = find_names(f, r, &first);
    for (const struct found *found = first; found != NULL && failure == OK; found = found->next)
        if (r->conf->models_count == 0 || __builtin_popcountll(found->backends) == 1)
            failure = add_found(f, r, found);
    return failure;
}

/* Room for every name there may be. */
static enum fail make_room(const struct fleet *f, struct roster *r)
{
    uint32_t names = r->conf->models_count + r->conf->backends_count;
    for (uint32_t i = 0; i < f->backends_count; i++)
        names += f->models[i].count;
    r->members_count = MIN(f->pools_count + names, POOLS_MAX);
    size_t members_bytes = r->members_count * sizeof *r->members;
    size_t endpoints_bytes = r->conf->backends_count * sizeof *r->endpoints;
    r->names = arena_alloc(&r->arena, names * sizeof *r->names + 1);
    r->members = arena_alloc(&r->arena, members_bytes + 1);
    r->endpoints = arena_alloc(&r->arena, endpoints_bytes + 1);
    if (r->names == NULL || r->members == NULL || r->endpoints == NULL)
        return FAIL_NO_MEMORY;
    memset(r->members, 0, members_bytes);
    memset(r->endpoints, 0, endpoints_bytes);
    return OK;
}

/* A thousand models on one backend are one set: breakers look at all of them. */
static enum fail note_sets(struct roster *r)
{
    r->sets = arena_alloc(&r->arena, r->members_count * sizeof *r->sets + 1);
    if (r->sets == NULL)
        return FAIL_NO_MEMORY;
    for (uint32_t i = 0, k; i < r->members_count; i++) {
        uint64_t set = r->members[i].use | r->members[i].fallback;
        for (k = 0; k < r->sets_count && r->sets[k] != set; k++)
            ;
        if (set != 0 && k == r->sets_count)
            r->sets[r->sets_count++] = set;
    }
    return OK;
}

static enum fail fill(struct fleet *f, struct roster *r)
{
    enum fail failure = make_room(f, r);
    for (uint32_t i = 0; i < r->conf->backends_count && failure == OK; i++)
        failure = add_endpoint(f, r, &r->conf->backends[i]);
    for (uint32_t i = 0; i < r->conf->models_count && failure == OK; i++)
        failure = add_configured(f, r, &r->conf->models[i]);
    r->backends_known = f->backends_count;
    r->pools_known = f->pools_count;
    failure = failure == OK ? add_discovered(f, r) : failure;
    return failure == OK ? note_sets(r) : failure;
}

enum fail roster_new(struct fleet *f, const struct conf *conf, struct roster **out_roster)
{
    struct roster *r = mem_zero(sizeof *r);
    if (r == NULL)
        return FAIL_NO_MEMORY;
    uint64_t seed;
    f->world->random(f->world, &seed, sizeof seed);
    r->magic = ROSTER_MAGIC;
    atomic_init(&r->references, 1);
    arena_init(&r->arena, NULL, 0, ARENA_NO_MAX); /* bounded by what fills it: POOLS_MAX, BACKENDS_MAX, BACKEND_MODELS_MAX */
    map_init(&r->by_name, seed);
    if (conf != NULL) {
        r->conf = conf_ref(conf);
        enum fail failure = fill(f, r);
        if (failure != OK) {
            roster_free(r);
            return failure;
        }
    }
    *out_roster = r;
    return OK;
}

/* ---- views ---- */

struct view *view_new(struct roster *r)
{
    struct view *v = mem_alloc(sizeof *v);
    if (v == NULL) {
        roster_unref(r);
        return NULL;
    }
    *v = (struct view){ 1, r, roster_conf(r) };
    return v;
}

void view_give(struct view *v)
{
    if (v == NULL || --v->holders > 0)
        return;
    roster_unref(v->roster);
    mem_free(v);
}
