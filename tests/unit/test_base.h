/* test_base.h: what the units of src/base share: a test's shape, and a way to watch a function end the program. */
#ifndef WEIR_TEST_BASE_H
#define WEIR_TEST_BASE_H

#include "../lib/child.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST(sentence) static void sentence(void **state __attribute__((unused)))

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#endif
#ifndef UNDER_ASAN
#define UNDER_ASAN 0
#endif

/* Runs what in a child; true if it did not come back. said gets what the child wrote to fd 2. */
static inline __attribute__((unused)) int dies(void (*what)(void), char *said, size_t said_size)
{
    int ends[2], status = 0;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(ends[1], STDERR_FILENO);
        child_will_abort();
        what();
        child_ends(0);
    }
    close(ends[1]);
    size_t len = 0;
    ssize_t n;
    while (len < said_size - 1 && (n = read(ends[0], said + len, said_size - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    char rest[256];
    while (read(ends[0], rest, sizeof rest) > 0) {
    }
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The child must end with the message of an ASSERT that contains part. */
static inline __attribute__((unused)) void asserts(void (*what)(void), const char *part)
{
    char said[1024];
    assert_true(dies(what, said, sizeof said));
    if (strstr(said, "weir: ASSERT failed: ") == NULL || strstr(said, part) == NULL)
        fail_msg("expected an ASSERT about %s, the child said: %s", part, said);
}

#endif
