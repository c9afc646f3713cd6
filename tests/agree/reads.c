/* reads.c: how weir reads bytes from a client, or with the argument "answers" those of one answer of a backend that then closes, for agree.py:
   length-prefixed cases on stdin, one line each on stdout: the state at the end of the case and each whole message's body: "end 3:1a2b 0:811c9dc5". States:
     end     at the end of a message, or nothing came     closed  a message said that it is the last one
     cut     in the middle of a message                   refuse  the next message is wrong */
#include "base/limits.h"
#include "net/http_parse.h"
#include <stdio.h>
#include <stdlib.h>

#define CASE_BYTES_MAX (1u << 20)

static const struct http_parse_limits limits = { 65536, TARGET_BYTES_MAX, HTTP_HEADERS_MAX };

struct reading {
    const char *state;
    char line[4096];
    size_t used;
};

/* FNV-1a (Fowler, Noll, Vo): three languages can agree on it in a line each. */
static uint32_t fnv(uint32_t hash, struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        hash = (hash ^ (unsigned char)t.at[i]) * 16777619u;
    return hash;
}

/* One message of *io_rest. False when that was the last: r->state says why. */
static bool read_message(struct http_parser *p, struct text *io_rest, struct reading *r)
{
    struct http_event e;
    size_t eaten, length = 0;
    uint32_t hash = 2166136261u;
    bool keep_alive = true, begun = false;
    for (;;) {
        enum fail f = http_parse(p, *io_rest, &eaten, &e);
        *io_rest = (struct text){ io_rest->at + eaten, io_rest->len - eaten };
        if (f != OK) {
            r->state = "refuse";
            return false;
        }
        if (e.kind == HTTP_NEED_MORE && p->kind == HTTP_KIND_RESPONSE && http_parse_eof(p, &e) == OK && e.kind == HTTP_GOT_END)
            break; /* a body that the connection's end ends */
        if (e.kind == HTTP_NEED_MORE) {
            r->state = begun || p->kind == HTTP_KIND_RESPONSE || !http_parser_is_idle(p) ? "cut" : "end";
            return false;
        }
        begun = true;
        if (e.kind == HTTP_GOT_HEAD)
            keep_alive = p->head->keep_alive;
        length += e.kind == HTTP_GOT_BODY ? e.body.len : 0;
        hash = e.kind == HTTP_GOT_BODY ? fnv(hash, e.body) : hash;
        if (e.kind == HTTP_GOT_END)
            break;
    }
    r->used += (size_t)snprintf(r->line + r->used, sizeof r->line - r->used, " %zu:%x", length, hash);
    r->state = keep_alive && p->kind == HTTP_KIND_REQUEST ? "end" : "closed";
    return keep_alive && p->kind == HTTP_KIND_REQUEST && r->used < sizeof r->line - 64;
}

static void read_case(struct text in, enum http_kind kind)
{
    struct reading r = { .state = "end", .used = 0 };
    struct http_parser p;
    struct arena arena;
    r.line[0] = '\0';
    arena_init(&arena, NULL, 0, 16u << 20);
    http_parser_init(&p, kind, &limits);
    do
        http_parser_begin(&p, &arena);
    while (read_message(&p, &in, &r));
    printf("%s%s\n", r.state, r.line);
    arena_fini(&arena);
}

int main(int argc, char **argv)
{
    enum http_kind kind = argc > 1 && strcmp(argv[1], "answers") == 0 ? HTTP_KIND_RESPONSE : HTTP_KIND_REQUEST;
    static char bytes[CASE_BYTES_MAX];
    uint32_t length;
    while (fread(&length, sizeof length, 1, stdin) == 1) {
        if (length > sizeof bytes || fread(bytes, 1, length, stdin) != length)
            return EXIT_FAILURE;
        read_case((struct text){ bytes, length }, kind);
    }
    return EXIT_SUCCESS;
}
