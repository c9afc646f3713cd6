/* dns.h: names to addresses, in the background: never on a request's way. Discovery asks.
   Behind struct dns stands c-ares on a thread of its own (dns_cares.c); in the simulated world, a test's table of names. */
#ifndef WEIR_DNS_H
#define WEIR_DNS_H

#include "run/task.h"

#define DNS_NAME_MAX 253 /* RFC 1035: 255 bytes on the wire */

struct dns_answer {
    struct addrs addrs;
    nanos ttl;       /* as said; 0 where nobody says (hosts file) */
    const char *why; /* static; NULL = there are addresses */
};

/* One name on its way to a resolver and back. */
struct dns_question {
    char host[DNS_NAME_MAX + 1];
    struct dns_answer answer; /* the resolver's until dns_answered. Ports are not its matter */
    _Atomic bool forgotten;   /* nobody waits any more */
    struct task_ref asker;
    bool done;                /* the asker's thread only */
    struct node node;         /* the resolver's */
    char servers[];           /* "10.0.0.1:53,[::1]:5353"; "" = those of the system */
};

/* Whoever knows names. */
struct dns {
    /* Takes a question and calls dns_answered, now or later, on any thread, exactly once. Does not wait. */
    void (*ask)(struct dns *dns, struct dns_question *q);
    /* q->forgotten was set: answer soon, whatever. Called on the asker's thread. */
    void (*forget)(struct dns *dns, struct dns_question *q);
};

/* The addresses of host, each with port, without those where nobody can be (0.0.0.0, multicast). FAIL_NAME with out->why, FAIL_NO_MEMORY, or why the task must end. */
MUSTUSE enum fail dns_resolve(struct task *t, struct dns *dns, const char *servers, struct text host, uint16_t port, nanos deadline, struct dns_answer *out);
/* For resolvers: the answer is complete. q is no longer theirs. */
void dns_answered(struct dns_question *q);

/* c-ares. Its thread starts with the first question. NULL when out of memory. */
struct dns *dns_cares_new(void) MUSTUSE;
void dns_cares_free(struct dns *dns); /* after the workers that asked have ended; takes NULL */

#endif
