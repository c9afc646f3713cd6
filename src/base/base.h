/* base.h: the words every file of weir uses: time, must-use results, assertions, small macros. */
#ifndef WEIR_BASE_H
#define WEIR_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A moment or a span in nanoseconds. Moments come from a world's clock and start anywhere. */
typedef int64_t nanos;

#define NANOS_PER_US 1000LL
#define NANOS_PER_MS 1000000LL
#define NANOS_PER_S  1000000000LL
#define NEVER        INT64_MAX

/* Of a number somebody wrote, and so any: what 64 bits do not hold is NEVER, what is below zero or no number is 0. */
static inline nanos nanos_of(double count, nanos unit)
{
    double ns = count * (double)unit;
    return ns >= (double)NEVER ? NEVER : ns > 0 ? (nanos)ns : 0;
}

#define MUSTUSE      __attribute__((warn_unused_result))
#define NORETURN     __attribute__((noreturn))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define LIKELY(x)    __builtin_expect(!!(x), 1)
#define UNLIKELY(x)  __builtin_expect(!!(x), 0)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)    ((a) < (b) ? (a) : (b))
#define MAX(a, b)    ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

/* A wrong program stops, in release builds too: going on would answer someone with someone else's bytes. */
#define ASSERT(x) \
    do { \
        if (UNLIKELY(!(x))) \
            assert_failed(#x, __FILE__, __LINE__); \
    } while (0)

/* Each long-lived struct starts with `uint32_t magic`; CHECK catches a stale or wrong pointer early (Varnish miniobj.h). */
#define CHECK(p, m) ASSERT((p) != NULL && (p)->magic == m##_MAGIC)

NORETURN void assert_failed(const char *what, const char *file, int line);

/* Called once by assert_failed before abort(), to tell the running task's story. Set at start-up by run/. */
extern void (*assert_story)(void);

#endif
