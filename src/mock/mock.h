/* mock.h: a scriptable model server that also misbehaves on order: the upstream of tests, of the simulator and of benchmarks. Runs on any worker of either
   world. cli/mock.c starts it as `weir mock`. */
#ifndef WEIR_MOCK_H
#define WEIR_MOCK_H

#include "run/loop.h"

#define MOCK_TOKENS_MAX 1000000
#define MOCK_SLOTS_MAX  1000000
#define MOCK_DIM_MAX    16384   /* the largest public embedding has 8192 */
#define MOCK_MODELS_MAX 64
#define MOCK_NAME_MAX   128     /* bytes of a model's name */
#define MOCK_FAULTS_MAX 32      /* --fault options; each kind may come several times with another rate */
#define MOCK_TRACE_MAX  1000000 /* lines of a trace */

/* A span that may vary. */
struct mock_span {
    enum { SPAN_FIXED, SPAN_LOGNORMAL, SPAN_EXPONENTIAL, SPAN_TRACE } kind;
    nanos span;   /* fixed: it; lognormal: its median; exponential: its mean */
    double sigma; /* lognormal: of the logarithm */
    nanos *trace; /* owned */
    uint32_t trace_count;
};

enum mock_fault_kind {
#define FAULT(id, name, parameters, what) MOCK_FAULT_##id,
#include "mock/faults.def"
#undef FAULT
    MOCK_FAULT_COUNT
};

struct mock_fault {
    enum mock_fault_kind kind;
    double rate;      /* 0..1 */
    uint64_t after;   /* requests that come first */
    int status;       /* STATUS only */
    int retry_after;  /* seconds; -1: none */
    bool first;       /* before any content */
    bool is_short;    /* WRONGLENGTH: too short instead of too long */
};

enum mock_dialect { MOCK_OPENAI, MOCK_OLLAMA, MOCK_ANTHROPIC, MOCK_ANY };

/* What a mock does. */
struct mock_script {
    struct mock_span ttft, itl;
    uint32_t tokens, slots, embedding_dim;
    enum mock_dialect dialect;
    uint64_t seed;
    uint32_t model_count; /* 0: mock-1 alone */
    char models[MOCK_MODELS_MAX][MOCK_NAME_MAX + 1];
    uint32_t fault_count;
    struct mock_fault faults[MOCK_FAULTS_MAX];
};

void mock_script_init(struct mock_script *s);
void mock_script_fini(struct mock_script *s);
MUSTUSE enum fail mock_script_copy(struct mock_script *to, const struct mock_script *from); /* `to` is not initialised before */
/* One option by its name in options.def. A trace's file is read, so not on a task's stack. False with a sentence in why; s is as before then. */
MUSTUSE bool mock_script_set(struct mock_script *s, struct text name, struct text value, struct complaint *why);
/* The members of a JSON object, each an option: numbers and strings as values; faults and models (also fault, model) are replaced by the array's strings.
   False with a sentence in why; s may then be half changed. */
MUSTUSE bool mock_script_set_json(struct mock_script *s, struct text json, struct complaint *why);

struct mock;

/* One per worker; copies the script. NULL when out of memory. */
struct mock *mock_new(struct worker *w, const struct mock_script *script) MUSTUSE;
/* On another worker: one server together with `other`: the same script, slots and statistics. Before the workers run. */
struct mock *mock_new_beside(struct worker *w, struct mock *other) MUSTUSE;
/* The listener stays the caller's and may be shared by workers. */
MUSTUSE enum fail mock_listen(struct mock *m, int listener);
/* Takes no new connections and cancels what it is answering. On its own worker. */
void mock_stop(struct mock *m);
void mock_free(struct mock *m); /* after its tasks have ended; takes NULL */

/* For tests that run it in their own process; any thread. */
struct mock_stats {
    uint64_t requests;  /* for a model: lists and the rig's own pages do not count */
    uint64_t streams;
    uint64_t completed; /* answered as the script had it, faults included */
    uint64_t cancelled; /* the client left first, from the queue too */
    uint32_t active, queued, max_active;
    nanos last_cancelled; /* a moment; NEVER if there was none */
    uint64_t faults[MOCK_FAULT_COUNT];
};
void mock_stats_read(struct mock *m, struct mock_stats *out);

#endif
