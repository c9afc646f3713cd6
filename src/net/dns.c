/* dns.c: getaddrinfo as a job. */
#include "net/dns.h"
#include "run/jobs.h"
#include <netdb.h>
#include <stdio.h>
#include <string.h>

struct lookup {
    char host[256], port[8];
    struct addr addr;
    bool found;
};

static void look_up(void *arg)
{
    struct lookup *l = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG }, *list = NULL;
    if (getaddrinfo(l->host, l->port, &hints, &list) != 0 || list == NULL)
        return;
    struct addrinfo *best = list;
    for (struct addrinfo *a = list; a != NULL; a = a->ai_next)
        if (a->ai_family == AF_INET) { /* model servers on a desk listen on 127.0.0.1 more often than on ::1 */
            best = a;
            break;
        }
    if (best->ai_addrlen <= sizeof l->addr.in6) {
        memcpy(&l->addr.any, best->ai_addr, best->ai_addrlen);
        l->addr.len = best->ai_addrlen;
        l->found = true;
    }
    freeaddrinfo(list);
}

enum fail dns_resolve(struct task *t, struct text host, uint16_t port, nanos deadline, struct addr *out)
{
    bool abandoned;
    struct lookup *l = mem_zero(sizeof *l);
    if (l == NULL)
        return FAIL_NO_MEMORY;
    if (host.len >= sizeof l->host) {
        mem_free(l);
        return FAIL_NAME;
    }
    memcpy(l->host, host.at, host.len);
    snprintf(l->port, sizeof l->port, "%u", port);
    enum fail f = job_run(t, "name", look_up, mem_free, l, deadline, &abandoned);
    if (f == OK && !l->found)
        f = FAIL_NAME;
    if (f == OK)
        *out = l->addr;
    if (!abandoned)
        mem_free(l);
    return f;
}
