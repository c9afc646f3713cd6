/* keys.c: keys.def as a table, and questions about it. Called by the rest of conf/. */
#include "conf/inner.h"

static const struct row rows[] = {
#define SECTION(path_, what_) { .kind = ROW_SECTION, .path = path_, .what = what_ },
#define MAP(path_, struct_, array_, most_, what_) \
    { .kind = ROW_MAP, .path = path_, .what = what_, .most = most_, .offset = offsetof(struct conf, array_), \
      .count_offset = offsetof(struct conf, array_##_count), .member_size = sizeof(struct struct_) },
#define KEY(path_, struct_, field_, type_, default_, reload_, least_, most_, what_) \
    { .kind = ROW_KEY, .path = path_, .what = what_, .default_text = default_, .type = TYPE_##type_, .reload = reload_, \
      .least = least_, .most = most_, .offset = offsetof(struct struct_, field_) },
#define REFUSED(path_, default_, what_) \
    { .kind = ROW_REFUSED, .path = path_, .what = what_, .default_text = default_, .type = TYPE_text, .reload = LATER },
#include "conf/keys.def"
};

/* A row that names a field of another type would write over its neighbours. */
#define TYPE(name, field, json, what) typedef __typeof__(field) held_##name;
#include "conf/keys.def"
#define KEY(path_, struct_, field_, type_, ...) \
    _Static_assert(__builtin_types_compatible_p(__typeof__(((struct struct_ *)NULL)->field_), held_##type_), path_ " has another type");
#include "conf/keys.def"

static const struct {
    const char *name, *json, *what;
} types[] = {
#define TYPE(name, field, json, what) { #name, json, what },
#include "conf/keys.def"
};

static const struct word words[] = {
#define WORD(type_, value_, text_, served_, what_) { TYPE_##type_, value_, text_, served_, what_ },
#include "conf/keys.def"
};

static const struct text foreign[] = {
#define FOREIGN(prefix, what) { prefix, sizeof(prefix) - 1 },
#include "conf/keys.def"
};

const struct row *row_next(size_t *i)
{
    return *i < ARRAY_LEN(rows) ? &rows[(*i)++] : NULL;
}

const struct row *row_find(const char *path)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(rows[i].path, path) == 0)
            return &rows[i];
    return NULL;
}

bool row_is_served(const struct row *row)
{
    return row->kind != ROW_REFUSED && (row->kind != ROW_KEY || row->reload != LATER);
}

/* The part of row's path that follows path, up to its next dot; empty if row is not below path. */
static struct text child_of(const struct row *row, const char *path)
{
    struct text below = text_of(row->path), child;
    size_t len = strlen(path);
    if (len > 0) {
        if (!text_starts(below, text_of(path)) || below.len <= len || below.at[len] != '.')
            return TEXT_NONE;
        below = (struct text){ below.at + len + 1, below.len - len - 1 };
    }
    (void)text_cut(below, '.', &child);
    return child;
}

bool row_child_next(const char *path, size_t *i, struct text *out_child)
{
    for (; *i < ARRAY_LEN(rows); (*i)++) {
        struct text child = child_of(&rows[*i], path);
        if (child.len == 0)
            continue;
        bool is_new = true; /* a child is told of at the first row that has it */
        for (size_t j = 0; j < *i && is_new; j++)
            is_new = !text_eq(child_of(&rows[j], path), child);
        if (is_new) {
            (*i)++;
            *out_child = child;
            return true;
        }
    }
    return false;
}

const struct word *word_next(enum type type, size_t *i)
{
    for (; *i < ARRAY_LEN(words); (*i)++)
        if (words[*i].type == type)
            return &words[(*i)++];
    return NULL;
}

const char *type_json(enum type type) { return types[type].json; }
const char *type_what(enum type type) { return types[type].what; }

bool is_foreign_variable(struct text name)
{
    for (size_t i = 0; i < ARRAY_LEN(foreign); i++)
        if (text_starts(name, foreign[i]) && !text_starts((struct text){ name.at + foreign[i].len, name.len - foreign[i].len }, TEXT("__"))) /* a level of ours */
            return true;
    return false;
}

const char *word_text(enum type type, unsigned value)
{
    const struct word *w;
    for (size_t i = 0; (w = word_next(type, &i)) != NULL;)
        if (w->value == value)
            return w->text;
    return "?";
}

const char *conf_kind_name(enum conf_kind kind) { return word_text(TYPE_kind, kind); }
const char *conf_balance_name(enum conf_balance balance) { return word_text(TYPE_balance, balance); }
const char *conf_class_name(enum conf_class class) { return word_text(TYPE_class, class); }
