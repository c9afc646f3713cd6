/* http_inner.h: what http_server.c (listeners), http_down.c (connections), http_begin.c (from a head to a task) and http_request.c (one request) share.
   Nobody else includes it. */
#ifndef WEIR_HTTP_INNER_H
#define WEIR_HTTP_INNER_H

#include "base/account.h"
#include "net/http_parse.h"
#include "net/http_server.h"
#include "net/wire.h"
#include "stat/stat.h"

#define DOWNSTREAM_MAGIC   0x0d057e4au
#define HTTP_REQUEST_MAGIC 0x7e905e57u

#define LISTENERS_MAX 8

/* One of the sockets a server accepts from. */
struct listener {
    struct watch watch; /* first: a watch is its listener */
    int fd;             /* stays when the watch has gone */
    struct http_server *server;
};

struct http_server {
    struct worker *worker;
    struct http_server_options options;
    struct slab requests, connections;
    struct list open;    /* struct downstream */
    struct list running; /* struct http_request with a task */
    struct listener listeners[LISTENERS_MAX];
    unsigned listener_count;
    struct timer accept_again; /* the listener's edge is spent, so we come back by the clock */
    _Atomic uint32_t own;      /* connections, where nobody shares the count */
    struct list door;          /* struct downstream: accepted while memory was short, and has not asked anything yet */
    struct list sated;         /* struct downstream: have read their share for now */
    struct timer next_share;
    bool paused;               /* limits.connections is reached, descriptors ran out, or the worker has too much to do */
    bool short_queue;          /* the kernel lets few wait to be accepted */
    struct http_date date;
    nanos tls_told;      /* when a failed handshake was last logged: one a second is enough to see what is wrong */
    uint64_t ids;
    bool draining;
    bool ended;          /* no request begins any more */
    bool retiring;       /* another process accepts in our place; what is connected is served on */
};

/* The count that connections_max bounds. */
static inline _Atomic uint32_t *server_connections(struct http_server *s) { return s->options.connections != NULL ? s->options.connections : &s->own; }

/* What is new here finds little room. */
static inline bool server_is_short(const struct http_server *s) { return s->options.spares_memory && account_is_short(); }

enum down_state { DOWN_IDLE, DOWN_HEAD, DOWN_TASK, DOWN_LINGER };

/* A client's connection. */
struct downstream {
    uint32_t magic;
    struct http_server *server;
    struct wire wire;
    struct watch watch;
    struct node node;
    enum down_state state;
    bool readable, writable; /* an edge came and has not been used up */
    bool half_closed;        /* the kernel said hang-up: read on until it says so too */
    bool lost;               /* the peer is gone; the task, if any, has been told */
    bool said_fin;
    bool shaking;            /* TLS: the handshake is not done */
    bool aborted;            /* the answer was cut: the connection ends by a RST unless its framing tells the cut */
    bool reset_now;          /* that RST does not wait until the answer may have been read */
    bool body_wanted;        /* the task waits for body bytes */
    bool write_waiter;       /* the task waits for room in out */
    bool wants_continue;     /* the client holds its body back until 100 Continue */
    enum fail body_fail;     /* what ended body reading, OK while it goes on */
    uint32_t share_left;     /* bytes it may read until SHARE_NS after share_began */
    nanos share_began;
    struct node sated;       /* waits for its next share */
    struct node at_door;     /* in the server's door */
    size_t lingered;
    struct http_parser parser;
    struct http_request *request; /* in HEAD and TASK */
    struct buf in;           /* bytes after the head, or after the request: bounded look-ahead */
    struct buf out;          /* what the kernel has not taken */
    nanos due;               /* when the state ends by the clock; NEVER if it does not */
    nanos idle_since;        /* in IDLE */
    nanos write_due;         /* when unsent bytes have made no progress for too long */
    struct timer timer;      /* lazy: never later than due */
    struct turn_end again;   /* after its task ended */
    char peer_text[64];
};

/* A connection has gone: one that waits may come in. */
void http_server_has_room(struct http_server *s);
/* is_short: memory is. */
void down_open(struct http_server *s, int fd, const struct addr *peer, bool is_short);
void down_free(struct downstream *d);
void down_give_request(struct downstream *d);
/* Says FIN, then reads away what still comes. */
void down_linger(struct downstream *d);
/* One whole answer to a request that gets no task, then the connection ends. False if it is gone already. */
bool down_refuse(struct downstream *d, enum fail why, const char *sentence);
/* The same to a client that spoke HTTP where TLS was due. */
bool down_refuse_plain(struct downstream *d);
/* Takes bytes of a head; starts the task when it is whole. False if the connection is gone. */
bool down_feed_head(struct downstream *d, struct text bytes);
_Static_assert(sizeof(struct downstream) <= 2048, "an idle connection costs at most 2 KiB");

struct worker *down_worker(const struct downstream *d);
const struct http_server_options *down_options(const struct downstream *d);
bool down_is_draining(const struct downstream *d);
struct text down_date(struct downstream *d);
void down_due(struct downstream *d, nanos at);
/* What is unsent, and `rest` behind it, of which what the kernel does not take is copied. False if the connection is gone. */
bool down_push_with(struct downstream *d, struct text rest);
static inline bool down_push(struct downstream *d) { return down_push_with(d, TEXT_NONE); }
void down_lost(struct downstream *d);
void down_feed_body(struct downstream *d, struct text bytes);
/* The next shares are due: those that wait read on. */
void down_next_share(struct worker *w, struct timer *self);
/* What the socket holds, while the edge that said so is not used up. */
void down_read_in_task(struct downstream *d);
/* Reads a small unread body away after a refusal, so that the connection may live on. */
void http_body_discard(struct task *t, struct http_request *rq);
/* Ends the head of a whole answer; no sending. The body is to follow, unless there is none to be sent: then it is empty afterwards. */
MUSTUSE enum fail http_answer_compose(struct http_request *rq, struct text *io_body);

#endif
