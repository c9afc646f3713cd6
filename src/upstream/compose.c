/* compose.c: one call's bytes towards one backend: the head with only what this hop means to say, the client's body with its splices. */
#include "upstream/upstream.h"
#include "base/account.h"
#include "base/json.h"
#include "net/http_write.h"

#define USER_AGENT  "weir"
#define HEAD_ROOM   2048  /* a head without key and base, and the splices */
#define LARGE_BYTES 65536 /* a copy of a body from here on is no answer's memory */

static enum fail write_target(const struct endpoint *e, struct text method, struct text path, struct buf *b)
{
    enum fail f = buf_add_text(b, method);
    if (f == OK)
        f = buf_add_text(b, e->base);
    if (f == OK)
        f = buf_add_text(b, path);
    return f == OK ? buf_add_text(b, TEXT(" HTTP/1.1\r\nhost: ")) : f;
}

static enum fail write_host(const struct endpoint *e, struct buf *b)
{
    enum fail f = buf_add_text(b, e->host_header);
    return f == OK ? buf_add_text(b, TEXT("\r\n")) : f;
}

static enum fail write_key(const struct endpoint *e, struct buf *b)
{
    if (e->key.len == 0)
        return OK;
    enum fail f = buf_add_text(b, TEXT("authorization: Bearer ")); /* conf lets only visible ASCII in */
    if (f == OK)
        f = buf_add_text(b, e->key);
    return f == OK ? buf_add_text(b, TEXT("\r\n")) : f;
}

static enum fail write_headers(const struct call *call, const struct endpoint *e, size_t length, struct buf *b)
{
    enum fail f = http_write_header(b, TEXT("content-type"), TEXT("application/json"));
    if (f == OK)
        f = http_write_length(b, length);
    if (f == OK)
        f = http_write_header(b, TEXT("accept"), call->stream ? TEXT("text/event-stream") : TEXT("application/json"));
    if (f == OK) /* without it any encoding would be acceptable, and we inflate none */
        f = buf_add_text(b, TEXT("accept-encoding: identity\r\nuser-agent: " USER_AGENT "\r\n"));
    if (f == OK)
        f = http_write_header(b, TEXT("x-request-id"), call->request_id);
    for (enum border_pass i = 0; i < BORDER_PASS_COUNT && f == OK; i++)
        if (call->passed[i].len > 0)
            f = http_write_header(b, border_name(i), call->passed[i]);
    if (f == OK)
        f = write_key(e, b);
    return f == OK ? http_write_head_end(b) : f;
}

static enum fail write_spliced(const struct call *call, const struct slot *slot, struct buf *b)
{
    struct text body = buf_text(&call->body);
    size_t at = 0;
    const struct endpoint *e = slot->endpoint;
    size_t most = body.len + HEAD_ROOM + e->key.len + e->base.len;
    if (body.len >= LARGE_BYTES && !account_room(ACCOUNT_WORK, most))
        return FAIL_NO_MEMORY;
    enum fail f = buf_reserve(b, most); /* once: growing later would leave a copy of the key behind */
    for (unsigned i = 0; i < call->splice_count && f == OK; i++) {
        const struct splice *s = &call->splices[i];
        f = buf_add(b, body.at + at, s->from - at);
        if (f == OK)
            f = s->is_model ? json_add_string(b, slot->model) : buf_add_text(b, s->with);
        at = s->to;
    }
    return f == OK ? buf_add(b, body.at + at, body.len - at) : f;
}

/* Our own llama gets the fields we know and no others: it crashes on some it should refuse. */
static enum fail write_body(const struct call *call, const struct slot *slot, struct buf *b)
{
    struct buf whole;
    if (slot->endpoint->kind != CONF_KIND_LLAMA)
        return write_spliced(call, slot, b);
    buf_init(&whole, 1u << 30);
    enum fail f = write_spliced(call, slot, &whole);
    if (f == OK)
        f = fields_filter(buf_text(&whole), call->fields, b);
    buf_fini(&whole);
    return f;
}

enum fail request_compose(const struct call *call, const struct slot *slot, struct buf *out, size_t *out_head_from)
{
    const struct endpoint *e = slot->endpoint;
    enum fail f = write_body(call, slot, out);
    size_t length = buf_len(out);
    if (f == OK)
        f = write_target(e, TEXT("POST "), call->path, out);
    if (f == OK)
        f = write_host(e, out);
    if (f == OK)
        f = write_headers(call, e, length, out);
    if (f == OK)
        *out_head_from = length;
    return f;
}

enum fail compose_get(const struct endpoint *e, struct text path, struct buf *out)
{
    enum fail f = write_target(e, TEXT("GET "), path, out);
    if (f == OK)
        f = write_host(e, out);
    if (f == OK)
        f = http_write_header(out, TEXT("user-agent"), TEXT(USER_AGENT));
    if (f == OK)
        f = write_key(e, out);
    return f == OK ? http_write_head_end(out) : f;
}
