/* actor.h: sockets for the clients and backends that tests play: a task reads and writes as if it blocked. Stands on world and loop alone, so it works in
   both worlds and shares no code with what it tests. Used by tests only. */
#ifndef WEIR_TESTS_ACTOR_H
#define WEIR_TESTS_ACTOR_H

#include "run/task.h"

struct ssl_st;     /* OpenSSL's SSL */
struct ssl_ctx_st; /* and SSL_CTX */

/* One socket of one task at a time; in the caller's memory, which outlives it until actor_close. */
struct actor {
    struct watch watch;
    struct worker *worker;
    struct task *waiter; /* NULL while nobody waits */
    unsigned events;     /* all there have been: WATCH_* */
    struct ssl_st *tls;  /* after actor_secure */
};

/* FAIL_CONNECT: refused. FAIL_NO_DESCRIPTORS. FAIL_TIMEOUT and what else task_park says. On failure nothing is left to close. */
MUSTUSE enum fail actor_connect(struct task *t, struct actor *a, const struct addr *to, nanos deadline);
/* A listener of its own worker; not shared. FAIL_SYSTEM if the address is taken. */
MUSTUSE enum fail actor_listen(struct worker *w, struct actor *a, const struct addr *at);
/* An accept that fails for want of descriptors is tried again after a millisecond. */
MUSTUSE enum fail actor_accept(struct task *t, struct actor *listener, struct actor *out_a, nanos deadline);

/* Listens at an address on its worker until the world ends or the task is cancelled: each connection has a task of fn, whose argument is a struct actor that fn
   closes and frees by mem_free. */
void actor_serve(struct task *t, const struct addr *at, task_fn *fn);

/* A TLS handshake over an open socket, before its first byte; reads and writes are TLS's from then on. context: an SSL_CTX of lib/tls_peer.h, for a client
   with the host that the certificate must be for, for a server with NULL. FAIL_PROTOCOL: it failed. The socket is to be closed as ever. */
MUSTUSE enum fail actor_secure(struct task *t, struct actor *a, struct ssl_ctx_st *context, const char *host, nanos deadline);
/* Says the end that TLS has of its own, if this is TLS; before actor_close, where the bytes so far are to count as whole. */
void actor_finish(struct task *t, struct actor *a);

/* At least one byte, or *out_n == 0 when the other side has finished. FAIL_RESET. */
MUSTUSE enum fail actor_read(struct task *t, struct actor *a, void *to, size_t room, nanos deadline, size_t *out_n);
/* Exactly n bytes; FAIL_PROTOCOL if the other side finishes before. */
MUSTUSE enum fail actor_read_all(struct task *t, struct actor *a, void *to, size_t n, nanos deadline);
/* All of it. FAIL_RESET also when the other side has closed. */
MUSTUSE enum fail actor_write_all(struct task *t, struct actor *a, const void *bytes, size_t n, nanos deadline);
void actor_shutdown(struct actor *a); /* no more writes from us */
void actor_close(struct actor *a);
void actor_reset(struct actor *a);

#endif
