/* adapt.c: concurrency control of one backend. Called by slots.c for each slot that comes back.

   It counts who waits inside the backend, as TCP Vegas counts its packets in queues (Brakmo, O'Malley, Peterson 1994), but by Little's law on the time to first
   token: of a request's whole time, first - unloaded was spent waiting, so that share of those in flight waits. Between an eighth and a sixteenth of the limit
   is the aim. The way down goes by that count, so two windows follow a knee that fell to a quarter; the way up is an eighth a window.
   What else was tried is in tests/sim/test_adapt.c, with its table: AIMD (Chiu, Jain 1989) falls to 1 by noise, as a least time to first token is an outlier;
   the gradient of Netflix's concurrency-limits (gradient2) grows without end under lasting load, as its measure follows the load; its Vegas does both.
   Hence a measure taken anew at half the limit, and decisions only past three standard errors. */
#include "fleet/adapt.h"

#include <math.h>

#define WINDOW_MIN  16u   /* attempts a window has at least; else as many as the limit, so that all of its requests are seen */
#define LOOK_FIRST  4u    /* windows to the first look; then twice as many each time, as the measure gets better */
#define LOOK_EVERY  24u   /* at most: half the limit for one window in 24 costs 2 % */
#define LOOKS_MEAN  4u    /* looks that the measure is a mean of: it follows longer prompts within some */
#define SURE        3    /* standard errors that are no chance */
#define SATURATED   2    /* times as long as unloaded: from half the limit to all of it nothing was won, whoever waits where */
#define REFUSED_MAX 0.125 /* share of attempts that may be refused on top of those that are at half the limit */

static uint32_t step(uint32_t limit) { return 1 + limit / 8; }

/* A new window begins. */
static bool set(struct adapt *a, uint32_t limit, nanos now)
{
    uint32_t before = a->limit;
    a->limit = MIN(MAX(limit, 1u), (uint32_t)ADAPT_MAX);
    a->since = now;
    a->answered = a->refused = a->full = 0;
    a->first = a->squares = a->whole = a->in_flight = 0;
    return a->limit != before;
}

void adapt_begin(struct adapt *a, nanos now)
{
    *a = (struct adapt){ 0 };
    (void)set(a, ADAPT_FIRST, now);
}

/* What a window says. */
struct verdict {
    double refusing, refusing_error; /* share of its attempts, and the standard error of that */
    double first;    /* mean */
    double wait;     /* of that, waiting inside */
    double error;    /* standard error of first */
    double waiting;  /* requests */
    bool in_use;     /* most attempts found every slot taken: only then a higher limit could have been used */
};

static struct verdict judge(const struct adapt *a)
{
    double n = a->answered, all = n + a->refused;
    struct verdict v = { .refusing = a->refused / all, .in_use = a->full * 2 >= all };
    v.refusing_error = sqrt(v.refusing * (1 - v.refusing) / all);
    if (n > 0) {
        v.first = a->first / n;
        v.wait = a->unloaded > 0 ? v.first - a->unloaded : 0;
        v.error = sqrt(fmax(a->squares / n - v.first * v.first, 0) / n);
        v.waiting = a->in_flight / n * v.wait / fmax(a->whole / n, 1);
    }
    return v;
}

static bool look_ends(struct adapt *a, const struct verdict *v, nanos now)
{
    uint32_t kept = a->kept;
    a->kept = 0;
    a->looks = MIN(a->looks + 1, LOOKS_MEAN);
    a->refusing = v->refusing;
    if (a->answered > 0)
        a->unloaded += (v->first - a->unloaded) / MIN(a->looks + 1, LOOKS_MEAN);
    return set(a, kept, now);
}

/* Windows with free slots, and those before the first knee, tell what is unloaded, too. */
static void learn(struct adapt *a, const struct verdict *v)
{
    if (a->answered == 0)
        return;
    if (a->unloaded == 0)
        a->unloaded = v->first;
    else if (a->limit == 1)
        a->unloaded += v->wait / 2; /* nobody waits for himself */
    else if (!v->in_use || (!a->follows && v->wait < v->error))
        a->unloaded += v->wait / 4;
}

static bool look(struct adapt *a, uint32_t kept, nanos now)
{
    a->since_look = 0;
    a->kept = kept;
    return set(a, a->limit / 2, now);
}

static bool decide(struct adapt *a, nanos now)
{
    struct verdict v = judge(a);
    if (a->kept != 0)
        return look_ends(a, &v, now);
    uint32_t slack = step(a->limit);
    bool is_saturated = v.first > SATURATED * a->unloaded, is_refusing = v.refusing > a->refusing + REFUSED_MAX;
    if ((v.waiting > slack || is_saturated) && v.wait > SURE * v.error && a->limit > 1) {
        double surplus = fmax(v.waiting - slack / 2.0, is_saturated ? slack : 0);
        a->follows = true;
        return set(a, MAX(a->limit / 2, a->limit - (uint32_t)fmin(surplus, a->limit)), now);
    }
    if (is_refusing && v.refusing > a->refusing + SURE * v.refusing_error) {
        a->follows = true;
        return look(a, a->limit - MIN(slack, a->limit - 1), now); /* and if fewer are refused as often, it is not for their number */
    }
    learn(a, &v);
    if (v.in_use && ++a->since_look >= MIN(LOOK_FIRST << a->looks, LOOK_EVERY) && a->limit > 1)
        return look(a, a->limit, now);
    bool is_well = v.waiting < slack / 2.0 && v.first < (1 + SATURATED) / 2.0 * a->unloaded;
    if (!v.in_use || is_refusing || !(is_well || v.wait < v.error))
        return set(a, a->limit, now);
    return set(a, a->follows ? a->limit + slack : 2 * a->limit, now);
}

bool adapt_take(struct adapt *a, const struct adapt_sample *s, nanos now)
{
    if (s->began < a->since)
        return false;
    a->full += s->in_flight >= a->limit;
    if (s->is_refused) {
        a->refused++;
    } else {
        a->answered++;
        a->first += (double)s->first;
        a->squares += (double)s->first * (double)s->first;
        a->whole += (double)s->whole;
        a->in_flight += s->in_flight;
    }
    return a->answered + a->refused >= MAX(a->limit, WINDOW_MIN) && decide(a, now);
}
