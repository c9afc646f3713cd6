/* joined.c: see joined.h. */
#include "lib/joined.h"
#include "relay/joins.h"
#include <stdio.h>
#include <string.h>

#define ASKERS     240 /* a round */
#define IDS        5
#define CALLS_MAX  ASKERS
#define BUFFER     12288 /* three chunks */
#define LATE_NS    (4 * NANOS_PER_MS)
#define US         NANOS_PER_US
#define MS         NANOS_PER_MS

struct joined_sum joined_sum;

/* What one producer does, drawn when its call begins. */
struct call {
    struct story *story;
    struct flight *flight;
    struct worker *home;
    unsigned id, number;
    size_t bytes;                 /* of its answer */
    enum fail end;                /* how it will end */
    bool begins, hangs;           /* it comes to an answer; it says nothing more behind half of it */
    _Atomic unsigned readers;     /* that have entered and not left: its leader */
    const struct flight_reader *leader;
    _Atomic bool is_over;
};

struct story {
    struct both *both;
    struct joins *joins;
    struct hangar hangar[BOTH_WORKERS];
    struct call calls[CALLS_MAX];
    _Atomic unsigned called, ended, closed, producers;
    struct task_ref refs[ASKERS]; /* written before known counts them */
    _Atomic unsigned known;
};

static uint64_t dice(struct task *t, uint64_t sides) { return worker_random(t->worker) % sides; }

/* Of call `number`: the head says whose it is. */
#define HEAD 8
static unsigned char byte_at(const struct call *c, size_t at)
{
    if (at < HEAD)
        return (unsigned char)(at < 4 ? c->id >> 8 * at : c->number >> 8 * (at - 4));
    return (unsigned char)(c->id * 131 + c->number * 31 + at * 7 + (at >> 8));
}

/* ---- a producer ---- */

static enum fail write_some(struct task *t, struct call *c, size_t *at)
{
    char bytes[9000];
    size_t n = 1 + dice(t, dice(t, 8) == 0 ? sizeof bytes : 400);
    n = MIN(n, c->bytes - *at);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)byte_at(c, *at + i);
    enum fail f = flight_append(c->flight, (struct text){ bytes, n });
    if (f == OK)
        *at += n;
    return f;
}

static enum fail answer(struct task *t, struct call *c)
{
    struct flight *fl = c->flight;
    enum fail f = OK;
    for (size_t at = 0; f == OK && at < c->bytes;) {
        if (c->hangs && at >= c->bytes / 2)
            f = task_park(t, "for ever", NEVER);
        if (f == OK)
            f = write_some(t, c, &at);
        if (f == OK && fl->state == FLIGHT_WAITING && (at >= HEAD || at == c->bytes)) {
            fl->status = 200;
            fl->is_stream = true;
            fl->attempts[fl->attempt_count - 1].first_token = t->worker->now;
            flight_commit(fl);
        }
        if (f == OK)
            f = flight_wait_room(t, fl);
        if (f == OK && dice(t, 3) == 0)
            f = task_sleep(t, t->worker->now + (nanos)dice(t, 400) * US);
    }
    return f;
}

static void produce(struct task *t, void *arg)
{
    struct call *c = arg;
    struct flight *fl = c->flight;
    enum fail f = task_sleep(t, t->worker->now + (nanos)dice(t, 3000) * US);
    struct attempt_story *a = &fl->attempts[fl->attempt_count++];
    *a = (struct attempt_story){ .backend = "b", .why = "", .breaker = "", .hedge = "" };
    if (f == OK && dice(t, 2)) { /* the first one breaks before it is anybody's */
        f = flight_append(fl, TEXT("nobody may read this"));
        attempt_because(fl, a, "call %u broke", c->number);
        flight_forget(fl);
        fl->attempts[fl->attempt_count++] = (struct attempt_story){ .backend = "c", .why = "", .breaker = "", .hedge = "" };
    }
    if (f == OK && c->begins)
        f = answer(t, c);
    if (f == FAIL_CLIENT_GONE) {
        ASSERT(c->readers == 0 || c->leader->is_dropped); /* nobody reads it, and nobody can find it; who was dropped may not have looked yet */
        joined_sum.abandoned++;
    }
    if (t->cancel != OK)
        f = t->cancel;
    else if (f == OK)
        f = c->end;
    if (f != OK)
        fl->fail_text = arena_printf(&fl->arena, "call %u ended", c->number);
    ASSERT(f == OK || fl->fail_text != NULL);
    c->end = f;
    c->is_over = true;
    flight_end(fl, f);
    const struct flight_chunk *kept = f == OK ? flight_chunks(fl) : NULL;
    if (kept != NULL) {
        size_t at = 0;
        for (; kept != NULL; kept = kept->next)
            for (uint32_t i = 0; i < kept->len; i++)
                ASSERT((unsigned char)kept->bytes[i] == byte_at(c, at++));
        ASSERT(at == c->bytes);
    }
    ASSERT(kept != NULL || f != OK || c->bytes >= BUFFER || c->bytes > 0);
    c->story->producers--;
    flight_producer_leaves(fl);
}

static struct call *lead(struct task *t, struct story *s, unsigned id, struct flight *fl)
{
    unsigned number = atomic_fetch_add(&s->called, 1);
    struct call *c = &s->calls[number];
    c->story = s;
    c->flight = fl;
    c->home = t->worker;
    c->id = id;
    c->number = number;
    c->begins = dice(t, 8) != 0;
    c->hangs = dice(t, 8) == 0;
    c->bytes = c->begins ? HEAD + dice(t, dice(t, 2) ? BUFFER * 4 : 2000) : 0;
    c->end = !c->begins || dice(t, 6) == 0 ? FAIL_UPSTREAM : OK;
    struct task *producer = task_start(t->worker, "producer", produce, c);
    ASSERT(producer != NULL);
    s->producers++;
    flight_producer_begins(fl, producer);
    joined_sum.led++;
    joined_sum.longer += c->bytes > BUFFER;
    return c;
}

/* ---- a reader ---- */

/* Takes what is there; sets *c as soon as it can be known. */
static enum fail read_some(struct task *t, struct story *s, struct flight_reader *r, unsigned id, struct call **c, unsigned char head[HEAD])
{
    bool slow = dice(t, 10) == 0;
    for (struct text some = flight_next(r); some.len > 0; some = flight_next(r)) {
        size_t n = 1 + dice(t, some.len);
        for (size_t i = 0; i < n; i++) {
            size_t at = r->read + i;
            if (at < HEAD)
                head[at] = (unsigned char)some.at[i];
            if (at == HEAD - 1) {
                unsigned number = head[4] | (unsigned)head[5] << 8;
                ASSERT(number < s->called && head[0] == id);
                ASSERT(*c == NULL || (*c)->number == number);
                *c = &s->calls[number];
                ASSERT((*c)->id == id); /* nobody reads another's */
            }
            if (at >= HEAD)
                ASSERT((unsigned char)some.at[i] == byte_at(*c, at));
        }
        flight_took(r, n);
        enum fail f = slow ? task_sleep(t, t->worker->now + (nanos)dice(t, 200) * US) : dice(t, 4) == 0 ? task_yield(t) : OK;
        if (f != OK)
            return f;
    }
    return OK;
}

static enum fail read_all(struct task *t, struct story *s, struct flight_reader *r, unsigned id, struct call **c)
{
    unsigned char head[HEAD];
    nanos stands_at = dice(t, 12) == 0 ? (nanos)dice(t, BUFFER * 2) : INT64_MAX;
    enum fail f;
    do {
        f = flight_wait(t, r, true, t->worker->now + MS);
    } while (f == FAIL_TIMEOUT);
    while (f == OK && !r->is_dropped) {
        f = read_some(t, s, r, id, c, head);
        if (f == OK && flight_is_read(r))
            return OK;
        if (f == OK && (nanos)r->read >= stands_at) {
            f = task_sleep(t, t->worker->now + 20 * MS);
            stands_at = INT64_MAX;
        }
        if (f == OK && dice(t, 60) == 0)
            return FAIL_CLIENT_GONE;
        if (f == OK)
            f = flight_wait(t, r, false, NEVER);
    }
    return f;
}

static void judge(struct flight_reader *r, enum fail f, const struct call *c)
{
    const struct flight *fl = r->flight;
    char said[40];
    if (f != OK) {
        joined_sum.left++;
    } else if (r->is_dropped) {
        ASSERT(c == NULL || r->read < c->bytes);
        joined_sum.dropped++;
    } else if (fl->fail == OK) {
        ASSERT(c != NULL && fl->status == 200 && fl->is_stream && r->read == c->bytes && c->is_over && c->end == OK);
        joined_sum.whole++;
    } else { /* once for all: the same words, wherever they are read */
        ASSERT(fl->fail == FAIL_UPSTREAM || fl->fail == FAIL_TIMEOUT);
        if (c != NULL && fl->fail == FAIL_UPSTREAM) {
            snprintf(said, sizeof said, "call %u ended", c->number);
            ASSERT(c->end == fl->fail && strcmp(fl->fail_text, said) == 0 && r->read == c->bytes);
        }
        joined_sum.failed++;
    }
    for (unsigned i = 0; c != NULL && f == OK && i < fl->attempt_count; i++) {
        snprintf(said, sizeof said, "call %u broke", c->number);
        ASSERT(fl->attempts[i].why[0] == 0 || strcmp(fl->attempts[i].why, said) == 0);
    }
}

static void asker(struct task *t, void *arg)
{
    struct story *s = arg;
    unsigned index = atomic_fetch_add(&s->known, 1);
    s->refs[index] = task_ref(t);
    struct flight_reader r = { 0 };
    enum join_role role = JOIN_NONE;
    unsigned id = (unsigned)dice(t, IDS);
    struct join_ask ask = { .hash = id % 3, .hangar = &s->hangar[t->worker->index], .buffer_max = BUFFER, .late_ns = LATE_NS, .may_lead = dice(t, 4) != 0 };
    ask.id[0] = (uint8_t)id; /* hostile 57: two ids of one hash are two */
    enum fail f = task_sleep(t, t->worker->now + (nanos)dice(t, 12000) * US);
    for (int i = 0; i < 2 && f == OK && role == JOIN_NONE; i++, ask.may_lead = true)
        f = joins_enter(t->worker, s->joins, &ask, &r, &role);
    if (f == OK) {
        struct call *c = role == JOIN_LEADS ? lead(t, s, id, r.flight) : NULL, *led = c;
        if (led != NULL) {
            led->leader = &r;
            led->readers++;
        }
        joined_sum.followed += role == JOIN_FOLLOWS;
        joined_sum.crossed += role == JOIN_FOLLOWS && r.flight->join == NULL;
        f = read_all(t, s, &r, id, &c);
        judge(&r, f, c);
        if (led != NULL)
            led->readers--;
        flight_reader_leaves(&r);
    }
    s->ended++;
}

/* ---- beside them ---- */

static void cancel_letter(struct worker *w, void *arg, uint64_t number)
{
    struct task *t = task_find(w, (uint32_t)(number >> 32), (uint32_t)number);
    (void)arg;
    if (t != NULL)
        task_cancel(t, FAIL_CLIENT_GONE);
}

/* Everybody's clients leave in the end: or those who read what hangs would stay. */
static void cancel_all(struct task *t, struct story *s)
{
    while (s->known < ASKERS)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    for (unsigned i = 0; i < ASKERS / 8; i++) {
        struct task_ref ref = s->refs[dice(t, ASKERS)];
        mail_send(ref.worker, cancel_letter, NULL, (uint64_t)ref.index << 32 | ref.generation);
        ASSERT(task_sleep(t, t->worker->now + (nanos)dice(t, 800) * US) == OK);
    }
    ASSERT(task_sleep(t, t->worker->now + 200 * MS) == OK);
    for (unsigned i = 0; i < ASKERS; i++)
        mail_send(s->refs[i].worker, cancel_letter, NULL, (uint64_t)s->refs[i].index << 32 | s->refs[i].generation);
}

/* On each worker: what is its own is all given back. */
static void closer(struct task *t, void *arg)
{
    struct story *s = arg;
    struct hangar *h = &s->hangar[t->worker->index];
    while (h->flights.used > 0)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    hangar_fini(h);
    s->closed++;
}

void joined_story(struct task *t, void *arg)
{
    struct story *s = mem_zero(sizeof *s);
    ASSERT(s != NULL);
    s->both = arg;
    s->joins = joins_new(s->both->world);
    ASSERT(s->joins != NULL);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        hangar_init(&s->hangar[i]);
    for (unsigned i = 0; i < ASKERS; i++)
        both_start(s->both->workers[i % BOTH_WORKERS], "asker", asker, s);
    cancel_all(t, s);
    while (s->ended < ASKERS || s->producers > 0) /* whom nobody reads ends */
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    ASSERT(joins_count(s->joins) == 0);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        both_start(s->both->workers[i], "closer", closer, s);
    while (s->closed < BOTH_WORKERS)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    joins_free(s->joins);
    mem_free(s);
}

/* ---- who holds the others up leaves ---- */

#define LONG_ANSWER (BUFFER * 6)

struct pair {
    struct both *both;
    struct joins *joins;
    struct hangar hangar[BOTH_WORKERS];
    nanos left;
    _Atomic nanos read_at;
    _Atomic unsigned ended;
    _Atomic bool leads;
};

static void write_long(struct task *t, void *arg)
{
    struct flight *fl = arg;
    char bytes[1024] = "";
    enum fail f = OK;
    fl->status = 200;
    flight_commit(fl);
    for (size_t at = 0; f == OK && at < LONG_ANSWER; at += sizeof bytes) {
        f = flight_append(fl, (struct text){ bytes, sizeof bytes });
        if (f == OK && at + sizeof bytes == BUFFER / 2)
            f = task_sleep(t, t->worker->now + 5 * MS); /* the other one comes */
        if (f == OK)
            f = flight_wait_room(t, fl);
    }
    flight_end(fl, f);
    flight_producer_leaves(fl);
}

static enum join_role enter_pair(struct task *t, struct pair *p, bool may_lead, struct flight_reader *r)
{
    enum join_role role;
    struct join_ask ask = { .hangar = &p->hangar[t->worker->index], .buffer_max = BUFFER, .late_ns = 30 * NANOS_PER_S, .may_lead = may_lead };
    ASSERT(joins_enter(t->worker, p->joins, &ask, r, &role) == OK);
    return role;
}

static void reads_on(struct task *t, void *arg)
{
    struct pair *p = arg;
    struct flight_reader r;
    while (!p->leads)
        ASSERT(task_sleep(t, t->worker->now + 100 * US) == OK);
    ASSERT(enter_pair(t, p, false, &r) == JOIN_FOLLOWS);
    while (!flight_is_read(&r)) {
        ASSERT(flight_wait(t, &r, false, NEVER) == OK);
        for (struct text some = flight_next(&r); some.len > 0; some = flight_next(&r))
            flight_took(&r, some.len);
    }
    ASSERT(r.read == LONG_ANSWER);
    p->read_at = world_now(t->worker->world);
    flight_reader_leaves(&r);
    p->ended++;
}

void joined_slow_leader(struct task *t, void *arg)
{
    struct pair p = { .both = arg };
    struct flight_reader r;
    p.joins = joins_new(p.both->world);
    ASSERT(p.joins != NULL);
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        hangar_init(&p.hangar[i]);
    ASSERT(enter_pair(t, &p, true, &r) == JOIN_LEADS);
    struct task *producer = task_start(t->worker, "producer", write_long, r.flight);
    ASSERT(producer != NULL);
    flight_producer_begins(r.flight, producer);
    both_start(p.both->workers[1], "reads on", reads_on, &p);
    p.leads = true;
    ASSERT(task_sleep(t, t->worker->now + 50 * MS) == OK);
    ASSERT(p.ended == 0 && r.flight->waits_for_room != NULL); /* it is held up */
    p.left = world_now(t->worker->world);
    flight_reader_leaves(&r);
    while (p.ended == 0 || p.hangar[0].flights.used > 0)
        ASSERT(task_sleep(t, t->worker->now + MS) == OK);
    ASSERT(p.read_at - p.left < NANOS_PER_S);
    ASSERT(task_sleep(t, t->worker->now + 50 * MS) == OK); /* the other worker puts its own away */
    for (unsigned i = 0; i < BOTH_WORKERS; i++)
        hangar_fini(&p.hangar[i]);
    joins_free(p.joins);
}
