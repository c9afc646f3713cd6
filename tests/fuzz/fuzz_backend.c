/* fuzz_backend.c: any bytes as a backend's connection, an honest client before the gateway. The oracle is backend_reading.c's. */
#include "fuzz/backend_call.h"

/* hostile 78 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text in = { (const char *)data, size };
    if (size > 16384)
        return 0;
    backend_call(&(struct backend_play){ in, fuzz_cutter(2, in), .slow = size % 5 == 4, .closes = size % 2 == 0, .ask = (enum ask)(size / 2 % ASK_COUNT) });
    return 0;
}
