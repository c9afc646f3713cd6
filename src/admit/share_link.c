/* share_link.c: what a connection over which limits are shared needs before it is used, and while it is: the scripts loaded, and a session that is refreshed. Called by
   share.c and serve/; net/redis_link.c keeps the connection. */
#include "admit/share_inner.h"
#include <stdio.h>
#include <string.h>

#define SESSION_NS    (15 * NANOS_PER_S) /* what a dead instance held counts for this long */
#define REFRESH_NS    (5 * NANOS_PER_S)
#define REPLY_MAX     65536              /* ours have hundreds of bytes */
#define OUT_MAX       (1u << 20)

/* What a script may be refused for (it was flushed, no memory, read-only) no later one will be spared: a new connection loads them again. */
void share_link_refused(struct share_link *share, const struct redis_reply *reply)
{
    char why[REDIS_TEXT_MAX + 32];
    if (!share->link.is_up)
        return;
    snprintf(why, sizeof why, "it refuses a script: %.*s", (int)reply->text_len, reply->text);
    redis_link_drop(&share->link, why);
}

void share_link_lost(struct share_link *share) { redis_link_drop(&share->link, "there is no memory for what it must be told"); }

/* ---- making a connection ---- */

static enum fail load_script(struct task *t, struct redis_link *link, struct text script, char out[SHARE_SHA_BYTES])
{
    struct redis_reply reply;
    struct text args[] = { TEXT("SCRIPT"), TEXT("LOAD"), script };
    enum fail f = redis_link_say(t, link, "it does not load scripts, or asks for a password", args, 3, &reply);
    if (f == OK && (reply.kind != REDIS_STRING || reply.text_len != SHARE_SHA_BYTES)) {
        snprintf(link->why, sizeof link->why, "it answers as no Redis does");
        f = FAIL_PROTOCOL;
    }
    if (f == OK)
        memcpy(out, reply.text, SHARE_SHA_BYTES);
    return f;
}

/* Who we are from now on: what the last connection held counts until its session ends. */
static void name_session(struct share_link *share)
{
    char digits[SHARE_SESSION_BYTES + 1];
    snprintf(digits, sizeof digits, "%016llx", (unsigned long long)worker_random(share->link.worker));
    memcpy(share->session, digits, sizeof share->session);
}

static enum fail refresh(struct task *t, struct redis_link *link)
{
    struct share_link *share = CONTAINER_OF(link, struct share_link, link);
    struct redis_reply reply;
    char key[sizeof SHARE_PREFIX + sizeof "session:" + SHARE_SESSION_BYTES], span[24];
    int n = snprintf(key, sizeof key, SHARE_PREFIX "session:%.*s", SHARE_SESSION_BYTES, share->session);
    int digits = snprintf(span, sizeof span, "%lld", (long long)(SESSION_NS / NANOS_PER_MS));
    struct text args[] = { TEXT("SET"), { key, (size_t)n }, TEXT("1"), TEXT("PX"), { span, (size_t)digits } };
    return redis_link_say(t, link, "it takes no key of ours", args, 5, &reply);
}

static enum fail prepare(struct task *t, struct redis_link *link)
{
    struct share_link *share = CONTAINER_OF(link, struct share_link, link);
    enum fail f = load_script(t, link, text_of(share_take_script), share->take_sha);
    if (f == OK)
        f = load_script(t, link, text_of(share_settle_script), share->settle_sha);
    if (f == OK)
        f = load_script(t, link, text_of(share_note_script), share->note_sha);
    if (f != OK)
        return f;
    name_session(share);
    return refresh(t, link);
}

static const struct redis_use use = { .name = "redis", .reply_max = REPLY_MAX, .out_max = OUT_MAX, .tend_every = REFRESH_NS, .prepare = prepare, .tend = refresh };

/* ---- start and end ---- */

struct share_link *share_link_new(struct worker *w, struct redis_server *server, nanos wait)
{
    struct share_link *share = mem_zero(sizeof *share);
    if (share != NULL && redis_link_init(&share->link, w, server, &use, wait) == OK)
        return share;
    share_link_free(share);
    return NULL;
}

void share_link_free(struct share_link *share)
{
    if (share == NULL)
        return;
    redis_link_fini(&share->link);
    mem_free(share);
}
