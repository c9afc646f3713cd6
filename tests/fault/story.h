/* story.h: small stories over a whole gateway, each told again and again with one fault in it. story.c has their table, test_faults.c tells them. */
#ifndef WEIR_TESTS_STORY_H
#define WEIR_TESTS_STORY_H

#include "fault/faulty.h"

#define STORY_ASKS_MAX 5

/* What a client sends, in its own connection, and what its whole answer must contain if its status is 200. */
struct story_ask {
    unsigned at_ms;
    unsigned times;        /* on one connection, one after the other; 0 = once */
    bool admin;
    bool slow;             /* sends in three parts, reads in small ones */
    const char *line;      /* "POST /v1/chat/completions"; NULL: no more asks */
    const char *headers;   /* further ones, each with its line end */
    const char *body;      /* NULL = none */
    unsigned pad;          /* this many bytes in place of the body's '@' */
    bool chunked;          /* the body goes in chunks */
    const char *want;      /* in a 200 */
    int status;            /* without a fault; 0: any */
    bool revoked;          /* its key is not in the next configuration: once a reload has said yes it may not be used */
};

struct story {
    const char *name;
    const char *yaml, *yaml_after; /* what a reload finds; NULL = the same */
    bool drains;                   /* an ask drains the gateway: nothing can be asked after it */
    struct story_ask asks[STORY_ASKS_MAX];
};

extern const struct story stories[];
extern const unsigned stories_count;

/* Tells the story with this fault in it, and looks at its end (see test_faults.c). Returns how many chances the fault had.
   What must hold and does not ends the process with a line on stderr. */
uint64_t story_tell(const struct story *s, const struct faulty_plan *plan);

#endif
