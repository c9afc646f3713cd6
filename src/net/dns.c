/* dns.c: a question's way from a task to a resolver and back, and which of the addresses are worth a connect. */
#include "net/dns.h"
#include "base/mem.h"
#include <string.h>

/* Back on the asker's worker. */
static void answer_letter(struct worker *w, void *arg, uint64_t number)
{
    struct dns_question *q = arg;
    (void)number;
    w->jobs--;
    mail_disown(w, 1);
    q->done = true;
    if (atomic_load(&q->forgotten)) {
        mem_free(q);
        return;
    }
    struct task *asker = task_find(w, q->asker.index, q->asker.generation);
    ASSERT(asker != NULL); /* one that leaves says so first */
    task_wake(asker);
}

void dns_answered(struct dns_question *q)
{
    mail_send(q->asker.worker, answer_letter, q, 0);
}

/* "0.0.0.0" is how filters say no, and a connect to it would reach this machine; nobody accepts connections at the others. */
static bool is_usable(const struct addr *a)
{
    if (a->any.sa_family == AF_INET) {
        uint32_t v4 = ntohl(a->in.sin_addr.s_addr);
        return v4 >> 24 != 0 && v4 >> 28 < 0xE; /* 0.0.0.0/8; 224.0.0.0/4 and 240.0.0.0/4 */
    }
    const struct in6_addr *v6 = &a->in6.sin6_addr;
    return a->any.sa_family == AF_INET6 && !IN6_IS_ADDR_UNSPECIFIED(v6) && !IN6_IS_ADDR_MULTICAST(v6);
}

static void keep_usable(const struct dns_answer *from, uint16_t port, struct dns_answer *out)
{
    *out = (struct dns_answer){ .ttl = from->ttl, .why = from->why };
    for (uint32_t i = 0; i < from->addrs.count; i++) {
        struct addr a = from->addrs.at[i];
        if (!is_usable(&a))
            continue;
        if (a.any.sa_family == AF_INET)
            a.in.sin_port = htons(port);
        else
            a.in6.sin6_port = htons(port);
        if (!addrs_have(&out->addrs, &a))
            out->addrs.at[out->addrs.count++] = a;
    }
    if (out->addrs.count == 0 && out->why == NULL)
        out->why = "it has no address that one could connect to";
}

static struct dns_question *question_new(struct task *t, const char *servers, struct text host)
{
    size_t n = servers != NULL ? strlen(servers) : 0;
    struct dns_question *q = mem_zero(sizeof *q + n + 1);
    if (q == NULL)
        return NULL;
    ASSERT(host.len <= DNS_NAME_MAX);
    memcpy(q->host, host.at, host.len);
    memcpy(q->servers, n > 0 ? servers : "", n);
    q->asker = task_ref(t);
    return q;
}

enum fail dns_resolve(struct task *t, struct dns *dns, const char *servers, struct text host, uint16_t port, nanos deadline, struct dns_answer *out)
{
    struct dns_question *q = question_new(t, servers, host);
    if (q == NULL || mail_own(t->worker, 1) != OK) {
        mem_free(q);
        return FAIL_NO_MEMORY;
    }
    t->worker->jobs++; /* a letter will come, and the worker stays until then */
    dns->ask(dns, q);
    while (!q->done) {
        enum fail f = task_park(t, "name", deadline);
        if (f != OK && !q->done) {
            atomic_store(&q->forgotten, true);
            dns->forget(dns, q);
            out->why = "no name server has answered";
            return f == FAIL_TIMEOUT ? FAIL_NAME : f;
        }
    }
    keep_usable(&q->answer, port, out);
    mem_free(q);
    return out->why == NULL ? OK : FAIL_NAME;
}
