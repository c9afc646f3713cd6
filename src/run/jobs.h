/* jobs.h: work handed to another thread (files, SQLite, parsing big bodies). A job owns what it touches and cannot be cancelled: whoever leaves abandons it. */
#ifndef WEIR_JOBS_H
#define WEIR_JOBS_H

#include "run/task.h"

#define JOBS_QUEUE_MAX 256 /* more waiting jobs only make everyone late */

struct job {
    void (*work)(void *arg); /* on a job thread */
    void (*drop)(void *arg); /* when nobody waits any more: frees arg. Runs on the worker's thread. May be NULL */
    void *arg;
    struct task_ref waiter;
    bool done, abandoned; /* the waiter's thread only */
    struct node node; /* in the queue of the real world's threads */
};

/* Runs work(arg) on another thread and waits for it. OK: done, arg is the caller's again.
   Any failure after it was queued: arg now belongs to the job, which calls drop(arg) when it has ended.
   FAIL_BUSY: never queued, arg is still the caller's, as is *out_abandoned == false. */
MUSTUSE enum fail job_run(struct task *t, const char *what, void (*work)(void *), void (*drop)(void *), void *arg, nanos deadline, bool *out_abandoned);
/* A thread of its own that takes jobs: it runs job->work(job->arg), and then job_finished. */
struct job_queue {
    enum fail (*submit)(struct job_queue *q, struct job *job); /* any thread; FAIL_BUSY when it is full */
};
/* The same on that thread. */
MUSTUSE enum fail job_run_on(struct task *t, struct job_queue *q, const char *what, void (*work)(void *), void (*drop)(void *), void *arg, nanos deadline,
                             bool *out_abandoned);
/* The world, or a queue's thread, calls this when work has returned. */
void job_finished(struct job *job);
/* Jobs of this worker that are queued, running or on their way back; worker_run ends when there are none. Its own thread only. */
unsigned jobs_alive(const struct worker *w);

#endif
