/* system.c: what the machine gives us: processors, descriptors, who has a port. cli/ asks at start-up. */
#include "keeper/keeper.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

void system_open_standard(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) /* in order, so that each open takes the number that is free */
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", O_RDWR | O_NOCTTY);
}

/* ---- processors ---- */

static bool read_small(const char *path, char *out, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, out, room - 1) : -1;
    if (fd >= 0)
        close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static unsigned cpus_by_affinity(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return (unsigned)CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN); /* more processors than a cpu_set_t has */
    return online > 0 ? (unsigned)online : 1;
}

/* quota/period rounded up; 0 = no limit. */
static unsigned share(long long quota, long long period)
{
    return quota > 0 && period > 0 ? (unsigned)MIN((quota + period - 1) / period, 1 << 20) : 0;
}

/* One folder of a cgroup: v2's "cpu.max" is "max 100000" or "150000 100000". */
static uint64_t quota_of(const char *dir)
{
    char path[PATH_MOST + 64], text[64], period[64];
    long long quota, length;
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (read_small(path, text, sizeof text))
        return sscanf(text, "%lld %lld", &quota, &length) == 2 ? share(quota, length) : 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
    if (!read_small(path, text, sizeof text))
        return 0;
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
    return read_small(path, period, sizeof period) && sscanf(text, "%lld", &quota) == 1 && sscanf(period, "%lld", &length) == 1 ? share(quota, length) : 0;
}

/* One folder of a cgroup: v2's "memory.max" is "max" or bytes; v1 says "no limit" by a number near 2^63. */
static uint64_t memory_of(const char *dir)
{
    static const char *const files[] = { "memory.max", "memory.limit_in_bytes" };
    char path[PATH_MOST + 64], text[64];
    uint64_t bytes;
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        if (!read_small(path, text, sizeof text))
            continue;
        text[strcspn(text, "\n")] = '\0';
        return text_to_u64(text_of(text), INT64_MAX / 2, &bytes) ? bytes : 0;
    }
    return 0;
}

/* A controller of cgroups, and how to read its limit in one folder; 0 = none there. */
struct controller {
    const char *v1_names[3]; /* as the middle of a line has it; the first is the folder it is mounted at */
    uint64_t (*limit_of)(const char *dir);
};

/* The tightest limit from our group up to the root: any of them binds. */
static uint64_t limit_up(const struct controller *c, const char *root, const char *group)
{
    char dir[PATH_MOST];
    uint64_t least = 0;
    if (snprintf(dir, sizeof dir, "%s%s", root, group) >= (int)sizeof dir)
        return 0;
    while (strlen(dir) >= strlen(root)) { /* ends: each round takes a part off */
        uint64_t here = c->limit_of(dir);
        if (here != 0 && (least == 0 || here < least))
            least = here;
        char *slash = strrchr(dir, '/');
        if (slash == NULL)
            break;
        *slash = '\0';
    }
    return least;
}

/* A line of /proc/self/cgroup is NUMBER:CONTROLLERS:PATH; v2's has no controllers. */
static uint64_t limit_of_line(const struct controller *c, const char *cgroups, char *line)
{
    char root[PATH_MOST];
    char *controllers = strchr(line, ':'), *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
    if (group == NULL)
        return 0;
    *group++ = '\0';
    controllers++;
    if (*controllers == '\0')
        return limit_up(c, cgroups, strcmp(group, "/") == 0 ? "" : group);
    for (size_t i = 0; i < ARRAY_LEN(c->v1_names) && c->v1_names[i] != NULL; i++)
        if (strcmp(controllers, c->v1_names[i]) == 0 && snprintf(root, sizeof root, "%s/%s", cgroups, c->v1_names[0]) < (int)sizeof root) {
            uint64_t inside = limit_up(c, root, strcmp(group, "/") == 0 ? "" : group);
            return inside != 0 ? inside : c->limit_of(root); /* in a container the path is the host's, the mount is ours */
        }
    return 0;
}

/* The tightest limit of all hierarchies; 0 = none. */
static uint64_t cgroup_limit(const struct controller *c, const char *lines, const char *cgroups)
{
    char line[PATH_MOST];
    uint64_t least = 0;
    FILE *f = fopen(lines, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) { /* a line a hierarchy: 14 at most */
        line[strcspn(line, "\n")] = '\0';
        uint64_t here = limit_of_line(c, cgroups, line);
        least = here != 0 && (least == 0 || here < least) ? here : least;
    }
    if (f != NULL)
        fclose(f);
    return least;
}

unsigned system_cpus(void)
{
    static const struct controller cpu = { { "cpu", "cpu,cpuacct", "cpuacct,cpu" }, quota_of };
    uint64_t quota = cgroup_limit(&cpu, "/proc/self/cgroup", "/sys/fs/cgroup");
    unsigned cpus = cpus_by_affinity();
    return MAX(quota != 0 ? (unsigned)MIN(cpus, quota) : cpus, 1u);
}

uint64_t system_memory(const char *lines, const char *cgroups)
{
    static const struct controller memory = { { "memory" }, memory_of };
    uint64_t limit = cgroup_limit(&memory, lines, cgroups);
    uint64_t physical = (uint64_t)MAX(sysconf(_SC_PHYS_PAGES), 0L) * (uint64_t)MAX(sysconf(_SC_PAGESIZE), 0L);
    return limit != 0 && (physical == 0 || limit < physical) ? limit : physical;
}

uint64_t system_raise_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 1024;
    rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : soft;
}

/* ---- who has a port ---- */

/* The inode of the socket that listens on port, from /proc/net/tcp or tcp6; 0 = none. */
static unsigned long inode_of_port(const char *table, uint16_t port)
{
    char line[512];
    unsigned long inode = 0;
    FILE *f = fopen(table, "re");
    if (f == NULL)
        return 0;
    while (inode == 0 && fgets(line, sizeof line, f) != NULL) {
        unsigned its_port, state;
        unsigned long its_inode;
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*s %x %*s %*s %*s %*s %*s %lu", &its_port, &state, &its_inode) == 3 && its_port == port && state == 0x0a)
            inode = its_inode;
    }
    fclose(f);
    return inode;
}

static bool has_socket(const char *pid, unsigned long inode)
{
    char dir[64 + 256], link[64], wanted[64];
    snprintf(dir, sizeof dir, "/proc/%s/fd", pid);
    snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
    DIR *d = opendir(dir);
    bool found = false;
    for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL && !found; e = readdir(d)) {
        ssize_t n = readlinkat(dirfd(d), e->d_name, link, sizeof link - 1);
        found = n > 0 && (link[n] = '\0', strcmp(link, wanted) == 0);
    }
    if (d != NULL)
        closedir(d);
    return found;
}

bool system_port_holder(uint16_t port, char *out, size_t room)
{
    char path[64 + 256], name[64];
    unsigned long inode = inode_of_port("/proc/net/tcp", port);
    if (inode == 0)
        inode = inode_of_port("/proc/net/tcp6", port);
    out[0] = '\0';
    DIR *d = inode != 0 ? opendir("/proc") : NULL;
    for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL && out[0] == '\0'; e = readdir(d)) {
        if (!isdigit((unsigned char)e->d_name[0]) || !has_socket(e->d_name, inode))
            continue;
        snprintf(path, sizeof path, "/proc/%s/comm", e->d_name);
        if (!read_small(path, name, sizeof name))
            snprintf(name, sizeof name, "a program");
        name[strcspn(name, "\n")] = '\0';
        snprintf(out, room, "%s (pid %s)", name, e->d_name);
    }
    if (d != NULL)
        closedir(d);
    return out[0] != '\0';
}

/* ---- files ---- */

bool system_program_dir(char *out, size_t room)
{
    ssize_t n = readlink("/proc/self/exe", out, room - 1);
    if (n <= 0)
        return false;
    out[n] = '\0';
    char *slash = strrchr(out, '/');
    if (slash != NULL)
        *slash = '\0';
    return slash != NULL;
}

bool system_write_file(const char *path, struct text content, bool replace, struct complaint *why)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (replace ? O_TRUNC : O_EXCL), 0644);
    if (fd < 0 && errno == EEXIST)
        return complain(why, path, 0, 0, "is there already; --force replaces it, -o names another file");
    if (fd < 0)
        return complain(why, path, 0, 0, "%s", strerror(errno));
    while (content.len > 0) {
        ssize_t n = write(fd, content.at, content.len);
        if (n < 0 && errno != EINTR) {
            int error = errno;
            close(fd);
            return complain(why, path, 0, 0, "%s", strerror(error));
        }
        content.at += MAX(n, 0);
        content.len -= (size_t)MAX(n, 0);
    }
    return close(fd) == 0 || complain(why, path, 0, 0, "%s", strerror(errno));
}
