/* fuzz_http_write.c: hostile words into the writers of heads. Input, a line each: method, target, then name:value.
   Oracle: what is written is as many lines as there were words, read by a splitter that knows nothing of HTTP, and read by our parser it is the same words;
   what is refused leaves the buffer as it was. */
#include "fuzz/fuzz.h"
#include "net/http_write.h"
#include <stdlib.h>

#define HEADERS_MOST 60

static const struct http_parse_limits limits = { 65536, 8192, HTTP_HEADERS_MAX };

struct words {
    struct text method, target;
    struct text names[HEADERS_MOST], values[HEADERS_MOST];
    unsigned count;
};

static void write_all(struct text in, struct buf *b, struct words *w)
{
    struct text rest = in;
    w->method = fuzz_line(&rest);
    w->target = fuzz_line(&rest);
    if (http_write_request(b, w->method, w->target) != OK) {
        ASSERT(buf_len(b) == 0);
        w->method = TEXT("GET"), w->target = TEXT("/");
        told(http_write_request(b, w->method, w->target));
    }
    while (rest.at != NULL && w->count < HEADERS_MOST) {
        struct text name, line = fuzz_line(&rest), value = text_cut(line, ':', &name);
        size_t before = buf_len(b);
        if (http_write_header(b, name, value) != OK) {
            ASSERT(buf_len(b) == before);
            continue;
        }
        w->names[w->count] = name;
        w->values[w->count++] = text_trim(value);
    }
    told(http_write_head_end(b));
}

static unsigned lines_of(struct text t)
{
    unsigned lines = 0;
    for (size_t i = 0; i < t.len; i++) {
        lines += t.at[i] == '\n';
        ASSERT(t.at[i] != '\0' && (t.at[i] == '\n') == (i > 0 && t.at[i - 1] == '\r'));
    }
    return lines;
}

static void check_read(struct text wire, const struct words *w)
{
    struct http_parser p;
    struct arena arena;
    struct http_event e;
    size_t eaten;
    arena_init(&arena, NULL, 0, 1u << 20);
    http_parser_init(&p, HTTP_KIND_REQUEST, &limits);
    http_parser_begin(&p, &arena);
    char *copy = fuzz_copy(wire);
    enum fail f = http_parse(&p, (struct text){ copy, wire.len }, &eaten, &e);
    if (f == OK && e.kind == HTTP_GOT_HEAD) {
        const struct http_head *h = p.head;
        ASSERT(text_eq(h->method_text, w->method) && text_eq(h->target, w->target) && h->count == w->count);
        for (unsigned i = 0; i < h->count; i++)
            ASSERT(text_eq_nocase(h->headers[i].name, w->names[i]) && text_eq(h->headers[i].value, w->values[i]));
        ASSERT(eaten == wire.len);
    } else {
        ASSERT(f != OK); /* a head is whole or wrong, never unfinished */
    }
    mem_free(copy);
    arena_fini(&arena);
}

/* A number of the input's first bytes, read back by the C library. */
static void check_number(struct text in)
{
    static const char name[] = "n: ";
    struct buf b;
    int64_t n = 0;
    memcpy(&n, in.at, MIN(in.len, sizeof n));
    buf_init(&b, 256);
    told(http_write_header_number(&b, TEXT("n"), n));
    told(buf_add(&b, "", 1));
    ASSERT(text_starts(buf_text(&b), TEXT(name)) && strtoll(buf_text(&b).at + sizeof name - 1, NULL, 10) == n);
    buf_fini(&b);
}

/* A chunk and the last one around the input: read back, it is the input. */
static void check_chunk(struct text in)
{
    struct buf b, story;
    buf_init(&b, 1u << 24);
    buf_init(&story, 1u << 24);
    told(http_write_status(&b, 200, 1));
    told(http_write_chunked(&b));
    told(http_write_head_end(&b));
    told(http_write_chunk(&b, in));
    told(http_write_chunk_last(&b));
    http_story(&story, HTTP_KIND_RESPONSE, false, &limits, buf_text(&b), fuzz_cutter(2, in), false);
    struct text s = buf_text(&story);
    size_t tail = sizeof "[end][clean]" - 1;
    ASSERT(text_ends(s, TEXT("[end][clean]")) && text_ends((struct text){ s.at, s.len - tail }, in));
    buf_fini(&b);
    buf_fini(&story);
}

/* hostile 72 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t before = mem_alive();
    struct text in = { (const char *)data, size };
    struct words w = { .count = 0 };
    struct buf b;
    if (size > 8192)
        return 0;
    buf_init(&b, 1u << 20);
    write_all(in, &b, &w);
    ASSERT(lines_of(buf_text(&b)) == w.count + 2);
    check_read(buf_text(&b), &w);
    check_chunk(in);
    check_number(in);
    buf_fini(&b);
    ASSERT(mem_alive() == before);
    return 0;
}
