/* plan.h: a load test as a YAML file: weir's own form, the common subset of Artillery's, or the form of Azure Load Testing's plans with successCriteria.
   docs/loadtest_plans.md has every key. `weir bench run` reads one. What is not known is refused by its place: nothing is left out silently. */
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include "bench/load.h"
#include "bench/result.h"

#define PLAN_CRITERIA_MAX 64
#define PLAN_IN_FLIGHT    10000 /* load.users_max of an open loop that says none: half of the descriptors that a process usually has */

struct plan {
    struct load_plan load; /* its script is the plan's; its target is the caller's to fill: only url is known here */
    char url[512];         /* scheme, host and port: paths are the script's */
    char name[64];         /* the file's own, or the file's name without its ending */
    unsigned criteria_count;
    struct criterion criteria[PLAN_CRITERIA_MAX];
};

/* About 20 KiB: not for a task's stack. Reads the file and those it names (their paths begin at its folder). False with a sentence and its place in why, whose file is
   path itself; nothing is to be freed then. */
MUSTUSE bool plan_read(struct plan *out, const char *path, struct complaint *why);
void plan_fini(struct plan *p);
/* Makes every phase and the warm-up so many times as long: 0.05 turns minutes into seconds. Rates, users, pauses and limits stay. factor > 0. */
void plan_scale(struct plan *p, double factor);

#endif
