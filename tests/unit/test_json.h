/* test_json.h: for units that read JSON: an arena of each test's own, and a tree in it. */
#ifndef WEIR_TEST_JSON_H
#define WEIR_TEST_JSON_H

#include "base/json.h"
#include "test_base.h"

static struct arena arena;

static int open_arena(void **state)
{
    (void)state;
    arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    return 0;
}

static int close_arena(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static __attribute__((unused)) yyjson_val *parsed(struct text body)
{
    yyjson_doc *doc = NULL;
    const char *why = "";
    if (json_parse(&arena, body, &doc, &why) != OK)
        fail_msg("\"%.*s\" was refused: %s", TEXT_ARG(body), why);
    return yyjson_doc_get_root(doc);
}

#endif
