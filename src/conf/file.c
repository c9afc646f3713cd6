/* file.c: reads a whole small file: the configuration, or a ${file:...}. Called by load.c and expand.c, never on a task's stack. */
#include "conf/inner.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool content_read(struct loading *l, const struct place *at, const char *what, int fd, struct buf *out)
{
    for (;;) { /* ends at the file's end, or at out's ceiling */
        size_t left = out->max - buf_len(out);
        char past;
        ssize_t n = left > 0 ? read(fd, buf_end(out), left) : read(fd, &past, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return refuse(l, at, "%scannot be read: %s", what, strerror(errno));
        if (n == 0)
            return true;
        if (left == 0)
            return refuse(l, at, "%slarger than %zu bytes", what, out->max);
        buf_added(out, (size_t)n);
    }
}

bool file_is_there(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

bool file_read(struct loading *l, const struct place *at, const char *path, const char *what, struct buf *out)
{
    bool must_be_file = what != NULL;
    struct stat st;
    what = must_be_file ? what : "";
    if (buf_reserve(out, out->max) != OK) /* all at once: growing would leave copies of secrets behind */
        return refuse_memory(l);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (must_be_file ? O_NONBLOCK : 0)); /* a FIFO must not hold a reload up */
    if (fd < 0)
        return refuse(l, at, "%scannot be opened: %s", what, strerror(errno));
    bool is_ok;
    if (must_be_file && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
        is_ok = refuse(l, at, "%snot a regular file", what);
    else
        is_ok = content_read(l, at, what, fd, out);
    (void)close(fd); /* read only: nothing can be lost */
    return is_ok;
}
