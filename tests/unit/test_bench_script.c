/* test_bench_script.c: what a load test sends: bodies of each API, templates, prompts, conversations and traces; and what it says of files that are wrong. */
#include "base/json.h"
#include "test_bench_help.h" /* last: cmocka takes the word fail */

static int64_t alive;

static int setup(void **state)
{
    (void)state;
    alive = mem_alive();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return mem_alive() == alive ? 0 : -1;
}

static struct script *opened(const struct script_options *o)
{
    struct script *s = NULL;
    struct complaint why;
    char text[640];
    if (!script_open(&s, o, &why)) {
        complaint_print(&why, text, sizeof text);
        fail_msg("refused: %s", text);
    }
    return s;
}

/* The complaint without the folder. */
static void refused(const struct script_options *o, const char *expected)
{
    struct script *s = NULL;
    struct complaint why;
    char text[640];
    assert_false(script_open(&s, o, &why));
    assert_null(s);
    complaint_print(&why, text, sizeof text);
    size_t folder = strncmp(text, bench_folder, strlen(bench_folder)) == 0 ? strlen(bench_folder) + 1 : 0;
    assert_string_equal(text + folder, expected);
}

static void sends(const struct script_options *o, uint64_t number, const char *expected)
{
    struct script *s = opened(o);
    assert_string_equal(bench_session(s, number, NULL), expected);
    script_free(s);
}

/* The body of the first request, as a template of the file's text. */
static struct script *body_of(const char *text)
{
    return opened(&(struct script_options){ .api = LOAD_PLAIN, .path = TEXT("/"), .body_file = bench_file("body", text) });
}

static void fills(const char *template, const char *expected)
{
    struct script *s = body_of(template);
    const char *said = bench_session(s, 6, NULL);
    const char *body = strstr(said, "\n") + 1;
    body = strstr(body, "\n") + 1; /* behind content-type */
    assert_true(strlen(body) == strlen(expected) + 1 && strncmp(body, expected, strlen(expected)) == 0);
    script_free(s);
}

/* ---- bodies of the APIs ---- */

TEST(each_api_has_a_request_of_its_own)
{
    sends(&(struct script_options){ .api = LOAD_OPENAI, .model = TEXT("m"), .stream = true, .max_tokens = 7 }, 0,
          "POST /v1/chat/completions stream\ncontent-type: application/json\r\n"
          "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"Say in one sentence why rivers bend.\"}],\"stream\":true,"
          "\"stream_options\":{\"include_usage\":true},\"max_tokens\":7}\n");
    sends(&(struct script_options){ .api = LOAD_OLLAMA, .model = TEXT("m\""), .max_tokens = 7, .think = NANOS_PER_S }, 0,
          "think 1000ms\nPOST /api/chat\ncontent-type: application/json\r\n"
          "{\"model\":\"m\\\"\",\"messages\":[{\"role\":\"user\",\"content\":\"Say in one sentence why rivers bend.\"}],\"stream\":false,\"options\":{\"num_predict\":7}}\n");
    sends(&(struct script_options){ .api = LOAD_QUERY }, 0, "POST /query\ncontent-type: application/json\r\n{\"query\":\"Say in one sentence why rivers bend.\"}\n");
    sends(&(struct script_options){ .api = LOAD_PLAIN }, 0, "GET /\n\n");
    sends(&(struct script_options){ .api = LOAD_PLAIN, .method = TEXT("PUT"), .path = TEXT("/a b?c=%20d") }, 0, "PUT /a%20b?c=%20d\n\n");
}

TEST(a_body_from_a_file_is_a_template)
{
    const char *file = bench_file("b.json", "{\"n\": ${__counter}}");
    sends(&(struct script_options){ .api = LOAD_PLAIN, .body_file = file }, 4, "POST /\ncontent-type: application/json\r\n{\"n\": 5}\n");
    file = bench_file("b.txt", "n=${__counter}");
    sends(&(struct script_options){ .api = LOAD_PLAIN, .body_file = file }, 4, "POST /\ncontent-type: text/plain; charset=utf-8\r\nn=5\n");
    refused(&(struct script_options){ .api = LOAD_PLAIN, .body_file = "/nowhere/x" }, "/nowhere/x: cannot be opened: No such file or directory");
}

/* ---- templates ---- */

TEST(words_are_filled_in)
{
    fills("a${__counter}b${__COUNTER()}c", "a7b7c"); /* one request has one number */
    fills("${__random(5,5)} ${ __random( -3 , -3 ) }", "5 -3");
    fills("$${__counter} $$ $ {x} }${__choice(only)}", "${__counter} $$ $ {x} }only");
    fills("{\"a\":\"$${x}\"}", "{\"a\":\"${x}\"}");
    fills("", "");
}

TEST(chance_stays_within_its_bounds)
{
    struct script *s = body_of("${__random(1,3)}${__choice(a|b|c)}${__randomString(4)} ${__uuid}");
    unsigned numbers = 0, choices = 0;
    for (uint64_t i = 0; i < 200; i++) {
        const char *said = strstr(strstr(bench_session(s, i, NULL), "\n") + 1, "\n") + 1;
        assert_int_equal(strlen(said), 2 + 4 + 1 + 36 + 1);
        assert_true(said[0] >= '1' && said[0] <= '3' && said[1] >= 'a' && said[1] <= 'c');
        numbers |= 1u << (said[0] - '1');
        choices |= 1u << (said[1] - 'a');
        assert_true(said[7 + 8] == '-' && said[7 + 14] == '4' && strchr("89ab", said[7 + 19]) != NULL); /* version and variant */
    }
    assert_int_equal(numbers, 7);
    assert_int_equal(choices, 7);
    script_free(s);
}

TEST(values_inside_a_json_string_are_escaped_and_outside_they_are_not)
{
    const char *prompts = bench_file("p", "say \"hi\"\\\n");
    struct script_options o = { .api = LOAD_PLAIN, .prompts_file = prompts };
    o.body_file = bench_file("b", "{\"a\\\"\": \"${prompt}\", \"b\": ${__choice(1|1)}, \"${__choice(\"|\")}\": 0}");
    sends(&o, 0, "POST /\ncontent-type: application/json\r\n{\"a\\\"\": \"say \\\"hi\\\"\\\\\", \"b\": 1, \"\\\"\": 0}\n");
    o.body_file = bench_file("b", "text ${prompt} \"${prompt}\"");
    sends(&o, 0, "POST /\ncontent-type: text/plain; charset=utf-8\r\ntext say \"hi\"\\ \"say \"hi\"\\\"\n");
}

TEST(what_is_wrong_with_a_template_has_its_line)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "a\n b ${__countr}", "body:2:6: unknown name \"__countr\"; did you mean __counter?" },
        { "${nobody_knows_me}", "body:1:3: unknown name \"nobody_knows_me\"" },
        { "${promt}", "body:1:3: unknown name \"promt\"; did you mean prompt?" },
        { "\n\n${__counter", "body:3:1: ${ without its }" },
        { "${__counter(1)}", "body:1:13: takes no arguments" },
        { "${__random(5,1)}", "body:1:12: needs two whole numbers, the smaller first, such as (1,100)" },
        { "${__random(5}", "body:1:3: a ( without its )" },
        { "${__randomString(0)}", "body:1:18: needs how many letters, from 1 to 65536, such as (8)" },
        { "${__choice()}", "body:1:12: needs what to choose from, such as (a|b|c)" },
        { "${prompt(1)}", "body:1:3: unknown name \"prompt\"; did you mean prompt?" },
        { "${}", "body:1:3: unknown name \"\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        refused(&(struct script_options){ .api = LOAD_PLAIN, .body_file = bench_file("body", rows[i].text) }, rows[i].why);
}

TEST(counters_of_all_workers_never_repeat)
{
    const char *prompts = bench_file("p.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}\n{\"prompt\":\"c\"}\n");
    struct script *s = opened(&(struct script_options){ .api = LOAD_OPENAI, .prompts_file = prompts, .path = TEXT("/${__counter}") });
    static bool seen[4096];
    memset(seen, 0, sizeof seen);
    for (unsigned worker = 0; worker < 3; worker++)
        for (uint64_t number = worker; number < 300; number += 3)
            for (const char *at = bench_session(s, number, "yes"); (at = strstr(at, "POST /")) != NULL; at++) {
                unsigned long counter = strtoul(at + 6, NULL, 10);
                assert_in_range(counter, 1, sizeof seen - 1);
                assert_false(seen[counter]);
                seen[counter] = true;
            }
    script_free(s);
}

TEST(the_same_seed_sends_the_same_bytes_and_another_seed_others)
{
    char first[4096];
    struct script_options o = { .api = LOAD_PLAIN, .body_file = bench_file("b", "${__uuid} ${__random(1,1000000)} ${__randomString(20)}"), .seed = 5 };
    struct script *a = opened(&o), *b = opened(&o);
    o.seed = 6;
    struct script *c = opened(&o);
    for (uint64_t i = 0; i < 20; i++) {
        snprintf(first, sizeof first, "%s", bench_session(a, i, NULL));
        assert_string_equal(first, bench_session(b, i, NULL));
        assert_string_not_equal(first, bench_session(c, i, NULL));
        assert_string_not_equal(first, bench_session(a, i + 1, NULL));
    }
    script_free(a);
    script_free(b);
    script_free(c);
}

/* ---- prompts ---- */

TEST(prompts_are_taken_by_the_arrivals_number)
{
    const char *file = bench_file("p.txt", "first\r\n\n  second \nthird");
    struct script *s = opened(&(struct script_options){ .api = LOAD_QUERY, .prompts_file = file });
    assert_non_null(strstr(bench_session(s, 0, NULL), "{\"query\":\"first\"}"));
    assert_non_null(strstr(bench_session(s, 1, NULL), "{\"query\":\"second\"}"));
    assert_non_null(strstr(bench_session(s, 5, NULL), "{\"query\":\"third\"}"));
    script_free(s);
}

TEST(a_prompts_line_may_say_its_tokens)
{
    struct script_options o = { .api = LOAD_OPENAI, .model = TEXT("m"), .prompts_file = bench_file("p.jsonl", "{\"prompt\":\"a\\\"b\",\"max_tokens\":9}\n") };
    sends(&o, 0, "POST /v1/chat/completions\ncontent-type: application/json\r\n"
                 "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\\\"b\"}],\"stream\":false,\"max_tokens\":9}\n");
    o.max_tokens = 3; /* who says it for all wins */
    sends(&o, 0, "POST /v1/chat/completions\ncontent-type: application/json\r\n"
                 "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\\\"b\"}],\"stream\":false,\"max_tokens\":3}\n");
}

TEST(a_conversation_holds_the_answers_that_came)
{
    const char *file = bench_file("p.jsonl", "{\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"one\"},"
                                             "{\"role\":\"assistant\",\"content\":\"recorded\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"two\"}]}]}");
    struct script *s = opened(&(struct script_options){ .api = LOAD_OPENAI, .model = TEXT("m"), .prompts_file = file });
    assert_string_equal(bench_session(s, 0, "said \"so\""),
                        "POST /v1/chat/completions\ncontent-type: application/json\r\n"
                        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"one\"}],\"stream\":false}\n"
                        "POST /v1/chat/completions\ncontent-type: application/json\r\n"
                        "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"be brief\"},{\"role\":\"user\",\"content\":\"one\"},"
                        "{\"role\":\"assistant\",\"content\":\"said \\\"so\\\"\"},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"two\"}]}],\"stream\":false}\n");
    script_free(s);
}

TEST(what_is_wrong_with_prompts_has_its_line)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "\n\n", "p: holds no prompt" },
        { "{\"prompt\":\"a\"}\n{\"promt\":\"b\"}", "p:2: unknown key \"promt\"; did you mean prompt?" },
        { "{\"prompt\":\"a\"}\n\nplain", "p:3: not JSON: unexpected character, expected a valid root value at byte 0" },
        { "{\"max_tokens\":1}", "p:1: needs a prompt or messages" },
        { "{\"prompt\":\"a\",\"max_tokens\":0}", "p:1: max_tokens must be a number from 1" },
        { "{\"prompt\":\"a\",\"messages\":[]}", "p:1: a line has a prompt or messages, not both" },
        { "{\"prompt\":1}", "p:1: prompt must be a string" },
        { "{\"messages\":[{\"role\":\"system\",\"content\":\"x\"}]}", "p:1: a conversation needs a message of the user" },
        { "{\"messages\":[{\"role\":\"user\"}]}", "p:1: a user's message needs a content" },
        { "{\"messages\":[{\"content\":\"x\"}]}", "p:1: a message needs a role" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        refused(&(struct script_options){ .prompts_file = bench_file("p", rows[i].text) }, rows[i].why);
    const char *one = bench_file("p", "a");
    refused(&(struct script_options){ .prompts_file = one, .trace_file = one }, "prompts and a trace exclude each other: a trace makes its own prompts");
}

/* ---- traces ---- */

/* The prompt of arrival `number`, in *io of its own. */
static struct text prompt_of(struct script *s, uint64_t number, uint64_t *out_tokens)
{
    static char body[1 << 20];
    static struct arena arena;
    yyjson_doc *doc;
    const char *said = strstr(strstr(bench_session(s, number, NULL), "\n") + 1, "\n") + 1;
    snprintf(body, sizeof body, "%s", said);
    arena_fini(&arena);
    arena_init(&arena, NULL, 0, 64u << 20);
    assert_int_equal(json_parse(&arena, text_trim((struct text){ body, strlen(body) - 1 }), &doc, NULL), OK);
    yyjson_val *root = yyjson_doc_get_root(doc);
    yyjson_val *content = yyjson_obj_get(yyjson_arr_get(yyjson_obj_get(root, "messages"), 0), "content");
    *out_tokens = yyjson_get_uint(yyjson_obj_get(root, "max_tokens"));
    static char copy[1 << 20];
    snprintf(copy, sizeof copy, "%s", yyjson_get_str(content));
    arena_fini(&arena);
    return text_of(copy);
}

static uint64_t words_in(struct text t)
{
    uint64_t count = t.len > 0;
    for (size_t i = 0; i < t.len; i++)
        count += t.at[i] == ' ';
    return count;
}

TEST(azures_trace_keeps_lengths_and_moments)
{
    const char *file = bench_file("t.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-12-31 23:59:59.5,3,4\n2024-01-01 00:00:01.2500000,1000,2\n2024-03-01T00:00:00Z,0,1\n");
    struct script *s = opened(&(struct script_options){ .trace_file = file, .stream = true });
    uint64_t count, tokens;
    const nanos *moments = script_moments(s, &count);
    assert_int_equal(count, 3);
    assert_int_equal(moments[0], 0);
    assert_int_equal(moments[1], 1750 * NANOS_PER_MS);
    assert_int_equal(moments[2], (60 * 86400LL) * NANOS_PER_S + 500 * NANOS_PER_MS); /* 2024 is a leap year */
    assert_int_equal(words_in(prompt_of(s, 0, &tokens)), 3);
    assert_int_equal(tokens, 4);
    assert_int_equal(words_in(prompt_of(s, 1, &tokens)), 1000);
    assert_int_equal(tokens, 2);
    assert_int_equal(words_in(prompt_of(s, 2, &tokens)), 0);
    char first[64];
    snprintf(first, sizeof first, "%s", prompt_of(s, 0, &tokens).at);
    assert_string_not_equal(first, prompt_of(s, 3, &tokens).at); /* the trace again, other words: no cache has them */
    script_free(s);
}

TEST(mooncakes_trace_shares_its_prefixes)
{
    const char *file = bench_file("t.jsonl", "{\"timestamp\": 100, \"input_length\": 1030, \"output_length\": 5, \"hash_ids\": [7, 8, 9]}\n"
                                             "{\"timestamp\": 100, \"input_length\": 700, \"output_length\": 6, \"hash_ids\": [7, 10]}\n"
                                             "{\"timestamp\": 2100.5, \"input_length\": 600, \"output_length\": 1, \"hash_ids\": [7]}\n");
    struct script *s = opened(&(struct script_options){ .trace_file = file });
    static char first[1 << 16];
    uint64_t count, tokens;
    const nanos *moments = script_moments(s, &count);
    assert_int_equal(count, 3);
    assert_int_equal(moments[1], 0);
    assert_int_equal(moments[2], 2000500 * NANOS_PER_US);
    struct text prompt = prompt_of(s, 0, &tokens);
    assert_int_equal(words_in(prompt), 1030);
    snprintf(first, sizeof first, "%s", prompt.at);
    size_t shared = 0;
    for (unsigned words = 0; words < 512; shared++)
        words += first[shared] == ' ';
    for (uint64_t i = 1; i < 3; i++) {
        prompt = prompt_of(s, i, &tokens);
        assert_int_equal(words_in(prompt), i == 1 ? 700 : 600);
        assert_memory_equal(prompt.at, first, shared);                    /* the block with one hash is the same bytes */
        assert_memory_not_equal(prompt.at + shared, first + shared, 100); /* and what follows is not */
    }
    script_free(s);
}

TEST(what_is_wrong_with_a_trace_has_its_line)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "TIMESTAMP,ContextTokens,GeneratedTokens\n", "t: holds no request" },
        { "2023-11-16 18:15:46,1,2\nyesterday,1,2\n", "t:2: \"yesterday\" is no time such as 2023-11-16 18:15:46.68" },
        { "2023-13-16 18:15:46,1,2\n", "t:1: \"2023-13-16 18:15:46\" is no time such as 2023-11-16 18:15:46.68" },
        { "2262-01-01 00:00:00,1,2\n", "t:1: \"2262-01-01 00:00:00\" is no time such as 2023-11-16 18:15:46.68" },
        { "1969-12-31 23:59:59,1,2\n", "t:1: \"1969-12-31 23:59:59\" is no time such as 2023-11-16 18:15:46.68" },
        { "{\"timestamp\":9.3e12,\"input_length\":1,\"output_length\":1}", "t:1: needs timestamp (ms), input_length and output_length as numbers from 0" },
        { "2023-11-16 18:15:46,1\n", "t:1: needs TIMESTAMP,ContextTokens,GeneratedTokens, with at most 16777216 tokens" },
        { "2023-11-16 18:15:46,1,2\n2023-11-16 18:15:45,1,2\n", "t:2: earlier than the line before it" },
        { "{\"timestamp\":1,\"input_length\":1}", "t:1: needs timestamp (ms), input_length and output_length as numbers from 0" },
        { "{\"timestamp\":1,\"input_length\":1,\"output_length\":1,\"hash_ids\":[\"a\"]}", "t:1: hash_ids must be an array of numbers" },
        { "{\"timestamp\":1,\"input_length\":99999999,\"output_length\":1}", "t:1: more than 16777216 tokens" },
        { "\n{\"timestamp\":", "t:2: not JSON: unexpected end of data" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct script *s = NULL;
        struct complaint why;
        char text[640];
        assert_false(script_open(&s, &(struct script_options){ .trace_file = bench_file("t", rows[i].text) }, &why));
        complaint_print(&why, text, sizeof text);
        if (strncmp(text + strlen(bench_folder) + 1, rows[i].why, strlen(rows[i].why)) != 0)
            fail_msg("said: %s\nexpected: %s", text, rows[i].why);
    }
}

/* The public traces, where they are: BENCH_DATA names their folder. */
static const char *data_file(const char *name)
{
    static char path[256];
    const char *folder = getenv("BENCH_DATA");
    snprintf(path, sizeof path, "%s/%s", folder != NULL ? folder : "../shared/data", name);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        print_message("skipped: no %s; BENCH_DATA names the folder that has the public traces\n", path);
        skip();
    }
    fclose(f);
    return path;
}

TEST(the_public_trace_of_azure_is_read_whole)
{
    struct script *s = opened(&(struct script_options){ .trace_file = data_file("azure/AzureLLMInferenceTrace_conv_2023.csv") });
    uint64_t count, tokens;
    const nanos *moments = script_moments(s, &count);
    assert_int_equal(count, 19366);
    assert_in_range(moments[count - 1], 3400 * NANOS_PER_S, 3700 * NANOS_PER_S); /* an hour */
    assert_int_equal(words_in(prompt_of(s, 0, &tokens)), 374);
    assert_int_equal(tokens, 44);
    script_free(s);
}

TEST(the_public_trace_of_mooncake_is_read_whole)
{
    int64_t before = mem_alive();
    struct script *s = opened(&(struct script_options){ .trace_file = data_file("mooncake/conversation_trace.jsonl") });
    uint64_t count, tokens;
    (void)script_moments(s, &count);
    assert_int_equal(count, 12031);
    assert_int_equal(words_in(prompt_of(s, 0, &tokens)), 6758);
    assert_int_equal(tokens, 500);
    assert_true(mem_alive() - before < 100); /* bodies are made when they are sent */
    script_free(s);
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(each_api_has_a_request_of_its_own),
        ROW(a_body_from_a_file_is_a_template),
        ROW(words_are_filled_in),
        ROW(chance_stays_within_its_bounds),
        ROW(values_inside_a_json_string_are_escaped_and_outside_they_are_not),
        ROW(what_is_wrong_with_a_template_has_its_line),
        ROW(counters_of_all_workers_never_repeat),
        ROW(the_same_seed_sends_the_same_bytes_and_another_seed_others),
        ROW(prompts_are_taken_by_the_arrivals_number),
        ROW(a_prompts_line_may_say_its_tokens),
        ROW(a_conversation_holds_the_answers_that_came),
        ROW(what_is_wrong_with_prompts_has_its_line),
        ROW(azures_trace_keeps_lengths_and_moments),
        ROW(mooncakes_trace_shares_its_prefixes),
        ROW(what_is_wrong_with_a_trace_has_its_line),
        ROW(the_public_trace_of_azure_is_read_whole),
        ROW(the_public_trace_of_mooncake_is_read_whole),
    };
    return cmocka_run_group_tests(tests, bench_folder_make, bench_folder_remove);
}
