/* http_refuse.c: what a complete head must not have, one small function a row of http_refuse.def; called by http_parse.c. */
#include "net/http_refuse.h"

#define HOST_BYTES_MAX 261 /* a DNS name has at most 253, a colon and a port six, a dot at the end one, and one for luck */

enum { REQUEST = 1 << HTTP_KIND_REQUEST, RESPONSE = 1 << HTTP_KIND_RESPONSE, BOTH = REQUEST | RESPONSE };

/* What one walk over the headers tells all rows. */
struct facts {
    const struct http_parser *p;
    const struct http_head *h;
    struct text host, length, coding; /* the first of each; at == NULL without */
    unsigned hosts, lengths, codings;
    bool underscore;
    struct text authority;            /* of an absolute-form target */
    struct text path, query;
    int64_t content_length;
};

/* Bytes by where they may stand (RFC 3986). The query also takes the brackets that many clients send as they are. */
enum { IN_PATH = 1, IN_QUERY = 2, IN_HOST = 4, IN_ADDRESS = 8, HEX = 16 };
static const uint8_t bytes[256] = {
    ['a' ... 'f'] = IN_PATH | IN_QUERY | IN_HOST | IN_ADDRESS | HEX, ['A' ... 'F'] = IN_PATH | IN_QUERY | IN_HOST | IN_ADDRESS | HEX,
    ['0' ... '9'] = IN_PATH | IN_QUERY | IN_HOST | IN_ADDRESS | HEX,
    ['g' ... 'z'] = IN_PATH | IN_QUERY | IN_HOST, ['G' ... 'Z'] = IN_PATH | IN_QUERY | IN_HOST,
    ['-'] = IN_PATH | IN_QUERY | IN_HOST, ['_'] = IN_PATH | IN_QUERY | IN_HOST,
    ['.'] = IN_PATH | IN_QUERY | IN_HOST | IN_ADDRESS, [':'] = IN_PATH | IN_QUERY | IN_ADDRESS,
    ['~'] = IN_PATH | IN_QUERY, ['!'] = IN_PATH | IN_QUERY, ['$'] = IN_PATH | IN_QUERY, ['&'] = IN_PATH | IN_QUERY,
    ['\''] = IN_PATH | IN_QUERY, ['('] = IN_PATH | IN_QUERY, [')'] = IN_PATH | IN_QUERY, ['*'] = IN_PATH | IN_QUERY,
    ['+'] = IN_PATH | IN_QUERY, [','] = IN_PATH | IN_QUERY, [';'] = IN_PATH | IN_QUERY, ['='] = IN_PATH | IN_QUERY,
    ['@'] = IN_PATH | IN_QUERY, ['/'] = IN_PATH | IN_QUERY, ['%'] = IN_PATH | IN_QUERY,
    ['?'] = IN_QUERY, ['['] = IN_QUERY, [']'] = IN_QUERY,
};

static bool all_in(struct text t, uint8_t where)
{
    uint8_t common = where;
    for (size_t i = 0; i < t.len; i++)
        common &= bytes[(unsigned char)t.at[i]];
    return common == where;
}

/* name or address, and a port if there is one: no userinfo, path, list or escape (RFC 9112 section 3.2 refuses what RFC 3986 cannot read) */
static bool host_is_valid(struct text host)
{
    struct text name, port;
    bool has_port;
    if (host.len > HOST_BYTES_MAX)
        return false;
    if (host.at[0] == '[') {
        const char *end = memchr(host.at, ']', host.len);
        if (end == NULL)
            return false;
        name = (struct text){ host.at + 1, (size_t)(end - host.at) - 1 };
        port = (struct text){ end + 1, host.len - name.len - 2 };
        has_port = port.len > 0;
        if (!all_in(name, IN_ADDRESS) || (has_port && port.at[0] != ':'))
            return false;
        port = has_port ? (struct text){ port.at + 1, port.len - 1 } : TEXT_NONE;
    } else {
        port = text_cut(host, ':', &name);
        has_port = port.at != NULL && name.len < host.len;
        if (!all_in(name, IN_HOST))
            return false;
    }
    uint64_t number;
    return name.len > 0 && (!has_port || (port.len <= 5 && text_to_u64(port, 65535, &number)));
}

static bool is_underscored(struct text name, struct text real)
{
    if (name.len != real.len)
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] != real.at[i] && !(name.at[i] == '_' && real.at[i] == '-'))
            return false;
    return true;
}

static bool is_http_url(struct text target, size_t *out_scheme_len)
{
    static const struct text schemes[] = { { "http://", 7 }, { "https://", 8 } };
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (target.len >= schemes[i].len && text_eq_nocase((struct text){ target.at, schemes[i].len }, schemes[i])) {
            *out_scheme_len = schemes[i].len;
            return true;
        }
    return false;
}

/* RFC 9112 section 3.2: origin-form, absolute-form or *. Leaves path empty for anything else. */
static void split_target(struct facts *f)
{
    struct text rest = f->h->target;
    size_t skip;
    if (is_http_url(rest, &skip)) {
        rest = (struct text){ rest.at + skip, rest.len - skip };
        size_t n = 0;
        while (n < rest.len && rest.at[n] != '/' && rest.at[n] != '?')
            n++;
        f->authority = (struct text){ rest.at, n };
        rest = (struct text){ rest.at + n, rest.len - n };
        if (rest.len == 0 || rest.at[0] == '?') { /* an empty path means the root */
            f->path = TEXT("/");
            f->query = rest.len ? (struct text){ rest.at + 1, rest.len - 1 } : TEXT_NONE;
            return;
        }
    }
    if (rest.len == 0 || (rest.at[0] != '/' && !text_eq(rest, TEXT("*"))))
        return;
    const char *mark = memchr(rest.at, '?', rest.len);
    size_t path_len = mark ? (size_t)(mark - rest.at) : rest.len;
    f->path = (struct text){ rest.at, path_len };
    f->query = mark ? (struct text){ mark + 1, rest.len - path_len - 1 } : TEXT_NONE;
}

static void gather(struct facts *f)
{
    const struct http_head *h = f->h;
    for (unsigned i = 0; i < h->count; i++) {
        const struct http_header *r = &h->headers[i];
        switch (r->id) {
        case HEADER_HOST:
            f->hosts++;
            break;
        case HEADER_CONTENT_LENGTH:
            f->lengths++;
            break;
        case HEADER_TRANSFER_ENCODING:
            f->codings++;
            break;
        case HEADER_OTHER:
            if (memchr(r->name.at, '_', r->name.len) != NULL)
                f->underscore |= is_underscored(r->name, TEXT("content-length")) || is_underscored(r->name, TEXT("transfer-encoding"));
            break;
        default:
            break;
        }
    }
    f->host = http_head_get(h, HEADER_HOST);
    f->length = http_head_get(h, HEADER_CONTENT_LENGTH);
    f->coding = http_head_get(h, HEADER_TRANSFER_ENCODING);
    if (f->p->kind == HTTP_KIND_REQUEST)
        split_target(f);
}

static bool refuse_protocol(struct facts *f) { return f->p->is_foreign; }
static bool refuse_version(struct facts *f) { return f->p->ll.http_major != 1 || f->h->minor > 1; }
static bool refuse_connect(struct facts *f) { return f->h->method == METHOD_CONNECT; }
static bool refuse_status(struct facts *f) { return f->h->status < 100; }
static bool refuse_switching(struct facts *f) { return f->h->status == 101; }
static bool refuse_underscore(struct facts *f) { return f->underscore; }
static bool refuse_coding_repeated(struct facts *f) { return f->codings > 1; }
static bool refuse_coding_last(struct facts *f) /* RFC 9112 section 6.3: 400, whatever the codings are */
{
    if (f->codings == 0)
        return false;
    const char *comma = memrchr(f->coding.at, ',', f->coding.len);
    size_t before = comma != NULL ? (size_t)(comma - f->coding.at) + 1 : 0;
    return !text_eq_nocase(text_trim((struct text){ f->coding.at + before, f->coding.len - before }), TEXT("chunked"));
}
static bool refuse_coding_unknown(struct facts *f) { return f->codings == 1 && !text_eq_nocase(f->coding, TEXT("chunked")); }
static bool refuse_coding_old(struct facts *f) { return f->codings > 0 && f->h->minor == 0; }
static bool refuse_length_and_coding(struct facts *f) { return f->lengths > 0 && f->codings > 0; }
static bool refuse_length_repeated(struct facts *f) { return f->lengths > 1; }
static bool refuse_length_zeros(struct facts *f) { return f->length.len > 1 && f->length.at[0] == '0'; }
static bool refuse_length_form(struct facts *f)
{
    uint64_t length;
    if (f->lengths == 0)
        return false;
    if (!text_to_u64(f->length, INT64_MAX, &length))
        return true;
    f->content_length = (int64_t)length;
    return false;
}
static bool refuse_host_missing(struct facts *f) { return f->hosts == 0 && f->h->minor == 1; } /* HTTP/1.0 had none */
static bool refuse_host_repeated(struct facts *f) { return f->hosts > 1; }
static bool refuse_host_empty(struct facts *f) { return f->hosts == 1 && f->host.len == 0; }
static bool refuse_host_form(struct facts *f) { return f->hosts == 1 && !host_is_valid(f->host); }
static bool refuse_target_long(struct facts *f) { return f->h->target.len > f->p->limits.target_bytes_max; }
static bool refuse_target_fragment(struct facts *f) { return memchr(f->h->target.at, '#', f->h->target.len) != NULL; }
static bool refuse_target_star(struct facts *f) { return text_eq(f->path, TEXT("*")) && f->h->method != METHOD_OPTIONS; }
static bool refuse_target_form(struct facts *f) { return f->path.len == 0; }
static bool refuse_target_bytes(struct facts *f) { return !all_in(f->path, IN_PATH) || !all_in(f->query, IN_QUERY); }
static bool refuse_target_escape(struct facts *f)
{
    struct text t = f->h->target;
    for (const char *end = t.at + t.len, *at = t.at; (at = memchr(at, '%', (size_t)(end - at))) != NULL; at += 3) {
        if (end - at < 3 || !(bytes[(unsigned char)at[1]] & HEX) || !(bytes[(unsigned char)at[2]] & HEX))
            return true;
        if (at[1] == '0' && at[2] == '0') /* a string that ends early for whoever decodes it in C */
            return true;
    }
    return false;
}
static bool refuse_target_host(struct facts *f)
{
    return f->authority.at != NULL && f->hosts > 0 ? !text_eq_nocase(f->authority, f->host)
                                                   : f->authority.at != NULL && (f->authority.len == 0 || !host_is_valid(f->authority));
}
static bool refuse_expectation(struct facts *f) /* HTTP/1.0 had none: there it is a header like any other */
{
    return f->h->minor == 1 && http_head_has(f->h, HEADER_EXPECT) && !text_eq_nocase(http_head_get(f->h, HEADER_EXPECT), TEXT("100-continue"));
}

static const struct row {
    bool (*is_so)(struct facts *f);
    uint8_t who, fail;
    const char *why;
} rows[] = {
#define REFUSE(row, number, who, fail, sentence) { refuse_##row, who, FAIL_##fail, sentence },
#include "net/http_refuse.def"
#undef REFUSE
};

static const struct reason {
    const char *reason;
    enum fail fail;
    const char *why;
} reasons[] = {
#define LLHTTP(reason, number, fail, sentence) { reason, FAIL_##fail, sentence },
#include "net/http_refuse.def"
#undef LLHTTP
};

enum fail http_refuse_reason(const char *reason, const char **out_why)
{
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++)
        if (strcmp(reasons[i].reason, reason) == 0) {
            *out_why = reasons[i].why;
            return reasons[i].fail;
        }
    *out_why = reason;
    return FAIL_BAD_REQUEST;
}

/* RFC 9112 section 9.3 */
static bool keeps_alive(const struct http_head *h)
{
    if (http_head_lists(h, HEADER_CONNECTION, TEXT("close")))
        return false;
    return h->minor == 1 || http_head_lists(h, HEADER_CONNECTION, TEXT("keep-alive"));
}

enum fail http_refuse_head(const struct http_parser *p, struct http_head *h, const char **out_why)
{
    struct facts f = { .p = p, .h = h, .content_length = -1 };
    gather(&f);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if ((rows[i].who & 1 << p->kind) && rows[i].is_so(&f)) {
            *out_why = rows[i].why;
            return (enum fail)rows[i].fail;
        }
    h->path = f.path;
    h->query = f.query;
    h->host = f.hosts ? f.host : f.authority;
    h->content_length = f.content_length;
    h->chunked = f.codings == 1;
    h->keep_alive = keeps_alive(h);
    h->expect_continue = h->minor == 1 && text_eq_nocase(http_head_get(h, HEADER_EXPECT), TEXT("100-continue"));
    h->upgrade = http_head_has(h, HEADER_UPGRADE) && http_head_lists(h, HEADER_CONNECTION, TEXT("upgrade"));
    return OK;
}
