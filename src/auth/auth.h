/* auth.h: who asks: from a request's headers to a configured key. Called by path's auth step. */
#ifndef WEIR_AUTH_H
#define WEIR_AUTH_H

#include "conf/conf.h"
#include "net/http_head.h"

/* A table over the keys of one configuration; the configuration must outlive it. */
struct auth;
struct auth *auth_new(const struct conf *conf) MUSTUSE; /* NULL when out of memory */
void auth_free(struct auth *a);

/* Who sends these headers: Authorization: Bearer KEY, or x-api-key: KEY. *out_key is NULL where no keys are configured: everybody may,
   but pages of other hosts in a browser here (FAIL_FOREIGN_PAGE).
   FAIL_NO_KEY; FAIL_BAD_KEY: unknown, or two headers that disagree about who asks; FAIL_NO_MEMORY: a is NULL, and nobody may.
   Looked up by SHA-256, compared in constant time. */
MUSTUSE enum fail auth_check(const struct auth *a, const struct http_head *head, const struct conf_key **out_key);
/* May this key use this model? NULL may. */
bool auth_may_use(const struct conf_key *key, struct text model);

#endif
