/* mock.c: `weir mock`: a model server for tests, until SIGINT or SIGTERM. */
#include "cli/cli.h"
#include "base/text.h"
#include "mock/mock.h"
#include "run/task.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define LISTEN_DEFAULT "127.0.0.1:4041"
#define PORT_MAX       65535

struct mock_command {
    struct mock_script script;
    struct text listen;
    unsigned workers;
    struct world *world;
    struct worker worker[WORKERS_MAX];
    struct mock *mock[WORKERS_MAX];
    pthread_t thread[WORKERS_MAX];
    int listener;
};

static void print_help(void)
{
    printf("A scriptable model server that also misbehaves on order.\n\n"
           "  weir mock                                             answers at once on http://" LISTEN_DEFAULT "\n"
           "  weir mock --ttft 'lognormal(300ms,0.5)' --itl 20ms    as slow as a model\n"
           "  weir mock --slots 4 --tokens 200                      four at a time, the others wait\n"
           "  weir mock --fault status=429,retry-after=2:0.1        every tenth request is refused\n"
           "  weir mock --fault cut:1:100                           after 100 good answers every stream is cut\n"
           "  curl -d '{\"itl\":\"50ms\",\"faults\":[\"stall:0.5\"]}' http://" LISTEN_DEFAULT "/_mock/script\n"
           "  curl http://" LISTEN_DEFAULT "/_mock/stats                  what it saw; POST /_mock/reset starts from zero\n\n"
           "usage: weir mock [options]\n\n"
           "  %-34s Where to answer (" LISTEN_DEFAULT "); port 0: a free one, printed.\n"
           "  %-34s Threads (1).\n", "--listen ADDRESS:PORT", "--workers N");
#define OPTION(id, name, value, what) printf("  %-34s %s\n", "--" name " " value, what);
#include "mock/options.def"
#undef OPTION
    printf("\nfaults (KIND, with its parameters):\n");
#define FAULT(id, name, parameters, what) printf("  %-34s %s\n", name parameters, what);
#include "mock/faults.def"
#undef FAULT
    printf("\npaths:\n");
#define PATH(id, method, path, dialect, answers) printf("  %-34s %s\n", #method " " path, MOCK_##dialect == MOCK_ANY ? "" : #dialect);
#include "mock/paths.def"
#undef PATH
}

static int usage_error(const struct complaint *why)
{
    fprintf(stderr, "weir mock: %s\n", why->text);
    return EXIT_USAGE;
}

/* ---- options ---- */

static bool set_option(struct mock_command *m, struct text name, struct text value, struct complaint *why)
{
    uint64_t n;
    if (text_eq(name, TEXT("listen"))) {
        m->listen = value;
        return true;
    }
    if (!text_eq(name, TEXT("workers")))
        return mock_script_set(&m->script, name, value, why);
    if (!text_to_u64(value, WORKERS_MAX, &n) || n == 0)
        return complain(why, NULL, 0, 0, "workers: must be a number from 1 to %d", WORKERS_MAX);
    m->workers = (unsigned)n;
    return true;
}

/* "--name value" and "--name=value". */
static bool read_options(struct mock_command *m, int argc, char **argv, struct complaint *why)
{
    for (int i = 1; i < argc; i++) {
        struct text name, word = text_of(argv[i]);
        if (!text_starts(word, TEXT("--")))
            return complain(why, NULL, 0, 0, "\"%s\" is no option; see weir mock --help", argv[i]);
        struct text value = text_cut((struct text){ word.at + 2, word.len - 2 }, '=', &name);
        if (value.at == NULL) {
            if (++i == argc)
                return complain(why, NULL, 0, 0, "--%.*s needs a value", TEXT_ARG(name));
            value = text_of(argv[i]);
        }
        if (!set_option(m, name, value, why))
            return false;
    }
    return true;
}

static bool listen_at(struct mock_command *m, struct complaint *why)
{
    struct addr at;
    uint64_t port = 0;
    const char *colon = memrchr(m->listen.at, ':', m->listen.len);
    size_t host = colon != NULL ? (size_t)(colon - m->listen.at) : 0;
    if (colon == NULL || !text_to_u64((struct text){ colon + 1, m->listen.len - host - 1 }, PORT_MAX, &port) ||
        !addr_from_text(&at, (struct text){ m->listen.at, host }, (uint16_t)port))
        return complain(why, NULL, 0, 0, "listen: must be ADDRESS:PORT such as " LISTEN_DEFAULT ", not \"%.*s\"", TEXT_ARG(m->listen));
    m->listener = m->world->listen(m->world, &at);
    return true;
}

/* ---- running ---- */

static void *thread_main(void *arg)
{
    task_thread_begin();
    worker_run(arg);
    task_thread_end();
    return NULL;
}

static void stop_letter(struct worker *w, void *arg, uint64_t number)
{
    (void)number;
    mock_stop(arg);
    worker_stop(w);
}

static bool open_workers(struct mock_command *m)
{
    for (unsigned i = 0; i < m->workers; i++) {
        if (worker_init(&m->worker[i], m->world, i) != OK)
            return false;
        m->mock[i] = i == 0 ? mock_new(&m->worker[i], &m->script) : mock_new_beside(&m->worker[i], m->mock[0]);
        if (m->mock[i] == NULL || mock_listen(m->mock[i], m->listener) != OK)
            return false;
    }
    return true;
}

static void tell_address(struct mock_command *m)
{
    struct addr at = { .len = sizeof at - offsetof(struct addr, any) };
    char text[64];
    if (getsockname(m->listener, &at.any, &at.len) != 0) /* a descriptor of the real world; only this command asks which port it got */
        return;
    printf("weir mock: http://%s\n", addr_print(&at, text));
    fflush(stdout);
}

static int run(struct mock_command *m)
{
    sigset_t ends;
    int signal_number;
    if (!open_workers(m)) {
        fprintf(stderr, "weir mock: not enough memory or descriptors\n");
        return EXIT_FAILED; /* the process ends; what was opened goes with it */
    }
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL); /* before the threads, which inherit it */
    task_catch_overflow();
    for (unsigned i = 0; i < m->workers; i++)
        ASSERT(pthread_create(&m->thread[i], NULL, thread_main, &m->worker[i]) == 0);
    tell_address(m);
    sigwait(&ends, &signal_number);
    for (unsigned i = 0; i < m->workers; i++)
        mail_send(&m->worker[i], stop_letter, m->mock[i], 0);
    for (unsigned i = 0; i < m->workers; i++)
        pthread_join(m->thread[i], NULL);
    for (unsigned i = 0; i < m->workers; i++) {
        mock_free(m->mock[i]);
        worker_fini(&m->worker[i]);
    }
    return EXIT_OK;
}

int command_mock(int argc, char **argv)
{
    static struct mock_command m; /* static: larger than a frame should be */
    struct complaint why;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            print_help();
            return EXIT_OK;
        }
    }
    mock_script_init(&m.script);
    m.listen = TEXT(LISTEN_DEFAULT);
    m.workers = 1;
    if (!read_options(&m, argc, argv, &why))
        return usage_error(&why);
    m.world = world_real_new(1);
    if (m.world == NULL)
        return EXIT_FAILED;
    if (!listen_at(&m, &why))
        return usage_error(&why);
    if (m.listener < 0) {
        fprintf(stderr, "weir mock: cannot listen on %.*s: %s\n", TEXT_ARG(m.listen), strerror(-m.listener));
        return EXIT_FAILED;
    }
    int code = run(&m);
    if (code == EXIT_OK) {
        m.world->close(m.world, m.listener);
        world_real_free(m.world);
        mock_script_fini(&m.script);
    }
    return code;
}
