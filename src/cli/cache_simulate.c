/* cache_simulate.c: `weir cache simulate`: how much of a trace a cache would have answered, by its size, under weir's own policy, others, and the ideal. */
#include "base/json.h"
#include "bench/replay.h"
#include "cli/cache.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/table.h"
#include <ctype.h>
#include <stdio.h>

#define SIZES_MAX    32          /* more is no table that a person reads */
#define ENTRIES_MAX  UINT32_MAX
#define ANSWER_BYTES 2048        /* a page of text, and what keeping it takes */
#define ARENA_MAX    (1u << 20)

struct simulation {
    const char *trace, *entries, *bytes, *answer;
    bool json;
    uint64_t answer_bytes;
    unsigned size_count;
    struct {
        uint32_t entries;
        uint64_t bytes; /* as said; 0: entries were */
        uint64_t hits[REPLAY_POLICIES];
    } sizes[SIZES_MAX];
    struct replay_trace questions;
};

static int fail(const struct complaint *why, int code)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    fprintf(stderr, "weir cache simulate: %s\n", text);
    return code;
}

/* ---- sizes ---- */

static bool add_size(struct simulation *s, uint64_t entries, uint64_t bytes, struct complaint *why)
{
    if (s->size_count == SIZES_MAX)
        return complain(why, NULL, 0, 0, "more than %u sizes", SIZES_MAX);
    s->sizes[s->size_count].entries = (uint32_t)MIN(entries, ENTRIES_MAX);
    s->sizes[s->size_count++].bytes = bytes;
    return true;
}

static bool read_entries(struct simulation *s, struct complaint *why)
{
    struct text rest = text_of(s->entries), word;
    uint64_t entries;
    while (rest.at != NULL) {
        rest = text_cut(rest, ',', &word);
        if (!text_to_u64(word, ENTRIES_MAX, &entries) || entries == 0)
            return complain(why, NULL, 0, 0, "--entries is numbers such as 1000,10000, not \"%.*s\"", TEXT_ARG(word));
        if (!add_size(s, entries, 0, why))
            return false;
    }
    return true;
}

static bool read_bytes(struct simulation *s, struct complaint *why)
{
    struct text rest = text_of(s->bytes), word;
    uint64_t bytes;
    s->answer_bytes = ANSWER_BYTES;
    if (s->answer != NULL && s->bytes == NULL)
        return complain(why, NULL, 0, 0, "--answer says how many answers fit into --bytes, and there is none");
    if (s->answer != NULL && (!text_to_bytes(text_of(s->answer), &s->answer_bytes) || s->answer_bytes == 0))
        return complain(why, NULL, 0, 0, "--answer is a size such as 2KiB, not \"%s\"", s->answer);
    while (rest.at != NULL) {
        rest = text_cut(rest, ',', &word);
        if (!text_to_bytes(word, &bytes) || bytes < s->answer_bytes)
            return complain(why, NULL, 0, 0, "--bytes is sizes such as 64MiB,256MiB with room for an answer (%llu), not \"%.*s\"", (unsigned long long)s->answer_bytes,
                            TEXT_ARG(word));
        if (!add_size(s, bytes / s->answer_bytes, bytes, why))
            return false;
    }
    return true;
}

/* From a hundredth of the keys to all of them. */
static bool usual_sizes(struct simulation *s, struct complaint *why)
{
    static const unsigned parts[] = { 100, 50, 20, 10, 5, 2, 1 };
    bool is_ok = true;
    for (size_t i = 0; is_ok && i < ARRAY_LEN(parts); i++) {
        uint32_t entries = (s->questions.distinct + parts[i] - 1) / parts[i];
        if (s->size_count == 0 || entries > s->sizes[s->size_count - 1].entries) /* of few keys some are the same */
            is_ok = add_size(s, entries, 0, why);
    }
    return is_ok;
}

/* ---- saying it ---- */

static double share(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

static const char *heading(const char *name, char out[16])
{
    size_t n = 0;
    out[n++] = '>';
    for (; *name != '\0' && n < 15; name++)
        out[n++] = (char)toupper((unsigned char)*name);
    out[n] = '\0';
    return out;
}

static void add_row(struct table *t, const struct simulation *s, unsigned i)
{
    const struct replay_trace *q = &s->questions;
    const uint64_t *hits = s->sizes[i].hits;
    char bytes[24];
    if (s->bytes != NULL)
        table_add(t, "%s", s->sizes[i].bytes > 0 ? bytes_print(s->sizes[i].bytes, bytes) : "");
    table_add(t, "%u", s->sizes[i].entries);
    table_add(t, "%.4g %%", 100 * share(s->sizes[i].entries, q->distinct));
    for (unsigned p = 0; p < REPLAY_POLICIES; p++)
        table_add(t, "%.2f %%", 100 * share(hits[p], q->count));
    table_add(t, "%.1f %%", 100 * share(hits[REPLAY_weir], hits[REPLAY_ideal]));
}

static void tell(const struct simulation *s)
{
    const struct replay_trace *q = &s->questions;
    char names[REPLAY_POLICIES][16];
    const char *headings[REPLAY_POLICIES + 4];
    unsigned columns = 0;
    struct arena arena;
    struct table t;
    printf("%s: %u questions for %u keys; a cache of any size answers %.2f %% of them at most\n\n", s->trace, q->count, q->distinct,
           100 * share(q->count - q->distinct, q->count));
    if (s->bytes != NULL)
        headings[columns++] = ">BYTES";
    headings[columns++] = ">ENTRIES";
    headings[columns++] = ">OF KEYS";
    for (unsigned p = 0; p < REPLAY_POLICIES; p++)
        headings[columns++] = heading(replay_policy_name(p), names[p]);
    headings[columns++] = ">WEIR OF IDEAL";
    arena_init(&arena, NULL, 0, ARENA_MAX);
    table_init(&t, &arena, columns, headings);
    for (unsigned i = 0; i < s->size_count; i++)
        add_row(&t, s, i);
    table_print(&t, "");
    arena_fini(&arena);
    printf("\nThe share of questions that were answered from the cache; all answers weigh the same, and none grows old.\n");
    for (unsigned p = 0; p < REPLAY_POLICIES; p++)
        printf("  %-6s %s\n", replay_policy_name(p), replay_policy_what(p));
}

static void tell_json(const struct simulation *s)
{
    const struct replay_trace *q = &s->questions;
    struct buf name;
    buf_init(&name, ARENA_MAX);
    struct text trace = json_add_string(&name, text_of(s->trace)) == OK ? buf_text(&name) : TEXT("null");
    printf("{\"trace\":%.*s,\"questions\":%u,\"keys\":%u,\"most\":%.6f,\"sizes\":[", TEXT_ARG(trace), q->count, q->distinct, share(q->count - q->distinct, q->count));
    for (unsigned i = 0; i < s->size_count; i++) {
        printf("%s\n {\"entries\":%u,", i > 0 ? "," : "", s->sizes[i].entries);
        if (s->sizes[i].bytes > 0)
            printf("\"bytes\":%llu,", (unsigned long long)s->sizes[i].bytes);
        for (unsigned p = 0; p < REPLAY_POLICIES; p++)
            printf("\"%s\":%.6f%s", replay_policy_name(p), share(s->sizes[i].hits[p], q->count), p + 1 < REPLAY_POLICIES ? "," : "}");
    }
    printf("]}\n");
    buf_fini(&name);
}

/* ---- the command ---- */

static int simulate(struct simulation *s)
{
    struct complaint why = { 0 };
    enum fail f = OK;
    if (!replay_trace_read(&s->questions, s->trace, &why))
        return fail(&why, EXIT_USAGE);
    if (s->size_count == 0 && !usual_sizes(s, &why))
        return fail(&why, EXIT_USAGE);
    for (unsigned i = 0; i < s->size_count; i++)
        for (unsigned p = 0; f == OK && p < REPLAY_POLICIES; p++)
            f = replay_run(&s->questions, p, s->sizes[i].entries, &s->sizes[i].hits[p]);
    if (f != OK) {
        fprintf(stderr, "weir cache simulate: no memory is left\n");
        return EXIT_FAILED;
    }
    (s->json ? tell_json : tell)(s);
    return cache_told("simulate") ? EXIT_OK : EXIT_FAILED;
}

int cache_simulate(int argc, char **argv)
{
    static struct simulation s;
    struct words words = { &s.trace, 0, 1 };
    const struct option options[] = {
        { "entries", 0, OPTION_TEXT, "N,...", "Sizes in answers. Without it: 1, 2, 5, 10, 20, 50 and 100 % of the trace's keys.", &s.entries },
        { "bytes", 0, OPTION_TEXT, "SIZE,...", "Sizes as cache.exact.memory has them, each answer taking as much as --answer says.", &s.bytes },
        { "answer", 0, OPTION_TEXT, "SIZE", "What an answer takes, with what is kept beside it (2KiB).", &s.answer },
        { "json", 0, OPTION_FLAG, NULL, "The shares as JSON.", &s.json },
    };
    const struct usage usage = {
        .command = "cache simulate",
        .what = "How much of a trace a cache would have answered, by its size: under weir's policy, under others, and at best.\n"
                "TRACE: lines of requests or of anything else, where equal ones are one key; Mooncake's JSON lines, where each block of hash_ids is a question;\n"
                "zipf:ALPHA,KEYS,REQUESTS[,SEED], where the r-th key comes in proportion to r^-ALPHA; drift: the same, and in the middle all keys give way to others.",
        .examples = "  weir cache simulate requests.jsonl\n  weir cache simulate conversation_trace.jsonl --entries 1000,10000,100000\n"
                    "  weir cache simulate requests.jsonl --bytes 64MiB,256MiB --answer 4KiB\n  weir cache simulate zipf:0.9,100000,2000000 --entries 10000 --json\n",
        .arguments = "TRACE", .options = options, .count = ARRAY_LEN(options), .words = &words, .words_least = 1,
    };
    struct complaint why = { 0 };
    int code;
    if (!options_read(&usage, argc, argv, &code))
        return code;
    if ((s.entries != NULL && !read_entries(&s, &why)) || !read_bytes(&s, &why))
        return usage_refuse(&usage, "%s", why.text);
    code = simulate(&s);
    replay_trace_free(&s.questions);
    return code;
}
