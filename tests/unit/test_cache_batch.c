/* test_cache_batch.c: units of cache/batch.h. */
#include "cache/batch.h"
#include "base/json.h"
#include "test_json.h"

static void check_text(struct text is, const char *expected)
{
    if (!text_eq(is, text_of(expected)))
        fail_msg("expected %s, got %.*s", expected, TEXT_ARG(is));
}

/* --- a request --- */

TEST(each_input_lies_where_it_came)
{
    struct text spans[4];
    assert_true(batch_spans(TEXT("[\"a\", \"b,]\\\"\" ,\n[1, 2],\t[3]]"), spans, 4));
    check_text(spans[0], "\"a\"");
    check_text(spans[1], "\"b,]\\\"\"");
    check_text(spans[2], "[1, 2]");
    check_text(spans[3], "[3]");
    assert_true(batch_spans(TEXT(" [ ]" + 1), spans, 0));
    assert_true(batch_spans(TEXT("[7]"), spans, 1));
    check_text(spans[0], "7");
}

TEST(what_is_no_array_or_has_another_count_has_no_spans)
{
    struct text spans[3] = { 0 };
    assert_false(batch_spans(TEXT("\"one\""), spans, 1));
    assert_false(batch_spans(TEXT_NONE, spans, 0));
    assert_false(batch_spans(TEXT("[\"a\",\"b\"]"), spans, 3));
    assert_false(batch_spans(TEXT("[\"a\",\"b\",\"c\"]"), spans, 2));
    assert_null(spans[2].at); /* none is written behind the second */
}

TEST(only_what_is_missing_is_asked_for)
{
    struct text spans[4];
    struct buf out;
    buf_init(&out, 1000);
    assert_true(batch_spans(TEXT("[ \"a\" , \"b\",[1, 2] ,\"d\"]"), spans, 4));
    assert_int_equal(batch_ask(spans, (const bool[]){ false, true, true, false }, 4, &out), OK);
    check_text(buf_text(&out), "[\"b\",[1, 2]]");
    buf_clear(&out);
    assert_int_equal(batch_ask(spans, (const bool[]){ true, false, false, true }, 4, &out), OK);
    check_text(buf_text(&out), "[\"a\",\"d\"]");
    buf_fini(&out);
    buf_init(&out, 5);
    assert_int_equal(batch_ask(spans, (const bool[]){ true, false, false, true }, 4, &out), FAIL_TOO_LARGE);
    buf_fini(&out);
}

/* --- an answer --- */

static struct batch_item items[BATCH_MAX];
static struct batch_answer answer;

static enum fail read_as(struct text body, unsigned count)
{
    answer = (struct batch_answer){ .items = items };
    /* A copy that ends where it ends, so that ASan sees who reads on. */
    char *copy = arena_alloc(&arena, body.len + 1);
    assert_non_null(copy);
    memcpy(copy, body.at, body.len);
    return batch_read(&arena, (struct text){ copy, body.len }, count, &answer);
}

TEST(vectors_go_by_their_index_and_keep_their_bytes)
{
    assert_int_equal(read_as(TEXT("{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":1,\"embedding\":[0.10,-2e-05 ,3]},"
                                  "{\"object\":\"embedding\",\"index\":0,\"embedding\":\"AAB+\\/w==\"}],"
                                  "\"model\":\"m\",\"usage\":{\"prompt_tokens\":8,\"total_tokens\":9}}"), 2), OK);
    check_text(items[0].vector, "\"AAB+\\/w==\"");
    check_text(items[1].vector, "[0.10,-2e-05 ,3]");
    check_text(answer.model, "\"m\"");
    assert_int_equal(answer.prompt_tokens, 8);
    assert_int_equal(answer.total_tokens, 9);
}

TEST(members_come_in_any_order_with_odd_blanks_escapes_and_strangers)
{
    assert_int_equal(read_as(TEXT("\n{ \"usage\" :{\"total_tokens\":2,\"details\":{\"embedding\":[{}]}},\t\"model\" : \"a\\\"b\\\\\" ,\"embedding\":[\"x\"],\r\n"
                                  "\"error\":null,\"d\\u0061t\\u0061\": [ {\"embe\\u0064ding\"\n:\n[ 1 , 2 ] ,\"name\":\"\\\"embedding\\\":[9]\",\"index\" : 0},\n"
                                  "{\"more\":{\"embedding\":[],\"index\":7,\"error\":1},\"index\":1,\"error\":null,\"embedding\":[1E+2]} ] } \n"), 2), OK);
    check_text(items[0].vector, "[ 1 , 2 ]");
    check_text(items[1].vector, "[1E+2]");
    check_text(answer.model, "\"a\\\"b\\\\\"");
    assert_int_equal(answer.prompt_tokens, 0);
    assert_int_equal(answer.total_tokens, 2);
}

/* They are told to nobody when an answer is put together, so what has any is not whole without them. */
TEST(what_an_item_has_beside_its_vector_is_noticed)
{
    const char *const plain[] = { "", ",\"object\":\"embedding\"", ",\"o\\u0062ject\":\"embeddin\\u0067\"" };
    const char *const more[] = {
        ",\"sparse_embedding\":{\"1\":0.5}", ",\"text\":\"a\"", ",\"error\":null", ",\"object\":\"multimodal\"", ",\"object\":null", ",\"\":0",
        ",\"object\":\"embedding\",\"x\":1",
    };
    char body[300];
    for (unsigned i = 0; i < ARRAY_LEN(plain) + ARRAY_LEN(more); i++) {
        const char *beside = i < ARRAY_LEN(plain) ? plain[i] : more[i - ARRAY_LEN(plain)];
        int len = snprintf(body, sizeof body, "{\"id\":\"x\",\"data\":[{\"index\":0,\"embedding\":[1]%s},{\"index\":1,\"embedding\":[2]}],\"usage\":{\"cost\":1}}", beside);
        assert_int_equal(read_as((struct text){ body, (size_t)len }, 2), OK);
        if (answer.has_more != (i >= ARRAY_LEN(plain)))
            fail_msg("%s", beside);
    }
}

TEST(what_it_does_not_say_is_not_there)
{
    assert_int_equal(read_as(TEXT("{\"data\":[{\"index\":0,\"embedding\":[1]}],\"model\":null,\"usage\":null}"), 1), OK);
    assert_null(answer.model.at);
    assert_int_equal(answer.prompt_tokens, 0);
    assert_int_equal(read_as(TEXT("{\"data\":[],\"usage\":{\"prompt_tokens\":-1,\"total_tokens\":\"2\"}}"), 0), OK);
    assert_int_equal(answer.prompt_tokens, 0);
    assert_int_equal(answer.total_tokens, 0);
}

TEST(what_is_not_one_vector_for_each_index_is_refused)
{
    const char *const bad[] = {
        "[{\"embedding\":[1]},{\"index\":1,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":0,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":2,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":-1,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":4294967297,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":1.0,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":\"1\",\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[1]},{\"index\":2,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[1]},{}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":1}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[1],\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[1],\"error\":\"no\"}]",
        "[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"index\":1,\"embedding\":[1]}]",
        "[{\"index\":0,\"embedding\":[1]},[1]]",
        "[{\"index\":0,\"embedding\":[1]},null]",
        "[[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[1]}]]",
        "{\"a\":{\"index\":0,\"embedding\":[1]},\"b\":{\"index\":1,\"embedding\":[1]}}",
        "null", "\"\"", "2",
    };
    char body[400];
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        int len = snprintf(body, sizeof body, "{\"data\":%s,\"model\":\"m\"}", bad[i]);
        if (read_as((struct text){ body, (size_t)len }, 2) != FAIL_PROTOCOL)
            fail_msg("read: %s", bad[i]);
    }
    assert_int_equal(read_as(TEXT("{\"data\":[{\"index\":0,\"embedding\":[1]},{\"index\":1,\"embedding\":[1]}],\"model\":\"m\"}"), 2), OK);
}

TEST(a_vector_is_numbers_or_base64_and_nothing_else)
{
    const char *const good[] = {
        "[0]", "[-0]", "[0.5]", "[-1.25e-7]", "[1E5]", "[1e+5]", "[10,20,30]", "[ 1\n,\t2 ]", "\"A\"", "\"az09AZ+/-_==\"", "\"\\/\\/8=\"",
    };
    const char *const bad[] = {
        "[]", "[ ]", "[1,]", "[,1]", "[1 2]", "[01]", "[.5]", "[1.]", "[1.e5]", "[1e]", "[1e+]", "[+1]", "[-]", "[--1]", "[NaN]", "[Infinity]", "[null]",
        "[true]", "[\"1\"]", "[[1]]", "[{}]", "[1", "[1}", "[1]]", "[1]5", "[1][2]", "\"\"", "\"a b\"", "\"a\\n\"", "\"\\u0041\"", "\"a\\\"", "\"é\"", "\"a", "\"a\"5",
        "null", "1", "0", "{}", "{\"float\":[1]}", "", "\\/",
    };
    char body[200];
    for (unsigned i = 0; i < ARRAY_LEN(good) + ARRAY_LEN(bad); i++) {
        const char *vector = i < ARRAY_LEN(good) ? good[i] : bad[i - ARRAY_LEN(good)];
        int len = snprintf(body, sizeof body, "{\"data\":[{\"embedding\":%s,\"index\":0}]}", vector);
        enum fail f = read_as((struct text){ body, (size_t)len }, 1);
        if (f != (i < ARRAY_LEN(good) ? OK : FAIL_PROTOCOL))
            fail_msg("%s: %d", vector, f);
    }
    assert_int_equal(read_as(TEXT("{\"data\":[{\"embedding\":\"a\0\",\"index\":0}]}"), 1), FAIL_PROTOCOL);
}

/* Behind the second vector a digit would make the number of the eleventh of what stands for it. */
TEST(what_stands_for_a_vector_is_no_other_ones_number)
{
    struct buf b;
    buf_init(&b, 4096);
    for (unsigned broken = 0; broken < 2; broken++) {
        buf_clear(&b);
        assert_int_equal(buf_add_text(&b, TEXT("{\"data\":[")), OK);
        for (unsigned i = 0; i < 20; i++)
            assert_int_equal(buf_printf(&b, "%s{\"index\":%u,\"embedding\":[%u]%s}", i ? "," : "", i, i, broken && i == 1 ? "1" : ""), OK);
        assert_int_equal(buf_add_text(&b, TEXT("]}")), OK);
        assert_int_equal(read_as(buf_text(&b), 20), broken ? FAIL_PROTOCOL : OK);
    }
    buf_fini(&b);
}

TEST(what_is_no_answer_is_refused)
{
    const char *const bad[] = {
        "", " ", "{", "{}", "[]", "null", "<html>", "{\"data\"", "{\"data\":", "{\"data\":[", "{\"data\":[{\"embedding\":", "{\"data\":[{\"embedding\":[1]", "\"", "\"\\",
        "{\"model\":\"", "}}}}", ":::", "{\"data\":[]}x", "\xEF\xBB\xBF{\"data\":[]}", "{\"data\":[],\"model\":\"\xFF\"}", "{\"data\":[],\"data\":[]}",
        "{\"data\":[],\"model\":\"a\",\"model\":\"b\"}", "{\"data\":[],\"error\":{\"message\":\"no\"}}", "{\"data\":[],\"error\":false}", "{\"data\":[],}",
    };
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++)
        if (read_as(text_of(bad[i]), 0) != FAIL_PROTOCOL)
            fail_msg("read: %s", bad[i]);
    assert_int_equal(batch_read(&arena, TEXT_NONE, 0, &answer), FAIL_PROTOCOL);
    assert_int_equal(read_as(TEXT("{\"data\":[]}"), 0), OK);
}

/* Whoever answers with megabytes of something else takes none of ours for it. */
TEST(strangers_have_a_bound)
{
    static char body[64 * 1024];
    for (unsigned fits = 0; fits < 2; fits++) {
        size_t blanks = fits ? 2000 : 60000;
        int len = snprintf(body, sizeof body, "{\"x\":\"%*s\",\"data\":[{\"index\":0,\"embedding\":[1]}]}", (int)blanks, "");
        assert_int_equal(read_as((struct text){ body, (size_t)len }, 1), fits ? OK : FAIL_PROTOCOL);
    }
    size_t len = (size_t)snprintf(body, sizeof body, "{\"data\":[{\"index\":0,\"embedding\":[1]}],\"x\":[");
    while (len < 2500)
        len += (size_t)snprintf(body + len, sizeof body - len, "[],");
    len += (size_t)snprintf(body + len, sizeof body - len, "0]}");
    struct arena a;
    answer = (struct batch_answer){ .items = items };
    arena_init(&a, NULL, 0, 40 * 1024 + 9 * 1024);
    assert_int_equal(batch_read(&a, (struct text){ body, len }, 1, &answer), OK); /* the densest there is stays under what batch.h promises */
    arena_fini(&a);
}

/* --- both ways --- */

TEST(an_answer_is_written_in_the_order_of_its_inputs)
{
    struct buf out;
    buf_init(&out, 10000);
    assert_int_equal(read_as(TEXT("{\"data\":[{\"index\":1,\"embedding\":[ 2 ]},{\"index\":0,\"embedding\":\"AA==\"}],\"model\":\"\\u006d\",\"usage\":{\"prompt_tokens\":3}}"), 2), OK);
    answer.total_tokens = UINT64_MAX;
    assert_int_equal(batch_write(&answer, 2, &out), OK);
    check_text(buf_text(&out), "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":\"AA==\"},"
                               "{\"object\":\"embedding\",\"index\":1,\"embedding\":[ 2 ]}],\"model\":\"\\u006d\","
                               "\"usage\":{\"prompt_tokens\":3,\"total_tokens\":18446744073709551615}}");
    assert_true(out.room < 500); /* one piece, measured beforehand */
    buf_clear(&out);
    answer.model = TEXT_NONE;
    assert_int_equal(batch_write(&answer, 0, &out), OK);
    check_text(buf_text(&out), "{\"object\":\"list\",\"data\":[],\"usage\":{\"prompt_tokens\":3,\"total_tokens\":18446744073709551615}}");
    buf_fini(&out);
    buf_init(&out, 100);
    assert_int_equal(batch_write(&answer, 2, &out), FAIL_TOO_LARGE);
    buf_fini(&out);
}

/* A table of answers, cut and flipped: whatever comes out lies within the body, is JSON, and survives a second round. */
TEST(random_cuts_and_flips_are_read_alike_or_refused)
{
    const char seed[] = "{\"data\":[{\"index\":1,\"embedding\":[1,-2.5e3]},{\"em\\u0062edding\" : \"A\\/8=\",\"index\":0,\"x\":[{\"embedding\":[]}]}],\"model\":\"m\"}";
    uint32_t dice = 7;
    unsigned read = 0;
    struct buf out;
    buf_init(&out, 4096);
    for (unsigned round = 0; round < 100000; round++) {
        char body[sizeof seed];
        memcpy(body, seed, sizeof seed);
        for (unsigned flips = 0; flips < round % 4; flips++) {
            dice = dice * 1664525u + 1013904223u;
            body[(dice >> 8) % (sizeof seed - 1)] = "[]{},:\"\\ 1e0-"[(dice >> 24) % 13];
        }
        dice = dice * 1664525u + 1013904223u;
        struct arena a;
        arena_init(&a, NULL, 0, ARENA_NO_MAX);
        size_t len = round % 5 ? sizeof seed - 1 : (dice >> 8) % sizeof seed;
        char *copy = mem_alloc(len + 1);
        memcpy(copy, body, len);
        answer = (struct batch_answer){ .items = items };
        if (batch_read(&a, (struct text){ copy, len }, 2, &answer) == OK) {
            yyjson_doc *doc;
            struct text first = items[0].vector;
            assert_int_equal(json_parse(&a, (struct text){ body, len }, &doc, NULL), OK); /* what we take yyjson takes, as a whole */
            buf_clear(&out);
            assert_int_equal(batch_write(&answer, 2, &out), OK);
            assert_int_equal(batch_read(&a, buf_text(&out), 2, &answer), OK);
            assert_true(text_eq(items[0].vector, first));
            read++;
        }
        mem_free(copy);
        arena_fini(&a);
    }
    buf_fini(&out);
    assert_in_range(read, 15000, 60000);
}

/* 2048 inputs of 1536 dimensions are 40 MB. As a tree they would be 50 MB more. */
TEST(a_large_answer_takes_little_memory)
{
    enum { COUNT = BATCH_MAX, DIMENSIONS = UNDER_ASAN ? 150 : 1536 };
    struct buf b, again;
    buf_init(&b, 100 << 20);
    assert_int_equal(buf_add_text(&b, TEXT("{\"object\":\"list\",\"data\":[")), OK);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_int_equal(buf_printf(&b, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":[", i ? "," : "", COUNT - 1 - i), OK);
        for (unsigned k = 0; k < DIMENSIONS; k++)
            assert_int_equal(buf_printf(&b, "%s-0.0%u", k ? "," : "", 123456000 + (i * 7 + k) % 1000), OK);
        assert_int_equal(buf_add_text(&b, TEXT("]}")), OK);
    }
    assert_int_equal(buf_add_text(&b, TEXT("],\"model\":\"m\",\"usage\":{\"prompt_tokens\":1,\"total_tokens\":1}}")), OK);
    struct arena a;
    arena_init(&a, NULL, 0, 600 * COUNT);
    answer = (struct batch_answer){ .items = items };
    assert_int_equal(batch_read(&a, buf_text(&b), COUNT, &answer), OK);
    print_message("%zu MB read with %zu KB\n", buf_len(&b) >> 20, a.bytes >> 10);
    assert_true(text_starts(items[COUNT - 1].vector, TEXT("[-0.0123456000,")));
    buf_init(&again, buf_len(&b) + 64 * COUNT + 1000);
    assert_int_equal(batch_write(&answer, COUNT, &again), OK);
    assert_int_equal(buf_len(&again), buf_len(&b)); /* the same, in another order */
    arena_fini(&a);
    buf_fini(&again);
    buf_fini(&b);
}

TEST(without_memory_it_says_so)
{
    const struct text body = TEXT("{\"data\":[{\"index\":0,\"embedding\":[1]}],\"model\":\"m\"}");
    for (uint64_t nth = 1;; nth++) {
        static char first[4096]; /* an arena tries twice, which would hide the first failure */
        struct arena a;
        struct buf out;
        arena_init(&a, first, sizeof first, ARENA_NO_MAX);
        buf_init(&out, 1000);
        answer = (struct batch_answer){ .items = items };
        mem_fault(nth);
        enum fail f = batch_read(&a, body, 1, &answer);
        if (f == OK)
            f = batch_write(&answer, 1, &out);
        bool reached = mem_fault(0) >= nth;
        arena_fini(&a);
        buf_fini(&out);
        assert_int_equal(f, reached ? FAIL_NO_MEMORY : OK);
        if (!reached) {
            assert_int_equal(nth, 3); /* the outline, and what is written */
            return;
        }
    }
}

TEST(an_arena_without_room_is_no_fault_of_the_answer)
{
    for (size_t room = 16; room <= 4096; room *= 4) {
        struct arena a;
        answer = (struct batch_answer){ .items = items };
        arena_init(&a, NULL, 0, room);
        enum fail f = batch_read(&a, TEXT("{\"data\":[{\"index\":0,\"embedding\":[1]}]}"), 1, &answer);
        arena_fini(&a);
        assert_int_equal(f, room < 1024 ? FAIL_NO_MEMORY : OK);
    }
}

#define BATCH_TEST(sentence) cmocka_unit_test_setup_teardown(sentence, open_arena, close_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BATCH_TEST(each_input_lies_where_it_came),
        BATCH_TEST(what_is_no_array_or_has_another_count_has_no_spans),
        BATCH_TEST(only_what_is_missing_is_asked_for),
        BATCH_TEST(vectors_go_by_their_index_and_keep_their_bytes),
        BATCH_TEST(members_come_in_any_order_with_odd_blanks_escapes_and_strangers),
        BATCH_TEST(what_an_item_has_beside_its_vector_is_noticed),
        BATCH_TEST(what_it_does_not_say_is_not_there),
        BATCH_TEST(what_is_not_one_vector_for_each_index_is_refused),
        BATCH_TEST(a_vector_is_numbers_or_base64_and_nothing_else),
        BATCH_TEST(what_stands_for_a_vector_is_no_other_ones_number),
        BATCH_TEST(what_is_no_answer_is_refused),
        BATCH_TEST(strangers_have_a_bound),
        BATCH_TEST(an_answer_is_written_in_the_order_of_its_inputs),
        BATCH_TEST(random_cuts_and_flips_are_read_alike_or_refused),
        BATCH_TEST(a_large_answer_takes_little_memory),
        BATCH_TEST(without_memory_it_says_so),
        BATCH_TEST(an_arena_without_room_is_no_fault_of_the_answer),
    };
    return cmocka_run_group_tests_name("cache_batch", tests, NULL, NULL);
}
