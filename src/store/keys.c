/* keys.c: the table of stored keys: made by rows.c, looked into by auth/ on every worker, printed for `weir key list`. */
#include "store/keys.h"
#include "base/json.h"
#include <stdatomic.h>
#include <stdio.h>

struct store_keys *store_keys_new(uint32_t room)
{
    struct store_keys *k = mem_zero(sizeof *k);
    if (k == NULL)
        return NULL;
    k->references = 1;
    k->room = room;
    arena_init(&k->arena, NULL, 0, ARENA_NO_MAX); /* bounded by STORE_KEYS_MAX rows */
    map_init(&k->by_hash, 0);                     /* keyed by SHA-256: nobody can aim collisions */
    k->at = arena_alloc(&k->arena, room * sizeof *k->at + 1);
    k->created = arena_alloc(&k->arena, room * sizeof *k->created + 1);
    if (k->at != NULL && k->created != NULL)
        return k;
    store_keys_unref(k);
    return NULL;
}

struct store_keys *store_keys_ref(struct store_keys *k)
{
    if (k != NULL)
        atomic_fetch_add_explicit(&k->references, 1, memory_order_relaxed);
    return k;
}

void store_keys_unref(struct store_keys *k)
{
    if (k == NULL || atomic_fetch_sub_explicit(&k->references, 1, memory_order_acq_rel) > 1)
        return;
    map_fini(&k->by_hash);
    arena_fini(&k->arena);
    mem_free(k);
}

static bool copy_models(struct arena *a, struct conf_names *names)
{
    const char **at = arena_alloc(a, names->count * sizeof *at + 1);
    for (uint32_t i = 0; at != NULL && i < names->count; i++) {
        at[i] = arena_copy(a, text_of(names->at[i]));
        if (at[i] == NULL)
            return false;
    }
    names->at = at;
    return at != NULL;
}

enum fail store_keys_add(struct store_keys *k, const struct conf_key *key, int64_t created)
{
    ASSERT(k->count < k->room);
    struct conf_key *own = &k->at[k->count];
    *own = *key;
    own->line = 0;
    own->name = arena_copy(&k->arena, text_of(key->name));
    own->tenant = arena_copy(&k->arena, text_of(key->tenant));
    if (own->name == NULL || own->tenant == NULL || !copy_models(&k->arena, &own->models))
        return FAIL_NO_MEMORY;
    k->created[k->count] = created;
    enum fail f = map_set(&k->by_hash, (struct text){ (const char *)own->sha256, sizeof own->sha256 }, own, NULL);
    k->count += f == OK;
    return f;
}

const struct conf_key *store_keys_find(const struct store_keys *k, const uint8_t *sha256)
{
    return map_get(&k->by_hash, (struct text){ (const char *)sha256, sizeof k->at->sha256 });
}

const struct conf_key *store_keys_named(const struct store_keys *k, struct text name)
{
    for (uint32_t i = 0; i < k->count; i++)
        if (text_eq(text_of(k->at[i].name), name))
            return &k->at[i];
    return NULL;
}

const char *store_fingerprint(const uint8_t *sha256, char out[STORE_FINGERPRINT])
{
    snprintf(out, STORE_FINGERPRINT, "%02x%02x%02x%02x", sha256[0], sha256[1], sha256[2], sha256[3]);
    return out;
}

/* ---- printing ---- */

static enum fail put_string(struct buf *out, const char *name, const char *value)
{
    enum fail f = buf_printf(out, "\"%s\":", name);
    if (f == OK)
        f = json_add_string(out, text_of(value));
    return f == OK ? buf_add_text(out, TEXT(",")) : f;
}

static enum fail put_models(struct buf *out, const struct conf_names *models)
{
    enum fail f = buf_add_text(out, TEXT("\"models\":["));
    for (uint32_t i = 0; f == OK && i < models->count; i++) {
        f = i > 0 ? buf_add_text(out, TEXT(",")) : OK;
        if (f == OK)
            f = json_add_string(out, text_of(models->at[i]));
    }
    return f == OK ? buf_add_text(out, TEXT("],")) : f;
}

/* A limit that is not set is left out. */
static enum fail put_limits(struct buf *out, const struct conf_limits *l)
{
    const struct {
        const char *name;
        uint32_t value;
    } numbers[] = { { "rpm", l->rpm }, { "tpm", l->tpm }, { "concurrency", l->concurrency } };
    char per[24];
    enum fail f = OK;
    for (size_t i = 0; f == OK && i < ARRAY_LEN(numbers); i++)
        if (numbers[i].value > 0)
            f = buf_printf(out, "\"%s\":%u,", numbers[i].name, numbers[i].value);
    if (f == OK && l->budget.is_set)
        f = buf_printf(out, "\"budget\":{\"usd\":%.6f,\"per\":\"%s\"},", l->budget.value, nanos_print(l->period, per));
    return f;
}

static enum fail put_key(struct buf *out, const struct conf_key *k, int64_t created)
{
    char fingerprint[STORE_FINGERPRINT];
    enum fail f = buf_add_text(out, TEXT("{"));
    if (f == OK)
        f = put_string(out, "name", k->name);
    if (f == OK)
        f = put_string(out, "fingerprint", store_fingerprint(k->sha256, fingerprint));
    if (f == OK)
        f = put_string(out, "tenant", k->tenant);
    if (f == OK)
        f = put_string(out, "role", k->role == CONF_ROLE_ADMIN ? "admin" : "user");
    if (f == OK)
        f = put_models(out, &k->models);
    if (f == OK)
        f = put_string(out, "priority", conf_class_name(k->priority));
    if (f == OK)
        f = put_string(out, "priority_max", conf_class_name(k->priority_max));
    if (f == OK)
        f = put_limits(out, &k->limits);
    return f == OK ? buf_printf(out, "\"created\":%lld}", (long long)created) : f;
}

enum fail store_keys_print(const struct store_keys *k, const char *path, struct buf *out)
{
    enum fail f = buf_add_text(out, TEXT("{\"store\":"));
    if (f == OK)
        f = json_add_string(out, text_of(path));
    if (f == OK)
        f = buf_add_text(out, TEXT(",\"keys\":["));
    for (uint32_t i = 0; f == OK && i < k->count; i++) {
        f = i > 0 ? buf_add_text(out, TEXT(",")) : OK;
        if (f == OK)
            f = put_key(out, &k->at[i], k->created[i]);
    }
    return f == OK ? buf_add_text(out, TEXT("]}\n")) : f;
}
