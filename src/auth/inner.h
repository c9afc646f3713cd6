/* inner.h: what the files of auth/ share: a token on its way from a header to who asks. */
#ifndef WEIR_AUTH_INNER_H
#define WEIR_AUTH_INNER_H

#include "auth/auth.h"
#include "base/map.h"
#include <yyjson.h>

#define KEY_SHA256_BYTES 32
#define SEEN_MAX         1024 /* tokens a worker remembers; each takes what its claims take, at most about its own length */

/* What a token proved. One piece of memory, counted: a request in flight outlives its place among the seen. */
struct token {
    uint32_t references;
    bool is_asked;                    /* since the hand passed */
    uint8_t sha256[KEY_SHA256_BYTES]; /* of the whole token */
    nanos exp, nbf;                   /* wall clock */
    struct identity who;              /* its texts stand behind this struct */
};
void token_give(struct token *k); /* the last one frees; takes NULL */

/* NULL, or why not now: both by the wall clock, give or take skew. */
const char *token_untimely(nanos exp, nanos nbf, nanos skew, nanos wall);

/* jwt.c: does it look like one, so that it is none of the keys? */
bool jwt_has_shape(struct text t);
/* Verifies and reads a token, for the caller to give back. FAIL_BAD_TOKEN with a static sentence in *out_why; FAIL_NO_MEMORY. Takes much stack: not for a task's. */
MUSTUSE enum fail jwt_read(const struct conf *conf, struct text t, nanos wall, struct token **out, const char **out_why);

/* claims.c: from the payload of a token whose signature holds. Fails as jwt_read. */
MUSTUSE enum fail claims_read(const struct conf *conf, yyjson_val *root, nanos wall, struct token **out, const char **out_why);

/* seen.c: tokens that were verified before, by the SHA-256 of all their bytes, up to SEEN_MAX. */
struct seen {
    struct map by_hash;
    struct token *places[SEEN_MAX];
    uint32_t count, hand;
};
void seen_init(struct seen *s);
void seen_fini(struct seen *s);
struct token *seen_find(struct seen *s, struct text sha256); /* lent until the next seen_add; NULL = not seen */
void seen_add(struct seen *s, struct token *k);              /* holds it; without memory it is not remembered */

#endif
