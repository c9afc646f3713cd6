/* batch.h: embeddings by the item. A request for many inputs asks a backend only for those that no earlier one has brought, and its answer is put together again.
   Pure functions; path/ calls them. */
#ifndef WEIR_CACHE_BATCH_H
#define WEIR_CACHE_BATCH_H

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

#define BATCH_MAX 2048 /* inputs, OpenAI's bound; of a longer request nothing is kept */

/* Where each of the inputs lies in `input` (the value's bytes as they came, in a body that json_parse accepted): item i is spans[i].
   False: not that many, or no array. */
bool batch_spans(struct text input, struct text *spans, unsigned count);
/* The array with those inputs only whose bit in `missing` is set: one at least. FAIL_TOO_LARGE (out's bound), FAIL_NO_MEMORY. */
MUSTUSE enum fail batch_ask(const struct text *spans, const bool *missing, unsigned count, struct buf *out);

/* One item of an answer: its "embedding" value as it came, an array of numbers or a string of base64. */
struct batch_item {
    struct text vector; /* at == NULL: not there */
};
/* What a whole answer says. */
struct batch_answer {
    struct batch_item *items; /* by their "index"; the caller's, count of them */
    uint64_t prompt_tokens, total_tokens; /* of its usage; 0: it does not say */
    struct text model;        /* JSON string as it came, quotes included; at == NULL: it does not say */
    bool has_more;            /* an item says more than object, index and embedding, and batch_write would lose it */
};
/* Reads an answer of any bytes to a request for count inputs; what out says lies in body. arena: for the answer without its vectors, 200 bytes an item, and never
   more than 40 KiB and 9 KiB an item. FAIL_PROTOCOL: it is no JSON, or an error, or has not exactly one vector for each index from 0 to count-1; FAIL_NO_MEMORY.
   Then the items are of no use. */
MUSTUSE enum fail batch_read(struct arena *arena, struct text body, unsigned count, struct batch_answer *out);
/* {"object":"list","data":[…],"model":…,"usage":{…}}; every item is there. FAIL_TOO_LARGE (out's bound), FAIL_NO_MEMORY. */
MUSTUSE enum fail batch_write(const struct batch_answer *answer, unsigned count, struct buf *out);

#endif
