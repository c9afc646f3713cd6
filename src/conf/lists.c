/* lists.c: lists of names and of backend/model. Called by values.c. */
#include "conf/inner.h"

/* An entry is read as text is, within its list's bounds. */
static bool read_item(struct loading *l, const struct row *row, const char *path, const struct tree *item, const char **out)
{
    const struct row text = { .kind = ROW_KEY, .path = row->path, .type = TYPE_text, .least = row->least, .most = row->most };
    if (item->kind != TREE_SCALAR || tree_is_empty(item))
        return refuse(l, &item->place, "%s must be %s", path, type_what(row->type));
    return value_read(l, &text, path, item, out);
}

static bool read_list(struct loading *l, const struct row *row, const char *path, const struct tree *list, const char **items)
{
    uint32_t i = 0;
    for (const struct member *m = list->first; m != NULL; m = m->next, i++) {
        if (!read_item(l, row, path, m->value, &items[i]))
            return false;
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(items[i], items[j]) == 0)
                return refuse(l, &m->value->place, "%s names %s twice", path, shown(l, m->value->text));
    }
    return true;
}

static bool keep_targets(struct loading *l, const char *const *items, uint32_t count, struct conf_targets *out)
{
    struct conf_target *at = arena_alloc(&l->conf->arena, count * sizeof *at);
    if (at == NULL)
        return refuse_memory(l);
    for (uint32_t i = 0; i < count; i++)
        at[i] = (struct conf_target){ .backend = CONF_NO_BACKEND, .model = items[i] }; /* check.c takes it apart: it knows the backends */
    *out = (struct conf_targets){ .at = at, .count = count };
    return true;
}

bool list_read(struct loading *l, const struct row *row, const char *path, const struct tree *list, void *field)
{
    if (list->kind != TREE_LIST)
        return refuse(l, &list->place, "%s must be %s", path, type_what(row->type));
    if (list->count == 0)
        return refuse(l, &list->place, "%s is an empty list; leave it out or name something", path);
    if (list->count > CONF_LIST_MAX)
        return refuse(l, &list->place, "%s has %u entries; at most %d are allowed", path, list->count, CONF_LIST_MAX);
    const char **items = arena_alloc(&l->conf->arena, list->count * sizeof *items);
    if (items == NULL)
        return refuse_memory(l);
    if (!read_list(l, row, path, list, items))
        return false;
    if (row->type == TYPE_targets)
        return keep_targets(l, items, list->count, field);
    *(struct conf_names *)field = (struct conf_names){ .at = items, .count = list->count };
    return true;
}
