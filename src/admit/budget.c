/* budget.c: money in periods that follow each other since 1970 by the wall clock. A clock that is set back opens no period again; one that was far ahead for a while
   closes no budget for longer than one period. Called by limits.c. */
#include "admit/inner.h"
#include <math.h>

#define COST_MAX 1e13 /* $10,000 for one request: nothing costs that, and a million of them add up without an overflow */

static void begin(struct budget *b, nanos start, nanos now)
{
    b->start = start;
    b->opened = now;
}

void budget_pass(struct budget *b, nanos period, nanos now, nanos wall)
{
    nanos start = wall - wall % period;
    bool was_restored = b->period == 0, is_changed = b->period != period;
    b->period = period;
    if (was_restored ? start > b->start : !is_changed && (start > b->start || (start < b->start && now - b->opened >= period))) {
        b->spent = 0; /* what is held counts in the period in which it is settled */
        begin(b, start, now);
    } else if (is_changed) { /* a new length of period: what was spent stays until the next one */
        begin(b, MAX(start, was_restored ? b->start : 0), now);
    }
}

nanos budget_wait(const struct budget *b, nanos now, nanos wall)
{
    nanos by_wall = b->start + b->period - wall;
    return MAX(wall < b->start ? MIN(by_wall, b->opened + b->period - now) : by_wall, 0);
}

int64_t limits_cost(const struct conf_model *model, int64_t prompt_tokens, int64_t answer_tokens)
{
    if (model == NULL)
        return 0;
    double usd_per_million = (double)prompt_tokens * model->price.in.value + (double)answer_tokens * model->price.out.value;
    return llround(MIN(usd_per_million * (NANO_PER_USD / 1e6), COST_MAX));
}
