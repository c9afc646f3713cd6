/* inner.h: what gateway.c and reload.c share: the server process. */
#ifndef WEIR_SERVE_INNER_H
#define WEIR_SERVE_INNER_H

#include "serve/serve.h"

#define GATEWAY_MAGIC 0x9a7e3a71u

/* reload: watch. */
struct file_watch {
    struct timer timer;
    const struct conf *conf;  /* whose files are looked at; only compared */
    uint64_t done, last;      /* marks of all files: what was loaded or refused; what the last look found */
    bool refused;
    nanos again_at;           /* after a refusal */
    struct complaint said;    /* its sentence: once is enough */
};

struct gateway {
    uint32_t magic;
    struct gateway_options options;
    struct world *world;
    struct stats stats;
    struct fleet *fleet;
    struct limits *limits;
    struct cache *cache;
    struct joins *joins;       /* identical requests under way */
    struct share *share;         /* NULL = nothing is shared */
    struct redis_server *redis;  /* NULL = nothing is shared */
    struct store *store;     /* NULL: store: off */
    unsigned workers;
    struct worker worker[WORKERS_MAX];
    struct desk desk[WORKERS_MAX];
    _Atomic bool draining, ready, retiring;
    _Atomic nanos asked_until[CONF_CLASSES];
    _Atomic uint32_t connections; /* of clients, all workers': an uneven share must not keep out who would have had room */
    /* worker 0's thread only */
    bool reloading;
    struct file_watch files;
};

/* Begins to look at the files if the configuration says so; gateway_free ends it. */
void reload_begin(struct gateway *g);
void reload_end(struct gateway *g);

#endif
