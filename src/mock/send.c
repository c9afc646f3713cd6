/* send.c: when the bytes of a mock's answer leave, and what goes wrong on the way. Called by mock.c and the dialects' answers. */
#include "mock/inner.h"

#define SEND_AT      (32u << 10)         /* of a stream that does not pause: a write at a time */
#define HUGE_HEADER  (1u << 20)
#define WRONG_BY     7                   /* bytes; small, so that a reader must count exactly to notice */
#define DRIP_NS      NANOS_PER_MS        /* where --itl says nothing */
#define RST_AFTER_NS NANOS_PER_MS        /* a RST that overtook the bytes before it would hide that there were any */

static const struct text json_type = { "application/json", sizeof "application/json" - 1 };

/* ---- pauses ---- */

static enum fail wait_until(struct answer *a, nanos at)
{
    return at > a->t->worker->now ? task_sleep(a->t, at) : OK;
}

static nanos draw_itl(struct answer *a)
{
    return mock_span_draw(&a->script->itl, &a->random, a->number + a->draws++);
}

static bool is_paced(const struct answer *a)
{
    return mock_span_pauses(&a->script->itl);
}

enum fail mock_wait_first(struct answer *a)
{
    a->due = a->started + mock_span_draw(&a->script->ttft, &a->random, a->number);
    return wait_until(a, a->due);
}

/* ---- writing under faults that change how bytes travel ---- */

/* How many bytes of `bytes` go in one write: up to the inside of a character, or of a field's name. */
static size_t split_at(struct text bytes)
{
    const struct text data = TEXT("data:");
    for (size_t i = 0; i + 1 < bytes.len; i++) {
        unsigned char here = (unsigned char)bytes.at[i], next = (unsigned char)bytes.at[i + 1];
        if (here >= 0x80 && (next & 0xc0) == 0x80)
            return i + 1;
        if (here == 'd' && text_starts((struct text){ bytes.at + i, bytes.len - i }, data))
            return i + 2;
    }
    return bytes.len;
}

static enum fail write_bytes(struct answer *a, struct text bytes)
{
    return a->is_raw ? http_answer_raw(a->t, a->rq, bytes) : http_answer_write(a->t, a->rq, bytes);
}

static enum fail write_split(struct answer *a, struct text bytes)
{
    enum fail f = OK;
    while (f == OK && bytes.len > 0) { /* each turn takes a byte at least */
        size_t n = split_at(bytes);
        f = write_bytes(a, (struct text){ bytes.at, n });
        if (f == OK)
            f = http_answer_flush(a->rq);
        if (f == OK)
            f = task_yield(a->t);
        bytes.at += n;
        bytes.len -= n;
    }
    return f;
}

/* Takes back what is queued, framing and head included, and hands it on a byte at a time. */
static enum fail drip(struct answer *a)
{
    struct buf *out = http_answer_head(a->rq);
    struct buf held = *out;
    enum fail f = OK;
    buf_init(out, held.max);
    while (f == OK && buf_len(&held) > 0) {
        f = buf_add(out, buf_text(&held).at, 1);
        buf_eat(&held, 1);
        if (f == OK)
            f = http_answer_flush(a->rq);
        nanos pause = draw_itl(a);
        if (f == OK)
            f = task_sleep(a->t, a->t->worker->now + (pause > 0 ? pause : DRIP_NS));
    }
    buf_fini(&held);
    return f;
}

/* bytes must stay where they are while this waits. */
static enum fail send_kept(struct answer *a, struct text bytes)
{
    enum fail f = OK;
    if (has_fault(a, MOCK_FAULT_SPLITUTF8) && !has_fault(a, MOCK_FAULT_DRIP))
        return write_split(a, bytes);
    while (f == OK && bytes.len > 0) {
        size_t n = has_fault(a, MOCK_FAULT_DRIP) ? MIN(bytes.len, SEND_AT) : bytes.len; /* below what http_answer_write hands on by itself */
        f = write_bytes(a, (struct text){ bytes.at, n });
        if (f == OK && has_fault(a, MOCK_FAULT_DRIP))
            f = drip(a);
        bytes.at += n;
        bytes.len -= n;
    }
    return f;
}

/* Sends what was written so far; the pen is anybody's again afterwards. */
static enum fail send_pen(struct answer *a, struct pen *p, bool flush)
{
    if (p->fail != OK)
        return p->fail;
    enum fail f;
    if (has_fault(a, MOCK_FAULT_DRIP) || has_fault(a, MOCK_FAULT_SPLITUTF8)) {
        struct buf kept = p->buf;
        buf_init(&p->buf, MOCK_PEN_MAX);
        f = send_kept(a, buf_text(&kept));
        buf_fini(&kept);
    } else {
        f = write_bytes(a, buf_text(&p->buf)); /* copies before it waits */
    }
    return f == OK && flush ? http_answer_flush(a->rq) : f;
}

/* ---- heads ---- */

static enum fail add_huge_header(struct answer *a)
{
    char *value = arena_alloc(&a->rq->arena, HUGE_HEADER);
    if (value == NULL)
        return FAIL_NO_MEMORY;
    memset(value, 'x', HUGE_HEADER);
    return http_write_header(http_answer_head(a->rq), TEXT("x-huge"), (struct text){ value, HUGE_HEADER });
}

static enum fail begin_head(struct answer *a, int status, struct text type)
{
    enum fail f = http_answer_begin(a->rq, status);
    if (f == OK)
        f = http_write_header(http_answer_head(a->rq), TEXT("content-type"), type);
    return f == OK && has_fault(a, MOCK_FAULT_HUGEHEADER) ? add_huge_header(a) : f;
}

/* length < 0: chunked. */
static enum fail begin(struct answer *a, struct text type, int64_t length)
{
    const struct mock_fault *wrong = a->faults[MOCK_FAULT_WRONGLENGTH];
    if (wrong != NULL && length >= 0) {
        length = MAX(0, length + (wrong->is_short ? -WRONG_BY : WRONG_BY));
        a->is_raw = true;
    }
    enum fail f = begin_head(a, 200, type);
    return f == OK ? http_answer_stream(a->rq, length) : f;
}

/* ---- faults in the middle ---- */

static const struct mock_fault *middle_fault(const struct answer *a)
{
    static const enum mock_fault_kind kinds[] = { MOCK_FAULT_CUT, MOCK_FAULT_STALL, MOCK_FAULT_RST, MOCK_FAULT_BADCHUNK, MOCK_FAULT_ERROREVENT };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (has_fault(a, kinds[i]))
            return a->faults[kinds[i]];
    return NULL;
}

static enum fail hang(struct answer *a)
{
    for (;;) { /* until the client leaves, or the mock stops */
        enum fail f = task_park(a->t, "a fault's end", NEVER);
        if (f != OK)
            return f;
    }
}

/* Half of the answer is written. */
static enum fail break_off(struct answer *a, const struct mock_fault *fault)
{
    enum fail f = http_answer_flush(a->rq);
    if (f != OK)
        return f;
    switch (fault->kind) {
    case MOCK_FAULT_CUT:
        http_answer_abort(a->rq);
        return OK;
    case MOCK_FAULT_STALL:
        return hang(a);
    case MOCK_FAULT_RST:
        f = task_sleep(a->t, a->t->worker->now + RST_AFTER_NS);
        if (f == OK)
            http_answer_reset(a->rq);
        return f;
    case MOCK_FAULT_BADCHUNK:
        f = http_answer_raw(a->t, a->rq, TEXT("zz\r\nthis chunk has no size\r\n"));
        return f == OK ? http_answer_end(a->t, a->rq) : f;
    default: { /* an error event */
        struct pen *p = mock_pen(a->mock);
        a->wire->error_event(a, p);
        f = send_pen(a, p, false);
        return f == OK ? http_answer_end(a->t, a->rq) : f;
    }
    }
}

/* ---- plain answers ---- */

static enum fail send_in_halves(struct answer *a, struct text body)
{
    const struct mock_fault *fault = middle_fault(a);
    size_t half = fault != NULL ? body.len / 2 : body.len;
    enum fail f = begin(a, json_type, fault != NULL && fault->kind == MOCK_FAULT_BADCHUNK ? -1 : (int64_t)body.len);
    if (f == OK)
        f = send_kept(a, (struct text){ body.at, half });
    if (f == OK && fault != NULL)
        return break_off(a, fault);
    return f == OK ? http_answer_end(a->t, a->rq) : f;
}

enum fail mock_send_plain(struct answer *a, struct pen *p)
{
    if (has_fault(a, MOCK_FAULT_ERROREVENT)) {
        p = mock_pen(a->mock);
        mock_put_error(p, a->script->dialect, 500, "the mock was told to fail");
    }
    if (p->fail != OK)
        return p->fail;
    bool is_odd = has_fault(a, MOCK_FAULT_DRIP) || has_fault(a, MOCK_FAULT_SPLITUTF8) || has_fault(a, MOCK_FAULT_WRONGLENGTH);
    const struct mock_fault *fault = middle_fault(a);
    if (is_odd || (fault != NULL && fault->kind != MOCK_FAULT_ERROREVENT)) {
        struct buf kept = p->buf;
        buf_init(&p->buf, MOCK_PEN_MAX);
        enum fail f = send_in_halves(a, buf_text(&kept));
        buf_fini(&kept);
        return f;
    }
    enum fail f = begin_head(a, 200, json_type);
    return f == OK ? http_answer_whole(a->t, a->rq, buf_text(&p->buf)) : f;
}

static enum fail send_whole(struct answer *a)
{
    enum fail f = mock_wait_first(a);
    for (uint64_t i = 1; i < a->completion_tokens && is_paced(a); i++)
        a->due += draw_itl(a); /* a plain answer takes as long as its stream would */
    if (f == OK)
        f = wait_until(a, a->due);
    if (f != OK)
        return f;
    struct pen *p = mock_pen(a->mock);
    a->wire->whole(a, p);
    return mock_send_plain(a, p);
}

/* ---- streams ---- */

static uint32_t longest(const struct answer *a)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < a->ask.choices; i++)
        count = MAX(count, a->contents[i].count);
    return count;
}

static void put_tokens(struct answer *a, struct pen *p, uint32_t i)
{
    for (unsigned c = 0; c < a->ask.choices; c++)
        if (i < a->contents[c].count)
            a->wire->token(a, p, c, mock_token(&a->contents[c], i));
}

/* For a Content-Length that is to be wrong by a known number of bytes. */
static int64_t measure(struct answer *a)
{
    struct pen *p = mock_pen(a->mock);
    a->wire->open(a, p);
    for (uint32_t i = 0; i < longest(a); i++)
        put_tokens(a, p, i);
    a->wire->close(a, p, !has_fault(a, MOCK_FAULT_NODONE));
    return (int64_t)buf_len(&p->buf);
}

/* Tokens [from, to), each when it is due. */
static enum fail send_tokens(struct answer *a, struct pen **io_pen, uint32_t from, uint32_t to)
{
    enum fail f = OK;
    for (uint32_t i = from; i < to && f == OK; i++) {
        if (i > 0 && is_paced(a)) {
            f = send_pen(a, *io_pen, true);
            a->due += draw_itl(a);
            if (f == OK)
                f = wait_until(a, a->due);
            *io_pen = mock_pen(a->mock);
        } else if (buf_len(&(*io_pen)->buf) > SEND_AT) {
            f = send_pen(a, *io_pen, true);
            *io_pen = mock_pen(a->mock);
        }
        if (f == OK)
            put_tokens(a, *io_pen, i);
    }
    return f;
}

static enum fail send_stream(struct answer *a)
{
    const struct mock_fault *fault = middle_fault(a);
    uint32_t count = longest(a), half = fault == NULL ? count : fault->first ? 0 : MAX(count / 2, MIN(count, 1));
    mock_note_stream(a->mock);
    enum fail f = mock_wait_first(a);
    if (f == OK)
        f = begin(a, a->wire->stream_type, has_fault(a, MOCK_FAULT_WRONGLENGTH) ? measure(a) : -1);
    if (f != OK)
        return f;
    a->first_token = a->t->worker->now;
    struct pen *p = mock_pen(a->mock);
    a->wire->open(a, p);
    f = send_tokens(a, &p, 0, half);
    if (f == OK && fault != NULL) {
        f = send_pen(a, p, false);
        return f == OK ? break_off(a, fault) : f;
    }
    if (f != OK)
        return f;
    a->wire->close(a, p, !has_fault(a, MOCK_FAULT_NODONE));
    f = send_pen(a, p, false);
    return f == OK ? http_answer_end(a->t, a->rq) : f;
}

enum fail mock_send_words(struct answer *a)
{
    enum fail f = mock_words(a);
    if (f != OK)
        return f;
    return a->ask.stream ? send_stream(a) : send_whole(a);
}

/* ---- errors, and faults that know nothing of the answer ---- */

void mock_put_error(struct pen *p, enum mock_dialect dialect, int status, const char *message)
{
    const char *type = status == 429 ? "rate_limit_error" : status >= 500 ? "api_error" : "invalid_request_error";
    if (dialect == MOCK_OLLAMA)
        PUT(p, "{\"error\":");
    else if (dialect == MOCK_ANTHROPIC)
        PUTF(p, "{\"type\":\"error\",\"error\":{\"type\":\"%s\",\"message\":", type);
    else
        PUT(p, "{\"error\":{\"message\":");
    put_string(p, text_of(message));
    if (dialect == MOCK_OLLAMA)
        PUT(p, "}");
    else if (dialect == MOCK_ANTHROPIC)
        PUT(p, "}}");
    else
        PUTF(p, ",\"type\":\"%s\",\"param\":null,\"code\":null}}", type);
}

enum fail mock_send_error(struct answer *a, int status, const char *message, int retry_after)
{
    struct pen *p = mock_pen(a->mock);
    mock_put_error(p, a->script->dialect, status, message);
    enum fail f = p->fail == OK ? http_answer_begin(a->rq, status) : p->fail;
    if (f == OK)
        f = http_write_header(http_answer_head(a->rq), TEXT("content-type"), json_type);
    if (f == OK && retry_after >= 0)
        f = http_write_header_number(http_answer_head(a->rq), TEXT("retry-after"), retry_after);
    if (f == OK && a->allow.at != NULL)
        f = http_write_header(http_answer_head(a->rq), TEXT("allow"), a->allow);
    return f == OK ? http_answer_whole(a->t, a->rq, buf_text(&p->buf)) : f;
}

static enum fail send_raw(struct answer *a, struct text bytes)
{
    enum fail f = http_answer_raw(a->t, a->rq, bytes);
    return f == OK ? http_answer_flush(a->rq) : f;
}

static enum fail send_html(struct answer *a)
{
    enum fail f = begin_head(a, 200, TEXT("text/html; charset=utf-8"));
    if (f != OK)
        return f;
    return http_answer_whole(a->t, a->rq, TEXT("<!doctype html>\n<html><head><title>Please wait</title></head><body><h1>Please wait</h1></body></html>\n"));
}

static bool is_first(const struct mock_fault *fault)
{
    return fault != NULL && fault->first;
}

enum fail mock_send_early_fault(struct answer *a, bool *out_handled)
{
    enum fail f = OK;
    *out_handled = true;
    if (is_first(a->faults[MOCK_FAULT_RST])) {
        http_answer_reset(a->rq);
    } else if (is_first(a->faults[MOCK_FAULT_CUT])) {
        f = http_answer_raw(a->t, a->rq, TEXT_NONE);
        return f == OK ? http_answer_end(a->t, a->rq) : f; /* not abort: with nothing written that would be a RST */
    } else if (has_fault(a, MOCK_FAULT_HANG)) {
        return hang(a);
    } else if (has_fault(a, MOCK_FAULT_HANG_HEADERS)) {
        f = send_raw(a, TEXT("HTTP/1.1 200 OK\r\n"));
        return f == OK ? hang(a) : f;
    } else if (has_fault(a, MOCK_FAULT_GARBAGE)) {
        f = send_raw(a, TEXT("\x16\x03\x01\x00garbage \x80\xff\n\n\0\x01 is no HTTP\r\n\r\n"));
        return f == OK ? http_answer_end(a->t, a->rq) : f;
    } else if (has_fault(a, MOCK_FAULT_STATUS)) {
        const struct mock_fault *fault = a->faults[MOCK_FAULT_STATUS];
        return mock_send_error(a, fault->status, "the mock was told to fail", fault->retry_after);
    } else if (has_fault(a, MOCK_FAULT_HTML)) {
        return send_html(a);
    } else {
        *out_handled = false;
    }
    return f;
}
