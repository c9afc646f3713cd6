/* backend_reading.h: what a strict reader with a clock makes of all the bytes of a backend's connection: the one thing that its client may be told.
   backend_call.c holds it against what the client was told. Shares the framing (http_parse, sse, each with a target of its own) with weir, and no decision. */
#ifndef WEIR_TESTS_BACKEND_READING_H
#define WEIR_TESTS_BACKEND_READING_H

#include "fuzz/fuzz.h"
#include "net/http_parse.h"

/* The ways an honest client asks. */
enum ask { ASK_PLAIN, ASK_STREAM, ASK_STREAM_OLD, ASK_COUNT }; /* OLD: in HTTP/1.0, where only a reset tells a cut from an end */

struct backend_play {
    struct text bytes;
    struct cutter cut; /* into pieces, each of which arrives by itself */
    bool slow;         /* they come so slowly that time-outs matter */
    bool closes;       /* says FIN after them, else stays and says nothing */
    enum ask ask;
};

struct due {
    enum { DUE_FAILURE, DUE_BODY, DUE_EVENTS } kind;
    int status;        /* of a failure: 502, or 504 where time ran out; of a body: the backend's */
    bool is_whole;     /* has its regular end */
    bool is_withheld;  /* DUE_BODY: weir's own words instead of it, because the key stands in it */
    struct buf said;   /* the body, or what events_note wrote of each event */
};

void due_read(struct due *due, const struct backend_play *play);
void due_fini(struct due *due);

/* One message from `in`, read to its end. */
struct message {
    bool has_head, is_broken, is_whole; /* is_whole: it had its regular end */
    int status;
    struct text type, coding;
    struct buf body;
    struct text rest; /* behind it */
    struct http_parser parser;
};
void message_begin(struct message *m, struct arena *arena);
void message_feed(struct message *m, struct text in);
void message_eof(struct message *m);

/* An event as a line of its own, whatever way it is written: events compare as text. */
void event_note(struct buf *out, struct text name, struct text data);

/* Does half of the backend's key stand in a text, as it is or in JSON's escapes? */
bool tells_key(struct text said);

#endif
