/* redis.c: a connection to a Redis: what is sent, what is pending, and whose each reply is. Called by redis_link.c and its users. */
#include "net/redis.h"
#include "base/account.h"
#include "base/buf.h"
#include "net/wire.h"
#include <errno.h>
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#define REDIS_MAGIC      0x4ed15c0eu
#define KEPT_BYTES_MAX   65536 /* of memory, in an output that is empty */

struct pending {
    struct redis_call *call; /* NULL: its reply is dropped */
    nanos since;
};

struct redis {
    uint32_t magic;
    struct worker *worker;
    struct redis_options options;
    struct wire wire;
    struct watch watch;
    struct turn_end flush;
    struct task *opener;        /* while it connects */
    redisReader *reader;        /* NULL: closed */
    size_t accounted;           /* bytes of what it has not handed out */
    struct redis_reply reply;   /* the one that is being read */
    bool open, writable, is_end;
    const char *why;
    struct buf out;
    uint32_t first, count;      /* of pending, a ring */
    struct pending pending[REDIS_PENDING_MAX];
};

/* ---- what hiredis reads: no object is made, the numbers and the beginning of a text are kept in r->reply ---- */

static struct redis_reply *reply_of(const redisReadTask *task, enum redis_kind kind)
{
    struct redis_reply *reply = &((struct redis *)task->privdata)->reply;
    if (task->parent == NULL)
        *reply = (struct redis_reply){ .kind = kind };
    else if (task->parent->parent != NULL)
        return NULL; /* an array in an array is no answer of ours */
    return reply;
}

static void *create_string(const redisReadTask *task, char *at, size_t len)
{
    struct redis *r = task->privdata;
    struct redis_call *call = r->count > 0 ? r->pending[r->first].call : NULL;
    enum redis_kind kind = task->type == REDIS_REPLY_ERROR ? REDIS_ERROR : task->type == REDIS_REPLY_STATUS ? REDIS_STATUS : REDIS_STRING;
    struct redis_reply *reply = reply_of(task, kind);
    if (reply == NULL || task->parent != NULL)
        return reply;
    reply->text_len = MIN(len, sizeof reply->text);
    memcpy(reply->text, at, reply->text_len);
    if (kind == REDIS_STRING && call != NULL && call->read != NULL)
        call->read(call, (struct text){ at, len });
    return reply;
}

static void *create_array(const redisReadTask *task, int elements)
{
    struct redis_reply *reply = reply_of(task, REDIS_ARRAY);
    if (reply == NULL || task->parent != NULL || elements > REDIS_NUMBERS_MAX)
        return NULL;
    reply->count = elements > 0 ? (unsigned)elements : 0;
    return reply;
}

static void *create_integer(const redisReadTask *task, long long value)
{
    struct redis_reply *reply = reply_of(task, REDIS_NUMBER);
    if (reply == NULL)
        return NULL;
    if (task->parent == NULL)
        reply->count = 1;
    reply->numbers[task->parent == NULL ? 0 : task->idx] = value;
    return reply;
}

static void *create_nil(const redisReadTask *task) { return reply_of(task, REDIS_NIL); }
static void free_object(void *object) { (void)object; }

static redisReplyObjectFunctions into_reply = { create_string, create_array, create_integer, create_nil, free_object };

/* hiredis allocates behind the account's back. False: there is no room for what has come. */
static bool account_for(struct redis *r, size_t bytes)
{
    if (bytes > r->accounted && !account_has(bytes - r->accounted))
        return false;
    if (bytes > r->accounted)
        account_spend(bytes - r->accounted);
    else
        account_give(r->accounted - bytes);
    r->accounted = bytes;
    return true;
}

/* ---- the end ---- */

static struct pending take_first(struct redis *r)
{
    struct pending p = r->pending[r->first];
    r->first = (r->first + 1) % REDIS_PENDING_MAX;
    r->count--;
    return p;
}

static void finish(struct redis_call *call, enum fail f)
{
    if (call == NULL)
        return;
    call->fail = f;
    if (call->done != NULL)
        call->done(call);
}

void redis_close(struct redis *r, const char *why)
{
    CHECK(r, REDIS);
    if (r->reader == NULL)
        return;
    r->why = why;
    r->open = false;
    watch_stop(r->worker, &r->watch);
    wire_close(&r->wire, false);
    redisReaderFree(r->reader);
    r->reader = NULL;
    (void)account_for(r, 0); /* giving back does not fail */
    buf_fini(&r->out);
    while (r->count > 0) /* what they send now is refused: the connection is closed */
        finish(take_first(r).call, FAIL_RESET);
}

/* Not within redis_send or the reader: its callers go on afterwards. */
static void poison(struct redis *r, const char *why)
{
    redis_close(r, why);
    r->options.closed(r->options.arg);
}

/* ---- bytes ---- */

static void write_out(struct redis *r)
{
    while (r->open && r->writable && buf_len(&r->out) > 0) {
        struct text bytes = buf_text(&r->out);
        struct iovec part = { (char *)bytes.at, bytes.len };
        ssize_t n = wire_writev(&r->wire, &part, 1);
        if (n == -EAGAIN) {
            r->writable = false;
        } else if (n < 0) {
            poison(r, "it cannot be written to");
        } else {
            buf_eat(&r->out, (size_t)n);
        }
    }
    if (r->out.room > KEPT_BYTES_MAX)
        buf_release_if_empty(&r->out);
}

static void flush(struct worker *w, struct turn_end *self)
{
    (void)w;
    write_out(CONTAINER_OF(self, struct redis, flush));
}

/* Each whole reply to whom it belongs. False: the connection has ended. */
static bool hand_out(struct redis *r)
{
    void *whole = NULL;
    while (r->open && redisReaderGetReply(r->reader, &whole) == REDIS_OK && whole != NULL) {
        whole = NULL;
        if (r->count == 0 && r->options.unasked != NULL) {
            r->options.unasked(r->options.arg);
            continue;
        }
        if (r->count == 0) {
            poison(r, "it answered what nobody asked");
            return false;
        }
        struct redis_call *call = take_first(r).call;
        if (call != NULL)
            call->reply = r->reply;
        finish(call, OK);
    }
    if (r->open && !account_for(r, r->reader->len))
        poison(r, "there is no memory for its answer");
    if (r->open && (r->reader->err != 0 || r->reader->len > r->options.reply_max))
        poison(r, "it answered something else than RESP, or what no command of ours asks for");
    return r->open;
}

static void read_in(struct redis *r)
{
    struct worker *w = r->worker;
    for (;;) {
        ssize_t n = wire_read(&r->wire, w->scratch, SCRATCH_BYTES);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            poison(r, n == 0 ? "it closed the connection" : wire_error_text((int)-n));
            return;
        }
        if (redisReaderFeed(r->reader, w->scratch, (size_t)n) != REDIS_OK) {
            poison(r, "out of memory");
            return;
        }
        if (!hand_out(r) || (n < SCRATCH_BYTES && !r->is_end))
            return;
    }
}

static void on_ready(struct worker *w, struct watch *self, unsigned events)
{
    struct redis *r = CONTAINER_OF(self, struct redis, watch);
    (void)w;
    CHECK(r, REDIS);
    if (events & WATCH_WRITE)
        r->writable = true;
    if (events & WATCH_HANGUP)
        r->is_end = r->wire.hangup = true;
    if (r->opener != NULL) {
        task_wake(r->opener);
        return;
    }
    write_out(r);
    if (r->open && (events & (WATCH_READ | WATCH_HANGUP)) != 0)
        read_in(r);
}

/* ---- a connection ---- */

struct redis *redis_new(struct worker *w, const struct redis_options *options)
{
    struct redis *r = mem_zero(sizeof *r);
    if (r == NULL)
        return NULL;
    r->magic = REDIS_MAGIC;
    r->worker = w;
    r->options = *options;
    r->why = "";
    r->watch = (struct watch){ -1, on_ready };
    r->flush.run = flush;
    buf_init_secret(&r->out, options->out_max); /* AUTH passes here */
    return r;
}

void redis_free(struct redis *r)
{
    if (r == NULL)
        return;
    redis_close(r, "the end");
    if (node_is_in(&r->flush.node))
        list_remove(&r->worker->turn_end, &r->flush.node);
    buf_fini(&r->out);
    r->magic = 0;
    mem_free(r);
}

static enum fail finish_connect(struct task *t, struct redis *r, nanos deadline)
{
    enum fail f = watch_start(r->worker, &r->watch, r->wire.fd, false);
    r->opener = t;
    while (f == OK && !r->writable && !r->is_end)
        f = task_park(t, "redis connect", deadline);
    r->opener = NULL;
    if (f == FAIL_TIMEOUT) {
        r->why = "no answer";
        return FAIL_CONNECT;
    }
    if (f != OK)
        return f;
    int error = -r->worker->world->connect_result(r->worker->world, r->wire.fd);
    r->why = error != 0 ? wire_error_text(error) : "";
    return error == 0 ? OK : FAIL_CONNECT;
}

enum fail redis_open(struct task *t, struct redis *r, const struct addr *to, nanos deadline)
{
    struct worker *w = r->worker;
    CHECK(r, REDIS);
    ASSERT(r->reader == NULL);
    int fd = w->world->connect(w->world, to);
    if (fd < 0) {
        r->why = wire_error_text(-fd);
        return fd == -EMFILE || fd == -ENFILE ? FAIL_NO_DESCRIPTORS : FAIL_CONNECT;
    }
    r->wire = wire_plain(w, fd);
    r->writable = r->is_end = false;
    r->reader = redisReaderCreateWithFunctions(&into_reply);
    if (r->reader == NULL) {
        wire_close(&r->wire, false);
        return FAIL_NO_MEMORY;
    }
    r->reader->privdata = r;
    enum fail f = finish_connect(t, r, deadline);
    if (f != OK)
        redis_close(r, r->why);
    r->open = f == OK;
    return f;
}

bool redis_is_open(const struct redis *r) { return r->open; }
const char *redis_why(const struct redis *r) { return r->why; }
nanos redis_waits_since(const struct redis *r) { return r->count > 0 ? r->pending[r->first].since : NEVER; }
unsigned redis_pending(const struct redis *r) { return r->count; }

/* ---- a command ---- */

/* As much as "*24\r\n$16777216\r\n" and "\r\n" may take, for each word. */
#define WORD_AROUND 24

static void put_number(struct buf *out, char kind, size_t number)
{
    buf_added(out, (size_t)snprintf(buf_end(out), WORD_AROUND, "%c%zu\r\n", kind, number));
}

/* Room is there. Not hiredis' formatter: it would copy a large value once more, into memory that nobody accounts for. */
static void put_word(struct buf *out, struct text word)
{
    put_number(out, '$', word.len);
    if (word.len > 0)
        memcpy(buf_end(out), word.at, word.len);
    buf_added(out, word.len);
    memcpy(buf_end(out), "\r\n", 2);
    buf_added(out, 2);
}

enum fail redis_send(struct redis *r, const struct text *args, unsigned count, struct redis_call *call)
{
    size_t bytes = WORD_AROUND;
    CHECK(r, REDIS);
    ASSERT(count <= REDIS_ARGS_MAX);
    if (!r->open)
        return FAIL_RESET;
    if (r->count == REDIS_PENDING_MAX)
        return FAIL_BUSY;
    for (unsigned i = 0; i < count; i++)
        bytes += WORD_AROUND + args[i].len;
    enum fail f = buf_reserve(&r->out, bytes);
    if (f != OK)
        return f == FAIL_TOO_LARGE ? FAIL_BUSY : f;
    put_number(&r->out, '*', count);
    for (unsigned i = 0; i < count; i++)
        put_word(&r->out, args[i]);
    r->pending[(r->first + r->count++) % REDIS_PENDING_MAX] = (struct pending){ call, r->worker->now };
    turn_end_ask(r->worker, &r->flush);
    return OK;
}

void redis_forget(struct redis *r, const struct redis_call *call)
{
    for (uint32_t i = 0; i < r->count; i++) {
        struct pending *p = &r->pending[(r->first + i) % REDIS_PENDING_MAX];
        if (p->call == call)
            p->call = NULL; /* its place stays: the reply comes, and is nobody's */
    }
}

struct asker {
    struct redis_call call;
    struct task *task;
    bool is_done;
};

static void answered(struct redis_call *call)
{
    struct asker *a = CONTAINER_OF(call, struct asker, call);
    a->is_done = true;
    task_wake(a->task);
}

enum fail redis_ask(struct task *t, struct redis *r, const struct text *args, unsigned count, nanos deadline, struct redis_reply *out)
{
    struct asker a = { .call.done = answered, .task = t };
    enum fail f = redis_send(r, args, count, &a.call);
    while (f == OK && !a.is_done) {
        f = task_park(t, "redis", deadline);
        if (f != OK && !a.is_done)
            redis_forget(r, &a.call);
    }
    if (!a.is_done)
        return f;
    if (a.call.fail == OK)
        *out = a.call.reply;
    return a.call.fail;
}
