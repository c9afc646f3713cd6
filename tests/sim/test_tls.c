/* test_tls.c: TLS on both sides of a gateway in the simulated world: who is let in and who is asked, what a failed verification says, where an end is a cut,
   and that all of it holds when bytes come in any pieces. The peers are OpenSSL itself (lib/tls_peer.h). */
#include "lib/actor.h"
#include "lib/house.h"
#include "lib/tls_peer.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ANSWER_MOST 16384
#define BIG_BYTES   300000 /* some records, and more than a socket holds */

/* How the backend answers a POST. */
enum style { STYLE_PLAIN, STYLE_STREAM, STYLE_CLOSE_CLEAN, STYLE_CLOSE_CUT, STYLE_EARLY };

struct scene {
    struct house house;
    char yaml[2048];
    SSL_CTX *backend, *client; /* NULL: plain TCP */
    enum style style;
    unsigned backend_visits, backend_resumed, backend_asked;
    size_t request_bytes;      /* of the last POST's body, as the backend got it */
    const char *body;
    size_t body_len;
    bool is_refused;           /* the client's handshake failed, or its first read */
    char seen[32];             /* the name in the certificate the client saw */
    char answer[ANSWER_MOST];
    size_t answer_len;
    bool done;
};

static const char chat[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
static const char chat_stream[] = "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";

/* ---- the backend ---- */

static bool read_request(struct task *t, struct scene *s, struct actor *a, struct buf *in, struct text *out_head, size_t *out_body)
{
    size_t n = 0, want = 0;
    for (;;) {
        ptrdiff_t end = text_find(buf_text(in), TEXT("\r\n\r\n"));
        if (end >= 0) {
            const char *length = memmem(buf_text(in).at, (size_t)end, "content-length: ", 16);
            want = length != NULL && s->style != STYLE_EARLY ? strtoul(length + 16, NULL, 10) : 0;
            if (buf_len(in) >= (size_t)end + 4 + want) {
                *out_head = (struct text){ buf_text(in).at, (size_t)end + 4 };
                *out_body = want;
                return true;
            }
        }
        ASSERT(buf_reserve(in, 65536) == OK);
        if (actor_read(t, a, buf_end(in), 65536, NEVER, &n) != OK || n == 0)
            return false;
        buf_added(in, n);
        if (buf_text(in).at[0] == 0x16) { /* TLS, where we speak none */
            (void)!actor_write_all(t, a, "HTTP/1.1 400 Bad Request\r\n\r\n", 28, NEVER);
            return false;
        }
    }
}

static const char *answer_of(struct scene *s, struct text head)
{
    if (text_starts(head, TEXT("GET")))
        return "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 30\r\n\r\n{\"data\":[{\"id\":\"discovered\"}]}";
    s->backend_asked++;
    switch (s->style) {
    case STYLE_STREAM:
        return "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
               "31\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\r\n2\r\n\n\n\r\n"
               "41\r\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"index\":0}]}\r\n2\r\n\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    case STYLE_CLOSE_CLEAN:
    case STYLE_CLOSE_CUT:
        return "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{\"choices\":[]}";
    case STYLE_EARLY:
        return "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 32\r\n\r\n{\"error\":{\"message\":\"too long\"}}";
    default:
        return "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{\"choices\":[]}";
    }
}

struct visit {
    struct scene *scene;
    struct actor actor;
};

static void visit(struct task *t, void *arg)
{
    struct visit *v = arg;
    struct scene *s = v->scene;
    struct buf in;
    struct text head;
    size_t body;
    bool closes = false;
    buf_init(&in, 4u << 20);
    enum fail f = s->backend != NULL ? actor_secure(t, &v->actor, s->backend, NULL, NEVER) : OK;
    if (f == OK && s->backend != NULL)
        s->backend_resumed += (unsigned)SSL_session_reused(v->actor.tls);
    s->backend_visits++;
    while (f == OK && !closes && read_request(t, s, &v->actor, &in, &head, &body)) {
        const char *answer = answer_of(s, head);
        bool is_post = text_starts(head, TEXT("POST"));
        if (is_post)
            s->request_bytes = body;
        f = actor_write_all(t, &v->actor, answer, strlen(answer), NEVER);
        if (is_post && s->style == STYLE_EARLY)
            f = task_sleep(t, NEVER); /* and never reads the rest */
        closes = is_post && (s->style == STYLE_CLOSE_CLEAN || s->style == STYLE_CLOSE_CUT);
        buf_eat(&in, head.len + body);
    }
    if (f == OK && s->style != STYLE_CLOSE_CUT)
        actor_finish(t, &v->actor);
    if (f == OK && s->style == STYLE_CLOSE_CLEAN)
        f = task_sleep(t, t->worker->now + 60 * NANOS_PER_S); /* TLS has ended, TCP has not: that must do */
    actor_close(&v->actor);
    buf_fini(&in);
    mem_free(v);
}

static void backend(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor listener;
    struct addr at;
    ASSERT(addr_from_text(&at, TEXT("10.0.0.1"), 8000));
    ASSERT(actor_listen(&s->house.outside, &listener, &at) == OK);
    for (;;) {
        struct visit *v = mem_zero(sizeof *v);
        v->scene = s;
        if (actor_accept(t, &listener, &v->actor, NEVER) != OK) {
            mem_free(v);
            break;
        }
        ASSERT(task_start(t->worker, "visit", visit, v) != NULL);
    }
    actor_close(&listener);
}

/* ---- the client ---- */

static void tell_certificate(struct scene *s, SSL *ssl)
{
    X509 *x = SSL_get1_peer_certificate(ssl);
    X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, s->seen, sizeof s->seen);
    X509_free(x);
}

static enum fail ask(struct task *t, struct scene *s, struct actor *a)
{
    char head[256];
    enum fail f = OK;
    if (s->client != NULL)
        f = actor_secure(t, a, s->client, "127.0.0.1", NEVER);
    if (f == OK && s->client != NULL)
        tell_certificate(s, a->tls);
    int n = snprintf(head, sizeof head, "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: %zu\r\n\r\n", s->body_len);
    if (f == OK)
        f = actor_write_all(t, a, head, (size_t)n, NEVER);
    if (f == OK)
        f = actor_write_all(t, a, s->body, s->body_len, NEVER);
    while (f == OK) {
        size_t got;
        f = actor_read(t, a, s->answer + s->answer_len, ANSWER_MOST - 1 - s->answer_len, NEVER, &got);
        if (f == OK && got == 0)
            break;
        s->answer_len += f == OK ? got : 0;
    }
    return f;
}

static void client(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor a;
    s->answer_len = 0;
    memset(s->answer, 0, sizeof s->answer);
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    s->is_refused = ask(t, s, &a) != OK;
    actor_close(&a);
    s->done = true;
}

static bool is_done(void *arg) { return ((struct scene *)arg)->done; }

/* ---- scenes ---- */

/* tls, and what follows of the backend's row. */
static void open_scene(struct scene *s, const struct sim_options *o, const char *tls, const char *row)
{
    snprintf(s->yaml, sizeof s->yaml, "%s\ntimeouts: {connect: 2s, header: 3s, first_token: 20s}\nbackends: {b: {url: '%s}}\nmodels: {m: {use: [b/up]}}\n", tls, row);
    s->body = s->style == STYLE_STREAM ? chat_stream : chat;
    s->body_len = strlen(s->body);
    house_open(&s->house, o, s->yaml);
    house_task(&s->house, "backend", backend, s);
}

static void ask_once(struct scene *s)
{
    s->done = false;
    house_task(&s->house, "client", client, s);
    assert_true(house_run(&s->house, is_done, s, 120 * NANOS_PER_S));
}

static void close_scene(struct scene *s)
{
    house_close(&s->house);
    SSL_CTX_free(s->backend);
    SSL_CTX_free(s->client);
    memset(s, 0, sizeof *s);
}

static const char *with_server(const char *more)
{
    static char tls[512];
    snprintf(tls, sizeof tls, "tls: {cert: %s, key: %s%s}", tls_peer_path("weir.crt"), tls_peer_path("weir.key"), more);
    return tls;
}

static const char *with_backend(const char *more)
{
    static char row[512];
    snprintf(row, sizeof row, "https://10.0.0.1:8000', ca: '%s'%s", tls_peer_path("ca.crt"), more);
    return row;
}

static struct scene scene;

static uint64_t both_sides(uint64_t seed, struct sim_faults faults, enum style style)
{
    struct scene *s = &scene;
    struct sim_options o = sim_options_default(seed);
    o.faults = faults;
    if (seed % 3 == 0)
        o.window = 300; /* less than a certificate: handshakes wait for room */
    tls_peer_seed(seed);
    s->backend = tls_peer_server("backend", false);
    s->client = tls_peer_client(NULL);
    s->style = style;
    open_scene(s, &o, with_server(""), with_backend(""));
    ask_once(s);
    assert_false(s->is_refused);
    assert_non_null(strstr(s->answer, "HTTP/1.1 200 OK"));
    assert_non_null(strstr(s->answer, style == STYLE_STREAM ? "data: [DONE]" : "{\"choices\":[]}"));
    assert_int_equal(s->backend_asked, 1);
    uint64_t hash = sim_trace_hash(s->house.sim);
    close_scene(s);
    return hash;
}

static void a_call_passes_encrypted_and_replays(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        enum style style = seed % 2 ? STYLE_STREAM : STYLE_PLAIN;
        assert_int_equal(both_sides(seed, sim_faults_none(), style), both_sides(seed, sim_faults_none(), style));
    }
}

/* Whatever does not destroy bytes changes nothing. */
static void in_any_pieces(void **state)
{
    struct sim_faults f = sim_faults_none();
    (void)state;
    f.short_read = f.short_write = 400;
    f.split = 600;
    for (uint64_t seed = 100; seed < 160; seed++) {
        f.drip = seed % 4 == 0 ? 20 : 0;
        f.delay = seed % 4 == 1 ? 5 : 0;
        (void)both_sides(seed, f, seed % 2 ? STYLE_STREAM : STYLE_PLAIN);
    }
}

static void fill_big(struct scene *s)
{
    static char body[BIG_BYTES];
    int n = snprintf(body, sizeof body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"");
    memset(body + n, 'y', sizeof body - (size_t)n);
    memcpy(body + sizeof body - 5, "\"}]}\n", 5);
    s->body = body;
    s->body_len = sizeof body;
}

/* A request of many records against a peer whose session tickets arrive while it is being sent: they are no early answer. */
static void a_long_request_is_sent_whole(void **state)
{
    struct scene *s = &scene;
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct sim_options o = sim_options_default(seed);
        tls_peer_seed(seed);
        s->backend = tls_peer_server("backend", false);
        s->client = tls_peer_client(NULL);
        open_scene(s, &o, with_server(""), with_backend(""));
        fill_big(s);
        ask_once(s);
        assert_non_null(strstr(s->answer, "200 OK"));
        assert_in_range(s->request_bytes, BIG_BYTES - 100, BIG_BYTES + 100);
        close_scene(s);
    }
}

/* What was answered before it was sent whole leaves a connection on which the next request would be taken for the rest of it. */
static void an_early_answer_ends_its_connection(void **state)
{
    struct scene *s = &scene;
    (void)state;
    for (int encrypted = 0; encrypted < 2; encrypted++) {
        struct sim_options o = sim_options_default(4);
        tls_peer_seed(4);
        s->backend = encrypted ? tls_peer_server("backend", false) : NULL;
        open_scene(s, &o, "", encrypted ? with_backend("") : "http://10.0.0.1:8000'");
        for (int i = 0; i < 4; i++) { /* both workers have made their connection */
            s->style = STYLE_EARLY;
            fill_big(s);
            ask_once(s);
            assert_non_null(strstr(s->answer, "too long"));
            s->style = STYLE_PLAIN;
            s->body = chat;
            s->body_len = strlen(chat);
            ask_once(s);
            assert_non_null(strstr(s->answer, "200 OK"));
        }
        close_scene(s);
    }
}

/* One call to a backend with this certificate; its answer is in the scene until it is closed. */
static void ask_backend(const char *certificate, const char *row)
{
    struct scene *s = &scene;
    struct sim_options o = sim_options_default(7);
    o.latency_max = o.latency_min; /* what is written at once arrives at once: an answer and its end are one read */
    tls_peer_seed(7);
    s->backend = certificate != NULL ? tls_peer_server(certificate, false) : NULL;
    open_scene(s, &o, "", row);
    ask_once(s);
}

/* A backend that is not who it should be is not told the request, and the client is told why. */
static void a_backend_that_cannot_prove_itself_is_not_asked(void **state)
{
    static const struct {
        const char *certificate, *why;
    } rows[] = {
        { "expired", "its certificate has expired" },
        { "early", "its certificate is not valid yet" },
        { "wrong", "its certificate is for another address" },
        { "common", "its certificate is for another address" },
        { "self", "its certificate is self-signed and not trusted" },
        { "stranger", "its certificate comes from an authority that is not trusted" },
        { NULL, "it does not speak TLS there" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char expected[128];
        ask_backend(rows[i].certificate, with_backend(""));
        snprintf(expected, sizeof expected, "b: connecting failed: 10.0.0.1:8000: %s", rows[i].why);
        assert_non_null(strstr(scene.answer, "HTTP/1.1 502 "));
        if (strstr(scene.answer, expected) == NULL)
            fail_msg("%s: %s", expected, scene.answer);
        assert_int_equal(scene.backend_asked, 0);
        assert_true(house_count(&scene.house, COUNTER_upstream_handshakes_failed) >= 1);
        close_scene(&scene);
    }
    ask_backend("backend", with_backend("")); /* the twin of them all */
    assert_non_null(strstr(scene.answer, "200 OK"));
    close_scene(&scene);
}

/* Its own certificate, named as the authority, is enough. */
static void a_pinned_certificate_is_trusted(void **state)
{
    char row[256];
    (void)state;
    snprintf(row, sizeof row, "https://10.0.0.1:8000', ca: '%s'", tls_peer_path("self.crt"));
    ask_backend("self", row);
    assert_non_null(strstr(scene.answer, "200 OK"));
    close_scene(&scene);
    ask_backend("backend", row);
    assert_non_null(strstr(scene.answer, "502 "));
    close_scene(&scene);
}

/* A body that ends with its connection is whole only when TLS says so: anybody on the way can forge a FIN. */
static void an_end_without_close_notify_is_a_cut(void **state)
{
    (void)state;
    scene.style = STYLE_CLOSE_CUT;
    ask_backend("backend", with_backend(""));
    assert_non_null(strstr(scene.answer, "502 "));
    assert_non_null(strstr(scene.answer, "no close_notify came"));
    close_scene(&scene);
    scene.style = STYLE_CLOSE_CLEAN;
    ask_backend("backend", with_backend(""));
    assert_non_null(strstr(scene.answer, "200 OK"));
    close_scene(&scene);
}

static void a_backend_may_ask_for_our_certificate(void **state)
{
    char more[256];
    struct sim_options o = sim_options_default(3);
    (void)state;
    snprintf(more, sizeof more, ", client_cert: '%s', client_key: '%s'", tls_peer_path("client.crt"), tls_peer_path("client.key"));
    for (int has_one = 0; has_one < 2; has_one++) {
        tls_peer_seed(3);
        scene.backend = tls_peer_server("backend", true);
        open_scene(&scene, &o, "", with_backend(has_one ? more : ""));
        ask_once(&scene);
        assert_non_null(strstr(scene.answer, has_one ? "200 OK" : "502 "));
        assert_true(has_one || strstr(scene.answer, "it requires a certificate of ours") != NULL);
        assert_int_equal(scene.backend_asked, has_one);
        close_scene(&scene);
    }
}

/* The second connection of a worker to a backend is a short handshake. */
static void sessions_are_resumed(void **state)
{
    struct sim_options o = sim_options_default(5);
    (void)state;
    tls_peer_seed(5);
    scene.backend = tls_peer_server("backend", false);
    open_scene(&scene, &o, "", with_backend(""));
    for (int i = 0; i < 6; i++) {
        scene.style = i % 2 ? STYLE_CLOSE_CLEAN : STYLE_PLAIN; /* kept, with its session; then closed */
        ask_once(&scene);
        assert_non_null(strstr(scene.answer, "200 OK"));
    }
    assert_true(scene.backend_resumed >= 1);
    close_scene(&scene);
}

/* ---- clients ---- */

static void ask_gateway(const char *tls, SSL_CTX *(*make)(const char *), const char *certificate)
{
    struct sim_options o = sim_options_default(9);
    tls_peer_seed(9);
    scene.client = make != NULL ? make(certificate) : NULL;
    open_scene(&scene, &o, tls, "http://10.0.0.1:8000'");
    ask_once(&scene);
}

static void client_certificates_are_required(void **state)
{
    char more[128];
    (void)state;
    snprintf(more, sizeof more, ", client_ca: %s", tls_peer_path("ca.crt"));
    static const struct {
        const char *certificate;
        bool is_served;
    } rows[] = { { "client", true }, { NULL, false }, { "stranger", false }, { "expired", false } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ask_gateway(with_server(more), tls_peer_client, rows[i].certificate);
        assert_int_equal(scene.is_refused, !rows[i].is_served);
        assert_int_equal(house_count(&scene.house, COUNTER_tls_handshakes_failed), !rows[i].is_served);
        assert_int_equal(scene.backend_asked, rows[i].is_served);
        close_scene(&scene);
    }
}

static SSL_CTX *with_protocols(const char *list)
{
    SSL_CTX *c = tls_peer_client(NULL);
    assert_int_equal(SSL_CTX_set_alpn_protos(c, (const unsigned char *)list, (unsigned)strlen(list)), 0);
    return c;
}

static void protocols_we_do_not_speak_are_refused(void **state)
{
    (void)state;
    ask_gateway(with_server(""), with_protocols, "\x02h2");
    assert_true(scene.is_refused);
    close_scene(&scene);
    ask_gateway(with_server(""), with_protocols, "\x02h2\x08http/1.1");
    assert_false(scene.is_refused);
    assert_non_null(strstr(scene.answer, "200 OK"));
    close_scene(&scene);
}

static void plain_http_is_answered_in_plain_words(void **state)
{
    (void)state;
    ask_gateway(with_server(""), NULL, NULL);
    assert_false(scene.is_refused);
    assert_non_null(strstr(scene.answer, "HTTP/1.1 400 Bad Request"));
    assert_non_null(strstr(scene.answer, "This port speaks TLS"));
    assert_int_equal(house_count(&scene.house, COUNTER_tls_handshakes_failed), 1);
    close_scene(&scene);
}

/* ---- those who never finish a handshake ---- */

struct intruder {
    struct scene *scene;
    const char *bytes;
    size_t len;
    nanos left_at;
};

static void intrude(struct task *t, void *arg)
{
    struct intruder *in = arg;
    struct actor a;
    char some[512];
    size_t n = 1;
    ASSERT(actor_connect(t, &a, &in->scene->house.address, NEVER) == OK);
    enum fail f = actor_write_all(t, &a, in->bytes, in->len, NEVER);
    while (f == OK && n > 0)
        f = actor_read(t, &a, some, sizeof some, NEVER, &n);
    in->left_at = world_now(t->worker->world);
    actor_close(&a);
}

/* The handshake done, half a record and the end arrive together: no edge will tell of the end again. */
static void leave_within_a_record(struct task *t, void *arg)
{
    struct intruder *in = arg;
    struct actor a;
    char some[512];
    size_t n = 1;
    ASSERT(actor_connect(t, &a, &in->scene->house.address, NEVER) == OK);
    enum fail f = actor_secure(t, &a, in->scene->client, "127.0.0.1", NEVER);
    ASSERT(f == OK);
    SSL *tls = a.tls;
    a.tls = NULL; /* past TLS, on the same socket */
    f = actor_write_all(t, &a, in->bytes, in->len, NEVER);
    actor_shutdown(&a);
    while (f == OK && n > 0)
        f = actor_read(t, &a, some, sizeof some, NEVER, &n);
    in->left_at = world_now(t->worker->world);
    a.tls = tls;
    actor_close(&a);
}

static bool has_left(void *arg) { return ((struct intruder *)arg)->left_at != 0; }

/* A handshake that never ends takes as long as a head may; one that is no handshake ends at once. Meanwhile others are served. */
static void an_end_behind_half_a_record_is_seen(void **state)
{
    (void)state;
    struct sim_options o = sim_options_default(5);
    o.latency_min = o.latency_max = 50 * NANOS_PER_US;
    tls_peer_seed(5);
    scene.client = tls_peer_client(NULL);
    open_scene(&scene, &o, with_server(""), "http://10.0.0.1:8000'");
    struct intruder in = { .scene = &scene, .bytes = "\x17\x03\x03\x00\x40half", .len = 9 };
    house_task(&scene.house, "client", leave_within_a_record, &in);
    assert_true(house_run(&scene.house, has_left, &in, NANOS_PER_S)); /* long before any time-out */
    close_scene(&scene);
}

static void handshakes_end(void **state)
{
    static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";      /* and nothing more */
    static const char garbage[] = "\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff garbage";
    static const char old[] = "\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10";           /* SSL 2 */
    static const char empty_records[] = "\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00\x16\x03\x01\x00\x00";
    static const struct {
        const char *bytes;
        size_t len;
        bool is_slow;
    } rows[] = { { hello, sizeof hello - 1, true }, { garbage, sizeof garbage - 1, false }, { old, sizeof old - 1, true }, { empty_records, sizeof empty_records - 1, true } };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct sim_options o = sim_options_default(11);
        tls_peer_seed(11);
        scene.client = tls_peer_client(NULL);
        open_scene(&scene, &o, with_server(""), "http://10.0.0.1:8000'");
        struct intruder in = { .scene = &scene, .bytes = rows[i].bytes, .len = rows[i].len };
        nanos began = world_now(scene.house.world);
        house_task(&scene.house, "intruder", intrude, &in);
        ask_once(&scene);
        assert_non_null(strstr(scene.answer, "200 OK"));
        assert_true(house_run(&scene.house, has_left, &in, 60 * NANOS_PER_S));
        assert_in_range(in.left_at - began, rows[i].is_slow ? 3 * NANOS_PER_S : 0, rows[i].is_slow ? 4 * NANOS_PER_S : 100 * NANOS_PER_MS);
        assert_int_equal(house_count(&scene.house, COUNTER_tls_handshakes_failed), 1);
        close_scene(&scene);
    }
}

/* ---- reload ---- */

static void reload_asked(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor a;
    static const char request[] = "POST /reload HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    size_t n = 1;
    s->answer_len = 0;
    memset(s->answer, 0, sizeof s->answer);
    ASSERT(actor_connect(t, &a, &s->house.admin, NEVER) == OK);
    ASSERT(actor_write_all(t, &a, request, sizeof request - 1, NEVER) == OK);
    while (n > 0) {
        ASSERT(actor_read(t, &a, s->answer + s->answer_len, ANSWER_MOST - 1 - s->answer_len, NEVER, &n) == OK);
        s->answer_len += n;
    }
    actor_close(&a);
    s->done = true;
}

static void reload_with(struct scene *s, const char *tls, const char *row)
{
    snprintf(s->yaml, sizeof s->yaml, "%s\nbackends: {b: {url: '%s}}\nmodels: {m: {use: [b/up]}}\n", tls, row);
    s->done = false;
    house_task(&s->house, "reload", reload_asked, s);
    assert_true(house_run(&s->house, is_done, s, 60 * NANOS_PER_S));
}

static void a_reload_changes_the_certificate(void **state)
{
    char other[512], broken[512];
    (void)state;
    ask_gateway(with_server(""), tls_peer_client, NULL);
    assert_string_equal(scene.seen, "weir");
    snprintf(broken, sizeof broken, "tls: {cert: %s, key: %s}", tls_peer_path("other.crt"), tls_peer_path("weir.key"));
    reload_with(&scene, broken, "http://10.0.0.1:8000'");
    assert_non_null(strstr(scene.answer, "is not the key of the certificate in tls.cert"));
    ask_once(&scene);
    assert_string_equal(scene.seen, "weir");
    snprintf(other, sizeof other, "tls: {cert: %s, key: %s}", tls_peer_path("other.crt"), tls_peer_path("other.key"));
    reload_with(&scene, other, "http://10.0.0.1:8000'");
    assert_non_null(strstr(scene.answer, "200 OK"));
    ask_once(&scene);
    assert_string_equal(scene.seen, "other");
    assert_non_null(strstr(scene.answer, "200 OK"));
    close_scene(&scene);
}

/* Kept connections and sessions were trusted by a configuration that is gone. */
static void a_reload_changes_whom_we_trust(void **state)
{
    char row[256];
    struct sim_options o = sim_options_default(13);
    (void)state;
    tls_peer_seed(13);
    scene.backend = tls_peer_server("backend", false);
    open_scene(&scene, &o, "", with_backend(""));
    for (int i = 0; i < 4; i++)
        ask_once(&scene);
    assert_non_null(strstr(scene.answer, "200 OK"));
    snprintf(row, sizeof row, "https://10.0.0.1:8000', ca: '%s'", tls_peer_path("stranger-ca.crt"));
    reload_with(&scene, "", row);
    assert_non_null(strstr(scene.answer, "200 OK"));
    for (int i = 0; i < 4; i++) {
        ask_once(&scene);
        assert_non_null(strstr(scene.answer, "its certificate comes from an authority that is not trusted"));
    }
    close_scene(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_passes_encrypted_and_replays), cmocka_unit_test(in_any_pieces), cmocka_unit_test(a_long_request_is_sent_whole),
        cmocka_unit_test(a_backend_that_cannot_prove_itself_is_not_asked), cmocka_unit_test(a_pinned_certificate_is_trusted),
        cmocka_unit_test(an_end_without_close_notify_is_a_cut), cmocka_unit_test(a_backend_may_ask_for_our_certificate),
        cmocka_unit_test(sessions_are_resumed), cmocka_unit_test(client_certificates_are_required), cmocka_unit_test(protocols_we_do_not_speak_are_refused),
        cmocka_unit_test(an_end_behind_half_a_record_is_seen), cmocka_unit_test(plain_http_is_answered_in_plain_words), cmocka_unit_test(handshakes_end), cmocka_unit_test(a_reload_changes_the_certificate),
        cmocka_unit_test(a_reload_changes_whom_we_trust), cmocka_unit_test(an_early_answer_ends_its_connection),
    };
    tls_peer_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
