/* replay.h: what caches of some size would have answered of a trace, by their policies, and what any cache could have. `weir cache simulate` asks.
   All answers weigh the same and none grows old: what is compared is whom a policy keeps. */
#ifndef WEIR_REPLAY_H
#define WEIR_REPLAY_H

#include "base/fail.h"

#define REPLAY_COUNT_MAX (1u << 24) /* questions of a trace: with all that belongs to them some 600 MB, and half a minute for each policy and size */
#define REPLAY_NEVER     UINT32_MAX

enum replay_policy {
#define POLICY(name, what) REPLAY_##name,
#include "bench/replay.def"
#undef POLICY
    REPLAY_POLICIES
};

struct replay_names;
struct replay_trace {
    uint32_t *keys;  /* of each question, numbered from 0 on in the order in which they came first */
    uint32_t *next;  /* the question that asks for the same key next, or REPLAY_NEVER; after replay_trace_end */
    uint32_t count, room, distinct;
    struct replay_names *names;
};

/* From zeroes: questions one after the other, each by a name of its key; then the end, after which it can be replayed. FAIL_NO_MEMORY, FAIL_TOO_LARGE. */
MUSTUSE enum fail replay_trace_add(struct replay_trace *t, uint64_t name);
MUSTUSE enum fail replay_trace_end(struct replay_trace *t);
void replay_trace_free(struct replay_trace *t); /* what it holds */

/* A whole trace, ended: a file of Mooncake's JSON lines (each block of hash_ids is a question), of JSON lines of requests (equal ones are one key) or of plain lines
   (the same); or one that is made up, zipf:ALPHA,KEYS,REQUESTS[,SEED], where the r-th key comes in proportion to r^-ALPHA (Zipf 1949), and drift: with the same words,
   where in the middle all keys give way to others. False with a sentence. */
MUSTUSE bool replay_trace_read(struct replay_trace *t, const char *what, struct complaint *why);

const char *replay_policy_name(enum replay_policy p);
const char *replay_policy_what(enum replay_policy p);
/* How many questions a cache with room for so many answers (from 1 on) would have answered. FAIL_NO_MEMORY. */
MUSTUSE enum fail replay_run(const struct replay_trace *t, enum replay_policy p, uint32_t room, uint64_t *out_hits);

#endif
