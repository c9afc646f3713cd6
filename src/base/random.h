/* random.h: splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014): numbers that a seed decides, for tests, samples and ids that
   need not be unguessable. What nobody may guess comes from worker_random. */
#ifndef WEIR_RANDOM_H
#define WEIR_RANDOM_H

#include "base/base.h"

static inline uint64_t random_step(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

#endif
