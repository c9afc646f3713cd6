/* ideal.c: see ideal.h. */
#include "bench/ideal.h"
#include <math.h>

double ideal_share(const uint32_t *counts, size_t keys)
{
    uint64_t hits = 0, asked = 0;
    for (size_t i = 0; i < keys; i++) {
        asked += counts[i];
        hits += counts[i] > 0 ? counts[i] - 1 : 0; /* the first one of a key had to be asked */
    }
    return asked > 0 ? (double)hits / (double)asked : NAN;
}
