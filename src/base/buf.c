/* buf.c: growing, sliding and filling a byte buffer with a ceiling. Everyone who collects bytes calls it. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#define BUF_ROOM_MIN 512       /* the first allocation: a small head or an error body fits */
#define BUF_MAX_MAX  (1u << 31) /* a ceiling above 2 GiB is a mistake, and sums below could overflow */

void buf_init(struct buf *b, size_t max)
{
    ASSERT(max <= BUF_MAX_MAX);
    *b = (struct buf){ .max = max };
}

void buf_init_secret(struct buf *b, size_t max)
{
    buf_init(b, max);
    b->is_secret = true;
}

static void drop_memory(struct buf *b)
{
    if (b->is_secret && b->mem != NULL)
        mem_wipe(b->mem, b->room);
    mem_free(b->mem);
}

void buf_fini(struct buf *b)
{
    drop_memory(b);
    *b = (struct buf){ .max = b->max, .is_secret = b->is_secret };
}

static void slide_to_front(struct buf *b)
{
    size_t len = buf_len(b);
    memmove(b->mem, b->mem + b->from, len);
    b->from = 0;
    b->to = len;
}

static enum fail grow(struct buf *b, size_t room)
{
    char *mem = b->is_secret ? mem_alloc(room) : mem_resize(b->mem, room); /* realloc leaves a copy behind */
    if (mem == NULL)
        return FAIL_NO_MEMORY;
    if (b->is_secret) {
        if (b->to > 0)
            memcpy(mem, b->mem, b->to);
        drop_memory(b);
    }
    b->mem = mem;
    b->room = room;
    return OK;
}

/* Makes n bytes free at the end. The room may be one byte over the ceiling: that is the NUL of a printf, never content. */
static enum fail make_room(struct buf *b, size_t n)
{
    if (b->room - b->to >= n)
        return OK;

    size_t need = buf_len(b) + n;
    /* Slide only when at least as much was eaten as is moved, so that a byte is moved once per byte eaten (at the ceiling there is no choice). */
    bool cheap = b->from >= buf_len(b), full = b->room > b->max;
    if (need <= b->room && (cheap || full)) {
        slide_to_front(b);
        return OK;
    }
    if (b->from > 0)
        slide_to_front(b);
    size_t room = MAX(MAX(need, 2 * b->room), BUF_ROOM_MIN);
    return grow(b, MIN(room, b->max + 1));
}

enum fail buf_reserve(struct buf *b, size_t n)
{
    if (n > b->max - buf_len(b))
        return FAIL_TOO_LARGE;
    return make_room(b, n);
}

enum fail buf_reserve_exact(struct buf *b, size_t n)
{
    if (n > b->max - buf_len(b))
        return FAIL_TOO_LARGE;
    return b->room - b->to >= n ? OK : grow(b, b->to + n);
}

enum fail buf_add(struct buf *b, const void *bytes, size_t n)
{
    if (n == 0)
        return OK; /* bytes may be NULL, and no memory is taken for nothing */
    enum fail f = buf_reserve(b, n);
    if (f != OK)
        return f;
    memcpy(b->mem + b->to, bytes, n);
    b->to += n;
    return OK;
}

/* Tries in the room there is; if that is too small, the measure of the first try makes the room for the second. */
static enum fail print(struct buf *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = b->room - b->to;
    int said = vsnprintf(room ? b->mem + b->to : NULL, room, format, args);
    enum fail f = said < 0 || (size_t)said > b->max - buf_len(b) ? FAIL_TOO_LARGE : OK;
    if (f == OK && (size_t)said >= room) {
        f = make_room(b, (size_t)said + 1);
        if (f == OK)
            vsnprintf(b->mem + b->to, (size_t)said + 1, format, again);
    }
    if (f == OK)
        b->to += (size_t)said;
    va_end(again);
    return f;
}

enum fail buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum fail f = print(b, format, args);
    va_end(args);
    return f;
}

void buf_eat(struct buf *b, size_t n)
{
    ASSERT(n <= buf_len(b));
    b->from += n;
    if (b->from == b->to)
        buf_clear(b); /* an empty buffer starts at its front again, for free */
}

void buf_clear(struct buf *b)
{
    b->from = b->to = 0;
}

void buf_release_if_empty(struct buf *b)
{
    if (buf_len(b) == 0)
        buf_fini(b);
}
