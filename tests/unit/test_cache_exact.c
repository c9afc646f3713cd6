/* test_cache_exact.c: what exact.h promises, one worker and one thread: found and not found, time, limits, who pays, deletion, numbers, memory that comes back. */
#include "../lib/cache_values.h"

#include "cache/inner.h"
#include "run/task.h"
#include "test_base.h"

static struct sim *sim;
static struct worker a, b;
static struct cache *c;
static const struct cache_label plain = { { "acme", 4 }, { "chat", 4 }, { "", 0 } };
static int64_t alive;

static void open_cache(uint64_t bytes, uint32_t entries)
{
    struct sim_options options = sim_options_default(7);
    alive = mem_alive();
    options.mail_max = 0; /* workers that are turned by hand have no clock that goes on */
    sim = sim_new(&options);
    assert_non_null(sim);
    assert_int_equal(worker_init(&a, sim_world(sim), 0), OK);
    assert_int_equal(worker_init(&b, sim_world(sim), 1), OK);
    c = cache_new(sim_world(sim), &(struct cache_limits){ bytes, entries });
    assert_non_null(c);
}

static void close_cache(void)
{
    cache_free(c);
    worker_fini(&a);
    worker_fini(&b);
    sim_free(sim);
    assert_int_equal(mem_alive(), alive);
}

static struct cache_status status(void)
{
    struct cache_status s;
    cache_status(c, &s);
    assert_true(s.bytes <= s.bytes_max && s.entries <= s.entries_max);
    assert_int_equal(s.puts, s.entries + s.replaced + s.evictions + s.expired + s.dropped);
    return s;
}

static void put_ok(uint64_t number, size_t len) { assert_int_equal(put_one(&a, c, number, 0, len, &plain, 60 * SECOND), OK); }
static bool is_there(uint64_t number)
{
    const struct cache_value *v = find_one(&a, c, number);
    assert_true(v == NULL || (value_number(v) == number && value_is_whole(v)));
    return v != NULL;
}

TEST(what_was_put_is_found_and_nothing_else)
{
    open_cache(1 << 20, 1000);
    assert_false(is_there(1));
    put_ok(1, 100);
    assert_true(is_there(1));
    for (uint64_t i = 2; i < 500; i++)
        assert_false(is_there(i));
    struct cache_id id = id_of(1), near;
    for (unsigned i = 0; i < CACHE_ID_BYTES * 8; i++) { /* hostile 57: every bit counts, also those that the hash is not made of */
        near = id;
        near.sha256[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_null(cache_find(&a, c, &near));
    }
    struct cache_status s = status();
    assert_int_equal(s.entries, 1);
    assert_int_equal(s.tenants, 1);
    close_cache();
}

/* Who looks for what is not there would otherwise look at ten buckets, once the cache has been full for a while. */
TEST(table_stays_good_as_entries_come_and_go)
{
    open_cache(64 << 20, 10000);
    for (uint64_t i = 0; i < 100000; i++)
        put_ok(i, 20);
    unsigned found = 0;
    for (uint64_t i = 0; i < 100000; i++)
        found += is_there(i);
    assert_int_equal(found, status().entries);
    assert_int_equal(found, 10000);
    const struct table *t = atomic_load(&c->table);
    unsigned passed = 0;
    for (uint32_t i = 0; i < t->count; i++)
        passed += atomic_load(&t->bucket[i].passed) != 0;
    assert_in_range(passed, 1, t->count * 2 / 5);
    close_cache();
}

TEST(another_form_will_do)
{
    bool is_other;
    struct cache_id id = id_of(1), other = cache_id_form(&id, 3), third = cache_id_form(&id, 5);
    open_cache(1 << 20, 1000);
    put_ok(1, 100);
    const struct cache_value *v = cache_find_form(&a, c, &id, 3, &is_other);
    assert_true(v != NULL && !is_other);
    assert_true(cache_find_form(&a, c, &other, 3, &is_other) == v && is_other);
    assert_null(cache_find_form(&a, c, &third, 3, &is_other));
    assert_null(cache_find_form(&a, c, &other, 5, &is_other));
    struct cache_value *newer = value_of(1, 1, 100);
    assert_int_equal(cache_put(&a, c, &other, newer, &plain, 60 * SECOND), OK);
    assert_true(cache_find_form(&a, c, &id, 3, &is_other) == v && !is_other); /* its own first */
    assert_true(cache_find_form(&a, c, &other, 3, &is_other) == newer && !is_other);
    cache_value_drop(newer);
    close_cache();
}

TEST(one_form_takes_the_place_of_another)
{
    bool is_other;
    struct cache_id id = id_of(1), other = cache_id_form(&id, 3), third = cache_id_form(&id, 5);
    open_cache(1 << 20, 1000);
    put_ok(1, 100);
    for (uint64_t version = 1; version < 6; version++) { /* by turns, and again over its own */
        const struct cache_id *own = version % 3 == 0 ? &id : &other, *gone = version % 3 == 0 ? &other : &id;
        struct cache_value *v = value_of(1, version, 100);
        assert_int_equal(cache_put_form(&a, c, own, 3, v, &plain, 60 * SECOND, NEVER), OK);
        assert_true(cache_find(&a, c, own) == v);
        assert_null(cache_find(&a, c, gone));
        assert_int_equal(status().entries, 1);
        assert_int_equal(status().replaced, version);
        cache_value_drop(v);
    }
    struct cache_value *v = value_of(1, 6, 100);
    assert_int_equal(cache_put(&a, c, &third, v, &plain, 60 * SECOND), OK);
    for (unsigned i = 0; i < 2; i++) { /* both are there: whichever is found first */
        const struct cache_id *own = i == 0 ? &id : &other, *gone = i == 0 ? &other : &id;
        assert_int_equal(cache_put(&a, c, &id, v, &plain, 60 * SECOND), OK);
        assert_int_equal(cache_put(&a, c, &other, v, &plain, 60 * SECOND), OK);
        assert_int_equal(status().entries, 3); /* a form that nobody named stays */
        assert_int_equal(cache_put_form(&a, c, own, 3, v, &plain, 60 * SECOND, NEVER), OK);
        assert_int_equal(status().entries, 2);
        assert_true(cache_find_form(&a, c, gone, 3, &is_other) == v && is_other);
        assert_true(cache_find(&a, c, &third) == v);
    }
    cache_value_drop(v);
    close_cache();
}

TEST(put_again_it_is_the_new_one)
{
    open_cache(1 << 20, 1000);
    for (uint64_t version = 0; version < 10; version++) {
        assert_int_equal(put_one(&a, c, 5, version, 50, &plain, 60 * SECOND), OK);
        assert_int_equal(value_version(find_one(&a, c, 5)), version);
    }
    struct cache_status s = status();
    assert_int_equal(s.entries, 1);
    assert_int_equal(s.replaced, 9);
    close_cache();
}

/* Two backends were asked one question, and who was asked first answers last. */
TEST(what_was_asked_for_before_does_not_replace_what_was_kept_since)
{
    struct cache_id id = id_of(1), other = cache_id_form(&id, 3);
    open_cache(1 << 20, 1000);
    for (unsigned i = 0; i < 2; i++) { /* in the same form, and in the other */
        const struct cache_id *kept = i == 0 ? &id : &other;
        nanos asked = a.now;
        a.now += SECOND;
        struct cache_value *newer = value_of(1, 2, 100), *older = value_of(1, 1, 100);
        assert_int_equal(cache_put_form(&a, c, kept, 3, newer, &plain, 60 * SECOND, NEVER), OK);
        a.now += SECOND;
        assert_int_equal(cache_put_form(&a, c, &id, 3, older, &plain, 60 * SECOND, asked), FAIL_NOT_CACHED);
        assert_true(cache_find(&a, c, kept) == newer);
        assert_int_equal(status().entries, 1);
        assert_int_equal(cache_put_form(&a, c, &id, 3, older, &plain, 60 * SECOND, a.now), OK); /* asked for later */
        assert_true(cache_find(&a, c, &id) == older);
        assert_int_equal(status().entries, 1);
        cache_value_drop(newer);
        cache_value_drop(older);
    }
    close_cache();
}

TEST(over_its_time_it_is_not_found_and_goes)
{
    open_cache(1 << 20, 1000);
    nanos began = a.now;
    static const nanos spans[] = { NANOS_PER_MS * 100, 10 * SECOND, 20 * SECOND, 300 * SECOND, 3600 * SECOND, 86400 * SECOND, 400 * 86400 * SECOND };
    for (unsigned i = 0; i < ARRAY_LEN(spans); i++)
        assert_int_equal(put_one(&a, c, i, 0, 10, &plain, spans[i]), OK);
    for (unsigned i = 0; i < ARRAY_LEN(spans); i++) {
        a.now = began + spans[i] - 70 * NANOS_PER_MS;
        for (unsigned k = 0; k < ARRAY_LEN(spans); k++)
            assert_int_equal(is_there(k), k >= i);
        a.now = began + spans[i];
        assert_false(is_there(i));
        a.now += 3 * SECOND; /* its span is over */
        for (unsigned n = 0; n < 100000 && status().entries > ARRAY_LEN(spans) - i - 1; n++)
            cache_tick(&a, c);
        assert_int_equal(status().entries, ARRAY_LEN(spans) - i - 1);
    }
    assert_int_equal(status().expired, ARRAY_LEN(spans));
    close_cache();
}

TEST(many_that_end_together_go_by_themselves_as_others_come)
{
    open_cache(64 << 20, 20000);
    for (uint64_t i = 0; i < 10000; i++)
        assert_int_equal(put_one(&a, c, i, 0, 10, &plain, 10 * SECOND + (nanos)(i % 7) * SECOND), OK);
    a.now += 30 * SECOND;
    for (uint64_t i = 20000; status().expired < 10000; i++) {
        put_ok(i, 10);
        assert_true(i < 23000); /* a put frees some */
    }
    close_cache();
}

TEST(wall_clock_that_jumps_changes_nothing) /* hostile 92 */
{
    open_cache(1 << 20, 1000);
    assert_int_equal(put_one(&a, c, 1, 0, 10, &plain, 60 * SECOND), OK);
    a.wall -= 3600 * SECOND;
    assert_true(is_there(1));
    a.wall += 86400 * SECOND;
    assert_true(is_there(1));
    cache_tick(&a, c);
    assert_true(is_there(1));
    a.now += 60 * SECOND;
    a.wall -= 7200 * SECOND;
    assert_false(is_there(1));
    close_cache();
}

TEST(entries_and_bytes_have_their_limits)
{
    open_cache(1 << 20, 100);
    for (uint64_t i = 0; i < 1000; i++) {
        put_ok(i, 100);
        assert_true(is_there(i));
        assert_int_equal(status().entries, MIN(i + 1, 100));
    }
    close_cache();
    open_cache(100000, 100000);
    for (uint64_t i = 0; i < 1000; i++) {
        put_ok(i, 100 + i % 900);
        (void)status();
        worker_turn(&a, 0);
    }
    assert_true(status().bytes > 90000);
    struct cache_value *v = value_of(1, 0, 10001);
    struct cache_id id = id_of(1);
    assert_int_equal(cache_put(&a, c, &id, v, &plain, SECOND), FAIL_TOO_LARGE);
    assert_int_equal(atomic_load(&v->references), 1);
    cache_value_drop(v);
    assert_int_equal(status().too_large, 1);
    close_cache();
}

TEST(bytes_are_what_memory_says)
{
    open_cache((uint64_t)1 << 30, 20000);
    int64_t before = (int64_t)account_used();
    uint64_t seed = 3;
    for (uint64_t i = 0; i < 20000; i++)
        put_ok(i, 16 + random_step(&seed) % 2000);
    int64_t grown = (int64_t)account_used() - before;
    double told = (double)status().bytes - 20000 * 8.92; /* the table and the ghosts were there before */
    assert_true((double)grown > told * 0.97 && (double)grown < told * 1.03);
    close_cache();
}

TEST(who_floods_evicts_its_own) /* hostile 54 */
{
    static const struct cache_label quiet = { { "quiet", 5 }, { "chat", 4 }, { "", 0 } }, loud = { { "loud", 4 }, { "chat", 4 }, { "", 0 } };
    open_cache(1 << 20, 100000);
    for (uint64_t i = 0; i < 1000; i++)
        assert_int_equal(put_one(&a, c, i, 0, 200, &quiet, 3600 * SECOND), OK);
    for (uint64_t i = 0; i < 100000; i++) {
        assert_int_equal(put_one(&a, c, 1000000 + i, 0, 200 + i % 500, &loud, 3600 * SECOND), OK);
        worker_turn(&a, 0);
    }
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(is_there(i));
    /* and one that has all gives way to a new one */
    for (uint64_t i = 0; i < 500; i++)
        assert_int_equal(put_one(&a, c, 2000000 + i, 0, 200, &plain, 3600 * SECOND), OK);
    for (uint64_t i = 0; i < 500; i++)
        assert_true(is_there(2000000 + i));
    assert_int_equal(status().tenants, 3);
    close_cache();
}

TEST(short_of_memory_others_go_first)
{
    open_cache(64 << 20, 100000);
    for (uint64_t i = 0; i < 5000; i++)
        put_ok(i, 1000);
    struct cache_value *v = value_of(7777777, 0, 1000);
    struct cache_id id = id_of(7777777);
    account_limit(account_used() + ACCOUNT_STEP);
    assert_true(account_is_short());
    uint64_t before = status().bytes;
    assert_int_equal(cache_put(&a, c, &id, v, &plain, SECOND), FAIL_NO_MEMORY);
    assert_int_equal(status().refused, 1);
    assert_false(is_there(7777777));
    assert_true(status().bytes < before);
    assert_null(cache_value_new(10));
    for (unsigned i = 0; i < 100 && account_is_short(); i++) { /* nobody puts: the clock does it */
        cache_tick(&a, c);
        worker_turn(&a, 0);
    }
    assert_false(account_is_short());
    assert_true(status().entries > 1000);
    account_limit(0);
    assert_int_equal(cache_put(&a, c, &id, v, &plain, SECOND), OK);
    cache_value_drop(v);
    close_cache();
}

TEST(out_of_memory_at_any_allocation_leaves_it_whole)
{
    open_cache(1 << 20, 1000);
    struct cache_value *v = value_of(1, 0, 100);
    struct cache_id id = id_of(1);
    enum fail f = FAIL_NO_MEMORY;
    unsigned failed = 0;
    for (uint64_t nth = 1; f != OK; nth++, failed++) {
        (void)mem_fault(nth);
        f = cache_put(&a, c, &id, v, &plain, SECOND);
        (void)mem_fault(0);
        assert_true(f == OK || f == FAIL_NO_MEMORY);
        assert_int_equal(find_one(&a, c, 1) != NULL, f == OK);
        assert_int_equal(status().entries, f == OK);
    }
    assert_int_equal(failed, 4); /* a chunk of entries, a label, its tenant, a chunk of labels; then none */
    cache_value_drop(v);
    close_cache();
}

/* ---- holding, and memory that comes back ---- */

static const struct cache_value *found;
/* A letter is read within a turn: what worker b found there may not be freed before that turn ends, whatever a does meanwhile. */
static void a_cleans_within_bs_turn(struct worker *w, void *arg, uint64_t number)
{
    (void)w, (void)arg;
    found = find_one(&b, c, 1);
    assert_non_null(found);
    assert_int_equal(put_one(&a, c, 1, 1, 100, &plain, 60 * SECOND), OK);
    for (unsigned i = 0; i < 10; i++) {
        worker_turn(&a, 0);
        cache_tick(&a, c);
    }
    assert_true(value_number(found) == 1 && value_version(found) == 0 && value_is_whole(found));
    if (number == 1)
        cache_value_hold(found);
}

TEST(what_was_found_stays_until_the_turn_ends)
{
    open_cache(1 << 20, 1000);
    put_ok(1, 100);
    mail_send(&b, a_cleans_within_bs_turn, NULL, 0);
    for (unsigned i = 0; i < 100 && status().replaced == 0; i++)
        worker_turn(&b, 0);
    assert_int_equal(status().replaced, 1);
    assert_true(status().retired_bytes > 0);
    worker_turn(&a, 0);
    cache_tick(&a, c);
    assert_int_equal(status().retired_bytes, 0);
    close_cache();
}

TEST(who_sleeps_is_not_waited_for)
{
    open_cache(1 << 20, 1000);
    assert_null(find_one(&b, c, 1)); /* has come, and turns no more */
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(put_one(&a, c, 1, i, 100, &plain, 60 * SECOND), OK);
    cache_tick(&a, c);
    cache_tick(&a, c);
    assert_int_equal(status().retired_bytes, 0);
    close_cache();
}

TEST(held_values_outlive_their_entry_and_the_cache)
{
    open_cache(1 << 20, 1000);
    put_ok(1, 100);
    const struct cache_value *v = find_one(&a, c, 1);
    cache_value_hold(v);
    assert_int_equal(put_one(&a, c, 1, 1, 100, &plain, 60 * SECOND), OK);
    cache_tick(&a, c);
    cache_tick(&a, c);
    assert_true(value_is_whole(v) && value_version(v) == 0);
    assert_int_equal(atomic_load(&((struct cache_value *)(uintptr_t)v)->references), 1);
    const struct cache_value *last = find_one(&a, c, 1);
    cache_value_hold(last);
    cache_free(c);
    c = NULL;
    assert_true(value_is_whole(last) && value_version(last) == 1);
    cache_value_drop(v);
    cache_value_drop(last);
    cache_value_drop(NULL);
    close_cache();
}

/* One long turn in which much is put: what has gone is bounded, too. */
static void put_much(struct worker *w, void *arg, uint64_t number)
{
    unsigned *refused = arg;
    (void)number;
    for (uint64_t i = 0; i < 5000; i++)
        *refused += put_one(w, c, i, 0, 1000, &plain, 60 * SECOND) == FAIL_NO_MEMORY;
}

TEST(what_waits_for_quiescence_is_bounded)
{
    unsigned refused = 0;
    open_cache(1 << 20, 100000);
    mail_send(&a, put_much, &refused, 0);
    for (unsigned i = 0; i < 1000 && status().puts == 0; i++)
        worker_turn(&a, 0);
    assert_true(refused > 1000);
    assert_int_equal(status().refused, refused);
    assert_true(status().retired_bytes <= (1 << 20) / 4 + 2000);
    worker_turn(&a, 0);
    cache_tick(&a, c);
    assert_int_equal(status().retired_bytes, 0);
    put_ok(1, 100);
    close_cache();
}

/* ---- limits that change ---- */

static void holds_newest(uint64_t from, uint64_t to)
{
    unsigned there = 0;
    for (uint64_t i = from; i < to; i++)
        there += is_there(i);
    assert_int_equal(there, status().entries);
}

TEST(limits_change_while_it_is_used)
{
    open_cache(64 << 20, 1000);
    for (uint64_t i = 0; i < 1500; i++)
        put_ok(i, 50);
    holds_newest(0, 1500);
    cache_limit(&a, c, &(struct cache_limits){ 64 << 20, 50000 });
    assert_int_equal(status().entries, 1000);
    holds_newest(0, 1500);
    for (uint64_t i = 1500; i < 41500; i++)
        put_ok(i, 50);
    assert_int_equal(status().entries, 41000);
    holds_newest(0, 41500);
    cache_limit(&a, c, &(struct cache_limits){ 64 << 20, 100 });
    assert_int_equal(status().entries, 100);
    holds_newest(0, 41500);
    cache_limit(&a, c, &(struct cache_limits){ 4000, 100 });
    assert_true(status().bytes <= 4000 && status().entries > 5);
    holds_newest(0, 41500);
    cache_limit(&a, c, &(struct cache_limits){ 64 << 20, 0 });
    assert_int_equal(status().entries, 0);
    assert_int_equal(put_one(&a, c, 1, 0, 10, &plain, SECOND), FAIL_TOO_LARGE);
    close_cache();
}

TEST(limit_without_memory_stays_lower)
{
    open_cache(64 << 20, 100);
    (void)mem_fault(1);
    cache_limit(&a, c, &(struct cache_limits){ 64 << 20, 5000 });
    (void)mem_fault(0);
    assert_int_equal(status().entries_max, 100);
    for (uint64_t i = 0; i < 300; i++)
        put_ok(i, 50);
    assert_int_equal(status().entries, 100);
    close_cache();
}

/* ---- deletion ---- */

struct dropping {
    struct cache_match match;
    uint64_t count;
    enum fail f;
    bool done;
};

static void drop_task(struct task *t, void *arg)
{
    struct dropping *d = arg;
    d->f = cache_drop(t, c, &d->match, &d->count);
    d->done = true;
}

static uint64_t drop(const char *tenant, const char *model, const char *tag)
{
    struct dropping d = { .match = { .tenant = text_of(tenant), .model = text_of(model), .tag = text_of(tag) } };
    assert_non_null(task_start(&a, "drop", drop_task, &d));
    for (unsigned i = 0; i < 100000 && !d.done; i++)
        worker_turn(&a, 0);
    assert_true(d.done);
    assert_int_equal(d.f, OK);
    return d.count;
}

TEST(deletion_by_tenant_model_and_tag)
{
    static const char *const tenants[] = { "acme", "acme-eu", "" }, *const models[] = { "chat", "chat-mini", "embed" }, *const tags[] = { "", "v1", "v2, beta", "beta" };
    open_cache(64 << 20, 10000);
    for (uint64_t i = 0; i < 3600; i++) {
        struct cache_label l = label_of(tenants[i % 3], models[i / 3 % 3], tags[i / 9 % 4]);
        assert_int_equal(put_one(&a, c, i, 0, 20, &l, 60 * SECOND), OK);
    }
    assert_int_equal(drop("acm", NULL, NULL), 0);
    assert_int_equal(drop("acme", "chat", "v1"), 100);
    assert_int_equal(drop("acme", "chat", "v1"), 0);
    assert_int_equal(drop(NULL, "chat*", "v*"), 6 * 200 - 100);
    assert_int_equal(drop(NULL, NULL, "bet"), 0);
    assert_int_equal(drop("", NULL, "beta"), 100 * (2 + 1 + 1 + 0) ); /* of chat and chat-mini "v2, beta" is gone */
    for (uint64_t i = 0; i < 3600; i++) {
        bool is_chat = i / 3 % 3 < 2, has_v = i / 9 % 4 == 1 || i / 9 % 4 == 2, is_beta = i / 9 % 4 >= 2;
        assert_int_equal(is_there(i), !((is_chat && has_v) || (i % 3 == 2 && is_beta)));
    }
    assert_int_equal(drop(NULL, NULL, NULL), 3600 - 1200 - 400);
    struct cache_status s = status();
    assert_int_equal(s.entries, 0);
    assert_int_equal(s.bytes, 0);
    assert_int_equal(s.tenants, 0);
    assert_int_equal(s.dropped, 3600);
    close_cache();
}

TEST(what_was_made_of_an_answer_has_its_label_and_end)
{
    static const struct cache_label tagged = { { "acme", 4 }, { "chat", 4 }, { "faq", 3 } };
    struct cache_id id = id_of(1), other = cache_id_form(&id, 3);
    open_cache(1 << 20, 1000);
    struct cache_value *whole = value_of(1, 1, 100), *events = value_of(1, 1, 200);
    int64_t made = mem_alive();
    assert_int_equal(cache_put_beside(&a, c, &other, 3, events), FAIL_NOT_CACHED); /* beside what? */
    assert_int_equal(mem_alive(), made);
    assert_int_equal(cache_put(&a, c, &id, whole, &tagged, 10 * SECOND), OK);
    assert_int_equal(cache_put_beside(&a, c, &other, 3, events), OK);
    assert_true(cache_find(&a, c, &id) == whole && cache_find(&a, c, &other) == events);
    assert_int_equal(drop(NULL, NULL, "faq"), 2);
    assert_null(cache_find(&a, c, &other));
    assert_int_equal(cache_put(&a, c, &id, whole, &tagged, 10 * SECOND), OK);
    a.now += 6 * SECOND;
    assert_int_equal(cache_put_beside(&a, c, &other, 3, events), OK);
    a.now += 5 * SECOND;
    assert_null(cache_find(&a, c, &id));
    assert_null(cache_find(&a, c, &other));
    cache_value_drop(whole);
    cache_value_drop(events);
    close_cache();
}

TEST(deletion_lets_others_have_their_turn)
{
    open_cache(64 << 20, 20000);
    for (uint64_t i = 0; i < 20000; i++)
        put_ok(i, 20);
    struct dropping d = { .match = { .model = TEXT("other") } };
    assert_non_null(task_start(&a, "drop", drop_task, &d));
    unsigned used = 0;
    for (; used < 100000 && !d.done; used++)
        worker_turn(&a, 0);
    assert_true(used >= 10);
    assert_int_equal(d.count, 0);
    close_cache();
}

TEST(tags_of_each_answer_come_and_go)
{
    open_cache(64 << 20, 20000);
    char tags[32];
    for (uint64_t i = 0; i < 20000; i++) {
        struct cache_label l = label_of("acme", "chat", tags);
        snprintf(tags, sizeof tags, "user-%u,all", (unsigned)i);
        l.tags = text_of(tags);
        assert_int_equal(put_one(&a, c, i, 0, 20, &l, 60 * SECOND), OK);
    }
    assert_int_equal(drop(NULL, NULL, "user-17"), 1);
    assert_false(is_there(17));
    assert_int_equal(drop(NULL, NULL, "user-1999*"), 11);
    assert_int_equal(drop(NULL, NULL, "all"), 19988);
    assert_int_equal(status().bytes, 0);
    close_cache();
}

TEST(oldest_is_told)
{
    open_cache(1 << 20, 1000);
    assert_true(status().oldest == INT64_MAX);
    struct cache_value *v = value_of(1, 0, 10);
    struct cache_id id = id_of(1);
    v->made = (uint32_t)(a.wall / SECOND - 100);
    assert_int_equal(cache_put(&a, c, &id, v, &plain, 60 * SECOND), OK);
    cache_value_drop(v);
    put_ok(2, 10);
    assert_int_equal(status().oldest, a.wall / SECOND - 100);
    close_cache();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_is_found_and_nothing_else), cmocka_unit_test(put_again_it_is_the_new_one), cmocka_unit_test(table_stays_good_as_entries_come_and_go),
        cmocka_unit_test(another_form_will_do), cmocka_unit_test(one_form_takes_the_place_of_another),
        cmocka_unit_test(what_was_asked_for_before_does_not_replace_what_was_kept_since), cmocka_unit_test(what_was_made_of_an_answer_has_its_label_and_end),
        cmocka_unit_test(over_its_time_it_is_not_found_and_goes),
        cmocka_unit_test(many_that_end_together_go_by_themselves_as_others_come), cmocka_unit_test(wall_clock_that_jumps_changes_nothing),
        cmocka_unit_test(entries_and_bytes_have_their_limits), cmocka_unit_test(bytes_are_what_memory_says), cmocka_unit_test(who_floods_evicts_its_own),
        cmocka_unit_test(short_of_memory_others_go_first), cmocka_unit_test(out_of_memory_at_any_allocation_leaves_it_whole),
        cmocka_unit_test(what_was_found_stays_until_the_turn_ends), cmocka_unit_test(who_sleeps_is_not_waited_for), cmocka_unit_test(held_values_outlive_their_entry_and_the_cache),
        cmocka_unit_test(what_waits_for_quiescence_is_bounded), cmocka_unit_test(limits_change_while_it_is_used), cmocka_unit_test(limit_without_memory_stays_lower),
        cmocka_unit_test(deletion_by_tenant_model_and_tag), cmocka_unit_test(deletion_lets_others_have_their_turn), cmocka_unit_test(tags_of_each_answer_come_and_go),
        cmocka_unit_test(oldest_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
