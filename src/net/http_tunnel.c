/* http_tunnel.c: CONNECT: a connection to a proxy becomes one to the host behind it. Called by upstream's conns, before anything is said to that host. */
#include "net/http_client.h"
#include <stdio.h>
#include <string.h>

#define REQUEST_BYTES_MAX 2048 /* host twice, credentials of a proxy's URL, and the words between */
#define ANSWER_BYTES_MAX  (16 * CONN_HEAD_BYTES_MAX) /* the largest head with its bookkeeping, also when it comes byte by byte and words grow again and again */

static enum fail compose(struct buf *b, struct text host, uint16_t port, struct text credentials)
{
    bool v6 = text_find(host, TEXT(":")) >= 0;
    char to[300];
    int n = snprintf(to, sizeof to, v6 ? "[%.*s]:%u" : "%.*s:%u", TEXT_ARG(host), port);
    ASSERT((size_t)n < sizeof to); /* a host has at most 253 bytes */
    enum fail f = buf_printf(b, "CONNECT %s HTTP/1.1\r\nhost: %s\r\nuser-agent: weir\r\n", to, to);
    if (f == OK && credentials.len > 0)
        f = buf_printf(b, "proxy-authorization: Basic %.*s\r\n", TEXT_ARG(credentials));
    return f == OK ? buf_add_text(b, TEXT("\r\n")) : f;
}

static enum fail ask(struct task *t, struct conn *c, struct text request, nanos deadline, char why[TUNNEL_WHY_MAX])
{
    const struct http_head *head;
    enum fail f = conn_send(t, c, request, TEXT_NONE, deadline);
    if (f == OK)
        f = conn_head(t, c, deadline, &head);
    if (f == FAIL_TIMEOUT)
        snprintf(why, TUNNEL_WHY_MAX, "it does not answer (timeouts.connect)");
    else if (f == FAIL_RESET)
        snprintf(why, TUNNEL_WHY_MAX, "it closed the connection%s%s", c->error != 0 ? ": " : "", c->error != 0 ? wire_error_text(c->error) : "");
    else if (f == FAIL_PROTOCOL)
        snprintf(why, TUNNEL_WHY_MAX, "its answer is not HTTP as we know it: %.80s", c->parser.why != NULL ? c->parser.why : "malformed");
    if (f == FAIL_TIMEOUT || f == FAIL_RESET || f == FAIL_PROTOCOL)
        return FAIL_CONNECT;
    if (f != OK)
        return f;
    if (head->status < 200 || head->status > 299) {
        snprintf(why, TUNNEL_WHY_MAX, "it answered %d%s", head->status, head->status == 407 ? ": it wants another user or password (backends.*.proxy)" : "");
        return FAIL_CONNECT;
    }
    if (buf_len(&c->in) > 0) { /* behind a tunnel we speak first: this would be taken for the backend's answer */
        snprintf(why, TUNNEL_WHY_MAX, "it sent more than its answer");
        return FAIL_CONNECT;
    }
    return OK;
}

enum fail conn_tunnel(struct task *t, struct conn *c, struct text host, uint16_t port, struct text credentials, nanos deadline, char why[TUNNEL_WHY_MAX])
{
    struct buf request;
    struct arena arena;
    CHECK(c, CONN);
    buf_init(&request, REQUEST_BYTES_MAX);
    arena_init(&arena, NULL, 0, ANSWER_BYTES_MAX);
    snprintf(why, TUNNEL_WHY_MAX, "asking it failed");
    conn_begin(c, &arena, true); /* no body follows, whatever a 200 to CONNECT says about one */
    enum fail f = compose(&request, host, port, credentials);
    if (f == OK)
        f = ask(t, c, buf_text(&request), deadline, why);
    conn_parser_init(c);
    arena_fini(&arena);
    buf_fini(&request);
    return f;
}
