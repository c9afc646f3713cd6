/* backend_call.h: what fuzz_backend, fuzz_stream and fuzz_answer share: an honest client asks, the fuzzer's backend answers, and what the client was told
   is held against a reading of the backend's bytes that shares no code with upstream/. */
#ifndef WEIR_TESTS_BACKEND_CALL_H
#define WEIR_TESTS_BACKEND_CALL_H

#include "fuzz/fuzz.h"

/* backend: all bytes of its connection. closes: it says FIN after them, else it stays and says nothing. stream: what the client asks for. */
void backend_call(struct text backend, struct cutter cut, bool closes, bool stream);

#endif
