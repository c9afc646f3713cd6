/* keeper.h: the small parent process of `weir serve`: one thread that reads no network byte. It owns the listening sockets, the signals, the server process
   and the processes of local models, so that none of these is lost with a server. cli/serve.c runs it; cli/ also asks it about the machine.

     signal to the keeper   what it does
     TERM, INT              tells the server to drain; the second one ends it at once
     HUP                    the server reads its configuration again
     USR1                   both open their log again
     USR2                   becomes the program that is at its own path now, if that one takes over all it is given; else says why not and stays
     CHLD                   a server that ended by itself ends the keeper; one that died is started again; so are models

   An upgrade keeps the process, the listening sockets and the local models. The new program starts a server beside the old one; when that is ready, the old one
   accepts nobody any more (SIGUSR2 to it), finishes its streams within timeouts.upgrade, and ends. If it never gets ready, the old one stays.
   A server that died is started again after 50 ms, 100 ms, 200 ms …; the fifth death within a minute ends the keeper with exit code 1. */
#ifndef WEIR_KEEPER_H
#define WEIR_KEEPER_H

#include "stat/stat.h"
#include "upstream/local.h"
#include <signal.h>
#include <sys/types.h>

#define LISTENERS_MAX     8
#define SOCKET_PATH_MAX   108 /* sun_path */

/* ---- keeper and server ---- */

#define SERVER_END_NOW       (SIGRTMIN)     /* keeper to server, after a second TERM. Not TERM again: systemd and `timeout` send that to every process */
#define SERVER_WORKERS_ENDED (SIGRTMIN + 1) /* the server to itself */
#define SERVER_RETIRE        SIGUSR2        /* keeper to server: your successor is ready */

/* What a server may tell its keeper: one byte each. */
enum keeper_word { KEEPER_READY = 'r', KEEPER_RELOADED = 'l', KEEPER_DRAINING = 'd', KEEPER_MODELS = 'm' };

/* What the keeper gives each server. */
struct server_start {
    unsigned number;             /* 1 until one was ready; more after a death */
    struct local_state *models;  /* LOCAL_COUNT rows */
    int line;                    /* for keeper_tell */
};
/* Any thread of the server. */
void keeper_tell(int line, enum keeper_word word);

/* Spans between starts of something that keeps dying. */
struct backoff {
    nanos next;
};

/* One llama-server. */
struct model {
    enum local_model which;
    pid_t pid;               /* 0 = none */
    uint32_t slots, generation;
    nanos started, due;      /* due: not started before */
    nanos kill_at;           /* TERM was sent; KILL follows then. 0 = not asked to end */
    struct backoff backoff;
    bool said_missing;
};

/* ---- upgrade in place (handover.c) ---- */

#define HANDOVER_VERSION 1u /* one more with every change of what follows, of struct model and of struct local_state */
#define RETIRED_MAX      16 /* servers that finish their streams after as many upgrades; the next one is refused */

struct vault {
    int fd;
    size_t bytes, environ_count, sets_count;
};

/* A server that another one has replaced. */
struct retired {
    pid_t pid;
    nanos kill_at;
};

/* All that one keeper leaves to the next. Descriptors: -1 = none. */
struct handover {
    uint32_t magic, version, bytes; /* these three stay where they are in every version */
    pid_t keeper;                   /* of whom; nobody else may take it */
    int listeners[LISTENERS_MAX];
    unsigned listener_count;
    uint16_t port;
    int admin;
    char socket[SOCKET_PATH_MAX];
    char bound[3][SOCKET_PATH_MAX]; /* what the configuration said of the sockets: they pass as they are */
    struct vault vault;
    /* from here on the keeper's own */
    int rows;                       /* local_state of each model */
    int line;                       /* from the server */
    unsigned lives;
    pid_t server;                   /* 0 = none */
    nanos server_started;
    struct retired retired[RETIRED_MAX];
    struct model models[LOCAL_COUNT];
};

/* Were we executed by a keeper that upgrades? */
bool handover_is_due(void);
/* What it left. is_check: for its child that only asks. False with why not. */
bool handover_take(struct handover *out, bool is_check, struct complaint *why);
/* A tenth of a second, before what was handed over is tried once more. */
void handover_wait(void);
/* The path of the running program that an upgrade will find another one at: as it was called, if that is a path (it may be a link), else what /proc says.
   Ask before anybody replaces it. */
bool handover_program(const char *word, char *out, size_t room);

struct keeper_options {
    struct world *world;         /* for its clock; without job threads, since the server is forked from this process */
    struct log *log;
    const struct conf *conf;
    int (*serve)(const struct server_start *start, void *arg); /* the server's whole life, in the child; returns its exit code */
    void *arg;
    const char *models_dir;      /* where the local models are; NULL: nowhere */
    const char *models_looked;   /* where they were looked for, for messages */
    const char *logs;            /* "/run/weir/4040": what models print goes to this and ".NAME.log"; NULL: it is discarded */
    unsigned cpus;
    const char *program;         /* for upgrades, with the words it was called with; NULL: it has no path, and none can be made */
    char *const *argv;
    struct handover *handover;   /* cli/'s part filled in */
    bool takes_over;             /* the keeper's part too: we were executed by an upgrade */
};
/* Returns the exit code of `weir serve`. */
int keeper_run(const struct keeper_options *options);

/* ---- sockets (listen.c) ---- */

/* Listens where the configuration says, or takes the sockets that systemd passes (LISTEN_FDS). False with a sentence that names who has the port.
   *out_port: of the first one. */
bool keeper_listen(struct world *world, const struct conf *conf, int fds[LISTENERS_MAX], unsigned *out_count, uint16_t *out_port, struct complaint *why);
/* Can one of them be reached from another machine? What systemd passes need not be what the configuration says. */
bool keeper_listens_publicly(const int *fds, unsigned count);
/* The admin socket, mode 0600. A dead one of that name is replaced; a live one is a complaint. */
bool keeper_listen_admin(struct world *world, const char *path, int *out_fd, struct complaint *why);
void keeper_unlisten_admin(const char *path); /* at the very end: the name goes too */

/* ---- secrets that were given from outside (vault.c) ---- */

/* As conf_load wants them. */
struct vault_words {
    struct buf bytes;
    char **at;
    char *const *environ;
    const char *const *sets;
};
/* Keeps a copy of both, and wipes them where they stand: of the environment all values but those that weir and its libraries need themselves,
   of the command line the keys. Once, before any thread is started. False when the kernel has no memory for it. */
bool vault_fill(struct vault *v, char **variables, const char *const *sets, size_t sets_count, struct complaint *why);
/* Plain copies for one load; vault_close wipes them. Any thread. */
bool vault_open(const struct vault *v, struct vault_words *out, struct complaint *why);
void vault_close(struct vault_words *words);
/* Runs fn(arg) on a thread of its own and waits for it. Its stack and its registers, which may hold pieces of what it read, are gone afterwards. */
bool vault_aside(void (*fn)(void *arg), void *arg, struct complaint *why);

/* ---- the machine (system.c) ---- */

/* Descriptors 0, 1 and 2 that were closed when we started become /dev/null: else the first sockets would get these numbers, and clients our log. */
void system_open_standard(void);
/* Threads worth having: CPU affinity and the cgroup's quota (v2 cpu.max, v1 cfs_quota_us), rounded up, at least 1. */
unsigned system_cpus(void);
/* Bytes of memory this process may have: the lowest limit from its cgroup up to the root (v2 memory.max, v1 limit_in_bytes), or what the machine has; 0 if
   nobody says. lines: /proc/self/cgroup; cgroups: /sys/fs/cgroup. */
uint64_t system_memory(const char *lines, const char *cgroups);
/* Raises the soft limit on open files to the hard one; returns what it is then. */
uint64_t system_raise_files(void);
/* "nginx (pid 42)" for who listens on this TCP port, as far as /proc shows it; false if nobody can be named. */
bool system_port_holder(uint16_t port, char *out, size_t room);
/* The folder of the running program, without a trailing slash; false if it cannot be told. */
bool system_program_dir(char *out, size_t room);
/* Writes a new file. False with errno's sentence; an existing one is only replaced if `replace`. */
bool system_write_file(const char *path, struct text content, bool replace, struct complaint *why);

/* ---- runtime folders (runtime.c) ---- */

#define PATH_MOST         448 /* bytes of a path here; a longer one is not used */
#define RUNTIME_SOCKETS_MAX 32

/* The folder for sockets and logs: $XDG_RUNTIME_DIR/weir, /run/weir for root, /tmp/weir-UID otherwise; made with mode 0700 and only taken if it is ours. */
bool runtime_dir(char *out, size_t room, struct complaint *why);
/* The admin sockets in all of these folders that somebody listens on. Returns how many. */
unsigned runtime_sockets(char out[RUNTIME_SOCKETS_MAX][SOCKET_PATH_MAX]);
/* The default folder's socket for this port. */
bool runtime_socket_path(uint16_t port, char out[SOCKET_PATH_MAX], struct complaint *why);
/* Where the local models are: $WEIR_LOCAL, local beside the program, /usr/lib/weir/local: the first that has llama-server. False: *looked tells where not. */
bool runtime_models_dir(char *out, size_t room, char *looked, size_t looked_room);

/* ---- systemd (notify.c) ---- */

/* "READY=1", … to $NOTIFY_SOCKET; nothing if there is none. */
void notify_systemd(const char *state);
/* That a reload or an upgrade has begun; READY=1 says that it is over. */
void notify_reloading(nanos now);

#endif
