/* shared_list.c: the list of drops in Redis: how a worker comes to know it, hears of new ones, and adds its own. Called by shared.c and by the links' tasks. */
#include "cache/shared_inner.h"
#include <inttypes.h>
#include <stdio.h>

#define TEND_NS      (5 * NANOS_PER_S) /* a drop whose message was lost is heard of by then */
#define LIST_WAIT_NS (2 * NANOS_PER_S)
#define REPLY_MAX    65536             /* what a listener hears, and says */
#define LIST_MAX     (SHARED_DROPS_MAX * SHARED_ENTRY_MAX + REPLY_MAX)
#define OUT_MAX      (2 * SHARED_VALUE_MAX) /* what is put and not yet written, a worker: the queue of puts */

/* ---- scripts ---- */

static const struct cache_match everything = { TEXT_NONE, TEXT_NONE, TEXT_NONE };

#define DAYS_30 "redis.call('PEXPIRE',KEYS[1],2592000000)\n"
/* An empty list begins with a drop of everything: what carries a drop of a list that was lost is then older than this one. */
static const char read_list_script[] =
    "local d=redis.call('LRANGE',KEYS[1],0,-1)\n"
    "if #d==0 then redis.call('LPUSH',KEYS[1],ARGV[1]) d={ARGV[1]} end\n"
    DAYS_30
    "return table.concat(d)";
static const char drop_script[] =
    "redis.call('LPUSH',KEYS[1],ARGV[1])\n"
    "redis.call('LTRIM',KEYS[1],0,255)\n"
    DAYS_30
    "redis.call('PUBLISH',KEYS[1],'')\n"
    "return 1";
_Static_assert(SHARED_DROPS_MAX == 256, "as drop_script trims it");

#define LIST_WORDS 5

/* A script about the list, with a new drop. */
struct about_list {
    char entry[SHARED_ENTRY_MAX];
    struct text words[LIST_WORDS];
};

/* False: the match's texts are too long. */
static bool say_about_list(struct shared *s, struct about_list *c, struct text script, const struct cache_match *match)
{
    char stamp[SHARED_STAMP_BYTES + 1];
    snprintf(stamp, sizeof stamp, "%016" PRIx64, worker_random(s->worker));
    size_t len = shared_drops_write(stamp, match, c->entry);
    c->words[0] = TEXT("EVAL");
    c->words[1] = script;
    c->words[2] = TEXT("1");
    c->words[3] = TEXT(SHARED_LIST);
    c->words[4] = (struct text){ c->entry, len };
    return len > 0;
}

/* ---- reading it ---- */

/* What is new in the list, to who keeps answers in this process. */
static void tell_drops(struct task *t, struct shared *s)
{
    unsigned at = shared_drops_find(&s->drops, (struct text){ s->told, sizeof s->told });
    if (s->options.dropped == NULL || at == 0)
        return;
    if (at == s->drops.count)
        s->options.dropped(t, &everything, s->options.arg);
    else
        while (at-- > 0)
            s->options.dropped(t, &s->drops.at[at].match, s->options.arg);
    memcpy(s->told, s->drops.at[0].stamp, sizeof s->told);
}

struct list_reader {
    struct redis_call call;
    struct shared *shared;
    struct task *task;
    bool is_done;
};

static void list_came(struct redis_call *call, struct text bytes)
{
    (void)shared_drops_read(&CONTAINER_OF(call, struct list_reader, call)->shared->drops, bytes); /* without memory it stays unknown */
}

static void list_done(struct redis_call *call)
{
    struct list_reader *a = CONTAINER_OF(call, struct list_reader, call);
    a->is_done = true;
    task_wake(a->task);
}

/* Out of line, as its words would lie on the task's stack while others are told. */
static __attribute__((noinline)) enum fail ask_for_list(struct task *t, struct shared *s)
{
    struct about_list c;
    struct list_reader a = { .call = { .done = list_done, .read = list_came }, .shared = s, .task = t };
    bool is_short = say_about_list(s, &c, text_of(read_list_script), &everything);
    ASSERT(is_short);
    nanos deadline = t->worker->now + LIST_WAIT_NS;
    enum fail f = redis_send(s->writer.redis, c.words, LIST_WORDS, &a.call);
    while (f == OK && !a.is_done)
        f = task_park(t, "redis", deadline);
    if (!a.is_done) {
        redis_forget(s->writer.redis, &a.call);
        return f;
    }
    return a.call.fail == OK && a.call.reply.kind != REDIS_STRING ? FAIL_PROTOCOL : a.call.fail;
}

/* The writer's prepare and tend. */
static enum fail read_list(struct task *t, struct redis_link *link)
{
    struct shared *s = CONTAINER_OF(link, struct shared, writer);
    enum fail f = ask_for_list(t, s);
    if (f == OK && s->drops.count > 0) {
        tell_drops(t, s);
        return OK;
    }
    snprintf(link->why, sizeof link->why, "it does not keep our list of what was dropped");
    return f != OK ? f : FAIL_PROTOCOL;
}

/* ---- hearing of it ---- */

/* A message on the channel, or the answer to a PING: either way the list is worth a look. */
static void heard(struct redis_link *link)
{
    redis_link_tend(&CONTAINER_OF(link, struct shared, listener)->writer);
}

/* The listener's prepare: what was dropped while nobody listened is looked up. */
static enum fail subscribe(struct task *t, struct redis_link *link)
{
    struct redis_reply reply;
    struct text args[] = { TEXT("SUBSCRIBE"), TEXT(SHARED_LIST) };
    enum fail f = redis_link_say(t, link, "it lets nobody subscribe", args, 2, &reply);
    if (f == OK)
        heard(link);
    return f;
}

/* The listener's tend: nothing else would notice that the connection is dead. */
static enum fail listens_still(struct task *t, struct redis_link *link)
{
    struct redis_reply reply;
    struct text args[] = { TEXT("PING") };
    return redis_link_say(t, link, "it does not answer", args, 1, &reply);
}

const struct redis_use shared_writes = { "redis writer", LIST_MAX, OUT_MAX, false, TEND_NS, read_list, read_list, NULL };
const struct redis_use shared_listens = { "redis listener", REPLY_MAX, REPLY_MAX, true, TEND_NS, subscribe, listens_still, heard };

/* ---- adding to it ---- */

enum fail shared_drop(struct task *t, struct shared *s, const struct cache_match *match, nanos deadline)
{
    struct about_list c;
    struct redis_reply reply;
    if (s == NULL)
        return OK;
    if (!say_about_list(s, &c, text_of(drop_script), match))
        return FAIL_TOO_LARGE;
    if (redis_link_is_away(&s->writer))
        return FAIL_BUSY;
    enum fail f = redis_ask(t, s->writer.redis, c.words, LIST_WORDS, deadline, &reply);
    if (f != OK)
        return f;
    redis_link_tend(&s->writer);
    return reply.kind == REDIS_NUMBER ? OK : FAIL_BUSY;
}
