/* ask.h: HTTP questions that commands ask: of a running weir through its admin socket, and of whatever `weir init` looks for. */
#ifndef WEIR_ASK_H
#define WEIR_ASK_H

#include "base/buf.h"
#include "run/world.h"

#define ASK_ANSWER_MAX (64u << 20) /* 10,000 requests of `weir requests` are 4 MB */

struct ask {
    struct addr to;
    const char *method, *target; /* "GET", "/status" */
    struct text content;         /* JSON that goes with it; at NULL = none */
    nanos wait;                  /* for all of it */
    int status;                  /* of the answer; 0 = there was none */
    struct buf body;             /* the answer's; ask_fini frees it */
    enum fail fail;
    int error;                   /* an errno for the message, or 0 */
};

/* Asks all of them at the same time and returns when each is answered or has failed. FAIL_NO_MEMORY, FAIL_NO_DESCRIPTORS: none was asked. */
MUSTUSE enum fail ask_all(struct ask *asks, unsigned count);
void ask_fini(struct ask *a);
/* Why it failed, as a sentence's end. */
const char *ask_why(const struct ask *a);

#endif
