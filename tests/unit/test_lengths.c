/* test_lengths.c: what says a length and what is then written must agree: for every encoder the bytes are read back by another reader. */
#include "base/json.h"
#include "net/http_parse.h"
#include "net/http_write.h"
#include "net/sse.h"
#include "upstream/upstream.h"
#include "test_base.h"

static uint32_t dice = 3;

static uint32_t below(uint32_t n)
{
    dice = dice * 1664525u + 1013904223u;
    return (dice >> 8) % n;
}

/* The one message in `bytes`: its body, and that nothing is left. */
static void read_back(enum http_kind kind, struct text bytes, struct buf *body)
{
    struct http_parse_limits limits = { 65536, 8192, HTTP_HEADERS_MAX };
    struct http_parser p;
    struct arena arena;
    struct http_event e = { HTTP_NEED_MORE, TEXT_NONE };
    size_t eaten;
    arena_init(&arena, NULL, 0, 1 << 20);
    http_parser_init(&p, kind, &limits);
    http_parser_begin(&p, &arena);
    buf_clear(body);
    while (e.kind != HTTP_GOT_END) {
        assert_int_equal(http_parse(&p, bytes, &eaten, &e), OK);
        bytes.at += eaten;
        bytes.len -= eaten;
        assert_true(e.kind != HTTP_NEED_MORE || bytes.len > 0);
        if (e.kind == HTTP_GOT_BODY)
            assert_int_equal(buf_add_text(body, e.body), OK);
    }
    assert_int_equal(bytes.len, 0);
    arena_fini(&arena);
}

/* hostile 72: chunks of every size around the powers of 16, where the number of digits changes. */
TEST(a_chunk_is_as_long_as_it_says)
{
    static char bytes[70000];
    struct buf out, back;
    buf_init(&out, 1 << 20);
    buf_init(&back, 1 << 20);
    memset(bytes, 'x', sizeof bytes);
    for (size_t power = 1; power <= 65536; power *= 16)
        for (size_t n = power > 2 ? power - 2 : 1; n < power + 3; n++) {
            buf_clear(&out);
            assert_int_equal(http_write_status(&out, 200, 1), OK);
            assert_int_equal(http_write_chunked(&out), OK);
            assert_int_equal(http_write_head_end(&out), OK);
            assert_int_equal(http_write_chunk(&out, (struct text){ bytes, n }), OK);
            assert_int_equal(http_write_chunk(&out, TEXT("tail")), OK);
            assert_int_equal(http_write_chunk_last(&out), OK);
            read_back(HTTP_KIND_RESPONSE, buf_text(&out), &back);
            assert_int_equal(buf_len(&back), n + 4);
            assert_memory_equal(buf_text(&back).at + n, "tail", 4);
        }
    buf_fini(&out);
    buf_fini(&back);
}

/* hostile 72: a body of random members, and any number of its places replaced by texts shorter, longer or empty. */
TEST(a_composed_request_is_as_long_as_it_says)
{
    struct endpoint e = { .base = TEXT("/v1"), .host_header = TEXT("b:80"), .kind = CONF_KIND_OPENAI };
    struct slot slot = { .endpoint = &e };
    struct call call = { .path = TEXT("/v1/chat/completions"), .request_id = TEXT("id") };
    struct buf out, back, expected;
    buf_init(&out, 1 << 20), buf_init(&back, 1 << 20), buf_init(&expected, 1 << 20);
    buf_init(&call.body, 1 << 20);
    for (unsigned round = 0; round < 3000; round++) {
        char name[64], with[SPLICES_MAX][64];
        size_t head_from, at = 0;
        buf_clear(&out), buf_clear(&expected), buf_clear(&call.body);
        for (unsigned i = 0, n = 1 + below(2000); i < n; i++)
            assert_int_equal(buf_add(&call.body, &"abc{}[]\",:\\ \n"[below(13)], 1), OK);
        size_t len = buf_len(&call.body);
        slot.model = (struct text){ name, below(sizeof name) };
        for (size_t i = 0; i < slot.model.len; i++)
            name[i] = (char)below(256); /* escapes, and bytes that are no UTF-8 */
        call.splice_count = below(SPLICES_MAX + 1);
        for (unsigned i = 0; i < call.splice_count; i++) {
            size_t from = at + below((uint32_t)(len - at) + 1), to = from + below((uint32_t)MIN(len - from, 40u) + 1);
            memset(with[i], 'w', sizeof with[i]);
            call.splices[i] = (struct splice){ from, to, { with[i], below(sizeof with[i]) }, below(2) == 0 };
            assert_int_equal(buf_add(&expected, buf_text(&call.body).at + at, from - at), OK);
            assert_int_equal(call.splices[i].is_model ? json_add_string(&expected, slot.model) : buf_add_text(&expected, call.splices[i].with), OK);
            at = to;
        }
        assert_int_equal(buf_add(&expected, buf_text(&call.body).at + at, len - at), OK);
        assert_int_equal(request_compose(&call, &slot, &out, &head_from), OK);
        struct buf wire;
        buf_init(&wire, 1 << 20);
        assert_int_equal(buf_add(&wire, buf_text(&out).at + head_from, buf_len(&out) - head_from), OK);
        assert_int_equal(buf_add(&wire, buf_text(&out).at, head_from), OK);
        read_back(HTTP_KIND_REQUEST, buf_text(&wire), &back);
        assert_true(text_eq(buf_text(&back), buf_text(&expected)));
        buf_fini(&wire);
    }
    buf_fini(&out), buf_fini(&back), buf_fini(&expected), buf_fini(&call.body);
}

/* hostile 72: a string is escaped into exactly the ceiling that holds it, and not into one byte less. */
TEST(an_escaped_string_fits_exactly_its_length_or_not_at_all)
{
    for (unsigned round = 0; round < 2000; round++) {
        char bytes[80];
        size_t n = below(sizeof bytes);
        struct buf b;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (char)below(256);
        buf_init(&b, 1000);
        assert_int_equal(json_add_string(&b, (struct text){ bytes, n }), OK);
        size_t length = buf_len(&b);
        buf_fini(&b);
        buf_init(&b, length);
        assert_int_equal(json_add_string(&b, (struct text){ bytes, n }), OK);
        buf_fini(&b);
        buf_init(&b, length - 1);
        assert_int_equal(json_add_string(&b, (struct text){ bytes, n }), FAIL_TOO_LARGE);
        assert_int_equal(buf_len(&b), 0);
        buf_fini(&b);
    }
}

/* ---- every other writer that measures before it writes ---- */

#define DOTS "................................................................................"

typedef enum fail writer(struct buf *b, struct text in);

static enum fail write_event(struct buf *b, struct text in)
{
    struct sse_event e = { .data = in, .retry_ms = in.len % 3 == 0 ? (int64_t)in.len * 7919 : -1 };
    e.name = in.len % 2 == 0 ? TEXT("name") : TEXT_NONE;
    e.id = in.len % 5 == 0 ? TEXT("id") : TEXT_NONE;
    return sse_write_event(b, &e);
}
static enum fail write_comment(struct buf *b, struct text in) { return sse_write_comment(b, (struct text){ DOTS, in.len }); }
static enum fail write_header(struct buf *b, struct text in) { return http_write_header(b, TEXT("x"), (struct text){ DOTS, in.len }); }
static enum fail write_number(struct buf *b, struct text in) { return http_write_header_number(b, TEXT("n"), in.len > 0 ? (int64_t)1 << in.len % 63 : INT64_MIN); }
static enum fail write_chunk(struct buf *b, struct text in) { return in.len > 0 ? http_write_chunk(b, in) : http_write_chunk_last(b); }
static enum fail write_status(struct buf *b, struct text in) { return http_write_status(b, 100 + (int)in.len, 1); }
static enum fail write_request(struct buf *b, struct text in) { return http_write_request(b, TEXT("POST"), in.len % 2 ? TEXT("/v1") : TEXT("/v1/models")); }
static enum fail write_printf(struct buf *b, struct text in) { return buf_printf(b, "%zu: %.*s", in.len, (int)in.len, DOTS); }

/* hostile 72: what one of them wrote into much room fits exactly into as much, the same bytes, and into a byte less not at all. */
TEST(every_writer_writes_what_it_measures)
{
    static writer *const writers[] = { write_event, write_comment, write_header, write_number, write_chunk, write_status, write_request, write_printf };
    for (unsigned round = 0; round < 8000; round++) {
        writer *write = writers[round % ARRAY_LEN(writers)];
        char bytes[80];
        struct text in = { bytes, below(sizeof bytes) };
        struct buf much, b;
        for (size_t i = 0; i < in.len; i++)
            bytes[i] = "ab\r\n\n: \0\xff"[below(9)];
        buf_init(&much, 4096);
        assert_int_equal(write(&much, in), OK);
        size_t length = buf_len(&much);
        buf_init(&b, length);
        assert_int_equal(write(&b, in), OK);
        assert_true(text_eq(buf_text(&b), buf_text(&much)));
        buf_fini(&b);
        buf_init(&b, length - 1);
        assert_int_equal(write(&b, in), FAIL_TOO_LARGE);
        assert_int_equal(buf_len(&b), 0);
        buf_fini(&b);
        buf_fini(&much);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_is_as_long_as_it_says),
        cmocka_unit_test(a_composed_request_is_as_long_as_it_says),
        cmocka_unit_test(an_escaped_string_fits_exactly_its_length_or_not_at_all),
        cmocka_unit_test(every_writer_writes_what_it_measures),
    };
    return cmocka_run_group_tests_name("lengths", tests, NULL, NULL);
}
