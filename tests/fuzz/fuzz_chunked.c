/* fuzz_chunked.c: the bytes behind a head that says chunked. Oracle: a second decoder, written here from RFC 9112 section 7.1 alone, finds the same body
   and the same first byte behind it; what it refuses is refused; and the next message on the same parser is read as if it were the first. */
#include "fuzz/fuzz.h"

static const struct http_parse_limits limits = { 2048, 256, 40 };
static const char head[] = "POST / HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n";

enum verdict { WHOLE, CUT, WRONG, UNSURE /* extensions and trailers, whose grammar is not repeated here */ };

static int hex_of(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

/* "SIZE\r\n" at the front; *out_used its bytes. */
static enum verdict size_line(struct text in, uint64_t *out_size, size_t *out_used)
{
    size_t n = 0;
    uint64_t size = 0;
    bool over = false; /* more than 63 bits: wrong when the line ends, or sooner */
    for (; n < in.len && hex_of(in.at[n]) >= 0; n++) {
        over = over || size > (uint64_t)INT64_MAX >> 4;
        size = size << 4 | (uint64_t)hex_of(in.at[n]);
    }
    if (over)
        return n + 1 < in.len && in.at[n] == '\r' ? WRONG : UNSURE;
    if (n >= HTTP_CHUNK_LINE_MAX - 4)
        return UNSURE; /* zeros without end: a bound of ours */
    if (n < in.len && n > 0 && in.at[n] == ';')
        return UNSURE;
    if (n < in.len && (n == 0 || in.at[n] != '\r'))
        return WRONG;
    if (n + 1 < in.len && in.at[n + 1] != '\n')
        return WRONG;
    if (n + 1 >= in.len)
        return CUT;
    *out_size = size;
    *out_used = n + 2;
    return WHOLE;
}

static enum verdict line_end(struct text in)
{
    if ((in.len > 0 && in.at[0] != '\r') || (in.len > 1 && in.at[1] != '\n'))
        return WRONG;
    return in.len < 2 ? CUT : WHOLE;
}

static enum verdict decode(struct text in, struct buf *body, size_t *out_used)
{
    size_t at = 0;
    for (;;) {
        uint64_t size;
        size_t used;
        enum verdict v = size_line((struct text){ in.at + at, in.len - at }, &size, &used);
        if (v != WHOLE)
            return v;
        at += used;
        struct text rest = { in.at + at, in.len - at };
        if (size == 0) {
            v = line_end(rest);
            *out_used = at + 2;
            return v == WRONG ? UNSURE : v; /* a trailer */
        }
        told(buf_add(body, rest.at, MIN(size, rest.len)));
        if (size > rest.len)
            return CUT;
        at += size;
        v = line_end((struct text){ in.at + at, in.len - at });
        if (v != WHOLE)
            return v;
        at += 2;
    }
}

struct outcome {
    enum verdict verdict;
    struct buf body;
    size_t used; /* of the input, when WHOLE */
};

/* Feeds one chunked message into p. */
static void read_one(struct http_parser *p, struct text in, struct cutter cut, struct outcome *o)
{
    struct arena arena;
    struct http_event e = { HTTP_NEED_MORE, TEXT_NONE };
    size_t eaten, at = 0;
    enum fail f;
    arena_init(&arena, NULL, 0, 1u << 20);
    buf_init(&o->body, 64u << 20);
    http_parser_begin(p, &arena);
    told(http_parse(p, TEXT(head), &eaten, &e));
    ASSERT(e.kind == HTTP_GOT_HEAD && p->head->chunked && eaten == sizeof head - 1);
    do {
        size_t n = at < in.len ? cut.next(&cut, in.len - at) : 0, from = 0;
        char *piece = fuzz_copy((struct text){ in.at + at, n });
        do {
            f = http_parse(p, (struct text){ piece + from, n - from }, &eaten, &e);
            ASSERT(f != OK || e.kind != HTTP_NEED_MORE || from + eaten == n);
            if (f == OK && e.kind == HTTP_GOT_BODY)
                told(buf_add_text(&o->body, e.body));
            from += eaten;
        } while (f == OK && e.kind != HTTP_NEED_MORE && e.kind != HTTP_GOT_END);
        at += from;
        mem_free(piece);
    } while (f == OK && e.kind == HTTP_NEED_MORE && at < in.len);
    o->used = at;
    o->verdict = f != OK ? WRONG : e.kind == HTTP_GOT_END ? WHOLE : CUT;
    arena_fini(&arena);
}

static void check(const struct outcome *o, enum verdict due, struct text body, size_t used)
{
    struct text came = buf_text(&o->body);
    ASSERT(due == UNSURE || due == o->verdict);
    ASSERT(due == UNSURE || due == WRONG || text_eq(came, body));
    ASSERT(due == CUT || came.len >= body.len ? text_starts(came, body) : o->verdict == WRONG);
    ASSERT(due != WHOLE || o->used == used);
}

/* hostile 1, hostile 2, hostile 3, hostile 4, hostile 13 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t before = mem_alive();
    struct text in = { (const char *)data, size };
    struct http_parser p;
    struct buf body;
    size_t used = 0;
    buf_init(&body, 64u << 20);
    enum verdict due = decode(in, &body, &used);
    for (unsigned way = 0; way < FUZZ_WAYS; way++) {
        struct outcome o, again;
        http_parser_init(&p, HTTP_KIND_REQUEST, &limits);
        read_one(&p, in, fuzz_cutter(way, in), &o);
        check(&o, due, buf_text(&body), used);
        if (o.verdict == WHOLE) {
            read_one(&p, TEXT("3\r\nabc\r\n0\r\n\r\n"), fuzz_cutter(way, in), &again);
            ASSERT(again.verdict == WHOLE && text_eq(buf_text(&again.body), TEXT("abc")));
            buf_fini(&again.body);
        }
        buf_fini(&o.body);
    }
    buf_fini(&body);
    ASSERT(mem_alive() == before);
    return 0;
}
