/* models.c: the processes of local models: one llama-server each, started, watched, restarted with a growing pause, and stopped. keeper.c calls it. */
#include "keeper/inner.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define STOP_NS          (3 * NANOS_PER_S)  /* llama-server ends in 50 ms unless it hangs */
#define LOOK_AGAIN_NS    (2 * NANOS_PER_S)  /* for files that were missing */
#define LOG_BYTES_MAX    (1 << 20)          /* at each start; at its verbosity llama-server prints a line a start and its errors */
#define CONTEXT_TOKENS   2048               /* a slot's: enough for a demonstration, 47 MB of memory each */
#define EMBEDDING_TOKENS 512                /* what MiniLM can read */

void models_init(struct models *m, const struct keeper_options *options, struct local_state *rows)
{
    memset(m, 0, sizeof *m);
    m->options = options;
    m->rows = rows;
    for (enum local_model i = 0; i < LOCAL_COUNT; i++) {
        m->at[i].which = i;
        atomic_store(&rows[i].slots, local_slots_wanted(options->conf, i));
    }
}

void models_inherit(struct models *m, const struct keeper_options *options, struct local_state *rows, const struct model at[LOCAL_COUNT])
{
    models_init(m, options, rows);
    memcpy(m->at, at, sizeof m->at);
}

static void set_phase(struct models *m, const struct model *mo, enum local_phase phase)
{
    atomic_store(&m->rows[mo->which].phase, phase);
}

/* ---- starting ---- */

/* A port that is free now. Somebody may take it before llama-server does: then that ends, and the next start has another one. 0 = none. */
static uint16_t free_port(void)
{
    struct addr a;
    bool ok = addr_from_text(&a, TEXT("127.0.0.1"), 0);
    int fd = ok ? socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
    uint16_t port = 0;
    if (fd >= 0 && bind(fd, &a.any, a.len) == 0 && getsockname(fd, &a.any, &a.len) == 0)
        port = ntohs(a.in.sin_port);
    if (fd >= 0)
        close(fd);
    return port;
}

/* $DIR/FILE can be read. */
static bool file_path(const struct models *m, const char *file, char out[PATH_MOST])
{
    if (m->options->models_dir == NULL)
        return false;
    int n = snprintf(out, PATH_MOST, "%s/%s", m->options->models_dir, file);
    return n < PATH_MOST && access(out, R_OK) == 0;
}

/* What the program printed, beside the sockets. Starts after the first add to it, or the reason of a death would be gone with the next start. */
static int open_log(const struct models *m, const struct model *mo)
{
    const char *name = local_row(mo->which)->name;
    char path[PATH_MOST];
    int fd = -1;
    if (m->options->logs != NULL && snprintf(path, sizeof path, "%s.%s.log", m->options->logs, name) < (int)sizeof path)
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && (mo->generation == 0 || lseek(fd, 0, SEEK_END) > LOG_BYTES_MAX) && ftruncate(fd, 0) != 0)
        log_line(NULL, LOG_LEVEL_WARN, "local", "%s: %s", path, strerror(errno));
    return fd >= 0 ? fd : open("/dev/null", O_WRONLY | O_CLOEXEC);
}

struct arguments {
    const char *at[40];
    unsigned count;
    char numbers[6][12];
    unsigned numbers_count;
};

static void add(struct arguments *a, const char *word)
{
    ASSERT(a->count + 1 < ARRAY_LEN(a->at));
    a->at[a->count++] = word;
    a->at[a->count] = NULL;
}

static void add_number(struct arguments *a, const char *option, unsigned value)
{
    ASSERT(a->numbers_count < ARRAY_LEN(a->numbers));
    char *text = a->numbers[a->numbers_count++];
    snprintf(text, sizeof a->numbers[0], "%u", value);
    add(a, option);
    add(a, text);
}

/* chatml: the template in SmolLM2's file only works with a system message, and otherwise it answers gibberish. */
static void compose(struct arguments *a, const struct model *mo, const char *program, const char *weights, uint16_t port, unsigned threads)
{
    bool embeds = mo->which == LOCAL_embeddings;
    static const char *const common[] = { "--host", "127.0.0.1", "--offline", "--no-webui", "--no-slots", "-lv", "1" };
    a->count = a->numbers_count = 0;
    add(a, program);
    add(a, "-m");
    add(a, weights);
    add(a, "--alias"); /* else answers name the file, folder and all */
    add(a, local_row(mo->which)->name);
    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        add(a, common[i]);
    add_number(a, "--port", port);
    add_number(a, "-np", mo->slots);
    add_number(a, "-t", threads);
    add_number(a, "-c", mo->slots * (embeds ? EMBEDDING_TOKENS : CONTEXT_TOKENS));
    if (embeds) {
        add(a, "--embeddings");
        add_number(a, "-ub", EMBEDDING_TOKENS);
    } else {
        add(a, "--chat-template");
        add(a, "chatml");
    }
}

/* All that llama-server is told: nothing of ours, which may hold keys. GGML_… and LLAMA_… are its own settings, so they stay ours to choose. */
static const char *const environment[] = { "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/nonexistent", "LANG=C.UTF-8", NULL };

/* In the child; does not return. Descriptors that a model server keeps would keep our listeners and locks alive after us. */
static void become(const char *program, char *const *arguments, int log_fd, pid_t keeper)
{
    sigset_t none;
    int in = open("/dev/null", O_RDONLY);
    setsid(); /* Ctrl-C on the terminal is for the keeper, which lets requests finish first */
    signal(SIGPIPE, SIG_DFL);
    signal(SIGXFSZ, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    die_with(keeper);
    dup2(in, STDIN_FILENO);
    dup2(log_fd, STDOUT_FILENO);
    dup2(log_fd, STDERR_FILENO);
    if (close_range(STDERR_FILENO + 1, ~0u, 0) != 0) /* Linux before 5.9 */
        for (int fd = STDERR_FILENO + 1; fd < 4096; fd++)
            close(fd);
    execve(program, arguments, (char *const *)(uintptr_t)environment);
    _exit(127);
}

static void start_failed(struct models *m, struct model *mo, nanos now, const char *why)
{
    set_phase(m, mo, LOCAL_DOWN);
    mo->due = now + backoff_take(&mo->backoff, 0);
    log_line(NULL, LOG_LEVEL_ERROR, "local", "%s cannot be started: %s", local_row(mo->which)->name, why);
}

static void start(struct models *m, struct model *mo, nanos now)
{
    char program[PATH_MOST], weights[PATH_MOST];
    const struct local_row *row = local_row(mo->which);
    struct arguments a;
    if (!file_path(m, "llama-server", program) || !file_path(m, row->file, weights)) {
        set_phase(m, mo, LOCAL_MISSING);
        mo->due = now + LOOK_AGAIN_NS;
        if (!mo->said_missing)
            log_line(NULL, LOG_LEVEL_WARN, "local", "%s is not installed (no llama-server and %s in %s): tools/local-model.sh makes it", row->name, row->file,
                     m->options->models_dir != NULL ? m->options->models_dir : m->options->models_looked);
        mo->said_missing = true;
        return;
    }
    uint16_t port = free_port();
    int log_fd = open_log(m, mo);
    if (port == 0 || log_fd < 0) {
        start_failed(m, mo, now, strerror(errno));
        if (log_fd >= 0)
            close(log_fd);
        return;
    }
    mo->slots = MIN(atomic_load(&m->rows[mo->which].slots), LOCAL_SLOTS_MAX);
    /* One core stays free: its threads wait for each other at every step, so one that shares a core slows all (2 of 2 cores beside a busy
       process: 5 tokens a second; 1 of 2: 100). */
    unsigned threads = MAX(m->options->cpus, 2) - 1;
    compose(&a, mo, program, weights, port, threads);
    pid_t keeper = getpid(), pid = fork();
    if (pid == 0)
        become(program, (char *const *)(uintptr_t)a.at, log_fd, keeper);
    close(log_fd);
    if (pid < 0) {
        start_failed(m, mo, now, strerror(errno));
        return;
    }
    mo->pid = pid;
    mo->started = now;
    mo->kill_at = 0;
    mo->said_missing = false;
    atomic_store(&m->rows[mo->which].port, port);
    atomic_store(&m->rows[mo->which].generation, ++mo->generation);
    set_phase(m, mo, LOCAL_RUNNING);
    log_line(NULL, LOG_LEVEL_INFO, "local", "%s started on port %u (pid %d, %u slots, %u threads)", row->name, (unsigned)port, (int)pid,
             (unsigned)mo->slots, threads);
}

/* ---- stopping ---- */

static void stop(struct models *m, struct model *mo, nanos now)
{
    set_phase(m, mo, LOCAL_OFF);
    kill(mo->pid, SIGTERM);
    mo->kill_at = now + STOP_NS;
}

bool models_ended(struct models *m, pid_t pid, int status, nanos now)
{
    char text[96];
    for (enum local_model i = 0; i < LOCAL_COUNT; i++) {
        struct model *mo = &m->at[i];
        if (mo->pid != pid)
            continue;
        bool was_asked = mo->kill_at != 0;
        mo->pid = 0;
        mo->kill_at = 0;
        set_phase(m, mo, was_asked ? LOCAL_OFF : LOCAL_DOWN);
        mo->due = was_asked ? now : now + backoff_take(&mo->backoff, now - mo->started);
        if (!was_asked)
            log_line(NULL, LOG_LEVEL_ERROR, "local", "%s %s; the next one starts in %lld ms", local_row(i)->name, status_print(status, text),
                     (long long)((mo->due - now) / NANOS_PER_MS));
        if (!was_asked && m->options->logs != NULL)
            log_line(NULL, LOG_LEVEL_INFO, "local", "what it said is in %s.%s.log", m->options->logs, local_row(i)->name);
        return true;
    }
    return false;
}

static nanos step(struct models *m, struct model *mo, nanos now, uint32_t wanted)
{
    if (mo->pid != 0 && mo->kill_at == 0 && wanted != mo->slots)
        stop(m, mo, now);
    if (mo->pid != 0 && mo->kill_at != 0 && now >= mo->kill_at) {
        kill(mo->pid, SIGKILL);
        mo->kill_at = NEVER;
    }
    if (mo->pid == 0 && wanted != 0 && now >= mo->due)
        start(m, mo, now);
    if (mo->pid == 0 && wanted == 0)
        set_phase(m, mo, LOCAL_OFF);
    if (mo->pid != 0)
        return mo->kill_at != 0 ? mo->kill_at : NEVER;
    return wanted != 0 ? mo->due : NEVER;
}

nanos models_step(struct models *m, nanos now, bool all_off)
{
    nanos next = NEVER;
    for (enum local_model i = 0; i < LOCAL_COUNT; i++) {
        uint32_t wanted = all_off ? 0 : MIN(atomic_load(&m->rows[i].slots), LOCAL_SLOTS_MAX);
        nanos at = step(m, &m->at[i], now, wanted);
        next = MIN(next, at);
    }
    return next;
}

bool models_are_off(const struct models *m)
{
    for (enum local_model i = 0; i < LOCAL_COUNT; i++)
        if (m->at[i].pid != 0)
            return false;
    return true;
}
