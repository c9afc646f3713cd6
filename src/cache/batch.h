/* batch.h: embeddings by the item. A request for many inputs asks a backend only for those that no earlier one has brought, and its answer is put together again.
   Pure functions; path/ calls them. */
#ifndef WEIR_CACHE_BATCH_H
#define WEIR_CACHE_BATCH_H

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

#define BATCH_MAX 2048 /* inputs, OpenAI's bound; of a longer request nothing is kept */

/* Where each of the inputs lies in `input` (the value's bytes as they came, an array): item i is spans[i]. False: not that many, or no array. */
bool batch_spans(struct text input, struct text *spans, unsigned count);
/* The array with those inputs only whose bit in `missing` is set. */
MUSTUSE enum fail batch_ask(const struct text *spans, const bool *missing, unsigned count, struct buf *out);

/* One item of an answer: its "embedding" value as it came. */
struct batch_item {
    struct text vector; /* at == NULL: not there */
};
/* What a whole answer says: each item by its "index"; every index from 0 to count-1 exactly once, else FAIL_PROTOCOL. usage's tokens; the answer's "model", without quotes. */
struct batch_answer {
    struct batch_item *items; /* the caller's, count of them */
    uint64_t prompt_tokens, total_tokens;
    struct text model;        /* JSON string as it came, quotes included */
};
MUSTUSE enum fail batch_read(struct arena *arena, struct text body, unsigned count, struct batch_answer *out);
/* {"object":"list","data":[…],"model":…,"usage":{…}} */
MUSTUSE enum fail batch_write(const struct batch_answer *answer, unsigned count, struct buf *out);

#endif
