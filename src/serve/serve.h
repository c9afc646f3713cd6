/* serve.h: which URL goes where, and the server process that serves it: workers, listeners, reload, drain.
   cli/ and keeper/ start a gateway; tests start one in the simulated world. */
#ifndef WEIR_SERVE_H
#define WEIR_SERVE_H

#include "path/path.h"
#include "run/jobs.h"
#include "store/store.h"

struct gateway;

struct gateway_options {
    struct world *world;
    struct log *log;
    const struct conf *conf;          /* the fleet takes a reference */
    unsigned workers;                 /* 1..WORKERS_MAX */
    const int *listeners;             /* sockets that listen already, shared by all workers */
    unsigned listener_count;
    const int *admin_listeners;       /* the admin socket: no key needed, all commands */
    unsigned admin_listener_count;
    const char *store;                /* the file of keys and spend; NULL: store: off. Outlives the gateway */
    bool store_named;                 /* somebody has named it: make it at once */
    struct dns *dns;                  /* who resolves names; outlives the gateway */
    const char *version;
    /* Loads the configuration anew for `reload`; on a job thread. NULL: reload is refused. */
    bool (*load)(const struct conf **out, struct complaint *why, void *arg);
    void *load_arg;
};

/* Makes the workers and all they share; nothing runs yet. FAIL_NO_MEMORY, FAIL_NO_DESCRIPTORS, FAIL_SYSTEM. */
MUSTUSE enum fail gateway_new(const struct gateway_options *options, struct gateway **out);
/* The thread of worker i: returns when it was stopped and its last task has ended. */
void gateway_run_worker(struct gateway *g, unsigned i);
/* Begins to drain: no new connections, /readyz says no, requests in flight go on until timeouts.drain, then they are cancelled and the workers stop. Any thread. */
void gateway_drain(struct gateway *g);
/* Another server has taken over the listeners: accepts nobody any more, and the workers stop when the last client has gone, or timeouts.upgrade is over. Any thread. */
void gateway_retire(struct gateway *g);
/* Ends without waiting. Any thread. */
void gateway_stop(struct gateway *g);
/* Loads and applies a configuration, in a task of worker 0; the result is logged. Any thread. */
void gateway_reload(struct gateway *g);
void gateway_free(struct gateway *g);

struct fleet *gateway_fleet(struct gateway *g);
struct limits *gateway_limits(struct gateway *g);
struct store *gateway_store(struct gateway *g); /* NULL: store: off */
struct stats *gateway_stats(struct gateway *g);
struct worker *gateway_worker(struct gateway *g, unsigned i);
unsigned gateway_workers(const struct gateway *g);
bool gateway_is_draining(const struct gateway *g);
/* True between the first configuration and drain. */
bool gateway_is_ready(const struct gateway *g);
/* Loads and applies all of it or nothing, and logs what came of it; in a task of any worker. False with why, also when a key that only a restart changes has changed.
   *out_changes: as conf_diff has them, the caller's to buf_fini; untouched when false. */
bool gateway_reload_now(struct task *t, struct gateway *g, struct complaint *why, struct buf *out_changes);
/* Runs fn once on each worker's thread and waits for all of them. fn gets each worker's desk and arg; calls do not overlap. */
void gateway_each_desk(struct task *t, struct gateway *g, void (*fn)(struct desk *d, void *arg), void *arg);

/* serve/ only: the handlers of http_server. */
void serve_request(struct task *t, struct http_request *http, void *desk);
void serve_admin(struct task *t, struct http_request *http, void *desk);
MUSTUSE enum fail serve_refusal(struct buf *out, const struct http_request *http, enum fail why, const char *sentence, void *desk);

extern const struct api api_chat, api_completions, api_embeddings, api_pages, api_nothing;

/* openai_body.c */
MUSTUSE enum fail openai_read_chat(struct reading *r);
MUSTUSE enum fail openai_read_completion(struct reading *r);
MUSTUSE enum fail openai_read_embedding(struct reading *r);
MUSTUSE enum fail openai_take_generation(struct request *rq, const struct reading *r);
MUSTUSE enum fail openai_take_embedding(struct request *rq, const struct reading *r);

/* A name out of a path or query: %xx are bytes. Empty when out of memory. */
struct text serve_decoded(struct arena *a, struct text t);

/* A handler of routes.def that is not a surface: answers by itself. `rest`: what stood in place of the route's trailing *. */
typedef enum fail page_fn(struct task *t, struct request *rq, struct text rest);
page_fn page_models, page_model, page_health, page_healthz, page_readyz, page_metrics, page_numbers, page_status, page_requests, page_explain, page_reload, page_drain;
page_fn page_cache_stats, page_cache_drop;
page_fn page_keys, page_key_new, page_key_revoke;
/* stored.c */
MUSTUSE enum fail stored_open(struct gateway *g, const struct gateway_options *o, struct store **out);
/* Over the configuration's keys and the store's. NULL when out of memory. */
struct auth *stored_auth(struct desk *d, const struct conf *conf) MUSTUSE;
struct stat_source store_numbers(struct store *s);
MUSTUSE enum fail store_print_json(struct store *s, struct buf *out); /* "store":{…}; s may be NULL */
struct stat_source cache_numbers(struct cache *c);
struct stat_source backend_numbers(struct fleet *f);
struct stat_source memory_numbers(void);
MUSTUSE enum fail memory_print_json(struct buf *out); /* "memory":{…} */
MUSTUSE enum fail page_json(struct task *t, struct request *rq, int status, struct text body);

#endif
