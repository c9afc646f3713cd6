/* bucket.c: a leaky bucket as a meter (ITU-T I.371, the same as a token bucket seen from below), with reservations that are settled later. Called by limits.c. */
#include "admit/inner.h"

#define US_PER_MINUTE INT64_C(60000000)     /* drops in a unit */
#define DROPS_MAX     (INT64_MAX / 4)       /* where a level stops rising: some 4e10 units, which nothing configured comes near */

static int64_t drops_of(int64_t units) { return units * US_PER_MINUTE; } /* units: at most LIMIT_TOKENS_MAX, or a rate */

void bucket_pass(struct bucket *b, uint32_t rate, nanos now)
{
    int64_t us = now / NANOS_PER_US, drained;
    if (rate == 0)
        b->used = b->real = 0;
    if (us <= b->at_us) /* another worker's clock was read a moment later */
        return;
    if (__builtin_mul_overflow(us - b->at_us, (int64_t)rate, &drained))
        drained = DROPS_MAX;
    b->used = MAX(b->used - drained, 0);
    b->real = MAX(b->real - drained, 0);
    b->at_us = us;
}

uint32_t bucket_left(const struct bucket *b, uint32_t rate)
{
    int64_t left = drops_of(rate) - b->used;
    return left > 0 ? (uint32_t)(left / US_PER_MINUTE) : 0;
}

nanos bucket_wait(const struct bucket *b, uint32_t rate, int64_t units)
{
    int64_t over = b->used - drops_of(rate - MIN(units, (int64_t)rate));
    return rate == 0 || over <= 0 ? 0 : (over + rate - 1) / rate * NANOS_PER_US;
}

void bucket_use(struct bucket *b, int64_t units)
{
    b->used = MIN(b->used + drops_of(units), DROPS_MAX);
}

void bucket_raise(struct bucket *b, int64_t thousandths)
{
    b->used = MAX(b->used, MIN(thousandths, INT64_C(1000) * LIMIT_TOKENS_MAX) * (US_PER_MINUTE / 1000));
}

void bucket_unuse(struct bucket *b, int64_t units)
{
    b->used = MAX(b->used - drops_of(units), 0);
}

void bucket_reserve(struct bucket *b, int64_t units)
{
    bucket_use(b, units);
    b->held += units;
}

void bucket_settle(struct bucket *b, int64_t reserved, int64_t units)
{
    b->held -= reserved;
    b->real = MIN(b->real + drops_of(units), DROPS_MAX);
    if (units >= reserved) {
        bucket_use(b, units - reserved);
        return;
    }
    bool all_is_held = b->held >= b->used / US_PER_MINUTE; /* or the next line might overflow */
    int64_t least = all_is_held ? b->used : MIN(b->used, b->real + drops_of(b->held));
    b->used = MAX(b->used - drops_of(reserved - units), least);
}
