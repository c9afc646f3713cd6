/* stories.h: what fuzz_http_request and fuzz_http_response share. */
#ifndef WEIR_TESTS_STORIES_H
#define WEIR_TESTS_STORIES_H

#include "fuzz/fuzz.h"

/* Reads `in` in every way of cutting: one story. Where it ends between two messages, `next` behind it is read as if nothing had been before. */
void stories_check(enum http_kind kind, bool answers_head, struct text in, const char *next);

#endif
