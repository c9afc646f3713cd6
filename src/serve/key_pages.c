/* key_pages.c: keys of the store, through the admin socket: `weir key` asks. A key itself never comes here: its SHA-256 does, and its limits, as the configuration
   has them. */
#include "serve/serve.h"
#include "base/json.h"
#include <stdio.h>
#include <string.h>

#define CHANGE_NS (8 * NANOS_PER_S) /* less than `weir key` waits */

static enum fail need_store(struct request *rq, struct store **out)
{
    *out = gateway_store(rq->desk->gateway);
    return *out != NULL ? OK : because(rq, FAIL_NOT_IMPLEMENTED, "This weir keeps no keys: its store is off.");
}

static enum fail read_body(struct task *t, struct request *rq)
{
    const char *why;
    return http_body(t, rq->http, &why);
}

/* Letters to the workers are read in order: when a round has come back, each has read that the keys have changed. */
static void pass_by(struct desk *d, void *arg) { (void)d, (void)arg; }

/* ---- list ---- */

enum fail page_keys(struct task *t, struct request *rq, struct text rest)
{
    struct store *s;
    struct buf out;
    (void)rest;
    enum fail f = need_store(rq, &s);
    if (f != OK)
        return f;
    struct keyring *ring = store_keys(s);
    buf_init(&out, 4096 * (size_t)KEYRING_MAX);
    f = ring != NULL && ring->is_unread ? because(rq, FAIL_STORE, "The keys could not be read yet: weir status says why.") : keyring_print(ring, store_path(s), &out);
    keyring_unref(ring);
    if (f == OK)
        f = page_json(t, rq, 200, buf_text(&out));
    buf_fini(&out);
    return f;
}

/* ---- new ---- */

struct loading {
    struct buf body;
    const struct conf *conf;
    struct complaint why;
    bool ok;
};

/* On a job thread: reading YAML takes more stack than a task has. */
static void load_job(void *arg)
{
    struct loading *l = arg;
    const struct conf_options options = { .yaml = buf_text(&l->body), .keys_only = true };
    if (text_find(options.yaml, TEXT("${")) >= 0)
        l->ok = complain(&l->why, NULL, 0, 0, "a key's settings may not have ${ in them");
    else
        l->ok = conf_load(&options, &l->conf, &l->why);
}

static void loading_drop(void *arg)
{
    struct loading *l = arg;
    if (l->ok)
        conf_unref(l->conf);
    buf_fini(&l->body);
    mem_free(l);
}

static enum fail load(struct task *t, struct request *rq, const struct conf **out)
{
    bool abandoned;
    struct loading *l = mem_zero(sizeof *l);
    if (l == NULL)
        return FAIL_NO_MEMORY;
    l->body = rq->http->body;
    buf_init(&rq->http->body, 0);
    enum fail f = job_run(t, "the key's settings", load_job, loading_drop, l, NEVER, &abandoned);
    if (abandoned)
        return f;
    if (f == OK && !l->ok)
        f = because(rq, FAIL_BAD_FIELD, "%s", l->why.text);
    else if (f == OK && l->conf->keys_count != 1)
        f = because(rq, FAIL_BAD_FIELD, "One key is made at a time.");
    if (f == OK)
        *out = conf_ref(l->conf);
    loading_drop(l);
    return f;
}

static enum fail check_clash(struct request *rq, const struct conf_key *key)
{
    for (uint32_t i = 0; i < rq->conf->keys_count; i++) {
        const struct conf_key *k = &rq->conf->keys[i];
        if (strcmp(k->name, key->name) == 0 || memcmp(k->sha256, key->sha256, sizeof k->sha256) == 0)
            return because(rq, FAIL_BAD_FIELD, "The configuration has a key \"%s\": choose another name.", k->name);
    }
    return OK;
}

static enum fail answer_new(struct task *t, struct request *rq, const struct conf_key *key, struct store *s, bool closes)
{
    char fingerprint[KEYRING_FINGERPRINT];
    struct buf out;
    buf_init(&out, 4096);
    enum fail f = buf_printf(&out, "{\"name\":\"%s\",\"fingerprint\":\"%s\",\"closes\":%s,\"store\":", key->name, keyring_fingerprint(key->sha256, fingerprint),
                             closes ? "true" : "false");
    if (f == OK)
        f = json_add_string(&out, text_of(store_path(s)));
    if (f == OK)
        f = buf_add_text(&out, TEXT("}\n"));
    if (f == OK)
        f = page_json(t, rq, 200, buf_text(&out));
    buf_fini(&out);
    return f;
}

/* `closes`: until now everybody might ask here. */
static enum fail add(struct task *t, struct request *rq, struct store *s, const struct conf *conf)
{
    struct complaint why = { 0 };
    struct keyring *before = store_keys(s);
    bool closes = before == NULL && !conf_asks_who(rq->conf);
    keyring_unref(before);
    enum fail f = check_clash(rq, &conf->keys[0]);
    if (f != OK)
        return f;
    f = store_key_add(t, s, conf, t->worker->now + CHANGE_NS, &why);
    if (f != OK)
        return because(rq, f, "%s", why.text);
    gateway_each_desk(t, rq->desk->gateway, pass_by, NULL);
    return answer_new(t, rq, &conf->keys[0], s, closes);
}

enum fail page_key_new(struct task *t, struct request *rq, struct text rest)
{
    struct store *s;
    const struct conf *conf = NULL;
    (void)rest;
    enum fail f = need_store(rq, &s);
    if (f == OK)
        f = read_body(t, rq);
    if (f == OK)
        f = load(t, rq, &conf);
    if (f == OK)
        f = add(t, rq, s, conf);
    if (conf != NULL)
        conf_unref(conf);
    return f;
}

/* ---- revoke ---- */

static enum fail read_which(struct request *rq, struct text *out)
{
    yyjson_doc *doc;
    enum fail f = json_parse(&rq->http->arena, buf_text(&rq->http->body), &doc, NULL);
    yyjson_val *which = f == OK ? yyjson_obj_get(yyjson_doc_get_root(doc), "key") : NULL;
    *out = (struct text){ yyjson_get_str(which), yyjson_get_len(which) };
    if (f == OK && out->len == 0)
        f = because(rq, FAIL_BAD_FIELD, "Which key? The body has to be {\"key\": its name or fingerprint}.");
    for (uint32_t i = 0; f == OK && i < rq->conf->keys_count; i++)
        if (text_eq(*out, text_of(rq->conf->keys[i].name)))
            f = because(rq, FAIL_BAD_FIELD, "\"%s\" is a key of the configuration: take it out there, and reload.", rq->conf->keys[i].name);
    return f;
}

static enum fail revoke(struct task *t, struct request *rq, struct store *s, struct text which)
{
    struct complaint why = { 0 };
    char name[65], body[256];
    enum fail f = store_key_revoke(t, s, which, t->worker->now + CHANGE_NS, name, &why);
    if (f != OK)
        return because(rq, f, "%s", why.text);
    gateway_each_desk(t, rq->desk->gateway, pass_by, NULL);
    struct keyring *ring = store_keys(s);
    bool is_last = ring != NULL && ring->count == 0 && !conf_asks_who(rq->conf);
    keyring_unref(ring);
    int n = snprintf(body, sizeof body, "{\"name\":\"%s\",\"last\":%s}\n", name, is_last ? "true" : "false"); /* a name has no quotes: conf/ sees to it */
    return page_json(t, rq, 200, (struct text){ body, (size_t)n });
}

enum fail page_key_revoke(struct task *t, struct request *rq, struct text rest)
{
    struct store *s;
    struct text which;
    (void)rest;
    enum fail f = need_store(rq, &s);
    if (f == OK)
        f = read_body(t, rq);
    if (f == OK)
        f = read_which(rq, &which);
    return f == OK ? revoke(t, rq, s, which) : f;
}
