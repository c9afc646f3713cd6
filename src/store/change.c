/* change.c: a task's side of the store: one change of the keys, handed to the writer's thread and waited for. */
#include "store/writer.h"
#include <stdio.h>

/* On the writer's thread, within its transaction. */
static void change_work(void *arg)
{
    struct change *c = arg;
    struct db *db = c->store->db;
    int64_t now = world_wall(c->store->options.world) / NANOS_PER_S;
    if (c->keys == NULL)
        c->fail = db_key_revoke(db, text_of(c->which), now, c->which, &c->why);
    for (uint32_t i = 0; c->keys != NULL && i < c->keys->keys_count && c->fail == OK; i++)
        c->fail = db_key_add(db, &c->keys->keys[i], now, &c->why);
}

enum fail change_submit(struct job_queue *q, struct job *job)
{
    struct store *s = CONTAINER_OF(q, struct store, queue);
    enum fail f = FAIL_BUSY;
    pthread_mutex_lock(&s->lock);
    if (list_count(&s->jobs) < STORE_QUEUE_MAX) {
        if (list_count(&s->jobs) == 0)
            s->first_job = world_now(s->options.world);
        list_push(&s->jobs, &job->node);
        pthread_cond_signal(&s->more);
        f = OK;
    }
    pthread_mutex_unlock(&s->lock);
    return f;
}

static void change_drop(void *arg)
{
    struct change *c = arg;
    if (c->keys != NULL)
        conf_unref(c->keys);
    mem_free(c);
}

/* Owns keys. */
static enum fail change(struct task *t, struct store *s, const struct conf *keys, struct text which, nanos deadline, char *out_name, struct complaint *why)
{
    bool abandoned;
    struct change *c = mem_zero(sizeof *c);
    if (c == NULL) {
        if (keys != NULL)
            conf_unref(keys);
        (void)complain(why, NULL, 0, 0, "no memory left");
        return FAIL_NO_MEMORY;
    }
    *c = (struct change){ .store = s, .keys = keys };
    snprintf(c->which, sizeof c->which, "%.*s", TEXT_ARG(which));
    enum fail f = job_run_on(t, &s->queue, "the store", change_work, change_drop, c, deadline, &abandoned);
    if (f != OK)
        (void)complain(why, NULL, 0, 0, f == FAIL_BUSY ? "too many changes wait for the store" : "%s", fail_row(f)->text);
    if (abandoned)
        return f;
    if (f == OK) {
        f = c->fail;
        *why = c->why;
        if (out_name != NULL)
            memcpy(out_name, c->which, sizeof c->which);
    }
    change_drop(c);
    return f;
}

enum fail store_key_add(struct task *t, struct store *s, const struct conf *keys, nanos deadline, struct complaint *why)
{
    CHECK(s, STORE);
    return change(t, s, conf_ref(keys), TEXT_NONE, deadline, NULL, why);
}

enum fail store_key_revoke(struct task *t, struct store *s, struct text which, nanos deadline, char *out_name, struct complaint *why)
{
    CHECK(s, STORE);
    return change(t, s, NULL, which, deadline, out_name, why);
}
