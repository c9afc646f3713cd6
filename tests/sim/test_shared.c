/* test_shared.c: instances that share answers through a Redis that is late, cut, garbled, frozen, gone and emptied, while those who ask leave at any moment; seeded.
   An answer is served for the question and the tenant it was put for (hostile 58, 60), and never once a drop of it has returned; nobody waits longer than redis.wait,
   and nobody at all after five have waited in vain (complaint 39); when Redis is back it is asked again, and what was dropped meanwhile is dropped everywhere. */
#include "cache/shared.h"
#include "lib/redis_peer.h"
#include "run/sim.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TEST(sentence) static void sentence(void **state __attribute__((unused)))
#define SEEDS     200
#define INSTANCES 2
#define OUTSIDE   INSTANCES
#define CALLERS   32 /* of all instances */
#define ROUNDS    30 /* of each caller */
#define QUESTIONS 6
#define TENANTS   2
#define WAIT_NS   (10 * NANOS_PER_MS)
#define TTL_NS    (3600 * NANOS_PER_S)
#define LATE_MOST (2 * REDIS_LATE_MAX * INSTANCES) /* some are late in the same moment as the fifth */

/* What an answer says of itself. */
struct content {
    unsigned question, tenant;
    uint64_t born;
    char rest[3000]; /* long enough to be packed */
};

static struct scene {
    struct sim *sim;
    struct worker workers[INSTANCES + 1];
    struct redis_peer peer;
    uint64_t seed;
    task_fn *story;
    struct redis_server *server[INSTANCES];
    struct shared *shared[INSTANCES];
    struct task *callers[CALLERS];
    unsigned alive, hits, misses, late, left, dropped, undropped, hits_of_many;
    nanos longest;
    uint64_t moment;           /* counts what happens */
    uint64_t dropped_until[TENANTS]; /* what was put of this tenant before is dropped */
    uint64_t told_until[INSTANCES][TENANTS]; /* what the instance's own cache was told so of */
    unsigned told[INSTANCES];
    bool is_calm; /* nobody leaves */
} here;

static const struct text tenants[TENANTS] = { { "acme", 4 }, { "globex", 6 } };

static void tell(void) { fprintf(stderr, "shared: seed %llu\n", (unsigned long long)here.seed); }

static uint32_t draw(uint64_t *chance, uint32_t below)
{
    *chance = *chance * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*chance >> 33) % below;
}

static void rest(struct task *t, nanos span)
{
    enum fail f = task_sleep(t, t->worker->now + span);
    ASSERT(f == OK || t->cancel != OK);
}

/* ---- callers ---- */

static struct cache_id id_of(unsigned question)
{
    struct cache_id id = { .hash = question };
    memset(id.sha256, 'a' + (int)question, sizeof id.sha256);
    return id;
}

static void look(unsigned question, unsigned tenant, uint64_t floor, struct shared_hit *hit)
{
    struct content c;
    ASSERT(hit->value->len == sizeof c && hit->ttl > 0 && hit->ttl <= TTL_NS);
    memcpy(&c, hit->value->bytes, sizeof c);
    ASSERT(c.question == question && c.tenant == tenant); /* hostile 58, 60 */
    ASSERT(text_eq(hit->tags, tenants[tenant]));
    ASSERT(c.born > floor); /* it was not dropped before it was asked for */
    cache_value_drop(hit->value);
}

static void get(struct task *t, unsigned instance, unsigned question, unsigned tenant)
{
    struct shared_hit hit;
    struct cache_id id = id_of(question);
    uint64_t floor = here.dropped_until[tenant];
    nanos began = t->worker->now;
    enum fail f = shared_get(t, here.shared[instance], &id, tenants[tenant], WAIT_NS, &hit);
    nanos took = t->worker->now - began;
    here.longest = MAX(here.longest, took);
    here.late += f == OK && took >= WAIT_NS;
    ASSERT(f == OK || (f == t->cancel && hit.value == NULL));
    *(f != OK ? &here.left : hit.value != NULL ? &here.hits : &here.misses) += 1;
    if (hit.value != NULL)
        look(question, tenant, floor, &hit);
}

/* All questions at once, each twice. */
static void get_many(struct task *t, unsigned instance, unsigned tenant)
{
    struct shared_hit hits[2 * QUESTIONS];
    struct cache_id ids[2 * QUESTIONS];
    uint64_t floor = here.dropped_until[tenant];
    nanos began = t->worker->now;
    for (unsigned i = 0; i < 2 * QUESTIONS; i++)
        ids[i] = id_of(i % QUESTIONS);
    enum fail f = shared_get_many(t, here.shared[instance], ids, 2 * QUESTIONS, tenants[tenant], WAIT_NS, hits);
    here.longest = MAX(here.longest, t->worker->now - began);
    here.late += f == OK && t->worker->now - began >= WAIT_NS;
    ASSERT(f == OK || f == t->cancel);
    for (unsigned i = 0; i < 2 * QUESTIONS; i++) {
        ASSERT(f == OK || hits[i].value == NULL);
        here.hits_of_many += hits[i].value != NULL;
        if (hits[i].value != NULL)
            look(i % QUESTIONS, tenant, floor, &hits[i]);
    }
}

static void put(unsigned instance, unsigned question, unsigned tenant)
{
    struct cache_id id = id_of(question);
    struct cache_label label = { tenants[tenant], TEXT("chat"), tenants[tenant] };
    struct content c = { question, tenant, ++here.moment, "" };
    struct cache_value *v = cache_value_new(sizeof c);
    if (v == NULL)
        return;
    v->len = sizeof c;
    memcpy(v->bytes, &c, sizeof c);
    shared_put(here.shared[instance], &id, &label, v, TTL_NS);
    cache_value_drop(v);
}

static void drop(struct task *t, unsigned instance, unsigned tenant)
{
    struct cache_match by_tenant = { .tenant = tenants[tenant] }, by_tag = { .tag = tenants[tenant] };
    uint64_t now = ++here.moment;
    enum fail f = shared_drop(t, here.shared[instance], now % 2 ? &by_tenant : &by_tag, t->worker->now + 50 * NANOS_PER_MS);
    if (f == OK)
        here.dropped_until[tenant] = MAX(here.dropped_until[tenant], now);
    *(f == OK ? &here.dropped : &here.undropped) += 1;
}

struct caller {
    unsigned number;
    uint64_t chance;
};

static void call(struct task *t, void *arg)
{
    struct caller *c = arg;
    for (unsigned i = 0; i < ROUNDS && t->cancel == OK; i++) {
        unsigned what = draw(&c->chance, 20), question = draw(&c->chance, QUESTIONS), tenant = draw(&c->chance, TENANTS), instance = c->number % INSTANCES;
        if (what == 0)
            drop(t, instance, tenant);
        else if (what < 6)
            put(instance, question, tenant);
        else if (what == 6)
            get_many(t, instance, tenant);
        else
            get(t, instance, question, tenant);
        if (what % 2 == 0)
            rest(t, draw(&c->chance, 5000) * NANOS_PER_US);
    }
    here.callers[c->number] = NULL;
    here.alive--;
    mem_free(c);
}

static void call_letter(struct worker *w, void *arg, uint64_t number)
{
    struct caller *c = mem_zero(sizeof *c);
    (void)arg;
    if (c != NULL)
        *c = (struct caller){ (unsigned)number, here.seed * 1000 + number };
    here.callers[number] = c != NULL ? task_start(w, "caller", call, c) : NULL;
    if (here.callers[number] == NULL) {
        mem_free(c);
        here.alive--;
    }
}

static void leave_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)w, (void)arg;
    if (here.callers[number] != NULL)
        task_cancel(here.callers[number], FAIL_CLIENT_GONE);
}

/* Callers of both instances, until the last has ended; some leave. */
static void storm(struct task *t)
{
    uint64_t chance = here.seed;
    here.alive = CALLERS;
    for (unsigned i = 0; i < CALLERS; i++)
        mail_send(&here.workers[i % INSTANCES], call_letter, NULL, i);
    while (here.alive > 0) {
        rest(t, draw(&chance, 2000) * NANOS_PER_US);
        unsigned one = draw(&chance, CALLERS);
        if (!here.is_calm && draw(&chance, 10) == 0)
            mail_send(&here.workers[one % INSTANCES], leave_letter, NULL, one);
    }
}

/* ---- the instances ---- */

static void dropped(struct task *t, const struct cache_match *match, void *arg)
{
    unsigned instance = (unsigned)(uintptr_t)arg;
    here.told[instance]++;
    for (unsigned i = 0; i < TENANTS; i++)
        if ((match->tenant.at == NULL || text_eq(match->tenant, tenants[i])) && (match->tag.at == NULL || text_eq(match->tag, tenants[i])))
            here.told_until[instance][i] = here.dropped_until[i];
    rest(t, NANOS_PER_MS); /* it walks a cache */
}

static void cancel(struct task *t, void *arg)
{
    (void)arg;
    task_cancel(t, FAIL_DRAINING);
}

static void cancel_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)arg, (void)number;
    task_each(w, cancel, NULL);
}

static void free_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)w, (void)arg;
    shared_free(here.shared[number]);
    here.shared[number] = NULL;
}

static void leave(struct task *t)
{
    for (unsigned i = 0; i < INSTANCES; i++)
        mail_send(&here.workers[i], cancel_letter, NULL, 0);
    while (task_count(&here.workers[0]) + task_count(&here.workers[1]) > 0)
        rest(t, NANOS_PER_MS);
    for (unsigned i = 0; i < INSTANCES; i++)
        mail_send(&here.workers[i], free_letter, NULL, i);
    while (here.shared[0] != NULL || here.shared[1] != NULL)
        rest(t, NANOS_PER_MS);
}

static void root(struct task *t, void *arg)
{
    (void)arg;
    rest(t, NANOS_PER_S); /* all are connected */
    here.story(t, NULL);
    leave(t);
    redis_peer_stop(t, &here.peer);
    for (unsigned i = 0; i <= INSTANCES; i++)
        worker_stop(&here.workers[i]);
}

static void open_instance(unsigned i)
{
    struct redis_place place = { .host = "10.0.0.9", .port = 6379 };
    here.server[i] = redis_server_new(&place, NULL);
    ASSERT(here.server[i] != NULL);
    struct shared_options o = { here.server[i], WAIT_NS, dropped, (void *)(uintptr_t)i };
    here.shared[i] = shared_new(&here.workers[i], &o);
    ASSERT(here.shared[i] != NULL);
}

static void begin(uint64_t seed, struct sim_faults faults)
{
    memset(&here, 0, sizeof here);
    struct sim_options o = sim_options_default(seed);
    o.faults = faults;
    here.seed = seed;
    here.sim = sim_new(&o);
    assert_story = tell;
    for (unsigned i = 0; i <= INSTANCES; i++) {
        ASSERT(worker_init(&here.workers[i], sim_world(here.sim), i) == OK);
        ASSERT(sim_worker(here.sim, "worker", &here.workers[i]) == OK);
    }
    sim_spare(here.sim);
    here.peer.worker = &here.workers[OUTSIDE];
    here.peer.chance = seed * 77 + 5;
    ASSERT(addr_from_text(&here.peer.addr, TEXT("10.0.0.9"), 6379));
    for (unsigned i = 0; i < INSTANCES; i++)
        open_instance(i);
}

static void play(task_fn *story)
{
    here.story = story;
    redis_peer_start(&here.peer);
    ASSERT(task_start(&here.workers[OUTSIDE], "root", root, NULL) != NULL);
    if (!sim_run(here.sim, NULL, NULL, 600 * NANOS_PER_S)) {
        fprintf(stderr, "%s\n", sim_why(here.sim));
        ASSERT(!"the simulated run ends");
    }
    for (unsigned i = 0; i < INSTANCES; i++)
        redis_server_free(here.server[i]);
    redis_peer_flush(&here.peer);
    for (unsigned i = 0; i <= INSTANCES; i++)
        worker_fini(&here.workers[i]);
    ASSERT(sim_sockets_open(here.sim) == 0);
    sim_free(here.sim);
}

/* ---- the stories ---- */

static void storm_story(struct task *t, void *arg)
{
    (void)arg;
    storm(t);
}

TEST(in_peace_answers_are_shared_and_nobody_is_late)
{
    unsigned hits = 0, many = 0;
    for (uint64_t seed = 1; seed <= SEEDS / 4; seed++) {
        begin(seed, sim_faults_none());
        here.is_calm = true;
        play(storm_story);
        ASSERT(here.late == 0 && here.undropped == 0 && here.left == 0);
        hits += here.hits;
        many += here.hits_of_many;
    }
    assert_true(hits > 1000 && many > 1000);
}

TEST(hostile_58_and_60_an_answer_goes_to_who_asked_for_it)
{
    unsigned hits = 0, left = 0, late = 0, most = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        uint64_t chance = seed;
        begin(seed, sim_faults_none());
        here.peer.delay = draw(&chance, 2) * 20;
        here.peer.cut = draw(&chance, 3) == 0 ? 5 : 0;
        here.peer.garbage = draw(&chance, 3) == 0 ? 5 : 0;
        play(storm_story);
        ASSERT(here.longest <= WAIT_NS + NANOS_PER_MS);
        hits += here.hits;
        left += here.left;
        late += here.late;
        most = MAX(most, here.peer.connections_most);
    }
    assert_true(hits > 1000 && left > 100 && late > 100); /* or it was no storm */
    assert_true(most > 3 * INSTANCES); /* and some had more than the writer, the listener and one that asks */
}

TEST(whatever_the_network_and_memory_do_an_answer_goes_to_who_asked_for_it)
{
    unsigned hits = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct sim_faults faults = sim_faults_seeded(seed);
        faults.leap = faults.slow_turn = 0; /* of the clock's jumps nobody can be spared */
        begin(seed, faults);
        play(storm_story);
        ASSERT(here.longest <= WAIT_NS + NANOS_PER_MS);
        hits += here.hits;
    }
    assert_true(hits > 1000);
}

/* One caller, whom nobody disturbs. On instance `number`: there it must be a hit, or a miss. */
static void probe(struct task *t, void *arg)
{
    unsigned instance = (unsigned)(uintptr_t)arg;
    get(t, instance, 0, 0);
    here.alive--;
}

static void probe_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)arg;
    ASSERT(task_start(w, "probe", probe, (void *)(uintptr_t)number) != NULL);
}

static void put_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)w, (void)arg;
    put((unsigned)number, 0, 0);
}

static void drop_task(struct task *t, void *arg)
{
    drop(t, (unsigned)(uintptr_t)arg, 0);
    here.alive--;
}

static void drop_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)arg;
    ASSERT(task_start(w, "drop", drop_task, (void *)(uintptr_t)number) != NULL);
}

/* Does it on that instance's worker, and waits. */
static void have(struct task *t, mail_fn *what, unsigned instance)
{
    here.alive = what != put_letter;
    mail_send(&here.workers[instance], what, NULL, instance);
    do
        rest(t, 5 * NANOS_PER_MS);
    while (here.alive > 0);
}

static bool is_hit(struct task *t, unsigned instance)
{
    unsigned before = here.hits;
    have(t, probe_letter, instance);
    return here.hits > before;
}

static void drop_story(struct task *t, void *arg)
{
    (void)arg;
    ASSERT(!is_hit(t, 1));
    have(t, put_letter, 0);
    ASSERT(is_hit(t, 0) && is_hit(t, 1));
    unsigned told = here.told[1];
    have(t, drop_letter, 0);
    ASSERT(here.dropped == 1 && !is_hit(t, 1) && !is_hit(t, 0));
    rest(t, 100 * NANOS_PER_MS);
    ASSERT(here.told[1] == told + 1 && here.told_until[1][0] == here.dropped_until[0]); /* long before it looks by itself */
    have(t, put_letter, 1);
    ASSERT(is_hit(t, 0) && is_hit(t, 1));
}

TEST(a_drop_is_known_at_once_and_what_is_put_afterwards_is_served)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin(seed, sim_faults_none());
        play(drop_story);
    }
}

static void flush_story(struct task *t, void *arg)
{
    (void)arg;
    have(t, put_letter, 0);
    ASSERT(is_hit(t, 1));
    unsigned told = here.told[1];
    here.peer.list_count = 0; /* as Redis does when it is short of memory: the list, and not the answers */
    ASSERT(!is_hit(t, 1));
    rest(t, NANOS_PER_S);
    ASSERT(here.peer.list_count == 1 && !is_hit(t, 1)); /* nobody can say that it was not dropped */
    rest(t, 6 * NANOS_PER_S);
    ASSERT(here.told[1] == told + 1 && !is_hit(t, 0));
    have(t, put_letter, 1);
    ASSERT(is_hit(t, 0) && is_hit(t, 1));
    redis_peer_flush(&here.peer);
    ASSERT(!is_hit(t, 0) && !is_hit(t, 1));
    rest(t, NANOS_PER_S);
    have(t, put_letter, 1);
    ASSERT(is_hit(t, 0) && is_hit(t, 1));
}

TEST(without_its_list_of_drops_nothing_older_is_served)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        begin(seed, sim_faults_none());
        play(flush_story);
    }
}

static void frozen_story(struct task *t, void *arg)
{
    (void)arg;
    storm(t);
    ASSERT(here.late == 0);
    here.peer.is_frozen = true;
    storm(t);
    unsigned late = here.late;
    ASSERT(late >= 1 && late <= REDIS_LATE_MAX); /* one of each connection: who stands behind one that is late waits no longer than that one */
    storm(t);
    ASSERT(here.late == late);
    here.peer.is_frozen = false;
    rest(t, 30 * NANOS_PER_S); /* as long as the longest pause */
    unsigned before = here.hits;
    storm(t);
    storm(t);
    ASSERT(here.hits > before); /* it is asked again */
}

/* complaint 39 */
TEST(a_frozen_one_keeps_one_waiting_and_whoever_stands_behind_it_for_less)
{
    for (uint64_t seed = 1; seed <= SEEDS / 2; seed++) {
        begin(seed, sim_faults_none());
        here.is_calm = true;
        play(frozen_story);
        ASSERT(here.longest <= WAIT_NS + NANOS_PER_MS);
    }
}

static void slow_story(struct task *t, void *arg)
{
    (void)arg;
    storm(t);
    here.peer.slow = 15 * NANOS_PER_MS; /* each answer comes, and too late */
    for (unsigned i = 0; i < 10; i++)
        storm(t);
    ASSERT(here.late >= INSTANCES && here.late <= LATE_MOST);
    here.peer.slow = 0;
    rest(t, 30 * NANOS_PER_S);
    unsigned before = here.hits, late = here.late;
    storm(t);
    ASSERT(here.hits > before && here.late == late);
}

TEST(after_five_late_answers_nobody_waits_until_it_is_quick_again)
{
    for (uint64_t seed = 1; seed <= SEEDS / 4; seed++) {
        begin(seed, sim_faults_none());
        here.is_calm = true;
        play(slow_story);
        ASSERT(here.longest <= WAIT_NS + NANOS_PER_MS);
    }
}

/* Instance 1 cannot hear, as its connections are cut, while instance 0 drops. */
static void deaf_story(struct task *t, void *arg)
{
    (void)arg;
    have(t, put_letter, 0);
    ASSERT(is_hit(t, 1));
    here.peer.cut = 300;
    for (unsigned i = 0; i < 20; i++) {
        have(t, drop_letter, 0);
        have(t, put_letter, 0);
        (void)is_hit(t, 1); /* look() judges */
    }
    here.peer.cut = 0;
    rest(t, 30 * NANOS_PER_S);
    for (unsigned i = 0; i < INSTANCES; i++)
        ASSERT(here.told_until[i][0] == here.dropped_until[0]); /* what was missed was looked up */
    have(t, put_letter, 0);
    ASSERT(is_hit(t, 1));
}

TEST(what_was_dropped_while_an_instance_was_away_it_hears_of_afterwards)
{
    unsigned drops = 0;
    for (uint64_t seed = 1; seed <= SEEDS / 2; seed++) {
        begin(seed, sim_faults_none());
        play(deaf_story);
        drops += here.dropped;
    }
    assert_true(drops > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_peace_answers_are_shared_and_nobody_is_late),
        cmocka_unit_test(hostile_58_and_60_an_answer_goes_to_who_asked_for_it),
        cmocka_unit_test(whatever_the_network_and_memory_do_an_answer_goes_to_who_asked_for_it),
        cmocka_unit_test(a_drop_is_known_at_once_and_what_is_put_afterwards_is_served),
        cmocka_unit_test(without_its_list_of_drops_nothing_older_is_served),
        cmocka_unit_test(a_frozen_one_keeps_one_waiting_and_whoever_stands_behind_it_for_less),
        cmocka_unit_test(after_five_late_answers_nobody_waits_until_it_is_quick_again),
        cmocka_unit_test(what_was_dropped_while_an_instance_was_away_it_hears_of_afterwards),
    };
    return cmocka_run_group_tests_name("shared", tests, NULL, NULL);
}
