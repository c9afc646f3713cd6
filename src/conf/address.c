/* address.c: ADDRESS:PORT and upstream URLs, taken apart and refused early. Called by values.c and override.c.
   The URL grammar is the part of RFC 3986 that an API's base needs: what is left out has been used to confuse proxies. */
#include "conf/inner.h"

#include <arpa/inet.h>
#include <ctype.h>

#define PORT_MAX     65535
#define HTTP_PORT    80
#define HTTPS_PORT   443
#define HOST_MAX     253 /* RFC 1035: 255 bytes on the wire */
#define NO_MEMORY    "does not fit into memory"

/* The part before the last colon outside brackets into *out_host, the part after it into *out_port (at NULL: there is no colon). */
static bool authority_split(struct text t, struct text *out_host, struct text *out_port)
{
    *out_port = TEXT_NONE;
    if (t.len > 0 && t.at[0] == '[') {
        const char *close = memchr(t.at, ']', t.len);
        if (close == NULL)
            return false;
        *out_host = (struct text){ t.at + 1, (size_t)(close - t.at) - 1 };
        struct text rest = { close + 1, t.len - (size_t)(close - t.at) - 1 };
        if (rest.len > 0 && rest.at[0] != ':')
            return false;
        if (rest.len > 0)
            *out_port = (struct text){ rest.at + 1, rest.len - 1 };
        return true;
    }
    struct text rest = text_cut(t, ':', out_host);
    *out_port = rest;
    return rest.at == NULL || memchr(rest.at, ':', rest.len) == NULL; /* a bare IPv6 address needs brackets */
}

static bool is_ipv6(const char *host)
{
    struct in6_addr six;
    return inet_pton(AF_INET6, host, &six) == 1;
}

static bool is_loopback(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1)
        return (ntohl(four.s_addr) >> 24) == 127;
    if (inet_pton(AF_INET6, host, &six) != 1)
        return false;
    return IN6_IS_ADDR_LOOPBACK(&six) || (IN6_IS_ADDR_V4MAPPED(&six) && six.s6_addr[12] == 127);
}

const char *address_parse(struct arena *a, struct text text, struct conf_address *out)
{
    struct text host, port;
    struct in_addr four;
    uint64_t number;
    if (!authority_split(text, &host, &port) || port.at == NULL || host.len == 0)
        return "must be ADDRESS:PORT such as 127.0.0.1:4040 or [::1]:4040";
    if (!text_to_u64(port, PORT_MAX, &number))
        return "must have a port from 0 to 65535";
    bool is_bracketed = text.at[0] == '[';
    const char *name = arena_copy(a, text_eq(host, TEXT("localhost")) ? TEXT("127.0.0.1") : host);
    const char *copy = arena_copy(a, text);
    if (name == NULL || copy == NULL)
        return NO_MEMORY;
    if (is_bracketed ? !is_ipv6(name) : inet_pton(AF_INET, name, &four) != 1)
        return "must be an IP address (IPv6 in brackets) or localhost, and a port";
    *out = (struct conf_address){ .text = copy, .host = name, .port = (uint16_t)number, .is_loopback = is_loopback(name) };
    return NULL;
}

static bool is_host(struct text host)
{
    for (size_t i = 0; i < host.len; i++)
        if (!isalnum((unsigned char)host.at[i]) && strchr("-._", host.at[i]) == NULL)
            return false;
    return host.len > 0 && host.len <= HOST_MAX && host.at[0] != '.' && host.at[0] != '-';
}

static const char *authority_parse(struct arena *a, struct text authority, struct conf_url *out)
{
    struct text host, port;
    uint64_t number = out->is_https ? HTTPS_PORT : HTTP_PORT;
    if (authority.len > 0 && memchr(authority.at, '@', authority.len) != NULL)
        return "must not contain a user or password; use key";
    if (!authority_split(authority, &host, &port))
        return "has a host that is not understood; IPv6 stands in brackets";
    if (host.len == 0)
        return "has no host";
    if (port.at != NULL && (!text_to_u64(port, PORT_MAX, &number) || number == 0))
        return "has a port that is not a number from 1 to 65535";
    out->host = arena_copy(a, host);
    if (out->host == NULL)
        return NO_MEMORY;
    if (authority.at[0] == '[' ? !is_ipv6(out->host) : !is_host(host))
        return "has a host that is neither a name nor an address";
    out->port = (uint16_t)number;
    return NULL;
}

static const char *base_check(struct text base)
{
    for (size_t i = 0; i < base.len; i++) {
        unsigned char c = (unsigned char)base.at[i];
        if (c == '?')
            return "must not contain a query";
        if (c == '#')
            return "must not contain a fragment";
        if (c <= ' ' || c >= 0x7F || strchr("\\\"<>^`{|}", c) != NULL)
            return "has a path with a character that must be written as %XX";
    }
    if (text_find(base, TEXT("/../")) >= 0 || text_ends(base, TEXT("/..")) || text_find(base, TEXT("//")) >= 0)
        return "has a path with // or ..";
    return NULL;
}

const char *url_parse(struct arena *a, struct text text, struct conf_url *out)
{
    struct conf_url url = { 0 };
    url.is_https = text_starts(text, TEXT("https://"));
    if (!url.is_https && !text_starts(text, TEXT("http://")))
        return "must begin with http:// or https://";
    size_t scheme_len = url.is_https ? strlen("https://") : strlen("http://");
    struct text rest = { text.at + scheme_len, text.len - scheme_len };
    size_t host_len = 0;
    while (host_len < rest.len && strchr("/?#\\", rest.at[host_len]) == NULL)
        host_len++;
    const char *wrong = authority_parse(a, (struct text){ rest.at, host_len }, &url);
    if (wrong != NULL)
        return wrong;
    struct text base = { rest.at + host_len, rest.len - host_len };
    if (text_ends(base, TEXT("/")))
        base.len--;
    wrong = base_check(base);
    if (wrong != NULL)
        return wrong;
    if (text_ends(base, TEXT("/v1"))) /* how most SDKs name the same place */
        base.len -= 3;
    url.base = arena_copy(a, base);
    url.text = arena_copy(a, (struct text){ text.at, (size_t)(base.at + base.len - text.at) });
    if (url.base == NULL || url.text == NULL)
        return NO_MEMORY;
    *out = url;
    return NULL;
}
