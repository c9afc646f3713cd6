/* bench_leak.c: `weir bench leak`: whether a server's memory grows with the number of requests that it has answered. */
#include "bench/trend.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

#define REQUESTS_DEFAULT 20000
#define REQUESTS_MAX     100000000
#define POINTS           200  /* looks at the server, evenly over its requests */
#define WARMUP_POINTS    100  /* left out: until then pools, buffers, rings and caches fill, which have an end */
#define PER              1e3  /* requests */

struct looks {
    pid_t pid;
    uint64_t requests, every; /* ended so far; from one look to the next */
    double at[POINTS], rss_mb[POINTS], fds[POINTS];
};

/* By requests and not by time: what leaks does so with each of them. */
static unsigned note(void *arg, const struct script_session *x, const struct sample *s)
{
    struct looks *l = arg;
    (void)x, (void)s;
    uint64_t n = __atomic_add_fetch(&l->requests, 1, __ATOMIC_RELAXED), i = n / l->every;
    if (n % l->every == 0 && i <= POINTS) { /* each place is written once */
        bench_server_now(l->pid, &l->rss_mb[i - 1], &l->fds[i - 1]);
        l->at[i - 1] = (double)n / PER;
    }
    return 0;
}

static bool add_trend(struct bench_scene *s, const struct looks *l, const double *values, enum finding id, struct result *r)
{
    struct trend t;
    if (trend_of(l->at + WARMUP_POINTS, values + WARMUP_POINTS, POINTS - WARMUP_POINTS, &t) != OK)
        return bench_scene_fail(s, EXIT_FAILED, "no memory is left");
    result_add_finding(r, id, t.slope, t.low, t.high);
    return true;
}

static bool report(struct bench_scene *s, const struct looks *l, double rss_before, struct result *r)
{
    double rss_after, fds_after;
    bench_server_now(l->pid, &rss_after, &fds_after);
    result_add_finding(r, FINDING_rss_before, rss_before, NAN, NAN);
    result_add_finding(r, FINDING_rss_after, rss_after, NAN, NAN);
    snprintf(r->knee, sizeof r->knee, "Growth is for each thousand requests, without the first half of them.");
    return add_trend(s, l, l->rss_mb, FINDING_leak_mb, r) && add_trend(s, l, l->fds, FINDING_leak_fds, r);
}

bool bench_leak(struct bench_scene *s)
{
    static struct looks l;
    struct load_parts parts = { 0, note, &l, NULL };
    struct load_plan *plan = &s->run->plan;
    uint64_t requests = REQUESTS_DEFAULT;
    double users = bench_scene_level(s, s->row->levels.at[0]), rss_before, fds_before;
    struct result *r;
    s->code = EXIT_USAGE;
    if (s->run->pid == 0 || s->words->rate != NULL)
        return bench_scene_fail(s, EXIT_USAGE, s->run->pid == 0 ? "leak needs --pid N: the server's process on this machine"
                                                                : "leak counts requests of users: --users instead of --rate");
    if (!bench_plan_count("requests", s->words->requests, POINTS, REQUESTS_MAX, &requests, &s->why))
        return false;
    l = (struct looks){ .pid = s->run->pid, .every = requests / POINTS };
    for (unsigned i = 0; i < POINTS; i++)
        l.at[i] = NAN;
    bench_server_now(l.pid, &rss_before, &fds_before);
    bench_scene_begin(s);
    plan->sessions_max = requests;
    plan->parts = &parts;
    bool is_ok = bench_scene_phase(s, bench_scene_span(s, 0), users, users) && bench_scene_leg(s, "", &r) && report(s, &l, rss_before, r);
    plan->parts = NULL;
    return is_ok;
}
