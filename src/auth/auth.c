/* auth.c: keys by their SHA-256. The plain key of a request is hashed where it stands and kept nowhere. */
#define OPENSSL_API_COMPAT 0x10100000L /* SHA256_Init …: a fifth of the cost of fetching an EVP method for each key */
#include "auth/auth.h"
#include "base/map.h"
#include <openssl/sha.h>

#define PRESENTED_KEY_MAX 4096 /* longer than any provider's key or JWT by far */

struct auth {
    const struct conf *conf;
    struct map by_hash; /* SHA-256 of a key -> its struct conf_key */
};

struct auth *auth_new(const struct conf *conf)
{
    struct auth *a = mem_zero(sizeof *a);
    if (a == NULL)
        return NULL;
    a->conf = conf;
    map_init(&a->by_hash, 0); /* keyed by SHA-256: nobody can aim collisions */
    for (uint32_t i = 0; i < conf->keys_count; i++) {
        struct conf_key *key = &conf->keys[i];
        if (map_set(&a->by_hash, (struct text){ (const char *)key->sha256, sizeof key->sha256 }, key, NULL) != OK) {
            auth_free(a);
            return NULL;
        }
    }
    return a;
}

void auth_free(struct auth *a)
{
    if (a == NULL)
        return;
    map_fini(&a->by_hash);
    mem_free(a);
}

/* What was presented, without its scheme; at == NULL if nothing was. False: contradictory. */
static bool presented(const struct http_head *head, struct text *out)
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
    return true;
}

static void sha256(struct text t, uint8_t out[SHA256_DIGEST_LENGTH])
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

static struct identity identity_of(const struct conf_key *k)
{
    return (struct identity){ .is_known = true, .name = text_of(k->name), .tenant = text_of(k->tenant), .role = k->role, .models = k->models,
                              .priority = k->priority, .priority_max = k->priority_max, .limits = &k->limits };
}

enum fail auth_check(const struct auth *a, const struct http_head *head, struct identity *out_who)
{
    struct text key;
    uint8_t hash[SHA256_DIGEST_LENGTH];
    if (a == NULL)
        return FAIL_NO_MEMORY;
    if (a->conf->keys_count == 0) {
        bool is_open = a->conf->tls.client_ca == NULL;
        if (is_open && (!is_of_this_machine(http_head_get(head, HEADER_ORIGIN)) || http_head_times(head, HEADER_ORIGIN) > 1))
            return FAIL_FOREIGN_PAGE;
        *out_who = identity_open();
        return OK;
    }
    if (!presented(head, &key))
        return FAIL_BAD_KEY;
    if (key.len == 0)
        return FAIL_NO_KEY;
    if (key.len > PRESENTED_KEY_MAX)
        return FAIL_BAD_KEY;
    sha256(key, hash);
    struct text name = { (const char *)hash, sizeof hash };
    const struct conf_key *found = map_get(&a->by_hash, name);
    if (found == NULL || !text_eq_secret(name, (struct text){ (const char *)found->sha256, sizeof found->sha256 }))
        return FAIL_BAD_KEY;
    *out_who = identity_of(found);
    return OK;
}

bool auth_may_use(const struct identity *who, struct text model)
{
    for (uint32_t i = 0; i < who->models.count; i++)
        if (text_eq(text_of(who->models.at[i]), model))
            return true;
    return who->models.count == 0;
}
