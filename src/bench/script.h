/* script.h: what is sent: flows of steps, each a request from templates or a pause, filled with values from files, counters and chance. No I/O once it is open;
   one script serves all workers of a test, which only read it. */
#ifndef WEIR_SCRIPT_H
#define WEIR_SCRIPT_H

#include "base/buf.h"
#include "conf/conf.h"

#define SCRIPT_FLOWS_MAX 64
#define SCRIPT_STEPS_MAX 256 /* of one flow */

struct script;

/* How a body is asked and its answer read. */
enum load_api { LOAD_OPENAI, LOAD_OLLAMA, LOAD_QUERY, LOAD_PLAIN };

/* Prompts that nobody wrote: "Question 17: ...". */
struct script_made {
    uint32_t count;             /* different ones; 0: none are made */
    uint32_t turns;             /* of each conversation */
    double zipf;                /* the r-th (from 1) comes in proportion to r^-zipf (Zipf 1949), at temperature 0; 0: one after the other */
};
#define SCRIPT_MADE_MAX 1000000 /* turns of all of them */

/* One of several who ask the same: a flow by weight. */
struct script_asker {
    struct text name, key;      /* key: instead of the target's; empty: the target's */
    uint64_t weight;
    bool stream;
};

/* What the command line says about what to send; everything may be empty. Plans (plan.h) make scripts of their own. */
struct script_options {
    enum load_api api;
    struct text path, method;   /* empty: the api's own */
    struct text model;
    const char *body_file;      /* a template */
    const char *prompts_file;   /* a prompt a line, or JSONL with messages: several turns */
    const char *trace_file;     /* Azure's CSV or Mooncake's JSONL: lengths, prefixes and moments */
    bool stream;
    uint32_t max_tokens;        /* 0: the trace's, or not said */
    nanos think;                /* between two requests of one user */
    uint64_t seed;
    struct script_made made;    /* instead of prompts_file and trace_file */
    const struct script_asker *askers; /* of a scenario; NULL: one, as stream says */
    unsigned asker_count;       /* up to SCRIPT_FLOWS_MAX */
};
/* False with a sentence, and the file's line where there is one, in why. Reads files. */
MUSTUSE bool script_open(struct script **out, const struct script_options *o, struct complaint *why);
void script_free(struct script *s); /* takes NULL */

/* A trace's own arrivals, in nanoseconds since its first; NULL and 0 if there is no trace. They live as long as the script. */
const nanos *script_moments(const struct script *s, uint64_t *out_count);
unsigned script_flow_count(const struct script *s);
struct text script_flow_name(const struct script *s, unsigned flow);

/* One user's way through a flow. In the caller's memory; small, because there are thousands. */
struct script_session {
    const struct script *script;
    uint64_t number;       /* of the arrival, from 0: which prompt, which trace line, what counters say */
    uint64_t random;
    uint32_t flow, step, turn, loop;
    uint32_t calls;        /* requests made so far: with number, what a counter says */
    struct buf heard;      /* the conversation so far, and captured values; empty unless the flow needs them */
    void *values;          /* script.c's own; freed by script_end */
};
/* What to do next. Texts live in the buffer given to script_next, or as long as the script. */
struct script_call {
    nanos think;           /* wait this long before it */
    enum load_api api;
    bool stream;           /* an answer in events or lines is asked for */
    struct text method, path;
    struct text headers;   /* whole lines with their ends; without host, content-length and authorization */
    struct text body;
    bool wants_answer;     /* script_heard is to be told what the answer said */
    bool leaves;           /* at the first piece of a stream: the load test's own wish, scripts have none */
};
void script_begin(struct script_session *x, const struct script *s, uint64_t number);
/* The next call into *out, with its texts written into `body` (cleared first). *out_over: there is none, the flow is over; then out->think alone is set, a pause that
   the flow ends with. FAIL_TOO_LARGE (body's ceiling), FAIL_NO_MEMORY. */
MUSTUSE enum fail script_next(struct script_session *x, struct buf *body, struct script_call *out, bool *out_over);
/* The text of an answer (content of a model, or a whole body of LOAD_PLAIN), for conversations and captures. Not called if the request failed: the flow then ends.
   FAIL_BAD_JSON, FAIL_BAD_FIELD: what was to be captured is not there, so the flow ends too. */
MUSTUSE enum fail script_heard(struct script_session *x, struct text answer);
void script_end(struct script_session *x);
/* Which of the script's prompts the session has, from 0. */
uint64_t script_prompt(const struct script_session *x);

/* The whole file into *out, which is the caller's to fini if it worked. complaint's file is path: it must live as long as the complaint. */
MUSTUSE bool script_file_read(const char *path, struct buf *out, struct complaint *why);

#endif
