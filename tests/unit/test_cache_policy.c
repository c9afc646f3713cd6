/* test_cache_policy.c: which entries go: what S3-FIFO keeps of a skewed stream against an LRU of the same size, scans, owners, ghosts, and an end to looking for a victim. */
#include "base/mem.h"
#include "base/random.h"
#include "cache/policy.h"
#include <math.h>

#include "test_base.h"

#define KEYS 100000u
#define SIZE 10000u /* entries of the cache */

static struct policy_node nodes[KEYS + 1];
static struct policy policy;
static struct policy_owner owners[2];

static struct policy_node *node_of(void *arg, uint32_t index) { (void)arg; return &nodes[index]; }
static uint64_t size_of(void *arg, uint32_t index) { (void)arg; return index % 7 + 1; }
static uint64_t one_of(void *arg, uint32_t index) { (void)arg, (void)index; return 1; }
static uint64_t hash_of(void *arg, uint32_t index) { uint64_t state = index; (void)arg; return random_step(&state); }

static void open_policy(uint64_t (*size)(void *arg, uint32_t index))
{
    memset(nodes, 0, sizeof nodes);
    memset(owners, 0, sizeof owners);
    policy = (struct policy){ .node = node_of, .size = size, .hash = hash_of };
    policy_init(&policy, policy_ghost_new(SIZE), 7);
    assert_non_null(policy.ghost);
}

static void close_policy(void) { policy_ghost_free(policy.ghost); }
static bool is_in(uint32_t index) { return nodes[index].queue != 0; }

/* One request; true if it was a hit. */
static bool ask(uint32_t index, struct policy_owner *owner)
{
    if (is_in(index)) {
        policy_touch(&nodes[index]);
        return true;
    }
    while (policy.count >= SIZE)
        (void)policy_evict(&policy, 8);
    policy_insert(&policy, owner, index);
    return false;
}

/* ---- an LRU of the same size, by its definition ---- */

static uint32_t lru_next[KEYS + 1], lru_prev[KEYS + 1], lru_count; /* a ring through 0; the first was asked for last */
static bool lru_in[KEYS + 1];

static void lru_unlink(uint32_t i)
{
    lru_next[lru_prev[i]] = lru_next[i];
    lru_prev[lru_next[i]] = lru_prev[i];
    lru_in[i] = false;
    lru_count--;
}

static bool lru_ask(uint32_t i)
{
    bool hit = lru_in[i];
    if (!hit && lru_count == SIZE)
        lru_unlink(lru_prev[0]);
    if (hit)
        lru_unlink(i);
    lru_next[i] = lru_next[0];
    lru_prev[i] = 0;
    lru_prev[lru_next[0]] = i;
    lru_next[0] = i;
    lru_in[i] = true;
    lru_count++;
    return hit;
}

/* ---- streams ---- */

static double sums[KEYS + 1];

static void zipf(double exponent)
{
    double sum = 0;
    for (uint32_t i = 1; i <= KEYS; i++)
        sums[i] = sum += pow(i, -exponent);
}

static uint32_t zipf_draw(uint64_t *seed)
{
    double u = (double)(random_step(seed) >> 11) * 0x1p-53 * sums[KEYS];
    uint32_t low = 1, high = KEYS;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (sums[middle] < u)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct rates {
    double ours, lru;
};

/* next(k): what is asked k-th. The first tenth warms up. */
static struct rates replay(uint32_t requests, uint32_t (*next)(uint32_t k, uint64_t *seed))
{
    uint64_t seed = 42;
    uint32_t ours = 0, lru = 0, counted = 0;
    memset(lru_in, 0, sizeof lru_in);
    lru_count = lru_next[0] = lru_prev[0] = 0;
    for (uint32_t k = 0; k < requests; k++) {
        uint32_t key = next(k, &seed);
        bool hit = ask(key, &owners[0]), lru_hit = lru_ask(key);
        if (k < requests / 10)
            continue;
        counted++;
        ours += hit;
        lru += lru_hit;
    }
    return (struct rates){ (double)ours / counted, (double)lru / counted };
}

static uint32_t skewed(uint32_t k, uint64_t *seed) { (void)k; return zipf_draw(seed); }

TEST(zipf_is_kept_better_than_by_an_lru)
{
    static const double exponents[] = { 0.7, 0.9, 1.1 };
    for (unsigned i = 0; i < ARRAY_LEN(exponents); i++) {
        open_policy(one_of);
        zipf(exponents[i]);
        struct rates r = replay(1000000, skewed);
        printf("Zipf %.1f over %u keys, %u entries: hit rate %.3f, LRU %.3f\n", exponents[i], KEYS, SIZE, r.ours, r.lru);
        assert_true(r.ours >= r.lru + 0.02);
        close_policy();
    }
}

/* A stream that now and then reads everything once, as a crawler does: the LRU loses what it had. */
static uint32_t scanned(uint32_t k, uint64_t *seed) { return k % 100000 < 30000 ? 50001 + k % 50000 : zipf_draw(seed); }

TEST(a_scan_takes_little)
{
    open_policy(one_of);
    zipf(0.9);
    struct rates r = replay(1000000, scanned);
    printf("Zipf 0.9 with scans: hit rate %.3f, LRU %.3f\n", r.ours, r.lru);
    assert_true(r.ours > r.lru + 0.05);
    close_policy();
}

/* What was wanted changes at once, the weakness of S3-FIFO: main has to be gone round before new keys have it. */
static uint32_t shifted(uint32_t k, uint64_t *seed) { return (zipf_draw(seed) + k / 200000 * 37000) % KEYS + 1; }

TEST(abrupt_drift_costs_little)
{
    open_policy(one_of);
    zipf(0.9);
    struct rates r = replay(1000000, shifted);
    printf("Zipf 0.9, other keys every 200,000 requests: hit rate %.3f, LRU %.3f\n", r.ours, r.lru);
    assert_true(r.ours > r.lru);
    close_policy();
}

/* ---- owners ---- */

TEST(the_heaviest_pays)
{
    open_policy(one_of);
    for (uint32_t i = 1; i <= 1000; i++)
        (void)ask(i, &owners[0]);
    for (uint32_t i = 1001; i <= 90000; i++)
        (void)ask(i, &owners[1]);
    for (uint32_t i = 1; i <= 1000; i++)
        assert_true(is_in(i));
    assert_int_equal(owners[0].count, 1000);
    assert_int_equal(owners[1].count, SIZE - 1000);
    assert_ptr_equal(policy_heaviest(&policy), &owners[1]);
    for (uint32_t i = 90001; i <= 99000; i++) /* up to the half the first one may have */
        (void)ask(i, &owners[0]);
    assert_int_equal(owners[0].count, SIZE / 2);
    close_policy();
}

TEST(sums_are_right_whatever_comes_and_goes)
{
    uint64_t seed = 1;
    open_policy(size_of);
    for (unsigned k = 0; k < 200000; k++) {
        uint32_t i = 1 + (uint32_t)(random_step(&seed) % 3000);
        struct policy_owner *o = &owners[i % 2];
        if (is_in(i) && random_step(&seed) % 4 == 0)
            policy_remove(&policy, o, i);
        else if (is_in(i))
            policy_touch(&nodes[i]);
        else
            policy_insert(&policy, o, i);
        if (random_step(&seed) % 8 == 0)
            (void)policy_evict(&policy, 4);
    }
    uint64_t bytes[2] = { 0, 0 };
    uint32_t count = 0;
    for (uint32_t i = 1; i <= 3000; i++)
        if (is_in(i)) {
            bytes[i % 2] += size_of(NULL, i);
            count++;
        }
    assert_int_equal(policy.count, count);
    assert_int_equal(policy.bytes, bytes[0] + bytes[1]);
    for (unsigned k = 0; k < 2; k++)
        assert_int_equal(policy_owner_bytes(&owners[k]), bytes[k]);
    for (uint32_t left = policy.count; left > 0; left -= policy_evict(&policy, 1000) != POLICY_NONE) {
    }
    assert_int_equal(policy.bytes, 0);
    assert_null(policy_heaviest(&policy));
    assert_int_equal(policy_evict(&policy, 10), POLICY_NONE);
    close_policy();
}

/* ---- one queue and the other ---- */

TEST(small_is_left_for_main_by_use_alone)
{
    open_policy(one_of);
    for (uint32_t i = 1; i <= SIZE; i++)
        (void)ask(i, &owners[0]);
    for (uint32_t i = 1; i <= 100; i++) /* the next hundred are not asked for again */
        policy_touch(&nodes[i]);
    for (uint32_t i = SIZE + 1; i <= SIZE + 5000; i++)
        (void)ask(i, &owners[0]);
    for (uint32_t i = 1; i <= 100; i++) {
        assert_true(is_in(i));
        assert_false(is_in(i + 100));
    }
    close_policy();
}

TEST(who_comes_back_while_its_ghost_is_there_has_proved_itself)
{
    open_policy(one_of);
    for (uint32_t i = 1; i <= SIZE + 1000; i++)
        (void)ask(i, &owners[0]);
    for (uint32_t i = 1; i <= 500; i++) {
        assert_false(is_in(i));
        (void)ask(i, &owners[0]);
    }
    assert_int_equal(owners[0].main.bytes, 500);
    assert_false(is_in(1001));
    for (uint32_t i = 20001; i <= 20000 + 30000; i++) /* its ghost has gone with the thousands that came behind */
        (void)ask(i, &owners[0]);
    uint64_t before = owners[0].main.bytes;
    (void)ask(1001, &owners[0]);
    assert_int_equal(owners[0].main.bytes, before);
    close_policy();
}

TEST(a_victim_is_found_however_much_all_are_used)
{
    open_policy(one_of);
    for (uint32_t i = 1; i <= SIZE; i++)
        (void)ask(i, &owners[0]);
    for (uint32_t i = 1; i <= SIZE; i++)
        for (unsigned k = 0; k < 5; k++)
            policy_touch(&nodes[i]);
    unsigned calls = 1;
    while (policy_evict(&policy, 8) == POLICY_NONE)
        calls++;
    assert_int_equal(calls, POLICY_LOOKS_MAX / 8 + 1);
    assert_int_equal(policy.count, SIZE - 1);
    close_policy();
}

TEST(ghosts_need_memory)
{
    (void)mem_fault(1);
    assert_null(policy_ghost_new(SIZE));
    (void)mem_fault(0);
    policy_ghost_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zipf_is_kept_better_than_by_an_lru), cmocka_unit_test(a_scan_takes_little), cmocka_unit_test(abrupt_drift_costs_little), cmocka_unit_test(the_heaviest_pays),
        cmocka_unit_test(sums_are_right_whatever_comes_and_goes), cmocka_unit_test(small_is_left_for_main_by_use_alone),
        cmocka_unit_test(who_comes_back_while_its_ghost_is_there_has_proved_itself), cmocka_unit_test(a_victim_is_found_however_much_all_are_used),
        cmocka_unit_test(ghosts_need_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
