/* redis.h: one connection to a Redis: commands pipelined, replies matched strictly in order. hiredis reads them (RESP2), the socket is ours. redis_link.h keeps
   one alive. A reply belongs to the oldest command that has none, whoever still waits for it: one whose asker has left is read and
   dropped, and moves no other. What RESP forbids, a reply that nobody asked for, and bytes that cannot be written end the connection; all that is pending fails then.

   hiredis' reader keeps an unfinished reply in one growing block of its own, which we account for, and hands out a string in place, once, when all of it is there.
   It has no bound of its own: ours is reply_max. It reads arrays in arrays; we do not.

   state    how it gets there                     what may happen
   CLOSED   new; redis_close; poisoned            redis_open
   OPEN     redis_open                            redis_send, redis_ask */
#ifndef WEIR_REDIS_H
#define WEIR_REDIS_H

#include "base/list.h"
#include "run/task.h"

#define REDIS_NUMBERS_MAX 16    /* elements of an array that are kept; a longer one is no answer of ours, and ends the connection */
#define REDIS_TEXT_MAX    128   /* bytes of a status, an error or a string that are kept; see redis_call.read for more */
#define REDIS_PENDING_MAX 4096  /* commands without a reply: at 10 ms each 400,000 a second */
#define REDIS_ARGS_MAX    24

enum redis_kind { REDIS_NIL, REDIS_STATUS, REDIS_ERROR, REDIS_NUMBER, REDIS_STRING, REDIS_ARRAY };

struct redis_reply {
    enum redis_kind kind;
    unsigned count;                     /* numbers: 1, or of an array */
    int64_t numbers[REDIS_NUMBERS_MAX]; /* of an array: 0 for what is none */
    size_t text_len;
    char text[REDIS_TEXT_MAX];
};

/* A command on its way. The sender's memory until done was called. */
struct redis_call {
    /* Once, on the worker's loop or within redis_close: fail is OK and reply is there, or FAIL_RESET. It may send. NULL: not wanted. */
    void (*done)(struct redis_call *call);
    /* Before done, if the reply is a string: the whole of it, however long, where hiredis has it. It must not send or close. NULL: not wanted. */
    void (*read)(struct redis_call *call, struct text bytes);
    enum fail fail;
    struct redis_reply reply;
};

struct redis;

struct redis_options {
    size_t reply_max; /* bytes of a reply that is not yet whole */
    size_t out_max;   /* bytes not yet written */
    void (*closed)(void *arg);  /* the connection has ended by itself; static words for why in redis_why */
    void (*unasked)(void *arg); /* a reply that nobody asked for, as subscribers get them; NULL: it ends the connection */
    void *arg;
};

/* NULL when out of memory. */
struct redis *redis_new(struct worker *w, const struct redis_options *options) MUSTUSE;
void redis_free(struct redis *r); /* takes NULL */
/* FAIL_CONNECT, FAIL_NO_DESCRIPTORS, FAIL_NO_MEMORY, or why the task must end. */
MUSTUSE enum fail redis_open(struct task *t, struct redis *r, const struct addr *to, nanos deadline);
bool redis_is_open(const struct redis *r);
/* All that is pending fails. why: static; of several the first is kept until the next redis_open. */
void redis_close(struct redis *r, const char *why);
const char *redis_why(const struct redis *r);
/* Since when the oldest command waits for its reply; NEVER if none does. */
nanos redis_waits_since(const struct redis *r);
unsigned redis_pending(const struct redis *r); /* commands without a reply */

/* Written when the turn ends, with all others of the turn. call NULL: whatever the reply is. FAIL_RESET: closed. FAIL_BUSY: too much is pending. FAIL_NO_MEMORY. On
   failure call is not taken, and done not called. */
MUSTUSE enum fail redis_send(struct redis *r, const struct text *args, unsigned count, struct redis_call *call);
/* The sender leaves: the reply is dropped when it comes, and done and read are not called. */
void redis_forget(struct redis *r, const struct redis_call *call);
/* Sends and waits. FAIL_TIMEOUT, also when the deadline is in the past; else as redis_send, or why the task must end. The reply of one that left is dropped. */
MUSTUSE enum fail redis_ask(struct task *t, struct redis *r, const struct text *args, unsigned count, nanos deadline, struct redis_reply *out);

#endif
