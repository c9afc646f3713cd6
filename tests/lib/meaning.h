/* meaning.h: do two bodies ask for the same? The slow and plain way, to judge cache_digest by: member by member, without an order, and without hashing. */
#ifndef WEIR_TESTS_MEANING_H
#define WEIR_TESTS_MEANING_H

#include "base/json.h"

bool meaning_is_same(yyjson_val *a, yyjson_val *b);
/* Is there a number that may have been an integer beyond 64 bits? */
bool meaning_is_unsure(yyjson_doc *doc);

#endif
