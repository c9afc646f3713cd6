/* bench_scene.c: the runs of one `weir bench`: a scenario's function asks for them one after the other; see bench_scenario.h. Called by bench.c. */
#include "cli/bench_live.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

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

bool bench_scene_is_stopped(void)
{
    return stop;
}

bool bench_scene_fail(struct bench_scene *s, int code, const char *format, ...)
{
    va_list args;
    s->code = code;
    s->why = (struct complaint){ 0 };
    va_start(args, format);
    vsnprintf(s->why.text, sizeof s->why.text, format, args);
    va_end(args);
    return false;
}

/* ---- when ---- */

static double highest(const struct bench_list *levels)
{
    double most = 0;
    for (unsigned i = 0; i < levels->count; i++)
        most = MAX(most, levels->at[i]);
    return most;
}

double bench_scene_level(const struct bench_scene *s, double level)
{
    double scaled = level * pace_peak(&s->said) / highest(&s->row->levels);
    if (s->words->rate != NULL)
        return scaled;
    return s->words->users != NULL && level > 0 ? MAX(1, round(scaled)) : level;
}

nanos bench_scene_span(const struct bench_scene *s, unsigned i)
{
    const struct bench_list *seconds = &s->row->seconds;
    nanos table = (nanos)(seconds->at[MIN(i, seconds->count - 1)] * (double)NANOS_PER_S);
    nanos span = s->words->duration != NULL ? s->said.phases[s->said.phase_count - 1].span : table;
    return MAX(1, (nanos)((double)span * s->scale));
}

void bench_scene_begin(struct bench_scene *s)
{
    struct load_plan *plan = &s->run->plan;
    plan->is_open = s->words->rate != NULL;
    plan->pace = (struct pace_plan){ .kind = s->said.kind, .cv = s->said.cv, .seed = s->said.seed };
    if (s->words->warmup == NULL)
        plan->warmup = (nanos)(s->row->warmup * s->scale * (double)NANOS_PER_S);
}

bool bench_scene_phase(struct bench_scene *s, nanos span, double from, double to)
{
    struct load_plan *plan = &s->run->plan;
    ASSERT(plan->pace.phase_count < PACE_PHASES_MAX);
    plan->pace.phases[plan->pace.phase_count++] = (struct pace_phase){ span, from, to };
    if (plan->is_open || MAX(from, to) <= plan->users_max)
        return true;
    return bench_scene_fail(s, EXIT_USAGE, "%.0f users need more descriptors than there may be: there are %u (ulimit -n)", MAX(from, to), plan->users_max);
}

/* ---- one run ---- */

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

static struct result *begin_result(struct bench_scene *s, const char *name)
{
    struct result *r = s->leg_count < BENCH_LEGS_MAX ? mem_zero(sizeof *r) : NULL;
    if (r == NULL)
        return NULL;
    bench_report_begin(r, s->run);
    if (s->name[0] != '\0')
        snprintf(r->name, sizeof r->name, "%s%s%.14s", s->name, *name != '\0' ? " " : "", name);
    snprintf(s->live, sizeof s->live, "%s%s%s", s->is_several ? r->name : "", s->is_several ? "  " : "", r->target);
    s->is_judged[s->leg_count] = true;
    return s->legs[s->leg_count++] = r;
}

static void forget_tally(struct bench_scene *s)
{
    if (s->has_tally)
        tally_fini(&s->tally);
    s->has_tally = false;
}

void bench_scene_keep(struct bench_scene *s, struct result *only)
{
    for (unsigned i = 0; i < s->leg_count; i++)
        if (s->legs[i] != only)
            mem_free(s->legs[i]);
    s->leg_count = only != NULL;
    s->legs[0] = only;
    s->is_judged[0] = true;
}

static bool measure(struct bench_scene *s, struct result *r, struct looking *l)
{
    const struct bench_run *run = s->run;
    bench_live_init(&l->live, pace_span(&run->plan.pace), s->live);
    enum fail f = load_run(&run->plan, run->workers, LOOK_NS, look, l, &stop, &s->tally);
    bench_live_end(&l->live);
    if (f != OK)
        return bench_scene_fail(s, BENCH_EXIT_INVALID, "the test could not be started or summed up: no memory or descriptors are left (%s)", fail_name(f));
    s->has_tally = true;
    result_from_tally(r, &s->tally, &run->plan, run->workers);
    if (l->server != NULL)
        bench_server_report(l->server, s->tally.window_span, r);
    return true;
}

bool bench_scene_leg(struct bench_scene *s, const char *name, struct result **out)
{
    static struct looking looking; /* static: larger than a frame should be */
    struct result *r = begin_result(s, name);
    if (r == NULL)
        return bench_scene_fail(s, BENCH_EXIT_INVALID, "no memory is left for one more run");
    forget_tally(s);
    looking.server = s->run->pid != 0 ? bench_server_new(s->run->pid) : NULL;
    if (s->run->pid != 0 && looking.server == NULL)
        return bench_scene_fail(s, s->leg_count > 1 ? EXIT_FAILED : EXIT_USAGE, "--pid %d: there is no such process here", (int)s->run->pid);
    bool is_ok = measure(s, r, &looking);
    bench_server_free(looking.server);
    if (is_ok && s->is_several)
        bench_report_print_line(r, s->leg_count == 1);
    *out = r;
    return is_ok;
}

bool bench_scene_part(struct bench_scene *s, const char *name, const struct tally *part, const struct result *whole)
{
    struct result *r = begin_result(s, name);
    if (r == NULL)
        return bench_scene_fail(s, BENCH_EXIT_INVALID, "no memory is left for one more run");
    result_from_tally(r, part, &s->run->plan, s->run->workers);
    double share = r->span_s > 0 ? r->span_s / whole->span_s : 0;
    r->span_s = whole->span_s;
    r->rate *= share;
    r->ok_rate *= share;
    r->good_rate *= share;
    r->tokens_rate *= share;
    r->intended_rate = NAN;
    r->invalid[0] = '\0'; /* the whole says whether it counts; a part may be empty */
    s->is_judged[s->leg_count - 1] = false;
    if (s->is_several)
        bench_report_print_line(r, s->leg_count == 1);
    return true;
}

/* ---- the whole ---- */

static void read_criteria(const struct bench_scenario *row, struct bench_run *run)
{
    struct complaint why;
    struct text one;
    for (struct text rest = text_of(row->criteria); rest.len > 0;) {
        rest = text_cut(rest, ';', &one);
        one = text_trim(one);
        if (run->pid == 0 && text_starts(one, TEXT("memory")))
            continue; /* of a server that nobody named */
        bool is_one = criterion_parse(&run->criteria[run->criteria_count++], one, &why);
        ASSERT(is_one); /* the table's own */
    }
}

static void judge(struct bench_scene *s)
{
    if (s->run->criteria_count == 0)
        read_criteria(s->row, s->run);
    for (unsigned i = 0; i < s->leg_count; i++)
        if (s->is_judged[i])
            criteria_judge(s->run->criteria, s->run->criteria_count, s->legs[i]);
}

static int report(struct bench_scene *s)
{
    const struct result *const *runs = (const struct result *const *)s->legs;
    if (s->is_several)
        bench_report_print_end(runs, s->leg_count);
    else
        bench_report_print(runs[0]);
    if (!bench_report_write(runs, s->leg_count, s->words, &s->why))
        return bench_fail(&s->why, EXIT_FAILED);
    if (s->save != NULL && stop)
        fprintf(stderr, "weir bench: interrupted, so nothing was saved\n");
    else if (s->save != NULL && !bench_store_add(s->save, runs, s->leg_count, &s->why))
        return bench_fail(&s->why, EXIT_FAILED);
    return result_exit_all(runs, s->leg_count);
}

int bench_scene_play(struct bench_scene *s)
{
    catch_signals();
    bool is_ok = s->row->run(s);
    if (is_ok)
        judge(s);
    int code = is_ok ? report(s) : bench_fail(&s->why, s->code);
    forget_tally(s);
    bench_scene_keep(s, NULL);
    return code;
}
