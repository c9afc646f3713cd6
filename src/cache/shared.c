/* shared.c: answers that instances share: a worker's connections, what is asked and put over them, and who waits. See shared.h. */
#include "cache/shared_inner.h"
#include "run/wait.h"
#include "stat/stat.h"
#include <limits.h>
#include <stdio.h>

#define KEY_BYTES       (sizeof SHARED_PREFIX - 1 + 2 * CACHE_ID_BYTES)
#define DEEP            48                     /* commands without a reply on the emptiest asker, three a question: one more is made */
#define GROW_NS         (100 * NANOS_PER_MS)   /* between two that are made, as the first of them has to connect before it helps */
#define VISIT_ITEMS     128                    /* of many that are asked for at once: 80 KB of memory, and two commands each */
#define TTL_MAX_NS      (365 * 24 * 3600 * NANOS_PER_S) /* nobody means more; it keeps sums from overflowing */
#define REPLY_MAX       (SHARED_VALUE_MAX + 65536)      /* an answer that zstd could not shorten, and its label */
#define ASK_OUT_MAX     (1u << 20)

/* ---- whom to ask ---- */

static const struct redis_use asks = { "redis asker", REPLY_MAX, ASK_OUT_MAX, false, 0, NULL, NULL, NULL };
static const struct redis_use helps = { "redis asker", REPLY_MAX, ASK_OUT_MAX, true, 0, NULL, NULL, NULL };

/* False: no memory, or as many as may be. */
static bool add_asker(struct shared *s)
{
    struct redis_link *link = s->asker_count < SHARED_ASKERS_MAX ? mem_zero(sizeof *link) : NULL;
    if (link == NULL)
        return false;
    s->grown = s->worker->now;
    if (redis_link_init(link, s->worker, s->options.server, s->asker_count == 0 ? &asks : &helps, s->options.wait) == OK) {
        s->askers[s->asker_count++] = link;
        return true;
    }
    redis_link_fini(link);
    mem_free(link);
    return false;
}

/* Until when a question over this link may wait. Answers come in order: where the oldest command's is late, no other's comes earlier, so whoever stands behind it waits
   no longer than that one, but a moment less. A Redis that stops keeps one of each link's waiting for the whole time, and none that asks afterwards. */
#define BEHIND_SHARE 16 /* that moment's, of the whole */
static nanos waits_until(const struct redis_link *link, nanos wait)
{
    nanos oldest = redis_waits_since(link->redis);
    return oldest == NEVER ? link->worker->now + wait : oldest + wait - wait / BEHIND_SHARE;
}

/* The one with the least to do, of those that are not late already. NULL: none is worth waiting for. */
static struct redis_link *choose_asker(struct shared *s, nanos wait)
{
    struct redis_link *best = NULL;
    unsigned least = UINT_MAX;
    for (unsigned i = 0; i < s->asker_count; i++) {
        struct redis_link *link = s->askers[i];
        if (redis_link_is_away(link) || waits_until(link, wait) <= s->worker->now)
            continue;
        if (redis_pending(link->redis) < least) {
            least = redis_pending(link->redis);
            best = link;
        }
    }
    if (best != NULL && least >= DEEP && s->worker->now - s->grown >= GROW_NS)
        (void)add_asker(s); /* this question cannot wait for it */
    return best;
}

/* ---- a question ---- */

/* Commands that stand behind each other: the newest drop, then of each item the answer, and what is left of its time. */
struct item {
    struct redis_call answer, left;
    struct question *question;
    const struct cache_id *id;
    struct shared_hit *hit;
};

struct question {
    struct redis_call newest;
    struct shared *shared;
    struct task *task;
    struct text tenant;
    bool is_current, is_answered;
    struct item *items;
    unsigned count, open; /* items; those without a reply */
};

static void newest_came(struct redis_call *call)
{
    struct question *q = CONTAINER_OF(call, struct question, newest);
    struct text stamp = { call->reply.text, MIN(call->reply.text_len, SHARED_STAMP_BYTES) };
    if (call->fail != OK || call->reply.kind == REDIS_ERROR)
        return;
    q->is_current = call->reply.kind == REDIS_STRING && shared_drops_find(&q->shared->drops, stamp) == 0;
    if (!q->is_current)
        redis_link_tend(&q->shared->writer);
}

static void answer_came(struct redis_call *call, struct text bytes)
{
    struct item *item = CONTAINER_OF(call, struct item, answer);
    struct question *q = item->question;
    struct shared *s = q->shared;
    struct shared_parts parts;
    if (!q->is_current || s->drops.count == 0)
        return;
    if (!shared_value_open(bytes, item->id, q->tenant, &parts)) {
        COUNT(s->worker, cache_shared_refused);
        return;
    }
    if (shared_drops_have(&s->drops, parts.stamp, &parts.label))
        return;
    struct cache_value *v = shared_value_read(s->zip, &parts);
    if (v == NULL)
        COUNT(s->worker, cache_shared_refused);
    else
        *item->hit = (struct shared_hit){ .value = v, .tags = { v->bytes + v->len, parts.label.tags.len } };
}

static void forget_hit(struct shared_hit *hit)
{
    cache_value_drop(hit->value);
    *hit = (struct shared_hit){ .value = NULL };
}

static void left_came(struct redis_call *call)
{
    struct item *item = CONTAINER_OF(call, struct item, left);
    struct question *q = item->question;
    bool is_span = call->fail == OK && call->reply.kind == REDIS_NUMBER && call->reply.numbers[0] > 0;
    if (is_span && item->hit->value != NULL)
        item->hit->ttl = MIN(call->reply.numbers[0], TTL_MAX_NS / NANOS_PER_MS) * NANOS_PER_MS;
    else
        forget_hit(item->hit);
    q->is_answered = call->fail == OK;
    q->open--;
    if (q->open == 0)
        task_wake(q->task);
}

static struct text key_of(const struct cache_id *id, char out[KEY_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    memcpy(out, SHARED_PREFIX, sizeof SHARED_PREFIX - 1);
    char *to = out + sizeof SHARED_PREFIX - 1;
    for (unsigned i = 0; i < CACHE_ID_BYTES; i++) {
        *to++ = digits[id->sha256[i] >> 4];
        *to++ = digits[id->sha256[i] & 15];
    }
    return (struct text){ out, KEY_BYTES };
}

/* Whatever of it has no reply. An answer whose time nobody told is none. */
static void leave(struct redis_link *link, struct question *q)
{
    redis_forget(link->redis, &q->newest);
    for (unsigned i = q->count - q->open; i < q->count; i++) { /* replies come in order */
        redis_forget(link->redis, &q->items[i].answer);
        redis_forget(link->redis, &q->items[i].left);
        forget_hit(q->items[i].hit);
    }
}

static enum fail ask(struct redis_link *link, struct question *q)
{
    struct text newest[] = { TEXT("LINDEX"), TEXT(SHARED_LIST), TEXT("0") };
    enum fail f = redis_send(link->redis, newest, 3, &q->newest);
    for (unsigned i = 0; i < q->count && f == OK; i++) {
        char key[KEY_BYTES];
        struct text answer[] = { TEXT("GET"), key_of(q->items[i].id, key) }, left[] = { TEXT("PTTL"), answer[1] };
        f = redis_send(link->redis, answer, 2, &q->items[i].answer);
        if (f == OK)
            f = redis_send(link->redis, left, 2, &q->items[i].left);
    }
    if (f != OK)
        leave(link, q);
    return f;
}

/* Until the answer is there, its time is over, or enough others have waited in vain. */
static enum fail wait_for(struct task *t, struct redis_link *link, struct question *q, nanos wait, nanos deadline)
{
    nanos began = t->worker->now;
    enum fail f = OK;
    while (f == OK && q->open > 0 && !redis_link_is_away(link))
        f = wait_in(t, &link->waiting, "redis", deadline);
    bool is_late = f == FAIL_TIMEOUT && q->open > 0 && !redis_link_is_away(link) && t->worker->now - began >= wait;
    if (q->open > 0)
        leave(link, q);
    if (is_late) {
        COUNT(t->worker, cache_shared_late);
        redis_link_late(link);
    }
    return f == FAIL_TIMEOUT ? OK : f;
}

/* One visit: q's items, which are ready. */
static enum fail visit(struct task *t, struct question *q, nanos wait, nanos until)
{
    struct shared *s = q->shared;
    struct redis_link *link = choose_asker(s, wait);
    nanos deadline = link != NULL ? MIN(waits_until(link, wait), until) : 0;
    if (link == NULL || ask(link, q) != OK) {
        COUNT_BY(t->worker, cache_shared_unasked, q->count);
        return OK;
    }
    COUNT_BY(t->worker, cache_shared_asked, q->count);
    s->writer.wait = s->listener.wait = link->wait = wait;
    enum fail f = wait_for(t, link, q, wait, deadline);
    if (q->open == 0 && q->is_answered)
        redis_link_answered(link);
    else
        COUNT_BY(t->worker, cache_shared_unanswered, MAX(q->open, 1));
    return f;
}

/* items: room for count. Not beyond `until`, which is as far away as `wait` or nearer. */
static enum fail get(struct task *t, struct shared *s, struct item *items, const struct cache_id *ids, unsigned count, struct text tenant, nanos wait, nanos until,
                     struct shared_hit *outs)
{
    struct question q = { .newest.done = newest_came, .shared = s, .task = t, .tenant = tenant, .items = items, .count = count, .open = count };
    for (unsigned i = 0; i < count; i++) {
        outs[i] = (struct shared_hit){ .value = NULL };
        items[i] = (struct item){ .answer.read = answer_came, .left.done = left_came, .question = &q, .id = &ids[i], .hit = &outs[i] };
    }
    enum fail f = visit(t, &q, wait, until);
    for (unsigned i = 0; i < count; i++) {
        if (f != OK)
            forget_hit(&outs[i]);
        else if (outs[i].value != NULL)
            COUNT(t->worker, cache_shared_hits);
    }
    return f;
}

enum fail shared_get(struct task *t, struct shared *s, const struct cache_id *id, struct text tenant, nanos wait, struct shared_hit *out)
{
    struct item one;
    *out = (struct shared_hit){ .value = NULL };
    return s != NULL ? get(t, s, &one, id, 1, tenant, wait, t->worker->now + wait, out) : OK;
}

enum fail shared_get_many(struct task *t, struct shared *s, const struct cache_id *ids, unsigned count, struct text tenant, nanos wait, struct shared_hit *outs)
{
    struct item *items = s != NULL ? mem_alloc(MIN(count, VISIT_ITEMS) * sizeof *items) : NULL;
    nanos until = t->worker->now + wait;
    enum fail f = OK;
    unsigned done = 0, n;
    for (; items != NULL && done < count && f == OK && t->worker->now < until; done += n) {
        n = MIN(count - done, VISIT_ITEMS);
        f = get(t, s, items, ids + done, n, tenant, wait, until, outs + done);
    }
    for (unsigned i = done; i < count; i++)
        outs[i] = (struct shared_hit){ .value = NULL };
    for (unsigned i = 0; i < done && f != OK; i++)
        forget_hit(&outs[i]);
    mem_free(items);
    return f;
}

/* ---- what is put ---- */

static void put_done(struct redis_call *call)
{
    struct shared *s = CONTAINER_OF(call, struct shared, putting);
    if (call->fail != OK || call->reply.kind != REDIS_STATUS)
        COUNT(s->worker, cache_shared_lost);
}

struct put {
    struct shared *shared;
    const struct cache_id *id;
    const struct cache_label *label;
    const struct cache_value *value;
    nanos ttl;
    enum fail fail;
};

/* On the loop's stack: zstd needs more than a task has. */
static void put_here(void *arg)
{
    struct put *p = arg;
    struct shared *s = p->shared;
    char key[KEY_BYTES], span[24], *bytes;
    size_t len;
    p->fail = shared_value_write(s->zip, p->id, p->label, s->drops.at[0].stamp, p->value, &bytes, &len);
    if (p->fail != OK)
        return;
    int digits = snprintf(span, sizeof span, "%lld", (long long)MAX(p->ttl / NANOS_PER_MS, 1));
    struct text args[] = { TEXT("SET"), key_of(p->id, key), { bytes, len }, TEXT("PX"), { span, (size_t)digits } };
    p->fail = redis_send(s->writer.redis, args, 5, &s->putting);
    mem_free(bytes);
}

void shared_put(struct shared *s, const struct cache_id *id, const struct cache_label *label, const struct cache_value *v, nanos ttl)
{
    if (s == NULL)
        return;
    struct put p = { s, id, label, v, ttl, FAIL_BUSY };
    if (s->drops.count > 0 && !redis_link_is_away(&s->writer))
        task_call_loop(s->worker, put_here, &p);
    if (p.fail == OK)
        COUNT(s->worker, cache_shared_puts);
    else
        COUNT(s->worker, cache_shared_lost);
}

/* ---- start and end ---- */

struct shared *shared_new(struct worker *w, const struct shared_options *options)
{
    struct shared *s = mem_zero(sizeof *s);
    if (s == NULL)
        return NULL;
    s->worker = w;
    s->options = *options;
    s->putting.done = put_done;
    s->zip = shared_zip_new();
    bool is_whole = s->zip != NULL && redis_link_init(&s->writer, w, options->server, &shared_writes, options->wait) == OK && add_asker(s);
    if (is_whole && options->dropped != NULL)
        is_whole = redis_link_init(&s->listener, w, options->server, &shared_listens, options->wait) == OK;
    if (is_whole)
        return s;
    shared_free(s);
    return NULL;
}

void shared_free(struct shared *s)
{
    if (s == NULL)
        return;
    redis_link_fini(&s->writer);
    redis_link_fini(&s->listener);
    for (unsigned i = 0; i < s->asker_count; i++) {
        redis_link_fini(s->askers[i]);
        mem_free(s->askers[i]);
    }
    shared_drops_forget(&s->drops);
    shared_zip_free(s->zip);
    mem_free(s);
}
