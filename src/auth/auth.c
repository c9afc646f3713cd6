/* auth.c: keys, and tokens that were seen before, by their SHA-256. What a request shows is hashed where it stands and kept nowhere. */
#define OPENSSL_API_COMPAT 0x10100000L /* SHA256_Init …: a fifth of the cost of fetching an EVP method for each key */
#include "auth/inner.h"
#include "run/task.h"
#include <openssl/sha.h>

#define PRESENTED_MAX 8192 /* bytes; providers' keys have up to 200, tokens one to four KiB */

struct auth {
    uint32_t references; /* the desk's, and one for each identity that it has lent */
    const struct conf *conf;
    struct keyring *ring;
    struct map by_hash; /* SHA-256 of a key -> its struct conf_key */
    struct seen seen;
};

static bool add_keys(struct auth *a, struct conf_key *keys, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (map_set(&a->by_hash, (struct text){ (const char *)keys[i].sha256, sizeof keys[i].sha256 }, &keys[i], NULL) != OK)
            return false;
    return true;
}

struct auth *auth_new(const struct conf *conf, struct keyring *ring)
{
    struct auth *a = mem_zero(sizeof *a);
    if (a == NULL)
        return NULL;
    a->references = 1;
    a->conf = conf_ref(conf);
    a->ring = keyring_ref(ring);
    map_init(&a->by_hash, 0); /* keyed by SHA-256: nobody can aim collisions */
    seen_init(&a->seen);
    if ((ring == NULL || add_keys(a, ring->keys, ring->count)) && add_keys(a, conf->keys, conf->keys_count)) /* the file's word is the last */
        return a;
    auth_free(a);
    return NULL;
}

void auth_free(struct auth *a)
{
    if (a == NULL || --a->references > 0)
        return;
    seen_fini(&a->seen);
    map_fini(&a->by_hash);
    keyring_unref(a->ring);
    conf_unref(a->conf);
    mem_free(a);
}

/* What was presented, without its scheme; at == NULL if nothing was. False: contradictory. */
static bool presented(const struct http_head *head, struct text *out, bool *out_is_bearer)
{
    struct text bearer = http_head_get(head, HEADER_AUTHORIZATION), plain = http_head_get(head, HEADER_X_API_KEY);
    if (http_head_times(head, HEADER_AUTHORIZATION) > 1 || http_head_times(head, HEADER_X_API_KEY) > 1)
        return false;
    if (bearer.at != NULL) {
        struct text scheme;
        bearer = text_trim(text_cut(bearer, ' ', &scheme));
        if (!text_eq_nocase(scheme, TEXT("bearer")))
            return false;
        if (plain.at != NULL && !text_eq_secret(plain, bearer))
            return false;
    }
    *out = bearer.at != NULL ? bearer : plain;
    *out_is_bearer = bearer.at != NULL;
    return true;
}

_Static_assert(KEY_SHA256_BYTES == SHA256_DIGEST_LENGTH, "one hash for keys and tokens");
static void sha256(struct text t, uint8_t out[KEY_SHA256_BYTES])
{
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, t.at, t.len);
    SHA256_Final(out, &ctx);
}

/* Without keys loopback is open to every program here, and a browser is one that obeys strangers: their pages can send to any address, and by a name that they lead
   to 127.0.0.1 (DNS rebinding) read the answer. What a page sends by POST, or to another host, carries its Origin (Fetch, 3.1), which it cannot change. */
static bool is_of_this_machine(struct text origin)
{
    struct text host;
    if (origin.at == NULL)
        return true; /* no page of a browser */
    if (text_starts(origin, TEXT("http://")))
        host = (struct text){ origin.at + 7, origin.len - 7 };
    else if (text_starts(origin, TEXT("https://")))
        host = (struct text){ origin.at + 8, origin.len - 8 };
    else
        return text_find(origin, TEXT("://")) > 0; /* a program that shows pages of its own; "null" hides whose it is */
    if (text_starts(host, TEXT("[::1]")))
        return true;
    (void)text_cut(host, ':', &host);
    if (text_eq(host, TEXT("localhost")) || text_ends(host, TEXT(".localhost")))
        return true;
    for (size_t i = 0; i < host.len; i++)
        if (host.at[i] != '.' && (host.at[i] < '0' || host.at[i] > '9'))
            return false;
    return text_starts(host, TEXT("127."));
}

struct identity identity_open(void)
{
    return (struct identity){ .role = CONF_ROLE_ADMIN, .priority = CONF_CLASS_NORMAL, .priority_max = CONF_CLASS_HIGH };
}

void identity_end(struct identity *who)
{
    struct identity was = *who;
    *who = (struct identity){ .role = CONF_ROLE_USER };
    token_give(was.token);
    auth_free(was.lender);
}

static struct identity lend_key(struct auth *a, const struct conf_key *k)
{
    a->references++;
    return (struct identity){ .is_known = true, .name = text_of(k->name), .tenant = text_of(k->tenant), .owner = k->has_tenant ? OWNER_TENANT : OWNER_KEY,
                              .role = k->role, .models = k->models, .priority = k->priority, .priority_max = k->priority_max, .limits = &k->limits,
                              .lender = a };
}

static struct identity lend_token(struct auth *a, struct token *k)
{
    struct identity who = k->who;
    a->references++;
    k->references++;
    who.lender = a;
    who.token = k;
    return who;
}

struct reading {
    const struct conf *conf;
    struct text token;
    nanos wall;
    struct token *out;
    const char *why;
    enum fail fail;
};

static void read_token(void *arg)
{
    struct reading *r = arg;
    r->fail = jwt_read(r->conf, r->token, r->wall, &r->out, &r->why);
}

static enum fail check_token(struct auth *a, struct worker *w, struct text token, struct text hash, struct identity *out_who, const char **out_why)
{
    struct token *k = seen_find(&a->seen, hash);
    if (k != NULL) {
        *out_why = token_untimely(k->exp, k->nbf, a->conf->jwt.skew, w->wall);
        if (*out_why != NULL)
            return FAIL_BAD_TOKEN;
        *out_who = lend_token(a, k);
        return OK;
    }
    struct reading r = { .conf = a->conf, .token = token, .wall = w->wall };
    task_call_loop(w, read_token, &r);
    *out_why = r.why;
    if (r.fail != OK)
        return r.fail;
    memcpy(r.out->sha256, hash.at, sizeof r.out->sha256);
    seen_add(&a->seen, r.out);
    *out_who = lend_token(a, r.out);
    token_give(r.out);
    return OK;
}

/* What everybody may, where nobody needs a key. */
static enum fail check_open(const struct auth *a, const struct http_head *head, struct identity *out_who)
{
    bool is_open = a->conf->tls.client_ca == NULL;
    if (is_open && (!is_of_this_machine(http_head_get(head, HEADER_ORIGIN)) || http_head_times(head, HEADER_ORIGIN) > 1))
        return FAIL_FOREIGN_PAGE;
    *out_who = identity_open();
    return OK;
}

enum fail auth_check(struct auth *a, struct worker *w, const struct http_head *head, struct identity *out_who, const char **out_why)
{
    struct text key;
    bool is_bearer;
    uint8_t hash[KEY_SHA256_BYTES];
    if (a == NULL)
        return FAIL_NO_MEMORY;
    if (!conf_asks_who(a->conf) && a->ring == NULL)
        return check_open(a, head, out_who);
    bool is_unread = a->ring != NULL && a->ring->is_unread;
    if (!presented(head, &key, &is_bearer))
        return FAIL_BAD_KEY;
    if (key.len == 0)
        return is_unread && !conf_asks_who(a->conf) ? FAIL_STORE : FAIL_NO_KEY;
    bool is_token = a->conf->jwt.verify_count > 0 && is_bearer && jwt_has_shape(key);
    if (key.len > PRESENTED_MAX) {
        *out_why = "The token is longer than 8 KiB.";
        return is_token ? FAIL_BAD_TOKEN : FAIL_BAD_KEY;
    }
    sha256(key, hash);
    struct text name = { (const char *)hash, sizeof hash };
    const struct conf_key *found = map_get(&a->by_hash, name);
    if (found != NULL && text_eq_secret(name, (struct text){ (const char *)found->sha256, sizeof found->sha256 })) {
        *out_who = lend_key(a, found);
        return OK;
    }
    if (is_token)
        return check_token(a, w, key, name, out_who, out_why);
    return is_unread ? FAIL_STORE : FAIL_BAD_KEY; /* it may well be one of those that nobody could read: not the client's mistake */
}

bool auth_may_use(const struct identity *who, struct text model)
{
    for (uint32_t i = 0; i < who->models.count; i++)
        if (text_eq(text_of(who->models.at[i]), model))
            return true;
    return who->models.count == 0;
}
