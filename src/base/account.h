/* account.h: one account for the memory of the process, with a ceiling (limits.memory). mem.c takes from it before it allocates, run/stack.c for the stacks of tasks;
   who is about to keep something large asks account_room first. No ceiling is set until account_limit: tests and commands that serve nobody have none.

   A thread takes credit in steps and spends it without an atomic, so what is accounted is what threads were granted: never less than what they hold,
   and at most 2 * ACCOUNT_STEP a thread more. */
#ifndef WEIR_ACCOUNT_H
#define WEIR_ACCOUNT_H

#include "base/base.h"

#define ACCOUNT_STEP ((int64_t)64 << 10) /* an atomic add is then paid once in some ten requests */

/* How far up each kind of memory may fill the account. What stands later still finds room when those before it have had all of theirs. */
enum account_share {
    ACCOUNT_BODIES, /* 5/8: bodies that arrive */
    ACCOUNT_WORK,   /* 7/8: what is done with them: trees, copies; and whatever is new: connections, requests */
    ACCOUNT_COMMON, /* 31/32: answers in flight, logs */
    ACCOUNT_PAGES,  /* all: what operators ask, who must see what goes on */
};

/* What bodies may have of a ceiling. */
static inline uint64_t account_bodies(uint64_t limit) { return limit / 8 * 5; }
/* Sets the ceiling in bytes; 0 = none. Below what is in use nothing is taken back: allocations fail until enough was freed. Any thread. */
void account_limit(uint64_t bytes);
uint64_t account_limit_now(void);
/* Bytes granted, without this thread's own credit: exact where there is one thread. */
uint64_t account_used(void);
/* Kept from new requests (above ACCOUNT_WORK). */
uint64_t account_reserve(void);
/* How often something was refused for want of room. */
uint64_t account_refused(void);

/* Room for one allocation of so many bytes, which this thread makes at once: it is in its credit. False if the share has none. */
MUSTUSE bool account_room(enum account_share share, size_t bytes);
/* More is granted than ACCOUNT_WORK may have: what is new is refused, and what is under way keeps to little. */
bool account_is_short(void);
/* Gives this thread's credit back: when it ends, and after each turn while memory is short. */
void account_settle(void);
/* What this thread allocates from here on is of this share, COMMON or PAGES; it is COMMON at first. The share it was. */
enum account_share account_as(enum account_share share);

/* ---- for mem.c and stack.c ---- */

extern _Thread_local int64_t account_credit;
MUSTUSE bool account_more(size_t bytes); /* the slow way of account_has */
void account_back(void);

/* True if this thread's credit holds so many bytes, now or after asking for more. Nothing is spent yet. */
static inline MUSTUSE bool account_has(size_t bytes)
{
    return LIKELY(account_credit >= (int64_t)bytes) || account_more(bytes);
}
static inline void account_spend(size_t bytes) { account_credit -= (int64_t)bytes; }
static inline void account_give(size_t bytes)
{
    account_credit += (int64_t)bytes;
    if (UNLIKELY(account_credit > 2 * ACCOUNT_STEP))
        account_back();
}

#endif
