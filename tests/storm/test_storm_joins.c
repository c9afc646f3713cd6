/* test_storm_joins.c: real threads that join each other's flights. Built with TSan it looks for data races, which the simulated world cannot see. */
#include "lib/joined.h"

#include "../unit/test_base.h" /* behind the others: it includes cmocka, whose fail() is a macro */

#define ROUNDS 20

TEST(requests_of_two_workers_read_one_answer)
{
    both_real("joined", joined_story, ROUNDS);
    printf("storm: %u led, %u followed, %u of them across workers; %u whole, %u failed, %u dropped, %u left\n", joined_sum.led, joined_sum.followed, joined_sum.crossed,
           joined_sum.whole, joined_sum.failed, joined_sum.dropped, joined_sum.left);
    assert_true(joined_sum.crossed > 100 && joined_sum.whole > 100 && joined_sum.failed > 0 && joined_sum.left > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(requests_of_two_workers_read_one_answer) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
