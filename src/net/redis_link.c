/* redis_link.c: a kept connection to Redis: its task connects, says who we are, prepares, pings and looks for answers that do not come; and the breaker. Called by
   admit/share_link.c, cache/shared.c and serve/. */
#include "net/redis_link.h"
#include "run/wait.h"
#include "stat/stat.h"
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define OPEN_WAIT_NS  (2 * NANOS_PER_S)     /* for a name, a connection, and each answer before the connection is used */
#define DEAD_NS       (1 * NANOS_PER_S)     /* a connection whose oldest command has no answer for this long is given up */
#define LOOK_NS       (250 * NANOS_PER_MS)  /* between looks at one that is up */
#define PAUSE_MIN_NS  (100 * NANOS_PER_MS)  /* between attempts, doubled after each up to the next; a quarter more at random, so that instances do not come in step */
#define PAUSE_MAX_NS  (5 * NANOS_PER_S)
#define STEADY_NS     (10 * NANOS_PER_S)    /* up for this long, the pauses begin anew: one that flaps is not asked, and told of, ever faster */
#define TELL_NS       (60 * NANOS_PER_S)    /* between lines that say why it is still away: a connection that is lost and then refused has two reasons, and one cause */
#define PLACE_BYTES   16384                 /* of a place's texts: redis.url has at most 1,024 */

struct redis_server {
    struct redis_place place;
    struct dns *dns;
    struct arena arena;
    _Atomic unsigned streak; /* late answers in a row, of all workers */
    _Atomic unsigned away;   /* links that have told so: the first and the last one log */
    _Atomic uint64_t told;   /* the reason that was logged last: a hash */
    _Atomic nanos told_at;
    struct redis_users {
        _Atomic(struct worker *) worker; /* NULL: it never had a link */
        atomic_bool is_told;             /* a letter is on its way */
        struct list links;               /* the worker's own */
    } users[WORKERS_MAX];                /* by the worker's index */
};

/* ---- up and down ---- */

static uint64_t hash_of(const char *why) { return XXH3_64bits(why, strlen(why)); }

/* It cannot be made, and for another reason than it was away for: a password that is not valid any more is nothing to wait for. Links that see the same say it once. */
static void tell_why(struct redis_link *link)
{
    struct redis_server *s = link->server;
    uint64_t why = hash_of(link->why);
    if (!link->is_told || why == link->told || link->worker->now - atomic_load(&s->told_at) < TELL_NS)
        return;
    link->told = why;
    if (atomic_exchange(&s->told, why) == why)
        return;
    atomic_store(&s->told_at, link->worker->now);
    log_line(link->worker, LOG_LEVEL_WARN, "redis_still_away", "Redis: %s", link->why);
}

/* One line a process, whatever its workers see. */
static void tell_down(struct redis_link *link)
{
    struct redis_server *s = link->server;
    if (link->is_told || link->use->is_quiet)
        return;
    link->is_told = true;
    link->told = hash_of(link->why);
    if (atomic_fetch_add(&s->away, 1) != 0)
        return;
    atomic_store(&s->told, link->told);
    atomic_store(&s->told_at, link->worker->now);
    log_line(link->worker, LOG_LEVEL_WARN, "redis_away", "Redis: %s; until it answers again this instance counts its limits alone, and shares no answers", link->why);
}

static void tell_up(struct redis_link *link)
{
    if (!link->is_told)
        return;
    link->is_told = false;
    if (atomic_fetch_sub(&link->server->away, 1) == 1)
        log_line(link->worker, LOG_LEVEL_INFO, "redis_back", "Redis answers again");
}

static void go_down(struct redis_link *link, const char *why)
{
    if (why != link->why)
        snprintf(link->why, sizeof link->why, "%s", why);
    link->is_up = false;
    tell_down(link);
    wait_wake_all(&link->waiting);
    if (link->keeper != NULL)
        task_wake(link->keeper);
}

bool redis_link_is_away(struct redis_link *link)
{
    if (link->is_up && atomic_load_explicit(&link->server->streak, memory_order_relaxed) >= REDIS_LATE_MAX)
        go_down(link, "answers come too late");
    return !link->is_up;
}

/* Whoever waits on this worker need not wait for the end of their time. */
static void end_waits(struct redis_users *u)
{
    LIST_EACH(&u->links, node)
        (void)redis_link_is_away(CONTAINER_OF(node, struct redis_link, node));
}

static void end_waits_letter(struct worker *w, void *arg, uint64_t number)
{
    struct redis_users *u = arg;
    (void)w, (void)number;
    atomic_store(&u->is_told, false);
    end_waits(u);
}

void redis_link_late(struct redis_link *link)
{
    struct redis_server *s = link->server;
    unsigned late = atomic_fetch_add(&s->streak, 1) + 1;
    if (late >= REDIS_LATE_MAX)
        end_waits(&s->users[link->worker->index]);
    for (unsigned i = 0; i < WORKERS_MAX && late == REDIS_LATE_MAX; i++) {
        struct worker *w = atomic_load(&s->users[i].worker);
        if (w != NULL && w != link->worker && !atomic_exchange(&s->users[i].is_told, true))
            mail_send(w, end_waits_letter, &s->users[i], 0);
    }
}

void redis_link_answered(struct redis_link *link)
{
    if (atomic_load_explicit(&link->server->streak, memory_order_relaxed) != 0)
        atomic_store(&link->server->streak, 0);
}

void redis_link_drop(struct redis_link *link, const char *why)
{
    if (!redis_is_open(link->redis))
        return;
    go_down(link, why);
    redis_close(link->redis, link->why);
}

static void on_closed(void *arg)
{
    struct redis_link *link = arg;
    go_down(link, redis_why(link->redis));
}

static void on_unasked(void *arg)
{
    struct redis_link *link = arg;
    link->use->unasked(link);
}

/* ---- making a connection ---- */

enum fail redis_link_say(struct task *t, struct redis_link *link, const char *what, const struct text *args, unsigned count, struct redis_reply *out)
{
    enum fail f = redis_ask(t, link->redis, args, count, t->worker->now + OPEN_WAIT_NS, out);
    if (f == OK && out->kind != REDIS_ERROR)
        return OK;
    snprintf(link->why, sizeof link->why, "%s%s", what, f == OK ? "" : ": no answer");
    return f == OK ? FAIL_PROTOCOL : f;
}

static enum fail log_in(struct task *t, struct redis_link *link)
{
    const struct redis_place *p = &link->server->place;
    struct redis_reply reply;
    char db[12];
    enum fail f = OK;
    struct text auth[] = { TEXT("AUTH"), text_of(p->user), text_of(p->password) };
    if (p->password != NULL && p->user == NULL)
        auth[1] = auth[2];
    if (p->password != NULL)
        f = redis_link_say(t, link, "it does not take the user and password of redis.url", auth, p->user != NULL ? 3 : 2, &reply);
    struct text select[] = { TEXT("SELECT"), { db, (size_t)snprintf(db, sizeof db, "%u", (unsigned)p->db) } };
    return f == OK && p->db != 0 ? redis_link_say(t, link, "it has no database of the number in redis.url", select, 2, &reply) : f;
}

/* Out of line: the resolver's answer would lie on the keeper's stack for good. */
static __attribute__((noinline)) enum fail find(struct task *t, struct redis_link *link, struct addrs *out)
{
    struct redis_server *s = link->server;
    struct dns_answer answer = { .why = NULL };
    out->count = 1;
    if (addr_from_text(&out->at[0], text_of(s->place.host), s->place.port))
        return OK;
    enum fail f = dns_resolve(t, s->dns, s->place.resolvers, text_of(s->place.host), s->place.port, t->worker->now + OPEN_WAIT_NS, &answer);
    if (f == OK)
        *out = answer.addrs;
    else
        snprintf(link->why, sizeof link->why, "%.100s does not resolve: %s", s->place.host, answer.why != NULL ? answer.why : fail_row(f)->text);
    return f;
}

static enum fail make(struct task *t, struct redis_link *link)
{
    struct addrs addrs;
    enum fail f = find(t, link, &addrs);
    for (uint32_t i = 0; i < addrs.count && (i == 0 ? f == OK : f == FAIL_CONNECT); i++) {
        f = redis_open(t, link->redis, &addrs.at[i], t->worker->now + OPEN_WAIT_NS);
        if (f != OK)
            snprintf(link->why, sizeof link->why, "it cannot be reached: %s", f == FAIL_CONNECT ? redis_why(link->redis) : fail_row(f)->text);
    }
    if (f == OK)
        f = log_in(t, link);
    if (f == OK && link->use->prepare != NULL)
        f = link->use->prepare(t, link);
    return f;
}

/* ---- the keeper ---- */

/* A PING that is answered in time: then it is worth waiting for. A subscriber's connection answers otherwise, and so tells as much. */
static enum fail ping(struct task *t, struct redis_link *link)
{
    struct redis_reply reply;
    struct text args[] = { TEXT("PING") };
    enum fail f = redis_ask(t, link->redis, args, 1, t->worker->now + link->wait, &reply);
    if (f == OK && reply.kind != REDIS_ERROR) {
        atomic_store(&link->server->streak, 0);
        link->is_up = true;
        tell_up(link);
    } else if (f == OK || f == FAIL_TIMEOUT) {
        snprintf(link->why, sizeof link->why, "a PING was not answered within redis.wait");
        tell_down(link);
    }
    return t->cancel;
}

static bool is_dead(const struct redis_link *link)
{
    nanos since = redis_waits_since(link->redis);
    return since != NEVER && link->worker->now - since >= DEAD_NS;
}

static nanos next_tend(const struct redis_link *link) { return link->use->tend_every > 0 ? link->worker->now + link->use->tend_every : NEVER; }

static void tend(struct task *t, struct redis_link *link)
{
    link->tend_at = next_tend(link);
    if (link->use->tend != NULL && link->use->tend(t, link) != OK && t->cancel == OK)
        redis_link_drop(link, link->why);
}

/* Looks at a connection that is up until it goes down. */
static void watch_over(struct task *t, struct redis_link *link)
{
    link->tend_at = next_tend(link);
    while (t->cancel == OK && link->is_up && redis_is_open(link->redis)) {
        enum fail f = task_park(t, "redis", MIN(t->worker->now + LOOK_NS, link->tend_at));
        if (f != OK && f != FAIL_TIMEOUT)
            return;
        if (is_dead(link))
            redis_link_drop(link, "it does not answer");
        else if (link->is_up && t->worker->now >= link->tend_at)
            tend(t, link);
    }
}

void redis_link_tend(struct redis_link *link)
{
    link->tend_at = link->worker->now;
    if (link->is_up && link->keeper != NULL) /* one that is down keeps its pause */
        task_wake(link->keeper);
}

/* Connects if need be, and asks whether it is there. */
static enum fail try_it(struct task *t, struct redis_link *link)
{
    if (is_dead(link))
        redis_close(link->redis, "it does not answer");
    if (!redis_is_open(link->redis)) {
        enum fail f = make(t, link);
        if (f != OK && t->cancel == OK) {
            redis_close(link->redis, link->why);
            tell_down(link);
            tell_why(link);
            return OK;
        }
    }
    return t->cancel != OK ? t->cancel : ping(t, link);
}

static void keep(struct task *t, void *arg)
{
    struct redis_link *link = arg;
    struct worker *w = t->worker;
    nanos pause = PAUSE_MIN_NS;
    while (try_it(t, link) == OK) {
        nanos began = w->now;
        if (link->is_up)
            watch_over(t, link);
        pause = w->now - began >= STEADY_NS ? PAUSE_MIN_NS : MIN(pause * 2, PAUSE_MAX_NS);
        if (task_sleep(t, w->now + pause + (nanos)(worker_random(w) % (uint64_t)(pause / 4))) != OK)
            break;
    }
    link->keeper = NULL;
}

/* ---- start and end ---- */

/* With the worker's first turn: a gateway that comes to nothing before that has no task to end. */
static void start(struct worker *w, struct timer *self)
{
    struct redis_link *link = CONTAINER_OF(self, struct redis_link, start);
    link->keeper = task_start(w, link->use->name, keep, link);
    if (link->keeper == NULL)
        timer_set(w, self, w->now + PAUSE_MIN_NS);
}

enum fail redis_link_init(struct redis_link *link, struct worker *w, struct redis_server *server, const struct redis_use *use, nanos wait)
{
    *link = (struct redis_link){ .server = server, .use = use, .wait = wait, .start.fire = start };
    struct redis_users *u = &server->users[w->index];
    if (atomic_load(&u->worker) == NULL && mail_own(w, 1) != OK) /* for good: a letter may come after its links are gone */
        return FAIL_NO_MEMORY;
    atomic_store(&u->worker, w);
    if (timer_own(w, 1) != OK)
        return FAIL_NO_MEMORY;
    link->worker = w;
    list_push(&u->links, &link->node);
    list_init(&link->waiting);
    struct redis_options o = { use->reply_max, use->out_max, on_closed, use->unasked != NULL ? on_unasked : NULL, link };
    link->redis = redis_new(w, &o);
    if (link->redis == NULL)
        return FAIL_NO_MEMORY;
    timer_set(w, &link->start, w->now);
    return OK;
}

void redis_link_fini(struct redis_link *link)
{
    ASSERT(link->keeper == NULL);
    if (link->worker == NULL)
        return;
    timer_stop(link->worker, &link->start);
    timer_disown(link->worker, 1);
    redis_free(link->redis);
    list_remove(&link->server->users[link->worker->index].links, &link->node);
    link->worker = NULL;
}

/* ---- the server ---- */

/* NULL stays NULL. False: no memory. */
static bool copy(struct redis_server *s, const char **text)
{
    if (*text == NULL)
        return true;
    *text = arena_copy(&s->arena, text_of(*text));
    return *text != NULL;
}

struct redis_server *redis_server_new(const struct redis_place *place, struct dns *dns)
{
    struct redis_server *s = mem_zero(sizeof *s);
    if (s == NULL)
        return NULL;
    arena_init(&s->arena, NULL, 0, PLACE_BYTES);
    for (unsigned i = 0; i < WORKERS_MAX; i++)
        list_init(&s->users[i].links);
    s->dns = dns;
    s->place = *place;
    if (copy(s, &s->place.host) && copy(s, &s->place.user) && copy(s, &s->place.password) && copy(s, &s->place.resolvers))
        return s;
    redis_server_free(s);
    return NULL;
}

void redis_server_free(struct redis_server *server)
{
    if (server == NULL)
        return;
    arena_wipe(&server->arena); /* the password */
    arena_fini(&server->arena);
    mem_free(server);
}
