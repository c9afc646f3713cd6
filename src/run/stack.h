/* stack.h: the stacks of tasks; for task.c alone. */
#ifndef WEIR_STACK_H
#define WEIR_STACK_H

#include "run/task.h"

/* Address space for so many stacks, one behind the other; NULL when there is none. Nothing is accounted: pages come with their first use. */
char *stack_map(unsigned count);
void stack_unmap(char *stacks, unsigned count);
/* Guards the low end of one. */
enum task_guard stack_guard(char *stack);
/* GUARD_CANARY: false if the stack has overflowed. */
bool stack_is_whole(const char *stack);
/* Accounts for the pages this task's stack is about to touch, unless it has them. False at the ceiling. */
MUSTUSE bool stack_warm(struct task *t);
/* Gives a free stack's pages back. */
void stack_cool(struct task *t);
/* Ends its account and guard, before it is unmapped. */
void stack_fini(struct task *t);

#endif
