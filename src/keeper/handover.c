/* handover.c: what one keeper leaves to the next lies in a file of memory, whose descriptor the new program finds in its environment: to a child that only asks
   whether it would take all that, and to ourselves after exec. upgrade.c and cli/serve.c call it. */
#include "keeper/inner.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VARIABLE       "WEIR_UPGRADE" /* the descriptor's number, only from a keeper to what it executes */
#define HANDOVER_MAGIC 0x4a0d0e52u
#define WORDS_MAX      512            /* of the command line; serve takes fewer */
#define WAIT_MS        100

/* ---- what passes ---- */

/* Calls fn for every descriptor that passes. */
static void each_descriptor(const struct handover *h, int self, void (*fn)(int fd))
{
    const int others[] = { self, h->admin, h->vault.fd, h->rows, h->line };
    for (unsigned i = 0; i < h->listener_count; i++)
        fn(h->listeners[i]);
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (others[i] >= 0)
            fn(others[i]);
}

static void keep_over_exec(int fd) { (void)fcntl(fd, F_SETFD, 0); }
static void close_at_exec(int fd) { (void)fcntl(fd, F_SETFD, FD_CLOEXEC); }

/* A file of memory with h in it, or -1 with errno. */
static int handover_file(const struct handover *h)
{
    int fd = memfd_create("weir-upgrade", MFD_CLOEXEC);
    if (fd >= 0 && pwrite(fd, h, sizeof *h, 0) == (ssize_t)sizeof *h)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    errno = error;
    return -1;
}

static bool announce(int fd)
{
    char number[16];
    snprintf(number, sizeof number, "%d", fd);
    return setenv(VARIABLE, number, 1) == 0;
}

/* ---- taking over ---- */

bool handover_is_due(void) { return getenv(VARIABLE) != NULL; }

bool handover_take(struct handover *out, bool is_check, struct complaint *why)
{
    const char *number = getenv(VARIABLE);
    uint64_t fd;
    struct handover h;
    bool is_number = number != NULL && text_to_u64(text_of(number), INT32_MAX, &fd);
    unsetenv(VARIABLE);
    if (!is_number || pread((int)fd, &h, sizeof h, 0) < (ssize_t)offsetof(struct handover, keeper) || h.magic != HANDOVER_MAGIC)
        return complain(why, NULL, 0, 0, VARIABLE " is set, but no weir upgrades to this one: unset it");
    if (h.version != HANDOVER_VERSION || h.bytes != sizeof h)
        return complain(why, NULL, 0, 0, "the running weir hands over in another way (version %u, this one takes %u): stop it and start this one",
                        h.version, HANDOVER_VERSION);
    if (h.keeper != (is_check ? getppid() : getpid()))
        return complain(why, NULL, 0, 0, VARIABLE " is set, but for another process: unset it");
    each_descriptor(&h, -1, close_at_exec);
    close((int)fd);
    *out = h;
    return true;
}

void handover_wait(void) { (void)poll(NULL, 0, WAIT_MS); }

/* ---- giving ---- */

/* The check's command line: the same words, to another command. An older program does not know it and says so, where `serve` might start to serve. */
static char *const *check_words(char *const *argv)
{
    static char *words[WORDS_MAX + 1];
    size_t n = 0;
    for (; argv[n] != NULL && n < WORDS_MAX; n++)
        words[n] = argv[n];
    words[n] = NULL;
    if (n > 1)
        words[1] = (char *)(uintptr_t) "successor";
    return words;
}

pid_t handover_check(const struct keeper_options *o, const struct handover *h, int *out_said)
{
    int said[2] = { -1, -1 }, fd = handover_file(h);
    pid_t keeper = getpid(), pid = fd >= 0 && pipe2(said, O_CLOEXEC) == 0 ? fork() : -1;
    if (pid == 0) {
        die_with(keeper);
        dup2(said[1], STDOUT_FILENO);
        dup2(said[1], STDERR_FILENO);
        each_descriptor(h, fd, keep_over_exec);
        if (announce(fd))
            execv(o->program, check_words(o->argv));
        dprintf(STDERR_FILENO, "%s: %s\n", o->program, strerror(errno));
        _exit(127);
    }
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (said[1] >= 0)
        close(said[1]);
    if (pid < 0 && said[0] >= 0)
        close(said[0]);
    else
        *out_said = said[0];
    errno = error;
    return pid;
}

void handover_become(const struct keeper_options *o, const struct handover *h)
{
    int fd = handover_file(h);
    if (fd < 0)
        return;
    each_descriptor(h, fd, keep_over_exec);
    if (announce(fd))
        execv(o->program, (char *const *)(uintptr_t)o->argv);
    int error = errno;
    unsetenv(VARIABLE);
    each_descriptor(h, fd, close_at_exec);
    close(fd);
    errno = error;
}

void handover_begin(struct handover *h)
{
    h->magic = HANDOVER_MAGIC;
    h->version = HANDOVER_VERSION;
    h->bytes = sizeof *h;
    h->keeper = getpid();
}

/* ---- which program ---- */

static bool is_running_one(const char *path)
{
    struct stat a, b;
    return stat(path, &a) == 0 && stat("/proc/self/exe", &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

bool handover_program(const char *word, char *out, size_t room)
{
    char here[PATH_MOST];
    bool is_whole = word[0] == '/', is_path = strchr(word, '/') != NULL;
    if (is_path && (is_whole || getcwd(here, sizeof here) != NULL) &&
        snprintf(out, room, "%s%s%s", is_whole ? "" : here, is_whole ? "" : "/", word) < (int)room && is_running_one(out))
        return true;
    ssize_t n = readlink("/proc/self/exe", out, room - 1);
    out[MAX(n, 0)] = '\0';
    return n > 0 && (size_t)n < room - 1;
}
