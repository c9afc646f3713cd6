/* test_house.c: the smallest whole: one streamed and one plain request through a gateway in the simulated world. */
#include "lib/actor.h"
#include "lib/house.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct scene {
    struct house house;
    char answers[2][8192];
    size_t lengths[2];
    unsigned done;
};

static const char stream_answer[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                                    "31\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"hello\"}}]}\r\n"
                                    "2\r\n\n\n\r\n41\r\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\",\"index\":0}]}\r\n2\r\n\n\n\r\n"
                                    "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";

static void backend(struct task *t, void *arg)
{
    struct scene *s = arg;
    struct actor listener, a;
    struct addr at;
    char in[8192];
    ASSERT(addr_from_text(&at, TEXT("10.0.0.1"), 8000));
    ASSERT(actor_listen(&s->house.outside, &listener, &at) == OK);
    while (actor_accept(t, &listener, &a, NEVER) == OK) {
        size_t n, got = 0;
        const char *end = NULL;
        while (end == NULL && actor_read(t, &a, in + got, sizeof in - got - 1, NEVER, &n) == OK && n > 0) {
            got += n;
            in[got] = 0;
            end = strstr(in, "\r\n\r\n");
        }
        bool is_stream = end != NULL && strstr(in, "text/event-stream") != NULL;
        const char *answer = end == NULL ? "" : strncmp(in, "GET", 3) == 0 ? "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 30\r\nconnection: close\r\n\r\n{\"data\":[{\"id\":\"discovered\"}]}"
                             : is_stream ? stream_answer : "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\nconnection: close\r\n\r\n{\"choices\":[]}";
        enum fail f = actor_write_all(t, &a, answer, strlen(answer), NEVER);
        (void)f;
        actor_close(&a);
    }
    actor_close(&listener);
}

static void client(struct task *t, void *arg)
{
    struct scene *s = arg;
    unsigned me = s->done;
    struct actor a;
    const char *body = me == 0 ? "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}" : "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}";
    char request[1024];
    int n = snprintf(request, sizeof request, "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\nconnection: close\r\ncontent-length: %zu\r\n\r\n%s", strlen(body), body);
    ASSERT(actor_connect(t, &a, &s->house.address, NEVER) == OK);
    ASSERT(actor_write_all(t, &a, request, (size_t)n, NEVER) == OK);
    for (;;) {
        size_t got;
        ASSERT(actor_read(t, &a, s->answers[me] + s->lengths[me], sizeof s->answers[me] - 1 - s->lengths[me], NEVER, &got) == OK);
        if (got == 0)
            break;
        s->lengths[me] += got;
    }
    actor_close(&a);
    s->done++;
}

static bool one_done(void *arg) { return ((struct scene *)arg)->done >= 1; }
static bool two_done(void *arg) { return ((struct scene *)arg)->done >= 2; }

static void a_stream_and_a_plain_answer_pass_through(void **state)
{
    static struct scene s;
    (void)state;
    memset(&s, 0, sizeof s);
    struct sim_options o = sim_options_default(7);
    house_open(&s.house, &o, "backends: {b: {url: 'http://10.0.0.1:8000'}}\nmodels: {m: {use: [b/up]}}\n");
    house_task(&s.house, "backend", backend, &s);
    house_task(&s.house, "client", client, &s);
    assert_true(house_run(&s.house, one_done, &s, 60 * NANOS_PER_S));
    house_task(&s.house, "client", client, &s);
    assert_true(house_run(&s.house, two_done, &s, 60 * NANOS_PER_S));
    assert_non_null(strstr(s.answers[0], "200 OK"));
    assert_non_null(strstr(s.answers[0], "hello"));
    assert_non_null(strstr(s.answers[0], "data: [DONE]"));
    assert_non_null(strstr(s.answers[1], "{\"choices\":[]}"));
    assert_int_equal(house_count(&s.house, COUNTER_request_answered), 2);
    house_close(&s.house);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_stream_and_a_plain_answer_pass_through) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
