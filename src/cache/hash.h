/* hash.h: SHA-256 of parts of which each says what it is and how long, so that no two rows of parts are hashed alike. key.c and canon.c write by it.

   Lengths, counts and magnitudes have 7 bits a byte, the lowest first (LEB128). Small parts are gathered; larger ones are hashed where they lie. */
#ifndef WEIR_CACHE_HASH_H
#define WEIR_CACHE_HASH_H

#define OPENSSL_API_COMPAT 0x10100000L /* SHA256_Init …: a fifth of the cost of fetching an EVP method for each request */
#include "cache/key.h"
#include <endian.h>
#include <openssl/sha.h>

_Static_assert(CACHE_ID_BYTES == SHA256_DIGEST_LENGTH, "an identity is a SHA-256");

/* What a hash is of: one of one kind is never one of another. A new canonical form needs new letters, since answers outlive the program in a shared cache. */
enum hash_kind { HASH_BODY = 'B', HASH_REST = 'S', HASH_INPUT = 'I', HASH_JOINED = 'J', HASH_IDENTITY = 'Q' };

#define HASH_BLOCK_BYTES 512

struct hash {
    SHA256_CTX sha;
    size_t used;
    uint8_t block[HASH_BLOCK_BYTES];
};

static inline void hash_begin(struct hash *h, enum hash_kind kind)
{
    SHA256_Init(&h->sha);
    h->block[0] = (uint8_t)kind;
    h->used = 1;
}

static inline void hash_flush(struct hash *h)
{
    SHA256_Update(&h->sha, h->block, h->used);
    h->used = 0;
}

static inline void hash_bytes(struct hash *h, const void *at, size_t len)
{
    if (len > HASH_BLOCK_BYTES - h->used)
        hash_flush(h);
    if (len > HASH_BLOCK_BYTES) {
        SHA256_Update(&h->sha, at, len);
        return;
    }
    if (len > 0)
        memcpy(h->block + h->used, at, len);
    h->used += len;
}

#define HASH_NUMBER_BYTES 10 /* 64 bits at 7 a byte */

static inline void hash_number(struct hash *h, char type, uint64_t n)
{
    if (HASH_BLOCK_BYTES - h->used < 1 + HASH_NUMBER_BYTES)
        hash_flush(h);
    h->block[h->used++] = (uint8_t)type;
    for (; n >= 0x80; n >>= 7)
        h->block[h->used++] = (uint8_t)(n | 0x80);
    h->block[h->used++] = (uint8_t)n;
}

static inline void hash_text(struct hash *h, struct text t)
{
    hash_number(h, 's', t.len);
    hash_bytes(h, t.at, t.len);
}

static inline void hash_double(struct hash *h, double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    bits = htole64(bits);
    hash_bytes(h, "r", 1);
    hash_bytes(h, &bits, sizeof bits);
}

static inline void hash_end(struct hash *h, uint8_t out[CACHE_ID_BYTES])
{
    hash_flush(h);
    SHA256_Final(out, &h->sha);
}

#endif
