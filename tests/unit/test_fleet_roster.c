/* test_fleet_roster.c: who serves which model: configured names, discovered ones, reloads. */
#include "test_fleet_help.h"
#include "base/json.h"

#define THREE \
    "backends:\n" \
    "  a: {kind: openai, url: 'http://127.0.0.1:1001', concurrency: 2}\n" \
    "  b: {kind: openai, url: 'http://127.0.0.1:1002', concurrency: 3, key: sesame}\n" \
    "  c: {kind: mock, url: 'http://gpu:1003/prefix'}\n"
#define CHAT THREE "models:\n  chat: {use: [a/x, b/y], fallback: [c/z, a/w]}\n"

static struct sim *sim;
static struct fleet *fleet;
static int64_t alive;

static int open_fleet(void **state)
{
    (void)state;
    alive = mem_alive();
    struct sim_options options = sim_options_default(1);
    sim = sim_new(&options);
    assert_int_equal(fleet_new(sim_world(sim), &fleet), OK);
    fleet_check_always(fleet, true);
    return 0;
}

static int close_fleet(void **state)
{
    (void)state;
    fleet_free(fleet);
    sim_free(sim);
    assert_int_equal(mem_alive(), alive);
    return 0;
}

static void say(const char *backend, const char *first, const char *second)
{
    struct text names[] = { text_of(first), text_of(second) };
    assert_int_equal(fleet_set_models(fleet, backend_of(fleet, backend), names, second ? 2 : first ? 1 : 0), OK);
}

static bool serves(const char *model)
{
    struct roster *r = fleet_roster(fleet);
    bool is = roster_find(r, text_of(model)) != NULL;
    roster_unref(r);
    return is;
}

static char printed[65536];
static const char *status(void)
{
    struct buf b;
    buf_init(&b, sizeof printed - 1);
    assert_int_equal(fleet_print_json(fleet, &b), OK);
    snprintf(printed, sizeof printed, "%.*s", TEXT_ARG(buf_text(&b)));
    buf_fini(&b);
    return printed;
}

TEST(a_new_fleet_serves_nothing)
{
    uint32_t count = 9;
    struct roster *r = fleet_roster(fleet);
    assert_null(roster_find(r, TEXT("chat")));
    roster_models(r, &count);
    assert_int_equal(count, 0);
    assert_null(roster_conf(r));
    roster_unref(r);
}

TEST(a_configured_model_is_found_by_its_name_only)
{
    apply(fleet, CHAT);
    assert_true(serves("chat"));
    assert_false(serves("chaT"));
    assert_false(serves("x"));
}

TEST(endpoints_tell_host_port_base_and_key)
{
    apply(fleet, CHAT);
    uint32_t count;
    struct roster *r = fleet_roster(fleet);
    const struct endpoint *e = roster_endpoints(r, &count);
    assert_int_equal(count, 3);
    assert_true(text_eq(e[0].host, TEXT("127.0.0.1")) && e[0].port == 1001 && e[0].addrs.count == 1 && e[0].key.len == 0);
    assert_true(text_eq(e[1].key, TEXT("sesame")));
    assert_true(text_eq(e[2].host, TEXT("gpu")) && e[2].addrs.count == 0 && text_eq(e[2].base, TEXT("/prefix")));
    assert_int_equal(e[0].backend->limit, 2);
    assert_true(e[2].backend->limit > 0);
    assert_ptr_equal(roster_endpoint(r, TEXT("b")), &e[1]);
    assert_null(roster_endpoint(r, TEXT("d")));
    roster_unref(r);
}

TEST(a_discovered_model_of_exactly_one_backend_is_served)
{
    apply(fleet, CHAT);
    say("a", "small", "both");
    say("b", "big", "both");
    assert_true(serves("small"));
    assert_true(serves("big"));
    assert_false(serves("both"));
    say("b", "big", NULL);
    assert_true(serves("both"));
}

TEST(without_configured_models_all_backends_that_have_it_share_it)
{
    apply(fleet, THREE);
    say("a", "both", "small");
    say("b", "both", NULL);
    assert_true(serves("both"));
    assert_true(serves("small"));
    assert_non_null(strstr(status(), "{\"model\":\"both\",\"use\":[\"a\",\"b\"],\"fallback\":[]"));
}

TEST(a_configured_name_wins_over_a_discovered_one)
{
    apply(fleet, CHAT);
    say("c", "chat", NULL);
    assert_non_null(strstr(status(), "{\"model\":\"chat\",\"use\":[\"a\",\"b\"],\"fallback\":[\"c\"]"));
    uint32_t count;
    struct roster *r = fleet_roster(fleet);
    const char *const *names = roster_models(r, &count);
    assert_int_equal(count, 1);
    assert_string_equal(names[0], "chat");
    assert_non_null(roster_conf_model(r, roster_find(r, TEXT("chat"))));
    roster_unref(r);
}

TEST(names_that_cannot_be_models_are_left_out)
{
    static char longest[MODEL_NAME_MAX + 1];
    memset(longest, 'm', sizeof longest);
    apply(fleet, THREE);
    struct text names[] = { TEXT(""), { longest, MODEL_NAME_MAX + 1 }, { "a\0b", 3 }, { longest, MODEL_NAME_MAX }, TEXT("ok"), TEXT("ok") };
    assert_int_equal(fleet_set_models(fleet, backend_of(fleet, "a"), names, 6), OK);
    uint32_t count;
    struct roster *r = fleet_roster(fleet);
    roster_models(r, &count);
    assert_int_equal(count, 2);
    roster_unref(r);
}

TEST(an_old_roster_stays_as_it_was_until_it_is_given_back)
{
    apply(fleet, CHAT);
    struct roster *r = fleet_roster(fleet);
    apply(fleet, THREE "models:\n  other: {use: [c/z]}\n");
    assert_non_null(roster_find(r, TEXT("chat")));
    assert_null(roster_find(r, TEXT("other")));
    assert_true(text_eq(roster_endpoint(r, TEXT("b"))->key, TEXT("sesame")));
    assert_false(serves("chat"));
    assert_true(serves("other"));
    roster_unref(r);
}

TEST(backends_and_pools_are_the_same_after_a_reload)
{
    apply(fleet, CHAT);
    struct backend *a = backend_of(fleet, "a");
    struct pool *chat = pool_of(fleet, "chat");
    apply(fleet, "backends: {b: {kind: openai, url: 'http://127.0.0.1:1002'}}\nmodels: {chat: {use: [b/y]}}\n");
    assert_int_equal(a->limit, 0);
    assert_ptr_equal(pool_of(fleet, "chat"), chat);
    apply(fleet, CHAT);
    assert_ptr_equal(backend_of(fleet, "a"), a);
    assert_int_equal(a->limit, 2);
}

TEST(an_address_has_a_new_version_exactly_when_it_changes)
{
    apply(fleet, "backends: {b: {kind: openai, url: 'http://127.0.0.1:1'}}\n");
    struct roster *one = fleet_roster(fleet);
    apply(fleet, "backends: {b: {kind: openai, url: 'http://127.0.0.1:1', key: new}}\n");
    struct roster *two = fleet_roster(fleet);
    apply(fleet, "backends: {b: {kind: openai, url: 'http://127.0.0.1:2', key: new}}\n");
    struct roster *three = fleet_roster(fleet);
    uint32_t versions[] = { roster_endpoint(one, TEXT("b"))->address_version, roster_endpoint(two, TEXT("b"))->address_version, roster_endpoint(three, TEXT("b"))->address_version };
    assert_int_equal(versions[0], versions[1]);
    assert_int_not_equal(versions[1], versions[2]);
    roster_unref(one);
    roster_unref(two);
    roster_unref(three);
}

/* As of the current roster; port 9. */
static void set_addresses(const char *backend, const char *const *hosts)
{
    struct addrs addrs = { .count = 0 };
    struct roster *r = fleet_roster(fleet);
    for (; *hosts != NULL; hosts++)
        assert_true(addr_from_text(&addrs.at[addrs.count++], text_of(*hosts), 9));
    assert_int_equal(fleet_set_addrs(fleet, roster_endpoint(r, text_of(backend)), &addrs), OK);
    roster_unref(r);
}

static void count_change(struct fleet *f, void *arg)
{
    assert_ptr_equal(f, fleet);
    ++*(int *)arg;
}

TEST(a_name_keeps_its_place_when_its_addresses_change_and_their_order_is_no_change)
{
    apply(fleet, "backends: {b: {url: 'http://gpu:1'}}\n");
    set_addresses("b", (const char *[]){ "10.0.0.1", "fd00::1", NULL });
    struct roster *one = fleet_roster(fleet);
    set_addresses("b", (const char *[]){ "fd00::1", "10.0.0.1", NULL });
    struct roster *same = fleet_roster(fleet);
    assert_ptr_equal(one, same);
    set_addresses("b", (const char *[]){ "fd00::1", NULL });
    struct roster *two = fleet_roster(fleet);
    const struct endpoint *a = roster_endpoint(one, TEXT("b")), *b = roster_endpoint(two, TEXT("b"));
    assert_int_equal(a->place_version, b->place_version);
    assert_int_not_equal(a->address_version, b->address_version);
    assert_int_equal(b->addrs.count, 1);
    assert_non_null(strstr(status(), "\"addresses\":[\"[fd00::1]:9\"]"));
    roster_unref(one);
    roster_unref(same);
    roster_unref(two);
}

TEST(localhost_is_known_before_it_is_looked_up)
{
    apply(fleet, "backends: {b: {url: 'http://LocalHost:1'}, c: {url: 'http://localhosts:1'}}\n");
    struct roster *r = fleet_roster(fleet);
    assert_int_equal(roster_endpoint(r, TEXT("b"))->addrs.count, 2);
    assert_int_equal(roster_endpoint(r, TEXT("c"))->addrs.count, 0);
    assert_non_null(strstr(status(), "\"addresses\":[\"127.0.0.1:1\",\"[::1]:1\"]"));
    set_addresses("b", (const char *[]){ "127.0.0.2", NULL });
    struct roster *told = fleet_roster(fleet);
    assert_int_equal(roster_endpoint(told, TEXT("b"))->addrs.count, 1); /* /etc/hosts has the last word */
    roster_unref(r);
    roster_unref(told);
}

TEST(what_an_old_name_leads_to_is_not_where_a_new_one_is) /* hostile 45 */
{
    apply(fleet, "backends: {b: {url: 'http://old:1'}}\n");
    struct roster *before = fleet_roster(fleet);
    struct addrs old = { .count = 1 };
    assert_true(addr_from_text(&old.at[0], TEXT("10.0.0.1"), 9));
    apply(fleet, "backends: {b: {url: 'http://new:1', key: sesame}}\n");
    assert_int_equal(fleet_set_addrs(fleet, roster_endpoint(before, TEXT("b")), &old), OK); /* an answer that came after the reload */
    struct roster *after = fleet_roster(fleet);
    assert_int_equal(roster_endpoint(after, TEXT("b"))->addrs.count, 0);
    set_addresses("b", (const char *[]){ "10.0.0.2", NULL });
    assert_int_equal(fleet_set_addrs(fleet, roster_endpoint(before, TEXT("b")), &old), OK); /* and one that came later still */
    apply(fleet, "backends: {b: {url: 'http://new:1', key: sesame}}\n");
    struct roster *told = fleet_roster(fleet);
    const struct endpoint *e = roster_endpoint(told, TEXT("b"));
    assert_true(e->addrs.count == 1 && !addrs_have(&e->addrs, &old.at[0]));
    roster_unref(before);
    roster_unref(after);
    roster_unref(told);
}

TEST(a_backend_behind_a_proxy_is_dialled_there)
{
    apply(fleet, "backends: {b: {url: 'http://gpu:1', proxy: 'http://user:sesame@10.0.0.9:3128'}}\n");
    struct roster *r = fleet_roster(fleet);
    const struct endpoint *e = roster_endpoint(r, TEXT("b"));
    assert_true(text_eq(e->host, TEXT("gpu")) && text_eq(e->host_header, TEXT("gpu:1")));
    assert_true(text_eq(e->dial_host, TEXT("10.0.0.9")) && e->addrs.count == 1 && e->addrs.at[0].in.sin_port == htons(3128));
    assert_non_null(strstr(status(), "\"proxy\":\"10.0.0.9\",\"proxy_port\":3128,"));
    assert_null(strstr(status(), "sesame"));
    assert_null(strstr(status(), "dXNlcjpzZXNhbWU="));
    uint32_t place = e->place_version;
    apply(fleet, "backends: {b: {url: 'http://gpu:1', proxy: off}}\n");
    struct roster *straight = fleet_roster(fleet);
    assert_int_not_equal(roster_endpoint(straight, TEXT("b"))->place_version, place);
    assert_int_equal(roster_endpoint(straight, TEXT("b"))->addrs.count, 0);
    roster_unref(r);
    roster_unref(straight);
}

TEST(a_change_is_told_and_nothing_new_is_not)
{
    int changes = 0;
    fleet_on_change(fleet, count_change, &changes);
    apply(fleet, THREE);
    assert_int_equal(changes, 1);
    say("a", "m", "n");
    assert_int_equal(changes, 2);
    say("a", "m", "n");
    assert_int_equal(changes, 2);
    say("a", NULL, NULL);
    assert_int_equal(changes, 3);
    assert_false(serves("m"));
}

TEST(a_backend_that_comes_back_is_asked_for_its_models_again)
{
    apply(fleet, THREE);
    say("a", "m", NULL);
    apply(fleet, "backends: {b: {kind: openai, url: 'http://127.0.0.1:1002'}}\n");
    assert_false(serves("m"));
    apply(fleet, THREE);
    assert_false(serves("m"));
}

TEST(a_backend_too_many_changes_nothing)
{
    static char yaml[16384];
    apply(fleet, CHAT);
    int at = snprintf(yaml, sizeof yaml, "backends:\n");
    for (int i = 0; i < BACKENDS_MAX - 3; i++)
        at += snprintf(yaml + at, sizeof yaml - (size_t)at, "  n%d: {kind: openai, url: 'http://127.0.0.1:%d'}\n", i, 2000 + i);
    apply(fleet, yaml);
    snprintf(yaml + at, sizeof yaml - (size_t)at, "  more: {kind: openai, url: 'http://127.0.0.1:1'}\n");
    const struct conf *c = conf_of(yaml);
    assert_int_equal(fleet_apply(fleet, c), FAIL_TOO_LARGE);
    conf_unref(c);
    assert_null(strstr(status(), "more"));
    assert_non_null(strstr(status(), "\"name\":\"n60\""));
}

TEST(a_limit_that_was_found_holds_where_concurrency_is_auto)
{
    apply(fleet, CHAT);
    struct backend *a = backend_of(fleet, "a"), *c = backend_of(fleet, "c");
    fleet_set_limit(fleet, a, 7);
    fleet_set_limit(fleet, c, 7);
    assert_int_equal(a->limit, 2);
    assert_int_equal(c->limit, 7);
    apply(fleet, CHAT);
    assert_int_equal(c->limit, 7);
    fleet_set_limit(fleet, c, 0);
    assert_int_not_equal(c->limit, 7);
}

TEST(a_local_model_is_known_by_its_configuration_and_reached_once_it_has_an_address)
{
    apply(fleet, "backends: {local: {kind: llama, model: smollm2, slots: 8}}\n");
    assert_true(serves("smollm2"));
    struct backend *local = backend_of(fleet, "local");
    assert_int_equal(local->limit, 8);
    set_addresses("local", (const char *[]){ "127.0.0.1", NULL });
    struct roster *r = fleet_roster(fleet);
    const struct endpoint *e = roster_endpoint(r, TEXT("local"));
    assert_true(e->addrs.count == 1 && e->addrs.at[0].in.sin_port == htons(9));
    uint32_t version = e->address_version;
    roster_unref(r);
    set_addresses("local", (const char *[]){ NULL });
    r = fleet_roster(fleet);
    assert_int_equal(roster_endpoint(r, TEXT("local"))->addrs.count, 0);
    assert_int_not_equal(roster_endpoint(r, TEXT("local"))->address_version, version);
    roster_unref(r);
}

TEST(the_status_is_json_and_holds_no_key)
{
    apply(fleet, CHAT);
    backend_count(&backend_of(fleet, "b")->tokens_out, 5);
    const char *text = status();
    assert_null(strstr(text, "sesame"));
    assert_non_null(strstr(text, "{\"name\":\"b\",\"kind\":\"openai\",\"url\":\"http://127.0.0.1:1002\",\"addresses\":[\"127.0.0.1:1002\"],"
                                 "\"limit\":3,\"in_flight\":0,\"avoided_ms\":0,\"first_token_ms\":0,\"breaker\":\"closed\",\"open_ms\":0,\"opened\":0,\"attempts\":0,\"failures\":0,\"tokens_in\":0,\"tokens_out\":5}"));
    struct arena arena;
    yyjson_doc *doc;
    arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    assert_int_equal(json_parse(&arena, text_of(text), &doc, NULL), OK);
    arena_fini(&arena);
}

TEST(the_status_of_a_small_buffer_is_a_failure)
{
    struct buf b;
    apply(fleet, CHAT);
    buf_init(&b, 100);
    assert_int_equal(fleet_print_json(fleet, &b), FAIL_TOO_LARGE);
    buf_fini(&b);
}

static const struct conf *conf_with(const char *backend)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml, THREE "  %s: {kind: openai, url: 'http://127.0.0.1:4'}\nmodels:\n  m-%s: {use: [%s/z]}\n", backend, backend, backend);
    return conf_of(yaml);
}

/* Fails the Nth allocation of a reload that brings a new backend and a new model, for every N: it fails whole, or (arenas try twice) succeeds whole. */
TEST(a_reload_without_memory_changes_nothing)
{
    uint64_t n = 0, seen = 0, failed = 0;
    while (seen >= n) {
        char name[16], model[32];
        apply(fleet, CHAT);
        snprintf(name, sizeof name, "d%d", (int)++n);
        snprintf(model, sizeof model, "m-%s", name);
        const struct conf *next = conf_with(name);
        mem_fault(n);
        enum fail f = fleet_apply(fleet, next);
        seen = mem_fault(0);
        conf_unref(next);
        assert_true(f == OK || f == FAIL_NO_MEMORY);
        assert_int_equal(serves(model), f == OK);
        assert_int_equal(serves("chat"), f != OK);
        failed += f != OK;
    }
    printf("reload: failed each of %d allocations\n", (int)n - 1);
    assert_true(n >= 8 && failed >= 5);
}

TEST(a_discovery_without_memory_changes_nothing)
{
    uint64_t n = 0, seen = 0, failed = 0;
    apply(fleet, THREE);
    say("a", "old", NULL);
    while (seen >= n) {
        char name[16];
        snprintf(name, sizeof name, "n%d", (int)++n);
        struct text names[] = { text_of(name) };
        struct backend *a = backend_of(fleet, "a");
        mem_fault(n);
        enum fail f = fleet_set_models(fleet, a, names, 1);
        seen = mem_fault(0);
        assert_int_equal(serves(name), f == OK);
        assert_int_equal(serves("old"), f != OK);
        failed += f != OK;
        say("a", "old", NULL);
    }
    printf("discovery: failed each of %d allocations\n", (int)n - 1);
    assert_true(n > 5 && failed > 3);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, open_fleet, close_fleet)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(a_new_fleet_serves_nothing),
        ROW(a_configured_model_is_found_by_its_name_only),
        ROW(endpoints_tell_host_port_base_and_key),
        ROW(a_discovered_model_of_exactly_one_backend_is_served),
        ROW(without_configured_models_all_backends_that_have_it_share_it),
        ROW(a_configured_name_wins_over_a_discovered_one),
        ROW(names_that_cannot_be_models_are_left_out),
        ROW(an_old_roster_stays_as_it_was_until_it_is_given_back),
        ROW(backends_and_pools_are_the_same_after_a_reload),
        ROW(an_address_has_a_new_version_exactly_when_it_changes),
        ROW(a_name_keeps_its_place_when_its_addresses_change_and_their_order_is_no_change),
        ROW(localhost_is_known_before_it_is_looked_up),
        ROW(what_an_old_name_leads_to_is_not_where_a_new_one_is),
        ROW(a_backend_behind_a_proxy_is_dialled_there),
        ROW(a_change_is_told_and_nothing_new_is_not),
        ROW(a_backend_that_comes_back_is_asked_for_its_models_again),
        ROW(a_backend_too_many_changes_nothing),
        ROW(a_limit_that_was_found_holds_where_concurrency_is_auto),
        ROW(a_local_model_is_known_by_its_configuration_and_reached_once_it_has_an_address),
        ROW(the_status_is_json_and_holds_no_key),
        ROW(the_status_of_a_small_buffer_is_a_failure),
        ROW(a_reload_without_memory_changes_nothing),
        ROW(a_discovery_without_memory_changes_nothing),
    };
    return cmocka_run_group_tests_name("fleet/roster", tests, NULL, NULL);
}
