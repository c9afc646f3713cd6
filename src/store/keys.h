/* keys.h: the keys of the store as a table that never changes, shared by all workers: a change makes a new one. auth/ looks keys up in it. */
#ifndef WEIR_STORE_KEYS_H
#define WEIR_STORE_KEYS_H

#include "base/map.h"
#include "conf/conf.h"

#define STORE_KEYS_MAX       65536 /* 300 bytes each: 20 MB, read in a tenth of a second whenever one changes */
#define STORE_FINGERPRINT    9     /* 8 hexadecimal digits of a key's SHA-256, and a NUL */

struct store_keys {
    _Atomic uint32_t references;
    struct arena arena;
    struct conf_key *at;  /* as the configuration has its own */
    int64_t *created;     /* seconds since 1970, of each */
    uint32_t count, room;
    bool is_closed;       /* a key was made once: nobody may ask without one from then on, also when all were revoked */
    bool is_unread;       /* the store is there and could not be read: nobody knows which keys there are */
    struct map by_hash;   /* SHA-256 -> struct conf_key */
};

/* Room for so many keys. NULL when out of memory. */
struct store_keys *store_keys_new(uint32_t room) MUSTUSE;
struct store_keys *store_keys_ref(struct store_keys *k); /* takes NULL */
void store_keys_unref(struct store_keys *k);             /* takes NULL; any thread */
/* Copies all of key. Only while nobody else has the table. FAIL_NO_MEMORY. */
MUSTUSE enum fail store_keys_add(struct store_keys *k, const struct conf_key *key, int64_t created);
/* By the SHA-256 of what was presented, 32 bytes; NULL if it is none of them. */
const struct conf_key *store_keys_find(const struct store_keys *k, const uint8_t *sha256);
const struct conf_key *store_keys_named(const struct store_keys *k, struct text name);
/* {"keys":[…],"store":path}, without anything that a key could be guessed from. */
MUSTUSE enum fail store_keys_print(const struct store_keys *k, const char *path, struct buf *out);
const char *store_fingerprint(const uint8_t *sha256, char out[STORE_FINGERPRINT]);

#endif
