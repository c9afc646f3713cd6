/* peer.c: see peer.h. */
#include "flow/peer.h"

#define PEER_BYTES_MAX (64u << 20)
#define READ_BYTES     16384

void peer_init(struct peer *p)
{
    memset(p, 0, sizeof *p);
    buf_init(&p->in, PEER_BYTES_MAX);
    buf_init(&p->body, PEER_BYTES_MAX);
    arena_init(&p->arena, NULL, 0, PEER_BYTES_MAX);
}

void peer_close(struct peer *p, bool reset)
{
    if (p->is_open)
        reset ? actor_reset(&p->sock) : actor_close(&p->sock);
    buf_fini(&p->in);
    buf_fini(&p->body);
    arena_fini(&p->arena);
    p->is_open = p->has_head = p->whole = false;
}

void peer_fini(struct peer *p)
{
    peer_close(p, false);
}

enum fail peer_fill(struct task *t, struct peer *p, nanos deadline)
{
    size_t n;
    enum fail f = buf_reserve(&p->in, READ_BYTES);
    if (f != OK || p->finished)
        return f;
    f = actor_read(t, &p->sock, buf_end(&p->in), READ_BYTES, deadline, &n);
    if (f == FAIL_RESET) {
        p->finished = p->broken = true;
        return OK;
    }
    if (f == OK)
        buf_added(&p->in, n);
    if (f == OK && n == 0)
        p->finished = true;
    return f;
}

/* ---- heads ---- */

static enum fail wrong(struct peer *p, const char *why)
{
    p->wrong = why;
    return FAIL_PROTOCOL;
}

struct text peer_header_get(const struct peer *p, struct text name)
{
    for (unsigned i = 0; i < p->header_count; i++)
        if (text_eq_nocase(p->headers[i].name, name))
            return p->headers[i].value;
    return TEXT_NONE;
}

static enum fail read_headers(struct peer *p, struct text head)
{
    for (p->header_count = 0; head.len > 0;) {
        struct text line;
        ptrdiff_t n = text_find(head, TEXT("\r\n"));
        ASSERT(n >= 0);
        line = (struct text){ head.at, (size_t)n };
        head = (struct text){ head.at + n + 2, head.len - (size_t)n - 2 };
        if (line.len == 0)
            break;
        if (p->start.at == NULL) {
            p->start = line;
            continue;
        }
        if (p->header_count == PEER_HEADERS_MAX)
            return wrong(p, "it has too many headers");
        struct peer_header *h = &p->headers[p->header_count++];
        h->value = text_trim(text_cut(line, ':', &h->name));
        if (h->value.at == NULL || memchr(line.at, '\n', line.len) != NULL || memchr(line.at, '\r', line.len) != NULL)
            return wrong(p, "it has a line that is no header");
    }
    return OK;
}

/* RFC 9112 section 6.3. */
static enum fail find_framing(struct peer *p, bool answers_head)
{
    struct text length = peer_header_get(p, TEXT("content-length")), coding = peer_header_get(p, TEXT("transfer-encoding"));
    bool is_answer = text_starts(p->start, TEXT("HTTP/"));
    bool bodiless = is_answer && p->start.len > 12 && (p->start.at[9] == '1' || memcmp(p->start.at + 9, "204", 3) == 0 || memcmp(p->start.at + 9, "304", 3) == 0);
    if (length.at != NULL && coding.at != NULL)
        return wrong(p, "it has both content-length and transfer-encoding");
    p->left = 0;
    p->chunk_open = false;
    if (bodiless || answers_head) {
        p->framing = NO_BODY;
    } else if (coding.at != NULL) {
        p->framing = CHUNKED;
    } else if (length.at != NULL) {
        p->framing = COUNTED;
        if (!text_to_u64(length, PEER_BYTES_MAX, &p->left))
            return wrong(p, "its content-length is no number");
    } else {
        p->framing = is_answer ? TO_CLOSE : NO_BODY;
    }
    p->whole = p->framing == NO_BODY || (p->framing == COUNTED && p->left == 0);
    return OK;
}

enum fail peer_head(struct task *t, struct peer *p, bool answers_head, nanos deadline)
{
    ptrdiff_t n;
    p->has_head = p->whole = false;
    buf_clear(&p->body);
    arena_fini(&p->arena);
    arena_init(&p->arena, NULL, 0, PEER_BYTES_MAX);
    while ((n = text_find(buf_text(&p->in), TEXT("\r\n\r\n"))) < 0) {
        if (p->finished)
            return FAIL_RESET;
        enum fail f = peer_fill(t, p, deadline);
        if (f != OK)
            return f;
    }
    struct text head = { arena_copy(&p->arena, (struct text){ buf_text(&p->in).at, (size_t)n + 4 }), (size_t)n + 4 };
    ASSERT(head.at != NULL);
    buf_eat(&p->in, head.len);
    p->start = TEXT_NONE;
    p->has_head = true;
    enum fail f = read_headers(p, head);
    return f == OK ? find_framing(p, answers_head) : f;
}

/* ---- bodies ---- */

static enum fail move(struct peer *p, size_t n)
{
    enum fail f = buf_add(&p->body, buf_text(&p->in).at, n);
    buf_eat(&p->in, n);
    return f;
}

static enum fail decode_counted(struct peer *p)
{
    size_t n = MIN(buf_len(&p->in), p->left);
    p->left -= n;
    p->whole = p->left == 0;
    return move(p, n);
}

/* "size CR LF" at the front of p->in; *out_found is false while it is not whole. No extensions, no trailers: weir sends none. */
static enum fail chunk_size(struct peer *p, bool *out_found)
{
    struct text in = buf_text(&p->in);
    ptrdiff_t n = text_find(in, TEXT("\r\n"));
    *out_found = false;
    if (n < 0)
        return in.len > 10 ? wrong(p, "a chunk's size has no end") : OK;
    p->left = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        if (hex_digit(in.at[i]) < 0 || i == 8)
            return wrong(p, "a chunk's size is no number");
        p->left = p->left * 16 + (unsigned)hex_digit(in.at[i]);
    }
    if (n == 0)
        return wrong(p, "a chunk's size is missing");
    if (p->left == 0 && in.len < (size_t)n + 4)
        return OK;
    *out_found = true;
    if (p->left == 0 && memcmp(in.at + n, "\r\n\r\n", 4) != 0)
        return wrong(p, "the last chunk is followed by something");
    buf_eat(&p->in, (size_t)n + (p->left == 0 ? 4 : 2));
    return OK;
}

static enum fail decode_chunks(struct peer *p)
{
    for (;;) { /* each turn eats bytes, or ends */
        bool found = true;
        if (!p->chunk_open) {
            enum fail f = chunk_size(p, &found);
            if (f != OK || !found)
                return f;
            p->whole = p->left == 0;
            p->chunk_open = !p->whole;
            if (p->whole)
                return OK;
        }
        size_t n = MIN(buf_len(&p->in), p->left);
        p->left -= n;
        enum fail f = n > 0 ? move(p, n) : OK;
        if (f != OK || p->left > 0 || buf_len(&p->in) < 2)
            return f;
        if (memcmp(buf_text(&p->in).at, "\r\n", 2) != 0)
            return wrong(p, "a chunk is longer than its size");
        buf_eat(&p->in, 2);
        p->chunk_open = false;
    }
}

enum fail peer_decode(struct peer *p)
{
    ASSERT(p->has_head);
    if (p->whole)
        return OK;
    if (p->framing == CHUNKED)
        return decode_chunks(p);
    if (p->framing == COUNTED)
        return decode_counted(p);
    p->whole = p->finished && !p->broken;
    return buf_len(&p->in) > 0 ? move(p, buf_len(&p->in)) : OK;
}
