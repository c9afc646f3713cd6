/* flight.c: the list of chunks between a producer and its readers, and who waits for whom. */
#include "relay/flight.h"
#include "relay/inner.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define CHUNK_BYTES 4096 /* small events share one; a longer piece gets memory of its own */
#define CHUNK_ROOM  (CHUNK_BYTES - sizeof(struct flight_chunk))
#define PER_SLAB    8
#define FLIGHT_ARENA_MAX (64u << 20)

void hangar_init(struct hangar *h)
{
    slab_init(&h->flights, sizeof(struct flight), PER_SLAB);
    slab_init(&h->chunks, CHUNK_BYTES, PER_SLAB);
    slab_init(&h->joins, sizeof(struct join), PER_SLAB);
}

void hangar_fini(struct hangar *h)
{
    ASSERT(h->flights.used == 0 && h->chunks.used == 0 && h->joins.used == 0);
    slab_fini(&h->flights);
    slab_fini(&h->chunks);
    slab_fini(&h->joins);
}


struct flight *flight_new(struct hangar *h, size_t buffer_max)
{
    struct flight *f = slab_take(&h->flights);
    if (f == NULL)
        return NULL;
    memset(f, 0, offsetof(struct flight, attempts));
    f->magic = FLIGHT_MAGIC;
    f->hangar = h;
    f->holders = 1;
    f->buffer_max = buffer_max;
    f->prompt_tokens = f->completion_tokens = -1;
    f->retry_after = f->length = -1;
    list_init(&f->waiting_readers);
    f->fail_text = "";
    arena_init(&f->arena, f->block, sizeof f->block, FLIGHT_ARENA_MAX);
    return f;
}

void attempt_because(struct flight *f, struct attempt_story *a, const char *format, ...)
{
    char text[320];
    va_list args;
    if (a->why[0] != 0)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *copy = arena_copy(&f->arena, text_of(text));
    a->why = copy != NULL ? copy : "no memory left to say why";
}

void flight_drop_first(struct flight *f)
{
    struct flight_chunk *c = f->first;
    f->first = c->next;
    if (f->first == NULL)
        f->last = NULL;
    if (c->room == CHUNK_ROOM)
        slab_give(&f->hangar->chunks, c);
    else
        mem_free(c);
}

void flight_free(struct flight *f)
{
    if (f->join != NULL && !join_free(f->join))
        return; /* others read it */
    if (node_is_in(&f->turn.node))
        list_remove(&f->worker->turn_end, &f->turn.node);
    while (f->first != NULL)
        flight_drop_first(f);
    arena_fini(&f->arena);
    flight_bill_let_go(f->bill);
    f->magic = 0;
    slab_give(&f->hangar->flights, f);
}

void flight_let_go(struct flight *f)
{
    CHECK(f, FLIGHT);
    if (--f->holders == 0)
        flight_free(f);
}

/* ---- the producer ---- */

void flight_producer_begins(struct flight *f, struct task *producer)
{
    CHECK(f, FLIGHT);
    f->producer = producer;
    f->holders++;
}

void flight_commit(struct flight *f)
{
    ASSERT(f->state == FLIGHT_WAITING && f->status != 0);
    f->state = FLIGHT_OPEN;
    wait_wake_all(&f->waiting_readers);
    flight_changed(f);
}

static struct flight_chunk *chunk_with_room(struct flight *f, size_t bytes)
{
    if (f->last != NULL && f->last->room - f->last->len >= bytes)
        return f->last;
    if (f->last != NULL && f->last->len == 0 && f->first == f->last)
        flight_drop_first(f); /* read empty, and too small: in front of the next one it would look as if nothing were there */
    size_t room = MAX(bytes, CHUNK_ROOM);
    struct flight_chunk *c = room == CHUNK_ROOM ? slab_take(&f->hangar->chunks) : mem_alloc(sizeof *c + room);
    if (c == NULL)
        return NULL;
    c->next = NULL;
    c->len = 0;
    c->room = (uint32_t)room;
    if (f->last != NULL)
        f->last->next = c;
    else
        f->first = c;
    f->last = c;
    return c;
}

enum fail flight_reserve(struct flight *f, size_t bytes)
{
    return chunk_with_room(f, bytes) != NULL ? OK : FAIL_NO_MEMORY;
}

enum fail flight_append(struct flight *f, struct text bytes)
{
    CHECK(f, FLIGHT);
    ASSERT(f->state != FLIGHT_ENDED);
    if (bytes.len == 0)
        return OK;
    struct flight_chunk *c = chunk_with_room(f, bytes.len);
    if (c == NULL)
        return FAIL_NO_MEMORY;
    memcpy(c->bytes + c->len, bytes.at, bytes.len);
    c->len += (uint32_t)bytes.len;
    f->unread += bytes.len;
    f->bytes += bytes.len;
    if (f->state == FLIGHT_OPEN) {
        wait_wake_all(&f->waiting_readers);
        flight_changed(f);
    }
    return OK;
}

enum fail flight_wait_room(struct task *producer, struct flight *f)
{
    while (!flight_look_for_room(f)) {
        if (f->full_since == 0)
            f->full_since = producer->worker->now;
        f->waits_for_room = producer;
        flight_changed(f);
        enum fail fail = task_park(producer, "reader of the answer", f->is_shared ? f->full_since + f->late_ns : NEVER); /* timeouts.write ends a single one */
        f->waits_for_room = NULL;
        if (fail == FAIL_TIMEOUT)
            flight_drop_late(f);
        else if (fail != OK)
            return fail;
    }
    return OK;
}

enum fail flight_gather(struct flight *f)
{
    size_t bytes = f->unread, room = MAX(bytes, CHUNK_ROOM + 1); /* not a slab's */
    CHECK(f, FLIGHT);
    if (flight_peek(f).len == bytes)
        return OK;
    struct flight_chunk *all = mem_alloc(sizeof *all + room);
    if (all == NULL)
        return FAIL_NO_MEMORY;
    *all = (struct flight_chunk){ .len = (uint32_t)bytes, .room = (uint32_t)room };
    for (size_t at = 0; f->first != NULL; f->taken = 0) {
        memcpy(all->bytes + at, f->first->bytes + f->taken, f->first->len - f->taken);
        at += f->first->len - f->taken;
        flight_drop_first(f);
    }
    f->first = f->last = all;
    return OK;
}

void flight_forget(struct flight *f)
{
    ASSERT(f->state == FLIGHT_WAITING);
    while (f->first != NULL)
        flight_drop_first(f);
    f->unread = f->bytes = f->taken = 0;
    f->usage_event = TEXT_NONE;
    f->is_unfit = false;
}

void flight_end(struct flight *f, enum fail fail)
{
    CHECK(f, FLIGHT);
    ASSERT(f->state != FLIGHT_ENDED);
    f->fail = fail;
    f->state = FLIGHT_ENDED;
    wait_wake_all(&f->waiting_readers);
    if (f->join != NULL)
        join_close(f->join);
    flight_changed(f);
}

void flight_producer_leaves(struct flight *f)
{
    CHECK(f, FLIGHT);
    ASSERT(f->state == FLIGHT_ENDED);
    f->producer = NULL;
    flight_let_go(f);
}

void flight_adopt(struct flight *f, struct flight *from)
{
    ASSERT(f->state == FLIGHT_WAITING && from->state == FLIGHT_WAITING && f->hangar == from->hangar);
    flight_forget(f);
    f->first = from->first;
    f->last = from->last;
    f->taken = from->taken;
    f->unread = f->bytes = from->unread;
    f->prompt_tokens = from->prompt_tokens;
    f->completion_tokens = from->completion_tokens;
    f->is_checked = from->is_checked;
    f->is_unfit = from->is_unfit;
    f->first_upstream_byte_in = from->first_upstream_byte_in;
    from->first = from->last = NULL;
    from->unread = from->taken = 0;
}

struct text flight_peek(const struct flight *f)
{
    if (f->first == NULL || f->unread == 0)
        return TEXT_NONE;
    /* its reader has taken `taken` bytes of the first chunk already */
    return (struct text){ f->first->bytes + f->taken, f->first->len - f->taken };
}

/* ---- a reader ---- */

void flight_reader_begins(struct flight *f, struct flight_reader *r)
{
    CHECK(f, FLIGHT);
    *r = (struct flight_reader){ .flight = f };
    f->holders++;
    f->readers++;
    if (f->is_shared) {
        ASSERT(f->is_kept);
        list_push(&f->reading, &r->node);
    }
}

/* Of what is the client's. */
static size_t left(const struct flight_reader *r)
{
    const struct flight *f = r->flight;
    return !f->is_shared ? f->unread : r->is_dropped ? 0 : f->bytes - r->read;
}

enum fail flight_wait(struct task *t, struct flight_reader *r, bool want_head, nanos deadline)
{
    struct flight *f = r->flight;
    CHECK(f, FLIGHT);
    while (f->state == FLIGHT_WAITING || (f->state == FLIGHT_OPEN && !want_head && left(r) == 0 && !r->is_dropped)) {
        enum fail fail = wait_in(t, &f->waiting_readers, want_head ? "first token" : "tokens", deadline);
        if (fail != OK)
            return fail;
    }
    return OK;
}

struct text flight_backend(const struct flight *f)
{
    unsigned i = 0;
    if (f->attempt_count == 0)
        return TEXT_NONE;
    while (i + 1 < f->attempt_count && f->attempts[i].first_token == 0)
        i++;
    return text_of(f->attempts[i].backend);
}

struct text flight_next(struct flight_reader *r)
{
    struct flight *f = r->flight;
    if (!f->is_shared)
        return flight_peek(f);
    if (left(r) == 0)
        return TEXT_NONE;
    if (r->at == NULL)
        r->at = f->first;
    while (r->taken == r->at->len) {
        r->at = r->at->next;
        r->taken = 0;
    }
    return (struct text){ r->at->bytes + r->taken, r->at->len - r->taken };
}

static void took_alone(struct flight *f, size_t bytes)
{
    ASSERT(f->first != NULL && f->taken + bytes <= f->first->len);
    f->taken += (uint32_t)bytes;
    f->unread -= bytes;
    if (f->taken == f->first->len) {
        f->taken = 0;
        if (f->first->next != NULL)
            flight_drop_first(f);
        else
            f->first->len = 0; /* the producer goes on writing here */
    }
    if (f->waits_for_room != NULL && flight_has_room(f))
        task_wake(f->waits_for_room);
}

void flight_took(struct flight_reader *r, size_t bytes)
{
    struct flight *f = r->flight;
    if (!f->is_shared) {
        took_alone(f, bytes);
        return;
    }
    if (r->is_dropped)
        return;
    ASSERT(r->at != NULL && r->taken + bytes <= r->at->len);
    r->taken += (uint32_t)bytes;
    r->read += bytes;
    if (f->waits_for_room != NULL)
        flight_changed(f); /* once a turn: there may be a thousand of us */
}

bool flight_is_read(const struct flight_reader *r) { return r->flight->state == FLIGHT_ENDED && left(r) == 0; }
bool flight_is_whole(struct flight_reader *r) { return r->flight->state == FLIGHT_ENDED && flight_next(r).len == left(r); }

void flight_reader_leaves(struct flight_reader *r)
{
    struct flight *f = r->flight;
    CHECK(f, FLIGHT);
    if (!r->is_dropped) {
        f->readers--;
        if (f->is_shared)
            list_remove(&f->reading, &r->node);
        if (f->readers == 0)
            flight_unread(f);
        if (f->waits_for_room != NULL)
            flight_changed(f); /* it may have been the slowest */
    }
    r->flight = NULL;
    flight_let_go(f);
}
