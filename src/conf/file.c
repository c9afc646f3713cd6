/* file.c: reads a whole small file: the configuration, or a ${file:...}. Called by load.c and expand.c, never on a task's stack. */
#include "base/random.h"
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

/* Order counts. */
static uint64_t mix(uint64_t mark, uint64_t next)
{
    uint64_t z = mark * 31 + next;
    return random_step(&z);
}

bool file_is_there(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

uint64_t file_mark(const char *path)
{
    struct stat st;
    uint64_t mark = 0;
    if (stat(path, &st) != 0)
        return 0;
    const uint64_t parts[] = { st.st_dev, st.st_ino, (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        mark = mix(mark, parts[i]);
    return MAX(mark, 1u);
}

bool file_note(struct loading *l, const char *path, uint64_t mark)
{
    for (const struct conf_file *f = l->conf->files; f != NULL; f = f->next)
        if (strcmp(f->path, path) == 0)
            return true;
    struct conf_file *f = arena_alloc(&l->conf->arena, sizeof *f);
    const char *copy = f != NULL ? arena_copy(&l->conf->arena, text_of(path)) : NULL;
    if (copy == NULL)
        return refuse_memory(l);
    *f = (struct conf_file){ copy, mark, l->conf->files };
    l->conf->files = f;
    return true;
}

uint64_t conf_mark(const struct conf *c, bool as_read)
{
    uint64_t mark = 0;
    for (const struct conf_file *f = c->files; f != NULL; f = f->next)
        mark = mix(mark, as_read ? f->mark : file_mark(f->path));
    return mark;
}

bool file_read(struct loading *l, const struct place *at, const char *path, const char *what, struct buf *out)
{
    bool must_be_file = what != NULL;
    struct stat st;
    if (l->conf != NULL && !file_note(l, path, file_mark(path))) /* before it is read: what changes meanwhile is seen the next time */
        return false;
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
