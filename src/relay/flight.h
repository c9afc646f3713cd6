/* flight.h: an answer on its way: one producer task that owns the attempts, an append-only list of chunks, and readers.
   path/ starts and reads it; upstream's producer fills it. Producer and readers are tasks of one worker.

     state     who moves it on                           a reader sees
     WAITING   flight_commit (first content), _end       nothing yet
     OPEN      flight_append*, flight_end                head, then chunks
     ENDED     nobody                                    the rest, then flight->fail

   The last reader's leaving cancels the producer. The producer reads ahead up to buffer_max bytes, then waits for its reader. */
#ifndef WEIR_FLIGHT_H
#define WEIR_FLIGHT_H

#include "base/account.h"
#include "base/mem.h"
#include "run/wait.h"

#define FLIGHT_MAGIC 0xf1167000u
#define FLIGHT_ATTEMPTS_MAX 6 /* gRPC's limit is 5; every backend of a pool once, in any pool worth its name */

enum flight_state { FLIGHT_WAITING, FLIGHT_OPEN, FLIGHT_ENDED };

/* One try at one backend, for headers, logs and `weir explain`. */
struct attempt_story {
    const char *backend; /* its name, which lives as long as the fleet */
    enum fail fail;    /* OK: its answer was used */
    int status;        /* 0: no answer */
    const char *why;   /* a sentence when it failed, in the flight's arena; "" = none yet */
    nanos began, connected, first_byte, first_token, ended; /* worker's clock; 0 = not reached */
    nanos queued;
    nanos paused;      /* waited before it, so as not to ask again too soon */
    nanos retry_after; /* what it said; -1 = nothing */
    const char *breaker; /* "" or what it had to do with its backend's: "probe", "opened" */
    const char *hedge; /* "" or what came of two that were asked at the same time: "asked" (the second of two that failed), "won", "lost" */
    bool reused;       /* an idle connection was used */
};

struct flight_chunk {
    struct flight_chunk *next;
    uint32_t len, room;
    char bytes[];
};

struct flight {
    uint32_t magic;
    struct hangar *hangar;
    unsigned holders;             /* producer and readers; the last one out frees */
    unsigned readers;
    struct task *producer;        /* NULL once it has ended */
    struct list waiting_readers;  /* tasks */
    enum flight_state state;
    enum fail fail;               /* how it ended; OK = whole */
    const char *fail_text;        /* a sentence for the client when it failed, in the arena */

    int status;                   /* of the answer, from OPEN on */
    bool is_stream;               /* events follow as they come; else one JSON body, whole when OPEN unless is_long */
    bool is_long;                 /* a body too long to hold back: length below, -1 unknown */
    int64_t length;
    const char *content_type;     /* of a plain answer */
    nanos retry_after;            /* -1 = none said */
    bool is_checked;              /* it ended whole, and all of it was looked into */
    bool is_unfit;                /* not to be told again: the model has refused, a filter has cut it, or its form is odd */
    struct text usage_event;      /* of a stream: the event with usage alone as it goes out, whether or not the client wants it; at == NULL: none came */
    bool is_hopeless;             /* every attempt failed for what no retry changes: our key there, its models, where it sends us */

    struct flight_chunk *first, *last;
    uint32_t taken;               /* bytes of the first chunk that were read */
    size_t unread;                /* bytes appended and not yet taken */
    size_t buffer_max;
    struct task *waits_for_room;  /* the producer, or a child of it; NULL = none */
    struct arena arena;           /* what must live as long as the producer: the call, heads, sentences */

    unsigned attempt_count;
    int64_t prompt_tokens, completion_tokens; /* -1 = not said */
    uint32_t pieces;              /* events with content: about a token each */
    nanos first_upstream_byte_out, first_upstream_byte_in; /* exact clock readings, for overhead */
    struct attempt_story attempts[FLIGHT_ATTEMPTS_MAX]; /* from here on zeroed only as used */
    char block[2048];             /* the arena's first: most calls fit */
};

/* Says why an attempt failed; the first to know is believed. */
void attempt_because(struct flight *f, struct attempt_story *a, const char *format, ...) PRINTF(3, 4);

/* Where a worker's flights and their usual chunks come from: what was used last is still in the processor's cache. */
struct hangar {
    struct slab flights, chunks;
};
void hangar_init(struct hangar *h);
void hangar_fini(struct hangar *h); /* every flight must have ended */

/* With one reader, the caller. NULL when out of memory. */
struct flight *flight_new(struct hangar *h, size_t buffer_max) MUSTUSE;

/* ---- the producer ---- */
void flight_producer_begins(struct flight *f, struct task *producer);
/* From here on the status is the client's. */
void flight_commit(struct flight *f);
/* FAIL_NO_MEMORY. May pass buffer_max; flight_wait_room is where a producer waits. */
MUSTUSE enum fail flight_append(struct flight *f, struct text bytes);
/* One chunk for a body of this length, so that it stays in one piece. */
MUSTUSE enum fail flight_reserve(struct flight *f, size_t bytes);
/* While memory is short nothing is read ahead of a reader. */
static inline bool flight_has_room(const struct flight *f)
{
    return f->unread < f->buffer_max && (f->unread == 0 || f->state != FLIGHT_OPEN || !account_is_short());
}
/* What lies unread becomes one piece, for flight_peek. FAIL_NO_MEMORY. */
MUSTUSE enum fail flight_join(struct flight *f);
MUSTUSE enum fail flight_wait_room(struct task *producer, struct flight *f);
/* Ends it, with `fail` and, unless OK, a sentence; then lets go of it. */
void flight_end(struct flight *f, enum fail fail);
void flight_producer_leaves(struct flight *f);
/* What has been written into `from` replaces what has been written here. Both are WAITING and of one hangar. */
void flight_adopt(struct flight *f, struct flight *from);

/* ---- a reader ---- */
/* Waits until something can be read, the head is there (want_head), or it ended. FAIL_TIMEOUT at deadline, or why the reader was cancelled. */
MUSTUSE enum fail flight_wait(struct task *reader, struct flight *f, bool want_head, nanos deadline);
/* Whose answer it is; until one has begun, who was asked last; at == NULL: nobody was. */
struct text flight_backend(const struct flight *f);
/* The next bytes, empty if there are none now. Valid until flight_took. */
struct text flight_peek(const struct flight *f);
void flight_took(struct flight *f, size_t bytes);
void flight_reader_leaves(struct flight *f);

#endif
