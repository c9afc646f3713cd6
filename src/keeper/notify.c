/* notify.c: tells systemd how we are (Type=notify): one datagram to the socket it names (sd_notify(3)). keeper.c calls it. */
#include "keeper/keeper.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void notify_reloading(nanos now)
{
    char text[80];
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)(now / NANOS_PER_US));
    notify_systemd(text);
}

void notify_systemd(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct addr a;
    if (path == NULL || (path[0] != '/' && path[0] != '@') || strlen(path) >= sizeof a.un.sun_path)
        return;
    addr_unix(&a, path);
    if (path[0] == '@') { /* the abstract namespace: a NUL in front, none behind */
        a.un.sun_path[0] = '\0';
        a.len--;
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT, &a.any, a.len); /* nobody to tell if it is lost */
    close(fd);
}
