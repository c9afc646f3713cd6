/* fuzz_address.c: any bytes as an address to listen on and as a backend's URL. Oracle: what is taken, printed again from its parts, is taken again as the same;
   the world can use the address; and a request to that URL is one that our own parser serves. */
#include "conf/inner.h"
#include "fuzz/fuzz.h"
#include "net/http_write.h"
#include "run/world.h"

static void check_address(struct arena *a, struct text t)
{
    struct conf_address one, two;
    struct addr addr;
    if (address_parse(a, t, &one) != NULL)
        return;
    bool six = strchr(one.host, ':') != NULL;
    const char *print = arena_printf(a, "%s%s%s:%u", six ? "[" : "", one.host, six ? "]" : "", one.port);
    ASSERT(text_eq(text_of(one.text), t));
    ASSERT(addr_from_text(&addr, text_of(one.host), one.port) && addr_is_loopback(&addr) == one.is_loopback);
    ASSERT(address_parse(a, text_of(print), &two) == NULL);
    ASSERT(strcmp(one.host, two.host) == 0 && one.port == two.port && one.is_loopback == two.is_loopback);
}

/* As compose.c asks it: base, path, host. */
static void check_request(const struct conf_url *url, bool six)
{
    static const struct http_parse_limits limits = { 65536, 8192, HTTP_HEADERS_MAX };
    struct buf b, target, host, story;
    buf_init(&b, 1u << 20);
    buf_init(&target, 1u << 20);
    buf_init(&host, 1u << 20);
    buf_init(&story, 1u << 20);
    told(buf_printf(&target, "%s/v1/chat/completions", url->base));
    told(buf_printf(&host, "%s%s%s:%u", six ? "[" : "", url->host, six ? "]" : "", url->port));
    told(http_write_request(&b, TEXT("POST"), buf_text(&target)));
    told(http_write_header(&b, TEXT("host"), buf_text(&host)));
    told(http_write_length(&b, 0));
    told(http_write_head_end(&b));
    http_story(&story, HTTP_KIND_REQUEST, false, &limits, buf_text(&b), fuzz_cutter(0, TEXT_NONE), true);
    ASSERT(text_find(buf_text(&story), TEXT("[end][clean]")) > 0);
    buf_fini(&b);
    buf_fini(&target);
    buf_fini(&host);
    buf_fini(&story);
}

static void check_url(struct arena *a, struct text t)
{
    struct conf_url one, two;
    if (url_parse(a, t, &one) != NULL)
        return;
    bool six = strchr(one.host, ':') != NULL;
    const char *print = arena_printf(a, "http://%s%s%s:%u%s/v1", six ? "[" : "", one.host, six ? "]" : "", one.port, one.base);
    ASSERT(one.port > 0 && (one.base[0] == '\0' || (one.base[0] == '/' && !text_ends(text_of(one.base), TEXT("/")))));
    ASSERT(url_parse(a, text_of(print), &two) == NULL);
    ASSERT(strcmp(one.host, two.host) == 0 && one.port == two.port && strcmp(one.base, two.base) == 0);
    ASSERT(url_parse(a, text_of(one.text), &two) == NULL && strcmp(one.host, two.host) == 0 && one.port == two.port);
    if (strlen(one.base) < 4096)
        check_request(&one, six);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t before = mem_alive();
    struct arena arena;
    if (size > 4096 || memchr(data, 0, size) != NULL) /* YAML, flags and the environment bring no NUL this far */
        return 0;
    struct text in = { (const char *)data, size };
    char *copy = fuzz_copy(in);
    arena_init(&arena, NULL, 0, 1u << 20);
    check_address(&arena, (struct text){ copy, size });
    check_url(&arena, (struct text){ copy, size });
    arena_fini(&arena);
    mem_free(copy);
    ASSERT(mem_alive() == before);
    return 0;
}
