/* test_conf_outbound.c: where weir may be told to go: hosts of backends, proxies, what the environment says about them, name servers.
   Each refusal has a twin that loads. */
#include "test_conf_help.h"

#include "conf/inner.h"

#define NUMBER  "has a host that is a number, but no address as in 127.0.0.1: four decimal numbers without zeros in front"
#define NO_HOST "has a host that is neither a name nor an address"
#define SCHEME  "must begin with http:// or https://"
#define L60     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L63     L60 "aaa"

static void hosts_that_mean_different_machines_to_different_readers(void **state) /* hostile 44, hostile 47 */
{
    (void)state;
    static const struct { const char *url, *wrong, *twin; } rows[] = {
        { "http://2130706433", NUMBER, "http://a2130706433" },
        { "http://0x7f000001", NUMBER, "http://0x7g000001" },
        { "http://0x7f.1", NUMBER, "http://0x7f.1a" },
        { "http://017700000001", NUMBER, "http://017700000001a" },
        { "http://0177.0.0.1", NUMBER, "http://177.0.0.1" },
        { "http://127.1", NUMBER, "http://127.0.0.1" },
        { "http://127.0.0.01", NUMBER, "http://127.0.0.1" },
        { "http://127.0.0.256", NUMBER, "http://127.0.0.25" },
        { "http://1.2.3.4.5", NUMBER, "http://1.2.3.4" },
        { "http://gpu.0x7F", NUMBER, "http://gpu.0x7G" },
        { "http://127.0.0.1.", "has a host that ends in a dot; leave the dot out", "http://127.0.0.1" },
        { "http://gpu.example.", "has a host that ends in a dot; leave the dot out", "http://gpu.example" },
        { "http://[fe80::1%25eth0]", "has an address with a zone, which only this machine understands; use one without", "http://[fe80::1]" },
        { "http://[::ffff:127.0.0.01]", NO_HOST, "http://[::ffff:127.0.0.1]" },
        { "http://[127.0.0.1]", NO_HOST, "http://127.0.0.1" },
        { "http://g\xC3\xBC.example", "has a host with letters outside ASCII; write it as xn--...", "http://xn--g-eha.example" },
        { "http://a..b", NO_HOST, "http://a.b" },
        { "http://.a", NO_HOST, "http://a" },
        { "http://.", NO_HOST, "http://a" },
        { "http://-a", NO_HOST, "http://a-a" },
        { "http://a-.b", NO_HOST, "http://a-b.b" },
        { "http://" L63 "a", NO_HOST, "http://" L63 },
        { "http://" L63 "." L63 "." L63 "." L60 "aa", "has a host of more than 253 characters", "http://" L63 "." L63 "." L63 "." L60 "a" },
        { "http://a@b", "must not contain a user or password; use key", "http://ab" },
        { "http://b%40a", NO_HOST, "http://b40a" },
        { "http://a\\\\b", "has a path with a character that must be written as %XX", "http://a/b" },
        { "file:///etc/passwd", SCHEME, NULL },
        { "gopher://h", SCHEME, NULL },
        { "unix:/run/h", SCHEME, NULL },
        { "HTTP://h", SCHEME, NULL },
        { " http://h", SCHEME, NULL },
        { "//h", SCHEME, NULL },
    };
    char yaml[1024], expected[512];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct conf_options o = { 0 };
        snprintf(yaml, sizeof yaml, "backends: {a: {url: \"%s\"}}", rows[i].url);
        snprintf(expected, sizeof expected, "weir.yaml:1:21: backends.a.url %s", rows[i].wrong);
        assert_complaint(load(yaml), expected);
        if (rows[i].twin == NULL)
            continue;
        snprintf(yaml, sizeof yaml, "backends: {a: {url: \"%s\"}}", rows[i].twin);
        conf_unref(loaded_with(&o, yaml));
    }
}

static void a_host_with_a_nul_is_none(void **state) /* hostile 44 */
{
    (void)state;
    assert_complaint(load("backends: {a: {url: \"http://127.0.0.1\\0.evil\"}}"), "weir.yaml:1:21: a value contains a NUL character");
}

static void proxies_are_taken_apart(void **state)
{
    (void)state;
    static const struct { const char *proxy, *host; unsigned port; const char *credentials; } good[] = {
        { "http://proxy:3128", "proxy", 3128, NULL },
        { "proxy:3128", "proxy", 3128, NULL },
        { "http://proxy:3128/", "proxy", 3128, NULL },
        { "http://[fd00::1]:8080", "fd00::1", 8080, NULL },
        { "http://user:pass@proxy:3128", "proxy", 3128, "dXNlcjpwYXNz" },
        { "http://user:p%40ss%3a%2F@proxy:3128", "proxy", 3128, "dXNlcjpwQHNzOi8=" },
        { "http://us@er:pass@proxy:3128", "proxy", 3128, "dXNAZXI6cGFzcw==" },
        { "off", NULL, 0, NULL },
        { "auto", NULL, 0, NULL },
    };
    static const struct { const char *proxy, *wrong; } bad[] = {
        { "http://proxy", "must be http://[USER:PASSWORD@]HOST:PORT; other kinds of proxy are not served" },
        { "http://proxy:0", "must be http://[USER:PASSWORD@]HOST:PORT; other kinds of proxy are not served" },
        { "https://proxy:3128", "must be http://[USER:PASSWORD@]HOST:PORT; other kinds of proxy are not served" },
        { "socks5://proxy:1080", "must be http://[USER:PASSWORD@]HOST:PORT; other kinds of proxy are not served" },
        { "http://proxy:3128/path", "must be http://[USER:PASSWORD@]HOST:PORT; other kinds of proxy are not served" },
        { "none", "must be auto, off or http://[USER:PASSWORD@]HOST:PORT" },
        { "proxy", "must be auto, off or http://[USER:PASSWORD@]HOST:PORT" },
        { "http://0x7f.1:3128", NUMBER },
        { "http://:3128", "has no host" },
        { "http://u:sk-CANARY%0d%0ax@proxy:3128", "has a user or password with a control character, a % that is no %XX, or more than 512 bytes" },
        { "http://u:sk-CANARY%4@proxy:3128", "has a user or password with a control character, a % that is no %XX, or more than 512 bytes" },
        { "http://u:sk-CANARY@proxy", "must be http://[USER:PASSWORD@]HOST:PORT; other kinds of proxy are not served" },
    };
    char yaml[512], expected[512];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        struct conf_options o = { 0 };
        snprintf(yaml, sizeof yaml, "backends: {a: {url: http://h, proxy: \"%s\"}}", good[i].proxy);
        const struct conf *c = loaded_with(&o, yaml);
        const struct conf_proxy *p = &c->backends[0].proxy;
        assert_true(text_eq(text_of(p->host), text_of(good[i].host)) && p->port == good[i].port);
        assert_true(text_eq(text_of(p->credentials), text_of(good[i].credentials)));
        conf_unref(c);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        snprintf(yaml, sizeof yaml, "backends: {a: {url: http://h, proxy: \"%s\"}}", bad[i].proxy);
        snprintf(expected, sizeof expected, "weir.yaml:1:38: backends.a.proxy %s", bad[i].wrong);
        assert_complaint(load(yaml), expected);
    }
    assert_complaint(load("backends: {a: {kind: llama, proxy: off}}"), "weir.yaml:1:29: backends.a.proxy can have no effect on kind llama");
}

/* Through which proxy http://HOST is reached with this environment; NULL = none. */
static const char *proxy_with(const char *host, const char *proxy, char *a, char *b, char *c)
{
    static char name[64];
    char yaml[256], *env[] = { a, b, c, NULL };
    struct conf_options o = { .environ = env };
    snprintf(yaml, sizeof yaml, "backends: {x: {url: \"http://%s\"%s%s}}", host, proxy != NULL ? ", proxy: " : "", proxy != NULL ? proxy : "");
    const struct conf *conf = loaded_with(&o, yaml);
    const char *found = conf->backends[0].proxy.host;
    if (found != NULL)
        snprintf(name, sizeof name, "%s", found);
    conf_unref(conf);
    return found != NULL ? name : NULL;
}

static void the_environment_names_the_proxy(void **state)
{
    (void)state;
    char lower[] = "http_proxy=http://p:1", upper[] = "HTTP_PROXY=http://evil:1", https[] = "HTTPS_PROXY=http://s:1", no[] = "no_proxy=gpu,.in", NO[] = "NO_PROXY=other", none[] = "http_proxy=";
    assert_string_equal(proxy_with("gpu", NULL, lower, NULL, NULL), "p");
    assert_string_equal(proxy_with("gpu", "auto", lower, NULL, NULL), "p");
    assert_null(proxy_with("gpu", "off", lower, NULL, NULL));
    assert_string_equal(proxy_with("gpu", "http://mine:1", lower, no, NULL), "mine");
    assert_null(proxy_with("gpu", NULL, upper, https, NULL)); /* a CGI server would set the first one from a client's header */
    assert_null(proxy_with("gpu", NULL, none, NULL, NULL));
    assert_null(proxy_with("gpu", NULL, lower, no, NULL));
    assert_string_equal(proxy_with("cpu", NULL, lower, no, NULL), "p");
    assert_null(proxy_with("other", NULL, lower, NO, NULL));
    assert_string_equal(proxy_with("other", NULL, lower, NO, no), "p"); /* lower case goes first */
}

static void loopback_is_never_behind_the_environments_proxy(void **state)
{
    (void)state;
    char lower[] = "http_proxy=http://p:1";
    static const char *const local[] = { "127.0.0.1:1", "127.9.9.9", "localhost", "LOCALHOST:80", "a.localhost", "[::1]:1", "[::ffff:127.0.0.1]" };
    static const char *const remote[] = { "128.0.0.1", "10.0.0.1", "localhost.example", "mylocalhost", "[::2]", "[::ffff:128.0.0.1]" };
    for (size_t i = 0; i < ARRAY_LEN(local); i++)
        assert_null(proxy_with(local[i], NULL, lower, NULL, NULL));
    for (size_t i = 0; i < ARRAY_LEN(remote); i++)
        assert_string_equal(proxy_with(remote[i], NULL, lower, NULL, NULL), "p");
    assert_string_equal(proxy_with("127.0.0.1:1", "http://mine:1", lower, NULL, NULL), "mine"); /* who writes it means it */
}

static void a_bad_proxy_of_the_environment_is_told_to_whom_it_concerns(void **state)
{
    (void)state;
    char bad[] = "http_proxy=socks5://u:sk-CANARY@p:1", no[] = "no_proxy=gpu";
    char *env[] = { bad, NULL };
    struct conf_options o = { .environ = env };
    assert_complaint(load_with(&o, "backends: {x: {url: \"http://gpu\"}}"),
                     "weir.yaml:1:12: backends.x: http_proxy of the environment must be http://[USER:PASSWORD@]HOST:PORT; other kinds of proxy are not served; or set backends.x.proxy");
    assert_null(proxy_with("gpu", NULL, bad, no, NULL));
    assert_null(proxy_with("gpu", "off", bad, NULL, NULL));
    assert_null(proxy_with("127.0.0.1", NULL, bad, NULL, NULL));
}

static void no_proxy_lists(void **state)
{
    (void)state;
    static const struct { const char *list, *host; unsigned port; bool has; } rows[] = {
        { "", "gpu", 80, false },                      { "*", "gpu", 80, true },                        { "a, *", "gpu", 80, true },
        { "gpu", "gpu", 80, true },                    { "GPU", "gpu", 80, true },                      { "gpu", "gpu2", 80, false },
        { "gpu", "xgpu", 80, false },                  { "example.com", "a.example.com", 80, true },    { "example.com", "aexample.com", 80, false },
        { ".example.com", "a.example.com", 80, true }, { ".example.com", "example.com", 80, true },     { "*.example.com", "a.b.example.com", 80, true },
        { "*.example.com", "aexample.com", 80, false }, { "a.example.com", "example.com", 80, false },  { "gpu:8000", "gpu", 8000, true },
        { "gpu:8000", "gpu", 8001, false },            { "gpu:", "gpu", 80, false },                    { "x,gpu:8000 y", "gpu", 8000, true },
        { "10.0.0.1", "10.0.0.1", 80, true },          { "10.0.0.1", "10.0.0.11", 80, false },          { "0.0.1", "10.0.0.1", 80, false },
        { "10.0.0.1:80", "10.0.0.1", 80, true },       { "10.0.0.1:80", "10.0.0.1", 81, false },        { "10.0.0.0/8", "10.255.1.1", 80, true },
        { "10.0.0.0/8", "11.0.0.1", 80, false },       { "10.0.0.0/9", "10.127.0.1", 80, true },        { "10.0.0.0/9", "10.128.0.1", 80, false },
        { "10.0.0.1/32", "10.0.0.1", 80, true },       { "10.0.0.1/32", "10.0.0.2", 80, false },        { "0.0.0.0/0", "1.2.3.4", 80, true },
        { "10.0.0.0/33", "10.0.0.0", 80, false },      { "10.0.0.0/", "10.0.0.0", 80, false },          { "10.0.0.0/8", "gpu", 80, false },
        { "fd00::/8", "fd12::1", 80, true },           { "fd00::/8", "fe00::1", 80, false },            { "fd00::1", "fd00::1", 80, true },
        { "[fd00::1]", "fd00::1", 80, true },          { "[fd00::1]:80", "fd00::1", 80, true },         { "[fd00::1]:80", "fd00::1", 81, false },
        { "fd00::1", "fd00:0::1", 80, true },          { " , ,,gpu", "gpu", 80, true },                 { "[", "gpu", 80, false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (proxy_is_exempt(text_of(rows[i].list), text_of(rows[i].host), (uint16_t)rows[i].port) != rows[i].has)
            fail_msg("NO_PROXY=%s and %s:%u", rows[i].list, rows[i].host, rows[i].port);
}

static void name_servers(void **state)
{
    (void)state;
    static const struct { const char *servers, *kept; } rows[] = {
        { "system", NULL }, { "10.0.0.1", "10.0.0.1:53" }, { "10.0.0.1:5353, [::1], [::1]:54", "10.0.0.1:5353,[::1]:53,[::1]:54" },
    };
    static const char *const bad[] = { "ns.example", "10.0.0.1,", "10.0.0.1:0", "::1", "10.1", "10.0.0.1 10.0.0.2", "[10.0.0.1]" };
    char yaml[256];
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct conf_options o = { 0 };
        snprintf(yaml, sizeof yaml, "dns: {servers: \"%s\"}", rows[i].servers);
        const struct conf *c = loaded_with(&o, yaml);
        assert_true(text_eq(text_of(c->dns.servers), text_of(rows[i].kept)));
        conf_unref(c);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char expected[256];
        snprintf(yaml, sizeof yaml, "dns: {servers: \"%s\"}", bad[i]);
        snprintf(expected, sizeof expected, "weir.yaml:1:16: dns.servers must be addresses of name servers such as 10.0.0.1, [::1] or 127.0.0.1:5353, with commas between, not \"%s\"", bad[i]);
        assert_complaint(load(yaml), expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_that_mean_different_machines_to_different_readers),
        cmocka_unit_test(a_host_with_a_nul_is_none),
        cmocka_unit_test(proxies_are_taken_apart),
        cmocka_unit_test(the_environment_names_the_proxy),
        cmocka_unit_test(loopback_is_never_behind_the_environments_proxy),
        cmocka_unit_test(a_bad_proxy_of_the_environment_is_told_to_whom_it_concerns),
        cmocka_unit_test(no_proxy_lists),
        cmocka_unit_test(name_servers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
