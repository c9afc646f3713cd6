/* test_base_map.c: units of base/map.h. */
#include "base/map.h"
#include "test_base.h"

#define MANY 3000

static char names[MANY][16];
static int values[MANY];

static struct text name(unsigned i)
{
    snprintf(names[i], sizeof names[i], "k%u", i);
    return text_of(names[i]);
}

TEST(an_empty_map_has_nothing_and_takes_nothing)
{
    int64_t before = mem_alive();
    struct map m;
    map_init(&m, 1);
    assert_null(map_get(&m, TEXT("x")));
    assert_null(map_remove(&m, TEXT("x")));
    uint32_t i = 0;
    assert_null(map_next(&m, &i));
    assert_int_equal(mem_alive(), before);
    map_fini(&m);
}

TEST(what_was_set_is_found_until_it_is_removed)
{
    struct map m;
    map_init(&m, 42);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(map_set(&m, name(i), &values[i], NULL), OK);
    assert_int_equal(m.count, MANY);
    for (unsigned i = 0; i < MANY; i += 2)
        assert_ptr_equal(map_remove(&m, name(i)), &values[i]);
    for (unsigned i = 0; i < MANY; i++)
        assert_ptr_equal(map_get(&m, name(i)), i % 2 ? &values[i] : NULL);
    assert_int_equal(m.count, MANY / 2);
    assert_null(map_remove(&m, name(0)));
    map_fini(&m);
}

TEST(a_second_set_replaces_and_tells_the_old_value)
{
    struct map m;
    void *old = &m;
    char first_key[] = "key", second_key[] = "key";
    map_init(&m, 0);
    assert_int_equal(map_set(&m, text_of(first_key), &values[0], &old), OK);
    assert_null(old);
    assert_int_equal(map_set(&m, text_of(second_key), &values[1], &old), OK);
    assert_ptr_equal(old, &values[0]);
    first_key[0] = '?'; /* the first key may be gone by now */
    assert_ptr_equal(map_get(&m, TEXT("key")), &values[1]);
    assert_int_equal(m.count, 1);
    map_fini(&m);
}

TEST(keys_are_bytes_not_strings)
{
    struct map m;
    map_init(&m, 0);
    assert_int_equal(map_set(&m, TEXT("a\0b"), &values[0], NULL), OK);
    assert_int_equal(map_set(&m, TEXT("a"), &values[1], NULL), OK);
    assert_int_equal(map_set(&m, TEXT_NONE, &values[2], NULL), OK);
    assert_ptr_equal(map_get(&m, TEXT("a\0b")), &values[0]);
    assert_ptr_equal(map_get(&m, TEXT("a")), &values[1]);
    assert_ptr_equal(map_get(&m, TEXT("")), &values[2]);
    map_fini(&m);
}

TEST(the_walk_meets_every_key_once)
{
    struct map m;
    map_init(&m, 9);
    for (unsigned i = 0; i < 100; i++) {
        values[i] = 0;
        assert_int_equal(map_set(&m, name(i), &values[i], NULL), OK);
    }
    struct map_slot *slot;
    for (uint32_t i = 0; (slot = map_next(&m, &i)) != NULL;)
        ++*(int *)slot->value;
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(values[i], 1);
    map_fini(&m);
}

/* Against the simplest model there is: an array of flags. */
TEST(random_sets_and_removes_agree_with_a_plain_array)
{
    struct map m;
    bool in[200] = { false };
    uint32_t dice = 3, count = 0;
    map_init(&m, 5);
    for (unsigned round = 0; round < 50000; round++) {
        dice = dice * 1664525u + 1013904223u;
        unsigned i = (dice >> 8) % 200;
        if (dice >> 31) {
            assert_int_equal(map_set(&m, name(i), &values[i], NULL), OK);
            count += !in[i];
            in[i] = true;
        } else {
            assert_ptr_equal(map_remove(&m, name(i)), in[i] ? &values[i] : NULL);
            count -= in[i];
            in[i] = false;
        }
        i = (dice >> 16) % 200;
        assert_ptr_equal(map_get(&m, name(i)), in[i] ? &values[i] : NULL);
        assert_int_equal(m.count, count);
    }
    map_fini(&m);
}

TEST(without_memory_the_map_stays_as_it_was)
{
    struct map m;
    void *old = &m;
    map_init(&m, 0);
    mem_fault(1);
    assert_int_equal(map_set(&m, name(0), &values[0], &old), FAIL_NO_MEMORY);
    assert_ptr_equal(old, &m);
    unsigned in = 0;
    for (enum fail f = OK; f == OK; in += f == OK) {
        mem_fault(m.room == 0 ? 2 : 1);
        f = map_set(&m, name(in), &values[in], NULL);
    }
    mem_fault(0);
    assert_int_equal(in, 12); /* three quarters of the first 16 */
    for (unsigned i = 0; i < in; i++)
        assert_ptr_equal(map_get(&m, name(i)), &values[i]);
    assert_null(map_get(&m, name(in)));
    map_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_has_nothing_and_takes_nothing),
        cmocka_unit_test(what_was_set_is_found_until_it_is_removed),
        cmocka_unit_test(a_second_set_replaces_and_tells_the_old_value),
        cmocka_unit_test(keys_are_bytes_not_strings),
        cmocka_unit_test(the_walk_meets_every_key_once),
        cmocka_unit_test(random_sets_and_removes_agree_with_a_plain_array),
        cmocka_unit_test(without_memory_the_map_stays_as_it_was),
    };
    return cmocka_run_group_tests_name("base_map", tests, NULL, NULL);
}
