/* canon.h: the canonical form of a body: trees that mean the same are hashed alike, others never. key.c asks for it. */
#ifndef WEIR_CACHE_CANON_H
#define WEIR_CACHE_CANON_H

#include "cache/hash.h"

enum canon_what {
    CANON_BODY,  /* a request's body, by the rules of its top level */
    CANON_REST,  /* the same without its input */
    CANON_VALUE, /* any value */
};

/* Hashes v, whose tree json_parse has made; memory from arena. FAIL_NO_MEMORY, FAIL_TOO_LARGE as in key.h: then what was hashed is worth nothing. */
MUSTUSE enum fail canon_hash(struct hash *h, struct arena *arena, yyjson_val *v, enum canon_what what);

#endif
