/* bench.c: `weir bench`: a load test of any server: what it is to do, running it, and what is said about it. */
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <stdio.h>
#include <stdlib.h>

/* ---- the command line ---- */

static struct bench_words words;
static const char *first[3]; /* words that are no options */
static struct words urls = { first, 0, ARRAY_LEN(first) }, criteria = { words.criteria, 0, BENCH_CRITERIA_MAX };

static const struct option options[] = {
    { "users", 'u', OPTION_TEXT, "N", "Users that ask, wait for their answer, and ask again (10).", &words.users },
    { "rate", 'r', OPTION_TEXT, "R", "Instead of users: so many requests a second, whatever becomes of them.", &words.rate },
    { "duration", 'd', OPTION_TEXT, "TIME", "How long (10s).", &words.duration },
    { "ramp", 0, OPTION_TEXT, "TIME", "Grow from nothing to the full load over this time first.", &words.ramp },
    { "arrivals", 0, OPTION_TEXT, "KIND", "With --rate: constant, poisson, or gamma:CV for bursts (constant).", &words.arrivals },
    { "warmup", 0, OPTION_TEXT, "TIME", "Leave the beginning out of all numbers (0).", &words.warmup },
    { "timeout", 't', OPTION_TEXT, "TIME", "An answer that takes longer is an error (60s).", &words.timeout },
    { "think", 0, OPTION_TEXT, "TIME", "A user's pause before each request (0).", &words.think },
    { "stream", 's', OPTION_FLAG, NULL, "Ask for streams; times to the first token and between tokens.", &words.stream },
    { "api", 0, OPTION_TEXT, "NAME", "openai, ollama, query or plain; else the URL's path decides.", &words.api },
    { "model", 'm', OPTION_TEXT, "NAME", "Which model to ask; else the first that the server lists.", &words.model },
    { "max-tokens", 0, OPTION_TEXT, "N", "Of each answer; else what the server or the trace says.", &words.max_tokens },
    { "key", 'k', OPTION_TEXT, "KEY", "Sent as Authorization: Bearer; also from the variable WEIR_KEY.", &words.key },
    { "body", 0, OPTION_TEXT, "FILE", "What to send; {{...}} in it are filled in.", &words.body },
    { "prompts", 0, OPTION_TEXT, "FILE", "A prompt a line, or JSON lines with messages.", &words.prompts },
    { "trace", 0, OPTION_TEXT, "FILE", "Lengths and moments of real requests: Azure's CSV, Mooncake's JSON lines.", &words.trace },
    { "seed", 0, OPTION_TEXT, "N", "Another seed, other arrivals and prompts (0).", &words.seed },
    { "workers", 'w', OPTION_TEXT, "N", "Threads of the generator (1).", &words.workers },
    { "connections-new", 0, OPTION_FLAG, NULL, "A new connection for each request.", &words.new_connections },
    { "slo", 0, OPTION_TEXT, "LIMITS", "What a good answer is: ttft=500ms,itl=50ms,latency=5s.", &words.slo },
    { "criteria", 'c', OPTION_LIST, "WHAT", "'p95 < 200ms' must hold, or the exit code is 1. May be repeated.", &criteria },
    { "pid", 0, OPTION_TEXT, "N", "The server's process here: its processor time and memory are reported.", &words.pid },
    { "scale", 0, OPTION_TEXT, "F", "Makes the times of a scenario or a plan so many times as long: 0.1 for a first look.", &words.scale },
    { "requests", 0, OPTION_TEXT, "N", "Of cache and leak: so many, and then it is over (5000 and 20000).", &words.requests },
    { "mock", 0, OPTION_TEXT, "URL", "Of verify: the weir mock behind the server, if it is not the server itself.", &words.mock },
    { "distinct", 0, OPTION_TEXT, "N", "Of cache: different prompts (500).", &words.distinct },
    { "zipf", 0, OPTION_TEXT, "S", "Of cache: the r-th prompt comes in proportion to r^-S (1).", &words.zipf },
    { "turns", 0, OPTION_TEXT, "N", "Of context: of each conversation (1000).", &words.turns },
    { "keys", 0, OPTION_TEXT, "FILE", "Of fair: a tenant's KEY and WEIGHT a line; without weights the first has 100.", &words.keys },
    { "direct", 0, OPTION_TEXT, "URL", "Of overhead: the same server without the gateway.", &words.direct },
    { "json", 0, OPTION_TEXT, "FILE", "Write the result as JSON.", &words.json },
    { "csv", 0, OPTION_TEXT, "FILE", "Write it as CSV.", &words.csv },
    { "html", 0, OPTION_TEXT, "FILE", "Write it as a page with charts.", &words.html },
    { "junit", 0, OPTION_TEXT, "FILE", "Write the criteria as JUnit's XML.", &words.junit },
};
static void print_scenarios(void)
{
    printf("\nscenarios:\n");
#define SCENARIO(name, function, levels, seconds, warmup, criteria, what) printf("  %-28s %s\n", #name, what);
#include "cli/bench_scenarios.def"
}

static const struct usage usage = {
    .command = "bench",
    .what = "A load test that says yes or no: 0 all criteria met, 1 one missed, 2 wrong use, 3 the generator was the limit and the run means nothing.",
    .examples = "  weir bench http://127.0.0.1:4040                           10 users for 10 s\n"
                "  weir bench http://127.0.0.1:4040 --rate 50 --stream        50 requests a second, whatever becomes of them\n"
                "  weir bench http://127.0.0.1:4040 --criteria 'p95 < 2s' --criteria 'error_rate < 1%' --html report.html\n",
    .arguments = "URL | SCENARIO [URL]", .options = options, .count = ARRAY_LEN(options), .words = &urls,
};

static bool read_words(int argc, char **argv, int *out_exit)
{
    if (!options_read(&usage, argc, argv, out_exit)) {
        if (*out_exit == EXIT_OK)
            print_scenarios(); /* the end of the help */
        return false;
    }
    words.criteria_count = criteria.count;
    if (words.key == NULL)
        words.key = getenv("WEIR_KEY");
    return true;
}

/* ---- what is to be done ---- */

#define SCALE_MAX 1000 /* of times: half a minute becomes a working day */

const struct bench_scenario bench_scenarios[] = {
#define LIST(...) { { __VA_ARGS__ }, sizeof((double[]){ __VA_ARGS__ }) / sizeof(double) }
#define SCENARIO(name, function, levels, seconds, warmup, criteria, what) { #name, what, function, levels, seconds, warmup, criteria },
#include "cli/bench_scenarios.def"
};
const unsigned bench_scenario_count = ARRAY_LEN(bench_scenarios);

/* One run, as the words or the plan say. */
static bool as_said(struct bench_scene *s)
{
    struct result *r;
    return bench_scene_leg(s, "", &r);
}

static const struct bench_scenario plain = { .name = "", .what = "", .run = as_said, .criteria = "error_rate < 1%" };

static const struct bench_scenario *find_scenario(const char *word)
{
    for (unsigned i = 0; i < bench_scenario_count; i++)
        if (strcmp(word, bench_scenarios[i].name) == 0)
            return &bench_scenarios[i];
    return NULL;
}

static int refuse_word(const char *word)
{
    const char *names[ARRAY_LEN(bench_scenarios)];
    for (unsigned i = 0; i < bench_scenario_count; i++)
        names[i] = bench_scenarios[i].name;
    const char *near = text_nearest(text_of(word), names, bench_scenario_count);
    if (near != NULL)
        return usage_refuse(&usage, "there is no scenario \"%s\", did you mean %s?", word, near);
    return usage_refuse(&usage, "\"%s\" is no URL such as " BENCH_URL " and no scenario", word);
}

int bench_fail(const struct complaint *why, int code)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    fprintf(stderr, "weir bench: %s\n", text);
    return code;
}

static int bench(struct bench_scene *s)
{
    struct bench_run *run = s->run;
    struct complaint why = { 0 };
    if (!bench_plan_read(run, &words, &why))
        return usage_refuse(&usage, "%s", why.text);
    s->said = run->plan.pace;
    if (words.scale != NULL && (!text_to_double(text_of(words.scale), &s->scale) || s->scale <= 0 || s->scale > SCALE_MAX))
        return usage_refuse(&usage, "--scale must be a number above 0 and at most %d, not \"%s\"", SCALE_MAX, words.scale);
    if (!bench_target_ask(&run->target, &run->plan.target, &why))
        return bench_fail(&why, EXIT_FAILED);
    if (run->target.model_found)
        fprintf(stderr, "weir bench: asks the model %s, the first that %s lists\n", run->target.model, run->target.authority);
    if (!bench_plan_script(run, &words, &why))
        return bench_fail(&why, EXIT_USAGE);
    int code = bench_scene_play(s);
    script_free(run->plan.script);
    return code;
}

int command_bench(int argc, char **argv)
{
    static struct bench_run run; /* static: larger than a frame should be */
    static struct bench_scene scene = { .words = &words, .run = &run, .row = &plain, .scale = 1 };
    int code;
    if (!read_words(argc, argv, &code))
        return code;
    if (urls.count == 0)
        return usage_refuse(&usage, "a URL or a scenario is missing");
    words.url = first[0];
    if (strstr(first[0], "://") == NULL) {
        scene.row = find_scenario(first[0]);
        if (scene.row == NULL)
            return refuse_word(first[0]);
        words.url = urls.count > 1 ? first[1] : BENCH_URL;
        snprintf(scene.name, sizeof scene.name, "%s", scene.row->name);
    }
    code = bench(&scene);
    bench_target_fini(&run.target);
    return code;
}
