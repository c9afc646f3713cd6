/* cache.c: what finding an answer costs, alone, with two threads that share a cache, and with two that do not; and what an entry costs beside its bytes. Built by hand; prints nanoseconds, best of ROUNDS.
   Keys are drawn before the clock starts; each thread works in turns, as workers do. */
#include "../lib/cache_values.h"
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS  9
#define FINDS   1000000
#define TURN    32 /* finds a turn */
#define ENTRIES 10000
#define MANY    100000

static struct world *world;
static struct cache *caches[2]; /* filled alike */
static struct worker workers[2];
static struct cache_id ids[ENTRIES];
static struct cache *asked[2]; /* by each thread */
static struct cache_id *drawn[2]; /* one after another: to have an identity at hand costs nothing here */
static pthread_barrier_t together;

/* Of this thread's processor: others on the machine take some of the time between. */
static nanos clock_of_thread(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (nanos)ts.tv_sec * NANOS_PER_S + ts.tv_nsec;
}

static void *find_all(void *arg)
{
    struct worker *w = arg;
    const struct cache_id *keys = drawn[w->index];
    struct cache *cache = asked[w->index];
    uint64_t bytes = 0;
    pthread_barrier_wait(&together);
    nanos began = clock_of_thread();
    for (unsigned i = 0; i < FINDS; i += TURN) {
        quiesce_turn(w);
        for (unsigned k = i; k < i + TURN; k++)
            bytes += (uintptr_t)cache_find(w, cache, &keys[k]) & 1; /* the answer itself is not read: that is its user's time */
        quiesce_turn(w);
    }
    nanos took = clock_of_thread() - began;
    nanos *out = mem_alloc(sizeof *out);
    ASSERT(out != NULL && bytes < FINDS);
    *out = took;
    return out;
}

static double round_of(unsigned threads)
{
    pthread_t thread[2];
    nanos longest = 0;
    pthread_barrier_init(&together, NULL, threads);
    for (unsigned i = 0; i < threads; i++)
        ASSERT(pthread_create(&thread[i], NULL, find_all, &workers[i]) == 0);
    for (unsigned i = 0; i < threads; i++) {
        void *took;
        ASSERT(pthread_join(thread[i], &took) == 0);
        longest = MAX(longest, *(nanos *)took);
        mem_free(took);
    }
    pthread_barrier_destroy(&together);
    return (double)longest / FINDS;
}

/* share: of all finds that go to one key; the others by Zipf's law with this exponent. */
static void draw(double exponent, double share)
{
    static double sums[ENTRIES];
    double sum = 0;
    for (unsigned i = 0; i < ENTRIES; i++)
        sums[i] = sum += pow(i + 1, -exponent);
    for (unsigned t = 0; t < 2; t++) {
        uint64_t state = t + 1;
        for (unsigned i = 0; i < FINDS; i++) {
            double u = (double)(random_step(&state) >> 11) * 0x1p-53 * sum;
            unsigned low = 0, high = ENTRIES - 1;
            while (low < high) {
                unsigned middle = (low + high) / 2;
                if (sums[middle] < u)
                    low = middle + 1;
                else
                    high = middle;
            }
            drawn[t][i] = ids[(double)(random_step(&state) >> 11) * 0x1p-53 < share ? 77 : low * 7919u % ENTRIES];
        }
    }
}

static void speed(const char *what, double exponent, double share)
{
    draw(exponent, share);
    enum { ALONE, TOGETHER, APART, WAYS };
    double best[WAYS] = { 1e9, 1e9, 1e9 };
    asked[0] = caches[0];
    for (unsigned i = 0; i < ROUNDS; i++)
        for (unsigned way = 0; way < WAYS; way++) {
            asked[1] = caches[way == APART];
            best[way] = MIN(best[way], round_of(way == ALONE ? 1 : 2));
        }
    printf("find, %s: %.1f ns; two threads at once: %.1f ns each; two threads with a cache each: %.1f ns\n", what, best[ALONE], best[TOGETHER], best[APART]);
}

static void misses(void)
{
    double best = 1e9;
    for (unsigned i = 0; i < FINDS; i++)
        drawn[0][i] = id_of(1000000 + i);
    for (unsigned r = 0; r < ROUNDS; r++) {
        nanos began = clock_of_thread();
        for (unsigned i = 0; i < FINDS; i++)
            ASSERT(cache_find(&workers[0], caches[0], &drawn[0][i]) == NULL);
        best = MIN(best, (double)(clock_of_thread() - began) / FINDS);
    }
    printf("find nothing: %.1f ns\n", best);
}

static void puts_of(const char *what, uint32_t entries)
{
    const struct cache_label label = { TEXT("acme"), TEXT("chat"), TEXT("") };
    struct cache *c = cache_new(world, &(struct cache_limits){ (uint64_t)1 << 32, entries });
    ASSERT(c != NULL);
    struct cache_value **values = mem_alloc(MANY * sizeof(void *));
    ASSERT(values != NULL);
    for (uint64_t i = 0; i < MANY; i++)
        ASSERT((values[i] = value_of(i, 0, 500)) != NULL);
    nanos began = clock_of_thread();
    for (uint64_t i = 0; i < MANY; i++) {
        struct cache_id id = id_of(i);
        quiesce_turn(&workers[0]);
        ASSERT(cache_put(&workers[0], c, &id, values[i], &label, 3600 * SECOND) == OK);
        quiesce_turn(&workers[0]);
    }
    printf("put, %s: %.0f ns\n", what, (double)(clock_of_thread() - began) / MANY);
    for (uint64_t i = 0; i < MANY; i++)
        cache_value_drop(values[i]);
    mem_free(values);
    cache_free(c);
}

static void overhead(void)
{
    const struct cache_label label = { TEXT("acme"), TEXT("chat"), TEXT("") };
    uint64_t bytes = 0, state = 5;
    struct mallinfo2 before = mallinfo2();
    int64_t accounted = (int64_t)account_used();
    struct cache *c = cache_new(world, &(struct cache_limits){ (uint64_t)1 << 32, MANY });
    ASSERT(c != NULL);
    for (uint64_t i = 0; i < MANY; i++) {
        size_t len = 100 + random_step(&state) % 2000;
        bytes += len;
        ASSERT(put_one(&workers[0], c, i, 0, len, &label, 3600 * SECOND) == OK);
    }
    struct mallinfo2 after = mallinfo2();
    double used = (double)((after.uordblks + after.hblkhd) - (before.uordblks + before.hblkhd));
    struct cache_status s;
    cache_status(c, &s);
    ASSERT(s.entries == MANY);
    printf("beside an entry's bytes: %.1f by mallinfo, %.1f by the account, %.1f by the cache's own count\n", (used - (double)bytes) / MANY,
           ((double)account_used() - (double)accounted - (double)bytes) / MANY, ((double)s.bytes - (double)bytes) / MANY);
    cache_free(c);
}

int main(void)
{
    const struct cache_label label = { TEXT("acme"), TEXT("chat"), TEXT("") };
    world = world_real_new(1);
    ASSERT(world != NULL);
    for (unsigned i = 0; i < 2; i++) {
        ASSERT(worker_init(&workers[i], world, i) == OK);
        ASSERT((drawn[i] = mem_alloc((FINDS + TURN) * sizeof *drawn[i])) != NULL);
    }
    overhead();
    puts_of("into an empty cache", MANY);
    puts_of("into a full one", 10000);
    for (unsigned k = 0; k < 2; k++) {
        caches[k] = cache_new(world, &(struct cache_limits){ (uint64_t)1 << 32, ENTRIES });
        ASSERT(caches[k] != NULL);
        for (unsigned i = 0; i < ENTRIES; i++) {
            ids[i] = id_of(i);
            ASSERT(put_one(&workers[0], caches[k], i, 0, 1000, &label, 3600 * SECOND) == OK);
        }
    }
    speed("each key alike", 0, 0);
    speed("Zipf 0.9", 0.9, 0);
    speed("half on one key", 0, 0.5);
    misses();
    for (unsigned i = 0; i < 2; i++) {
        cache_free(caches[i]);
        mem_free(drawn[i]);
        worker_fini(&workers[i]);
    }
    world_real_free(world);
    return 0;
}
