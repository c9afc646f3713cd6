/* inner.h: what the two files that know SQLite share: db.c (the file) and rows.c (what stands in it). */
#ifndef WEIR_STORE_INNER_H
#define WEIR_STORE_INNER_H

#include "store/db.h"
#include <sqlite3.h>
#include <sys/stat.h>

enum statement { STATEMENT_KEYS, STATEMENT_KEYS_COUNT, STATEMENT_KEY_ADD, STATEMENT_KEY_FIND, STATEMENT_KEY_REVOKE, STATEMENT_SPEND, STATEMENT_SPEND_SET,
                 STATEMENT_SPEND_FORGET, STATEMENT_COUNT };

struct db {
    sqlite3 *handle;
    char *path;
    struct stat file;          /* what the path led to when it was opened */
    bool is_read_only;
    int last_failure;          /* SQLite's primary code */
    int64_t version;           /* SQLite's number of the last change by others */
    sqlite3_stmt *statements[STATEMENT_COUNT];
};

/* From SQLite's code to ours, with a sentence. */
MUSTUSE enum fail db_failed(struct db *db, int code, struct complaint *why);

#endif
