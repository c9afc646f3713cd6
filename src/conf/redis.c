/* redis.c: where a Redis is, as its URL says it. Called by values.c. */
#include "conf/inner.h"

#define PORT_MAX 65535
#define DB_MAX   65535 /* Redis has 16 unless its own configuration says otherwise */
#define MUST_BE  "must be redis://[USER:PASSWORD@]HOST:PORT[/DB]"

/* %XX to bytes; a control character would reach Redis as part of a password nobody has. NULL: malformed, or no memory. */
static const char *decode(struct arena *a, struct text t)
{
    char *out = arena_alloc(a, t.len + 1);
    size_t n = 0;
    for (size_t i = 0; i < t.len && out != NULL; i++) {
        int c = (unsigned char)t.at[i];
        if (c == '%') {
            int high = i + 2 < t.len ? hex_digit(t.at[i + 1]) : -1, low = i + 2 < t.len ? hex_digit(t.at[i + 2]) : -1;
            c = high < 0 || low < 0 ? 0 : high << 4 | low;
            i += 2;
        }
        if (c < ' ' || c == 0x7F)
            return NULL;
        out[n++] = (char)c;
    }
    if (out != NULL)
        out[n] = '\0';
    return out;
}

/* USER:PASSWORD, or :PASSWORD for the default user. */
static const char *credentials_parse(struct arena *a, struct text t, struct conf_redis *out)
{
    struct text user, password = text_cut(t, ':', &user);
    if (password.at == NULL || password.len == 0)
        return "has a user without a password; " MUST_BE;
    out->password = decode(a, password);
    out->user = user.len > 0 ? decode(a, user) : NULL;
    return out->password == NULL || (user.len > 0 && out->user == NULL) ? "has a user or password with a control character, or a % that is no %XX" : NULL;
}

const char *redis_parse(struct arena *a, struct text text, struct conf_redis *out)
{
    struct conf_redis r = { .url = arena_copy(a, text) };
    struct text host, port, db;
    uint64_t number;
    const char *wrong = NULL;
    if (text_starts(text, TEXT("rediss://")))
        return "is Redis over TLS, which is not served; use redis:// on a network that you trust, or through a tunnel";
    if (!text_starts(text, TEXT("redis://")))
        return MUST_BE;
    text = (struct text){ text.at + strlen("redis://"), text.len - strlen("redis://") };
    const char *at = text.len > 0 ? memrchr(text.at, '@', text.len) : NULL;
    if (at != NULL) {
        wrong = credentials_parse(a, (struct text){ text.at, (size_t)(at - text.at) }, &r);
        text = (struct text){ at + 1, text.len - (size_t)(at - text.at) - 1 };
    }
    if (wrong != NULL)
        return wrong;
    db = text_cut(text, '/', &text);
    if (db.len > 0 && !text_to_u64(db, DB_MAX, &number))
        return "has a database that is not a number from 0 to 65535";
    r.db = db.len > 0 ? (uint32_t)number : 0;
    if (!address_split(text, &host, &port) || port.at == NULL || !text_to_u64(port, PORT_MAX, &number) || number == 0)
        return MUST_BE;
    wrong = address_check_host(a, host, text.at[0] == '[');
    r.host = arena_copy(a, host);
    r.port = (uint16_t)number;
    if (wrong == NULL && r.host != NULL && r.url != NULL)
        *out = r;
    return r.host != NULL && r.url != NULL ? wrong : "does not fit into memory";
}
