/* listen.c: the sockets that outlive a server: for clients, and for the operator. cli/serve.c opens them before the first server starts. */
#include "keeper/keeper.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSED_FIRST 3 /* sd_listen_fds(3) */

static uint16_t port_of(int fd)
{
    struct addr a = { .len = sizeof a - offsetof(struct addr, any) };
    if (getsockname(fd, &a.any, &a.len) != 0)
        return 0;
    return a.any.sa_family == AF_INET ? ntohs(a.in.sin_port) : a.any.sa_family == AF_INET6 ? ntohs(a.in6.sin6_port) : 0;
}

/* Sockets from systemd, if they are meant for this process. */
static bool take_passed(int fds[LISTENERS_MAX], unsigned *out_count, struct complaint *why)
{
    const char *pid = getenv("LISTEN_PID"), *number = getenv("LISTEN_FDS");
    uint64_t for_whom, count;
    *out_count = 0;
    bool are_ours = pid != NULL && number != NULL && text_to_u64(text_of(pid), INT32_MAX, &for_whom) && (pid_t)for_whom == getpid();
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    if (!are_ours)
        return true;
    if (!text_to_u64(text_of(number), LISTENERS_MAX, &count))
        return complain(why, NULL, 0, 0, "LISTEN_FDS is %s; at most %d sockets can be passed", number, LISTENERS_MAX);
    for (unsigned i = 0; i < count; i++) {
        int fd = PASSED_FIRST + (int)i, listens = 0;
        socklen_t n = sizeof listens;
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) != 0 || !listens)
            return complain(why, NULL, 0, 0, "descriptor %d, passed with LISTEN_FDS, is no listening socket", fd);
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        fds[i] = fd;
    }
    *out_count = (unsigned)count;
    return true;
}

static bool bind_one(struct world *world, const struct conf_address *address, const char *key, int *out_fd, struct complaint *why)
{
    struct addr a;
    char holder[128];
    if (!addr_from_text(&a, text_of(address->host), address->port))
        return complain(why, NULL, 0, 0, "%s: %s is no address", key, address->text);
    int fd = world->listen(world, &a);
    *out_fd = fd;
    if (fd >= 0)
        return true;
    if (fd != -EADDRINUSE)
        return complain(why, NULL, 0, 0, "cannot listen on %s: %s", address->text, strerror(-fd));
    return complain(why, NULL, 0, 0, "%s is taken%s%s; choose another with --listen %s:PORT (port 0: any free one)", address->text,
                    system_port_holder(address->port, holder, sizeof holder) ? " by " : "", holder, strchr(address->host, ':') != NULL ? "[::1]" : address->host);
}

bool keeper_listen(struct world *world, const struct conf *conf, int fds[LISTENERS_MAX], unsigned *out_count, uint16_t *out_port, struct complaint *why)
{
    unsigned count;
    if (!take_passed(fds, &count, why))
        return false;
    bool passed = count > 0;
    if (!passed && !bind_one(world, &conf->listen, "listen", &fds[count++], why))
        return false;
    *out_port = port_of(fds[0]);
    if (*out_port == 0 && !passed)
        return complain(why, NULL, 0, 0, "cannot listen on %s: the system does not say at which port", conf->listen.text);
    if (conf->admin.listen.text != NULL && count < LISTENERS_MAX && !bind_one(world, &conf->admin.listen, "admin.listen", &fds[count++], why))
        return false;
    *out_count = count;
    return true;
}

bool keeper_listens_publicly(const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct addr a = { .len = sizeof a - offsetof(struct addr, any) };
        if (getsockname(fds[i], &a.any, &a.len) != 0 || !addr_is_loopback(&a))
            return true;
    }
    return false;
}

static bool somebody_listens(const struct addr *a)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool yes = fd >= 0 && (connect(fd, &a->any, a->len) == 0 || errno == EAGAIN); /* EAGAIN: its queue is full */
    if (fd >= 0)
        close(fd);
    return yes;
}

bool keeper_listen_admin(struct world *world, const char *path, int *out_fd, struct complaint *why)
{
    struct addr a;
    struct stat st;
    addr_unix(&a, path);
    if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
        return complain(why, NULL, 0, 0, "admin.socket: %s is there and is no socket", path);
    if (somebody_listens(&a))
        return complain(why, NULL, 0, 0, "admin.socket: another weir listens on %s", path);
    unlink(path);
    mode_t before = umask(0177); /* 0600 from its first moment */
    int fd = world->listen(world, &a);
    umask(before);
    if (fd < 0)
        return complain(why, NULL, 0, 0, "admin.socket: cannot listen on %s: %s", path, strerror(-fd));
    *out_fd = fd;
    return true;
}

void keeper_unlisten_admin(const char *path)
{
    unlink(path);
}
