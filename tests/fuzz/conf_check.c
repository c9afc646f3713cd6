/* conf_check.c: see conf_check.h. */
#include "fuzz/conf_check.h"

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

void conf_check_same(const struct conf *a, const struct conf *b)
{
    ASSERT(strcmp(a->listen.text, b->listen.text) == 0 && a->workers == b->workers);
    ASSERT(memcmp(&a->limits, &b->limits, sizeof a->limits) == 0);
    ASSERT(memcmp(&a->timeouts, &b->timeouts, sizeof a->timeouts) == 0);
    ASSERT(conf_needs_restart(a, b) == NULL);
    ASSERT(a->keys_count > 0 || (a->listen.is_loopback && (a->admin.listen.text == NULL || a->admin.listen.is_loopback)));
    check_members(a, b);
}

void conf_try(const struct conf_options *o)
{
    const struct conf *a = NULL, *b = NULL;
    struct complaint why = { 0 }, again = { 0 };
    bool is_ok = conf_load(o, &a, &why);
    ASSERT(conf_load(o, &b, &again) == is_ok);
    if (is_ok) {
        conf_check_same(a, b);
    } else {
        check_complaint(&why, o->yaml);
        ASSERT(a == NULL && strcmp(why.text, again.text) == 0 && why.line == again.line && why.column == again.column);
    }
    conf_unref(a);
    conf_unref(b);
}
