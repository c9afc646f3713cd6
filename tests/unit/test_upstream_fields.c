/* test_upstream_fields.c: units of upstream/fields.h: which fields are checked for everybody, what a local model is given, and what makes its grammar too large. */
#include "upstream/fields.h"
#include "test_json.h"

static const char *wrong_field(const char *body)
{
    char must[128];
    return fields_check(parsed(text_of(body)), FIELD_CHAT, must, sizeof must);
}

static const char *wrong_for_llama(const char *body)
{
    char must[96];
    return fields_check_llama(parsed(text_of(body)), must, sizeof must);
}

/* hostile 64 */
TEST(numbers_out_of_their_bounds_are_named_and_their_neighbours_are_not)
{
    static const struct { const char *bad, *good, *field; } pairs[] = {
        { "{\"n\":0}", "{\"n\":1}", "n" },
        { "{\"n\":-1}", "{\"n\":128}", "n" },
        { "{\"n\":129}", "{\"n\":127}", "n" },
        { "{\"n\":1.0}", "{\"n\":1}", "n" },
        { "{\"max_tokens\":-1}", "{\"max_tokens\":0}", "max_tokens" },
        { "{\"max_tokens\":16777217}", "{\"max_tokens\":16777216}", "max_tokens" },
        { "{\"max_tokens\":18446744073709551615}", "{\"max_tokens\":1}", "max_tokens" },
        { "{\"max_tokens\":1e3}", "{\"max_tokens\":1000}", "max_tokens" },
        { "{\"max_completion_tokens\":-9223372036854775808}", "{\"max_completion_tokens\":9}", "max_completion_tokens" },
        { "{\"top_k\":-2}", "{\"top_k\":-1}", "top_k" },
        { "{\"top_k\":4294967296}", "{\"top_k\":40}", "top_k" },
        { "{\"seed\":18446744073709551616}", "{\"seed\":18446744073709551615}", "seed" },
        { "{\"seed\":\"1\"}", "{\"seed\":-9223372036854775808}", "seed" },
        { "{\"top_p\":1.5}", "{\"top_p\":1.0}", "top_p" },
        { "{\"temperature\":-0.1}", "{\"temperature\":-0}", "temperature" },
        { "{\"top_logprobs\":65}", "{\"top_logprobs\":64}", "top_logprobs" },
        { "{\"logit_bias\":[]}", "{\"logit_bias\":{}}", "logit_bias" },
        { "{\"tools\":{}}", "{\"tools\":[]}", "tools" },
        { "{\"stream\":1}", "{\"stream\":true}", "stream" },
    };
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++) {
        const char *said = wrong_field(pairs[i].bad);
        if (said == NULL || strcmp(said, pairs[i].field) != 0)
            fail_msg("%s was not refused for %s", pairs[i].bad, pairs[i].field);
        if (wrong_field(pairs[i].good) != NULL)
            fail_msg("%s was refused", pairs[i].good);
    }
    assert_null(wrong_field("{\"n_discard\":-1,\"anything\":-9e300,\"n\":null}")); /* not ours to judge: passed on to those who may know it */
}

/* hostile 64 */
TEST(a_local_model_gets_listed_fields_and_no_others)
{
    struct buf out;
    buf_init(&out, 4096);
    struct text body = TEXT("{\"n_discard\":-1, \"model\":\"m\",\"messages\":[{\"role\":\"user\",\"n_keep\":5}],\"id_slot\":7,\"max_tokens\":5 ,\"cache_prompt\":false,\"gr\\u0061mmar\":\"x\"}");
    assert_int_equal(fields_filter(body, FIELD_CHAT, &out), OK);
    assert_string_equal(arena_copy(&arena, buf_text(&out)), "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"n_keep\":5}],\"max_tokens\":5}");
    buf_fini(&out);
}

/* hostile 65, hostile 66 */
TEST(what_makes_a_grammar_has_a_bound_and_one_less_is_served)
{
    static const struct { const char *bad, *good, *field; } pairs[] = {
#define TOOL(schema) "{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":" schema "}}}}]}"
        { TOOL("{\"type\":5}"), TOOL("{\"type\":\"5\"}"), "tools" },
        { TOOL("{\"type\":null}"), TOOL("{\"type\":[\"null\"]}"), "tools" },
        { TOOL("{\"pattern\":5}"), TOOL("{\"pattern\":\"5\"}"), "tools" },
        { TOOL("{\"pattern\":\"a{4097}\"}"), TOOL("{\"pattern\":\"a{4096}\"}"), "tools" },
        { TOOL("{\"pattern\":\"((a{64}){65}\"}"), TOOL("{\"pattern\":\"((a{64}){64}\"}"), "tools" },
        { TOOL("{\"pattern\":\"a{99999999999999999999999}\"}"), TOOL("{\"pattern\":\"[0-9]{4}-[0-9]{2}-[0-9]{2}\"}"), "tools" },
        { TOOL("{\"minItems\":-1}"), TOOL("{\"minItems\":0}"), "tools" },
        { TOOL("{\"maxLength\":4097}"), TOOL("{\"maxLength\":4096}"), "tools" },
        { TOOL("{\"$ref\":\"http://a/b\"}"), TOOL("{\"$ref\":\"#/b\"}"), "tools" },
        { "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":1}}}}",
          "{\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"1\"}}}}", "response_format" },
        { "{\"logit_bias\":{\"1\":101}}", "{\"logit_bias\":{\"1\":100}}", "logit_bias" },
        { "{\"logit_bias\":{\"1\":\"1\"}}", "{\"logit_bias\":{\"1\":1}}", "logit_bias" },
        { "{\"stop\":[\"a\",5]}", "{\"stop\":[\"a\",\"5\"]}", "stop" },
        { "{\"stop\":5}", "{\"stop\":\"5\"}", "stop" },
        { "{\"stop\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]}",
          "{\"stop\":[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]}", "stop" },
    };
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++) {
        const char *said = wrong_for_llama(pairs[i].bad);
        if (said == NULL || strcmp(said, pairs[i].field) != 0)
            fail_msg("%s was not refused for %s", pairs[i].bad, pairs[i].field);
        if (wrong_for_llama(pairs[i].good) != NULL)
            fail_msg("%s was refused", pairs[i].good);
    }
    assert_null(wrong_for_llama("{\"tools\":null,\"stop\":null,\"logit_bias\":null}"));
}

static const char *nested(struct buf *b, unsigned depth)
{
    buf_clear(b);
    assert_int_equal(buf_add_text(b, TEXT("{\"tools\":")), OK);
    for (unsigned i = 0; i < depth; i++)
        assert_int_equal(buf_add_text(b, TEXT("[")), OK);
    for (unsigned i = 0; i < depth; i++)
        assert_int_equal(buf_add_text(b, TEXT("]")), OK);
    assert_int_equal(buf_add(b, "}", 2), OK);
    return buf_text(b).at;
}

static const char *many(struct buf *b, unsigned count)
{
    buf_clear(b);
    assert_int_equal(buf_add_text(b, TEXT("{\"tools\":[[],[]")), OK); /* what was opened and closed is not depth */
    for (unsigned i = 3; i < count; i++)
        assert_int_equal(buf_add_text(b, TEXT(",0")), OK);
    assert_int_equal(buf_add(b, "]}", 3), OK);
    return buf_text(b).at;
}

/* hostile 66 */
TEST(a_grammar_is_nested_24_deep_and_has_4096_values_at_most)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_null(wrong_for_llama(nested(&b, 24)));
    assert_string_equal(wrong_for_llama(nested(&b, 25)), "tools");
    assert_null(wrong_for_llama(many(&b, 4096)));
    assert_string_equal(wrong_for_llama(many(&b, 4097)), "tools");
    buf_fini(&b);
}

#define FIELDS_TEST(sentence) cmocka_unit_test_setup_teardown(sentence, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FIELDS_TEST(numbers_out_of_their_bounds_are_named_and_their_neighbours_are_not),
        FIELDS_TEST(a_local_model_gets_listed_fields_and_no_others),
        FIELDS_TEST(what_makes_a_grammar_has_a_bound_and_one_less_is_served),
        FIELDS_TEST(a_grammar_is_nested_24_deep_and_has_4096_values_at_most),
    };
    return cmocka_run_group_tests_name("upstream_fields", tests, NULL, NULL);
}
