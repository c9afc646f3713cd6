/* test_conf_load.c: what a configuration means once it is loaded: values, defaults, ${...}, and who goes before whom. */
#include "test_conf_help.h"

#include "conf/inner.h"
#include <stdlib.h>
#include <unistd.h>
#include <yaml.h>

#define MIB (1u << 20)

static void an_empty_file_is_all_defaults(void **state)
{
    (void)state;
    const char *const empty[] = { "", "\n# nothing\n", "~", "limits:\nbackends: {}\nkeys:\n" };
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        struct conf_options o = { 0 };
        const struct conf *c = loaded_with(&o, empty[i]);
        assert_string_equal(c->listen.text, "127.0.0.1:4040");
        assert_string_equal(c->listen.host, "127.0.0.1");
        assert_int_equal(c->listen.port, 4040);
        assert_true(c->listen.is_loopback);
        assert_int_equal(c->workers, 0);
        assert_int_equal(c->admin.socket.mode, CONF_SOCKET_AUTO);
        assert_null(c->admin.listen.text);
        assert_int_equal(c->limits.body, 32 * MIB);
        assert_int_equal(c->limits.queue, 1024);
        assert_int_equal(c->stream.heartbeat, 15 * NANOS_PER_S);
        assert_int_equal(c->timeouts.connect, 2 * NANOS_PER_S);
        assert_int_equal(c->timeouts.upgrade, 600 * NANOS_PER_S);
        assert_int_equal(c->log.level, CONF_LOG_INFO);
        assert_null(c->log.file);
        assert_int_equal(c->backends_count + c->keys_count + c->models_count, 0);
        conf_unref(c);
    }
}

static const char full[] =
    "listen: \"[::1]:0\"\n"
    "workers: 3\n"
    "admin: {socket: /run/weir.sock, listen: localhost:9}\n"
    "limits: {connections: 77, body: 1MiB, header: 8KiB, queue: 5}\n"
    "stream: {buffer: 64KiB, heartbeat: 250ms}\n"
    "reload: signal\n"
    "timeouts: {header: 1s, body: 2s, connect: 3s, first_token: 4s, between_tokens: 5s, total: 6m, write: 7s, drain: 0}\n"
    "log: {level: debug, format: json, file: /var/log/weir, access: off}\n"
    "keys:\n"
    "  team-a: {key: sk-one, tenant: acme, role: admin, models: [chat]}\n"
    "  b: {key_sha256: 0000000000000000000000000000000000000000000000000000000000ABcdEF}\n"
    "backends:\n"
    "  gpu1: {kind: openai, url: \"http://10.0.0.5:8000/base/v1/\", concurrency: 32, key: upstream}\n"
    "  six: {kind: mock, url: \"http://[fe80::1]\"}\n"
    "  local: {kind: llama, model: smollm2, slots: 8}\n"
    "models:\n"
    "  meta/chat:8b:\n"
    "    use: [gpu1/llama-3.1-8b, six/org/name:tag]\n"
    "    fallback: [local/smollm2]\n"
    "    balance: round_robin\n"
    "    defaults: {max_tokens: 150, temperature: 0.7}\n";

static void every_key_reaches_its_field(void **state)
{
    (void)state;
    struct conf_options o = { 0 };
    const struct conf *c = loaded_with(&o, full);
    assert_string_equal(c->path, "weir.yaml");
    assert_string_equal(c->listen.host, "::1");
    assert_int_equal(c->listen.port, 0);
    assert_int_equal(c->workers, 3);
    assert_string_equal(c->admin.socket.path, "/run/weir.sock");
    assert_string_equal(c->admin.listen.host, "127.0.0.1");
    assert_int_equal(c->limits.connections, 77);
    assert_int_equal(c->limits.header, 8192);
    assert_int_equal(c->stream.buffer, 65536);
    assert_int_equal(c->stream.heartbeat, 250 * NANOS_PER_MS);
    assert_int_equal(c->timeouts.total, 360 * NANOS_PER_S);
    assert_int_equal(c->timeouts.drain, 0);
    assert_int_equal(c->log.level, CONF_LOG_DEBUG);
    assert_int_equal(c->log.access, CONF_OFF);
    assert_string_equal(c->log.file, "/var/log/weir");
    conf_unref(c);
}

static void members_of_maps_are_structs(void **state)
{
    (void)state;
    static const uint8_t sk_one[4] = { 0x45, 0x6f, 0x16, 0x12 }; /* printf %s sk-one | sha256sum */
    struct conf_options o = { 0 };
    const struct conf *c = loaded_with(&o, full);
    assert_int_equal(c->keys_count, 2);
    assert_memory_equal(c->keys[0].sha256, sk_one, sizeof sk_one);
    assert_string_equal(c->keys[0].tenant, "acme");
    assert_int_equal(c->keys[0].role, CONF_ROLE_ADMIN);
    assert_string_equal(c->keys[0].models.at[0], "chat");
    assert_string_equal(c->keys[1].tenant, "b");
    assert_int_equal(c->keys[1].sha256[31], 0xef);
    assert_int_equal(c->keys[1].models.count, 0);
    assert_int_equal(c->backends_count, 3);
    assert_string_equal(c->backends[0].url.base, "/base");
    assert_string_equal(c->backends[0].url.text, "http://10.0.0.5:8000/base");
    assert_int_equal(c->backends[0].url.port, 8000);
    assert_string_equal(c->backends[0].key, "upstream");
    assert_int_equal(c->backends[0].line, 13);
    assert_string_equal(c->backends[1].url.host, "fe80::1");
    assert_int_equal(c->backends[1].url.port, 80);
    assert_int_equal(c->backends[2].slots, 8);
    const struct conf_model *m = &c->models[0];
    assert_string_equal(m->name, "meta/chat:8b");
    assert_int_equal(m->use.at[1].backend, 1);
    assert_string_equal(m->use.at[1].model, "org/name:tag");
    assert_int_equal(m->fallback.at[0].backend, 2);
    assert_int_equal(m->balance, CONF_BALANCE_ROUND_ROBIN);
    assert_int_equal(m->defaults.max_tokens, 150);
    assert_true(m->defaults.temperature.is_set);
    conf_unref(c);
}

static void flag_goes_before_environment_before_file(void **state)
{
    (void)state;
    const char *const env[] = { "WEIR_LIMITS__QUEUE=2", "WEIR_LIMITS__BODY=2MiB", "WEIR_WORKERS=2", "PATH=/bin", NULL };
    const char *const sets[] = { "limits.queue=9", "limits.queue=3" };
    struct conf_options o = { .environ = (char *const *)env, .sets = sets, .sets_count = 2 };
    const struct conf *c = loaded_with(&o, "limits: {queue: 1, body: 1MiB, header: 1KiB}\n");
    assert_int_equal(c->limits.queue, 3);
    assert_int_equal(c->limits.body, 2 * MIB);
    assert_int_equal(c->limits.header, 1024);
    assert_int_equal(c->workers, 2);
    conf_unref(c);
}

static void an_overridden_value_is_not_even_expanded(void **state)
{
    (void)state;
    const char *const sets[] = { "limits.queue=3" };
    struct conf_options o = { .sets = sets, .sets_count = 1 };
    const struct conf *c = loaded_with(&o, "limits: {queue: \"${UNSET}\"}\n");
    assert_int_equal(c->limits.queue, 3);
    conf_unref(c);
}

static void overrides_reach_members_with_awkward_names(void **state)
{
    (void)state;
    const char *const env[] = { "WEIR_BACKENDS__GPU_1__CONCURRENCY=4", "weir_listen=ignored", "WEIR_MODELS__GPT_4_1__USE=[gpu-1/a,gpu-1/b]",
                    "WEIR_CACHE=/tmp", "WEIR_PORT_4040_TCP=tcp://10.0.0.1:4040", "WEIR_SERVICE_HOST=10.0.0.1", NULL };
    const char *const sets[] = { "models.gpt-4.1.balance=round_robin", "models.new.use=gpu-1/m", "models.gpt-4.1.defaults.max_tokens=7" };
    struct conf_options o = { .environ = (char *const *)env, .sets = sets, .sets_count = ARRAY_LEN(sets) };
    const struct conf *c = loaded_with(&o, "backends: {gpu-1: {url: http://h}}\nmodels: {gpt-4.1: {use: [gpu-1/x]}}\n");
    assert_int_equal(c->backends_count, 1);
    assert_int_equal(c->backends[0].concurrency, 4);
    assert_int_equal(c->models_count, 2);
    assert_int_equal(c->models[0].use.count, 2);
    assert_string_equal(c->models[0].use.at[1].model, "b");
    assert_int_equal(c->models[0].balance, CONF_BALANCE_ROUND_ROBIN);
    assert_int_equal(c->models[0].defaults.max_tokens, 7);
    assert_string_equal(c->models[1].name, "new");
    assert_string_equal(c->models[1].use.at[0].model, "m");
    conf_unref(c);
}

static void dollar_braces_are_replaced_once(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-conf-XXXXXX", yaml[256];
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "sk-${X}\n\n", 9), 9);
    close(fd);
    const char *const env[] = { "X=$${Y}", "HOST=10.1.1.1", NULL };
    struct conf_options o = { .environ = (char *const *)env };
    snprintf(yaml, sizeof yaml, "backends: {a: {url: \"http://${HOST}:80\", key: \"a${X}b$${Z}$c\"}}\nkeys: {k: {tenant: \"$${file:%s}\", key: \"x\"}}", path);
    const struct conf *c = loaded_with(&o, yaml);
    assert_string_equal(c->backends[0].url.host, "10.1.1.1");
    assert_string_equal(c->backends[0].key, "a$${Y}b${Z}$c");
    assert_int_equal(strncmp(c->keys[0].tenant, "${file:/tmp/", 12), 0);
    conf_unref(c);
    snprintf(yaml, sizeof yaml, "backends: {a: {url: http://h, key: \"${file:%s}\"}}\n", path);
    assert_complaint(load_with(&o, yaml), "weir.yaml:1:36: backends.a.key must consist of visible ASCII characters"); /* only one newline goes */
    assert_int_equal(truncate(path, 8), 0);
    c = loaded_with(&o, yaml);
    assert_string_equal(c->backends[0].key, "sk-${X}");
    conf_unref(c);
    unlink(path);
}

static void urls_become_backends(void **state)
{
    (void)state;
    const char *const urls[] = { "http://localhost:11434", "http://gpu", "http://gpu/two/", "http://[::1]:81/v1" }, *const sets[] = { "backends.gpu:80.concurrency=6" };
    struct conf_options o = { .urls = urls, .urls_count = 4, .sets = sets, .sets_count = 1, .local_fallback = true };
    const struct conf *c = loaded_with(&o, "backends: {first: {url: http://h}}\nmodels: {m: {use: [\"localhost:11434/m\"]}}\n");
    assert_int_equal(c->backends_count, 5);
    assert_string_equal(c->backends[1].name, "localhost:11434");
    assert_string_equal(c->backends[2].name, "gpu:80");
    assert_int_equal(c->backends[2].concurrency, 6);
    assert_string_equal(c->backends[3].name, "gpu:80-2");
    assert_string_equal(c->backends[3].url.base, "/two");
    assert_string_equal(c->backends[4].name, "[::1]:81");
    assert_int_equal(c->backends[4].kind, CONF_KIND_OPENAI);
    assert_int_equal(c->backends[4].line, 0);
    assert_int_equal(c->models[0].use.at[0].backend, 1);
    conf_unref(c);
}

static void no_backend_means_the_local_model(void **state)
{
    (void)state;
    struct conf_options o = { .local_fallback = true };
    const struct conf *c = loaded_with(&o, "backends:\n");
    assert_int_equal(c->backends_count, 2);
    assert_string_equal(c->backends[0].name, "local");
    assert_int_equal(c->backends[0].kind, CONF_KIND_LLAMA);
    assert_string_equal(c->backends[0].model, "smollm2");
    assert_string_equal(c->backends[1].model, "all-minilm-l6-v2");
    conf_unref(c);
}

static void references_keep_it_alive(void **state)
{
    (void)state;
    int64_t before = mem_alive();
    struct conf_options o = { 0 };
    const struct conf *c = loaded_with(&o, full), *again = conf_ref(c);
    conf_unref(c);
    assert_string_equal(again->models[0].name, "meta/chat:8b");
    conf_unref(again);
    conf_unref(NULL);
    assert_int_equal(mem_alive(), before);
}

static void only_restart_keys_need_a_restart(void **state)
{
    (void)state;
    struct conf_options o = { 0 };
    const struct conf *now = loaded_with(&o, "workers: 2\n");
    const struct { const char *yaml, *key; } rows[] = {
        { "workers: 2\nlimits: {queue: 7}\nlog: {level: debug}\n", NULL },
        { "workers: 2\nbackends: {a: {url: http://h}}\n", NULL },
        { "workers: 3\n", "workers" },
        { "workers: 2\nlisten: 127.0.0.1:4041\n", "listen" },
        { "workers: 2\nadmin: {listen: 127.0.0.1:4041}\n", "admin.listen" },
        { "workers: 2\nadmin: {socket: off}\n", "admin.socket" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct conf *next = loaded_with(&o, rows[i].yaml);
        const char *key = conf_needs_restart(now, next);
        if (rows[i].key == NULL)
            assert_null(key);
        else
            assert_string_equal(key, rows[i].key);
        conf_unref(next);
    }
    conf_unref(now);
}

/* Fails each allocation in turn: refused with a complaint or loaded whole, and nothing leaks. */
static void any_allocation_may_fail(void **state)
{
    (void)state;
    int64_t before = mem_alive();
    const char *const env[] = { "WEIR_WORKERS=4", "A=b", NULL }, *const urls[] = { "http://h" };
    struct conf_options o = { .environ = (char *const *)env, .urls = urls, .urls_count = 1 };
    uint64_t n = 0, seen;
    do {
        (void)mem_fault(++n);
        const struct conf *c = load_with(&o, full);
        seen = mem_fault(0);
        if (c == NULL)
            assert_non_null(strstr(complaint, "no memory"));
        else
            assert_true(c->workers == 4 && c->limits.queue == 5 && c->models[0].fallback.at[0].backend == 2); /* arenas try twice */
        conf_unref(c);
        assert_int_equal(mem_alive(), before);
    } while (seen >= n);
    print_message("allocations failed one by one: %llu\n", (unsigned long long)n - 1);
    assert_true(n > 3);
}

/* hostile 39: what libyaml gives back is wiped, because the functions it calls for memory are ours. */
static void libyaml_takes_its_memory_from_us(void **state)
{
    (void)state;
    yaml_parser_t p;
    int64_t before = mem_alive();
    assert_true(yaml_parser_initialize(&p));
    assert_true(mem_alive() > before);
    yaml_parser_delete(&p);
    unsigned char *copy = yaml_strdup((const unsigned char *)"secret");
    copy = yaml_realloc(copy, 100);
    assert_string_equal((char *)copy, "secret");
    yaml_free(copy);
    yaml_free(NULL);
    assert_null(yaml_strdup(NULL));
    assert_int_equal(mem_alive(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_file_is_all_defaults),
        cmocka_unit_test(every_key_reaches_its_field),
        cmocka_unit_test(members_of_maps_are_structs),
        cmocka_unit_test(flag_goes_before_environment_before_file),
        cmocka_unit_test(an_overridden_value_is_not_even_expanded),
        cmocka_unit_test(overrides_reach_members_with_awkward_names),
        cmocka_unit_test(dollar_braces_are_replaced_once),
        cmocka_unit_test(urls_become_backends),
        cmocka_unit_test(no_backend_means_the_local_model),
        cmocka_unit_test(references_keep_it_alive),
        cmocka_unit_test(only_restart_keys_need_a_restart),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(libyaml_takes_its_memory_from_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
