/* tell.h: answers of the admin socket as text for people. admin.c calls it. */
#ifndef WEIR_TELL_H
#define WEIR_TELL_H

#include "base/json.h"

void tell_status(yyjson_val *root, struct arena *arena);
void tell_requests(yyjson_val *root, struct arena *arena);
void tell_story(yyjson_val *root, struct arena *arena);
/* A string of the tree, or "", with ? for every byte that a terminal would obey instead of showing it; the tree is changed. */
const char *tell_plain(yyjson_val *v);

#endif
