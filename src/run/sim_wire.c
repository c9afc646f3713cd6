/* sim_wire.c: what goes on between simulated sockets, later than the calls that cause it. Bytes go from writev straight into the reader's buffer; `pieces` say
   how many of them arrive when, so that order is kept by construction. Called by sim_net.c, and by sim.c when an event is due. */
#include "run/sim_wire.h"
#include <errno.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define EVENTS_OF_SOCK 2    /* arrival, doom */
#define PART_STEPS_MAX 4    /* between parts of a piece there is time for a step or a few, or nobody would see the parts */

/* When something sent to s now will be there. */
static nanos due_at(struct sim *sim, struct sock *s)
{
    const struct sim_options *o = &sim->options;
    nanos due = sim->now + random_between(&sim->chance, o->latency_min, o->latency_max);
    if (STRIKES(sim, delay))
        due += random_between(&sim->chance, 0, o->delay_max);
    return s->last_due = MAX(s->last_due, due);
}

static struct piece *first_piece(const struct sock *s)
{
    struct node *node = list_first(&s->pieces);
    return node != NULL ? CONTAINER_OF(node, struct piece, node) : NULL;
}

/* Sets the event to what arrives next. */
static void plan_arrival(struct sim *sim, struct sock *s)
{
    struct piece *piece = first_piece(s);
    nanos next;
    if (s->stage == ASKS || s->stage == ANSWERED)
        next = s->connect_due;
    else if (piece != NULL)
        next = piece->due;
    else
        next = MIN(s->fin_due, s->reset_due);
    if (next != NEVER)
        heap_set(&sim->events, &s->arrival.node, next);
    else
        heap_remove(&sim->events, &s->arrival.node);
}

/* ---- sending ---- */

void wire_ask(struct sim *sim, struct sock *s, bool refuse)
{
    if (refuse) {
        s->stage = ANSWERED;
        s->connect_error = ECONNREFUSED;
    }
    s->connect_due = due_at(sim, s);
    plan_arrival(sim, s);
}

enum fail wire_send(struct sim *sim, struct sock *to, const struct iovec *parts, size_t n)
{
    if (buf_reserve(&to->in, n) != OK)
        return FAIL_NO_MEMORY;
    struct piece *piece = slab_take(&sim->net->pieces);
    if (piece == NULL)
        return FAIL_NO_MEMORY;
    for (size_t left = n; left > 0; parts++) {
        size_t part = MIN(left, parts->iov_len);
        if (part > 0)
            memcpy(buf_end(&to->in), parts->iov_base, part);
        buf_added(&to->in, part);
        left -= part;
    }
    bool drip = STRIKES(sim, drip); /* C leaves open the order within an initialiser, and a seed must mean one run in every build */
    *piece = (struct piece){ .due = due_at(sim, to), .bytes = n, .drip = drip };
    list_push(&to->pieces, &piece->node);
    plan_arrival(sim, to);
    sim_trace(sim, TRACE_WRITE, XXH3_64bits(buf_end(&to->in) - n, n));
    return OK;
}

void wire_send_fin(struct sim *sim, struct sock *to)
{
    to->fin_due = due_at(sim, to);
    plan_arrival(sim, to);
}

void wire_send_reset(struct sim *sim, struct sock *to)
{
    to->reset_due = due_at(sim, to);
    plan_arrival(sim, to);
}

/* ---- breaking ---- */

static void drop_coming(struct sim *sim, struct sock *s)
{
    struct piece *piece;
    while ((piece = first_piece(s)) != NULL) {
        list_remove(&s->pieces, &piece->node);
        slab_give(&sim->net->pieces, piece);
    }
}

static void drop_unread(struct sim *sim, struct sock *s)
{
    drop_coming(sim, s);
    buf_fini(&s->in);
    s->arrived = 0;
}

static void break_off(struct sim *sim, struct sock *s, int error)
{
    drop_unread(sim, s);
    s->stage = BROKEN;
    s->error = error;
    s->fin_due = s->reset_due = NEVER;
    heap_remove(&sim->events, &s->doom.node);
}

void wire_cut(struct sim *sim, struct sock *s)
{
    struct sock *ends[] = { s, s->peer };
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        if (ends[i] == NULL || ends[i]->stage == BROKEN || ends[i]->reset_due != NEVER)
            continue;
        ends[i]->peer = NULL;
        wire_send_reset(sim, ends[i]);
    }
}

/* Between the two of them nothing arrives any more; neither hears of it. */
static void fall_silent(struct sim *sim, struct sock *s)
{
    struct sock *ends[] = { s, s->peer };
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        struct sock *end = ends[i];
        if (end == NULL)
            continue;
        drop_coming(sim, end);
        end->unsent = end->peer != NULL ? buf_len(&end->peer->in) : 0;
        end->is_mute = true;
        end->fin_due = end->reset_due = NEVER;
        heap_remove(&sim->events, &end->arrival.node);
        heap_remove(&sim->events, &end->doom.node);
    }
    for (size_t i = 0; i < ARRAY_LEN(ends); i++)
        if (ends[i] != NULL)
            ends[i]->peer = NULL;
}

static void doom_comes(struct sim *sim, struct sim_event *event)
{
    struct sock *s = CONTAINER_OF(event, struct sock, doom);
    if (!s->vanishes)
        wire_cut(sim, s);
    else if (s->stage == OPEN && s->peer != NULL)
        fall_silent(sim, s);
}

/* The faults `half_open` and `reset`: at a moment or at a byte, both over many orders of magnitude, so that idle connections and the first bytes of an
   answer are met alike. */
static void draw_doom(struct sim *sim, struct sock *s)
{
    struct sim_random *r = &sim->chance;
    bool vanishes = STRIKES(sim, half_open);
    if (!vanishes && !STRIKES(sim, reset))
        return;
    s->vanishes = vanishes;
    if (vanishes || random_below(r, 2)) {
        nanos after = (10 * NANOS_PER_US) << random_below(r, 20);
        heap_set(&sim->events, &s->doom.node, sim->now + random_between(r, after, 2 * after));
    } else {
        struct sock *writer = s->peer != NULL && random_below(r, 2) ? s->peer : s;
        writer->cut_after = 1 + random_below(r, 1ull << random_below(r, 17));
    }
}

/* ---- arriving ---- */

/* The question of s has come to where it was sent. */
static void question_arrives(struct sim *sim, struct sock *s)
{
    struct sock *listener = place_listener(sim->net, s->place);
    s->connect_due = NEVER;
    if (listener != NULL && list_count(&listener->queue) >= listener->backlog)
        return;
    struct sock *other = listener != NULL ? sock_new(sim, OPEN, s->place) : NULL;
    s->stage = ANSWERED;
    s->connect_error = other == NULL ? ECONNREFUSED : 0;
    s->connect_due = due_at(sim, s);
    if (other == NULL)
        return;
    other->port = s->port;
    other->peer = s;
    s->peer = other;
    list_push(&listener->queue, &other->in_queue);
    sim_poll_edge(sim, &listener->watched);
}

static void answer_arrives(struct sim *sim, struct sock *s)
{
    s->connect_due = NEVER;
    s->stage = OPEN;
    if (s->connect_error != 0)
        break_off(sim, s, s->connect_error);
    else
        draw_doom(sim, s);
    sim_poll_edge(sim, &s->watched);
}

/* All of it, or a part now and the rest soon. */
static void piece_arrives(struct sim *sim, struct sock *s, struct piece *piece)
{
    size_t n = piece->bytes;
    if (piece->drip)
        n = 1;
    else if (n > 1 && STRIKES(sim, split))
        n = 1 + random_below(&sim->chance, n);
    s->arrived += n;
    piece->bytes -= n;
    if (piece->bytes == 0) {
        list_remove(&s->pieces, &piece->node);
        slab_give(&sim->net->pieces, piece);
    } else {
        piece->due = sim->now + random_between(&sim->chance, 1, MAX(sim->options.latency_min, PART_STEPS_MAX * sim->options.step_ns));
        s->last_due = MAX(s->last_due, piece->due);
    }
    sim_poll_edge(sim, &s->watched);
}

static void arrival_comes(struct sim *sim, struct sim_event *event)
{
    struct sock *s = CONTAINER_OF(event, struct sock, arrival);
    CHECK(s, SOCK);
    sim_trace(sim, TRACE_ARRIVAL, (uint64_t)s->fd << 40 ^ (uint64_t)sim->now);
    struct piece *piece = first_piece(s);
    if (s->stage == ASKS) {
        question_arrives(sim, s);
    } else if (s->stage == ANSWERED) {
        answer_arrives(sim, s);
    } else if (piece != NULL) {
        piece_arrives(sim, s, piece);
    } else if (s->fin_due <= s->reset_due) {
        s->fin_due = NEVER;
        s->fin_arrived = true;
        sim_poll_edge(sim, &s->watched);
    } else {
        break_off(sim, s, ECONNRESET);
        sim_poll_edge(sim, &s->watched);
    }
    plan_arrival(sim, s);
}

/* ---- beginning and ending ---- */

struct sock *sock_new(struct sim *sim, enum stage stage, struct place *place)
{
    struct sock *s = slab_take(&sim->net->socks);
    if (s == NULL)
        return NULL;
    if (sim_events_own(sim, EVENTS_OF_SOCK) != OK) {
        slab_give(&sim->net->socks, s);
        return NULL;
    }
    *s = (struct sock){ .magic = SOCK_MAGIC, .stage = stage, .fd = -1, .place = place, .connect_due = NEVER, .fin_due = NEVER, .reset_due = NEVER,
                        .arrival.fire = arrival_comes, .doom.fire = doom_comes };
    list_init(&s->watched.watches);
    list_init(&s->queue);
    list_init(&s->pieces);
    buf_init(&s->in, sim->options.window);
    return s;
}

void sock_free(struct sim *sim, struct sock *s)
{
    CHECK(s, SOCK);
    drop_unread(sim, s);
    sim_poll_forget(sim, &s->watched);
    heap_remove(&sim->events, &s->arrival.node);
    heap_remove(&sim->events, &s->doom.node);
    sim_events_disown(sim, EVENTS_OF_SOCK);
    if (s->fd >= 0)
        fd_give(sim->net, s->fd);
    s->magic = 0;
    slab_give(&sim->net->socks, s);
}

/* Tells the other end: FIN, or RST if it is asked for or something lies here unread (RFC 2525, 2.17), or will come. */
static void say_goodbye(struct sim *sim, struct sock *s, bool reset)
{
    struct sock *peer = s->peer;
    if (peer == NULL)
        return;
    peer->peer = NULL;
    if (reset || s->arrived > 0) {
        wire_send_reset(sim, peer);
        return;
    }
    if (!s->wrote_fin)
        wire_send_fin(sim, peer);
    if (first_piece(s) != NULL)
        wire_send_reset(sim, peer);
}

void sock_close(struct sim *sim, struct sock *s, bool reset)
{
    struct node *node;
    sim_trace(sim, TRACE_CLOSE, (uint64_t)s->fd << 1 ^ (uint64_t)reset);
    if (s->stage == LISTENS)
        s->place->listener = NULL;
    while ((node = list_pop(&s->queue)) != NULL)
        sock_close(sim, CONTAINER_OF(node, struct sock, in_queue), true); /* bounded: those in the queue have none themselves */
    say_goodbye(sim, s, reset);
    sock_free(sim, s);
}
