/* test_cache_shared.c: an answer as it lies in Redis: it comes back whole or not at all, whatever happened to it there; and what a drop matches. */
#include "cache/shared_inner.h"
#include "test_base.h"
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#define CHECKSUM_AT 8
#define CHECKED_AT  16
#define LEN_AT      80  /* of the answer, unpacked */
#define FORM_AT     110
#define ZIPPED_AT   111
#define HEAD_BYTES  112

static const struct cache_id one = { .sha256 = "one", .hash = 1 };
static const struct cache_label label = { { "acme", 4 }, { "chat", 4 }, { "a, blue,c", 9 } };
static const char stamp[] = "0123456789abcdef";
static struct shared_zip *zip;

static struct cache_value *value(size_t len)
{
    struct cache_value *v = cache_value_new(len);
    assert_non_null(v);
    v->len = (uint32_t)len;
    v->usage_from = (uint32_t)(len / 2);
    v->form = CACHE_EVENTS;
    v->prompt_tokens = 11;
    v->completion_tokens = 12;
    v->service_ms = 13;
    v->nano_usd = -14;
    v->made = 15;
    for (size_t i = 0; i < len; i++)
        v->bytes[i] = (char)(i % 97 + i / 1000);
    return v;
}

static struct text written(const struct cache_value *v)
{
    char *bytes;
    size_t len;
    assert_int_equal(shared_value_write(zip, &one, &label, stamp, v, &bytes, &len), OK);
    return (struct text){ bytes, len };
}

/* NULL: it is not served. */
static struct cache_value *read_back(struct text bytes)
{
    struct shared_parts parts;
    return shared_value_open(bytes, &one, label.tenant, &parts) ? shared_value_read(zip, &parts) : NULL;
}

static void seal(char *bytes, size_t len)
{
    uint64_t checksum = XXH3_64bits(bytes + CHECKED_AT, len - CHECKED_AT);
    memcpy(bytes + CHECKSUM_AT, &checksum, sizeof checksum);
}

TEST(an_answer_comes_back_as_it_was)
{
    static const size_t lens[] = { 0, 1, 1023, 1024, 100000, SHARED_VALUE_MAX };
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct cache_value *v = value(lens[i]);
        struct text bytes = written(v);
        struct cache_value *again = read_back(bytes);
        assert_non_null(again);
        assert_int_equal(again->len, v->len);
        assert_memory_equal(again->bytes, v->bytes, v->len);
        assert_memory_equal(again->bytes + again->len, label.tags.at, label.tags.len);
        assert_true(again->usage_from == v->usage_from && again->form == v->form && again->prompt_tokens == 11 && again->completion_tokens == 12 &&
                    again->service_ms == 13 && again->nano_usd == -14 && again->made == 15 && again->references == 1);
        assert_true(lens[i] < 1024 ? bytes.len == HEAD_BYTES + 17 + lens[i] : bytes.len < lens[i]);
        cache_value_drop(v);
        cache_value_drop(again);
        mem_free((char *)bytes.at);
    }
}

TEST(what_cannot_be_packed_is_kept_as_it_is)
{
    struct cache_value *v = value(5000);
    uint64_t chance = 1;
    for (size_t i = 0; i < v->len; i++)
        v->bytes[i] = (char)((chance = chance * 6364136223846793005ull + 1442695040888963407ull) >> 56);
    struct text bytes = written(v);
    assert_int_equal(bytes.len, HEAD_BYTES + 17 + v->len);
    struct cache_value *again = read_back(bytes);
    assert_memory_equal(again->bytes, v->bytes, v->len);
    cache_value_drop(v);
    cache_value_drop(again);
    mem_free((char *)bytes.at);
}

TEST(a_flipped_bit_is_a_miss)
{
    for (size_t len = 300; len <= 3000; len += 2700) {
        struct cache_value *v = value(len);
        struct text bytes = written(v);
        char *at = (char *)bytes.at;
        for (size_t bit = 0; bit < bytes.len * 8; bit++) {
            at[bit / 8] ^= (char)(1 << bit % 8);
            assert_null(read_back(bytes));
            at[bit / 8] ^= (char)(1 << bit % 8);
        }
        struct cache_value *whole = read_back(bytes);
        assert_non_null(whole);
        cache_value_drop(whole);
        cache_value_drop(v);
        mem_free(at);
    }
}

TEST(a_part_or_more_than_the_whole_is_a_miss)
{
    struct cache_value *v = value(3000);
    struct text bytes = written(v);
    char *more = mem_zero(bytes.len + 1);
    memcpy(more, bytes.at, bytes.len);
    for (size_t len = 0; len < bytes.len; len++) {
        char *part = mem_alloc(len + 1); /* where a sanitizer sees who reads behind it */
        memcpy(part, more, len);
        assert_null(read_back((struct text){ part, len }));
        if (len >= HEAD_BYTES) { /* with a good checksum, too */
            seal(part, len);
            assert_null(read_back((struct text){ part, len }));
        }
        mem_free(part);
    }
    seal(more, bytes.len + 1);
    assert_null(read_back((struct text){ more, bytes.len + 1 }));
    mem_free(more);
    mem_free((char *)bytes.at);
    cache_value_drop(v);
}

TEST(complaint_32_another_tenants_or_questions_answer_is_a_miss)
{
    struct cache_value *v = value(300);
    struct text bytes = written(v);
    struct shared_parts parts;
    struct cache_id other = one;
    assert_true(shared_value_open(bytes, &one, label.tenant, &parts));
    other.hash++; /* it finds, and proves nothing */
    assert_true(shared_value_open(bytes, &other, label.tenant, &parts));
    for (unsigned i = 0; i < CACHE_ID_BYTES; i++) {
        other = one;
        other.sha256[i] ^= 1;
        assert_false(shared_value_open(bytes, &other, label.tenant, &parts));
    }
    assert_false(shared_value_open(bytes, &one, TEXT("acm"), &parts));
    assert_false(shared_value_open(bytes, &one, TEXT("acme2"), &parts));
    assert_false(shared_value_open(bytes, &one, TEXT_NONE, &parts));
    mem_free((char *)bytes.at);
    cache_value_drop(v);
}

/* The answer of v with payload in its place, sealed. */
static struct cache_value *forge(uint32_t len, const void *payload, size_t payload_len, uint8_t form, uint8_t zipped)
{
    struct cache_value *v = value(8);
    struct text bytes = written(v);
    size_t before = HEAD_BYTES + 17;
    char *forged = mem_alloc(before + payload_len);
    uint32_t numbers[] = { len, 0 }, stored = (uint32_t)payload_len;
    memcpy(forged, bytes.at, before);
    memcpy(forged + before, payload, payload_len);
    memcpy(forged + LEN_AT, numbers, sizeof numbers);
    memcpy(forged + LEN_AT + 20, &stored, sizeof stored);
    forged[FORM_AT] = (char)form;
    forged[ZIPPED_AT] = (char)zipped;
    seal(forged, before + payload_len);
    struct cache_value *got = read_back((struct text){ forged, before + payload_len });
    mem_free(forged);
    mem_free((char *)bytes.at);
    cache_value_drop(v);
    return got;
}

TEST(what_unpacks_to_another_length_is_a_miss)
{
    size_t len = 64 << 20; /* a bomb: 64 MiB in 6 KB */
    char *zeros = mem_zero(len), *packed = mem_alloc(100000);
    size_t n = ZSTD_compress(packed, 100000, zeros, len, 3);
    assert_false(ZSTD_isError(n));
    assert_null(forge(1000, packed, n, CACHE_BODY, 1));
    assert_null(forge(SHARED_VALUE_MAX, packed, n, CACHE_BODY, 1));
    assert_null(forge((uint32_t)len, packed, n, CACHE_BODY, 1));
    assert_null(forge(UINT32_MAX, packed, n, CACHE_BODY, 1));
    n = ZSTD_compress(packed, 100000, zeros, 1000, 3);
    assert_null(forge(1001, packed, n, CACHE_BODY, 1));
    assert_null(forge(999, packed, n, CACHE_BODY, 1));
    assert_null(forge(1000, packed, n, CACHE_VECTOR + 1, 1));
    assert_null(forge(1000, packed, n, CACHE_BODY, 2));
    assert_null(forge((uint32_t)n + 1, packed, n, CACHE_BODY, 0));
    assert_null(forge(1000, "no zstd", 7, CACHE_BODY, 1));
    struct cache_value *good = forge(1000, packed, n, CACHE_BODY, 1);
    assert_non_null(good);
    cache_value_drop(good);
    mem_free(zeros);
    mem_free(packed);
}

/* Somebody who can seal may say anything; where it lies a sanitizer sees who believes it. */
TEST(whatever_a_head_says_nothing_outside_the_string_is_read)
{
    uint64_t chance = 1;
    unsigned served = 0;
    struct cache_value *v = value(2000);
    struct text bytes = written(v);
    for (unsigned i = 0; i < 100000; i++) {
        char *bent = mem_alloc(bytes.len);
        memcpy(bent, bytes.at, bytes.len);
        for (unsigned k = 0; k < 3; k++) {
            chance = chance * 6364136223846793005ull + 1442695040888963407ull;
            size_t at = 64 + (chance >> 33) % (k == 0 ? HEAD_BYTES - 64 : bytes.len - 64);
            bent[at] = (char)(chance >> 60 < 8 ? 0 : chance >> 52);
        }
        seal(bent, bytes.len);
        struct cache_value *got = read_back((struct text){ bent, bytes.len });
        if (got != NULL) {
            assert_true(got->len <= SHARED_VALUE_MAX && got->usage_from <= got->len && got->form <= CACHE_VECTOR);
            served++;
        }
        cache_value_drop(got);
        mem_free(bent);
    }
    assert_true(served > 1000 && served < 99000);
    mem_free((char *)bytes.at);
    cache_value_drop(v);
}

TEST(what_is_too_large_is_not_written)
{
    struct cache_value *v = value(SHARED_VALUE_MAX + 1), *small = value(10);
    char *bytes, *name = mem_zero(SHARED_LABEL_MAX + 1);
    size_t len;
    struct cache_label named = { .tenant = { name, SHARED_LABEL_MAX } };
    assert_int_equal(shared_value_write(zip, &one, &label, stamp, v, &bytes, &len), FAIL_TOO_LARGE);
    assert_int_equal(shared_value_write(zip, &one, &named, stamp, small, &bytes, &len), OK);
    mem_free(bytes);
    named.tenant.len++;
    assert_int_equal(shared_value_write(zip, &one, &named, stamp, small, &bytes, &len), FAIL_TOO_LARGE);
    mem_free(name);
    cache_value_drop(v);
    cache_value_drop(small);
}

/* ---- drops ---- */

static struct shared_drops drops;

/* Newest first; stamps "000000000000000N". */
static bool know(const struct cache_match *matches, unsigned count)
{
    static char bytes[SHARED_ENTRY_MAX * (SHARED_DROPS_MAX + 1)];
    size_t len = 0;
    for (unsigned i = 0; i < count; i++) {
        char name[24];
        snprintf(name, sizeof name, "%016u", count - 1 - i);
        len += shared_drops_write(name, &matches[i], bytes + len);
    }
    return shared_drops_read(&drops, (struct text){ bytes, len });
}

static bool is_dropped(unsigned since, struct cache_match match)
{
    char name[24];
    struct cache_match both[] = { match, { .tenant = TEXT_NONE } };
    assert_true(know(both, 2));
    snprintf(name, sizeof name, "%016u", since);
    return shared_drops_have(&drops, (struct text){ name, SHARED_STAMP_BYTES }, &label);
}

TEST(a_drop_takes_what_matches_all_that_is_asked)
{
    static const struct { struct cache_match match; bool is_dropped; } rows[] = {
        { { TEXT_NONE, TEXT_NONE, TEXT_NONE }, true },
        { { .tenant = { "acme", 4 } }, true },
        { { .tenant = { "acm", 3 } }, false },
        { { .tenant = { "acm*", 4 } }, true },
        { { .tenant = { "*", 1 } }, true },
        { { .tenant = { "", 0 } }, false },
        { { .model = { "chat", 4 } }, true },
        { { .model = { "chats", 5 } }, false },
        { { .tag = { "blue", 4 } }, true },
        { { .tag = { "b*", 2 } }, true },
        { { .tag = { "c", 1 } }, true },
        { { .tag = { "lue", 3 } }, false },
        { { .tag = { "c,b*", 4 } }, true }, /* each of them */
        { { .tag = { "c,lue", 5 } }, false },
        { { .tag = { "lue,c", 5 } }, false },
        { { .tag = { "c,", 2 } }, false },
        { { .model = { "chat", 4 }, .tenant = { "acme", 4 }, .tag = { "a", 1 } }, true },
        { { .model = { "chat", 4 }, .tenant = { "other", 5 }, .tag = { "a", 1 } }, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_true(is_dropped(0, rows[i].match) == rows[i].is_dropped);
        assert_false(is_dropped(1, rows[i].match)); /* put afterwards */
        assert_true(is_dropped(7, rows[i].match));  /* of a list that nobody knows */
    }
    shared_drops_forget(&drops);
    assert_true(shared_drops_have(&drops, TEXT("0000000000000000"), &label));
}

TEST(more_drops_than_the_list_holds_are_no_drop_unseen)
{
    static struct cache_match many[SHARED_DROPS_MAX + 1];
    for (unsigned i = 0; i <= SHARED_DROPS_MAX; i++)
        many[i].tenant = TEXT("other");
    assert_true(know(many, SHARED_DROPS_MAX + 1));
    assert_true(shared_drops_have(&drops, TEXT("0000000000000000"), &label)); /* the oldest is beyond it */
    assert_false(shared_drops_have(&drops, TEXT("0000000000000001"), &label));
    shared_drops_forget(&drops);
}

TEST(a_damaged_list_forgets_what_is_behind_the_damage)
{
    char bytes[3 * SHARED_ENTRY_MAX];
    size_t len = 0, whole[4] = { 0 };
    struct cache_match match = { .model = TEXT("other") };
    for (unsigned i = 0; i < 3; i++) {
        char name[24];
        snprintf(name, sizeof name, "%016u", 2 - i);
        len += shared_drops_write(name, &match, bytes + len);
        whole[i + 1] = len;
    }
    for (size_t cut = 0; cut <= len; cut++) {
        char *part = mem_alloc(cut + 1);
        memcpy(part, bytes, cut);
        assert_true(shared_drops_read(&drops, (struct text){ part, cut }));
        assert_true(drops.count <= 3 && whole[drops.count] <= cut);
        assert_true(shared_drops_have(&drops, TEXT("0000000000000000"), &label) == (cut < len));
        mem_free(part);
    }
    shared_drops_forget(&drops);
}

TEST(texts_too_long_for_a_drop_are_refused)
{
    char name[SHARED_MATCH_MAX + 1] = { 0 }, out[SHARED_ENTRY_MAX];
    struct cache_match m = { .model = { name, SHARED_MATCH_MAX - 1 }, .tag = { name, 1 } };
    assert_int_equal(shared_drops_write(stamp, &m, out), SHARED_ENTRY_MAX);
    m.tag.len = 2;
    assert_int_equal(shared_drops_write(stamp, &m, out), 0);
    m.tag.len = SIZE_MAX;
    assert_int_equal(shared_drops_write(stamp, &m, out), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_back_as_it_was),
        cmocka_unit_test(what_cannot_be_packed_is_kept_as_it_is),
        cmocka_unit_test(a_flipped_bit_is_a_miss),
        cmocka_unit_test(a_part_or_more_than_the_whole_is_a_miss),
        cmocka_unit_test(complaint_32_another_tenants_or_questions_answer_is_a_miss),
        cmocka_unit_test(what_unpacks_to_another_length_is_a_miss),
        cmocka_unit_test(whatever_a_head_says_nothing_outside_the_string_is_read),
        cmocka_unit_test(what_is_too_large_is_not_written),
        cmocka_unit_test(a_drop_takes_what_matches_all_that_is_asked),
        cmocka_unit_test(more_drops_than_the_list_holds_are_no_drop_unseen),
        cmocka_unit_test(a_damaged_list_forgets_what_is_behind_the_damage),
        cmocka_unit_test(texts_too_long_for_a_drop_are_refused),
    };
    zip = shared_zip_new();
    if (zip == NULL)
        return 1;
    int failed = cmocka_run_group_tests_name("cache_shared", tests, NULL, NULL);
    shared_zip_free(zip);
    return failed;
}
