/* http_parse.h: an incremental HTTP/1.1 reader for requests and answers: llhttp for the grammar, http_refuse.def for what llhttp lets pass.
   No sockets: bytes in, events out. serve's and upstream's connections own one each.

     state     takes                                 leaves by
     IDLE      nothing                               http_parser_begin → BLANK
     BLANK     empty lines before a message          its first byte → HEAD
     HEAD      start line and headers                empty line: HTTP_GOT_HEAD → LINE if chunked, else PLAIN (interim 1xx: BLANK, no event)
     PLAIN     a body by length or until close       its end: HTTP_GOT_END → IDLE
     LINE      a chunk's size line (and the line     its end → DATA, or TRAILERS after size 0
               end of the chunk before)
     DATA      a chunk's bytes                       last one → LINE
     TRAILERS  trailer section                       empty line: HTTP_GOT_END → IDLE
     BROKEN    nothing: where the next message       http_parser_init; the connection can only be closed
               starts is anyone's guess
 */
#ifndef WEIR_HTTP_PARSE_H
#define WEIR_HTTP_PARSE_H

#include <llhttp.h>

#include "base/mem.h"
#include "net/http_head.h"

#define HTTP_CHUNK_LINE_MAX 1024 /* one chunk-size line with its extensions, which nobody we know sends */
#define HTTP_CHUNK_EXT_MAX  4096 /* extensions of a whole body: per line alone, each body byte could cost 1 KiB (CVE-2023-39326) */
#define HTTP_TRAILERS_MAX   4096 /* trailer section; read past, never merged (RFC 9110 section 6.5.1); one that names a length or coding is refused */
#define HTTP_INTERIM_MAX    8    /* 1xx answers before the real one; HOSTILE 78 "1xx storm" */
#define HTTP_NAME_MAX       128  /* bytes of a header name; the longest registered one has 48 */
#define HTTP_METHOD_MAX     32   /* bytes of a method */

enum http_kind { HTTP_KIND_REQUEST, HTTP_KIND_RESPONSE };

struct http_parse_limits {
    uint32_t head_bytes_max;   /* start line to empty line, as on the wire */
    uint32_t target_bytes_max;
    uint32_t headers_max;      /* <= HTTP_HEADERS_MAX */
};

enum http_event_kind { /* GOT_ because llhttp owns the name HTTP_HEAD */
    HTTP_NEED_MORE,    /* all input eaten, nothing to tell */
    HTTP_GOT_HEAD,     /* p->head is complete and has passed every check */
    HTTP_GOT_BODY,     /* event.body: a slice of the input, de-chunked */
    HTTP_GOT_END,      /* the message is complete; later bytes stay uneaten */
};

struct http_event {
    enum http_event_kind kind;
    struct text body;
};

struct http_parser {
    llhttp_t ll;
    struct http_parse_limits limits;
    struct arena *arena;     /* the message's; NULL while IDLE */
    struct http_head *head;  /* in the arena; valid from HTTP_GOT_HEAD until the arena goes */
    const char *why;         /* after a failure: a static sentence for the peer */
    char *word;              /* the target, name or value being collected */
    uint32_t word_len, word_room;
    uint32_t taken;          /* bytes of the current head, chunk line or trailer section so far */
    uint32_t line_from;      /* `taken` before the start line: empty lines may precede it */
    uint32_t block_bytes;    /* what the next block of words should hold */
    uint32_t ext_bytes;      /* chunk extensions of this body */
    struct text name;        /* of the header whose value is being collected */
    struct text body;        /* the slice that the next HTTP_GOT_BODY tells */
    uint8_t kind, state, pending, fail;
    uint8_t interims;        /* 1xx answers skipped before this one */
    bool blank_cr;           /* BLANK: a CR came, its LF not yet */
    bool line_done;          /* the start line's part that has a limit of its own is over */
    bool answers_head;
    bool is_foreign;         /* RTSP or ICE, which llhttp reads too */
    bool until_close;        /* an answer that ends when the peer closes */
};

/* Holds no memory until a message begins. */
void http_parser_init(struct http_parser *p, enum http_kind kind, const struct http_parse_limits *limits);
/* Before the first byte of each message: from here the head is collected in `arena`, which must outlive the use of p->head.
   The parser must be fresh or have said HTTP_GOT_END. */
void http_parser_begin(struct http_parser *p, struct arena *arena);
/* After begin: the answer to come is one to HEAD, so it has no body whatever its headers say. */
void http_parser_answers_head(struct http_parser *p);
/* True between messages: no byte of the next one has come. */
bool http_parser_is_idle(const struct http_parser *p);

/* Reads on, and returns after at most one event; call again with what is left, empty input too, until HTTP_NEED_MORE or HTTP_GOT_END.
   Requests: FAIL_BAD_REQUEST, FAIL_URL_TOO_LONG, FAIL_EXPECTATION, FAIL_HEADERS_TOO_LARGE, FAIL_NOT_IMPLEMENTED, FAIL_BAD_VERSION;
   answers: FAIL_PROTOCOL; both: FAIL_NO_MEMORY.
   p->why says what was wrong. After a failure the connection can only be closed. *out_eaten is set then too: callers step over it first. */
MUSTUSE enum fail http_parse(struct http_parser *p, struct text in, size_t *out_eaten, struct http_event *out_event);
/* The peer will send no more. HTTP_GOT_END: a body that ends by close is complete. HTTP_NEED_MORE: a clean end between messages.
   FAIL_RESET: the message was cut. Call http_parse until HTTP_NEED_MORE first. */
MUSTUSE enum fail http_parse_eof(struct http_parser *p, struct http_event *out_event);

#endif
