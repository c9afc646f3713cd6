/* names.h: a resolver for the simulated world: a table of names that a test writes, and changes while the gateway runs. house.c gives it to each gateway. */
#ifndef WEIR_TESTS_NAMES_H
#define WEIR_TESTS_NAMES_H

#include "base/list.h"
#include "net/dns.h"

#define NAMES_MAX 16

struct names {
    struct dns dns;
    struct { struct text name, says; } rows[NAMES_MAX];
    unsigned count;
    unsigned asked;      /* questions so far */
    struct list unheard; /* of silent names; struct dns_question */
};

void names_init(struct names *n);
/* From now on name servers say this about the name: "ADDRESS ADDRESS ... [ttl SPAN]" (30s unless said), "fails", or "silent". Names that were never set fail.
   Both texts stay the caller's. False: not understood. */
bool names_set(struct names *n, struct text name, struct text says) MUSTUSE;

#endif
