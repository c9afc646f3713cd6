/* bench_verify.c: `weir bench verify`: every byte of every answer against what weir mock made for that request, and whether streams that their users leave end at the
   mock, too. The server may be the mock itself or a gateway in front of it; the mock's own page of statistics says what only it can know. */
#include "base/json.h"
#include "bench/call.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

#define PROMPTS     50000                 /* before one comes again: crossed answers show as long as they are of different ones */
#define LEAVE_SHARE 0.1
#define PROBES      10                    /* streams that are left one by one */
#define ASK_NS      (5 * NANOS_PER_S)     /* for one answer of the mock's page */
#define SETTLE_NS   NANOS_PER_S           /* until the mock must have seen what ended */
#define PAUSE_NS    (2 * NANOS_PER_MS)    /* between two looks at its page */

/* What the mock's page says. */
struct page {
    uint64_t seed, tokens, active, cancelled;
    double cancelled_ms_ago; /* NAN: nothing was cancelled yet */
    bool pauses;
    nanos at;                /* when it was read */
};

/* Work with the mock on a task of its own. */
struct visit {
    struct bench_scene *scene;
    struct bench_target mock;
    struct load_target mock_at;
    struct worker worker;
    struct call_pool mock_pool, pool;
    struct caller caller;
    bool (*what)(struct task *t, struct visit *v);
    bool is_ok;
    struct page page;
    uint64_t cancelled_before, left; /* by the mock's count; streams that were left since */
    double delay_ms;                 /* the longest; of what was never seen as long as was looked */
    bool is_seen;                    /* the last one */
};

/* ---- the mock's page ---- */

static bool take_page(struct visit *v, struct text body)
{
    struct arena arena;
    yyjson_doc *doc;
    arena_init(&arena, NULL, 0, CALL_ANSWER_MAX);
    yyjson_val *root = json_parse(&arena, body, &doc, NULL) == OK ? yyjson_doc_get_root(doc) : NULL, *script = yyjson_obj_get(root, "script");
    yyjson_val *ago = yyjson_obj_get(root, "last_cancelled_ms_ago");
    bool is_page = yyjson_is_uint(yyjson_obj_get(script, "tokens"));
    v->page = (struct page){
        .seed = yyjson_get_uint(yyjson_obj_get(script, "seed")), .tokens = yyjson_get_uint(yyjson_obj_get(script, "tokens")),
        .active = yyjson_get_uint(yyjson_obj_get(root, "active")) + yyjson_get_uint(yyjson_obj_get(root, "queued")),
        .cancelled = yyjson_get_uint(yyjson_obj_get(root, "cancelled")), .cancelled_ms_ago = yyjson_is_num(ago) ? yyjson_get_num(ago) : NAN,
        .pauses = yyjson_get_bool(yyjson_obj_get(script, "pauses")), .at = world_now(v->worker.world),
    };
    arena_fini(&arena);
    return is_page;
}

static bool read_page(struct task *t, struct visit *v)
{
    struct script_call call = { .api = LOAD_PLAIN, .method = TEXT("GET"), .path = TEXT("/_mock/stats"), .wants_answer = true };
    struct sample s = { 0 };
    enum fail f = call_make(t, &v->mock_pool, &v->caller, &call, t->worker->now + ASK_NS, NULL, &s);
    if (f == OK && s.outcome == OUTCOME_OK && take_page(v, buf_text(&v->caller.reading.text)))
        return true;
    return bench_scene_fail(v->scene, EXIT_FAILED, "%s/_mock/stats does not answer as a weir mock; --mock URL says where there is one", v->mock.authority);
}

/* Until the mock has counted so many more cancelled ones and answers nothing, or has had its time. */
static bool settle(struct task *t, struct visit *v)
{
    nanos until = t->worker->now + SETTLE_NS;
    while (read_page(t, v)) {
        if ((v->page.cancelled - v->cancelled_before >= v->left && v->page.active == 0) || t->worker->now >= until)
            return true;
        if (task_sleep(t, t->worker->now + PAUSE_NS) != OK)
            return false;
    }
    return false;
}

/* ---- streams that are left one by one ---- */

static bool probe(struct task *t, struct visit *v, struct script_session *x, struct buf *body)
{
    struct script_call call;
    struct sample s = { 0 };
    bool is_over;
    if (script_next(x, body, &call, &is_over) != OK || is_over)
        return bench_scene_fail(v->scene, EXIT_FAILED, "no memory is left");
    if (!call.stream)
        return true;
    call.leaves = true;
    enum fail f = call_make(t, &v->pool, &v->caller, &call, t->worker->now + v->scene->run->plan.timeout, NULL, &s);
    nanos left = world_now(t->worker->world);
    v->cancelled_before = v->page.cancelled;
    v->left = 1;
    if (f != OK || !s.has_left || !settle(t, v))
        return f == OK && !s.has_left; /* an answer that failed is no matter of cancelling */
    v->is_seen = v->page.cancelled > v->cancelled_before;
    double seen = v->is_seen ? (double)(v->page.at - left) / (double)NANOS_PER_MS - v->page.cancelled_ms_ago : SETTLE_NS / (double)NANOS_PER_MS;
    v->delay_ms = MAX(v->delay_ms, MAX(seen, 0));
    return true;
}

static bool probe_all(struct task *t, struct visit *v)
{
    struct buf body;
    bool is_ok = true;
    buf_init(&body, CALL_ANSWER_MAX);
    v->delay_ms = -1;
    v->is_seen = true;
    for (uint64_t i = 0; i < 2 * PROBES && is_ok && v->is_seen; i++) { /* every second session or so is a stream */
        struct script_session x;
        script_begin(&x, v->scene->run->plan.script, i);
        is_ok = probe(t, v, &x, &body);
        script_end(&x);
    }
    buf_fini(&body);
    return is_ok;
}

/* ---- visits ---- */

static void visit_task(struct task *t, void *arg)
{
    struct visit *v = arg;
    v->is_ok = v->what(t, v);
    worker_stop(t->worker);
}

static bool run_visit(struct visit *v)
{
    if (call_pool_init(&v->mock_pool, &v->worker, &v->mock_at, false) != OK)
        return false;
    bool has_pool = call_pool_init(&v->pool, &v->worker, &v->scene->run->plan.target, false) == OK;
    caller_init(&v->caller);
    if (has_pool && task_start(&v->worker, "visit", visit_task, v) != NULL)
        worker_run(&v->worker);
    caller_fini(&v->caller);
    if (has_pool)
        call_pool_fini(&v->pool);
    call_pool_fini(&v->mock_pool);
    return v->is_ok;
}

/* False with the scene's sentence. */
static bool visit(struct visit *v, bool (*what)(struct task *t, struct visit *v))
{
    struct world *world = world_real_new(0);
    bool is_ok = bench_scene_fail(v->scene, EXIT_FAILED, "no memory or descriptor is left");
    v->what = what;
    v->is_ok = false;
    if (world != NULL && worker_init(&v->worker, world, 0) == OK) {
        is_ok = run_visit(v);
        worker_fini(&v->worker);
    }
    if (world != NULL)
        world_real_free(world);
    return is_ok;
}

/* ---- the whole ---- */

/* The mock's page, and what follows from it for the plan. */
static bool find_mock(struct bench_scene *s, struct visit *v)
{
    s->code = EXIT_USAGE;
    v->scene = s;
    if (!bench_target_read(&v->mock, s->words->mock != NULL ? s->words->mock : s->run->target.authority, "plain", &v->mock_at, &s->why))
        return false;
    s->code = EXIT_FAILED;
    if (!bench_target_ask(&v->mock, &v->mock_at, &s->why) || !visit(v, read_page))
        return false;
    s->run->plan.verify = true;
    s->run->plan.mock = (struct verify){ v->page.seed, (uint32_t)v->page.tokens };
    return true;
}

bool bench_verify_prepare(struct bench_scene *s)
{
    static struct visit v; /* static: larger than a frame should be */
    bool is_ok = find_mock(s, &v);
    bench_target_fini(&v.mock);
    return is_ok;
}

static bool report(struct bench_scene *s, struct visit *v, struct result *r)
{
    uint64_t left = s->tally.left;
    v->left = left;
    if (!visit(v, settle))
        return false;
    uint64_t cancelled = v->page.cancelled - v->cancelled_before, active = v->page.active;
    if (!visit(v, probe_all))
        return false;
    result_add_finding(r, FINDING_cancelled, left > 0 ? (double)cancelled / (double)left : NAN, NAN, NAN);
    result_add_finding(r, FINDING_cancel_delay, v->delay_ms < 0 ? NAN : v->delay_ms, NAN, NAN);
    result_add_finding(r, FINDING_still_active, (double)active, NAN, NAN);
    snprintf(r->knee, sizeof r->knee, "%llu answers were compared; %llu streams were left in the middle, and the mock saw %llu of them end.",
             (unsigned long long)(r->requests + left), (unsigned long long)left, (unsigned long long)cancelled);
    return true;
}

bool bench_verify(struct bench_scene *s)
{
    static struct visit v; /* static: larger than a frame should be */
    const struct script_asker askers[] = { { .name = TEXT("plain"), .weight = 1 }, { .name = TEXT("stream"), .weight = 1, .stream = true } };
    struct script_made made = { .count = PROMPTS };
    struct result *r;
    double level = bench_scene_level(s, s->row->levels.at[0]);
    s->code = EXIT_USAGE;
    if (!bench_plan_made(s->run, s->words, &made, askers, ARRAY_LEN(askers), &s->why))
        return false;
    bool is_ok = find_mock(s, &v);
    if (is_ok && !v.page.pauses)
        is_ok = bench_scene_fail(s, EXIT_FAILED, "the mock sends its streams all at once, so that none can be left in the middle: start it with --itl 5ms");
    if (is_ok) {
        s->run->plan.leave_share = LEAVE_SHARE;
        v.cancelled_before = v.page.cancelled;
        bench_scene_begin(s);
        is_ok = bench_scene_phase(s, bench_scene_span(s, 0), level, level) && bench_scene_leg(s, "", &r) && report(s, &v, r);
    }
    bench_target_fini(&v.mock);
    return is_ok;
}
