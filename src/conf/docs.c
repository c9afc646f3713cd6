/* docs.c: the reference page, generated from keys.def. Called by cli/ and by the check that the page in docs/ is current. */
#include "conf/inner.h"

#include <stdio.h>

/* The first failure stays: callers look once, at the end. */
struct page {
    struct buf *out;
    enum fail fail;
};

static void put(struct page *p, const char *text)
{
    if (p->fail == OK)
        p->fail = buf_add_text(p->out, text_of(text));
}

/* A table's cell must not contain the table's own mark. */
static void put_cell(struct page *p, const char *text)
{
    for (const char *bar; (bar = strchr(text, '|')) != NULL; text = bar + 1) {
        if (p->fail == OK)
            p->fail = buf_add(p->out, text, (size_t)(bar - text));
        put(p, "\\|");
    }
    put(p, text);
}

static void put_code(struct page *p, const char *text)
{
    put(p, *text ? "`" : "-");
    put_cell(p, text);
    put(p, *text ? "`" : "");
}

static void put_words(struct page *p, enum type type)
{
    const struct word *w;
    bool is_first = true;
    for (size_t i = 0; (w = word_next(type, &i)) != NULL;) {
        if (!w->is_served)
            continue;
        put(p, is_first ? "`" : ", `");
        put(p, w->text);
        put(p, *w->what ? "` " : "`");
        put(p, *w->what ? "(" : "");
        put_cell(p, w->what);
        put(p, *w->what ? ")" : "");
        is_first = false;
    }
}

static const char *bound_print(enum type type, int64_t value, char out[24])
{
    if (type == TYPE_size || type == TYPE_auto_size)
        return bytes_print((uint64_t)value, out);
    if (type == TYPE_span)
        return nanos_print(value, out);
    (void)snprintf(out, 24, "%lld", (long long)value);
    return out;
}

static void put_bounds(struct page *p, const struct row *row)
{
    char least[24], most[24], text[80];
    bool is_list = row->type == TYPE_names || row->type == TYPE_targets;
    bool is_text = is_list || row->type == TYPE_text || row->type == TYPE_log_file || row->type == TYPE_secret ||
                   row->type == TYPE_key_plain || row->type == TYPE_url;
    if (row->least == 0 && row->most == 0) {
        put(p, "-");
        return;
    }
    (void)snprintf(text, sizeof text, "%s to %s%s", bound_print(row->type, row->least, least), bound_print(row->type, row->most, most),
                   is_list ? " bytes each" : is_text ? " bytes" : "");
    put(p, text);
}

static void put_key(struct page *p, const struct row *row)
{
    put(p, "| ");
    put_code(p, row->path);
    put(p, " | ");
    if (*type_what(row->type))
        put_cell(p, type_what(row->type));
    else
        put_words(p, row->type);
    put(p, " | ");
    put_code(p, row->default_text);
    put(p, row->reload == LIVE ? " | LIVE | " : " | RESTART | ");
    put_bounds(p, row);
    put(p, " | ");
    put_cell(p, row->what);
    put(p, " |\n");
}

static void put_heading(struct page *p, const struct row *row)
{
    put(p, "\n## ");
    put(p, *row->path ? row->path : "top level");
    put(p, "\n\n");
    put(p, row->what);
    put(p, row->kind == ROW_MAP ? " Each member has a name of your choice, `*` below.\n" : "\n");
    put(p, "\n| key | type | default | reload | bounds | meaning |\n|---|---|---|---|---|---|\n");
}

/* A section of which nothing is served yet would be an empty table. */
static bool has_served(const struct row *section)
{
    const struct row *row;
    size_t i = 0;
    while ((row = row_next(&i)) != section)
        ASSERT(row != NULL);
    for (row = row_next(&i); row != NULL && (row->kind == ROW_KEY || row->kind == ROW_REFUSED); row = row_next(&i))
        if (row_is_served(row))
            return true;
    return false;
}

static void put_sections(struct page *p)
{
    const struct row *row;
    for (size_t i = 0; (row = row_next(&i)) != NULL;) {
        if ((row->kind == ROW_SECTION || row->kind == ROW_MAP) && has_served(row))
            put_heading(p, row);
        else if (row->kind == ROW_KEY && row_is_served(row))
            put_key(p, row);
    }
}

static void put_refused(struct page *p)
{
    const struct row *row;
    const struct word *w;
    put(p, "\n## Known, but not served by this version\n\nWriting one of these is an error, never silently without effect.\n\n"
           "| key | meaning |\n|---|---|\n");
    for (size_t i = 0; (row = row_next(&i)) != NULL;) {
        if (row->kind != ROW_REFUSED && row->kind != ROW_KEY)
            continue;
        if (!row_is_served(row)) {
            put(p, "| ");
            put_code(p, row->path);
            put(p, " | ");
            put_cell(p, row->what);
            put(p, " |\n");
        }
        for (size_t j = 0; row->kind == ROW_KEY && row_is_served(row) && (w = word_next(row->type, &j)) != NULL;) {
            if (w->is_served)
                continue;
            put(p, "| `");
            put(p, row->path);
            put(p, ": ");
            put(p, w->text);
            put(p, "` | ");
            put_cell(p, w->what);
            put(p, " |\n");
        }
    }
}

static void put_foreign(struct page *p)
{
    static const char *const lines[] = {
#define FOREIGN(prefix, what) "| `" prefix "` | " what " |\n",
#include "conf/keys.def"
    };
    put(p, "\n## Variables that are not settings\n\nEvery other variable that begins with `WEIR_` must name a key.\n\n"
           "| begins with | what it is |\n|---|---|\n");
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        put(p, lines[i]);
}

static void put_introduction(struct page *p)
{
    put(p, "# Configuration\n\n"
           "Generated from `src/conf/keys.def`; do not edit.\n\n"
           "One YAML file, given with `-c FILE`. Every key is also `--set a.b.c=value` and the environment variable `WEIR_A__B__C=value` "
           "(two underscores between levels, any case; in names of members `_` also stands for `-`, `.` and `:`). "
           "A flag goes before the environment, the environment before the file, the file before the default. "
           "A list is `[a, b]` there too; one entry needs no brackets.\n\n"
           "In the file, `${NAME}` is an environment variable (unset is an error), `${file:/path}` a file's content without its last newline, "
           "and `$${` a plain `${`. They are replaced after the YAML is read, so inside `{...}` and `[...]` they need quotes.\n\n"
           "`weir check -c FILE` says what is wrong as `FILE:LINE:COLUMN: what`. Aliases, anchors, tags, several documents and a byte order mark "
           "are refused.\n\n"
           "LIVE: a reload applies it. RESTART: a reload that changes it is refused; start weir again.\n");
}

static void put_example(struct page *p)
{
    put(p, "\n## Example\n\n```yaml\n");
    if (p->fail == OK)
        p->fail = conf_print_example(p->out);
    put(p, "```\n");
}

enum fail conf_docs_markdown(struct buf *out)
{
    struct page p = { .out = out, .fail = OK };
    put_introduction(&p);
    put_example(&p);
    put_sections(&p);
    put_refused(&p);
    put_foreign(&p);
    return p.fail;
}

enum fail conf_print_example(struct buf *out)
{
    static const char example[] =
        "listen: 127.0.0.1:4040        # one that is not loopback needs at least one key\n"
        "limits: {body: 32MiB, queue: 1024}\n"
        "timeouts: {first_token: 60s, between_tokens: 30s, total: 600s}\n"
        "\n"
        "# keys:\n"
        "#   team-a: {key: \"${TEAM_A_KEY}\", tenant: acme, models: [chat]}\n"
        "\n"
        "backends:\n"
        "  gpu1: {url: \"http://127.0.0.1:8000\", concurrency: 32}\n"
        "  local: {kind: llama, model: smollm2}      # started and supervised by weir\n"
        "\n"
        "models:\n"
        "  chat:\n"
        "    use: [gpu1/llama-3.1-8b]                # backend/model\n"
        "    fallback: [local/smollm2]\n"
        "    defaults: {max_tokens: 150, temperature: 0.7}\n";
    return buf_add(out, example, sizeof example - 1);
}
