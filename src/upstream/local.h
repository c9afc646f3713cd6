/* local.h: local models as the server sees them: the keeper starts llama-server and writes where it is, a task here asks it for its health and tells the
   fleet. path/ and produce.c ask why one cannot answer. They share rows of memory, since keeper and server are two processes:

     phase     the keeper says                             so the server
     OFF       nobody wants it                             has no address for it
     MISSING   its files are not there                     refuses with the command that makes them
     RUNNING   a llama-server is started on `port`         asks /health until 200, then gives the fleet the address
     DOWN      it ended; the next one starts soon          takes the address back                                            */
#ifndef WEIR_LOCAL_H
#define WEIR_LOCAL_H

#include "fleet/fleet.h"

#define LOCAL_SLOTS_AUTO 4 /* as the fleet has it for kind llama */
#define LOCAL_SLOTS_MAX  256
#define LOCAL_WATCH_NS   (100 * NANOS_PER_MS) /* a restarted model is found within this; reading two rows costs nothing */

enum local_model {
#define LOCAL(id, name, file, what) LOCAL_##id,
#include "upstream/local_models.def"
#undef LOCAL
    LOCAL_COUNT
};

enum local_phase { LOCAL_OFF, LOCAL_MISSING, LOCAL_RUNNING, LOCAL_DOWN };

/* One model's row. Zeroes: nobody wants it. */
struct local_state {
    _Atomic uint32_t phase, port, generation; /* the keeper's; generation: which start this is, from 1 */
    _Atomic uint32_t slots;                   /* the server's: how many it should decode at once; 0 = no backend wants it */
};

struct local_row {
    const char *name, *file, *what;
};
const struct local_row *local_row(enum local_model model);
/* The model of that name, or LOCAL_COUNT. */
enum local_model local_find(const char *name);
/* What the backends of this configuration want of it; 0 = nothing. */
uint32_t local_slots_wanted(const struct conf *conf, enum local_model model);

/* Watches rows in a root task of worker 0 that ends when the worker stops; rows must live as long as the process, and one watch a process is enough.
   wanted() is called when what the server wants has changed (a reload). It may be NULL. FAIL_NO_MEMORY. */
MUSTUSE enum fail local_watch(struct worker *w, struct fleet *f, struct local_state *rows, unsigned count, void (*wanted)(void *arg), void *arg);

/* Why this backend cannot be asked now, as the end of a sentence that begins with the model ("is starting"), static. NULL if it can, or is no local model.
   *out_is_starting: waiting a little is worth it. Any thread. */
const char *local_why(const struct endpoint *e, bool *out_is_starting);

#endif
