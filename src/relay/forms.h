/* forms.h: one answer in its two forms: a JSON body, and the events of a stream that says the same. For answers that were kept in the one form and are asked for in
   the other. Roles, text, reasoning, tool calls, refusals, logprobs, finish reasons, usage, ids and whatever nobody here knows come through whole. */
#ifndef WEIR_RELAY_FORMS_H
#define WEIR_RELAY_FORMS_H

#include "base/buf.h"
#include "base/mem.h"
#include "base/text.h"

enum form_surface { FORM_CHAT, FORM_COMPLETION };

/* The stream's events, "data: …\n\n" each, "data: [DONE]\n\n" last, and behind that the event with usage alone (empty choices), which begins at *out_usage_from
   (== buf_len(out): the body has no usage). Text comes in pieces of some words, as a model writes it. FAIL_BAD_JSON: it is no whole answer of this
   surface, or one that clients could not put together again; FAIL_NO_MEMORY, FAIL_TOO_LARGE (out's bound). out is as before on failure. arena: for the tree.
   About 8 us for 200 tokens, a millisecond for half a megabyte. */
MUSTUSE enum fail form_events(struct arena *arena, enum form_surface surface, struct text body, struct buf *out, size_t *out_usage_from);
/* The body that a plain call would have brought. usage: the event with usage alone, or TEXT_NONE. Fails as above: no [DONE], a choice without its finish_reason,
   an error among the events, deltas that contradict each other. Half a microsecond an event. */
MUSTUSE enum fail form_body(struct arena *arena, enum form_surface surface, struct text events, struct text usage, struct buf *out);

#endif
