/* http_write.h: writes HTTP/1.1 heads and chunk frames into a buf; serve writes answers with it, upstream requests.
   Every writer measures with the code that writes, and leaves the buf as it was when it fails.
   FAIL_TOO_LARGE and FAIL_NO_MEMORY are the buf's. */
#ifndef WEIR_HTTP_WRITE_H
#define WEIR_HTTP_WRITE_H

#include "base/buf.h"
#include "net/http_head.h"

/* "HTTP/1.minor 200 OK\r\n". An unknown status gets an empty reason. status is 100..999. */
MUSTUSE enum fail http_write_status(struct buf *b, int status, int minor);
/* "POST /v1/chat/completions HTTP/1.1\r\n". FAIL_BAD_REQUEST for a blank, control or 8-bit byte in either. */
MUSTUSE enum fail http_write_request(struct buf *b, struct text method, struct text target);
/* "name: value\r\n". FAIL_BAD_REQUEST if the name is no token or the value holds a control byte other than TAB: this is where header
   injection would happen, so nobody need remember to check. */
MUSTUSE enum fail http_write_header(struct buf *b, struct text name, struct text value);
MUSTUSE enum fail http_write_header_number(struct buf *b, struct text name, int64_t value);
MUSTUSE enum fail http_write_length(struct buf *b, uint64_t body_bytes); /* content-length */
MUSTUSE enum fail http_write_chunked(struct buf *b);                     /* transfer-encoding: chunked */
MUSTUSE enum fail http_write_head_end(struct buf *b);                    /* the empty line */

/* A body in chunks: begin, `bytes` bytes, end, …, last. `bytes` is not 0: that would end the body. */
MUSTUSE enum fail http_write_chunk_begin(struct buf *b, size_t bytes);
MUSTUSE enum fail http_write_chunk_end(struct buf *b);
MUSTUSE enum fail http_write_chunk_last(struct buf *b);
MUSTUSE enum fail http_write_chunk(struct buf *b, struct text data); /* all three at once; nothing at all for no data */

/* The Date header's text, made anew when the second changes. Start from zeroes; one a worker. */
struct http_date {
    int64_t second; /* of text */
    char text[30];  /* "Sun, 06 Nov 1994 08:49:37 GMT" */
};
/* unix_second: 0..253402300799 (the year 9999). */
struct text http_date_at(struct http_date *d, int64_t unix_second);
MUSTUSE enum fail http_write_date(struct buf *b, struct text date);

/* "Not Found" for 404; empty if the number is no row of http_status.def. */
struct text http_reason(int status);

#endif
