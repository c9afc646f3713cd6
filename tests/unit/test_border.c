/* test_border.c: units of upstream/border.h: which fields and URLs a body may have, and which words of a backend travel. */
#include "upstream/border.h"
#include "test_base.h"

static struct border_refusal judged(const char *body, bool private_urls, bool *out_fetches)
{
    static char room[65536];
    struct arena a;
    yyjson_doc *doc;
    arena_init(&a, room, sizeof room, sizeof room);
    assert_int_equal(json_parse(&a, text_of(body), &doc, NULL), OK);
    return border_body(yyjson_doc_get_root(doc), private_urls, out_fetches); /* names lie in room */
}

static bool is_refused(const char *body)
{
    bool fetches;
    return judged(body, false, &fetches).why != NULL;
}

/* hostile 43: every row, and a twin a letter away. */
TEST(every_field_of_the_table_is_refused)
{
    static const char *const rows[] = {
#define REFUSE(name, why) name,
#include "upstream/border.def"
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char name[64], body[160];
        size_t n = strlen(rows[i]);
        bool is_prefix = rows[i][n - 1] == '*';
        snprintf(name, sizeof name, "%.*s%s", (int)(is_prefix ? n - 1 : n), rows[i], is_prefix ? "anything" : "");
        snprintf(body, sizeof body, "{\"model\":\"m\",\"%s\":\"x\"}", name);
        if (!is_refused(body))
            fail_msg("%s is served", body);
        name[is_prefix ? n - 2 : n - 1] ^= 1;
        snprintf(body, sizeof body, "{\"model\":\"m\",\"%s\":\"x\"}", name);
        if (is_refused(body))
            fail_msg("%s is refused", body);
    }
}

TEST(what_clients_send_is_no_order)
{
    static const char *const names[] = { "model", "messages", "stream", "stream_options", "temperature", "top_p", "user", "metadata", "service_tier", "store", "seed", "stop",
                                         "provider", "models", "route", "transforms", "guided_json", "chat_template_kwargs", "reasoning_effort", "modalities", "audio", "prediction",
                                         "web_search_options", "prompt_cache_key", "safety_identifier", "verbosity", "repetition_penalty", "add_generation_prompt", "a", "" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char body[96];
        snprintf(body, sizeof body, "{\"%s\":1}", names[i]);
        assert_false(is_refused(body));
    }
}

/* hostile 44, hostile 46, hostile 47: ways to write an address inside. */
static const char *const refused[] = {
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://0x7f.1/", "http://0/", "http://0.0.0.0:80/",
    "http://10.1.2.3/", "http://100.64.0.1/", "http://100.100.100.200/", "http://169.254.169.254/latest", "http://2852039166/", "http://172.16.0.1/", "http://172.31.255.255/",
    "http://192.168.1.1/", "http://192.0.0.192/", "http://198.18.0.1/", "http://224.0.0.1/", "http://255.255.255.255/", "http://[::1]/", "http://[::]/",
    "http://[::ffff:127.0.0.1]/", "http://[::ffff:8.8.8.8]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[64:ff9b:1::1]/", "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/", "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[fe80::1]/", "http://[fec0::1]/", "http://[ff02::1]/", "http://localhost/",
    "http://LOCALHOST./", "http://a.localhost/", "http://metadata.google.internal/", "http://metadata/", "http://redis:6379/", "http://printer.local/", "http://x.svc/",
    "http://kubernetes.default.svc/", "http://router.home.arpa/", "http://127.0.0.1.:80/", "http://user@8.8.8.8/", "http://8.8.8.8@127.0.0.1/", "http://8.8.8.8\\\\@127.0.0.1/",
    "http://127%2e0.0.1/", "http://\\u2460\\u2461\\u2466.0.0.1/", "http://8.8.8.8:99999/", "http://8.8.8.8:80x/", "http:///etc", "http:8.8.8.8", "http://", "http://[::1", "http://[fe80::1%25eth0]/",
    "http://1.2.3.4.5/", "http://08.8.8.8/", "http://999.1.1.1/", "https://exa mple.com/", "https://example.com\\n.evil/",
    "file:///etc/passwd", "FILE:///etc/passwd", "gopher://127.0.0.1:6379/_x", "ftp://example.com/", "unix:/run/x.sock", "jar:http://example.com!/", "javascript:1", "//example.com/x",
    "example.com/x.png", "", " https://example.com/", "dict://example.com/", "blob:https://example.com/1",
};

static const char *const served[] = {
    "https://example.com/cat.png", "http://example.com:8080/cat.png?x=http://127.0.0.1/", "HTTPS://EXAMPLE.COM/", "https://example.com./", "https://8.8.8.8/", "https://[2606:4700::1111]/",
    "https://1.1.1.1:443/x", "http://172.15.0.1/", "http://172.32.0.1/", "http://126.255.255.255/", "http://100.128.0.1/", "https://a-b.example.co.uk#f", "https://localhost.example.com/",
    "https://internal.example.com/", "data:image/png;base64,iVBORw0KGgo=", "DATA:,x", "https://xn--mnchen-3ya.de/",
};

static bool url_is_refused(const char *url, bool private_urls, bool *out_fetches)
{
    char body[512];
    snprintf(body, sizeof body, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"x\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"%s\"}}]}]}", url);
    return judged(body, private_urls, out_fetches).why != NULL;
}

TEST(urls_inside_are_refused_and_others_served)
{
    bool fetches;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (!url_is_refused(refused[i], false, &fetches))
            fail_msg("%s is served", refused[i]);
    for (size_t i = 0; i < ARRAY_LEN(served); i++) {
        if (url_is_refused(served[i], false, &fetches))
            fail_msg("%s is refused", served[i]);
        assert_int_equal(fetches, (served[i][0] | 32) != 'd');
    }
}

TEST(private_urls_lets_addresses_through_and_no_schemes)
{
    bool fetches;
    assert_false(url_is_refused("http://10.1.2.3/cat.png", true, &fetches));
    assert_true(fetches);
    assert_false(url_is_refused("http://images/cat.png", true, &fetches));
    assert_true(url_is_refused("file:///etc/passwd", true, &fetches));
    assert_true(url_is_refused("http://a@10.1.2.3/", true, &fetches));
}

/* Where servers look for something to fetch, and where it is only text. */
TEST(urls_are_found_in_every_part)
{
    static const char *const in[] = {
        "{\"messages\":[{\"content\":[{\"image_url\":\"http://10.0.0.1/\"}]}]}", "{\"messages\":[{\"content\":[{\"video_url\":{\"url\":\"http://10.0.0.1/\"}}]}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"file\",\"file\":{\"file_url\":\"http://10.0.0.1/\"}}]}]}", "{\"messages\":[{\"content\":[{\"document_url\":[\"http://10.0.0.1/\"]}]}]}",
        "{\"messages\":[{\"content\":[{\"source\":{\"type\":\"url\",\"url\":\"http://10.0.0.1/\"}}]}]}", "{\"input\":[{\"image_url\":\"http://10.0.0.1/\"}]}",
        "{\"prompt\":[{\"url\":\"http://10.0.0.1/\"}]}",
    };
    static const char *const not_in[] = {
        "{\"messages\":[{\"content\":\"see http://10.0.0.1/\"}]}", "{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"http://10.0.0.1/\"}]}]}",
        "{\"metadata\":{\"url\":\"http://10.0.0.1/\"}}", "{\"tools\":[{\"function\":{\"parameters\":{\"properties\":{\"url\":{\"type\":\"string\"}}}}}]}", "{\"messages\":[{\"url\":1}]}",
    };
    for (size_t i = 0; i < ARRAY_LEN(in); i++)
        assert_true(is_refused(in[i]));
    for (size_t i = 0; i < ARRAY_LEN(not_in); i++)
        assert_false(is_refused(not_in[i]));
}

/* hostile 38 */
TEST(words_with_half_a_key_are_withheld)
{
    static const char *const holds[] = { "sk-0123456789abcdef", "x sk-0123456789abcdef y", "sk-012345...", "6789abcdef", "\\u0073k-0123456789", "sk\\u002d012345678", "\\\\sk-012345678" };
    static const char *const does_not[] = { "", "sk-", "sk-01234", "SK-0123456789ABCDEF", "56789abcde", "\\u0053k-012345678", "\\u", "\\" };
    struct endpoint e = { .key = TEXT("sk-0123456789abcdef") }, none = { .key = TEXT_NONE };
    for (size_t i = 0; i < ARRAY_LEN(holds); i++) {
        assert_false(text_eq(border_words(&e, text_of(holds[i])), text_of(holds[i])));
        assert_true(text_eq(border_words(&none, text_of(holds[i])), text_of(holds[i])));
    }
    for (size_t i = 0; i < ARRAY_LEN(does_not); i++)
        assert_true(text_eq(border_words(&e, text_of(does_not[i])), text_of(does_not[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_the_table_is_refused),
        cmocka_unit_test(what_clients_send_is_no_order),
        cmocka_unit_test(urls_inside_are_refused_and_others_served),
        cmocka_unit_test(private_urls_lets_addresses_through_and_no_schemes),
        cmocka_unit_test(urls_are_found_in_every_part),
        cmocka_unit_test(words_with_half_a_key_are_withheld),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
