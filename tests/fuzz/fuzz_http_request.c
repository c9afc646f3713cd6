/* fuzz_http_request.c: whatever the bytes and however they are cut, http_parse tells the same story; and the next request is read as if it were the first. */
#include "fuzz/stories.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    stories_check(HTTP_KIND_REQUEST, false, (struct text){ (const char *)data, size }, "PUT /next HTTP/1.1\r\nhost: n\r\ncontent-length: 2\r\n\r\nok");
    return 0;
}
