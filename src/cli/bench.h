/* bench.h: what the files of `weir bench` share: the command line's words, the target they name, and reports. Scenarios and plans use the same. */
#ifndef WEIR_CLI_BENCH_H
#define WEIR_CLI_BENCH_H

#include "bench/load.h"
#include "bench/result.h"
#include "cli/options.h"
#include "conf/conf.h"

#define BENCH_CRITERIA_MAX RESULT_VERDICTS_MAX
#define BENCH_URL          "http://127.0.0.1:4040" /* where weir serves, unless said */

/* The command line as it was written; NULL: not given. */
struct bench_words {
    const char *url;
    const char *users, *rate, *duration, *ramp, *arrivals, *seed, *warmup, *timeout, *think, *workers, *slo, *pid;
    const char *body, *prompts, *trace, *api, *key, *model, *max_tokens;
    const char *json, *csv, *html, *junit, *scale, *fail_on_regression, *metric;
    const char *mock, *requests, *zipf, *distinct, *turns, *keys, *direct;
    bool stream, new_connections, find_max;
    const char *criteria[BENCH_CRITERIA_MAX];
    size_t criteria_count;
};

/* Whom to ask, as the URL says. */
struct bench_target {
    char authority[300]; /* "http://host:port", for sentences */
    char host[256];      /* a name or an address, without brackets */
    uint16_t port;
    char path[1024];     /* empty: the API's own */
    char models[1024];   /* the path of the list of models */
    enum load_api api;
    char model[256];     /* empty: none was named */
    bool model_found;    /* by asking: worth a word */
    const struct conf *conf; /* holds what TLS needs; NULL: plain */
};

/* A run, ready to go. Large: one a process. */
struct bench_run {
    struct bench_target target;
    struct load_plan plan;
    struct criterion criteria[BENCH_CRITERIA_MAX];
    unsigned criteria_count, workers;
    pid_t pid;           /* 0: nobody said */
};

/* Words to a plan; in bench_plan.c. False with a sentence in why. What is sent needs the target's model, so its script follows bench_target_ask, and reads files. */
MUSTUSE bool bench_plan_read(struct bench_run *run, const struct bench_words *w, struct complaint *why);
MUSTUSE bool bench_plan_script(struct bench_run *run, const struct bench_words *w, struct complaint *why);
/* Replaces the script by one of prompts that are made up, asked by some askers (NULL: one). False with a sentence: the words say something else about what to send. */
MUSTUSE bool bench_plan_made(struct bench_run *run, const struct bench_words *w, const struct script_made *made, const struct script_asker *askers, unsigned asker_count,
                             struct complaint *why);
/* A number of the command line, least .. most; word NULL: *out stays as it is. False with a sentence. */
MUSTUSE bool bench_plan_count(const char *name, const char *word, uint64_t least, uint64_t most, uint64_t *out, struct complaint *why);

/* The key that goes with each request; word NULL: none. False with a sentence: no header can carry it. */
MUSTUSE bool bench_plan_key(struct load_target *target, const char *word, struct complaint *why);

/* The same from a plan file, whose times become `scale` times as long; out_name is its name. Nothing is left to be read afterwards. */
MUSTUSE bool bench_plan_file(struct bench_run *run, const char *path, double scale, const struct bench_words *w, char out_name[64], struct complaint *why);

/* The URL taken apart, api guessed from its path unless it is given; in bench_target.c. False with a sentence. */
MUSTUSE bool bench_target_read(struct bench_target *t, const char *url, const char *api, struct load_target *out, struct complaint *why);
/* Finds its addresses, keeps those where somebody answers, and asks for a model if one is needed. False with a sentence: nobody is there. */
MUSTUSE bool bench_target_ask(struct bench_target *t, struct load_target *out, struct complaint *why);
void bench_target_fini(struct bench_target *t);

/* "weir bench: WHY" on stderr; returns code. In bench.c, as the next two. */
int bench_fail(const struct complaint *why, int code);
/* Wrong use, in a sentence; returns EXIT_USAGE. */
int bench_refuse(const char *format, ...) PRINTF(1, 2);
/* False: an option was given that has no meaning for `what`; it has been refused, and *out_exit is the exit code. allowed: names, each between blanks. */
MUSTUSE bool bench_allows(const char *what, const char *allowed, int *out_exit);

/* Name, moment, machine; in bench_report.c. */
void bench_report_begin(struct result *r, const struct bench_run *run);
/* On stdout: one run's page; of several, each one's line as it ends, and what is said below them. */
void bench_report_print(const struct result *r);
void bench_report_print_line(const struct result *r, bool is_first);
void bench_report_print_end(const struct result *const *runs, unsigned count);
/* Writes the files that were asked for. False with a sentence. */
MUSTUSE bool bench_report_write(const struct result *const *runs, unsigned count, const struct bench_words *w, struct complaint *why);
/* Whether they can be written, before anything is measured. Makes them if they are not there. False with a sentence. */
MUSTUSE bool bench_report_check(const struct bench_words *w, struct complaint *why);
typedef enum fail bench_form(const struct result *const *runs, unsigned count, struct buf *out);
MUSTUSE bool bench_report_put(const char *path, bench_form *form, const struct result *const *runs, unsigned count, struct complaint *why);

/* ---- runs that are kept; in bench_store.c. False with a sentence. ---- */
/* May they be kept under this name? */
MUSTUSE bool bench_store_check(const char *name, struct complaint *why);
/* Behind those that it has already. */
MUSTUSE bool bench_store_add(const char *name, const struct result *const *runs, unsigned count, struct complaint *why);
/* A name, or any file. runs: room for RESULT_RUNS_MAX, each to be freed with mem_free. */
MUSTUSE bool bench_store_read(const char *name, struct result **runs, unsigned *out_count, struct complaint *why);

/* The server's processor time and memory, with its children's, once a second; in bench_server.c. */
struct bench_server;
struct bench_server *bench_server_new(pid_t pid) MUSTUSE; /* NULL: no memory, or there is no such process */
void bench_server_look(struct bench_server *s, nanos elapsed);
void bench_server_report(const struct bench_server *s, nanos window_span, struct result *r);
void bench_server_free(struct bench_server *s); /* takes NULL */
/* Right now, of the process and its children: NAN where they cannot be seen. */
void bench_server_now(pid_t pid, double *out_rss_mb, double *out_fds);

#endif
