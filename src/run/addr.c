/* addr.c: addresses as text and back. Called by whoever listens or connects. */
#include "run/world.h"
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

bool addr_from_text(struct addr *a, struct text host, uint16_t port)
{
    char name[64];
    bool brackets = host.len >= 2 && host.at[0] == '[' && host.at[host.len - 1] == ']';
    if (brackets)
        host = (struct text){ host.at + 1, host.len - 2 };
    if (host.len == 0 || host.len >= sizeof name || memchr(host.at, 0, host.len) != NULL) /* inet_pton would stop at the NUL */
        return false;
    memcpy(name, host.at, host.len);
    name[host.len] = 0;

    memset(a, 0, sizeof *a);
    if (!brackets && inet_pton(AF_INET, name, &a->in.sin_addr) == 1) { /* brackets hold IPv6 only (RFC 3986 3.2.2) */
        a->in.sin_family = AF_INET;
        a->in.sin_port = htons(port);
        a->len = sizeof a->in;
        return true;
    }
    if (inet_pton(AF_INET6, name, &a->in6.sin6_addr) == 1) {
        a->in6.sin6_family = AF_INET6;
        a->in6.sin6_port = htons(port);
        a->len = sizeof a->in6;
        return true;
    }
    return false;
}

void addr_unix(struct addr *a, const char *path)
{
    size_t n = strlen(path);
    ASSERT(n < sizeof a->un.sun_path);
    memset(a, 0, sizeof *a);
    a->un.sun_family = AF_UNIX;
    memcpy(a->un.sun_path, path, n + 1);
    a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
}

bool addr_is_loopback(const struct addr *a)
{
    switch (a->any.sa_family) {
    case AF_INET:
        return (ntohl(a->in.sin_addr.s_addr) >> 24) == 127;
    case AF_INET6:
        return IN6_IS_ADDR_LOOPBACK(&a->in6.sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr) && a->in6.sin6_addr.s6_addr[12] == 127);
    case AF_UNIX:
        return true;
    default:
        return false;
    }
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return a->len == b->len && memcmp(&a->any, &b->any, a->len) == 0;
}

bool addrs_have(const struct addrs *list, const struct addr *a)
{
    for (uint32_t i = 0; i < list->count; i++)
        if (addr_equal(&list->at[i], a))
            return true;
    return false;
}

bool addrs_equal(const struct addrs *a, const struct addrs *b)
{
    for (uint32_t i = 0; i < a->count; i++)
        if (!addrs_have(b, &a->at[i]))
            return false;
    return a->count == b->count; /* no list names an address twice */
}

char *addr_print(const struct addr *a, char out[64])
{
    char name[INET6_ADDRSTRLEN] = "?";
    if (a->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &a->in.sin_addr, name, sizeof name);
        snprintf(out, 64, "%s:%u", name, ntohs(a->in.sin_port));
    } else if (a->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &a->in6.sin6_addr, name, sizeof name);
        snprintf(out, 64, "[%s]:%u", name, ntohs(a->in6.sin6_port));
    } else {
        snprintf(out, 64, "unix");
    }
    return out;
}
