/* meeting.h: one client and one backend meet at a whole gateway in the simulated world; a fuzz target gives the bytes of one of them.
   Each run has a gateway of its own, and at its end the house asserts that tasks, sockets, slots and memory are back where they were. */
#ifndef WEIR_TESTS_MEETING_H
#define WEIR_TESTS_MEETING_H

#include "fuzz/fuzz.h"
#include "lib/actor.h"
#include "lib/house.h"
#include "net/http_parse.h"

#define MEETING_REQUESTS_MAX 256 /* requests that the backend keeps; an input has no room for more */
#define MEETING_BODY_MAX     4096 /* limits.body, small so that inputs pass it */
#define MEETING_HEAD_MAX     2048 /* limits.header */
#define MEETING_BUFFER       8192 /* stream.buffer, the same; two chunks of a flight */
#define MEETING_KEY          "sk-fuzz-0123456789abcdef" /* the backend's */
#define MEETING_SLOW_LATE    43   /* pieces of a slow backend: this one comes after its time-outs, the one before it in time */
#define MEETING_SLOW_BEAT    15   /* and from this one on a stream has begun with a heartbeat */

/* A request as the backend read it. */
struct meeting_request {
    struct text method, path, id, body; /* id: x-request-id; in the meeting's arena */
};

struct meeting {
    struct house house;
    struct arena arena;
    struct actor listener;
    struct text client;             /* what the client writes */
    nanos client_from;              /* and when it connects */
    struct text backend;            /* what the backend writes to the first request with a body; at == NULL: it is honest from the start */
    bool backend_closes;            /* after `backend` */
    struct text models;             /* what it writes when asked for its models, each time; at == NULL: an honest list of m alone */
    bool backend_slow;              /* 7 ms between two pieces */
    struct cutter client_cuts, backend_cuts;
    const char *again;              /* a second request on the client's connection, when the first has been answered; NULL: none */
    bool may_cut_requests;          /* a request to the backend may be cut: the client said how long it waits */

    struct meeting_request requests[MEETING_REQUESTS_MAX];
    unsigned requests_count;        /* with a body: those for lists of models are not counted */
    struct buf heard, heard_again;  /* by the client: before and after `again` */
    bool finished, broken;          /* the gateway said FIN; or reset the connection */
    bool finished_before;           /* and did so before `again` could be asked */
    bool backend_wrote, client_ended;
    unsigned players;
};

/* Plays until the client has heard nothing for a second and has closed, then ends the house. What must hold and does not, aborts. */
void meeting_run(struct meeting *m);
void meeting_fini(struct meeting *m);

/* How many of the bytes that are left come as one piece. */
size_t meeting_piece(struct cutter *cut, unsigned piece, size_t left);
/* What an honest backend answers to a body, with the head: the answer names the number of the request. */
void meeting_honest_answer(struct buf *out, unsigned number, bool stream);
/* True if the body asks for a stream. */
bool meeting_wants_stream(struct text body);

#endif
