/* plan_inner.h: what the readers of plan files share: a reading in progress, values with their bounds, and tables of keys. Only plan*.c includes it. */
#ifndef WEIR_PLAN_INNER_H
#define WEIR_PLAN_INNER_H

#include "bench/plan.h"
#include "bench/script_inner.h"
#include "conf/tree.h"

#define PLAN_RATE_MAX 1e6            /* requests a second: above what one machine can send */
#define PLAN_SPAN_MAX (30 * 86400 * NANOS_PER_S) /* of anything: a month */

struct planning {
    struct plan *plan;
    struct script *script;
    struct complaint *why;
    const char *path;
    struct arena scratch;          /* the tree, and what lives no longer than the reading */
    enum template_syntax syntax;
    const struct tree *headers;    /* of every request; may be NULL */
    const struct script_options *options; /* native: what `ask` asks */
    struct text prefix;            /* the path of the target's own URL, before every path */
    struct step steps[SCRIPT_STEPS_MAX]; /* of the flow that is being read */
    struct text url;               /* of the request that is being read: its path as written; at NULL: not said */
    uint32_t step_count, loop_first; /* loop_first: UINT32_MAX outside a loop */
};

/* One key of one section: a row of plan_*.def. into is whatever the section fills. */
struct plan_key {
    const char *section, *name;
    bool (*read)(struct planning *p, const struct tree *value, void *into); /* NULL: known and not supported, what says why */
    const char *what;
};

/* Reads a map by the rows of its section, in the order of the rows, so that what comes first may be used by what follows. Unknown keys are refused first. */
MUSTUSE bool plan_walk(struct planning *p, const struct tree *map, const struct plan_key *keys, size_t count, const char *section, void *into);

/* All of these return false with a complaint. */
bool plan_refuse(struct planning *p, const struct tree *at, const char *format, ...) PRINTF(3, 4);
bool plan_refuse_memory(struct planning *p);
bool plan_text(struct planning *p, const struct tree *value, struct text *out);
bool plan_bool(struct planning *p, const struct tree *value, bool *out);
bool plan_count(struct planning *p, const struct tree *value, uint64_t least, uint64_t most, uint64_t *out);
bool plan_number(struct planning *p, const struct tree *value, double most, double *out); /* from 0 */
/* "10s", "5 min", or a bare number of `unit`. */
bool plan_span(struct planning *p, const struct tree *value, nanos unit, nanos *out);
/* The target: http(s)://host[:port][/prefix]. */
bool plan_url(struct planning *p, const struct tree *value);
bool plan_phase(struct planning *p, const struct tree *at, nanos span, double from, double to);
bool plan_criterion(struct planning *p, const struct tree *at, struct text text);
bool plan_criterion_pair(struct planning *p, const struct tree *at, struct text word, struct text bound);
bool plan_criteria(struct planning *p, const struct tree *value); /* one, or a list */
bool plan_name(struct planning *p, const struct tree *value);     /* of the run */
/* A file that the plan names, beside the plan; in scratch. */
const char *plan_file(struct planning *p, struct text name);
/* Passes on what is wrong with such a file, at the place that named it. */
bool plan_refuse_file(struct planning *p, const struct tree *at, const struct complaint *inner);
struct template_source plan_source(struct planning *p, const struct tree *at);

/* plan_flow.c: weight and name of one flow, and the list of its steps; at is where the flow stands. */
bool plan_flow(struct planning *p, const struct tree *at, struct text name, uint64_t weight, const struct tree *steps);
/* Makes a flow of p->steps, for forms whose flows have no list of steps. */
bool plan_flow_end(struct planning *p, const struct tree *at, struct text name, uint64_t weight);
/* plan_request.c: a call with this method is added to the steps. */
bool plan_call(struct planning *p, const char *method, const struct tree *value);
/* Parts of a request, for forms that say them in another way; in this order: path, body, headers. NULL without memory. */
struct request *plan_request_new(struct planning *p, const char *method);
/* A path, put behind the target's own; or a whole URL, whose host must be the target's. Says which api it is. */
bool plan_path(struct planning *p, const struct tree *value, struct request *r);
/* A text that may be JSON, or a JSON document as a tree. request: a struct request. */
bool plan_body(struct planning *p, const struct tree *value, void *request);
/* The common headers and these, a map or a list of "Name: value"; NULL: none. Then content-type for the body, if none of them is one. */
bool plan_headers(struct planning *p, const struct tree *headers, struct request *r);
/* What p->options say, as a step. */
bool plan_ask(struct planning *p, const struct tree *at, nanos think);
bool plan_add_step(struct planning *p, const struct tree *at, struct step step);

/* plan_values.c: a variable with one value or a list; columns of a CSV file. */
/* A JSON number, true, false or null. */
bool plan_is_bare(struct text t);
bool plan_variables(struct planning *p, const struct tree *map);
bool plan_payload(struct planning *p, const struct tree *payload);

/* The forms. root is a map. */
bool plan_native(struct planning *p, const struct tree *root);
bool plan_artillery(struct planning *p, const struct tree *root);
bool plan_azure(struct planning *p, const struct tree *root);

#endif
