/* border.h: what may cross between clients and backends, by the rows of border.def. serve/ asks it about bodies, path/ about headers, answer.c and stream.c
   about what backends say. */
#ifndef WEIR_BORDER_H
#define WEIR_BORDER_H

#include "base/json.h"
#include "fleet/fleet.h"
#include "net/http_head.h"
#include "relay/flight.h"

enum border_pass {
#define PASS(header, bytes, why) BORDER_PASS_##header,
#include "upstream/border.def"
    BORDER_PASS_COUNT
};

/* ---- from the client ---- */

/* The value of this header if it may travel; at == NULL otherwise. In the head. */
struct text border_header(const struct http_head *head, enum border_pass which);
/* Its name. */
struct text border_name(enum border_pass which);

/* What a body may not say. */
struct border_refusal {
    struct text field;       /* a name in the body, or a name of ours */
    const char *why;         /* the end of a sentence that begins with the field; NULL = all is well */
};
/* Looks at the body's top fields, and at the URLs in messages, prompt and input. *out_fetches: a URL in it would have to be fetched by the backend. */
struct border_refusal border_body(yyjson_val *root, bool private_urls, bool *out_fetches);
/* Why a URL of a message is refused, as above, or NULL. */
const char *border_url(struct text url, bool private_urls, bool *out_fetches);

/* ---- from the backend ---- */

/* What a backend said, fit for clients, logs and stories: another sentence if half of its key or more stands in it. */
struct text border_words(const struct endpoint *e, struct text said);
/* The same for the body of an error that is passed on as it came and lies in the flight, also where JSON's escapes hide the key. FAIL_NO_MEMORY, FAIL_TOO_LARGE. */
MUSTUSE enum fail border_error_body(struct flight *fl, const struct endpoint *e, int status);

#endif
