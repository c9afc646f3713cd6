/* torn.h: a disk beneath SQLite that can lose power: what was not synced is there in part, or not at all. Used by tests of the store. */
#ifndef WEIR_TESTS_TORN_H
#define WEIR_TESTS_TORN_H

#include <stdbool.h>
#include <stdint.h>

/* From now on the files of this process's SQLite whose path begins so go through it. prefix: the caller's, until the end. */
void torn_begin(const char *prefix);
void torn_end(void);
/* Puts what a machine would find after a loss of power now into the folder `to`: of each sector that was written and not synced the old or the new one, by the
   seed. Any thread, while others write. */
void torn_crash(const char *to, uint64_t seed);

#endif
