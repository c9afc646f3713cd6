/* restart.c: may a running server take this configuration, or does a key differ that only a new process can apply? Called on reload. */
#include "conf/inner.h"

static bool texts_eq(const char *a, const char *b) { return text_eq(text_of(a), text_of(b)); }

static bool value_eq(enum type type, const void *a, const void *b)
{
    const struct conf_socket *socket_a = a, *socket_b = b;
    const struct conf_store *store_a = a, *store_b = b;
    switch (type) {
    case TYPE_address:
    case TYPE_address_or_off:
        return texts_eq(((const struct conf_address *)a)->text, ((const struct conf_address *)b)->text);
    case TYPE_socket:
        return socket_a->mode == socket_b->mode && texts_eq(socket_a->path, socket_b->path);
    case TYPE_store:
        return store_a->mode == store_b->mode && texts_eq(store_a->path, store_b->path);
    case TYPE_redis:
        return texts_eq(((const struct conf_redis *)a)->url, ((const struct conf_redis *)b)->url);
    case TYPE_flag:
        return *(const enum conf_switch *)a == *(const enum conf_switch *)b;
    default:
        ASSERT(type == TYPE_auto_count); /* no RESTART key has another type yet */
        return *(const uint32_t *)a == *(const uint32_t *)b;
    }
}

const char *conf_needs_restart(const struct conf *now, const struct conf *next)
{
    const struct row *row;
    for (size_t i = 0; (row = row_next(&i)) != NULL;)
        if (row->kind == ROW_KEY && row->reload == RESTART &&
            !value_eq(row->type, (const char *)now + row->offset, (const char *)next + row->offset))
            return row->path;
    return NULL;
}
