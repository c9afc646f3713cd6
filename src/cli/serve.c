/* serve.c: `weir serve`: reads the command line, opens the sockets, and becomes the keeper of a server. */
#include "cli/serve.h"
#include "cli/cli.h"
#include "cli/options.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_MIN  ((uint64_t)64 << 20) /* as limits.memory's own */
#define LOAD_TRIES_MAX 100 /* waits of handover_wait: ten seconds */
#define FILES_SPARE 256 /* descriptors that are no client's: listeners, logs, polls, idle connections */

extern char **environ;

/* Three quarters; the rest is the keeper's, the kernel's for our sockets, and what malloc cannot use. A local model is a child in the same cgroup, as large
   as its file and its context: then half. */
static uint64_t memory_auto(const struct conf *conf, uint64_t machine)
{
    bool has_local = false;
    for (uint32_t i = 0; i < conf->backends_count; i++)
        has_local |= conf->backends[i].kind == CONF_KIND_LLAMA;
    return machine != 0 ? MAX(has_local ? machine / 2 : machine / 4 * 3, MEMORY_MIN) : 0;
}

/* Absent means auto, for which a loaded configuration has 0. Nobody else has seen it yet, so it may still change. */
static void fill_in(const struct serving *s, struct conf *conf)
{
    if (conf->limits.connections == 0) { /* a client's connection may need one to a backend */
        uint64_t most = s->files > FILES_SPARE + 2 ? (s->files - FILES_SPARE) / 2 : 1;
        conf->limits.connections = (uint32_t)MIN(most, 1000000u);
    }
    if (conf->limits.memory == 0)
        conf->limits.memory = memory_auto(conf, s->memory);
}

/* What an address that others can reach needs. */
static bool asks_who(const struct conf *c) { return conf_asks_who(c) || c->tls.client_ca != NULL; }

struct load {
    const struct serving *serving;
    const struct conf *conf;
    struct complaint *why;
    bool is_ok;
};

static void load_aside(void *arg)
{
    struct load *l = arg;
    struct conf_options options = l->serving->options;
    struct vault_words words;
    if (!vault_open(&l->serving->vault, &words, l->why))
        return;
    options.environ = words.environ;
    options.sets = words.sets;
    l->is_ok = conf_load(&options, &l->conf, l->why);
    vault_close(&words);
}

static bool load(struct serving *s, const struct conf **out, struct complaint *why)
{
    struct load l = { .serving = s, .why = why };
    if (!vault_aside(load_aside, &l, why) || !l.is_ok)
        return false;
    if (s->is_public && !asks_who(l.conf)) {
        conf_unref(l.conf);
        return complain(why, NULL, 0, 0, "keys: a non-loopback address needs at least one key, or tls.client_ca");
    }
    fill_in(s, (struct conf *)(uintptr_t)l.conf);
    *out = l.conf;
    return true;
}

bool serving_load(const struct conf **out, struct complaint *why, void *arg)
{
    struct serving *s = arg;
    bool is_ok = load(s, out, why);
    if (s->line >= 0)
        keeper_tell(s->line, KEEPER_RELOADED); /* refused or not: service managers wait for its end */
    return is_ok;
}

static int refuse(const struct complaint *why)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    fprintf(stderr, "weir: %s\n", text);
    return why->file != NULL ? EXIT_FAILED : EXIT_USAGE;
}

/* ---- the command line ---- */

static bool refuse_long(const struct usage *u, const char *name, int *out_exit)
{
    *out_exit = usage_refuse(u, "--%s is too long", name);
    return false;
}

static bool read_command_line(struct serving *s, int argc, char **argv, int *out_exit)
{
    static char listen_set[256], socket_set[256];
    const char *listen = NULL, *socket = NULL;
    struct words urls = { s->urls, 0, ARRAY_LEN(s->urls) }, sets = { s->sets, 0, SETS_MAX };
    const struct option options[] = {
        { "config", 'c', OPTION_TEXT, "FILE", "The configuration. Without one the URLs say all.", &s->options.path },
        { "listen", 'l', OPTION_TEXT, "ADDRESS:PORT", "Where clients ask; 127.0.0.1:4040 unless the file says otherwise.", &listen },
        { "set", 's', OPTION_LIST, "KEY=VALUE", "Any key of the file, such as limits.queue=100. May be repeated.", &sets },
        { "socket", 0, OPTION_TEXT, "PATH", "The admin socket, for weir status and its like; off: none.", &socket },
    };
    const struct usage usage = {
        .command = "serve",
        .what = "Serves the models of these backends, or the local one, at one address.",
        .examples = "  weir serve http://localhost:11434 http://gpu:8000   any URL is a backend; its models are discovered\n"
                    "  weir serve                                          the local model\n"
                    "  weir serve -c weir.yaml                             everything configured; weir init writes one\n"
                    "  weir serve --listen 127.0.0.1:8080 --set limits.queue=100 http://gpu:8000\n"
                    "  kill -HUP PID                                       read the file again (or weir reload); TERM: finish and end\n"
                    "  kill -USR2 PID                                      go on as the program that is installed now; no request is lost\n",
        .arguments = "[URL ...]",
        .options = options, .count = ARRAY_LEN(options), .words = &urls,
    };
    if (!options_read(&usage, argc, argv, out_exit))
        return false;
    if (listen != NULL) {
        if (snprintf(listen_set, sizeof listen_set, "listen=%s", listen) >= (int)sizeof listen_set)
            return refuse_long(&usage, "listen", out_exit);
        s->sets[sets.count++] = listen_set;
    }
    if (socket != NULL) {
        if (snprintf(socket_set, sizeof socket_set, "admin.socket=%s", socket) >= (int)sizeof socket_set)
            return refuse_long(&usage, "socket", out_exit);
        s->sets[sets.count++] = socket_set;
    }
    s->options.urls = s->urls;
    s->options.urls_count = urls.count;
    s->options.sets_count = sets.count;
    s->options.local_fallback = true;
    return true;
}

/* ---- sockets and log ---- */

static bool open_log(struct serving *s, struct complaint *why)
{
    const struct conf *c = s->conf;
    log_set(&s->log, (enum log_level)c->log.level, (enum log_format)c->log.format, c->log.access == CONF_ON);
    if (c->log.file != NULL && log_open(&s->log, c->log.file) != OK)
        return complain(why, c->path, 0, 0, "log.file: cannot open %s: %s", c->log.file, strerror(errno));
    return true;
}

static bool open_listeners(struct serving *s, struct complaint *why)
{
    if (!keeper_listen(s->world, s->conf, s->listeners, &s->listener_count, &s->port, why))
        return false;
    s->is_public = keeper_listens_publicly(s->listeners, s->listener_count);
    return !s->is_public || asks_who(s->conf) ||
           complain(why, NULL, 0, 0, "the sockets passed with LISTEN_FDS can be reached from other machines: that needs at least one key, or tls.client_ca");
}

/* A socket that was asked for must work; the default one is a convenience that a read-only container may lack. */
static bool open_admin(struct serving *s, struct complaint *why)
{
    struct complaint soft;
    if (s->conf->admin.socket.mode == CONF_SOCKET_OFF)
        return true;
    if (s->conf->admin.socket.mode == CONF_SOCKET_PATH) {
        snprintf(s->socket, sizeof s->socket, "%s", s->conf->admin.socket.path);
        return keeper_listen_admin(s->world, s->socket, &s->admin, why);
    }
    if (runtime_socket_path(s->port, s->socket, &soft) && keeper_listen_admin(s->world, s->socket, &s->admin, &soft))
        return true;
    log_line(NULL, LOG_LEVEL_WARN, "admin", "no admin socket: %s", soft.text);
    s->socket[0] = '\0';
    return true;
}

static int keep(struct serving *s, char **argv)
{
    static char program[PATH_MOST];
    bool has_program = handover_program(argv[-1], program, sizeof program);
    static char logs[PATH_MOST], models[PATH_MOST], looked[3 * PATH_MOST];
    struct complaint why;
    bool has_logs = runtime_dir(logs, sizeof logs, &why), has_models = runtime_models_dir(models, sizeof models, looked, sizeof looked);
    size_t used = has_logs ? strlen(logs) : 0;
    has_logs = has_logs && snprintf(logs + used, sizeof logs - used, "/%u", (unsigned)s->port) < (int)(sizeof logs - used);
    struct keeper_options options = {
        .world = s->world, .log = &s->log, .conf = s->conf, .serve = server_run, .arg = s, .cpus = s->cpus,
        .program = has_program ? program : NULL, .argv = argv - 1, .handover = &s->handover, .takes_over = s->takes_over,
        .models_dir = has_models ? models : NULL, .models_looked = looked, .logs = has_logs ? logs : NULL,
    };
    int code = keeper_run(&options);
    if (s->admin >= 0)
        keeper_unlisten_admin(s->socket);
    return code;
}

/* ---- upgrade in place ---- */

/* What an upgrade cannot change, since the sockets stay. */
static void put_bound(const struct conf *c, char out[3][SOCKET_PATH_MAX])
{
    static const char *const modes[] = { [CONF_SOCKET_AUTO] = "auto", [CONF_SOCKET_OFF] = "off", [CONF_SOCKET_PATH] = "" };
    snprintf(out[0], SOCKET_PATH_MAX, "%s", c->listen.text);
    snprintf(out[1], SOCKET_PATH_MAX, "%s", c->admin.listen.text != NULL ? c->admin.listen.text : "off");
    snprintf(out[2], SOCKET_PATH_MAX, "%s", c->admin.socket.path != NULL ? c->admin.socket.path : modes[c->admin.socket.mode]);
}

static bool is_bound_as_before(const struct serving *s, struct complaint *why)
{
    static const char *const keys[] = { "listen", "admin.listen", "admin.socket" };
    char bound[3][SOCKET_PATH_MAX];
    put_bound(s->conf, bound);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcmp(bound[i], s->handover.bound[i]) != 0)
            return complain(why, s->conf->path, 0, 0, "%s changes only with a restart", keys[i]);
    return true;
}

/* For who comes after us. */
static void fill_handover(struct serving *s)
{
    struct handover *h = &s->handover;
    memcpy(h->listeners, s->listeners, sizeof h->listeners);
    h->listener_count = s->listener_count;
    h->port = s->port;
    h->admin = s->admin;
    memcpy(h->socket, s->socket, sizeof h->socket);
    h->vault = s->vault;
    put_bound(s->conf, h->bound);
}

/* From who was before us. */
static bool take_over(struct serving *s, bool is_check, struct complaint *why)
{
    const struct handover *h = &s->handover;
    if (!handover_take(&s->handover, is_check, why))
        return false;
    s->takes_over = true;
    memcpy(s->listeners, h->listeners, sizeof s->listeners);
    s->listener_count = h->listener_count;
    s->port = h->port;
    s->admin = h->admin;
    memcpy(s->socket, h->socket, sizeof s->socket);
    s->vault = h->vault;
    s->is_public = keeper_listens_publicly(s->listeners, s->listener_count);
    return true;
}

/* The check has found it good a moment ago. If somebody is just writing the file, the old server serves on meanwhile. */
static bool load_again(struct serving *s, struct complaint *why)
{
    for (unsigned i = 0; i < LOAD_TRIES_MAX; i++) {
        if (serving_load(&s->conf, why, s))
            return is_bound_as_before(s, why);
        handover_wait();
    }
    return false;
}

static int open_inherited(struct serving *s)
{
    struct complaint why;
    if (take_over(s, false, &why) && load_again(s, &why) && open_log(s, &why))
        return EXIT_OK;
    (void)refuse(&why);
    return EXIT_FAILED;
}

/* ---- the whole ---- */

/* Everything before the keeper takes over. */
static int open_all(struct serving *s)
{
    struct complaint why;
    if (handover_is_due())
        return open_inherited(s);
    if (!vault_fill(&s->vault, environ, s->sets, s->options.sets_count, &why) || !serving_load(&s->conf, &why, s))
        return refuse(&why);
    if (open_log(s, &why) && open_listeners(s, &why) && open_admin(s, &why)) {
        fill_handover(s);
        return EXIT_OK;
    }
    (void)refuse(&why); /* the world's, not the command line's */
    return EXIT_FAILED;
}

static void close_all(struct serving *s)
{
    conf_unref(s->conf);
    if (s->world == NULL)
        return;
    log_fini(&s->log);
    world_real_free(s->world);
}

/* NULL with the exit code. */
static struct serving *begin(int argc, char **argv, int *out_exit)
{
    static struct serving serving; /* one a process, and larger than a frame should be */
    struct serving *s = &serving;
    s->line = s->admin = -1;
    if (!read_command_line(s, argc, argv, out_exit))
        return NULL;
    s->files = system_raise_files();
    s->cpus = system_cpus();
    s->memory = system_memory("/proc/self/cgroup", "/sys/fs/cgroup");
    s->world = world_real_new(0);
    if (s->world == NULL) {
        fprintf(stderr, "weir: no memory left\n");
        *out_exit = EXIT_FAILED;
        return NULL;
    }
    log_init(&s->log, s->world);
    return s;
}

/* What a keeper asks a new program before it becomes it. */
int command_successor(int argc, char **argv)
{
    int code;
    struct complaint why;
    struct serving *s = begin(argc, argv, &code);
    if (s == NULL)
        return code;
    bool ok = take_over(s, true, &why) && serving_load(&s->conf, &why, s) && is_bound_as_before(s, &why);
    if (!ok)
        code = refuse(&why);
    close_all(s);
    return ok ? EXIT_OK : code;
}

int command_serve(int argc, char **argv)
{
    int code;
    struct serving *s = begin(argc, argv, &code);
    if (s == NULL)
        return code;
    code = open_all(s);
    if (code == EXIT_OK)
        code = keep(s, argv);
    close_all(s);
    return code;
}
