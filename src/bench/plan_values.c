/* plan_values.c: values that have names: variables with a list of values, and columns of CSV files. The same for weir's own form and Artillery's. */
#include "bench/plan_inner.h"

#define FIELDS_MAX 64

bool plan_is_bare(struct text t)
{
    char first[1024];
    struct arena arena;
    yyjson_doc *doc;
    if (t.len == 0 || t.len > 64 || strchr("-0123456789tfn", t.at[0]) == NULL)
        return false;
    arena_init(&arena, first, sizeof first, ARENA_NO_MAX);
    bool is_ok = json_parse(&arena, t, &doc, NULL) == OK;
    arena_fini(&arena);
    return is_ok; /* by its first byte it is no text, list or object */
}

/* ---- variables ---- */

static bool take_value(struct planning *p, const struct tree *value, struct value *out)
{
    if (value->kind != TREE_SCALAR)
        return plan_refuse(p, value, "must be one value, or a list of values to choose from");
    *out = (struct value){ { arena_copy(&p->script->arena, value->text), value->text.len }, value->is_plain && plan_is_bare(value->text) };
    return out->text.at != NULL || plan_refuse_memory(p);
}

static bool is_name(struct text name)
{
    for (size_t i = 0; i < name.len; i++)
        if (strchr("${}()|\"", name.at[i]) != NULL)
            return false;
    return name.len > 0;
}

static struct name *add_name(struct planning *p, const struct tree *at, struct text name)
{
    struct name *n = is_name(name) ? script_add_name(p->script, name, NAME_VALUES) : NULL;
    if (n == NULL)
        (void)plan_refuse(p, at, "the name \"%.*s\" is taken already, has one of $ { } ( ) |, or there are more than %d", TEXT_ARG(name), SCRIPT_NAMES_MAX);
    return n;
}

static bool take_variable(struct planning *p, const struct member *m)
{
    bool is_list = m->value->kind == TREE_LIST;
    uint32_t count = is_list ? m->value->count : 1, i = 0;
    if (count == 0)
        return plan_refuse(p, m->value, "an empty list has nothing to choose from");
    struct name *n = add_name(p, m->value, m->name);
    struct value *values = n != NULL ? arena_alloc(&p->script->arena, count * sizeof *values) : NULL;
    if (n == NULL)
        return false;
    if (values == NULL)
        return plan_refuse_memory(p);
    n->values = values;
    n->count = count;
    if (!is_list)
        return take_value(p, m->value, values);
    for (const struct member *one = m->value->first; one != NULL; one = one->next)
        if (!take_value(p, one->value, &values[i++]))
            return false;
    return true;
}

bool plan_variables(struct planning *p, const struct tree *map)
{
    if (map->kind != TREE_MAP)
        return plan_refuse(p, map, "must be names with values");
    for (const struct member *m = map->first; m != NULL; m = m->next)
        if (!take_variable(p, m))
            return false;
    return true;
}

/* ---- CSV (RFC 4180) ---- */

struct payload {
    const char *path;
    const struct tree *path_at, *fields;
    char delimiter;
    bool skips_first, in_order;
};

static bool refuse_line(struct planning *p, const struct payload *t, uint64_t line, const char *what)
{
    return plan_refuse(p, t->path_at, "%s:%llu: %s", t->path, (unsigned long long)line, what);
}

/* Takes one field off *io_rest, unquoted into *out (in the script's arena); *out_last: the line ended behind it. False: no memory, or text behind a closing quote. */
static bool take_field(struct planning *p, const struct payload *t, struct text *io_rest, struct text *out, bool *out_last)
{
    const char *from = io_rest->at, *end = from + io_rest->len;
    bool is_quoted = from < end && *from == '"';
    const char *stop = from += is_quoted;
    while (stop < end && (is_quoted ? *stop != '"' || (stop + 1 < end && stop[1] == '"') : *stop != t->delimiter && *stop != '\n'))
        stop += is_quoted && *stop == '"' ? 2 : 1; /* "" inside quotes is one */
    char *to = arena_alloc(&p->script->arena, (size_t)(stop - from) + 1), *at = to;
    if (to == NULL)
        return false;
    for (; from < stop; from += is_quoted && *from == '"' ? 2 : 1)
        *at++ = *from;
    from = stop + (is_quoted && stop < end);
    if (is_quoted && from < end && *from == '\r')
        from++;
    else if (!is_quoted && at > to && at[-1] == '\r' && (from == end || *from == '\n'))
        at--;
    *out = (struct text){ to, (size_t)(at - to) };
    *out_last = from == end || *from == '\n';
    if (!*out_last && *from != t->delimiter)
        return false;
    from += from < end;
    *io_rest = (struct text){ from, (size_t)(end - from) };
    return true;
}

static bool read_label(struct planning *p, const struct tree *value, void *into)
{
    struct text label;
    (void)into;
    return plan_text(p, value, &label);
}

static bool read_path(struct planning *p, const struct tree *value, void *into)
{
    struct payload *t = into;
    struct text name;
    if (!plan_text(p, value, &name))
        return false;
    t->path_at = value;
    t->path = plan_file(p, name);
    return t->path != NULL || plan_refuse_memory(p);
}

static bool read_delimiter(struct planning *p, const struct tree *value, void *into)
{
    struct payload *t = into;
    if (value->kind != TREE_SCALAR || value->text.len != 1 || value->text.at[0] == '"')
        return plan_refuse(p, value, "must be one character");
    t->delimiter = value->text.at[0];
    return true;
}

static bool read_skip(struct planning *p, const struct tree *value, void *into)
{
    struct payload *t = into;
    return plan_bool(p, value, &t->skips_first);
}

static bool read_order(struct planning *p, const struct tree *value, void *into)
{
    struct payload *t = into;
    t->in_order = value->kind == TREE_SCALAR && text_eq(value->text, TEXT("sequence"));
    return t->in_order || (value->kind == TREE_SCALAR && text_eq(value->text, TEXT("random"))) || plan_refuse(p, value, "must be random or sequence");
}

static bool read_fields(struct planning *p, const struct tree *value, void *into)
{
    struct payload *t = into;
    t->fields = value;
    return (value->kind == TREE_LIST && value->count > 0 && value->count <= FIELDS_MAX) || plan_refuse(p, value, "must be a list of 1 to %d names", FIELDS_MAX);
}

static const struct plan_key keys[] = {
#define KEY(section, name, read, what) { #section, name, read, what },
#define REFUSED(section, name, why) { #section, name, NULL, why },
#include "bench/plan_values.def"
#undef REFUSED
#undef KEY
};

static bool take_row(struct planning *p, const struct payload *t, struct text *io_rest, uint64_t line, struct value *row)
{
    bool is_last = false;
    for (uint32_t i = 0; i < t->fields->count; i++) {
        if (is_last)
            return refuse_line(p, t, line, "has fewer fields than the plan has names");
        if (!take_field(p, t, io_rest, &row[i].text, &is_last))
            return refuse_line(p, t, line, "has text behind a closing quote");
        row[i].is_bare = plan_is_bare(row[i].text);
    }
    return is_last || refuse_line(p, t, line, "has more fields than the plan has names");
}

static bool take_rows(struct planning *p, const struct payload *t, struct text rest, struct value **out, uint32_t *out_count)
{
    uint64_t lines = 1, line = 1;
    struct text first;
    for (size_t i = 0; i < rest.len; i++)
        lines += rest.at[i] == '\n';
    if (lines > UINT32_MAX / FIELDS_MAX)
        return refuse_line(p, t, line, "more lines than a table may have");
    *out = arena_alloc(&p->script->arena, lines * t->fields->count * sizeof **out);
    *out_count = 0;
    if (*out == NULL)
        return plan_refuse_memory(p);
    if (t->skips_first)
        rest = text_cut(rest, '\n', &first), line++;
    for (; rest.len > 0; line++) {
        bool is_empty = rest.at[0] == '\n' || text_starts(rest, TEXT("\r\n"));
        if (is_empty)
            rest = text_cut(rest, '\n', &first);
        else if (!take_row(p, t, &rest, line, *out + *out_count * t->fields->count))
            return false;
        *out_count += !is_empty;
    }
    return *out_count > 0 || refuse_line(p, t, line, "holds no row");
}

static bool take_table(struct planning *p, const struct payload *t, const struct value *values, uint32_t rows)
{
    uint32_t column = 0, group = p->script->group_count;
    for (const struct member *m = t->fields->first; m != NULL; m = m->next, column++) {
        struct text field;
        if (!plan_text(p, m->value, &field))
            return false;
        struct name *n = add_name(p, m->value, field);
        if (n == NULL)
            return false;
        n->values = values + column;
        n->count = rows;
        n->stride = t->fields->count;
        n->in_order = t->in_order;
        n->group = group;
    }
    return true;
}

static bool read_payload(struct planning *p, const struct tree *payload)
{
    struct payload t = { .delimiter = ',' };
    struct complaint inner;
    struct buf file;
    struct value *values;
    uint32_t rows;
    if (!plan_walk(p, payload, keys, ARRAY_LEN(keys), "payload", &t))
        return false;
    if (t.path == NULL || t.fields == NULL)
        return plan_refuse(p, payload, "a payload needs path and fields");
    if (!script_file_read(t.path, &file, &inner))
        return plan_refuse_file(p, t.path_at, &inner);
    bool is_ok = take_rows(p, &t, buf_text(&file), &values, &rows);
    buf_fini(&file);
    return is_ok && take_table(p, &t, values, rows);
}

bool plan_payload(struct planning *p, const struct tree *payload)
{
    if (payload->kind != TREE_LIST)
        return read_payload(p, payload);
    for (const struct member *m = payload->first; m != NULL; m = m->next)
        if (!read_payload(p, m->value))
            return false;
    return true;
}
