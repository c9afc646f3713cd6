/* log_file.c: where log lines go: stderr or a file, opened, rotated, and written without ever waiting for a reader. log.c calls it. */
#include "stat/inner.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_FILE_MODE 0640 /* client addresses are in it: not for everyone */

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a pipe must take a line whole");

static bool is_regular(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Puts fd (of path; NULL: stderr) in the place of the one before. */
static void use(struct log *log, int fd, const char *path)
{
    pthread_mutex_lock(&log->lock);
    int old = log->fd;
    log->fd = fd;
    log->is_file = is_regular(fd);
    log->path = path;
    log->torn = false;
    pthread_mutex_unlock(&log->lock);
    if (old != STDERR_FILENO) /* nobody writes to it any more: they hold the lock while they do */
        close(old);
}

enum fail log_open(struct log *log, const char *path)
{
    CHECK(log, LOG);
    int fd = STDERR_FILENO;
    if (path != NULL) /* O_NONBLOCK: path may name a pipe or a terminal. On stderr we may not set it: it is shared with whoever started us */
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, LOG_FILE_MODE);
    if (fd < 0)
        return FAIL_SYSTEM;
    use(log, fd, path);
    return OK;
}

enum fail log_reopen(struct log *log)
{
    CHECK(log, LOG);
    return log->path != NULL ? log_open(log, log->path) : OK;
}

/* ---- writing; the caller holds the lock ---- */

enum written {
    WRITTEN,
    LATER, /* there is no room now */
    NEVER_WILL,
};

static enum written readiness(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLOUT };
    if (poll(&p, 1, 0) <= 0)
        return LATER;
    /* writing to a pipe that nobody reads would raise SIGPIPE */
    return (p.revents & (POLLERR | POLLHUP | POLLNVAL)) != 0 ? NEVER_WILL : WRITTEN;
}

static enum written write_some(struct log *log, const char *bytes, size_t n, size_t *out_n)
{
    ssize_t k = write(log->fd, bytes, n);
    if (k < 0)
        return errno == EAGAIN || errno == EINTR ? LATER : NEVER_WILL;
    *out_n = (size_t)k;
    return k > 0 ? WRITTEN : LATER;
}

/* How much to hand over at once: all for a file; else the whole lines of a piece that a descriptor which is ready takes without waiting. */
static size_t piece_of(const struct log *log, struct text lines)
{
    if (log->is_file || lines.len <= LOG_LINE_MAX)
        return lines.len;
    const char *newline = memrchr(lines.at, '\n', LOG_LINE_MAX);
    ASSERT(newline != NULL); /* no line is longer */
    return (size_t)(newline - lines.at) + 1;
}

static unsigned count_lines(struct text t)
{
    unsigned count = 0;
    for (const char *at = t.at; (at = memchr(at, '\n', (size_t)(t.at + t.len - at))) != NULL; at++)
        count++;
    return count;
}

/* After a write that stopped within a line: its rest is lost, and the next write begins with a newline. Returns bytes done with. */
static size_t skip_torn(struct log *log, struct text piece, size_t n, unsigned *lost)
{
    if (piece.at[n - 1] == '\n')
        return n;
    log->torn = true;
    ++*lost;
    const char *newline = memchr(piece.at + n, '\n', piece.len - n);
    return (size_t)(newline - piece.at) + 1;
}

/* The first piece of lines. *out_done: bytes done with, also when they are lost. */
static enum written write_piece(struct log *log, struct text lines, size_t *out_done, unsigned *lost)
{
    struct text piece = { lines.at, piece_of(log, lines) };
    size_t n = 0;
    enum written is = log->is_file ? WRITTEN : readiness(log->fd);
    if (is == WRITTEN && log->torn) {
        is = write_some(log, "\n", 1, &n);
        log->torn = is != WRITTEN;
        *out_done = 0;
        if (is == WRITTEN)
            return WRITTEN; /* that took room: ask again before the piece */
    } else if (is == WRITTEN) {
        is = write_some(log, piece.at, piece.len, &n);
        *out_done = is == WRITTEN ? skip_torn(log, piece, n, lost) : 0;
    }
    if (is == NEVER_WILL) {
        *out_done = piece.len;
        *lost += count_lines(piece);
    }
    return is;
}

/* Where lines are missing, the first that can be written again says how many. */
static void tell_missing(struct log *log)
{
    char line[LOST_LINE_MAX];
    size_t n, len = log_lost_line(log, line);
    if ((!log->is_file && readiness(log->fd) != WRITTEN) || write_some(log, line, len, &n) != WRITTEN)
        return;
    log->missing = 0;
    log->torn = n < len;
}

size_t log_write_lines(struct log *log, struct text lines, unsigned *out_lost)
{
    unsigned lost = 0;
    size_t done = 0;
    pthread_mutex_lock(&log->lock);
    while (done < lines.len) { /* each round takes a line at least, or mends a torn one */
        size_t n = 0;
        unsigned before = lost;
        if (log->missing > 0 && !log->torn)
            tell_missing(log);
        errno = 0;
        if (write_piece(log, (struct text){ lines.at + done, lines.len - done }, &n, &lost) == LATER)
            break;
        if (lost > before) {
            log->missing += lost - before;
            log->missing_error = errno;
        }
        done += n;
    }
    pthread_mutex_unlock(&log->lock);
    *out_lost = lost;
    return done;
}
