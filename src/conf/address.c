/* address.c: ADDRESS:PORT and upstream URLs, taken apart and refused early. Called by values.c and override.c.
   The URL grammar is the part of RFC 3986 that an API's base needs: what is left out has been used to confuse proxies. */
#include "conf/inner.h"

#include <arpa/inet.h>
#include <ctype.h>

#define PORT_MAX     65535
#define HTTP_PORT    80
#define HTTPS_PORT   443
#define HOST_MAX     253 /* RFC 1035: 255 bytes on the wire */
#define LABEL_MAX    63  /* RFC 1035, between two dots */
#define DNS_PORT     53
#define NO_MEMORY    "does not fit into memory"

bool address_split(struct text t, struct text *out_host, struct text *out_port)
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
    if (!address_split(text, &host, &port) || port.at == NULL || host.len == 0)
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

static bool label_is_fit(struct text label)
{
    for (size_t i = 0; i < label.len; i++)
        if (!isalnum((unsigned char)label.at[i]) && label.at[i] != '_' && (label.at[i] != '-' || i == 0 || i + 1 == label.len))
            return false;
    return label.len > 0 && label.len <= LABEL_MAX;
}

/* Digits, or 0x and hexadecimal ones. */
static bool label_is_number(struct text label)
{
    bool is_hex = label.len > 2 && label.at[0] == '0' && (label.at[1] == 'x' || label.at[1] == 'X');
    for (size_t i = is_hex ? 2 : 0; i < label.len; i++)
        if (is_hex ? !isxdigit((unsigned char)label.at[i]) : !isdigit((unsigned char)label.at[i]))
            return false;
    return true;
}

/* What ends in a number must be an address in its one usual form: 0x7f.1, 017700000001, 2130706433 and 127.1 are 127.0.0.1 to some programs
   and a name to others, so whoever checks such a host may mean another machine than whoever connects. */
static const char *name_check(const char *name)
{
    struct text label, rest = text_of(name);
    struct in_addr four;
    if (rest.len > HOST_MAX)
        return "has a host of more than 253 characters";
    if (rest.len > 1 && text_ends(rest, TEXT(".")))
        return "has a host that ends in a dot; leave the dot out";
    for (size_t i = 0; i < rest.len; i++)
        if ((unsigned char)name[i] >= 0x80)
            return "has a host with letters outside ASCII; write it as xn--...";
    do {
        rest = text_cut(rest, '.', &label);
        if (!label_is_fit(label))
            return "has a host that is neither a name nor an address";
    } while (rest.at != NULL);
    if (label_is_number(label) && inet_pton(AF_INET, name, &four) != 1)
        return "has a host that is a number, but no address as in 127.0.0.1: four decimal numbers without zeros in front";
    return NULL;
}

const char *address_check_host(struct arena *a, struct text host, bool is_bracketed)
{
    const char *name = arena_copy(a, host);
    if (name == NULL)
        return NO_MEMORY;
    if (host.len == 0)
        return "has no host";
    if (!is_bracketed)
        return name_check(name);
    if (memchr(host.at, '%', host.len) != NULL)
        return "has an address with a zone, which only this machine understands; use one without";
    return is_ipv6(name) ? NULL : "has a host that is neither a name nor an address";
}

static const char *authority_parse(struct arena *a, struct text authority, struct conf_url *out)
{
    struct text host, port;
    uint64_t number = out->is_https ? HTTPS_PORT : HTTP_PORT;
    if (authority.len > 0 && memchr(authority.at, '@', authority.len) != NULL)
        return "must not contain a user or password; use key";
    if (!address_split(authority, &host, &port))
        return "has a host that is not understood; IPv6 stands in brackets";
    const char *wrong = address_check_host(a, host, authority.len > 0 && authority.at[0] == '[');
    if (wrong != NULL)
        return wrong;
    if (port.at != NULL && (!text_to_u64(port, PORT_MAX, &number) || number == 0))
        return "has a port that is not a number from 1 to 65535";
    out->host = arena_copy(a, host);
    if (out->host == NULL)
        return NO_MEMORY;
    out->port = (uint16_t)number;
    return NULL;
}

static const char *server_parse(struct arena *a, struct text text, const char *before, const char **out)
{
    static const char must[] = "must be addresses of name servers such as 10.0.0.1, [::1] or 127.0.0.1:5353, with commas between";
    struct text host, port;
    struct in_addr four;
    uint64_t number = DNS_PORT;
    if (!address_split(text, &host, &port) || (port.at != NULL && (!text_to_u64(port, PORT_MAX, &number) || number == 0)))
        return must;
    bool is_bracketed = text.len > 0 && text.at[0] == '[';
    const char *name = arena_copy(a, host);
    if (name == NULL)
        return NO_MEMORY;
    if (is_bracketed ? !is_ipv6(name) : inet_pton(AF_INET, name, &four) != 1)
        return must;
    *out = arena_printf(a, is_bracketed ? "%s%s[%s]:%u" : "%s%s%s:%u", before, *before ? "," : "", name, (unsigned)number);
    return *out != NULL ? NULL : NO_MEMORY;
}

const char *address_servers(struct arena *a, struct text text, const char **out)
{
    const char *listed = "", *wrong = NULL;
    while (text.at != NULL && wrong == NULL) {
        struct text one;
        text = text_cut(text, ',', &one);
        wrong = server_parse(a, text_trim(one), listed, &listed);
    }
    if (wrong == NULL)
        *out = listed;
    return wrong;
}

static bool is_escape(struct text t)
{
    return t.len >= 3 && hex_digit(t.at[1]) >= 0 && hex_digit(t.at[2]) >= 0 && !(t.at[1] == '0' && t.at[2] == '0');
}

static const char *base_check(struct text base)
{
    for (size_t i = 0; i < base.len; i++) {
        unsigned char c = (unsigned char)base.at[i];
        if (c == '?')
            return "must not contain a query";
        if (c == '#')
            return "must not contain a fragment";
        if (c <= ' ' || c >= 0x7F || strchr("\\\"<>[]^`{|}", c) != NULL)
            return "has a path with a character that must be written as %XX";
        if (c == '%' && !is_escape((struct text){ base.at + i, base.len - i }))
            return "has a path with a % that two hexadecimal digits do not follow, or an encoded NUL";
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
    wrong = base_check(base);
    if (wrong != NULL)
        return wrong;
    if (text_ends(base, TEXT("/")))
        base.len--;
    if (text_ends(base, TEXT("/v1"))) /* how most SDKs name the same place */
        base.len -= 3;
    url.base = arena_copy(a, base);
    url.text = arena_copy(a, (struct text){ text.at, (size_t)(base.at + base.len - text.at) });
    if (url.base == NULL || url.text == NULL)
        return NO_MEMORY;
    *out = url;
    return NULL;
}
