/* serve.c: `weir serve`. */
#include "cli/cli.h"
#include "serve/serve.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

extern char **environ;

static void *worker_thread(void *arg)
{
    struct worker *w = arg;
    struct desk *d = w->owner;
    task_thread_begin();
    gateway_run_worker(d->gateway, w->index);
    task_thread_end();
    return NULL;
}

int command_serve(int argc, char **argv)
{
    const char *urls[64];
    struct conf_options options = { .urls = urls, .environ = environ, .local_fallback = true };
    struct complaint why;
    const struct conf *conf;
    const char *sets[64];
    options.sets = sets;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-c") == 0 && i + 1 < argc)
            options.path = argv[++i];
        else if (strcmp(argv[i], "--set") == 0 && i + 1 < argc)
            sets[options.sets_count++] = argv[++i];
        else
            urls[options.urls_count++] = argv[i];
    }
    if (!conf_load(&options, &conf, &why)) {
        char text[700];
        complaint_print(&why, text, sizeof text);
        fprintf(stderr, "weir: %s\n", text);
        return EXIT_FAILED;
    }
    struct world *world = world_real_new(2);
    struct log log;
    log_init(&log, world);
    struct addr a;
    if (!addr_from_text(&a, text_of(conf->listen.host), conf->listen.port))
        return EXIT_FAILED;
    int fd = world->listen(world, &a);
    if (fd < 0) {
        fprintf(stderr, "weir: cannot listen on %s: %s\n", conf->listen.text, strerror(-fd));
        return EXIT_FAILED;
    }
    struct gateway *g;
    struct gateway_options go = { .world = world, .log = &log, .conf = conf, .workers = conf->workers ? conf->workers : 2, .listeners = &fd, .listener_count = 1, .version = weir_version };
    if (gateway_new(&go, &g) != OK)
        return EXIT_FAILED;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    task_catch_overflow();
    pthread_t threads[WORKERS_MAX];
    for (unsigned i = 0; i < gateway_workers(g); i++)
        pthread_create(&threads[i], NULL, worker_thread, gateway_worker(g, i));
    printf("weir: http://%s\n", conf->listen.text);
    fflush(stdout);
    int sig;
    sigwait(&set, &sig);
    gateway_drain(g);
    sigwait(&set, &sig);
    gateway_stop(g);
    for (unsigned i = 0; i < gateway_workers(g); i++)
        pthread_join(threads[i], NULL);
    gateway_free(g);
    conf_unref(conf);
    return EXIT_OK;
}
