/* fuzz_answer.c: a status, a type and a body of a backend, in HTTP that is right. Input: "STATUS TYPE", a line end, the body. The oracle is backend_reading.c's. */
#include "fuzz/backend_call.h"
#include "net/http_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text in = { (const char *)data, size }, body = in, status, line = fuzz_line(&body), type = text_cut(line, ' ', &status);
    uint64_t number;
    struct buf b;
    bool cut = size % 7 == 6;
    if (size > 16384 || !text_to_u64(status, 599, &number) || number < 200)
        return 0;
    buf_init(&b, 1u << 20);
    told(http_write_status(&b, (int)number, 1));
    if (http_write_header(&b, TEXT("content-type"), type) == OK) {
        if (number != 204 && number != 304) {
            told(http_write_length(&b, body.len + cut));
            told(http_write_head_end(&b));
            told(buf_add_text(&b, body));
        } else {
            told(http_write_head_end(&b));
        }
        backend_call(&(struct backend_play){ buf_text(&b), fuzz_cutter(2, in), .slow = size % 5 == 4, .closes = size % 3 == 0, .ask = size % 2 == 0 ? ASK_STREAM : ASK_PLAIN });
    }
    buf_fini(&b);
    return 0;
}
