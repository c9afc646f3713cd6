/* stack.c: memory for the stacks of tasks: mapped by the dozen, guarded, accounted while they have pages. task.c calls it. */
#include "run/stack.h"
#include "base/account.h"
#include <stdatomic.h>
#include <sys/mman.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* Linux 6.13 */
#endif

#define CANARY       0x5ca1ab1e0ddba11ULL
#define CANARY_WORDS 8
#define STACK_COST   16384 /* of a stack's 64 KiB a request touches three pages or four, and keeps them */

static _Atomic int guard_best = GUARD_INSTALLED;
static _Atomic uint32_t mprotect_used; /* by all workers: the kernel counts mappings per process */

void task_guard_limit(enum task_guard best)
{
    atomic_store(&guard_best, (int)best);
}

static void canary_write(char *stack)
{
    for (int i = 0; i < CANARY_WORDS; i++)
        ((uint64_t *)(void *)stack)[i] = CANARY;
}

bool stack_is_whole(const char *stack)
{
    const uint64_t *words = (const uint64_t *)(const void *)stack;
    for (int i = 0; i < CANARY_WORDS; i++)
        if (words[i] != CANARY)
            return false;
    return true;
}

enum task_guard stack_guard(char *stack)
{
    int best = atomic_load_explicit(&guard_best, memory_order_relaxed);
    if (best <= GUARD_INSTALLED && madvise(stack, TASK_GUARD_BYTES, MADV_GUARD_INSTALL) == 0)
        return GUARD_INSTALLED;
    if (best <= GUARD_MPROTECT) {
        if (atomic_fetch_add(&mprotect_used, 1) < TASK_MPROTECT_MAX && mprotect(stack, TASK_GUARD_BYTES, PROT_NONE) == 0)
            return GUARD_MPROTECT;
        atomic_fetch_sub(&mprotect_used, 1);
    }
    canary_write(stack);
    return GUARD_CANARY;
}

char *stack_map(unsigned count)
{
    char *p = mmap(NULL, (size_t)count * TASK_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    (void)madvise(p, (size_t)count * TASK_STACK_BYTES, MADV_NOHUGEPAGE); /* one touched stack must not cost 2 MiB; old kernels may refuse */
    return p;
}

bool stack_warm(struct task *t)
{
    if (t->is_warm)
        return true;
    t->is_warm = account_has(STACK_COST);
    if (t->is_warm)
        account_spend(STACK_COST);
    return t->is_warm;
}

static void account_end(struct task *t)
{
    if (t->is_warm)
        account_give(STACK_COST);
    t->is_warm = false;
}

/* The guard's page stays: canaries may stand there. */
void stack_cool(struct task *t)
{
    if (madvise(t->stack + TASK_GUARD_BYTES, TASK_STACK_BYTES - TASK_GUARD_BYTES, MADV_DONTNEED) == 0)
        account_end(t);
}

void stack_fini(struct task *t)
{
    account_end(t);
    if (t->guard == GUARD_MPROTECT)
        atomic_fetch_sub(&mprotect_used, 1);
}

void stack_unmap(char *stacks, unsigned count)
{
    munmap(stacks, (size_t)count * TASK_STACK_BYTES);
}
