/* http_story.h: feeds bytes to http_parse in pieces and writes down what it tells, so that two ways of cutting can be compared.
   The HTTP units and fuzz targets use it. */
#ifndef WEIR_HTTP_STORY_H
#define WEIR_HTTP_STORY_H

#include "base/buf.h"
#include "net/http_parse.h"

#define STORY_MESSAGES_MAX 64 /* pipelined messages told; more is only more of the same */

/* How to cut: the size of the next piece, of what is left. state starts at 0. */
struct cutter {
    size_t (*next)(struct cutter *c, size_t left);
    size_t first;         /* cut_once: size of the first piece */
    const uint8_t *seeds; /* cut_seeded */
    size_t seeds_len, turn;
};

static inline size_t cut_never(struct cutter *c, size_t left) { (void)c; return left; }
static inline size_t cut_bytes(struct cutter *c, size_t left) { (void)c; (void)left; return 1; }
static inline size_t cut_once(struct cutter *c, size_t left) { return c->turn++ == 0 && c->first > 0 ? MIN(c->first, left) : left; }
static inline size_t cut_seeded(struct cutter *c, size_t left)
{
    size_t n = c->seeds_len ? 1u + c->seeds[c->turn++ % c->seeds_len] % 64u : 1;
    return MIN(n, left);
}

static inline void told(enum fail f) { ASSERT(f == OK); }

static inline void tell_head(struct buf *story, const struct http_head *h)
{
    told(buf_printf(story, "<%.*s|%d|%.*s?%.*s|%.*s|1.%d|length %lld%s%s%s%s>", TEXT_ARG(h->method_text), h->status, TEXT_ARG(h->path), TEXT_ARG(h->query),
                    TEXT_ARG(h->host), h->minor, (long long)h->content_length, h->chunked ? " chunked" : "", h->keep_alive ? " keep" : "",
                    h->expect_continue ? " expect" : "", h->upgrade ? " upgrade" : ""));
    for (unsigned i = 0; i < h->count; i++) {
        ASSERT(h->headers[i].id == http_header_id(h->headers[i].name));
        told(buf_printf(story, "(%d ", h->headers[i].id));
        told(buf_add_text(story, h->headers[i].name));
        told(buf_add(story, "=", 1));
        told(buf_add_text(story, h->headers[i].value));
        told(buf_add(story, ")", 1));
    }
}

/* Tells all messages of in up to the end, a failure, or a message that ends the connection. why: tell the sentence of a failure too. */
static inline void http_story(struct buf *story, enum http_kind kind, bool answers_head, const struct http_parse_limits *limits, struct text in,
                              struct cutter cut, bool why)
{
    struct http_parser p;
    struct arena arena;
    size_t at = 0, end = 0;
    bool cut_here = false;
    http_parser_init(&p, kind, limits);
    for (int messages = 0; messages < STORY_MESSAGES_MAX; messages++) {
        arena_init(&arena, NULL, 0, 4u << 20);
        http_parser_begin(&p, &arena);
        if (answers_head)
            http_parser_answers_head(&p);
        struct http_event e = { HTTP_NEED_MORE, TEXT_NONE };
        bool keep = true;
        while (e.kind != HTTP_GOT_END) {
            size_t eaten = 0;
            /* a copy of the piece's exact size, so that the sanitizer sees a read past it */
            char *piece = mem_alloc(end - at + 1);
            ASSERT(piece != NULL);
            memcpy(piece, in.at + at, end - at);
            enum fail f = http_parse(&p, (struct text){ piece, end - at }, &eaten, &e);
            ASSERT(eaten <= end - at && (f != OK || e.kind != HTTP_NEED_MORE || eaten == end - at));
            at += eaten;
            if (f == OK && e.kind == HTTP_GOT_BODY) {
                ASSERT(e.body.len > 0 && e.body.at >= piece && e.body.at + e.body.len <= piece + eaten);
                told(buf_add_text(story, e.body));
            }
            mem_free(piece);
            if (f == OK && e.kind == HTTP_NEED_MORE && at == in.len) {
                f = http_parse_eof(&p, &e);
                cut_here = f != OK || e.kind == HTTP_NEED_MORE;
                if (f == OK && e.kind == HTTP_NEED_MORE)
                    told(buf_printf(story, "[clean]"));
            }
            if (f != OK)
                told(buf_printf(story, "[%s%s%s]", fail_name(f), why ? ": " : "", why ? p.why : ""));
            if (f != OK || cut_here) {
                arena_fini(&arena);
                return;
            }
            if (e.kind == HTTP_GOT_HEAD) {
                tell_head(story, p.head);
                keep = p.head->keep_alive;
            }
            if (e.kind == HTTP_NEED_MORE)
                end += cut.next(&cut, in.len - end);
        }
        told(buf_printf(story, "[end]"));
        ASSERT(http_parser_is_idle(&p));
        arena_fini(&arena);
        if (!keep)
            return;
    }
}

#endif
