/* flight.h: an answer on its way: one producer task that owns the attempts, an append-only list of chunks, and readers.
   path/ starts and reads it; upstream's producer fills it. Producer and readers are tasks of one worker; joins.h carries an answer to other workers.

     state     who moves it on                           a reader sees
     WAITING   flight_commit (first content), _end       nothing yet
     OPEN      flight_append*, flight_end                head, then chunks
     ENDED     nobody                                    the rest, then flight->fail

   The last reader's leaving cancels the producer. The producer reads ahead up to buffer_max bytes, then waits for its reader.

   A flight has one reader, which frees what it has read, or is shared: several read at their own pace. Then
     kept      all of it lies there from its first byte, and new readers may come, until it has buffer_max bytes
     not kept  what everybody has read goes. Who is half of buffer_max behind the fastest when the producer has waited for timeouts.write is dropped, so
               that one who does not read holds the others for so long at most */
#ifndef WEIR_FLIGHT_H
#define WEIR_FLIGHT_H

#include "base/account.h"
#include "base/mem.h"
#include "run/wait.h"

#define FLIGHT_MAGIC 0xf1167000u
#define FLIGHT_ATTEMPTS_MAX 6 /* gRPC's limit is 5; every backend of a pool once, in any pool worth its name */

/* Where its producer stands while it waits for its turn. */
struct flight_place {
    uint32_t position;  /* 0: it does not wait, or nobody knows yet */
    nanos wait;         /* about so long; 0: nobody knows */
};

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

struct join;

/* Who of those that read one answer pays for it: the first, and when it leaves before the end whoever leaves next, for what was used since. So it is paid once,
   and who asks twice and hangs up the first does not have it for nothing. */
struct flight_bill {
    _Atomic unsigned holders;  /* flights, of several workers */
    _Atomic bool is_open;      /* the last payer has left, and there was more to come */
    int64_t prompt, answer;    /* tokens paid so far; the payer's to read and write */
};

struct flight {
    uint32_t magic;
    struct hangar *hangar;
    unsigned holders;             /* who made it, producer and readers; the last one out frees */
    unsigned readers;             /* but for those who were dropped */
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
    bool is_unfit;                /* not to be told again: refused, cut, unfinished, with a hole, an error in disguise, or odd in its form */
    struct text usage_event;      /* of a stream: the event with usage alone as it goes out, whether or not the client wants it; at == NULL: none came */
    bool backlog_grows;           /* nobody was asked, as more and more wait: coming back soon makes it worse */
    bool is_hopeless;             /* every attempt failed for what no retry changes: our key there, its models, where it sends us */

    struct flight_chunk *first, *last;
    uint32_t taken;               /* bytes of the first chunk that were read */
    size_t unread;                /* bytes appended and not yet taken */
    size_t buffer_max;
    struct task *waits_for_room;  /* the producer, or a child of it; NULL = none */
    bool is_shared, is_kept;      /* see above; of a shared one: */
    struct worker *worker;
    struct list reading;          /* struct flight_reader, those who are not dropped */
    size_t bytes, freed;          /* appended since the beginning; of these in chunks that are gone */
    nanos full_since;             /* when it had no room; 0 = never, or readers have caught up */
    nanos late_ns;                /* readers may hold it up for so long: timeouts.write */
    struct turn_end turn;         /* what happened in a turn, for producer and other workers */
    unsigned urgency;             /* the highest of its readers' so far */
    void (*on_urgency)(struct flight *f); /* it has risen: the producer may be in a queue; NULL: nobody cares */
    void *urgency_arg;            /* on_urgency's */
    struct flight_place place;
    struct flight_bill *bill;     /* NULL: its reader pays */
    struct join *join;            /* by which others find it, and other workers read it; NULL: nobody does */
    struct arena arena;           /* what must live as long as the producer: the call, heads, sentences */

    unsigned attempt_count;
    int64_t prompt_tokens, completion_tokens; /* -1 = not said */
    uint32_t pieces;              /* events with content: about a token each */
    nanos first_upstream_byte_out; /* by the exact clock, for overhead */
    nanos first_upstream_byte_in;  /* when the turn began in which it came: to wait for others of that turn is overhead, too */
    struct attempt_story attempts[FLIGHT_ATTEMPTS_MAX]; /* from here on zeroed only as used */
    char block[5632];             /* the arena's first: most calls fit */
};

/* Says why an attempt failed; the first to know is believed. */
void attempt_because(struct flight *f, struct attempt_story *a, const char *format, ...) PRINTF(3, 4);

/* Where a worker's flights and their usual chunks come from: what was used last is still in the processor's cache. */
struct hangar {
    struct slab flights, chunks, joins;
};
void hangar_init(struct hangar *h);
void hangar_fini(struct hangar *h); /* every flight must have ended */

/* Held by the caller. NULL when out of memory. */
struct flight *flight_new(struct hangar *h, size_t buffer_max) MUSTUSE;
/* Before anything else: several may read it, tasks of w. */
void flight_share(struct flight *f, struct worker *w, nanos late_ns);
void flight_let_go(struct flight *f);
/* One who reads it, or will, is so urgent. On its worker. */
void flight_urge(struct flight *f, unsigned urgency);
/* The producer tells its readers where it stands. */
void flight_stands(struct flight *f, struct flight_place place);

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
/* Before it is committed: the beginning of what was written; that all becomes one piece (FAIL_NO_MEMORY); it is forgotten. */
struct text flight_peek(const struct flight *f);
MUSTUSE enum fail flight_gather(struct flight *f);
void flight_forget(struct flight *f);
MUSTUSE enum fail flight_wait_room(struct task *producer, struct flight *f);
/* Ends it, with `fail` and, unless OK, a sentence; then lets go of it. */
void flight_end(struct flight *f, enum fail fail);
void flight_producer_leaves(struct flight *f);
/* What has been written into `from` replaces what has been written here. Both are WAITING and of one hangar. */
void flight_adopt(struct flight *f, struct flight *from);

/* ---- a reader ---- */

/* One of its readers' places. The caller's memory. */
struct flight_reader {
    struct flight *flight;    /* NULL: none */
    struct node node;         /* of a shared flight: among those who read it */
    struct flight_chunk *at;  /* where it reads; NULL: at the beginning */
    uint32_t taken;           /* bytes of that chunk */
    size_t read;              /* bytes in all */
    bool pays;                /* it leads */
    bool is_dropped;          /* it was behind, and what it had not read is gone */
};
void flight_reader_begins(struct flight *f, struct flight_reader *r);
/* Waits until something can be read, the head is there (want_head), it ended, or the reader was dropped. FAIL_TIMEOUT at deadline, or why the reader was
   cancelled. */
MUSTUSE enum fail flight_wait(struct task *t, struct flight_reader *r, bool want_head, nanos deadline);
/* Whose answer it is; until one has begun, who was asked last; at == NULL: nobody was. */
struct text flight_backend(const struct flight *f);
/* The next bytes, empty if there are none now. Valid until flight_took, or until the reader waits for anything. */
struct text flight_next(struct flight_reader *r);
void flight_took(struct flight_reader *r, size_t bytes);
/* It has ended, and all of it was taken. */
bool flight_is_read(const struct flight_reader *r);
/* It has ended, and all of it that is left is what flight_next says. */
bool flight_is_whole(struct flight_reader *r);
/* Does it pay? Asked once, when it leaves; then flight_pay, with the tokens that the answer took so far, of which those that are not paid yet stay. */
bool flight_pays(struct flight_reader *r);
void flight_pay(struct flight_reader *r, int64_t *prompt, int64_t *answer);
void flight_reader_leaves(struct flight_reader *r);

/* All that was written into a flight that has ended, in order along `next`, from its first byte; NULL if it is not kept: it is not shared, or was longer than
   buffer_max. */
const struct flight_chunk *flight_chunks(const struct flight *f);

#endif
