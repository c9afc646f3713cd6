/* test_joins.c: identical requests become one. */
#include "lib/joined.h"
#include <stdlib.h>

#include "../unit/test_base.h"

#define SEEDS 300

TEST(readers_of_two_workers_get_what_was_made)
{
    const char *more = getenv("WEIR_SEEDS");
    both_simulated("joined", joined_story, 1, more != NULL ? (unsigned)strtoul(more, NULL, 10) : SEEDS);
    printf("joined: %u led, %u followed, %u of them across workers; %u whole, %u failed, %u dropped, %u left; %u given up, %u longer than the buffer\n", joined_sum.led,
           joined_sum.followed, joined_sum.crossed, joined_sum.whole, joined_sum.failed, joined_sum.dropped, joined_sum.left, joined_sum.abandoned, joined_sum.longer);
    assert_true(joined_sum.crossed > 1000 && joined_sum.whole > 1000 && joined_sum.failed > 100 && joined_sum.dropped > 10 && joined_sum.abandoned > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(readers_of_two_workers_get_what_was_made) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
