/* test_relay_flight.c: what lies in a flight for one reader and for several, and who pays. What waits is in tests/sim/test_joins.c. */
#include "relay/flight.h"
#include <string.h>

#include "test_base.h"

#define BUFFER 16384

struct rig {
    struct worker worker; /* its list for the end of a turn is all that is used */
    struct hangar hangar;
    struct flight *flight;
};

static void rig_init(struct rig *g, bool is_shared)
{
    memset(&g->worker, 0, sizeof g->worker);
    list_init(&g->worker.turn_end);
    hangar_init(&g->hangar);
    g->flight = flight_new(&g->hangar, BUFFER);
    assert_non_null(g->flight);
    if (is_shared)
        flight_share(g->flight, &g->worker, NANOS_PER_S);
}

static void rig_fini(struct rig *g)
{
    flight_let_go(g->flight);
    assert_true(list_is_empty(&g->worker.turn_end)); /* nothing comes back to what is gone */
    hangar_fini(&g->hangar);
}

static void write_bytes(struct flight *f, char what, size_t bytes)
{
    char some[BUFFER];
    memset(some, what, sizeof some);
    assert_int_equal(flight_append(f, (struct text){ some, bytes }), OK);
}

static void commit(struct flight *f)
{
    f->status = 200;
    flight_commit(f);
}

/* Takes all that is there; how much it was. All must be `what`. */
static size_t read_all(struct flight_reader *r, char what)
{
    size_t n = 0;
    for (struct text some = flight_next(r); some.len > 0; some = flight_next(r)) {
        assert_true(some.at[0] == what && some.at[some.len - 1] == what);
        n += some.len;
        flight_took(r, some.len);
    }
    return n;
}

TEST(one_reader_frees_what_it_read)
{
    struct rig g;
    struct flight_reader r;
    rig_init(&g, false);
    flight_reader_begins(g.flight, &r);
    write_bytes(g.flight, 'x', 10);
    flight_forget(g.flight); /* another backend is asked */
    write_bytes(g.flight, 'a', 9000);
    commit(g.flight);
    assert_int_equal(read_all(&r, 'a'), 9000);
    assert_int_equal(g.hangar.chunks.used, 0);
    write_bytes(g.flight, 'b', 10);
    assert_int_equal(read_all(&r, 'b'), 10);
    assert_false(flight_is_read(&r));
    flight_end(g.flight, OK);
    assert_true(flight_is_read(&r) && flight_is_whole(&r));
    flight_reader_leaves(&r);
    rig_fini(&g);
}

TEST(who_comes_late_reads_from_the_beginning)
{
    struct rig g;
    struct flight_reader r[3];
    rig_init(&g, true);
    flight_reader_begins(g.flight, &r[0]);
    write_bytes(g.flight, 'x', 5000);
    flight_forget(g.flight);
    write_bytes(g.flight, 'a', 3000);
    commit(g.flight);
    assert_int_equal(read_all(&r[0], 'a'), 3000);
    flight_reader_begins(g.flight, &r[1]);
    write_bytes(g.flight, 'a', 3000);
    assert_int_equal(read_all(&r[1], 'a'), 6000);
    assert_int_equal(read_all(&r[0], 'a'), 3000);
    flight_reader_leaves(&r[0]);
    flight_end(g.flight, OK);
    assert_true(flight_is_read(&r[1]));
    size_t kept = 0;
    for (const struct flight_chunk *c = flight_chunks(g.flight); c != NULL; c = c->next)
        kept += c->len;
    assert_int_equal(kept, 6000);
    flight_reader_begins(g.flight, &r[2]);
    assert_int_equal(read_all(&r[2], 'a'), 6000);
    flight_reader_leaves(&r[1]);
    flight_reader_leaves(&r[2]);
    rig_fini(&g);
}

TEST(an_answer_in_one_piece_is_whole_for_each)
{
    struct rig g;
    struct flight_reader r[2];
    rig_init(&g, true);
    for (int i = 0; i < 2; i++)
        flight_reader_begins(g.flight, &r[i]);
    write_bytes(g.flight, 'a', 3000);
    write_bytes(g.flight, 'a', 3000);
    assert_int_equal(flight_gather(g.flight), OK);
    commit(g.flight);
    assert_false(flight_is_whole(&r[0]));
    flight_end(g.flight, OK);
    for (int i = 0; i < 2; i++) {
        assert_true(flight_is_whole(&r[i]) && flight_next(&r[i]).len == 6000);
        flight_reader_leaves(&r[i]);
    }
    rig_fini(&g);
}

static void pays(struct flight_reader *r, int64_t prompt, int64_t answer, int64_t due_prompt, int64_t due_answer)
{
    assert_true(flight_pays(r));
    flight_pay(r, &prompt, &answer);
    assert_int_equal(prompt, due_prompt);
    assert_int_equal(answer, due_answer);
}

TEST(what_several_read_is_paid_once)
{
    struct rig g;
    struct flight_reader r[4];
    rig_init(&g, true);
    g.flight->bill = mem_zero(sizeof *g.flight->bill);
    assert_non_null(g.flight->bill);
    g.flight->bill->holders = 1;
    for (int i = 0; i < 4; i++)
        flight_reader_begins(g.flight, &r[i]);
    r[0].pays = true;
    assert_false(flight_pays(&r[1])); /* the first one is there */
    pays(&r[0], 100, 5, 100, 5);
    pays(&r[1], 90, 12, 0, 7); /* it was foreseen too high: that is nobody's credit */
    flight_end(g.flight, OK);
    pays(&r[2], 90, 30, 0, 18);
    assert_false(flight_pays(&r[3])); /* all of it is paid */
    for (int i = 0; i < 4; i++)
        flight_reader_leaves(&r[i]);
    rig_fini(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(one_reader_frees_what_it_read), cmocka_unit_test(who_comes_late_reads_from_the_beginning),
                                        cmocka_unit_test(an_answer_in_one_piece_is_whole_for_each), cmocka_unit_test(what_several_read_is_paid_once) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
