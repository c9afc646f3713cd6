/* test_base_json_collisions.c: the check for names that stand twice, when every name has the same hash: what an attacker would have who knew the seed.
   hostile 63: json.c is built here once more, with a hash that is worth nothing. */
#include <stdint.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

static unsigned hashed; /* names that were put into a table: each looks past all that are there */

static uint64_t worthless(void)
{
    hashed++;
    return 5;
}

#undef XXH3_64bits_withSeed
#define XXH3_64bits_withSeed(at, len, seed) ((void)(at), (void)(len), (void)(seed), worthless())
#include "base/json.c"
#include "test_base.h"

/* {"k0":0,...} of count names, all different. */
static enum fail checked(unsigned count, const char **out_why)
{
    struct arena arena;
    struct buf b;
    yyjson_doc *doc;
    buf_init(&b, 8 << 20);
    arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(buf_printf(&b, "%s\"k%u\":0", i == 0 ? "{" : ",", i), OK);
    assert_int_equal(buf_add_text(&b, TEXT("}")), OK);
    assert_int_equal(json_parse(&arena, buf_text(&b), &doc, NULL), OK);
    hashed = 0;
    enum fail f = json_check_keys(yyjson_doc_get_root(doc), out_why);
    arena_fini(&arena);
    buf_fini(&b);
    return f;
}

/* n names that collide take n^2/2 looks; PROBES_MAX * n are given. So 32 pass, and of 40,000 the first sqrt(2 * 16 * 40,000) = 1,131 are looked at. */
TEST(names_that_all_collide_cost_time_in_proportion)
{
    const char *why = NULL;
    assert_int_equal(checked(32, &why), OK);
    assert_int_equal(hashed, 32);
    assert_int_equal(checked(34, &why), FAIL_BAD_JSON);
    assert_int_equal(checked(40000, &why), FAIL_BAD_JSON);
    assert_non_null(why);
    assert_in_range(hashed, 1000, 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(names_that_all_collide_cost_time_in_proportion) };
    return cmocka_run_group_tests_name("json collisions", tests, NULL, NULL);
}
