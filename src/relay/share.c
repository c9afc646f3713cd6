/* share.c: a flight with several readers: who is how far, what nobody will read any more, and who holds the others up. Called by flight.c and joins.c. */
#include "relay/inner.h"

/* How far the slowest and the fastest reader are. */
static void progress(const struct flight *f, size_t *out_slowest, size_t *out_fastest)
{
    *out_slowest = f->bytes;
    *out_fastest = 0;
    LIST_EACH(&f->reading, node) {
        const struct flight_reader *r = CONTAINER_OF(node, struct flight_reader, node);
        *out_slowest = MIN(*out_slowest, r->read);
        *out_fastest = MAX(*out_fastest, r->read);
    }
    if (f->join != NULL)
        join_progress(f->join, out_slowest, out_fastest);
}

/* Looks what is unread, and frees what nobody will read. A reader at a chunk's end still stands on it. */
static void trim(struct flight *f)
{
    size_t slowest, fastest;
    if (f->is_kept && f->bytes >= f->buffer_max) {
        f->is_kept = false;
        if (f->join != NULL)
            join_close(f->join);
    }
    progress(f, &slowest, &fastest);
    f->unread = f->bytes - slowest;
    if (f->unread < f->buffer_max / 2)
        f->full_since = 0;
    while (!f->is_kept && f->first != f->last && f->freed + f->first->len < slowest) {
        f->freed += f->first->len;
        flight_drop_first(f);
    }
}

void flight_drop_late(struct flight *f)
{
    size_t slowest, fastest;
    progress(f, &slowest, &fastest);
    f->full_since = f->worker->now;
    LIST_EACH(&f->reading, node) {
        struct flight_reader *r = CONTAINER_OF(node, struct flight_reader, node);
        if (fastest - r->read < f->buffer_max / 2)
            continue;
        r->is_dropped = true;
        f->readers--;
        list_remove(&f->reading, &r->node);
    }
    if (f->join != NULL && fastest >= f->buffer_max / 2)
        join_drop(f->join, fastest - f->buffer_max / 2);
    wait_wake_all(&f->waiting_readers);
}

bool flight_look_for_room(struct flight *f)
{
    if (!flight_has_room(f) && f->is_shared)
        trim(f);
    return flight_has_room(f);
}

static void turn(struct worker *w, struct turn_end *self)
{
    struct flight *f = CONTAINER_OF(self, struct flight, turn);
    (void)w;
    if (f->join != NULL)
        join_publish(f->join); /* first: who reads on behind it tells us, who has read before it is seen now */
    if (f->waits_for_room != NULL && flight_look_for_room(f))
        task_wake(f->waits_for_room);
}

void flight_changed(struct flight *f)
{
    if (f->is_shared)
        turn_end_ask(f->worker, &f->turn);
}

void flight_share(struct flight *f, struct worker *w, nanos late_ns)
{
    CHECK(f, FLIGHT);
    f->is_shared = f->is_kept = true;
    f->worker = w;
    f->late_ns = late_ns;
    f->turn.run = turn;
    list_init(&f->reading);
}

void flight_urge(struct flight *f, unsigned urgency)
{
    if (urgency <= f->urgency)
        return;
    f->urgency = urgency;
    if (f->on_urgency != NULL && f->state != FLIGHT_ENDED)
        f->on_urgency(f);
}

void flight_stands(struct flight *f, struct flight_place place)
{
    if (place.position == f->place.position && place.wait == f->place.wait)
        return;
    f->place = place;
    flight_changed(f);
}

void flight_unread(struct flight *f)
{
    if (f->producer != NULL && (f->join == NULL || join_close_unread(f->join)))
        task_cancel(f->producer, FAIL_CLIENT_GONE);
}

void flight_link_left(struct flight *f)
{
    if (f->holders == 0) {
        flight_free(f);
        return;
    }
    if (f->readers == 0)
        flight_unread(f);
    flight_changed(f); /* it may have been the slowest */
}

bool flight_pays(struct flight_reader *r)
{
    struct flight_bill *b = r->flight->bill;
    if (b != NULL && !r->pays)
        r->pays = atomic_exchange_explicit(&b->is_open, false, memory_order_acquire);
    return b == NULL || r->pays;
}

/* What remains of `all` when so much of it is paid; and all of it is. */
static void pay(int64_t *paid, int64_t *all)
{
    int64_t before = *paid;
    *paid = MAX(before, *all);
    *all = *paid - before;
}

void flight_pay(struct flight_reader *r, int64_t *prompt, int64_t *answer)
{
    struct flight_bill *b = r->flight->bill;
    if (b == NULL)
        return;
    ASSERT(r->pays);
    pay(&b->prompt, prompt);
    pay(&b->answer, answer);
    r->pays = false;
    if (r->flight->state != FLIGHT_ENDED)
        atomic_store_explicit(&b->is_open, true, memory_order_release);
}

void flight_bill_let_go(struct flight_bill *b)
{
    if (b != NULL && atomic_fetch_sub_explicit(&b->holders, 1, memory_order_acq_rel) == 1)
        mem_free(b);
}

const struct flight_chunk *flight_chunks(const struct flight *f)
{
    ASSERT(f->state == FLIGHT_ENDED);
    return f->is_kept ? f->first : NULL;
}
