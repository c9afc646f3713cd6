/* redis_link.h: connections to this process's Redis that are made, mended and watched by tasks of their own, and the circuit breaker that all of them share.
   admit/share.c counts over one a worker, cache/shared.c asks for answers over several. No policy: what Redis being away means is its users' business.

   The breaker: a link is down after its connection was lost, and every link is after REDIS_LATE_MAX answers in a row, of whatever link, did not come in time. A link
   comes up when a PING is answered within its wait. While it is down nobody waits for it. One line is logged when the first link goes down, and one when the last of
   them is back; between them one when a link is down for another reason than before, once a minute at most.

   state   how it gets there                              what may happen
   DOWN    new; connection lost; late answers             its task connects, logs in, prepares and pings, with growing pauses
   UP      a PING in time                                 users send; its task tends, and looks for commands without an answer */
#ifndef WEIR_REDIS_LINK_H
#define WEIR_REDIS_LINK_H

#include "net/dns.h"
#include "net/redis.h"
#include <stdatomic.h>

#define REDIS_LATE_MAX 5

/* Where Redis is. Copied. */
struct redis_place {
    const char *host;            /* a name or an address, without brackets */
    const char *user, *password; /* NULL = none */
    const char *resolvers;       /* as dns_resolve takes them */
    uint16_t port;
    uint32_t db;
};

/* The process's Redis, and the workers that have links to it; these are worker_init's, and live as long as it does. */
struct redis_server;
/* dns: for a host that is a name. NULL when out of memory. */
struct redis_server *redis_server_new(const struct redis_place *place, struct dns *dns) MUSTUSE;
void redis_server_free(struct redis_server *server); /* after its links; takes NULL */

struct redis_link;

/* What a link is for. Static. */
struct redis_use {
    const char *name;  /* of its task */
    size_t reply_max, out_max; /* see redis_options */
    bool is_quiet;     /* others do its work when it is down: nothing is logged */
    nanos tend_every;  /* 0: only when redis_link_tend asks */
    /* When connected and logged in, before it is up; then every tend_every, and when redis_link_tend asks. A failure ends the connection: redis_link_say has said why.
       NULL: nothing to do. */
    enum fail (*prepare)(struct task *t, struct redis_link *link);
    enum fail (*tend)(struct task *t, struct redis_link *link);
    void (*unasked)(struct redis_link *link); /* see redis_options */
};

/* In its user's memory. Its users read redis, server and wait, and wait in `waiting`: they are woken when it goes down. */
struct redis_link {
    struct redis_server *server;
    struct worker *worker;
    struct redis *redis;
    const struct redis_use *use;
    struct task *keeper; /* NULL before its start and after its end */
    struct timer start;
    nanos wait;          /* how long its users wait for an answer; they may change it */
    nanos tend_at;
    struct list waiting; /* tasks */
    struct node node;    /* among its worker's links to that server */
    bool is_up, is_told;
    uint64_t told;       /* why it is down, as it was told last: a hash */
    char why[160];
};

/* Its task starts with the worker's next turn, and ends when it is cancelled. FAIL_NO_MEMORY; then, too, redis_link_fini is called once, or link is all zero. */
MUSTUSE enum fail redis_link_init(struct redis_link *link, struct worker *w, struct redis_server *server, const struct redis_use *use, nanos wait);
void redis_link_fini(struct redis_link *link); /* after its worker's tasks have ended */

/* Not worth waiting for: down, or too many have waited in vain. */
bool redis_link_is_away(struct redis_link *link);
/* Somebody waited for the whole of `wait` in vain: after the last of REDIS_LATE_MAX nobody waits any longer, on whatever worker. An answer came in time. */
void redis_link_late(struct redis_link *link);
void redis_link_answered(struct redis_link *link);
/* It is of no use as it is: its connection ends, and its task makes another. why: copied. */
void redis_link_drop(struct redis_link *link, const char *why);
/* tend is called soon. */
void redis_link_tend(struct redis_link *link);

/* For prepare and tend: asks and waits for two seconds. FAIL_PROTOCOL: it refused, and what became the link's why: its answer's text is not told, as it may have a
   password in it. */
MUSTUSE enum fail redis_link_say(struct task *t, struct redis_link *link, const char *what, const struct text *args, unsigned count, struct redis_reply *out);

#endif
