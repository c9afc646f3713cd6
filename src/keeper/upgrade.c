/* upgrade.c: SIGUSR2, in two halves. In the old program: a child asks the new one whether it would take over, and then we become it. In the new one: a server is
   started beside the old one, which is retired when ours is ready, and stays if it never gets there. keeper.c calls it.
   nginx and HAProxy start a second process; here the process stays the same, so that service managers and children keep their parent. */
#include "keeper/inner.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_NS (10 * NANOS_PER_S) /* reading a configuration takes milliseconds */

/* ---- servers that were replaced ---- */

bool retired_are_there(const struct keeper *k)
{
    for (unsigned i = 0; i < RETIRED_MAX; i++)
        if (k->retired[i].pid != 0)
            return true;
    return false;
}

struct retired *retired_find(struct keeper *k, pid_t pid)
{
    for (unsigned i = 0; i < RETIRED_MAX; i++)
        if (k->retired[i].pid == pid)
            return &k->retired[i];
    return NULL;
}

void upgrade_done(struct keeper *k, nanos now)
{
    struct upgrade *u = &k->upgrade;
    struct retired *place = u->before != 0 ? retired_find(k, 0) : NULL; /* there is one: an upgrade asked for it */
    if (place == NULL)
        return;
    *place = (struct retired){ u->before, now + k->options->conf->timeouts.upgrade + DRAIN_EXTRA_NS };
    kill(u->before, SERVER_RETIRE);
    log_line(NULL, LOG_LEVEL_INFO, "upgraded", "the new server serves; the one before (pid %d) finishes what it has begun", (int)u->before);
    u->before = 0;
    keeper_close(&u->before_line);
}

void retired_ended(struct retired *r, int status)
{
    char text[96];
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        log_line(NULL, LOG_LEVEL_INFO, "retired", "the server before the upgrade (pid %d) has finished", (int)r->pid);
    else
        log_line(NULL, LOG_LEVEL_ERROR, "retired", "the server before the upgrade (pid %d) %s", (int)r->pid, status_print(status, text));
    r->pid = 0;
}

void retired_signal(struct keeper *k, int signal, nanos until)
{
    for (unsigned i = 0; i < RETIRED_MAX; i++)
        if (k->retired[i].pid != 0) {
            kill(k->retired[i].pid, signal);
            k->retired[i].kill_at = MIN(k->retired[i].kill_at, until);
        }
}

nanos retired_step(struct keeper *k, nanos now)
{
    nanos next = NEVER;
    for (unsigned i = 0; i < RETIRED_MAX; i++) {
        struct retired *r = &k->retired[i];
        if (r->pid == 0)
            continue;
        if (now >= r->kill_at) {
            log_line(NULL, LOG_LEVEL_ERROR, "retired", "the server before the upgrade (pid %d) does not end, so it is killed", (int)r->pid);
            kill(r->pid, SIGKILL);
            r->kill_at = NEVER;
        }
        next = MIN(next, r->kill_at);
    }
    return next;
}

/* ---- the upgrade ---- */

static void refuse_upgrade(const char *why)
{
    log_line(NULL, LOG_LEVEL_ERROR, "upgrade_refused", "all stays as it is: %s", why);
}

static struct handover handover_of(const struct keeper *k)
{
    struct handover h = *k->options->handover;
    handover_begin(&h);
    h.rows = k->rows_fd;
    h.line = k->line[0];
    h.lives = k->lives;
    h.server = k->server;
    h.server_started = k->server_started;
    memcpy(h.retired, k->retired, sizeof h.retired);
    memcpy(h.models, k->models.at, sizeof h.models);
    return h;
}

void upgrade_asked(struct keeper *k, nanos now)
{
    struct upgrade *u = &k->upgrade;
    if (k->stops > 0 || k->ended)
        refuse_upgrade("this weir is about to end");
    else if (u->check != 0 || u->before != 0)
        refuse_upgrade("another upgrade is under way");
    else if (k->server == 0)
        refuse_upgrade("there is no server now that could serve meanwhile");
    else if (retired_find(k, 0) == NULL)
        refuse_upgrade("too many servers still finish their streams after earlier upgrades");
    else if (k->options->program == NULL)
        refuse_upgrade("nobody can tell where the program is");
    else {
        struct handover h = handover_of(k);
        pid_t pid = handover_check(k->options, &h, &u->said);
        u->check = MAX(pid, 0);
        u->check_until = now + CHECK_NS;
        if (pid < 0)
            refuse_upgrade(strerror(errno));
    }
}

void upgrade_check_ended(struct keeper *k, int status, nanos now)
{
    struct upgrade *u = &k->upgrade;
    char said[700], text[96];
    ssize_t n = read(u->said, said, sizeof said - 1);
    said[MAX(n, 0)] = '\0';
    said[strcspn(said, "\n")] = '\0';
    keeper_close(&u->said);
    u->check = 0;
    if (k->stops > 0 || k->server == 0) {
        refuse_upgrade("the server has ended meanwhile");
        return;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        refuse_upgrade(said[0] != '\0' ? said : status_print(status, text));
        return;
    }
    struct handover h = handover_of(k);
    notify_reloading(now);
    log_line(NULL, LOG_LEVEL_INFO, "upgrade", "%s takes over", k->options->program);
    handover_become(k->options, &h); /* comes back only if it failed */
    refuse_upgrade(strerror(errno));
    notify_systemd("READY=1");
}

/* The first server of a new program never got ready: the one before stays. */
void upgrade_failed(struct keeper *k, int status)
{
    struct upgrade *u = &k->upgrade;
    char text[96];
    log_line(NULL, LOG_LEVEL_ERROR, "upgrade_refused", "the new server %s before it was ready; the old one (pid %d) stays", status_print(status, text), (int)u->before);
    keeper_drop_line(k);
    k->server = u->before;
    k->line[0] = u->before_line;
    u->before = 0;
    u->before_line = -1;
    notify_systemd("READY=1");
}

/* What the keeper before us left. Its server goes on until ours is ready. */
void upgrade_take_over(struct keeper *k, const struct handover *h)
{
    k->lives = MAX(h->lives, 1u); /* the address has been told */
    k->upgrade.before = h->server;
    k->upgrade.before_line = h->line;
    memcpy(k->retired, h->retired, sizeof k->retired);
    models_inherit(&k->models, k->options, k->rows, h->models);
}

nanos upgrade_step(struct keeper *k, nanos now)
{
    struct upgrade *u = &k->upgrade;
    if (u->check == 0)
        return NEVER;
    if (now >= u->check_until)
        kill(u->check, SIGKILL);
    return now >= u->check_until ? NEVER : u->check_until;
}
