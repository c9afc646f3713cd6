/* schema.c: a JSON Schema of the configuration, so that editors complete and check it. Called by cli/.
   ${...} may stand for any scalar, so numbers and words are also strings here; weir check is the judge. */
#include "base/json.h"
#include "conf/inner.h"

/* The first failure stays: callers look once, at the end. */
struct page {
    struct buf *out;
    enum fail fail;
    struct loading *l; /* for names of paths only */
};

static void put(struct page *p, const char *text)
{
    if (p->fail == OK)
        p->fail = buf_add_text(p->out, text_of(text));
}

static void put_string(struct page *p, struct text t)
{
    if (p->fail == OK)
        p->fail = json_add_string(p->out, t);
}

static void put_words(struct page *p, enum type type)
{
    const struct word *w;
    bool is_first = true;
    put(p, "\"enum\":[");
    for (size_t i = 0; (w = word_next(type, &i)) != NULL;) {
        if (!w->is_served)
            continue;
        put(p, is_first ? "" : ",");
        put_string(p, text_of(w->text));
        is_first = false;
    }
    put(p, "]");
}

static void put_number(struct page *p, const struct row *row, const char *words)
{
    put(p, say(p->l, "\"anyOf\":[{\"type\":\"%s\",\"minimum\":%lld,\"maximum\":%lld},{\"type\":\"string\",\"pattern\":\"%s\"}]",
               type_json(row->type), (long long)row->least, (long long)row->most, words));
}

static void put_key(struct page *p, const struct row *row)
{
    put(p, "{\"description\":");
    put_string(p, text_of(row->what));
    put(p, ",");
    if (row->type == TYPE_names || row->type == TYPE_targets)
        put(p, say(p->l, "\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1,\"maxItems\":%d,\"uniqueItems\":true", CONF_LIST_MAX));
    else if (row->type == TYPE_count || row->type == TYPE_auto_count)
        put_number(p, row, row->type == TYPE_count ? "^[0-9]+$|\\\\$" : "^[0-9]+$|^auto$|\\\\$");
    else if (row->type == TYPE_slots)
        put_number(p, row, "^[0-9]+$|^auto$|^adaptive$|\\\\$");
    else if (row->type == TYPE_number)
        put_number(p, row, "^[0-9.]+$|\\\\$");
    else if (row->type == TYPE_flag)
        put(p, "\"type\":[\"boolean\",\"string\"]"); /* ${NAME} too */
    else if (*type_what(row->type) == '\0')
        put_words(p, row->type);
    else if (row->type == TYPE_size || row->type == TYPE_auto_size || row->type == TYPE_span)
        put(p, "\"type\":[\"string\",\"integer\"]"); /* 0 and 1048576 need no unit */
    else
        put(p, "\"type\":\"string\"");
    if (*row->default_text) {
        put(p, ",\"default\":");
        put_string(p, text_of(row->default_text));
    }
    put(p, "}");
}

static bool is_anything_served(const char *path)
{
    const struct row *row;
    for (size_t i = 0; (row = row_next(&i)) != NULL;)
        if (row->kind == ROW_KEY && row_is_served(row) && text_starts(text_of(row->path), text_of(path)))
            return true;
    return false;
}

static void put_section(struct page *p, const char *path);

/* The keywords of one section, without the braces around them. */
static void put_members(struct page *p, const char *path)
{
    struct text child;
    bool is_first = true;
    put(p, "\"type\":[\"object\",\"null\"],\"additionalProperties\":false,\"properties\":{");
    for (size_t i = 0; row_child_next(path, &i, &child);) {
        const char *name = *path ? say(p->l, "%s.%.*s", path, TEXT_ARG(child)) : say(p->l, "%.*s", TEXT_ARG(child));
        const struct row *row = row_find(name);
        if (!is_anything_served(name))
            continue;
        put(p, is_first ? "" : ",");
        put_string(p, child);
        put(p, ":");
        if (row != NULL && row->kind == ROW_KEY)
            put_key(p, row);
        else
            put_section(p, name);
        is_first = false;
    }
    put(p, "}");
}

/* Recursion is bounded by the table's own depth, at most 4. */
static void put_section(struct page *p, const char *path)
{
    const struct row *row = row_find(path);
    put(p, "{");
    if (row != NULL && row->kind == ROW_MAP) {
        put(p, "\"type\":[\"object\",\"null\"],\"additionalProperties\":");
        put_section(p, say(p->l, "%s.*", path));
    } else {
        put_members(p, path);
    }
    put(p, "}");
}

enum fail conf_schema_json(struct buf *out)
{
    struct loading l = { 0 };
    struct page p = { .out = out, .fail = OK, .l = &l };
    arena_init(&l.scratch, NULL, 0, SCRATCH_MAX);
    put(&p, "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"weir.yaml\",");
    put_members(&p, "");
    put(&p, "}\n");
    arena_fini(&l.scratch);
    return l.has_said_less && p.fail == OK ? FAIL_NO_MEMORY : p.fail;
}
