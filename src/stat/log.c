/* log.c: log lines: what they say, and a worker's collecting of them until its turn ends. Everyone above run/ calls log_line; path/ calls log_access. */
#include "stat/inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define MESSAGE_MAX     1024                     /* bytes of a message before escaping */
#define ESCAPED_MAX     2048                     /* and after: text in another script is escaped little, only garbage grows more */
#define DIRECT_LINE_MAX 1400                     /* a line from outside the workers stands on the stack */
#define DIRECT_ESCAPED_MAX (DIRECT_LINE_MAX - 128)
#define RETRY_AFTER     (100 * NANOS_PER_MS)     /* until a blocked log is tried again when nothing new is said */
#define GATHER_NS       (10 * NANOS_PER_MS)
#define KEEP_ROOM       (2 * LOG_WRITE_AT)       /* memory a worker keeps for its next lines */

/* For threads that have no worker: start-up, shutdown, jobs. */
static _Atomic(struct log *) process_log;

/* ---- the log ---- */

void log_init(struct log *log, struct world *world)
{
    memset(log, 0, sizeof *log);
    log->magic = LOG_MAGIC;
    log->world = world;
    log->fd = STDERR_FILENO;
    pthread_mutex_init(&log->lock, NULL);
    ASSERT(log_open(log, NULL) == OK); /* stderr needs no opening */
    log_set(log, LOG_LEVEL_INFO, LOG_FORMAT_TEXT, true);
    struct log *none = NULL;
    atomic_compare_exchange_strong(&process_log, &none, log);
}

void log_fini(struct log *log)
{
    struct log *self = log;
    atomic_compare_exchange_strong(&process_log, &self, NULL);
    ASSERT(log_open(log, NULL) == OK); /* closes a file */
    pthread_mutex_destroy(&log->lock);
    log->magic = 0;
}

void log_set(struct log *log, enum log_level level, enum log_format format, bool access)
{
    CHECK(log, LOG);
    atomic_store(&log->level, (int)level);
    atomic_store(&log->format, (int)format);
    atomic_store(&log->access, access);
}

/* NULL for a thread without a worker, and for workers that nobody attached. */
static struct log_writer *writer_of(struct worker *w)
{
    struct stat_worker *sw = w != NULL ? w->hooks.stat : NULL;
    return sw != NULL ? &sw->log : NULL;
}

static struct log *log_of(struct worker *w)
{
    struct log_writer *lw = writer_of(w);
    return lw != NULL ? lw->log : atomic_load_explicit(&process_log, memory_order_relaxed);
}

bool log_wants(struct worker *w, enum log_level level)
{
    struct log *log = log_of(w);
    return log != NULL && (int)level <= atomic_load_explicit(&log->level, memory_order_relaxed);
}

static bool is_json(struct log *log)
{
    return atomic_load_explicit(&log->format, memory_order_relaxed) == LOG_FORMAT_JSON;
}

/* ---- a worker's end: lines wait in `pending` for the end of the turn ---- */

static void write_pending(struct worker *w, struct log_writer *lw)
{
    if (buf_len(&lw->pending) == 0)
        return;
    unsigned lost;
    size_t done = log_write_lines(lw->log, buf_text(&lw->pending), &lost);
    buf_eat(&lw->pending, done);
    COUNT_BY(w, log_lines_dropped, lost);
    lw->blocked = buf_len(&lw->pending) > 0;
    if (lw->blocked) {
        timer_set(w, &lw->retry, w->now + RETRY_AFTER);
        return;
    }
    timer_stop(w, &lw->retry);
    if (lw->pending.room > KEEP_ROOM)
        buf_release_if_empty(&lw->pending);
}

static void turn_ended(struct worker *w, struct turn_end *self)
{
    write_pending(w, CONTAINER_OF(self, struct log_writer, flush));
}

static void retry(struct worker *w, struct timer *self)
{
    write_pending(w, CONTAINER_OF(self, struct log_writer, retry));
}

void log_writer_init(struct log_writer *lw, struct log *log)
{
    *lw = (struct log_writer){ .log = log, .flush.run = turn_ended, .retry.fire = retry, .second = INT64_MIN };
    buf_init(&lw->pending, LOG_PENDING_MAX);
}

void log_writer_fini(struct worker *w, struct log_writer *lw)
{
    write_pending(w, lw);
    timer_stop(w, &lw->retry);
    if (node_is_in(&lw->flush.node))
        list_remove(&w->turn_end, &lw->flush.node);
    buf_fini(&lw->pending);
}

/* Room for one line at the end of what waits. False: the line is dropped, and counted. */
static bool line_open(struct worker *w, struct log_writer *lw, struct line *out)
{
    if (buf_reserve(&lw->pending, LOG_LINE_MAX) != OK) {
        COUNT(w, log_lines_dropped);
        return false;
    }
    char *at = buf_end(&lw->pending);
    *out = (struct line){ at, at + LOG_LINE_MAX - 2, is_json(lw->log) }; /* line_close needs two bytes */
    return true;
}

static char *line_close(struct line *l)
{
    if (l->json)
        *l->at++ = '}';
    *l->at++ = '\n';
    return l->at;
}

/* soon: with this turn's end. Access lines may wait GATHER_NS for company: a write for each turn was 2 to 3 % of a busy worker. */
static void line_keep(struct worker *w, struct log_writer *lw, struct line *l, bool soon)
{
    buf_added(&lw->pending, (size_t)(line_close(l) - buf_end(&lw->pending)));
    if (buf_len(&lw->pending) >= LOG_WRITE_AT && !lw->blocked) /* while it is blocked, the timer is often enough */
        write_pending(w, lw);
    if (buf_len(&lw->pending) == 0)
        return;
    if (soon)
        turn_end_ask(w, &lw->flush);
    else if (!heap_has(&lw->retry.node))
        timer_set(w, &lw->retry, w->now + GATHER_NS);
}

/* ---- what every line begins with ---- */

static void put_millis(struct line *l, nanos wall)
{
    unsigned millis = (unsigned)(wall / NANOS_PER_MS % 1000);
    char digits[] = { (char)('0' + millis / 100), (char)('0' + millis / 10 % 10), (char)('0' + millis % 10), 'Z' };
    line_raw(l, (struct text){ digits, sizeof digits });
}

/* "2026-01-31T23:59:59.123Z warn  event", or {"time":"…","level":"warn","event":"event". stamp is the second's, as stamp_write makes it. */
static void put_head(struct line *l, const char *stamp, nanos wall, enum log_level level, struct text event)
{
    static const struct text levels[] = { TEXT("error"), TEXT("warn"), TEXT("info"), TEXT("debug") };
    const char *from = l->at;
    if (l->json)
        line_raw(l, TEXT("{\"time\":\""));
    line_raw(l, (struct text){ stamp, STAMP_LEN });
    put_millis(l, wall);
    line_raw(l, l->json ? TEXT("\",\"level\":\"") : TEXT(" "));
    line_raw(l, levels[level]);
    line_raw(l, l->json ? TEXT("\",\"event\":\"") : TEXT(" "));
    line_pad(l, from, STAMP_LEN + 4 + 7);
    line_raw(l, event);
    line_raw(l, l->json ? TEXT("\"") : TEXT(""));
    line_pad(l, from, STAMP_LEN + 4 + 7 + 8);
}

/* The date is made anew once a second, not once a line. */
static const char *stamp_of(struct log_writer *lw, nanos wall)
{
    int64_t second = wall / NANOS_PER_S;
    if (UNLIKELY(second != lw->second)) {
        stamp_write(second, lw->stamp);
        lw->second = second;
    }
    return lw->stamp;
}

/* ---- messages ---- */

/* noinline: so that its line and log_line's message do not stand in one frame. */
__attribute__((noinline)) static void write_direct(struct log *log, enum log_level level, const char *event, struct text message)
{
    char bytes[DIRECT_LINE_MAX], stamp[STAMP_LEN];
    nanos wall = world_wall(log->world);
    struct line l = { bytes, bytes + sizeof bytes - 2, is_json(log) };
    stamp_write(wall / NANOS_PER_S, stamp);
    put_head(&l, stamp, wall, level, text_of(event));
    line_text(&l, FIELD("message"), message, DIRECT_ESCAPED_MAX);
    unsigned lost = 0;
    size_t n = (size_t)(line_close(&l) - bytes);
    if (log_write_lines(log, (struct text){ bytes, n }, &lost) < n)
        lost++; /* there is no later for it */
    atomic_fetch_add_explicit(&log->dropped, lost, memory_order_relaxed);
}

size_t log_lost_line(const struct log *log, char out[LOST_LINE_MAX])
{
    char message[128], stamp[STAMP_LEN];
    nanos wall = world_wall(log->world);
    struct line l = { out, out + LOST_LINE_MAX - 2, is_json((struct log *)(uintptr_t)log) };
    const char *why = log->missing_error != 0 ? strerror(log->missing_error) : "nobody read them";
    int n = snprintf(message, sizeof message, "%u log lines were lost here: %s", log->missing, why);
    stamp_write(wall / NANOS_PER_S, stamp);
    put_head(&l, stamp, wall, LOG_LEVEL_WARN, TEXT("log"));
    line_text(&l, FIELD("message"), (struct text){ message, (size_t)n }, 160);
    return (size_t)(line_close(&l) - out);
}

static void keep(struct worker *w, struct log_writer *lw, enum log_level level, const char *event, struct text message)
{
    struct line l;
    if (!line_open(w, lw, &l))
        return;
    put_head(&l, stamp_of(lw, w->wall), w->wall, level, text_of(event));
    line_text(&l, FIELD("message"), message, ESCAPED_MAX);
    line_keep(w, lw, &l, true);
}

void log_line(struct worker *w, enum log_level level, const char *event, const char *format, ...)
{
    if (!log_wants(w, level))
        return;
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    int said = vsnprintf(message, sizeof message, format, args);
    va_end(args);

    struct text text = { message, (size_t)MIN(MAX(said, 0), MESSAGE_MAX - 1) };
    if (said >= MESSAGE_MAX)
        memcpy(message + MESSAGE_MAX - 4, "...", 3);
    struct log_writer *lw = writer_of(w);
    if (lw != NULL)
        keep(w, lw, level, event, text);
    else
        write_direct(log_of(w), level, event, text);
}

/* ---- requests ---- */

/* The columns that have one width stand first, so that the eye can run down them. */
static void put_columns(struct line *l, const struct access_line *a)
{
    const char *from = l->at;
    line_u64(l, FIELD("status"), (uint64_t)a->status);
    line_pad(l, from, sizeof " status=200" - 1);
    line_text(l, FIELD("outcome"), text_of(outcome_name(a->outcome)), 16);
    line_pad(l, from, sizeof " status=200 outcome=cancelled" - 1);
    line_ms(l, FIELD("total_ms"), a->total);
    line_pad(l, from, sizeof " status=200 outcome=cancelled total_ms=600000.000" - 1);
    line_text(l, FIELD("request_id"), a->request_id, 64);
}

static struct text without_query(struct text path)
{
    struct text before;
    (void)text_cut(path, '?', &before);
    return before;
}

static void put_story(struct line *l, const struct access_line *a)
{
    line_text(l, FIELD("method"), a->method, 16);
    line_text(l, FIELD("path"), without_query(a->path), 256);
    line_text(l, FIELD("client"), a->client, 64);
    line_text(l, FIELD("key"), a->key_name, 64);
    line_text(l, FIELD("model"), a->model, 128);
    line_text(l, FIELD("backend"), a->backend, 128);
    line_text(l, FIELD("cache"), a->cache, 16);
    line_u64(l, FIELD("attempts"), a->attempts);
    line_ms(l, FIELD("queue_ms"), a->queue);
    line_ms(l, FIELD("first_token_ms"), a->first_token);
    line_us(l, FIELD("overhead_us"), a->overhead);
    if (a->prompt_tokens >= 0)
        line_u64(l, FIELD("prompt_tokens"), (uint64_t)a->prompt_tokens);
    if (a->completion_tokens >= 0)
        line_u64(l, FIELD("completion_tokens"), (uint64_t)a->completion_tokens);
    line_u64(l, FIELD("received_bytes"), a->received_bytes);
    line_u64(l, FIELD("sent_bytes"), a->sent_bytes);
    line_text(l, FIELD("reason"), text_of(a->reason), 64);
}

void log_access(struct worker *w, const struct access_line *a)
{
    struct log_writer *lw = writer_of(w);
    struct line l;
    if (lw == NULL || lw->log == NULL || !log_wants(w, LOG_LEVEL_INFO) || !atomic_load_explicit(&lw->log->access, memory_order_relaxed))
        return;
    if (!line_open(w, lw, &l))
        return;
    put_head(&l, stamp_of(lw, w->wall), w->wall, LOG_LEVEL_INFO, TEXT("request"));
    put_columns(&l, a);
    put_story(&l, a);
    line_keep(w, lw, &l, false);
}
