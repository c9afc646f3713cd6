/* writer.h: what the two sides of the store share: its thread (store.c) and the tasks that wait for it (change.c). */
#ifndef WEIR_STORE_WRITER_H
#define WEIR_STORE_WRITER_H

#include "store/spend.h"
#include "store/store.h"
#include <pthread.h>

#define STORE_MAGIC 0x5702e001u

struct store {
    uint32_t magic;
    struct store_options options;
    struct job_queue queue;
    pthread_t thread;
    pthread_mutex_t lock;    /* of everything down to `status`; held for moments, never over the disk */
    pthread_cond_t more;
    struct list jobs;
    nanos first_job, first_spend;
    struct spend spend;      /* not yet written */
    bool is_started, is_ending;
    struct keyring *keys;    /* NULL: none was ever made */
    struct store_status status;

    struct db *db;           /* from here on the writer's own; NULL: not open */
    bool was_open;           /* a file that has gone since is not made anew: its keys would be forgotten */
    bool is_stale;           /* the keys in memory are not the file's */
    nanos again_at, again_ns, look_at;
};

/* A change that a task waits for. */
struct change {
    struct store *store;
    const struct conf *keys; /* to add; NULL: revoke */
    char which[65];          /* and becomes its name */
    enum fail fail;
    struct complaint why;
};

/* change.c: a job, whose arg is a struct change, on its way to the thread. */
MUSTUSE enum fail change_submit(struct job_queue *q, struct job *job);

#endif
