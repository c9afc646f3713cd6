/* store.h: what outlives the process: keys made by `weir key`, and what keys and tenants have spent. serve/ keeps one; auth/ looks into its keys.

   One writer thread owns the file. Tasks that change something wait for the commit that holds it, with everybody else's of the same two milliseconds;
   money is only handed over, and written a moment later. When the file cannot be used requests go on: keys are answered from memory, money is kept
   there, and the writer tries again, ever more slowly.

     state      the file                                              leaves by
     NONE       is not there, and nothing had to be kept              something to keep, or a file that appears -> OPEN, FAILED
     OPEN       is read and written                                   a failure -> FAILED
     READ_ONLY  can only be read: keys work, nothing can be changed   a failure -> FAILED
     FAILED     cannot be opened or written                           a try that works -> OPEN, READ_ONLY */
#ifndef WEIR_STORE_H
#define WEIR_STORE_H

#include "base/buf.h"
#include "run/jobs.h"
#include "store/db.h"

#define STORE_PATH_MAX  448
#define STORE_QUEUE_MAX 1024                 /* tasks that wait for a commit: four groups; more are refused */
#define STORE_GROUP_MAX 256                  /* changes of one commit */
#define STORE_GROUP_NS  (2 * NANOS_PER_MS)   /* how long the first of a group waits for others: as long as a disk's sync takes anyway */
#define STORE_SPEND_NS  (100 * NANOS_PER_MS) /* how long money waits: what a kill can lose, and one row a key in that time */
#define STORE_LOOK_NS   NANOS_PER_S          /* how often the writer looks whether another process has changed the file */
#define STORE_AGAIN_NS  NANOS_PER_S          /* the first try after a failure; then twice as long each time … */
#define STORE_AGAIN_MAX (30 * NANOS_PER_S)   /* … up to this */

/* Where the file is; "" = store: off. False with a sentence. */
bool store_place(const struct conf *conf, char out[STORE_PATH_MAX], struct complaint *why);

struct store;
struct store_options {
    struct world *world;
    const char *path;             /* outlives the store */
    bool make;                    /* make the file at once: somebody has named it */
    void (*changed)(void *arg);   /* store_keys has another answer. On the writer's thread, or on the caller's within store_new */
    spend_fn *restore;            /* each period of the file, when it is first opened; on the same threads. May be NULL */
    void *arg;                    /* of both */
};
/* Opens the file once, on this thread; one that cannot be opened is logged, and tried again later. FAIL_NO_MEMORY. */
MUSTUSE enum fail store_new(const struct store_options *options, struct store **out);
/* Starts the writer. FAIL_SYSTEM: there is no thread. */
MUSTUSE enum fail store_start(struct store *s);
/* Writes what money is left, for two seconds at most if the file is locked. No task may wait any more. Takes NULL. */
void store_free(struct store *s);

const char *store_path(const struct store *s);
/* The keys as of now, with a reference for the caller; NULL: none was ever made. Any thread. */
struct keyring *store_keys(struct store *s);
/* Adds all keys of a configuration, or takes one away by its name or fingerprint. OK: it is on the disk, and `changed` was called. Else why says why, for a person:
   FAIL_BAD_FIELD cannot be done; FAIL_BUSY, FAIL_STORE the file; FAIL_TIMEOUT, FAIL_DEADLINE or the cancellation: nobody knows yet. out_name: 65 bytes. */
MUSTUSE enum fail store_key_add(struct task *t, struct store *s, const struct conf *keys, nanos deadline, struct complaint *why);
MUSTUSE enum fail store_key_revoke(struct task *t, struct store *s, struct text which, nanos deadline, char *out_name, struct complaint *why);
/* What was spent in a period so far, in millionths of a dollar: waits for nothing, fails for nobody; of one period the larger sum stays. start: of the period, in
   seconds since 1970. Any thread, not inside a gate. s may be NULL: then it is forgotten. */
void store_spend(struct store *s, enum spend_kind kind, struct text name, int64_t start, int64_t micro);

enum store_state { STORE_NONE, STORE_OPEN, STORE_READ_ONLY, STORE_FAILED };
struct store_status {
    enum store_state state;
    char why[480];           /* FAILED: a sentence */
    uint32_t keys, waiting;  /* tasks */
    uint32_t spend_rows;     /* not yet written */
    uint64_t commits, rows, failures, spend_lost; /* lost: sums that no memory was left for */
};
/* As of now. Any thread. */
void store_status(struct store *s, struct store_status *out);

#endif
