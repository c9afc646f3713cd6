/* store.c: the writer thread: groups what tasks want changed and what was spent into transactions, and keeps trying when the file cannot be used. */
#include "store/writer.h"
#include "base/account.h"
#include "stat/stat.h"
#include <signal.h>
#include <stdio.h>

#define BUSY_MS     2000 /* the writer waits so long for a lock of another process */
#define BUSY_AT_MS  500  /* and a start no longer than that */

static nanos now_of(struct store *s) { return world_now(s->options.world); }

/* ---- what state it is in ---- */

static void set_state(struct store *s, enum store_state state, const char *why)
{
    pthread_mutex_lock(&s->lock);
    s->status.state = state;
    s->status.failures += state == STORE_FAILED;
    snprintf(s->status.why, sizeof s->status.why, "%s", why);
    pthread_mutex_unlock(&s->lock);
}

static void close_file(struct store *s)
{
    db_close(s->db);
    s->db = NULL;
}

/* Told once, not at every try. The next one begins with opening: after a failed write or sync nobody knows what SQLite's cache is worth. */
static void failed(struct store *s, const char *why)
{
    if (s->status.state != STORE_FAILED) {
        log_line(NULL, LOG_LEVEL_WARN, "store", "%s; requests go on, with the keys and sums in memory, and weir tries again", why);
        s->again_ns = STORE_AGAIN_NS;
    }
    set_state(s, STORE_FAILED, why);
    s->again_at = now_of(s) + s->again_ns;
    s->again_ns = MIN(2 * s->again_ns, STORE_AGAIN_MAX);
    close_file(s);
}

static void worked(struct store *s)
{
    if (s->status.state == STORE_FAILED || s->status.state == STORE_READ_ONLY)
        log_line(NULL, LOG_LEVEL_INFO, "store", "%s works again", s->options.path);
    if (s->status.state != STORE_OPEN)
        set_state(s, STORE_OPEN, "");
}

/* ---- keys in memory ---- */

static void take_keys(struct store *s, struct keyring *keys)
{
    pthread_mutex_lock(&s->lock);
    struct keyring *old = s->keys;
    s->keys = keys;
    s->status.keys = keys != NULL ? keys->count : 0;
    pthread_mutex_unlock(&s->lock);
    keyring_unref(old);
    s->options.changed(s->options.arg);
}

static enum fail read_keys(struct store *s, struct complaint *why)
{
    struct keyring *keys;
    enum fail f = db_keys(s->db, &keys, why);
    s->is_stale = f != OK;
    if (f == OK)
        take_keys(s, keys);
    return f;
}

struct keyring *store_keys(struct store *s)
{
    pthread_mutex_lock(&s->lock);
    struct keyring *keys = keyring_ref(s->keys);
    pthread_mutex_unlock(&s->lock);
    return keys;
}

/* ---- opening ---- */

static void only_read(struct store *s)
{
    if (s->status.state != STORE_READ_ONLY)
        log_line(NULL, LOG_LEVEL_WARN, "store", "%s can only be read: its keys work, but none can be made or revoked, and what is spent stays in memory",
                 s->options.path);
    set_state(s, STORE_READ_ONLY, "it can only be read");
    s->again_at = now_of(s) + STORE_AGAIN_MAX;
}

/* Keys are read before anything is restored: until then nobody knows who may ask. */
static enum fail use(struct store *s, struct db *db, struct complaint *why)
{
    bool changed;
    s->db = db;
    enum fail f = db_has_changed(db, &changed, why);
    if (f == OK)
        f = read_keys(s, why);
    if (f == OK && !s->was_open && s->options.restore != NULL)
        f = db_spend_each(db, s->options.restore, s->options.arg, why);
    s->was_open = s->was_open || f == OK;
    return f;
}

/* Opens the file if it is not open. OK and db == NULL: there is none, and none is needed yet. */
static enum fail open_file(struct store *s, bool make, int busy_ms, struct complaint *why)
{
    struct db *db = NULL;
    if (s->db != NULL)
        return OK;
    enum fail f = db_open(s->options.path, make && !s->was_open, busy_ms, &db, why);
    if (f == OK && db == NULL && s->was_open) {
        (void)complain(why, NULL, 0, 0, "%s is gone: put it back, or start weir again to begin a new one", s->options.path);
        return FAIL_STORE;
    }
    if (f != OK || db == NULL)
        return f;
    f = use(s, db, why);
    if (f != OK)
        close_file(s);
    else if (db_is_read_only(db))
        only_read(s);
    return f;
}

/* What was opened may have been taken from under us; and what could only be read may be writable now. */
static enum fail open_again(struct store *s, bool make, struct complaint *why)
{
    if (s->db != NULL && (!db_is_in_place(s->db) || (db_is_read_only(s->db) && now_of(s) >= s->again_at)))
        close_file(s);
    return open_file(s, make, BUSY_MS, why);
}

/* ---- one group ---- */

struct group_commit {
    struct store *store;
    struct list jobs;
    struct spend spend;
    unsigned rows;
    struct complaint why;
};

static enum fail write_spend(void *arg, enum spend_kind kind, struct text name, int64_t start, int64_t micro)
{
    struct group_commit *g = arg;
    g->rows++;
    return db_spend_set(g->store->db, kind, name, start, micro, &g->why);
}

/* Failures of the file end the group; that one change cannot be done ends that change. */
static enum fail write_jobs(struct group_commit *g)
{
    enum fail f = OK;
    for (struct node *n = list_first(&g->jobs); n != NULL && f == OK; n = list_next(&g->jobs, n)) {
        struct job *job = CONTAINER_OF(n, struct job, node);
        struct change *c = job->arg;
        job->work(job->arg);
        g->rows++;
        if (c->fail != OK && c->fail != FAIL_BAD_FIELD) {
            f = c->fail;
            g->why = c->why;
        }
    }
    return f;
}

static enum fail write_group(struct store *s, struct group_commit *g)
{
    enum fail f = open_again(s, true, &g->why);
    if (f == OK)
        f = db_begin(s->db, &g->why);
    if (f != OK)
        return f;
    f = write_jobs(g);
    if (f == OK)
        f = spend_each(&g->spend, write_spend, g);
    if (f == OK)
        return db_commit(s->db, &g->why);
    db_rollback(s->db);
    return f;
}

static enum fail keep_for_later(void *arg, enum spend_kind kind, struct text name, int64_t start, int64_t micro)
{
    store_spend(arg, kind, name, start, micro);
    return OK;
}

/* Everybody of a group that failed hears why; the money stays in memory. */
static void finish_group(struct store *s, struct group_commit *g, enum fail f)
{
    bool has_jobs = list_count(&g->jobs) > 0;
    if (f == OK) {
        worked(s);
        pthread_mutex_lock(&s->lock);
        s->status.commits++;
        s->status.rows += g->rows;
        pthread_mutex_unlock(&s->lock);
        if (has_jobs)
            f = read_keys(s, &g->why); /* it is written, but who asked for it must not believe that it holds already */
    } else {
        enum fail kept = spend_each(&g->spend, keep_for_later, s);
        ASSERT(kept == OK);
    }
    if (f != OK && s->status.state != STORE_READ_ONLY)
        failed(s, g->why.text);
    for (struct node *n; (n = list_pop(&g->jobs)) != NULL;) {
        struct change *c = ((struct job *)CONTAINER_OF(n, struct job, node))->arg;
        if (f != OK) {
            c->fail = f;
            c->why = g->why;
        }
        job_finished(CONTAINER_OF(n, struct job, node));
    }
}

static void take_group(struct store *s, struct group_commit *g)
{
    *g = (struct group_commit){ .store = s };
    list_init(&g->jobs);
    while (list_count(&g->jobs) < STORE_GROUP_MAX && list_count(&s->jobs) > 0)
        list_push(&g->jobs, list_pop(&s->jobs));
    g->spend = s->spend;
    spend_init(&s->spend);
}

/* ---- the thread ---- */

/* The moment of the next thing to do. With the lock. */
static nanos due(const struct store *s)
{
    nanos at = s->status.state == STORE_FAILED ? s->again_at : s->look_at;
    if (list_count(&s->jobs) > 0) /* a person waits: no back-off */
        return list_count(&s->jobs) >= STORE_GROUP_MAX ? 0 : MIN(at, s->first_job + STORE_GROUP_NS);
    if (spend_count(&s->spend) > 0 && s->status.state <= STORE_OPEN)
        at = MIN(at, s->first_spend + STORE_SPEND_NS);
    return at;
}

static void wait_until_due(struct store *s)
{
    while (!s->is_ending) {
        nanos at = due(s);
        if (now_of(s) >= at)
            return;
        struct timespec until = { .tv_sec = at / NANOS_PER_S, .tv_nsec = at % NANOS_PER_S };
        pthread_cond_timedwait(&s->more, &s->lock, &until);
    }
}

/* Has another process written, has the file come or gone, can it be written again? */
static void look(struct store *s)
{
    struct complaint why;
    bool changed = false;
    enum fail f = open_again(s, false, &why);
    s->look_at = now_of(s) + STORE_LOOK_NS;
    if (f == OK && s->db == NULL)
        return;
    if (f == OK)
        f = db_has_changed(s->db, &changed, &why);
    if (f == OK && (changed || s->is_stale))
        f = read_keys(s, &why);
    if (f == OK && !db_is_read_only(s->db) && s->status.state != STORE_OPEN) {
        f = db_begin(s->db, &why);
        if (f == OK) {
            db_rollback(s->db);
            worked(s);
        }
    }
    if (f != OK)
        failed(s, why.text);
}

static bool should_look(struct store *s)
{
    return now_of(s) >= (s->status.state == STORE_FAILED ? s->again_at : s->look_at);
}

static void *write_on(void *arg)
{
    struct store *s = arg;
    struct group_commit g;
    for (bool is_last = false; !is_last;) {
        pthread_mutex_lock(&s->lock);
        wait_until_due(s);
        is_last = s->is_ending;
        take_group(s, &g);
        pthread_mutex_unlock(&s->lock);
        if (list_count(&g.jobs) + spend_count(&g.spend) > 0)
            finish_group(s, &g, write_group(s, &g));
        if (!is_last && should_look(s))
            look(s);
        spend_fini(&g.spend);
    }
    account_settle();
    return NULL;
}

/* ---- from outside ---- */

void store_spend(struct store *s, enum spend_kind kind, struct text name, int64_t start, int64_t micro)
{
    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    if (spend_count(&s->spend) == 0) {
        s->first_spend = now_of(s);
        pthread_cond_signal(&s->more);
    }
    if (spend_set(&s->spend, kind, name, start, micro) != OK)
        s->status.spend_lost++;
    pthread_mutex_unlock(&s->lock);
}

const char *store_path(const struct store *s) { return s->options.path; }

void store_status(struct store *s, struct store_status *out)
{
    pthread_mutex_lock(&s->lock);
    *out = s->status;
    out->waiting = (uint32_t)list_count(&s->jobs);
    out->spend_rows = spend_count(&s->spend);
    pthread_mutex_unlock(&s->lock);
}

/* ---- the whole ---- */

/* No signal is the writer's: they are for the main thread. */
enum fail store_start(struct store *s)
{
    sigset_t all, before;
    CHECK(s, STORE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&s->thread, NULL, write_on, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->is_started = error == 0;
    return error == 0 ? OK : FAIL_SYSTEM;
}

static void init(struct store *s, const struct store_options *options)
{
    pthread_condattr_t clock;
    *s = (struct store){ .magic = STORE_MAGIC, .options = *options, .queue.submit = change_submit, .again_ns = STORE_AGAIN_NS };
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC); /* as the real world's own */
    pthread_cond_init(&s->more, &clock);
    pthread_condattr_destroy(&clock);
    list_init(&s->jobs);
    spend_init(&s->spend);
}

static void fini(struct store *s)
{
    db_close(s->db);
    spend_fini(&s->spend);
    keyring_unref(s->keys);
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

/* There is a file and nobody knows its keys: until it can be read only those of the configuration are good, also where that has none. */
static bool close_unread(struct store *s)
{
    if (!db_is_there(s->options.path))
        return true;
    s->keys = keyring_new(0);
    if (s->keys != NULL)
        s->keys->is_unread = true;
    return s->keys != NULL;
}

enum fail store_new(const struct store_options *options, struct store **out)
{
    struct complaint why;
    struct store *s = mem_zero(sizeof *s);
    if (s == NULL)
        return FAIL_NO_MEMORY;
    init(s, options);
    if (open_file(s, options->make, BUSY_AT_MS, &why) != OK) {
        if (!close_unread(s)) {
            fini(s);
            return FAIL_NO_MEMORY;
        }
        failed(s, why.text);
    } else if (s->db != NULL && !db_is_read_only(s->db)) {
        set_state(s, STORE_OPEN, "");
    }
    s->look_at = now_of(s) + STORE_LOOK_NS;
    *out = s;
    return OK;
}

void store_free(struct store *s)
{
    if (s == NULL)
        return;
    CHECK(s, STORE);
    pthread_mutex_lock(&s->lock);
    s->is_ending = true;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    if (s->is_started)
        pthread_join(s->thread, NULL);
    if (spend_count(&s->spend) > 0)
        log_line(NULL, LOG_LEVEL_WARN, "store", "what %u keys and tenants spent last is lost: %s", spend_count(&s->spend), s->status.why);
    fini(s);
}
