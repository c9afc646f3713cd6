/* test_base_account.c: units of base/account.h: the ceiling is kept, its shares are kept apart, and what was taken comes back. */
#include "base/account.h"
#include "base/buf.h"
#include "test_base.h"

#include <pthread.h>

#define MIB ((uint64_t)1 << 20)

static int no_limit(void **state)
{
    (void)state;
    account_limit(0);
    return 0;
}

TEST(without_a_limit_only_the_sum_is_kept)
{
    uint64_t before = account_used();
    void *block = mem_alloc(10 * MIB);
    assert_non_null(block);
    assert_in_range(account_used() - before, 10 * MIB, 10 * MIB + 8192);
    assert_false(account_is_short());
    mem_free(block);
    assert_int_equal(account_used(), before);
}

TEST(at_the_limit_an_allocation_fails_and_one_byte_of_room_is_enough)
{
    account_limit(account_used() + 64 * MIB);
    uint64_t before = account_used(), refused = account_refused();
    assert_null(mem_alloc(64 * MIB));
    assert_int_equal(account_refused(), refused + 1);
    void *block = mem_alloc(60 * MIB);
    assert_non_null(block);
    assert_null(mem_resize(block, 70 * MIB));
    void *smaller = mem_resize(block, 10 * MIB);
    assert_non_null(smaller);
    block = mem_alloc(50 * MIB);
    assert_non_null(block);
    mem_free(smaller), mem_free(block);
    assert_int_equal(account_used(), before);
}

TEST(bodies_leave_room_for_work_and_work_leaves_room_for_answers)
{
    uint64_t all = 64 * MIB;
    assert_true(account_used() < MIB / 2); /* else the sums below would not hold */
    account_limit(all);
    assert_true(account_room(ACCOUNT_BODIES, 39 * MIB));
    void *body = mem_alloc(39 * MIB);
    assert_false(account_room(ACCOUNT_BODIES, 2 * MIB));
    assert_true(account_room(ACCOUNT_WORK, 14 * MIB));
    void *tree = mem_alloc(14 * MIB);
    assert_false(account_room(ACCOUNT_WORK, 3 * MIB));
    assert_false(account_is_short());
    void *answer = mem_alloc(6 * MIB);
    assert_non_null(answer);
    assert_true(account_is_short());
    assert_false(account_room(ACCOUNT_BODIES, 1)); /* also what credit in hand would cover */
    assert_false(account_room(ACCOUNT_WORK, 1));
    assert_non_null(body), assert_non_null(tree);
    mem_free(tree);
    assert_false(account_is_short());
    mem_free(body), mem_free(answer);
    assert_true(account_room(ACCOUNT_BODIES, 39 * MIB));
    account_give(0);
    assert_true(account_used() < MIB);
}

TEST(the_last_of_the_memory_is_for_pages_and_stays_theirs)
{
    char *blocks[128];
    unsigned count = 0;
    account_limit(64 * MIB);
    while (count < 64 && (blocks[count] = mem_alloc(MIB)) != NULL)
        count++;
    assert_in_range(count, 60, 62); /* of 62 */
    while (count < ARRAY_LEN(blocks) && (blocks[count] = mem_alloc(ACCOUNT_STEP / 2)) != NULL)
        count++;
    assert_int_equal(account_as(ACCOUNT_PAGES), ACCOUNT_COMMON);
    void *page = mem_alloc(MIB);
    assert_non_null(page);
    mem_free(page);
    assert_int_equal(account_as(ACCOUNT_COMMON), ACCOUNT_PAGES);
    assert_null(mem_alloc(MIB));
    for (unsigned i = 0; i < 100; i++) { /* what a page gave back is not left for others */
        account_as(ACCOUNT_PAGES);
        assert_non_null(page = mem_alloc(ACCOUNT_STEP));
        mem_free(page);
        account_as(ACCOUNT_COMMON);
        assert_null(mem_alloc(ACCOUNT_STEP / 2));
    }
    while (count > 0)
        mem_free(blocks[--count]);
    account_limit(0);
}

TEST(room_larger_than_any_memory_is_refused)
{
    account_limit(64 * MIB);
    assert_false(account_room(ACCOUNT_WORK, SIZE_MAX));
    assert_false(account_room(ACCOUNT_WORK, SIZE_MAX / 2));
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(buf_reserve_exact(&b, SIZE_MAX), FAIL_TOO_LARGE); /* hostile 71 */
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 1), FAIL_TOO_LARGE);
    assert_int_equal(buf_reserve_exact(&b, 1 << 20), OK);
    assert_int_equal(buf_reserve_exact(&b, (1 << 20) + 1), FAIL_TOO_LARGE);
    buf_fini(&b);
}

/* hostile 71: whatever comes and goes, in whatever order, the sum is never less than what is held nor more than the limit, and in the end it is what it was. */
TEST(random_lives_never_pass_the_limit_and_come_back_to_zero)
{
    enum { LIVES = 300 };
    static struct { void *at; size_t bytes; } lives[LIVES];
    uint32_t dice = 17;
    uint64_t before = account_used(), held = 0, failures = 0;
    uint64_t limit = before + 16 * MIB;
    account_limit(limit);
    for (unsigned round = 0; round < 20000; round++) {
        dice = dice * 1664525u + 1013904223u;
        unsigned i = (dice >> 8) % LIVES;
        size_t bytes = (size_t)1 << ((dice >> 20) % 21);
        if (lives[i].at != NULL && round % 3 != 0) {
            mem_free(lives[i].at);
            held -= lives[i].bytes;
            lives[i].at = NULL;
        } else {
            void *at = mem_resize(lives[i].at, bytes);
            failures += at == NULL;
            if (at == NULL)
                continue;
            held = held - (lives[i].at != NULL ? lives[i].bytes : 0) + bytes;
            lives[i].at = at;
            lives[i].bytes = bytes;
        }
        assert_in_range(account_used(), before + held, limit);
    }
    assert_true(failures > 10);
    for (unsigned i = 0; i < LIVES; i++)
        mem_free(lives[i].at);
    memset(lives, 0, sizeof lives);
    assert_int_equal(account_used(), before);
}

static void *takes_until_full(void *arg)
{
    void *blocks[64];
    unsigned n = 0;
    uint64_t *got = arg;
    while (n < ARRAY_LEN(blocks) && (blocks[n] = mem_alloc(MIB)) != NULL)
        n++;
    *got = n;
    while (n > 0)
        mem_free(blocks[--n]);
    account_settle();
    return NULL;
}

TEST(threads_share_one_account_and_leave_nothing_behind)
{
    pthread_t threads[4];
    uint64_t got[4], before = account_used();
    account_limit(before + 32 * MIB);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, takes_until_full, &got[i]), 0);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_true(got[i] <= 32);
    }
    assert_int_equal(account_used(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(without_a_limit_only_the_sum_is_kept, no_limit),
        cmocka_unit_test_teardown(at_the_limit_an_allocation_fails_and_one_byte_of_room_is_enough, no_limit),
        cmocka_unit_test_teardown(bodies_leave_room_for_work_and_work_leaves_room_for_answers, no_limit),
        cmocka_unit_test_teardown(the_last_of_the_memory_is_for_pages_and_stays_theirs, no_limit),
        cmocka_unit_test_teardown(room_larger_than_any_memory_is_refused, no_limit),
        cmocka_unit_test_teardown(random_lives_never_pass_the_limit_and_come_back_to_zero, no_limit),
        cmocka_unit_test_teardown(threads_share_one_account_and_leave_nothing_behind, no_limit),
    };
    return cmocka_run_group_tests_name("base_account", tests, NULL, NULL);
}
