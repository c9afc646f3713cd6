/* base64url.c: see base64url.h. */
#include "base/base64url.h"

/* 0..63, or -1 */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool base64url_read(struct text t, uint8_t *out, size_t *out_len)
{
    uint32_t bits = 0;
    unsigned held = 0; /* of bits, not yet written */
    size_t n = 0;
    if (t.len % 4 == 1)
        return false;
    for (size_t i = 0; i < t.len; i++) {
        int v = value_of(t.at[i]);
        if (v < 0)
            return false;
        bits = bits << 6 | (uint32_t)v;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[n++] = (uint8_t)(bits >> held);
        }
    }
    if ((bits & ((1u << held) - 1)) != 0)
        return false;
    *out_len = n;
    return true;
}
