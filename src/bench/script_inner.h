/* script_inner.h: what the files of a script share. Nobody but script*.c, template.c, prompts.c, trace.c and plan*.c includes it. */
#ifndef WEIR_SCRIPT_INNER_H
#define WEIR_SCRIPT_INNER_H

#include "bench/script.h"

#define SCRIPT_FILE_MAX  (256u << 20) /* bytes of one file that is read: a day of a large trace */
#define SCRIPT_ARENA_MAX (1u << 30)   /* bytes of one script: its files as they are kept */

/* The whole file into *out, which is the caller's to fini if it worked. complaint's file is path: it must live as long as the complaint. */
bool script_file_read(const char *path, struct buf *out, struct complaint *why);

#endif
