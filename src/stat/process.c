/* process.c: what the kernel says about this process: memory, descriptors, processor time. metrics.c and metrics_json.c show it. */
#include "stat/inner.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* A small file of /proc; always NUL-terminated. */
static void read_small(const char *path, char *out, size_t room)
{
    ssize_t n = -1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, out, room - 1);
        close(fd);
    }
    out[MAX(n, 0)] = '\0';
}

/* The next number of a blank-separated list; 0 when there is none. */
static uint64_t next_number(struct text *rest)
{
    struct text word;
    uint64_t value = 0;
    *rest = text_cut(*rest, ' ', &word);
    return text_to_u64(word, UINT64_MAX, &value) ? value : 0;
}

/* Linux 6.2 tells the number as the directory's size; before, its entries have to be counted, which takes a microsecond each. */
static uint64_t count_open_fds(void)
{
    struct stat st;
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
        return (uint64_t)st.st_size;

    uint64_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return 0;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) /* bounded by RLIMIT_NOFILE */
        count += e->d_name[0] != '.';
    closedir(dir);
    return count > 0 ? count - 1 : 0; /* the directory's own */
}

static nanos span_of(struct timeval tv)
{
    return (nanos)tv.tv_sec * NANOS_PER_S + (nanos)tv.tv_usec * NANOS_PER_US;
}

void process_read(struct process_numbers *out)
{
    char statm[128];
    read_small("/proc/self/statm", statm, sizeof statm);
    struct text rest = text_of(statm);
    uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    struct process_numbers p = { .open_fds = count_open_fds() };
    p.virtual_bytes = next_number(&rest) * page_bytes;
    p.resident_bytes = next_number(&rest) * page_bytes;

    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) == 0)
        p.cpu = span_of(used.ru_utime) + span_of(used.ru_stime);
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
        p.max_fds = limit.rlim_cur;
    *out = p;
}
