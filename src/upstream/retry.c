/* retry.c: what happens behind a failed attempt: what it says about its backend, whether there is another, where and when. Called by produce.c.

   Another backend is asked at once. When all have been tried, or asked for a pause, one that failed quickly may be asked again: after a random wait that grows
   ("full jitter": M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog 2015), and not before it said that it wants to be. No slot is held
   meanwhile, and the request's deadline caps it all. docs/resilience.md has the table. */
#include "upstream/retry.h"
#include "stat/stat.h"

#define PAUSE_BASE_NS (100 * NANOS_PER_MS) /* by simulation: of those who meet a backend that is away for a second 94 % get through (with 50 ms 74 %, with 250 ms
                                              99 %, but a single random failure then costs 125 ms instead of 50) */
#define PAUSE_MAX_NS  NANOS_PER_S
#define HOLD_WAIT_NS  (5 * NANOS_PER_S)   /* a longer Retry-After is the client's to wait for: it may have something better to do */

bool retry_is_hopeless(const struct attempt_story *a)
{
    return a->fail == FAIL_UPSTREAM && (a->status == 401 || a->status == 403 || a->status == 404 || a->status / 100 == 3);
}

static bool is_busy(const struct attempt_story *a)
{
    return a->fail == FAIL_UPSTREAM && (a->status == 429 || a->status == 408);
}

/* What another attempt might mend. */
static bool is_retryable(enum fail f)
{
    return f == FAIL_CONNECT || f == FAIL_NAME || f == FAIL_RESET || f == FAIL_PROTOCOL || f == FAIL_TIMEOUT || f == FAIL_UPSTREAM;
}

/* A 4xx tells nothing: it is about the request, or about our key, or (429, 408) a pause is meant. */
static void tell_health(struct worker *w, struct backend *b, struct attempt_story *a)
{
    bool opened = false;
    if (a->fail == OK && a->status < 400)
        opened = backend_note(w, b, BACKEND_ANSWERED);
    else if (a->fail == FAIL_CONNECT || a->fail == FAIL_NAME || a->fail == FAIL_RESET)
        opened = backend_note(w, b, BACKEND_UNREACHABLE);
    else if (is_retryable(a->fail) && !is_busy(a) && !retry_is_hopeless(a))
        opened = backend_note(w, b, BACKEND_FAILED);
    if (is_busy(a) || a->retry_after > 0)
        backend_hold(w, b, a->retry_after);
    if (opened)
        a->breaker = "opened";
}

/* Would the same backend only fail again, or take as long again? */
static bool is_final(const struct call *call, const struct attempt_story *a)
{
    bool was_slow = a->fail == FAIL_CONNECT && a->ended - a->began >= call->conf->timeouts.connect / 2;
    return retry_is_hopeless(a) || was_slow || a->fail == FAIL_TIMEOUT || a->fail == FAIL_NAME;
}

void retry_note(struct worker *w, struct call *call, struct retry *r, struct attempt_story *a)
{
    struct backend *b = call->slot.backend;
    tell_health(w, b, a);
    r->tried |= backend_bit(b);
    if (is_final(call, a))
        r->never |= backend_bit(b);
    if (is_retryable(a->fail) && !retry_is_hopeless(a))
        pool_failed(call->claim.pool);
    else if (a->fail == OK && a->status < 400)
        pool_answered(call->claim.pool);
}

bool retry_may(struct worker *w, const struct call *call, enum fail f)
{
    const struct flight *fl = call->flight;
    if (fl->state != FLIGHT_WAITING || !is_retryable(f) || fl->attempt_count >= MIN(call->conf->retries.attempts, FLIGHT_ATTEMPTS_MAX))
        return false; /* once content was committed the client has it */
    if (retry_is_hopeless(&fl->attempts[fl->attempt_count - 1]) || pool_may_retry(call->claim.pool))
        return true;
    COUNT(w, retries_throttled);
    return false;
}

nanos retry_pause(unsigned n, uint64_t random)
{
    nanos most = n < 8 ? MIN(PAUSE_BASE_NS << n, PAUSE_MAX_NS) : PAUSE_MAX_NS;
    return (nanos)(random % (uint64_t)most);
}

/* When to go back to a backend that was tried, or that asked for a pause; 0: never. */
static nanos when_again(struct worker *w, const struct call *call, struct retry *r)
{
    nanos pause = retry_pause(r->returns, worker_random(w)), when;
    if (pool_ready(call->claim.pool, r->never, w->now + pause, &when) == 0) /* all of them hold: a little after the first, or all who wait come at once */
        when = when == NEVER ? NEVER : when + pause;
    r->returns++;
    return when - w->now <= HOLD_WAIT_NS && when < call->deadline ? when : 0;
}

bool retry_take(struct task *t, struct call *call, struct retry *r)
{
    struct worker *w = t->worker;
    nanos none, since = w->now;
    uint64_t ready = pool_ready(call->claim.pool, r->tried, w->now, &none);
    if (ready == 0) {
        nanos when = when_again(w, call, r);
        if (when == 0 || task_sleep(t, when) != OK)
            return false;
        ready = pool_ready(call->claim.pool, r->never, w->now, &none);
    }
    r->paused = w->now - since;
    call->claim.exclude = ~ready;
    enum fail f = ready == 0 ? FAIL_NO_BACKEND : slot_take(t, &call->claim, &call->slot);
    flight_stands(call->flight, (struct flight_place){ 0 });
    if (f != OK)
        return false;
    COUNT(w, failovers);
    return true;
}
