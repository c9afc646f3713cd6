/* spend.c: many sums become few rows. store.c calls it. */
#include "store/spend.h"

struct spend_row {
    int64_t micro;
    struct spend_id {
        int64_t start;
        uint32_t kind, len;
        char name[64];     /* as long as names of keys and tenants get */
    } id;
};

static struct text id_text(const struct spend_id *id) { return (struct text){ (const char *)id, offsetof(struct spend_id, name) + id->len }; }

void spend_init(struct spend *s)
{
    map_init(&s->rows, 0); /* names come from the operator, not from clients */
}

void spend_fini(struct spend *s)
{
    struct map_slot *slot;
    for (uint32_t i = 0; (slot = map_next(&s->rows, &i)) != NULL;)
        mem_free(slot->value);
    map_fini(&s->rows);
    spend_init(s);
}

enum fail spend_set(struct spend *s, enum spend_kind kind, struct text name, int64_t start, int64_t micro)
{
    struct spend_id id = { .start = start, .kind = kind, .len = (uint32_t)MIN(name.len, sizeof id.name) };
    memcpy(id.name, name.len > 0 ? name.at : "", id.len);
    struct spend_row *row = map_get(&s->rows, id_text(&id));
    if (row != NULL) {
        row->micro = MAX(row->micro, micro);
        return OK;
    }
    if (s->rows.count >= SPEND_ROWS_MAX)
        return FAIL_BUSY;
    row = mem_alloc(sizeof *row);
    if (row == NULL)
        return FAIL_NO_MEMORY;
    *row = (struct spend_row){ micro, id };
    enum fail f = map_set(&s->rows, id_text(&row->id), row, NULL);
    if (f != OK)
        mem_free(row);
    return f;
}

enum fail spend_each(const struct spend *s, enum fail (*fn)(void *arg, enum spend_kind kind, struct text name, int64_t start, int64_t micro), void *arg)
{
    struct map_slot *slot;
    enum fail f = OK;
    for (uint32_t i = 0; f == OK && (slot = map_next(&s->rows, &i)) != NULL;) {
        const struct spend_row *row = slot->value;
        f = fn(arg, (enum spend_kind)row->id.kind, (struct text){ row->id.name, row->id.len }, row->id.start, row->micro);
    }
    return f;
}
