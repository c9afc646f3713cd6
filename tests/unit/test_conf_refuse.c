/* test_conf_refuse.c: what is refused, with which words, and at which line and column. Each row has a twin that differs a little and loads. */
#include "test_conf_help.h"

#include <stdlib.h>
#include <unistd.h>

struct row {
    const char *refused, *complaint; /* complaint without "weir.yaml:" */
    const char *twin;                /* loads; NULL = shown by another row */
};

static void check_rows(const struct row *rows, size_t count)
{
    char expected[640];
    for (size_t i = 0; i < count; i++) {
        struct conf_options o = { 0 };
        snprintf(expected, sizeof expected, "weir.yaml:%s", rows[i].complaint);
        assert_complaint(load(rows[i].refused), expected);
        if (rows[i].twin != NULL)
            conf_unref(loaded_with(&o, rows[i].twin));
    }
}

/* complaint 44: a setting that is not understood is no setting that does nothing. */
static void names_are_corrected(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "timeouts: {frist_token: 1s}", "1:12: unknown key \"timeouts.frist_token\"; did you mean \"first_token\"?", "timeouts: {first_token: 1s}" },
        { "limit:\n  queue: 1\n", "1:1: unknown key \"limit\"; did you mean \"limits\"?", "limits:\n  queue: 1\n" },
        { "backends:\n  a:\n    ulr: http://h\n", "3:5: unknown key \"backends.a.ulr\"; did you mean \"url\"?", "backends:\n  a:\n    url: http://h\n" },
        { "zzzzzzzz: 1", "1:1: unknown key \"zzzzzzzz\"", NULL },
        { "limits.queue: 1", "1:1: unknown key \"limits.queue\"", NULL },
        { "log: {level: inf}", "1:14: log.level must be error, warn, info or debug, not \"inf\"; did you mean \"info\"?", "log: {level: info}" },
        { "backends: {gpu1: {url: http://h}}\nmodels: {m: {use: [gpu/x]}}", "2:20: models.m.use: there is no backend \"gpu\"; did you mean \"gpu1\"?",
          "backends: {gpu1: {url: http://h}}\nmodels: {m: {use: [gpu1/x]}}" },
        { "backends: {a: {url: http://h, health: of}}", "1:31: backends.a.health must be auto, tcp, off or a path that begins with /, not \"of\"; did you mean \"off\"?",
          "backends: {a: {url: http://h, health: off}}" },
        { "backends: {a: {url: http://h, health: health}}", "1:31: backends.a.health must be auto, tcp, off or a path that begins with /, not \"health\"",
          "backends: {a: {url: http://h, health: /health}}" },
        { "backends: {a: {url: http://h, health: \"/a b\"}}", "1:31: backends.a.health must be auto, tcp, off or a path that begins with /, not \"/a b\"",
          "backends: {a: {url: http://h, health: \"/a%20b\"}}" },
        { "models: {m: {use: [gpu/x]}}", "1:20: models.m.use: there is no backend \"gpu\"", NULL },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void keys_of_later_versions_are_known(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "store: postgres://db/weir", "1:8: store: postgres is not served by this version of weir", "store: /var/lib/weir/weir.db" },
        { "cache:\n  semantic:\n    ttl: 1s", "3:5: cache.semantic.ttl is not served by this version of weir", "cache:\n" },
        { "cache: {semantic: {ttl: 1s}}", "1:20: cache.semantic.ttl is not served by this version of weir", NULL },
        { "cache: {semantic: {enabled: true}}", "1:20: cache.semantic.enabled is not served by this version of weir", "cache: {semantic: , exact: {enabled: false, when: always}}" },
        { "cache: {exact: {enbaled: true}}", "1:17: unknown key \"cache.exact.enbaled\"; did you mean \"enabled\"?", NULL },
        { "backends: {a: {kind: ollama, url: http://h}}", "1:22: backends.a.kind: ollama is not served by this version of weir",
          "backends: {a: {kind: openai, url: http://h}}" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void types_and_bounds(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "limits: {memory: 64MiB, body: 41MiB}", "1:31: limits.body is more than bodies may have of limits.memory, which is 40MiB", "limits: {memory: 64MiB, body: 40MiB}" },
        { "limits: {queue: many}", "1:17: limits.queue must be a whole number, not \"many\"", "limits: {queue: 1}" },
        { "limits: {queue: 0}", "1:17: limits.queue must be at least 1, not \"0\"", "limits: {queue: 100000}" },
        { "limits: {queue: 99999999999999999999}", "1:17: limits.queue must be a whole number, not \"99999999999999999999\"", NULL },
        { "limits: {queue: 9999999999}", "1:17: limits.queue must be at most 100000, not \"9999999999\"", NULL },
        { "limits: {queue: }", "1:17: limits.queue has no value", NULL },
        { "limits: {queue: [1]}", "1:17: limits.queue must be one value, not a list: a whole number", NULL },
        { "limits: 5", "1:9: limits must be a section with keys in it, not a value", "limits: {}" },
        { "backends: [a]", "1:11: backends must be a section with keys in it, not a list", NULL },
        { "workers: -1", "1:10: workers must be a whole number or auto, not \"-1\"", "workers: auto" },
        { "limits: {body: 1Ki}", "1:16: limits.body must be a size such as 64KiB or 32MiB, not \"1Ki\"", "limits: {body: 1KiB}" },
        { "limits: {body: 2GiB}", "1:16: limits.body must be at most 1GiB, not \"2GiB\"", "limits: {body: 1GiB}" },
        { "timeouts: {total: 10}", "1:19: timeouts.total must be a time such as 250ms, 10s or 5m, not \"10\"", "timeouts: {total: 10s}" },
        { "timeouts: {total: 1ms}", "1:19: timeouts.total must be at least 10ms, not \"1ms\"", "timeouts: {total: 10ms}" },
        { "log: {file: \"a\\nb\"}", "1:13: log.file must be without control characters, not \"a?b\"", "log: {file: \"ab\"}" },
        { "log: {file: \"\"}", "1:13: log.file must not be empty", NULL },
        { "admin: {socket: weir.sock}", "1:17: admin.socket must be auto, off or an absolute path of at most 107 bytes, not \"weir.sock\"",
          "admin: {socket: /weir.sock}" },
        { "listen: 127.0.0.1", "1:9: listen must be ADDRESS:PORT such as 127.0.0.1:4040 or [::1]:4040, not \"127.0.0.1\"", "listen: 127.0.0.1:1" },
        { "listen: example.com:80", "1:9: listen must be an IP address (IPv6 in brackets) or localhost, and a port, not \"example.com:80\"",
          "listen: localhost:80" },
        { "listen: 127.0.0.1:65536", "1:9: listen must have a port from 0 to 65535, not \"127.0.0.1:65536\"", "listen: 127.0.0.1:65535" },
        { "backends: {b: {url: http://h}}\nmodels: {m: {use: [b/x], defaults: {temperature: 2.1}}}",
          "2:50: models.m.defaults.temperature must be from 0 to 2, not \"2.1\"",
          "backends: {b: {url: http://h}}\nmodels: {m: {use: [b/x], defaults: {temperature: 2.0}}}" },
        { "backends: {b: {url: http://h}}\nmodels: {m: {use: [b/x], defaults: {temperature: nan}}}",
          "2:50: models.m.defaults.temperature must be a number, not \"nan\"", NULL },
        { "- a", "1:1: a configuration is keys with values, such as listen: 127.0.0.1:4040", NULL },
        { "just words", "1:1: a configuration is keys with values, such as listen: 127.0.0.1:4040", NULL },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void yaml_beyond_need(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "a: &x 1", "1:4: an anchor (&name) is not supported; write the value where it is needed", NULL },
        { "workers: *x", "1:10: an alias (*name) is not supported; write the value again", NULL },
        { "workers: !!int 1", "1:10: a tag (!name) is not supported; leave it out", "workers: 1" },
        { "workers: 1\nworkers: 1\n", "2:1: \"workers\" stands here twice; first in line 1", "workers: 1\n" },
        { "workers: 1\n---\nworkers: 1\n", "2:1: a second document begins here; a configuration is one", "---\nworkers: 1\n...\n" },
        { "limits:\n\tqueue: 1\n", "2:1: a tab cannot indent; use spaces", "limits:\n queue: 1\n" },
        { "\xEF\xBB\xBFworkers: 1\n", "1:1: begins with a byte order mark; save it as UTF-8 without one", NULL },
        { "workers: 1\nlog: {file: \"gr\xFC\xDF\"}\n", "2:16: not UTF-8", "workers: 1\nlog: {file: \"gr\xC3\xBC\xC3\x9F\"}\n" },
        { "workers: \x01", "1:10: not YAML: control characters are not allowed", NULL },
        { "log: {file: \"a\\0b\"}", "1:13: a value contains a NUL character", NULL },
        { "? [a]\n: 1", "1:3: a key must be a plain word", NULL },
        { "\"a b\": 1", "1:1: \"a b\" cannot be a key: 1 to 200 bytes without spaces", NULL },
        { "{a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}}", "1:33: nested deeper than 8; no key is", NULL },
        { "limits: {queue: 1", "2:1: not YAML: did not find expected ',' or '}' while parsing a flow mapping that begins in line 1", NULL },
        { "limits:\n  queue: 1\n body: 1MiB\n", "3:2: not YAML: did not find expected key while parsing a block mapping that begins in line 1", NULL },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void dollar_braces(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "listen: \"${NOT_SET}\"", "1:9: the environment variable NOT_SET is not set", NULL },
        { "listen: \"${}\"", "1:9: ${...} must name an environment variable or file:/PATH, not \"\"; write $${ for a literal ${", NULL },
        { "listen: \"${A\"", "1:9: ${ without its }; write $${ for a literal ${", NULL },
        { "listen: \"${file:x}\"", "1:9: ${file:...} must name an absolute path, not \"x\"", NULL },
        { "listen: \"${file:/dev/zero}\"", "1:9: \"/dev/zero\": not a regular file", NULL },
        { "listen: \"${file:/nowhere/x}\"", "1:9: \"/nowhere/x\": cannot be opened: No such file or directory", NULL },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void settings_without_effect(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "backends: {a: {url: http://h, slots: 2}}", "1:31: backends.a.slots can have no effect on kind openai", "backends: {a: {kind: llama, slots: 2}}" },
        { "backends: {a: {kind: mock, url: http://h, model: m}}", "1:43: backends.a.model can have no effect on kind mock", NULL },
        { "backends: {a: {url: http://h, weight: 2}}\nmodels: {m: {use: [a/b]}}",
          "1:31: backends.a.weight can have no effect: no model with balance: weighted uses it",
          "backends: {a: {url: http://h, weight: 2}}\nmodels: {m: {use: [a/b], balance: weighted}}" },
        { "backends: {a: {url: http://h, concurrency: adaptiv}}", "1:44: backends.a.concurrency must be a whole number, auto or adaptive, not \"adaptiv\"",
          "backends: {a: {url: http://h, concurrency: adaptive}}" },
        { "backends: {a: {kind: llama, url: http://h}}", "1:29: backends.a.url can have no effect on kind llama", "backends: {a: {kind: llama}}" },
        { "backends: {a: {kind: llama, key: abc}}", "1:29: backends.a.key can have no effect on kind llama", NULL },
        { "backends: {a: {kind: openai}}", "1:12: backends.a needs a url", NULL },
        { "backends: {a: }", "1:12: backends.a needs a url", NULL },
        { "backends: {a/b: {url: http://h}}", "1:12: the name \"a/b\" may only have letters, digits and - _ . : @ [ ]", NULL },
        { "models: {m: {balance: round_robin}}", "1:10: models.m needs use: a list of backend/model", NULL },
        { "models: {m: {use: []}}", "1:19: models.m.use is an empty list; leave it out or name something", NULL },
        { "models: {m: {use: a/b}}", "1:19: models.m.use must be a list of backend/model, [a/m, b/n]", NULL },
        { "backends: {a: {url: http://h}}\nmodels: {m: {use: [a/b, a/b]}}", "2:25: models.m.use names \"a/b\" twice",
          "backends: {a: {url: http://h}}\nmodels: {m: {use: [a/b, a/c]}}" },
        { "backends: {a: {url: http://h}}\nmodels: {m: {use: [a/b], fallback: [a/b]}}",
          "2:37: models.m.fallback: \"a/b\" stands in use too, so here it can have no effect", NULL },
        { "backends: {a: {url: http://h}}\nmodels: {m: {use: [abc]}}", "2:20: models.m.use must be a list of backend/model, not \"abc\"", NULL },
        { "admin: {listen: 127.0.0.1:4040}", "1:17: admin.listen is the same address as listen", "admin: {listen: 127.0.0.1:4041}" },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void keys_and_addresses(void **state)
{
    (void)state;
    static const struct row rows[] = {
        { "listen: 0.0.0.0:1", "1:9: listen: a non-loopback address needs at least one key", "listen: 0.0.0.0:1\nkeys: {a: {key: abc}}" },
        { "listen: \"[::]:1\"", "1:9: listen: a non-loopback address needs at least one key", "listen: \"[::ffff:127.0.0.2]:1\"" },
        { "admin: {listen: 10.0.0.1:1}", "1:17: admin.listen: a non-loopback address needs at least one key", "admin: {listen: 127.8.0.1:1}" },
        { "keys: {a: {tenant: t}}", "1:8: keys.a needs key or key_sha256", NULL },
        { "keys: {a: {key: abc, key_sha256: 00000000000000000000000000000000000000000000000000000000000000ff}}",
          "1:22: keys.a has both key and key_sha256; one of them can have no effect", NULL },
        { "keys: {a: {key_sha256: 0000000000000000000000000000000000000000000000000000000000000xff}}",
          "1:24: keys.a.key_sha256 must be 64 hexadecimal digits", NULL },
        { "keys: {a: {key: abc, budget: {usd: 20}}}", "1:22: keys.a.budget can have no effect: no model has a price",
          "keys: {a: {key: abc, budget: {usd: 20}}}\nbackends: {b: {url: 'http://b'}}\nmodels: {m: {use: [b/m], price: {in: 1}}}" },
        { "keys: {a: {key: abc, budget: {per: 1h}}}", "1:22: keys.a.budget needs usd: how much", NULL },
        { "tenants: {t: {budget: {usd: 20}}}", "1:15: tenants.t.budget can have no effect: no model has a price", NULL },
        { "keys: {a: {key: abc}, b: {key: abc}}", "1:23: keys.b is the same key as keys.a", "keys: {a: {key: abc}, b: {key: abd}}" },
        { "keys: {a: {key: abc, role: root}}", "1:28: keys.a.role must be user or admin", "keys: {a: {key: abc, role: admin}}" },
        { "keys: {a: {key: abc, models: []}}", "1:30: keys.a.models is an empty list; leave it out or name something", NULL },
    };
    check_rows(rows, ARRAY_LEN(rows));
}

static void urls(void **state)
{
    (void)state;
    static const struct { const char *url, *wrong; } rows[] = {
        { "ftp://h", "must begin with http:// or https://" },
        { "h:80", "must begin with http:// or https://" },
        { "http://", "has no host" },
        { "http://:80", "has no host" },
        { "http://u:sk-CANARY@h", "must not contain a user or password; use key" },
        { "http://h?x=sk-CANARY", "must not contain a query" },
        { "http://h/a#b", "must not contain a fragment" },
        { "http://h:0", "has a port that is not a number from 1 to 65535" },
        { "http://h:99999", "has a port that is not a number from 1 to 65535" },
        { "http://h:", "has a port that is not a number from 1 to 65535" },
        { "http://::1", "has a host that is not understood; IPv6 stands in brackets" },
        { "http://[::1", "has a host that is not understood; IPv6 stands in brackets" },
        { "http://[h]", "has a host that is neither a name nor an address" },
        { "http://a b", "has a host that is neither a name nor an address" },
        { "http://a%62", "has a host that is neither a name nor an address" },
        { "http://h/a b", "has a path with a character that must be written as %XX" },
        { "http://h/../x", "has a path with // or .." },
        { "http://h//x", "has a path with // or .." },
        { "http://h/x//", "has a path with // or .." },
        { "http://h/%zz", "has a path with a % that two hexadecimal digits do not follow, or an encoded NUL" },
        { "http://h/[x]", "has a path with a character that must be written as %XX" },
        { "http://h\\\\@evil", "has a path with a character that must be written as %XX" },
    };
    char yaml[256], expected[256];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(yaml, sizeof yaml, "backends: {a: {url: \"%s\"}}", rows[i].url);
        snprintf(expected, sizeof expected, "weir.yaml:1:21: backends.a.url %s", rows[i].wrong);
        assert_complaint(load(yaml), expected);
    }
}

static void overrides_say_where_they_come_from(void **state)
{
    (void)state;
    static const struct { const char *set, *variable, *url, *expected; } rows[] = {
        { "limits.queu=1", NULL, NULL, "--set limits.queu: unknown key \"limits.queu\"; did you mean \"queue\"?" },
        { "limits.queue=x", NULL, NULL, "--set limits.queue: limits.queue must be a whole number, not \"x\"" },
        { "limits.queue", NULL, NULL, "--set \"limits.queue\": write it as key=value, such as limits.queue=100" },
        { "limits..queue=1", NULL, NULL, "--set limits..queue: not the name of a key, such as limits.queue or backends.NAME.url" },
        { "=1", NULL, NULL, "--set : not the name of a key, such as limits.queue or backends.NAME.url" },
        { "limits=1", NULL, NULL, "--set limits: limits must be a section with keys in it, not a value" },
        { "listen=0.0.0.0:1", NULL, NULL, "--set listen: listen: a non-loopback address needs at least one key" },
        { "models.m.use=[a/b", NULL, NULL, "--set models.m.use: not YAML: did not find expected ',' or ']' while parsing a flow sequence that begins in line 1" },
        { NULL, "WEIR_LIMITS__QUEU=1", NULL, "environment WEIR_LIMITS__QUEU: unknown key \"limits.queu\"; did you mean \"queue\"?" },
        { NULL, "WEIR_LISTN=1", NULL, "environment WEIR_LISTN: unknown key \"listn\"; did you mean \"listen\"?" },
        { NULL, "WEIR_CACHE__SEMANTIC__TTL=1s", NULL, "environment WEIR_CACHE__SEMANTIC__TTL: cache.semantic.ttl is not served by this version of weir" },
        { NULL, "WEIR_STORE=weir.db", NULL, "environment WEIR_STORE: store must be auto, off or an absolute path of a file, not \"weir.db\"" },
        { NULL, "WEIR_=1", NULL, "environment WEIR_: not the name of a key, such as limits.queue or backends.NAME.url" },
        { NULL, "WEIR_KEYS__X__KEY=sk CANARY", NULL, "environment WEIR_KEYS__X__KEY: keys.x.key must consist of visible ASCII characters" },
        { NULL, NULL, "gpu:8000", "URL \"gpu:8000\": the URL must begin with http:// or https://" },
        { NULL, NULL, "http://sk-CANARY@gpu", "URL number 1: the URL must not contain a user or password; use key" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *const env[] = { rows[i].variable, NULL };
        struct conf_options o = { .sets = &rows[i].set, .sets_count = rows[i].set != NULL, .environ = (char *const *)env,
                                  .urls = &rows[i].url, .urls_count = rows[i].url != NULL };
        assert_complaint(load_with(&o, ""), rows[i].expected);
    }
}

static void ambiguous_variables_are_refused(void **state)
{
    (void)state;
    const char *const env[] = { "WEIR_BACKENDS__A_B__CONCURRENCY=1", NULL };
    struct conf_options o = { .environ = (char *const *)env };
    assert_complaint(load_with(&o, "backends: {a-b: {url: http://h}, a.b: {url: http://h}}"),
                     "environment WEIR_BACKENDS__A_B__CONCURRENCY: may mean \"a-b\" or \"a.b\"; use --set");
}

/* hostile 39: a key written in the wrong place, or badly, is not repeated. */
static void secrets_are_never_repeated(void **state)
{
    (void)state;
    const char *const env[] = { "SECRET=sk-CANARY x", NULL };
    const char *const yamls[] = {
        "keys: {a: {key: \"sk-CANARY x\"}}", "keys: {a: sk-CANARY}", "keys: sk-CANARY", "keys: {a: {key: [sk-CANARY]}}",
        "keys: {a: {role: sk-CANARY, key: x}}", "keys: {a: {tenant: \"sk-CANARY\\t\", key: x}}", "backends: {a: {url: \"sk-CANARY\"}}",
        "backends: {a: {url: http://h, key: \"sk-CANARY x\"}}", "listen: \"${SECRET}\"", "limits: {queue: \"${SECRET}\"}", "log: {level: \"${SECRET}\"}",
        "models: {m: {use: [\"${SECRET}\"]}}", "models: {m: {use: [\"${SECRET}/m\"]}}", "models: {m: {use: [\"a${SECRET}/m\"]}}",
        "keys: {a: {key_sha256: sk-CANARY}}", "keys: {a: {key: sk-CANARY}, b: {key: sk-CANARY}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(yamls); i++) {
        struct conf_options o = { .environ = (char *const *)env };
        if (load_with(&o, yamls[i]) != NULL)
            fail_msg("loaded: %s", yamls[i]);
        if (strstr(complaint, "CANARY") != NULL)
            fail_msg("%s", complaint);
    }
}

static void files_that_cannot_be_read(void **state)
{
    (void)state;
    const struct conf *c = NULL;
    struct complaint why;
    struct conf_options o = { .path = "/nowhere/weir.yaml" };
    assert_false(conf_load(&o, &c, &why));
    complaint_print(&why, complaint, sizeof complaint);
    assert_complaint(c, "/nowhere/weir.yaml: cannot be opened: No such file or directory");
    o.path = "/";
    assert_false(conf_load(&o, &c, &why));
    complaint_print(&why, complaint, sizeof complaint);
    assert_complaint(c, "/: cannot be read: Is a directory");
    o.path = "/dev/zero";
    assert_false(conf_load(&o, &c, &why));
    complaint_print(&why, complaint, sizeof complaint);
    assert_complaint(c, "/dev/zero: larger than 1048576 bytes");
}

static void bounds_are_reached_with_words(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, CONF_FILE_MAX + 64);
    assert_int_equal(buf_printf(&b, "keys:\n"), OK);
    for (int i = 0; i <= CONF_KEYS_MAX; i++)
        assert_int_equal(buf_printf(&b, "  k%d: {key: s%d}\n", i, i), OK);
    assert_int_equal(buf_add(&b, "", 1), OK);
    assert_complaint(load(buf_text(&b).at), "weir.yaml:4098:3: has more than 4096 entries");
    buf_clear(&b);
    while (buf_len(&b) <= CONF_FILE_MAX)
        assert_int_equal(buf_add(&b, "# nothing at all\n", 17), OK);
    assert_int_equal(buf_add(&b, "", 1), OK);
    assert_complaint(load(buf_text(&b).at), "weir.yaml:1:1: larger than 1048576 bytes");
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_corrected),
        cmocka_unit_test(keys_of_later_versions_are_known),
        cmocka_unit_test(types_and_bounds),
        cmocka_unit_test(yaml_beyond_need),
        cmocka_unit_test(dollar_braces),
        cmocka_unit_test(settings_without_effect),
        cmocka_unit_test(keys_and_addresses),
        cmocka_unit_test(urls),
        cmocka_unit_test(overrides_say_where_they_come_from),
        cmocka_unit_test(ambiguous_variables_are_refused),
        cmocka_unit_test(secrets_are_never_repeated),
        cmocka_unit_test(files_that_cannot_be_read),
        cmocka_unit_test(bounds_are_reached_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
