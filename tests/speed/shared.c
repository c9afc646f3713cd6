/* shared.c: a process that asks a Redis for answers and puts them there, as fast as its callers can: shared PORT WAIT_MS WORKERS CALLERS [read]. It writes a line of JSON with
   all it has counted whenever it reads one, and ends with its input. Each answer is looked at: one of another question or tenant ends it with an ASSERT.
   Called by tests/clients/test_shared.py, which does to the Redis what Redises suffer. */
#include "cache/shared.h"
#include "run/task.h"
#include <stdio.h>
#include <stdlib.h>

#define WORKERS_MOST 8
#define CALLERS_MOST 256
#define QUESTIONS    500
#define LARGEST      20000     /* bytes of most answers */
#define LARGE        (2 << 20) /* and of one */

static struct {
    struct world *world;
    struct redis_server *server;
    nanos wait;
    bool is_reader; /* puts and drops nothing */
    struct worker workers[WORKERS_MOST];
    struct shared *shared[WORKERS_MOST];
    pthread_t threads[WORKERS_MOST];
    _Atomic uint64_t gets, hits, late, longest, drops, undropped, told, spent;
} here;

/* What an answer is made of: noise, which zstd cannot shorten. */
struct content {
    uint32_t question, tenant;
};

static uint64_t noise(struct content c, uint32_t at) { return ((uint64_t)c.question << 40 | (uint64_t)c.tenant << 32 | (at + 1)) * 0x9e3779b97f4a7c15u; }

static const struct text tenants[] = { { "acme", 4 }, { "globex", 6 } };

static struct cache_id id_of(uint32_t question)
{
    struct cache_id id = { .hash = question };
    memcpy(id.sha256, &question, sizeof question);
    return id;
}

static void look(struct content wanted, const struct shared_hit *hit)
{
    const struct cache_value *v = hit->value;
    ASSERT(v->len > 0 && v->len % sizeof(uint64_t) == 0 && hit->ttl > 0 && text_eq(hit->tags, TEXT("a,b")));
    for (uint32_t i = 0; i < v->len; i += sizeof(uint64_t)) {
        uint64_t is = noise(wanted, i);
        ASSERT(memcmp(v->bytes + i, &is, sizeof is) == 0);
    }
    cache_value_drop(v);
}

static void put(struct shared *s, struct content c, uint64_t size)
{
    struct cache_id id = id_of(c.question);
    struct cache_label label = { tenants[c.tenant], TEXT("chat"), TEXT("a,b") };
    size_t len = c.question == 0 ? LARGE : (size + 1) * sizeof(uint64_t);
    struct cache_value *v = cache_value_new(len);
    if (v == NULL)
        return;
    v->len = (uint32_t)len;
    for (uint32_t i = 0; i < v->len; i += sizeof(uint64_t)) {
        uint64_t is = noise(c, i);
        memcpy(v->bytes + i, &is, sizeof is);
    }
    shared_put(s, &id, &label, v, 600 * NANOS_PER_S);
    cache_value_drop(v);
}

static void ask(struct task *t, struct shared *s, struct content c, uint64_t size)
{
    struct shared_hit hit;
    struct cache_id id = id_of(c.question);
    nanos began = t->worker->now;
    enum fail f = shared_get(t, s, &id, tenants[c.tenant], here.wait, &hit);
    uint64_t took = (uint64_t)(t->worker->now - began), longest = here.longest;
    ASSERT(f == OK || f == t->cancel);
    while (took > longest && !atomic_compare_exchange_weak(&here.longest, &longest, took))
        continue;
    here.gets++;
    here.spent += took;
    here.late += took >= (uint64_t)here.wait;
    here.hits += hit.value != NULL;
    if (hit.value != NULL)
        look(c, &hit);
    else if (!here.is_reader)
        put(s, c, size);
}

static void call(struct task *t, void *arg)
{
    struct shared *s = arg;
    while (t->cancel == OK) {
        uint64_t chance = worker_random(t->worker);
        struct content c = { (uint32_t)(chance % QUESTIONS), (uint32_t)(chance >> 20) % 2 };
        ask(t, s, c, (chance >> 32) % (LARGEST / sizeof(uint64_t)));
        if (task_sleep(t, t->worker->now + (nanos)((chance >> 40) % 2000) * NANOS_PER_US) != OK)
            break;
    }
}

/* Now and then an answer's tenant is dropped. */
static void drop(struct task *t, void *arg)
{
    struct shared *s = arg;
    while (task_sleep(t, t->worker->now + 300 * NANOS_PER_MS) == OK) {
        struct cache_match match = { .tenant = tenants[worker_random(t->worker) % 2] };
        enum fail f = shared_drop(t, s, &match, t->worker->now + NANOS_PER_S);
        *(f == OK ? &here.drops : &here.undropped) += 1;
    }
}

static void dropped(struct task *t, const struct cache_match *match, void *arg)
{
    (void)t, (void)match, (void)arg;
    here.told++;
}

static void cancel(struct task *t, void *arg)
{
    (void)arg;
    task_cancel(t, FAIL_DRAINING);
}

static void end_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)arg, (void)number;
    task_each(w, cancel, NULL);
}

static void *thread(void *arg)
{
    struct worker *w = arg;
    mem_tune(1);
    worker_run(w);
    return NULL;
}

static void open_worker(unsigned i, unsigned callers)
{
    struct worker *w = &here.workers[i];
    struct shared_options o = { here.server, here.wait, i == 0 ? dropped : NULL, NULL };
    ASSERT(worker_init(w, here.world, i) == OK);
    here.shared[i] = shared_new(w, &o);
    ASSERT(here.shared[i] != NULL);
    for (unsigned k = 0; k < callers; k++)
        ASSERT(task_start(w, "caller", call, here.shared[i]) != NULL);
    if (i == 0 && !here.is_reader)
        ASSERT(task_start(w, "dropper", drop, here.shared[i]) != NULL);
    ASSERT(pthread_create(&here.threads[i], NULL, thread, w) == 0);
}

static void print(void)
{
    printf("{\"gets\": %llu, \"hits\": %llu, \"late\": %llu, \"longest_us\": %llu, \"mean_us\": %llu, \"drops\": %llu, \"undropped\": %llu, \"told\": %llu}\n",
           (unsigned long long)here.gets, (unsigned long long)here.hits, (unsigned long long)here.late, (unsigned long long)here.longest / 1000,
           (unsigned long long)(here.spent / (here.gets + 1) / 1000), (unsigned long long)here.drops, (unsigned long long)here.undropped, (unsigned long long)here.told);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char line[16];
    uint64_t port, wait, workers, callers;
    if (argc < 5 || !text_to_u64(text_of(argv[1]), 65535, &port) || !text_to_u64(text_of(argv[2]), 10000, &wait) ||
        !text_to_u64(text_of(argv[3]), WORKERS_MOST, &workers) || !text_to_u64(text_of(argv[4]), CALLERS_MOST, &callers) || workers == 0)
        return 2;
    here.is_reader = argc > 5;
    here.wait = (nanos)wait * NANOS_PER_MS;
    struct redis_place place = { .host = "127.0.0.1", .port = (uint16_t)port };
    int64_t alive = mem_alive();
    here.world = world_real_new(1);
    here.server = redis_server_new(&place, NULL);
    ASSERT(here.world != NULL && here.server != NULL);
    for (unsigned i = 0; i < workers; i++)
        open_worker(i, (unsigned)(callers / workers));
    while (fgets(line, sizeof line, stdin) != NULL)
        print();
    for (unsigned i = 0; i < workers; i++) {
        mail_send(&here.workers[i], end_letter, NULL, 0);
        worker_stop(&here.workers[i]);
    }
    for (unsigned i = 0; i < workers; i++)
        pthread_join(here.threads[i], NULL);
    for (unsigned i = 0; i < workers; i++) {
        shared_free(here.shared[i]);
        worker_fini(&here.workers[i]);
    }
    redis_server_free(here.server);
    world_real_free(here.world);
    ASSERT(mem_alive() == alive);
    return 0;
}
