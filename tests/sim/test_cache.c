/* test_cache.c: two workers in one cache, in the simulated world: what cache_storm.c asserts, where each gate is a place at which the other worker may go first. */
#include "../lib/cache_storm.h"
#include <stdlib.h>

#include "../unit/test_base.h" /* behind the others: it includes cmocka, whose fail() is a macro */

#define SEEDS 100

TEST(cache_of_two_workers)
{
    const struct cache_storm_counts *c = &cache_storm_counts;
    const char *seeds = getenv("SIM_SEEDS");
    both_simulated("cache storm", cache_storm, 1, seeds != NULL ? (unsigned)strtoul(seeds, NULL, 10) : SEEDS);
    printf("%llu found, %llu missed, %llu put, %llu evicted, %llu expired, %llu dropped, %llu resized\n", (unsigned long long)c->found, (unsigned long long)c->missed,
           (unsigned long long)c->put, (unsigned long long)c->evicted, (unsigned long long)c->expired, (unsigned long long)c->dropped, (unsigned long long)c->resized);
    assert_true(c->found > 0 && c->missed > 0 && c->held > 0 && c->evicted > 0 && c->expired > 0 && c->dropped > 0 && c->replaced > 0 && c->resized > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(cache_of_two_workers) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
