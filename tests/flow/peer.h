/* peer.h: one end of a connection as a script sees it: bytes out, and HTTP messages in, read by a parser of its own so that it shares no mistake
   with what it tests. Used by play.c. */
#ifndef WEIR_TESTS_FLOW_PEER_H
#define WEIR_TESTS_FLOW_PEER_H

#include "base/buf.h"
#include "lib/actor.h"

#define PEER_HEADERS_MAX 64

struct peer_header {
    struct text name, value;
};

enum peer_framing { NO_BODY, COUNTED, CHUNKED, TO_CLOSE };

struct peer {
    struct actor sock;
    bool is_open;
    bool finished, broken;     /* the other end has; by FIN, by RST */
    struct buf in;             /* came and was not looked at */
    struct arena arena;        /* of the head */
    bool has_head, whole;      /* a message has begun; its body has come to its regular end */
    struct text start;         /* its first line */
    struct peer_header headers[PEER_HEADERS_MAX];
    unsigned header_count;
    enum peer_framing framing;
    uint64_t left;             /* of a counted body or of the chunk under way */
    bool chunk_open;
    struct buf body;           /* decoded, and not eaten by a act */
    const char *wrong;         /* after FAIL_PROTOCOL */
};

void peer_init(struct peer *p);
/* Closes if it is open, frees. */
void peer_fini(struct peer *p);
void peer_close(struct peer *p, bool reset);
/* More bytes, or finished. FAIL_TIMEOUT, or why the task must end. */
MUSTUSE enum fail peer_fill(struct task *t, struct peer *p, nanos deadline);
/* The next message's head. FAIL_RESET: the connection ended before one was whole. answers_head: an answer to HEAD, which has no body. FAIL_PROTOCOL. */
MUSTUSE enum fail peer_head(struct task *t, struct peer *p, bool answers_head, nanos deadline);
/* Moves what is there of the body into p->body. FAIL_PROTOCOL. */
MUSTUSE enum fail peer_decode(struct peer *p);
/* Value of the header, NULL at if there is none. */
struct text peer_header_get(const struct peer *p, struct text name);

#endif
