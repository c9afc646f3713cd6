/* flow.h: a flow file, read; and playing it. flow.c reads files and plays each in several ways; the format is in README.md. */
#ifndef WEIR_TESTS_FLOW_H
#define WEIR_TESTS_FLOW_H

#include "base/mem.h"
#include "lib/names.h"
#include "run/sim.h"
#include "stat/stat.h"

#define FLOW_BACKENDS_MAX 8
#define FLOW_SCRIPTS_MAX  64  /* clients and calls of one file: more is no longer one scenario */
#define FLOW_ACTS_MAX    512
#define FLOW_COUNTERS_MAX 16
#define FLOW_SIGNALS_MAX  32

enum side { CLIENT = 1, BACKEND = 2, BOTH = 3 };

enum verb {
#define ACT(id, word, who, arguments, what) VERB_##id,
#include "flow/acts.def"
#undef ACT
    VERB_COUNT
};

struct act {
    unsigned line;
    struct text source;     /* the line, for messages */
    enum verb verb;
    unsigned repeat;
    struct text words[3];   /* NAME, METHOD, PATH, TYPE and HEADER in their order */
    nanos spans[2];
    unsigned number;
    struct text body;       /* escapes and line ends are the final bytes */
    bool is_json;
    struct text headers;    /* of its `with` lines, each with CR LF */
};

/* What a client does, or what a backend does about one call. */
struct script {
    unsigned line;
    struct text name;
    enum side side;
    unsigned backend;       /* whose call it is */
    bool to_admin;
    unsigned repeat;
    unsigned first, count;  /* its acts */
    unsigned taken, ended;  /* calls: how often it was begun and finished */
};

enum manner { ANSWERS, REFUSES, SILENT };

struct flow_backend {
    unsigned line;
    struct text name, models; /* models: names between blanks */
    struct addr addr;
    enum manner manner;
};

struct flow_name {
    struct text name, says;
};

struct flow_counter {
    unsigned line;
    struct text source;
    enum counter counter;
    bool is_calls;          /* calls that reached any backend, discovery aside */
    uint64_t value;
};

struct flow {
    struct arena arena;
    struct text config;     /* NUL-terminated */
    struct flow_backend backends[FLOW_BACKENDS_MAX];
    struct script scripts[FLOW_SCRIPTS_MAX];
    struct act acts[FLOW_ACTS_MAX];
    struct flow_counter counters[FLOW_COUNTERS_MAX];
    struct flow_name names[NAMES_MAX];
    unsigned backend_count, script_count, act_count, counter_count, name_count;
};

/* Reads a file's content, which must outlive the flow. False with one line for a person in why. */
bool flow_parse(struct flow *f, struct text content, char *why, size_t room) MUSTUSE;

/* How the bytes travel. */
struct way {
    const char *name;
    uint64_t seed;
    struct sim_faults faults;
};
/* Plays it once. False with a report in `report`; the world is then left as it stood. */
bool flow_play(struct flow *f, const struct way *way, char *report, size_t room) MUSTUSE;

/* ---- match.c ---- */

/* * stands for any bytes. */
bool match_glob(struct text pattern, struct text t) MUSTUSE;
/* Equal as JSON values; in an expected string * stands for any characters, and a member "*" for any further members. False with where and what in why. */
bool match_json(struct text expected, struct text came, char *why, size_t room) MUSTUSE;
/* Equal bytes. False with the first difference in why. */
bool match_bytes(struct text expected, struct text came, char *why, size_t room) MUSTUSE;
/* Bytes for a person, control bytes escaped, at most `most` of them. Returns out. */
char *match_show(struct text t, size_t most, char *out, size_t room);

#endif
