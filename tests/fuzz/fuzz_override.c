/* fuzz_override.c: any bytes on the command line and in the environment. Input, a line each: "set KEY=VALUE", "env NAME=VALUE" or "url URL".
   Oracle: conf_check.h's; and what --set does, the environment variable of that key does too. */
#include "fuzz/conf_check.h"
#include "fuzz/fuzz.h"

#define LINES_MOST 16
#define FILE_TEXT "backends: {a: {url: http://h}}\nmodels: {m.1: {use: [a/b]}}\nlimits: {queue: 3}\n"

struct given {
    char bytes[4097]; /* the lines, each NUL-terminated */
    const char *sets[LINES_MOST], *urls[LINES_MOST];
    char *environ[LINES_MOST + 1];
    size_t sets_count, urls_count, environ_count;
};

static void give(struct given *g, struct text in)
{
    size_t used = 0;
    for (struct text rest = in; rest.at != NULL && g->sets_count + g->urls_count + g->environ_count < LINES_MOST;) {
        struct text line = fuzz_line(&rest), kind, value = text_cut(line, ' ', &kind);
        char *at = g->bytes + used;
        if (value.at == NULL || memchr(value.at, '\0', value.len) != NULL)
            continue;
        memcpy(at, value.at, value.len);
        at[value.len] = '\0';
        used += value.len + 1;
        if (text_eq(kind, TEXT("set")))
            g->sets[g->sets_count++] = at;
        else if (text_eq(kind, TEXT("url")))
            g->urls[g->urls_count++] = at;
        else if (text_eq(kind, TEXT("env")))
            g->environ[g->environ_count++] = at;
    }
}

/* limits.queue=5 is WEIR_LIMITS__QUEUE=5. False for a key that no variable can name. */
static bool variable_of(const char *set, char *out, size_t room)
{
    size_t n = 5, i = 0;
    memcpy(out, "WEIR_", 5);
    for (; set[i] != '\0' && set[i] != '=' && n + 1 < room; i++)
        if (set[i] >= 'a' && set[i] <= 'z')
            out[n++] = (char)(set[i] - 'a' + 'A');
        else if (set[i] == '.' && n + 2 < room)
            out[n++] = '_', out[n++] = '_';
        else if (set[i] == '_')
            out[n++] = '_';
        else
            return false;
    if (set[i] != '=' || strlen(set + i) + n >= room)
        return false;
    memcpy(out + n, set + i, strlen(set + i) + 1);
    return true;
}

static bool is_of_a_map(const char *set)
{
    return strncmp(set, "keys.", 5) == 0 || strncmp(set, "backends.", 9) == 0 || strncmp(set, "models.", 7) == 0;
}

/* One key, both ways. */
static void check_variable(const char *set)
{
    char variable[512];
    char *environ[] = { variable, NULL };
    const struct conf *a = NULL, *b = NULL;
    struct complaint why = { 0 };
    if (is_of_a_map(set) || strchr(set, '$') != NULL || !variable_of(set, variable, sizeof variable))
        return;
    struct conf_options by_set = { .yaml = TEXT(FILE_TEXT), .sets = &set, .sets_count = 1 }, by_variable = { .yaml = TEXT(FILE_TEXT), .environ = environ };
    if (!conf_load(&by_set, &a, &why))
        return; /* a wrong key may be named by no variable at all */
    bool is_known = conf_load(&by_variable, &b, &why);
    ASSERT(is_known);
    conf_check_same(a, b);
    conf_unref(a);
    conf_unref(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t before = mem_alive();
    struct given g = { .sets_count = 0 };
    if (size > 4000)
        return 0;
    give(&g, (struct text){ (const char *)data, size });
    struct conf_options o = { .path = "weir.yaml", .yaml = TEXT(FILE_TEXT), .sets = g.sets, .sets_count = g.sets_count, .urls = g.urls, .urls_count = g.urls_count,
                              .environ = g.environ };
    conf_try(&o);
    for (size_t i = 0; i < g.sets_count; i++)
        check_variable(g.sets[i]);
    ASSERT(mem_alive() == before);
    return 0;
}
