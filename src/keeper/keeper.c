/* keeper.c: the loop of the keeper: signals, the server's life and death, and the end of it all. */
#include "keeper/inner.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEATHS_NS      (60 * NANOS_PER_S)
#define END_NOW_NS     (2 * NANOS_PER_S)

static nanos now_of(const struct keeper *k) { return world_now(k->options->world); }

const char *status_print(int status, char out[96])
{
    if (WIFSIGNALED(status))
        snprintf(out, 96, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
        snprintf(out, 96, "could not be executed");
    else
        snprintf(out, 96, "ended with exit code %d", WEXITSTATUS(status));
    return out;
}

void die_with(pid_t keeper)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != keeper) /* it died before that call */
        _exit(1);
}

void keeper_tell(int line, enum keeper_word word)
{
    char byte = (char)word;
    (void)!write(line, &byte, 1); /* full: a hundred words wait already; no reader: we are about to die */
}

/* ---- the server ---- */

void keeper_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void keeper_drop_line(struct keeper *k)
{
    keeper_close(&k->line[0]);
    keeper_close(&k->line[1]);
}

static void server_begin(struct keeper *k, nanos now)
{
    struct server_start start = { k->lives + 1, k->rows, -1 };
    keeper_drop_line(k);
    pid_t keeper = getpid();
    fflush(NULL);
    pid_t pid = pipe2(k->line, O_CLOEXEC | O_NONBLOCK) == 0 ? fork() : -1;
    if (pid == 0) {
        close(k->signals);
        close(k->line[0]);
        die_with(keeper);
        start.line = k->line[1];
        exit(k->options->serve(&start, k->options->arg));
    }
    if (pid < 0) {
        log_line(NULL, LOG_LEVEL_ERROR, "server", "cannot be started: %s", strerror(errno));
        k->server_due = now + backoff_take(&k->backoff, 0);
        return;
    }
    close(k->line[1]);
    k->line[1] = -1;
    k->server = pid;
    k->server_started = now;
}

static bool dies_too_often(struct keeper *k, nanos now)
{
    k->deaths[k->death_count++ % DEATHS_MAX] = now;
    return k->death_count >= DEATHS_MAX && now - k->deaths[k->death_count % DEATHS_MAX] < DEATHS_NS;
}

/* No other server follows. */
static void end(struct keeper *k, int exit_code, nanos now)
{
    k->ended = true;
    k->exit_code = exit_code;
    if (k->stops == 0)
        retired_signal(k, SIGTERM, now + k->options->conf->timeouts.drain + DRAIN_EXTRA_NS);
}

static void server_ended(struct keeper *k, int status, nanos now)
{
    char text[96];
    k->server = 0;
    if (k->upgrade.before != 0) {
        upgrade_failed(k, status);
        return;
    }
    bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (well || k->stops > 0) {
        if (!well)
            log_line(NULL, LOG_LEVEL_ERROR, "server", "it %s while it was to end", status_print(status, text));
        end(k, well ? 0 : 1, now);
        return;
    }
    if (dies_too_often(k, now)) {
        log_line(NULL, LOG_LEVEL_ERROR, "server", "it %s: %d times within a minute, so weir ends", status_print(status, text), DEATHS_MAX);
        end(k, 1, now);
        return;
    }
    k->server_due = now + backoff_take(&k->backoff, now - k->server_started);
    log_line(NULL, LOG_LEVEL_ERROR, "server", "it %s; the next one starts in %lld ms", status_print(status, text), (long long)((k->server_due - now) / NANOS_PER_MS));
}

/* ---- signals ---- */

static void reap(struct keeper *k, nanos now)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) { /* as PID 1 we inherit strangers too: they are only let go */
        struct retired *r = retired_find(k, pid);
        if (pid == k->server)
            server_ended(k, status, now);
        else if (pid == k->upgrade.check)
            upgrade_check_ended(k, status, now);
        else if (pid == k->upgrade.before)
            k->upgrade.before = 0;
        else if (r != NULL)
            retired_ended(r, status);
        else
            (void)models_ended(&k->models, pid, status, now);
    }
}

static void asked_to_end(struct keeper *k, nanos now)
{
    nanos until = now + (k->stops == 0 ? k->options->conf->timeouts.drain + DRAIN_EXTRA_NS : END_NOW_NS);
    k->stops++;
    notify_systemd("STOPPING=1");
    upgrade_done(k, now);
    retired_signal(k, k->stops == 1 ? SIGTERM : SERVER_END_NOW, until);
    if (k->server == 0) {
        k->ended = true;
        return;
    }
    if (k->stops == 1) {
        log_line(NULL, LOG_LEVEL_INFO, "stopping", "requests in flight may finish; a second signal ends at once");
        kill(k->server, SIGTERM);
        k->kill_at = until;
    } else {
        kill(k->server, SERVER_END_NOW);
        k->kill_at = MIN(k->kill_at, until);
    }
}

static void asked_to_reload(struct keeper *k, nanos now)
{
    notify_reloading(now);
    if (k->server != 0)
        kill(k->server, SIGHUP);
}

static void reopen_log(struct keeper *k)
{
    if (log_reopen(k->options->log) != OK)
        log_line(NULL, LOG_LEVEL_ERROR, "log", "cannot be opened again: %s", strerror(errno));
    if (k->server != 0)
        kill(k->server, SIGUSR1);
}

static void take_signal(struct keeper *k, unsigned signal, nanos now)
{
    switch (signal) {
    case SIGTERM:
    case SIGINT:
        asked_to_end(k, now);
        break;
    case SIGHUP:
        asked_to_reload(k, now);
        break;
    case SIGUSR1:
        reopen_log(k);
        break;
    case SIGUSR2:
        upgrade_asked(k, now);
        break;
    default: /* CHLD: reap looks every time */
        break;
    }
}

static void read_signals(struct keeper *k, nanos now)
{
    struct signalfd_siginfo info;
    while (read(k->signals, &info, sizeof info) == sizeof info)
        take_signal(k, info.ssi_signo, now);
}

static void read_line(struct keeper *k, nanos now)
{
    char words[64];
    ssize_t n;
    while ((n = read(k->line[0], words, sizeof words)) > 0) {
        k->lives += memchr(words, KEEPER_READY, (size_t)n) != NULL;
        if (memchr(words, KEEPER_READY, (size_t)n) != NULL)
            upgrade_done(k, now);
        if (memchr(words, KEEPER_READY, (size_t)n) != NULL || memchr(words, KEEPER_RELOADED, (size_t)n) != NULL)
            notify_systemd("READY=1");
        if (memchr(words, KEEPER_DRAINING, (size_t)n) != NULL)
            notify_systemd("STOPPING=1");
        /* KEEPER_MODELS: the loop looks at the rows after every word */
    }
    if (n == 0) /* its end is closed: CHLD says the rest */
        keeper_drop_line(k);
}

/* ---- the loop ---- */

static int wait_ms(nanos now, nanos until)
{
    if (until == NEVER)
        return -1;
    return until <= now ? 0 : (int)MIN((until - now + NANOS_PER_MS - 1) / NANOS_PER_MS, 60000);
}

/* Does what is due; returns when something is due again. */
static nanos step(struct keeper *k, nanos now)
{
    nanos next = models_step(&k->models, now, k->ended && !retired_are_there(k));
    nanos killed = retired_step(k, now), asked = upgrade_step(k, now);
    next = MIN(next, MIN(killed, asked));
    if (k->server != 0 && now >= k->kill_at) {
        log_line(NULL, LOG_LEVEL_ERROR, "server", "it does not end, so it is killed");
        kill(k->server, SIGKILL);
        k->kill_at = NEVER;
    }
    if (k->server == 0 && !k->ended && now >= k->server_due)
        server_begin(k, now);
    if (k->server == 0 && !k->ended)
        next = MIN(next, k->server_due);
    return k->server != 0 ? MIN(next, k->kill_at) : next;
}

static void keep(struct keeper *k)
{
    while (!k->ended || retired_are_there(k) || !models_are_off(&k->models)) {
        nanos until = step(k, now_of(k));
        struct pollfd fds[] = { { .fd = k->signals, .events = POLLIN }, { .fd = k->line[0], .events = POLLIN } };
        int n = poll(fds, ARRAY_LEN(fds), wait_ms(now_of(k), until));
        ASSERT(n >= 0 || errno == EINTR || errno == ENOMEM); /* then nothing is said to be ready, and it is asked again */
        nanos now = now_of(k);
        if (fds[0].revents != 0)
            read_signals(k, now);
        if (fds[1].revents != 0 && k->line[0] >= 0)
            read_line(k, now);
        reap(k, now);
    }
}

static bool take_signals(struct keeper *k)
{
    static const int ours[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        sigaddset(&set, ours[i]);
    k->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    sigaddset(&set, SERVER_END_NOW);       /* the server's: it must find them blocked from its first moment */
    sigaddset(&set, SERVER_WORKERS_ENDED);
    sigprocmask(SIG_BLOCK, &set, &k->before);
    signal(SIGPIPE, SIG_IGN);              /* whoever reads our stdout may leave */
    signal(SIGXFSZ, SIG_IGN);              /* a log that may not grow (RLIMIT_FSIZE) loses lines, not the server */
    return k->signals >= 0;
}

int keeper_run(const struct keeper_options *options)
{
    struct keeper k = { .options = options, .line = { -1, -1 }, .kill_at = NEVER, .upgrade = { .said = -1, .before_line = -1 } };
    k.rows_fd = options->takes_over ? options->handover->rows : memfd_create("weir-models", MFD_CLOEXEC);
    k.rows = MAP_FAILED;
    if (k.rows_fd >= 0 && ftruncate(k.rows_fd, LOCAL_COUNT * sizeof *k.rows) == 0)
        k.rows = mmap(NULL, LOCAL_COUNT * sizeof *k.rows, PROT_READ | PROT_WRITE, MAP_SHARED, k.rows_fd, 0);
    if (k.rows == MAP_FAILED || !take_signals(&k)) {
        log_line(NULL, LOG_LEVEL_ERROR, "keeper", "cannot start: %s", strerror(errno));
        return 1;
    }
    models_init(&k.models, options, k.rows);
    if (options->takes_over)
        upgrade_take_over(&k, options->handover);
    keep(&k);
    keeper_drop_line(&k);
    close(k.signals);
    close(k.rows_fd);
    munmap(k.rows, LOCAL_COUNT * sizeof *k.rows);
    sigprocmask(SIG_SETMASK, &k.before, NULL);
    return k.exit_code;
}
