/* test_base_mem.c: units of base/mem.h. */
#include "base/mem.h"
#include "test_base.h"

#include <pthread.h>

TEST(every_block_alive_is_counted_until_it_is_freed)
{
    int64_t before = mem_alive();
    void *a = mem_alloc(10), *b = mem_zero(10), *c = mem_resize(NULL, 10);
    char *d = mem_copy_text(TEXT("hello"));
    assert_int_equal(mem_alive() - before, 4);
    assert_string_equal(d, "hello");
    c = mem_resize(c, 5000);
    assert_non_null(c);
    assert_int_equal(mem_alive() - before, 4);
    mem_free(a), mem_free(b), mem_free(c), mem_free(d), mem_free(NULL);
    assert_int_equal(mem_alive(), before);
}

TEST(nothing_and_far_too_much_are_told_apart) /* hostile 71 */
{
    void *nothing = mem_alloc(0);
    assert_non_null(nothing);
    mem_free(nothing);
    assert_null(mem_alloc(SIZE_MAX));
    assert_null(mem_zero(SIZE_MAX / 2));
    struct arena a;
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    assert_null(arena_alloc(&a, SIZE_MAX - 3));
    arena_fini(&a);
}

static void *free_it(void *block)
{
    mem_free(block);
    return NULL;
}
TEST(a_block_freed_by_another_thread_is_counted_once)
{
    int64_t before = mem_alive();
    void *block = mem_alloc(1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, free_it, block), 0);
    pthread_join(thread, NULL);
    assert_int_equal(mem_alive(), before);
}

TEST(the_nth_allocation_fails_once_and_the_count_is_told)
{
    mem_fault(2);
    void *first = mem_alloc(1), *second = mem_alloc(1), *third = mem_alloc(1);
    assert_non_null(first);
    assert_null(second);
    assert_non_null(third);
    char *kept = mem_copy_text(TEXT("kept"));
    assert_int_equal(mem_fault(1), 4);
    assert_null(mem_resize(kept, 1000));
    assert_string_equal(kept, "kept");
    assert_int_equal(mem_fault(0), 1);
    assert_int_equal(mem_fault(0), 0);
    mem_free(first), mem_free(third), mem_free(kept);
}

TEST(a_wiped_secret_is_zero)
{
    char secret[8] = "hunter2";
    mem_wipe(secret, sizeof secret);
    for (unsigned i = 0; i < sizeof secret; i++)
        assert_int_equal(secret[i], 0);
}

TEST(arena_memory_is_aligned_apart_and_gone_together)
{
    int64_t before = mem_alive();
    struct arena a;
    unsigned char *parts[400];
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    assert_int_equal(mem_alive(), before); /* an arena nobody used costs nothing */
    for (unsigned i = 0; i < 400; i++) {
        parts[i] = arena_alloc(&a, i);
        assert_non_null(parts[i]);
        assert_int_equal((uintptr_t)parts[i] % 16, 0);
        memset(parts[i], (int)(i & 255), i);
    }
    for (unsigned i = 0; i < 400; i++)
        for (unsigned j = 0; j < i; j++)
            assert_int_equal(parts[i][j], i & 255);
    assert_true(mem_alive() > before);
    arena_fini(&a);
    assert_int_equal(mem_alive(), before);
}

TEST(the_callers_first_block_is_used_before_any_other)
{
    static char first[1024];
    int64_t before = mem_alive();
    struct arena a;
    arena_init(&a, first + 3, sizeof first - 3, ARENA_NO_MAX); /* crooked on purpose */
    char *p = arena_alloc(&a, 900);
    assert_true(p >= first && p + 900 <= first + sizeof first);
    assert_int_equal((uintptr_t)p % 16, 0);
    assert_int_equal(mem_alive(), before);
    char *q = arena_alloc(&a, 900);
    assert_false(q >= first && q < first + sizeof first);
    arena_fini(&a);
    assert_int_equal(mem_alive(), before);
    memset(first, 1, sizeof first); /* the caller's again */
}

TEST(a_first_block_too_small_to_use_is_left_alone)
{
    char first[8];
    struct arena a;
    arena_init(&a, first, sizeof first, ARENA_NO_MAX);
    char *p = arena_alloc(&a, 1);
    assert_non_null(p);
    assert_false(p >= first && p < first + sizeof first);
    arena_fini(&a);
}

TEST(an_arena_keeps_its_ceiling_and_uses_all_below_it)
{
    struct arena a;
    arena_init(&a, NULL, 0, 100 * 1024);
    size_t got = 0;
    while (arena_alloc(&a, 1000) != NULL)
        got += 1000;
    assert_true(a.bytes <= 100 * 1024);
    assert_in_range(got, 95 * 1000, 100 * 1024);
    assert_null(arena_alloc(&a, 1 << 20));
    arena_fini(&a);
}

TEST(blocks_double_to_64_KiB_and_large_ones_are_exact)
{
    struct arena a;
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    assert_non_null(arena_alloc(&a, 1));
    assert_int_equal(a.bytes, 4096);
    assert_non_null(arena_alloc(&a, 4000));
    assert_non_null(arena_alloc(&a, 100));
    assert_int_equal(a.bytes, 4096 + 8192);
    char *small = arena_alloc(&a, 16);
    size_t before = a.bytes;
    assert_non_null(arena_alloc(&a, 1000000));
    assert_in_range(a.bytes - before, 1000000, 1000000 + 64);
    assert_ptr_equal(arena_alloc(&a, 16), small + 16); /* the current block stays in use */
    for (unsigned i = 0; i < 1000; i++)
        assert_non_null(arena_alloc(&a, 1000));
    before = a.bytes;
    for (unsigned i = 0; i < 66; i++) /* two blocks of 65 kilobytes hold 130 of these and no more */
        assert_non_null(arena_alloc(&a, 1000));
    assert_true(a.bytes - before <= 2 * 65536);
    arena_fini(&a);
}

TEST(arena_texts_end_in_nul)
{
    struct arena a;
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    assert_string_equal(arena_copy(&a, TEXT("abc")), "abc");
    assert_string_equal(arena_copy(&a, TEXT_NONE), "");
    assert_string_equal(arena_printf(&a, "%s-%d", "x", 42), "x-42");
    arena_fini(&a);
}

TEST(an_arena_without_memory_says_so_and_goes_on)
{
    struct arena a;
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    mem_fault(1);
    assert_non_null(arena_alloc(&a, 10)); /* the doubled block failed, the exact one did not */
    mem_fault(1);
    assert_null(arena_alloc(&a, 50000));
    assert_non_null(arena_alloc(&a, 50000));
    arena_fini(&a);
}

TEST(a_slab_reuses_what_was_given_back)
{
    int64_t before = mem_alive();
    struct slab s;
    slab_init(&s, 24, 4);
    char *objects[9];
    for (unsigned i = 0; i < 9; i++) {
        objects[i] = slab_take(&s);
        assert_int_equal((uintptr_t)objects[i] % 16, 0);
        memset(objects[i], (int)i, 24);
    }
    for (unsigned i = 0; i < 9; i++)
        assert_true(objects[i][0] == (char)i && objects[i][23] == (char)i);
    assert_int_equal(s.used, 9);
    assert_int_equal(s.total, 12);
    assert_int_equal(mem_alive() - before, 3);
    slab_give(&s, objects[5]);
    assert_int_equal(s.used, 8);
    assert_ptr_equal(slab_take(&s), objects[5]); /* the last given is the warmest */
    slab_fini(&s);
    assert_int_equal(mem_alive(), before);
    assert_int_equal(s.used + s.total, 0);
}

TEST(a_slab_gives_a_floods_chunks_back_and_keeps_some)
{
    enum { FLOOD = 10000 };
    static char *objects[FLOOD];
    int64_t before = mem_alive();
    struct slab s;
    slab_init(&s, 100, 16);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < FLOOD; i++) {
            objects[i] = slab_take(&s);
            memset(objects[i], (int)(i & 255), 100);
        }
        for (unsigned i = 0; i < FLOOD; i++) { /* in another order than they were taken in */
            char *object = objects[(i * 7919ul) % FLOOD];
            assert_true(object[0] == object[99] && object[0] == (char)((i * 7919ul) % FLOOD & 255));
            slab_give(&s, object);
        }
        assert_int_equal(s.used, 0);
        assert_in_range(s.total, 256, 256 + 2 * 16);
        assert_in_range(mem_alive() - before, 16, 18);
    }
    slab_fini(&s);
    assert_int_equal(mem_alive(), before);
}

TEST(a_slab_without_memory_says_so_and_goes_on)
{
    struct slab s;
    slab_init(&s, 100, 2);
    mem_fault(1);
    assert_null(slab_take(&s));
    assert_int_equal(s.used + s.total, 0);
    assert_non_null(slab_take(&s));
    slab_fini(&s);
}

static void give_nothing(void)
{
    struct slab s;
    slab_init(&s, 16, 4);
    slab_give(&s, NULL);
}
static void give_more_than_was_taken(void)
{
    struct slab s;
    slab_init(&s, 16, 4);
    slab_give(&s, &s);
}
TEST(giving_what_was_never_taken_is_a_wrong_program)
{
    asserts(give_nothing, "object");
    asserts(give_more_than_was_taken, "used");
}

static void use_after_give(void)
{
    struct slab s;
    slab_init(&s, 64, 4);
    volatile char *object = slab_take(&s);
    slab_give(&s, (void *)object);
    object[40] = 1;
}
static void give_twice(void)
{
    struct slab s;
    slab_init(&s, 64, 4);
    void *object = slab_take(&s), *other = slab_take(&s);
    slab_give(&s, object);
    slab_give(&s, object);
    slab_give(&s, other);
}
static void write_past_an_arena_allocation(void)
{
    struct arena a;
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    volatile char *p = arena_alloc(&a, 20);
    p[20] = 1;
}
TEST(asan_sees_into_slabs_and_arenas)
{
    if (!UNDER_ASAN)
        return; /* nothing to see: the other builds do not poison */
    char said[4096];
    assert_true(dies(use_after_give, said, sizeof said));
    assert_non_null(strstr(said, "use-after-poison"));
    assert_true(dies(give_twice, said, sizeof said));
    assert_non_null(strstr(said, "use-after-poison"));
    assert_true(dies(write_past_an_arena_allocation, said, sizeof said));
    assert_non_null(strstr(said, "use-after-poison"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_alive_is_counted_until_it_is_freed),
        cmocka_unit_test(nothing_and_far_too_much_are_told_apart),
        cmocka_unit_test(a_block_freed_by_another_thread_is_counted_once),
        cmocka_unit_test(the_nth_allocation_fails_once_and_the_count_is_told),
        cmocka_unit_test(a_wiped_secret_is_zero),
        cmocka_unit_test(arena_memory_is_aligned_apart_and_gone_together),
        cmocka_unit_test(the_callers_first_block_is_used_before_any_other),
        cmocka_unit_test(a_first_block_too_small_to_use_is_left_alone),
        cmocka_unit_test(an_arena_keeps_its_ceiling_and_uses_all_below_it),
        cmocka_unit_test(blocks_double_to_64_KiB_and_large_ones_are_exact),
        cmocka_unit_test(arena_texts_end_in_nul),
        cmocka_unit_test(an_arena_without_memory_says_so_and_goes_on),
        cmocka_unit_test(a_slab_reuses_what_was_given_back),
        cmocka_unit_test(a_slab_gives_a_floods_chunks_back_and_keeps_some),
        cmocka_unit_test(a_slab_without_memory_says_so_and_goes_on),
        cmocka_unit_test(giving_what_was_never_taken_is_a_wrong_program),
        cmocka_unit_test(asan_sees_into_slabs_and_arenas),
    };
    return cmocka_run_group_tests_name("base_mem", tests, NULL, NULL);
}
