/* wait.c: waitlists, groups and races. Called by tasks. */
#include "run/wait.h"

enum fail wait_in(struct task *t, struct list *list, const char *what, nanos deadline)
{
    list_push(list, &t->on_list);
    t->waits_in = list;
    enum fail f = task_park(t, what, deadline);
    if (t->waits_in != NULL) { /* it returned without parking */
        list_remove(list, &t->on_list);
        t->waits_in = NULL;
    }
    return f;
}

void wait_wake_one(struct list *list)
{
    struct node *first = list_first(list);
    if (first != NULL)
        task_wake(CONTAINER_OF(first, struct task, on_list));
}

void wait_wake_all(struct list *list)
{
    for (unsigned n = list_count(list); n > 0; n--)
        wait_wake_one(list);
}

void group_init(struct group *g, struct task *owner)
{
    CHECK(owner, TASK);
    g->owner = owner;
    list_init(&g->children);
    g->first_done = NULL;
    g->started = g->done = 0;
    g->awaited = false;
}

enum fail group_start(struct group *g, const char *name, task_fn *fn, void *arg, struct task **out_child)
{
    if (g->owner->cancel != OK)
        return g->owner->cancel;
    struct task *child = task_start(g->owner->worker, name, fn, arg);
    if (child == NULL)
        return FAIL_BUSY;
    child->deadline = g->owner->deadline;
    child->story = g->owner->story;
    child->group = g;
    list_push(&g->children, &child->in_group);
    g->started++;
    if (out_child != NULL)
        *out_child = child;
    return OK;
}

void group_child_ended(struct task *t)
{
    struct group *g = t->group;
    list_remove(&g->children, &t->in_group);
    if (g->done++ == 0)
        g->first_done = t;
    t->group = NULL;
    if (g->awaited)
        task_wake(g->owner);
}

static enum fail park_for(struct group *g, const char *what, nanos deadline)
{
    g->awaited = true;
    enum fail f = task_park(g->owner, what, deadline);
    g->awaited = false;
    return f;
}

enum fail group_wait(struct group *g, unsigned count, nanos deadline)
{
    ASSERT(count <= g->started);
    while (g->done < count) {
        enum fail f = park_for(g, "children", deadline);
        if (f != OK)
            return f;
    }
    return OK;
}

void group_end(struct group *g)
{
    struct task *owner = g->owner;
    LIST_EACH(&g->children, node)
        task_cancel(CONTAINER_OF(node, struct task, in_group), FAIL_CANCELLED);

    bool shield = owner->shield;
    owner->shield = true; /* children may stand on this stack: nothing ends this wait but their end */
    while (!list_is_empty(&g->children)) {
        enum fail f = park_for(g, "children ending", NEVER);
        ASSERT(f == OK);
    }
    owner->shield = shield;
}

enum fail race(struct task *t, const struct racer *racers, unsigned count, nanos deadline, unsigned *out_winner)
{
    struct task *children[RACERS_MAX];
    struct group g;
    ASSERT(count > 0 && count <= RACERS_MAX);

    group_init(&g, t);
    enum fail f = OK;
    for (unsigned i = 0; i < count && f == OK; i++)
        f = group_start(&g, racers[i].name, racers[i].fn, racers[i].arg, &children[i]);
    if (f == OK)
        f = group_wait(&g, 1, deadline);
    struct task *winner = g.first_done;
    group_end(&g);
    if (f != OK)
        return f;
    for (unsigned i = 0; i < count; i++)
        if (children[i] == winner)
            *out_winner = i;
    return OK;
}
