/* redis_peer.h: a Redis as tests play it: enough RESP to log in, load scripts and ping, ECHO as a number, and the three scripts of admit/share as plain counters: a key
   lets in as many as its rpm says, for ever, and as many at once as its concurrency says; strings, and the list of drops of cache/shared with its channel. It
   misbehaves as its faults say. Used by tests/sim/test_redis.c and test_shared.c. */
#ifndef WEIR_TESTS_REDIS_PEER_H
#define WEIR_TESTS_REDIS_PEER_H

#include "run/task.h"

#define REDIS_PEER_KEYS     8
#define REDIS_PEER_SESSIONS 256
#define REDIS_PEER_STRINGS  64
#define REDIS_PEER_BYTES    16384 /* of one */
#define REDIS_PEER_LIST     256   /* as cache/shared trims it */

struct redis_peer {
    struct worker *worker;
    struct addr addr;
    uint64_t chance;         /* of its draws */
    unsigned delay, cut, garbage, extra; /* per mille of the commands: answered up to 30 ms late; connection closed instead, or in the middle of the answer; no RESP;
                                            an answer that nobody asked for, when nothing else is asked */
    nanos slow;              /* every answer takes so long */
    bool is_frozen;          /* reads and answers nothing */
    bool is_closed_to_us;    /* refuses every command */
    bool is_gone;            /* and is to end; set by the test */
    unsigned connections;    /* open now, and the listener */
    unsigned taken, settled, refused, noted;
    struct { char name[80]; int64_t let_in, at_once; } keys[REDIS_PEER_KEYS];
    unsigned key_count;
    struct { char id[16]; int64_t held; bool is_open; } sessions[REDIS_PEER_SESSIONS]; /* of connections that have taken something; held: requests in flight */
    unsigned session_count;
    struct { char name[80]; char *bytes; size_t len; nanos until; } strings[REDIS_PEER_STRINGS];
    unsigned string_count, connections_most;
    struct { char bytes[128]; size_t len; } list[REDIS_PEER_LIST]; /* newest first */
    unsigned list_count, published;
};

/* Starts it on its worker: set worker, addr and chance first. */
void redis_peer_start(struct redis_peer *p);
/* Nothing is left of what was kept in it, as after FLUSHALL. */
void redis_peer_flush(struct redis_peer *p);
/* Thaws it, and waits until its tasks have seen that it is gone. In a task of its worker. */
void redis_peer_stop(struct task *t, struct redis_peer *p);

#endif
