/* reload.c: the configuration read again: on SIGHUP, by `weir reload`, or because a file has changed (reload: watch). All of it is applied or nothing, and what
   changed is said. Files are looked at by the clock: a ConfigMap turns a symbolic link two folders up, editors rename, network file systems tell nobody, and
   a stat of each file a second is nothing. */
#include "serve/inner.h"
#include "base/account.h"
#include <string.h>

#define CHANGES_BYTES_MAX 65536             /* CONF_DIFF_LINES lines */
#define LOOK_NS           (NANOS_PER_S)     /* files that stand still from one look to the next are whole */
#define AGAIN_NS          (5 * NANOS_PER_S) /* a bad one is read again without a change: what it lacks may be a file that it names */

struct loading {
    struct gateway *gateway;
    const struct conf *now, *conf;
    struct complaint why;
    struct buf changes;
    bool ok;
};

static void load_job(void *arg)
{
    struct loading *l = arg;
    l->ok = l->gateway->options.load(&l->conf, &l->why, l->gateway->options.load_arg);
    if (l->ok && conf_diff(l->now, l->conf, &l->changes) != OK)
        buf_clear(&l->changes); /* no reason to refuse it */
}

static void loading_drop(void *arg)
{
    struct loading *l = arg;
    if (l->ok)
        conf_unref(l->conf);
    conf_unref(l->now);
    buf_fini(&l->changes);
    mem_free(l);
}

struct applying {
    struct gateway *gateway;
    const struct conf *conf;
    enum fail fail;
};

static void watch_files(struct gateway *g, const struct conf *conf);

/* On worker 0: the fleet is changed by one thread only. */
static void apply_on_first(struct desk *d, void *arg)
{
    struct applying *a = arg;
    struct gateway *g = a->gateway;
    if (d->worker->index != 0)
        return;
    a->fail = fleet_apply(g->fleet, a->conf);
    if (a->fail != OK)
        return;
    account_limit(a->conf->limits.memory);
    watch_files(g, a->conf);
    enum log_level level = (enum log_level)a->conf->log.level;
    if (g->options.log != NULL)
        log_set(g->options.log, level, (enum log_format)a->conf->log.format, a->conf->log.access == CONF_ON);
}

/* All of it or nothing: half a configuration is one nobody wrote. */
static bool apply(struct task *t, struct loading *l, struct complaint *why)
{
    const char *restart = conf_needs_restart(l->now, l->conf);
    if (restart != NULL)
        return complain(why, NULL, 0, 0, "%s changes only with a restart", restart);
    struct applying a = { l->gateway, l->conf, OK };
    gateway_each_desk(t, l->gateway, apply_on_first, &a);
    return a.fail == OK || complain(why, NULL, 0, 0, "%s", fail_row(a.fail)->text);
}

static bool load_and_apply(struct task *t, struct gateway *g, struct complaint *why, struct buf *out_changes)
{
    bool abandoned;
    if (g->options.load == NULL)
        return complain(why, NULL, 0, 0, "this server was started without a configuration that could be read again");
    struct loading *l = mem_zero(sizeof *l);
    if (l == NULL)
        return complain(why, NULL, 0, 0, "no memory left");
    l->gateway = g;
    l->now = conf_ref(((struct desk *)t->worker->owner)->view->conf);
    buf_init(&l->changes, CHANGES_BYTES_MAX);
    enum fail f = job_run(t, "configuration", load_job, loading_drop, l, NEVER, &abandoned);
    if (f != OK) {
        if (!abandoned)
            loading_drop(l);
        return complain(why, NULL, 0, 0, "%s", fail_row(f)->text);
    }
    *why = l->why;
    bool ok = l->ok && apply(t, l, why);
    if (ok) { /* the buffer changes hands */
        *out_changes = l->changes;
        buf_init(&l->changes, 0);
    }
    loading_drop(l);
    return ok;
}

static void say_applied(struct worker *w, struct text changes)
{
    log_line(w, LOG_LEVEL_INFO, "reloaded", changes.len > 0 ? "the configuration was applied" : "the configuration was applied; nothing changed");
    while (changes.len > 0) { /* CONF_DIFF_LINES and one more at most */
        struct text line;
        changes = text_cut(changes, '\n', &line);
        log_line(w, LOG_LEVEL_INFO, "changed", "%.*s", TEXT_ARG(line));
    }
}

static void say_refused(struct worker *w, const struct complaint *why)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    log_line(w, LOG_LEVEL_ERROR, "reload_refused", "the old configuration stays: %s", text);
}

bool gateway_reload_now(struct task *t, struct gateway *g, struct complaint *why, struct buf *out_changes)
{
    if (!load_and_apply(t, g, why, out_changes)) {
        say_refused(t->worker, why);
        return false;
    }
    say_applied(t->worker, buf_text(out_changes));
    return true;
}

static void reload_task(struct task *t, void *arg)
{
    struct gateway *g = arg;
    struct complaint why = { 0 };
    struct buf changes;
    if (gateway_reload_now(t, g, &why, &changes))
        buf_fini(&changes);
    g->reloading = false;
}

static void reload_letter(struct worker *w, void *arg, uint64_t number)
{
    struct gateway *g = arg;
    (void)number;
    if (!g->reloading && !atomic_load(&g->draining) && task_start(w, "reload", reload_task, g) != NULL)
        g->reloading = true;
}

void gateway_reload(struct gateway *g)
{
    mail_send(&g->worker[0], reload_letter, g, 0);
}

/* ---- reload: watch ---- */

struct look {
    const struct conf *conf;
    uint64_t as_read, now;
};

static void look_job(void *arg)
{
    struct look *l = arg;
    l->as_read = conf_mark(l->conf, true);
    l->now = conf_mark(l->conf, false);
}

static void look_drop(void *arg)
{
    struct look *l = arg;
    conf_unref(l->conf);
    mem_free(l);
}

/* One look at all files. False: it could not be made now. */
static bool look_at(struct task *t, const struct conf *conf, struct look *out)
{
    bool abandoned;
    struct look *l = mem_zero(sizeof *l);
    if (l == NULL)
        return false;
    l->conf = conf_ref(conf);
    enum fail f = job_run(t, "files of the configuration", look_job, look_drop, l, NEVER, &abandoned);
    if (f == OK)
        *out = *l;
    if (!abandoned)
        look_drop(l);
    return f == OK;
}

/* Have they changed, and stood still since the last look? Or is a refused one due again? */
static bool files_are_due(struct file_watch *fw, const struct look *l, const struct conf *conf, nanos now)
{
    if (fw->conf != conf) { /* somebody else has reloaded */
        fw->conf = conf;
        fw->done = l->as_read;
        fw->refused = false;
    }
    bool still = l->now == fw->last;
    fw->last = l->now;
    return still && (l->now != fw->done || (fw->refused && now >= fw->again_at));
}

static void watch_task(struct task *t, void *arg)
{
    struct gateway *g = arg;
    struct file_watch *fw = &g->files;
    const struct conf *conf = g->desk[0].view->conf;
    struct complaint why = { 0 };
    struct buf changes;
    struct look look;
    if (look_at(t, conf, &look) && files_are_due(fw, &look, conf, t->worker->now)) {
        fw->done = look.now;
        if (load_and_apply(t, g, &why, &changes)) {
            say_applied(t->worker, buf_text(&changes));
            buf_fini(&changes);
            fw->refused = false;
        } else {
            if (!fw->refused || strcmp(fw->said.text, why.text) != 0)
                say_refused(t->worker, &why);
            fw->refused = true;
            fw->again_at = t->worker->now + AGAIN_NS;
            fw->said = why;
        }
    }
    g->reloading = false;
}

static void watch_timer(struct worker *w, struct timer *self)
{
    struct file_watch *fw = CONTAINER_OF(self, struct file_watch, timer);
    struct gateway *g = CONTAINER_OF(fw, struct gateway, files);
    if (g->desk[0].view->conf->reload != CONF_RELOAD_WATCH || atomic_load(&g->draining) || atomic_load(&g->retiring))
        return;
    timer_set(w, self, w->now + LOOK_NS);
    if (!g->reloading && task_start(w, "watch", watch_task, g) != NULL)
        g->reloading = true;
}

static void watch_files(struct gateway *g, const struct conf *conf)
{
    if (conf->reload == CONF_RELOAD_WATCH)
        timer_set(&g->worker[0], &g->files.timer, g->worker[0].now + LOOK_NS);
}

void reload_begin(struct gateway *g)
{
    g->files.timer.fire = watch_timer;
    watch_files(g, g->options.conf);
}

void reload_end(struct gateway *g)
{
    if (g->workers > 0)
        timer_stop(&g->worker[0], &g->files.timer);
}
