/* fuzz.h: what the fuzz targets share. Each has an oracle; a target that only waits for a crash would be half a target. */
#ifndef WEIR_TESTS_FUZZ_H
#define WEIR_TESTS_FUZZ_H

#include "base/base.h"
#include "base/buf.h"
#include "lib/http_story.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_SEEDS 16 /* the last bytes of an input say how to cut it: they are part of it too, so a seed's text stays readable */

/* The three ways every target cuts its input: whole, byte by byte, and as its last bytes say. */
static inline struct cutter fuzz_cutter(unsigned way, struct text in)
{
    size_t seeds = MIN(in.len, (size_t)FUZZ_SEEDS);
    if (way == 0)
        return (struct cutter){ .next = cut_never };
    if (way == 1)
        return (struct cutter){ .next = cut_bytes };
    return (struct cutter){ .next = cut_seeded, .seeds = (const uint8_t *)in.at + in.len - seeds, .seeds_len = seeds };
}
#define FUZZ_WAYS 3

/* The line at the front of *io_rest, without its LF: targets with several arguments have one a line. */
static inline struct text fuzz_line(struct text *io_rest)
{
    struct text line;
    *io_rest = text_cut(*io_rest, '\n', &line);
    return line;
}

/* A copy of its exact size on the heap, so that the sanitizer sees a read past it. */
static inline char *fuzz_copy(struct text t)
{
    char *copy = mem_alloc(MAX(t.len, 1u));
    ASSERT(copy != NULL);
    if (t.len > 0)
        memcpy(copy, t.at, t.len);
    return copy;
}

#endif
