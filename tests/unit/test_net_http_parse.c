/* test_net_http_parse.c: units of net/http_parse.h, http_head.h and http_refuse.def. Each refusal stands beside a twin that differs in
   one byte and is accepted; each message is fed whole, byte by byte, and cut at every point. */
#include "test_base.h"

#include "../lib/http_story.h"
#include "net/http_refuse.h"

#define STORY_MAX (1u << 20)

static const struct http_parse_limits limits = { .head_bytes_max = 16384, .target_bytes_max = 1024, .headers_max = 20 };

static void tell(struct buf *story, enum http_kind kind, bool answers_head, struct text in, struct cutter cut)
{
    buf_init(story, STORY_MAX);
    http_story(story, kind, answers_head, &limits, in, cut, true);
}

static void same_story(struct text expected, enum http_kind kind, bool answers_head, struct text in, struct cutter cut)
{
    struct buf story;
    tell(&story, kind, answers_head, in, cut);
    if (!text_eq(expected, buf_text(&story)))
        fail_msg("cut at %zu:\n%.*s\nis told as\n%.*s\nand whole as\n%.*s", cut.first, TEXT_ARG(in), TEXT_ARG(buf_text(&story)), TEXT_ARG(expected));
    buf_fini(&story);
}

/* All three ways of feeding; returns the story, the caller's to fini. */
static struct buf story_of(enum http_kind kind, bool answers_head, struct text in)
{
    struct buf whole;
    tell(&whole, kind, answers_head, in, (struct cutter){ .next = cut_never });
    same_story(buf_text(&whole), kind, answers_head, in, (struct cutter){ .next = cut_bytes });
    for (size_t at = 1; at < in.len; at++)
        same_story(buf_text(&whole), kind, answers_head, in, (struct cutter){ .next = cut_once, .first = at });
    return whole;
}

static void tells_as(enum http_kind kind, bool answers_head, struct text in, const char *expected)
{
    struct buf story = story_of(kind, answers_head, in);
    if (!text_eq(buf_text(&story), text_of(expected)))
        fail_msg("%.*s\nis told as\n%.*s\nnot as\n%s", TEXT_ARG(in), TEXT_ARG(buf_text(&story)), expected);
    buf_fini(&story);
}

static void request_tells(const char *in, const char *expected) { tells_as(HTTP_KIND_REQUEST, false, text_of(in), expected); }
static void response_tells(const char *in, const char *expected) { tells_as(HTTP_KIND_RESPONSE, false, text_of(in), expected); }

static void refused(enum http_kind kind, struct text in, const char *expected)
{
    struct buf story = story_of(kind, false, in);
    if (text_find(buf_text(&story), text_of(expected)) < 0)
        fail_msg("%.*s\nis told as\n%.*s\nwithout %s", TEXT_ARG(in), TEXT_ARG(buf_text(&story)), expected);
    buf_fini(&story);
}

static void accepted(enum http_kind kind, struct text in)
{
    struct buf story = story_of(kind, false, in);
    if (!text_ends(buf_text(&story), TEXT("[end][clean]")) && !text_ends(buf_text(&story), TEXT("[end]"))) /* kept open, or closed after it */
        fail_msg("%.*s\nis told as\n%.*s", TEXT_ARG(in), TEXT_ARG(buf_text(&story)));
    buf_fini(&story);
}

/* One byte replaced, put in or taken out. */
static bool differ_in_one_byte(struct text a, struct text b)
{
    size_t head = 0, tail = 0;
    while (head < a.len && head < b.len && a.at[head] == b.at[head])
        head++;
    while (tail < a.len - head && tail < b.len - head && a.at[a.len - 1 - tail] == b.at[b.len - 1 - tail])
        tail++;
    return a.len - head - tail <= 1 && b.len - head - tail <= 1;
}

#define REQ "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define PAIR(bad, says, good) { { bad, sizeof(bad) - 1 }, says, { good, sizeof(good) - 1 } }

struct pair {
    struct text bad;
    const char *says;
    struct text good;
};

static const struct pair request_pairs[] = {
    /* protocol and version */
    PAIR("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "[BAD_VERSION: The HTTP version is not 1.0 or 1.1.]", "GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "[BAD_VERSION: The HTTP version", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", "follows the HTTP version", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTP/1.10\r\nHost: a\r\n\r\n", "follows the HTTP version", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTP/1,1\r\nHost: a\r\n\r\n", "version is malformed", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTp/1.1\r\nHost: a\r\n\r\n", "[BAD_REQUEST: The request line does not end in HTTP/1.1", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "follows the HTTP version", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    /* method and request line */
    PAIR("GeT / HTTP/1.1\r\nHost: a\r\n\r\n", "[BAD_REQUEST: The request does not begin with a method", REQ "\r\n"),
    PAIR("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "does not begin with a method", REQ "\r\n"),
    PAIR(" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "does not begin with a method", REQ "\r\n"),
    PAIR("GET / HTTP/1.1\nHost: a\r\n\r\n", "[BAD_REQUEST", REQ "\r\n"),
    PAIR("GET / HTTP/1.1\rHost: a\r\n\r\n", "[BAD_REQUEST", REQ "\r\n"),
    PAIR("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "does not end in HTTP/1.1", "GET /a+b HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "not one blank apart", REQ "\r\n"),
    PAIR("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "not one blank apart", REQ "\r\n"),
    /* target */
    PAIR("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "fragment", "GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "belongs to OPTIONS alone", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /\\ HTTP/1.1\r\nHost: a\r\n\r\n", "percent-encoded", "GET // HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /\xc3 HTTP/1.1\r\nHost: a\r\n\r\n", "percent-encoded", "GET /c HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /?\xff HTTP/1.1\r\nHost: a\r\n\r\n", "percent-encoded", "GET /?f HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", "percent-encoded", "GET /0 HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", "[BAD_REQUEST", "GET /7 HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", "hexadecimal", "GET /%41 HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /%4g HTTP/1.1\r\nHost: a\r\n\r\n", "hexadecimal", "GET /%4f HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", "encoded NUL", "GET /%10 HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "differs from the Host", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET http://a:8/ HTTP/1.1\r\nHost: a:9\r\n\r\n", "differs from the Host", "GET http://a:9/ HTTP/1.1\r\nHost: a:9\r\n\r\n"),
    PAIR("GET htts://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "neither a path nor an http URL", "GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET http://a?b HTTP/1.1\r\nHost: \r\n\r\n", "Host is empty", "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", "differs from the Host", "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET http://a:70000/ HTTP/1.0\r\n\r\n", "differs from the Host", "GET http://a:7000/ HTTP/1.0\r\n\r\n"),
    PAIR("GET /%g4 HTTP/1.1\r\nHost: a\r\n\r\n", "hexadecimal", "GET /%f4 HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET /a?b\\ HTTP/1.1\r\nHost: a\r\n\r\n", "percent-encoded", "GET /a?b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET http://@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "differs from the Host", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    /* Host */
    PAIR("GET / HTTP/1.1\r\nHosts: a\r\n\r\n", "There is no Host header", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nX: a\r\n\r\n", "There is no Host header", "GET / HTTP/1.0\r\nX: a\r\n\r\n"),
    PAIR(REQ "Host: a\r\n\r\n", "Host was sent more than once", REQ "Hose: a\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: \r\n\r\n", "Host is empty", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: u.a\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: a/\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: a.\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: a-b\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: a_b\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: a:065535\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: :1\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: a:1\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: []\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: [1]\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: [::1]1\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: [::g]:1\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: [::f]:1\r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\nHost: a\xa0\r\n\r\n", "Host is not a name", "GET / HTTP/1.1\r\nHost: a \r\n\r\n"),
    /* header lines */
    PAIR(REQ "X : y\r\n\r\n", "A header name is empty, has a blank", REQ "X: y\r\n\r\n"),
    PAIR(REQ ": y\r\n\r\n", "A header name", REQ "x: y\r\n\r\n"),
    PAIR(REQ "X y\r\n\r\n", "A header name", REQ "X:y\r\n\r\n"),
    PAIR(REQ "X\x80: y\r\n\r\n", "A header name", REQ "X8: y\r\n\r\n"),
    PAIR(REQ "X(: y\r\n\r\n", "A header name", REQ "X!: y\r\n\r\n"),
    PAIR(REQ "X\t: y\r\n\r\n", "A header name", REQ "Xt: y\r\n\r\n"),
    PAIR(REQ "X: y\r\n z: \r\n\r\n", "begins with a blank", REQ "X: y\r\nzz: \r\n\r\n"),
    PAIR("GET / HTTP/1.1\r\n Host: a\r\n\r\n", "[BAD_REQUEST: A blank begins the first header line.]", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    PAIR(REQ "X: y\n\r\n", "in LF alone", REQ "X: y\r\n\r\n"),
    PAIR(REQ "X: y\rz\r\n\r\n", "CR without LF", REQ "X: y\tz\r\n\r\n"),
    PAIR(REQ "X: y\0z\r\n\r\n", "control byte", REQ "X: y0z\r\n\r\n"),
    PAIR(REQ "X: y\x01z\r\n\r\n", "control byte", REQ "X: y1z\r\n\r\n"),
    PAIR(REQ "X: y\x7fz\r\n\r\n", "control byte", REQ "X: y\xffz\r\n\r\n"),
    PAIR(REQ "\rX\n", "[BAD_REQUEST: The empty line", REQ "\r\n"),
    PAIR(REQ "content_length: 5\r\n\r\n", "underscore", REQ "content.length: 5\r\n\r\n"),
    PAIR(REQ "Transfer_Encoding: chunked\r\n\r\n", "underscore", REQ "Transfer.Encoding: chunked\r\n\r\n"),
    /* empty lines before the first: hostile 9, hostile 10 */
    PAIR("\r\r\r\n" REQ "\r\n", "An empty line before the message", "\r\n\r\n" REQ "\r\n"),
    PAIR("\n\n" REQ "\r\n", "An empty line before the message", "\r\n" REQ "\r\n"),
    /* Content-Length */
    PAIR(POST "Content-Length: +2\r\n\r\nhi", "not a decimal number", POST "Content-Length: 2\r\n\r\nhi"),
    PAIR(POST "Content-Length: -2\r\n\r\nhi", "not a decimal number", POST "Content-Length: 2\r\n\r\nhi"),
    PAIR(POST "Content-Length: 02\r\n\r\nhi", "leading zeros", POST "Content-Length: 2\r\n\r\nhi"),
    PAIR(POST "Content-Length: 00\r\n\r\n", "leading zeros", POST "Content-Length: 0\r\n\r\n"),
    PAIR(POST "Content-Length: 2,\r\n\r\nhi", "not a decimal number", POST "Content-Length: 2\r\n\r\nhi"),
    PAIR(POST "Content-Length: 1 2\r\n\r\nabcdefghijkl", "not a decimal number", POST "Content-Length: 12\r\n\r\nabcdefghijkl"),
    PAIR(POST "Content-Length: 1_2\r\n\r\nabcdefghijkl", "not a decimal number", POST "Content-Length: 12\r\n\r\nabcdefghijkl"),
    PAIR(POST "Content-Length: \r\n\r\n", "Content-Length is empty", POST "Content-Length: 0\r\n\r\n"),
    PAIR(POST "Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "more than once", POST "Content-Length: 2\r\nContent.Length: 2\r\n\r\nhi"),
    PAIR(POST "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "both sent", POST "Content.Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    PAIR(POST "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", "both sent", POST "Transfer-Encoding: chunked\r\nContent.Length: 2\r\n\r\n0\r\n\r\n"),
    /* Transfer-Encoding */
    PAIR(POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "[BAD_REQUEST: Transfer-Encoding does not end in chunked", CHUNKED "0\r\n\r\n"),
    PAIR(POST "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding", CHUNKED "0\r\n\r\n"),
    PAIR(POST "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", "Transfer-Encoding", CHUNKED "0\r\n\r\n"),
    PAIR(POST "Transfer-Encoding: chunke\r\n\r\n0\r\n\r\n", "[BAD_REQUEST: Transfer-Encoding does not end", CHUNKED "0\r\n\r\n"),
    PAIR(POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n0\r\n\r\n", "[BAD_REQUEST: A header value holds a control", CHUNKED "0\r\n\r\n"),
    PAIR("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "which has none", CHUNKED "0\r\n\r\n"),
    PAIR(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding",
         POST "Transfer-Encoding: chunked\r\nTransfer.Encoding: chunked\r\n\r\n0\r\n\r\n"),
    PAIR(POST "Transfer-Encoding: x\r\nContent-Length: 2\r\n\r\nhi", "[BAD_REQUEST: Content-Length and", POST "Transfer.Encoding: x\r\nContent-Length: 2\r\n\r\nhi"),
    /* Expect: hostile 23 */
    PAIR(POST "Expect: 101-continue\r\n\r\n", "[EXPECTATION: Expect asks", POST "Expect: 100-continue\r\n\r\n"),
    PAIR(POST "Expect: \r\n\r\n", "[EXPECTATION: Expect asks", "POST / HTTP/1.0\r\nHost: a\r\nExpect: \r\n\r\n"),
    /* chunks */
    PAIR(CHUNKED "+2\r\nhi\r\n0\r\n\r\n", "hexadecimal number", CHUNKED "2\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED " 2\r\nhi\r\n0\r\n\r\n", "hexadecimal number", CHUNKED "2\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED "2 \r\nhi\r\n0\r\n\r\n", "hexadecimal number", CHUNKED "2\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED "x2\r\nhi\r\n0\r\n\r\n", "hexadecimal number", CHUNKED "02\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED "1_0\r\n0123456789abcdef\r\n0\r\n\r\n", "hexadecimal number", CHUNKED "10\r\n0123456789abcdef\r\n0\r\n\r\n"),
    PAIR(CHUNKED "2;\r\nhi\r\n0\r\n\r\n", "[BAD_REQUEST", CHUNKED "2;a\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED "2;a\nb\r\nhi\r\n0\r\n\r\n", "[BAD_REQUEST", CHUNKED "2;a=b\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED "2\nhi\r\n0\r\n\r\n", "in LF alone", CHUNKED "2\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED "\r\n\r\n", "hexadecimal number", CHUNKED "0\r\n\r\n"),
    PAIR(CHUNKED "2\r\nhix\r\n0\r\n\r\n", "not followed by CR LF", CHUNKED "3\r\nhix\r\n0\r\n\r\n"),
    PAIR(CHUNKED "2\r\nhi\r0\r\n\r\n", "not followed by CR LF", CHUNKED "2\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED "2\r\nhi\n0\r\n\r\n", "not followed by CR LF", CHUNKED "2\r\nhi\r\n0\r\n\r\n"),
    PAIR(CHUNKED "0\r\nContent-Length: 0\r\n\r\n", "both sent", CHUNKED "0\r\nContent.Length: 0\r\n\r\n"),
    PAIR(CHUNKED "0\r\nTransfer-Encoding: x\r\n\r\n", "after chunked", CHUNKED "0\r\nTransfer.Encoding: x\r\n\r\n"),
    PAIR(CHUNKED "0\r\nX y\r\n\r\n", "A header name", CHUNKED "0\r\nX:y\r\n\r\n"),
    PAIR(CHUNKED "0\r\nX: y\n\r\n", "in LF alone", CHUNKED "0\r\nX: y\r\n\r\n"),
};

TEST(each_refused_request_has_a_twin_that_is_served)
{
    for (size_t i = 0; i < ARRAY_LEN(request_pairs); i++) {
        const struct pair *p = &request_pairs[i];
        refused(HTTP_KIND_REQUEST, p->bad, p->says);
        assert_true(differ_in_one_byte(p->bad, p->good));
        accepted(HTTP_KIND_REQUEST, p->good);
    }
}

static const struct {
    const char *in, *says;
} refused_alone[] = { /* no single byte would mend these */
    { "GET / HTTP/0.9\r\nHost: a\r\n\r\n", "[BAD_VERSION: The HTTP version is not 1.0 or 1.1.]" },
    { "GET /\r\n", "[BAD_REQUEST: The request line has no HTTP version.]" },
    { "GET /\r\n\r\n", "[BAD_REQUEST: The request line has no HTTP version.]" },
    { "get / HTTP/1.1\r\nHost: a\r\n\r\n", "[BAD_REQUEST: The request does not begin with a method" },
    { "GET / / HTTP/1.1\r\nHost: a\r\n\r\n", "[BAD_REQUEST: The request line does not end in HTTP/1.1" },
    { "DESCRIBE /x RTSP/1.0\r\nHost: a\r\n\r\n", "[BAD_VERSION: The first line names a protocol other than HTTP.]" },
    { "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "[BAD_REQUEST: An empty line before the message" },
    { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "[BAD_VERSION: This is the beginning of an HTTP/2 connection" },
    { "PRI / HTTP/1.1\r\n\r\n", "[BAD_VERSION: This is the beginning of an HTTP/2 connection" },
    { "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "[NOT_IMPLEMENTED: CONNECT" },
    { "\x16\x03\x01\x02\x01\x01\xfc\x03\x03", "[BAD_REQUEST: The request does not begin with a method" },
    { "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n\r\n", "[BAD_REQUEST: The request does not begin with a method" },
    { POST "Content-Length: 18446744073709551616\r\n\r\n", "not a decimal number below 2^63" },
    { POST "Content-Length: 9223372036854775808\r\n\r\n", "not a decimal number below 2^63" },
    { POST "Content-Length: 0x5\r\n\r\nhello", "not a decimal number" },
    { POST "Content-Length: 5, 5\r\n\r\nhello", "not a decimal number" },
    { POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "[NOT_IMPLEMENTED" },
    { POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", "Transfer-Encoding" },
    { POST "Transfer-Encoding: identity\r\n\r\n", "[BAD_REQUEST: Transfer-Encoding does not end" },
    { POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "[BAD_REQUEST" },
    { CHUNKED "11111111111111111\r\n", "A chunk's size does not fit 64 bits." },
    { CHUNKED "ffffffffffffffff\r\n", "A chunk's size does not fit 63 bits." },
};

TEST(what_is_wrong_in_more_than_a_byte_is_refused_too)
{
    for (size_t i = 0; i < ARRAY_LEN(refused_alone); i++)
        refused(HTTP_KIND_REQUEST, text_of(refused_alone[i].in), refused_alone[i].says);
}

TEST(a_request_is_told_with_all_its_parts)
{
    request_tells("POST /v1/chat%20x/?a=b&c[]=%7B HTTP/1.1\r\nHOST: localhost:4040\r\nContent-Length:\t5 \r\nX-Weir-Agent: \xc3\xa9 b\t\r\nEmpty:\r\n\r\nhello",
                  "<POST|0|/v1/chat%20x/?a=b&c[]=%7B|localhost:4040|1.1|length 5 keep>"
                  "(1 host=localhost:4040)(2 content-length=5)(40 x-weir-agent=\xc3\xa9 b)(0 empty=)hello[end][clean]");
    request_tells("OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "<OPTIONS|0|*?|[::1]:80|1.1|length -1 keep>(1 host=[::1]:80)[end][clean]");
    request_tells("PROPFIND /x HTTP/1.1\r\nHost: a\r\n\r\n", "<PROPFIND|0|/x?|a|1.1|length -1 keep>(1 host=a)[end][clean]");
    request_tells("GET HTTP://A.b?c HTTP/1.1\r\nHost: a.B\r\n\r\n", "<GET|0|/?c|a.B|1.1|length -1 keep>(1 host=a.B)[end][clean]");
}

TEST(a_chunked_body_loses_its_frames_and_trailers)
{
    request_tells(CHUNKED "5;a=b;c=\"d\\\"\"\r\nhello\r\n00B\r\n to chunks \r\n0;x\r\nContent-Type: x\r\nHost: b\r\nConnection: close\r\nAuthorization: z\r\n\r\n",
                  "<POST|0|/?|a|1.1|length -1 chunked keep>(1 host=a)(3 transfer-encoding=chunked)hello to chunks [end][clean]");
    request_tells(POST "Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", "<POST|0|/?|a|1.1|length -1 chunked keep>(1 host=a)(3 transfer-encoding=CHUNKED)[end][clean]");
}

TEST(requests_in_one_input_are_told_one_after_the_other)
{
    request_tells("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\nGET /4",
                  "<GET|0|/1?|a|1.1|length -1 keep>(1 host=a)[end]<POST|0|/2?|a|1.1|length 2 keep>(1 host=a)(2 content-length=2)hi[end]"
                  "<GET|0|/3?|a|1.1|length -1>(1 host=a)(4 connection=x, Close)[end]");
    request_tells(REQ "\r\nG\x01", "<GET|0|/?|a|1.1|length -1 keep>(1 host=a)[end][BAD_REQUEST: The request does not begin with a method of HTTP; they are written in capitals.]");
}

TEST(http_1_0_closes_unless_asked_and_has_no_interim_answers)
{
    request_tells("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\nGET", "<GET|0|/?||1.0|length -1>(12 expect=100-continue)[end]");
    request_tells("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", "<GET|0|/?||1.0|length -1 keep>(4 connection=Keep-Alive)[end][clean]");
}

TEST(expect_and_upgrade_are_told_and_change_no_framing)
{
    request_tells(POST "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nhi", "<POST|0|/?|a|1.1|length 2 keep expect>(1 host=a)(12 expect=100-Continue)(2 content-length=2)hi[end][clean]");
    request_tells(REQ "Connection: upgrade\r\nUpgrade: h2c\r\n\r\n" REQ "\r\n",
                  "<GET|0|/?|a|1.1|length -1 keep upgrade>(1 host=a)(4 connection=upgrade)(11 upgrade=h2c)[end]<GET|0|/?|a|1.1|length -1 keep>(1 host=a)[end][clean]");
    request_tells(POST "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nhi",
                  "<POST|0|/?|a|1.1|length 2 keep upgrade>(1 host=a)(4 connection=upgrade)(11 upgrade=x)(2 content-length=2)hi[end][clean]");
}

TEST(a_cut_request_is_told_from_a_clean_end)
{
    request_tells("", "[clean]");
    request_tells("\r\n\r\n", "[clean]");
    request_tells("G", "[RESET: The connection was closed before the message was complete.]");
    refused(HTTP_KIND_REQUEST, TEXT(REQ), "[RESET");
    refused(HTTP_KIND_REQUEST, TEXT(POST "Content-Length: 3\r\n\r\nhi"), "hi[RESET");
    refused(HTTP_KIND_REQUEST, TEXT(CHUNKED "2\r\nhi\r\n0\r\n"), "hi[RESET");
}

/* prefix, n times fill, suffix */
static struct text grown(struct arena *a, const char *prefix, const char *fill, size_t n, const char *suffix)
{
    size_t fill_len = strlen(fill), len = strlen(prefix);
    char *at = arena_alloc(a, len + fill_len * n + strlen(suffix) + 1);
    assert_non_null(at);
    memcpy(at, prefix, len);
    for (size_t i = 0; i < n; i++, len += fill_len)
        memcpy(at + len, fill, fill_len);
    memcpy(at + len, suffix, strlen(suffix));
    return (struct text){ at, len + strlen(suffix) };
}

/* Longer inputs: whole, byte by byte, and cut at a few points only. */
static void long_tells(struct text in, const char *says)
{
    struct buf whole;
    tell(&whole, HTTP_KIND_REQUEST, false, in, (struct cutter){ .next = cut_never });
    if (text_find(buf_text(&whole), text_of(says)) < 0)
        fail_msg("%.300s… is told as\n%.*s\nwithout %s", in.at, TEXT_ARG(buf_text(&whole)), says);
    same_story(buf_text(&whole), HTTP_KIND_REQUEST, false, in, (struct cutter){ .next = cut_bytes });
    for (size_t at = 1; at < in.len; at += 1 + in.len / 61)
        same_story(buf_text(&whole), HTTP_KIND_REQUEST, false, in, (struct cutter){ .next = cut_once, .first = at });
    buf_fini(&whole);
}

TEST(every_limit_is_exact)
{
    struct arena a;
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    const char *end = " HTTP/1.1\r\nHost: a\r\n\r\n";
    long_tells(grown(&a, "GET /", "x", 1023, end), "[end][clean]");
    long_tells(grown(&a, "GET /", "x", 1024, end), "[URL_TOO_LONG: The request target is longer");
    long_tells(grown(&a, "GET /", "x", 5000, end), "[URL_TOO_LONG: The first line is longer");
    long_tells(grown(&a, "", "\r\n", 5000, REQ "\r\n"), "[HEADERS_TOO_LARGE: The first line is longer");
    long_tells(grown(&a, REQ, "x: y\r\n", 19, "\r\n"), "[end][clean]");
    long_tells(grown(&a, REQ, "x: y\r\n", 20, "\r\n"), "[HEADERS_TOO_LARGE: There are more headers");
    long_tells(grown(&a, REQ, "x", HTTP_NAME_MAX, ": y\r\n\r\n"), "[end][clean]");
    long_tells(grown(&a, REQ, "x", HTTP_NAME_MAX + 1, ": y\r\n\r\n"), "[HEADERS_TOO_LARGE: A header name is longer");
    size_t fixed = sizeof(REQ "x: \r\n\r\n") - 1;
    long_tells(grown(&a, REQ "x: ", "y", limits.head_bytes_max - fixed, "\r\n\r\n"), "[end][clean]");
    long_tells(grown(&a, REQ "x: ", "y", limits.head_bytes_max - fixed + 1, "\r\n\r\n"), "[HEADERS_TOO_LARGE: The headers are larger");
    long_tells(grown(&a, REQ "x:", " ", limits.head_bytes_max, "y\r\n\r\n"), "[HEADERS_TOO_LARGE: The headers are larger");
    long_tells(grown(&a, CHUNKED "2;", "x", 1000, "\r\nhi\r\n0\r\n\r\n"), "hi[end][clean]");
    long_tells(grown(&a, CHUNKED "2;", "x", 2000, "\r\nhi\r\n0\r\n\r\n"), "[BAD_REQUEST: A chunk's size line is longer");
    long_tells(grown(&a, CHUNKED, "0", 2000, "\r\n\r\n"), "[BAD_REQUEST: A chunk's size line is longer");
    long_tells(grown(&a, CHUNKED, "1;12345678\r\nx\r\n", HTTP_CHUNK_EXT_MAX / 8, "0\r\n\r\n"), "x[end][clean]");
    long_tells(grown(&a, CHUNKED, "1;12345678\r\nx\r\n", HTTP_CHUNK_EXT_MAX / 8 + 1, "0\r\n\r\n"), "[BAD_REQUEST: The chunk extensions are larger");
    long_tells(grown(&a, CHUNKED "0\r\n", "x: y\r\n", HTTP_TRAILERS_MAX / 6, "\r\n"), "[end][clean]");
    long_tells(grown(&a, CHUNKED "0\r\n", "x: y\r\n", HTTP_TRAILERS_MAX / 6 + 1, "\r\n"), "[HEADERS_TOO_LARGE: The trailers are larger");
    arena_fini(&a);
}

static enum fail head_within(size_t bytes_max, uint64_t nth_fails, uint64_t *out_allocations)
{
    int64_t before = mem_alive();
    struct arena a;
    struct http_parser p;
    arena_init(&a, NULL, 0, bytes_max);
    http_parser_init(&p, HTTP_KIND_REQUEST, &limits);
    http_parser_begin(&p, &a);
    mem_fault(nth_fails);
    size_t eaten = 0;
    struct http_event e = { HTTP_NEED_MORE, TEXT_NONE };
    enum fail f = http_parse(&p, TEXT(POST "A: b\r\nContent-Length: 2\r\n\r\nhi"), &eaten, &e);
    *out_allocations = mem_fault(0);
    assert_true(f == OK ? e.kind == HTTP_GOT_HEAD : f == FAIL_NO_MEMORY && p.why != NULL);
    arena_fini(&a);
    assert_int_equal(mem_alive(), before);
    return f;
}

TEST(without_memory_a_head_fails_cleanly_wherever_it_runs_out)
{
    uint64_t allocations, nth = 0;
    do
        (void)head_within(ARENA_NO_MAX, ++nth, &allocations); /* an arena may make do with a smaller block, so either is right */
    while (allocations >= nth);
    unsigned failed = 0;
    for (size_t max = 0; max < 8192; max += 8)
        failed += head_within(max, 0, &allocations) != OK;
    assert_true(failed > 10 && failed < 1000);
    assert_int_equal(head_within(8192, 0, &allocations), OK);
    print_message("reached allocation %u and %u ceilings\n", (unsigned)nth, failed);
}

TEST(an_answer_is_told_by_each_of_its_framings)
{
    response_tells("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "<|200|?||1.1|length 2 keep>(2 content-length=2)hi[end][clean]");
    response_tells("HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "<|200|?||1.1|length -1 chunked keep>(3 transfer-encoding=chunked)hi[end][clean]");
    response_tells("HTTP/1.0 200 OK\r\n\r\nto the end", "<|200|?||1.0|length -1>to the end[end]");
    response_tells("HTTP/1.1 200 OK\r\n\r\n", "<|200|?||1.1|length -1>[end]");
    response_tells("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
                   "<|204|?||1.1|length -1 keep>[end]<|304|?||1.1|length 7 keep>(2 content-length=7)[end][clean]");
    response_tells("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nhi", "<|204|?||1.1|length 2>(2 content-length=2)[end]");
    tells_as(HTTP_KIND_RESPONSE, true, TEXT("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), "<|200|?||1.1|length 9 keep>(2 content-length=9)[end][clean]");
    tells_as(HTTP_KIND_RESPONSE, true, TEXT("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), "<|200|?||1.1|length -1 chunked keep>(3 transfer-encoding=chunked)[end][clean]");
}

TEST(interim_answers_are_skipped_up_to_a_bound)
{
#define INTERIM "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
#define FINAL "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    const char *told = "<|200|?||1.1|length 2 keep>(2 content-length=2)hi[end][clean]";
    response_tells(INTERIM FINAL, told);
    response_tells(INTERIM INTERIM INTERIM INTERIM FINAL, told);
    response_tells(INTERIM INTERIM INTERIM INTERIM "HTTP/1.1 100 Continue\r\n\r\n" FINAL, "[PROTOCOL: There are too many interim (1xx) answers.]");
    response_tells(INTERIM, "[RESET: The connection was closed before the message was complete.]");
}

static const struct pair response_pairs[] = {
    PAIR("HTTP/1.1 101 S\r\n\r\n", "[PROTOCOL: The answer switches", "HTTP/1.1 201 S\r\n\r\n"),
    PAIR("HTTP/1.1 099 S\r\n\r\n", "[PROTOCOL: The answer's status is below 100", "HTTP/1.1 299 S\r\n\r\n"),
    PAIR("HTTP/2.0 200 OK\r\n\r\n", "[PROTOCOL: The HTTP version", "HTTP/1.0 200 OK\r\n\r\n"),
    PAIR("HTTP/1.1 20 OK\r\n\r\n", "[PROTOCOL", "HTTP/1.1 200 OK\r\n\r\n"),
    PAIR("HTTP/1.1 2000 OK\r\n\r\n", "[PROTOCOL", "HTTP/1.1 200 OK\r\n\r\n"),
    PAIR("HTTP/1.1 200 OK\n\r\n", "[PROTOCOL", "HTTP/1.1 200 OK\r\n\r\n"),
    PAIR("HTTP/1.1 200 OK\r\nContent-Length: 02\r\n\r\nhi", "[PROTOCOL: Content-Length has leading", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    PAIR("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", "hi[RESET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    PAIR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunke\r\n\r\n0\r\n\r\n", "[PROTOCOL: Transfer-Encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    PAIR("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "[PROTOCOL", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    PAIR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ng\r\n\r\n", "[PROTOCOL: A chunk's size", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    PAIR("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\n", "[PROTOCOL", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    PAIR("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "[PROTOCOL: A header value", "HTTP/1.1 200 OK\r\nX: a0b\r\n\r\n"),
};

TEST(each_refused_answer_has_a_twin_that_is_believed)
{
    for (size_t i = 0; i < ARRAY_LEN(response_pairs); i++) {
        const struct pair *p = &response_pairs[i];
        refused(HTTP_KIND_RESPONSE, p->bad, p->says);
        assert_true(differ_in_one_byte(p->bad, p->good));
        accepted(HTTP_KIND_RESPONSE, p->good);
    }
    refused(HTTP_KIND_RESPONSE, TEXT("ICE/1.0 200 OK\r\n\r\n"), "[PROTOCOL: The first line names a protocol other than HTTP.]");
}

TEST(names_are_found_by_id_and_by_text)
{
    for (int id = HEADER_OTHER + 1; id < HEADER_COUNT; id++) {
        assert_int_equal(http_header_id(http_header_name((enum http_header_id)id)), id);
        char other[64]; /* a twin that differs in its last byte is no row */
        struct text name = http_header_name((enum http_header_id)id);
        memcpy(other, name.at, name.len);
        other[name.len - 1] ^= 1;
        assert_int_equal(http_header_id((struct text){ other, name.len }), HEADER_OTHER);
    }
    assert_int_equal(http_header_id(TEXT("Host")), HEADER_OTHER); /* lower case only */
    assert_int_equal(http_header_id(TEXT_NONE), HEADER_OTHER);
}

TEST(a_head_answers_what_was_sent_how_often_and_in_lists)
{
    struct arena a;
    struct http_parser p;
    struct http_event e;
    size_t eaten;
    arena_init(&a, NULL, 0, ARENA_NO_MAX);
    http_parser_init(&p, HTTP_KIND_REQUEST, &limits);
    http_parser_begin(&p, &a);
    assert_int_equal(http_parse(&p, TEXT(REQ "Accept: \r\nAuthorization: x\r\nX-Own: 1\r\nauthorization: y\r\nConnection: a ,\tB\r\nConnection: c\r\n\r\n"), &eaten, &e), OK);
    assert_int_equal(e.kind, HTTP_GOT_HEAD);
    const struct http_head *h = p.head;
    assert_true(text_eq(http_head_get(h, HEADER_AUTHORIZATION), TEXT("x")));
    assert_int_equal(http_head_times(h, HEADER_AUTHORIZATION), 2);
    assert_int_equal(http_head_times(h, HEADER_X_API_KEY), 0);
    assert_true(http_head_has(h, HEADER_ACCEPT));
    assert_non_null(http_head_get(h, HEADER_ACCEPT).at);
    assert_null(http_head_get(h, HEADER_X_API_KEY).at);
    assert_true(text_eq(http_head_find(h, TEXT("x-own")), TEXT("1")));
    assert_null(http_head_find(h, TEXT("x-owm")).at);
    assert_true(http_head_lists(h, HEADER_CONNECTION, TEXT("a")) && http_head_lists(h, HEADER_CONNECTION, TEXT("b")) && http_head_lists(h, HEADER_CONNECTION, TEXT("c")));
    assert_false(http_head_lists(h, HEADER_CONNECTION, TEXT("d")));
    assert_true(http_header_is_hop(HEADER_CONNECTION));
    assert_false(http_header_is_hop(HEADER_CONTENT_TYPE));
    arena_fini(&a);
}

TEST(each_reason_we_reword_is_one_that_llhttp_has)
{
    static char source[1u << 20];
    FILE *f = fopen("build/deps/llhttp/llhttp.c", "r"); /* units run from the top of the tree */
    assert_non_null(f);
    source[fread(source, 1, sizeof(source) - 1, f)] = '\0';
    fclose(f);
    static const char *const reasons[] = {
#define LLHTTP(reason, number, fail, sentence) reason,
#include "net/http_refuse.def"
#undef LLHTTP
    };
    for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
        char quoted[128];
        snprintf(quoted, sizeof(quoted), "state->reason = \"%s\"", reasons[i]);
        if (strstr(source, quoted) == NULL)
            fail_msg("llhttp has no such reason: %s", reasons[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_refused_request_has_a_twin_that_is_served),
        cmocka_unit_test(what_is_wrong_in_more_than_a_byte_is_refused_too),
        cmocka_unit_test(a_request_is_told_with_all_its_parts),
        cmocka_unit_test(a_chunked_body_loses_its_frames_and_trailers),
        cmocka_unit_test(requests_in_one_input_are_told_one_after_the_other),
        cmocka_unit_test(http_1_0_closes_unless_asked_and_has_no_interim_answers),
        cmocka_unit_test(expect_and_upgrade_are_told_and_change_no_framing),
        cmocka_unit_test(a_cut_request_is_told_from_a_clean_end),
        cmocka_unit_test(every_limit_is_exact),
        cmocka_unit_test(without_memory_a_head_fails_cleanly_wherever_it_runs_out),
        cmocka_unit_test(an_answer_is_told_by_each_of_its_framings),
        cmocka_unit_test(interim_answers_are_skipped_up_to_a_bound),
        cmocka_unit_test(each_refused_answer_has_a_twin_that_is_believed),
        cmocka_unit_test(names_are_found_by_id_and_by_text),
        cmocka_unit_test(a_head_answers_what_was_sent_how_often_and_in_lists),
        cmocka_unit_test(each_reason_we_reword_is_one_that_llhttp_has),
    };
    return cmocka_run_group_tests_name("net_http_parse", tests, NULL, NULL);
}
