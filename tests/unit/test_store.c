/* test_store.c: the store's file and its writer: what is acknowledged is on the disk, many sums are few rows, and a file that is not good stops nobody. */
#include "store/store.h"
#include "lib/torn.h"
#include "run/task.h"
#include "store/spend.h"
#include "test_base.h"
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/stat.h>

static char folder[64], path[128];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-store-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/state/weir.db", folder);
    return 0;
}

/* A store's files, and then the folder. */
static void remove_store(const char *in)
{
    static const char *const ends[] = { "weir.db", "weir.db-wal", "weir.db-shm", "weir.db-journal", "" };
    char name[160];
    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        snprintf(name, sizeof name, "%s/%s", in, ends[i]);
        (void)remove(name);
    }
}

static int remove_folder(void **state)
{
    char state_folder[96];
    (void)state;
    snprintf(state_folder, sizeof state_folder, "%s/state", folder);
    remove_store(state_folder);
    return rmdir(folder);
}

/* Another program's connection. */
static sqlite3 *open_plain(const char *file)
{
    sqlite3 *other;
    assert_int_equal(sqlite3_open(file, &other), SQLITE_OK);
    return other;
}

static void do_sql(sqlite3 *other, const char *sql)
{
    char *why = NULL;
    if (sqlite3_exec(other, sql, NULL, NULL, &why) != SQLITE_OK)
        fail_msg("%s: %s", sql, why);
}

static int64_t number_in(const char *file, const char *sql)
{
    sqlite3 *other = open_plain(file);
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_busy_timeout(other, 10000), SQLITE_OK); /* who opens the file first after a kill recovers it, alone */
    assert_int_equal(sqlite3_prepare_v2(other, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(other);
    return n;
}

static struct db *open_db(const char *file, bool make)
{
    struct complaint why;
    struct db *db = NULL;
    if (db_open(file, make, 0, &db, &why) != OK)
        fail_msg("%s", why.text);
    return db;
}

static void refuses(const char *file, const char *sentence)
{
    struct complaint why;
    struct db *db = NULL;
    assert_int_not_equal(db_open(file, true, 0, &db, &why), OK);
    if (strstr(why.text, sentence) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", why.text, sentence);
}

static struct conf_key key_of(const char *name, uint8_t first)
{
    struct conf_key k = { .name = name, .tenant = name, .priority = CONF_CLASS_NORMAL, .priority_max = CONF_CLASS_NORMAL, .limits.period = 60 * NANOS_PER_S };
    memset(k.sha256, 7, sizeof k.sha256);
    k.sha256[0] = first;
    return k;
}

static enum fail add(struct db *db, const struct conf_key *k)
{
    struct complaint why;
    assert_int_equal(db_begin(db, &why), OK);
    enum fail f = db_key_add(db, k, 1000, &why);
    assert_int_equal(db_commit(db, &why), OK);
    return f;
}

static struct keyring *keys_of(struct db *db)
{
    struct complaint why;
    struct keyring *ring = NULL;
    assert_int_equal(db_keys(db, &ring, &why), OK);
    return ring;
}

/* ---- the file ---- */

TEST(a_new_file_is_its_owners_alone_and_says_whose_it_is)
{
    struct stat st;
    assert_null(open_db(path, false)); /* nobody asked for it */
    assert_int_not_equal(stat(path, &st), 0);
    db_close(open_db(path, true));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    char parent[96];
    snprintf(parent, sizeof parent, "%s/state", folder);
    assert_int_equal(stat(parent, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(number_in(path, "PRAGMA application_id"), 0x77656972);
    assert_int_equal(number_in(path, "SELECT max(version) FROM schema"), 3);
}

static const char *const steps[] = {
#define MIGRATION(version, what, sql) sql,
#include "store/migrations.def"
#undef MIGRATION
};

TEST(an_older_file_is_brought_forward_and_keeps_its_keys)
{
    db_close(open_db(path, true)); /* makes the folder */
    assert_int_equal(unlink(path), 0);
    sqlite3 *other = open_plain(path);
    do_sql(other, "PRAGMA application_id = 0x77656972; CREATE TABLE schema(version INTEGER PRIMARY KEY, applied INTEGER NOT NULL) STRICT; INSERT INTO schema VALUES(1, 0)");
    do_sql(other, steps[0]);
    do_sql(other, "INSERT INTO keys VALUES(zeroblob(32), 'old', 'acme', 'user', '', 'normal', 'high', 1, 2, 3, NULL, 60000, 5, NULL)");
    do_sql(other, "INSERT INTO keys VALUES(randomblob(32), 'acme', 'acme', 'user', '', 'normal', 'high', 1, 2, 3, NULL, 60000, 5, NULL)");
    sqlite3_close(other);
    struct db *db = open_db(path, false);
    struct keyring *ring = keys_of(db);
    struct complaint why;
    assert_int_equal(ring->count, 2);
    assert_string_equal(ring->keys[1].tenant, "acme");
    assert_true(ring->keys[1].has_tenant);
    assert_false(ring->keys[0].has_tenant); /* nobody knows: better one that shares too little */
    assert_int_equal(db_spend_set(db, SPEND_KEY, TEXT("old"), 0, 1, &why), OK);
    keyring_unref(ring);
    db_close(db);
    assert_int_equal(number_in(path, "SELECT count(*) FROM schema"), 3);
}

TEST(a_file_of_a_newer_weir_is_left_alone)
{
    db_close(open_db(path, true));
    sqlite3 *other = open_plain(path);
    do_sql(other, "INSERT INTO schema VALUES(999, 0)");
    sqlite3_close(other);
    refuses(path, "newer weir");
    assert_int_equal(number_in(path, "SELECT count(*) FROM schema"), 4);
}

TEST(another_programs_database_is_left_alone)
{
    db_close(open_db(path, true));
    assert_int_equal(unlink(path), 0);
    sqlite3 *other = open_plain(path);
    do_sql(other, "CREATE TABLE recipes(name TEXT)");
    sqlite3_close(other);
    refuses(path, "another program's");
    assert_int_equal(number_in(path, "SELECT count(*) FROM sqlite_schema"), 1);
}

TEST(what_is_no_database_is_said_to_be_damaged)
{
    db_close(open_db(path, true));
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fputs("once upon a time there was a header of sixteen bytes", f);
    fclose(f);
    refuses(path, "damaged");
}

/* ---- keys ---- */

TEST(a_key_comes_back_as_it_was)
{
    const char *const models[] = { "chat", "Qwen/Qwen3 8B", "ünïcode" };
    struct conf_key k = key_of("alice", 1);
    k.tenant = "acme";
    k.role = CONF_ROLE_ADMIN;
    k.models = (struct conf_names){ models, 3 };
    k.priority_max = CONF_CLASS_HIGH;
    k.limits = (struct conf_limits){ 600, 4000000000, 50, { 20.5, true }, 86400 * NANOS_PER_S };
    struct db *db = open_db(path, true);
    assert_int_equal(add(db, &k), OK);
    db_close(db);
    db = open_db(path, false);
    struct keyring *ring = keys_of(db);
    const struct conf_key *got = &ring->keys[0];
    assert_int_equal(ring->count, 1);
    assert_string_equal(got->name, "alice");
    assert_string_equal(got->tenant, "acme");
    assert_int_equal(got->role, CONF_ROLE_ADMIN);
    assert_int_equal(got->models.count, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(got->models.at[i], models[i]);
    assert_int_equal(got->priority_max, CONF_CLASS_HIGH);
    assert_memory_equal(got->sha256, k.sha256, 32);
    assert_int_equal(got->limits.rpm, 600);
    assert_int_equal(got->limits.tpm, 4000000000);
    assert_int_equal(got->limits.concurrency, 50);
    assert_true(got->limits.budget.is_set && got->limits.budget.value == 20.5);
    assert_int_equal(got->limits.period, 86400 * NANOS_PER_S);
    assert_int_equal(ring->created[0], 1000);
    keyring_unref(ring);
    db_close(db);
}

/* hostile 48: "weir key new acme" makes a key of that name, not one of the tenant acme. */
TEST(whether_a_key_was_given_a_tenant_comes_back_even_if_it_has_its_name)
{
    struct conf_key alone = key_of("a", 1), given = key_of("b", 2);
    given.has_tenant = true;
    struct db *db = open_db(path, true);
    assert_int_equal(add(db, &alone), OK);
    assert_int_equal(add(db, &given), OK);
    struct keyring *ring = keys_of(db);
    assert_string_equal(ring->keys[0].tenant, "a");
    assert_false(ring->keys[0].has_tenant);
    assert_string_equal(ring->keys[1].tenant, "b");
    assert_true(ring->keys[1].has_tenant);
    keyring_unref(ring);
    db_close(db);
}

TEST(a_revoked_keys_name_may_be_used_again_and_its_key_may_not)
{
    struct db *db = open_db(path, true);
    struct conf_key first = key_of("bob", 1), second = key_of("bob", 2), stale = key_of("eve", 1);
    struct complaint why;
    char name[65];
    assert_int_equal(add(db, &first), OK);
    assert_int_equal(add(db, &second), FAIL_BAD_FIELD);
    assert_int_equal(db_key_revoke(db, TEXT("01070707"), 2000, name, &why), OK); /* by its fingerprint */
    assert_string_equal(name, "bob");
    assert_int_equal(db_key_revoke(db, TEXT("bob"), 2000, name, &why), FAIL_BAD_FIELD);
    struct keyring *ring = keys_of(db);
    assert_non_null(ring); /* there was one once: nobody may ask without a key */
    assert_int_equal(ring->count, 0);
    keyring_unref(ring);
    assert_int_equal(add(db, &second), OK);
    assert_int_equal(add(db, &stale), FAIL_BAD_FIELD);
    db_close(db);
}

TEST(a_row_that_nobody_of_us_wrote_is_no_key)
{
    struct db *db = open_db(path, true);
    struct conf_key k = key_of("good", 1);
    assert_int_equal(add(db, &k), OK);
    assert_null(strchr(path, '\''));
    sqlite3 *other = open_plain(path);
    do_sql(other, "INSERT INTO keys SELECT randomblob(32), 'r', tenant, 'root', models, priority, priority_max, 0, 0, 0, NULL, 1, 0, NULL, 1 FROM keys WHERE name = 'good'");
    do_sql(other, "INSERT INTO keys SELECT randomblob(32), 'p', tenant, role, models, 'high', 'low', 0, 0, 0, NULL, 1, 0, NULL, 1 FROM keys WHERE name = 'good'");
    sqlite3_close(other);
    bool changed;
    struct complaint why;
    assert_int_equal(db_has_changed(db, &changed, &why), OK);
    assert_true(changed);
    struct keyring *ring = keys_of(db);
    assert_int_equal(ring->count, 1);
    assert_string_equal(ring->keys[0].name, "good");
    keyring_unref(ring);
    db_close(db);
}

/* ---- spend ---- */

static enum fail count_row(void *arg, enum spend_kind kind, struct text name, int64_t start, int64_t micro)
{
    int64_t *sum = arg;
    (void)kind, (void)name, (void)start;
    sum[0]++;
    sum[1] += micro;
    return OK;
}

TEST(many_sums_are_few_rows)
{
    struct spend s;
    int64_t sum[2] = { 0 };
    spend_init(&s);
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(spend_set(&s, SPEND_KEY, i % 2 ? TEXT("a") : TEXT("b"), i % 3, i), OK);
        assert_int_equal(spend_set(&s, SPEND_TENANT, TEXT("a"), 0, 100000 - i), OK); /* whoever comes late */
    }
    assert_int_equal(spend_each(&s, count_row, sum), OK);
    assert_int_equal(sum[0], 7);
    assert_int_equal(sum[1], 100000 + 99999 + 99998 + 99997 + 99996 + 99995 + 99994);
    spend_fini(&s);
    assert_int_equal(spend_count(&s), 0);
}

TEST(periods_that_are_long_over_are_forgotten)
{
    struct db *db = open_db(path, true);
    struct complaint why;
    for (int64_t start = 0; start < 100; start++)
        for (int64_t sum = 5; sum >= 4; sum--)
            assert_int_equal(db_spend_set(db, SPEND_KEY, TEXT("a"), start, sum, &why), OK);
    db_close(db);
    assert_int_equal(number_in(path, "SELECT count(*) FROM spend"), DB_PERIODS_KEPT);
    assert_int_equal(number_in(path, "SELECT min(start) FROM spend"), 100 - DB_PERIODS_KEPT);
    assert_int_equal(number_in(path, "SELECT micro FROM spend WHERE start = 99"), 5);
}

/* ---- the writer ---- */

struct scene {
    struct world *world;
    struct worker worker;
    struct store *store;
    _Atomic unsigned changed;
    int64_t restored;
    void (*story)(struct task *t, struct scene *s);
};

static void count_change(void *arg) { ((struct scene *)arg)->changed++; }
static void count_restored(void *arg, enum spend_kind kind, struct text name, int64_t start, int64_t micro)
{
    (void)kind, (void)name, (void)start;
    ((struct scene *)arg)->restored += micro;
}

static void scene_open(struct scene *s, bool make)
{
    *s = (struct scene){ .world = world_real_new(0) };
    struct store_options options = { .world = s->world, .path = path, .make = make, .changed = count_change, .restore = count_restored, .arg = s };
    assert_non_null(s->world);
    assert_int_equal(store_new(&options, &s->store), OK);
    assert_int_equal(store_start(s->store), OK);
}

static void scene_close(struct scene *s)
{
    store_free(s->store);
    world_real_free(s->world);
}

static void story_task(struct task *t, void *arg)
{
    struct scene *s = arg;
    s->story(t, s);
    worker_stop(t->worker);
}

static void scene_play(struct scene *s, void (*story)(struct task *t, struct scene *s))
{
    s->story = story;
    assert_int_equal(worker_init(&s->worker, s->world, 0), OK);
    assert_non_null(task_start(&s->worker, "story", story_task, s));
    worker_run(&s->worker);
    worker_fini(&s->worker);
}

static const struct conf *conf_of(unsigned number)
{
    char yaml[160];
    const struct conf *conf;
    struct complaint why;
    snprintf(yaml, sizeof yaml, "{\"keys\":{\"k%u\":{\"key_sha256\":\"%064x\"}}}", number, number + 1);
    const struct conf_options options = { .yaml = text_of(yaml) };
    if (!conf_load(&options, &conf, &why))
        fail_msg("%s", why.text);
    return conf;
}

static enum fail add_number(struct task *t, struct scene *s, const struct conf *conf)
{
    struct complaint why;
    return store_key_add(t, s->store, conf, t->worker->now + 20 * NANOS_PER_S, &why);
}

#define CRASHES 100
static const struct conf *confs[CRASHES];

/* What a machine without power would find now has the key that was acknowledged, and every one before it. */
static void check_crash(unsigned keys, uint64_t seed)
{
    char crashed[96], file[128];
    snprintf(crashed, sizeof crashed, "%s/crashed", folder);
    assert_int_equal(mkdir(crashed, 0700), 0);
    torn_crash(crashed, seed);
    snprintf(file, sizeof file, "%s/weir.db", crashed);
    struct db *db = open_db(file, false);
    struct keyring *ring = keys_of(db);
    assert_non_null(ring);
    assert_true(ring->count >= keys);
    keyring_unref(ring);
    db_close(db);
    remove_store(crashed);
}

static unsigned acknowledged; /* of the story below: looked at from outside, since a task's stack is small */
static void add_one(struct task *t, struct scene *s)
{
    store_spend(s->store, SPEND_KEY, TEXT("k0"), 0, 1);
    assert_int_equal(add_number(t, s, confs[acknowledged]), OK);
    acknowledged++;
}

TEST(what_was_acknowledged_survives_a_loss_of_power)
{
    struct scene s;
    for (unsigned i = 0; i < CRASHES; i++)
        confs[i] = conf_of(i);
    torn_begin(path);
    scene_open(&s, true);
    for (acknowledged = 0; acknowledged < CRASHES;) {
        scene_play(&s, add_one);
        check_crash(acknowledged, 12345 + acknowledged);
    }
    struct keyring *ring = store_keys(s.store);
    assert_int_equal(ring->count, CRASHES);
    keyring_unref(ring);
    assert_true(s.changed >= CRASHES);
    scene_close(&s);
    torn_end();
    for (unsigned i = 0; i < CRASHES; i++)
        conf_unref(confs[i]);
}

TEST(a_flood_of_money_is_few_rows_and_none_is_lost)
{
    struct scene s;
    struct store_status status;
    scene_open(&s, false);
    for (int i = 0; i < 300000; i++)
        store_spend(s.store, SPEND_KEY, i % 2 ? TEXT("a") : TEXT("b"), 60, i + 1);
    store_status(s.store, &status);
    scene_close(&s);
    assert_int_equal(number_in(path, "SELECT sum(micro) FROM spend"), 300000 + 299999);
    assert_true(status.rows < 300); /* two a tenth of a second */
    scene_open(&s, false);
    assert_int_equal(s.restored, 300000 + 299999);
    scene_close(&s);
}

/* A server that spends, for its parent to kill. */
static void spend_until_killed(void)
{
    struct scene s;
    scene_open(&s, false);
    int64_t sum = s.restored;
    for (;;) {
        store_spend(s.store, SPEND_KEY, TEXT("a"), 60, ++sum);
        usleep(20);
    }
}

#define KILLS 20

TEST(no_sum_goes_back_when_the_server_is_killed)
{
    int64_t seen = 0;
    db_close(open_db(path, true));
    for (int i = 0; i < KILLS; i++) {
        int64_t before = seen;
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            spend_until_killed();
        for (int looks = 0; looks < 20000 && (seen <= before || looks < i * 5); looks++) { /* each time at another moment */
            usleep(1000);
            int64_t now = number_in(path, "SELECT coalesce(max(micro), 0) FROM spend");
            assert_true(now >= seen);
            seen = now;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_true(seen > before);
    }
}

/* Keeps the file locked from a connection of its own. */
static sqlite3 *lock_file(void)
{
    sqlite3 *other = open_plain(path);
    do_sql(other, "BEGIN IMMEDIATE");
    return other;
}

static void wait_for_failure(struct scene *s)
{
    struct store_status status = { 0 };
    for (nanos end = world_now(s->world) + 20 * NANOS_PER_S; status.state != STORE_FAILED;) {
        assert_true(world_now(s->world) < end);
        store_status(s->store, &status);
        usleep(1000);
    }
    assert_non_null(strstr(status.why, "locked"));
}

/* complaint 38 */
TEST(a_locked_file_keeps_nobody_waiting_and_its_money_is_written_later)
{
    struct scene s;
    scene_open(&s, true);
    sqlite3 *other = lock_file();
    store_spend(s.store, SPEND_TENANT, TEXT("acme"), 0, 40);
    wait_for_failure(&s);
    store_spend(s.store, SPEND_TENANT, TEXT("other"), 0, 2);
    do_sql(other, "ROLLBACK");
    sqlite3_close(other);
    scene_close(&s);
    assert_int_equal(number_in(path, "SELECT sum(micro) FROM spend"), 42);
}

static void add_to_gone(struct task *t, struct scene *s)
{
    struct complaint why;
    assert_int_equal(store_key_add(t, s->store, confs[0], t->worker->now + 20 * NANOS_PER_S, &why), FAIL_STORE);
    assert_non_null(strstr(why.text, "is gone"));
}

TEST(a_file_that_is_gone_is_not_begun_anew)
{
    struct scene s;
    struct stat st;
    scene_open(&s, true);
    assert_int_equal(unlink(path), 0);
    confs[0] = conf_of(0);
    scene_play(&s, add_to_gone);
    conf_unref(confs[0]);
    scene_close(&s);
    assert_int_not_equal(stat(path, &st), 0);
}

TEST(a_damaged_file_is_no_reason_to_let_everybody_in)
{
    struct scene s;
    db_close(open_db(path, true));
    assert_int_equal(truncate(path, 5000), 0);
    scene_open(&s, false);
    struct keyring *ring = store_keys(s.store);
    assert_true(ring != NULL && ring->is_unread && ring->count == 0);
    keyring_unref(ring);
    scene_close(&s);
}

TEST(nothing_to_keep_leaves_no_file)
{
    struct scene s;
    struct stat st;
    scene_open(&s, false);
    assert_null(store_keys(s.store));
    scene_close(&s);
    assert_int_not_equal(stat(path, &st), 0);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROW(a_new_file_is_its_owners_alone_and_says_whose_it_is),
        ROW(an_older_file_is_brought_forward_and_keeps_its_keys),
        ROW(a_file_of_a_newer_weir_is_left_alone),
        ROW(another_programs_database_is_left_alone),
        ROW(what_is_no_database_is_said_to_be_damaged),
        ROW(a_key_comes_back_as_it_was),
        ROW(whether_a_key_was_given_a_tenant_comes_back_even_if_it_has_its_name),
        ROW(a_revoked_keys_name_may_be_used_again_and_its_key_may_not),
        ROW(a_row_that_nobody_of_us_wrote_is_no_key),
        ROW(many_sums_are_few_rows),
        ROW(periods_that_are_long_over_are_forgotten),
        ROW(what_was_acknowledged_survives_a_loss_of_power),
        ROW(a_flood_of_money_is_few_rows_and_none_is_lost),
        ROW(no_sum_goes_back_when_the_server_is_killed),
        ROW(a_locked_file_keeps_nobody_waiting_and_its_money_is_written_later),
        ROW(a_file_that_is_gone_is_not_begun_anew),
        ROW(a_damaged_file_is_no_reason_to_let_everybody_in),
        ROW(nothing_to_keep_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
