/* test_base_heap.c: units of base/heap.h. */
#include "base/heap.h"
#include "base/mem.h"
#include "test_base.h"

#define MANY 500

static uint32_t dice; /* a fixed sequence (Numerical Recipes' LCG): the same on every run */
static uint32_t roll(uint32_t sides)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % sides;
}

static void check_order(const struct heap *h)
{
    for (uint32_t i = 1; i <= h->count; i++) {
        assert_int_equal(h->nodes[i]->place, i);
        assert_true(i == 1 || h->nodes[i / 2]->at <= h->nodes[i]->at);
    }
}

TEST(moments_come_out_earliest_first)
{
    struct heap h;
    struct heap_node nodes[MANY] = { 0 };
    heap_init(&h);
    assert_int_equal(heap_reserve(&h, MANY), OK);
    dice = 1;
    for (unsigned i = 0; i < MANY; i++)
        heap_set(&h, &nodes[i], roll(100));
    nanos before = -1;
    for (unsigned i = 0; i < MANY; i++) {
        struct heap_node *first = heap_first(&h);
        assert_true(first->at >= before);
        before = first->at;
        heap_remove(&h, first);
    }
    assert_null(heap_first(&h));
    heap_fini(&h);
}

TEST(setting_moving_and_removing_at_random_keeps_order_and_places)
{
    struct heap h;
    struct heap_node nodes[64] = { 0 };
    heap_init(&h);
    assert_int_equal(heap_reserve(&h, 64), OK);
    dice = 7;
    for (unsigned i = 0; i < 20000; i++) {
        struct heap_node *n = &nodes[roll(64)];
        if (roll(3) == 0)
            heap_remove(&h, n);
        else
            heap_set(&h, n, roll(1000));
        check_order(&h);
    }
    unsigned in = 0;
    for (unsigned i = 0; i < 64; i++)
        in += heap_has(&nodes[i]);
    assert_int_equal(in, h.count);
    heap_fini(&h);
}

TEST(removing_what_is_not_in_does_nothing)
{
    struct heap h;
    struct heap_node in = { 0 }, out = { 0 };
    heap_init(&h);
    assert_int_equal(heap_reserve(&h, 1), OK);
    heap_set(&h, &in, 5);
    heap_remove(&h, &out);
    assert_ptr_equal(heap_first(&h), &in);
    heap_remove(&h, &in);
    assert_false(heap_has(&in));
    heap_remove(&h, &in);
    assert_int_equal(h.count, 0);
    heap_fini(&h);
}

TEST(a_failed_reserve_leaves_the_heap_as_it_was)
{
    struct heap h;
    struct heap_node n = { 0 };
    heap_init(&h);
    assert_int_equal(heap_reserve(&h, 1), OK);
    heap_set(&h, &n, 5);
    mem_fault(1);
    assert_int_equal(heap_reserve(&h, 100000), FAIL_NO_MEMORY);
    assert_ptr_equal(heap_first(&h), &n);
    assert_int_equal(heap_reserve(&h, 100000), OK);
    assert_ptr_equal(heap_first(&h), &n);
    heap_fini(&h);
}

static void push_without_room(void)
{
    struct heap h;
    struct heap_node n = { 0 };
    heap_init(&h);
    heap_set(&h, &n, 1);
}
static void remove_from_another_heap(void)
{
    struct heap a, b;
    struct heap_node n = { 0 };
    heap_init(&a);
    heap_init(&b);
    if (heap_reserve(&a, 1) == OK)
        heap_set(&a, &n, 1);
    heap_remove(&b, &n);
}
TEST(no_room_or_the_wrong_heap_is_a_wrong_program)
{
    asserts(push_without_room, "room");
    asserts(remove_from_another_heap, "place");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_come_out_earliest_first),
        cmocka_unit_test(setting_moving_and_removing_at_random_keeps_order_and_places),
        cmocka_unit_test(removing_what_is_not_in_does_nothing),
        cmocka_unit_test(a_failed_reserve_leaves_the_heap_as_it_was),
        cmocka_unit_test(no_room_or_the_wrong_heap_is_a_wrong_program),
    };
    return cmocka_run_group_tests_name("base_heap", tests, NULL, NULL);
}
