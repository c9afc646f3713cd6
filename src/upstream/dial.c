/* dial.c: a new connection to a backend: its addresses in turn, the proxy's tunnel, TLS. Called by conns.c and by `weir serve`'s first lines. */
#include "upstream/upstream.h"
#include "stat/stat.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Half of what is left, so that a black hole leaves time for the others; the last one has all of it. A first share of timeouts.connect / count
   would be too short for a far backend with many addresses, of which each one works. */
static nanos share_of(nanos now, nanos deadline, uint32_t left)
{
    return left <= 1 || deadline <= now ? deadline : now + (deadline - now) / 2;
}

/* "10.0.0.1:80: Connection refused; [::1]:80: no answer" of the addresses from first on. */
static void tell_tried(const struct endpoint *e, uint32_t first, const int *errors, uint32_t tried, char why[DIAL_WHY_MAX])
{
    char addr[64];
    size_t n = 0;
    if (e->proxy != NULL && tried > 0)
        n = (size_t)snprintf(why, DIAL_WHY_MAX, "its proxy %.*s cannot be reached: ", MIN((int)e->dial_host.len, 100), e->dial_host.at);
    for (uint32_t i = 0; i < tried && n < DIAL_WHY_MAX; i++)
        n += (size_t)snprintf(why + n, DIAL_WHY_MAX - n, "%s%s: %s", i > 0 ? "; " : "", addr_print(&e->addrs.at[(first + i) % e->addrs.count], addr),
                              errors[i] == 0 || errors[i] == ETIMEDOUT ? "no answer" : wire_error_text(errors[i]));
}

static enum fail connect_in_turn(struct task *t, const struct endpoint *e, nanos deadline, struct dial *d, struct conn **out)
{
    struct worker *w = t->worker;
    int errors[ADDRS_MAX] = { 0 };
    uint32_t count = e->addrs.count, first = d->first % count, i = 0;
    enum fail f;
    do {
        f = conn_open(t, &e->addrs.at[(first + i) % count], share_of(w->now, deadline, count - i), out, &errors[i]);
        d->error = errors[i];
    } while (f == FAIL_CONNECT && ++i < count && w->now < deadline); /* another failure is not about this address */
    if (f == OK)
        d->first = (first + i) % count;
    else if (f == FAIL_CONNECT)
        d->first = (first + 1) % count; /* the shares get smaller: another one has the largest next time */
    tell_tried(e, first, errors, i, d->why);
    if (i > 0 && f == OK)
        log_line(w, LOG_LEVEL_DEBUG, "connect", "%s: %s; then connected to address %u of %u", e->backend->name, d->why, d->first + 1, count);
    else if (f == FAIL_CONNECT)
        log_line(w, LOG_LEVEL_DEBUG, "connect", "%s: %s", e->backend->name, d->why);
    return f;
}

static enum fail tunnel(struct task *t, const struct endpoint *e, nanos deadline, struct dial *d, struct conn *c)
{
    char why[TUNNEL_WHY_MAX], addr[64];
    enum fail f = conn_tunnel(t, c, e->host, e->port, text_of(e->proxy->credentials), deadline, why);
    if (f == FAIL_CONNECT) {
        d->error = 0;
        snprintf(d->why, DIAL_WHY_MAX, "its proxy %.*s (%s): %s", MIN((int)e->dial_host.len, 100), e->dial_host.at, addr_print(&c->peer, addr), why);
        log_line(t->worker, LOG_LEVEL_DEBUG, "connect", "%s: %s", e->backend->name, d->why);
    }
    return f;
}

/* Never on without: whoever wrote https means it. */
static enum fail secure(struct task *t, const struct endpoint *e, nanos deadline, struct dial *d, struct conn *c)
{
    char addr[64];
    enum fail f = conn_secure(t, c, e->conf->tls, e->conf->url.host, d->session, deadline, &d->error);
    if (f == FAIL_CONNECT) {
        COUNT(t->worker, upstream_handshakes_failed);
        snprintf(d->why, DIAL_WHY_MAX, "%s: %s", addr_print(&c->peer, addr), wire_error_text(d->error));
        log_line(t->worker, LOG_LEVEL_WARN, "tls", "backend %s: %s", e->backend->name, wire_error_text(d->error));
    }
    return f;
}

enum fail dial(struct task *t, const struct endpoint *e, nanos deadline, struct dial *d, struct conn **out)
{
    struct conn *c;
    d->error = 0;
    d->why[0] = '\0';
    if (e->addrs.count == 0)
        return FAIL_NAME;
    enum fail f = connect_in_turn(t, e, deadline, d, &c);
    if (f != OK)
        return f;
    if (e->proxy != NULL)
        f = tunnel(t, e, deadline, d, c);
    if (f == OK && e->conf->tls != NULL)
        f = secure(t, e, deadline, d, c);
    if (f != OK) {
        conn_free(c);
        return f;
    }
    *out = c;
    return OK;
}
