/* paced.c: the model server behind both proxies in the figures of streams: paced PORT CHUNKS INTERVAL_MS.
   Every chunk carries its request's id, its number and the nanosecond at which it was sent, so that streams.c can tell whose it is and how long it took.
   One thread. All streams have the same interval, so the next one due always stands at the head of a plain queue. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CONNS_MAX   20000 /* descriptors are the index */
#define REQUEST_MAX 8192
#define WRITE_MAX   2048

struct conn {
    uint32_t id, chunk; /* chunk: sent so far */
    uint32_t era;       /* counts the descriptor's uses: a queue entry of an earlier one is stale */
    int is_streaming;
    int have;
    char request[REQUEST_MAX];
};

struct due {
    uint64_t ns;
    int fd;
    uint32_t era;
};

static struct conn *conns;
static struct due queue[1 << 16];
static uint32_t queue_head, queue_tail;
static int poll_fd;
static uint32_t chunks;
static uint64_t interval_ns;

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void die(const char *what)
{
    fprintf(stderr, "paced: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void drop(int fd)
{
    conns[fd].era++;
    conns[fd].is_streaming = 0;
    close(fd);
}

/* Everything we write fits an empty socket buffer; a peer that lets it fill is cut, and counted as an error there. */
static void put(int fd, const char *bytes, size_t n)
{
    if (send(fd, bytes, n, MSG_NOSIGNAL) != (ssize_t)n)
        drop(fd);
}

static void enqueue(int fd, uint64_t at)
{
    queue[queue_tail++ & 0xffff] = (struct due){ at, fd, conns[fd].era };
}

static size_t event(char *out, size_t room, const char *json)
{
    return (size_t)snprintf(out, room, "%zx\r\ndata: %s\n\n\r\n", strlen(json) + 8, json);
}

static void send_chunk(int fd, struct conn *c)
{
    char json[512], out[WRITE_MAX];
    size_t n;
    snprintf(json, sizeof json, "{\"id\":\"chatcmpl-figure\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"figure\",\"choices\":[{\"index\":0,"
             "\"delta\":{\"content\":\"%08u.%04u.%016llu \"},\"finish_reason\":null}]}", c->id, c->chunk, (unsigned long long)now_ns());
    n = event(out, sizeof out, json);
    if (++c->chunk == chunks) {
        n += event(out + n, sizeof out - n, "{\"id\":\"chatcmpl-figure\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"figure\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}");
        snprintf(json, sizeof json, "{\"id\":\"chatcmpl-figure\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"figure\",\"choices\":[],"
                 "\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":%u,\"total_tokens\":%u}}", chunks, chunks + 100);
        n += event(out + n, sizeof out - n, json);
        n += event(out + n, sizeof out - n, "[DONE]");
        n += (size_t)snprintf(out + n, sizeof out - n, "0\r\n\r\n");
        c->is_streaming = 0;
    }
    put(fd, out, n);
}

static void send_due(void)
{
    uint64_t now = now_ns();
    while (queue_head != queue_tail && queue[queue_head & 0xffff].ns <= now) {
        struct due d = queue[queue_head++ & 0xffff];
        struct conn *c = &conns[d.fd];
        if (c->era != d.era || !c->is_streaming)
            continue;
        send_chunk(d.fd, c);
        if (c->era == d.era && c->is_streaming)
            enqueue(d.fd, d.ns + interval_ns);
    }
}

static void answer(int fd, struct conn *c, const char *body)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const char models[] = "{\"object\":\"list\",\"data\":[{\"id\":\"figure\",\"object\":\"model\",\"created\":0,\"owned_by\":\"upstream\"}]}";
    char out[512];
    const char *id = strstr(body, "figure id ");
    if (strncmp(c->request, "GET ", 4) == 0) {
        int n = snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", sizeof models - 1, models);
        put(fd, out, (size_t)n);
        return;
    }
    if (id == NULL) {
        static const char no[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
        put(fd, no, sizeof no - 1);
        return;
    }
    c->id = (uint32_t)strtoul(id + 10, NULL, 10);
    c->chunk = 0;
    c->is_streaming = 1;
    uint32_t era = c->era;
    put(fd, head, sizeof head - 1);
    if (c->era == era)
        enqueue(fd, now_ns() + interval_ns);
}

/* One request at a time; its length is in Content-Length, as both proxies send it. */
static void readable(int fd)
{
    struct conn *c = &conns[fd];
    ssize_t n = recv(fd, c->request + c->have, (size_t)(REQUEST_MAX - 1 - c->have), 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        drop(fd);
        return;
    }
    c->have += (int)n;
    c->request[c->have] = 0;
    char *end = strstr(c->request, "\r\n\r\n");
    if (end == NULL)
        return;
    char *length = strcasestr(c->request, "\r\ncontent-length:");
    size_t body = length != NULL && length < end ? strtoul(length + 17, NULL, 10) : 0;
    if ((size_t)c->have < (size_t)(end + 4 - c->request) + body)
        return;
    c->have = 0;
    answer(fd, c, end + 4);
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
        if (fd >= CONNS_MAX) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        conns[fd].have = 0;
        conns[fd].is_streaming = 0;
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static int listen_on(int port)
{
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 4096) < 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    struct rlimit files = { CONNS_MAX, CONNS_MAX };
    struct epoll_event events[256];
    if (argc != 4) {
        fprintf(stderr, "usage: paced PORT CHUNKS INTERVAL_MS\n");
        return 2;
    }
    setrlimit(RLIMIT_NOFILE, &files);
    chunks = (uint32_t)strtol(argv[2], NULL, 10);
    interval_ns = (uint64_t)strtol(argv[3], NULL, 10) * 1000000u;
    conns = calloc(CONNS_MAX, sizeof *conns);
    int listener = listen_on((int)strtol(argv[1], NULL, 10));
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = { .events = EPOLLIN, .data.fd = listener };
    if (conns == NULL || poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &e) < 0)
        die("start");
    for (;;) {
        uint64_t now = now_ns(), next = queue_head != queue_tail ? queue[queue_head & 0xffff].ns : now + 1000000000u;
        uint64_t wait = next > now ? next - now : 0;
        struct timespec ts = { (time_t)(wait / 1000000000u), (long)(wait % 1000000000u) };
        int n = epoll_pwait2(poll_fd, events, 256, &ts, NULL);
        for (int i = 0; i < n; i++) {
            if (events[i].data.fd == listener)
                accept_all(listener);
            else
                readable(events[i].data.fd);
        }
        send_due();
    }
}
