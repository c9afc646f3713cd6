/* keyring.c: see keyring.h; and how `weir key list` shows one. */
#include "store/keyring.h"
#include "base/json.h"
#include <stdatomic.h>
#include <stdio.h>

#define BYTES_MAX (64u << 20) /* KEYRING_MAX keys of 4 KiB, which is 20 long names of models each */

struct keyring *keyring_new(uint32_t count)
{
    struct keyring *r = mem_zero(sizeof *r);
    if (r == NULL)
        return NULL;
    r->references = 1;
    r->count = count;
    arena_init(&r->arena, NULL, 0, BYTES_MAX);
    r->keys = arena_alloc(&r->arena, count * sizeof *r->keys + 1);
    r->created = arena_alloc(&r->arena, count * sizeof *r->created + 1);
    if (r->keys == NULL || r->created == NULL) {
        keyring_unref(r);
        return NULL;
    }
    memset(r->keys, 0, count * sizeof *r->keys);
    memset(r->created, 0, count * sizeof *r->created);
    return r;
}

struct keyring *keyring_ref(struct keyring *r)
{
    if (r != NULL)
        atomic_fetch_add_explicit(&r->references, 1, memory_order_relaxed);
    return r;
}

void keyring_unref(struct keyring *r)
{
    if (r == NULL || atomic_fetch_sub_explicit(&r->references, 1, memory_order_acq_rel) != 1)
        return;
    arena_fini(&r->arena);
    mem_free(r);
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

enum fail keyring_set(struct keyring *r, uint32_t i, const struct conf_key *key, int64_t created)
{
    ASSERT(i < r->count);
    struct conf_key *own = &r->keys[i];
    *own = *key;
    own->line = 0;
    own->name = arena_copy(&r->arena, text_of(key->name));
    own->tenant = arena_copy(&r->arena, text_of(key->tenant));
    r->created[i] = created;
    return own->name != NULL && own->tenant != NULL && copy_models(&r->arena, &own->models) ? OK : FAIL_NO_MEMORY;
}

const char *keyring_fingerprint(const uint8_t *sha256, char out[KEYRING_FINGERPRINT])
{
    snprintf(out, KEYRING_FINGERPRINT, "%02x%02x%02x%02x", sha256[0], sha256[1], sha256[2], sha256[3]);
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
    char fingerprint[KEYRING_FINGERPRINT];
    enum fail f = buf_add_text(out, TEXT("{"));
    if (f == OK)
        f = put_string(out, "name", k->name);
    if (f == OK)
        f = put_string(out, "fingerprint", keyring_fingerprint(k->sha256, fingerprint));
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

enum fail keyring_print(const struct keyring *r, const char *path, struct buf *out)
{
    enum fail f = buf_add_text(out, TEXT("{\"store\":"));
    if (f == OK)
        f = json_add_string(out, text_of(path));
    if (f == OK)
        f = buf_add_text(out, TEXT(",\"keys\":["));
    for (uint32_t i = 0; f == OK && r != NULL && i < r->count; i++) {
        f = i > 0 ? buf_add_text(out, TEXT(",")) : OK;
        if (f == OK)
            f = put_key(out, &r->keys[i], r->created[i]);
    }
    return f == OK ? buf_add_text(out, TEXT("]}\n")) : f;
}
