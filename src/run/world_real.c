/* world_real.c: the world as it is: epoll, the kernel's sockets and clocks, and a few job threads. Made once by whoever starts workers. */
#include "base/account.h"
#include "base/list.h"
#include "base/mem.h"
#include "run/jobs.h"
#include "run/world.h"
#include <errno.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define JOB_THREADS_MAX 8
#define WAKE_TRIES_MAX 100 /* the kernel has no lasting reason to refuse 8 bytes to an eventfd */

struct real {
    struct world world;
    pthread_mutex_t lock; /* of the job queue */
    pthread_cond_t more;
    struct list queue;
    bool ending;
    unsigned thread_count;
    pthread_t threads[JOB_THREADS_MAX];
};

static struct real *real_of(struct world *w)
{
    return CONTAINER_OF(w, struct real, world);
}

static nanos clock_read(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return (nanos)ts.tv_sec * NANOS_PER_S + ts.tv_nsec;
}

static nanos real_now(struct world *w) { (void)w; return clock_read(CLOCK_MONOTONIC); }
static nanos real_wall(struct world *w) { (void)w; return clock_read(CLOCK_REALTIME); }

static void real_random(struct world *w, void *out, size_t n)
{
    (void)w;
    for (size_t got = 0; got < n;) {
        ssize_t k = getrandom((char *)out + got, n - got, 0);
        ASSERT(k > 0 || errno == EINTR);
        got += k > 0 ? (size_t)k : 0;
    }
}

/* ---- sockets ---- */

static int real_listen(struct world *w, const struct addr *a)
{
    int on = 1;
    (void)w;
    int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (a->any.sa_family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, &a->any, a->len) < 0 || listen(fd, BACKLOG_MAX) < 0) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static void real_backlog(struct world *w, int listener, int max) { (void)w; listen(listener, max); } /* of one that listens it changes nothing else */

static int real_accept(struct world *w, int listener, struct addr *out_peer)
{
    (void)w;
    out_peer->len = sizeof *out_peer - offsetof(struct addr, any);
    int fd = accept4(listener, &out_peer->any, &out_peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* No waiting for more bytes to send; and who vanishes without a word (a pulled cable, a lost route) is noticed after a minute, also when nothing is sent.
   Who is accepted inherits it from the listener, and is spared five system calls. A unix socket has none of this. */
static void set_up(int fd)
{
    static const int on = 1, idle_s = 30, every_s = 10, probes = 3;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every_s, sizeof every_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
}

static int real_connect(struct world *w, const struct addr *a)
{
    (void)w;
    int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    set_up(fd);
    if (connect(fd, &a->any, a->len) < 0 && errno != EINPROGRESS) {
        int rc = -errno;
        close(fd);
        return rc;
    }
    return fd;
}

static int real_connect_result(struct world *w, int fd)
{
    int error = 0;
    socklen_t n = sizeof error;
    (void)w;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
        return -errno;
    return -error;
}

static ssize_t real_read(struct world *w, int fd, void *to, size_t room)
{
    ssize_t n;
    (void)w;
    do
        n = recv(fd, to, room, 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

#define FLAT_BYTES 4096 /* the kernel takes so few from one place sooner than from two, putting them together included: by 0.1 of 3 us */

static ssize_t send_parts(int fd, const struct iovec *parts, int count)
{
    static _Thread_local char flat[FLAT_BYTES];
    struct msghdr message = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count };
    size_t len = 0;
    char *to = flat;
    if (count == 1)
        return send(fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL);
    for (int i = 0; i < count; i++)
        len += parts[i].iov_len;
    if (len > sizeof flat)
        return sendmsg(fd, &message, MSG_NOSIGNAL);
    for (int i = 0; i < count; i++)
        to = mempcpy(to, parts[i].iov_base, parts[i].iov_len);
    ssize_t n = send(fd, flat, len, MSG_NOSIGNAL);
    mem_wipe(flat, len); /* a head may have a key in it */
    return n;
}

static ssize_t real_writev(struct world *w, int fd, const struct iovec *parts, int count)
{
    ssize_t n;
    (void)w;
    do
        n = send_parts(fd, parts, count);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

static void real_shutdown(struct world *w, int fd) { (void)w; shutdown(fd, SHUT_WR); }
static void real_close(struct world *w, int fd) { (void)w; close(fd); }

static void real_reset(struct world *w, int fd)
{
    struct linger now = { .l_onoff = 1, .l_linger = 0 };
    (void)w;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

/* ---- poll ---- */

/* Each poll is an epoll with an eventfd in it; the eventfd's number is found by the table below, since one int names a poll. */
static int wake_fds[1 << 16];

static int real_poll_new(struct world *w)
{
    (void)w;
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0)
        return -errno;
    int wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = NULL };
    if (wake < 0 || poll >= (int)ARRAY_LEN(wake_fds) || epoll_ctl(poll, EPOLL_CTL_ADD, wake, &event) < 0) {
        int rc = wake < 0 ? -errno : -EMFILE;
        if (wake >= 0)
            close(wake);
        close(poll);
        return rc;
    }
    wake_fds[poll] = wake;
    return poll;
}

static void real_poll_free(struct world *w, int poll)
{
    (void)w;
    close(wake_fds[poll]);
    close(poll);
}

static int real_poll_add(struct world *w, int poll, int fd, void *subject, bool shared)
{
    (void)w;
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.ptr = subject };
    event.events |= shared ? EPOLLEXCLUSIVE : EPOLLOUT | EPOLLRDHUP;
    if (shared)
        set_up(fd); /* here, as a listener may also have been handed to us */
    return epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void real_poll_remove(struct world *w, int poll, int fd)
{
    (void)w;
    epoll_ctl(poll, EPOLL_CTL_DEL, fd, NULL);
}

/* To the nanosecond, where the kernel can (epoll_pwait2, Linux 5.11); else whole milliseconds, rounded up: a timer is never early. */
static int wait_for_events(int poll, struct epoll_event *out, int max, nanos until)
{
    static _Atomic bool is_old;
    nanos left = until > 0 && until != NEVER ? until - clock_read(CLOCK_MONOTONIC) : 0;
    left = MAX(left, 0);
    struct timespec span = { .tv_sec = left / NANOS_PER_S, .tv_nsec = left % NANOS_PER_S };
    if (!is_old) {
        int n = epoll_pwait2(poll, out, max, until == NEVER ? NULL : &span, NULL);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM)) /* EPERM: filters of system calls older than this one */
            return n;
        is_old = true;
    }
    return epoll_wait(poll, out, max, until == NEVER ? -1 : (int)MIN((left + NANOS_PER_MS - 1) / NANOS_PER_MS, INT_MAX));
}

static unsigned events_of(uint32_t e)
{
    return ((e & (EPOLLIN | EPOLLRDHUP)) ? WATCH_READ : 0u) | ((e & EPOLLOUT) ? WATCH_WRITE : 0u) |
           ((e & EPOLLRDHUP) ? WATCH_HANGUP : 0u) | ((e & (EPOLLHUP | EPOLLERR)) ? WATCH_READ | WATCH_WRITE | WATCH_HANGUP : 0u);
}

static int real_poll_wait(struct world *w, int poll, struct world_event *out, int max, nanos until)
{
    struct epoll_event fetched[EVENTS_PER_POLL];
    int n = wait_for_events(poll, fetched, MIN(max, (int)ARRAY_LEN(fetched)), until), count = 0;
    ASSERT(n >= 0 || errno == EINTR); /* anything else would make the loop spin */
    (void)w;
    for (int i = 0; i < n; i++) {
        if (fetched[i].data.ptr == NULL)
            continue; /* the eventfd, edge-triggered: nothing to read */
        out[count++] = (struct world_event){ fetched[i].data.ptr, events_of(fetched[i].events) };
    }
    return count;
}

void world_wake(int fd)
{
    uint64_t one = 1;
    for (int tries = 0; write(fd, &one, sizeof one) < 0 && errno != EAGAIN; tries++) /* EAGAIN: the counter is full, it has been woken plenty */
        ASSERT(tries < WAKE_TRIES_MAX); /* a wake that is lost may be a request that waits for ever */
}

static void real_poll_wake(struct world *w, int poll)
{
    (void)w;
    world_wake(wake_fds[poll]);
}

static nanos real_mail_delay(struct world *w) { (void)w; return 0; }

/* ---- jobs ---- */

static void *job_thread(void *arg)
{
    struct real *r = arg;
    pthread_mutex_lock(&r->lock);
    for (;;) {
        struct node *node = list_pop(&r->queue);
        if (node != NULL) {
            struct job *job = CONTAINER_OF(node, struct job, node);
            pthread_mutex_unlock(&r->lock);
            job->work(job->arg);
            job_finished(job);
            pthread_mutex_lock(&r->lock);
        } else if (r->ending) {
            break;
        } else {
            pthread_cond_wait(&r->more, &r->lock);
        }
    }
    pthread_mutex_unlock(&r->lock);
    account_settle();
    return NULL;
}

static enum fail real_job_submit(struct world *w, struct job *job)
{
    struct real *r = real_of(w);
    enum fail f = FAIL_BUSY;
    pthread_mutex_lock(&r->lock);
    if (list_count(&r->queue) < JOBS_QUEUE_MAX && r->thread_count > 0) {
        list_push(&r->queue, &job->node);
        pthread_cond_signal(&r->more);
        f = OK;
    }
    pthread_mutex_unlock(&r->lock);
    return f;
}

struct world *world_real_new(unsigned job_threads)
{
    struct real *r = mem_zero(sizeof *r);
    if (r == NULL)
        return NULL;
    r->world = (struct world){
        .name = "real", .now = real_now, .wall = real_wall, .random = real_random, .listen = real_listen, .backlog = real_backlog, .accept = real_accept,
        .connect = real_connect, .connect_result = real_connect_result, .read = real_read, .writev = real_writev, .shutdown = real_shutdown,
        .reset = real_reset, .close = real_close, .poll_new = real_poll_new, .poll_free = real_poll_free, .poll_add = real_poll_add,
        .poll_remove = real_poll_remove, .poll_wait = real_poll_wait, .poll_wake = real_poll_wake, .mail_delay = real_mail_delay,
        .job_submit = real_job_submit,
    };
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->more, NULL);
    list_init(&r->queue);
    int error = 0;
    for (unsigned i = 0; i < MIN(job_threads, JOB_THREADS_MAX) && error == 0; i++) {
        error = pthread_create(&r->threads[i], NULL, job_thread, r);
        r->thread_count += error == 0;
    }
    if (error != 0) { /* with too few, jobs would be refused and nobody would know why */
        world_real_free(&r->world);
        errno = error;
        return NULL;
    }
    return &r->world;
}

void world_real_free(struct world *w)
{
    struct real *r = real_of(w);
    pthread_mutex_lock(&r->lock);
    r->ending = true;
    pthread_cond_broadcast(&r->more);
    pthread_mutex_unlock(&r->lock);
    for (unsigned i = 0; i < r->thread_count; i++)
        pthread_join(r->threads[i], NULL);
    pthread_cond_destroy(&r->more);
    pthread_mutex_destroy(&r->lock);
    mem_free(r);
}
