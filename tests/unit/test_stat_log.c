/* test_stat_log.c: what log lines look like, that nobody can forge one, and that a blocked or full log costs lines and nothing else. */
#include "base/json.h"
#include "stat/inner.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h> /* last: it makes `fail` a macro */

/* A world with a clock of its own and nothing to wait for. */
static nanos clock_now, clock_wall;
static nanos fake_now(struct world *w) { (void)w; return clock_now; }
static nanos fake_wall(struct world *w) { (void)w; return clock_wall; }
static int fake_poll_new(struct world *w) { (void)w; return 0; }
static void fake_poll_free(struct world *w, int poll) { (void)w, (void)poll; }
static int fake_poll_wait(struct world *w, int poll, struct world_event *out, int max, nanos until) { (void)w, (void)poll, (void)out, (void)max, (void)until; return 0; }
static struct world fake_world = { .name = "fake", .now = fake_now, .wall = fake_wall, .poll_new = fake_poll_new, .poll_free = fake_poll_free, .poll_wait = fake_poll_wait };

#define WALL (1769904000 * NANOS_PER_S + 123 * NANOS_PER_MS) /* 2026-02-01T00:00:00.123Z */

struct fixture {
    struct log log;
    struct stats stats;
    struct worker worker;
    int pipe[2];
    char said[600000];
};
static struct fixture fx; /* too large for a frame */

/* A log into a pipe; packets: each write can be told from the next. */
static void begin(enum log_format format, bool packets)
{
    clock_now = NANOS_PER_S;
    clock_wall = WALL;
    memset(&fx, 0, sizeof fx);
    assert_int_equal(pipe2(fx.pipe, O_CLOEXEC | O_NONBLOCK | (packets ? O_DIRECT : 0)), 0);
    log_init(&fx.log, &fake_world);
    fx.log.fd = fx.pipe[1];
    fx.log.is_file = false; /* as log_open would have found; stderr may be one */
    log_set(&fx.log, LOG_LEVEL_INFO, format, true);
    stat_init(&fx.stats, &fake_world, &fx.log, "0", NULL, 0);
    assert_int_equal(worker_init(&fx.worker, &fake_world, 0), OK);
    assert_int_equal(stat_attach(&fx.stats, &fx.worker), OK);
}

static void end(void)
{
    stat_detach(&fx.worker);
    worker_fini(&fx.worker);
    stat_fini(&fx.stats);
    log_fini(&fx.log); /* closes the writing end */
    close(fx.pipe[0]);
}

/* A turn late enough for access lines, which wait a moment for company. */
static void turn(void)
{
    clock_now += 11 * NANOS_PER_MS;
    worker_turn(&fx.worker, clock_now);
}

/* One read of the pipe; "" if there is nothing. */
static const char *said(void)
{
    ssize_t n = read(fx.pipe[0], fx.said, sizeof fx.said - 1);
    fx.said[MAX(n, 0)] = '\0';
    return fx.said;
}

static uint64_t dropped(void)
{
    return stat_total(&fx.stats, COUNTER_log_lines_dropped);
}

static struct access_line plain_line(void)
{
    return (struct access_line){
        .request_id = TEXT("req-0123456789abcdef"), .client = TEXT("127.0.0.1:50123"), .key_name = TEXT("team-a"), .method = TEXT("POST"),
        .path = TEXT("/v1/chat/completions"), .model = TEXT("chat"), .backend = TEXT("gpu1"), .cache = TEXT("miss"), .outcome = OUTCOME_answered,
        .status = 200, .attempts = 1, .queue = 0, .first_token = 52345678, .total = 1234567890, .overhead = 61999,
        .prompt_tokens = 17, .completion_tokens = 42, .received_bytes = 600, .sent_bytes = 12345,
    };
}

/* ---- the shape of a line ---- */

static void test_access_line_for_people(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    struct access_line a = plain_line();
    log_access(&fx.worker, &a);
    assert_string_equal(said(), ""); /* not before the turn ends */
    turn();
    assert_string_equal(said(), "2026-02-01T00:00:00.123Z info  request  status=200 outcome=answered  total_ms=1234.567   request_id=req-0123456789abcdef"
                                " method=POST path=/v1/chat/completions client=127.0.0.1:50123 key=team-a model=chat backend=gpu1 cache=miss attempts=1"
                                " queue_ms=0.000 first_token_ms=52.345 overhead_us=61 prompt_tokens=17 completion_tokens=42 received_bytes=600 sent_bytes=12345\n");
    end();
}

static void test_access_line_for_programs(void **state)
{
    (void)state;
    begin(LOG_FORMAT_JSON, false);
    struct access_line a = plain_line();
    log_access(&fx.worker, &a);
    turn();
    assert_string_equal(said(), "{\"time\":\"2026-02-01T00:00:00.123Z\",\"level\":\"info\",\"event\":\"request\",\"status\":200,\"outcome\":\"answered\",\"total_ms\":1234.567,"
                                "\"request_id\":\"req-0123456789abcdef\",\"method\":\"POST\",\"path\":\"/v1/chat/completions\",\"client\":\"127.0.0.1:50123\",\"key\":\"team-a\","
                                "\"model\":\"chat\",\"backend\":\"gpu1\",\"cache\":\"miss\",\"attempts\":1,\"queue_ms\":0.000,\"first_token_ms\":52.345,\"overhead_us\":61,"
                                "\"prompt_tokens\":17,\"completion_tokens\":42,\"received_bytes\":600,\"sent_bytes\":12345}\n");
    end();
}

static void test_what_did_not_happen_is_left_out(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    struct access_line a = {
        .path = TEXT("/x"), .outcome = OUTCOME_refused, .reason = "NO_PATH", .status = 404,
        .queue = -1, .first_token = -1, .total = 15000, .overhead = -1, .prompt_tokens = -1, .completion_tokens = -1,
    };
    log_access(&fx.worker, &a);
    turn();
    assert_string_equal(said(), "2026-02-01T00:00:00.123Z info  request  status=404 outcome=refused   total_ms=0.015      path=/x attempts=0 received_bytes=0 sent_bytes=0 reason=NO_PATH\n");
    end();
}

static void test_query_is_never_written(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    struct access_line a = plain_line();
    a.path = TEXT("/v1/models?key=sk-CANARY");
    log_access(&fx.worker, &a);
    turn();
    assert_non_null(strstr(said(), " path=/v1/models client="));
    assert_null(strstr(fx.said, "CANARY"));
    end();
}

static void test_message_line(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    log_line(&fx.worker, LOG_LEVEL_WARN, "backend", "%s: %d attempts failed", "gpu1", 3);
    log_line(&fx.worker, LOG_LEVEL_ERROR, "config", "unchanged");
    turn();
    assert_string_equal(said(), "2026-02-01T00:00:00.123Z warn  backend  message=\"gpu1: 3 attempts failed\"\n"
                                "2026-02-01T00:00:00.123Z error config   message=unchanged\n");
    log_set(&fx.log, LOG_LEVEL_INFO, LOG_FORMAT_JSON, true);
    clock_wall += 1877 * NANOS_PER_MS;
    turn();
    log_line(&fx.worker, LOG_LEVEL_INFO, "config", "applied");
    turn();
    assert_string_equal(said(), "{\"time\":\"2026-02-01T00:00:02.000Z\",\"level\":\"info\",\"event\":\"config\",\"message\":\"applied\"}\n");
    end();
}

static void test_line_from_a_thread_without_a_worker(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    log_line(NULL, LOG_LEVEL_INFO, "start", "listening");
    assert_string_equal(said(), "2026-02-01T00:00:00.123Z info  start    message=listening\n"); /* at once */
    end();
    assert_false(log_wants(NULL, LOG_LEVEL_ERROR)); /* the log has ended */
    log_line(NULL, LOG_LEVEL_ERROR, "late", "goes nowhere, harms nobody");
}

static void test_levels(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    struct access_line a = plain_line();
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        log_set(&fx.log, level, LOG_FORMAT_TEXT, true);
        for (int of = LOG_LEVEL_ERROR; of <= LOG_LEVEL_DEBUG; of++) {
            assert_int_equal(log_wants(&fx.worker, of), of <= level);
            log_line(&fx.worker, of, "x", "y");
            turn();
            assert_int_equal(said()[0] != '\0', of <= level);
        }
        log_access(&fx.worker, &a);
        turn();
        assert_int_equal(said()[0] != '\0', level >= LOG_LEVEL_INFO);
    }
    log_set(&fx.log, LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT, false); /* log.access: off */
    log_access(&fx.worker, &a);
    turn();
    assert_string_equal(said(), "");
    end();
}

/* ---- hostile values ---- */

static void test_escapes(void **state)
{
    (void)state;
    static const struct {
        const char *model, *text, *json;
    } rows[] = {
        { "plain", "model=plain ", "\"model\":\"plain\"" },
        { "two words", "model=\"two words\" ", "\"model\":\"two words\"" },
        { "a=b", "model=\"a=b\" ", "\"model\":\"a=b\"" },
        { "a\r\n2026", "model=\"a\\r\\n2026\" ", "\"model\":\"a\\r\\n2026\"" },
        { "\"\\", "model=\"\\\"\\\\\" ", "\"model\":\"\\\"\\\\\"" },
        { "\x1b[2J\a\x7f\t", "model=\"\\u001b[2J\\u0007\\u007f\\t\" ", "\"model\":\"\\u001b[2J\\u0007\\u007f\\t\"" },
        { "m\xc3\xbcller", "model=\"m\xc3\xbcller\" ", "\"model\":\"m\xc3\xbcller\"" },
        { "\xc2\x9b" "2J", "model=\"\\u009b2J\" ", "\"model\":\"\\u009b2J\"" },                                       /* CSI as one character */
        { "a\xe2\x80\xae" "b", "model=\"a\\u202eb\" ", "\"model\":\"a\\u202eb\"" },                                   /* text runs backwards from here */
        { "a\xff\xc3", "model=\"a\xef\xbf\xbd\xef\xbf\xbd\" ", "\"model\":\"a\xef\xbf\xbd\xef\xbf\xbd\"" },           /* no UTF-8; cut short */
        { "\xf0\x9f\x98\x80", "model=\"\xf0\x9f\x98\x80\" ", "\"model\":\"\xf0\x9f\x98\x80\"" },
        { "\xed\xa0\x80", "model=\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\" ", "\"model\":\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"" }, /* a surrogate */
    };
    for (int json = 0; json <= 1; json++) {
        begin(json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT, false);
        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            struct access_line a = plain_line();
            a.model = text_of(rows[i].model);
            log_access(&fx.worker, &a);
            turn();
            assert_non_null(strstr(said(), json ? rows[i].json : rows[i].text));
        }
        end();
    }
}

static void test_long_values_are_cut(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    char name[300];
    memset(name, 'a', sizeof name);
    static const struct {
        size_t len;
        const char *expect_end;
    } rows[] = { { 127, "aaaa " }, { 128, "aaaa " }, { 129, "aa...\" " }, { 300, "aa...\" " } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct access_line a = plain_line();
        a.model = (struct text){ name, rows[i].len };
        log_access(&fx.worker, &a);
        turn();
        const char *backend = strstr(said(), "backend=");
        assert_non_null(backend);
        assert_memory_equal(backend - strlen(rows[i].expect_end), rows[i].expect_end, strlen(rows[i].expect_end));
    }
    end();
}

/* The smallest generator that is the same everywhere (xorshift64). */
static uint64_t dice(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Mostly what hurts: quotes, controls, lead bytes without their rest. */
static struct text nasty(uint64_t *seed, char *room, size_t max)
{
    static const char worst[] = "\"\\\n\r\x1b\x7f\xff\xc2\x9b\xe2\x80\xae= {},:a";
    size_t len = dice(seed) % (max + 1);
    for (size_t i = 0; i < len; i++)
        room[i] = dice(seed) % 4 ? worst[dice(seed) % (sizeof worst - 1)] : (char)dice(seed);
    return (struct text){ room, len };
}

static void check_line(struct text line, bool json)
{
    assert_true(line.len <= LOG_LINE_MAX && line.len > 0);
    assert_int_equal(line.at[line.len - 1], '\n');
    for (size_t i = 0; i + 1 < line.len; i++)
        assert_true((unsigned char)line.at[i] >= 0x20 && line.at[i] != 0x7f);
    assert_true(text_is_utf8(line));
    assert_int_equal(text_find(line, TEXT("\xc2\x9b")), -1);
    assert_true(text_find(line, json ? TEXT(",\"sent_bytes\":18446744073709551615,") : TEXT(" sent_bytes=18446744073709551615")) > 0); /* there was room for all */
    if (!json)
        return;
    struct json_span member;
    for (size_t cursor = 0; json_span_next(line, &cursor, &member);)
        assert_true(member.value.len <= 2 + (text_eq(member.key, TEXT("path")) ? 256u : text_eq(member.key, TEXT("cache")) ? 16u : 128u)); /* 2: the quotes */
    struct arena arena;
    arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    yyjson_doc *doc;
    const char *why;
    assert_int_equal(json_parse(&arena, line, &doc, NULL), OK);
    assert_int_equal(yyjson_obj_size(yyjson_doc_get_root(doc)) >= 14, 1);
    assert_int_equal(json_check_keys(yyjson_doc_get_root(doc), &why), OK);
    arena_fini(&arena);
}

/* hostile 75 */
static void test_nobody_forges_a_line(void **state)
{
    (void)state;
    static char room[8][4000];
    for (int json = 0; json <= 1; json++) {
        begin(json ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT, false);
        uint64_t seed = 88172645463325252ULL;
        for (int round = 0; round < 3000; round++) {
            size_t max = round % 3 == 0 ? 3999 : 70;
            struct access_line a = {
                .request_id = nasty(&seed, room[0], max), .client = nasty(&seed, room[1], max), .key_name = nasty(&seed, room[2], max), .method = nasty(&seed, room[3], max),
                .path = nasty(&seed, room[4], max), .model = nasty(&seed, room[5], max), .backend = nasty(&seed, room[6], max), .cache = nasty(&seed, room[7], max),
                .outcome = OUTCOME_cancelled, .reason = "CLIENT_GONE", .status = 499, .attempts = UINT32_MAX, .queue = NEVER, .first_token = NEVER, .total = NEVER,
                .overhead = NEVER, .prompt_tokens = INT64_MAX, .completion_tokens = INT64_MAX, .received_bytes = UINT64_MAX, .sent_bytes = UINT64_MAX,
            };
            log_access(&fx.worker, &a);
            turn();
            check_line(text_of(said()), json);
        }
        assert_int_equal(dropped(), 0);
        end();
    }
}

static void test_messages_are_cut_and_escaped(void **state)
{
    (void)state;
    static char long_one[5000];
    memset(long_one, '\n', sizeof long_one - 1);
    for (int direct = 0; direct <= 1; direct++) {
        begin(LOG_FORMAT_JSON, false);
        log_line(direct ? NULL : &fx.worker, LOG_LEVEL_ERROR, "x", "%s", long_one);
        memset(long_one, 0x1b, sizeof long_one - 1);
        log_line(direct ? NULL : &fx.worker, LOG_LEVEL_ERROR, "x", "%s", long_one);
        turn();
        struct text rest = text_of(said());
        for (int i = 0; i < 2; i++) {
            struct text line;
            rest = text_cut(rest, '\n', &line);
            assert_true(line.len > 1000 && line.len < LOG_LINE_MAX);
            assert_true(text_ends(line, TEXT("...\"}")));
        }
        assert_int_equal(rest.len, 0);
        end();
    }
}

/* ---- where lines go ---- */

static void test_one_write_a_turn(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, true);
    for (int i = 0; i < 5; i++)
        log_line(&fx.worker, LOG_LEVEL_INFO, "x", "%d", i);
    turn();
    assert_non_null(strstr(said(), "message=4\n")); /* all in the first packet */
    assert_string_equal(said(), "");
    end();
}

static void test_much_is_written_before_the_turn_ends(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    struct access_line a = plain_line();
    int lines = 0;
    while (said()[0] == '\0') {
        log_access(&fx.worker, &a);
        assert_true(++lines < 1000);
    }
    assert_true(strlen(fx.said) >= LOG_WRITE_AT);
    end();
}

/* Reads everything, turn by turn, and checks that lines are whole and in order. Returns how many there were; *next: the number the first must have. */
static int read_numbered(int *next)
{
    int count = 0;
    char line[LOG_LINE_MAX] = "";
    size_t at = 0;
    for (int quiet = 0; quiet < 3; quiet++) {
        for (const char *c = said(); *c != '\0'; c++) {
            line[at++] = *c;
            if (*c != '\n')
                continue;
            int number;
            line[at] = '\0';
            assert_int_equal(sscanf(line, "2026-02-01T00:00:0%*1[01].%*3[0-9]Z info  x        message=%d\n", &number), 1);
            assert_int_equal(number, (*next)++);
            at = 0, count++, quiet = 0;
        }
        clock_now += NANOS_PER_S; /* the retry is due */
        turn();
    }
    assert_int_equal(at, 0);
    return count;
}

static void test_blocked_pipe_costs_lines_and_no_time(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    fcntl(fx.pipe[1], F_SETFL, 0); /* blocking, as stderr is: a careless write would hang here for ever */
    int sent = 0, next = 0;
    for (; dropped() == 0; sent++) {
        log_line(&fx.worker, LOG_LEVEL_INFO, "x", "%d", sent);
        turn();
        assert_true(sent < 100000);
    }
    sent--; /* the first that was lost */
    assert_true(sent * 50 > (int)LOG_PENDING_MAX); /* all it could keep, it kept */
    for (int i = 0; i < 10; i++)
        log_line(&fx.worker, LOG_LEVEL_INFO, "x", "lost");
    assert_int_equal(dropped(), 11);

    assert_int_equal(read_numbered(&next), sent); /* nothing new was said: the timer brought the rest */
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "%d", sent);
    turn();
    assert_int_equal(read_numbered(&next), 1);
    assert_int_equal(dropped(), 11);
    end();
}

static void test_blocked_pipe_drops_direct_lines(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    fcntl(fx.pipe[1], F_SETFL, 0);
    for (int i = 0; dropped() == 0; i++) {
        log_line(NULL, LOG_LEVEL_INFO, "x", "%d", i);
        assert_true(i < 100000);
    }
    end();
}

static void test_reader_gone(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    close(fx.pipe[0]);
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "1");
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "2");
    turn(); /* without a SIGPIPE */
    assert_int_equal(dropped(), 2);
    fx.pipe[0] = open("/dev/null", O_RDONLY);
    end();
}

static void test_full_disk(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    assert_int_equal(log_open(&fx.log, "/dev/full"), OK);
    for (int i = 0; i < 3; i++)
        log_line(&fx.worker, LOG_LEVEL_INFO, "x", "%d", i);
    turn();
    assert_int_equal(dropped(), 3);
    log_line(NULL, LOG_LEVEL_INFO, "x", "4");
    assert_int_equal(dropped(), 4);
    end();
}

/* A file that may not grow past a size is a disk that fills up within a line. */
static void test_torn_line_does_not_swallow_the_next(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    char path[] = "/tmp/weir-log-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(log_open(&fx.log, path), OK);
    fx.log.torn = true; /* as a write leaves it that stopped at "half" */
    assert_int_equal(write(fd, "half", 4), 4);
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "1");
    turn();
    char got[256] = "";
    assert_true(pread(fd, got, sizeof got - 1, 0) > 0);
    assert_string_equal(got, "half\n2026-02-01T00:00:00.123Z info  x        message=1\n");
    assert_false(fx.log.torn);
    close(fd);
    unlink(path);
    end();
}

/* The first line that can be written after a full disk says how many are missing; once. */
static void test_missing_lines_are_told(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    char path[] = "/tmp/weir-log-XXXXXX", got[512] = "";
    close(mkstemp(path));
    assert_int_equal(log_open(&fx.log, "/dev/full"), OK);
    for (int i = 0; i < 3; i++)
        log_line(&fx.worker, LOG_LEVEL_INFO, "x", "%d", i);
    turn();
    assert_int_equal(log_open(&fx.log, path), OK);
    for (int i = 3; i < 5; i++) {
        log_line(&fx.worker, LOG_LEVEL_INFO, "x", "%d", i);
        turn();
    }
    int fd = open(path, O_RDONLY);
    assert_true(read(fd, got, sizeof got - 1) > 0);
    assert_string_equal(got, "2026-02-01T00:00:00.123Z warn  log      message=\"3 log lines were lost here: No space left on device\"\n"
                             "2026-02-01T00:00:00.123Z info  x        message=3\n2026-02-01T00:00:00.123Z info  x        message=4\n");
    assert_int_equal(dropped(), 3);
    close(fd);
    unlink(path);
    end();
}

static void test_reopen_after_rotation(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    char path[] = "/tmp/weir-log-XXXXXX", old[64], got[256] = "";
    close(mkstemp(path));
    snprintf(old, sizeof old, "%s.1", path);
    assert_int_equal(log_open(&fx.log, path), OK);
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "before");
    turn();
    assert_int_equal(rename(path, old), 0);
    assert_int_equal(log_reopen(&fx.log), OK);
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "after");
    turn();
    for (int i = 0; i < 2; i++) {
        int fd = open(i == 0 ? old : path, O_RDONLY);
        ssize_t n = read(fd, got, sizeof got - 1);
        assert_true(n > 0);
        got[n] = '\0';
        assert_non_null(strstr(got, i == 0 ? "message=before\n" : "message=after\n"));
        assert_null(strstr(got, i == 0 ? "after" : "before"));
        close(fd);
    }
    /* a file that cannot be opened: the old one stays */
    assert_int_equal(log_open(&fx.log, "/proc/no/such/file"), FAIL_SYSTEM);
    assert_int_equal(errno, ENOENT);
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "still");
    turn();
    assert_int_equal(dropped(), 0);
    unlink(old);
    unlink(path);
    end();
}

static void test_no_memory_costs_a_line(void **state)
{
    (void)state;
    begin(LOG_FORMAT_TEXT, false);
    (void)mem_fault(1);
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "lost");
    (void)mem_fault(0);
    log_line(&fx.worker, LOG_LEVEL_INFO, "x", "kept");
    turn();
    assert_int_equal(dropped(), 1);
    assert_non_null(strstr(said(), "message=kept\n"));
    end();
}

/* ---- the date ---- */

/* Every day from 1970 to 2262 by counting months, the way nobody gets wrong. */
static void test_every_date(void **state)
{
    (void)state;
    static const int lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    int64_t days = 0;
    for (int year = 1970; year <= 2262; year++) {
        bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        for (int month = 1; month <= 12; month++) {
            for (int day = 1; day <= lengths[month - 1] + (month == 2 && leap); day++, days++) {
                char stamp[STAMP_LEN + 1] = "", expect[64];
                int second = (int)(days * 7919 % 86400);
                stamp_write(days * 86400 + second, stamp);
                snprintf(expect, sizeof expect, "%04d-%02d-%02dT%02d:%02d:%02d.", year, month, day, second / 3600, second / 60 % 60, second % 60);
                assert_string_equal(stamp, expect);
            }
        }
    }
    char stamp[STAMP_LEN + 1] = "";
    stamp_write(-1, stamp);
    assert_string_equal(stamp, "1969-12-31T23:59:59.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access_line_for_people),
        cmocka_unit_test(test_access_line_for_programs),
        cmocka_unit_test(test_what_did_not_happen_is_left_out),
        cmocka_unit_test(test_query_is_never_written),
        cmocka_unit_test(test_message_line),
        cmocka_unit_test(test_line_from_a_thread_without_a_worker),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_escapes),
        cmocka_unit_test(test_long_values_are_cut),
        cmocka_unit_test(test_nobody_forges_a_line),
        cmocka_unit_test(test_messages_are_cut_and_escaped),
        cmocka_unit_test(test_one_write_a_turn),
        cmocka_unit_test(test_much_is_written_before_the_turn_ends),
        cmocka_unit_test(test_blocked_pipe_costs_lines_and_no_time),
        cmocka_unit_test(test_blocked_pipe_drops_direct_lines),
        cmocka_unit_test(test_reader_gone),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_torn_line_does_not_swallow_the_next),
        cmocka_unit_test(test_missing_lines_are_told),
        cmocka_unit_test(test_reopen_after_rotation),
        cmocka_unit_test(test_no_memory_costs_a_line),
        cmocka_unit_test(test_every_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
