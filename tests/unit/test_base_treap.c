/* test_base_treap.c: the ordered tree against a sorted array, under random adds and removes, and that its depth stays small for keys in any order. */
#include "base/random.h"
#include "base/treap.h"
#include "test_base.h"

#define NODES 2000

struct thing {
    struct treap_node in_treap;
    uint64_t key;
};

static bool before(const struct treap_node *a, const struct treap_node *b)
{
    return CONTAINER_OF(a, struct thing, in_treap)->key < CONTAINER_OF(b, struct thing, in_treap)->key;
}

static struct thing things[NODES];

/* Keys are 0, 1, 2 …, so a node's rank is how many lower keys are in. */
static void compare(const struct treap *treap)
{
    const struct treap_node *n = treap_first(treap);
    uint32_t rank = 0;
    for (unsigned i = 0; i < NODES; i++) {
        if (things[i].in_treap.count == 0)
            continue;
        assert_ptr_equal(n, &things[i].in_treap);
        assert_int_equal(treap_rank(n), rank);
        assert_true(n->up == NULL || n->up->priority >= n->priority);
        n = treap_next(n);
        rank++;
    }
    assert_null(n);
    assert_int_equal(treap_count(treap), rank);
}

static void fresh(struct treap *treap)
{
    memset(things, 0, sizeof things);
    for (unsigned i = 0; i < NODES; i++)
        things[i].key = i;
    treap_init(treap, before, 7);
}

TEST(it_holds_what_a_sorted_array_would)
{
    struct treap treap;
    uint64_t chance = 1;
    fresh(&treap);
    assert_null(treap_first(&treap));
    for (unsigned i = 0; i < 20 * NODES; i++) {
        struct thing *it = &things[random_step(&chance) % NODES];
        if (it->in_treap.count == 0)
            treap_add(&treap, &it->in_treap);
        else
            treap_remove(&treap, &it->in_treap);
        if (i % 500 == 0)
            compare(&treap);
    }
    while (treap_first(&treap) != NULL)
        treap_remove(&treap, treap_first(&treap));
    compare(&treap);
}

static unsigned depth_of(const struct treap_node *n)
{
    return n == NULL ? 0 : 1 + MAX(depth_of(n->left), depth_of(n->right));
}

TEST(keys_that_come_in_order_make_it_no_list)
{
    struct treap treap;
    fresh(&treap);
    for (unsigned i = 0; i < NODES; i++)
        treap_add(&treap, &things[i].in_treap);
    compare(&treap);
    assert_in_range(depth_of(treap.root), 11, 50); /* 2000 nodes: 11 at best, about 26 expected */
    for (unsigned i = 0; i < NODES; i++) {
        assert_ptr_equal(treap_first(&treap), &things[i].in_treap);
        treap_remove(&treap, &things[i].in_treap);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_holds_what_a_sorted_array_would),
        cmocka_unit_test(keys_that_come_in_order_make_it_no_list),
    };
    return cmocka_run_group_tests_name("base/treap", tests, NULL, NULL);
}
