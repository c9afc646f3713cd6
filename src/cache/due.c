/* due.c: when entries end: a hierarchical timing wheel (Varghese and Lauck, 1987, scheme 7) of three levels of 256 spans. An entry is in the list of its span, or
   of the 256 or 65,536 spans among which its own is, and comes down when that time begins. It serves to give memory back: finders look at `ends` themselves. */
#include "cache/inner.h"

#define SPAN_TICKS 16    /* 1.07 s */
#define SPANS_MAX  (1u << (8 * DUE_LEVELS))
#define FIRST      (1u << 31) /* due_prev of a list's first: which list */
#define HOLD_SPANS 32    /* empty ones that one hold passes */

static uint32_t span_of(const struct entry *e)
{
    return e->ends / SPAN_TICKS + 1; /* over when that span has begun */
}

static uint32_t *head_of(struct due *d, uint32_t list)
{
    return &d->head[list / DUE_SPANS][list % DUE_SPANS];
}

void due_add(struct cache *c, uint32_t index)
{
    struct due *d = &c->due;
    struct entry *e = entry_at(c, index);
    uint32_t span = MAX(span_of(e), d->span);
    span = MIN(span, d->span + SPANS_MAX - 1); /* half a year: looked at again then */
    uint32_t ahead = span - d->span, level = ahead < DUE_SPANS ? 0 : ahead < DUE_SPANS * DUE_SPANS ? 1 : 2;
    uint32_t list = level * DUE_SPANS + (span >> (8 * level)) % DUE_SPANS;
    uint32_t *head = head_of(d, list);
    e->due_next = *head;
    e->due_prev = FIRST | list;
    if (*head != POLICY_NONE)
        entry_at(c, *head)->due_prev = index;
    *head = index;
}

void due_remove(struct cache *c, uint32_t index)
{
    struct entry *e = entry_at(c, index);
    if (e->due_prev & FIRST)
        *head_of(&c->due, e->due_prev & ~FIRST) = e->due_next;
    else
        entry_at(c, e->due_prev)->due_next = e->due_next;
    if (e->due_next != POLICY_NONE)
        entry_at(c, e->due_next)->due_prev = e->due_prev;
}

/* The list to be emptied next in the current span: the upper levels' first, where one of their spans begins. NULL: all are empty. */
static uint32_t *next_list(struct due *d, uint32_t *out_level)
{
    for (uint32_t level = DUE_LEVELS; level-- > 0;) {
        if (d->span % (1u << (8 * level)) != 0)
            continue;
        uint32_t *head = &d->head[level][(d->span >> (8 * level)) % DUE_SPANS];
        *out_level = level;
        if (*head != POLICY_NONE)
            return head;
    }
    return NULL;
}

bool due_step(struct cache *c, uint32_t tick)
{
    struct due *d = &c->due;
    unsigned removed = 0, spans = 0;
    while (d->span <= tick / SPAN_TICKS) {
        uint32_t level, *head = next_list(d, &level);
        if ((head == NULL ? spans++ : removed++) >= (head == NULL ? HOLD_SPANS : HOLD_REMOVES))
            return true;
        if (head == NULL) {
            d->span++;
            atomic_store_explicit(&c->due_tick, d->span * SPAN_TICKS, memory_order_relaxed);
        } else if (level > 0) {
            uint32_t index = *head;
            due_remove(c, index);
            due_add(c, index);
        } else {
            c->counts.expired++;
            entry_remove(c, *head);
        }
    }
    return false;
}
