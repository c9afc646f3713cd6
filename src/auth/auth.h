/* auth.h: who asks: from a request's headers to a configured key. Called by path's auth step. */
#ifndef WEIR_AUTH_H
#define WEIR_AUTH_H

#include "conf/conf.h"
#include "net/http_head.h"

/* A table over the keys of one configuration; the configuration must outlive it. */
struct auth;
struct auth *auth_new(const struct conf *conf) MUSTUSE; /* NULL when out of memory */
void auth_free(struct auth *a);

/* Who asks. Texts live as long as the request's view. */
struct identity {
    bool is_known;           /* false: no keys are configured, and everybody may */
    struct text name;        /* of the key; empty = nobody is known */
    struct text tenant;      /* whose data it is; empty likewise */
    enum conf_role role;
    struct conf_names models; /* count 0 = all */
    enum conf_class priority, priority_max;
    const struct conf_limits *limits; /* of the key itself; NULL = none */
};
/* Whoever asks where nobody needs a key. */
struct identity identity_open(void);

/* Who sends these headers: Authorization: Bearer KEY, or x-api-key: KEY. Where no keys are configured everybody may, but pages of other hosts in a browser
   here (FAIL_FOREIGN_PAGE).
   FAIL_NO_KEY; FAIL_BAD_KEY: unknown, or two headers that disagree about who asks; FAIL_NO_MEMORY: a is NULL, and nobody may. *out_who is untouched then.
   Looked up by SHA-256, compared in constant time. */
MUSTUSE enum fail auth_check(const struct auth *a, const struct http_head *head, struct identity *out_who);
/* May they use this model? */
bool auth_may_use(const struct identity *who, struct text model);

#endif
