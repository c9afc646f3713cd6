/* buf.h: a growing byte buffer with a ceiling, read from the front and written at the end. */
#ifndef WEIR_BUF_H
#define WEIR_BUF_H

#include "base/mem.h"

struct buf {
    char *mem;
    size_t from, to; /* content is mem[from..to) */
    size_t room;     /* bytes of mem; 0 = no memory held */
    size_t max;      /* ceiling of content; reaching it is FAIL_TOO_LARGE */
    bool is_secret;  /* its memory is wiped before it goes back, also when it grows */
};

void buf_init(struct buf *b, size_t max);
void buf_init_secret(struct buf *b, size_t max); /* for what may hold keys */
void buf_fini(struct buf *b);                /* frees; b may be used again */
static inline size_t buf_len(const struct buf *b) { return b->to - b->from; }
static inline struct text buf_text(const struct buf *b) { return (struct text){ b->mem ? b->mem + b->from : NULL, b->to - b->from }; }
/* Room for n more bytes at the end, contiguous. FAIL_TOO_LARGE past max, FAIL_NO_MEMORY. */
MUSTUSE enum fail buf_reserve(struct buf *b, size_t n);
/* The same, taking exactly what is needed and not the double: for what has announced its length. */
MUSTUSE enum fail buf_reserve_exact(struct buf *b, size_t n);
static inline char *buf_end(struct buf *b) { return b->mem + b->to; } /* after a reserve */
static inline void buf_added(struct buf *b, size_t n) { ASSERT(b->to + n <= b->room); b->to += n; }
MUSTUSE enum fail buf_add(struct buf *b, const void *bytes, size_t n);
static inline MUSTUSE enum fail buf_add_text(struct buf *b, struct text t) { return buf_add(b, t.at, t.len); }
MUSTUSE enum fail buf_printf(struct buf *b, const char *format, ...) PRINTF(2, 3);
void buf_eat(struct buf *b, size_t n);       /* drops n bytes from the front */
void buf_clear(struct buf *b);               /* drops the content, keeps the memory */
void buf_release_if_empty(struct buf *b);    /* gives memory back when nothing is in it: idle costs nothing */

#endif
