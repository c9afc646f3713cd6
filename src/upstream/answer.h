/* answer.h: reading one backend's answer into a flight. Called by produce.c for each attempt. */
#ifndef WEIR_ANSWER_H
#define WEIR_ANSWER_H

#include "base/json.h"
#include "upstream/upstream.h"

#define ANSWER_ERROR_BYTES_MAX 65536          /* of a failed answer's body, for its message */
#define SSE_LINE_BYTES_MAX     (16u << 20)    /* one event; images come as data in megabytes */
#define USAGE_PARSE_BYTES_MAX  262144         /* a plain answer up to this is parsed for its usage and checked to be JSON */

/* Reads the answer whose head is there. deadline: for its first token. On success everything is in the flight and it is ended or the connection's remains are read.
   FAIL_UPSTREAM: the backend said no, a->why tells; FAIL_PROTOCOL, FAIL_RESET, FAIL_TIMEOUT, or why the producer was cancelled. */
MUSTUSE enum fail answer_read(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, const struct http_head *head, nanos deadline);

/* Does this body or event say that something failed: "error", of any form but null, or "object":"error" as older servers have it? */
bool answer_is_error(yyjson_val *root);
/* What one that does, or was sent with a status that does, says of it; as long as root lives, at == NULL if it says nothing. */
struct text answer_error_text(yyjson_val *root);
/* Has the model refused, or does the choice itself tell of an error? Of one choice, plain or in an event. */
bool answer_is_spoilt(yyjson_val *choice);
/* Is this a finish_reason of a whole answer (finish.def)? finish may be NULL, or anything. */
bool answer_ends_whole(yyjson_val *finish);
/* The tokens that a usage object tells, if it tells them; usage may be NULL. */
void answer_take_usage(struct flight *fl, yyjson_val *usage);

#endif
