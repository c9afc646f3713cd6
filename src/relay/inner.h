/* inner.h: what the files of relay/ know of each other. */
#ifndef WEIR_RELAY_INNER_H
#define WEIR_RELAY_INNER_H

#include "relay/joins.h"
#include "run/gate.h"

/* flight.c */
void flight_drop_first(struct flight *f); /* chunk */
void flight_free(struct flight *f);       /* nobody of its own worker holds it; it goes when no other does either */

/* share.c: of shared ones, but for the first */
bool flight_look_for_room(struct flight *f);
void flight_changed(struct flight *f);    /* when the turn ends its producer and other workers hear of it; nothing happens if it is not shared */
void flight_drop_late(struct flight *f);  /* whoever is far behind the fastest */
void flight_unread(struct flight *f);     /* no reader of its own worker is left: cancels its producer, unless others read it */
void flight_link_left(struct flight *f);  /* another worker reads it no more */
void flight_bill_let_go(struct flight_bill *b);  /* takes NULL */

/* What readers know of a flight, as of the end of a turn. */
struct told {
    enum flight_state state;
    enum fail fail;
    int status;
    bool is_stream, is_long, is_hopeless, backlog_grows, is_checked, is_unfit;
    struct text usage_event;
    int64_t length;
    const char *content_type, *fail_text;
    nanos retry_after, first_upstream_byte_out, first_upstream_byte_in;
    int64_t prompt_tokens, completion_tokens;
    uint32_t pieces;
    struct flight_place place;
    size_t bytes;
    struct flight_chunk *first, *last; /* last may be written on behind last_len; those before it are as they stay */
    uint32_t last_len;
    unsigned attempt_count;
    struct attempt_story attempts[FLIGHT_ATTEMPTS_MAX]; /* zeroed only as used */
};

#define BUCKETS 64 /* a shard: a thousand flights in all have their own */

struct shard {
    struct gate gate;
    struct join *bucket[BUCKETS];
    unsigned count;
};

/* A flight that can be found, or that other workers still read. Its flight's worker frees it. */
struct join {
    struct join *next;         /* in its bucket */
    struct shard *shard;
    struct worker *home;
    struct hangar *hangar;     /* home's, where it was taken */
    struct flight *flight;     /* home's alone */
    struct flight_bill *bill;  /* its flight holds it */
    uint64_t hash;
    uint8_t id[JOIN_ID_BYTES];
    bool is_open;              /* from here on changed under the gate, this by home alone */
    bool was_unread;           /* when it was closed no other worker read it: none ever will */
    bool is_full;              /* home's producer waits for readers */
    struct join_link *links;
    struct told told;
};

/* Another worker's way to it. */
struct join_link {
    struct join_link *next;
    struct join *join;         /* NULL: it never was one. Gone when is_over says so */
    struct shard *shard;
    struct worker *home, *worker;
    struct task *task;         /* echo(); from here on the worker's own */
    struct flight *flight;
    struct flight_chunk *at;   /* of home's */
    uint32_t taken;
    size_t done;               /* bytes copied */
    size_t read;               /* from here on under the gate: bytes that home may forget */
    unsigned urgency;          /* the highest of this worker's readers' */
    bool to_worker, to_home;   /* a letter is under way */
    bool is_dropped, has_left, is_over;
};

/* joins.c: on the worker whose flight it is */
void join_close(struct join *j);          /* takes no more readers */
MUSTUSE bool join_close_unread(struct join *j); /* the same, if no other worker reads it */
MUSTUSE bool join_free(struct join *j);   /* true: it is gone; false: another worker reads it, and flight_link_left will follow */

/* links.c: the same */
void join_publish(struct join *j);        /* tells the other workers how far it is */
void join_progress(struct join *j, size_t *slowest, size_t *fastest); /* of other workers, into what is there */
void join_drop(struct join *j, size_t below); /* other workers that have read so little */
/* On the other worker: a link with its task and flight, which is held once for the caller. Its task ends if it is not entered into a join within this turn.
   FAIL_NO_MEMORY, FAIL_BUSY. */
MUSTUSE enum fail link_new(struct worker *w, struct worker *home, const struct join_ask *ask, struct join_link **out);
void link_look(struct join_link *l);      /* home hears of it; to_home was false, and is true now */

#endif
