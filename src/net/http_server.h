/* http_server.h: the server's side of HTTP/1.1: connections as state machines on the loop, one task per request in flight.
   serve/ and admin give it a handler; the mock does too.

     connection  what it holds              leaves by
     IDLE        its struct (< 2 KiB)       a first byte -> HEAD; idle timeout, FIN -> closed
     HEAD        a request's arena          head complete -> TASK; refused, slow -> LINGER
     TASK        the request and its task   task ended -> IDLE (keep-alive, body read), LINGER, closed
     LINGER      nothing                    peer's FIN, LINGER_NS, LINGER_BYTES_MAX -> closed

   FIN or RST while in TASK cancels the task with FAIL_CLIENT_GONE, as nginx has it. */
#ifndef WEIR_HTTP_SERVER_H
#define WEIR_HTTP_SERVER_H

#include "base/buf.h"
#include "base/limits.h"
#include "net/http_head.h"
#include "net/http_write.h"
#include "run/task.h"

struct http_server;
struct http_request;
struct downstream;

/* Runs in the request's own task. Must answer (http_answer, or begin … end/abort) unless it was cancelled. */
typedef void http_handler(struct task *t, struct http_request *rq, void *user);
/* A request that never became one (bad framing, slow head): writes the error body into out, and counts and logs it. rq->head may be NULL. */
typedef enum fail http_refusal(struct buf *out, const struct http_request *rq, enum fail why, const char *sentence, void *user);

struct http_server_options {
    http_handler *handle;
    http_refusal *refusal;
    void *user;
    nanos header_timeout, body_timeout, write_timeout; /* ns */
    uint64_t body_bytes_max;
    uint32_t head_bytes_max;
    uint32_t connections_max;
    _Atomic uint32_t *connections;                      /* what connections_max counts, when several servers share it; NULL: this one's own */
    bool spares_memory;                                 /* while memory is short (account_is_short) few connections come in, for one request each, whose head is
                                                           in one piece; while this worker is far behind, none */
    struct ssl_ctx_st *tls;                             /* connections from now on begin with it; NULL: plain */
};

/* One per worker. */
struct http_server *http_server_new(struct worker *w, const struct http_server_options *options) MUSTUSE;
/* New limits and time-outs, for requests from now on. */
void http_server_options(struct http_server *s, const struct http_server_options *options);
/* Accepts from a listening socket that several workers may share. The server does not own the socket. Any number of listeners up to 8. */
MUSTUSE enum fail http_server_listen(struct http_server *s, int listener);
/* No new connections; idle ones close; those with a request close after their answer. */
void http_server_drain(struct http_server *s);
/* No request begins any more: a head that becomes whole now is refused without a task. */
void http_server_end(struct http_server *s);
/* Another process accepts from the same listeners from now on. What is connected is served on, but each answer says that it was the connection's last. */
void http_server_retire(struct http_server *s);
/* Says FIN to connections that have been idle for so long, ns. */
void http_server_sweep(struct http_server *s, nanos idle);
unsigned http_server_connections(const struct http_server *s);
unsigned http_server_requests(const struct http_server *s);
/* No request is under way, and the last byte of every answer is with the kernel. */
bool http_server_is_quiet(const struct http_server *s);
/* Cancels every request with `why` (drain's end). */
void http_server_cancel_all(struct http_server *s, enum fail why);
/* Closes what is left; asserts that no request's task lives. */
void http_server_free(struct http_server *s);

struct http_request {
    uint32_t magic;
    struct downstream *from;
    struct task *task;
    struct arena arena;             /* dies with the request */
    char *head_end;                 /* the head lies in block, up to here; NULL: it is not whole, or needed more */
    const struct http_head *head;
    struct buf body;                /* filled by http_body */
    bool body_read;                 /* all of it was read, or there is none */
    bool answer_begun, answer_ended;/* a byte of the answer's head was queued; the last one was */
    bool answer_chunked, answer_close, answer_no_body;
    int64_t answer_left;            /* bytes of a counted answer still to come; -1 otherwise */
    int answer_status;
    uint64_t answer_bytes;          /* body bytes queued */
    nanos began;                    /* first byte of the head */
    nanos body_done, first_out;
    char id[28];                    /* x-request-id: ours, 24 characters */
    const char *peer_text;          /* the client's address, for logs */
    void *story;                    /* the owner's, for lists of requests */
    struct node node;               /* among the server's requests */
    char block[5632];               /* first block of the arena: most heads fit, with what path/ and serve/ keep of a request */
};

/* Reads the whole body into rq->body. Sends 100 Continue if the client waits for it.
   FAIL_TOO_LARGE, FAIL_SLOW_BODY, FAIL_BAD_REQUEST (framing; *out_why a static sentence), FAIL_CLIENT_GONE, FAIL_NO_MEMORY. */
MUSTUSE enum fail http_body(struct task *t, struct http_request *rq, const char **out_why);

/* An answer in two moves. begin writes the status line, date and x-request-id; the caller then adds headers to http_answer_head(rq)
   with http_write_header; whole or stream ends the head. */
MUSTUSE enum fail http_answer_begin(struct http_request *rq, int status);
struct buf *http_answer_head(struct http_request *rq);
/* Ends the head, adds the body and sends. Returns when the bytes are with the kernel or wait in the connection's buffer; the answer is complete. */
MUSTUSE enum fail http_answer_whole(struct task *t, struct http_request *rq, struct text body);
/* Ends the head of an answer that is written in pieces: counted if length >= 0, else chunked (HTTP/1.0: until close). Nothing is sent before the first flush. */
MUSTUSE enum fail http_answer_stream(struct http_request *rq, int64_t length);
/* Queues bytes. Waits while more than OUT_HIGH_BYTES are unsent. FAIL_CLIENT_GONE, or why the task was cancelled. */
MUSTUSE enum fail http_answer_write(struct task *t, struct http_request *rq, struct text bytes);
/* Hands what is queued to the kernel now, as far as it takes it. */
MUSTUSE enum fail http_answer_flush(struct http_request *rq);
/* The regular end. */
MUSTUSE enum fail http_answer_end(struct task *t, struct http_request *rq);
/* An answer that cannot be completed: the connection closes without its regular end, so that nobody takes it for whole. */
void http_answer_abort(struct http_request *rq);
/* For the mock, whose business is wrong answers: queues bytes exactly as given, whether or not a head was written, and waits as http_answer_write does.
   From then on the answer is raw: http_answer_write adds bytes as they are, http_answer_end closes the connection after them. */
MUSTUSE enum fail http_answer_raw(struct task *t, struct http_request *rq, struct text bytes);
/* For the mock too: ends the answer, whatever stage it is in, with a RST. Bytes not yet flushed are dropped. */
void http_answer_reset(struct http_request *rq);
/* Calls fn for each request of this worker. */
void http_server_each(struct http_server *s, void (*fn)(struct http_request *rq, void *arg), void *arg);

#endif
