/* backend_call.h: what fuzz_backend, fuzz_stream and fuzz_answer share: an honest client asks, the fuzzer's backend answers, and what the client was told
   is held against backend_reading.c's. */
#ifndef WEIR_TESTS_BACKEND_CALL_H
#define WEIR_TESTS_BACKEND_CALL_H

#include "fuzz/backend_reading.h"

void backend_call(const struct backend_play *play);

#endif
