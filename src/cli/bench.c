/* bench.c: `weir bench`: a load test of any server: what it is to do, running it, and what is said about it. */
#include "base/account.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include "keeper/keeper.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the command line ---- */

static struct bench_words words;
static const char *first[5]; /* words that are no options: save NAME run PLAN URL */
static struct words others = { first, 0, ARRAY_LEN(first) }, criteria = { words.criteria, 0, BENCH_CRITERIA_MAX };

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
    { "find-max", 0, OPTION_FLAG, NULL, "The most users, or with --rate requests a second, that the server holds; begins with as many as said.", &words.find_max },
    { "fail-on-regression", 0, OPTION_TEXT, "P%", "compare: the exit code is 1 if something got worse by more than P % for certain.", &words.fail_on_regression },
    { "metric", 0, OPTION_TEXT, "NAME", "compare: only this one, such as p99 or ttft.p95.", &words.metric },
    { "json", 0, OPTION_TEXT, "FILE", "Write the result as JSON.", &words.json },
    { "csv", 0, OPTION_TEXT, "FILE", "Write it as CSV.", &words.csv },
    { "html", 0, OPTION_TEXT, "FILE", "Write it as a page with charts.", &words.html },
    { "junit", 0, OPTION_TEXT, "FILE", "Write the criteria as JUnit's XML.", &words.junit },
};
static void print_scenarios(void)
{
    printf("\nscenarios, whose URL is " BENCH_URL " unless said:\n");
#define SCENARIO(name, function, levels, seconds, warmup, criteria, what) printf("  %-12s %s\n", #name, what);
#include "cli/bench_scenarios.def"
    printf("\nand:\n");
#define VERB(name, function, words, what) printf("  %s %s\n               %s\n", #name, words, what);
#include "cli/bench_scenarios.def"
}

static const struct usage usage = {
    .command = "bench",
    .what = "A load test that says yes or no: 0 all criteria met, 1 one missed, 2 wrong use, 3 the generator was the limit and the run means nothing.",
    .examples = "  weir bench http://127.0.0.1:4040                           10 users for 10 s\n"
                "  weir bench http://127.0.0.1:4040 --rate 50 --stream        50 requests a second, whatever becomes of them\n"
                "  weir bench quick                                           a standard scenario, against http://127.0.0.1:4040\n"
                "  weir bench http://127.0.0.1:4040 --criteria 'p95 < 2s' --criteria 'error_rate < 1%' --html report.html\n",
    .arguments = "URL | SCENARIO [URL] | run PLAN.yml [URL] | save NAME … | compare OLD NEW", .options = options, .count = ARRAY_LEN(options), .words = &others,
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

static bool is_given(const struct option *o)
{
    return o->kind == OPTION_FLAG ? *(const bool *)o->out : o->kind == OPTION_TEXT ? *(const char *const *)o->out != NULL : ((const struct words *)o->out)->count > 0;
}

bool bench_allows(const char *what, const char *allowed, int *out_exit)
{
    char name[32];
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        snprintf(name, sizeof name, " %s ", options[i].name);
        if (!is_given(&options[i]) || strstr(allowed, name) != NULL || options[i].out == &words.key)
            continue; /* the key may come from the environment */
        *out_exit = bench_refuse("--%s has no meaning for %s", options[i].name, what);
        return false;
    }
    return true;
}

int bench_refuse(const char *format, ...)
{
    char sentence[600];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    return usage_refuse(&usage, "%s", sentence);
}

int bench_fail(const struct complaint *why, int code)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    fprintf(stderr, "weir bench: %s\n", text);
    return code;
}

/* ---- what is to be done ---- */

#define SCALE_MAX 1000 /* of times: half a minute becomes a working day */
/* Each also has --key. */
#define REPORTS   " json csv html junit "
#define RUNNING   REPORTS " workers pid criteria "
#define ASKING    RUNNING " users rate duration arrivals warmup timeout think stream api model max-tokens body prompts trace seed connections-new slo "

static const struct bench_scenario scenarios[] = {
#define LIST(...) { { __VA_ARGS__ }, sizeof((double[]){ __VA_ARGS__ }) / sizeof(double) }
#define SCENARIO(name, function, levels, seconds, warmup, criteria, what) { #name, what, function, levels, seconds, warmup, criteria },
#include "cli/bench_scenarios.def"
};
static const struct {
    const char *name;
    bench_verb *run;
} verbs[] = {
#define VERB(name, function, words, what) { #name, function },
#include "cli/bench_scenarios.def"
};

/* One run, as the words or the plan say. */
static bool as_said(struct bench_scene *s)
{
    struct result *r;
    return (!s->run->plan.verify || bench_verify_prepare(s)) && bench_scene_leg(s, "", &r);
}

static const struct bench_scenario plain = { .name = "", .what = "", .run = as_said, .criteria = "error_rate < 1%" };

static int ask_and_play(struct bench_scene *s)
{
    struct bench_run *run = s->run;
    struct complaint why = { 0 };
    if (!bench_report_check(&words, &why))
        return bench_fail(&why, EXIT_FAILED);
    if (!bench_target_ask(&run->target, &run->plan.target, &why))
        return bench_fail(&why, EXIT_FAILED);
    if (run->target.model_found)
        fprintf(stderr, "weir bench: asks the model %s, the first that %s lists\n", run->target.model, run->target.authority);
    if (run->plan.script == NULL && !bench_plan_script(run, &words, &why))
        return bench_fail(&why, EXIT_USAGE);
    return bench_scene_play(s);
}

static int play(struct bench_scene *s)
{
    struct complaint why = { 0 };
    if (!bench_plan_read(s->run, &words, &why))
        return usage_refuse(&usage, "%s", why.text);
    s->said = s->run->plan.pace;
    return ask_and_play(s);
}

int bench_run_plan(struct bench_scene *s, const char *const *at, size_t count)
{
    struct complaint why = { 0 };
    char name[64];
    int code;
    if (count == 0 || count > 2)
        return bench_refuse("run needs a plan file: weir bench run PLAN.yml [URL]");
    if (!bench_allows("a plan, which says that itself", RUNNING " scale mock ", &code))
        return code;
    words.url = count > 1 ? at[1] : NULL;
    if (!bench_plan_file(s->run, at[0], s->scale, &words, name, &why))
        return bench_fail(&why, EXIT_USAGE);
    snprintf(s->name, sizeof s->name, "%.47s", name);
    return ask_and_play(s);
}

static const struct bench_scenario *find_scenario(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(scenarios); i++)
        if (strcmp(word, scenarios[i].name) == 0)
            return &scenarios[i];
    return NULL;
}

static int refuse_word(const char *word)
{
    const char *names[ARRAY_LEN(scenarios) + ARRAY_LEN(verbs)];
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        names[i] = i < ARRAY_LEN(scenarios) ? scenarios[i].name : verbs[i - ARRAY_LEN(scenarios)].name;
    const char *near = text_nearest(text_of(word), names, ARRAY_LEN(names));
    if (near != NULL)
        return bench_refuse("there is no scenario \"%s\", did you mean %s?", word, near);
    return bench_refuse("\"%s\" is no URL such as " BENCH_URL " and no scenario", word);
}

/* What only one scenario takes; NULL: none was named. */
static const char *own_options(const struct bench_scenario *row)
{
    static const struct {
        bool (*run)(struct bench_scene *s);
        const char *options;
    } own[] = {
        { bench_verify, " mock " }, { bench_cache, " requests distinct zipf " }, { bench_context, " turns " }, { bench_fair, " keys " },
        { bench_leak, " requests " }, { bench_overhead, " direct " },
    };
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (row != NULL && row->run == own[i].run)
            return own[i].options;
    return "";
}

/* [SCENARIO] [URL]; --find-max is the scenario of that name. */
static int play_scenario(struct bench_scene *s, const char *const *at, size_t count)
{
    const struct bench_scenario *row = words.find_max ? find_scenario("find-max") : NULL;
    bool has_name = count > 0 && strstr(at[0], "://") == NULL;
    char allowed[512];
    int code;
    if (has_name) {
        if (find_scenario(at[0]) == NULL)
            return refuse_word(at[0]);
        if (row != NULL && row != find_scenario(at[0]))
            return bench_refuse("--find-max is a test of its own: not %s", at[0]);
        row = find_scenario(at[0]);
    }
    if (count > (has_name ? 2u : 1u))
        return bench_refuse("\"%s\" is one too many", at[count - 1]);
    snprintf(allowed, sizeof allowed, "%s%s", row != NULL ? ASKING " scale find-max " : ASKING " ramp ", own_options(row));
    if (!bench_allows(row != NULL ? row->name : "a test without a scenario or a plan", allowed, &code))
        return code;
    words.url = count > has_name ? at[has_name] : BENCH_URL;
    s->row = row != NULL ? row : s->row;
    snprintf(s->name, sizeof s->name, "%s", s->row->name);
    return play(s);
}

static int dispatch(struct bench_scene *s, const char *const *at, size_t count)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs) && count > 0; i++)
        if (strcmp(at[0], verbs[i].name) == 0)
            return verbs[i].run(s, at + 1, count - 1);
    return play_scenario(s, at, count);
}

int bench_save(struct bench_scene *s, const char *const *at, size_t count)
{
    struct complaint why = { 0 };
    if (count == 0)
        return bench_refuse("save needs a name: weir bench save NAME [SCENARIO] [URL]");
    if (!bench_store_check(at[0], &why)) /* before the test, and not after half an hour */
        return bench_fail(&why, EXIT_USAGE);
    if (count > 1 && (strcmp(at[1], "save") == 0 || strcmp(at[1], "compare") == 0 || strcmp(at[1], "report") == 0))
        return bench_refuse("%s is nothing whose runs could be saved", at[1]);
    s->save = at[0];
    return dispatch(s, at + 1, count - 1);
}

int command_bench(int argc, char **argv)
{
    static struct bench_run run; /* static: larger than a frame should be */
    static struct bench_scene scene = { .words = &words, .run = &run, .row = &plain, .scale = 1 };
    int code;
    if (!read_words(argc, argv, &code))
        return code;
    if (others.count == 0 && !words.find_max)
        return bench_refuse("a URL or a scenario is missing");
    if (words.scale != NULL && (!text_to_double(text_of(words.scale), &scene.scale) || scene.scale <= 0 || scene.scale > SCALE_MAX))
        return bench_refuse("--scale must be a number above 0 and at most %d, not \"%s\"", SCALE_MAX, words.scale);
    account_limit(system_memory("/proc/self/cgroup", "/sys/fs/cgroup") / 4 * 3); /* as weir serve: what servers answer must not fill the machine */
    code = dispatch(&scene, others.at, others.count);
    script_free(run.plan.script);
    bench_target_fini(&run.target);
    return code;
}
