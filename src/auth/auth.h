/* auth.h: who asks: from a request's headers to a key, or a signed token. Called by path's auth step and by serve's pages. */
#ifndef WEIR_AUTH_H
#define WEIR_AUTH_H

#include "conf/conf.h"
#include "net/http_head.h"
#include "run/loop.h"
#include "store/keyring.h"

/* One worker's table over the keys of a configuration and of a ring, with the tokens that it has seen. Holds both. */
struct auth;
/* ring NULL: there never was one. An empty one asks for keys all the same: that the last one was revoked opens nothing. NULL when out of memory. */
struct auth *auth_new(const struct conf *conf, struct keyring *ring) MUSTUSE;
void auth_free(struct auth *a); /* identities that it has lent keep it until identity_end; takes NULL */

/* What an identity's tenant is the name of: a key named acme, or a token whose sub is acme, is not the tenant acme. */
enum owner { OWNER_TENANT, OWNER_KEY, OWNER_SUB };

/* Who asks. Texts and limits are lent, until identity_end: they are not the view's. */
struct identity {
    bool is_known;           /* false: nobody needs a key here, and everybody may */
    struct text name;        /* of the key, or a token's sub; empty = nobody is known */
    struct text tenant;      /* whose data it is; empty likewise */
    enum owner owner;        /* whose, too: of three kinds that may have one name */
    enum conf_role role;
    struct conf_names models; /* count 0 = all */
    enum conf_class priority, priority_max;
    const struct conf_limits *limits; /* of the key itself; NULL = none */
    struct auth *lender;     /* NULL = nothing is lent */
    struct token *token;     /* NULL = a key */
};
/* Whoever asks where nobody needs a key. */
struct identity identity_open(void);
/* On the worker that asked. who is nobody then; a second time does nothing. */
void identity_end(struct identity *who);

/* Who sends these headers: Authorization: Bearer KEY, or x-api-key: KEY; where jwt is configured also Authorization: Bearer TOKEN. Where nobody needs a key
   everybody may, but pages of other hosts in a browser here (FAIL_FOREIGN_PAGE).
   FAIL_NO_KEY; FAIL_BAD_KEY: unknown, or two headers that disagree about who asks; FAIL_BAD_TOKEN: with a static sentence in *out_why, fit for a quoted string;
   FAIL_STORE: it is no key of the configuration, and the ring could not be read. FAIL_NO_MEMORY, also where a is NULL: nobody may then. *out_who is untouched by
   failures.
   Keys are looked up by SHA-256 and compared in constant time. A token is verified once, then known by its SHA-256 until it expires by w's wall clock. */
MUSTUSE enum fail auth_check(struct auth *a, struct worker *w, const struct http_head *head, struct identity *out_who, const char **out_why);
/* May they use this model? */
bool auth_may_use(const struct identity *who, struct text model);

#endif
