/* http_client.h: a connection to a backend: one HTTP/1.1 call at a time, kept for the next. upstream/ keeps them in pools.
   All waits belong to the task that makes the call. An idle one holds its struct only, and notices when its peer leaves. */
#ifndef WEIR_HTTP_CLIENT_H
#define WEIR_HTTP_CLIENT_H

#include "base/buf.h"
#include "base/list.h"
#include "net/http_head.h"
#include "net/http_parse.h"
#include "net/wire.h"
#include "run/task.h"

#define CONN_MAGIC 0xc0114ec7u
#define CONN_HEAD_BYTES_MAX 65536 /* an answer's headers; more is no model server */
#define CONN_BURST_MAX (1u << 20) /* read in one go: some milliseconds' work, then the worker's other tasks are due */

struct conn {
    uint32_t magic;
    struct worker *worker;
    struct wire wire;
    struct watch watch;
    struct task *waiter;      /* the task that makes the current call; NULL while idle */
    bool readable, writable, half_closed, connected;
    bool gone;                /* EOF or error seen while idle: cannot be used again */
    bool keep_alive, ended;   /* of the current answer */
    bool used_before;         /* a call was completed on it: a cut before the first byte may only mean it was too old */
    bool any_byte;            /* of the current answer */
    bool sent;                /* the current request, to its last byte: the rest of one would be read as the next one's beginning */
    bool head_only;           /* the head was read, nothing of the body was asked for yet */
    struct addr peer;         /* what conn_open was given: no name is looked up here, so one that changes between a look and the connect gains nothing */
    int error;                /* of the last failure, for wire_error_text; 0 = the peer closed */
    size_t burst;             /* bytes read since it last waited or yielded */
    struct http_parser parser;
    struct buf in;            /* bytes that came with the head */
    void (*on_gone)(struct conn *c); /* idle and gone: whoever keeps it lets go of it and calls conn_free. May be NULL */
    void *keeper;
    struct node node;         /* the keeper's */
    struct timer timer;       /* the keeper's */
};

/* Connects. FAIL_CONNECT (also when `deadline` passed first), FAIL_NO_DESCRIPTORS, FAIL_NO_MEMORY, or why the task must end. *out_error: for wire_error_text. */
MUSTUSE enum fail conn_open(struct task *t, const struct addr *to, nanos deadline, struct conn **out, int *out_error);
/* TLS over an open connection, before its first call; context and last as wire_ask_tls has them. FAIL_CONNECT also when the peer's certificate is not good for
   host; *out_error says why. The connection is then good for nothing but conn_free. */
MUSTUSE enum fail conn_secure(struct task *t, struct conn *c, struct ssl_ctx_st *context, const char *host, struct tls_session *last, nanos deadline, int *out_error);
void conn_free(struct conn *c); /* closes; takes NULL */
/* Asks the proxy at the other end for a way to host:port (CONNECT, RFC 9110 9.3.6); afterwards the connection is one to that host. credentials:
   base64 of USER:PASSWORD, empty = none. FAIL_CONNECT with a sentence in why, or why the task must end. In http_tunnel.c. */
#define TUNNEL_WHY_MAX 128
MUSTUSE enum fail conn_tunnel(struct task *t, struct conn *c, struct text host, uint16_t port, struct text credentials, nanos deadline, char why[TUNNEL_WHY_MAX]);
/* Begins a call: the answer's head will live in arena. answers_head: the method was HEAD. */
void conn_begin(struct conn *c, struct arena *arena, bool answers_head);
/* Sends head and body; waits until the kernel has all of it. FAIL_RESET, FAIL_TIMEOUT ... An answer that comes early ends it with OK; the connection then
   carries no other call. */
MUSTUSE enum fail conn_send(struct task *t, struct conn *c, struct text head, struct text body, nanos deadline);
/* The answer's head. FAIL_RESET, FAIL_PROTOCOL (c->parser.why), FAIL_TIMEOUT ... */
MUSTUSE enum fail conn_head(struct task *t, struct conn *c, nanos deadline, const struct http_head **out_head);
/* One read's worth of body, given to sink in slices that are valid only during the call; sink must not wait. Sets c->ended after the last byte.
   A failure of sink is returned. FAIL_RESET if the answer was cut. */
typedef enum fail conn_sink(void *arg, struct text bytes);
MUSTUSE enum fail conn_body(struct task *t, struct conn *c, nanos deadline, conn_sink *sink, void *arg);
/* After the answer has ended: may it carry another call? */
bool conn_is_reusable(const struct conn *c);
/* net/ only: as before the first answer. */
void conn_parser_init(struct conn *c);
/* Nobody waits on it any more; from here on_gone is called when its peer leaves. */
void conn_rest(struct conn *c);

#endif
