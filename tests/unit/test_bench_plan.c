/* test_bench_plan.c: plan files in each of the three forms: what they become, and what is said of each that is wrong. */
#include "bench/plan.h"
#include "test_bench_help.h" /* last: cmocka takes the word fail */

static struct plan plan;
static int64_t alive;

static int setup(void **state)
{
    (void)state;
    alive = mem_alive();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return mem_alive() == alive ? 0 : -1;
}

/* The complaint without the folder; NULL if it was read. */
static const char *complaint_of(const char *yaml, size_t len)
{
    static char text[640];
    struct complaint why;
    if (plan_read(&plan, bench_file_of("p.yml", yaml, len), &why))
        return NULL;
    complaint_print(&why, text, sizeof text);
    return strncmp(text, bench_folder, strlen(bench_folder)) == 0 ? text + strlen(bench_folder) + 1 : text;
}

static void reads(const char *yaml)
{
    const char *why = complaint_of(yaml, strlen(yaml));
    if (why != NULL)
        fail_msg("refused: %s", why);
}

static void refused(const char *yaml, const char *expected)
{
    const char *why = complaint_of(yaml, strlen(yaml));
    if (why == NULL) {
        plan_fini(&plan);
        fail_msg("read, but expected: %s", expected);
    }
    assert_string_equal(why, expected);
}

static void phase_is(unsigned i, nanos span, double from, double to)
{
    const struct pace_phase *f = &plan.load.pace.phases[i];
    assert_true(i < plan.load.pace.phase_count);
    assert_int_equal(f->span, span);
    assert_true(f->from == from && f->to == to);
}

static void session_is(uint64_t number, const char *answer, const char *expected)
{
    assert_string_equal(bench_session(plan.load.script, number, answer), expected);
}

/* ---- Artillery's form ---- */

#define ARTILLERY(flow) "config: {target: 'http://h:1', phases: [{duration: 1, arrivalRate: 1}]}\nscenarios:\n  - flow:\n" flow

TEST(artillerys_phases_become_rates)
{
    reads("config:\n  target: https://h.example:8443/base/\n  http: {timeout: 10}\n  phases:\n"
          "    - {duration: 60, arrivalRate: 5, rampTo: 50, name: up, maxVusers: 70}\n    - {pause: 5}\n    - {duration: 2 min, arrivalCount: 240}\n    - {duration: 10s, rampTo: 3}\n"
          "  ensure: {p95: 200, maxErrorRate: 1, thresholds: [{http.response_time.p99: 250}], conditions: [{expression: http.response_time.p50 < 100 and http.request_rate > 10}]}\n"
          "scenarios: [{flow: [{get: {url: /x}}]}]\n");
    assert_string_equal(plan.url, "https://h.example:8443");
    assert_string_equal(plan.name, "p");
    assert_true(plan.load.is_open);
    assert_int_equal(plan.load.users_max, 70);
    assert_int_equal(plan.load.timeout, 10 * NANOS_PER_S);
    assert_int_equal(plan.load.pace.phase_count, 4);
    phase_is(0, 60 * NANOS_PER_S, 5, 50);
    phase_is(1, 5 * NANOS_PER_S, 0, 0);
    phase_is(2, 120 * NANOS_PER_S, 2, 2);
    phase_is(3, 10 * NANOS_PER_S, 0, 3);
    assert_int_equal(plan.criteria_count, 5);
    session_is(0, NULL, "GET /base/x\n\n");
    plan_scale(&plan, 0.1);
    phase_is(0, 6 * NANOS_PER_S, 5, 50);
    plan_fini(&plan);
}

TEST(artillerys_requests_are_written_as_they_say)
{
    reads("config:\n  target: http://h:1\n  phases: [{duration: 1, arrivalRate: 1}]\n  defaults: {headers: {x-a: '1', X-B: '2'}}\n  variables: {n: 5, t: ['a\"b'], u: ['a&b']}\n"
          "scenarios:\n  - flow:\n"
          "      - post: {url: 'http://h:1/v1/chat/completions', headers: {x-b: 'own {{ t }}'}, json: {stream: true, messages: [{content: 'q {{ t }}'}], n: '{{ n }}', s: '{{ n }}.', z: ~, e: [], f: 1.5, g: '7'}}\n"
          "      - think: 2\n"
          "      - put: {url: '/p/{{ u }}?k=1', qs: {a: '{{ u }}', b.c: 'd e'}, form: {x: '{{ u }}', y: ' '}}\n"
          "      - think: 500ms\n"
          "      - delete: {url: /, body: 'raw {{ t }}'}\n"
          "      - log: 'at {{ n }}'\n"
          "      - think: 1\n");
    session_is(3, NULL,
               "POST /v1/chat/completions stream\nx-a: 1\r\nx-b: own a\"b\r\ncontent-type: application/json\r\n"
               "{\"stream\":true,\"messages\":[{\"content\":\"q a\\\"b\"}],\"n\":5,\"s\":\"5.\",\"z\":null,\"e\":[],\"f\":1.5,\"g\":\"7\"}\n"
               "think 2000ms\nPUT /p/a&b?k=1&a=a%26b&b.c=d%20e\nx-a: 1\r\nX-B: 2\r\ncontent-type: application/x-www-form-urlencoded\r\nx=a%26b&y=%20\n"
               "think 500ms\nDELETE /\nx-a: 1\r\nX-B: 2\r\ncontent-type: text/plain; charset=utf-8\r\nraw a\"b\nthink 1000ms\n");
    plan_fini(&plan);
}

TEST(a_loop_goes_round_and_captures_reach_later_requests)
{
    reads(ARTILLERY("      - loop:\n          - get: {url: '/r/{{ $loopCount }}/{{ $counter }}', capture: {json: '$.items[1].id', as: id}}\n          - think: 1\n        count: 2\n"
                    "      - post: {url: '/i/{{ id }}', json: {id: '{{ id }}', t: 'x{{ id }}'}, capture: [{json: $.s, as: s}, {json: \"$['a b']\", as: b}]}\n      - get: {url: '/{{ s }}/{{ b }}'}\n"));
    session_is(0, "{\"items\":[0,{\"id\":42}],\"s\":\"a b\",\"a b\":true}",
               "GET /r/1/1\n\nthink 1000ms\nGET /r/2/2\n\nthink 1000ms\nPOST /i/42\ncontent-type: application/json\r\n{\"id\":42,\"t\":\"x42\"}\nGET /a%20b/true\n\n");
    session_is(1, "{\"items\":[0,{\"id\":\"\"}],\"s\":\"\",\"a b\":1}",
               "GET /r/1/5\n\nthink 1000ms\nGET /r/2/6\n\nthink 1000ms\nPOST /i/\ncontent-type: application/json\r\n{\"id\":\"\",\"t\":\"x\"}\nGET //1\n\n");
    struct script_session x;
    struct script_call call;
    struct buf body;
    bool is_over;
    buf_init(&body, 4096);
    script_begin(&x, plan.load.script, 0);
    assert_int_equal(script_next(&x, &body, &call, &is_over), OK);
    assert_int_equal(script_heard(&x, TEXT("{\"items\":[]}")), FAIL_BAD_FIELD);
    assert_int_equal(script_heard(&x, TEXT("<html>")), FAIL_BAD_JSON);
    script_end(&x);
    buf_fini(&body);
    plan_fini(&plan);
}

TEST(flows_are_chosen_by_weight)
{
    unsigned counts[2] = { 0 };
    reads("config: {target: 'http://h:1', phases: [{duration: 1, arrivalRate: 1}]}\nscenarios:\n"
          "  - {name: often, weight: 3, flow: [{get: {url: /a}}]}\n  - {weight: 1, flow: [{get: {url: /b}}]}\n");
    assert_int_equal(script_flow_count(plan.load.script), 2);
    assert_memory_equal(script_flow_name(plan.load.script, 0).at, "often", 5);
    for (uint64_t i = 0; i < 4000; i++) {
        struct script_session x;
        script_begin(&x, plan.load.script, i);
        counts[x.flow]++;
        script_end(&x);
    }
    assert_in_range(counts[0], 2890, 3110); /* 4 standard deviations around 3000 */
    plan_fini(&plan);
}

TEST(columns_of_a_table_are_taken_row_by_row)
{
    bench_file("users.csv", "name,age\r\n\"a,\"\"b\"\"\",1\r\n\nc d,x\n");
    reads("config:\n  target: http://h:1\n  phases: [{duration: 1, arrivalRate: 1}]\n  payload: {path: users.csv, fields: [who, age], skipHeader: true, order: sequence}\n"
          "scenarios: [{flow: [{post: {url: '/{{ who }}', json: {a: '{{ age }}'}}}]}]\n");
    session_is(0, NULL, "POST /a,%22b%22\ncontent-type: application/json\r\n{\"a\":1}\n");
    session_is(1, NULL, "POST /c%20d\ncontent-type: application/json\r\n{\"a\":\"x\"}\n");
    session_is(2, NULL, "POST /a,%22b%22\ncontent-type: application/json\r\n{\"a\":1}\n");
    plan_fini(&plan);
#define PAYLOAD "config:\n  target: http://h:1\n  payload: {path: users.csv, fields: [who, age]}\nscenarios: []\n"
    char expected[256];
    static const char *const wrong[][2] = { { "a,b,c\n", "1: has more fields than the plan has names" },
                                            { "a,b\nc\n", "2: has fewer fields than the plan has names" },
                                            { "\"a\"b,c\n", "1: has text behind a closing quote" },
                                            { "\n", "1: holds no row" } };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        snprintf(expected, sizeof expected, "p.yml:3:19: %s:%s", bench_file("users.csv", wrong[i][0]), wrong[i][1]);
        if (i == 3)
            snprintf(expected, sizeof expected, "p.yml:3:19: %s:2: holds no row", bench_file("users.csv", wrong[i][0]));
        refused(PAYLOAD, expected);
    }
}

/* ---- Azure's form ---- */

TEST(azures_threads_are_users_and_the_counter_counts)
{
    reads("name: reg\ntestPlan:\n  type: HTTP\n  endpoint: http://h:1/api/x\n  method: post\n  headers: ['X-A: b']\n  body: '{\"id\": \"${__counter}\"}'\n"
          "  threads: 50\n  rampUp: 10\n  duration: 60\n  thinkTime: 200\nsuccessCriteria:\n  - avg(response_time) < 2000\n  - percentage(errors) < 5\n  - max(response_time) < 10000\n");
    assert_string_equal(plan.name, "reg");
    assert_string_equal(plan.url, "http://h:1");
    assert_false(plan.load.is_open);
    assert_int_equal(plan.criteria_count, 3);
    phase_is(0, 10 * NANOS_PER_S, 0, 50);
    phase_is(1, 50 * NANOS_PER_S, 50, 50);
    session_is(0, NULL, "think 200ms\nPOST /api/x\nX-A: b\r\ncontent-type: application/json\r\n{\"id\": \"1\"}\n");
    session_is(9, NULL, "think 200ms\nPOST /api/x\nX-A: b\r\ncontent-type: application/json\r\n{\"id\": \"10\"}\n");
    plan_fini(&plan);
}

TEST(azures_entries_run_side_by_side)
{
    reads("host: h:1\ntestPlan:\n  - {endpoint: /a, threads: 3, duration: 1m}\n  - {name: b, endpoint: /b, body: {x: '${__random(2,2)}', y: 1}, threads: 1, duration: 1m}\n");
    assert_int_equal(script_flow_count(plan.load.script), 2);
    assert_int_equal(plan.load.pace.phase_count, 1);
    phase_is(0, 60 * NANOS_PER_S, 4, 4);
    plan_fini(&plan);
}

/* ---- weir's own ---- */

TEST(a_plan_of_our_own_says_everything)
{
    bench_file("prompts.txt", "why?\n");
    reads("name: mine\nurl: http://h:1/p\napi: ollama\nmodel: m\nmax_tokens: 5\nheaders: {x-a: '${city}'}\nseed: 3\nvariables: {city: Ghent}\nprompts: prompts.txt\nthink: 1s\n"
          "rate: 20\narrivals: gamma(2.5)\nin_flight: 9\nramp: 10s\nduration: 1m\nwarmup: 5s\ndrain: 1s\ntimeout: 2s\nnew_connections: true\nverify: true\n"
          "slo: {latency: 2s, ttft: 300ms, itl: 40ms}\ncriteria: [p95 < 200ms]\n");
    const struct load_plan *load = &plan.load;
    assert_string_equal(plan.name, "mine");
    assert_true(load->is_open && load->new_connections && load->verify);
    assert_true(load->pace.kind == PACE_GAMMA && load->pace.cv == 2.5 && load->pace.seed == 3);
    assert_int_equal(load->users_max, 9);
    phase_is(0, 10 * NANOS_PER_S, 0, 20);
    phase_is(1, 60 * NANOS_PER_S, 20, 20);
    assert_true(load->warmup == 5 * NANOS_PER_S && load->drain == NANOS_PER_S && load->timeout == 2 * NANOS_PER_S);
    assert_true(load->slo.latency == 2 * NANOS_PER_S && load->slo.ttft == 300 * NANOS_PER_MS && load->slo.itl == 40 * NANOS_PER_MS);
    session_is(0, NULL, "think 1000ms\nPOST /p/api/chat\nx-a: Ghent\r\ncontent-type: application/json\r\n"
                        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"why?\"}],\"stream\":false,\"options\":{\"num_predict\":5}}\n");
    plan_fini(&plan);
}

TEST(flows_of_our_own_mix_prompts_and_requests)
{
    bench_file("talk.jsonl", "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"}]}\n");
    reads("url: http://h:1\napi: openai\nmodel: m\nprompts: talk.jsonl\nphases: [{duration: 1m, users: 10, to: 50}, {duration: 10s, users: 50}]\n"
          "flows:\n  - steps:\n      - ask: {}\n      - think: 1s\n      - post: {url: /log, json: {said: '${prompt}'}}\n");
    assert_false(plan.load.is_open);
    phase_is(0, 60 * NANOS_PER_S, 10, 50);
    session_is(0, "c",
               "POST /v1/chat/completions\ncontent-type: application/json\r\n{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"stream\":false}\n"
               "POST /v1/chat/completions\ncontent-type: application/json\r\n{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
               "{\"role\":\"assistant\",\"content\":\"c\"},{\"role\":\"user\",\"content\":\"b\"}],\"stream\":false}\n"
               "think 1000ms\nPOST /log\ncontent-type: application/json\r\n{\"said\":\"a\"}\n");
    plan_fini(&plan);
}

TEST(a_trace_brings_its_own_arrivals)
{
    bench_file("t.csv", "2024-01-01 00:00:00,3,4\n2024-01-01 00:00:10,3,4\n");
    reads("url: http://h:1\ntrace: t.csv\nspeed: 2\n");
    assert_true(plan.load.is_open && plan.load.pace.kind == PACE_MOMENTS);
    assert_int_equal(plan.load.pace.moment_count, 2);
    assert_true(plan.load.pace.speed == 2);
    phase_is(0, 5 * NANOS_PER_S + 1, 0, 0);
    plan_fini(&plan);
    reads("url: http://h:1\ntrace: t.csv\nusers: 2\nduration: 1s\n"); /* its lengths alone */
    assert_true(!plan.load.is_open && plan.load.pace.kind == PACE_CONSTANT);
    plan_fini(&plan);
    reads("url: http://h:1\ntrace: t.csv\nspeed: 1e-300\nduration: 1s\n"); /* its second request is nowhere near */
    phase_is(0, NANOS_PER_S, 0, 0);
    plan_fini(&plan);
    refused("url: http://h:1\ntrace: t.csv\nspeed: 1e-300\n", "p.yml:1:1: the trace takes more than 30 days: say how much of it with duration, or speed");
    refused("url: http://h:1\nrate: 1\nduration: 1s\narrivals: trace\n", "p.yml:4:11: needs a trace");
}

/* ---- what is wrong ---- */

#define OWN "url: http://h:1\nusers: 1\nduration: 1s\n"

TEST(what_is_wrong_has_its_place_and_the_nearest_word)
{
    static const struct {
        const char *yaml, *why;
    } rows[] = {
        { "", "p.yml:1:1: url is missing: a plan needs one, such as http://127.0.0.1:4040" },
        { "- a\n", "p.yml:1:1: a plan is keys with values, such as url: http://127.0.0.1:4040" },
        { "a: [\n", "p.yml:2:1: not YAML: did not find expected node content while parsing a flow node that begins in line 2" },
        { OWN "warmpu: 1s\n", "p.yml:4:1: unknown key \"warmpu\" in plan; did you mean warmup?" },
        { OWN "zzz: 1s\n", "p.yml:4:1: unknown key \"zzz\" in plan" },
        { OWN "api: openia\n", "p.yml:4:6: must be openai, ollama, query or plain" },
        { OWN "rate: 1\n", "p.yml:1:1: a plan needs users or rate, one of them; or phases" },
        { OWN "phases: []\n", "p.yml:4:9: phases stand instead of users, rate, ramp and duration" },
        { OWN "criteria: [p94 < 1]\n", "p.yml:4:12: There is no metric \"p94\"; did you mean \"p90\"?" },
        { OWN "warmup: 1s\n", "p.yml:1:1: the warm-up is as long as the whole test" },
        { OWN "timeout: soon\n", "p.yml:4:10: must be a span of at most 30 days such as 90s or 5m" },
        { OWN "timeout: 30000000000000000000000\n", "p.yml:4:10: must be a span of at most 30 days such as 90s or 5m" },
        { OWN "prompts: nowhere\n", "" },
        { OWN "variables: {a: []}\n", "p.yml:4:16: an empty list has nothing to choose from" },
        { OWN "variables: {a: 1}\nheaders: {x: '${b}'}\n", "p.yml:5:14: unknown name \"b\"; did you mean a?" },
        { OWN "headers: {Host: x}\n", "p.yml:4:17: the header Host is written by weir" },
        { OWN "headers: {'a:b': x}\n", "p.yml:4:18: \"a:b\" cannot be a header's name" },
        { OWN "flows: [{steps: [{think: 1}]}]\n", "p.yml:4:9: a flow needs at least one request" },
        { OWN "flows: [{steps: [{ask: {a: 1}}]}]\n", "p.yml:4:24: ask takes no keys: api, model and prompts are the plan's" },
        { OWN "flows: [{steps: [{get: {url: /}, think: 1}]}]\n", "p.yml:4:18: a step is one thing: get, post, think, loop with count, ..." },
        { "url: h:1\n", "p.yml:1:6: must be a URL such as http://127.0.0.1:4040" },
        { "url: http://h:1\nusers: 0\nduration: 1s\n", "p.yml:1:1: a plan needs users or a rate above 0" },
        { "url: http://h:1\nusers: 1\n", "p.yml:1:1: a phase needs a duration" },
        { "url: http://h:1\nphases: [{duration: 1s, users: 1}, {duration: 1s, rate: 1}]\n", "p.yml:2:36: all phases have users, or all have rate" },
        { "config: {target: 'http://h:1', plugins: {ensure: {}}}\n", "p.yml:1:32: plugins is not supported: plugins are JavaScript; ensure is served as config.ensure" },
        { "config: {processor: ./f.js}\n", "p.yml:1:10: processor is not supported: JavaScript is not run" },
        { "config: {environments: {}}\n", "p.yml:1:10: environments is not supported: write one plan for each; weir bench has flags for what differs" },
        { "config: {phases: [{duration: 1}]}\n", "p.yml:1:19: a phase needs a duration above 0 and arrivalRate, rampTo or arrivalCount; or pause" },
        { "config: {phases: [{duration: 1, arivalRate: 1}]}\n", "p.yml:1:33: unknown key \"arivalRate\" in phase; did you mean arrivalRate?" },
        { "config: {phases: [{duration: 1, arrivalRate: 1, maxVusers: 1}, {duration: 1, arrivalRate: 1, maxVusers: 2}]}\n",
          "p.yml:1:64: maxVusers differs from an earlier phase's 1: it holds for the whole test" },
        { "config: {}\nscenarios: [{flow: []}]\n", "p.yml:2:12: config.target is missing: a plan needs one, such as http://127.0.0.1:4040" },
        { ARTILLERY("      - get: {url: '/{{ x }}'}\n"), "p.yml:4:20: unknown name \"x\"" },
        { ARTILLERY("      - get: {url: '/{{ x'}\n"), "p.yml:4:20: {{ without its }}" },
        { ARTILLERY("      - get: {url: 'http://other/x'}\n"), "p.yml:4:20: another host than the target's, http://h:1: a plan loads one server" },
        { ARTILLERY("      - get: {url: 'http://h:12/x'}\n"), "p.yml:4:20: another host than the target's, http://h:1: a plan loads one server" },
        { ARTILLERY("      - get: {url: x}\n"), "p.yml:4:20: a path begins with /" },
        { ARTILLERY("      - get: {json: {}}\n"), "p.yml:4:14: a request needs a url" },
        { ARTILLERY("      - post: {url: /, json: {}, body: a}\n"), "p.yml:4:40: a request has one body: json, body or form" },
        { ARTILLERY("      - get: {url: /, beforeRequest: f}\n"), "p.yml:4:23: beforeRequest is not supported: JavaScript is not run" },
        { ARTILLERY("      - get: {url: /, capture: {json: '$.a[*]', as: b}}\n"), "p.yml:4:39: needs a path such as $.items[0].id; wildcards and filters are not supported" },
        { ARTILLERY("      - get: {url: /, capture: {json: $.a}}\n"), "p.yml:4:32: a capture needs json and as" },
        { ARTILLERY("      - loop: [{get: {url: /}}]\n"), "p.yml:4:15: a loop needs a count beside it: a flow must end" },
        { ARTILLERY("      - {loop: [{loop: [{get: {url: /}}], count: 2}], count: 2}\n"), "p.yml:4:24: a loop inside a loop is not supported; write the inner steps again" },
        { ARTILLERY("      - function: f\n"), "p.yml:4:9: function is not supported: JavaScript is not run" },
        { ARTILLERY("      - ask: {}\n"), "p.yml:4:14: ask belongs to weir's own plans; write the request: post with url and json" },
        { ARTILLERY("      - gte: {url: /}\n"), "p.yml:4:9: unknown key \"gte\" in step; did you mean get?" },
        { "testPlan: {endpoint: /x, threads: 1, duration: 1}\n", "p.yml:1:22: needs to be a whole URL, or a target beside it: target: http://127.0.0.1:4040" },
        { "testPlan: {endpoint: 'http://h/x', duration: 1}\n", "p.yml:1:11: needs threads: how many users ask at a time" },
        { "testPlan: {endpoint: 'http://h/x', threads: 1}\n", "p.yml:1:11: needs a duration" },
        { "testPlan: {endpoint: 'http://h/x', threads: 1, duration: 5, rampUp: 6}\n", "p.yml:1:11: rampUp is longer than the duration it is part of" },
        { "testPlan: {endpoint: 'http://h/x', treads: 1}\n", "p.yml:1:36: unknown key \"treads\" in testPlan; did you mean threads?" },
        { "testPlan: {type: jmx}\n", "p.yml:1:18: must be http, https or url: nothing else is spoken" },
        { "testPlan: {endpoint: 'http://h/x', threads: 1, duration: 1, body: '${__count}'}\n", "p.yml:1:67: unknown name \"__count\"; did you mean __counter?" },
        { "testPlan: [{endpoint: 'http://h/x', threads: 1, duration: 1}, {endpoint: '/y', threads: 1, duration: 2}]\n",
          "p.yml:1:63: entries that run side by side have the same duration and rampUp" },
        { "failureCriteria: []\ntestPlan: {}\n", "p.yml:1:1: failureCriteria is not supported: write successCriteria: what must hold" },
    };
    char text[256];
    unsigned wrong = 0;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *why = rows[i].why, *said;
        if (strstr(rows[i].yaml, "prompts: nowhere") != NULL) {
            snprintf(text, sizeof text, "p.yml:4:10: %s/nowhere: cannot be opened: No such file or directory", bench_folder);
            why = text;
        }
        said = complaint_of(rows[i].yaml, strlen(rows[i].yaml));
        if (said == NULL)
            fail_msg("read: %s", rows[i].yaml);
        if (strcmp(said, why) != 0)
            print_message("said:     %s\nexpected: %s\n", said, why), wrong++;
    }
    assert_int_equal(wrong, 0);
}

TEST(plans_that_are_cut_off_or_changed_are_refused_or_read_and_nothing_breaks)
{
    static const char *const files[] = { "baseline_100", "ramp_1000", "spike_1000", "sustained_1000", "agent_registration", "agent_inference" };
    static char yaml[8192];
    uint64_t random = 1;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[64];
        snprintf(path, sizeof path, "tests/load/%s.yml", files[i]);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        size_t len = fread(yaml, 1, sizeof yaml, f);
        fclose(f);
        assert_true(len > 0 && len < sizeof yaml);
        for (size_t cut = 0; cut <= len; cut += cut + 40 < len ? 13 : 1) {
            const char *why = complaint_of(yaml, cut);
            if (why != NULL && cut == len)
                fail_msg("%s", why);
            if (why == NULL)
                plan_fini(&plan);
        }
        for (unsigned k = 0; k < 300; k++) {
            random = random * 6364136223846793005ULL + 1442695040888963407ULL;
            size_t at = (size_t)(random >> 33) % len;
            char was = yaml[at];
            yaml[at] = "\"'{}[]:-$ \n\0a9"[(random >> 20) % 14];
            if (complaint_of(yaml, len) == NULL)
                plan_fini(&plan);
            yaml[at] = was;
        }
    }
}

int main(void)
{
#define ROW(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        ROW(artillerys_phases_become_rates),
        ROW(artillerys_requests_are_written_as_they_say),
        ROW(a_loop_goes_round_and_captures_reach_later_requests),
        ROW(flows_are_chosen_by_weight),
        ROW(columns_of_a_table_are_taken_row_by_row),
        ROW(azures_threads_are_users_and_the_counter_counts),
        ROW(azures_entries_run_side_by_side),
        ROW(a_plan_of_our_own_says_everything),
        ROW(flows_of_our_own_mix_prompts_and_requests),
        ROW(a_trace_brings_its_own_arrivals),
        ROW(what_is_wrong_has_its_place_and_the_nearest_word),
        ROW(plans_that_are_cut_off_or_changed_are_refused_or_read_and_nothing_breaks),
    };
    return cmocka_run_group_tests(tests, bench_folder_make, bench_folder_remove);
}
