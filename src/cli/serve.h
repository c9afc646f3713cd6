/* serve.h: what the three parts of `weir serve` share: serve.c (the command, in the keeper), server.c (the server's life), announce.c (the first lines). */
#ifndef WEIR_CLI_SERVE_H
#define WEIR_CLI_SERVE_H

#include "keeper/keeper.h"
#include "serve/serve.h"

#define SETS_MAX 256 /* --set options; more belong in a file */

struct serving {
    struct conf_options options; /* as given, but for what is in the vault; for the first load and every reload */
    struct vault vault;
    const char *urls[CONF_BACKENDS_MAX];
    const char *sets[SETS_MAX + 2];
    uint64_t files;              /* descriptors we may have */
    unsigned cpus;
    uint64_t memory;             /* bytes we may have; 0 = nobody says */
    const struct conf *conf;
    struct world *world;         /* the keeper's: a clock, no threads */
    struct log log;
    int listeners[LISTENERS_MAX];
    unsigned listener_count;
    uint16_t port;               /* of the first */
    bool is_public;              /* a listener can be reached from another machine: then there are keys or client certificates, now and after every reload */
    int admin;                   /* -1 = none */
    char socket[SOCKET_PATH_MAX];
    int line;                    /* to the keeper; in a server */
    struct handover handover;    /* what passes on in an upgrade; from the keeper before us if takes_over */
    bool takes_over;
};

/* Loads the configuration and fills in what only this process knows; arg is a struct serving. Also gateway's `load`. */
bool serving_load(const struct conf **out, struct complaint *why, void *arg);
/* A server's whole life; arg is a struct serving. keeper_run calls it in the child. */
int server_run(const struct server_start *start, void *arg);
/* Prints the first lines: the address now, the rest when the backends have been asked once. In a root task of worker 0. FAIL_NO_MEMORY. */
MUSTUSE enum fail announce_start(struct worker *w, struct gateway *g, const struct serving *s);

#endif
