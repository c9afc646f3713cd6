/* keyring.h: keys from elsewhere than the configuration, made and revoked while weir runs: a list that never changes, shared by all workers; a change makes a new
   one. rows.c fills it from the store, auth/ looks keys up in it. */
#ifndef WEIR_STORE_KEYRING_H
#define WEIR_STORE_KEYRING_H

#include "conf/conf.h"

#define KEYRING_MAX         16384 /* keys; each worker hashes them all anew whenever one changes: some milliseconds */
#define KEYRING_FINGERPRINT 9     /* 8 hexadecimal digits of a key's SHA-256, and a NUL */

/* Whoever makes one fills keys, with their texts in arena, and changes nothing once others have seen it. */
struct keyring {
    _Atomic uint32_t references;
    struct arena arena;
    uint32_t count;
    struct conf_key *keys;
    int64_t *created;     /* seconds since 1970, of each */
    bool is_unread;       /* the store is there and could not be read: nobody knows which keys there are */
};
/* Room for count keys, zeroed; the caller has one reference. NULL when out of memory. */
struct keyring *keyring_new(uint32_t count) MUSTUSE;
struct keyring *keyring_ref(struct keyring *r); /* takes NULL */
void keyring_unref(struct keyring *r);          /* the last one frees; takes NULL; any thread */
/* Copies key and its texts to place i. FAIL_NO_MEMORY. */
MUSTUSE enum fail keyring_set(struct keyring *r, uint32_t i, const struct conf_key *key, int64_t created);
/* {"store":path,"keys":[…]}, without anything that a key could be guessed from. r NULL: none. */
MUSTUSE enum fail keyring_print(const struct keyring *r, const char *path, struct buf *out);
const char *keyring_fingerprint(const uint8_t *sha256, char out[KEYRING_FINGERPRINT]);

#endif
