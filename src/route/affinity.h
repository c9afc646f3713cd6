/* affinity.h: which requests belong together, so that one backend may have all of them: it holds the conversation, or the long prompt, in its cache. */
#ifndef WEIR_AFFINITY_H
#define WEIR_AFFINITY_H

#include "base/json.h"

/* Bytes of a text that count. Enough to tell conversations and documents apart; what is longer would cost time and part what begins alike. */
#define AFFINITY_BYTES 4096

/* What a client calls its session. Equal texts give equal numbers in every process; never 0, unless the text is empty: that is no session. */
uint64_t affinity_of_session(struct text session);
/* Of a request without a session: of the messages up to the first that is not the system's, so that the turns of a conversation belong together, and also
   single questions about one document. messages: an array of objects. Any thread; 0 if there is no text in them. */
uint64_t affinity_of_messages(yyjson_val *messages);
/* Of a completion's prompt: a string, or strings. */
uint64_t affinity_of_prompt(yyjson_val *prompt);

#endif
