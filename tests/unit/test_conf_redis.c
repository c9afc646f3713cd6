/* test_conf_redis.c: redis.url: what is understood of it, what is refused, and that its password is told to nobody. Each refusal has a twin that loads. */
#include "test_conf_help.h"

#include <string.h>

#define MUST_BE "must be redis://[USER:PASSWORD@]HOST:PORT[/DB]"
#define ODD     "has a user or password with a control character, or a % that is no %XX"

static void assert_text(const char *is, const char *expected)
{
    if (expected == NULL)
        assert_null(is);
    else
        assert_string_equal(is, expected);
}

static void a_url_says_where_and_as_whom(void **state)
{
    (void)state;
    static const struct { const char *url, *host, *user, *password; uint16_t port; uint32_t db; } rows[] = {
        { "redis://127.0.0.1:6379", "127.0.0.1", NULL, NULL, 6379, 0 },
        { "redis://127.0.0.1:6379/", "127.0.0.1", NULL, NULL, 6379, 0 },
        { "redis://[::1]:7000/3", "::1", NULL, NULL, 7000, 3 },
        { "redis://cache.example:6379/15", "cache.example", NULL, NULL, 6379, 15 },
        { "redis://:p@cache:1", "cache", NULL, "p", 1, 0 },
        { "redis://weir:a%40b:c%2Fd@cache:65535/1", "cache", "weir", "a@b:c/d", 65535, 1 },
        { "redis://weir:a@b@cache:6379", "cache", "weir", "a@b", 6379, 0 },
    };
    char yaml[256];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct conf_options o = { 0 };
        snprintf(yaml, sizeof yaml, "redis: {url: \"%s\"}\nbackends: {a: {url: \"http://a\"}}", rows[i].url);
        const struct conf *c = loaded_with(&o, yaml);
        const struct conf_redis *r = &c->redis.server;
        assert_string_equal(r->host, rows[i].host);
        assert_text(r->user, rows[i].user);
        assert_text(r->password, rows[i].password);
        assert_int_equal(r->port, rows[i].port);
        assert_int_equal(r->db, rows[i].db);
        assert_int_equal(c->redis.wait, 10 * NANOS_PER_MS);
        conf_unref(c);
    }
}

static void what_is_no_redis_is_refused(void **state)
{
    (void)state;
    static const struct { const char *url, *wrong; } rows[] = {
        { "rediss://127.0.0.1:6379", "is Redis over TLS, which is not served; use redis:// on a network that you trust, or through a tunnel" },
        { "http://127.0.0.1:6379", MUST_BE },
        { "127.0.0.1:6379", MUST_BE },
        { "redis://127.0.0.1", MUST_BE },
        { "redis://127.0.0.1:0", MUST_BE },
        { "redis://127.0.0.1:65536", MUST_BE },
        { "redis://", MUST_BE },
        { "redis://a:6379/b", "has a database that is not a number from 0 to 65535" },
        { "redis://a:6379/1/2", "has a database that is not a number from 0 to 65535" },
        { "redis://weir@a:6379", "has a user without a password; " MUST_BE },
        { "redis://weir:@a:6379", "has a user without a password; " MUST_BE },
        { "redis://weir:a%0Db@a:6379", ODD },
        { "redis://weir:a%00b@a:6379", ODD },
        { "redis://weir:a%4@a:6379", ODD },
        { "redis://we%zzir:a@a:6379", ODD },
        { "redis://0x7f.1:6379", "has a host that is a number, but no address as in 127.0.0.1: four decimal numbers without zeros in front" },
    };
    char yaml[256], expected[512];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(yaml, sizeof yaml, "redis: {url: \"%s\"}", rows[i].url);
        snprintf(expected, sizeof expected, "weir.yaml:1:14: redis.url %s", rows[i].wrong);
        assert_complaint(load(yaml), expected);
    }
}

static const struct conf *with(const char *url)
{
    struct conf_options o = { 0 };
    char yaml[256];
    snprintf(yaml, sizeof yaml, "redis: {url: \"%s\"}\nbackends: {a: {url: \"http://a\"}}", url);
    return loaded_with(&o, yaml);
}

static void another_one_needs_a_restart_and_its_password_is_not_told(void **state)
{
    (void)state;
    struct buf out;
    const struct conf *a = with("redis://:first@a:1"), *b = with("redis://:second@a:1"), *again = with("redis://:first@a:1");
    buf_init(&out, 65536);
    assert_string_equal(conf_needs_restart(a, b), "redis.url");
    assert_null(conf_needs_restart(a, again));
    assert_int_equal(conf_diff(a, b, &out), OK);
    assert_int_equal(buf_add(&out, "", 1), OK);
    assert_string_equal(buf_text(&out).at, "redis.url changed\n");
    buf_fini(&out);
    conf_unref(a);
    conf_unref(b);
    conf_unref(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_url_says_where_and_as_whom),
        cmocka_unit_test(what_is_no_redis_is_refused),
        cmocka_unit_test(another_one_needs_a_restart_and_its_password_is_not_told),
    };
    return cmocka_run_group_tests_name("redis.url", tests, NULL, NULL);
}
