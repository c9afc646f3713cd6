/* ideal.h: what a cache could have done at best. Numbers only; `weir bench cache` asks. */
#ifndef WEIR_IDEAL_H
#define WEIR_IDEAL_H

#include "base/base.h"

/* The share of requests that a cache without limits would have answered, when key i was asked counts[i] times: all but the first of each. NAN: nothing was asked. */
double ideal_share(const uint32_t *counts, size_t keys);

#endif
