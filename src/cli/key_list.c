/* key_list.c: `weir key list`, for people and as JSON. */
#include "cli/cli.h"
#include "cli/key.h"
#include "cli/table.h"
#include "cli/tell.h"
#include "net/http_write.h"
#include <stdio.h>
#include <string.h>

static const char *text_at(yyjson_val *v, const char *name) { return tell_plain(yyjson_obj_get(v, name)); }

static void add_number(struct table *t, yyjson_val *key, const char *name)
{
    yyjson_val *v = yyjson_obj_get(key, name);
    if (v != NULL)
        table_add(t, "%llu", (unsigned long long)yyjson_get_uint(v));
    else
        table_add(t, "-");
}

static void add_models(struct table *t, yyjson_val *key, struct arena *arena)
{
    yyjson_val *models = yyjson_obj_get(key, "models"), *first = yyjson_arr_get_first(models);
    size_t count = yyjson_arr_size(models);
    const char *names = count == 0 ? "all" : arena_printf(arena, count > 1 ? "%s and %zu more" : "%s", tell_plain(first), count - 1);
    table_add(t, "%s", names != NULL ? names : "?");
}

static void add_key_row(struct table *t, yyjson_val *key, struct arena *arena)
{
    struct http_date date = { 0 };
    yyjson_val *budget = yyjson_obj_get(key, "budget");
    static const char *const texts[] = { "name", "fingerprint", "tenant", "role" }, *const numbers[] = { "rpm", "tpm", "concurrency" };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        table_add(t, "%s", text_at(key, texts[i]));
    add_models(t, key, arena);
    table_add(t, strcmp(text_at(key, "priority"), text_at(key, "priority_max")) == 0 ? "%s" : "%s to %s", text_at(key, "priority"), text_at(key, "priority_max"));
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        add_number(t, key, numbers[i]);
    if (budget != NULL)
        table_add(t, "%.2f/%s", yyjson_get_num(yyjson_obj_get(budget, "usd")), text_at(budget, "per"));
    else
        table_add(t, "-");
    struct text made = http_date_at(&date, yyjson_get_sint(yyjson_obj_get(key, "created")));
    table_add(t, "%.*s", TEXT_ARG(made));
}

static void tell_keys(yyjson_val *root, struct arena *arena)
{
    static const char *const headings[] = { "NAME", "FINGERPRINT", "TENANT", "ROLE", "MODELS", "PRIORITY", ">RPM", ">TPM", ">AT ONCE", ">USD", "MADE" };
    struct table t;
    size_t i, n;
    yyjson_val *key;
    table_init(&t, arena, ARRAY_LEN(headings), headings);
    yyjson_arr_foreach(yyjson_obj_get(root, "keys"), i, n, key)
        add_key_row(&t, key, arena);
    table_print(&t, "No key was made by weir key, or all were revoked.");
    fprintf(stderr, "kept in %s\n", text_at(root, "store"));
}

int key_list(struct key_place *p, const struct usage *u, const struct key_options *o)
{
    struct complaint why;
    (void)u;
    if (!key_place_find(p, o, &why))
        return key_complain(p, &why);
    if (!(p->is_running ? key_place_ask(p, "GET", "/keys", TEXT_NONE) : key_place_list(p)))
        return EXIT_FAILED;
    if (o->json)
        printf("%.*s", TEXT_ARG(buf_text(&p->answer)));
    else
        tell_keys(p->root, &p->arena);
    return EXIT_OK;
}
