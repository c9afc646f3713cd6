/* test_fleet_foresee.c: what a request is foreseen to need: from its bytes and max_tokens, and from what earlier ones needed. */
#include "test_fleet_help.h"
#include "fleet/inner.h"

static struct pool pool; /* foresee.c looks at nothing but its habits */

static int begin(void **state)
{
    (void)state;
    memset(&pool, 0, sizeof pool);
    return 0;
}

static void foresees(uint64_t bytes, uint32_t max_tokens, uint32_t answers, uint32_t prompt, uint32_t answer)
{
    struct foresight f = pool_foresee(&pool, bytes, max_tokens, answers);
    assert_int_equal(f.prompt, prompt);
    assert_int_equal(f.answer, answer);
}

TEST(a_new_model_is_taken_for_a_usual_one)
{
    foresees(400, 0, 1, 100, 1024);
    foresees(401, 50, 1, 101, 50);
    foresees(400, 50, 3, 100, 150);
    foresees(400, 0, 0, 100, 0);
}

TEST(answers_without_a_bound_are_learned)
{
    for (int i = 0; i < 100; i++) {
        pool_learn(&pool, 400, 100, 0, 2, 200 + (i % 2 ? 40 : -40)); /* two answers of 80 or 120 */
        pool_learn(&pool, 400, 100, 5, 1, 5);                        /* bounded: says nothing about the others */
    }
    struct foresight f = pool_foresee(&pool, 400, 0, 1);
    assert_in_range(f.answer, 130, 150); /* the mean and two deviations */
    assert_int_equal(f.prompt, 100);
}

TEST(a_few_answers_are_not_believed)
{
    for (int i = 0; i < 7; i++)
        pool_learn(&pool, 400, 100, 0, 1, 20);
    foresees(400, 0, 1, 100, 1024);
    pool_learn(&pool, 400, 100, 0, 1, 20);
    assert_in_range(pool_foresee(&pool, 400, 0, 1).answer, 20, 30);
}

TEST(bytes_of_a_token_are_learned_and_bounded)
{
    for (int i = 0; i < 100; i++)
        pool_learn(&pool, 3000, 1500, 0, 1, 1); /* dense: two bytes a token */
    assert_in_range(pool_foresee(&pool, 1000, 1, 1).prompt, 499, 501);
    for (int i = 0; i < 100; i++)
        pool_learn(&pool, 1, 1000000, 0, 1, 1); /* who lies is believed up to a point */
    foresees(1000, 1, 1, 2000, 1);
    pool_learn(&pool, 400, -1, 0, 1, -1); /* and who says nothing changes nothing */
    foresees(1000, 1, 1, 2000, 1);
}

#define ROW(name) cmocka_unit_test_setup(name, begin)
int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(a_new_model_is_taken_for_a_usual_one),
        ROW(answers_without_a_bound_are_learned),
        ROW(a_few_answers_are_not_believed),
        ROW(bytes_of_a_token_are_learned_and_bounded),
    };
    return cmocka_run_group_tests_name("foresee", tests, NULL, NULL);
}
