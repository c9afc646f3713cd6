/* tree.c: what was written, with its places, before anyone asks what it means; and how a load complains. Called by the rest of conf/. */
#include "conf/inner.h"

#include <stdarg.h>
#include <stdio.h>

#define SHOWN_MAX 60 /* bytes of a value in a complaint: enough to find it */

struct tree *tree_new(struct loading *l, enum tree_kind kind, struct place at)
{
    struct tree *t = arena_alloc(&l->scratch, sizeof *t);
    if (t == NULL) {
        (void)refuse_memory(l);
        return NULL;
    }
    *t = (struct tree){ .kind = kind, .place = at };
    return t;
}

struct tree *tree_scalar(struct loading *l, struct place at, struct text text)
{
    struct tree *t = tree_new(l, TREE_SCALAR, at);
    if (t == NULL)
        return NULL;
    const char *copy = arena_copy(&l->scratch, text);
    if (copy == NULL) {
        (void)refuse_memory(l);
        return NULL;
    }
    t->text = (struct text){ copy, text.len };
    return t;
}

bool tree_add(struct loading *l, struct tree *into, struct text name, struct place at, struct tree *value)
{
    if (into->count >= TREE_MEMBERS_MAX)
        return refuse(l, &at, "has more than %d entries", TREE_MEMBERS_MAX);
    struct member *m = arena_alloc(&l->scratch, sizeof *m);
    const char *copy = arena_copy(&l->scratch, name);
    if (m == NULL || copy == NULL)
        return refuse_memory(l);
    *m = (struct member){ .name = { copy, name.len }, .place = at, .value = value };
    if (into->last != NULL)
        into->last->next = m;
    else
        into->first = m;
    into->last = m;
    into->count++;
    return true;
}

struct member *tree_find(const struct tree *map, struct text name)
{
    if (map == NULL || map->kind != TREE_MAP)
        return NULL;
    for (struct member *m = map->first; m != NULL; m = m->next)
        if (text_eq(m->name, name))
            return m;
    return NULL;
}

const struct place *tree_place(const struct tree *map, const char *name)
{
    const struct member *m = tree_find(map, text_of(name));
    return m != NULL ? &m->value->place : NULL;
}

bool tree_is_empty(const struct tree *t)
{
    return t->kind == TREE_SCALAR && t->is_plain &&
           (t->text.len == 0 || text_eq(t->text, TEXT("~")) || text_eq_nocase(t->text, TEXT("null")));
}

/* How many bytes of t make a whole number of UTF-8 characters and are at most max. */
static size_t whole_characters(struct text t, size_t max)
{
    size_t len = MIN(t.len, max);
    while (len < t.len && len > 0 && ((unsigned char)t.at[len] & 0xC0) == 0x80)
        len--;
    return len;
}

static bool is_control(const char *at, size_t left)
{
    unsigned char c = (unsigned char)at[0];
    bool is_c1 = c == 0xC2 && left > 1 && (unsigned char)at[1] < 0xA0; /* U+0080 to U+009F: some terminals obey them */
    return c < 0x20 || c == 0x7F || is_c1;
}

const char *clipped(struct loading *l, struct text t)
{
    if (!text_is_utf8(t))
        return "(not UTF-8)";
    size_t len = whole_characters(t, SHOWN_MAX);
    char *copy = arena_copy(&l->scratch, (struct text){ t.at, len });
    if (copy == NULL)
        return say(l, "?");
    for (size_t i = 0; i < len; i++)
        if (is_control(copy + i, len - i)) {
            if ((unsigned char)copy[i] == 0xC2)
                copy[i++] = '?';
            copy[i] = '?';
        }
    return say(l, "%s%s", copy, len < t.len ? "..." : "");
}

const char *shown(struct loading *l, struct text t)
{
    return say(l, "\"%s\"", clipped(l, t));
}

bool name_is_fit(struct text name)
{
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] == ' ' || is_control(name.at + i, name.len - i))
            return false;
    return name.len > 0 && name.len <= NAME_MAX_BYTES && text_is_utf8(name);
}

const char *say(struct loading *l, const char *format, ...)
{
    char text[1024]; /* paths have at most STEPS_MAX short names, complaints 480 bytes */
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n < 0)
        return "?";
    struct text said = { text, MIN((size_t)n, sizeof text - 1) };
    const char *copy = arena_copy(&l->scratch, said);
    l->has_said_less |= copy == NULL;
    return copy != NULL ? copy : "?";
}

bool refuse(struct loading *l, const struct place *at, const char *format, ...)
{
    char text[2 * sizeof l->why->text];
    size_t from_len = 0;
    if (at != NULL && at->from != NULL)
        from_len = (size_t)snprintf(text, sizeof text / 2, "%s: ", at->from);
    from_len = MIN(from_len, sizeof text / 2 - 1);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + from_len, sizeof text - from_len, format, args);
    va_end(args);
    struct text all = { text, MIN(from_len + (size_t)MAX(n, 0), sizeof text - 1) };
    size_t len = whole_characters(all, sizeof l->why->text - 1); /* a complaint is valid UTF-8 even when it is cut */
    bool is_in_file = at != NULL && at->from == NULL;
    return complain(l->why, is_in_file ? l->options->path : NULL, is_in_file ? at->line : 0, is_in_file ? at->column : 0, "%.*s", (int)len, text);
}

bool refuse_memory(struct loading *l)
{
    return refuse(l, NULL, "no memory left to load the configuration (at most %u MiB are used)", SCRATCH_MAX >> 20);
}

bool refuse_later(struct loading *l, const struct place *at, const char *path)
{
    return refuse(l, at, "%s is not served by this version of weir", path);
}

const char *suggest(struct loading *l, struct text t, const char *const *words, size_t count)
{
    const char *near = text_nearest(t, words, count);
    return near != NULL ? say(l, "; did you mean %s?", shown(l, text_of(near))) : "";
}

const char *suggest_child(struct loading *l, struct text t, const char *path)
{
    const char *words[64]; /* the widest section has 10 keys */
    size_t count = 0;
    struct text child;
    for (size_t i = 0; count < ARRAY_LEN(words) && row_child_next(path, &i, &child);)
        words[count++] = say(l, "%.*s", TEXT_ARG(child));
    return suggest(l, t, words, count);
}

const char *variable_get(const struct loading *l, struct text name)
{
    for (char *const *e = l->options->environ; e != NULL && *e != NULL; e++)
        if (strncmp(*e, name.at, name.len) == 0 && (*e)[name.len] == '=')
            return *e + name.len + 1;
    return NULL;
}
