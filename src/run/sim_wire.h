/* sim_wire.h: a simulated socket, and what goes on between two of them. Shared by sim_net.c (the calls of world.h) and sim_wire.c (what they cause later).

   stage       how it gets there                    what is next
   LISTENS     listen                               close
   ASKS        connect                              its question arrives: a listener queues the other end, or nobody is there
   ANSWERED    the question arrived                 the answer arrives: OPEN or BROKEN
   OPEN        answered well, or made by a listener pieces, FIN, RST arrive, in this order
   BROKEN      refused, or RST arrived              close */
#ifndef WEIR_SIM_WIRE_H
#define WEIR_SIM_WIRE_H

#include "base/buf.h"
#include "base/map.h"
#include "run/sim_own.h"

#define SOCK_MAGIC 0x50c4e700u

enum stage { LISTENS, ASKS, ANSWERED, OPEN, BROKEN };

/* Where someone may listen; kept from its first mention to the end, so that sockets can point at it. */
struct place {
    struct addr addr; /* only what identifies it; the key of the map */
    struct sock *listener;
    bool blackhole;
};

struct piece {
    struct node node;
    nanos due;
    size_t bytes;
    bool drip;
};

struct sock {
    uint32_t magic;
    enum stage stage;
    int fd; /* -1 while no one has accepted it */
    struct sim_watched watched;
    struct place *place;     /* where it listens or was connected to */
    uint16_t port;           /* of the one who connected */
    struct list queue;       /* LISTENS: not yet accepted, by in_queue */
    unsigned backlog;        /* LISTENS: how many that may be */
    struct node in_queue;
    struct sock *peer;       /* NULL before the answer, and after it closed or the connection was cut */

    struct buf in;           /* sent to us and not read; the first `arrived` bytes can be read */
    size_t arrived;
    struct list pieces;      /* the rest of them */
    struct sim_event arrival; /* at the first of: connect_due, the first piece, fin_due, reset_due */
    nanos connect_due, fin_due, reset_due; /* NEVER while not under way */
    nanos last_due;          /* nothing overtakes: later sent is not earlier here */
    bool fin_arrived;
    int error;               /* positive; what the first call after it is told */
    int connect_error;       /* the answer under way */

    bool wrote_fin, wants_room;
    size_t cut_after;        /* fault reset: bytes until the connection is cut; 0 = never */
    struct sim_event doom;   /* faults reset, half_open: the moment it is cut, or falls silent */
    bool is_mute, vanishes;  /* half_open: nothing arrives any more at either end; or will, at doom */
    size_t unsent;           /* mute: bytes that the kernel still tries to send */
};

struct fd_row {
    struct sock *sock; /* NULL = free */
    int next_free;
};

struct sim_net {
    struct fd_row *rows; /* by fd - FD_FIRST */
    unsigned rows_used;
    int free_first; /* -1 = none. Closed last is used first: whoever uses a closed one meets a stranger soon */
    struct slab socks, pieces, places;
    struct map by_addr;
    uint32_t ports;
};

/* ---- sim_wire.c ---- */

/* Not yet a descriptor, nothing planned. NULL when out of memory. */
struct sock *sock_new(struct sim *sim, enum stage stage, struct place *place) MUSTUSE;
/* Without a word to the other end. */
void sock_free(struct sim *sim, struct sock *s);
/* Tells the other end, and frees it. A listener resets whom no one has accepted. */
void sock_close(struct sim *sim, struct sock *s, bool reset);
/* Sends the connect of s on its way; refuse: to be refused wherever it goes. */
void wire_ask(struct sim *sim, struct sock *s, bool refuse);
/* Puts the first n bytes of parts under way to `to`; there is room for them in its window. FAIL_NO_MEMORY. */
MUSTUSE enum fail wire_send(struct sim *sim, struct sock *to, const struct iovec *parts, size_t n);
void wire_send_fin(struct sim *sim, struct sock *to);
void wire_send_reset(struct sim *sim, struct sock *to);
/* An RST for each end, behind what is under way to it. */
void wire_cut(struct sim *sim, struct sock *s);

/* ---- sim_net.c ---- */

/* Who listens there, or on every address of that port; NULL if nobody does. */
struct sock *place_listener(struct sim_net *net, const struct place *place);
void fd_give(struct sim_net *net, int fd);

#endif
