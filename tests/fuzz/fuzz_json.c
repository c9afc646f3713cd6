/* fuzz_json.c: any bytes through the escape writer. Oracle: yyjson reads back the same bytes; what is no UTF-8 comes back with U+FFFD in its place,
   and the valid rest between as it was. The same bytes as data of an event come back through the event reader. */
#include "base/json.h"
#include "fuzz/fuzz.h"
#include "net/sse.h"

/* The bytes with each that is no UTF-8 replaced. */
static void mended(struct text in, struct buf *out)
{
    while (in.len > 0) {
        size_t n = text_utf8_len(in);
        told(n > 0 ? buf_add(out, in.at, n) : buf_add(out, "\xef\xbf\xbd", 3));
        n = MAX(n, 1u);
        in = (struct text){ in.at + n, in.len - n };
    }
}

static void check_string(struct text in)
{
    struct buf written, due;
    struct arena arena;
    yyjson_doc *doc;
    buf_init(&written, 1u << 24);
    buf_init(&due, 1u << 24);
    arena_init(&arena, NULL, 0, 1u << 24);
    told(json_add_string(&written, in));
    mended(in, &due);
    told(json_parse(&arena, buf_text(&written), &doc, NULL));
    yyjson_val *v = yyjson_doc_get_root(doc);
    ASSERT(yyjson_is_str(v));
    ASSERT(text_eq((struct text){ yyjson_get_str(v), yyjson_get_len(v) }, buf_text(&due)));
    for (size_t i = 0; i < buf_len(&written); i++) /* fits one line of a stream or a log */
        ASSERT((unsigned char)buf_text(&written).at[i] >= ' ');
    buf_fini(&written);
    buf_fini(&due);
    arena_fini(&arena);
}

static void check_event(struct text in)
{
    struct buf out, joined;
    struct sse_reader r;
    struct sse_event e = { 0 };
    size_t eaten;
    buf_init(&out, 1u << 24);
    buf_init(&joined, 1u << 24);
    told(sse_write(&out, TEXT_NONE, in));
    sse_reader_init(&r, 1u << 24);
    told(sse_feed(&r, buf_text(&out), &eaten, &e));
    ASSERT(e.found && eaten == buf_len(&out));
    for (size_t i = 0; i < in.len; i++) /* CR, LF and CRLF end a line of data; the reader joins with LF */
        if (in.at[i] != '\n' || i == 0 || in.at[i - 1] != '\r')
            told(buf_add(&joined, in.at[i] == '\r' ? "\n" : &in.at[i], 1));
    ASSERT(text_eq(e.data, buf_text(&joined)));
    sse_reader_fini(&r);
    buf_fini(&out);
    buf_fini(&joined);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t before = mem_alive();
    char *copy = fuzz_copy((struct text){ (const char *)data, size });
    check_string((struct text){ copy, size });
    if (size > 0)
        check_event((struct text){ copy, size });
    mem_free(copy);
    ASSERT(mem_alive() == before);
    return 0;
}
