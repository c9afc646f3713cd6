/* shared.c: answers that instances share: a worker's connections, what is asked and put over them, and who waits. See shared.h. */
#include "cache/shared_inner.h"
#include "run/wait.h"
#include "stat/stat.h"
#include <limits.h>
#include <stdio.h>

#define KEY_BYTES       (sizeof SHARED_PREFIX - 1 + 2 * CACHE_ID_BYTES)
#define DEEP            48                     /* commands without a reply on the emptiest asker, three a question: one more is made */
#define GROW_NS         (100 * NANOS_PER_MS)   /* between two that are made, as the first of them has to connect before it helps */
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
   no longer than that one. A Redis that stops keeps the first few waiting for the whole time, and none that asks afterwards. */
static nanos waits_until(const struct redis_link *link, nanos wait)
{
    return MIN(link->worker->now, redis_waits_since(link->redis)) + wait;
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

/* Three commands that stand behind each other: the newest drop, the answer, and what is left of its time. */
struct question {
    struct redis_call newest, answer, left;
    struct shared *shared;
    struct task *task;
    const struct cache_id *id;
    struct text tenant;
    bool is_current, is_done;
    struct shared_hit hit;
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
    struct question *q = CONTAINER_OF(call, struct question, answer);
    struct shared *s = q->shared;
    struct shared_parts parts;
    if (!q->is_current || s->drops.count == 0)
        return;
    if (!shared_value_open(bytes, q->id, q->tenant, &parts)) {
        COUNT(s->worker, cache_shared_refused);
        return;
    }
    if (shared_drops_have(&s->drops, parts.stamp, &parts.label))
        return;
    q->hit.value = shared_value_read(s->zip, &parts);
    if (q->hit.value == NULL)
        COUNT(s->worker, cache_shared_refused);
    else
        q->hit.tags = (struct text){ q->hit.value->bytes + q->hit.value->len, parts.label.tags.len };
}

static void left_came(struct redis_call *call)
{
    struct question *q = CONTAINER_OF(call, struct question, left);
    bool is_span = call->fail == OK && call->reply.kind == REDIS_NUMBER && call->reply.numbers[0] > 0;
    q->hit.ttl = is_span ? MIN(call->reply.numbers[0], TTL_MAX_NS / NANOS_PER_MS) * NANOS_PER_MS : 0;
    q->is_done = true;
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

/* Whatever of it was sent. */
static void forget(struct redis_link *link, const struct question *q)
{
    redis_forget(link->redis, &q->newest);
    redis_forget(link->redis, &q->answer);
    redis_forget(link->redis, &q->left);
}

static enum fail ask(struct redis_link *link, struct question *q)
{
    char key[KEY_BYTES];
    struct text newest[] = { TEXT("LINDEX"), TEXT(SHARED_LIST), TEXT("0") }, answer[] = { TEXT("GET"), key_of(q->id, key) }, left[] = { TEXT("PTTL"), answer[1] };
    enum fail f = redis_send(link->redis, newest, 3, &q->newest);
    if (f == OK)
        f = redis_send(link->redis, answer, 2, &q->answer);
    if (f == OK)
        f = redis_send(link->redis, left, 2, &q->left);
    if (f != OK)
        forget(link, q);
    return f;
}

/* Until the answer is there, its time is over, or enough others have waited in vain. */
static enum fail wait_for(struct task *t, struct redis_link *link, struct question *q, nanos wait, nanos deadline)
{
    nanos began = t->worker->now;
    enum fail f = OK;
    while (f == OK && !q->is_done && !redis_link_is_away(link))
        f = wait_in(t, &link->waiting, "redis", deadline);
    if (!q->is_done)
        forget(link, q);
    if (f != FAIL_TIMEOUT)
        return f;
    if (!q->is_done && !redis_link_is_away(link) && t->worker->now - began >= wait) {
        COUNT(t->worker, cache_shared_late);
        redis_link_late(link);
    }
    return OK;
}

enum fail shared_get(struct task *t, struct shared *s, const struct cache_id *id, struct text tenant, nanos wait, struct shared_hit *out)
{
    struct question q = { .newest.done = newest_came, .answer.read = answer_came, .left.done = left_came, .shared = s, .task = t, .id = id, .tenant = tenant };
    *out = (struct shared_hit){ .value = NULL };
    if (s == NULL)
        return OK;
    struct redis_link *link = choose_asker(s, wait);
    nanos deadline = link != NULL ? waits_until(link, wait) : 0;
    if (link == NULL || ask(link, &q) != OK) {
        COUNT(t->worker, cache_shared_unasked);
        return OK;
    }
    COUNT(t->worker, cache_shared_asked);
    s->writer.wait = s->listener.wait = link->wait = wait;
    enum fail f = wait_for(t, link, &q, wait, deadline);
    if (q.is_done && q.left.fail == OK)
        redis_link_answered(link);
    else
        COUNT(t->worker, cache_shared_unanswered);
    if (f == OK && q.is_done && q.hit.ttl > 0 && q.hit.value != NULL) {
        COUNT(t->worker, cache_shared_hits);
        *out = q.hit;
    } else if (q.hit.value != NULL) {
        cache_value_drop(q.hit.value);
    }
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
