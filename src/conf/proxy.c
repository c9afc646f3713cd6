/* proxy.c: proxies on the way to backends: their URLs, and what the environment says about them. Called by values.c and check.c.
   The variables are those that curl reads: http_proxy in lower case only, because a CGI server sets HTTP_PROXY from a client's header. */
#include "conf/inner.h"

#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#define PORT_MAX        65535
#define CREDENTIALS_MAX 512 /* bytes of USER:PASSWORD */
#define MUST_BE         "must be http://[USER:PASSWORD@]HOST:PORT; other kinds of proxy are not served"

/* ---- a proxy's URL ---- */

/* %XX to bytes. False: malformed, too long, or a control character. */
static bool decode(struct text t, uint8_t out[CREDENTIALS_MAX], size_t *out_len)
{
    size_t n = 0;
    for (size_t i = 0; i < t.len; i++) {
        int c = (unsigned char)t.at[i];
        if (c == '%') {
            int high = i + 2 < t.len ? hex_digit(t.at[i + 1]) : -1, low = i + 2 < t.len ? hex_digit(t.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = high << 4 | low;
            i += 2;
        }
        if (c < ' ' || c == 0x7F || n == CREDENTIALS_MAX)
            return false;
        out[n++] = (uint8_t)c;
    }
    *out_len = n;
    return true;
}

static const char *credentials_parse(struct arena *a, struct text t, const char **out)
{
    uint8_t plain[CREDENTIALS_MAX];
    size_t n = 0;
    char *base64 = NULL;
    bool is_fit = decode(t, plain, &n);
    if (is_fit)
        base64 = arena_alloc(a, (n + 2) / 3 * 4 + 1);
    if (base64 != NULL)
        (void)EVP_EncodeBlock((unsigned char *)base64, plain, (int)n);
    OPENSSL_cleanse(plain, sizeof plain);
    if (!is_fit)
        return "has a user or password with a control character, a % that is no %XX, or more than 512 bytes";
    *out = base64;
    return base64 != NULL ? NULL : "does not fit into memory";
}

const char *proxy_parse(struct arena *a, struct text text, struct conf_proxy *out)
{
    struct conf_proxy p = { 0 };
    struct text host, port;
    uint64_t number;
    const char *wrong = NULL;
    if (text_starts(text, TEXT("http://")))
        text = (struct text){ text.at + 7, text.len - 7 };
    if (text_ends(text, TEXT("/")))
        text.len--;
    if (text_find(text, TEXT("://")) >= 0)
        return MUST_BE; /* or socks5://user would be taken for a user */
    const char *at = text.len > 0 ? memrchr(text.at, '@', text.len) : NULL;
    if (at != NULL) {
        wrong = credentials_parse(a, (struct text){ text.at, (size_t)(at - text.at) }, &p.credentials);
        text = (struct text){ at + 1, text.len - (size_t)(at - text.at) - 1 };
    }
    if (wrong != NULL)
        return wrong;
    if (!address_split(text, &host, &port) || port.at == NULL || !text_to_u64(port, PORT_MAX, &number) || number == 0)
        return MUST_BE;
    wrong = address_check_host(a, host, text.at[0] == '[');
    p.host = arena_copy(a, host);
    p.port = (uint16_t)number;
    if (wrong == NULL && p.host != NULL)
        *out = p;
    return p.host != NULL ? wrong : "does not fit into memory";
}

/* ---- NO_PROXY ---- */

/* An address as 16 bytes, IPv4 mapped as RFC 4291 2.5.5.2 has it, so that both kinds compare alike. */
static bool to_bytes(struct text t, uint8_t out[16])
{
    static const uint8_t mapped[12] = { [10] = 0xFF, [11] = 0xFF };
    char name[64];
    if (t.len >= 2 && t.at[0] == '[' && t.at[t.len - 1] == ']')
        t = (struct text){ t.at + 1, t.len - 2 };
    if (t.len >= sizeof name)
        return false;
    memcpy(name, t.len > 0 ? t.at : "", t.len);
    name[t.len] = '\0';
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, name, out + 12) == 1 || inet_pton(AF_INET6, name, out) == 1;
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned rest = bits % 8;
    return memcmp(a, b, bits / 8) == 0 && (rest == 0 || (a[bits / 8] ^ b[bits / 8]) >> (8 - rest) == 0);
}

static bool network_has(struct text network, struct text host)
{
    uint8_t net[16], one[16];
    struct text address, length = text_cut(network, '/', &address);
    bool is_v4 = text_find(address, TEXT(":")) < 0;
    uint64_t bits;
    return to_bytes(host, one) && to_bytes(address, net) && text_to_u64(length, is_v4 ? 32 : 128, &bits) && bits_equal(net, one, (unsigned)bits + (is_v4 ? 96 : 0));
}

/* The host itself, and what is below it. */
static bool domain_has(struct text domain, struct text host)
{
    if (text_starts(domain, TEXT("*.")))
        domain = (struct text){ domain.at + 2, domain.len - 2 };
    else if (text_starts(domain, TEXT(".")))
        domain = (struct text){ domain.at + 1, domain.len - 1 };
    if (domain.len == 0 || domain.len > host.len)
        return false;
    size_t above = host.len - domain.len;
    return strncasecmp(host.at + above, domain.at, domain.len) == 0 && (above == 0 || host.at[above - 1] == '.');
}

static bool item_has(struct text item, struct text host, uint16_t port)
{
    uint8_t a[16], b[16];
    struct text name, its_port;
    uint64_t number;
    if (text_eq(item, TEXT("*")))
        return true;
    if (memchr(item.at, '/', item.len) != NULL)
        return network_has(item, host);
    if (!to_bytes(item, a) && address_split(item, &name, &its_port)) { /* a bare IPv6 address has colons of its own */
        if (its_port.at != NULL && (!text_to_u64(its_port, PORT_MAX, &number) || number != port))
            return false;
        item = name;
    }
    if (to_bytes(item, a))
        return to_bytes(host, b) && memcmp(a, b, sizeof a) == 0;
    return !to_bytes(host, b) && domain_has(item, host);
}

bool proxy_is_exempt(struct text list, struct text host, uint16_t port)
{
    while (list.len > 0) {
        size_t n = 0;
        while (n < list.len && strchr(", \t", list.at[n]) == NULL)
            n++;
        if (n > 0 && item_has((struct text){ list.at, n }, host, port))
            return true;
        n = MIN(n + 1, list.len);
        list = (struct text){ list.at + n, list.len - n };
    }
    return false;
}

/* ---- the environment ---- */

static bool is_local(struct text host)
{
    static const uint8_t one[16] = { [15] = 1 }, v4[16] = { [10] = 0xFF, [11] = 0xFF, [12] = 127 };
    uint8_t bytes[16];
    if (!to_bytes(host, bytes))
        return domain_has(TEXT("localhost"), host);
    return memcmp(bytes, one, sizeof one) == 0 || bits_equal(bytes, v4, 96 + 8);
}

static struct text variable(const struct loading *l, const char *name, const char *or_name)
{
    const char *value = variable_get(l, text_of(name));
    if ((value == NULL || *value == '\0') && or_name != NULL)
        value = variable_get(l, text_of(or_name));
    return value != NULL ? text_trim(text_of(value)) : TEXT("");
}

bool proxy_choose(struct loading *l, const struct place *at, struct conf_backend *b)
{
    bool is_tls = text_starts(text_of(b->url.text), TEXT("https://"));
    struct text host = text_of(b->url.host);
    struct text url = is_tls ? variable(l, "https_proxy", "HTTPS_PROXY") : variable(l, "http_proxy", NULL);
    if (!b->proxy.is_auto || url.len == 0 || is_local(host) || proxy_is_exempt(variable(l, "no_proxy", "NO_PROXY"), host, b->url.port))
        return true;
    const char *wrong = proxy_parse(&l->conf->arena, url, &b->proxy);
    b->proxy.is_auto = true;
    const char *name = is_tls ? "HTTPS_PROXY" : "http_proxy";
    return wrong == NULL || refuse(l, at, "backends.%s: %s of the environment %s; or set backends.%s.proxy", b->name, name, wrong, b->name);
}
