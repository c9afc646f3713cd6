/* http_parse.c: drives llhttp one event at a time, with budgets that count wire bytes, so that how the input was cut never changes a verdict.
   serve's and upstream's connections call it. */
#include "net/http_collect.h"
#include "net/http_refuse.h"

#define BLOCK_MIN 256    /* bytes of the smallest block of words: input that drips must not cost an allocation a byte */
#define BLOCK_MAX 4096   /* and of the largest one taken ahead of need */
#define VERSION_BYTES 16 /* blank, "HTTP/1.1" and line end, with room for blank lines before */

_Static_assert(sizeof(struct http_parser) <= 400, "an idle connection's parser must stay small");

static void head_start(struct http_parser *p)
{
    llhttp_reset(&p->ll);
    p->state = BLANK;
    p->pending = NOTHING;
    p->head = NULL;
    p->taken = 0;
    p->word_len = 0;
    p->ext_bytes = 0;
    p->line_done = false;
    p->blank_cr = false;
    p->is_foreign = false;
}

void http_parser_init(struct http_parser *p, enum http_kind kind, const struct http_parse_limits *limits)
{
    ASSERT(limits->headers_max <= HTTP_HEADERS_MAX && limits->head_bytes_max > 0);
    memset(p, 0, sizeof(*p));
    llhttp_init(&p->ll, kind == HTTP_KIND_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &http_collect_callbacks);
    p->limits = *limits;
    p->kind = (uint8_t)kind;
    p->state = IDLE;
}

void http_parser_begin(struct http_parser *p, struct arena *arena)
{
    ASSERT(p->state == IDLE && arena != NULL);
    p->arena = arena;
    p->word = NULL;
    p->word_room = 0;
    p->interims = 0;
    p->answers_head = false;
    p->until_close = false;
    head_start(p);
}

void http_parser_answers_head(struct http_parser *p)
{
    ASSERT(p->kind == HTTP_KIND_RESPONSE && p->state == BLANK);
    p->answers_head = true;
}

bool http_parser_is_idle(const struct http_parser *p) { return p->state == IDLE || (p->state == BLANK && p->interims == 0); }

/* How many bytes the present state may take in all, and what to say past that. */
static uint32_t ceiling(const struct http_parser *p, const char **out_why)
{
    switch (p->state) {
    case BLANK:
    case HEAD:
        if (!p->line_done && p->limits.target_bytes_max < p->limits.head_bytes_max - MIN(p->limits.head_bytes_max, HTTP_METHOD_MAX + VERSION_BYTES)) {
            *out_why = "The first line is longer than this server accepts.";
            return p->limits.target_bytes_max + HTTP_METHOD_MAX + VERSION_BYTES;
        }
        *out_why = "The headers are larger than this server accepts.";
        return p->limits.head_bytes_max;
    case LINE:
        *out_why = "A chunk's size line is longer than this server accepts.";
        return HTTP_CHUNK_LINE_MAX;
    case TRAILERS:
        *out_why = "The trailers are larger than this server accepts.";
        return HTTP_TRAILERS_MAX;
    default:
        *out_why = "";
        return UINT32_MAX; /* a body's size is its reader's business */
    }
}

static enum fail broken(struct http_parser *p, enum fail f, const char *why)
{
    p->state = BROKEN;
    p->why = why;
    p->fail = (uint8_t)f;
    return p->kind == HTTP_KIND_RESPONSE && f != FAIL_NO_MEMORY ? FAIL_PROTOCOL : f;
}

static enum fail too_much(struct http_parser *p, const char *why)
{
    bool in_target = p->state == HEAD && !p->line_done; /* llhttp takes no method that long */
    return broken(p, p->state == LINE ? FAIL_BAD_REQUEST : in_target ? FAIL_URL_TOO_LONG : FAIL_HEADERS_TOO_LARGE, why);
}

static enum fail llhttp_failed(struct http_parser *p)
{
    if (p->fail != OK)
        return broken(p, (enum fail)p->fail, p->why);
    const char *why;
    enum fail f = http_refuse_reason(llhttp_get_error_reason(&p->ll), &why);
    return broken(p, f, why);
}

/* Empty lines before a message: llhttp skips any CR and LF there, so a CR alone, which others take for the start of a line, would pass. */
static bool are_blank_lines(struct http_parser *p, const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p->blank_cr != (at[i] == '\n'))
            return false;
        p->blank_cr = !p->blank_cr;
    }
    return p->state == BLANK || !p->blank_cr; /* whole ones when the message begins */
}

/* Feeds llhttp what the present state may still take. *out_eaten grows; OK with pending == NOTHING means go on. */
static enum fail advance(struct http_parser *p, struct text in, size_t *io_eaten)
{
    const char *why;
    uint32_t max = ceiling(p, &why);
    const char *at = in.len ? in.at + *io_eaten : "";
    size_t n = in.len - *io_eaten;
    bool counts = max != UINT32_MAX;
    if (counts) {
        if (n > 0 && p->taken >= max)
            return too_much(p, why);
        n = MIN(n, max - p->taken);
    }
    p->block_bytes = (uint32_t)MAX(BLOCK_MIN, MIN(n, BLOCK_MAX));
    p->pending = NOTHING;
    enum state before = p->state;
    llhttp_errno_t err = llhttp_execute(&p->ll, at, n);
    if (err != HPE_OK && (err != HPE_PAUSED || p->fail != OK))
        return llhttp_failed(p);
    if (err == HPE_OK && n > 0 && at[n - 1] == '\n' && p->state == HEAD && !p->line_done && p->kind == HTTP_KIND_REQUEST)
        return broken(p, FAIL_BAD_REQUEST, HTTP_NO_VERSION); /* llhttp would say so one byte later, which such a client does not send */
    size_t used = err == HPE_OK ? n : (size_t)(llhttp_get_error_pos(&p->ll) - at);
    *io_eaten += used;
    if (before == BLANK && !are_blank_lines(p, at, used))
        return broken(p, FAIL_BAD_REQUEST, "An empty line before the message ends in something other than CR LF.");
    if (counts && (p->state == before || before == BLANK))
        p->taken += (uint32_t)used;
    if (err == HPE_PAUSED)
        llhttp_resume(&p->ll);
    return OK;
}

static void read_method(const llhttp_t *ll, struct http_head *h)
{
    static const uint8_t ours[] = {
        [HTTP_GET] = METHOD_GET,       [HTTP_HEAD] = METHOD_HEAD,   [HTTP_POST] = METHOD_POST,       [HTTP_PUT] = METHOD_PUT,
        [HTTP_DELETE] = METHOD_DELETE, [HTTP_PATCH] = METHOD_PATCH, [HTTP_OPTIONS] = METHOD_OPTIONS, [HTTP_CONNECT] = METHOD_CONNECT,
    };
    h->method = ll->method < ARRAY_LEN(ours) ? (enum http_method)ours[ll->method] : METHOD_OTHER;
    h->method_text = text_of(llhttp_method_name((llhttp_method_t)ll->method));
}

/* After "HTTP/1.1": llhttp lets any number of blanks stand between the three parts, others read another target then (RFC 9112 section 3). */
static enum fail request_line_done(struct http_parser *p)
{
    read_method(&p->ll, p->head);
    if (p->taken - p->line_from != p->head->method_text.len + p->head->target.len + sizeof(" " " HTTP/1.1") - 1)
        return broken(p, FAIL_BAD_REQUEST, "The parts of the request line are not one blank apart.");
    return OK;
}

/* After a chunk's size line: its data, or the trailers. */
static enum fail chunk_line_done(struct http_parser *p)
{
    if (p->ext_bytes > HTTP_CHUNK_EXT_MAX)
        return broken(p, FAIL_BAD_REQUEST, "The chunk extensions are larger than this server accepts.");
    p->state = p->ll.content_length > 0 ? DATA : TRAILERS;
    p->taken = 0;
    return OK;
}

enum fail http_parse(struct http_parser *p, struct text in, size_t *out_eaten, struct http_event *out_event)
{
    ASSERT(p->state != IDLE && p->state != BROKEN);
    size_t eaten = 0;
    for (;;) { /* ends: each turn eats input, or passes a pause, of which a message has a bounded number without input */
        enum fail f = advance(p, in, &eaten);
        if (f == OK && p->pending == LINE_DONE)
            f = request_line_done(p);
        else if (f == OK && p->pending == CHUNK_LINE_DONE)
            f = chunk_line_done(p);
        *out_eaten = eaten;
        if (f != OK)
            return f;
        switch ((enum pending)p->pending) {
        case NOTHING:
            if (eaten < in.len)
                continue;
            *out_event = (struct http_event){ HTTP_NEED_MORE, TEXT_NONE };
            break;
        case LINE_BEGUN:
            p->line_from = p->taken;
            continue;
        case LINE_DONE:
        case CHUNK_LINE_DONE:
            continue;
        case INTERIM_DONE:
            head_start(p); /* its words stay in the arena, HTTP_INTERIM_MAX heads at most */
            continue;
        case HEAD_DONE:
            p->state = p->head->chunked ? LINE : PLAIN;
            p->taken = 0;
            *out_event = (struct http_event){ HTTP_GOT_HEAD, TEXT_NONE };
            break;
        case BODY_SLICE:
            *out_event = (struct http_event){ HTTP_GOT_BODY, p->body };
            break;
        case MESSAGE_DONE:
            p->state = IDLE;
            p->arena = NULL;
            *out_event = (struct http_event){ HTTP_GOT_END, TEXT_NONE };
            break;
        }
        return OK;
    }
}

enum fail http_parse_eof(struct http_parser *p, struct http_event *out_event)
{
    if (http_parser_is_idle(p)) {
        *out_event = (struct http_event){ HTTP_NEED_MORE, TEXT_NONE };
        return OK;
    }
    if (p->state == PLAIN && p->until_close) {
        p->state = IDLE;
        p->arena = NULL;
        *out_event = (struct http_event){ HTTP_GOT_END, TEXT_NONE };
        return OK;
    }
    p->state = BROKEN;
    p->why = "The connection was closed before the message was complete.";
    return FAIL_RESET;
}
