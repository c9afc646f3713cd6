/* label.c: what entries have in common: whose they are, of which model, with which tags. Most entries of a tenant share one, so an entry pays 30 bits for all that.
   Everything but taking and freeing memory happens inside the cache's gate. */
#include "cache/inner.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define CHAIN_LOOKS 16 /* labels looked at for an equal one: where each answer has tags of its own, a second of the same does no harm */

static struct text model_of(const struct label *l) { return (struct text){ l->text, l->model_len }; }
static struct text tags_of(const struct label *l) { return (struct text){ l->text + l->model_len, l->tags_len }; }
static struct text name_of(const struct tenant *t) { return (struct text){ t->name, t->len }; }

static void put_text(char *to, struct text t)
{
    if (t.len > 0)
        memcpy(to, t.at, t.len);
}

static uint64_t bytes_of_label(const struct label *l) { return sizeof *l + l->model_len + l->tags_len; }
static uint64_t bytes_of_tenant(const struct tenant *t) { return sizeof *t + t->len; }

uint64_t label_bytes(const struct cache_label *of)
{
    return sizeof(struct label) + of->model.len + of->tags.len + sizeof(struct tenant) + of->tenant.len;
}

/* ---- memory, outside the gate ---- */

enum fail label_parts_new(struct label_parts *parts, const struct cache_label *of, bool with_chunk)
{
    *parts = (struct label_parts){ .label = mem_zero(sizeof *parts->label + of->model.len + of->tags.len),
                                   .tenant = mem_zero(sizeof *parts->tenant + of->tenant.len),
                                   .chunk = with_chunk ? mem_alloc(LABEL_CHUNK * sizeof *parts->chunk) : NULL };
    if (parts->label == NULL || parts->tenant == NULL || (with_chunk && parts->chunk == NULL)) {
        label_parts_free(parts);
        return FAIL_NO_MEMORY;
    }
    parts->label->model_len = (uint32_t)of->model.len;
    parts->label->tags_len = (uint32_t)of->tags.len;
    put_text(parts->label->text, of->model);
    put_text(parts->label->text + of->model.len, of->tags);
    parts->tenant->len = (uint32_t)of->tenant.len;
    put_text(parts->tenant->name, of->tenant);
    return OK;
}

void label_parts_free(struct label_parts *parts)
{
    mem_free(parts->label);
    mem_free(parts->tenant);
    mem_free(parts->chunk);
    *parts = (struct label_parts){ 0 };
}

void label_free_list(struct label *gone, struct tenant *tenants)
{
    for (struct label *next; gone != NULL; gone = next) {
        next = gone->next;
        mem_free(gone);
    }
    for (struct tenant *next; tenants != NULL; tenants = next) {
        next = tenants->next;
        mem_free(tenants);
    }
}

/* ---- finding and making ---- */

struct label_key label_key(const struct cache_label *of, uint64_t seed)
{
    uint64_t tenant = XXH3_64bits_withSeed(of->tenant.at, of->tenant.len, seed);
    uint64_t model = XXH3_64bits_withSeed(of->model.at, of->model.len, tenant);
    return (struct label_key){ tenant, XXH3_64bits_withSeed(of->tags.at, of->tags.len, model) };
}

struct label *label_find(struct labels *ls, const struct cache_label *of, struct label_key key)
{
    struct label *l = ls->head[key.label % LABEL_HEADS];
    for (unsigned i = 0; i < CHAIN_LOOKS && l != NULL; i++, l = l->next)
        if (l->hash == key.label && text_eq(model_of(l), of->model) && text_eq(tags_of(l), of->tags) && text_eq(name_of(l->tenant), of->tenant))
            return l;
    return NULL;
}

static struct tenant *tenant_find(struct labels *ls, struct text name, uint64_t hash)
{
    struct tenant *t = ls->tenant_head[hash % LABEL_HEADS];
    while (t != NULL && (t->hash != hash || !text_eq(name_of(t), name)))
        t = t->next;
    return t;
}

static struct tenant *tenant_make(struct labels *ls, struct label_parts *parts, uint64_t hash)
{
    struct tenant *t = tenant_find(ls, name_of(parts->tenant), hash);
    if (t != NULL)
        return t;
    t = parts->tenant;
    parts->tenant = NULL;
    t->hash = hash;
    t->next = ls->tenant_head[hash % LABEL_HEADS];
    ls->tenant_head[hash % LABEL_HEADS] = t;
    ls->bytes += bytes_of_tenant(t);
    ls->tenants++;
    return t;
}

static union label_place *place_of(const struct labels *ls, uint32_t number)
{
    return &ls->chunk[number / LABEL_CHUNK][number % LABEL_CHUNK];
}

struct label *label_at(const struct labels *ls, uint32_t number)
{
    return place_of(ls, number)->label;
}

bool label_wants_chunk(const struct labels *ls)
{
    return ls->first_free == 0 && ls->made + 1 < LABELS_MAX && ls->chunk[(ls->made + 1) / LABEL_CHUNK] == NULL;
}

/* Numbers begin with 1: 0 ends the list of the free ones. */
static uint32_t number_take(struct labels *ls, struct label_parts *parts)
{
    uint32_t number = ls->first_free;
    if (number != 0) {
        ls->first_free = place_of(ls, number)->next_free;
        return number;
    }
    number = ++ls->made;
    if (ls->chunk[number / LABEL_CHUNK] == NULL) {
        ls->chunk[number / LABEL_CHUNK] = parts->chunk;
        parts->chunk = NULL;
    }
    return number;
}

enum fail label_make(struct labels *ls, struct label_parts *parts, struct label_key key, struct label **out)
{
    struct label *l = parts->label;
    if (ls->first_free == 0 && ls->made + 1 == LABELS_MAX)
        return FAIL_NO_MEMORY;
    l->number = number_take(ls, parts);
    parts->label = NULL;
    l->tenant = tenant_make(ls, parts, key.tenant);
    l->tenant->labels++;
    l->hash = key.label;
    l->next = ls->head[key.label % LABEL_HEADS];
    ls->head[key.label % LABEL_HEADS] = l;
    place_of(ls, l->number)->label = l;
    ls->bytes += bytes_of_label(l);
    *out = l;
    return OK;
}

/* ---- going ---- */

static void tenant_drop(struct labels *ls, struct tenant *t)
{
    if (--t->labels > 0)
        return;
    struct tenant **at = &ls->tenant_head[t->hash % LABEL_HEADS];
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    ls->bytes -= bytes_of_tenant(t);
    ls->tenants--;
    t->next = ls->tenants_gone;
    ls->tenants_gone = t;
}

void label_drop(struct labels *ls, struct label *l)
{
    if (--l->entries > 0)
        return;
    struct label **at = &ls->head[l->hash % LABEL_HEADS];
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    *place_of(ls, l->number) = (union label_place){ .next_free = ls->first_free };
    ls->first_free = l->number;
    ls->bytes -= bytes_of_label(l);
    tenant_drop(ls, l->tenant);
    l->next = ls->gone;
    ls->gone = l;
}

void label_fini(struct labels *ls)
{
    for (unsigned i = 0; i < LABEL_HEADS; i++)
        label_free_list(ls->head[i], ls->tenant_head[i]);
    for (unsigned i = 0; i < LABEL_CHUNKS; i++)
        mem_free(ls->chunk[i]);
}

/* ---- matching ---- */

static bool fits(struct text pattern, struct text name)
{
    if (pattern.len > 0 && pattern.at[pattern.len - 1] == '*')
        return text_starts(name, (struct text){ pattern.at, pattern.len - 1 });
    return text_eq(pattern, name);
}

static bool any_tag_fits(struct text pattern, struct text tags)
{
    for (struct text tag; tags.len > 0;) {
        tags = text_cut(tags, ',', &tag);
        tag = text_trim(tag);
        if (tag.len > 0 && fits(pattern, tag))
            return true;
    }
    return false;
}

static bool all_tags_fit(struct text patterns, struct text tags)
{
    bool fit = true;
    for (struct text pattern; fit && patterns.at != NULL; fit = any_tag_fits(pattern, tags))
        patterns = text_cut(patterns, ',', &pattern);
    return fit;
}

bool label_fits(const struct cache_label *of, const struct cache_match *m)
{
    return (m->tenant.at == NULL || fits(m->tenant, of->tenant)) && (m->model.at == NULL || fits(m->model, of->model)) &&
           (m->tag.at == NULL || all_tags_fit(m->tag, of->tags));
}

bool label_matches(const struct label *l, const struct cache_match *m)
{
    struct cache_label of = { name_of(l->tenant), model_of(l), tags_of(l) };
    return label_fits(&of, m);
}
