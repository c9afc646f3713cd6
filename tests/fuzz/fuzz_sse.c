/* fuzz_sse.c: the same events however the stream is cut; and parse, print, parse is the identity. */
#include "fuzz/fuzz.h"
#include "net/sse.h"

#define LINE_MAX_TESTED 512 /* so that inputs reach it */

static void tell(struct buf *story, const struct sse_event *e)
{
    told(buf_printf(story, "{%zu,%zu,%zu,%d,%lld}", e->name.len, e->data.len, e->id.len, e->id.at != NULL, (long long)e->retry_ms));
    told(buf_add_text(story, e->name));
    told(buf_add_text(story, e->data));
    told(buf_add_text(story, e->id));
}

/* Tells the events of in, cut by seeds (none: whole); prints them again into printed unless it is NULL. */
static void read_all(struct text in, const uint8_t *seeds, size_t seeds_len, size_t line_max, struct buf *story, struct buf *printed)
{
    struct sse_reader r;
    sse_reader_init(&r, line_max);
    enum fail f = OK;
    for (size_t at = 0, turn = 0; f == OK && at < in.len;) {
        size_t n = seeds_len > 0 ? 1u + seeds[turn++ % seeds_len] % 32u : in.len;
        n = MIN(n, in.len - at);
        char *piece = mem_alloc(n); /* its exact size, so that the sanitizer sees a read past it */
        ASSERT(piece != NULL);
        memcpy(piece, in.at + at, n);
        for (size_t from = 0; f == OK && from < n;) {
            size_t eaten = 0;
            struct sse_event e;
            f = sse_feed(&r, (struct text){ piece + from, n - from }, &eaten, &e);
            if (f != OK)
                break;
            ASSERT(eaten <= n - from && (e.found || eaten == n - from));
            from += eaten;
            if (!e.found)
                continue;
            tell(story, &e);
            if (printed != NULL)
                told(sse_write_event(printed, &e));
        }
        mem_free(piece);
        at += n;
    }
    if (f != OK)
        told(buf_printf(story, "[%s]", fail_name(f)));
    else if (printed == NULL && line_max == LINE_MAX_TESTED)
        told(buf_printf(story, sse_is_clean_end(&r) ? "[clean]" : "[cut]")); /* printing drops what was cut, so only cuts compare it */
    sse_reader_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t one[] = { 0 }; /* byte by byte */
    int64_t before = mem_alive();
    struct text in = { (const char *)data, size };
    size_t seeds = MIN(size, (size_t)16);
    struct buf whole, other, printed, first, second;
    buf_init(&whole, 64u << 20);
    buf_init(&other, 64u << 20);
    buf_init(&printed, 64u << 20);
    buf_init(&first, 64u << 20);
    buf_init(&second, 64u << 20);

    read_all(in, NULL, 0, LINE_MAX_TESTED, &whole, NULL);
    read_all(in, one, 1, LINE_MAX_TESTED, &other, NULL);
    ASSERT(text_eq(buf_text(&whole), buf_text(&other)));
    buf_clear(&other);
    if (seeds > 0)
        read_all(in, data + size - seeds, seeds, LINE_MAX_TESTED, &other, NULL);
    ASSERT(seeds == 0 || text_eq(buf_text(&whole), buf_text(&other)));

    read_all(in, NULL, 0, 1u << 20, &first, &printed);
    read_all(buf_text(&printed), NULL, 0, 1u << 20, &second, NULL);
    ASSERT(text_eq(buf_text(&first), buf_text(&second)));

    buf_fini(&whole);
    buf_fini(&other);
    buf_fini(&printed);
    buf_fini(&first);
    buf_fini(&second);
    ASSERT(mem_alive() == before);
    return 0;
}
