/* fuzz_stream.c: any bytes as the events of a backend, in HTTP that is right: reaches what fuzz_backend's bytes seldom do. The oracle is backend_reading.c's. */
#include "fuzz/backend_call.h"
#include "net/http_write.h"

/* The length says how the body is framed, and whether it is cut before its end. hostile 77 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text in = { (const char *)data, size };
    struct cutter frames = fuzz_cutter(2, in);
    bool chunked = size % 2 == 0, cut = size % 7 == 6;
    struct buf b;
    if (size > 16384)
        return 0;
    buf_init(&b, 1u << 20);
    told(buf_add_text(&b, TEXT("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")));
    told(chunked ? http_write_chunked(&b) : http_write_length(&b, size + cut));
    told(http_write_head_end(&b));
    for (struct text rest = in; chunked && rest.len > 0;) {
        size_t n = frames.next(&frames, rest.len);
        told(http_write_chunk(&b, (struct text){ rest.at, n }));
        rest = (struct text){ rest.at + n, rest.len - n };
    }
    told(chunked ? cut ? OK : http_write_chunk_last(&b) : buf_add_text(&b, in));
    backend_call(&(struct backend_play){ buf_text(&b), fuzz_cutter(2, in), .slow = size % 5 == 4, .closes = size % 3 == 0, .ask = size % 11 == 10 ? ASK_STREAM_OLD : ASK_STREAM });
    buf_fini(&b);
    return 0;
}
