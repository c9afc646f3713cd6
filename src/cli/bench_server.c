/* bench_server.c: what the server under test takes from its machine: processor time and memory of a process and its children, from /proc. For `weir bench --pid`. */
#include "cli/bench.h"
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define LOOKS_MAX     8192 /* once a second: two hours; later ones are not kept */
#define PROCESSES_MAX 64   /* a server and its children, and theirs */
#define STAT_BYTES    1024 /* /proc/PID/stat has some 300 */

struct look {
    double at_s, cpu_s, rss_mb; /* since the beginning; used until then; now */
};

struct bench_server {
    pid_t pid;
    double cpu_before; /* seconds, at the beginning */
    unsigned count;
    struct look looks[LOOKS_MAX];
};

static bool read_proc(pid_t pid, const char *file, char *out, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, room - 1) : -1;
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

/* proc(5): behind the name in brackets come state, ppid, ...; utime and stime are the 12th and 13th from there, rss the 22nd, in pages. */
static bool look_at(pid_t pid, struct look *sum)
{
    char text[STAT_BYTES];
    unsigned long long utime, stime, pages;
    if (!read_proc(pid, "stat", text, sizeof text))
        return false;
    const char *after = strrchr(text, ')');
    if (after == NULL || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %*d %*d %*d %*d %*d %*d %*u %*u %llu", &utime, &stime, &pages) != 3)
        return false;
    sum->cpu_s += (double)(utime + stime) / (double)sysconf(_SC_CLK_TCK);
    sum->rss_mb += (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
    return true;
}

/* Adds the children of one process to the list. A thread's own are listed with the thread; servers fork in their first. */
static unsigned add_children(pid_t of, pid_t *pids, unsigned count)
{
    char path[64], text[STAT_BYTES];
    snprintf(path, sizeof path, "task/%d/children", (int)of);
    if (!read_proc(of, path, text, sizeof text))
        return count;
    char *at = text, *end;
    for (long pid = strtol(at, &end, 10); end != at && count < PROCESSES_MAX; pid = strtol(at, &end, 10)) {
        pids[count++] = (pid_t)pid;
        at = end;
    }
    return count;
}

static double count_fds(pid_t pid)
{
    char path[64];
    double count = -2; /* . and .. */
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    if (d == NULL)
        return NAN;
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

/* io_fds: their descriptors are added; NULL: nobody wants to know. */
static bool look_at_all(pid_t pid, struct look *sum, double *io_fds)
{
    pid_t pids[PROCESSES_MAX] = { pid };
    unsigned count = 1;
    for (unsigned i = 0; i < count; i++) {
        if (!look_at(pids[i], sum)) {
            if (i == 0)
                return false;
            continue; /* it has ended meanwhile */
        }
        if (io_fds != NULL)
            *io_fds += count_fds(pids[i]);
        count = add_children(pids[i], pids, count);
    }
    return true;
}

void bench_server_now(pid_t pid, double *out_rss_mb, double *out_fds)
{
    struct look now = { 0 };
    *out_fds = 0;
    bool is_there = look_at_all(pid, &now, out_fds);
    *out_rss_mb = is_there ? now.rss_mb : NAN;
    *out_fds = is_there ? *out_fds : NAN;
}

struct bench_server *bench_server_new(pid_t pid)
{
    struct look first = { 0 };
    struct bench_server *s = look_at_all(pid, &first, NULL) ? mem_zero(sizeof *s) : NULL;
    if (s == NULL)
        return NULL;
    s->pid = pid;
    s->cpu_before = first.cpu_s;
    s->looks[s->count++] = (struct look){ .rss_mb = first.rss_mb };
    return s;
}

void bench_server_look(struct bench_server *s, nanos elapsed)
{
    struct look now = { .at_s = (double)elapsed / (double)NANOS_PER_S };
    if (s->count == LOOKS_MAX || !look_at_all(s->pid, &now, NULL))
        return;
    now.cpu_s -= s->cpu_before;
    s->looks[s->count++] = now;
}

/* A window shows the last look within it, and the processor time since the one before: as a share of one processor. */
static void show_in_window(struct result *r, nanos window_span, const struct look *now, const struct look *before)
{
    double span_s = now->at_s - before->at_s;
    size_t i = (size_t)(MAX(now->at_s - 0.5, 0) * (double)NANOS_PER_S / (double)window_span);
    if (i >= r->window_count || span_s <= 0)
        return;
    r->windows[i].server_cpu = (now->cpu_s - before->cpu_s) / span_s;
    r->windows[i].server_rss_mb = now->rss_mb;
}

void bench_server_report(const struct bench_server *s, nanos window_span, struct result *r)
{
    r->rss_mb = s->looks[0].rss_mb;
    r->server_cpu = s->looks[s->count - 1].cpu_s;
    for (unsigned i = 1; i < s->count; i++) {
        if (s->looks[i].rss_mb > r->rss_mb)
            r->rss_mb = s->looks[i].rss_mb;
        show_in_window(r, window_span, &s->looks[i], &s->looks[i - 1]);
    }
}

void bench_server_free(struct bench_server *s)
{
    mem_free(s);
}
