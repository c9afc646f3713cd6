/* dns.h: names to addresses, on a job thread: never on a request's way. Discovery asks, in the background. */
#ifndef WEIR_DNS_H
#define WEIR_DNS_H

#include "run/task.h"

/* The first address the system's resolver gives. FAIL_NAME, FAIL_BUSY, FAIL_NO_MEMORY, or why the task must end. */
MUSTUSE enum fail dns_resolve(struct task *t, struct text host, uint16_t port, nanos deadline, struct addr *out);

#endif
