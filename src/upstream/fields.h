/* fields.h: the table of body fields: what serve's surfaces check, and what a llama backend may see. */
#ifndef WEIR_FIELDS_H
#define WEIR_FIELDS_H

#include "base/json.h"

enum field_surface { FIELD_CHAT = 1, FIELD_COMPLETION = 2, FIELD_EMBEDDING = 4 };

/* NULL if every known field of the object has its type and lies in its bounds (null counts as absent); else the field's name, and in `must` what it has to be. */
const char *fields_check(yyjson_val *object, enum field_surface surface, char *must, size_t room);
/* The same for what our own llama-server may be given besides: it makes a grammar of tools and response_format, whose size and nesting nothing there bounds. */
const char *fields_check_llama(yyjson_val *object, char *must, size_t room);
/* Copies the object's known members to out, in order. FAIL_NO_MEMORY, FAIL_TOO_LARGE. */
MUSTUSE enum fail fields_filter(struct text body, enum field_surface surface, struct buf *out);

#endif
