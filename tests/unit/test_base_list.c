/* test_base_list.c: units of base/list.h. */
#include "base/list.h"
#include "test_base.h"

struct item {
    int number;
    struct node node;
};

static int number_of(const struct node *n)
{
    return CONTAINER_OF(n, struct item, node)->number;
}

TEST(items_come_out_in_the_order_they_were_pushed)
{
    struct list l;
    struct item items[3] = { { .number = 1 }, { .number = 2 }, { .number = 3 } };
    list_init(&l);
    assert_true(list_is_empty(&l));
    assert_null(list_first(&l));
    assert_null(list_last(&l));
    assert_null(list_pop(&l));
    list_push(&l, &items[1].node);
    list_push(&l, &items[2].node);
    list_push_front(&l, &items[0].node);
    assert_int_equal(list_count(&l), 3);
    assert_int_equal(number_of(list_first(&l)), 1);
    assert_int_equal(number_of(list_next(&l, list_first(&l))), 2);
    assert_int_equal(number_of(list_last(&l)), 3);
    assert_null(list_next(&l, list_last(&l)));
    for (int i = 1; i <= 3; i++)
        assert_int_equal(number_of(list_pop(&l)), i);
    assert_true(list_is_empty(&l));
}

TEST(a_move_between_lists_keeps_both_counts)
{
    struct list idle, busy;
    struct item item = { .number = 9 };
    list_init(&idle);
    list_init(&busy);
    assert_false(node_is_in(&item.node));
    list_push(&idle, &item.node);
    assert_true(node_is_in(&item.node));
    list_remove(&idle, &item.node);
    assert_false(node_is_in(&item.node));
    list_push(&busy, &item.node);
    assert_int_equal(list_count(&idle), 0);
    assert_int_equal(list_count(&busy), 1);
}

TEST(the_walk_allows_removing_the_current_node)
{
    struct list l;
    struct item items[5];
    list_init(&l);
    for (int i = 0; i < 5; i++) {
        items[i] = (struct item){ .number = i };
        list_push(&l, &items[i].node);
    }
    int walked = 0;
    LIST_EACH(&l, it) {
        walked++;
        if (number_of(it) % 2 == 0)
            list_remove(&l, it);
    }
    assert_int_equal(walked, 5);
    assert_int_equal(list_count(&l), 2);
    assert_int_equal(number_of(list_first(&l)), 1);
    assert_int_equal(number_of(list_last(&l)), 3);
}

static void push_twice(void)
{
    struct list l;
    struct node n = { NULL, NULL };
    list_init(&l);
    list_push(&l, &n);
    list_push(&l, &n);
}
static void remove_twice(void)
{
    struct list l;
    struct node n = { NULL, NULL };
    list_init(&l);
    list_push(&l, &n);
    list_remove(&l, &n);
    list_remove(&l, &n);
}
TEST(pushing_or_removing_twice_is_a_wrong_program)
{
    asserts(push_twice, "node_is_in");
    asserts(remove_twice, "node_is_in");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_the_order_they_were_pushed),
        cmocka_unit_test(a_move_between_lists_keeps_both_counts),
        cmocka_unit_test(the_walk_allows_removing_the_current_node),
        cmocka_unit_test(pushing_or_removing_twice_is_a_wrong_program),
    };
    return cmocka_run_group_tests_name("base_list", tests, NULL, NULL);
}
