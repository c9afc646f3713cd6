/* redis_peer.c: a Redis as tests play it. Called by tests/sim. */
#include "lib/redis_peer.h"
#include "lib/actor.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IN_BYTES  (4 * REDIS_PEER_BYTES) /* some commands */
#define OUT_BYTES (3 * REDIS_PEER_BYTES) /* a list, or an answer */
#define WORDS_MAX 32
#define LOOK_NS   NANOS_PER_MS

struct session {
    struct redis_peer *peer;
    struct actor actor;
    size_t got;
    char in[IN_BYTES];
    unsigned count;
    struct text word[WORDS_MAX];
    size_t out_len;
    char out[OUT_BYTES];
    bool is_subscribed;
    unsigned heard; /* of peer->published */
    unsigned id; /* 1 + its place in peer->sessions; 0: it has taken nothing */
};

static uint32_t draw(struct redis_peer *p, uint32_t below)
{
    p->chance = p->chance * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(p->chance >> 33) % below;
}

static bool strikes(struct redis_peer *p, unsigned per_mille) { return draw(p, 1000) < per_mille; }

static void say(struct session *s, const char *format, ...) PRINTF(2, 3);
static void say(struct session *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    s->out_len += (size_t)vsnprintf(s->out + s->out_len, sizeof s->out - s->out_len, format, args);
    va_end(args);
    ASSERT(s->out_len < sizeof s->out);
}

static void say_bytes(struct session *s, const char *bytes, size_t len)
{
    ASSERT(s->out_len + len < sizeof s->out);
    memcpy(s->out + s->out_len, bytes, len);
    s->out_len += len;
}

/* ---- one command ---- */

/* "*3\r\n" or "$5\r\n" at *at; moves behind it. False: not all there. */
static bool number(const struct session *s, size_t *at, char kind, size_t *out)
{
    const char *end = memchr(s->in + *at, '\n', s->got - *at);
    if (end == NULL)
        return false;
    ASSERT(s->in[*at] == kind); /* weir writes RESP */
    *out = strtoul(s->in + *at + 1, NULL, 10);
    *at = (size_t)(end - s->in) + 1;
    return true;
}

/* The first command's bytes, or 0 if it is not all there. */
static size_t parse(struct session *s)
{
    size_t at = 0, words, len;
    if (s->got == 0 || !number(s, &at, '*', &words))
        return 0;
    ASSERT(words <= WORDS_MAX);
    for (s->count = 0; s->count < words; s->count++) {
        if (at >= s->got || !number(s, &at, '$', &len) || s->got - at < len + 2)
            return 0;
        s->word[s->count] = (struct text){ s->in + at, len };
        at += len + 2;
    }
    return at;
}

static int64_t value(const struct session *s, unsigned i)
{
    uint64_t n = 0;
    bool is = text_to_u64(s->word[i], INT64_MAX, &n);
    return is ? (int64_t)n : -1;
}

static unsigned key_of(struct redis_peer *p, struct text name)
{
    ASSERT(name.len < sizeof p->keys[0].name);
    for (unsigned i = 0; i < p->key_count; i++)
        if (text_eq(text_of(p->keys[i].name), name))
            return i;
    ASSERT(p->key_count < REDIS_PEER_KEYS);
    memcpy(p->keys[p->key_count].name, name.at, name.len);
    return p->key_count++;
}

static unsigned session_of(struct redis_peer *p, struct text id)
{
    ASSERT(id.len == sizeof p->sessions[0].id);
    for (unsigned i = 0; i < p->session_count; i++)
        if (memcmp(p->sessions[i].id, id.at, id.len) == 0)
            return i;
    ASSERT(p->session_count < REDIS_PEER_SESSIONS);
    memcpy(p->sessions[p->session_count].id, id.at, id.len);
    p->sessions[p->session_count].is_open = true;
    return p->session_count++;
}

/* EVALSHA sha keys key... session tokens-or-requests money [used spent] (rpm tpm concurrency budget period)... */
static void run_script(struct session *s)
{
    struct redis_peer *p = s->peer;
    unsigned keys = (unsigned)value(s, 2), first = 3 + keys + 3, kind = 0, which = 0;
    if (s->word[1].at[0] == 's') {
        for (unsigned i = 0; i < keys; i++)
            p->keys[key_of(p, s->word[3 + i])].at_once--;
        p->settled++;
        p->sessions[session_of(p, s->word[3 + keys])].held--;
        say(s, ":0\r\n");
        return;
    }
    if (s->word[1].at[0] == 'n') {
        unsigned k = key_of(p, s->word[3]);
        ASSERT(keys == 1);
        p->keys[k].let_in += value(s, 5);
        p->noted += (unsigned)value(s, 5);
        say(s, "*1\r\n:%lld\r\n", (long long)p->keys[k].let_in * 1000);
        return;
    }
    for (unsigned i = 0; i < keys && kind == 0; i++) {
        unsigned k = key_of(p, s->word[3 + i]);
        int64_t rpm = value(s, first + 5 * i), places = value(s, first + 5 * i + 2);
        which = i;
        kind = rpm > 0 && p->keys[k].let_in >= rpm ? 1 : places > 0 && p->keys[k].at_once >= places ? 3 : 0;
    }
    for (unsigned i = 0; i < keys && kind == 0; i++) {
        unsigned k = key_of(p, s->word[3 + i]);
        p->keys[k].let_in++;
        p->keys[k].at_once++;
    }
    *(kind == 0 ? &p->taken : &p->refused) += 1;
    s->id = 1 + session_of(p, s->word[3 + keys]);
    p->sessions[s->id - 1].held += kind == 0;
    say(s, "*%u\r\n:%u\r\n:%u\r\n:0\r\n:1000\r\n", 4 + 2 * keys, kind, kind == 0 ? 0 : which);
    for (unsigned i = 0; i < 2 * keys; i++)
        say(s, ":0\r\n");
}

/* ---- strings and the list ---- */

/* count if it is not there, or over its time. */
static unsigned find(struct redis_peer *p, struct text name)
{
    unsigned i = 0;
    while (i < p->string_count && !(text_eq(text_of(p->strings[i].name), name) && p->strings[i].until > p->worker->now))
        i++;
    return i;
}

static void get(struct session *s)
{
    struct redis_peer *p = s->peer;
    unsigned i = find(p, s->word[1]);
    if (i == p->string_count) {
        say(s, "$-1\r\n");
        return;
    }
    say(s, "$%zu\r\n", p->strings[i].len);
    say_bytes(s, p->strings[i].bytes, p->strings[i].len);
    say(s, "\r\n");
}

static void left(struct session *s)
{
    unsigned i = find(s->peer, s->word[1]);
    say(s, ":%lld\r\n", i == s->peer->string_count ? -2LL : (long long)((s->peer->strings[i].until - s->peer->worker->now) / NANOS_PER_MS));
}

/* SET name bytes PX milliseconds */
static void set(struct session *s)
{
    struct redis_peer *p = s->peer;
    struct text name = s->word[1], bytes = s->word[2];
    unsigned i = 0;
    say(s, "+OK\r\n");
    if (!text_starts(name, TEXT("weir:cache:"))) /* sessions: nobody asks for them */
        return;
    while (i < p->string_count && !text_eq(text_of(p->strings[i].name), name))
        i++;
    ASSERT(i < REDIS_PEER_STRINGS && name.len < sizeof p->strings[i].name);
    if (i == p->string_count)
        memcpy(p->strings[p->string_count++].name, name.at, name.len);
    mem_free(p->strings[i].bytes);
    p->strings[i].bytes = mem_alloc(bytes.len + 1);
    ASSERT(p->strings[i].bytes != NULL);
    memcpy(p->strings[i].bytes, bytes.at, bytes.len);
    p->strings[i].len = bytes.len;
    p->strings[i].until = p->worker->now + value(s, 4) * NANOS_PER_MS;
}

static void push(struct redis_peer *p, struct text entry)
{
    ASSERT(entry.len <= sizeof p->list[0].bytes);
    memmove(&p->list[1], &p->list[0], sizeof p->list - sizeof p->list[0]);
    memcpy(p->list[0].bytes, entry.at, entry.len);
    p->list[0].len = entry.len;
    p->list_count = MIN(p->list_count + 1, REDIS_PEER_LIST);
}

/* EVAL script 1 list entry: reading the list is told from adding to it by what only that does. */
static void about_list(struct session *s)
{
    struct redis_peer *p = s->peer;
    bool is_drop = text_find(s->word[1], TEXT("PUBLISH")) >= 0;
    size_t len = 0;
    if (is_drop || p->list_count == 0)
        push(p, s->word[4]);
    p->published += is_drop;
    if (is_drop) {
        say(s, ":1\r\n");
        return;
    }
    for (unsigned i = 0; i < p->list_count; i++)
        len += p->list[i].len;
    say(s, "$%zu\r\n", len);
    for (unsigned i = 0; i < p->list_count; i++)
        say_bytes(s, p->list[i].bytes, p->list[i].len);
    say(s, "\r\n");
}

static void newest(struct session *s)
{
    struct redis_peer *p = s->peer;
    if (p->list_count == 0) {
        say(s, "$-1\r\n");
        return;
    }
    say(s, "$%zu\r\n", p->list[0].len);
    say_bytes(s, p->list[0].bytes, p->list[0].len);
    say(s, "\r\n");
}

static void subscribe(struct session *s)
{
    s->is_subscribed = true;
    s->heard = s->peer->published;
    say(s, "*3\r\n$9\r\nsubscribe\r\n$%zu\r\n%.*s\r\n:1\r\n", s->word[1].len, TEXT_ARG(s->word[1]));
}

void redis_peer_flush(struct redis_peer *p)
{
    for (unsigned i = 0; i < p->string_count; i++)
        mem_free(p->strings[i].bytes);
    memset(p->strings, 0, sizeof p->strings);
    p->string_count = p->list_count = 0;
}

static void obey(struct session *s)
{
    static const struct { const char *name; void (*run)(struct session *s); } commands[] = {
        { "EVALSHA", run_script }, { "GET", get }, { "PTTL", left }, { "SET", set }, { "EVAL", about_list }, { "LINDEX", newest }, { "SUBSCRIBE", subscribe },
    };
    struct text name = s->word[0];
    s->out_len = 0;
    if (s->peer->is_closed_to_us) {
        say(s, "-WRONGPASS\r\n");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (text_eq(name, text_of(commands[i].name))) {
            commands[i].run(s);
            return;
        }
    }
    if (text_eq(name, TEXT("SCRIPT"))) /* they are told apart by what only one of them does */
        say(s, "$40\r\n%c123456789012345678901234567890123456789\r\n",
            text_find(s->word[2], TEXT("used")) >= 0 ? 's' : text_find(s->word[2], TEXT("refuse")) >= 0 ? 't' : 'n');
    else if (text_eq(name, TEXT("ECHO")))
        say(s, ":%lld\r\n", (long long)value(s, 1));
    else if (text_eq(name, TEXT("PING")))
        say(s, s->is_subscribed ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+PONG\r\n");
    else
        say(s, "+OK\r\n");
}

/* ---- a connection ---- */

/* What was published since this one last heard. Messages may be lost with their connection, and with nothing else. */
static enum fail publish(struct task *t, struct session *s)
{
    static const char message[] = "*3\r\n$7\r\nmessage\r\n$16\r\nweir:cache:drops\r\n$0\r\n\r\n";
    enum fail f = OK;
    while (f == OK && s->is_subscribed && s->heard < s->peer->published && !s->peer->is_frozen) {
        s->heard++;
        f = actor_write_all(t, &s->actor, message, sizeof message - 1, NEVER);
    }
    return f;
}

/* False: it ends here. */
static bool answer(struct task *t, struct session *s)
{
    struct redis_peer *p = s->peer;
    static const char *const garbage[] = { "HTTP/1.1 400\r\n\r\n", "*17\r\n", "*1\r\n*1\r\n*1\r\n:1\r\n", ":12x\r\n", "$-7\r\n", "\r\n", "*99999999999999999999\r\n" };
    if (strikes(p, p->delay) && task_sleep(t, t->worker->now + draw(p, 30) * NANOS_PER_MS) != OK)
        return false;
    if (p->slow > 0 && task_sleep(t, t->worker->now + p->slow) != OK)
        return false;
    while (p->is_frozen && !p->is_gone)
        if (task_sleep(t, t->worker->now + LOOK_NS) != OK)
            return false;
    size_t len = s->out_len;
    if (strikes(p, p->garbage))
        len = (size_t)snprintf(s->out, sizeof s->out, "%s", garbage[draw(p, sizeof garbage / sizeof *garbage)]);
    bool is_cut = strikes(p, p->cut);
    if (actor_write_all(t, &s->actor, s->out, is_cut ? draw(p, (uint32_t)len + 1) : len, NEVER) != OK || is_cut)
        return false;
    return s->got > 0 || !strikes(p, p->extra) || actor_write_all(t, &s->actor, "+OK\r\n", 5, NEVER) == OK;
}

static void converse(struct task *t, void *arg)
{
    struct session *s = arg;
    enum fail f = OK;
    while (!s->peer->is_gone && (f == OK || f == FAIL_TIMEOUT)) {
        size_t n = 0, used;
        f = actor_read(t, &s->actor, s->in + s->got, sizeof s->in - s->got, t->worker->now + 10 * LOOK_NS, &n);
        if (f == OK && n == 0)
            break;
        if (publish(t, s) != OK)
            break;
        s->got += n;
        while (f == OK && (used = parse(s)) > 0) {
            obey(s);
            s->got -= used;
            memmove(s->in, s->in + used, s->got);
            if (!answer(t, s))
                f = FAIL_RESET;
        }
    }
    actor_close(&s->actor);
    if (s->id > 0)
        s->peer->sessions[s->id - 1].is_open = false;
    s->peer->connections--;
    mem_free(s);
}

static void listen_on(struct task *t, void *arg)
{
    struct redis_peer *p = arg;
    struct actor listener;
    ASSERT(actor_listen(p->worker, &listener, &p->addr) == OK);
    while (!p->is_gone) {
        struct session *s = mem_zero(sizeof *s);
        ASSERT(s != NULL);
        s->peer = p;
        enum fail f = actor_accept(t, &listener, &s->actor, t->worker->now + 10 * LOOK_NS);
        if (f != OK) {
            mem_free(s);
            continue;
        }
        p->connections++;
        p->connections_most = MAX(p->connections_most, p->connections - 1);
        ASSERT(task_start(p->worker, "redis peer", converse, s) != NULL);
    }
    actor_close(&listener);
    p->connections--;
}

void redis_peer_start(struct redis_peer *p)
{
    p->connections = 1; /* the listener */
    ASSERT(task_start(p->worker, "redis", listen_on, p) != NULL);
}

void redis_peer_stop(struct task *t, struct redis_peer *p)
{
    p->is_gone = true;
    while (p->connections > 0) {
        enum fail f = task_sleep(t, t->worker->now + LOOK_NS);
        ASSERT(f == OK);
    }
}
