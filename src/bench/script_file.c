/* script_file.c: reads the files that a load test names, whole: plans, prompts, bodies, traces. Called before a test begins, never on a task's stack. */
#include "bench/script_inner.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define READ_BYTES (256u << 10) /* at a time */

static bool content_read(int fd, const char *path, struct buf *out, struct complaint *why)
{
    for (;;) { /* ends at the file's end, or at out's ceiling */
        enum fail f = buf_reserve(out, READ_BYTES);
        if (f != OK)
            return complain(why, path, 0, 0, f == FAIL_TOO_LARGE ? "larger than %u MiB" : "no memory left to read it (at most %u MiB)", SCRIPT_FILE_MAX >> 20);
        ssize_t n = read(fd, buf_end(out), READ_BYTES);
        if (n < 0 && errno != EINTR)
            return complain(why, path, 0, 0, "cannot be read: %s", strerror(errno));
        if (n == 0)
            return true;
        if (n > 0)
            buf_added(out, (size_t)n);
    }
}

bool script_file_read(const char *path, struct buf *out, struct complaint *why)
{
    buf_init(out, SCRIPT_FILE_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return complain(why, path, 0, 0, "cannot be opened: %s", strerror(errno));
    bool is_ok = content_read(fd, path, out, why);
    (void)close(fd); /* read only: nothing can be lost */
    if (!is_ok)
        buf_fini(out);
    return is_ok;
}
