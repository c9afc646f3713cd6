/* stored.c: between the store and the workers: its keys reach every desk. gateway.c opens it, and turns a desk to the keys as it does to a roster. */
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

enum fail stored_open(struct gateway *g, const struct gateway_options *o, struct store **out)
{
    const struct store_options options = { .world = o->world, .path = o->store, .make = o->store_named, .changed = keys_changed, .arg = g };
    return store_new(&options, out);
}
