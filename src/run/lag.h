/* lag.h: how late a worker's loop is. loop.c measures it every turn; whoever admits work reads worker->lag (ns). */
#ifndef WEIR_LAG_H
#define WEIR_LAG_H

#include "run/loop.h"

/* Before a poll that may wait until `until`: until when it may. */
nanos lag_look(const struct worker *w, nanos until);
/* Behind that poll. until: what lag_look said; is_full: it took as many events as it could, so more may be ready. */
void lag_note(struct worker *w, nanos until, bool is_full);

#endif
