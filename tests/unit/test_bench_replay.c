/* test_bench_replay.c: units of bench/replay.h: each policy against one that is written as its paper says it, the ideal against every choice there is, traces by
   their forms, and weir's own policy against the others. */
#include "base/random.h"
#include "bench/replay.h"
#include <math.h>
#include "test_bench_help.h" /* last: cmocka takes the word fail */

static int64_t alive;
static struct replay_trace t;

static int setup(void **state)
{
    (void)state;
    alive = mem_alive();
    t = (struct replay_trace){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    replay_trace_free(&t);
    return mem_alive() == alive ? 0 : -1;
}

static void ask(const uint32_t *names, uint32_t count)
{
    replay_trace_free(&t);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(replay_trace_add(&t, names[i]), OK);
    assert_int_equal(replay_trace_end(&t), OK);
}

/* Few of the keys often, so that there is something to keep. */
static void ask_by_chance(uint64_t seed, uint32_t count, uint32_t keys)
{
    uint32_t names[4096];
    assert_in_range(count, 1, ARRAY_LEN(names));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t most = (uint32_t)(random_step(&seed) % keys) + 1;
        names[i] = (uint32_t)(random_step(&seed) % most);
    }
    ask(names, count);
}

static uint64_t hits_of(enum replay_policy p, uint32_t room)
{
    uint64_t hits = UINT64_MAX;
    assert_int_equal(replay_run(&t, p, room, &hits), OK);
    return hits;
}

static void read_all(const char *what)
{
    struct complaint why;
    char text[640];
    replay_trace_free(&t);
    if (!replay_trace_read(&t, what, &why)) {
        complaint_print(&why, text, sizeof text);
        fail_msg("%s", text);
    }
}

/* ---- the policies ---- */

/* A line of answers, the oldest first, that are moved about one by one. */
struct line {
    struct {
        uint32_t key;
        bool is_used;
    } at[64];
    uint32_t count, hand;
};

static void line_remove(struct line *l, uint32_t i)
{
    memmove(&l->at[i], &l->at[i + 1], (l->count-- - i - 1) * sizeof l->at[0]);
}

static void line_add(struct line *l, uint32_t key)
{
    l->at[l->count].key = key;
    l->at[l->count++].is_used = false;
}

static void line_evict(struct line *l, enum replay_policy p)
{
    if (p == REPLAY_clock)
        while (l->at[0].is_used) {
            uint32_t key = l->at[0].key;
            line_remove(l, 0);
            line_add(l, key);
        }
    if (p == REPLAY_sieve)
        while (l->at[l->hand].is_used) {
            l->at[l->hand].is_used = false;
            l->hand = (l->hand + 1) % l->count;
        }
    line_remove(l, l->hand);
    l->hand = l->hand < l->count ? l->hand : 0;
}

static uint64_t plain_hits(enum replay_policy p, uint32_t room)
{
    struct line l = { .count = 0 };
    uint64_t hits = 0;
    for (uint32_t i = 0; i < t.count; i++) {
        uint32_t at = 0, key = t.keys[i];
        while (at < l.count && l.at[at].key != key)
            at++;
        hits += at < l.count;
        if (at < l.count && p == REPLAY_lru) {
            line_remove(&l, at);
            line_add(&l, key);
        } else if (at < l.count) {
            l.at[at].is_used = true;
        } else {
            if (l.count == room)
                line_evict(&l, p);
            line_add(&l, key);
        }
    }
    return hits;
}

TEST(each_policy_does_what_its_paper_says)
{
    static const enum replay_policy policies[] = { REPLAY_lru, REPLAY_clock, REPLAY_sieve };
    for (uint64_t seed = 1; seed <= 300; seed++) {
        ask_by_chance(seed, 400, 40);
        for (uint32_t room = 1; room < 30; room += 1 + room / 3)
            for (size_t k = 0; k < ARRAY_LEN(policies); k++)
                if (hits_of(policies[k], room) != plain_hits(policies[k], room))
                    fail_msg("%s, seed %llu, room %u", replay_policy_name(policies[k]), (unsigned long long)seed, room);
    }
}

/* Of every set of keys that could be kept by now, the most hits it could have had. */
#define SETS 64u
static int most_hits(uint32_t room)
{
    int most[SETS], then[SETS], best = 0;
    for (uint32_t s = 0; s < SETS; s++)
        most[s] = s == 0 ? 0 : -1;
    for (uint32_t i = 0; i < t.count; i++) {
        uint32_t key = 1u << t.keys[i];
        for (uint32_t s = 0; s < SETS; s++)
            then[s] = most[s] >= 0 && (s & key) ? most[s] + 1 : most[s]; /* who is not kept may be let pass */
        for (uint32_t s = 0; s < SETS; s++)
            for (uint32_t out = 0; most[s] >= 0 && !(s & key) && out < SETS; out = out == 0 ? 1 : 2 * out) {
                uint32_t next = (s & ~out) | key;
                if ((uint32_t)__builtin_popcount(next) <= room)
                    then[next] = MAX(then[next], most[s]);
            }
        memcpy(most, then, sizeof most);
    }
    for (uint32_t s = 0; s < SETS; s++)
        best = MAX(best, most[s]);
    return best;
}

TEST(the_ideal_is_what_the_best_of_all_choices_gives)
{
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        ask_by_chance(seed, 24, 6);
        for (uint32_t room = 1; room <= 4; room++)
            if ((int)hits_of(REPLAY_ideal, room) != most_hits(room))
                fail_msg("seed %llu, room %u: %llu hits and not %d", (unsigned long long)seed, room, (unsigned long long)hits_of(REPLAY_ideal, room), most_hits(room));
    }
}

TEST(nobody_beats_the_ideal_and_with_room_for_all_everybody_is_it)
{
    for (uint64_t seed = 1; seed <= 100; seed++) {
        ask_by_chance(seed, 3000, 500);
        for (unsigned p = 0; p < REPLAY_POLICIES; p++) {
            for (uint32_t room = 1; room < t.distinct; room = room * 2 + 1)
                assert_true(hits_of(p, room) <= hits_of(REPLAY_ideal, room));
            assert_int_equal(hits_of(p, t.distinct), t.count - t.distinct);
            assert_int_equal(hits_of(p, 2 * t.distinct), t.count - t.distinct);
        }
    }
}

/* The best of the others, by shares of what was asked. */
static void is_near_the_best(const char *what, uint32_t room)
{
    double best = 0, ours = (double)hits_of(REPLAY_weir, room) / t.count;
    for (unsigned p = 0; p < REPLAY_POLICIES; p++)
        if (p != REPLAY_weir && p != REPLAY_ideal)
            best = fmax(best, (double)hits_of(p, room) / t.count);
    print_message("%s, %u entries: %.2f %%, the best of the others %.2f %%\n", what, room, 100 * ours, 100 * best);
    assert_true(ours >= best - 0.01);
}

/* As prefixes of conversations do: every second answer is asked for once more, after up to `within` others. */
static void ask_once_more(uint32_t count, uint32_t within)
{
    static uint32_t names[200000];
    uint64_t seed = 5;
    uint32_t name = 0;
    assert_in_range(count, 1, ARRAY_LEN(names));
    memset(names, 0, count * sizeof names[0]);
    for (uint32_t i = 0; i < count; i++) {
        if (names[i] != 0) /* somebody comes back here */
            continue;
        names[i] = ++name;
        uint32_t again = i + 1 + (uint32_t)(random_step(&seed) % within);
        if (random_step(&seed) % 2 == 0 && again < count)
            names[again] = name;
    }
    ask(names, count);
}

TEST(weirs_policy_is_near_the_best_of_the_others_whatever_is_asked)
{
    read_all("zipf:0.9,100000,400000");
    is_near_the_best("Zipf", 10000);
    is_near_the_best("Zipf", 40000);
    read_all("drift:0.9,20000,400000");
    is_near_the_best("drift", 2000);
    is_near_the_best("drift", 8000);
    ask_once_more(200000, 10000);
    is_near_the_best("once more", 2000);
    is_near_the_best("once more", 6000);
    is_near_the_best("once more", 9000);
}

/* ---- traces ---- */

TEST(keys_are_numbered_as_they_come_and_know_when_they_come_again)
{
    ask((uint32_t[]){ 9, 4, 9, 0, 4, 9 }, 6);
    assert_int_equal(t.distinct, 3);
    assert_memory_equal(t.keys, ((uint32_t[]){ 0, 1, 0, 2, 1, 0 }), 6 * sizeof(uint32_t));
    assert_memory_equal(t.next, ((uint32_t[]){ 2, 4, 5, REPLAY_NEVER, REPLAY_NEVER, REPLAY_NEVER }), 6 * sizeof(uint32_t));
}

TEST(mooncakes_blocks_are_questions)
{
    read_all(bench_file("m", "{\"timestamp\":0,\"input_length\":900,\"output_length\":1,\"hash_ids\":[0,1]}\r\n\n{\"hash_ids\":[0,7,1]}\n{\"hash_ids\":[]}"));
    assert_int_equal(t.count, 5);
    assert_memory_equal(t.keys, ((uint32_t[]){ 0, 1, 0, 2, 1 }), 5 * sizeof(uint32_t));
}

TEST(equal_lines_are_one_key)
{
    read_all(bench_file("l", "one\ntwo\n  one \r\n\n{\"messages\":[]}\none\n{\"messages\":[]}\n"));
    assert_int_equal(t.count, 6);
    assert_memory_equal(t.keys, ((uint32_t[]){ 0, 1, 0, 2, 0, 2 }), 6 * sizeof(uint32_t));
}

TEST(requests_that_mean_the_same_are_one_key)
{
    read_all(bench_file("r", "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n"
                             "{ \"messages\": [{\"content\":\"\\u0068i\",\"role\":\"user\"}], \"stream\":true, \"model\":\"m\", \"user\":\"me\"}\n"
                             "{\"path\":\"/v1/chat/completions\",\"body\":{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}}\n"
                             "{\"path\":\"/v1/embeddings\",\"body\":{\"model\":\"m\",\"input\":\"hi\"}}\n"
                             "{\"model\":\"m\",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n"
                             "{\"model\":\"n\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n"
                             "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":5}\n"
                             "{\"model\":\"m\",\"messages\":7}\n"
                             "{\"model\":\"m\", \"messages\":7}\n")); /* no request: its bytes count */
    assert_int_equal(t.count, 9);
    assert_memory_equal(t.keys, ((uint32_t[]){ 0, 0, 0, 1, 2, 3, 4, 5, 6 }), 9 * sizeof(uint32_t));
}

TEST(a_law_gives_the_r_th_key_its_share)
{
    uint32_t counts[100] = { 0 };
    double sum = 0;
    read_all("zipf:1,100,200000");
    for (uint32_t i = 0; i < t.count; i++)
        counts[t.keys[i]]++;
    for (int r = 1; r <= 100; r++)
        sum += 1.0 / r;
    uint32_t first = 0;
    for (uint32_t k = 0; k < t.distinct; k++)
        first = MAX(first, counts[k]);
    assert_int_equal(t.count, 200000);
    assert_int_equal(t.distinct, 100);
    assert_true(fabs(first / 200000.0 - 1 / sum) < 0.005); /* five standard deviations */
    uint32_t *keys = mem_alloc(t.count * sizeof *keys);
    memcpy(keys, t.keys, t.count * sizeof *keys);
    read_all("zipf:1,100,200000,1");
    assert_memory_equal(keys, t.keys, t.count * sizeof *keys);
    read_all("zipf:1,100,200000,2");
    assert_memory_not_equal(keys, t.keys, t.count * sizeof *keys);
    mem_free(keys);
}

TEST(a_drift_replaces_all_keys_in_the_middle)
{
    read_all("drift:0.5,50,10000");
    uint32_t first = 0;
    for (uint32_t i = 0; i < 5000; i++)
        first = MAX(first, t.keys[i] + 1);
    assert_int_equal(t.distinct, 100);
    for (uint32_t i = 5000; i < 10000; i++)
        assert_true(t.keys[i] >= first);
}

TEST(what_is_wrong_with_a_trace_has_its_line)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "", "t: holds no question" },
        { "a\n{\"hash_ids\":[1,\"2\"]}", "t:2: hash_ids must be an array of numbers" },
        { "{\"hash_ids\":7}", "t:1: hash_ids must be an array of numbers" },
        { "a\nb\n{\"messages\":", "t:3: not JSON: " },
    };
    static const struct {
        const char *what, *why;
    } laws[] = {
        { "zipf:", "\"zipf:\": ALPHA must be a number from 0 to 10" },
        { "zipf:11,5,5", "\"zipf:11,5,5\": ALPHA must be a number from 0 to 10" },
        { "zipf:1,0,5", "\"zipf:1,0,5\": KEYS must be a number from 1 to 8388608" },
        { "drift:1,5", "\"drift:1,5\": REQUESTS must be a number from 1 to 16777216" },
        { "zipf:1,5,99999999999", "\"zipf:1,5,99999999999\": REQUESTS must be a number from 1 to 16777216" },
        { "zipf:1,5,5,x", "\"zipf:1,5,5,x\": SEED must be a number" },
        { "/nowhere/at/all", "cannot be opened: No such file or directory" },
    };
    struct complaint why;
    char text[640];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_false(replay_trace_read(&t, bench_file("t", rows[i].text), &why));
        complaint_print(&why, text, sizeof text);
        if (strncmp(text + strlen(bench_folder) + 1, rows[i].why, strlen(rows[i].why)) != 0)
            fail_msg("said: %s\nexpected: %s", text, rows[i].why);
        replay_trace_free(&t);
    }
    for (size_t i = 0; i < ARRAY_LEN(laws); i++) {
        assert_false(replay_trace_read(&t, laws[i].what, &why));
        assert_string_equal(why.text, laws[i].why);
    }
}

TEST(memory_that_is_not_there_is_no_crash)
{
    enum fail f = FAIL_NO_MEMORY;
    uint64_t hits, reached = 0;
    for (uint64_t nth = 1; f != OK && nth < 100; nth++) {
        struct complaint why;
        (void)mem_fault(nth);
        f = replay_trace_read(&t, "zipf:1,3000,9000", &why) ? replay_run(&t, REPLAY_lru, 7, &hits) : FAIL_NO_MEMORY;
        f = f == OK ? replay_run(&t, REPLAY_ideal, 7, &hits) : f;
        (void)mem_fault(0);
        replay_trace_free(&t);
        reached = nth;
    }
    assert_in_range(reached, 10, 99);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(each_policy_does_what_its_paper_says),
        ROW(the_ideal_is_what_the_best_of_all_choices_gives),
        ROW(nobody_beats_the_ideal_and_with_room_for_all_everybody_is_it),
        ROW(weirs_policy_is_near_the_best_of_the_others_whatever_is_asked),
        ROW(keys_are_numbered_as_they_come_and_know_when_they_come_again),
        ROW(mooncakes_blocks_are_questions),
        ROW(equal_lines_are_one_key),
        ROW(requests_that_mean_the_same_are_one_key),
        ROW(a_law_gives_the_r_th_key_its_share),
        ROW(a_drift_replaces_all_keys_in_the_middle),
        ROW(what_is_wrong_with_a_trace_has_its_line),
        ROW(memory_that_is_not_there_is_no_crash),
    };
    return cmocka_run_group_tests(tests, bench_folder_make, bench_folder_remove);
}
