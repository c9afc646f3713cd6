/* db.c: the store's file: opened, checked, brought forward, and its transactions. Called by store.c on its writer's thread, and by `weir key`. */
#include "store/inner.h"
#include "base/buf.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define APPLICATION_ID 0x77656972 /* "weir", at byte 68 of the file: `file` and we know it by that */
#define PATH_ROOM      448        /* bytes of a path: what a configuration and an environment may name */

static const struct {
    int version;
    const char *sql;
} migrations[] = {
#define MIGRATION(version, what, sql) { version, sql },
#include "store/migrations.def"
#undef MIGRATION
};
#define VERSION_OURS (migrations[ARRAY_LEN(migrations) - 1].version)

/* ---- failures ---- */

enum fail db_failed(struct db *db, int code, struct complaint *why)
{
    int system = sqlite3_system_errno(db->handle);
    db->last_failure = code & 0xff;
    switch (db->last_failure) {
    case SQLITE_NOMEM:
        (void)complain(why, NULL, 0, 0, "no memory left");
        return FAIL_NO_MEMORY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        (void)complain(why, NULL, 0, 0, "%s is locked by another process", db->path);
        return FAIL_BUSY;
    case SQLITE_FULL:
        (void)complain(why, NULL, 0, 0, "%s cannot grow: its disk is full", db->path);
        return FAIL_STORE;
    case SQLITE_READONLY:
        (void)complain(why, NULL, 0, 0, "%s can only be read", db->path);
        return FAIL_STORE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        (void)complain(why, NULL, 0, 0, "%s is damaged: put a backup in its place, or move it away", db->path);
        return FAIL_STORE;
    default:
        (void)complain(why, NULL, 0, 0, "%s cannot be used: %s", db->path, system != 0 ? strerror(system) : sqlite3_errmsg(db->handle));
        return FAIL_STORE;
    }
}

static enum fail run(struct db *db, const char *sql, struct complaint *why)
{
    int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? OK : db_failed(db, code, why);
}

/* The first value of the first row; *out is untouched when there is none. */
static enum fail ask_number(struct db *db, const char *sql, int64_t *out, struct complaint *why)
{
    sqlite3_stmt *s;
    int code = sqlite3_prepare_v2(db->handle, sql, -1, &s, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return code == SQLITE_ROW || code == SQLITE_DONE ? OK : db_failed(db, code, why);
}

/* ---- the file ---- */

/* Its folders, each if it is not there: as the XDG specification has it, for their owner alone. */
static bool make_folders(const char *path, struct complaint *why)
{
    char folder[PATH_ROOM];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0700) != 0 && errno != EEXIST && access(folder, X_OK) != 0)
            return complain(why, NULL, 0, 0, "the folder %s cannot be made: %s", folder, strerror(errno));
        *slash = '/';
    }
    return true;
}

/* SQLite would make it readable for everybody; its -wal and -shm get the mode that we give. */
static bool make_file(const char *path, struct complaint *why)
{
    if (!make_folders(path, why))
        return false;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return complain(why, NULL, 0, 0, "%s cannot be made: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return true;
}

static int open_handle(struct db *db, const char *name, int flags)
{
    (void)sqlite3_close(db->handle);
    db->handle = NULL;
    return sqlite3_open_v2(name, &db->handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
}

/* On a disk that cannot be written SQLite finds no place for its -shm, which it needs while others may write; nobody can here. But what a -wal still holds must not
   be overlooked: perhaps that a key was revoked. */
static int open_for_reading(struct db *db)
{
    char wal[PATH_ROOM + 8];
    struct stat st;
    struct buf name;
    snprintf(wal, sizeof wal, "%s-wal", db->path);
    if (stat(wal, &st) == 0 && st.st_size > 0)
        return SQLITE_READONLY;
    buf_init(&name, 4 * PATH_ROOM);
    enum fail f = buf_add_text(&name, TEXT("file:"));
    for (const char *c = db->path; *c != '\0' && f == OK; c++)
        f = buf_printf(&name, strchr("%?#", *c) != NULL ? "%%%02x" : "%c", (unsigned char)*c);
    if (f == OK)
        f = buf_add(&name, "?immutable=1", sizeof "?immutable=1"); /* with its NUL */
    int code = f == OK ? open_handle(db, buf_text(&name).at, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI) : SQLITE_NOMEM;
    buf_fini(&name);
    return code;
}

/* ---- what stands in it ---- */

static enum fail check_owner(struct db *db, struct complaint *why)
{
    int64_t id = 0, tables = 0;
    enum fail f = ask_number(db, "PRAGMA application_id", &id, why);
    if (f == OK)
        f = ask_number(db, "SELECT count(*) FROM sqlite_schema", &tables, why);
    if (f != OK || id == APPLICATION_ID || (id == 0 && tables == 0))
        return f;
    (void)complain(why, NULL, 0, 0, "%s is another program's database, and stays as it is", db->path);
    return FAIL_STORE;
}

static enum fail read_version(struct db *db, int64_t *out, struct complaint *why)
{
    int64_t has = 0;
    *out = 0;
    enum fail f = ask_number(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'schema'", &has, why);
    if (f == OK && has > 0)
        f = ask_number(db, "SELECT max(version) FROM schema", out, why);
    if (f == OK && *out > VERSION_OURS) {
        (void)complain(why, NULL, 0, 0, "%s was written by a newer weir (its tables are version %lld, this weir knows %d): use that one, or another file (store:)",
                       db->path, (long long)*out, VERSION_OURS);
        return FAIL_STORE;
    }
    return f;
}

static enum fail migrate_from(struct db *db, int64_t version, struct complaint *why)
{
    char sql[128];
    enum fail f = OK;
    if (version == 0) {
        snprintf(sql, sizeof sql, "PRAGMA application_id = %d; CREATE TABLE schema(version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT", APPLICATION_ID);
        f = run(db, sql, why);
    }
    for (size_t i = 0; i < ARRAY_LEN(migrations) && f == OK; i++) {
        if (migrations[i].version <= version)
            continue;
        f = run(db, migrations[i].sql, why);
        snprintf(sql, sizeof sql, "INSERT INTO schema VALUES(%d, unixepoch())", migrations[i].version);
        if (f == OK)
            f = run(db, sql, why);
    }
    return f;
}

/* All of it or nothing; of two processes that come at once the second finds the work done. */
static enum fail migrate(struct db *db, struct complaint *why)
{
    int64_t version;
    enum fail f = read_version(db, &version, why);
    if (f != OK || version == VERSION_OURS)
        return f;
    f = db_begin(db, why);
    if (f == OK)
        f = read_version(db, &version, why);
    if (f == OK)
        f = migrate_from(db, version, why);
    if (f == OK)
        return db_commit(db, why);
    db_rollback(db);
    return f;
}

/* The structure of all pages and indexes, not every byte: some ten milliseconds for as many keys as we take. */
static enum fail check_whole(struct db *db, struct complaint *why)
{
    sqlite3_stmt *s;
    int code = sqlite3_prepare_v2(db->handle, "PRAGMA quick_check(1)", -1, &s, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_step(s);
    bool is_whole = code == SQLITE_ROW && sqlite3_column_text(s, 0) != NULL && strcmp((const char *)sqlite3_column_text(s, 0), "ok") == 0;
    (void)sqlite3_finalize(s);
    if (is_whole)
        return OK;
    return db_failed(db, code == SQLITE_ROW ? SQLITE_CORRUPT : code, why);
}

/* synchronous = FULL: the write-ahead log reaches the disk before a commit returns. NORMAL would lose the last commits when the machine stops, among them perhaps a key
   that somebody was already given, or a revocation. trusted_schema, cell_size_check, DEFENSIVE: the file may have been tampered with. */
static enum fail prepare(struct db *db, int busy_ms, struct complaint *why)
{
    (void)sqlite3_busy_timeout(db->handle, busy_ms);
    (void)sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    enum fail f = run(db, "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA cache_size = -1024; PRAGMA synchronous = FULL", why);
    if (f == OK)
        f = check_owner(db, why);
    db->is_read_only = sqlite3_db_readonly(db->handle, "main") == 1;
    if (f == OK && !db->is_read_only)
        f = run(db, "PRAGMA journal_mode = WAL", why);
    if (f == OK)
        f = check_whole(db, why);
    if (f == OK && !db->is_read_only)
        f = migrate(db, why);
    int64_t version = 0;
    if (f == OK)
        f = read_version(db, &version, why);
    if (f == OK && version < VERSION_OURS) {
        (void)complain(why, NULL, 0, 0, "%s can only be read, and its tables are of an older weir", db->path);
        return FAIL_STORE;
    }
    return f;
}

static enum fail open_as_may_be(struct db *db, int busy_ms, struct complaint *why)
{
    struct complaint second;
    int code = open_handle(db, db->path, SQLITE_OPEN_READWRITE);
    enum fail f = code == SQLITE_OK ? prepare(db, busy_ms, why) : db_failed(db, code, why);
    bool is_unwritable = db->last_failure == SQLITE_CANTOPEN || db->last_failure == SQLITE_READONLY || db->last_failure == SQLITE_IOERR;
    if (f != FAIL_STORE || !is_unwritable || access(db->path, R_OK) != 0)
        return f;
    code = open_for_reading(db);
    if (code != SQLITE_OK)
        return f; /* the first reason is the better one */
    return prepare(db, busy_ms, &second) == OK ? OK : f;
}

enum fail db_open(const char *path, bool make, int busy_ms, struct db **out, struct complaint *why)
{
    struct stat st;
    bool is_there = stat(path, &st) == 0;
    if (!is_there && !make) {
        *out = NULL;
        return OK;
    }
    if (strlen(path) >= PATH_ROOM || (!is_there && (!make_file(path, why) || stat(path, &st) != 0)))
        return FAIL_STORE;
    struct db *db = mem_zero(sizeof *db);
    char *copy = mem_copy_text(text_of(path));
    if (db == NULL || copy == NULL) {
        mem_free(db);
        mem_free(copy);
        (void)complain(why, NULL, 0, 0, "no memory left");
        return FAIL_NO_MEMORY;
    }
    db->path = copy;
    db->file = st;
    enum fail f = open_as_may_be(db, busy_ms, why);
    if (f != OK) {
        db_close(db);
        return f;
    }
    *out = db;
    return OK;
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    for (size_t i = 0; i < STATEMENT_COUNT; i++)
        (void)sqlite3_finalize(db->statements[i]);
    (void)sqlite3_close(db->handle);
    mem_free(db->path);
    mem_free(db);
}

bool db_is_there(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

bool db_is_read_only(const struct db *db) { return db->is_read_only; }

bool db_is_in_place(const struct db *db)
{
    struct stat st;
    return stat(db->path, &st) == 0 && st.st_ino == db->file.st_ino && st.st_dev == db->file.st_dev;
}

/* ---- transactions ---- */

/* IMMEDIATE: who comes second waits here, and not in the middle. */
enum fail db_begin(struct db *db, struct complaint *why) { return run(db, "BEGIN IMMEDIATE", why); }

enum fail db_commit(struct db *db, struct complaint *why)
{
    enum fail f = run(db, "COMMIT", why);
    if (f != OK)
        db_rollback(db);
    return f;
}

void db_rollback(struct db *db)
{
    if (sqlite3_get_autocommit(db->handle) == 0) /* some failures have done it already */
        (void)sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
}

enum fail db_has_changed(struct db *db, bool *out, struct complaint *why)
{
    int64_t version = db->version;
    enum fail f = ask_number(db, "PRAGMA data_version", &version, why);
    *out = f == OK && version != db->version;
    db->version = version;
    return f;
}
