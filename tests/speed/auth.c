/* auth.c: what it costs to know who asks: a key, a token of each algorithm that nobody has seen, one that was seen. Built by hand with tests/lib/tokens.c; prints
   nanoseconds, best of ROUNDS. The head is parsed already; a token that is verified counts with all that is read of it. */
#include "auth/auth.h"
#include "lib/tokens.h"
#include "run/task.h"
#include <stdio.h>

#define ROUNDS 100 /* short ones: on a machine with other work to do some are left alone */
#define CALLS  40
#define KEY    "sk-0123456789abcdef0123456789abcdef0123456789abcdef"

static struct world *world;
static struct worker worker;
static const struct conf *conf;
static struct auth *auth;

static void check(const char *value)
{
    struct http_header header = { TEXT("authorization"), text_of(value), HEADER_AUTHORIZATION };
    struct http_head head = { .count = 1, .headers = &header };
    struct identity who;
    const char *why = "";
    head.first[HEADER_AUTHORIZATION] = 1;
    enum fail f = auth_check(auth, &worker, &head, &who, &why);
    if (f != OK)
        fprintf(stderr, "%s: %s\n", fail_name(f), why);
    ASSERT(f == OK);
    identity_end(&who);
}

static double best(const char *const *values, unsigned count)
{
    double least = 1e12;
    for (int round = 0; round < ROUNDS; round++) {
        struct auth *fresh = auth_new(conf, NULL); /* has seen nothing */
        ASSERT(fresh != NULL);
        auth_free(auth);
        auth = fresh;
        if (count == 1)
            check(values[0]);
        nanos began = world_now(world);
        for (unsigned i = 0; i < CALLS; i++)
            check(values[i % count]);
        double ns = (double)(world_now(world) - began) / CALLS;
        least = MIN(least, ns);
    }
    return least;
}

static void measure(const char *name, enum signer by, const char *alg, bool is_seen)
{
    static char *values[CALLS];
    char header[64], payload[256], token[4096];
    unsigned count = is_seen ? 1 : CALLS;
    snprintf(header, sizeof header, "{\"alg\":\"%s\",\"typ\":\"JWT\",\"kid\":\"%s\"}", alg, by == SIGN_RS256 ? "rsa" : by == SIGN_ES256 ? "ec" : by == SIGN_EDDSA ? "ed" : "oct");
    for (unsigned i = 0; i < count; i++) {
        snprintf(payload, sizeof payload, "{\"iss\":\"https://id.example\",\"aud\":\"weir\",\"sub\":\"user-%u\",\"exp\":4102444800,\"iat\":1700000000,\"tenant\":\"acme\",\"models\":[\"chat\",\"embed\"]}", i);
        token_sign(by, header, payload, token);
        values[i] = mem_alloc(strlen(token) + 8);
        ASSERT(values[i] != NULL);
        snprintf(values[i], strlen(token) + 8, "Bearer %s", token);
    }
    printf("%-12s %9.1f ns\n", name, best((const char *const *)values, count));
    for (unsigned i = 0; i < count; i++)
        mem_free(values[i]);
}

int main(void)
{
    char yaml[512];
    struct complaint why;
    world = world_real_new(0);
    ASSERT(world != NULL && worker_init(&worker, world, 0) == OK);
    tokens_start();
    snprintf(yaml, sizeof yaml, "keys: {a: {key: " KEY "}}\njwt: {jwks: %s, issuer: \"https://id.example\", audience: weir}\nbackends: {b: {url: \"http://x\"}}\n", tokens_path("set.json"));
    struct conf_options options = { .yaml = text_of(yaml) };
    if (!conf_load(&options, &conf, &why)) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    printf("%-12s %9.1f ns\n", "key", best((const char *const[]){ "Bearer " KEY }, 1));
    measure("HS256", SIGN_HS256, "HS256", false);
    measure("RS256", SIGN_RS256, "RS256", false);
    measure("ES256", SIGN_ES256, "ES256", false);
    measure("EdDSA", SIGN_EDDSA, "EdDSA", false);
    measure("seen", SIGN_RS256, "RS256", true);
    auth_free(auth);
    conf_unref(conf);
    worker_fini(&worker);
    world_real_free(world);
    return 0;
}
