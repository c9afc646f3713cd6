/* test_faults.c: fault loops over whole stories (story.h): the Nth allocation fails, the Nth call of the world fails, the client is gone at the Nth moment,
   for N = 1, 2, … until a story is told without the fault happening. After each: every client got a whole answer, an error that names its request, or a
   visible cut; the next plain request is served; counts and memory are back where they began.
   hostile 73: what leaves inside a callback is not used after it.

   test_faults [STORY]: all, or one. Each kind prints the N it reached. */
#include "fault/story.h"
#include "lib/child.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS_MOST   20000 /* a story that never ends without its fault is a defect of this test */
#define FAILURES_MOST 5     /* a loop: then it is one bug; SIM_FAILURES in the environment: one is enough */
#define ROUND_SECONDS 20    /* one telling takes milliseconds; a loop that spins is ended by the alarm */

static const char *const call_names[CALL_COUNT] = {
#define CALL(name) #name,
    FAULTY_CALLS(CALL)
#undef CALL
};

/* Every kind of fault: what it is called, what happens. */
static const struct faulty_plan plans[] = {
    { FAULTY_MEMORY, 0, 0, 0 },
    { FAULTY_CANCEL, 0, 0, 0 },
    { FAULTY_RESET_AT_PARK, 0, 0, 0 },
    { FAULTY_FIN_AT_PARK, 0, 0, 0 },
    { FAULTY_RESET_AT_CALL, 0, 0, 0 },
    { FAULTY_CALL, CALL_accept, EMFILE, 0 },
    { FAULTY_CALL, CALL_accept, ENFILE, 0 },
    { FAULTY_CALL, CALL_accept, ENOBUFS, 0 },
    { FAULTY_CALL, CALL_accept, ENOMEM, 0 },
    { FAULTY_CALL, CALL_accept, EAGAIN, 0 },
    { FAULTY_CALL, CALL_connect, EMFILE, 0 },
    { FAULTY_CALL, CALL_connect, ENFILE, 0 },
    { FAULTY_CALL, CALL_connect, ENOBUFS, 0 },
    { FAULTY_CALL, CALL_connect, ENOMEM, 0 },
    { FAULTY_CALL, CALL_connect, ENETUNREACH, 0 },
    { FAULTY_CALL, CALL_connect, EADDRNOTAVAIL, 0 },
    { FAULTY_CALL, CALL_connect_result, ECONNREFUSED, 0 },
    { FAULTY_CALL, CALL_connect_result, ETIMEDOUT, 0 },
    { FAULTY_CALL, CALL_read, ECONNRESET, 0 },
    { FAULTY_CALL, CALL_read, ETIMEDOUT, 0 },
    { FAULTY_CALL, CALL_read, ENOMEM, 0 },
    { FAULTY_CALL, CALL_read, EAGAIN, 0 },
    { FAULTY_CALL, CALL_writev, EPIPE, 0 },
    { FAULTY_CALL, CALL_writev, ECONNRESET, 0 },
    { FAULTY_CALL, CALL_writev, ENOBUFS, 0 },
    { FAULTY_CALL, CALL_writev, EAGAIN, 0 },
    { FAULTY_CALL, CALL_poll_new, EMFILE, 0 },
    { FAULTY_CALL, CALL_poll_add, ENOMEM, 0 },
    { FAULTY_CALL, CALL_poll_add, ENOSPC, 0 },
    { FAULTY_CALL, CALL_poll_wait, EINTR, 0 },
    { FAULTY_CALL, CALL_job_submit, FAIL_BUSY, 0 },
    { FAULTY_CALL, CALL_job_submit, FAIL_NO_MEMORY, 0 },
};

static const char *name_of(const struct faulty_plan *p, char out[64])
{
    static const char *const kinds[] = { "", "allocation", "", "cancelled at park", "client resets at park", "client finishes at park", "client resets within call" };
    if (p->kind != FAULTY_CALL)
        snprintf(out, 64, "%s", kinds[p->kind]);
    else
        snprintf(out, 64, "%s: %s", call_names[p->call], p->call == CALL_job_submit ? fail_name((enum fail)p->error) : strerrorname_np(p->error));
    return out;
}

/* Shared with the child in which a loop runs: a telling that ends its process is told apart from the others. */
struct progress {
    uint64_t nth;
    uint64_t reached;
    bool done;
};
static struct progress *progress;

static void loop_in_child(const struct story *s, struct faulty_plan plan)
{
    for (; progress->nth <= ROUNDS_MOST; progress->nth++) {
        alarm(ROUND_SECONDS);
        plan.nth = progress->nth;
        uint64_t chances = story_tell(s, &plan);
        if (chances < plan.nth) {
            progress->reached = chances;
            progress->done = true;
            return;
        }
    }
}

/* How many Ns failed. */
static unsigned loop(const struct story *s, const struct faulty_plan *plan, uint64_t *out_reached)
{
    unsigned failures = 0;
    int status;
    memset(progress, 0, sizeof *progress);
    progress->nth = 1;
    while (!progress->done && failures < FAILURES_MOST) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            loop_in_child(s, *plan);
            child_ends(0);
        }
        while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 && progress->done)
            break;
        char name[64];
        printf("not ok: %s, %s %llu\n", s->name, name_of(plan, name), (unsigned long long)progress->nth);
        failures++;
        progress->nth++;
        if (getenv("SIM_FAILURES") != NULL) {
            printf("0 passed, 1 failed\n");
            exit(1); /* whoever only asks whether anything is red need not wait */
        }
    }
    *out_reached = progress->reached;
    return failures;
}

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;
    progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (progress == MAP_FAILED)
        return 1;
    if (argc == 4) { /* STORY PLAN N: one telling, in this process */
        struct faulty_plan plan = plans[strtoul(argv[2], NULL, 10) % ARRAY_LEN(plans)];
        plan.nth = strtoull(argv[3], NULL, 10);
        for (unsigned i = 0; i < stories_count; i++)
            if (strcmp(argv[1], stories[i].name) == 0)
                printf("%llu chances\n", (unsigned long long)story_tell(&stories[i], &plan));
        return 0;
    }
    for (unsigned p = 0; p < ARRAY_LEN(plans); p++) {
        char name[64];
        uint64_t sum = 0;
        printf("%2u %s:", p, name_of(&plans[p], name));
        for (unsigned i = 0; i < stories_count; i++) {
            uint64_t reached;
            if (argc > 1 && strcmp(argv[1], stories[i].name) != 0)
                continue;
            unsigned failures = loop(&stories[i], &plans[p], &reached);
            printf(" %s %llu%s", stories[i].name, (unsigned long long)reached, i + 1 < stories_count ? "," : "");
            sum += reached;
            passed += failures == 0;
            failed += failures != 0;
        }
        printf("\n");
        if (sum == 0) { /* a fault that no story ever meets is not looped over */
            printf("not ok: %s was never met\n", name);
            failed++;
        }
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed > 0;
}
