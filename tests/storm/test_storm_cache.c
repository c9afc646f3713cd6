/* test_storm_cache.c: real threads at once in one cache: finders without a lock, putters, holders, deletions and new limits. Built with TSan it looks for data races: an
   answer that is freed while somebody may still look at it is one. Bounded by counts, not by time. */
#include "../lib/cache_storm.h"

#include "../unit/test_base.h" /* behind the others: it includes cmocka, whose fail() is a macro */

#define ROUNDS 5 /* each waits two seconds for all to be over */

TEST(cache_in_a_storm)
{
    const struct cache_storm_counts *c = &cache_storm_counts;
    both_real("cache storm", cache_storm, ROUNDS);
    printf("%llu found, %llu missed, %llu held, %llu put, %llu evicted, %llu expired, %llu dropped, %llu replaced, %llu resized\n", (unsigned long long)c->found,
           (unsigned long long)c->missed, (unsigned long long)c->held, (unsigned long long)c->put, (unsigned long long)c->evicted, (unsigned long long)c->expired,
           (unsigned long long)c->dropped, (unsigned long long)c->replaced, (unsigned long long)c->resized);
    assert_true(c->found > 0 && c->missed > 0 && c->held > 0 && c->evicted > 0 && c->expired > 0 && c->dropped > 0 && c->replaced > 0 && c->resized > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(cache_in_a_storm) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
