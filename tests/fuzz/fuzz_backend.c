/* fuzz_backend.c: any bytes as a backend's connection, an honest client before the gateway. The oracle is backend_call.c's. */
#include "fuzz/backend_call.h"

/* hostile 78 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text in = { (const char *)data, size };
    if (size > 16384)
        return 0;
    backend_call(in, fuzz_cutter(2, in), size % 2 == 0, size / 2 % 2 == 0);
    return 0;
}
