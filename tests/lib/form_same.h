/* form_same.h: do two bodies mean the same? For the units and the fuzz target of relay/forms.h. */
#ifndef WEIR_TESTS_FORM_SAME_H
#define WEIR_TESTS_FORM_SAME_H

#include "base/json.h"

/* Equal, whatever the order of members; and what an events' reader takes for granted may be said or not: a usage that is null, the index of the only choice,
   the role assistant, a content that is null, the index of a tool call, the names of the forms themselves, a stream's noise. */
bool form_is_same(struct text a, struct text b);

#endif
