/* cache_warm.c: `weir cache warm`: asks what a file says now, so that it is answered at once later: options, progress and report. */
#include "base/json.h"
#include "cli/admin.h"
#include "cli/bench.h"
#include "cli/cache.h"
#include "cli/cache_warm.h"
#include "cli/cli.h"
#include "net/wire.h"
#include "run/wait.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TASKS_DEFAULT 4                    /* at once: models have few slots, and others ask, too */
#define LOOK_NS       (100 * NANOS_PER_MS) /* how soon Ctrl-C is seen */
#define DRAW_NS       (250 * NANOS_PER_MS) /* the line of a terminal */
#define SAY_NS        (5 * NANOS_PER_S)    /* a line of a log */
#define COLUMNS       79                   /* of the line that is redrawn: one that wraps would not be */
#define JSON_MAX      (1u << 20)

static struct {
    const char *file, *to, *socket, *config, *key, *model, *concurrency;
    bool json;
} said;

/* All of it. Larger than a frame should be: one a process. */
struct warm {
    struct bench_target target;
    struct load_target to;
    char socket[SOCKET_PATH_MAX], place[320]; /* place: for sentences */
    struct cache_lines lines;
    struct cache_warming warming;
    uint64_t tasks;
    struct worker worker;
    bool is_terminal, is_stopped;
    nanos began, ended, next_look;
    struct complaint why;
};

static volatile sig_atomic_t stop; /* Ctrl-C */

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

/* The first one ends the warming and tells how far it came; the second one ends the program. */
static void catch_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART) };
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int refuse(const struct complaint *why, int code)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    fprintf(stderr, "weir cache warm: %s\n", text);
    return code;
}

/* ---- whom to ask ---- */

static bool find_url(struct warm *w, struct complaint *why)
{
    struct bench_target *t = &w->target;
    if (!bench_target_read(t, said.to, "openai", &w->to, why))
        return false;
    if (t->path[0] != '\0')
        return complain(why, NULL, 0, 0, "--to is a base URL such as " BENCH_URL ": the file says which paths");
    t->models[0] = '\0'; /* the lines say whom to ask */
    snprintf(w->place, sizeof w->place, "%s", t->authority);
    w->warming.certified = t->host;
    return bench_target_ask(t, &w->to, why);
}

/* Through the admin socket, which answers all that the other sockets do: it needs no address, and no certificate that is good for it. */
static bool find_running(struct warm *w, struct complaint *why)
{
    if (!admin_find(said.socket, said.config, w->socket, why))
        return false;
    snprintf(w->to.host, sizeof w->to.host, "localhost");
    snprintf(w->place, sizeof w->place, "%s", w->socket);
    addr_unix(&w->to.addrs.at[0], w->socket);
    w->to.addrs.count = 1;
    return true;
}

/* ---- progress ---- */

static void print_progress(const struct warm *w, nanos now, char *out, size_t room)
{
    const struct cache_warming *c = &w->warming;
    uint32_t done = cache_warming_done(c), all = w->lines.count;
    char lost[40] = "", ahead[48] = "", span[24];
    if (c->bypassed + c->unkept + c->untold + c->failed > 0)
        snprintf(lost, sizeof lost, ", %u not kept, %u failed", c->bypassed + c->unkept + c->untold, c->failed);
    if (c->not_before > now)
        snprintf(ahead, sizeof ahead, "; told to wait for %s", nanos_print((c->not_before - now) / NANOS_PER_S * NANOS_PER_S, span));
    else if (done > 0 && done < all)
        snprintf(ahead, sizeof ahead, "; about %s left", nanos_print((nanos)((double)(now - w->began) / done * (all - done)) / NANOS_PER_S * NANOS_PER_S, span));
    snprintf(out, room, "%u of %u: %u stored, %u there already%s%s", done, all, c->stored, c->hits, lost, ahead);
}

static void look(struct warm *w, nanos now)
{
    char line[200];
    if (now < w->next_look)
        return;
    w->next_look = now + (w->is_terminal ? DRAW_NS : SAY_NS);
    print_progress(w, now, line, sizeof line);
    fprintf(stderr, w->is_terminal ? "\r%.*s\033[K" : "%.*s\n", w->is_terminal ? COLUMNS : (int)sizeof line, line);
}

/* The task that starts the others, and looks at them while they ask. */
static void run_all(struct task *t, void *arg)
{
    struct warm *w = arg;
    struct group g;
    unsigned count = 0;
    w->began = t->worker->now;
    w->next_look = w->began + (w->is_terminal ? 0 : SAY_NS);
    group_init(&g, t);
    enum fail f = OK;
    for (; f == OK && count < MIN(w->tasks, w->lines.count); count += f == OK)
        f = group_start(&g, "ask", cache_ask, &w->warming, NULL);
    for (f = FAIL_TIMEOUT; f == FAIL_TIMEOUT && !stop && w->warming.gone == OK; look(w, t->worker->now))
        f = group_wait(&g, count, t->worker->now + LOOK_NS);
    w->is_stopped = f == FAIL_TIMEOUT && stop;
    group_end(&g);
    w->ended = t->worker->now;
    if (w->is_terminal)
        fputs("\r\033[K", stderr);
    worker_stop(t->worker);
}

static bool run(struct warm *w)
{
    struct world *world = world_real_new(0);
    bool is_ok = world != NULL && worker_init(&w->worker, world, 0) == OK;
    if (is_ok) {
        is_ok = task_start(&w->worker, "warm", run_all, w) != NULL;
        if (is_ok)
            worker_run(&w->worker);
        worker_fini(&w->worker);
    }
    if (world != NULL)
        world_real_free(world);
    return is_ok;
}

/* ---- the report ---- */

static const char *why_gone(const struct warm *w)
{
    switch (w->warming.gone) {
    case FAIL_CONNECT:
        return wire_error_text(w->warming.error);
    case FAIL_NO_KEY:
        return "it knows no such key; --key or WEIR_KEY gives one";
    case FAIL_NO_MEMORY:
    case FAIL_NO_DESCRIPTORS:
        return "no memory or descriptor is left here";
    default:
        return fail_row(w->warming.gone)->text;
    }
}

static void tell_failures(const struct warm *w)
{
    const struct cache_warming *c = &w->warming;
    for (unsigned i = 0; i < c->failure_count; i++)
        fprintf(stderr, "weir cache warm: %s:%u: %s\n", said.file, c->failures[i].line, c->failures[i].why);
    if (c->failed + c->unkept > c->failure_count)
        fprintf(stderr, "weir cache warm: and %u more %s\n", c->failed + c->unkept - c->failure_count, c->unkept > 0 ? "failed, or were not kept" : "failed");
    if (c->untold > 0)
        fprintf(stderr, "weir cache warm: %u answers said nothing about a cache: is %s a weir with cache.exact on?\n", c->untold, w->place);
    if (c->gone != OK)
        fprintf(stderr, "weir cache warm: %s: %s\n", w->place, why_gone(w));
    if (w->is_stopped)
        fprintf(stderr, "weir cache warm: stopped\n");
}

static void tell(const struct warm *w)
{
    const struct cache_warming *c = &w->warming;
    char span[24];
    printf("%u of %u asked in %s: %u stored, %u there already", cache_warming_done(c), w->lines.count, nanos_print(w->ended - w->began, span), c->stored, c->hits);
    if (c->bypassed > 0)
        printf(", %u bypassed", c->bypassed);
    for (unsigned i = 0; i < c->reason_count; i++)
        printf("%s%s %u%s", i == 0 ? " (" : ", ", c->reasons[i].why, c->reasons[i].count, i + 1 == c->reason_count ? ")" : "");
    if (c->unkept > 0)
        printf(", %u not kept", c->unkept);
    if (c->untold > 0)
        printf(", %u without a word about a cache", c->untold);
    if (c->failed > 0)
        printf(", %u failed", c->failed);
    putchar('\n');
}

static enum fail put_json(const struct warm *w, struct buf *out)
{
    const struct cache_warming *c = &w->warming;
    enum fail f = buf_printf(out, "{\"questions\":%u,\"asked\":%u,\"stored\":%u,\"hits\":%u,\"bypassed\":{", w->lines.count, cache_warming_done(c), c->stored, c->hits);
    for (unsigned i = 0; f == OK && i < c->reason_count; i++) {
        f = i > 0 ? buf_add_text(out, TEXT(",")) : OK;
        f = f == OK ? json_add_string(out, text_of(c->reasons[i].why)) : f;
        f = f == OK ? buf_printf(out, ":%u", c->reasons[i].count) : f;
    }
    f = f == OK ? buf_printf(out, "},\"unkept\":%u,\"untold\":%u,\"failed\":%u,\"stopped\":%s,\"seconds\":%.3f,\"failures\":[", c->unkept, c->untold, c->failed,
                             w->is_stopped || c->gone != OK ? "true" : "false", (double)(w->ended - w->began) / NANOS_PER_S) : f;
    for (unsigned i = 0; f == OK && i < c->failure_count; i++) {
        f = buf_printf(out, "%s{\"line\":%u,\"why\":", i > 0 ? "," : "", c->failures[i].line);
        f = f == OK ? json_add_string(out, text_of(c->failures[i].why)) : f;
        f = f == OK ? buf_add_text(out, TEXT("}")) : f;
    }
    return f == OK ? buf_add_text(out, TEXT("]}\n")) : f;
}

static void tell_json(const struct warm *w)
{
    struct buf out;
    buf_init(&out, JSON_MAX);
    if (put_json(w, &out) == OK)
        fwrite(buf_text(&out).at, 1, buf_len(&out), stdout);
    buf_fini(&out);
}

/* ---- the command ---- */

static int warm(struct warm *w)
{
    struct cache_warming *c = &w->warming;
    if (!cache_lines_read(&w->lines, said.file, said.model))
        return EXIT_USAGE;
    if (!(said.to != NULL ? find_url(w, &w->why) : find_running(w, &w->why)))
        return refuse(&w->why, EXIT_FAILED);
    c->target = &w->to;
    c->lines = &w->lines;
    c->model = said.model;
    w->is_terminal = isatty(STDERR_FILENO) && getenv("TERM") != NULL && strcmp(getenv("TERM"), "dumb") != 0;
    catch_signals();
    if (!run(w)) {
        fprintf(stderr, "weir cache warm: no memory or descriptor is left\n");
        return EXIT_FAILED;
    }
    tell_failures(w);
    (said.json ? tell_json : tell)(w);
    return cache_told("warm") && c->stored + c->hits == w->lines.count ? EXIT_OK : EXIT_FAILED;
}

int cache_warm(int argc, char **argv)
{
    static struct warm w;
    struct words words = { &said.file, 0, 1 };
    const struct option options[] = {
        { "to", 0, OPTION_TEXT, "URL", "Whom to ask, such as " BENCH_URL ". Without it: the weir that runs here.", &said.to },
        { "socket", 0, OPTION_TEXT, "PATH", "The admin socket of the weir to ask. Not needed where one weir runs.", &said.socket },
        { "config", 'c', OPTION_TEXT, "FILE", "The weir that runs with this configuration.", &said.config },
        { "key", 'k', OPTION_TEXT, "KEY", "Whose answers they become: nobody else's tenant gets them. Also from the variable WEIR_KEY.", &said.key },
        { "model", 'm', OPTION_TEXT, "NAME", "Whom lines ask that name no model.", &said.model },
        { "concurrency", 0, OPTION_TEXT, "N", "Questions at once (4).", &said.concurrency },
        { "json", 0, OPTION_FLAG, NULL, "The numbers as JSON.", &said.json },
    };
    const struct usage usage = {
        .command = "cache warm",
        .what = "Asks a running weir what FILE says, so that it is answered from the cache later. The exit code is 0 if all answers are kept now, else 1.\n"
                "FILE: a line each, a body for /v1/chat/completions as clients will send it; or {\"path\": \"/v1/embeddings\", \"body\": {...}}; or a prompt, which is\n"
                "asked of --model with temperature 0. All lines are looked through before the first one is asked.",
        .examples = "  weir cache warm questions.jsonl\n  weir cache warm prompts.txt --model chat --concurrency 8\n"
                    "  weir cache warm questions.jsonl --to https://models.example.com --key $KEY\n",
        .arguments = "FILE", .options = options, .count = ARRAY_LEN(options), .words = &words, .words_least = 1,
    };
    int code;
    if (!options_read(&usage, argc, argv, &code))
        return code;
    w.tasks = TASKS_DEFAULT;
    if (said.to != NULL && (said.socket != NULL || said.config != NULL))
        return usage_refuse(&usage, "--to names whom to ask, so %s has no meaning", said.socket != NULL ? "--socket" : "--config");
    if (!bench_plan_count("concurrency", said.concurrency, 1, WARM_TASKS_MAX, &w.tasks, &w.why) ||
        !bench_plan_key(&w.to, said.key != NULL ? said.key : getenv("WEIR_KEY"), &w.why))
        return usage_refuse(&usage, "%s", w.why.text);
    code = warm(&w);
    cache_lines_free(&w.lines);
    bench_target_fini(&w.target);
    return code;
}
