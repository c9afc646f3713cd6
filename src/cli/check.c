/* check.c: `weir check`: would weir take this configuration? Says the first thing that is wrong, and where. */
#include "base/json.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "conf/conf.h"
#include <stdio.h>

#define SETS_MAX 256

extern char **environ;

static enum fail put_complaint(struct buf *out, const struct complaint *why)
{
    enum fail f = buf_add_text(out, TEXT("{\"ok\":false,\"file\":"));
    if (f == OK)
        f = why->file != NULL ? json_add_string(out, text_of(why->file)) : buf_add_text(out, TEXT("null"));
    if (f == OK)
        f = buf_printf(out, ",\"line\":%d,\"column\":%d,\"message\":", why->line, why->column);
    if (f == OK)
        f = json_add_string(out, text_of(why->text));
    return f == OK ? buf_add_text(out, TEXT("}\n")) : f;
}

static int refuse(const struct complaint *why, bool json)
{
    char text[700];
    struct buf out;
    if (!json) {
        complaint_print(why, text, sizeof text);
        fprintf(stderr, "%s\n", text);
        return EXIT_FAILED;
    }
    buf_init(&out, 1u << 20);
    if (put_complaint(&out, why) == OK)
        printf("%.*s", TEXT_ARG(buf_text(&out)));
    buf_fini(&out);
    return EXIT_FAILED;
}

static const char *s_if(uint32_t n) { return n == 1 ? "" : "s"; }

static void praise(const struct conf *c, const char *path, bool json)
{
    if (json)
        printf("{\"ok\":true,\"backends\":%u,\"models\":%u,\"keys\":%u}\n", c->backends_count, c->models_count, c->keys_count);
    else
        printf("%s is fine: %u backend%s, %u model%s, %u key%s, listens on %s\n", path, c->backends_count, s_if(c->backends_count), c->models_count,
               s_if(c->models_count), c->keys_count, s_if(c->keys_count), c->listen.text);
}

int command_check(int argc, char **argv)
{
    static const char *at[SETS_MAX];
    const char *path = NULL;
    struct words sets = { at, 0, ARRAY_LEN(at) };
    bool json = false;
    const struct option options[] = {
        { "config", 'c', OPTION_TEXT, "FILE", "The configuration.", &path },
        { "set", 's', OPTION_LIST, "KEY=VALUE", "As for weir serve.", &sets },
        { "json", 0, OPTION_FLAG, NULL, "The verdict as JSON.", &json },
    };
    const struct usage usage = {
        .command = "check", .what = "Checks a configuration without starting anything. The environment counts, as it would for weir serve.",
        .examples = "  weir check -c weir.yaml\n  weir check -c weir.yaml && weir reload\n", .arguments = "",
        .options = options, .count = ARRAY_LEN(options),
    };
    const struct conf *conf;
    struct complaint why = { 0 };
    int code;
    if (!options_read(&usage, argc, argv, &code))
        return code;
    if (path == NULL)
        return usage_refuse(&usage, "-c FILE is missing");
    struct conf_options load = { .path = path, .sets = at, .sets_count = sets.count, .environ = environ, .local_fallback = true };
    if (!conf_load(&load, &conf, &why))
        return refuse(&why, json);
    praise(conf, path, json);
    conf_unref(conf);
    return EXIT_OK;
}
