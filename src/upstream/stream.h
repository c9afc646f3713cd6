/* stream.h: reading an event stream of chat or text completions into a flight. Called by answer.c. */
#ifndef WEIR_STREAM_H
#define WEIR_STREAM_H

#include "upstream/upstream.h"

/* Holds events back until the first content, then lets them through as they come. See answer_read. */
MUSTUSE enum fail stream_read(struct task *t, struct call *call, struct attempt_story *a, struct conn *c, nanos deadline);

#endif
