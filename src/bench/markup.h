/* markup.h: writes HTML and SVG into a buffer; what comes from outside goes through markup_text. report/html.c and report/chart.c write with it. */
#ifndef WEIR_MARKUP_H
#define WEIR_MARKUP_H

#include "base/buf.h"

/* The first failure stays, and nothing is written after it: a page asks once, at its end. */
struct markup {
    struct buf *out; /* the caller's */
    enum fail fail;
};

/* As it is: for markup and numbers of our own. */
void markup_put(struct markup *m, const char *format, ...) PRINTF(2, 3);
/* Escaped, for content and for attributes in either kind of quotes. What XML does not allow, and what would turn the direction of a line around, is U+FFFD. */
void markup_text(struct markup *m, const char *text);

#endif
