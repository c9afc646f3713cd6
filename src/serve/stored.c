/* stored.c: between the store and the workers: its keys reach every desk, and what is spent goes there and comes back at the next start. gateway.c opens it, and
   turns a desk to the keys as it does to a roster. */
#include "serve/serve.h"

struct auth *stored_auth(struct desk *d, const struct conf *conf)
{
    struct store *s = gateway_store(d->gateway);
    struct keyring *ring = s != NULL ? store_keys(s) : NULL;
    struct auth *a = auth_new(conf, ring);
    keyring_unref(ring);
    return a;
}

static void take_keys(struct worker *w, void *arg, uint64_t number)
{
    struct desk *d = w->owner;
    (void)arg, (void)number;
    atomic_store(&d->keys_called, false); /* before it looks: a change behind that calls again */
    d->keys_changed = true;
    d->read_again.fire(w, &d->read_again);
}

/* On the store's thread, or before there are workers. At most one letter a worker is under way. */
static void keys_changed(void *arg)
{
    struct gateway *g = arg;
    for (unsigned i = 0; i < gateway_workers(g); i++) {
        struct desk *d = gateway_worker(g, i)->owner;
        if (!atomic_exchange(&d->keys_called, true))
            mail_send(d->worker, take_keys, NULL, 0);
    }
}

/* ---- spend ---- */

static const enum spend_kind kinds[] = { [LIMIT_OF_KEY] = SPEND_KEY, [LIMIT_OF_TENANT] = SPEND_TENANT };

static void spent(void *arg, enum limit_owner owner, struct text name, nanos period_start, int64_t micros)
{
    store_spend(arg, kinds[owner], name, period_start / NANOS_PER_S, micros);
}

/* Without memory for it a budget begins anew: better than not to serve. */
static void restore(void *arg, enum spend_kind kind, struct text name, int64_t start, int64_t micro)
{
    enum limit_owner owner = kind == SPEND_KEY ? LIMIT_OF_KEY : LIMIT_OF_TENANT;
    if (limits_restore(gateway_limits(arg), owner, name, start * NANOS_PER_S, micro) != OK)
        log_line(NULL, LOG_LEVEL_WARN, "store", "there is no memory for what \"%.*s\" has spent: its budget begins anew", TEXT_ARG(name));
}

enum fail stored_open(struct gateway *g, const struct gateway_options *o, struct store **out)
{
    const struct store_options options = { .world = o->world, .path = o->store, .make = o->store_named, .changed = keys_changed, .restore = restore, .arg = g };
    enum fail f = store_new(&options, out);
    if (f == OK)
        limits_on_spend(gateway_limits(g), spent, *out);
    return f;
}
