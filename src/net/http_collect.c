/* http_collect.c: llhttp's callbacks: they put a message's words into its arena, judge its head, and pause llhttp where http_parse.c has
   something to do. llhttp pauses by return value only: llhttp_pause() inside a callback is ignored. */
#include "net/http_collect.h"

#include "net/http_refuse.h"

#define HEADERS_FIRST 24 /* room for headers at first: what SDKs and browsers send fits */

static struct http_parser *parser_of(llhttp_t *ll) { return CONTAINER_OF(ll, struct http_parser, ll); }

/* --- words: bytes that must outlive the input, one after the other in blocks of the arena --- */

/* llhttp stops at any value but 0 and HPE_PAUSED; what we return to our caller stands in p->fail. */
static int refuse(struct http_parser *p, enum fail f, const char *why)
{
    p->fail = (uint8_t)f;
    p->why = why;
    return HPE_USER;
}

static int no_memory(struct http_parser *p) { return refuse(p, FAIL_NO_MEMORY, "There is no memory left for this message's head."); }

static int word_add(struct http_parser *p, const char *at, size_t n)
{
    if (UNLIKELY(n > p->word_room - p->word_len)) {
        /* finished words stay where they are; only the one under way moves. Doubling keeps a dripped long word linear. */
        size_t room = MAX(MAX((size_t)p->block_bytes, p->word_len + n), 2 * (size_t)p->word_len);
        char *block = arena_alloc(p->arena, room);
        if (block == NULL)
            return no_memory(p);
        if (p->word_len > 0)
            memcpy(block, p->word, p->word_len);
        p->word = block;
        p->word_room = (uint32_t)room;
    }
    if (n > 0)
        memcpy(p->word + p->word_len, at, n);
    p->word_len += (uint32_t)n;
    return 0;
}

static struct text word_take(struct http_parser *p)
{
    struct text t = { p->word, p->word_len };
    p->word += p->word_len;
    p->word_room -= p->word_len;
    p->word_len = 0;
    return t;
}

/* --- llhttp's callbacks --- */

static int on_message_begin(llhttp_t *ll)
{
    struct http_parser *p = parser_of(ll);
    p->state = HEAD;
    p->head = arena_alloc(p->arena, sizeof(*p->head));
    if (p->head == NULL)
        return no_memory(p);
    memset(p->head, 0, sizeof(*p->head));
    p->head->headers = arena_alloc(p->arena, HEADERS_FIRST * sizeof(struct http_header));
    if (p->head->headers == NULL)
        return no_memory(p);
    p->head->room = HEADERS_FIRST;
    p->pending = LINE_BEGUN;
    return HPE_PAUSED;
}

static int on_url(llhttp_t *ll, const char *at, size_t n) { return word_add(parser_of(ll), at, n); }

static int on_url_complete(llhttp_t *ll)
{
    struct http_parser *p = parser_of(ll);
    p->head->target = word_take(p);
    if (ll->http_major == 0 && ll->http_minor == 9) /* llhttp read a line end where the version should be; headers would be waited for */
        return refuse(p, FAIL_BAD_REQUEST, HTTP_NO_VERSION);
    if (ll->method == HTTP_PRI) /* llhttp would wait for the whole preface, which not everybody sends who says PRI */
        return refuse(p, FAIL_BAD_VERSION, HTTP_PREFACE);
    return 0;
}

static int on_protocol(llhttp_t *ll, const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        parser_of(ll)->is_foreign |= memchr("HTP", at[i], 3) == NULL;
    return 0;
}

static int on_version_complete(llhttp_t *ll)
{
    struct http_parser *p = parser_of(ll);
    if (p->kind == HTTP_KIND_RESPONSE)
        return 0; /* its line ends with on_status_complete */
    p->line_done = true;
    p->pending = LINE_DONE;
    return HPE_PAUSED;
}

static int on_status_complete(llhttp_t *ll)
{
    parser_of(ll)->line_done = true;
    return 0;
}

static int on_header_field(llhttp_t *ll, const char *at, size_t n)
{
    struct http_parser *p = parser_of(ll);
    return p->state == HEAD ? word_add(p, at, n) : 0; /* else a trailer: never merged */
}

static void lower(char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        s[i] = (char)(s[i] | ((unsigned char)(s[i] - 'A') < 26) << 5);
}

static int on_header_field_complete(llhttp_t *ll)
{
    struct http_parser *p = parser_of(ll);
    if (p->state != HEAD)
        return 0;
    if (p->word_len > HTTP_NAME_MAX)
        return refuse(p, FAIL_HEADERS_TOO_LARGE, "A header name is longer than this server accepts.");
    if (p->head->count >= MIN(p->limits.headers_max, HTTP_HEADERS_MAX))
        return refuse(p, FAIL_HEADERS_TOO_LARGE, "There are more headers than this server accepts.");
    lower(p->word, p->word_len);
    p->name = word_take(p);
    return 0;
}

static int on_header_value(llhttp_t *ll, const char *at, size_t n)
{
    struct http_parser *p = parser_of(ll);
    return p->state == HEAD ? word_add(p, at, n) : 0;
}

static int headers_grow(struct http_parser *p)
{
    struct http_header *wider = arena_alloc(p->arena, HTTP_HEADERS_MAX * sizeof(*wider));
    if (wider == NULL)
        return no_memory(p);
    memcpy(wider, p->head->headers, p->head->count * sizeof(*wider));
    p->head->headers = wider;
    p->head->room = HTTP_HEADERS_MAX;
    return 0;
}

static int on_header_value_complete(llhttp_t *ll)
{
    struct http_parser *p = parser_of(ll);
    struct http_head *h = p->head;
    if (p->state != HEAD)
        return 0;
    if (h->count == h->room && headers_grow(p) != 0)
        return HPE_USER;
    struct http_header *r = &h->headers[h->count++];
    *r = (struct http_header){ p->name, text_trim(word_take(p)), (uint8_t)http_header_id(p->name) };
    if (h->first[r->id] == 0)
        h->first[r->id] = h->count;
    return 0;
}

static bool ends_by_close(const struct http_parser *p)
{
    const struct http_head *h = p->head;
    return p->kind == HTTP_KIND_RESPONSE && !p->answers_head && h->status != 204 && h->status != 304 && !h->chunked && h->content_length < 0;
}

/* llhttp frames the body, we judged the headers: if the two ever read them differently, nothing more may be believed. */
static bool framing_agrees(const llhttp_t *ll, const struct http_head *h)
{
    bool has_length = h->content_length >= 0;
    return h->chunked == !!(ll->flags & F_CHUNKED) && has_length == !!(ll->flags & F_CONTENT_LENGTH) &&
           (!has_length || ll->content_length == (uint64_t)h->content_length);
}

static int on_headers_complete(llhttp_t *ll)
{
    struct http_parser *p = parser_of(ll);
    struct http_head *h = p->head;
    if (p->kind == HTTP_KIND_RESPONSE)
        h->status = ll->status_code;
    h->minor = ll->http_minor;

    const char *why;
    enum fail f = http_refuse_head(p, h, &why);
    if (f != OK)
        return refuse(p, f, why);
    if (!framing_agrees(ll, h))
        return refuse(p, FAIL_BAD_REQUEST, "The length of the body can be read in two ways.");

    if (p->kind == HTTP_KIND_RESPONSE && h->status / 100 == 1) {
        if (++p->interims > HTTP_INTERIM_MAX)
            return refuse(p, FAIL_PROTOCOL, "There are too many interim (1xx) answers.");
        p->pending = INTERIM_DONE;
        return HPE_PAUSED;
    }
    p->until_close = ends_by_close(p);
    if (p->until_close || (h->status == 204 && (h->chunked || h->content_length > 0))) /* a 204 that announces a body may well send it */
        h->keep_alive = false;
    if (p->answers_head)
        ll->flags |= F_SKIPBODY; /* what returning 1 does; but we return HPE_PAUSED */
    p->pending = HEAD_DONE;
    return HPE_PAUSED;
}

static int on_chunk_header(llhttp_t *ll)
{
    struct http_parser *p = parser_of(ll);
    if (ll->content_length > INT64_MAX) /* so that sums of body bytes fit a signed 64-bit number */
        return refuse(p, FAIL_BAD_REQUEST, "A chunk's size does not fit 63 bits.");
    p->pending = CHUNK_LINE_DONE;
    return HPE_PAUSED;
}

static int on_chunk_ext(llhttp_t *ll, const char *at, size_t n)
{
    (void)at;
    parser_of(ll)->ext_bytes += (uint32_t)n; /* no overflow: each line adds less than HTTP_CHUNK_LINE_MAX before it is checked */
    return 0;
}

static int on_body(llhttp_t *ll, const char *at, size_t n)
{
    struct http_parser *p = parser_of(ll);
    if (n == 0)
        return 0; /* llhttp closes an open span at each end of input */
    if (p->state == DATA && ll->content_length == 0) {
        p->state = LINE;
        p->taken = 0;
    }
    p->body = (struct text){ at, n };
    p->pending = BODY_SLICE;
    return HPE_PAUSED;
}

static int on_message_complete(llhttp_t *ll)
{
    parser_of(ll)->pending = MESSAGE_DONE;
    return HPE_PAUSED;
}

const llhttp_settings_t http_collect_callbacks = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_url_complete = on_url_complete,
    .on_protocol = on_protocol,
    .on_version_complete = on_version_complete,
    .on_status_complete = on_status_complete,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_chunk_header = on_chunk_header,
    .on_chunk_extension_name = on_chunk_ext,
    .on_chunk_extension_value = on_chunk_ext,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};
