/* links.c: the way of a flight to another worker: what is published at home, and the task that copies it there. See joins.h. */
#include "relay/inner.h"
#include <string.h>

/* ---- at home ---- */

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
    to->is_checked = f->is_checked;
    to->is_unfit = f->is_unfit;
    to->usage_event = f->usage_event;
    to->backlog_grows = f->backlog_grows;
    to->length = f->length;
    to->content_type = f->content_type;
    to->retry_after = f->retry_after;
    to->first_upstream_byte_out = f->first_upstream_byte_out;
    to->first_upstream_byte_in = f->first_upstream_byte_in;
    to->prompt_tokens = f->prompt_tokens;
    to->completion_tokens = f->completion_tokens;
    to->pieces = f->pieces;
    to->place = f->place;
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

/* A link has come or is more urgent, has read on where that was waited for, or leaves. */
static void look_letter(struct worker *w, void *arg, uint64_t number)
{
    struct join_link *l = arg;
    struct join *j = l->join;
    bool say_over = false;
    (void)w, (void)number;
    gate_enter(&j->shard->gate);
    l->to_home = false;
    bool has_left = l->has_left;
    unsigned urgency = l->urgency;
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
    if (has_left) {
        flight_link_left(j->flight); /* the link is gone, and the join may be */
        return;
    }
    flight_urge(j->flight, urgency);
    flight_changed(j->flight);
}

void link_look(struct join_link *l) { mail_send(l->home, look_letter, l, 0); }

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
    m->is_checked = from->is_checked;
    m->is_unfit = from->is_unfit;
    m->usage_event = from->usage_event;
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
    if (m->usage_event.at != NULL) {
        m->usage_event.at = arena_copy(&m->arena, m->usage_event);
        m->is_unfit |= m->usage_event.at == NULL;
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
    m->place = told->place;
    gate_leave(&j->shard->gate);
    if (is_turn)
        keep_words(m);
    if (write)
        link_look(l);
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
        link_look(l);
    t->shield = true; /* letters name this link */
    while (!is_over(l)) {
        enum fail f = task_park(t, "leaving an answer of another worker", NEVER);
        ASSERT(f == OK);
    }
    t->shield = false;
}

/* One each way at a time. */
static enum fail own_letters(struct worker *home, struct worker *w)
{
    enum fail f = mail_own(home, 1);
    if (f == OK && (f = mail_own(w, 1)) != OK)
        mail_disown(home, 1);
    return f;
}

static void disown_letters(struct join_link *l)
{
    mail_disown(l->home, 1);
    mail_disown(l->worker, 1);
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
    disown_letters(l);
    mem_free(l);
    flight_producer_leaves(m);
}

enum fail link_new(struct worker *w, struct worker *home, const struct join_ask *ask, struct join_link **out)
{
    struct join_link *l = mem_zero(sizeof *l);
    if (l == NULL)
        return FAIL_NO_MEMORY;
    l->home = home;
    l->worker = w;
    l->flight = flight_new(ask->hangar, ask->buffer_max);
    enum fail f = l->flight == NULL ? FAIL_NO_MEMORY : own_letters(home, w);
    if (f == OK && (l->task = task_start(w, "echo", echo, l)) == NULL) {
        f = FAIL_BUSY;
        disown_letters(l);
    }
    if (f != OK) {
        if (l->flight != NULL)
            flight_let_go(l->flight);
        mem_free(l);
        return f;
    }
    flight_share(l->flight, w, ask->late_ns);
    flight_producer_begins(l->flight, l->task);
    *out = l;
    return OK;
}
