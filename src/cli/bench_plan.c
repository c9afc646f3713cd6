/* bench_plan.c: from the words of `weir bench` to a plan of a load test, or a sentence about the word that is wrong. Called by bench.c. */
#include "bench/plan.h"
#include "cli/bench.h"
#include <stdio.h>
#include <sys/resource.h>

#define USERS_DEFAULT    10
#define DURATION_DEFAULT (10 * NANOS_PER_S)
#define TIMEOUT_DEFAULT  (60 * NANOS_PER_S)
#define DURATION_MAX     (30 * 86400 * NANOS_PER_S) /* a month: what is longer is a slip of the unit */
#define RATE_MAX         1e6      /* requests a second: above what one machine can send */
#define TOKENS_MAX       1000000  /* of one answer: the longest context there is */
#define FDS_KEPT         64       /* of the descriptors: loops, files, and connections that are being closed */

static bool no_number(struct complaint *why, const char *name, const char *what, const char *word)
{
    return complain(why, NULL, 0, 0, "--%s must be %s, not \"%s\"", name, what, word);
}

/* `word` NULL: *out stays as it is. */
static bool read_span(const char *name, const char *word, bool may_be_zero, nanos *out, struct complaint *why)
{
    nanos span;
    if (word == NULL)
        return true;
    if (!text_to_nanos(text_of(word), &span) || span > DURATION_MAX || (span == 0 && !may_be_zero))
        return no_number(why, name, "a time such as 500ms, 30s or 10m", word);
    *out = span;
    return true;
}

bool bench_plan_count(const char *name, const char *word, uint64_t least, uint64_t most, uint64_t *out, struct complaint *why)
{
    uint64_t n;
    char range[64];
    if (word == NULL)
        return true;
    snprintf(range, sizeof range, "a number from %llu to %llu", (unsigned long long)least, (unsigned long long)most);
    if (!text_to_u64(text_of(word), most, &n) || n < least)
        return no_number(why, name, range, word);
    *out = n;
    return true;
}

/* ---- when ---- */

static bool read_arrivals(struct pace_plan *p, const char *word, struct complaint *why)
{
    struct text kind, cv = word != NULL ? text_cut(text_of(word), ':', &kind) : TEXT_NONE;
    if (word == NULL)
        return true;
    if (text_eq(kind, TEXT("gamma")) && cv.at != NULL && text_to_double(cv, &p->cv) && p->cv >= 0.01 && p->cv <= 100) {
        p->kind = PACE_GAMMA;
        return true;
    }
    p->kind = text_eq(kind, TEXT("poisson")) ? PACE_POISSON : PACE_CONSTANT;
    return (cv.at == NULL && (p->kind == PACE_POISSON || text_eq(kind, TEXT("constant")))) ||
           no_number(why, "arrivals", "constant, poisson, or gamma:CV with a coefficient of variation from 0.01 to 100", word);
}

/* The level is reached along a ramp, or at once. */
static bool read_phases(struct bench_run *run, const struct bench_words *w, struct complaint *why)
{
    struct pace_plan *p = &run->plan.pace;
    uint64_t users = USERS_DEFAULT;
    double level;
    nanos ramp = 0, duration = DURATION_DEFAULT;
    if (!bench_plan_count("users", w->users, 1, LOAD_USERS_MAX, &users, why) || !read_span("ramp", w->ramp, false, &ramp, why) ||
        !read_span("duration", w->duration, false, &duration, why))
        return false;
    level = (double)users;
    if (w->rate != NULL && (!text_to_double(text_of(w->rate), &level) || level <= 0 || level > RATE_MAX))
        return no_number(why, "rate", "requests a second, above 0 and at most 1000000", w->rate);
    if (ramp > 0)
        p->phases[p->phase_count++] = (struct pace_phase){ ramp, 0, level };
    p->phases[p->phase_count++] = (struct pace_phase){ duration, level, level };
    return true;
}

static bool read_load(struct bench_run *run, const struct bench_words *w, struct complaint *why)
{
    struct load_plan *plan = &run->plan;
    if (w->users != NULL && w->rate != NULL)
        return complain(why, NULL, 0, 0, "--users and --rate exclude each other: users wait for their answers, and a rate does not");
    if (w->arrivals != NULL && w->rate == NULL)
        return complain(why, NULL, 0, 0, "--arrivals needs --rate");
    plan->is_open = w->rate != NULL;
    return read_phases(run, w, why) && read_arrivals(&plan->pace, w->arrivals, why) && bench_plan_count("seed", w->seed, 0, UINT64_MAX, &plan->pace.seed, why);
}

/* ---- what is good ---- */

static bool read_limit(struct slo *slo, struct text item, struct complaint *why)
{
    static const char *const names[] = { "ttft", "itl", "latency" };
    nanos *const limits[] = { &slo->ttft, &slo->itl, &slo->latency };
    struct text name, value = text_cut(item, '=', &name);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (!text_eq(name, text_of(names[i])))
            continue;
        return (text_to_nanos(value, limits[i]) && *limits[i] > 0) ||
               complain(why, NULL, 0, 0, "--slo: %s must be a time such as 500ms, not \"%.*s\"", names[i], TEXT_ARG(value));
    }
    const char *near = text_nearest(name, names, ARRAY_LEN(names));
    return complain(why, NULL, 0, 0, "--slo has no limit \"%.*s\"%s%s; it is written as ttft=500ms,itl=50ms,latency=5s", TEXT_ARG(name),
                    near != NULL ? ", did you mean " : "", near != NULL ? near : "");
}

static bool read_slo(struct slo *slo, const char *word, struct complaint *why)
{
    struct text item;
    if (word == NULL)
        return true;
    for (struct text rest = text_of(word); rest.at != NULL;) {
        rest = text_cut(rest, ',', &item);
        if (!read_limit(slo, item, why))
            return false;
    }
    return true;
}

static bool read_criteria(struct bench_run *run, const struct bench_words *w, struct complaint *why)
{
    if (run->criteria_count + w->criteria_count > BENCH_CRITERIA_MAX)
        return complain(why, NULL, 0, 0, "the plan and the command line have more than %d criteria together", BENCH_CRITERIA_MAX);
    for (size_t i = 0; i < w->criteria_count; i++)
        if (!criterion_parse(&run->criteria[run->criteria_count++], text_of(w->criteria[i]), why))
            return false;
    return true;
}

/* ---- the rest ---- */

/* As many as there may be; half of what is asked for would be an invalid run. */
static uint32_t descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return FDS_KEPT;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return FDS_KEPT;
    return (uint32_t)MIN(limit.rlim_cur, (rlim_t)LOAD_USERS_MAX + FDS_KEPT);
}

bool bench_plan_key(struct load_target *target, const char *word, struct complaint *why)
{
    if (word == NULL)
        return true;
    for (const char *c = word; *c != '\0'; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return complain(why, NULL, 0, 0, "the key has a blank or a byte that no header can carry");
    target->key = text_of(word);
    return true;
}

static bool read_model(struct bench_target *t, const char *word, struct complaint *why)
{
    if (word == NULL)
        return true;
    if (strlen(word) >= sizeof t->model || *word == '\0')
        return complain(why, NULL, 0, 0, "--model must be a name of 1 to %zu bytes", sizeof t->model - 1);
    snprintf(t->model, sizeof t->model, "%s", word);
    return true;
}

/* What the command line says also where a plan says the rest. */
static bool read_common(struct bench_run *run, const struct bench_words *w, struct complaint *why)
{
    uint64_t workers = 1, pid = 0;
    if (!bench_plan_key(&run->plan.target, w->key, why) || !bench_plan_count("workers", w->workers, 1, WORKERS_MAX, &workers, why) ||
        !bench_plan_count("pid", w->pid, 1, INT32_MAX, &pid, why) || !read_criteria(run, w, why))
        return false;
    run->workers = (unsigned)workers;
    run->pid = (pid_t)pid;
    return true;
}

/* As many users as there are descriptors for. */
static bool fit_users(struct load_plan *plan, uint32_t most, struct complaint *why)
{
    uint32_t fds = descriptors();
    plan->users_max = MIN(most, fds > 2 * FDS_KEPT ? fds - FDS_KEPT : FDS_KEPT);
    return plan->is_open || pace_peak(&plan->pace) <= plan->users_max ||
           complain(why, NULL, 0, 0, "%.0f users need more descriptors than there may be: %u (ulimit -n)", pace_peak(&plan->pace), fds);
}

bool bench_plan_read(struct bench_run *run, const struct bench_words *w, struct complaint *why)
{
    struct load_plan *plan = &run->plan;
    plan->timeout = TIMEOUT_DEFAULT;
    if (!bench_target_read(&run->target, w->url, w->api, &plan->target, why) || !read_model(&run->target, w->model, why) || !read_load(run, w, why) ||
        !read_span("warmup", w->warmup, true, &plan->warmup, why) || !read_span("timeout", w->timeout, false, &plan->timeout, why) ||
        !read_slo(&plan->slo, w->slo, why) || !read_common(run, w, why))
        return false;
    plan->drain = plan->timeout; /* no request has less time than the others because it came late */
    plan->new_connections = w->new_connections;
    return fit_users(plan, UINT32_MAX, why);
}

/* ---- a plan file ---- */

static void take_plan(struct bench_run *run, struct plan *p, char out_name[64])
{
    run->plan = p->load;
    memcpy(run->criteria, p->criteria, p->criteria_count * sizeof p->criteria[0]);
    run->criteria_count = p->criteria_count;
    snprintf(out_name, 64, "%s", p->name);
}

static bool has_no_path(const struct bench_target *t, struct complaint *why)
{
    return t->path[0] == '\0' || strcmp(t->path, "/") == 0 || complain(why, NULL, 0, 0, "a plan says its paths itself: the URL ends with %s", t->authority);
}

bool bench_plan_file(struct bench_run *run, const char *path, double scale, const struct bench_words *w, char out_name[64], struct complaint *why)
{
    _Static_assert(PLAN_CRITERIA_MAX <= BENCH_CRITERIA_MAX, "room for all of a plan's");
    struct plan *p = mem_zero(sizeof *p);
    if (p == NULL)
        return complain(why, NULL, 0, 0, "no memory is left");
    bool is_ok = plan_read(p, path, why);
    if (is_ok) {
        plan_scale(p, scale);
        take_plan(run, p, out_name);
        is_ok = bench_target_read(&run->target, w->url != NULL ? w->url : p->url, "plain", &run->plan.target, why) && has_no_path(&run->target, why) &&
                read_common(run, w, why) &&
                fit_users(&run->plan, run->plan.is_open ? run->plan.users_max : UINT32_MAX, why);
    }
    mem_free(p);
    return is_ok;
}

/* A trace has moments of its own, unless the command line says how many users or requests there are. */
static void take_moments(struct bench_run *run, const struct bench_words *w)
{
    struct pace_plan *p = &run->plan.pace;
    uint64_t count;
    const nanos *moments = script_moments(run->plan.script, &count);
    if (count == 0 || w->users != NULL || w->rate != NULL)
        return;
    run->plan.is_open = true;
    p->kind = PACE_MOMENTS;
    p->moments = moments;
    p->moment_count = count;
    p->phase_count = 1;
    if (w->duration == NULL)
        p->phases[0].span = moments[count - 1] + NANOS_PER_MS; /* its last arrival is one too */
    p->phases[0].from = p->phases[0].to = (double)count * (double)NANOS_PER_S / (double)p->phases[0].span;
}

static bool open_script(struct bench_run *run, const struct bench_words *w, struct script_options *o, struct complaint *why)
{
    uint64_t tokens = 0;
    if (!bench_plan_count("max-tokens", w->max_tokens, 1, TOKENS_MAX, &tokens, why) || !read_span("think", w->think, true, &o->think, why))
        return false;
    o->api = run->target.api;
    o->path = text_of(run->target.path);
    o->model = text_of(run->target.model);
    o->seed = run->plan.pace.seed;
    o->stream = w->stream;
    o->max_tokens = (uint32_t)tokens;
    return script_open(&run->plan.script, o, why);
}

bool bench_plan_script(struct bench_run *run, const struct bench_words *w, struct complaint *why)
{
    struct script_options o = { .body_file = w->body, .prompts_file = w->prompts, .trace_file = w->trace };
    if ((w->body != NULL) + (w->prompts != NULL) + (w->trace != NULL) > 1)
        return complain(why, NULL, 0, 0, "--body, --prompts and --trace each say what to send: only one of them can");
    if (w->trace != NULL && w->ramp != NULL && w->users == NULL && w->rate == NULL)
        return complain(why, NULL, 0, 0, "--ramp has no meaning for the moments of a trace; --users or --rate replaces them");
    if (!open_script(run, w, &o, why))
        return false;
    take_moments(run, w);
    return true;
}

bool bench_plan_made(struct bench_run *run, const struct bench_words *w, const struct script_made *made, const struct script_asker *askers, unsigned asker_count,
                     struct complaint *why)
{
    struct script_options o = { .made = *made, .askers = askers, .asker_count = asker_count };
    if (w->body != NULL || w->prompts != NULL || w->trace != NULL)
        return complain(why, NULL, 0, 0, "this scenario makes its own prompts: --body, --prompts and --trace have no meaning");
    if (run->target.api != LOAD_OPENAI && run->target.api != LOAD_OLLAMA)
        return complain(why, NULL, 0, 0, "this scenario asks models: --api openai or ollama");
    script_free(run->plan.script);
    run->plan.script = NULL;
    return open_script(run, w, &o, why);
}
