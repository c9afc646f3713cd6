/* conf.h: the configuration, read once from file, environment and flags, checked, and never changed after. Used by every layer
   above; the rows of keys.def say which keys there are. A reload loads a second one and swaps the pointer. */
#ifndef WEIR_CONF_H
#define WEIR_CONF_H

#include "base/buf.h"

#define CONF_FILE_MAX     (1u << 20) /* bytes of a configuration file: 4096 keys of 200 bytes, and room */
#define CONF_INCLUDE_MAX  (64u << 10) /* bytes of a ${file:...}: the largest secrets are certificate bundles */
#define CONF_KEYS_MAX     4096       /* members of `keys`; more belong in a store */
#define CONF_BACKENDS_MAX 64         /* members of `backends`, those from URLs included; fleet keeps a set of them in one word */
#define CONF_MODELS_MAX   1024       /* members of `models` */
#define CONF_LIST_MAX     64         /* entries of one list (use, fallback, a key's models) */
#define CONF_JWT_KEYS_MAX 64         /* that tokens are verified by; key sets of providers have two to ten */
#define CONF_JWT_UNNAMED_MAX 8       /* of one algorithm without a kid: each is tried, a tenth of a millisecond each */
#define CONF_NO_BACKEND   UINT32_MAX
#define CONF_CONCURRENCY_ADAPTIVE UINT32_MAX

enum conf_kind { CONF_KIND_OPENAI, CONF_KIND_LLAMA, CONF_KIND_MOCK, CONF_KIND_OLLAMA, CONF_KIND_ANTHROPIC };
enum conf_cache_when { CONF_CACHE_UNSAID, CONF_CACHE_NEVER, CONF_CACHE_DETERMINISTIC, CONF_CACHE_ALWAYS }; /* each keeps more than the one before */
enum conf_balance { CONF_BALANCE_LEAST_LOADED, CONF_BALANCE_ROUND_ROBIN, CONF_BALANCE_POWER_OF_TWO, CONF_BALANCE_WEIGHTED, CONF_BALANCE_AFFINITY };
enum conf_role { CONF_ROLE_USER, CONF_ROLE_ADMIN };
enum conf_reload { CONF_RELOAD_SIGNAL, CONF_RELOAD_WATCH };
enum conf_log_level { CONF_LOG_ERROR, CONF_LOG_WARN, CONF_LOG_INFO, CONF_LOG_DEBUG };
enum conf_log_format { CONF_LOG_TEXT, CONF_LOG_JSON };
enum conf_class { CONF_CLASS_LOW, CONF_CLASS_NORMAL, CONF_CLASS_HIGH }; /* in order: a higher one goes first */
#define CONF_CLASSES 3
enum conf_switch { CONF_OFF, CONF_ON };
enum conf_socket_mode { CONF_SOCKET_AUTO, CONF_SOCKET_OFF, CONF_SOCKET_PATH };
enum conf_store_mode { CONF_STORE_AUTO, CONF_STORE_OFF, CONF_STORE_PATH };

/* Where we listen. An IP address or localhost; no name is looked up. */
struct conf_address {
    const char *text; /* "127.0.0.1:4040", "[::1]:4040"; NULL = off */
    const char *host; /* "127.0.0.1", "::1": without brackets, fit for inet_pton */
    uint16_t port;    /* 0 = any free one */
    bool is_loopback;
};

struct conf_socket {
    enum conf_socket_mode mode;
    const char *path; /* CONF_SOCKET_PATH only, fits sun_path; otherwise NULL */
};

struct conf_store {
    enum conf_store_mode mode;
    const char *path; /* CONF_STORE_PATH only; otherwise NULL */
};

/* An upstream's URL, taken apart. */
struct conf_url {
    const char *text; /* as written, without a trailing slash; NULL = none */
    const char *host; /* a name or an address; IPv6 without brackets */
    bool is_https;
    uint16_t port;    /* 80, or 443 for https, if the URL names none */
    const char *base; /* path put before /v1/...; "" or "/prefix", never with a trailing slash */
};

/* A proxy on the way to a backend: asked by CONNECT, so it sees the backend's host and port and no more than bytes after that. */
struct conf_proxy {
    bool is_auto;            /* the environment decided */
    const char *host;        /* as in conf_url; NULL = none, straight to the backend */
    uint16_t port;
    const char *credentials; /* USER:PASSWORD in base64, as Proxy-Authorization: Basic has it; NULL = none. Never log it. */
};

/* A Redis, as its URL says it. */
struct conf_redis {
    const char *url;             /* as written, with its password. Never log it. NULL = none */
    const char *host;            /* as in conf_url */
    const char *user, *password; /* NULL = none. Never log them. */
    uint16_t port;
    uint32_t db;
};

struct conf_names {
    const char *const *at;
    uint32_t count; /* 0 = the key is absent */
};

/* One "backend/model" of a model's use or fallback. */
struct conf_target {
    uint32_t backend;  /* index into conf.backends */
    const char *model; /* the model's name at that backend */
};
struct conf_targets {
    struct conf_target *at;
    uint32_t count;
};

struct conf_number {
    double value;
    bool is_set;
};

/* What a key, or all of a tenant's together, may use. 0 = no limit. */
struct conf_limits {
    uint32_t rpm, tpm;         /* requests and tokens a minute */
    uint32_t concurrency;      /* requests at once */
    struct conf_number budget; /* dollars in a period */
    nanos period;
};

struct conf_tenant {
    const char *name;
    struct conf_limits limits;
    int line;
};

struct conf_key {
    const char *name;
    uint8_t sha256[32]; /* of the key's bytes; the plain text is wiped at load */
    const char *tenant; /* the key's name unless set */
    bool has_tenant;    /* it is set, perhaps to the key's name */
    enum conf_role role;
    struct conf_names models; /* count 0 = all */
    enum conf_class priority, priority_max; /* max >= priority */
    struct conf_limits limits;
    int line;                 /* in the file; 0 = from elsewhere, as everywhere below */
};

/* One key that tokens are verified by. Its kind decides how: what a token says about itself has to agree, and chooses nothing. */
enum conf_jwt_alg { CONF_JWT_HS256, CONF_JWT_RS256, CONF_JWT_ES256, CONF_JWT_EDDSA, CONF_JWT_ALGS };
extern const char *const conf_jwt_alg_names[CONF_JWT_ALGS]; /* as tokens write them */
struct conf_jwt_key {
    const char *kid;            /* NULL = it has none */
    enum conf_jwt_alg alg;
    struct evp_pkey_st *public; /* NULL for HS256 */
    struct text secret;         /* of HS256 only. Never log it. */
};

struct conf_backend {
    const char *name; /* never contains '/' */
    enum conf_kind kind;
    struct conf_url url;  /* url.text NULL for kind llama */
    const char *key;      /* sent as Authorization: Bearer; NULL = none. Visible ASCII only. Never log it. */
    struct conf_proxy proxy;
    uint32_t concurrency; /* 0 = auto, or CONF_CONCURRENCY_ADAPTIVE */
    uint32_t weight;      /* of balance: weighted */
    const char *health;   /* "auto", "tcp", "off" or a path */
    const char *model;    /* kind llama: which local model; otherwise NULL */
    uint32_t slots;       /* kind llama: 0 = auto */
    const char *ca;       /* PEM file of the authorities its certificate may come from; NULL = the system's */
    const char *client_cert, *client_key; /* PEM files; NULL = we have no certificate for it */
    struct ssl_ctx_st *tls; /* https: what connections to it begin with; else NULL */
    int line;
};

struct conf_model {
    const char *name;
    struct conf_targets use;      /* at least one */
    struct conf_targets fallback; /* may be none */
    enum conf_balance balance;
    struct {
        uint32_t max_tokens;            /* 0 = not set */
        struct conf_number temperature;
    } defaults; /* fill a request's absent fields */
    struct {
        struct conf_number in, out; /* dollars a million tokens */
    } price;
    struct {
        enum conf_cache_when when; /* UNSAID: as cache.exact.when */
        nanos ttl;                 /* 0: as cache.exact.ttl */
        const char *meaning;       /* its name and what is behind it: for what an answer is known by */
    } cache;
    enum conf_switch hedge;
    int line;
};

/* One that a load has read: the configuration itself, ${file:...}, certificates and keys. */
struct conf_file {
    const char *path;
    uint64_t mark; /* of its device, inode, size and time of writing, just before it was read */
    const struct conf_file *next;
};

/* Immutable and shared; hold a reference wherever it must outlive a turn. Everything inside lives as long as it does. */
struct conf {
    uint32_t magic;
    _Atomic uint32_t references;
    struct arena arena;
    const char *path; /* the file it came from, NULL = none */
    const struct conf_file *files;

    struct conf_address listen;
    uint32_t workers; /* 0 = auto */
    struct conf_store store;
    struct {
        struct conf_socket socket;
        struct conf_address listen; /* text NULL = off */
    } admin;
    struct {
        uint32_t connections;  /* 0 = auto */
        uint64_t body, header; /* bytes */
        uint64_t memory;       /* bytes, 0 = auto; not served yet, so always 0 */
        uint32_t queue;        /* requests waiting for a slot, each pool */
        enum conf_switch private_urls; /* may messages name URLs inside the operator's network? */
    } limits;
    struct {
        uint64_t buffer;  /* bytes */
        nanos heartbeat;
    } stream;
    enum conf_reload reload;
    struct {
        nanos header, body, connect, first_token, between_tokens, total, write, drain, upgrade;
    } timeouts;
    struct {
        uint32_t floor; /* percent of each backend's slots; of LOW always 0 */
        nanos wait;
    } classes[CONF_CLASSES];
    struct {
        uint32_t attempts;
    } retries;
    struct {
        struct conf_names keys; /* files */
        const char *jwks;       /* a file; NULL = none */
        const char *issuer, *audience;
        nanos skew;
        const char *tenant, *priority, *models; /* names of claims */
        struct conf_jwt_key *verify;            /* what keys and jwks hold */
        uint32_t verify_count;                  /* 0: no tokens are taken */
    } jwt;
    struct {
        const char *servers; /* "10.0.0.1:53,[::1]:5353"; NULL = those of the system */
    } dns;
    struct {
        struct conf_redis server;
        nanos wait;
    } redis;
    struct {
        struct {
            enum conf_switch enabled;
            enum conf_cache_when when;
            uint32_t entries;
            uint64_t memory;
            nanos ttl, embedding_ttl;
            enum conf_cache_when most; /* that any model says; NEVER where it is not enabled */
            bool zero_by_default;      /* some model has temperature 0 where a request names none */
        } exact;
        struct {
            enum conf_switch enabled;
        } shared;
    } cache;
    struct {
        enum conf_log_level level;
        enum conf_log_format format;
        const char *file; /* NULL = standard error */
        enum conf_switch access;
    } log;
    struct {
        const char *cert, *key, *client_ca; /* PEM files; NULL = absent */
        struct ssl_ctx_st *context;         /* what clients' connections begin with; NULL = they speak plain HTTP */
    } tls;

    struct conf_key *keys;
    uint32_t keys_count;
    struct conf_tenant *tenants; /* by name */
    uint32_t tenants_count;
    struct conf_backend *backends;
    uint32_t backends_count;
    struct conf_model *models;
    uint32_t models_count;
};

/* Where a configuration comes from. What is zero is absent; all memory stays the caller's. */
struct conf_options {
    const char *path;         /* the file; NULL = none */
    struct text yaml;         /* .at != NULL: the file's content, path is then only its name in complaints */
    const char *const *sets;  /* "a.b.c=value", later ones win; flags such as --listen are given as "listen=..." */
    size_t sets_count;
    const char *const *urls;  /* each becomes a backend of kind openai, named host:port */
    size_t urls_count;
    char *const *environ;     /* for WEIR_... and ${NAME}; NULL = empty */
    bool keys_only;           /* keys for another configuration: nobody knows yet whether its models have prices */
    bool local_fallback;      /* no backend at all: add the local model and local embeddings */
};

/* Loads and checks. False with one complaint in *out_why, whose file is options->path or NULL; *out is then untouched.
   Reads files: not for a task's stack. The caller owns one reference. */
MUSTUSE bool conf_load(const struct conf_options *options, const struct conf **out, struct complaint *out_why);
const struct conf *conf_ref(const struct conf *c);
void conf_unref(const struct conf *c); /* the last one frees and wipes; takes NULL */

/* Must a client say who it is? */
static inline bool conf_asks_who(const struct conf *c) { return c->keys_count > 0 || c->jwt.verify_count > 0; }

/* The first key marked RESTART whose value differs, or NULL if a running server may take next in place of now. */
const char *conf_needs_restart(const struct conf *now, const struct conf *next);

/* NULL if the file says nothing about this tenant. */
const struct conf_tenant *conf_tenant_find(const struct conf *c, struct text name);
#define CONF_DIFF_LINES 20 /* a person reads no more; whoever wants all compares the files */
/* What differs, a line each: "limits.queue 1024 -> 2048", "backends.gpu2 added", "keys.a.key changed"; then perhaps "and 7 more". Nothing: no difference.
   No secret is in it. FAIL_TOO_LARGE, FAIL_NO_MEMORY. Not for a task's stack: it may take a tenth of a second. */
MUSTUSE enum fail conf_diff(const struct conf *now, const struct conf *next, struct buf *out);
/* A number over all files: as they were when c was read, or as they are now. Equal: no file has changed. Asks the file system: not for a task's stack. */
uint64_t conf_mark(const struct conf *c, bool as_read);

/* The word the file uses for a value ("openai", "least_loaded"). */
const char *conf_kind_name(enum conf_kind kind);
const char *conf_balance_name(enum conf_balance balance);
const char *conf_class_name(enum conf_class class);

/* Generated from keys.def. FAIL_TOO_LARGE or FAIL_NO_MEMORY of the buffer. */
MUSTUSE enum fail conf_docs_markdown(struct buf *out); /* docs/configuration.md */
MUSTUSE enum fail conf_schema_json(struct buf *out);   /* JSON Schema for editors */
MUSTUSE enum fail conf_print_example(struct buf *out); /* a commented file; loads as it stands */

#endif
