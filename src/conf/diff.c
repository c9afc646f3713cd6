/* diff.c: what a reload changes, a line for each key, along the table of keys. serve/ shows it to whoever asked for the reload, and logs it. */
#include "conf/inner.h"

#include <stdarg.h>
#include <stdio.h>

#define VALUE_SHOWN_MAX 60         /* bytes of a value in a line */
#define VALUES_MAX      (1u << 20) /* bytes of one value while it is compared: CONF_LIST_MAX names, a configuration's largest text */

struct diff {
    const struct conf *now, *next;
    struct buf *out, before, after; /* before, after: one value, printed */
    unsigned lines;
    enum fail fail;
};

static void line(struct diff *d, const char *format, ...) PRINTF(2, 3);
static void line(struct diff *d, const char *format, ...)
{
    char text[2 * VALUE_SHOWN_MAX + 3 * NAME_MAX_BYTES];
    va_list args;
    if (d->lines++ >= CONF_DIFF_LINES || d->fail != OK)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    d->fail = buf_printf(d->out, "%s\n", text);
}

/* ---- one value ---- */

static const char *or_else(const char *text, const char *otherwise) { return text != NULL ? text : otherwise; }

static enum fail print_names(struct buf *out, const struct conf_names *names)
{
    enum fail f = names->count == 0 ? buf_printf(out, "none") : OK;
    for (uint32_t i = 0; i < names->count && f == OK; i++)
        f = buf_printf(out, "%s%s%s", i == 0 ? "[" : ", ", names->at[i], i + 1 == names->count ? "]" : "");
    return f;
}

static enum fail print_targets(struct buf *out, const struct conf *c, const struct conf_targets *targets)
{
    enum fail f = targets->count == 0 ? buf_printf(out, "none") : OK;
    for (uint32_t i = 0; i < targets->count && f == OK; i++)
        f = buf_printf(out, "%s%s/%s%s", i == 0 ? "[" : ", ", c->backends[targets->at[i].backend].name, targets->at[i].model, i + 1 == targets->count ? "]" : "");
    return f;
}

static enum fail print_proxy(struct buf *out, const struct conf_proxy *p)
{
    return buf_printf(out, "%d %s %u %s", p->is_auto, or_else(p->host, ""), (unsigned)p->port, or_else(p->credentials, ""));
}

/* As the file would have it. What is_secret(row) is only compared by it. */
static enum fail print(struct buf *out, const struct conf *c, const struct row *row, const void *field)
{
    char text[24];
    const struct conf_socket *socket = field;
    const struct conf_store *store = field;
    const struct conf_number *number = field;
    uint32_t count;
    buf_clear(out);
    switch (row->type) {
    case TYPE_address:
    case TYPE_address_or_off:
        return buf_printf(out, "%s", or_else(((const struct conf_address *)field)->text, "off"));
    case TYPE_socket:
        return buf_printf(out, "%s", socket->mode == CONF_SOCKET_PATH ? socket->path : socket->mode == CONF_SOCKET_OFF ? "off" : "auto");
    case TYPE_store:
        return buf_printf(out, "%s", store->mode == CONF_STORE_PATH ? store->path : store->mode == CONF_STORE_OFF ? "off" : "auto");
    case TYPE_count:
    case TYPE_auto_count:
    case TYPE_slots:
        count = *(const uint32_t *)field;
        if (row->type == TYPE_slots && count == CONF_CONCURRENCY_ADAPTIVE)
            return buf_printf(out, "adaptive");
        return count == 0 && row->least > 0 ? buf_printf(out, "%s", row->type == TYPE_count ? "none" : "auto") : buf_printf(out, "%u", count);
    case TYPE_size:
    case TYPE_auto_size:
        return buf_printf(out, "%s", *(const uint64_t *)field == 0 ? "auto" : bytes_print(*(const uint64_t *)field, text));
    case TYPE_span:
        return buf_printf(out, "%s", nanos_print(*(const nanos *)field, text));
    case TYPE_number:
        return number->is_set ? buf_printf(out, "%g", number->value) : buf_printf(out, "none");
    case TYPE_key_plain:
    case TYPE_key_digest:
        return buf_add(out, field, 32);
    case TYPE_url:
        return buf_printf(out, "%s", or_else(((const struct conf_url *)field)->text, "none"));
    case TYPE_proxy:
        return print_proxy(out, field);
    case TYPE_redis:
        return buf_printf(out, "%s", or_else(((const struct conf_redis *)field)->url, "none"));
    case TYPE_names:
        return print_names(out, field);
    case TYPE_targets:
        return print_targets(out, c, field);
    case TYPE_log_file:
        return buf_printf(out, "%s", or_else(*(const char *const *)field, "stderr"));
    case TYPE_servers:
        return buf_printf(out, "%s", or_else(*(const char *const *)field, "system"));
    case TYPE_file_or_auto:
        return buf_printf(out, "%s", or_else(*(const char *const *)field, "auto"));
    case TYPE_text:
    case TYPE_secret:
    case TYPE_file:
        return buf_printf(out, "%s", or_else(*(const char *const *)field, "none"));
    default: /* a choice */
        return buf_printf(out, "%s", word_text(row->type, *(const unsigned *)field));
    }
}

static bool is_secret(const struct row *row)
{
    return row->type == TYPE_secret || row->type == TYPE_key_plain || row->type == TYPE_key_digest || row->type == TYPE_proxy ||
           row->type == TYPE_redis;
}

/* ---- files ---- */

static const struct conf_file *find_file(const struct conf *c, const char *path)
{
    for (const struct conf_file *f = c->files; f != NULL; f = f->next)
        if (strcmp(f->path, path) == 0)
            return f;
    return NULL;
}

static void compare_file(struct diff *d, const char *key, const char *path)
{
    const struct conf_file *a = path != NULL ? find_file(d->now, path) : NULL, *b = path != NULL ? find_file(d->next, path) : NULL;
    if (a != NULL && b != NULL && a->mark != b->mark)
        line(d, "%s changed: the file %.*s", key, VALUE_SHOWN_MAX * 3, path);
}

/* The value is as it was; what stands in the file it names may not be. */
static void compare_files(struct diff *d, const struct row *row, const char *key, const void *field)
{
    const struct conf_names *names = field;
    if (row->type == TYPE_file || row->type == TYPE_file_or_auto || row->type == TYPE_text)
        compare_file(d, key, *(const char *const *)field);
    for (uint32_t i = 0; row->type == TYPE_names && i < names->count; i++)
        compare_file(d, key, names->at[i]);
}

/* ---- keys and members ---- */

static void compare(struct diff *d, const struct row *row, const char *key, const void *now, const void *next)
{
    const char *a = (const char *)now + row->offset, *b = (const char *)next + row->offset;
    if (d->fail == OK)
        d->fail = print(&d->before, d->now, row, a);
    if (d->fail == OK)
        d->fail = print(&d->after, d->next, row, b);
    if (d->fail != OK)
        return;
    struct text before = buf_text(&d->before), after = buf_text(&d->after);
    if (text_eq(before, after))
        compare_files(d, row, key, b);
    else if (is_secret(row))
        line(d, "%s changed", key);
    else
        line(d, "%s %.*s%s -> %.*s%s", key, (int)MIN(before.len, VALUE_SHOWN_MAX), before.at, before.len > VALUE_SHOWN_MAX ? "..." : "",
             (int)MIN(after.len, VALUE_SHOWN_MAX), after.at, after.len > VALUE_SHOWN_MAX ? "..." : "");
}

/* A map as one configuration has it. Each member begins with its name. */
struct members {
    const char *at;
    uint32_t count;
    size_t size;
};
_Static_assert(offsetof(struct conf_key, name) == 0 && offsetof(struct conf_tenant, name) == 0 && offsetof(struct conf_backend, name) == 0 &&
               offsetof(struct conf_model, name) == 0, "a member begins with its name");

static struct members members_of(const struct conf *c, const struct row *map)
{
    struct members m = { .count = *(const uint32_t *)(const void *)((const char *)c + map->count_offset), .size = map->member_size };
    memcpy(&m.at, (const char *)c + map->offset, sizeof m.at);
    return m;
}

static const char *name_of(const char *member)
{
    const char *name;
    memcpy(&name, member, sizeof name);
    return name;
}

/* Most members stand where they stood: so that is looked at first. */
static const char *find_member(const struct members *m, const char *name, uint32_t near)
{
    if (near < m->count && strcmp(name_of(m->at + near * m->size), name) == 0)
        return m->at + near * m->size;
    for (uint32_t i = 0; i < m->count; i++)
        if (strcmp(name_of(m->at + i * m->size), name) == 0)
            return m->at + i * m->size;
    return NULL;
}

static void compare_member(struct diff *d, const struct row *map, const char *now, const char *next)
{
    const struct row *row;
    char prefix[32], key[2 * NAME_MAX_BYTES];
    snprintf(prefix, sizeof prefix, "%s.*.", map->path);
    for (size_t i = 0; (row = row_next(&i)) != NULL;)
        if (row->kind == ROW_KEY && row->type != TYPE_key_digest && text_starts(text_of(row->path), text_of(prefix))) { /* the digest is key's own field */
            snprintf(key, sizeof key, "%s.%s.%s", map->path, name_of(now), row->path + strlen(prefix));
            compare(d, row, key, now, next);
        }
}

static void compare_maps(struct diff *d, const struct row *map)
{
    struct members now = members_of(d->now, map), next = members_of(d->next, map);
    for (uint32_t i = 0; i < now.count; i++) {
        const char *member = now.at + i * now.size, *other = find_member(&next, name_of(member), i);
        if (other == NULL)
            line(d, "%s.%s removed", map->path, name_of(member));
        else
            compare_member(d, map, member, other);
    }
    for (uint32_t i = 0; i < next.count; i++)
        if (find_member(&now, name_of(next.at + i * next.size), i) == NULL)
            line(d, "%s.%s added", map->path, name_of(next.at + i * next.size));
}

enum fail conf_diff(const struct conf *now, const struct conf *next, struct buf *out)
{
    struct diff d = { .now = now, .next = next, .out = out };
    const struct row *row;
    buf_init_secret(&d.before, VALUES_MAX);
    buf_init_secret(&d.after, VALUES_MAX);
    for (size_t i = 0; (row = row_next(&i)) != NULL;) {
        if (row->kind == ROW_MAP)
            compare_maps(&d, row);
        else if (row->kind == ROW_KEY && strchr(row->path, '*') == NULL)
            compare(&d, row, row->path, now, next);
    }
    if (d.lines > CONF_DIFF_LINES && d.fail == OK)
        d.fail = buf_printf(out, "and %u more\n", d.lines - CONF_DIFF_LINES);
    buf_fini(&d.before);
    buf_fini(&d.after);
    return d.fail;
}
