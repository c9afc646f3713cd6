/* verify.h: whether an answer is the one that `weir mock` made for exactly this request. The mock's words follow from its seed and the question alone (mock/ask.c), and
   the question is what a gateway passes on as it came: so the same words must come through any number of them. Called by load.c where a plan verifies. */
#ifndef WEIR_VERIFY_H
#define WEIR_VERIFY_H

#include "bench/script.h"

/* What has to be known of the mock; GET /_mock/stats says it. */
struct verify {
    uint64_t seed;
    uint32_t tokens;
};

/* Whether the mock would say this to that call: all of it, or with is_whole false its first bytes. tokens: how many the answer counted; 0: it did not. What asks no
   model is right. FAIL_NO_MEMORY; FAIL_BAD_JSON, FAIL_BAD_FIELD: the mock would not take the call's body. */
MUSTUSE enum fail verify_answer(const struct verify *v, const struct script_call *call, struct text answer, bool is_whole, uint64_t tokens, bool *out_is_right);

#endif
