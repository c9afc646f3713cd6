/* http_refuse.h: the checks of a complete head that llhttp does not make, and sentences for those it does; http_parse.c calls them. */
#ifndef WEIR_HTTP_REFUSE_H
#define WEIR_HTTP_REFUSE_H

#include "base/fail.h"
#include "net/http_parse.h"

/* Runs the rows of http_refuse.def and then fills in what the headers say together: host, path, query, length, keep_alive …
   On failure *out_why is a static sentence. */
MUSTUSE enum fail http_refuse_head(const struct http_parser *p, struct http_head *h, const char **out_why);
/* The row of one of llhttp's reasons. Returns the fail of a request; *out_why is a static sentence. */
enum fail http_refuse_reason(const char *reason, const char **out_why);

#endif
