/* test_joins.c: identical requests become one call. First flights alone (lib/joined.c), then a whole gateway: a header says here which requests are identical. */
#include "lib/actor.h"
#include "lib/house.h"
#include "lib/joined.h"
#include "path/path.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/test_base.h" /* behind the others: it includes cmocka, whose fail() is a macro */

#define SEEDS       300
#define HOUSE_SEEDS 15
#define FAULT_SEEDS 200
#define CROWD       1000
#define GUESTS_MAX  CROWD
#define ANSWER_MAX  (1u << 20)

/* ---- flights alone ---- */

TEST(readers_of_two_workers_get_what_was_made)
{
    const char *more = getenv("WEIR_SEEDS");
    both_simulated("joined", joined_story, 1, more != NULL ? (unsigned)strtoul(more, NULL, 10) : SEEDS);
    printf("joined: %u led, %u followed, %u of them across workers; %u whole, %u failed, %u dropped, %u left; %u given up, %u longer than the buffer\n", joined_sum.led,
           joined_sum.followed, joined_sum.crossed, joined_sum.whole, joined_sum.failed, joined_sum.dropped, joined_sum.left, joined_sum.abandoned, joined_sum.longer);
    assert_true(joined_sum.crossed > 1000 && joined_sum.whole > 1000 && joined_sum.failed > 100 && joined_sum.dropped > 10 && joined_sum.abandoned > 10);
}

TEST(who_holds_the_others_up_may_leave) { both_simulated("slow leader", joined_slow_leader, 1, 50); }

/* ---- a whole gateway ---- */

enum fail __real_path_route(struct task *t, struct request *rq);
enum fail __wrap_path_route(struct task *t, struct request *rq);

/* Requests with the same `x-join` and of one form are identical. */
enum fail __wrap_path_route(struct task *t, struct request *rq)
{
    struct text name = http_head_find(rq->http->head, TEXT("x-join"));
    if (name.len > 0) {
        rq->joins = true;
        memcpy(rq->join.id, name.at, MIN(name.len, (size_t)JOIN_ID_BYTES - 1));
        rq->join.id[JOIN_ID_BYTES - 1] = rq->stream;
        rq->join.hash = name.len;
    }
    return __real_path_route(t, rq);
}

struct scene;

/* A client. */
struct guest {
    struct scene *scene;
    struct actor actor;
    char name;                  /* what it asks for */
    bool stream, reads_nothing;
    const char *key, *class;    /* NULL: the usual ones */
    unsigned timeout_ms;        /* its deadline; 0 = the usual one */
    nanos at, leaves;           /* from the start; 0 = it stays */
    bool is_over;
    char *answer;
    size_t len;
    int status;
};

struct scene {
    struct house house;
    struct actor listener;
    struct guest guests[GUESTS_MAX];
    unsigned guest_count, over;
    nanos began;
    unsigned calls, refuse, cut; /* calls so far; the first so many answer 500, or break in the middle of a stream */
    unsigned events, event_bytes; /* of an answer */
    nanos first, gap;            /* until it begins; between events */
    bool faulty;                 /* the world strikes, as the seed says */
    unsigned open, abandoned;    /* calls under way; those whose caller hung up */
};

struct visit {
    struct scene *scene;
    struct actor actor;
};

static enum fail say(struct task *t, struct actor *a, const char *text) { return actor_write_all(t, a, text, strlen(text), NEVER); }

static enum fail say_event(struct task *t, struct visit *v, const char *name, unsigned call, unsigned n)
{
    static char event[ANSWER_MAX];
    struct scene *s = v->scene;
    int len = snprintf(event, sizeof event, "data: {\"choices\":[{\"text\":\"%s%u:%u;%*s\"}]}\n\n", name, call, n, (int)s->event_bytes, "");
    char size[16];
    snprintf(size, sizeof size, "%x\r\n", (unsigned)len);
    char *chunk = mem_alloc((size_t)len + 32);
    ASSERT(chunk != NULL);
    int all = snprintf(chunk, (size_t)len + 32, "%s%s\r\n", size, event);
    enum fail f = actor_write_all(t, &v->actor, chunk, (size_t)all, NEVER);
    mem_free(chunk);
    return f;
}

static enum fail say_stream(struct task *t, struct visit *v, const char *name, unsigned call)
{
    struct scene *s = v->scene;
    enum fail f = say(t, &v->actor, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
    for (unsigned i = 0; f == OK && i < s->events; i++) {
        f = say_event(t, v, name, call, i);
        if (f == OK && call <= s->cut && i >= s->events / 2) {
            actor_reset(&v->actor);
            return FAIL_RESET;
        }
        if (f == OK && s->gap > 0)
            f = task_sleep(t, t->worker->now + s->gap);
    }
    if (f == OK)
        f = say(t, &v->actor, "4b\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11}}  \n\n\r\n");
    return f == OK ? say(t, &v->actor, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n") : f;
}

static enum fail say_plain(struct task *t, struct visit *v, const char *name, unsigned call)
{
    char body[256], all[512];
    int n = snprintf(body, sizeof body, "{\"choices\":[{\"text\":\"%s%u\"}],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":11}}", name, call);
    snprintf(all, sizeof all, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
    return say(t, &v->actor, all);
}

static enum fail answer_call(struct task *t, struct visit *v, const char *question)
{
    struct scene *s = v->scene;
    char name[2] = { strstr(question, "\"prompt\":\"")[10], 0 };
    unsigned call = ++s->calls;
    s->open++;
    size_t n;
    char in[64];
    enum fail f = actor_read(t, &v->actor, in, sizeof in, t->worker->now + s->first + 1, &n); /* nobody says more: it waits, or sees the caller hang up */
    bool is_gone = f != FAIL_TIMEOUT;
    if (!is_gone && call <= s->refuse)
        f = say(t, &v->actor, "HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}");
    else if (!is_gone)
        f = strstr(question, "\"stream\":true") != NULL ? say_stream(t, v, name, call) : say_plain(t, v, name, call);
    s->open--;
    s->abandoned += is_gone || (f != OK && call > s->cut);
    return is_gone ? FAIL_RESET : f;
}

static void visit(struct task *t, void *arg)
{
    struct visit *v = arg;
    char in[4096];
    size_t len = 0, n;
    enum fail f = OK;
    while (f == OK && len < sizeof in - 1) {
        f = actor_read(t, &v->actor, in + len, sizeof in - 1 - len, NEVER, &n);
        if (f != OK || n == 0)
            break;
        len += n;
        in[len] = 0;
        const char *body = strstr(in, "\r\n\r\n"), *length = strstr(in, "ontent-length: ");
        if (body == NULL)
            continue;
        if (memcmp(in, "GET", 3) == 0) {
            f = say(t, &v->actor, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"data\":[]}");
            len = 0;
        } else if (length != NULL && strlen(body + 4) >= strtoul(length + 15, NULL, 10)) {
            f = answer_call(t, v, in);
            len = 0;
        }
    }
    if (v->actor.watch.fd >= 0)
        actor_close(&v->actor);
    mem_free(v);
}

static void backend(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct addr at;
    ASSERT(addr_from_text(&at, TEXT("10.0.0.1"), 8000));
    ASSERT(actor_listen(&s->house.outside, &s->listener, &at) == OK);
    for (;;) {
        struct visit *v = mem_zero(sizeof *v);
        ASSERT(v != NULL);
        v->scene = s;
        if (actor_accept(t, &s->listener, &v->actor, NEVER) != OK) {
            mem_free(v);
            break;
        }
        house_task(&s->house, "visit", visit, v);
    }
    actor_close(&s->listener);
}

static void guest(struct task *t, void *arg)
{
    struct guest *g = arg;
    struct scene *s = g->scene;
    char body[128], all[512];
    size_t n = 1;
    char deadline[48] = "", class[48] = "";
    nanos until = g->leaves > 0 ? s->began + g->leaves : NEVER;
    ASSERT(task_sleep(t, s->began + g->at) == OK);
    int len = snprintf(body, sizeof body, "{\"model\":\"m\",%s\"prompt\":\"%c\"}", g->stream ? "\"stream\":true," : "", g->name);
    if (g->timeout_ms > 0)
        snprintf(deadline, sizeof deadline, "x-weir-timeout-ms: %u\r\n", g->timeout_ms);
    if (g->class != NULL)
        snprintf(class, sizeof class, "x-weir-priority: %s\r\n", g->class);
    snprintf(all, sizeof all, "POST /v1/completions HTTP/1.1\r\nhost: w\r\nconnection: close\r\nx-join: %c\r\nauthorization: Bearer %s\r\n%s%scontent-length: %d\r\n\r\n%s", g->name,
             g->key != NULL ? g->key : "x", deadline, class, len, body);
    enum fail f = actor_connect(t, &g->actor, &s->house.address, until);
    if (f != OK) {
        ASSERT(s->faulty);
        g->is_over = true;
        s->over++;
        return;
    }
    f = actor_write_all(t, &g->actor, all, strlen(all), until);
    if (f == OK && g->reads_nothing)
        f = task_sleep(t, until);
    while (f == OK && n > 0 && g->len < ANSWER_MAX) {
        g->answer = mem_resize(g->answer, g->len + 4097);
        ASSERT(g->answer != NULL);
        f = actor_read(t, &g->actor, g->answer + g->len, 4096, until, &n);
        g->len += f == OK ? n : 0;
        g->answer[g->len] = 0;
    }
    actor_reset(&g->actor);
    if (g->len > 12)
        g->status = (int)strtol(g->answer + 9, NULL, 10);
    g->is_over = true;
    s->over++;
}

static bool all_over(void *arg) { return ((struct scene *)arg)->over == ((struct scene *)arg)->guest_count; }
static bool none_open(void *arg)
{
    struct scene *s = arg;
    return s->open == 0 && house_count(&s->house, COUNTER_requests_open) == 0;
}

static struct guest *invite(struct scene *s, char name, bool stream, nanos at)
{
    struct guest *g = &s->guests[s->guest_count++];
    *g = (struct guest){ .scene = s, .name = name, .stream = stream, .at = at };
    return g;
}

static struct scene *scene_new(unsigned events, unsigned event_bytes, nanos gap)
{
    static struct scene s;
    memset(&s, 0, sizeof s);
    s.events = events;
    s.event_bytes = event_bytes;
    s.gap = gap;
    s.first = 5 * NANOS_PER_MS;
    return &s;
}

#define YAML "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 4}}\nmodels: {m: {use: [b/up]}}\nstream: {buffer: 16KiB}\n"

static void play(struct scene *s, uint64_t seed, const char *yaml)
{
    struct sim_options o = sim_options_default(seed);
    o.window = 65536;
    if (s->faulty)
        o.faults = sim_faults_seeded(seed);
    house_open(&s->house, &o, yaml);
    s->began = s->house.outside.now + 100 * NANOS_PER_MS;
    house_task(&s->house, "backend", backend, s);
    for (unsigned i = 0; i < s->guest_count; i++)
        house_task(&s->house, "guest", guest, &s->guests[i]);
    assert_true(house_run(&s->house, all_over, s, 900 * NANOS_PER_S));
    if (!s->faulty)
        assert_true(house_run(&s->house, none_open, s, NANOS_PER_S)); /* nothing goes on for nobody */
}

static void close_scene(struct scene *s)
{
    for (unsigned i = 0; i < s->guest_count; i++) {
        mem_free(s->guests[i].answer);
        s->guests[i].answer = NULL;
    }
    house_close(&s->house);
}

/* What it got is one whole answer of what it asked for, by the nth call. Each event names its place. */
static bool is_whole(const struct guest *g, unsigned call)
{
    char part[64];
    const char *at = g->answer;
    if (g->status != 200)
        return false;
    if (!g->stream) {
        snprintf(part, sizeof part, "\"text\":\"%c%u\"", g->name, call);
        return strstr(at, part) != NULL;
    }
    for (unsigned i = 0; i < g->scene->events && at != NULL; i++) {
        snprintf(part, sizeof part, "\"text\":\"%c%u:%u;", g->name, call, i);
        at = strstr(at, part);
        at = at != NULL ? at + 1 : NULL;
    }
    return at != NULL && strstr(at, "data: [DONE]\n\n") != NULL && strstr(at, "error") == NULL;
}

static unsigned whole_of(const struct scene *s, char name, unsigned call)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->guest_count; i++)
        n += s->guests[i].name == name && is_whole(&s->guests[i], call);
    return n;
}

/* A thousand ask for the same at once, on both workers: one call. In two forms they are two. */
static void crowd(bool streams, bool plains)
{
    struct scene *s = scene_new(20, 10, 2 * NANOS_PER_MS);
    s->first = 200 * NANOS_PER_MS; /* until all have come */
    for (unsigned i = 0; i < CROWD; i++)
        invite(s, 'a', streams && (!plains || i % 2), i * 10 * NANOS_PER_US);
    play(s, 1, YAML);
    assert_int_equal(s->calls, 1u * streams + plains);
    assert_int_equal(whole_of(s, 'a', 1) + (streams && plains ? whole_of(s, 'a', 2) : 0), CROWD);
    close_scene(s);
}

TEST(a_thousand_streams_are_one_call) { crowd(true, false); }
TEST(a_thousand_plain_answers_are_one_call) { crowd(false, true); }
TEST(a_thousand_of_both_forms_are_two_calls) { crowd(true, true); }

/* hostile 61: who asks for something else gets something else. */
TEST(others_never_join)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++) {
        struct scene *s = scene_new(10, 0, NANOS_PER_MS);
        for (unsigned i = 0; i < 40; i++)
            invite(s, (char)('a' + i % 4), true, i * 20 * NANOS_PER_US);
        play(s, seed, YAML);
        assert_int_equal(s->calls, 4);
        for (char name = 'a'; name < 'e'; name++)
            assert_int_equal(whole_of(s, name, 1) + whole_of(s, name, 2) + whole_of(s, name, 3) + whole_of(s, name, 4), 10);
        close_scene(s);
    }
}

/* hostile 61: the leader leaves while it waits for a slot, for the first token, in the middle; its followers notice nothing. */
TEST(the_leader_may_leave)
{
    static const nanos leaves[] = { 20, 47, 70 }; /* ms; the slot is free after about 45, the first token comes 5 later */
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++)
        for (unsigned k = 0; k < ARRAY_LEN(leaves); k++) {
            struct scene *s = scene_new(20, 0, 2 * NANOS_PER_MS);
            invite(s, 'x', true, 0);
            invite(s, 'a', true, NANOS_PER_MS)->leaves = leaves[k] * NANOS_PER_MS;
            for (unsigned i = 0; i < 10; i++)
                invite(s, 'a', true, (10 + i / 5) * NANOS_PER_MS);
            play(s, seed, "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 1}}\nmodels: {m: {use: [b/up]}}\n");
            assert_int_equal(s->calls, 2);
            assert_int_equal(whole_of(s, 'x', 1), 1);
            assert_int_equal(whole_of(s, 'a', 2), 10);
            close_scene(s);
        }
}

/* Nor is its deadline the others'. */
TEST(the_leaders_deadline_is_its_own)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++)
        for (unsigned queued = 0; queued < 2; queued++) {
            struct scene *s = scene_new(10, 0, 2 * NANOS_PER_MS);
            s->first = 20 * NANOS_PER_MS;
            if (queued)
                invite(s, 'x', true, 0);
            struct guest *leader = invite(s, 'a', true, NANOS_PER_MS);
            leader->timeout_ms = 15;
            for (unsigned i = 0; i < 10; i++)
                invite(s, 'a', true, (4 + i / 5) * NANOS_PER_MS);
            play(s, seed, "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 1}}\nmodels: {m: {use: [b/up]}}\n");
            assert_int_equal(s->calls, 1 + queued);
            assert_int_equal(leader->status, 504);
            assert_int_equal(whole_of(s, 'a', 1 + queued), 10);
            close_scene(s);
        }
}

/* A call that low has begun goes before normal ones as soon as high has joined it, on whichever worker. */
TEST(a_call_is_as_urgent_as_its_most_urgent_reader)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++)
        for (unsigned urgent = 0; urgent < 2; urgent++) {
            struct scene *s = scene_new(5, 0, 2 * NANOS_PER_MS);
            s->first = 50 * NANOS_PER_MS;
            invite(s, 'x', true, 0);
            invite(s, 'a', true, 5 * NANOS_PER_MS)->class = "low";
            for (unsigned i = 0; i < 5; i++)
                invite(s, (char)('b' + i), true, 10 * NANOS_PER_MS);
            for (unsigned i = 0; i < 4; i++) /* some of them on the other worker */
                invite(s, 'a', true, (20 + 2 * i) * NANOS_PER_MS)->class = urgent && i > 1 ? "high" : "low";
            play(s, seed, "keys: {k: {key: x, priority_max: high}}\nbackends: {b: {url: 'http://10.0.0.1:8000', concurrency: 1}}\nmodels: {m: {use: [b/up]}}\n");
            assert_int_equal(s->calls, 7);
            assert_int_equal(whole_of(s, 'a', urgent ? 2 : 7), 5);
            close_scene(s);
        }
}

/* All leave, one after another: the last one's leaving ends the call, which waits in the queue or is under way. */
TEST(the_last_ones_leaving_ends_the_call)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++)
        for (unsigned queued = 0; queued < 2; queued++) {
            struct scene *s = scene_new(1000, 0, 5 * NANOS_PER_MS);
            if (queued)
                invite(s, 'x', true, 0)->leaves = 80 * NANOS_PER_MS;
            for (unsigned i = 0; i < 10; i++)
                invite(s, 'a', true, (1 + i) * NANOS_PER_MS)->leaves = (30 + 3 * i) * NANOS_PER_MS;
            play(s, seed, "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 1}}\nmodels: {m: {use: [b/up]}}\n");
            assert_int_equal(s->calls, 1);
            assert_int_equal(s->abandoned, 1);
            assert_true(s->house.outside.now - s->began < 200 * NANOS_PER_MS);
            close_scene(s);
        }
}

/* A producer fails over once for all, and fails once for all, with the same words. */
TEST(one_failure_is_everybodys)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++)
        for (unsigned refuse = 1; refuse < 4; refuse += 2) {
            struct scene *s = scene_new(5, 0, NANOS_PER_MS);
            s->refuse = refuse;
            s->first = 20 * NANOS_PER_MS;
            for (unsigned i = 0; i < 20; i++)
                invite(s, 'a', i % 2, i * 50 * NANOS_PER_US)->stream = true;
            play(s, seed, "backends: {b: {url: 'http://10.0.0.1:8000'}, c: {url: 'http://10.0.0.1:8000'}}\nmodels: {m: {use: [b/up, c/up]}}\nretries: {attempts: 2}\n");
            assert_int_equal(s->calls, 2);
            for (unsigned i = 0; i < s->guest_count; i++) {
                const struct guest *g = &s->guests[i];
                assert_true(refuse == 1 ? is_whole(g, 2) : g->status == 502 && strstr(g->answer, "b: answered 500") != NULL && strstr(g->answer, "c: answered 500") != NULL);
                assert_non_null(strstr(g->answer, "x-weir-attempts: 2"));
            }
            close_scene(s);
        }
}

/* A stream that breaks in the middle is cut for everybody, and for nobody as if it were whole. */
TEST(a_cut_is_everybodys)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++) {
        struct scene *s = scene_new(10, 0, NANOS_PER_MS);
        s->cut = 1;
        for (unsigned i = 0; i < 20; i++)
            invite(s, 'a', true, i * 50 * NANOS_PER_US);
        play(s, seed, YAML);
        assert_int_equal(s->calls, 1);
        for (unsigned i = 0; i < s->guest_count; i++)
            assert_true(s->guests[i].status == 200 && strstr(s->guests[i].answer, "\"error\"") != NULL && strstr(s->guests[i].answer, "[DONE]") == NULL);
        close_scene(s);
    }
}

/* Nobody is asked: what a full queue says is said to all who joined. */
TEST(a_refusal_is_everybodys)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++) {
        struct scene *s = scene_new(1000, 0, 5 * NANOS_PER_MS);
        invite(s, 'x', true, 0)->leaves = 900 * NANOS_PER_MS;
        for (unsigned i = 0; i < 10; i++)
            invite(s, 'a', true, (20 + i) * NANOS_PER_MS);
        play(s, seed, "backends: {b: {url: 'http://10.0.0.1:8000', concurrency: 1}}\nmodels: {m: {use: [b/up]}}\nclasses: {normal: {wait: 300ms}}\n");
        assert_int_equal(s->calls, 1);
        for (unsigned i = 1; i < s->guest_count; i++)
            assert_true(s->guests[i].status == 503 && strstr(s->guests[i].answer, "retry-after:") != NULL && strstr(s->guests[i].answer, "classes.normal.wait") != NULL);
        close_scene(s);
    }
}

/* One who does not read holds the others until timeouts.write, and no memory but the buffers; they have it all. */
TEST(who_does_not_read_is_left_behind)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++) {
        struct scene *s = scene_new(400, 1000, 0);
        for (unsigned i = 0; i < 6; i++)
            invite(s, 'a', true, i * 10 * NANOS_PER_US);
        for (unsigned i = 0; i < 2; i++) {
            struct guest *g = invite(s, 'a', true, 100 * NANOS_PER_US);
            g->reads_nothing = true;
            g->leaves = 60 * NANOS_PER_S;
        }
        play(s, seed, YAML "timeouts: {write: 3s}\n");
        assert_int_equal(s->calls, 1);
        assert_int_equal(whole_of(s, 'a', 1), 6);
        close_scene(s);
    }
}

/* Followers are requests, and use nothing: the leader's key pays once. */
TEST(the_leader_pays)
{
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++) {
        struct scene *s = scene_new(5, 0, NANOS_PER_MS);
        for (unsigned i = 0; i < 20; i++)
            invite(s, 'a', false, i * 50 * NANOS_PER_US)->key = "team-a-key-0123456789";
        play(s, seed, YAML "keys: {k: {key: team-a-key-0123456789, tpm: 20000, rpm: 600}}\n");
        assert_int_equal(s->calls, 1);
        assert_int_equal(whole_of(s, 'a', 1), 20);
        assert_int_equal(house_count(&s->house, COUNTER_tokens_prompt), 7);
        assert_int_equal(house_count(&s->house, COUNTER_tokens_completion), 11);
        close_scene(s);
    }
}

/* It leaves early, and others read on: what came until then is its, and the rest of who leaves then. */
TEST(an_answer_is_paid_once)
{
    static const nanos leaves[] = { 8, 20, 26 }; /* ms; the first token comes after about 11 */
    for (uint64_t seed = 1; seed <= HOUSE_SEEDS; seed++)
        for (unsigned k = 0; k < ARRAY_LEN(leaves); k++) {
            struct scene *s = scene_new(10, 0, 2 * NANOS_PER_MS);
            s->first = 10 * NANOS_PER_MS;
            invite(s, 'a', true, 0)->leaves = leaves[k] * NANOS_PER_MS;
            for (unsigned i = 0; i < 8; i++)
                invite(s, 'a', true, (1 + i % 3) * NANOS_PER_MS)->leaves = i < 2 ? (leaves[k] + 1) * NANOS_PER_MS : 0;
            play(s, seed, "backends: {b: {url: 'http://10.0.0.1:8000'}}\nmodels: {m: {use: [b/up], price: {in: 0, out: 1}}}\n");
            assert_int_equal(s->calls, 1);
            assert_int_equal(whole_of(s, 'a', 1), 6);
            assert_int_equal(house_count(&s->house, COUNTER_spent_nanodollars), 11 * 1000);
            assert_int_equal(house_count(&s->house, COUNTER_tokens_completion), 11);
            close_scene(s);
        }
}

/* Whatever breaks: each request ends, nothing is left, and what is whole is one call's answer. */
TEST(faults_cross_nobody)
{
    unsigned whole = 0, guests = 0;
    for (uint64_t seed = 1; seed <= 4 * HOUSE_SEEDS; seed++) {
        struct scene *s = scene_new(10, 0, 3 * NANOS_PER_MS);
        s->refuse = seed % 3;
        for (unsigned i = 0; i < 60; i++) {
            struct guest *g = invite(s, (char)('a' + (seed * 7 + i * 13) % 3), (seed + i) % 4 != 0, (seed * 31 + i * 17) % 60 * NANOS_PER_MS);
            if ((seed + i * 5) % 4 == 0)
                g->leaves = g->at + (1 + (seed * 11 + i * 7) % 50) * NANOS_PER_MS;
        }
        play(s, seed, YAML);
        for (unsigned i = 0; i < s->guest_count; i++) {
            bool is_any = false;
            for (unsigned call = 1; call <= s->calls; call++)
                is_any |= is_whole(&s->guests[i], call);
            ASSERT(s->guests[i].leaves > 0 || is_any || s->guests[i].status != 200);
            whole += is_any;
        }
        guests += s->guest_count;
        close_scene(s);
    }
    assert_true(whole > guests / 2);
}

/* What a client got, whole or cut: one call's answer to what it asked, in order from its beginning. */
static unsigned check_order(const struct guest *g)
{
    unsigned n = 0, first = 0;
    const char *end;
    for (const char *at = g->answer; at != NULL && (at = strstr(at, "\"text\":\"")) != NULL; n++) {
        unsigned call = 0, place = 0;
        at += 8;
        if ((end = strchr(at, g->stream ? ';' : '"')) == NULL)
            break;
        ASSERT(at[0] == g->name && sscanf(at + 1, g->stream ? "%u:%u;" : "%u", &call, &place) >= 1);
        ASSERT(place == n && (n == 0 || call == first));
        first = call;
        at = end;
    }
    return n;
}

TEST(nothing_that_the_world_does_mixes_answers)
{
    unsigned got = 0;
    for (uint64_t seed = 1; seed <= FAULT_SEEDS; seed++) {
        struct scene *s = scene_new(30, 200, 2 * NANOS_PER_MS);
        s->faulty = true;
        s->refuse = seed % 4 == 0;
        for (unsigned i = 0; i < 40; i++) {
            struct guest *g = invite(s, (char)('a' + (seed + i * 13) % 3), i % 4 != 0, (seed * 31 + i * 17) % 40 * NANOS_PER_MS);
            g->leaves = g->at + ((seed * 11 + i * 7) % 5 != 0 ? 300 * NANOS_PER_S : (nanos)(i * 3) * NANOS_PER_MS);
        }
        play(s, seed, YAML);
        for (unsigned i = 0; i < s->guest_count; i++)
            got += check_order(&s->guests[i]) > 0;
        close_scene(s);
    }
    assert_true(got > FAULT_SEEDS * 40 / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_of_two_workers_get_what_was_made), cmocka_unit_test(who_holds_the_others_up_may_leave),
        cmocka_unit_test(a_thousand_streams_are_one_call), cmocka_unit_test(a_thousand_plain_answers_are_one_call),
        cmocka_unit_test(a_thousand_of_both_forms_are_two_calls), cmocka_unit_test(others_never_join), cmocka_unit_test(the_leader_may_leave), cmocka_unit_test(the_leaders_deadline_is_its_own),
        cmocka_unit_test(a_call_is_as_urgent_as_its_most_urgent_reader),
        cmocka_unit_test(the_last_ones_leaving_ends_the_call), cmocka_unit_test(one_failure_is_everybodys), cmocka_unit_test(a_cut_is_everybodys),
        cmocka_unit_test(a_refusal_is_everybodys), cmocka_unit_test(who_does_not_read_is_left_behind), cmocka_unit_test(the_leader_pays), cmocka_unit_test(an_answer_is_paid_once),
        cmocka_unit_test(faults_cross_nobody), cmocka_unit_test(nothing_that_the_world_does_mixes_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
