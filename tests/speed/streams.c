/* streams.c: many clients that read paced streams, each byte checked: streams PORT CONNECTIONS CHUNKS SPREAD_MS KEY. Prints one line of JSON.
   A stream is right when it is 200, holds exactly its own chunks in order (their ids and numbers are paced.c's), then [DONE], then the end of the
   transfer coding. Whatever else happens is an error, counted with its reason. */
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

#define LINE_MAX_ 2048
#define HEAD_MAX  4096
#define WAIT_NS   (30ull * 1000000000u) /* after which whatever is open has failed */

enum part { HEAD, SIZE, DATA, DATA_END, LAST, DONE };

struct stream {
    int fd;
    enum part part;
    uint32_t id, chunks;
    uint64_t left;      /* bytes of the coding's chunk */
    int have;           /* of line */
    int is_marked_done; /* [DONE] was there */
    int has_failed;
    uint64_t began, last;
    char line[HEAD_MAX];
};

static struct stream *streams;
static uint32_t count, chunks, ended, failed, open_now, open_max, chunks_ok, reads, reads_with_chunk;
static double *delays, *gaps, *totals;
static uint32_t delay_count, gap_count, total_count;
static const char *first_reason = "";
static int poll_fd;

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void finish(struct stream *s, const char *why)
{
    if (s->fd < 0)
        return;
    close(s->fd);
    s->fd = -1;
    open_now--;
    ended++;
    if (why != NULL) {
        failed++;
        s->has_failed = 1;
        if (first_reason[0] == 0)
            first_reason = why;
    } else {
        totals[total_count++] = (double)(now_ns() - s->began) / 1e6;
    }
}

/* A line of the events. Returns what is wrong, or NULL. */
static const char *line_done(struct stream *s, const char *line)
{
    static const char mark[] = "\"content\":\"";
    if (line[0] == 0 || line[0] == ':')
        return NULL;
    if (strncmp(line, "data: ", 6) != 0)
        return "a line that is not data";
    if (s->is_marked_done)
        return "data after [DONE]";
    if (strcmp(line, "data: [DONE]") == 0) {
        s->is_marked_done = 1;
        return s->chunks == chunks ? NULL : "chunks are missing";
    }
    const char *at = strstr(line, mark);
    if (at == NULL)
        return strstr(line, "\"error\"") != NULL ? "an error event" : NULL;
    unsigned id, number;
    unsigned long long sent;
    if (sscanf(at + sizeof mark - 1, "%8u.%4u.%16llu ", &id, &number, &sent) != 3)
        return "a chunk that was not sent";
    if (id != s->id)
        return "another stream's chunk";
    if (number != s->chunks)
        return "a chunk out of order";
    uint64_t now = now_ns();
    if (s->chunks++ > 0)
        gaps[gap_count++] = (double)(now - s->last) / 1e6;
    s->last = now;
    delays[delay_count++] = (double)(now - sent) / 1e3;
    chunks_ok++;
    return NULL;
}

static const char *payload(struct stream *s, const char *at, size_t n)
{
    const char *why = NULL;
    for (size_t i = 0; i < n && why == NULL; i++) {
        if (at[i] == '\n') {
            s->line[s->have] = 0;
            s->have = 0;
            why = line_done(s, s->line);
        } else if (at[i] != '\r') {
            if (s->have >= LINE_MAX_)
                return "a line too long";
            s->line[s->have++] = at[i];
        }
    }
    return why;
}

static const char *head_done(struct stream *s)
{
    s->line[s->have] = 0;
    if (strncmp(s->line, "HTTP/1.1 200", 12) != 0)
        return "not 200";
    if (strcasestr(s->line, "transfer-encoding: chunked") == NULL)
        return "not chunked";
    s->have = 0;
    s->left = 0;
    s->part = SIZE;
    return NULL;
}

/* The head, byte by byte, then the transfer coding. Returns what is wrong, or NULL. */
static const char *feed(struct stream *s, const char *at, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    const char *why = NULL;
    for (size_t i = 0; i < n && why == NULL; i++) {
        char c = at[i];
        if (s->part == HEAD) {
            if (s->have >= HEAD_MAX - 1)
                return "a head too long";
            s->line[s->have++] = c;
            if (s->have >= 4 && memcmp(s->line + s->have - 4, "\r\n\r\n", 4) == 0)
                why = head_done(s);
        } else if (s->part == SIZE) {
            const char *digit = c == '\r' ? NULL : strchr(hex, c | 0x20);
            if (c == '\n')
                s->part = s->left > 0 ? DATA : LAST;
            else if (digit != NULL && c != 0)
                s->left = s->left * 16 + (uint64_t)(digit - hex);
            else if (c != '\r')
                return "a broken size";
        } else if (s->part == DATA) {
            size_t take = n - i < s->left ? n - i : (size_t)s->left;
            why = payload(s, at + i, take);
            s->left -= take;
            i += take - 1;
            if (s->left == 0)
                s->part = DATA_END;
        } else if (s->part == DATA_END) {
            if (c == '\n')
                s->part = SIZE;
        } else if (s->part == LAST) {
            if (c == '\n')
                s->part = DONE;
        } else {
            return "bytes after the end";
        }
    }
    return why;
}

static void readable(struct stream *s)
{
    char bytes[16384];
    uint32_t before = chunks_ok;
    ssize_t n = recv(s->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        finish(s, n == 0 ? "closed too early" : "reset");
        return;
    }
    const char *why = feed(s, bytes, (size_t)n);
    reads++;
    reads_with_chunk += chunks_ok > before;
    if (why != NULL)
        finish(s, why);
    else if (s->part == DONE)
        finish(s, s->is_marked_done ? NULL : "no [DONE]");
}

static void begin(struct stream *s, int port, const char *key)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };
    char body[1024], out[2048];
    int on = 1;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    s->began = now_ns();
    if (++open_now > open_max)
        open_max = open_now;
    if (s->fd < 0 || connect(s->fd, (struct sockaddr *)&a, sizeof a) < 0) {
        finish(s, "no connection");
        return;
    }
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    int n = snprintf(body, sizeof body, "{\"model\":\"figure\",\"stream\":true,\"stream_options\":{\"include_usage\":true},\"max_tokens\":%u,\"messages\":[{\"role\":\"user\",\"content\":\"figure id %08u\"}]}", chunks, s->id);
    n = snprintf(out, sizeof out, "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", port, key, n, body);
    if (send(s->fd, out, (size_t)n, MSG_NOSIGNAL) != n || epoll_ctl(poll_fd, EPOLL_CTL_ADD, s->fd, &e) < 0)
        finish(s, "could not ask");
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double at_part(double *values, uint32_t n, double part)
{
    if (n == 0)
        return -1;
    qsort(values, n, sizeof *values, by_size);
    return values[(uint32_t)((n - 1) * part)];
}

int main(int argc, char **argv)
{
    struct rlimit files = { 20000, 20000 };
    struct epoll_event events[256];
    if (argc != 6) {
        fprintf(stderr, "usage: streams PORT CONNECTIONS CHUNKS SPREAD_MS KEY\n");
        return 2;
    }
    setrlimit(RLIMIT_NOFILE, &files);
    int port = (int)strtol(argv[1], NULL, 10);
    count = (uint32_t)strtol(argv[2], NULL, 10);
    chunks = (uint32_t)strtol(argv[3], NULL, 10);
    uint64_t spread = (uint64_t)strtol(argv[4], NULL, 10) * 1000000u, began = now_ns();
    streams = calloc(count, sizeof *streams);
    delays = calloc((size_t)count * chunks, sizeof *delays);
    gaps = calloc((size_t)count * chunks, sizeof *gaps);
    totals = calloc(count, sizeof *totals);
    poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!streams || !delays || !gaps || !totals || poll_fd < 0)
        return 1;
    for (uint32_t begun = 0; ended < count && now_ns() - began < WAIT_NS;) {
        while (begun < count && now_ns() - began >= spread * begun / count) {
            streams[begun].id = begun + 1;
            begin(&streams[begun], port, argv[5]);
            begun++;
        }
        int n = epoll_wait(poll_fd, events, 256, begun < count ? 1 : 100);
        for (int i = 0; i < n; i++)
            readable(events[i].data.ptr);
    }
    uint32_t hung = count - ended;
    if (hung > 0 && first_reason[0] == 0)
        first_reason = "not finished in time";
    printf("{\"streams\":%u,\"errors\":%u,\"first_reason\":\"%s\",\"chunks\":%u,\"reads\":%u,\"reads_with_chunk\":%u,\"open_max\":%u,\"elapsed_ms\":%.0f,"
           "\"delay_p50_us\":%.0f,\"delay_p99_us\":%.0f,\"gap_p99_ms\":%.1f,\"total_p50_ms\":%.0f,\"total_max_ms\":%.0f}\n",
           count, failed + hung, first_reason, chunks_ok, reads, reads_with_chunk, open_max, (double)(now_ns() - began) / 1e6,
           at_part(delays, delay_count, 0.5), at_part(delays, delay_count, 0.99), at_part(gaps, gap_count, 0.99), at_part(totals, total_count, 0.5), at_part(totals, total_count, 1));
    return failed + hung > 0;
}
