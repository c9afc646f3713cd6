/* sse.h: server-sent events (WHATWG HTML, section 9.2): a reader for upstream answers, a writer for ours.
   Bytes are only cut at line ends and joined again, never looked into, so a UTF-8 character split over two inputs is no matter here. */
#ifndef WEIR_SSE_H
#define WEIR_SSE_H

#include "base/buf.h"

struct sse_event {
    bool found;       /* false: all input eaten, no event complete */
    struct text name; /* the event field; empty for none */
    struct text data; /* data lines joined by LF */
    struct text id;   /* the id field of this event; at == NULL for none */
    int64_t retry_ms; /* the retry field; -1 for none */
};

/* One field of the event under way: a slice of the input while that lasts, kept in memory of our own past it. */
struct sse_field {
    struct text now;
    struct buf kept;
};

struct sse_reader {
    struct buf line;  /* a line that the end of an input cut */
    struct sse_field name, data, id;
    int64_t retry_ms;
    size_t line_max;
    bool has_data;
    bool is_told;     /* the event was handed out: forget it at the next call */
    bool skip_lf;     /* the last byte was CR: a LF now belongs to it */
    bool is_first;    /* no line yet: a byte order mark may come */
};

/* line_max bounds one line, and one event's data. Holds no memory while every event comes whole in one input. */
void sse_reader_init(struct sse_reader *r, size_t line_max);
void sse_reader_fini(struct sse_reader *r);
/* Eats up to the end of one event. in[0..eaten) are then its bytes as they came (with comments before it), for a relay that passes them on.
   The event's text is valid until the next call, or as long as `in` is. An event without data is none (as the standard has it).
   FAIL_TOO_LARGE past line_max, FAIL_NO_MEMORY; feed no more after a failure. */
MUSTUSE enum fail sse_feed(struct sse_reader *r, struct text in, size_t *out_eaten, struct sse_event *out_event);
/* At the end of input: false if an event or a line had begun, so the stream was cut. */
bool sse_is_clean_end(const struct sse_reader *r);

/* Writes one event; name may be empty. Each line of data (LF, CR or CRLF) becomes a data field.
   FAIL_BAD_FIELD for a line end in name. Fails whole or not at all; FAIL_TOO_LARGE and FAIL_NO_MEMORY are the buf's. */
MUSTUSE enum fail sse_write(struct buf *b, struct text name, struct text data);
/* The same with id (no NUL: readers would drop it) and retry: the inverse of sse_feed. */
MUSTUSE enum fail sse_write_event(struct buf *b, const struct sse_event *e);
/* ": text", a comment: a heartbeat that clients ignore. FAIL_BAD_FIELD for a line end in it. */
MUSTUSE enum fail sse_write_comment(struct buf *b, struct text comment);

#endif
