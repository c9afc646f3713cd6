/* rows.c: keys and spend as rows. Called by store.c on its writer's thread, and by `weir key`. */
#include "store/inner.h"
#include <stdio.h>
#include <string.h>

#define MICRO 1000000.0 /* of a dollar */

static const char *const sql[STATEMENT_COUNT] = {
    [STATEMENT_KEYS] = "SELECT sha256, name, tenant, role, models, priority, priority_max, rpm, tpm, concurrency, budget_micro, period_ms, created, has_tenant "
                       "FROM keys WHERE revoked IS NULL ORDER BY name LIMIT ?1",
    [STATEMENT_KEYS_COUNT] = "SELECT count(*), count(*) FILTER (WHERE revoked IS NULL) FROM keys",
    [STATEMENT_KEY_ADD] = "INSERT INTO keys(sha256, name, tenant, role, models, priority, priority_max, rpm, tpm, concurrency, budget_micro, period_ms, created, "
                          "has_tenant) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    [STATEMENT_KEY_FIND] = "SELECT sha256, name FROM keys WHERE revoked IS NULL AND (name = ?1 OR lower(hex(substr(sha256, 1, 4))) = lower(?1)) "
                           "ORDER BY name = ?1 DESC LIMIT 1",
    [STATEMENT_KEY_REVOKE] = "UPDATE keys SET revoked = ?2 WHERE sha256 = ?1",
    [STATEMENT_SPEND] = "SELECT kind, name, start, micro FROM spend",
    [STATEMENT_SPEND_SET] = "INSERT INTO spend(kind, name, start, micro) VALUES(?1, ?2, ?3, ?4) "
                            "ON CONFLICT(kind, name, start) DO UPDATE SET micro = max(micro, excluded.micro)",
    [STATEMENT_SPEND_FORGET] = "DELETE FROM spend WHERE kind = ?1 AND name = ?2 AND start <= "
                               "(SELECT start FROM spend WHERE kind = ?1 AND name = ?2 ORDER BY start DESC LIMIT 1 OFFSET ?3)",
};

static const char *const role_names[] = { [CONF_ROLE_USER] = "user", [CONF_ROLE_ADMIN] = "admin" };
static const char *const kind_names[] = { [SPEND_KEY] = "key", [SPEND_TENANT] = "tenant" };

/* ---- statements ---- */

/* Compiled once for as long as the file is open. NULL with a sentence. */
static sqlite3_stmt *statement(struct db *db, enum statement which, enum fail *out_fail, struct complaint *why)
{
    *out_fail = OK;
    if (db->statements[which] == NULL) {
        int code = sqlite3_prepare_v3(db->handle, sql[which], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[which], NULL);
        if (code != SQLITE_OK)
            *out_fail = db_failed(db, code, why);
    }
    return db->statements[which];
}

/* Ready for the next use: a statement in the middle of its rows would hold a lock. */
static void reset(sqlite3_stmt *s)
{
    (void)sqlite3_reset(s); /* repeats the failure that step has told */
    (void)sqlite3_clear_bindings(s);
}

static enum fail step_to_end(struct db *db, sqlite3_stmt *s, struct complaint *why)
{
    int code = sqlite3_step(s);
    enum fail f = code == SQLITE_DONE || code == SQLITE_ROW ? OK : db_failed(db, code, why);
    reset(s);
    return f;
}

static void bind_text(sqlite3_stmt *s, int at, struct text t)
{
    (void)sqlite3_bind_text(s, at, t.at != NULL ? t.at : "", (int)t.len, SQLITE_TRANSIENT); /* without memory it stays NULL, which no column takes */
}

static struct text column_text(sqlite3_stmt *s, int at)
{
    const char *text = (const char *)sqlite3_column_text(s, at);
    return (struct text){ text, text != NULL ? (size_t)sqlite3_column_bytes(s, at) : 0 };
}

/* ---- keys out ---- */

static bool read_class(sqlite3_stmt *s, int at, enum conf_class *out)
{
    for (int c = 0; c < CONF_CLASSES; c++)
        if (text_eq(column_text(s, at), text_of(conf_class_name((enum conf_class)c)))) {
            *out = (enum conf_class)c;
            return true;
        }
    return false;
}

static bool read_count(sqlite3_stmt *s, int at, uint32_t *out)
{
    int64_t value = sqlite3_column_int64(s, at);
    *out = (uint32_t)value;
    return value >= 0 && value <= UINT32_MAX;
}

/* One a line; cuts them apart. False: more than a key may have. */
static bool cut_models(char *lines, const char *at[CONF_LIST_MAX], struct conf_names *out)
{
    *out = (struct conf_names){ .at = at };
    for (char *line = *lines != '\0' ? lines : NULL; line != NULL;) {
        char *end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        if (out->count == CONF_LIST_MAX)
            return false;
        at[out->count++] = line;
        line = end;
    }
    return true;
}

/* False: a row that nobody of us wrote. It is as if it were not there: better a key too few than one that may more than it should. */
static bool read_key(sqlite3_stmt *s, struct conf_key *k)
{
    struct text role = column_text(s, 3);
    *k = (struct conf_key){ .name = column_text(s, 1).at, .tenant = column_text(s, 2).at, .role = CONF_ROLE_USER };
    if (text_eq(role, text_of(role_names[CONF_ROLE_ADMIN])))
        k->role = CONF_ROLE_ADMIN;
    else if (!text_eq(role, text_of(role_names[CONF_ROLE_USER])))
        return false;
    if (sqlite3_column_bytes(s, 0) != sizeof k->sha256 || k->name == NULL || k->tenant == NULL || !read_class(s, 5, &k->priority) ||
        !read_class(s, 6, &k->priority_max) || k->priority_max < k->priority || !read_count(s, 7, &k->limits.rpm) || !read_count(s, 8, &k->limits.tpm) ||
        !read_count(s, 9, &k->limits.concurrency))
        return false;
    memcpy(k->sha256, sqlite3_column_blob(s, 0), sizeof k->sha256);
    k->limits.budget = (struct conf_number){ (double)sqlite3_column_int64(s, 10) / MICRO, sqlite3_column_type(s, 10) != SQLITE_NULL };
    k->limits.period = sqlite3_column_int64(s, 11) * NANOS_PER_MS;
    bool is_told = sqlite3_column_type(s, 13) != SQLITE_NULL; /* else who has its own name shares with nobody: too little is better than too much */
    k->has_tenant = is_told ? sqlite3_column_int64(s, 13) != 0 : strcmp(k->tenant, k->name) != 0;
    return k->limits.period > 0;
}

/* Into place *i, and on to the next. */
static enum fail set_row(struct keyring *ring, uint32_t *i, sqlite3_stmt *s)
{
    const char *models[CONF_LIST_MAX];
    struct conf_key k;
    enum fail f = OK;
    char *lines = mem_copy_text(column_text(s, 4));
    if (lines == NULL)
        return FAIL_NO_MEMORY;
    if (read_key(s, &k) && cut_models(lines, models, &k.models))
        f = keyring_set(ring, (*i)++, &k, sqlite3_column_int64(s, 12));
    mem_free(lines);
    return f;
}

static enum fail count_keys(struct db *db, int64_t *out_ever, int64_t *out_now, struct complaint *why)
{
    enum fail f;
    sqlite3_stmt *s = statement(db, STATEMENT_KEYS_COUNT, &f, why);
    if (f != OK)
        return f;
    int code = sqlite3_step(s);
    *out_ever = sqlite3_column_int64(s, 0);
    *out_now = sqlite3_column_int64(s, 1);
    f = code == SQLITE_ROW ? OK : db_failed(db, code, why);
    reset(s);
    return f;
}

static enum fail no_memory(struct complaint *why)
{
    (void)complain(why, NULL, 0, 0, "no memory left for the stored keys");
    return FAIL_NO_MEMORY;
}

static enum fail read_keys(struct db *db, sqlite3_stmt *s, struct keyring *ring, struct complaint *why)
{
    int code = SQLITE_DONE;
    uint32_t i = 0;
    enum fail f = OK;
    (void)sqlite3_bind_int64(s, 1, ring->count);
    while (f == OK && (code = sqlite3_step(s)) == SQLITE_ROW)
        f = set_row(ring, &i, s);
    if (f != OK)
        f = no_memory(why);
    else if (code != SQLITE_DONE)
        f = db_failed(db, code, why);
    ring->count = i;
    reset(s);
    return f;
}

enum fail db_keys(struct db *db, struct keyring **out, struct complaint *why)
{
    int64_t ever = 0, now = 0;
    struct keyring *ring = NULL;
    enum fail f = count_keys(db, &ever, &now, why);
    sqlite3_stmt *s = f == OK ? statement(db, STATEMENT_KEYS, &f, why) : NULL;
    if (f == OK && ever > 0) {
        ring = keyring_new((uint32_t)MIN(now, KEYRING_MAX));
        f = ring != NULL ? read_keys(db, s, ring, why) : no_memory(why);
    }
    if (f == OK)
        *out = ring;
    else
        keyring_unref(ring);
    return f;
}

/* ---- keys in ---- */

static enum fail bind_models(sqlite3_stmt *s, int at, const struct conf_names *models)
{
    struct buf lines;
    buf_init(&lines, CONF_LIST_MAX * 256);
    enum fail f = OK;
    for (uint32_t i = 0; f == OK && i < models->count; i++)
        f = buf_printf(&lines, "%s%s", i > 0 ? "\n" : "", models->at[i]);
    if (f == OK)
        bind_text(s, at, buf_text(&lines));
    buf_fini(&lines);
    return f;
}

static enum fail bind_key(sqlite3_stmt *s, const struct conf_key *k, int64_t now)
{
    const int64_t numbers[] = { k->limits.rpm, k->limits.tpm, k->limits.concurrency };
    (void)sqlite3_bind_blob(s, 1, k->sha256, sizeof k->sha256, SQLITE_TRANSIENT);
    bind_text(s, 2, text_of(k->name));
    bind_text(s, 3, text_of(k->tenant));
    bind_text(s, 4, text_of(role_names[k->role]));
    bind_text(s, 6, text_of(conf_class_name(k->priority)));
    bind_text(s, 7, text_of(conf_class_name(k->priority_max)));
    for (int i = 0; i < (int)ARRAY_LEN(numbers); i++)
        (void)sqlite3_bind_int64(s, 8 + i, numbers[i]);
    if (k->limits.budget.is_set)
        (void)sqlite3_bind_int64(s, 11, (int64_t)(k->limits.budget.value * MICRO + 0.5));
    (void)sqlite3_bind_int64(s, 12, k->limits.period / NANOS_PER_MS);
    (void)sqlite3_bind_int64(s, 13, now);
    (void)sqlite3_bind_int64(s, 14, k->has_tenant);
    return bind_models(s, 5, &k->models);
}

enum fail db_key_add(struct db *db, const struct conf_key *key, int64_t now, struct complaint *why)
{
    int64_t ever = 0, alive = 0;
    enum fail f = count_keys(db, &ever, &alive, why);
    sqlite3_stmt *s = f == OK ? statement(db, STATEMENT_KEY_ADD, &f, why) : NULL;
    if (f != OK)
        return f;
    if (alive >= KEYRING_MAX) {
        (void)complain(why, NULL, 0, 0, "%s has %d keys, and that is the most it takes: revoke some", db->path, KEYRING_MAX);
        return FAIL_BAD_FIELD;
    }
    f = bind_key(s, key, now);
    int code = f == OK ? sqlite3_step(s) : SQLITE_NOMEM;
    if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY) {
        (void)complain(why, NULL, 0, 0, code == SQLITE_CONSTRAINT_UNIQUE ? "there is a key \"%s\" already: revoke it first, or choose another name" :
                       "the key of \"%s\" is in use, or was revoked: a key is never used twice", key->name);
        f = FAIL_BAD_FIELD;
    } else if (code != SQLITE_DONE) {
        f = db_failed(db, code, why);
    }
    reset(s);
    return f;
}

enum fail db_key_revoke(struct db *db, struct text which, int64_t now, char *out_name, struct complaint *why)
{
    enum fail f;
    sqlite3_stmt *find = statement(db, STATEMENT_KEY_FIND, &f, why), *revoke = f == OK ? statement(db, STATEMENT_KEY_REVOKE, &f, why) : NULL;
    if (f != OK)
        return f;
    bind_text(find, 1, which);
    int code = sqlite3_step(find);
    if (code == SQLITE_ROW) {
        snprintf(out_name, 65, "%.*s", TEXT_ARG(column_text(find, 1)));
        (void)sqlite3_bind_blob(revoke, 1, sqlite3_column_blob(find, 0), sqlite3_column_bytes(find, 0), SQLITE_TRANSIENT);
        (void)sqlite3_bind_int64(revoke, 2, now);
        f = step_to_end(db, revoke, why);
    } else if (code == SQLITE_DONE) {
        (void)complain(why, NULL, 0, 0, "%s has no key \"%.*s\": weir key list shows them", db->path, (int)MIN(which.len, 64u), which.at);
        f = FAIL_BAD_FIELD;
    } else {
        f = db_failed(db, code, why);
    }
    reset(find);
    return f;
}

/* ---- spend ---- */

static void bind_spend(sqlite3_stmt *s, enum spend_kind kind, struct text name, int64_t third)
{
    bind_text(s, 1, text_of(kind_names[kind]));
    bind_text(s, 2, name);
    (void)sqlite3_bind_int64(s, 3, third);
}

enum fail db_spend_set(struct db *db, enum spend_kind kind, struct text name, int64_t start, int64_t micro, struct complaint *why)
{
    enum fail f;
    sqlite3_stmt *add = statement(db, STATEMENT_SPEND_SET, &f, why), *forget = f == OK ? statement(db, STATEMENT_SPEND_FORGET, &f, why) : NULL;
    if (f != OK)
        return f;
    bind_spend(add, kind, name, start);
    (void)sqlite3_bind_int64(add, 4, micro);
    f = step_to_end(db, add, why);
    if (f != OK)
        return f;
    bind_spend(forget, kind, name, DB_PERIODS_KEPT);
    return step_to_end(db, forget, why);
}

enum fail db_spend_each(struct db *db, spend_fn *fn, void *arg, struct complaint *why)
{
    enum fail f;
    int code;
    sqlite3_stmt *s = statement(db, STATEMENT_SPEND, &f, why);
    if (f != OK)
        return f;
    while ((code = sqlite3_step(s)) == SQLITE_ROW) {
        bool is_key = text_eq(column_text(s, 0), text_of(kind_names[SPEND_KEY]));
        fn(arg, is_key ? SPEND_KEY : SPEND_TENANT, column_text(s, 1), sqlite3_column_int64(s, 2), sqlite3_column_int64(s, 3));
    }
    f = code == SQLITE_DONE ? OK : db_failed(db, code, why);
    reset(s);
    return f;
}
