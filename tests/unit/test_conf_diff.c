/* test_conf_diff.c: what a reload says that it changes: every kind of value, members that come and go, files, and never a secret. */
#include "test_conf_help.h"

#include <stdlib.h>
#include <unistd.h>

static void assert_diff(const char *before, const char *after, const char *expected)
{
    const struct conf *a = loaded_with(&(struct conf_options){ 0 }, before), *b = loaded_with(&(struct conf_options){ 0 }, after);
    struct buf out;
    buf_init(&out, 1u << 16);
    assert_int_equal(conf_diff(a, b, &out), OK);
    assert_int_equal(buf_add(&out, "", 1), OK);
    assert_string_equal(buf_text(&out).at, expected);
    buf_fini(&out);
    conf_unref(a);
    conf_unref(b);
}

#define B "backends: {a: {url: 'http://h:1'}, b: {url: 'http://h:2'}}\n"

static void nothing_is_no_line(void **state)
{
    (void)state;
    assert_diff("", "", "");
    assert_diff(B "models: {m: {use: [a/x]}}", "# the same\nmodels: {m: {use: [\"a/x\"]}}\n" B "limits: {queue: 1024}", "");
}

static void each_kind_of_value_reads_as_it_is_written(void **state)
{
    (void)state;
    assert_diff("", "limits: {queue: 2048}", "limits.queue 1024 -> 2048\n");
    assert_diff("limits: {body: 1MiB}", "", "limits.body 1MiB -> 32MiB\n");
    assert_diff("", "limits: {connections: 5, memory: 1GiB, private_urls: on}", "limits.connections auto -> 5\nlimits.memory auto -> 1GiB\nlimits.private_urls off -> on\n");
    assert_diff("", "timeouts: {total: 90s}\nreload: watch", "reload signal -> watch\ntimeouts.total 10m -> 1.5m\n");
    assert_diff("", "listen: 127.0.0.1:1\nadmin: {socket: /s, listen: '127.0.0.1:2'}",
                "listen 127.0.0.1:4040 -> 127.0.0.1:1\nadmin.socket auto -> /s\nadmin.listen off -> 127.0.0.1:2\n");
    assert_diff("dns: {servers: '10.0.0.1'}", "log: {file: /l}\n", "dns.servers 10.0.0.1:53 -> system\nlog.file stderr -> /l\n");
    assert_diff(B "models: {m: {use: [a/x]}}", B "models: {m: {use: [b/x, a/x], fallback: [b/y], defaults: {temperature: 0.5}, price: {in: 2}}}",
                "models.m.use [a/x] -> [b/x, a/x]\nmodels.m.fallback none -> [b/y]\nmodels.m.defaults.temperature none -> 0.5\nmodels.m.price.in none -> 2\n");
}

static void members_come_and_go(void **state)
{
    (void)state;
    assert_diff(B, "backends: {b: {url: 'http://h:2', concurrency: 7}, c: {url: 'http://h:3'}}", "backends.a removed\nbackends.b.concurrency auto -> 7\nbackends.c added\n");
    assert_diff(B, "backends: {a: {url: 'http://h:1', concurrency: adaptive}, b: {url: 'http://h:2'}}\nstore: /s", "store auto -> /s\nbackends.a.concurrency auto -> adaptive\n");
    assert_diff(B, "backends: {b: {url: 'http://h:2'}, a: {url: 'http://h:1'}}", "");
    assert_diff(B, "backends: {a: {url: 'http://h:9'}, b: {url: 'http://h:2'}}", "backends.a.url http://h:1 -> http://h:9\n");
}

static void of_a_secret_only_that_it_changed(void **state)
{
    (void)state;
    assert_diff("keys: {k: {key: CANARY-one}}", "keys: {k: {key: CANARY-two, rpm: 6}}", "keys.k.key changed\nkeys.k.rpm none -> 6\n");
    assert_diff("backends: {a: {url: 'http://h', key: CANARY-one}}", "backends: {a: {url: 'http://h', key: CANARY-two, proxy: 'http://u:CANARY@p:1'}}",
                "backends.a.key changed\nbackends.a.proxy changed\n");
}

static void many_lines_have_an_end(void **state)
{
    char yaml[4096] = "keys:\n", *at = yaml + 6;
    (void)state;
    for (unsigned i = 0; i < CONF_DIFF_LINES + 5; i++)
        at += snprintf(at, 64, "  k%02u: {key: key-%02u}\n", i, i);
    const struct conf *a = loaded_with(&(struct conf_options){ 0 }, ""), *b = loaded_with(&(struct conf_options){ 0 }, yaml);
    struct buf out;
    buf_init(&out, 1u << 16);
    assert_int_equal(conf_diff(a, b, &out), OK);
    assert_true(text_starts(buf_text(&out), TEXT("keys.k00 added\n")) && text_ends(buf_text(&out), TEXT("keys.k19 added\nand 5 more\n")));
    buf_fini(&out);
    conf_unref(a);
    conf_unref(b);
}

/* ---- files ---- */

static void write_file(const char *path, const char *content)
{
    char next[64];
    snprintf(next, sizeof next, "%s.next", path);
    FILE *f = fopen(next, "w");
    assert_non_null(f);
    assert_true(fputs(content, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(rename(next, path), 0); /* another inode: a clock that is too coarse hides nothing */
}

static void a_file_that_was_written_again_is_another(void **state)
{
    char folder[] = "/tmp/weir-diff-XXXXXX", secret[64], yaml[256];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(secret, sizeof secret, "%s/secret", folder);
    snprintf(yaml, sizeof yaml, "keys: {k: {key: '${file:%s}'}}", secret);
    write_file(secret, "one");
    const struct conf *c = loaded_with(&(struct conf_options){ 0 }, yaml);
    assert_true(c->files != NULL && c->files->next == NULL);
    assert_string_equal(c->files->path, secret);
    assert_true(conf_mark(c, true) == conf_mark(c, false));
    write_file(secret, "two");
    assert_true(conf_mark(c, true) != conf_mark(c, false));
    assert_int_equal(unlink(secret), 0);
    assert_true(conf_mark(c, true) != conf_mark(c, false));
    conf_unref(c);
    assert_int_equal(rmdir(folder), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_no_line), cmocka_unit_test(each_kind_of_value_reads_as_it_is_written), cmocka_unit_test(members_come_and_go),
        cmocka_unit_test(of_a_secret_only_that_it_changed), cmocka_unit_test(many_lines_have_an_end), cmocka_unit_test(a_file_that_was_written_again_is_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
