/* test_route_affinity.c: units of route/affinity.h: which requests belong together. */
#include "route/affinity.h"
#include "test_json.h"

static uint64_t of_messages(const char *body) { return affinity_of_messages(parsed(text_of(body))); }
static uint64_t of_prompt(const char *body) { return affinity_of_prompt(yyjson_obj_get(parsed(text_of(body)), "p")); }

#define SYSTEM "{\"role\":\"system\",\"content\":\"Be brief.\"},"
#define WHO    "{\"role\":\"user\",\"content\":\"Who?\"}"

TEST(the_turns_of_a_conversation_belong_together)
{
    uint64_t first = of_messages("[" SYSTEM WHO "]");
    assert_true(first != 0);
    assert_true(of_messages("[" SYSTEM WHO ",{\"role\":\"assistant\",\"content\":\"I.\"},{\"role\":\"user\",\"content\":\"Why?\"}]") == first);
    assert_true(of_messages("[" SYSTEM "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"Who?\"}]}]") == first); /* the same question, in parts */
    assert_true(of_messages("[" SYSTEM "{\"role\":\"user\",\"content\":\"Why?\"}]") != first);
    assert_true(of_messages("[" WHO "]") != first);
    assert_true(of_messages("[{\"role\":\"developer\",\"content\":\"Be brief.\"}," WHO "]") == first);
}

static const char *long_message(const char *role, size_t same, const char *end)
{
    char *out = arena_alloc(&arena, same + 200);
    int at = snprintf(out, 100, "[{\"role\":\"%s\",\"content\":\"", role);
    memset(out + at, 'x', same);
    snprintf(out + at + same, 100, "%s\"}," WHO "]", end);
    return out;
}

TEST(of_a_long_text_its_beginning_counts_and_what_follows_it_counts_too)
{
    assert_true(of_messages(long_message("user", AFFINITY_BYTES, "one")) == of_messages(long_message("user", AFFINITY_BYTES, "two"))); /* a document, two questions */
    assert_true(of_messages(long_message("user", AFFINITY_BYTES - 1, "one")) != of_messages(long_message("user", AFFINITY_BYTES - 1, "two")));
    assert_true(of_messages(long_message("system", AFFINITY_BYTES, "")) != of_messages(long_message("user", AFFINITY_BYTES, ""))); /* the question counts */
}

TEST(prompts_and_sessions_have_numbers_and_what_is_empty_has_none)
{
    assert_true(of_prompt("{\"p\":\"one\"}") == of_prompt("{\"p\":[\"one\"]}"));
    assert_true(of_prompt("{\"p\":\"one\"}") != of_prompt("{\"p\":\"two\"}"));
    assert_true(of_prompt("{\"p\":[1,2]}") == 0 && of_prompt("{\"p\":[]}") == 0 && of_prompt("{\"p\":\"\"}") == 0);
    assert_true(of_messages("[{\"role\":\"user\",\"content\":null}]") == 0);
    assert_true(affinity_of_session(TEXT("")) == 0 && affinity_of_session(TEXT("one")) != affinity_of_session(TEXT("two")));
    assert_true(affinity_of_session(TEXT("one")) == 0x911faba7321fe1a1u); /* the same in every process, today and tomorrow: or a new version moves all sessions */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_turns_of_a_conversation_belong_together, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(of_a_long_text_its_beginning_counts_and_what_follows_it_counts_too, open_arena, close_arena),
        cmocka_unit_test_setup_teardown(prompts_and_sessions_have_numbers_and_what_is_empty_has_none, open_arena, close_arena),
    };
    return cmocka_run_group_tests_name("affinity", tests, NULL, NULL);
}
