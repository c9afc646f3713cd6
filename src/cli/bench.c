/* bench.c: `weir bench`: a load test of any server: what it is to do, running it, and what is said about it. */
#include "base/account.h"
#include "cli/bench.h"
#include "cli/bench_live.h"
#include "cli/cli.h"
#include "keeper/keeper.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define EXIT_INVALID 3
#define LOOK_NS      NANOS_PER_S

static volatile bool stop; /* Ctrl-C */

static void on_signal(int number)
{
    (void)number;
    stop = true;
}

/* The first one ends the test and reports what there is; the second one ends the program. */
static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART) };
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* ---- the command line ---- */

static struct bench_words words;
static struct words urls = { &words.url, 0, 1 }, criteria = { words.criteria, 0, BENCH_CRITERIA_MAX };

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
    { "json", 0, OPTION_TEXT, "FILE", "Write the result as JSON.", &words.json },
    { "csv", 0, OPTION_TEXT, "FILE", "Write it as CSV.", &words.csv },
    { "html", 0, OPTION_TEXT, "FILE", "Write it as a page with charts.", &words.html },
    { "junit", 0, OPTION_TEXT, "FILE", "Write the criteria as JUnit's XML.", &words.junit },
};
static const struct usage usage = {
    .command = "bench",
    .what = "A load test that says yes or no: 0 all criteria met, 1 one missed, 2 wrong use, 3 the generator was the limit and the run means nothing.",
    .examples = "  weir bench http://127.0.0.1:4040                           10 users for 10 s\n"
                "  weir bench http://127.0.0.1:4040 --rate 50 --stream        50 requests a second, whatever becomes of them\n"
                "  weir bench http://127.0.0.1:4040 --criteria 'p95 < 2s' --criteria 'error_rate < 1%' --html report.html\n",
    .arguments = "URL", .options = options, .count = ARRAY_LEN(options), .words = &urls, .words_least = 1,
};

static bool read_words(int argc, char **argv, int *out_exit)
{
    if (!options_read(&usage, argc, argv, out_exit))
        return false;
    words.criteria_count = criteria.count;
    if (words.key == NULL)
        words.key = getenv("WEIR_KEY");
    return true;
}

/* ---- running ---- */

struct looking {
    struct bench_live live;
    struct bench_server *server; /* NULL: nobody said which */
};

static void look(const struct tally *so_far, nanos elapsed, void *arg)
{
    struct looking *l = arg;
    if (l->server != NULL)
        bench_server_look(l->server, elapsed);
    bench_live(so_far, elapsed, &l->live);
}

static void finish(const struct bench_run *run, const struct looking *l, const struct tally *t, struct result *r)
{
    result_from_tally(r, t, &run->plan, run->workers);
    if (l->server != NULL)
        bench_server_report(l->server, t->window_span, r);
    criteria_judge(run->criteria, run->criteria_count, r);
}

static int fail_with(const struct complaint *why, int code)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    fprintf(stderr, "weir bench: %s\n", text);
    return code;
}

/* Everything is known: does it, and reports. */
static int run_and_report(const struct bench_run *run, const struct bench_words *w)
{
    static struct result result;
    static struct tally tally;
    static struct looking looking;
    struct complaint why;
    if (run->pid != 0 && (looking.server = bench_server_new(run->pid)) == NULL) {
        (void)complain(&why, NULL, 0, 0, "--pid %d: there is no such process here", (int)run->pid);
        return fail_with(&why, EXIT_USAGE);
    }
    bench_report_begin(&result, run);
    bench_live_init(&looking.live, pace_span(&run->plan.pace), result.target);
    catch_signals();
    enum fail f = load_run(&run->plan, run->workers, LOOK_NS, look, &looking, &stop, &tally);
    bench_live_end(&looking.live);
    if (f != OK) {
        (void)complain(&why, NULL, 0, 0, "the test could not be started or summed up: no memory or descriptors are left (%s)", fail_name(f));
        bench_server_free(looking.server);
        return fail_with(&why, EXIT_INVALID);
    }
    finish(run, &looking, &tally, &result);
    bool written = bench_report_write(&result, w, &why);
    tally_fini(&tally);
    bench_server_free(looking.server);
    return written ? result_exit(&result) : fail_with(&why, EXIT_FAILED);
}

static int bench(struct bench_run *run, const struct bench_words *w)
{
    struct complaint why = { 0 };
    if (!bench_plan_read(run, w, &why))
        return usage_refuse(&usage, "%s", why.text);
    if (!bench_target_ask(&run->target, &run->plan.target, &why))
        return fail_with(&why, EXIT_FAILED);
    if (run->target.model_found)
        fprintf(stderr, "weir bench: asks the model %s, the first that %s lists\n", run->target.model, run->target.authority);
    if (!bench_plan_script(run, w, &why))
        return fail_with(&why, EXIT_USAGE);
    int code = run_and_report(run, w);
    script_free(run->plan.script);
    return code;
}

int command_bench(int argc, char **argv)
{
    static struct bench_run run; /* static: larger than a frame should be */
    int code;
    if (!read_words(argc, argv, &code))
        return code;
    account_limit(system_memory("/proc/self/cgroup", "/sys/fs/cgroup") / 4 * 3); /* as weir serve: what servers answer must not fill the machine */
    code = bench(&run, &words);
    bench_target_fini(&run.target);
    return code;
}
