/* forms_inner.h: what the files of forms.h share: how each surface names its parts, a pen, and values that grow by deltas. Included by forms*.c alone. */
#ifndef WEIR_RELAY_FORMS_INNER_H
#define WEIR_RELAY_FORMS_INNER_H

#include "base/json.h"
#include "relay/forms.h"

#define FORM_CHOICES_MAX 128 /* OpenAI's bound of n */

struct form_names {
    struct text object, chunk; /* "object" of a body and of an event */
    struct text whole, piece;  /* the member of a choice that holds what the model says */
    struct text open, close;   /* in an event, around the pieces */
};
const struct form_names *form_names(enum form_surface surface);

/* Of a string; of anything else, or nothing, empty. */
static inline struct text form_text(yyjson_val *v) { return yyjson_is_str(v) ? (struct text){ yyjson_get_str(v), yyjson_get_len(v) } : TEXT_NONE; }
static inline bool form_has_text(yyjson_val *v) { return yyjson_is_str(v) && yyjson_get_len(v) > 0; }
/* An object of no error whose keys say everything once; else FAIL_BAD_JSON. */
MUSTUSE enum fail form_parse(struct arena *arena, struct text json, yyjson_val **out_root);

/* ---- a pen ---- */

/* Writes on after a failure as if nothing were, and tells at the end. */
struct form_pen {
    struct buf *buf;
    enum fail fail;
};
void form_put(struct form_pen *p, struct text t);
void form_put_string(struct form_pen *p, struct text t);
void form_put_number(struct form_pen *p, uint64_t n);
void form_put_value(struct form_pen *p, yyjson_val *v);
void form_put_key(struct form_pen *p, struct text key); /* with a comma, unless the object has just been opened */
#define FORM_PUT(p, literal) form_put((p), TEXT(literal))

/* ---- values that grow ----

   A delta changes a value like this (as OpenAI's clients do it, openai-python's accumulate_delta, but for numbers, which nobody streams in parts):
     text     is joined; but what names something (form_is_name) is said once, or said again as it was
     object   member by member
     array    items with an "index" grow each by its own, in that order; others are added at the end
     number, true, false   the last one counts
     null     says nothing
   FAIL_BAD_JSON: one contradicts what came before. */
enum form_kind { FORM_NOTHING, FORM_PLAIN, FORM_TEXT, FORM_ITEMS, FORM_OBJECT, FORM_LIST };
/* A message's tool calls differ from other lists: an id tells them apart where the index does not, and a body has no index. */
enum form_place { FORM_ANYWHERE, FORM_MESSAGE, FORM_CALLS, FORM_CALL };

struct form_part {
    enum form_kind kind;
    struct text key;                     /* of a member */
    uint64_t index;                      /* of a list's item */
    char *at;                            /* FORM_TEXT: the text; FORM_PLAIN: JSON; FORM_ITEMS: JSON between the brackets */
    size_t len, room;
    struct form_part *next, *first;      /* FORM_OBJECT, FORM_LIST: members as they came, items by index */
    struct form_part *last, *hint;       /* hint: where the next one is likely to be; NULL = first */
    unsigned count;
    enum form_place place;
};

struct form_join {
    struct arena *arena;
    struct buf json;
    size_t looks_left; /* so many comparisons of members and items may follow */
};

bool form_is_name(struct text key);
MUSTUSE enum fail form_grow(struct form_join *j, struct form_part *p, yyjson_val *v);
/* The whole value anew; but null, "" and 0, as some servers have where they know nothing, replace nothing. */
MUSTUSE enum fail form_replace(struct form_join *j, struct form_part *p, yyjson_val *v);
MUSTUSE enum fail form_set_text(struct form_join *j, struct form_part *p, struct text t);
/* That member of an object, that item of a list: made if it is not there. */
MUSTUSE enum fail form_member(struct form_join *j, struct form_part *object, struct text key, struct form_part **out);
MUSTUSE enum fail form_item(struct form_join *j, struct form_part *list, uint64_t index, struct form_part **out);
void form_put_part(struct form_pen *p, const struct form_part *part);
/* Would one delta with all of v bring v again? False: items with equal indices, out of order, or only some with one. */
bool form_is_one_delta(yyjson_val *v);
bool form_is_objects(yyjson_val *v); /* an array of them, at least one */

#endif
