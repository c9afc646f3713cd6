/* raw.c: Poly1305 of OpenSSL. See raw.h. */
#include "cache/raw.h"
#include "base/mem.h"
#include <openssl/evp.h>
#include <string.h>

struct cache_raw {
    EVP_MAC_CTX *ctx;
    uint8_t key[CACHE_RAW_KEY_BYTES];
};

struct cache_raw *cache_raw_new(const uint8_t key[CACHE_RAW_KEY_BYTES])
{
    struct cache_raw *raw = mem_zero(sizeof *raw);
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "POLY1305", NULL);
    if (raw != NULL && mac != NULL)
        raw->ctx = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac); /* the context holds it */
    if (raw == NULL || raw->ctx == NULL) {
        cache_raw_free(raw);
        return NULL;
    }
    memcpy(raw->key, key, sizeof raw->key);
    return raw;
}

void cache_raw_free(struct cache_raw *raw)
{
    if (raw == NULL)
        return;
    EVP_MAC_CTX_free(raw->ctx);
    mem_free(raw);
}

bool cache_raw_tag(struct cache_raw *raw, uint32_t kind, struct text salt, struct text body, struct cache_tag *out)
{
    uint64_t head = salt.len | (uint64_t)kind << 32; /* the length: or what ends a salt could begin a body */
    size_t len;
    return EVP_MAC_init(raw->ctx, raw->key, sizeof raw->key, NULL) == 1 && EVP_MAC_update(raw->ctx, (const uint8_t *)&head, sizeof head) == 1 &&
           EVP_MAC_update(raw->ctx, (const uint8_t *)salt.at, salt.len) == 1 && EVP_MAC_update(raw->ctx, (const uint8_t *)body.at, body.len) == 1 &&
           EVP_MAC_final(raw->ctx, (uint8_t *)out, &len, sizeof *out) == 1;
}
