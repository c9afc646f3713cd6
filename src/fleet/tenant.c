/* tenant.c: who was served how much: virtual token counters (Sheng et al., Fairness in Serving Large Language Models, OSDI 2024). Each tenant has a counter of the
   tokens it was served, and the one with the least goes first. Called by slots.c and queue.c inside the gate.

   What a request will take is charged when it is granted, from a foresight, and settled when the slot comes back: too little is added, too much is credit
   for the next ones. So counters only grow, and a place in a queue can be left as it is until somebody looks. Who comes back after a while is lifted to
   the least of those who wait, or, when nobody waits, to who was served last: time without wishes saves nothing up. */
#include "fleet/inner.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define LEAD_MAX (1u << 20) /* tokens: eight of the longest prompts. Who was served alone elsewhere is this much behind the others here, and no more */
#define COST_WEIGHT 8       /* as service times */

void tenants_init(struct fleet *f, uint64_t seed)
{
    struct tenants *all = &f->tenants;
    list_init(&all->idle);
    all->seed = seed;
    all->made = 1;
    list_init(&all->at[0].lines);
}

uint64_t tenant_id(const struct fleet *f, struct text name)
{
    return XXH3_64bits_withSeed(name.len > 0 ? name.at : "", name.len, f->tenants.seed); /* the seed never changes */
}

static uint32_t *bucket_of(struct tenants *all, uint64_t id) { return &all->buckets[id % TENANTS_MAX]; }

static void forget(struct tenants *all, const struct tenant *tn)
{
    uint32_t *link = bucket_of(all, tn->id), mine = (uint32_t)(tn - all->at) + 1;
    while (*link != mine)
        link = &all->at[*link - 1].next;
    *link = tn->next;
}

/* A place for a new one, or NULL. */
static struct tenant *place(struct tenants *all)
{
    if (all->made < TENANTS_MAX)
        return &all->at[all->made++];
    struct node *oldest = list_pop(&all->idle);
    if (oldest == NULL)
        return NULL;
    struct tenant *tn = CONTAINER_OF(oldest, struct tenant, in_idle);
    forget(all, tn);
    return tn;
}

struct tenant *tenant_find(struct fleet *f, uint64_t id)
{
    struct tenants *all = &f->tenants;
    uint32_t *bucket = bucket_of(all, id);
    for (uint32_t i = *bucket; i != 0; i = all->at[i - 1].next)
        if (all->at[i - 1].id == id)
            return &all->at[i - 1];
    struct tenant *tn = place(all);
    if (tn == NULL)
        return &all->at[0];
    *tn = (struct tenant){ .id = id, .next = *bucket };
    list_init(&tn->lines);
    list_push(&all->idle, &tn->in_idle);
    *bucket = (uint32_t)(tn - all->at) + 1;
    return tn;
}

void tenant_use(struct fleet *f, struct tenant *tn)
{
    if (node_is_in(&tn->in_idle))
        list_remove(&f->tenants.idle, &tn->in_idle);
}

void tenant_rest(struct fleet *f, struct tenant *tn)
{
    if (tn->waiting == 0 && tn->held == 0 && tn != &f->tenants.at[0])
        list_push(&f->tenants.idle, &tn->in_idle);
}

/* Of those who wait; UINT64_MAX when nobody does. */
static uint64_t least_counter(struct fleet *f)
{
    uint64_t least = UINT64_MAX;
    LIST_EACH(&f->lanes, node) {
        struct lane *lane = CONTAINER_OF(node, struct lane, in_lanes);
        for (int c = 0; c < CONF_CLASSES; c++) {
            const struct line *first = queue_first_line(&lane->lines[c]);
            if (first != NULL)
                least = MIN(least, first->counter);
        }
    }
    return least;
}

void tenant_lift(struct fleet *f, struct tenant *tn)
{
    if (tn->waiting > 0)
        return;
    uint64_t least = least_counter(f);
    if (least == UINT64_MAX)
        least = f->tenants.level;
    if (tn->counter >= least)
        return;
    tn->credit -= MIN(tn->credit, least - tn->counter);
    tn->counter = least;
}

static void add(struct fleet *f, struct tenant *tn, uint64_t more)
{
    uint64_t least = least_counter(f), most = least == UINT64_MAX ? UINT64_MAX : least + LEAD_MAX;
    tn->counter = MAX(tn->counter, MIN(tn->counter + more, most));
}

void tenant_charge(struct fleet *f, struct tenant *tn, uint32_t tokens)
{
    uint64_t paid = MIN(tn->credit, tokens);
    tn->credit -= paid;
    add(f, tn, tokens - paid);
    f->tenants.level = tn->counter;
}

void tenant_settle(struct fleet *f, struct tenant *tn, uint32_t charged, uint64_t used)
{
    uint64_t cost = f->tenants.cost;
    f->tenants.cost = cost == 0 ? used : cost - cost / COST_WEIGHT + used / COST_WEIGHT;
    if (used > charged)
        add(f, tn, used - charged);
    else
        tn->credit = MIN(tn->credit + charged - used, LEAD_MAX);
}
