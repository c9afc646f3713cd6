/* test_cache_key.c: units of cache/key.h: which requests are one, and which are not. */
#include "cache/key.h"
#include "cache/raw.h"
#include "base/random.h"
#include "lib/meaning.h"
#include "test_json.h"
#include <inttypes.h>
#include <time.h>

static struct cache_digest digest_of(struct text body)
{
    struct cache_digest d;
    assert_int_equal(cache_digest(&arena, parsed(body), &d), OK);
    return d;
}

static bool same_digest(struct cache_digest a, struct cache_digest b)
{
    return memcmp(a.sha256, b.sha256, sizeof a.sha256) == 0;
}

/* ---- pairs ---- */

#define CHAT    "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]%s}"
#define MESSAGE "{\"messages\":[{\"role\":\"assistant\"%s}]}"
#define CALL    "{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"1\"%s}]}]}"
#define TOOL    "{\"messages\":[],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"%s}}]}"
#define SCHEMA  "{\"messages\":[],\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"object\"%s}}}}"
#define VALUE   "{\"messages\":[],\"unheard_of\":%s}"
#define PROMPT  "{\"prompt\":\"p\"%s}"
#define INPUT   "{\"input\":\"i\"%s}"
#define WHOLE   "%s"

#define SAME  true
#define OTHER false

/* hostile 56: both stand in the same place; what is meant decides. */
static const struct pair {
    const char *place, *a, *b;
    bool is_same;
} pairs[] = {
    /* order, white space */
    { WHOLE, "{\"prompt\":\"a\",\"x\":1}", " {\t\"x\" : 1 ,\r\n\"prompt\" : \"a\" } ", SAME },
    { VALUE, "{\"a\":1,\"b\":{\"c\":2,\"d\":3}}", "{\"b\":{\"d\":3,\"c\":2},\"a\":1}", SAME },
    { TOOL, ",\"strict\":true,\"description\":\"d\"", ",\"description\":\"d\",\"strict\":true", SAME },
    { VALUE, "[1,2]", "[2,1]", OTHER },
    { VALUE, "{\"a\":1,\"b\":2}", "{\"a\":2,\"b\":1}", OTHER },
    { VALUE, "\"a b\"", "\"a  b\"", OTHER },
    { SCHEMA, ",\"properties\":{\"why\":{},\"answer\":{}}", ",\"properties\":{\"answer\":{},\"why\":{}}", OTHER }, /* a model writes them in this order */
    { SCHEMA, ",\"properties\":{\"a\":{\"type\":\"x\",\"title\":\"y\"}}", ",\"properties\":{\"a\":{\"title\":\"y\",\"type\":\"x\"}}", SAME },
    { SCHEMA, ",\"$defs\":{\"a\":{},\"b\":{}}", ",\"$defs\":{\"b\":{},\"a\":{}}", SAME },
    /* numbers */
    { VALUE, "1", "1.0", SAME },
    { VALUE, "1", "1e0", SAME },
    { VALUE, "1", "0.1e1", SAME },
    { VALUE, "100", "1E+2", SAME },
    { VALUE, "-1", "-1.0", SAME },
    { VALUE, "0", "-0", SAME },
    { VALUE, "0", "-0.0", SAME },
    { VALUE, "0", "0e5", SAME },
    { VALUE, "0.1", "1e-1", SAME },
    { VALUE, "0.10", "0.1", SAME },
    { VALUE, "1", "-1", OTHER },
    { VALUE, "0.1", "0.2", OTHER },
    { VALUE, "0.1", "0.10000000000000002", OTHER }, /* the next double */
    { VALUE, "0.1", "0.10000000000000000001", SAME }, /* the same one, for every reader */
    { VALUE, "9007199254740992", "9007199254740993", OTHER }, /* 2^53: doubles end here */
    { VALUE, "9007199254740992", "9007199254740992.0", SAME },
    { VALUE, "9223372036854775807", "9223372036854775808", OTHER },
    { VALUE, "9223372036854775808", "-9223372036854775808", OTHER },
    { VALUE, "-9223372036854775807", "-9223372036854775808", OTHER },
    { VALUE, "18446744073709551614", "18446744073709551615", OTHER },
    { VALUE, "127", "128", OTHER },
    { VALUE, "16383", "16384", OTHER },
    { VALUE, "4607182418800017408", "1", OTHER }, /* the bits of 1.0 */
    { VALUE, "1e-300", "0", OTHER },
    /* types */
    { VALUE, "1", "\"1\"", OTHER },
    { VALUE, "1", "true", OTHER },
    { VALUE, "0", "false", OTHER },
    { VALUE, "true", "false", OTHER },
    { VALUE, "false", "null", OTHER },
    { VALUE, "\"\"", "null", OTHER },
    { VALUE, "[]", "{}", OTHER },
    { VALUE, "[]", "[[]]", OTHER },
    { VALUE, "[null]", "[]", OTHER },
    { VALUE, "[[],[]]", "[[[]]]", OTHER },
    { VALUE, "[\"ab\",\"c\"]", "[\"a\",\"bc\"]", OTHER },
    { VALUE, "{\"ab\":\"c\"}", "{\"a\":\"bc\"}", OTHER },
    { VALUE, "{\"a\":{\"b\":1}}", "{\"a\":{},\"b\":1}", OTHER },
    { VALUE, "[\"s\\u0001a\"]", "[\"\",\"a\"]", OTHER }, /* as it might be hashed */
    /* letters */
    { VALUE, "\"a\\/\\u00e9\"", "\"a/\xc3\xa9\"", SAME },
    { VALUE, "\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\"", SAME },
    { VALUE, "\"\\n\"", "\"\\u000A\"", SAME },
    { VALUE, "{\"\\u0061\":1}", "{\"a\":1}", SAME },
    { WHOLE, "{\"\\u0070rompt\":\"a\",\"\\u006e\":1}", "{\"prompt\":\"a\"}", SAME },
    { VALUE, "\"\xc3\xa9\"", "\"e\xcc\x81\"", OTHER }, /* NFC, NFD */
    { VALUE, "\"a\"", "\"A\"", OTHER },
    { VALUE, "\"a\"", "\"a \"", OTHER },
    { VALUE, "\"a\"", "\"a\\u0000\"", OTHER },
    { VALUE, "\"\xef\xbc\x81\"", "\"!\"", OTHER }, /* a wide ! */
    /* null, absent */
    { CHAT, ",\"seed\":null", "", SAME },
    { CHAT, ",\"unheard_of\":null", "", SAME },
    { MESSAGE, ",\"content\":null,\"tool_calls\":[]", ",\"tool_calls\":[]", SAME },
    { MESSAGE, ",\"content\":\"\"", "", OTHER },
    { MESSAGE, ",\"content\":\"\"", ",\"content\":null", OTHER },
    { CALL, ",\"function\":null", "", OTHER },
    { TOOL, ",\"parameters\":null", "", OTHER },
    { SCHEMA, ",\"default\":null", "", OTHER },
    { VALUE, "{\"a\":null}", "{}", OTHER },
    /* what changes no answer */
    { CHAT, ",\"stream\":true", "", SAME },
    { CHAT, ",\"stream\":true,\"stream_options\":{\"include_usage\":true}", ",\"stream\":false", SAME },
    { CHAT, ",\"stream_options\":{}", "", SAME },
    { PROMPT, ",\"stream_options\":{\"include_usage\":false}", "", SAME },
    { CHAT, ",\"stream_options\":{\"include_usage\":true,\"continuous_usage_stats\":true}", ",\"stream_options\":{\"include_usage\":true}", OTHER }, /* each event has more in it */
    { CHAT, ",\"stream_options\":{\"include_obfuscation\":false}", "", OTHER },
    { PROMPT, ",\"stream_options\":{\"a\":1}", ",\"stream_options\":{\"a\":2}", OTHER },
    { CHAT, ",\"user\":\"a\"", ",\"user\":\"b\"", SAME },
    { CHAT, ",\"metadata\":{\"a\":\"b\"}", "", SAME },
    { CHAT, ",\"safety_identifier\":\"a\"", "", SAME },
    { CHAT, ",\"prompt_cache_key\":\"a\"", "", SAME },
    { MESSAGE, ",\"user\":\"a\"", "", OTHER }, /* within, it may */
    { MESSAGE, ",\"metadata\":{}", "", OTHER },
    { VALUE, "{\"stream\":true}", "{}", OTHER },
    { VALUE, "{\"model\":\"a\"}", "{\"model\":\"b\"}", OTHER },
    { CHAT, ",\"User\":\"a\"", "", OTHER },
    { CHAT, ",\"use\":\"a\"", "", OTHER },
    /* what a scope says */
    { CHAT, ",\"model\":\"a\"", ",\"model\":\"b\"", SAME },
    { CHAT, ",\"max_tokens\":1", ",\"max_tokens\":2", SAME },
    { CHAT, ",\"max_completion_tokens\":1", "", SAME },
    { CHAT, ",\"max_tokens\":-0", ",\"max_tokens\":0", SAME },
    { CHAT, ",\"max_tokens\":-1", ",\"max_tokens\":0", OTHER },
    { CHAT, ",\"max_tokens\":1,\"max_completion_tokens\":null", "", SAME },
    { CHAT, ",\"max_tokens\":1,\"max_completion_tokens\":3", ",\"max_tokens\":2,\"max_completion_tokens\":3", OTHER },
    { CHAT, ",\"temperature\":0", ",\"temperature\":0.5", SAME },
    { INPUT, ",\"temperature\":\"hot\"", "", OTHER }, /* what it cannot say stays */
    { INPUT, ",\"model\":\"a\"", ",\"model\":\"b\"", SAME },
    { INPUT, ",\"max_tokens\":1", ",\"max_tokens\":2", OTHER }, /* and for embeddings it says none of the rest */
    { INPUT, ",\"max_tokens\":1", "", OTHER },
    { INPUT, ",\"max_completion_tokens\":1", "", OTHER },
    { INPUT, ",\"temperature\":0", ",\"temperature\":0.5", OTHER },
    { INPUT, ",\"temperature\":null", "", SAME },
    { WHOLE, "{\"input\":\"i\",\"messages\":[],\"temperature\":0}", "{\"input\":\"i\",\"messages\":[]}", OTHER },
    { PROMPT, ",\"max_completion_tokens\":\"1\"", ",\"max_completion_tokens\":\"2\"", OTHER },
    { PROMPT, ",\"max_completion_tokens\":4294967296", "", OTHER },
    /* defaults */
    { CHAT, ",\"n\":1", "", SAME },
    { CHAT, ",\"n\":1.0", "", SAME },
    { PROMPT, ",\"n\":1", "", SAME },
    { CHAT, ",\"n\":2", "", OTHER },
    { INPUT, ",\"n\":1", "", OTHER },
    { VALUE, "{\"n\":1}", "{}", OTHER },
    { CHAT, ",\"logprobs\":false", "", SAME },
    { CHAT, ",\"logprobs\":true", "", OTHER },
    { PROMPT, ",\"logprobs\":false", "", OTHER }, /* it is a number there: 0 to those who take it at all */
    { WHOLE, "{\"messages\":[],\"prompt\":\"p\",\"logprobs\":false}", "{\"messages\":[],\"prompt\":\"p\"}", OTHER },
    { PROMPT, ",\"echo\":false", "", SAME },
    { PROMPT, ",\"echo\":true", "", OTHER },
    { CHAT, ",\"logit_bias\":{}", "", SAME },
    { CHAT, ",\"logit_bias\":[]", "", OTHER },
    { CHAT, ",\"logit_bias\":{\"1\":2}", "", OTHER },
    { CHAT, ",\"response_format\":{\"type\":\"text\"}", "", SAME },
    { CHAT, ",\"response_format\":{\"type\":\"json_object\"}", "", OTHER },
    { CHAT, ",\"response_format\":{\"type\":\"text\",\"x\":1}", "", OTHER },
    { INPUT, ",\"encoding_format\":\"float\"", "", SAME },
    { INPUT, ",\"encoding_format\":\"base64\"", "", OTHER },
    { INPUT, ",\"dimensions\":256", "", OTHER },
    /* no defaults: not the same everywhere */
    { CHAT, ",\"top_p\":1", "", OTHER },
    { CHAT, ",\"presence_penalty\":0", "", OTHER },
    { CHAT, ",\"frequency_penalty\":0", "", OTHER },
    { CHAT, ",\"stop\":[]", "", OTHER },
    { CHAT, ",\"tools\":[]", "", OTHER },
    { CHAT, ",\"parallel_tool_calls\":true", "", OTHER },
    { CHAT, ",\"seed\":0", "", OTHER },
    { CHAT, ",\"stop\":\"a\"", ",\"stop\":[\"a\"]", OTHER },
    /* messages */
    { MESSAGE, ",\"content\":\"a\"", ",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]", OTHER }, /* a chat template may tell them apart */
    { WHOLE, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}",
      "{\"messages\":[{\"role\":\"user\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"a\"}]}", OTHER },
    { WHOLE, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"}]}", OTHER },
    { WHOLE, "{\"messages\":{\"content\":null}}", "{\"messages\":{}}", OTHER },
    { WHOLE, "{\"messages\":[[{\"content\":null}]]}", "{\"messages\":[[{}]]}", OTHER },
    { WHOLE, "{\"x\":{\"messages\":[{\"content\":null}]}}", "{\"x\":{\"messages\":[{}]}}", OTHER },
};

static struct text placed(const char *place, const char *part)
{
    const char *hole = strstr(place, "%s");
    const char *whole = arena_printf(&arena, "%.*s%s%s", (int)(hole - place), place, part, hole + 2);
    assert_non_null(whole);
    return text_of(whole);
}

/* hostile 56: the same key only for the same meaning. A second, slower reader agrees on each. */
TEST(hostile_56_what_is_meant_alike_has_one_digest_and_nothing_else_has_it)
{
    for (unsigned i = 0; i < ARRAY_LEN(pairs); i++) {
        struct text a = placed(pairs[i].place, pairs[i].a), b = placed(pairs[i].place, pairs[i].b);
        if (same_digest(digest_of(a), digest_of(b)) != pairs[i].is_same)
            fail_msg("%.*s and %.*s should %sbe the same", TEXT_ARG(a), TEXT_ARG(b), pairs[i].is_same ? "" : "not ");
        if (meaning_is_same(parsed(a), parsed(b)) != pairs[i].is_same)
            fail_msg("the plain reader is wrong about %.*s and %.*s", TEXT_ARG(a), TEXT_ARG(b));
    }
}

/* An integer of which readers know more than we do has no digest; the largest that all of us know has. */
TEST(numbers_that_only_some_readers_know_exactly_have_no_digest)
{
    const char *const unsure[] = { "18446744073709551616", "18446744073709551617", "-9223372036854775809", "1e300", "-1e19", "[[{\"a\":1e20}]]" };
    const char *const sure[] = { "18446744073709551615", "-9223372036854775808", "1e19", "-9e18", "5e-324", "1.7976931348623157" };
    struct cache_digest d;
    for (unsigned i = 0; i < ARRAY_LEN(unsure); i++)
        assert_int_equal(cache_digest(&arena, parsed(placed(VALUE, unsure[i])), &d), FAIL_TOO_LARGE);
    for (unsigned i = 0; i < ARRAY_LEN(sure); i++)
        assert_int_equal(cache_digest(&arena, parsed(placed(VALUE, sure[i])), &d), OK);
}

static void is_hex(const uint8_t sha256[CACHE_ID_BYTES], const char *hex)
{
    for (unsigned i = 0; i < CACHE_ID_BYTES; i++)
        assert_int_equal(sha256[i], hex_digit(hex[2 * i]) * 16 + hex_digit(hex[2 * i + 1]));
}

/* Answers outlive a program in a shared cache: these change only together with the letters that hashes begin with. Made by Python's hashlib
   of the bytes that canon.c's first comment describes. */
TEST(the_canonical_form_is_the_one_that_is_written_down)
{
    struct cache_digest d = digest_of(TEXT("{\"prompt\":\"hi\",\"n\":1,\"x{y\":[true,false,null,0.5,10000,-1]}"));
    is_hex(d.sha256, "da9a8c2ad5d5527c37493f7e9a5cc95a0e0da72fc5c15fc19a9724ea23762985"); /* "Bo\2s\6prompts\2his\3x{ya\6tfzr\0\0\0\0\0\0\340?+\220N-\1" */
    struct cache_scope scope = { .tenant = TEXT("acme"), .surface = TEXT("chat"), .model = TEXT("small"), .has_max_tokens = true, .max_tokens = 300, .has_temperature = true, .temperature = 0.5 };
    struct cache_id id;
    cache_identify(&id, &d, &scope);
    is_hex(id.sha256, "e0f61550f7d2d69ae634e488087112d039913a9c536fd876a41e3f8aec4f5780"); /* a tenant's: without an owner */
}

/* ---- any tree ---- */

#define CHILDREN_MAX 100
#define NODES_MAX    4000

/* A value with its name, if it lies in an object. */
struct node {
    enum { NUMBER, TEXT_VALUE, WORD, ARRAY, OBJECT } type;
    unsigned name;     /* of its siblings', unlike all others */
    uint64_t value;    /* what is said */
    unsigned children; /* how many, and who */
    unsigned child[CHILDREN_MAX];
};

static struct node nodes[NODES_MAX];
static unsigned nodes_count;

static unsigned below(uint64_t *seed, unsigned n) { return (unsigned)(random_step(seed) % n); }

/* As many as fit: a wide object now and then, so that names need more room than there is at first. */
static unsigned grow(uint64_t *seed, unsigned depth)
{
    struct node *n = &nodes[nodes_count];
    unsigned me = nodes_count++, kind = below(seed, depth == 0 ? 1 : depth > 6 ? 6 : 10);
    n->type = depth == 0 || kind > 7 ? OBJECT : kind > 5 ? ARRAY : kind > 3 ? WORD : kind > 1 ? TEXT_VALUE : NUMBER;
    n->value = random_step(seed) >> below(seed, 64);
    n->children = 0;
    unsigned children = n->type < ARRAY ? 0 : below(seed, 40) == 0 ? CHILDREN_MAX : below(seed, 6);
    for (unsigned i = 0; i < children && nodes_count < NODES_MAX - CHILDREN_MAX; i++) {
        unsigned child = grow(seed, depth + 1);
        nodes[child].name = 3 * i;
        n->child[n->children++] = child;
    }
    return me;
}

static void add(struct buf *out, const char *words)
{
    assert_int_equal(buf_add_text(out, text_of(words)), OK);
}

static void print_blank(struct buf *out, uint64_t *how)
{
    static const char *const blanks[] = { "", "", "", " ", "\n", "\t\r\n  " };
    add(out, blanks[below(how, ARRAY_LEN(blanks))]);
}

/* A letter may be written as itself or as an escape. */
static void print_string(struct buf *out, uint64_t value, uint64_t *how)
{
    add(out, "\"");
    for (unsigned i = 0; i <= value % 9; i++) {
        unsigned letter = 0x21 + (unsigned)((value >> (5 * i)) % 0x5e);
        bool must = letter == '"' || letter == '\\';
        assert_int_equal(must || below(how, 4) == 0 ? buf_printf(out, "\\u%04x", letter) : buf_printf(out, "%c", letter), OK);
    }
    assert_int_equal(buf_printf(out, "%" PRIu64 "\"", value), OK); /* so that two values are never one string */
}

/* Halves of small numbers, and whole ones of any size. */
static void print_number(struct buf *out, uint64_t value, uint64_t *how)
{
    if (value % 3 == 0 && value > 0 && value < 1000000)
        assert_int_equal(below(how, 2) ? buf_printf(out, "%" PRIu64 ".5", value) : buf_printf(out, "%" PRIu64 "5e-1", value), OK);
    else if (value < 1000000 && below(how, 2))
        assert_int_equal(below(how, 2) ? buf_printf(out, "%" PRIu64 ".000", value) : buf_printf(out, "%" PRIu64 "E0", value), OK);
    else
        assert_int_equal(buf_printf(out, "%" PRIu64, value), OK);
}

static void print_node(struct buf *out, const struct node *n, uint64_t *how);

static void print_children(struct buf *out, const struct node *n, uint64_t *how)
{
    unsigned order[CHILDREN_MAX];
    for (unsigned i = 0; i < n->children; i++) {
        unsigned k = n->type == OBJECT ? below(how, i + 1) : i; /* shuffled from within (Fisher, Yates) */
        order[i] = order[k];
        order[k] = n->child[i];
    }
    for (unsigned i = 0; i < n->children; i++) {
        add(out, i > 0 ? "," : "");
        print_blank(out, how);
        if (n->type == OBJECT) {
            print_string(out, nodes[order[i]].name, how);
            print_blank(out, how);
            add(out, ":");
        }
        print_node(out, &nodes[order[i]], how);
    }
}

static void print_node(struct buf *out, const struct node *n, uint64_t *how)
{
    static const char *const words[] = { "true", "false", "null" };
    print_blank(out, how);
    if (n->type == NUMBER)
        print_number(out, n->value, how);
    else if (n->type == TEXT_VALUE)
        print_string(out, n->value, how);
    else if (n->type == WORD)
        add(out, words[n->value % 3]);
    else {
        add(out, n->type == ARRAY ? "[" : "{");
        print_children(out, n, how);
        add(out, n->type == ARRAY ? "]" : "}");
    }
    print_blank(out, how);
}

static struct cache_digest digest_of_tree(struct buf *out, uint64_t how)
{
    buf_clear(out);
    add(out, "{\"x\":"); /* the top level has its own rules */
    print_node(out, &nodes[0], &how);
    add(out, "}");
    return digest_of(buf_text(out));
}

/* One change of what is said, anywhere. */
static void change(uint64_t *seed)
{
    struct node *n = &nodes[below(seed, nodes_count)];
    if (n->children > 0 && below(seed, 2))
        n->children--;
    else if (n->children > 0 && n->type == OBJECT)
        nodes[n->child[below(seed, n->children)]].name += 1;
    else if (n->type >= ARRAY)
        n->type = n->children == 0 || n->type == OBJECT ? (n->type == OBJECT ? ARRAY : OBJECT) : WORD;
    else if (below(seed, 4) == 0)
        n->type = (n->type + 1) % 3;
    else
        n->value = n->type == WORD ? n->value + 1 + below(seed, 2) : n->value ^ (1ull << below(seed, 64));
}

TEST(any_tree_has_one_digest_however_it_is_written_and_another_after_any_change)
{
    struct buf out;
    buf_init(&out, 1u << 24);
    for (uint64_t first = 1; first <= 300; first++) {
        uint64_t seed = first;
        nodes_count = 0;
        (void)grow(&seed, 0);
        struct cache_digest d = digest_of_tree(&out, random_step(&seed));
        for (unsigned i = 0; i < 3; i++)
            if (!same_digest(d, digest_of_tree(&out, random_step(&seed))))
                fail_msg("seed %" PRIu64 ": another digest for %.*s", first, TEXT_ARG(buf_text(&out)));
        change(&seed);
        if (same_digest(d, digest_of_tree(&out, random_step(&seed))))
            fail_msg("seed %" PRIu64 ": the same digest for %.*s", first, TEXT_ARG(buf_text(&out)));
        arena_fini(&arena);
        arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    }
    buf_fini(&out);
}

/* ---- sizes ---- */

TEST(bodies_as_deep_as_they_may_be_have_a_digest)
{
    char deep[2][2 * JSON_DEPTH_MAX + 16];
    for (unsigned k = 0; k < 2; k++) {
        unsigned n = JSON_DEPTH_MAX - 1 - k;
        memcpy(deep[k], "{\"x\":", 5);
        memset(deep[k] + 5, '[', n);
        memset(deep[k] + 5 + n, ']', n);
        memcpy(deep[k] + 5 + 2 * n, "}", 2);
    }
    assert_false(same_digest(digest_of(text_of(deep[0])), digest_of(text_of(deep[1]))));
}

/* {"0":0,"1":0,…}, forth or back. */
static struct text wide(struct buf *out, unsigned members, bool is_back)
{
    buf_clear(out);
    for (unsigned i = 0; i < members; i++)
        assert_int_equal(buf_printf(out, "%s\"%u\":0", i == 0 ? "{" : ",", is_back ? members - 1 - i : i), OK);
    add(out, "}");
    return buf_text(out);
}

static nanos time_of(struct text body)
{
    struct cache_digest d;
    yyjson_val *root = parsed(body);
    nanos best = INT64_MAX;
    for (unsigned i = 0; i < 3; i++) {
        struct timespec from, to;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
        assert_int_equal(cache_digest(&arena, root, &d), OK);
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
        best = MIN(best, (to.tv_sec - from.tv_sec) * NANOS_PER_S + to.tv_nsec - from.tv_nsec);
    }
    return best;
}

TEST(a_hundred_thousand_names_are_sorted_in_n_log_n)
{
    struct buf out;
    buf_init(&out, 1u << 24);
    struct cache_digest forth = digest_of(wide(&out, 100000, false)), back = digest_of(wide(&out, 100000, true));
    assert_true(same_digest(forth, back));
    nanos few = time_of(wide(&out, 5000, true)), many = time_of(wide(&out, 100000, true));
    assert_true(many < few * 100); /* 20 times as many: about 30 times as long, and 400 if each met each */
    buf_fini(&out);
}

/* {"x":[{"a":0,"b":0},…]} */
static struct text siblings(struct buf *out, unsigned count)
{
    buf_clear(out);
    for (unsigned i = 0; i < count; i++)
        add(out, i == 0 ? "{\"x\":[{\"a\":0,\"b\":0}" : ",{\"a\":0,\"b\":0}");
    add(out, "]}");
    return buf_text(out);
}

TEST(without_memory_for_the_names_there_is_no_digest)
{
    struct buf out;
    struct arena little;
    struct cache_digest d;
    buf_init(&out, 1u << 24);
    arena_init(&little, NULL, 0, 4096);
    assert_int_equal(cache_digest(&little, parsed(wide(&out, 32, false)), &d), OK);
    assert_int_equal(little.bytes, 0); /* few need none */
    assert_int_equal(cache_digest(&little, parsed(siblings(&out, 1000)), &d), OK);
    assert_int_equal(little.bytes, 0); /* nor do many who do not lie in one another */
    assert_int_equal(cache_digest(&little, parsed(wide(&out, 100, false)), &d), OK);
    assert_int_equal(cache_digest(&little, parsed(wide(&out, 10000, false)), &d), FAIL_NO_MEMORY);
    arena_fini(&little);
    buf_fini(&out);
}

/* ---- identities ---- */

static bool same_id(struct cache_id a, struct cache_id b)
{
    bool is_same = memcmp(a.sha256, b.sha256, sizeof a.sha256) == 0;
    assert_int_equal(is_same, a.hash == b.hash);
    return is_same;
}

static struct cache_id identity(const char *tenant, const char *surface, const char *model)
{
    struct cache_digest d = digest_of(TEXT("{\"prompt\":\"p\"}"));
    struct cache_scope scope = { .tenant = text_of(tenant), .surface = text_of(surface), .model = text_of(model) };
    struct cache_id id;
    cache_identify(&id, &d, &scope);
    return id;
}

/* hostile 51, 53: a tenant finds its own answers again, and nobody else finds them. */
TEST(hostile_51_53_an_identity_is_found_again_by_its_own_tenant_and_by_no_other)
{
    assert_true(same_id(identity("acme", "chat", "small"), identity("acme", "chat", "small")));
    assert_false(same_id(identity("acme", "chat", "small"), identity("emca", "chat", "small")));
    assert_false(same_id(identity("acme", "chat", "small"), identity("", "chat", "small")));
    assert_false(same_id(identity("acme", "chat", "small"), identity("acme", "chat", "large")));
    assert_false(same_id(identity("acme", "chat", "small"), identity("acme", "completion", "small")));
}

/* complaint 32 (bifrost PR#5769): a name that looks like the end of one and the beginning of the next. */
TEST(complaint_32_no_name_reaches_into_the_next_one)
{
    static const char *const names[][3] = {
        { "acme", "chat", "small" }, { "acmechat", "", "small" }, { "acme", "chatsmall", "" }, { "", "acmechat", "small" }, { "acmec", "hat", "small" },
        { "acme", "cha", "tsmall" }, { "acmes\4chat", "s\5small", "" }, { "acmes\4chats\5small", "", "" }, { "", "acme", "chatsmall" }, { "", "", "acmechatsmall" },
        { "as", "b", "c" }, { "a", "sb", "c" }, { "x", "s\1b", "c" }, { "xs\3", "b", "c" },
        { "acme:chat", "", "small" }, { "acme:", "chat", "small" }, { "acme", ":chat", "small" },
    };
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        for (unsigned k = 0; k < ARRAY_LEN(names); k++)
            assert_int_equal(same_id(identity(names[i][0], names[i][1], names[i][2]), identity(names[k][0], names[k][1], names[k][2])), i == k);
}

/* complaint 31 (bifrost#2791): the order of a map is no part of a key; tests above shuffle all orders, this is the request as it was told. */
TEST(complaint_31_equal_requests_of_a_client_that_shuffles_its_maps_hit)
{
    assert_true(same_digest(digest_of(TEXT("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true}}],\"top_p\":0.5}")),
                            digest_of(TEXT("{\"top_p\":5e-1,\"tools\":[{\"function\":{\"strict\":true,\"name\":\"f\"},\"type\":\"function\"}],\"messages\":[{\"content\":\"a\",\"role\":\"user\"}]}"))));
}

TEST(what_a_request_may_generate_is_part_of_its_identity)
{
    struct cache_digest d = digest_of(TEXT("{\"prompt\":\"p\"}"));
    const struct cache_scope scopes[] = {
        { .max_tokens = 0 }, { .has_max_tokens = true, .max_tokens = 0 }, { .has_max_tokens = true, .max_tokens = 1 }, { .has_max_tokens = true, .max_tokens = 1, .max_is_completion = true },
        { .has_temperature = true, .temperature = 0 }, { .has_temperature = true, .temperature = 0.1 }, { .has_temperature = true, .temperature = 1, .has_max_tokens = true, .max_tokens = 1 },
        { .tenant = TEXT("m") }, { .model = TEXT("m\1") },
    };
    struct cache_id ids[ARRAY_LEN(scopes)], id;
    for (unsigned i = 0; i < ARRAY_LEN(scopes); i++) {
        cache_identify(&ids[i], &d, &scopes[i]);
        for (unsigned k = 0; k < i; k++)
            assert_false(same_id(ids[i], ids[k]));
    }
    cache_identify(&id, &d, &(struct cache_scope){ .has_temperature = true, .temperature = -0.0 });
    assert_true(same_id(id, ids[4]));
    cache_identify(&id, &d, &(struct cache_scope){ .max_tokens = 7, .temperature = 7 }); /* neither is given */
    assert_true(same_id(id, ids[0]));
}

/* hostile 48, complaint 32: a key named acme, and a token whose sub is acme, are not the tenant acme. */
TEST(what_a_name_is_of_is_part_of_an_identity)
{
    struct cache_digest d = digest_of(TEXT("{\"prompt\":\"p\"}"));
    struct cache_id ids[3];
    for (unsigned i = 0; i < 3; i++) {
        cache_identify(&ids[i], &d, &(struct cache_scope){ .tenant = TEXT("acme"), .owner = i });
        for (unsigned k = 0; k < i; k++)
            assert_false(same_id(ids[i], ids[k]));
    }
}

TEST(each_form_of_an_answer_is_an_entry_of_its_own)
{
    struct cache_id id = identity("a", "b", "c");
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 4; k++) {
            struct cache_id one = cache_id_form(&id, i), two = cache_id_form(&id, k);
            assert_int_equal(memcmp(one.sha256, two.sha256, sizeof one.sha256) == 0, i == k);
            assert_true(one.hash == id.hash);
        }
    assert_true(same_id(cache_id_form(&id, 0), id));
}

static bool same_raw(struct cache_raw *raw, const char *salt1, const char *body1, const char *salt2, const char *body2)
{
    struct cache_tag one, two;
    assert_true(cache_raw_tag(raw, 0, text_of(salt1), text_of(body1), &one) && cache_raw_tag(raw, 0, text_of(salt2), text_of(body2), &two));
    return memcmp(&one, &two, sizeof one) == 0;
}

TEST(raw_bytes_are_known_by_all_of_them_and_by_their_salt)
{
    struct cache_raw *raw = cache_raw_new((const uint8_t *)"a key of this process, nobody's."), *other = cache_raw_new((const uint8_t *)"another key of another process..");
    struct cache_tag one, two;
    assert_true(same_raw(raw, "a", "{}", "a", "{}"));
    assert_false(same_raw(raw, "a", "{}", "a", "{ }"));
    assert_false(same_raw(raw, "a", "{}", "b", "{}"));
    assert_false(same_raw(raw, "a", "b{}", "ab", "{}"));
    assert_false(same_raw(raw, "", "", "s", ""));
    assert_true(cache_raw_tag(raw, 0, TEXT("a"), TEXT("{}"), &one) && cache_raw_tag(raw, 1, TEXT("a"), TEXT("{}"), &two));
    assert_true(memcmp(&one, &two, sizeof one) != 0);
    assert_true(cache_raw_tag(raw, 0, TEXT("a"), TEXT("{}"), &one) && cache_raw_tag(other, 0, TEXT("a"), TEXT("{}"), &two));
    assert_true(memcmp(&one, &two, sizeof one) != 0);
    cache_raw_free(raw);
    cache_raw_free(other);
}

/* ---- embeddings ---- */

static struct cache_digest outs[4], rest;

/* How many inputs, each joined with the rest. */
static unsigned inputs_of(const char *body)
{
    yyjson_val *root = parsed(text_of(body));
    unsigned n = cache_inputs(root);
    assert_true(n <= ARRAY_LEN(outs));
    assert_int_equal(cache_digest_inputs(&arena, root, &rest, outs), OK);
    for (unsigned i = 0; i < n; i++)
        outs[i] = cache_digest_join(&rest, &outs[i]);
    return n;
}

static struct cache_digest single(const char *body)
{
    assert_int_equal(inputs_of(body), 1);
    return outs[0];
}

TEST(an_input_is_the_same_alone_in_an_array_and_in_a_batch)
{
    struct cache_digest x = single("{\"input\":\"x\",\"model\":\"m\"}"), tokens = single("{\"input\":[1,2]}");
    assert_true(same_digest(x, single("{\"encoding_format\":\"float\",\"input\":[\"\\u0078\"]}")));
    assert_int_equal(inputs_of("{\"input\":[\"w\",\"x\",\"y\"],\"user\":\"u\"}"), 3);
    assert_true(same_digest(x, outs[1]) && !same_digest(outs[0], outs[2]));
    assert_true(same_digest(tokens, single("{\"input\":[[1.0,2]]}")));
    assert_int_equal(inputs_of("{\"input\":[[1,2],[3],[1,2]]}"), 3);
    assert_true(same_digest(tokens, outs[0]) && same_digest(tokens, outs[2]) && !same_digest(tokens, outs[1]));
}

TEST(an_input_is_another_with_another_rest)
{
    struct cache_digest x = single("{\"input\":\"x\"}");
    assert_false(same_digest(x, single("{\"input\":\"x\",\"dimensions\":2}")));
    assert_false(same_digest(x, single("{\"input\":\"x\",\"encoding_format\":\"base64\"}")));
    assert_false(same_digest(x, single("{\"input\":\"x\",\"unheard_of\":0}")));
    assert_false(same_digest(single("{\"input\":[1]}"), single("{\"input\":[\"1\"]}")));
    assert_false(same_digest(single("{\"input\":[12]}"), single("{\"input\":[1,2]}")));
    assert_false(same_digest(x, digest_of(TEXT("{\"input\":\"x\"}"))));
}

TEST(what_is_no_input_counts_as_none_and_a_mixture_as_one)
{
    static const struct { const char *body; unsigned inputs; } rows[] = {
        { "{}", 0 }, { "{\"input\":null}", 0 }, { "{\"input\":5}", 0 }, { "{\"input\":{}}", 0 }, { "{\"input\":[]}", 0 }, { "{\"input\":\"\"}", 1 }, { "{\"input\":[\"a\",1]}", 1 },
        { "{\"input\":[1,\"a\"]}", 1 }, { "{\"input\":[\"a\",[1]]}", 1 }, { "{\"input\":[[1],2]}", 1 }, { "{\"input\":[{}]}", 1 }, { "{\"input\":[[],[]]}", 2 },
    };
    for (unsigned i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(cache_inputs(parsed(text_of(rows[i].body))), rows[i].inputs);
    assert_false(same_digest(single("{\"input\":[\"a\",1]}"), single("{\"input\":[1,\"a\"]}")));
}

int main(void)
{
#define ROW(name) cmocka_unit_test_setup_teardown(name, open_arena, close_arena)
    const struct CMUnitTest tests[] = {
        ROW(hostile_56_what_is_meant_alike_has_one_digest_and_nothing_else_has_it),
        ROW(numbers_that_only_some_readers_know_exactly_have_no_digest),
        ROW(the_canonical_form_is_the_one_that_is_written_down),
        ROW(any_tree_has_one_digest_however_it_is_written_and_another_after_any_change),
        ROW(bodies_as_deep_as_they_may_be_have_a_digest),
        ROW(a_hundred_thousand_names_are_sorted_in_n_log_n),
        ROW(without_memory_for_the_names_there_is_no_digest),
        ROW(hostile_51_53_an_identity_is_found_again_by_its_own_tenant_and_by_no_other),
        ROW(complaint_32_no_name_reaches_into_the_next_one),
        ROW(complaint_31_equal_requests_of_a_client_that_shuffles_its_maps_hit),
        ROW(what_a_request_may_generate_is_part_of_its_identity),
        ROW(what_a_name_is_of_is_part_of_an_identity),
        ROW(each_form_of_an_answer_is_an_entry_of_its_own),
        ROW(raw_bytes_are_known_by_all_of_them_and_by_their_salt),
        ROW(an_input_is_the_same_alone_in_an_array_and_in_a_batch),
        ROW(an_input_is_another_with_another_rest),
        ROW(what_is_no_input_counts_as_none_and_a_mixture_as_one),
    };
    return cmocka_run_group_tests_name("cache_key", tests, NULL, NULL);
}
