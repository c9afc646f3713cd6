/* share_link.c: a worker's connection to Redis: its task connects, says who we are, loads the scripts, refreshes the session and pings. The circuit breaker around it:
   down after a lost connection or LATE_MAX late answers in a row, up after a PING in time. Called by share.c and serve/. */
#include "admit/share_inner.h"
#include "run/wait.h"
#include <stdio.h>
#include <string.h>

#define LATE_MAX      5
#define OPEN_WAIT_NS  (2 * NANOS_PER_S)     /* for a name, a connection, and each answer before the connection is used */
#define DEAD_NS       (1 * NANOS_PER_S)     /* a connection whose oldest command has no answer for this long is given up */
#define LOOK_NS       (250 * NANOS_PER_MS)  /* between looks at one that is up */
#define PAUSE_MIN_NS  (100 * NANOS_PER_MS)  /* between attempts, doubled after each up to the next; a quarter more at random, so that instances do not come in step */
#define PAUSE_MAX_NS  (5 * NANOS_PER_S)
#define STEADY_NS     (10 * NANOS_PER_S)    /* up for this long, the pauses begin anew: one that flaps is not asked, and told of, ever faster */
#define SESSION_NS    (15 * NANOS_PER_S)    /* what a dead instance held counts for this long */
#define REFRESH_NS    (5 * NANOS_PER_S)

/* ---- up and down ---- */

/* One line a process, whatever its workers see. */
static void tell_down(struct share_link *link)
{
    if (link->is_told)
        return;
    link->is_told = true;
    if (atomic_fetch_add(&link->share->away, 1) == 0)
        log_line(link->worker, LOG_LEVEL_WARN, "redis_away", "Redis: %s; until it answers again this instance counts its limits alone", link->why);
}

static void tell_up(struct share_link *link)
{
    if (!link->is_told)
        return;
    link->is_told = false;
    if (atomic_fetch_sub(&link->share->away, 1) == 1)
        log_line(link->worker, LOG_LEVEL_INFO, "redis_back", "Redis answers again: limits are shared");
}

static void go_down(struct share_link *link, const char *why)
{
    snprintf(link->why, sizeof link->why, "%s", why);
    link->is_up = false;
    tell_down(link);
    wait_wake_all(&link->waiting);
    if (link->keeper != NULL)
        task_wake(link->keeper);
}

bool share_link_is_away(struct share_link *link)
{
    if (link->is_up && atomic_load_explicit(&link->share->streak, memory_order_relaxed) >= LATE_MAX)
        go_down(link, "answers come too late");
    return !link->is_up;
}

void share_link_late(struct share_link *link)
{
    COUNT(link->worker, redis_late);
    if (atomic_fetch_add(&link->share->streak, 1) + 1 >= LATE_MAX)
        go_down(link, "answers come too late");
}

void share_link_answered(struct share_link *link)
{
    if (atomic_load_explicit(&link->share->streak, memory_order_relaxed) != 0)
        atomic_store(&link->share->streak, 0);
}

/* What a script may be refused for (it was flushed, no memory, read-only) no later one will be spared: the keeper makes a new connection. */
void share_link_refused(struct share_link *link, const struct redis_reply *reply)
{
    char why[REDIS_TEXT_MAX + 32];
    if (!link->is_up)
        return;
    snprintf(why, sizeof why, "it refuses a script: %.*s", (int)reply->text_len, reply->text);
    go_down(link, why);
    redis_close(link->redis, link->why);
}

static void on_closed(void *arg)
{
    struct share_link *link = arg;
    go_down(link, redis_why(link->redis));
}

/* ---- making a connection ---- */

static bool says_ok(const struct redis_reply *r) { return r->kind == REDIS_STATUS; }

/* One command before the connection is used; what: how a refusal begins. The answer's text is told only where it cannot have the password in it. */
static enum fail say(struct task *t, struct share_link *link, const char *what, const struct text *args, unsigned count, struct redis_reply *out)
{
    enum fail f = redis_ask(t, link->redis, args, count, t->worker->now + OPEN_WAIT_NS, out);
    if (f == OK && out->kind != REDIS_ERROR)
        return OK;
    snprintf(link->why, sizeof link->why, "%s%s", what, f == OK ? "" : ": no answer");
    return f == OK ? FAIL_PROTOCOL : f;
}

static enum fail log_in(struct task *t, struct share_link *link)
{
    const struct conf_redis *c = &link->share->conf->redis.server;
    struct redis_reply reply;
    char db[12];
    enum fail f = OK;
    struct text auth[] = { TEXT("AUTH"), text_of(c->user), text_of(c->password) };
    if (c->password != NULL && c->user == NULL)
        auth[1] = auth[2];
    if (c->password != NULL)
        f = say(t, link, "it does not take the user and password of redis.url", auth, c->user != NULL ? 3 : 2, &reply);
    struct text select[] = { TEXT("SELECT"), { db, (size_t)snprintf(db, sizeof db, "%u", (unsigned)c->db) } };
    return f == OK && c->db != 0 ? say(t, link, "it has no database of the number in redis.url", select, 2, &reply) : f;
}

static enum fail load_script(struct task *t, struct share_link *link, struct text script, char out[SHARE_SHA_BYTES])
{
    struct redis_reply reply;
    struct text args[] = { TEXT("SCRIPT"), TEXT("LOAD"), script };
    enum fail f = say(t, link, "it does not load scripts, or asks for a password", args, 3, &reply);
    if (f == OK && (reply.kind != REDIS_STRING || reply.text_len != SHARE_SHA_BYTES)) {
        snprintf(link->why, sizeof link->why, "it answers as no Redis does");
        f = FAIL_PROTOCOL;
    }
    if (f == OK)
        memcpy(out, reply.text, SHARE_SHA_BYTES);
    return f;
}

/* Who we are from now on: what the last connection held counts until its session ends. */
static void name_session(struct share_link *link)
{
    char digits[SHARE_SESSION_BYTES + 1];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)worker_random(link->worker));
    memcpy(link->session, digits, sizeof link->session);
}

/* FAIL_PROTOCOL with why, if it refuses. */
static enum fail refresh(struct task *t, struct share_link *link)
{
    struct redis_reply reply;
    char key[sizeof SHARE_PREFIX + sizeof "session:" + SHARE_SESSION_BYTES], span[24];
    int n = snprintf(key, sizeof key, SHARE_PREFIX "session:%.*s", SHARE_SESSION_BYTES, link->session);
    int digits = snprintf(span, sizeof span, "%lld", (long long)(SESSION_NS / NANOS_PER_MS));
    struct text args[] = { TEXT("SET"), { key, (size_t)n }, TEXT("1"), TEXT("PX"), { span, (size_t)digits } };
    return say(t, link, "it takes no key of ours", args, 5, &reply);
}

/* Out of line: the resolver's answer would lie on the keeper's stack for good. */
static __attribute__((noinline)) enum fail find(struct task *t, struct share_link *link, struct addrs *out)
{
    const struct conf *c = link->share->conf;
    struct dns_answer answer = { .why = NULL };
    const struct conf_redis *r = &c->redis.server;
    out->count = 1;
    if (addr_from_text(&out->at[0], text_of(r->host), r->port))
        return OK;
    enum fail f = dns_resolve(t, link->share->dns, c->dns.servers, text_of(r->host), r->port, t->worker->now + OPEN_WAIT_NS, &answer);
    if (f == OK)
        *out = answer.addrs;
    else
        snprintf(link->why, sizeof link->why, "%.100s does not resolve: %s", r->host, answer.why != NULL ? answer.why : fail_row(f)->text);
    return f;
}

static enum fail make(struct task *t, struct share_link *link)
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
    if (f == OK)
        f = load_script(t, link, text_of(share_take_script), link->take_sha);
    if (f == OK)
        f = load_script(t, link, text_of(share_settle_script), link->settle_sha);
    if (f == OK) {
        name_session(link);
        f = refresh(t, link);
    }
    return f;
}

/* ---- the keeper ---- */

/* A PING that is answered within redis.wait: then it is worth waiting for. */
static enum fail ping(struct task *t, struct share_link *link)
{
    struct redis_reply reply;
    struct text args[] = { TEXT("PING") };
    enum fail f = redis_ask(t, link->redis, args, 1, t->worker->now + link->wait, &reply);
    if (f == OK && says_ok(&reply)) {
        atomic_store(&link->share->streak, 0);
        link->is_up = true;
        tell_up(link);
    } else if (f == OK || f == FAIL_TIMEOUT) {
        snprintf(link->why, sizeof link->why, "a PING was not answered within redis.wait");
        tell_down(link);
    }
    return t->cancel;
}

/* Looks at a connection that is up until it goes down. */
static void watch_over(struct task *t, struct share_link *link)
{
    nanos refresh_at = t->worker->now + REFRESH_NS;
    while (t->cancel == OK && link->is_up && redis_is_open(link->redis)) {
        enum fail f = task_park(t, "redis", t->worker->now + LOOK_NS);
        nanos since = redis_waits_since(link->redis);
        if (f != OK && f != FAIL_TIMEOUT)
            return;
        if (since != NEVER && t->worker->now - since >= DEAD_NS) {
            redis_close(link->redis, "it does not answer");
            go_down(link, "it does not answer");
        } else if (link->is_up && t->worker->now >= refresh_at) {
            refresh_at = t->worker->now + REFRESH_NS;
            if (refresh(t, link) != OK)
                redis_close(link->redis, link->why);
        }
    }
}

/* Connects if need be, and asks whether it is there. */
static enum fail try_it(struct task *t, struct share_link *link)
{
    nanos since = redis_waits_since(link->redis);
    if (since != NEVER && t->worker->now - since >= DEAD_NS)
        redis_close(link->redis, "it does not answer");
    if (!redis_is_open(link->redis)) {
        enum fail f = make(t, link);
        if (f != OK && t->cancel == OK) {
            redis_close(link->redis, link->why);
            tell_down(link);
            return OK;
        }
    }
    return t->cancel != OK ? t->cancel : ping(t, link);
}

static void keep(struct task *t, void *arg)
{
    struct share_link *link = arg;
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
    struct share_link *link = CONTAINER_OF(self, struct share_link, start);
    link->keeper = task_start(w, "redis", keep, link);
    if (link->keeper == NULL)
        timer_set(w, self, w->now + PAUSE_MIN_NS);
}

struct share *share_new(const struct conf *conf, struct dns *dns)
{
    struct share *s = mem_zero(sizeof *s);
    if (s == NULL)
        return NULL;
    s->conf = conf_ref(conf);
    s->dns = dns;
    return s;
}

void share_free(struct share *s)
{
    if (s == NULL)
        return;
    conf_unref(s->conf);
    mem_free(s);
}

struct share_link *share_link_new(struct worker *w, struct share *s)
{
    struct share_link *link = mem_zero(sizeof *link);
    if (link == NULL || timer_own(w, 1) != OK) {
        mem_free(link);
        return NULL;
    }
    link->start.fire = start;
    link->share = s;
    link->worker = w;
    link->wait = s->conf->redis.wait;
    list_init(&link->waiting);
    link->redis = redis_new(w, on_closed, link);
    if (link->redis == NULL) {
        share_link_free(link);
        return NULL;
    }
    timer_set(w, &link->start, w->now);
    return link;
}

void share_link_free(struct share_link *link)
{
    if (link == NULL)
        return;
    ASSERT(link->keeper == NULL);
    timer_stop(link->worker, &link->start);
    timer_disown(link->worker, 1);
    redis_free(link->redis);
    mem_free(link);
}
