/* mem.h: the only place that calls malloc and free. Arenas for what dies together (a request), slabs for what comes and goes
   (connections, tasks), plain counted memory for the rest. Every allocation passes mem_fault, so tests can fail the Nth one. */
#ifndef WEIR_MEM_H
#define WEIR_MEM_H

#include "base/fail.h"
#include "base/text.h"

/* Counted malloc. NULL when out of memory, at the account's ceiling (base/account.h), or when a test says so. Content is undefined. */
void *mem_alloc(size_t bytes) __attribute__((malloc, warn_unused_result));
void *mem_zero(size_t bytes) __attribute__((malloc, warn_unused_result)); /* zeroed */
void *mem_resize(void *p, size_t bytes) MUSTUSE;                           /* realloc; NULL leaves p as it was */
void mem_free(void *p);                                                    /* takes NULL */
char *mem_copy_text(struct text t) MUSTUSE;                                /* a NUL-terminated copy; NULL when out of memory */
/* Sets malloc up for a server with so many threads: what is freed goes back to the system, so that the account and the process's size agree. At start. */
void mem_tune(unsigned threads);
/* Called a few times a second, by one thread: when much was freed, what malloc keeps of it between other blocks goes back too. */
void mem_trim(void);
void mem_wipe(void *p, size_t bytes);                                      /* zeroes secrets; never optimised away */

/* Blocks alive now and since start, all threads (relaxed atomics). For leak checks in tests. */
int64_t mem_alive(void);
/* Fails the nth allocation from now on once (1 = the next); 0 switches it off. Thread-local. Returns how many allocations were counted since the last call. */
uint64_t mem_fault(uint64_t nth);

/* An arena: bump allocation, freed all at once. Blocks come from mem_alloc; the first block may be the caller's. */
struct arena_block;
struct arena {
    char *at, *end;             /* free part of the current block */
    struct arena_block *blocks; /* newest first */
    size_t bytes;               /* taken from the system, first block included */
    size_t bytes_max;           /* ceiling; ARENA_NO_MAX for none */
};
#define ARENA_NO_MAX SIZE_MAX
/* first may be NULL (first_bytes 0): then the first allocation takes a block. The caller keeps ownership of first. */
void arena_init(struct arena *a, void *first, size_t first_bytes, size_t bytes_max);
void arena_fini(struct arena *a); /* frees every block; a may be init'ed again */
void arena_wipe(struct arena *a); /* zeroes what was allocated, before a fini: it held secrets */
/* 16-byte aligned. NULL at the ceiling or when out of memory. */
void *arena_alloc(struct arena *a, size_t bytes) MUSTUSE;
char *arena_copy(struct arena *a, struct text t) MUSTUSE; /* NUL-terminated copy */
char *arena_printf(struct arena *a, const char *format, ...) PRINTF(2, 3) MUSTUSE;

/* A slab: objects of one size, from chunks that are given back when none of their objects is out and many others are free, and when the slab ends.
   Not thread-safe: one per worker. */
struct slab {
    size_t object_bytes;
    unsigned per_chunk;
    struct slab_chunk *chunks;
    unsigned used, total; /* objects out, objects owned */
};
void slab_init(struct slab *s, size_t object_bytes, unsigned per_chunk);
void slab_fini(struct slab *s);
void *slab_take(struct slab *s) MUSTUSE; /* not zeroed; NULL when out of memory */
void slab_give(struct slab *s, void *object);

#endif
