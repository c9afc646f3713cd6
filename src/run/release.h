/* release.h: giving a large buffer back a piece a turn. The kernel takes 4 ms to take 32 MiB away, for which everybody else on the loop would wait. */
#ifndef WEIR_RELEASE_H
#define WEIR_RELEASE_H

#include "base/buf.h"
#include "run/loop.h"

/* Frees b; it may be used again. On its worker. Until it has all gone it counts as taken. */
void release_buf(struct worker *w, struct buf *b);

/* run/ only */
void release_init(struct worker *w);
void release_rest(struct worker *w); /* at once, at the worker's end */

#endif
