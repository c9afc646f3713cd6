/* joins.c: which flights can be found by their identity, and their way to the readers of other workers. See joins.h. */
#include "relay/joins.h"
#include "relay/inner.h"
#include "run/gate.h"
#include <string.h>

#define SHARDS  16 /* workers meet in one of them once in a while only */
#define BUCKETS 64 /* a shard: a thousand flights in all have their own */

/* What readers know of a flight, as of the end of a turn. */
struct told {
    enum flight_state state;
    enum fail fail;
    int status;
    bool is_stream, is_long, is_hopeless, backlog_grows;
    int64_t length;
    const char *content_type, *fail_text;
    nanos retry_after, first_upstream_byte_out, first_upstream_byte_in;
    int64_t prompt_tokens, completion_tokens;
    uint32_t pieces;
    unsigned attempt_count;
    struct attempt_story attempts[FLIGHT_ATTEMPTS_MAX];
    size_t bytes;
    struct flight_chunk *first, *last; /* last may be written on behind last_len; those before it are as they stay */
    uint32_t last_len;
};

struct shard {
    struct gate gate;
    struct join *bucket[BUCKETS];
    unsigned count;
};

/* A flight that can be found, or that other workers still read. Its flight's worker frees it. */
struct join {
    struct join *next;         /* in its bucket */
    struct shard *shard;
    struct worker *home;
    struct flight *flight;     /* home's alone */
    uint64_t hash;
    uint8_t id[JOIN_ID_BYTES];
    bool is_open;              /* from here on under the gate */
    bool is_full;              /* home's producer waits for readers */
    struct join_link *links;
    struct told told;
};

/* Another worker's way to it. */
struct join_link {
    struct join_link *next;
    struct join *join;         /* NULL: it never was one. Gone when is_over says so */
    struct shard *shard;
    struct worker *home, *worker;
    struct task *task;         /* echo(); from here on the worker's own */
    struct flight *flight;
    struct flight_chunk *at;   /* of home's */
    uint32_t taken;
    size_t done;               /* bytes copied */
    size_t read;               /* from here on under the gate: bytes that home may forget */
    bool to_worker, to_home;   /* a letter is under way */
    bool is_dropped, has_left, is_over;
};

struct joins {
    struct shard shards[SHARDS];
};

struct joins *joins_new(struct world *world)
{
    struct joins *js = mem_zero(sizeof *js);
    for (unsigned i = 0; js != NULL && i < SHARDS; i++)
        gate_init(&js->shards[i].gate, world, GATE_FLIGHT);
    return js;
}

void joins_free(struct joins *js)
{
    if (js == NULL)
        return;
    for (unsigned i = 0; i < SHARDS; i++) {
        ASSERT(js->shards[i].count == 0);
        gate_fini(&js->shards[i].gate);
    }
    mem_free(js);
}

unsigned joins_count(struct joins *js)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        gate_enter(&js->shards[i].gate);
        n += js->shards[i].count;
        gate_leave(&js->shards[i].gate);
    }
    return n;
}

/* ---- finding; under the gate ---- */

static struct shard *shard_of(struct joins *js, uint64_t hash) { return &js->shards[hash % SHARDS]; }
static struct join **bucket_of(struct shard *s, uint64_t hash) { return &s->bucket[hash / SHARDS % BUCKETS]; }

static struct join *find(struct shard *s, const struct join_ask *ask)
{
    struct join *j = *bucket_of(s, ask->hash);
    while (j != NULL && (j->hash != ask->hash || memcmp(j->id, ask->id, sizeof j->id) != 0))
        j = j->next;
    return j;
}

static void open_join(struct join *j)
{
    struct join **bucket = bucket_of(j->shard, j->hash);
    j->next = *bucket;
    *bucket = j;
    j->is_open = true;
    j->shard->count++;
}

static void close_join(struct join *j)
{
    struct join **at = bucket_of(j->shard, j->hash);
    if (!j->is_open)
        return;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    j->is_open = false;
    j->shard->count--;
}

/* ---- at home ---- */

void join_close(struct join *j)
{
    gate_enter(&j->shard->gate);
    close_join(j);
    gate_leave(&j->shard->gate);
}

bool join_close_unread(struct join *j)
{
    gate_enter(&j->shard->gate);
    bool is_unread = j->links == NULL;
    if (is_unread)
        close_join(j);
    gate_leave(&j->shard->gate);
    return is_unread;
}

bool join_free(struct join *j)
{
    if (!join_close_unread(j))
        return false;
    j->home->jobs--;
    mem_free(j);
    return true;
}

void join_progress(struct join *j, size_t *slowest, size_t *fastest)
{
    gate_enter(&j->shard->gate);
    for (struct join_link *l = j->links; l != NULL; l = l->next) {
        *slowest = MIN(*slowest, l->read);
        *fastest = MAX(*fastest, l->read);
    }
    gate_leave(&j->shard->gate);
}

static void news_letter(struct worker *w, void *arg, uint64_t number)
{
    struct join_link *l = arg;
    (void)w, (void)number;
    gate_enter(&l->shard->gate);
    l->to_worker = false;
    gate_leave(&l->shard->gate);
    task_wake(l->task);
}

static void send_news(struct join_link *const *to, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        mail_send(to[i]->worker, news_letter, to[i], 0);
}

void join_drop(struct join *j, size_t below)
{
    struct join_link *to[WORKERS_MAX];
    unsigned count = 0;
    gate_enter(&j->shard->gate);
    for (struct join_link *l = j->links; l != NULL && count < ARRAY_LEN(to); l = l->next) {
        if (l->read > below || l->has_left || l->is_dropped)
            continue;
        l->is_dropped = true; /* what it stands on stays until it has left */
        if (!l->to_worker)
            to[count++] = l;
        l->to_worker = true;
    }
    gate_leave(&j->shard->gate);
    send_news(to, count);
}

static void tell(struct told *to, const struct flight *f)
{
    bool is_begun = f->state != FLIGHT_WAITING && f->status != 0;
    if (to->state != f->state) {
        to->attempt_count = f->attempt_count;
        memcpy(to->attempts, f->attempts, f->attempt_count * sizeof f->attempts[0]);
    }
    to->state = f->state;
    to->fail = f->fail;
    to->fail_text = f->fail_text;
    to->status = f->status;
    to->is_stream = f->is_stream;
    to->is_long = f->is_long;
    to->is_hopeless = f->is_hopeless;
    to->backlog_grows = f->backlog_grows;
    to->length = f->length;
    to->content_type = f->content_type;
    to->retry_after = f->retry_after;
    to->first_upstream_byte_out = f->first_upstream_byte_out;
    to->first_upstream_byte_in = f->first_upstream_byte_in;
    to->prompt_tokens = f->prompt_tokens;
    to->completion_tokens = f->completion_tokens;
    to->pieces = f->pieces;
    to->bytes = is_begun ? f->bytes : 0; /* until then it may all be forgotten */
    to->first = f->first;
    to->last = f->last;
    to->last_len = f->last != NULL ? f->last->len : 0;
}

void join_publish(struct join *j)
{
    struct join_link *to[WORKERS_MAX];
    unsigned count;
    do {
        count = 0;
        gate_enter(&j->shard->gate);
        if (j->links != NULL)
            tell(&j->told, j->flight);
        j->is_full = j->flight->waits_for_room != NULL;
        for (struct join_link *l = j->links; l != NULL && count < ARRAY_LEN(to); l = l->next)
            if (!l->to_worker && !l->has_left) {
                l->to_worker = true;
                to[count++] = l;
            }
        gate_leave(&j->shard->gate);
        send_news(to, count);
    } while (count == ARRAY_LEN(to)); /* hardly ever: one a worker reads, others are about to leave */
}

/* A link has come, has read on where that was waited for, or leaves. */
static void look_letter(struct worker *w, void *arg, uint64_t number)
{
    struct join_link *l = arg;
    struct join *j = l->join;
    bool say_over = false;
    (void)w, (void)number;
    gate_enter(&j->shard->gate);
    l->to_home = false;
    bool has_left = l->has_left;
    if (has_left) {
        struct join_link **at = &j->links;
        while (*at != l)
            at = &(*at)->next;
        *at = l->next;
        l->is_over = true;
        say_over = !l->to_worker;
        l->to_worker = true;
    }
    gate_leave(&j->shard->gate);
    if (say_over)
        send_news(&l, 1);
    if (has_left)
        flight_link_left(j->flight); /* the link is gone, and the join may be */
    else
        flight_changed(j->flight);
}

/* ---- on another worker ---- */

struct news {
    enum flight_state state;
    enum fail fail;
    bool is_dropped;
    size_t bytes;
    struct flight_chunk *first, *last;
    uint32_t last_len;
};

static void take_head(struct flight *m, const struct told *from)
{
    m->attempt_count = from->attempt_count;
    memcpy(m->attempts, from->attempts, from->attempt_count * sizeof from->attempts[0]);
    m->fail_text = from->fail_text;
    m->status = from->status;
    m->is_stream = from->is_stream;
    m->is_long = from->is_long;
    m->is_hopeless = from->is_hopeless;
    m->backlog_grows = from->backlog_grows;
    m->length = from->length;
    m->content_type = from->content_type;
    m->retry_after = from->retry_after;
    m->first_upstream_byte_out = from->first_upstream_byte_out;
    m->first_upstream_byte_in = from->first_upstream_byte_in;
}

/* Sentences are in home's arena, which goes when we have left. */
static void keep_words(struct flight *m)
{
    const char **words[FLIGHT_ATTEMPTS_MAX + 1];
    unsigned count = 0;
    words[count++] = &m->fail_text;
    for (unsigned i = 0; i < m->attempt_count; i++)
        words[count++] = &m->attempts[i].why;
    for (unsigned i = 0; i < count; i++) {
        const char *copy = (*words[i])[0] != 0 ? arena_copy(&m->arena, text_of(*words[i])) : "";
        *words[i] = copy != NULL ? copy : "no memory left to say why";
    }
}

/* Says how far we are, and takes what was published. */
static void fetch(struct join_link *l, struct news *out)
{
    struct join *j = l->join;
    struct flight *m = l->flight;
    const struct told *told = &j->told;
    gate_enter(&j->shard->gate);
    bool write = l->read < l->done && j->is_full && !l->to_home;
    l->to_home |= write;
    l->read = l->done;
    *out = (struct news){ told->state, told->fail, l->is_dropped, told->bytes, told->first, told->last, told->last_len };
    bool is_turn = told->state != m->state;
    if (is_turn)
        take_head(m, told);
    m->prompt_tokens = told->prompt_tokens;
    m->completion_tokens = told->completion_tokens;
    m->pieces = told->pieces;
    gate_leave(&j->shard->gate);
    if (is_turn)
        keep_words(m);
    if (write)
        mail_send(l->home, look_letter, l, 0);
}

static enum fail copy_on(struct task *t, struct join_link *l, const struct news *n)
{
    enum fail f = OK;
    while (f == OK && l->done < n->bytes) {
        if (l->at == NULL)
            l->at = n->first;
        uint32_t end = l->at == n->last ? n->last_len : l->at->len;
        if (l->taken == end) {
            l->at = l->at->next;
            l->taken = 0;
            continue;
        }
        f = flight_append(l->flight, (struct text){ l->at->bytes + l->taken, end - l->taken });
        if (f != OK)
            return f;
        l->done += end - l->taken;
        l->taken = end;
        f = flight_wait_room(t, l->flight);
    }
    return f;
}

static enum fail echo_all(struct task *t, struct join_link *l)
{
    struct flight *m = l->flight;
    enum fail f = OK;
    while (f == OK && m->state != FLIGHT_ENDED) {
        struct news n;
        fetch(l, &n);
        if (n.is_dropped)
            return FAIL_TIMEOUT;
        bool is_new = n.state != m->state || n.bytes > l->done;
        if (n.state != FLIGHT_WAITING && m->state == FLIGHT_WAITING && m->status != 0)
            flight_commit(m);
        f = copy_on(t, l, &n);
        if (f == OK && n.state == FLIGHT_ENDED)
            flight_end(m, n.fail);
        else if (f == OK && !is_new)
            f = task_park(t, "an answer on its way to another worker", NEVER);
    }
    return f;
}

static bool is_over(struct join_link *l)
{
    gate_enter(&l->shard->gate);
    bool is = l->is_over && !l->to_worker;
    gate_leave(&l->shard->gate);
    return is;
}

static void leave(struct task *t, struct join_link *l)
{
    gate_enter(&l->shard->gate);
    bool write = !l->to_home;
    l->has_left = l->to_home = true;
    gate_leave(&l->shard->gate);
    if (write)
        mail_send(l->home, look_letter, l, 0);
    t->shield = true; /* letters name this link */
    while (!is_over(l)) {
        enum fail f = task_park(t, "leaving an answer of another worker", NEVER);
        ASSERT(f == OK);
    }
    t->shield = false;
}

static void link_free(struct join_link *l)
{
    mail_disown(l->home, 1);
    mail_disown(l->worker, 1);
    mem_free(l);
}

/* The producer of a flight that says what another worker's says. */
static void echo(struct task *t, void *arg)
{
    struct join_link *l = arg;
    struct flight *m = l->flight;
    enum fail f = l->join == NULL ? FAIL_CANCELLED : echo_all(t, l);
    if (m->state != FLIGHT_ENDED)
        flight_end(m, f);
    if (l->join != NULL)
        leave(t, l);
    link_free(l);
    flight_producer_leaves(m);
}

/* ---- entering ---- */

static enum fail join_new(struct worker *w, struct shard *s, const struct join_ask *ask, struct join **out)
{
    struct join *j = mem_zero(sizeof *j);
    struct flight *f = j != NULL ? flight_new(ask->hangar, ask->buffer_max) : NULL;
    if (f == NULL) {
        mem_free(j);
        return FAIL_NO_MEMORY;
    }
    flight_share(f, w, ask->late_ns);
    f->join = j;
    j->shard = s;
    j->home = w;
    j->flight = f;
    j->hash = ask->hash;
    memcpy(j->id, ask->id, sizeof j->id);
    w->jobs++; /* it does not end while letters may come */
    *out = j;
    return OK;
}

static enum fail link_new(struct worker *w, struct worker *home, const struct join_ask *ask, struct join_link **out)
{
    struct join_link *l = mem_zero(sizeof *l);
    if (l == NULL)
        return FAIL_NO_MEMORY;
    l->home = home;
    l->worker = w;
    enum fail f = mail_own(home, 1);
    if (f != OK)
        goto no_letters;
    if ((f = mail_own(w, 1)) != OK)
        goto no_letter;
    f = FAIL_NO_MEMORY;
    if ((l->flight = flight_new(ask->hangar, ask->buffer_max)) == NULL)
        goto no_flight;
    f = FAIL_BUSY;
    if ((l->task = task_start(w, "echo", echo, l)) == NULL)
        goto no_task;
    flight_share(l->flight, w, ask->late_ns);
    flight_producer_begins(l->flight, l->task);
    *out = l;
    return OK;
no_task:
    flight_let_go(l->flight);
no_flight:
    mail_disown(w, 1);
no_letter:
    mail_disown(home, 1);
no_letters:
    mem_free(l);
    return f;
}

/* This worker's flight with that answer, if it can be read from its beginning. */
static struct flight *echo_of(const struct join *j, const struct worker *w)
{
    for (const struct join_link *l = j->links; l != NULL; l = l->next)
        if (l->worker == w && l->flight->readers > 0 && l->flight->is_kept && l->flight->state != FLIGHT_ENDED)
            return l->flight;
    return NULL;
}

/* What there is, with what was made so far. The flight to read, NULL: something is missing. */
static struct flight *enter(struct worker *w, struct shard *s, const struct join_ask *ask, struct join *own, struct join_link *link, struct worker **out_home)
{
    struct join *j = find(s, ask);
    *out_home = j != NULL ? j->home : NULL;
    if (j == NULL && own != NULL) {
        open_join(own);
        return own->flight;
    }
    if (j == NULL)
        return NULL;
    if (j->home == w)
        return j->flight;
    struct flight *f = echo_of(j, w);
    if (f == NULL && link != NULL && link->home == j->home) {
        link->join = j;
        link->shard = s;
        link->next = j->links;
        j->links = link;
        link->to_home = true;
        f = link->flight;
    }
    return f;
}

#define TRIES_MAX 8 /* each but the last means that another worker was quicker by a microsecond */

enum fail joins_enter(struct worker *w, struct joins *js, const struct join_ask *ask, struct flight_reader *r, enum join_role *out)
{
    struct shard *s = shard_of(js, ask->hash);
    struct join *own = NULL;
    struct join_link *link = NULL;
    struct flight *f = NULL;
    struct worker *home = NULL;
    enum fail fail = OK;
    *out = JOIN_NONE;
    for (int i = 0; f == NULL && fail == OK; i++) {
        gate_enter(&s->gate);
        f = enter(w, s, ask, own, link, &home);
        gate_leave(&s->gate);
        if (f != NULL || (home == NULL && !ask->may_lead))
            break;
        if (i == TRIES_MAX)
            fail = FAIL_BUSY;
        else if (home == NULL)
            fail = join_new(w, s, ask, &own);
        else if (link == NULL)
            fail = link_new(w, home, ask, &link);
        else
            fail = FAIL_BUSY; /* meanwhile a third worker leads */
    }
    bool has_led = f != NULL && own != NULL && f == own->flight;
    if (f != NULL) {
        *out = has_led ? JOIN_LEADS : JOIN_FOLLOWS;
        flight_reader_begins(f, r);
    }
    if (link != NULL && link->join != NULL)
        mail_send(home, look_letter, link, 0);
    if (link != NULL)
        flight_let_go(link->flight); /* its task and its reader hold it */
    if (own != NULL)
        flight_let_go(own->flight);
    return fail;
}
