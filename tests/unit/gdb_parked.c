/* gdb_parked.c: a process full of parked tasks that ends in abort(), for test_gdb.sh to look into. With an argument its guards are older ones. */
#include "run/wait.h"
#include <stdlib.h>

#define TASKS 70 /* more than one chunk of the table */

__attribute__((noinline)) static void waits_for_slot(struct task *t)
{
    enum fail f = task_park(t, "a slot of pool llama", NEVER);
    ASSERT(f == OK);
}

static void chat_request(struct task *t, void *arg)
{
    t->story = arg;
    waits_for_slot(t);
    ASSERT(t->cancel == OK); /* keeps the call above from being the last, which would take this frame's place */
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        task_guard_limit(GUARD_MPROTECT); /* gcore leaves out mappings with installed guards */
    static struct worker w;
    struct world *world = world_real_new(0);
    ASSERT(world != NULL && worker_init(&w, world, 3) == OK);
    for (int i = 0; i < TASKS; i++)
        ASSERT(task_start(&w, "chat request", chat_request, &w) != NULL);
    worker_turn(&w, 0);
    abort();
}
