/* dns_cares.c: c-ares on one thread of its own, so that dead name servers keep neither a loop nor a job thread waiting. Called through dns.h.
   c-ares reads /etc/hosts and resolv.conf and has sockets of its own. Each name gets a channel of its own: it sees a changed resolv.conf, asks
   from a port of its own (which a forger would have to guess), and can be given up alone. */
#include "net/dns.h"
#include "base/mem.h"
#include <ares.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOKUPS_MAX 64   /* at once: as many as there may be backends. The next ones wait */
#define FDS_MAX     (LOOKUPS_MAX * ARES_GETSOCK_MAXNUM + 1)
#define TRY_MS      1500 /* one server's time; a second try has twice as long. Together less than anybody here waits */
#define TRIES       2
#define POLL_MS_MAX 1000 /* c-ares says when it wants to look; this is for the case that it does not */

struct lookup {
    struct node node;
    struct dns_question *question;
    ares_channel channel;
    bool ended;
};

struct cares {
    struct dns dns;
    pthread_mutex_t lock;
    struct list asked;    /* struct dns_question; under the lock, as are the next two */
    bool is_started, is_ending;
    int wake;             /* an eventfd */
    pthread_t thread;
    struct list lookups;  /* the thread's own, as is the rest */
    struct pollfd fds[FDS_MAX];
    ares_channel channels[FDS_MAX]; /* whose fd it is */
};

static struct cares *cares_of(struct dns *dns) { return CONTAINER_OF(dns, struct cares, dns); }

/* ---- one name ---- */

static void take_ttl(struct dns_answer *a, int ttl, bool is_first)
{
    nanos ns = (nanos)MAX(ttl, 0) * NANOS_PER_S;
    a->ttl = is_first ? ns : MIN(a->ttl, ns);
}

static void take_addresses(struct dns_answer *a, const struct ares_addrinfo *found)
{
    for (const struct ares_addrinfo_node *n = found->nodes; n != NULL && a->addrs.count < ADDRS_MAX; n = n->ai_next) {
        struct addr *to = &a->addrs.at[a->addrs.count];
        if (n->ai_addrlen > sizeof to->in6)
            continue;
        memcpy(&to->any, n->ai_addr, n->ai_addrlen);
        to->len = n->ai_addrlen;
        take_ttl(a, n->ai_ttl, a->addrs.count++ == 0);
    }
    for (const struct ares_addrinfo_cname *c = found->cnames; c != NULL; c = c->next)
        take_ttl(a, c->ttl, false);
}

/* Also called from within ares_getaddrinfo and ares_cancel. */
static void got(void *arg, int status, int timeouts, struct ares_addrinfo *found)
{
    struct lookup *l = arg;
    struct dns_answer *a = &l->question->answer;
    (void)timeouts;
    l->ended = true;
    a->why = status != ARES_SUCCESS ? ares_strerror(status) : NULL;
    if (status == ARES_SUCCESS)
        take_addresses(a, found);
    ares_freeaddrinfo(found);
}

static void begin(struct lookup *l)
{
    char lookups[] = "fb"; /* the hosts file, then name servers */
    struct ares_options options = { .timeout = TRY_MS, .tries = TRIES, .lookups = lookups };
    struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    int status = ares_init_options(&l->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS);
    if (status == ARES_SUCCESS && l->question->servers[0] != '\0')
        status = ares_set_servers_ports_csv(l->channel, l->question->servers);
    if (status == ARES_SUCCESS)
        ares_getaddrinfo(l->channel, l->question->host, NULL, &hints, got, l);
    else
        got(l, status, 0, NULL);
}

static void end(struct cares *r, struct lookup *l)
{
    list_remove(&r->lookups, &l->node);
    if (l->channel != NULL)
        ares_destroy(l->channel);
    dns_answered(l->question);
    mem_free(l);
}

/* ---- the thread ---- */

/* What was asked meanwhile, as far as there is room. False: it is time to end. */
static bool take_questions(struct cares *r)
{
    struct list taken;
    list_init(&taken);
    pthread_mutex_lock(&r->lock);
    bool goes_on = !r->is_ending;
    while (list_count(&r->lookups) + list_count(&taken) < LOOKUPS_MAX && !list_is_empty(&r->asked))
        list_push(&taken, list_pop(&r->asked));
    pthread_mutex_unlock(&r->lock);
    while (!list_is_empty(&taken)) {
        struct dns_question *q = CONTAINER_OF(list_pop(&taken), struct dns_question, node);
        struct lookup *l = mem_zero(sizeof *l);
        if (l == NULL) {
            q->answer.why = "no memory left";
            dns_answered(q);
            continue;
        }
        l->question = q;
        list_push(&r->lookups, &l->node);
        begin(l);
    }
    return goes_on;
}

static void end_some(struct cares *r)
{
    LIST_EACH(&r->lookups, node) {
        struct lookup *l = CONTAINER_OF(node, struct lookup, node);
        if (!l->ended && atomic_load(&l->question->forgotten))
            ares_cancel(l->channel);
        if (l->ended)
            end(r, l);
    }
}

/* Fills r->fds; returns how many. Lowers *io_wait_ms to when a channel wants to look at the clock. */
static nfds_t gather(struct cares *r, int *io_wait_ms)
{
    ares_socket_t socks[ARES_GETSOCK_MAXNUM];
    nfds_t count = 1;
    r->fds[0] = (struct pollfd){ .fd = r->wake, .events = POLLIN };
    LIST_EACH(&r->lookups, node) {
        struct lookup *l = CONTAINER_OF(node, struct lookup, node);
        struct timeval left;
        const struct timeval *until = ares_timeout(l->channel, NULL, &left);
        unsigned bits = (unsigned)ares_getsock(l->channel, socks, ARES_GETSOCK_MAXNUM);
        if (until != NULL)
            *io_wait_ms = MIN(*io_wait_ms, (int)(until->tv_sec * 1000 + until->tv_usec / 1000) + 1);
        for (unsigned i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
            int events = (bits >> i & 1 ? POLLIN : 0) | (bits >> (i + ARES_GETSOCK_MAXNUM) & 1 ? POLLOUT : 0);
            if (events == 0)
                continue;
            r->channels[count] = l->channel;
            r->fds[count++] = (struct pollfd){ .fd = socks[i], .events = (short)events };
        }
    }
    return count;
}

/* Waits, and lets each channel see what came to it, and the clock. */
static void turn(struct cares *r)
{
    int wait_ms = list_is_empty(&r->lookups) ? -1 : POLL_MS_MAX;
    nfds_t count = gather(r, &wait_ms);
    uint64_t pokes;
    if (poll(r->fds, count, wait_ms) < 0)
        return;
    if (r->fds[0].revents != 0 && read(r->wake, &pokes, sizeof pokes) < 0)
        ASSERT(!"an eventfd that was readable is not");
    for (nfds_t i = 1; i < count; i++) {
        int fd = r->fds[i].fd, came = r->fds[i].revents;
        if (came != 0)
            ares_process_fd(r->channels[i], came & ~POLLOUT ? fd : ARES_SOCKET_BAD, came & POLLOUT ? fd : ARES_SOCKET_BAD);
    }
    LIST_EACH(&r->lookups, node)
        ares_process_fd(CONTAINER_OF(node, struct lookup, node)->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void *resolver(void *arg)
{
    struct cares *r = arg;
    while (take_questions(r)) {
        end_some(r);
        turn(r);
    }
    ASSERT(list_is_empty(&r->lookups)); /* who asked has ended, and waited for its answers */
    return NULL;
}

/* ---- for dns.c ---- */

static bool start(struct cares *r)
{
    r->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (r->wake < 0)
        return false;
    if (pthread_create(&r->thread, NULL, resolver, r) == 0)
        return true;
    close(r->wake);
    return false;
}

static void cares_ask(struct dns *dns, struct dns_question *q)
{
    struct cares *r = cares_of(dns);
    pthread_mutex_lock(&r->lock);
    r->is_started = r->is_started || start(r);
    bool is_taken = r->is_started;
    if (is_taken)
        list_push(&r->asked, &q->node);
    pthread_mutex_unlock(&r->lock);
    if (is_taken) {
        world_wake(r->wake);
    } else {
        q->answer.why = "no thread could be started for it";
        dns_answered(q);
    }
}

static void cares_forget(struct dns *dns, struct dns_question *q)
{
    (void)q;
    world_wake(cares_of(dns)->wake);
}

struct dns *dns_cares_new(void)
{
    struct cares *r = mem_zero(sizeof *r);
    if (r == NULL || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        mem_free(r);
        return NULL;
    }
    r->dns = (struct dns){ cares_ask, cares_forget };
    pthread_mutex_init(&r->lock, NULL);
    list_init(&r->asked);
    list_init(&r->lookups);
    return &r->dns;
}

void dns_cares_free(struct dns *dns)
{
    if (dns == NULL)
        return;
    struct cares *r = cares_of(dns);
    pthread_mutex_lock(&r->lock);
    r->is_ending = true;
    bool is_started = r->is_started;
    pthread_mutex_unlock(&r->lock);
    if (is_started) {
        world_wake(r->wake);
        pthread_join(r->thread, NULL);
        close(r->wake);
    }
    pthread_mutex_destroy(&r->lock);
    ares_library_cleanup();
    mem_free(r);
}
