/* announce.c: the lines `weir serve` begins with: what to paste, what was found, and what was not and why. */
#include "cli/cli.h"
#include "cli/serve.h"
#include "upstream/upstream.h"
#include "run/wait.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LOOK_NS      (20 * NANOS_PER_MS)
#define REACH_NS     (700 * NANOS_PER_MS) /* a backend that takes longer is told of as missing; discovery goes on asking */
#define LIST_NS      (500 * NANOS_PER_MS) /* and then for its list */
#define LINE_MAX_    2000
#define NAMES_SHOWN  6

struct announce {
    const struct serving *serving;
    struct gateway *gateway;
};

/* One backend's connect, to say what is wrong with it: discovery itself only says that there is no news. */
struct reach {
    struct fleet *fleet;
    const char *name;
    char why[DIAL_WHY_MAX]; /* "" = somebody is there */
};

static void say_why(struct reach *r, enum fail f, const struct dial *d, const struct endpoint *e)
{
    const char *unresolved = e != NULL ? atomic_load(&e->backend->name_why) : NULL;
    if (f == OK)
        r->why[0] = '\0';
    else if (f == FAIL_CONNECT)
        snprintf(r->why, sizeof r->why, "%s", d->why);
    else
        snprintf(r->why, sizeof r->why, "its name is not known%s%s", unresolved != NULL ? ": " : "", unresolved != NULL ? unresolved : "");
}

static void reach(struct task *t, void *arg)
{
    struct reach *r = arg;
    nanos until = t->worker->now + REACH_NS;
    struct roster *roster = fleet_roster(r->fleet);
    const struct endpoint *e = roster_endpoint(roster, text_of(r->name));
    struct dial d = { .first = 0 };
    struct conn *c;
    enum fail f = OK;
    while (e != NULL && e->addrs.count == 0 && f == OK && t->worker->now < until) {
        roster_unref(roster);
        f = task_sleep(t, t->worker->now + LOOK_NS);
        roster = fleet_roster(r->fleet);
        e = roster_endpoint(roster, text_of(r->name));
    }
    if (f == OK)
        f = e != NULL ? dial(t, e, until, &d, &c) : FAIL_NAME;
    if (f == OK)
        conn_free(c);
    say_why(r, f, &d, e);
    roster_unref(roster);
}

/* ---- words ---- */

struct line {
    char text[LINE_MAX_];
    size_t len;
    unsigned items, left_out;
};

static void line_item(struct line *l, const char *separator, const char *format, ...) PRINTF(3, 4);
static void line_item(struct line *l, const char *separator, const char *format, ...)
{
    char item[300];
    va_list args;
    if (l->items == NAMES_SHOWN) {
        l->left_out++;
        return;
    }
    va_start(args, format);
    vsnprintf(item, sizeof item, format, args);
    va_end(args);
    int n = snprintf(l->text + l->len, sizeof l->text - l->len, "%s%s", l->items > 0 ? separator : "", item);
    l->len = MIN(l->len + (size_t)n, sizeof l->text - 1);
    l->items++;
}

static void line_print(const struct line *l, const char *title)
{
    if (l->items > 0)
        printf("  %-8s %s", title, l->text);
    if (l->items > 0 && l->left_out > 0)
        printf(" and %u more", l->left_out);
    if (l->items > 0)
        putchar('\n');
}

/* An address that can be pasted: nobody connects to "all". */
static const char *base_url(const struct serving *s, char out[96])
{
    const char *host = s->conf->listen.host;
    bool v6 = strchr(host, ':') != NULL;
    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    snprintf(out, 96, "http%s://%s%s%s:%u/v1", s->conf->tls.context != NULL ? "s" : "", v6 ? "[" : "", host, v6 ? "]" : "", (unsigned)s->port);
    return out;
}

static bool is_for_chat(const char *model)
{
    return strstr(model, "embed") == NULL && strstr(model, "minilm") == NULL && strstr(model, "bge") == NULL;
}

/* ---- what was found ---- */

static bool is_listed(const struct roster *r)
{
    uint32_t count;
    (void)roster_models(r, &count);
    return count > 0;
}

/* Those of the store; *out_is_closed: there was one once. */
static uint32_t count_stored(struct gateway *g, bool *out_is_closed)
{
    struct keyring *ring = gateway_store(g) != NULL ? store_keys(gateway_store(g)) : NULL;
    uint32_t count = ring != NULL ? ring->count : 0;
    *out_is_closed = ring != NULL;
    keyring_unref(ring);
    return count;
}

static bool asks_who(const struct announce *a)
{
    bool is_closed;
    (void)count_stored(a->gateway, &is_closed);
    return is_closed || conf_asks_who(a->serving->conf);
}

static void print_found(const struct announce *a, const struct roster *r, const struct reach *reaches, unsigned count)
{
    static struct line models, missing; /* printed once in a process's life, and too large for a task's stack */
    const struct serving *s = a->serving;
    uint32_t names_count, endpoints_count;
    char url[96];
    const char *chat = NULL;
    const char *const *names = roster_models(r, &names_count);
    const struct endpoint *e = roster_endpoints(r, &endpoints_count);
    for (uint32_t i = 0; i < names_count; i++) {
        chat = chat == NULL && is_for_chat(names[i]) ? names[i] : chat;
        line_item(&models, ", ", "%s", names[i]);
    }
    for (unsigned i = 0; i < count; i++)
        if (reaches[i].why[0] != '\0')
            line_item(&missing, "; ", "%s: %s", reaches[i].name, reaches[i].why);
    for (uint32_t i = 0; i < endpoints_count; i++) {
        bool is_starting;
        const char *why = local_why(&e[i], &is_starting);
        if (why != NULL && !is_starting)
            line_item(&missing, "; ", "%s %s", e[i].conf->model, why);
    }
    if (chat != NULL)
        printf("  %-8s curl %s/chat/completions%s -d '{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n", "try", base_url(s, url),
               asks_who(a) ? " -H \"Authorization: Bearer $KEY\"" : "", chat);
    if (names_count == 0)
        line_item(&models, "", "none yet: weir goes on asking");
    line_print(&models, "models");
    line_print(&missing, "missing");
}

static void print_rest(const struct announce *a)
{
    const struct serving *s = a->serving;
    bool is_closed;
    uint32_t stored = count_stored(a->gateway, &is_closed);
    if (!asks_who(a))
        printf("  %-8s none: every %s may ask\n", "keys", s->conf->tls.client_ca != NULL ? "client with a certificate" : "program on this machine");
    else
        printf("  %-8s %u%s\n", "keys", s->conf->keys_count + stored, s->conf->jwt.verify_count > 0 ? ", and signed tokens" : "");
    if (s->admin >= 0)
        printf("  %-8s weir status, requests, explain, reload or drain --socket %s\n", "admin", s->socket);
    fflush(stdout);
}

/* ---- the task ---- */

static struct reach *reach_all(struct task *t, struct announce *a, unsigned *out_count)
{
    struct fleet *fleet = gateway_fleet(a->gateway);
    struct roster *r = fleet_roster(fleet);
    uint32_t count;
    const struct endpoint *e = roster_endpoints(r, &count);
    struct reach *reaches = mem_zero((count + 1) * sizeof *reaches);
    struct group g;
    group_init(&g, t);
    *out_count = 0;
    for (uint32_t i = 0; reaches != NULL && i < count; i++) {
        struct reach *one = &reaches[*out_count];
        *one = (struct reach){ .fleet = fleet, .name = e[i].backend->name }; /* a backend lives as long as the fleet */
        if (e[i].kind != CONF_KIND_LLAMA && group_start(&g, "announce", reach, one, NULL) == OK)
            ++*out_count;
    }
    roster_unref(r);
    if (group_wait(&g, g.started, t->worker->now + 2 * REACH_NS) != OK)
        *out_count = 0;
    group_end(&g);
    return reaches;
}

static bool any_reached(const struct reach *reaches, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (reaches[i].why[0] == '\0')
            return true;
    return false;
}

static void announce(struct task *t, void *arg)
{
    struct announce *a = arg;
    unsigned count = 0;
    char url[96];
    printf("weir %s serves %s\n", weir_version, base_url(a->serving, url));
    fflush(stdout);
    struct reach *reaches = reach_all(t, a, &count);
    nanos until = t->worker->now + LIST_NS;
    struct roster *r = fleet_roster(gateway_fleet(a->gateway));
    while (reaches != NULL && t->cancel == OK && any_reached(reaches, count) && !is_listed(r) && t->worker->now < until) {
        roster_unref(r);
        enum fail f = task_sleep(t, t->worker->now + LOOK_NS);
        r = fleet_roster(gateway_fleet(a->gateway));
        if (f != OK)
            break;
    }
    if (t->cancel == OK) {
        print_found(a, r, reaches, count);
        print_rest(a);
    }
    roster_unref(r);
    mem_free(reaches);
    mem_free(a);
}

enum fail announce_start(struct worker *w, struct gateway *g, const struct serving *s)
{
    struct announce *a = mem_zero(sizeof *a);
    if (a == NULL)
        return FAIL_NO_MEMORY;
    *a = (struct announce){ s, g };
    if (task_start(w, "announce", announce, a) == NULL) {
        mem_free(a);
        return FAIL_NO_MEMORY;
    }
    return OK;
}
