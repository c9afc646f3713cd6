/* fuzz_http_response.c: whatever a backend answers and however it is cut, http_parse tells the same story; and the next answer is read as if it were the
   first. The input's length says whether HEAD was asked. */
#include "fuzz/stories.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    stories_check(HTTP_KIND_RESPONSE, size % 8 == 7, (struct text){ (const char *)data, size }, "HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok");
    return 0;
}
