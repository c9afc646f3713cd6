/* account.c: how much memory the process may have, and who of its threads was granted how much of it. */
#include "base/account.h"
#include <stdatomic.h>

#define ROUNDING 4200 /* what malloc may add to one allocation: a page for mapped ones, and its header */

_Thread_local int64_t account_credit;
static _Thread_local enum account_share mine = ACCOUNT_COMMON;

static _Atomic int64_t granted;
static _Atomic int64_t limit; /* 0 = none */
static _Atomic uint64_t refused;

static int64_t ceiling_of(enum account_share share)
{
    int64_t all = atomic_load_explicit(&limit, memory_order_relaxed);
    if (all == 0)
        return INT64_MAX;
    return share == ACCOUNT_BODIES ? (int64_t)account_bodies((uint64_t)all) : share == ACCOUNT_WORK ? all / 8 * 7 : share == ACCOUNT_COMMON ? all - all / 32 : all;
}

/* Never past the ceiling, not even for a moment: two threads that both ask for the last bytes do not both get them. */
static bool grant(int64_t bytes, int64_t ceiling)
{
    int64_t before = atomic_load_explicit(&granted, memory_order_relaxed);
    do {
        if (bytes > ceiling - before)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&granted, &before, before + bytes, memory_order_relaxed, memory_order_relaxed));
    account_credit += bytes;
    return true;
}

static bool refuse(void)
{
    atomic_fetch_add_explicit(&refused, 1, memory_order_relaxed);
    return false;
}

bool account_more(size_t bytes)
{
    int64_t need = (int64_t)bytes - account_credit, ceiling = ceiling_of(mine);
    return grant(need + ACCOUNT_STEP, ceiling) || grant(need, ceiling) || refuse();
}

void account_back(void)
{
    int64_t surplus = account_credit - ACCOUNT_STEP;
    atomic_fetch_sub_explicit(&granted, surplus, memory_order_relaxed);
    account_credit = ACCOUNT_STEP;
}

void account_settle(void)
{
    atomic_fetch_sub_explicit(&granted, account_credit, memory_order_relaxed);
    account_credit = 0;
}

enum account_share account_as(enum account_share share)
{
    enum account_share was = mine;
    if (was == ACCOUNT_PAGES && share != was)
        account_settle(); /* what pages had left is no answer's */
    mine = share;
    return was;
}

bool account_room(enum account_share share, size_t bytes)
{
    if (bytes > INT64_MAX / 2)
        return refuse();
    int64_t ceiling = ceiling_of(share), need = (int64_t)bytes + ROUNDING - account_credit;
    if (need <= 0) /* credit was granted for everything: whether a body may have it is another question */
        return atomic_load_explicit(&granted, memory_order_relaxed) <= ceiling || refuse();
    return grant(need, ceiling) || refuse();
}

bool account_is_short(void)
{
    return atomic_load_explicit(&granted, memory_order_relaxed) > ceiling_of(ACCOUNT_WORK);
}

void account_limit(uint64_t bytes) { atomic_store(&limit, (int64_t)MIN(bytes, (uint64_t)INT64_MAX)); }
uint64_t account_limit_now(void) { return (uint64_t)atomic_load(&limit); }
uint64_t account_used(void) { return (uint64_t)MAX(atomic_load(&granted) - account_credit, 0); }
uint64_t account_reserve(void) { return account_limit_now() - account_limit_now() / 8 * 7; }
uint64_t account_refused(void) { return atomic_load(&refused); }
