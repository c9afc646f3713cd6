/* table.h: columns for people: as wide as their widest cell. The admin commands print with it. */
#ifndef WEIR_TABLE_H
#define WEIR_TABLE_H

#include "base/mem.h"

#define TABLE_COLUMNS_MAX 16

/* Cells row by row; the first row is the heading, bold on a terminal (not with NO_COLOR or TERM=dumb). A heading that begins with '>' is aligned to the right. */
struct table {
    struct arena *arena;
    unsigned columns;
    const char **cells;
    size_t count, room;
    bool failed; /* out of memory: rows are missing */
};

void table_init(struct table *t, struct arena *arena, unsigned columns, const char *const *headings);
/* One cell; NULL is "-". Formats into the arena. */
void table_add(struct table *t, const char *format, ...) PRINTF(2, 3);
/* On stdout. A table without rows prints `nothing` instead. */
void table_print(const struct table *t, const char *nothing);

/* "1.2s" from milliseconds. */
const char *ms_print(double ms, char out[24]);

#endif
