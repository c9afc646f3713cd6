/* read.c: walks the tree along the table of keys and fills struct conf. Called by load.c.
   Two paths go down together: `path` is what the user wrote (backends.gpu1.url), `pattern` the table's name for it (backends.*.url). */
#include "conf/inner.h"

#include <ctype.h>

static const char *below(struct loading *l, const char *path, struct text child)
{
    return *path ? say(l, "%s.%.*s", path, TEXT_ARG(child)) : say(l, "%.*s", TEXT_ARG(child));
}

/* Fills the fields below prefix ("keys.*." or "", which means those of no map) with their defaults. */
static bool defaults_set(struct loading *l, const char *prefix, void *base)
{
    const struct row *row;
    for (size_t i = 0; (row = row_next(&i)) != NULL;) {
        bool is_here = *prefix ? text_starts(text_of(row->path), text_of(prefix)) : strchr(row->path, '*') == NULL;
        if (row->kind != ROW_KEY || !is_here || row->default_text[0] == '\0')
            continue;
        struct tree value = { .kind = TREE_SCALAR, .place = { .from = "the default" }, .text = text_of(row->default_text) };
        if (!value_read(l, row, row->path, &value, (char *)base + row->offset))
            return false;
    }
    return true;
}

static bool refuse_unknown(struct loading *l, const struct member *m, const char *path, const char *pattern)
{
    return refuse(l, &m->place, "unknown key %s%s", shown(l, text_of(below(l, path, m->name))), suggest_child(l, m->name, pattern));
}

static bool is_section(const char *pattern)
{
    size_t i = 0;
    struct text child;
    return row_child_next(pattern, &i, &child);
}

/* True with *out_empty if there is nothing inside; `backends:` with every member commented out is no mistake. */
static bool map_expect(struct loading *l, const char *path, const struct tree *value, bool *out_empty)
{
    *out_empty = tree_is_empty(value);
    return *out_empty || value->kind == TREE_MAP ||
           refuse(l, &value->place, "%s must be a section with keys in it, not a %s", path, value->kind == TREE_LIST ? "list" : "value");
}

static bool read_map(struct loading *l, const struct row *row, const struct tree *map);

/* Depth is the table's own: at most 4. */
static bool read_section(struct loading *l, const char *path, const char *pattern, const struct tree *map, void *base)
{
    for (const struct member *m = map->first; m != NULL; m = m->next) {
        const char *name = below(l, path, m->name), *child = below(l, pattern, m->name);
        bool is_word = memchr(m->name.at, '.', m->name.len) == NULL && memchr(m->name.at, '*', m->name.len) == NULL, is_empty;
        const struct row *row = is_word ? row_find(child) : NULL;
        if (row != NULL && (row->kind == ROW_KEY || row->kind == ROW_REFUSED)) {
            if (!row_is_served(row))
                return refuse_later(l, &m->place, name);
            if (!value_read(l, row, name, m->value, (char *)base + row->offset))
                return false;
            continue;
        }
        if (!is_word || !is_section(child))
            return refuse_unknown(l, m, path, pattern);
        if (!map_expect(l, name, m->value, &is_empty))
            return false;
        if (is_empty)
            continue;
        bool is_ok = row != NULL && row->kind == ROW_MAP ? read_map(l, row, m->value) : read_section(l, name, child, m->value, base);
        if (!is_ok)
            return false;
    }
    return true;
}

/* Names of keys and backends are metric labels and parts of backend/model; a model's name is whatever its maker chose. */
static bool name_check(struct loading *l, const struct row *row, const struct member *m)
{
    if (strcmp(row->path, "models") == 0)
        return true;
    if (m->name.len > 64)
        return refuse(l, &m->place, "the name %s is longer than 64 bytes", shown(l, m->name));
    for (size_t i = 0; i < m->name.len; i++)
        if (!isalnum((unsigned char)m->name.at[i]) && strchr("-_.:@[]", m->name.at[i]) == NULL)
            return refuse(l, &m->place, "the name %s may only have letters, digits and - _ . : @ [ ]", shown(l, m->name));
    return true;
}

/* What every member has besides its keys. */
static void member_begin(const struct row *row, void *member, const char *name, int line)
{
    if (strcmp(row->path, "keys") == 0) {
        struct conf_key *k = member;
        k->name = k->tenant = name;
        k->line = line;
    } else if (strcmp(row->path, "backends") == 0) {
        struct conf_backend *b = member;
        b->name = name;
        b->line = line;
    } else if (strcmp(row->path, "tenants") == 0) {
        struct conf_tenant *tenant = member;
        tenant->name = name;
        tenant->line = line;
    } else {
        struct conf_model *model = member;
        ASSERT(strcmp(row->path, "models") == 0);
        model->name = name;
        model->line = line;
    }
}

static bool read_member(struct loading *l, const struct row *row, const struct member *m, void *member)
{
    const char *pattern = say(l, "%s.*", row->path), *path = below(l, row->path, m->name);
    const char *name = arena_copy(&l->conf->arena, m->name);
    bool is_empty;
    if (name == NULL)
        return refuse_memory(l);
    member_begin(row, member, name, m->place.line);
    if (!name_check(l, row, m) || !map_expect(l, path, m->value, &is_empty) || !defaults_set(l, say(l, "%s.", pattern), member))
        return false;
    if (!is_empty && !read_section(l, path, pattern, m->value, member))
        return false;
    if (strcmp(row->path, "keys") == 0) {
        struct conf_key *k = member;
        k->has_tenant = k->tenant != k->name; /* another text, whatever it says */
    }
    return true;
}

static bool read_map(struct loading *l, const struct row *row, const struct tree *map)
{
    if (map->count > row->most)
        return refuse(l, &map->place, "%s has %u members; at most %lld are allowed", row->path, map->count, (long long)row->most);
    if (map->count == 0)
        return true;
    char *members = arena_alloc(&l->conf->arena, map->count * row->member_size);
    if (members == NULL)
        return refuse_memory(l);
    memset(members, 0, map->count * row->member_size);
    memcpy((char *)l->conf + row->offset, &members, sizeof members); /* at once: a refused load wipes what it has read */
    *(uint32_t *)(void *)((char *)l->conf + row->count_offset) = map->count;
    for (const struct member *m = map->first; m != NULL; m = m->next, members += row->member_size)
        if (!read_member(l, row, m, members))
            return false;
    return true;
}

bool conf_read(struct loading *l)
{
    return defaults_set(l, "", l->conf) && read_section(l, "", "", l->root, l->conf);
}
