/* db.h: the store's file, for one thread that may block: the writer of store.c, and `weir key` where no weir runs. SQLite stands behind it and nowhere else.

   Every function that fails says why in a sentence that names the file. FAIL_BUSY: another process has it locked. FAIL_STORE: it cannot be read or written.
   FAIL_BAD_FIELD: what was asked cannot be done, whatever the file. FAIL_NO_MEMORY. */
#ifndef WEIR_DB_H
#define WEIR_DB_H

#include "store/keyring.h"

#define DB_PERIODS_KEPT 32 /* of each key and tenant: a month of days */

enum spend_kind { SPEND_KEY, SPEND_TENANT };

struct db;

/* Opens the file, checks it, and brings its tables forward. Where there is none: makes it, and its folders, if `make`; else OK and *out is NULL.
   What can only be read is opened for reading. Waits up to busy_ms for a lock, here and later. */
MUSTUSE enum fail db_open(const char *path, bool make, int busy_ms, struct db **out, struct complaint *why);
bool db_is_there(const char *path);
void db_close(struct db *db); /* takes NULL */
bool db_is_read_only(const struct db *db);
/* The path still leads to the file that was opened. */
bool db_is_in_place(const struct db *db);

/* What is done between the two is on the disk together, or not at all. After a failed commit everything since begin is undone. */
MUSTUSE enum fail db_begin(struct db *db, struct complaint *why);
MUSTUSE enum fail db_commit(struct db *db, struct complaint *why);
void db_rollback(struct db *db);

/* Every key that is not revoked; NULL if there never was one. The caller owns one reference. */
MUSTUSE enum fail db_keys(struct db *db, struct keyring **out, struct complaint *why);
/* FAIL_BAD_FIELD: the name or the key is taken, or there are KEYRING_MAX. now: seconds since 1970. */
MUSTUSE enum fail db_key_add(struct db *db, const struct conf_key *key, int64_t now, struct complaint *why);
/* By its name or its fingerprint; *out_name (room for 65 bytes) is its name. FAIL_BAD_FIELD: there is none. */
MUSTUSE enum fail db_key_revoke(struct db *db, struct text which, int64_t now, char *out_name, struct complaint *why);
/* What was spent in a period so far: the larger sum stays, so that none goes back whoever comes late. Forgets periods that are long over. */
MUSTUSE enum fail db_spend_set(struct db *db, enum spend_kind kind, struct text name, int64_t start, int64_t micro, struct complaint *why);
/* Every period that is kept. */
typedef void spend_fn(void *arg, enum spend_kind kind, struct text name, int64_t start, int64_t micro);
MUSTUSE enum fail db_spend_each(struct db *db, spend_fn *fn, void *arg, struct complaint *why);
/* Has another process written since the last call? */
MUSTUSE enum fail db_has_changed(struct db *db, bool *out, struct complaint *why);

#endif
