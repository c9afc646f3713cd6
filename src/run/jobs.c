/* jobs.c: one job's way from a task to a thread and back. The threads themselves belong to the world. */
#include "run/jobs.h"

unsigned jobs_alive(const struct worker *w)
{
    return w->jobs;
}

/* Back on the worker's thread. */
static void finished_letter(struct worker *w, void *arg, uint64_t number)
{
    struct job *job = arg;
    (void)number;
    w->jobs--;
    mail_disown(w, 1);
    job->done = true;
    if (job->abandoned) {
        if (job->drop != NULL)
            job->drop(job->arg);
        mem_free(job);
    } else {
        struct task *waiter = task_find(w, job->waiter.index, job->waiter.generation);
        ASSERT(waiter != NULL); /* a waiter that leaves says so first */
        task_wake(waiter);
    }
}

void job_finished(struct job *job)
{
    mail_send(job->waiter.worker, finished_letter, job, 0);
}

static enum fail submit(struct worker *w, struct job_queue *q, struct job *job)
{
    return q != NULL ? q->submit(q, job) : w->world->job_submit(w->world, job);
}

enum fail job_run(struct task *t, const char *what, void (*work)(void *), void (*drop)(void *), void *arg, nanos deadline, bool *out_abandoned)
{
    return job_run_on(t, NULL, what, work, drop, arg, deadline, out_abandoned);
}

enum fail job_run_on(struct task *t, struct job_queue *q, const char *what, void (*work)(void *), void (*drop)(void *), void *arg, nanos deadline,
                     bool *out_abandoned)
{
    *out_abandoned = false;
    struct job *job = mem_zero(sizeof *job);
    if (job == NULL)
        return FAIL_NO_MEMORY;
    job->work = work;
    job->drop = drop;
    job->arg = arg;
    job->waiter = task_ref(t);
    enum fail f = mail_own(t->worker, 1); /* the letter that it is back */
    if (f == OK) {
        f = submit(t->worker, q, job);
        if (f != OK)
            mail_disown(t->worker, 1);
    }
    if (f != OK) {
        mem_free(job);
        return f;
    }
    t->worker->jobs++; /* in time: the letter that it is back waits until we park */
    while (!job->done) {
        f = task_park(t, what, deadline);
        if (f != OK && !job->done) {
            job->abandoned = true;
            *out_abandoned = true;
            return f;
        }
    }
    mem_free(job);
    return OK;
}
