/* mem.c: counted malloc, the fault switch of the tests, arenas and slabs. Everyone who needs memory calls it. */
#include "base/mem.h"

#include "base/account.h"
#include <malloc.h>
#include <sanitizer/asan_interface.h> /* poisoning; its macros are empty outside ASan builds */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ALIGN 16
#define ALIGN_UP(n) (((n) + (ALIGN - 1)) & ~(size_t)(ALIGN - 1))
#define BYTES_MAX (SIZE_MAX / 4) /* past this the sums below could overflow; no machine has it */

/* --- counted malloc --- */

/* Blocks alive, spread over cache lines so that workers do not fight for one: a thread always adds to its own line, the sum is the truth.
   An uncontended atomic add is 3 ns of the 17 that a malloc and a free take here; the hot path takes slabs and arenas. */
#define STRIPES 16
static struct stripe {
    _Alignas(64) int64_t alive;
} stripes[STRIPES];
static unsigned threads_seen;
static _Thread_local struct stripe *my_stripe;

static _Thread_local uint64_t fault_in;  /* the allocation that is to fail, counted down; 0 = none */
static _Thread_local uint64_t fault_seen;

static void count_alive(int64_t change)
{
    if (UNLIKELY(my_stripe == NULL))
        my_stripe = &stripes[__atomic_fetch_add(&threads_seen, 1, __ATOMIC_RELAXED) % STRIPES];
    __atomic_fetch_add(&my_stripe->alive, change, __ATOMIC_RELAXED);
}

/* What it will cost at most: malloc rounds to 16 and may leave a remainder too small to use; a mapped block is whole pages. */
#define MAPPED_MIN ((size_t)128 << 10)
#define TRIM_MIN   ((uint64_t)16 << 20) /* a flood's; trimming takes milliseconds, in which a thread that allocates may have to wait */
static size_t cost_most(size_t bytes)
{
    return bytes + (bytes < MAPPED_MIN ? 48 : 4144);
}

/* Every allocation asks here first: the test's fault switch, then the account. paid: what a block that is to grow has cost already. */
static bool may_allocate(size_t bytes, size_t paid)
{
    fault_seen++;
    bool told_to_fail = fault_in > 0 && --fault_in == 0;
    return !told_to_fail && bytes <= BYTES_MAX && (cost_most(bytes) <= paid || account_has(cost_most(bytes) - paid));
}

/* What a block costs: what malloc set aside for it. */
#define MALLOC_HEADER 8
static size_t cost_of(void *p)
{
    return malloc_usable_size(p) + MALLOC_HEADER;
}

static void *counted(void *p)
{
    if (UNLIKELY(p == NULL))
        return NULL;
    account_spend(cost_of(p));
    count_alive(1);
    return p;
}

void *mem_alloc(size_t bytes)
{
    return may_allocate(bytes, 0) ? counted(malloc(MAX(bytes, 1))) : NULL; /* malloc(0) may be NULL without being a failure */
}

void *mem_zero(size_t bytes)
{
    return may_allocate(bytes, 0) ? counted(calloc(1, MAX(bytes, 1))) : NULL;
}

void *mem_resize(void *p, size_t bytes)
{
    size_t before = p != NULL ? cost_of(p) : 0;
    if (!may_allocate(bytes, before))
        return NULL;
    void *resized = realloc(p, MAX(bytes, 1));
    if (p == NULL || resized == NULL)
        return counted(resized);
    account_give(before);
    account_spend(cost_of(resized));
    return resized;
}

void mem_free(void *p)
{
    if (p == NULL)
        return;
    count_alive(-1);
    account_give(cost_of(p));
    free(p);
}

void mem_tune(unsigned threads)
{
    mallopt(M_ARENA_MAX, (int)threads);             /* each worker its own; more would only keep free memory apart */
    mallopt(M_MXFAST, 0);                           /* else each larger block first puts together all small ones that were freed */
    mallopt(M_MMAP_THRESHOLD, (int)MAPPED_MIN);     /* fixed: left alone it grows with what is freed, and then large blocks stay in holes */
    mallopt(M_TRIM_THRESHOLD, (int)MAPPED_MIN * 64); /* what a turn's bodies took and gave stays: 512 KiB were too little, and made a tenth of a hit's cost page faults */
}

void mem_trim(void)
{
    static uint64_t most;
    uint64_t used = account_used();
    most = MAX(most, used);
    if (most - used < TRIM_MIN)
        return;
    malloc_trim(0);
    most = used;
}

char *mem_copy_text(struct text t)
{
    char *copy = mem_alloc(t.len + 1);
    if (copy == NULL)
        return NULL;
    if (t.len > 0)
        memcpy(copy, t.at, t.len);
    copy[t.len] = '\0';
    return copy;
}

void mem_wipe(void *p, size_t bytes)
{
    if (bytes > 0)
        explicit_bzero(p, bytes);
}

int64_t mem_alive(void)
{
    int64_t alive = 0;
    for (unsigned i = 0; i < STRIPES; i++)
        alive += __atomic_load_n(&stripes[i].alive, __ATOMIC_RELAXED);
    return alive;
}

uint64_t mem_fault(uint64_t nth)
{
    uint64_t seen = fault_seen;
    fault_seen = 0;
    fault_in = nth;
    return seen;
}

/* --- arenas --- */

/* Blocks double from 4 KiB (a page; a small request fits) to 64 KiB (later doubling would waste more than it saves).
   What is over a quarter of the largest gets a block of its own size, and the current block stays in use. */
#define BLOCK_MIN ((size_t)4 << 10)
#define BLOCK_MAX ((size_t)64 << 10)
#define ALONE_MIN (BLOCK_MAX / 4)

struct arena_block {
    _Alignas(ALIGN) struct arena_block *next;
    size_t bytes;  /* this header included */
    bool borrowed; /* the caller's first block: never freed here */
};

static char *block_content(struct arena_block *block)
{
    return (char *)(block + 1);
}

/* Fills in the header; the content is poisoned until it is handed out, so that ASan sees every byte past an allocation. */
static struct arena_block *block_open(void *mem, size_t bytes, bool borrowed)
{
    struct arena_block *block = mem;
    *block = (struct arena_block){ .bytes = bytes, .borrowed = borrowed };
    ASAN_POISON_MEMORY_REGION(block_content(block), bytes - sizeof *block);
    return block;
}

static void use_block(struct arena *a, struct arena_block *block)
{
    block->next = a->blocks;
    a->blocks = block;
    a->at = block_content(block);
    a->end = (char *)block + block->bytes;
}

void arena_init(struct arena *a, void *first, size_t first_bytes, size_t bytes_max)
{
    *a = (struct arena){ .bytes = first_bytes, .bytes_max = bytes_max };
    size_t skew = first ? ALIGN_UP((uintptr_t)first) - (uintptr_t)first : 0;
    if (first == NULL || first_bytes < skew + sizeof(struct arena_block) + ALIGN)
        return; /* too small to hold anything */
    use_block(a, block_open((char *)first + skew, first_bytes - skew, true));
}

void arena_fini(struct arena *a)
{
    struct arena_block *next;
    for (struct arena_block *block = a->blocks; block != NULL; block = next) {
        next = block->next;
        ASAN_UNPOISON_MEMORY_REGION(block, block->bytes);
        if (!block->borrowed)
            mem_free(block);
    }
    *a = (struct arena){ 0 }; /* a ceiling of 0: nothing is allocated until the next init */
}

void arena_wipe(struct arena *a)
{
    for (struct arena_block *block = a->blocks; block != NULL; block = block->next) {
        char *from = block_content(block), *to = block == a->blocks ? a->at : (char *)block + block->bytes;
        ASAN_UNPOISON_MEMORY_REGION(from, (size_t)(to - from));
        mem_wipe(from, (size_t)(to - from));
    }
}

static struct arena_block *block_new(struct arena *a, size_t bytes)
{
    if (a->bytes > a->bytes_max || bytes > a->bytes_max - a->bytes)
        return NULL;
    void *mem = mem_alloc(bytes);
    if (mem == NULL)
        return NULL;
    a->bytes += bytes;
    return block_open(mem, bytes, false);
}

/* A block for this allocation alone goes behind the current one, which keeps its free part. */
static void *alloc_alone(struct arena *a, size_t bytes)
{
    struct arena_block *block = block_new(a, sizeof *block + bytes);
    if (block == NULL)
        return NULL;
    if (a->blocks == NULL) {
        use_block(a, block);
        a->at = a->end;
    } else {
        block->next = a->blocks->next;
        a->blocks->next = block;
    }
    return block_content(block);
}

static bool more_blocks(struct arena *a, size_t bytes)
{
    size_t need = sizeof(struct arena_block) + bytes;
    size_t size = a->blocks ? MIN(2 * a->blocks->bytes, BLOCK_MAX) : BLOCK_MIN;
    size = MAX(size, BLOCK_MIN);
    while (size < need)
        size *= 2;
    struct arena_block *block = block_new(a, size);
    if (block == NULL)
        block = block_new(a, need); /* near the ceiling the doubled block may not fit, the need may */
    if (block != NULL)
        use_block(a, block);
    return block != NULL;
}

void *arena_alloc(struct arena *a, size_t bytes)
{
    if (UNLIKELY(bytes > BYTES_MAX))
        return NULL;
    size_t rounded = ALIGN_UP(MAX(bytes, 1));
    void *p;
    if (LIKELY(rounded <= (size_t)(a->end - a->at))) {
        p = a->at;
        a->at += rounded;
    } else if (rounded > ALONE_MIN) {
        p = alloc_alone(a, rounded);
    } else if (more_blocks(a, rounded)) {
        p = a->at;
        a->at += rounded;
    } else {
        return NULL;
    }
    ASAN_UNPOISON_MEMORY_REGION(p, p ? bytes : 0);
    return p;
}

char *arena_copy(struct arena *a, struct text t)
{
    char *copy = arena_alloc(a, t.len + 1);
    if (copy == NULL)
        return NULL;
    if (t.len > 0)
        memcpy(copy, t.at, t.len);
    copy[t.len] = '\0';
    return copy;
}

char *arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    char *out = len < 0 ? NULL : arena_alloc(a, (size_t)len + 1);
    if (out != NULL)
        vsnprintf(out, (size_t)len + 1, format, again);
    va_end(again);
    va_end(args);
    return out;
}

/* --- slabs --- */

/* Chunks stand in a ring behind the slab's first: those with free objects in front, last used first; the full ones behind. Before each object stands its
   chunk, so that an object finds its way home and a chunk that is wholly free, after a flood, goes back to the system. */
struct slab_chunk {
    _Alignas(ALIGN) struct slab_chunk *next;
    struct slab_chunk *prev;
    void *free_list;
    unsigned used;
};

#define PREFIX    ALIGN /* of an object: where its chunk is */
#define KEPT_FREE 256   /* objects kept for the next flood: a worker's load changes by fewer within moments */

static size_t stride_of(const struct slab *s)
{
    return PREFIX + s->object_bytes;
}

void slab_init(struct slab *s, size_t object_bytes, unsigned per_chunk)
{
    ASSERT(object_bytes > 0 && per_chunk > 0 && object_bytes <= BYTES_MAX / per_chunk - PREFIX - ALIGN);
    *s = (struct slab){ .object_bytes = ALIGN_UP(object_bytes), .per_chunk = per_chunk };
}

static void chunk_unlink(struct slab *s, struct slab_chunk *c)
{
    c->prev->next = c->next;
    c->next->prev = c->prev;
    if (s->chunks == c)
        s->chunks = c->next != c ? c->next : NULL;
}

/* Behind the last, which in a ring is before the first. */
static void chunk_link_last(struct slab *s, struct slab_chunk *c)
{
    if (s->chunks == NULL) {
        s->chunks = c->next = c->prev = c;
        return;
    }
    c->next = s->chunks;
    c->prev = s->chunks->prev;
    c->prev->next = c->next->prev = c;
}

static void chunk_to_front(struct slab *s, struct slab_chunk *c)
{
    if (s->chunks == c)
        return;
    chunk_unlink(s, c);
    chunk_link_last(s, c);
    s->chunks = c;
}

static void chunk_free(struct slab *s, struct slab_chunk *c)
{
    chunk_unlink(s, c);
    s->total -= s->per_chunk;
    ASAN_UNPOISON_MEMORY_REGION(c + 1, s->per_chunk * stride_of(s));
    mem_free(c);
}

void slab_fini(struct slab *s)
{
    while (s->chunks != NULL)
        chunk_free(s, s->chunks);
    *s = (struct slab){ .object_bytes = s->object_bytes, .per_chunk = s->per_chunk };
}

/* A free object holds the pointer to the next free one in its first bytes; the rest, and under ASan all of it, is nobody's. */
static void push_free(struct slab *s, struct slab_chunk *c, void *object)
{
    memcpy(object, &c->free_list, sizeof c->free_list);
    c->free_list = object;
    ASAN_POISON_MEMORY_REGION(object, s->object_bytes);
}

static bool more_objects(struct slab *s)
{
    struct slab_chunk *c = mem_alloc(sizeof *c + s->per_chunk * stride_of(s));
    if (c == NULL)
        return false;
    c->free_list = NULL;
    c->used = 0;
    chunk_link_last(s, c);
    s->chunks = c;
    s->total += s->per_chunk;
    char *objects = (char *)(c + 1);
    for (unsigned i = s->per_chunk; i-- > 0;) { /* backwards, so that they are taken in the order of their addresses */
        char *object = objects + i * stride_of(s) + PREFIX;
        memcpy(object - PREFIX, &c, sizeof c);
        push_free(s, c, object);
    }
    return true;
}

void *slab_take(struct slab *s)
{
    if ((s->chunks == NULL || s->chunks->free_list == NULL) && !more_objects(s))
        return NULL;
    struct slab_chunk *c = s->chunks;
    void *object = c->free_list;
    ASAN_UNPOISON_MEMORY_REGION(object, s->object_bytes);
    memcpy(&c->free_list, object, sizeof c->free_list);
    c->used++;
    s->used++;
    if (c->free_list == NULL)
        s->chunks = c->next; /* full: now the last of the ring */
    return object;
}

void slab_give(struct slab *s, void *object)
{
    struct slab_chunk *c;
    ASSERT(object != NULL && s->used > 0);
    memcpy(&c, (char *)object - PREFIX, sizeof c);
    s->used--;
    push_free(s, c, object); /* its first write is on poisoned ground if the object was given before */
    chunk_to_front(s, c);
    if (--c->used == 0 && UNLIKELY(s->total - s->used > KEPT_FREE + s->per_chunk))
        chunk_free(s, c);
}
