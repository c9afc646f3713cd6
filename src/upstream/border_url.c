/* border_url.c: may a message name this URL? weir fetches nothing, but a backend may, from inside the operator's network and with nobody watching.
   Names are not looked up: who answers for a name could change between our look and the backend's. border.c calls it. */
#include "upstream/border.h"
#include <arpa/inet.h>
#include <string.h>

#define HOST_BYTES_MAX 253 /* RFC 1035 */

static const struct private {
    const char *net;
    unsigned bits;
} private[] = {
#define PRIVATE(net, bits, what) { net, bits },
#include "upstream/border.def"
};

static const char *const inside[] = {
#define INSIDE(name, what) name,
#include "upstream/border.def"
};

static bool is_same_net(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    return memcmp(a, b, whole) == 0 && (rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0);
}

static bool is_private(int family, const uint8_t *address)
{
    uint8_t net[16];
    for (size_t i = 0; i < ARRAY_LEN(private); i++)
        if (inet_pton(family, private[i].net, net) == 1 && is_same_net(address, net, private[i].bits))
            return true;
    return false;
}

/* A name without a dot is one of this network's; and so are those under the names of border.def. */
static bool is_inside(const char *host)
{
    size_t len = strlen(host);
    if (strchr(host, '.') == NULL)
        return true;
    for (size_t i = 0; i < ARRAY_LEN(inside); i++) {
        size_t n = strlen(inside[i]);
        if (len > n && host[len - n - 1] == '.' && strcmp(host + len - n, inside[i]) == 0)
            return true;
    }
    return false;
}

/* The host of an authority, lower-cased, without port, brackets and final dot. False: nothing that every reader reads alike. */
static bool take_host(struct text authority, char out[HOST_BYTES_MAX + 1], bool *out_six)
{
    size_t n = 0;
    *out_six = authority.len > 0 && authority.at[0] == '[';
    const char *end = *out_six ? memchr(authority.at, ']', authority.len) : memchr(authority.at, ':', authority.len);
    if (*out_six && end == NULL)
        return false;
    const char *host = authority.at + *out_six;
    size_t len = (size_t)((end != NULL ? end : authority.at + authority.len) - host);
    struct text port = { host + len + *out_six, (size_t)(authority.at + authority.len - (host + len + *out_six)) };
    uint64_t number;
    if (port.len > 0 && (port.at[0] != ':' || !text_to_u64((struct text){ port.at + 1, port.len - 1 }, 65535, &number)))
        return false;
    if (!*out_six && len > 0 && host[len - 1] == '.')
        len--;
    for (; n < len && n < HOST_BYTES_MAX; n++) {
        char c = host[n] >= 'A' && host[n] <= 'Z' ? (char)(host[n] | 32) : host[n];
        bool is_fit = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' || (*out_six && c == ':');
        if (!is_fit) /* %xx, wide digits, '@': some resolvers make an address of these */
            return false;
        out[n] = c;
    }
    out[n] = '\0';
    return n > 0 && n == len;
}

/* inet_aton reads what libc's resolver reads: 127.1, 0x7f000001, 2130706433, 0177.0.0.1. What only looks like one of these is no name either. */
static const char *judge_host(const char *host, bool is_six)
{
    static const char why[] = "names a URL inside the server's own network, which weir does not let a backend fetch (limits.private_urls)";
    struct in6_addr six;
    struct in_addr four;
    const char *last = strrchr(host, '.');
    last = last != NULL ? last + 1 : host;
    if (is_six)
        return inet_pton(AF_INET6, host, &six) != 1 ? "names a URL whose host is not understood" : is_private(AF_INET6, six.s6_addr) ? why : NULL;
    if (inet_aton(host, &four) == 1)
        return is_private(AF_INET, (const uint8_t *)&four) ? why : NULL;
    if (*last >= '0' && *last <= '9') /* no top-level domain begins with a digit */
        return "names a URL whose host is not understood";
    return is_inside(host) ? why : NULL;
}

const char *border_url(struct text url, bool private_urls, bool *out_fetches)
{
    char host[HOST_BYTES_MAX + 1];
    bool is_six;
    struct text scheme;
    if (url.len >= 5 && text_eq_nocase((struct text){ url.at, 5 }, TEXT("data:")))
        return NULL;
    *out_fetches = true;
    struct text rest = text_cut(url, ':', &scheme);
    if (!text_eq_nocase(scheme, TEXT("https")) && !text_eq_nocase(scheme, TEXT("http")))
        return "names a URL that is neither data:, https:// nor http://";
    if (!text_starts(rest, TEXT("//")))
        return "names a URL whose host is not understood";
    rest = (struct text){ rest.at + 2, rest.len - 2 };
    size_t len = 0;
    while (len < rest.len && memchr("/?#", rest.at[len], 3) == NULL)
        len++;
    if (!take_host((struct text){ rest.at, len }, host, &is_six))
        return "names a URL whose host is not understood";
    return private_urls ? NULL : judge_host(host, is_six);
}
