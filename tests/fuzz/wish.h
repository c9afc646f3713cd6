/* wish.h: what a request to a model deserves, by a reading of its body that shares no code with serve/ and upstream/. fuzz_gateway asks it. */
#ifndef WEIR_TESTS_WISH_H
#define WEIR_TESTS_WISH_H

#include "fuzz/fuzz.h"

/* The status that a whole body must be answered with: 200 where nothing could be wrong, 400 where something is for sure, 404 for a model that is not m.
   0: this reading does not know. path: one of the three that ask models. */
int wish_status(struct text path, struct text body);

#endif
