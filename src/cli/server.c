/* server.c: a server's life, in the child that the keeper forked: workers, signals, and the end. */
#include "cli/serve.h"
#include "cli/cli.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>

#define JOB_THREADS 2 /* reloads, pages of numbers, and bodies too large for a loop */

struct server {
    const struct serving *serving;
    struct world *world;
    struct dns *dns;
    struct gateway *gateway;
    pthread_t main, threads[WORKERS_MAX];
    unsigned thread_count;
    pthread_mutex_t all_or_none; /* held until every worker has its thread: one that cannot start would take with it what the others have begun */
    _Atomic unsigned alive;
};

/* ---- workers ---- */

struct seat {
    struct server *server;
    unsigned index;
};

static void *work(void *arg)
{
    struct seat *seat = arg;
    struct server *s = seat->server;
    pthread_mutex_lock(&s->all_or_none);
    pthread_mutex_unlock(&s->all_or_none);
    task_thread_begin();
    gateway_run_worker(s->gateway, seat->index);
    task_thread_end();
    if (atomic_fetch_sub(&s->alive, 1) == 1) /* drained without a signal (weir drain): the main thread waits for signals only */
        pthread_kill(s->main, SERVER_WORKERS_ENDED);
    return NULL;
}

static bool start_workers(struct server *s, struct seat *seats)
{
    unsigned count = gateway_workers(s->gateway);
    s->main = pthread_self();
    atomic_store(&s->alive, count);
    pthread_mutex_init(&s->all_or_none, NULL);
    pthread_mutex_lock(&s->all_or_none);
    for (unsigned i = 0; i < count; i++) {
        seats[i] = (struct seat){ s, i };
        int error = pthread_create(&s->threads[i], NULL, work, &seats[i]);
        if (error != 0) {
            log_line(NULL, LOG_LEVEL_ERROR, "server", "cannot start worker %u: %s", i, strerror(error));
            return false;
        }
        s->thread_count++;
    }
    pthread_mutex_unlock(&s->all_or_none);
    return true;
}

/* ---- signals: blocked in every thread, taken here ---- */

#define TRIM_EVERY_MS 250 /* a second flood may follow the first one soon */

static void wait_for_end(struct server *s)
{
    static const int ours[] = { SIGTERM, SIGHUP, SIGUSR1, SERVER_RETIRE };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        sigaddset(&set, ours[i]);
    sigaddset(&set, SERVER_END_NOW);
    sigaddset(&set, SERVER_WORKERS_ENDED);
    for (int signal = 0; signal != SERVER_WORKERS_ENDED;) { /* INT is the keeper's, though a terminal sends it to us too */
        signal = sigtimedwait(&set, NULL, &(struct timespec){ .tv_nsec = TRIM_EVERY_MS * NANOS_PER_MS });
        mem_trim();
        if (signal == SIGTERM)
            gateway_drain(s->gateway);
        else if (signal == SERVER_END_NOW)
            gateway_stop(s->gateway);
        else if (signal == SERVER_RETIRE)
            gateway_retire(s->gateway);
        else if (signal == SIGHUP)
            gateway_reload(s->gateway);
        else if (signal == SIGUSR1 && log_reopen((struct log *)(uintptr_t)&s->serving->log) != OK)
            log_line(NULL, LOG_LEVEL_ERROR, "log", "cannot be opened again: %s", strerror(errno));
    }
}

/* ---- the whole ---- */

/* After a death the file is read again: a reload may have changed it. A file that is bad now, or needs a restart, does not replace what we have. */
static const struct conf *choose_conf(struct serving *s, unsigned number)
{
    const struct conf *next;
    struct complaint why;
    if (number == 1 || !serving_load(&next, &why, s))
        return conf_ref(s->conf);
    if (conf_needs_restart(s->conf, next) == NULL)
        return next;
    conf_unref(next);
    return conf_ref(s->conf);
}

static void models_wanted(void *arg)
{
    const struct serving *s = arg;
    keeper_tell(s->line, KEEPER_MODELS);
}

static bool has_budgets(const struct conf *c)
{
    bool has = false;
    for (uint32_t i = 0; i < c->keys_count; i++)
        has |= c->keys[i].limits.budget.is_set;
    for (uint32_t i = 0; i < c->tenants_count; i++)
        has |= c->tenants[i].limits.budget.is_set;
    return has;
}

/* NULL: nothing outlives this process. */
static const char *find_store(const struct conf *conf)
{
    static char path[STORE_PATH_MAX];
    struct complaint why;
    if (!store_place(conf, path, &why))
        log_line(NULL, LOG_LEVEL_WARN, "store", "%s; what is spent is forgotten at the end, and no keys can be made", why.text);
    else if (path[0] == '\0' && has_budgets(conf))
        log_line(NULL, LOG_LEVEL_WARN, "store", "budgets begin anew at every start, because store is off");
    return path[0] != '\0' ? path : NULL;
}

static enum fail make(struct server *s, struct serving *serving, const struct server_start *start)
{
    const struct conf *conf = choose_conf(serving, start->number);
    struct gateway_options options = {
        .world = s->world, .log = &serving->log, .conf = conf,
        .workers = MIN(conf->workers != 0 ? conf->workers : serving->cpus, WORKERS_MAX),
        .listeners = serving->listeners, .listener_count = serving->listener_count,
        .admin_listeners = &serving->admin, .admin_listener_count = serving->admin >= 0 ? 1 : 0,
        .store = find_store(conf), .store_named = conf->store.mode == CONF_STORE_PATH, .dns = s->dns, .version = weir_version, .load = serving_load, .load_arg = serving,
    };
    enum fail f = gateway_new(&options, &s->gateway);
    conf_unref(conf);
    if (f != OK)
        return f;
    struct worker *first = gateway_worker(s->gateway, 0);
    f = local_watch(first, gateway_fleet(s->gateway), start->models, LOCAL_COUNT, models_wanted, serving);
    if (f == OK && start->number == 1)
        f = announce_start(first, s->gateway, serving);
    return f;
}

int server_run(const struct server_start *start, void *arg)
{
    struct serving *serving = arg;
    static struct server s; /* one a process, and larger than a frame should be */
    static struct seat seats[WORKERS_MAX];
    serving->line = start->line;
    s.serving = serving;
    mem_tune(JOB_THREADS + 1 + (serving->conf->workers != 0 ? serving->conf->workers : serving->cpus));
    s.world = world_real_new(JOB_THREADS);
    s.dns = dns_cares_new();
    task_catch_overflow();
    if (s.world == NULL) {
        log_line(NULL, LOG_LEVEL_ERROR, "server", "cannot start its job threads: %s", strerror(errno));
        return EXIT_FAILED;
    }
    enum fail f = s.dns != NULL ? make(&s, serving, start) : FAIL_NO_MEMORY;
    if (f != OK) {
        log_line(NULL, LOG_LEVEL_ERROR, "server", "cannot start: %s", fail_row(f)->text);
        return EXIT_FAILED;
    }
    if (!start_workers(&s, seats))
        return EXIT_FAILED; /* the process ends; what was started goes with it */
    keeper_tell(start->line, KEEPER_READY);
    wait_for_end(&s);
    for (unsigned i = 0; i < s.thread_count; i++)
        pthread_join(s.threads[i], NULL);
    gateway_free(s.gateway);
    dns_cares_free(s.dns);
    world_real_free(s.world);
    return EXIT_OK;
}
