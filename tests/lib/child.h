/* child.h: how a test's child process ends. Included by whatever forks: flows, floods, faults, units. */
#ifndef TEST_CHILD_H
#define TEST_CHILD_H

#include "base/base.h"
#include <signal.h>
#include <unistd.h>

int __llvm_profile_write_file(void) __attribute__((weak)); /* there in a coverage build only */

static inline void child_tells(int signal)
{
    (void)signal;
    if (__llvm_profile_write_file != NULL)
        (void)__llvm_profile_write_file();
}

/* Not by exit, which moves the position of the files that the parent reads. */
static inline NORETURN void child_ends(int code)
{
    child_tells(0);
    _exit(code);
}

/* For a child whose end is abort: what it reached counts too. */
static inline __attribute__((unused)) void child_will_abort(void)
{
    if (__llvm_profile_write_file != NULL)
        (void)signal(SIGABRT, child_tells); /* abort goes on when it returns */
}

#endif
