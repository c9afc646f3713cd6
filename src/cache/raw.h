/* raw.h: what was asked byte for byte the same, by a tag that is found without parsing. The tag is Poly1305 (RFC 8439) under a key of this process, which nobody is
   told, nor any tag: so for two bodies of n bytes that somebody has chosen the chance that they have one tag is n / 2^107 (Bernstein, The Poly1305-AES
   message-authentication code, 2005). SHA-256 of the same bytes costs four times as much. Called by path/; one a worker. */
#ifndef WEIR_CACHE_RAW_H
#define WEIR_CACHE_RAW_H

#include "base/text.h"
#include <stdbool.h>

#define CACHE_RAW_KEY_BYTES 32

struct cache_raw;
struct cache_tag {
    uint64_t word[2];
};

struct cache_raw *cache_raw_new(const uint8_t key[CACHE_RAW_KEY_BYTES]) MUSTUSE; /* NULL when out of memory */
void cache_raw_free(struct cache_raw *raw); /* takes NULL */
/* kind and salt: the scope and whatever else must be equal. False: there is no memory for it. */
bool cache_raw_tag(struct cache_raw *raw, uint32_t kind, struct text salt, struct text body, struct cache_tag *out) MUSTUSE;

#endif
