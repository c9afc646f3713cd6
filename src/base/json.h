/* json.h: yyjson with our bounds, the spans of a top-level object (for splicing), and an escape writer. */
#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include "base/buf.h"
#include <yyjson.h>

#define JSON_DEPTH_MAX 64 /* CONTRACT: nested deeper is 400 */

/* Parses into memory from a (kept as long as the arena). No comments, no NaN, no trailing commas, valid UTF-8, depth <= JSON_DEPTH_MAX.
   FAIL_BAD_JSON with a sentence and byte offset in *out_why (may be NULL; written through arena), FAIL_NO_MEMORY.
   Takes the body's length and 16 bytes a value (keys included), counted first: what would pass the arena's ceiling is FAIL_TOO_LARGE before anything is built. */
MUSTUSE enum fail json_parse(struct arena *a, struct text body, yyjson_doc **out_doc, const char **out_why);

/* One member of the top-level object, as byte spans of the body. key is the raw (escaped) content between the quotes; value is the raw value. */
struct json_span {
    struct text key, value;
};
/* Walks the top-level members of a body that json_parse accepted as an object. cursor starts at 0; false at the end. */
bool json_span_next(struct text body, size_t *cursor, struct json_span *out_span);
/* The same for the items of an array. */
bool json_item_next(struct text array, size_t *cursor, struct text *out_item);
/* Looks at the keys of one object, in time linear in their bytes. FAIL_BAD_JSON, with a static *out_why: two members have the same (unescaped) key, or one
   holds a NUL, at which readers in C end: whom to believe depends on the reader. FAIL_NO_MEMORY. */
MUSTUSE enum fail json_check_keys(yyjson_val *object, const char **out_why);
/* The same for every object of the document; *out_object is the first that failed. */
MUSTUSE enum fail json_check_all_keys(yyjson_doc *doc, yyjson_val **out_object, const char **out_why);

/* A whole number from 0, spelled as one. yyjson takes -0, which is one too, for signed. */
static inline bool json_is_count(yyjson_val *v) { return yyjson_is_uint(v) || (yyjson_is_sint(v) && yyjson_get_sint(v) == 0); }

/* Adds s as a JSON string with its quotes; invalid UTF-8 becomes U+FFFD. */
MUSTUSE enum fail json_add_string(struct buf *b, struct text s);

#endif
