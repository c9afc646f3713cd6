/* call.h: one request of a load test: over a kept or new connection, its answer read as its API has it. Called by load.c's users. */
#ifndef WEIR_CALL_H
#define WEIR_CALL_H

#include "bench/load.h"
#include "net/http_client.h"
#include "net/sse.h"

#define CALL_ANSWER_MAX (64u << 20) /* bytes of one answer that is kept to be read: the mock's largest has 10 MB */

#define CALL_ROOM_BYTES (256u << 10) /* trees of JSON up to some 20 KB of text; larger ones take blocks of their own */

/* A worker's connections to the target. */
struct call_pool {
    struct worker *worker;
    const struct load_target *target;
    bool new_connections;        /* none is kept */
    uint32_t next_address;
    char host[256];              /* of the certificate: the target's without its port */
    struct list idle;            /* the one that was used last goes first, so what is not needed grows old and is closed by the server */
    struct tls_session session;
    int error;                   /* why the last handshake failed, for wire_error_text; 0: it did not */
    char *room;                  /* for trees of JSON: reading one never waits, so one place serves all */
};
MUSTUSE enum fail call_pool_init(struct call_pool *p, struct worker *w, const struct load_target *target, bool new_connections); /* FAIL_NO_MEMORY */
void call_pool_fini(struct call_pool *p); /* closes what is idle; nothing may be in flight */

/* How an answer is read. */
enum reading_kind { READING_BYTES, READING_JSON, READING_EVENTS, READING_LINES };

/* What an answer has said so far. */
struct reading {
    enum reading_kind kind;
    enum load_api api;
    bool keeps_text;             /* the script wants to hear it */
    bool leaves;                 /* at the first piece of content */
    bool wants_events;           /* they were asked for and something else came */
    bool is_model;               /* it has a place for tokens, so it must have some */
    bool has_content, is_done;   /* a token has come; the end mark has */
    enum tally_outcome outcome;  /* of the body: OK until something else was found */
    nanos last_piece;
    struct worker *worker;
    struct call_pool *pool;
    struct tally *tally;         /* gets the spans between pieces of content; NULL: nobody does */
    struct sample *sample;
    struct sse_reader events;
    struct buf body;             /* READING_JSON: all of it; READING_LINES: a line that is not whole yet */
    struct buf text;             /* what the answer said */
};
/* A conn_sink: one slice of the body. Any failure but FAIL_NO_MEMORY only ends the reading, and r->outcome says why. In call_read.c, as the next. */
MUSTUSE enum fail reading_feed(void *reading, struct text bytes);
/* The body is whole. FAIL_NO_MEMORY; anything else is in r->outcome. */
MUSTUSE enum fail reading_end(struct reading *r);

/* A user's memory for its calls, used again and again. */
struct caller {
    char first[2048];            /* of an answer's head */
    struct buf head;
    struct reading reading;
};
void caller_init(struct caller *c);
void caller_fini(struct caller *c);

/* Makes the call, and fills in s from sent to bytes_out. OK: s->outcome says what came of it. Else why the user must end: FAIL_CANCELLED, or FAIL_NO_DESCRIPTORS and
   FAIL_NO_MEMORY of the generator. tally may be NULL: spans between tokens are then not counted. The answer's text is in c->reading.text if the script wanted it. */
MUSTUSE enum fail call_make(struct task *t, struct call_pool *p, struct caller *c, const struct script_call *what, nanos deadline, struct tally *tally, struct sample *s);

#endif
