/* override.c: URLs of the command line, WEIR_... variables and --set flags, written onto the tree of the file. Called by load.c.
   They become values like the file's, with another place, so that one parser and one set of complaints serves all. */
#include "conf/inner.h"

#include <ctype.h>

/* A key taken apart: backends, gpu1, url. */
struct steps {
    struct text at[STEPS_MAX];
    unsigned count;
};

static bool is_map_name(struct text first)
{
    const struct row *row;
    for (size_t i = 0; (row = row_next(&i)) != NULL;)
        if (row->kind == ROW_MAP && text_eq(text_of(row->path), first))
            return true;
    return false;
}

static const struct row *row_of(struct loading *l, const struct steps *steps)
{
    const char *path = "";
    for (unsigned i = 0; i < steps->count; i++) {
        struct text step = i == 1 && is_map_name(steps->at[0]) ? TEXT("*") : steps->at[i];
        path = i == 0 ? say(l, "%.*s", TEXT_ARG(step)) : say(l, "%s.%.*s", path, TEXT_ARG(step));
    }
    return row_find(path);
}

/* A list may be written as the file has it, [a, b]; a single entry needs no brackets. */
static struct tree *value_new(struct loading *l, const struct row *row, const char *from, struct text text)
{
    struct place at = { .from = from };
    struct tree *value;
    bool is_list = row != NULL && (row->type == TYPE_names || row->type == TYPE_targets) && row->kind == ROW_KEY;
    if (is_list && text_starts(text, TEXT("[")))
        return yaml_parse(l, from, text, &value) ? value : NULL;
    struct tree *scalar = tree_scalar(l, at, text);
    if (!is_list || scalar == NULL)
        return scalar;
    struct tree *list = tree_new(l, TREE_LIST, at);
    return list != NULL && tree_add(l, list, TEXT_NONE, at, scalar) ? list : NULL;
}

/* The map at step of into; made if nothing is there. */
static struct tree *map_below(struct loading *l, struct tree *into, struct text step, struct place at)
{
    struct member *m = tree_find(into, step);
    if (m != NULL && m->value->kind == TREE_MAP)
        return m->value;
    if (m != NULL && !tree_is_empty(m->value)) {
        (void)refuse(l, &m->value->place, "%.*s must be a section with keys in it", TEXT_ARG(step));
        return NULL;
    }
    struct tree *map = tree_new(l, TREE_MAP, at);
    if (map == NULL)
        return NULL;
    if (m != NULL)
        m->value = map;
    else if (!tree_add(l, into, step, at, map))
        return NULL;
    return map;
}

static bool put(struct loading *l, const struct steps *steps, const char *from, struct text text)
{
    struct tree *into = l->root;
    struct place at = { .from = from };
    for (unsigned i = 0; i + 1 < steps->count && into != NULL; i++)
        into = map_below(l, into, steps->at[i], at);
    struct tree *value = into != NULL ? value_new(l, row_of(l, steps), from, text) : NULL;
    if (value == NULL)
        return false;
    struct text last = steps->at[steps->count - 1];
    struct member *m = tree_find(into, last);
    if (m == NULL)
        return tree_add(l, into, last, at, value);
    m->value = value;
    m->place = at;
    return true;
}

static bool step_add(struct loading *l, struct steps *steps, const char *from, struct text step)
{
    struct place at = { .from = from };
    if (!name_is_fit(step) || steps->count >= STEPS_MAX)
        return refuse(l, &at, "not the name of a key, such as limits.queue or backends.NAME.url");
    steps->at[steps->count++] = step;
    return true;
}

static bool steps_split(struct loading *l, struct text path, const char *from, struct steps *steps)
{
    while (path.at != NULL) {
        struct text step;
        path = text_cut(path, '.', &step);
        if (!step_add(l, steps, from, step))
            return false;
    }
    return true;
}

/* ---- flags ---- */

/* Where the name of a member ends: models.gpt-4.1.use is gpt-4.1 and use, because use is a key and 1.use is not. */
static size_t name_len(struct loading *l, struct text first, struct text rest)
{
    for (size_t i = 1; i + 1 < rest.len; i++)
        if (rest.at[i] == '.' && row_find(say(l, "%.*s.*%.*s", TEXT_ARG(first), (int)(rest.len - i), rest.at + i)) != NULL)
            return i;
    const char *dot = rest.len > 0 ? memchr(rest.at, '.', rest.len) : NULL;
    return dot != NULL ? (size_t)(dot - rest.at) : rest.len;
}

static bool flag_apply(struct loading *l, const char *set)
{
    struct text first, name, value = text_cut(text_of(set), '=', &name);
    if (!text_is_utf8(text_of(set)))
        return refuse(l, NULL, "--set: not UTF-8");
    if (value.at == NULL)
        return refuse(l, NULL, "--set %s: write it as key=value, such as limits.queue=100", shown(l, name));
    const char *from = say(l, "--set %s", clipped(l, name));
    struct steps steps = { .count = 0 };
    struct text rest = text_cut(name, '.', &first);
    if (rest.at != NULL && is_map_name(first)) {
        size_t len = name_len(l, first, rest);
        if (!step_add(l, &steps, from, first) || !step_add(l, &steps, from, (struct text){ rest.at, len }))
            return false;
        name = len < rest.len ? (struct text){ rest.at + len + 1, rest.len - len - 1 } : TEXT_NONE;
    }
    return steps_split(l, name, from, &steps) && put(l, &steps, from, value);
}

/* ---- environment ---- */

static struct text lowered(struct loading *l, struct text t)
{
    char *copy = arena_copy(&l->scratch, t);
    l->has_said_less |= copy == NULL;
    for (size_t i = 0; copy != NULL && i < t.len; i++)
        copy[i] = (char)tolower((unsigned char)copy[i]);
    return copy != NULL ? (struct text){ copy, t.len } : TEXT("?");
}

/* A variable's name has only letters, digits and _, so TEAM_A may be team-a and GPT_4_1 may be gpt-4.1. */
static bool is_same_name(struct text variable, struct text name)
{
    if (variable.len != name.len)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        int c = isalnum((unsigned char)name.at[i]) ? tolower((unsigned char)name.at[i]) : '_';
        if (c != tolower((unsigned char)variable.at[i]))
            return false;
    }
    return true;
}

static bool member_name(struct loading *l, struct text map, struct text variable, const char *from, struct text *out)
{
    struct place at = { .from = from };
    struct member *m = tree_find(l->root, map);
    bool is_found = false;
    *out = lowered(l, variable);
    for (m = m != NULL && m->value->kind == TREE_MAP ? m->value->first : NULL; m != NULL; m = m->next) {
        if (!is_same_name(variable, m->name))
            continue;
        if (is_found)
            return refuse(l, &at, "may mean %s or %s; use --set", shown(l, *out), shown(l, m->name));
        *out = m->name;
        is_found = true;
    }
    return true;
}

static bool variable_apply(struct loading *l, struct text name, struct text value)
{
    const char *from = say(l, "environment %s", clipped(l, name));
    struct steps steps = { .count = 0 };
    struct text rest = { name.at + 5, name.len - 5 };
    while (rest.at != NULL) {
        ptrdiff_t end = text_find(rest, TEXT("__"));
        struct text step = { rest.at, end < 0 ? rest.len : (size_t)end };
        rest = end < 0 ? TEXT_NONE : (struct text){ rest.at + end + 2, rest.len - (size_t)end - 2 };
        bool is_member = steps.count == 1 && is_map_name(steps.at[0]);
        if (!is_member)
            step = lowered(l, step);
        else if (!member_name(l, steps.at[0], step, from, &step))
            return false;
        if (!step_add(l, &steps, from, step))
            return false;
    }
    return put(l, &steps, from, value);
}

static bool environment_apply(struct loading *l)
{
    for (char *const *e = l->options->environ; e != NULL && *e != NULL; e++) {
        struct text name, value = text_cut(text_of(*e), '=', &name);
        if (value.at == NULL || !text_starts(name, TEXT("WEIR_")) || is_foreign_variable(name))
            continue;
        if (!text_is_utf8(text_of(*e)))
            return refuse(l, NULL, "environment: a variable that begins with WEIR_ is not UTF-8");
        if (!variable_apply(l, name, value))
            return false;
    }
    return true;
}

/* ---- backends without a file ---- */

static bool backend_put(struct loading *l, struct text name, struct text key, const char *from, struct text value)
{
    struct steps steps = { .at = { TEXT("backends"), name, key }, .count = 3 };
    return put(l, &steps, from, value);
}

/* host:port, or host:port-2 for the second path there. */
static struct text url_name(struct loading *l, const struct conf_url *url)
{
    struct member *backends = tree_find(l->root, TEXT("backends"));
    const char *bracket = strchr(url->host, ':') != NULL ? "[" : "", *end = *bracket ? "]" : "";
    const char *name = say(l, "%s%s%s:%u", bracket, url->host, end, (unsigned)url->port);
    struct text t = text_of(name);
    for (unsigned i = 2; backends != NULL && tree_find(backends->value, t) != NULL; i++) /* ends: there are at most TREE_MEMBERS_MAX */
        t = text_of(say(l, "%s-%u", name, i));
    return t;
}

static bool urls_apply(struct loading *l)
{
    for (size_t i = 0; i < l->options->urls_count; i++) {
        struct text text = text_of(l->options->urls[i]);
        struct conf_url url;
        bool is_shown = text_is_utf8(text) && memchr(text.at, '@', text.len) == NULL; /* no password in a complaint */
        const char *from = is_shown ? say(l, "URL %s", shown(l, text)) : say(l, "URL number %zu", i + 1);
        struct place at = { .from = from };
        const char *wrong = text_is_utf8(text) ? url_parse(&l->scratch, text, &url) : "is not UTF-8";
        if (wrong != NULL)
            return refuse(l, &at, "the URL %s", wrong);
        for (size_t j = 0; j < i; j++)
            if (strcmp(l->options->urls[j], l->options->urls[i]) == 0)
                return refuse(l, &at, "the URL is given twice");
        if (!backend_put(l, url_name(l, &url), TEXT("url"), from, text))
            return false;
    }
    return true;
}

static bool has_backends(const struct loading *l)
{
    struct member *m = tree_find(l->root, TEXT("backends"));
    if (m == NULL || tree_is_empty(m->value))
        return false;
    return m->value->kind != TREE_MAP || m->value->count > 0; /* what is no map is refused when it is read */
}

static bool local_apply(struct loading *l)
{
    if (!l->options->local_fallback || has_backends(l))
        return true;
    const char *from = "the local model";
    return backend_put(l, TEXT("local"), TEXT("kind"), from, TEXT("llama")) &&
           backend_put(l, TEXT("local"), TEXT("model"), from, TEXT("smollm2")) &&
           backend_put(l, TEXT("local-embeddings"), TEXT("kind"), from, TEXT("llama")) &&
           backend_put(l, TEXT("local-embeddings"), TEXT("model"), from, TEXT("all-minilm-l6-v2"));
}

bool overrides_apply(struct loading *l)
{
    if (!urls_apply(l) || !environment_apply(l))
        return false;
    for (size_t i = 0; i < l->options->sets_count; i++)
        if (!flag_apply(l, l->options->sets[i]))
            return false;
    return local_apply(l);
}
