/* lag.c: how long what is ready waits for a worker. What comes while a turn runs waits until it ends: so a turn's length is the age that the oldest event behind it
   can have, and where a poll could not take all that was ready, it is the time since one could. While there is work a poll also has a moment by which it must be
   back, as Node.js' monitorEventLoopDelay has its timer: a processor that others use, or a quota that is spent, is noticed there. No system call is added.

   Smoothed over time and not over turns: one turn of 90 ms among a thousand short ones is what most events met. */
#include "run/lag.h"

#define PROBE_NS    (5 * NANOS_PER_MS)   /* a quarter of the least lag that anybody acts upon; what a poll sleeps less goes unseen */
#define SMOOTHED_NS (100 * NANOS_PER_MS) /* as long as a period of a cgroup's quota: within it lateness comes and goes without meaning */
#define LATE_MAX_NS (200 * NANOS_PER_MS) /* of one turn: a machine that was paused for an hour is forgotten as fast */
#define REST_NS     NANOS_PER_MS         /* a lag below is none, and an idle loop sleeps */

/* lag, span later, if it was `value` all the while. */
static nanos smooth(nanos lag, nanos value, nanos span)
{
    return lag + (value - lag) * span / (span + SMOOTHED_NS);
}

nanos lag_look(const struct worker *w, nanos until)
{
    return w->probing ? MIN(until, w->ended + PROBE_NS) : until;
}

void lag_note(struct worker *w, nanos until, bool is_full)
{
    nanos overdue = w->now > MAX(until, w->ended) ? w->now - MAX(until, w->ended) : 0; /* until NEVER: never */
    nanos late = MIN(w->ended - w->emptied + overdue, LATE_MAX_NS);
    nanos rested = MIN(w->now - w->ended - overdue, NANOS_PER_S);
    w->lag = smooth(smooth(w->lag, late, late), 0, rested);
    if (!is_full)
        w->emptied = w->now;
    w->probing = w->events_count > 0 || w->lag > REST_NS;
}
