/* world.h: everything that can surprise (time, randomness, sockets, threads) behind one table of functions.
   Two worlds stand behind it: the real one (epoll, world_real.c) and the simulated one (sim.c). Code above run/ cannot tell which. */
#ifndef WEIR_WORLD_H
#define WEIR_WORLD_H

#include "base/fail.h"
#include "base/text.h"
#include <netinet/in.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>

/* An address to listen on or to connect to. */
struct addr {
    socklen_t len;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    };
};

#define ADDRS_MAX 8 /* of one name that are kept and tried; the rest of a longer answer would not be reached in time */

/* Where one name leads: its addresses, best first. */
struct addrs {
    uint32_t count;
    struct addr at[ADDRS_MAX];
};

/* Numeric IPv4, or IPv6 with or without brackets, and a port. False if host is a name. */
bool addr_from_text(struct addr *a, struct text host, uint16_t port);
void addr_unix(struct addr *a, const char *path); /* asserts that the path fits */
bool addr_is_loopback(const struct addr *a);      /* unix sockets count as loopback */
bool addr_equal(const struct addr *a, const struct addr *b);
bool addrs_have(const struct addrs *list, const struct addr *a);
bool addrs_equal(const struct addrs *a, const struct addrs *b); /* the same ones in whatever order */
char *addr_print(const struct addr *a, char out[64]); /* "127.0.0.1:80", "[::1]:80", "unix" */

/* HANGUP: the peer has said FIN or is gone, so read until read says so: its edge may have come together with the last bytes'. */
enum { WATCH_READ = 1, WATCH_WRITE = 2, WATCH_HANGUP = 4 };

#define BACKLOG_MAX     4096 /* as the kernel's somaxconn */
#define EVENTS_PER_POLL 128 /* a poll gives at most so many, in either world: more only delays the first of them */

struct world_event {
    void *subject;   /* as given to poll_add; NULL after its watch was removed within the turn */
    unsigned events; /* WATCH_* */
};

struct job;

/* Sockets are small integers in both worlds. Functions that fail return -errno. All sockets are non-blocking and close-on-exec. */
struct world {
    const char *name;
    nanos (*now)(struct world *);                        /* monotonic */
    nanos (*wall)(struct world *);                       /* since 1970-01-01 UTC */
    void (*random)(struct world *, void *out, size_t n); /* unguessable in the real world, seeded in the simulated one */

    int (*listen)(struct world *, const struct addr *);
    void (*backlog)(struct world *, int listener, int max); /* at most so many wait to be accepted, BACKLOG_MAX at first; who asks beyond hears nothing, and asks again */
    int (*accept)(struct world *, int listener, struct addr *out_peer);
    int (*connect)(struct world *, const struct addr *); /* a socket whose connect is under way; writable when done, see connect_result */
    int (*connect_result)(struct world *, int fd);       /* 0 or -errno */
    ssize_t (*read)(struct world *, int fd, void *to, size_t room); /* 0 = the peer has finished; fewer than room: the socket is empty, and more will be a new edge */
    ssize_t (*writev)(struct world *, int fd, const struct iovec *parts, int count);
    void (*shutdown)(struct world *, int fd);            /* no more writes from us */
    void (*reset)(struct world *, int fd);               /* closes with RST where possible */
    void (*close)(struct world *, int fd);

    int (*poll_new)(struct world *);
    void (*poll_free)(struct world *, int poll);
    int (*poll_add)(struct world *, int poll, int fd, void *subject, bool shared); /* edge-triggered, all events; shared: only one poll wakes (listeners) */
    void (*poll_remove)(struct world *, int poll, int fd);
    int (*poll_wait)(struct world *, int poll, struct world_event *out, int max, nanos until); /* until: a moment, or NEVER; the past = do not wait */
    void (*poll_wake)(struct world *, int poll);         /* from any thread */

    nanos (*mail_delay)(struct world *);                 /* 0 in the real world */
    void (*before_gate)(struct world *);                 /* NULL in the real world; the simulated one may let another worker go first */
    enum fail (*job_submit)(struct world *, struct job *); /* FAIL_BUSY when the queue is full */
};

/* Wakes whoever waits for this eventfd. From any thread. */
void world_wake(int fd);

static inline nanos world_now(struct world *w) { return w->now(w); }
static inline nanos world_wall(struct world *w) { return w->wall(w); }

/* The real world: epoll and job_threads threads. One per process; ends with world_real_free after the workers have ended.
   NULL with errno: no memory, or no thread. */
struct world *world_real_new(unsigned job_threads);
void world_real_free(struct world *);

#endif
