/* http_head.h: the head of a request or an answer, as values: what http_parse fills in and every step of the path reads. */
#ifndef WEIR_HTTP_HEAD_H
#define WEIR_HTTP_HEAD_H

#include "base/text.h"

#define HTTP_HEADERS_MAX 100 /* more is 431: SDKs send 10 to 20, nginx and Apache stop near 100 too; fits the uint8_t of `first` */

enum http_method {
    METHOD_OTHER, /* a real method that nothing here serves (PROPFIND, TRACE …): the router's 405 */
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_DELETE,
    METHOD_PATCH,
    METHOD_OPTIONS,
    METHOD_CONNECT, /* never leaves the parser: refused */
};

enum http_header_id {
    HEADER_OTHER = 0,
#define HTTP_NAME(id, name) HEADER_##id,
#include "net/http_names.def"
#undef HTTP_NAME
    HEADER_COUNT
};

struct http_header {
    struct text name;  /* lower-cased */
    struct text value; /* blanks trimmed off both ends; may hold bytes >= 0x80, never a control byte other than TAB */
    uint8_t id;        /* enum http_header_id */
};

/* All text lives in the arena that the parser was given. */
struct http_head {
    enum http_method method;
    struct text method_text;
    struct text target;           /* as it came */
    struct text path;             /* begins with '/', still percent-encoded; "*" for OPTIONS * */
    struct text query;            /* after the first '?'; at == NULL without one */
    struct text host;             /* the Host header (equal to an absolute-form's authority), port included */
    int status;                   /* answers only */
    int minor;                    /* HTTP/1.minor: 0 or 1 */
    int64_t content_length;       /* -1: not stated */
    bool chunked;
    bool keep_alive;              /* the peer is willing to go on after this message */
    bool expect_continue;         /* HTTP/1.1 and Expect: 100-continue */
    bool upgrade;                 /* asks for another protocol; weir answers as if it had not */
    uint8_t count, room;          /* headers[0..count) */
    uint8_t first[HEADER_COUNT];  /* place of the first header with this id, plus 1; 0: none */
    struct http_header *headers;
};

/* The id of a lower-case name; HEADER_OTHER if it is no row of http_names.def. One hash, at most three compares. */
enum http_header_id http_header_id(struct text lower_name);
/* The lower-case name of an id (not HEADER_OTHER). */
struct text http_header_name(enum http_header_id id);

static inline bool http_head_has(const struct http_head *h, enum http_header_id id) { return h->first[id] != 0; }
/* The value of the first header with this id; at == NULL if there is none (an empty value has at != NULL). */
struct text http_head_get(const struct http_head *h, enum http_header_id id);
/* The same by lower-case name, for names without an id. */
struct text http_head_find(const struct http_head *h, struct text lower_name);
/* How often the header occurs: two Authorization headers are a question of whom to believe, so the asker must see it. */
unsigned http_head_times(const struct http_head *h, enum http_header_id id);
/* True if one of the comma-separated words of any header with this id is `lower_word` (case ignored). */
bool http_head_lists(const struct http_head *h, enum http_header_id id, struct text lower_word);
/* True for names that end at this hop (RFC 9110 section 7.6.1) or that this hop writes itself: a relay drops them. */
bool http_header_is_hop(enum http_header_id id);
/* A date of HTTP, in any of its three forms, as seconds of Unix time. False if it is none. */
bool http_date_read(struct text t, int64_t *out_unix_second);

#endif
