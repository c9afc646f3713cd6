/* jwt.h: what jwt.c and jwks.c share: a key on its way from a file into the configuration. */
#ifndef WEIR_CONF_JWT_H
#define WEIR_CONF_JWT_H

#include "conf/inner.h"

#define JWT_RSA_BITS_MAX 8192 /* a larger key would hold a worker for half a millisecond a token */

/* Where a key comes from, for complaints: they name the key of the configuration, not the path, which ${...} may have brought in. */
struct jwt_source {
    struct loading *l;
    const char *key;           /* "jwt.keys" */
    const struct place *place;
    const char *which;         /* "the file", "keys[2]" */
};

/* All of these return false with a complaint. */
bool jwt_unfit(const struct jwt_source *s, const char *what);
bool jwt_source_open(const struct jwt_source *s, const char *path, struct buf *content); /* the caller ends content in any case */
bool jwt_keep_secret(const struct jwt_source *s, const char *kid, struct text secret);
/* Takes the key over; NULL: it could not be read. */
bool jwt_keep_public(const struct jwt_source *s, const char *kid, struct evp_pkey_st *key);
bool jwt_read_set(struct loading *l, const struct place *place, const char *path);

#endif
