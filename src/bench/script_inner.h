/* script_inner.h: what the files of a script share: how it is kept, and how its parts are read. Nobody but script*.c, template*.c, prompts.c, trace.c, capture.c
   and plan*.c includes it. */
#ifndef WEIR_SCRIPT_INNER_H
#define WEIR_SCRIPT_INNER_H

#include "base/json.h"
#include "base/random.h"
#include "bench/template.h"

#define SCRIPT_FILE_MAX    (256u << 20) /* bytes of one file that is read: a day of a large trace */
#define SCRIPT_ARENA_MAX   (1u << 30)   /* bytes of one script: its files as they are kept */
#define SCRIPT_NAMES_MAX   256          /* variables, columns and captured values */
#define SCRIPT_LINE_MAX    (4u << 20)   /* bytes of a line of prompts or of a trace: a prompt of a million tokens */
#define SCRIPT_TURNS_MAX   4096         /* of one conversation: four times the longest that is tested */
#define SCRIPT_HEARD_MAX   (32u << 20)  /* bytes of one session's conversation: what a request may weigh */
#define SCRIPT_LOOP_MAX    1000000      /* rounds */
#define CAPTURE_STEPS_MAX  16           /* parts of $.a.b[0].c */
#define CAPTURE_BYTES_MAX  65536        /* of a value that is taken from an answer */
#define CAPTURE_ARENA_MAX  (64u << 20)  /* an answer's JSON tree */

/* ---- values that have names ---- */

struct value {
    struct text text;
    bool is_bare; /* a number, true, false or null: in JSON it needs no quotes */
};

enum name_kind { NAME_VALUES, NAME_CAPTURED, NAME_PROMPT };

struct name {
    struct text name;
    enum name_kind kind;
    const struct value *values; /* VALUES: one of these for a session */
    uint32_t count, stride;     /* of them; from one to the next, so that a column of a table needs no copy */
    uint32_t group;             /* names of one group are chosen together: columns of one row */
    bool in_order;              /* the session's number chooses, not chance */
    uint32_t place;             /* CAPTURED: in the session's values */
};

/* ---- what is asked ---- */

/* $.a.b[0].c */
struct capture_step {
    struct text key; /* at NULL: an index */
    uint32_t index;
};
struct capture {
    struct capture_step steps[CAPTURE_STEPS_MAX];
    uint32_t step_count, name;
    struct capture *next;
};

enum body_kind { BODY_NONE, BODY_TEMPLATE, BODY_PROMPT }; /* PROMPT: what the api makes of the prompt */

struct request {
    enum load_api api;
    bool stream;
    enum body_kind kind;
    struct text method, model, content_type; /* of the body; at NULL: there is none. For whoever writes the headers */
    struct template path, headers, body;
    uint32_t max_tokens; /* 0: the prompt's own, or not said */
    const struct capture *captures;
};

enum step_kind { STEP_CALL, STEP_THINK, STEP_AGAIN };

struct step {
    enum step_kind kind;
    nanos think;                   /* THINK: this long; CALL: before each request of it */
    uint32_t first, rounds;        /* AGAIN: back to that step, until there were so many rounds */
    const struct request *request; /* CALL */
};

struct flow {
    struct text name;
    uint64_t weight;
    uint32_t step_count, calls_max; /* requests of a session at most */
    struct step *steps;
};

/* ---- prompts and traces ---- */

struct turn {
    struct text before;  /* messages that come before the user's, as JSON with a comma after each */
    struct text content; /* of the user's message */
    bool is_json;        /* content is JSON: parts and not a string */
};
struct prompt {
    struct turn *turns;
    uint32_t turn_count, max_tokens;
};
struct prompts {
    struct prompt *at;
    uint64_t count;
    uint32_t turns_max; /* of the longest */
    double *below;      /* a chance that the session's draw is compared with: of all up to this one; NULL: one after the other */
};

struct trace_row {
    uint32_t words, max_tokens;
    uint64_t first_hash; /* in hashes */
    uint32_t hash_count;
};
struct trace {
    struct trace_row *rows;
    nanos *moments;
    uint64_t *hashes;
    uint64_t count, hash_count;
};

struct script {
    uint32_t magic;
    struct arena arena;
    uint64_t seed, weight; /* weight: of all flows */
    uint32_t flow_count, name_count, group_count, captured_count;
    uint64_t calls_max;    /* of the longest flow: counters leave room for so many */
    struct prompts prompts;
    struct trace trace;
    struct flow flows[SCRIPT_FLOWS_MAX];
    struct name names[SCRIPT_NAMES_MAX];
};

/* NULL with a complaint: no memory. Without flows: script_add_flow must follow. */
struct script *script_new(uint64_t seed, struct complaint *why) MUSTUSE;
/* Takes up to SCRIPT_STEPS_MAX steps, copied. False when there is no memory; there must be room for the flow. */
MUSTUSE bool script_add_flow(struct script *s, struct text name, uint64_t weight, const struct step *steps, uint32_t step_count);
/* The name's place in s->names, or -1. */
int script_find_name(const struct script *s, struct text name);
/* Adds a name (copied) or finds it if it is a captured one already; NULL: there are too many, or it is taken. */
struct name *script_add_name(struct script *s, struct text name, enum name_kind kind) MUSTUSE;
/* A body's type by its first byte: JSON or text. */
struct text script_content_type(struct text body);
/* The turns that a session has: of its prompt. */
uint32_t script_turns(const struct script_session *x);
/* Reads prompts and trace, and adds the name "prompt". */
MUSTUSE bool script_read_files(struct script *s, const struct script_options *o, struct complaint *why);
/* What the options ask, in the script's arena, without headers; prefix stands before its path. NULL with a complaint. */
struct request *script_make_request(struct script *s, const struct script_options *o, struct text prefix, struct complaint *why);
/* What the path of a model's surface says: LOAD_OPENAI for .../chat/completions; LOAD_PLAIN for everything else. */
enum load_api script_api_of(struct text path);

/* A number that only these three decide. */
static inline uint64_t script_mix(uint64_t seed, uint64_t number, uint64_t what)
{
    uint64_t state = seed ^ (what * 0xd6e8feb86659fd93ULL);
    state = random_step(&state) ^ number;
    return random_step(&state);
}

/* Values that were taken from answers, one for each captured name; the session's own. */
struct captured {
    char *text; /* NULL: not yet */
    size_t len;
    bool is_bare;
};

/* The value of a name for this session; empty if nothing was captured yet. Not for NAME_PROMPT. */
struct value script_value(const struct script_session *x, const struct name *n);

/* prompts.c */
MUSTUSE bool prompts_read(struct script *s, const char *path, struct complaint *why);
/* The text of the session's turn, as a template's ${prompt} has it. */
MUSTUSE enum fail prompts_put(const struct script_session *x, enum template_place place, struct buf *out);
/* A body of the request's api for the session's turn. */
MUSTUSE enum fail prompts_write_body(const struct script_session *x, const struct request *r, struct buf *out);
/* Remembers this turn and its answer for the next one. */
MUSTUSE enum fail prompts_heard(struct script_session *x, struct text answer);

/* prompts_made.c */
MUSTUSE bool prompts_make(struct script *s, const struct script_made *made, struct complaint *why);

/* trace.c */
MUSTUSE bool trace_read(struct script *s, const char *path, struct complaint *why);
/* The words of the session's row. */
MUSTUSE enum fail trace_write(const struct script *s, uint64_t number, enum template_place place, struct buf *out);

/* capture.c */
/* NULL with *out_why: what is wrong with the path. Keys live in the script's arena. */
MUSTUSE bool capture_parse(struct script *s, struct text path, struct capture *out, const char **out_why);
/* Takes every captured value out of an answer. FAIL_BAD_JSON, FAIL_BAD_FIELD: it is not there. */
MUSTUSE enum fail capture_take(struct script_session *x, const struct capture *first, struct text answer);

#endif
