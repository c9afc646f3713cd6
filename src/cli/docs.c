/* docs.c: `weir docs`: the pages that are generated from tables, for our own build and for editors. */
#include "cli/cli.h"
#include "cli/options.h"
#include "conf/conf.h"
#include <stdio.h>

#define PAGE_BYTES_MAX (4u << 20)

static const struct {
    const char *name;
    enum fail (*print)(struct buf *out);
} pages[] = {
    { "configuration", conf_docs_markdown },
    { "schema", conf_schema_json },
    { "example", conf_print_example },
};

int command_docs(int argc, char **argv)
{
    const char *at[1], *names[ARRAY_LEN(pages)];
    struct words words = { at, 0, 1 };
    const struct usage usage = {
        .command = "docs", .what = "Prints a page that is generated from weir's own tables.",
        .examples = "  weir docs configuration > docs/configuration.md\n  weir docs schema > weir.schema.json\n  weir docs example > weir.yaml\n",
        .arguments = "configuration|schema|example", .words = &words, .words_least = 1,
    };
    struct buf out;
    int code;
    if (!options_read(&usage, argc, argv, &code))
        return code;
    for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
        names[i] = pages[i].name;
        if (!text_eq(text_of(at[0]), text_of(names[i])))
            continue;
        buf_init(&out, PAGE_BYTES_MAX);
        enum fail f = pages[i].print(&out);
        if (f == OK)
            fwrite(buf_text(&out).at, 1, buf_len(&out), stdout);
        else
            fprintf(stderr, "weir docs: %s\n", fail_row(f)->text);
        buf_fini(&out);
        return f == OK ? EXIT_OK : EXIT_FAILED;
    }
    const char *near = text_nearest(text_of(at[0]), names, ARRAY_LEN(names));
    return usage_refuse(&usage, "there is no page \"%s\"%s%s", at[0], near != NULL ? ", did you mean " : "", near != NULL ? near : "");
}
