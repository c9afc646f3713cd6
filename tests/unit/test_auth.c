/* test_auth.c: units of auth/auth.h: who is let in, and that the time a refusal takes tells nothing about the key. */
#include "auth/auth.h"
#include "test_base.h"

#include <x86intrin.h>

#define KEY_BYTES 512 /* the longest that a configuration may have: where a compare that stops early shows most */

static char key_text[KEY_BYTES + 1];
static const struct conf *conf;
static struct auth *auth;
static struct worker worker;

static int begin(void **state)
{
    char yaml[KEY_BYTES + 64];
    struct complaint why;
    (void)state;
    for (size_t i = 0; i < KEY_BYTES; i++)
        key_text[i] = (char)('a' + i * 7 % 26);
    snprintf(yaml, sizeof yaml, "keys: {a: {key: \"%s\"}}\nbackends: {b: {url: \"http://x\"}}", key_text);
    struct conf_options options = { .yaml = text_of(yaml) };
    assert_true(conf_load(&options, &conf, &why));
    auth = auth_new(conf, NULL);
    return auth != NULL ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    auth_free(auth);
    conf_unref(conf);
    return 0;
}

static enum fail asks_with(struct text key)
{
    struct http_header header = { TEXT("x-api-key"), key, HEADER_X_API_KEY };
    struct http_head head = { .count = 1, .headers = &header };
    struct identity who;
    const char *why;
    head.first[HEADER_X_API_KEY] = 1;
    enum fail f = auth_check(auth, &worker, &head, &who, &why);
    assert_true(f != OK || (who.is_known && text_eq(who.name, TEXT("a"))));
    if (f == OK)
        identity_end(&who);
    return f;
}

/* hostile 36: no part of a key, nor more than it, is the key. */
TEST(only_the_whole_key_is_the_key)
{
    char longer[KEY_BYTES + 2];
    assert_int_equal(asks_with((struct text){ key_text, KEY_BYTES }), OK);
    for (size_t n = 1; n < KEY_BYTES; n++)
        assert_int_equal(asks_with((struct text){ key_text, n }), FAIL_BAD_KEY);
    memcpy(longer, key_text, KEY_BYTES);
    longer[KEY_BYTES] = 'x';
    assert_int_equal(asks_with((struct text){ longer, KEY_BYTES + 1 }), FAIL_BAD_KEY);
    for (size_t i = 0; i < KEY_BYTES; i++) {
        longer[i] ^= 1;
        assert_int_equal(asks_with((struct text){ longer, KEY_BYTES }), FAIL_BAD_KEY);
        longer[i] ^= 1;
    }
    assert_int_equal(asks_with((struct text){ (const char *)conf->keys[0].sha256, 32 }), FAIL_BAD_KEY); /* its hash is not */
    assert_int_equal(asks_with((struct text){ key_text, 0 }), FAIL_NO_KEY);
}

/* ---- hostile 37 ---- */

#define SAMPLES 100000

static uint32_t cycles[2][SAMPLES];

/* What a gateway would do that must not: looks byte by byte, and stops. */
static int naive(struct text key)
{
    for (size_t i = 0; i < key.len; i++)
        if (((const volatile char *)key.at)[i] != key_text[i])
            return FAIL_BAD_KEY;
    return OK;
}

static int weirs(struct text key) { return (int)asks_with(key); }

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* How far apart the two kinds of wrong key are (wrong in the first byte, wrong in the last), in cycles. They take turns, so that whatever disturbs the machine
   disturbs both alike; and the lower quartile forgets what was disturbed. */
static double distance(int (*check)(struct text))
{
    char wrong[2][KEY_BYTES];
    for (int k = 0; k < 2; k++)
        memcpy(wrong[k], key_text, KEY_BYTES);
    wrong[0][0] ^= 1;
    wrong[1][KEY_BYTES - 1] ^= 1;
    for (size_t i = 0; i < SAMPLES; i++)
        for (int k = 0; k < 2; k++) {
            struct text key = { wrong[k ^ (int)(i & 1)], KEY_BYTES };
            uint64_t from = __rdtsc();
            int f = check(key);
            cycles[k ^ (int)(i & 1)][i] = (uint32_t)MIN(__rdtsc() - from, UINT32_MAX);
            assert_int_equal(f, FAIL_BAD_KEY);
        }
    for (int k = 0; k < 2; k++)
        qsort(cycles[k], SAMPLES, sizeof cycles[k][0], ascending);
    return (double)cycles[1][SAMPLES / 4] - (double)cycles[0][SAMPLES / 4];
}

/* A ratio in one run: the compare that stops early is the measure of what could be seen here. */
TEST(time_does_not_tell_how_much_of_a_key_is_right)
{
    double leak = distance(naive), ours = distance(weirs);
    assert_true(leak > 0);
    if (ours > leak / 10 || ours < -leak / 10)
        fail_msg("a key that is wrong at its end takes %.0f cycles longer than one that is wrong at its beginning; a naive compare %.0f", ours, leak);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_whole_key_is_the_key, begin, end),
        cmocka_unit_test_setup_teardown(time_does_not_tell_how_much_of_a_key_is_right, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
