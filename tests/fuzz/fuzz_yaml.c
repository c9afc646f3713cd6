/* fuzz_yaml.c: any bytes as a configuration. Oracle: a refusal is a sentence of valid UTF-8 with a place inside the file; what is
   accepted loads twice to the same thing; and nothing stays allocated. The same bytes are also tried as a flag's value. */
#include "conf/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define VALUE_MAX_TRIED 200

static void check_complaint(const struct complaint *why, struct text yaml)
{
    int lines = 1;
    for (size_t i = 0; i < yaml.len; i++)
        lines += yaml.at[i] == '\n';
    ASSERT(why->text[0] != '\0' && strlen(why->text) < sizeof why->text - 1);
    ASSERT(text_is_utf8(text_of(why->text)));
    for (const char *c = why->text; *c != '\0'; c++)
        ASSERT((unsigned char)*c >= ' ' && *c != 0x7F);
    /* libyaml counts CR and three of Unicode's line ends as well, so a line may only be larger by that */
    ASSERT(why->line >= 0 && (size_t)why->line <= (size_t)lines + yaml.len);
    ASSERT((why->line == 0) == (why->column == 0));
}

static bool is_same_targets(const struct conf_targets *a, const struct conf_targets *b)
{
    for (uint32_t i = 0; a->count == b->count && i < a->count; i++)
        if (a->at[i].backend != b->at[i].backend || strcmp(a->at[i].model, b->at[i].model) != 0)
            return false;
    return a->count == b->count;
}

static void check_members(const struct conf *a, const struct conf *b)
{
    ASSERT(a->keys_count == b->keys_count && a->backends_count == b->backends_count && a->models_count == b->models_count);
    for (uint32_t i = 0; i < a->keys_count; i++)
        ASSERT(strcmp(a->keys[i].name, b->keys[i].name) == 0 && memcmp(a->keys[i].sha256, b->keys[i].sha256, 32) == 0);
    for (uint32_t i = 0; i < a->backends_count; i++) {
        const struct conf_backend *x = &a->backends[i], *y = &b->backends[i];
        ASSERT(strcmp(x->name, y->name) == 0 && x->kind == y->kind && x->concurrency == y->concurrency && x->line == y->line);
        ASSERT((x->url.text != NULL) == (x->kind != CONF_KIND_LLAMA) && (x->model != NULL) == (x->kind == CONF_KIND_LLAMA));
    }
    for (uint32_t i = 0; i < a->models_count; i++) {
        const struct conf_model *x = &a->models[i], *y = &b->models[i];
        ASSERT(x->use.count > 0 && is_same_targets(&x->use, &y->use) && is_same_targets(&x->fallback, &y->fallback));
        for (uint32_t j = 0; j < x->use.count; j++)
            ASSERT(x->use.at[j].backend < a->backends_count && x->use.at[j].model[0] != '\0');
    }
}

static void check_same(const struct conf *a, const struct conf *b)
{
    ASSERT(strcmp(a->listen.text, b->listen.text) == 0 && a->workers == b->workers);
    ASSERT(memcmp(&a->limits, &b->limits, sizeof a->limits) == 0);
    ASSERT(memcmp(&a->timeouts, &b->timeouts, sizeof a->timeouts) == 0);
    ASSERT(conf_needs_restart(a, b) == NULL);
    ASSERT(a->keys_count > 0 || (a->listen.is_loopback && (a->admin.listen.text == NULL || a->admin.listen.is_loopback)));
    check_members(a, b);
}

static void try_load(const struct conf_options *o)
{
    const struct conf *a = NULL, *b = NULL;
    struct complaint why = { 0 }, again = { 0 };
    bool is_ok = conf_load(o, &a, &why);
    ASSERT(conf_load(o, &b, &again) == is_ok);
    if (is_ok) {
        check_same(a, b);
    } else {
        check_complaint(&why, o->yaml);
        ASSERT(a == NULL && strcmp(why.text, again.text) == 0 && why.line == again.line && why.column == again.column);
    }
    conf_unref(a);
    conf_unref(b);
}

static void try_flag(const char *key, const uint8_t *data, size_t size)
{
    char set[64 + VALUE_MAX_TRIED];
    const char *const sets[] = { set };
    size_t len = strlen(key);
    memcpy(set, key, len);
    memcpy(set + len, data, size);
    set[len + size] = '\0';
    struct conf_options o = { .yaml = TEXT("backends: {a: {url: http://h}}\nmodels: {m.1: {use: [a/b]}}\n"), .sets = sets, .sets_count = 1 };
    try_load(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const env[] = { "A=1", "B=${A}", "C=chat", NULL };
    static const char nothing[] = "";
    int64_t before = mem_alive();
    struct conf_options o = { .path = "weir.yaml", .yaml = { size > 0 ? (const char *)data : nothing, size }, .environ = (char *const *)env };
    try_load(&o);
    if (size <= VALUE_MAX_TRIED) {
        try_flag("", data, size);
        try_flag("models.m.1.use=", data, size);
        try_flag("backends.a.url=", data, size);
        try_flag("listen=", data, size);
    }
    ASSERT(mem_alive() == before);
    return 0;
}
