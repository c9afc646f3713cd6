/* key.c: digests of bodies and of what embeddings are asked for, and identities. path/ asks by way of key.h; the canonical form is canon.c's. */
#include "cache/canon.h"

static enum fail digest(struct arena *arena, enum hash_kind kind, yyjson_val *v, enum canon_what what, struct cache_digest *out)
{
    struct hash h;
    hash_begin(&h, kind);
    enum fail f = canon_hash(&h, arena, v, what);
    if (f == OK)
        hash_end(&h, out->sha256);
    return f;
}

enum fail cache_digest(struct arena *arena, yyjson_val *root, struct cache_digest *out)
{
    return digest(arena, HASH_BODY, root, CANON_BODY, out);
}

/* ---- inputs of embeddings ---- */

/* Strings alone, or arrays alone: each is an input. Tokens are one input; a mixture means something else to each backend, so it stays together. */
static bool is_of_many(yyjson_val *input)
{
    size_t i, n, strings = 0, arrays = 0;
    yyjson_val *v;
    yyjson_arr_foreach(input, i, n, v) {
        strings += yyjson_is_str(v);
        arrays += yyjson_is_arr(v);
    }
    return strings == n || arrays == n;
}

unsigned cache_inputs(yyjson_val *root)
{
    yyjson_val *input = yyjson_obj_get(root, "input");
    if (yyjson_is_arr(input))
        return is_of_many(input) ? (unsigned)yyjson_arr_size(input) : 1;
    return yyjson_is_str(input) ? 1 : 0;
}

enum fail cache_digest_inputs(struct arena *arena, yyjson_val *root, struct cache_digest *out_rest, struct cache_digest *outs)
{
    yyjson_val *input = yyjson_obj_get(root, "input"), *v;
    size_t i, n;
    ASSERT(input != NULL);
    enum fail f = digest(arena, HASH_REST, root, CANON_REST, out_rest);
    if (f != OK)
        return f;
    if (!yyjson_is_arr(input) || !is_of_many(input))
        return digest(arena, HASH_INPUT, input, CANON_VALUE, outs);
    yyjson_arr_foreach(input, i, n, v) {
        f = digest(arena, HASH_INPUT, v, CANON_VALUE, &outs[i]);
        if (f != OK)
            return f;
    }
    return OK;
}

struct cache_digest cache_digest_join(const struct cache_digest *rest, const struct cache_digest *input)
{
    struct cache_digest out;
    struct hash h;
    hash_begin(&h, HASH_JOINED);
    hash_bytes(&h, rest->sha256, sizeof rest->sha256);
    hash_bytes(&h, input->sha256, sizeof input->sha256);
    hash_end(&h, out.sha256);
    return out;
}

/* ---- identities ---- */

static void set_hash(struct cache_id *id)
{
    memcpy(&id->hash, id->sha256, sizeof id->hash);
}

void cache_identify(struct cache_id *out, const struct cache_digest *digest, const struct cache_scope *scope)
{
    struct hash h;
    hash_begin(&h, HASH_IDENTITY);
    hash_bytes(&h, digest->sha256, sizeof digest->sha256);
    hash_text(&h, scope->tenant);
    hash_text(&h, scope->surface);
    hash_text(&h, scope->model);
    if (scope->has_max_tokens)
        hash_number(&h, scope->max_is_completion ? 'c' : 'm', scope->max_tokens);
    if (scope->has_temperature)
        hash_double(&h, scope->temperature + 0.0); /* -0 becomes 0 */
    if (scope->owner != 0) /* last, and left out for a tenant: what instances share from before there were owners is found still */
        hash_number(&h, 'o', scope->owner);
    hash_end(&h, out->sha256);
    set_hash(out);
}

struct cache_id cache_id_form(const struct cache_id *id, unsigned form)
{
    struct cache_id out = *id;
    ASSERT(form <= UINT8_MAX);
    out.sha256[CACHE_ID_BYTES - 1] ^= (uint8_t)form; /* another identity that differs in nothing else is as hard to find as an equal one */
    return out;
}
