/* bench_scenario.h: what a scenario of `weir bench` has to work with: the words, the target asked once, and runs, of which it may make several. A scenario is a row of
   bench_scenarios.def and a function; bench.c calls it, judges its runs, and writes one report with one exit code over all. */
#ifndef WEIR_BENCH_SCENARIO_H
#define WEIR_BENCH_SCENARIO_H

#include "cli/bench.h"

#define BENCH_LEGS_MAX     64
#define BENCH_LEVELS_MAX   16
#define BENCH_EXIT_INVALID 3  /* the generator was the limit */

struct bench_list {
    double at[BENCH_LEVELS_MAX];
    unsigned count;
};

struct bench_scene;
struct bench_scenario {
    const char *name, *what;
    bool (*run)(struct bench_scene *s);
    struct bench_list levels, seconds;
    double warmup; /* seconds */
    const char *criteria;
};

/* One `weir bench` on its way. Large: one a process. */
struct bench_scene {
    const struct bench_scenario *row;
    const struct bench_words *words;
    struct bench_run *run;      /* target, script, workers, limits: ready. Before a leg its plan may be changed at will */
    struct pace_plan said;      /* of the command line: its level and duration replace the table's where they were given */
    double scale;               /* of all times */
    const char *save;           /* keep the runs under this name; NULL: do not */
    char name[48];              /* what the names of runs begin with */
    char live[400];             /* the live view's head */
    bool is_several;            /* legs are shown as lines of a table; set before the first one */
    unsigned leg_count;
    struct result *legs[BENCH_LEGS_MAX];
    bool is_judged[BENCH_LEGS_MAX]; /* true unless the scenario says that the criteria are not about this one */
    struct tally tally;         /* of the last leg: what its result has forgotten */
    bool has_tally;
    int code;                   /* where a function returned false: the exit code, with its sentence in why */
    struct complaint why;
};

/* Where a scenario's function fails: `return bench_scene_fail(s, EXIT_…, "…")`. */
bool bench_scene_fail(struct bench_scene *s, int code, const char *format, ...) PRINTF(3, 4);

/* ---- when ---- */

/* A level of the table, as --users or --rate has it. */
double bench_scene_level(const struct bench_scene *s, double level);
/* How long level i lasts, by table, --duration and --scale. */
nanos bench_scene_span(const struct bench_scene *s, unsigned i);
/* Empties the plan's pace, and sets the warm-up as the table has it. */
void bench_scene_begin(struct bench_scene *s);
/* Adds a phase to the plan's pace: users, or requests a second if --rate was given. False with a sentence: more users than descriptors. */
MUSTUSE bool bench_scene_phase(struct bench_scene *s, nanos span, double from, double to);

/* ---- doing ---- */

/* Runs the plan as it stands as one more run of the report, named "NAME name" (name "": NAME alone). *out belongs to the scene; a scenario may add levels, findings and
   its sentence (knee), and verdicts of its own. The criteria are judged when the scenario's function has returned. False: it could not be run. */
MUSTUSE bool bench_scene_leg(struct bench_scene *s, const char *name, struct result **out);
/* Adds what the last leg measured of one of its parts as a run of its own, whose rates are over all of the leg: told, and not judged. False: no memory is left. */
MUSTUSE bool bench_scene_part(struct bench_scene *s, const char *name, const struct tally *part, const struct result *whole);
/* Leaves only this one in the report; NULL: none. */
void bench_scene_keep(struct bench_scene *s, struct result *only);
/* The whole: calls the scenario's function, judges, prints, writes; the exit code. *s: row, words, run, scale and name are set. */
int bench_scene_play(struct bench_scene *s);
/* Somebody pressed Ctrl-C: what has been measured is reported, and no further leg is begun. */
bool bench_scene_is_stopped(void);

/* For a plan that verifies: asks the mock, the target's or --mock's, what its words hang on. False with the scene's sentence. */
MUSTUSE bool bench_verify_prepare(struct bench_scene *s);

/* ---- scenarios ---- */

/* The most requests a second of which 99 % are good, by search; its runs are not part of the report. False with a sentence: none, or the generator was the limit. */
MUSTUSE bool bench_find_capacity(struct bench_scene *s, double *out_rate);

#define SCENARIO(name, function, levels, seconds, warmup, criteria, what) bool function(struct bench_scene *s);
#include "cli/bench_scenarios.def"

/* What stands before a scenario's place on the command line: with the words behind it, the exit code. */
typedef int bench_verb(struct bench_scene *s, const char *const *at, size_t count);
#define VERB(name, function, words, what) bench_verb function;
#include "cli/bench_scenarios.def"

#endif
