/* tenants.c: tenants by name, and whether what keys and tenants may use can have an effect. Called by check.c; path/ looks a request's tenant up. */
#include "conf/inner.h"
#include <stdlib.h>
#include <string.h>

static bool has_price(const struct conf *c)
{
    for (uint32_t i = 0; i < c->models_count; i++)
        if (c->models[i].price.in.is_set || c->models[i].price.out.is_set)
            return true;
    return false;
}

/* Who sets a budget believes that it protects him. */
static bool check_budget(struct loading *l, const struct member *m, const char *what, const char *name, const struct conf_limits *limits)
{
    struct member *budget = tree_find(m->value, TEXT("budget"));
    if (budget == NULL || tree_is_empty(budget->value))
        return true;
    if (!limits->budget.is_set)
        return refuse(l, &budget->place, "%s.%s.budget needs usd: how much", what, name);
    return l->options->keys_only || has_price(l->conf) || refuse(l, &budget->place, "%s.%s.budget can have no effect: no model has a price", what, name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct conf_tenant *)a)->name, ((const struct conf_tenant *)b)->name);
}

bool tenants_check(struct loading *l, const struct member *keys, const struct member *tenants)
{
    struct conf *c = l->conf;
    for (uint32_t i = 0; i < c->keys_count; i++, keys = keys->next)
        if (!check_budget(l, keys, "keys", c->keys[i].name, &c->keys[i].limits))
            return false;
    for (uint32_t i = 0; i < c->tenants_count; i++, tenants = tenants->next)
        if (!check_budget(l, tenants, "tenants", c->tenants[i].name, &c->tenants[i].limits))
            return false;
    if (c->tenants_count > 0)
        qsort(c->tenants, c->tenants_count, sizeof *c->tenants, by_name);
    return true;
}

const struct conf_tenant *conf_tenant_find(const struct conf *c, struct text name)
{
    uint32_t from = 0, to = c->tenants_count;
    while (from < to) {
        uint32_t middle = from + (to - from) / 2;
        const struct conf_tenant *t = &c->tenants[middle];
        int order = strncmp(t->name, name.at, name.len);
        if (order == 0 && t->name[name.len] == '\0')
            return t;
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}
