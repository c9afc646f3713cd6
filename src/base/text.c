/* text.c: comparing, cutting, parsing and checking slices of bytes. Everyone who reads a word calls it. */
#include "base/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c; /* not tolower: it depends on the locale */
}

static struct text text_from(struct text t, size_t start)
{
    return start == 0 ? t : (struct text){ t.at + start, t.len - start }; /* at may be NULL, and NULL + 0 is not C */
}

/* --- comparing and cutting --- */

bool text_eq_nocase(struct text a, struct text b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.at[i]) != lower(b.at[i]))
            return false;
    return true;
}

bool text_starts(struct text t, struct text prefix)
{
    return t.len >= prefix.len && text_eq((struct text){ t.at, prefix.len }, prefix);
}

bool text_ends(struct text t, struct text suffix)
{
    return suffix.len == 0 || (t.len >= suffix.len && text_eq(text_from(t, t.len - suffix.len), suffix));
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct text text_trim(struct text t)
{
    while (t.len > 0 && is_blank(t.at[0]))
        t = text_from(t, 1);
    while (t.len > 0 && is_blank(t.at[t.len - 1]))
        t.len--;
    return t;
}

struct text text_cut(struct text t, char sep, struct text *out_head)
{
    const char *cut = t.len > 0 ? memchr(t.at, sep, t.len) : NULL;
    if (cut == NULL) {
        *out_head = t;
        return TEXT_NONE;
    }
    size_t head_len = (size_t)(cut - t.at);
    *out_head = (struct text){ t.at, head_len };
    return text_from(t, head_len + 1);
}

ptrdiff_t text_find(struct text t, struct text needle)
{
    if (needle.len == 0)
        return 0;
    const char *found = t.len >= needle.len ? memmem(t.at, t.len, needle.at, needle.len) : NULL;
    return found ? found - t.at : -1;
}

bool text_eq_secret(struct text a, struct text b)
{
    if (a.len != b.len)
        return false;
    unsigned differs = 0;
    for (size_t i = 0; i < a.len; i++) {
        differs |= (unsigned)(a.at[i] ^ b.at[i]);
        __asm__ volatile("" : "+r"(differs)); /* the compiler does not know it any more, so it cannot leave the loop early */
    }
    return differs == 0;
}

/* --- numbers --- */

bool text_to_u64(struct text t, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;
    for (size_t i = 0; i < t.len; i++) {
        if (!is_digit(t.at[i]))
            return false;
        uint64_t digit = (uint64_t)(t.at[i] - '0');
        if (digit > max || n > (max - digit) / 10)
            return false;
        n = 10 * n + digit;
    }
    if (t.len == 0)
        return false;
    *out = n;
    return true;
}

static size_t count_digits(struct text t)
{
    size_t n = 0;
    while (n < t.len && is_digit(t.at[n]))
        n++;
    return n;
}

struct unit {
    const char *name;
    uint64_t size;
};

/* From small to large, as largest_unit wants them. */
static const struct unit time_units[] = {
    { "ns", 1 },
    { "us", NANOS_PER_US },
    { "ms", NANOS_PER_MS },
    { "s", NANOS_PER_S },
    { "m", 60 * NANOS_PER_S },
    { "h", 3600 * NANOS_PER_S },
    { "d", 86400 * NANOS_PER_S },
};

/* "COUNT UNIT" or "COUNT.FRACTION UNIT" without the blank, times the unit's size; what is finer than one byte or nanosecond is cut off. */
static bool parse_with_unit(struct text t, const struct unit *units, size_t unit_count, uint64_t max, uint64_t *out)
{
    size_t digits = count_digits(t);
    struct text rest = text_from(t, digits), fraction = TEXT_NONE;
    if (rest.len > 0 && rest.at[0] == '.') {
        fraction = (struct text){ rest.at + 1, count_digits(text_from(rest, 1)) };
        if (fraction.len == 0 || fraction.len > 9)
            return false;
        rest = text_from(rest, 1 + fraction.len);
    }
    const struct unit *unit = NULL;
    for (size_t i = 0; i < unit_count && unit == NULL; i++)
        if (text_eq_nocase(rest, text_of(units[i].name)))
            unit = &units[i];
    uint64_t whole, parts = 0, of = 1;
    if (unit == NULL || !text_to_u64((struct text){ t.at, digits }, max / unit->size, &whole))
        return false;
    if (fraction.len > 0 && (unit->size == 1 || !text_to_u64(fraction, UINT32_MAX, &parts))) /* there is no half byte */
        return false;
    for (size_t i = 0; i < fraction.len; i++)
        of *= 10;
    uint64_t rest_of_unit = (uint64_t)((unsigned __int128)unit->size * parts / of);
    if (rest_of_unit > max - whole * unit->size)
        return false;
    *out = whole * unit->size + rest_of_unit;
    return true;
}

bool text_to_nanos(struct text t, nanos *out)
{
    uint64_t span;
    if (text_eq(t, TEXT("0")))
        span = 0;
    else if (!parse_with_unit(t, time_units, ARRAY_LEN(time_units), NEVER - 1, &span)) /* NEVER is not a span one can write */
        return false;
    *out = (nanos)span;
    return true;
}

bool text_to_bytes(struct text t, uint64_t *out)
{
    static const struct unit units[] = {
        { "", 1 },
        { "B", 1 },
        { "k", 1ULL << 10 }, /* a letter alone is binary, as in nginx */
        { "m", 1ULL << 20 },
        { "g", 1ULL << 30 },
        { "KiB", 1ULL << 10 },
        { "MiB", 1ULL << 20 },
        { "GiB", 1ULL << 30 },
        { "TiB", 1ULL << 40 },
        { "KB", 1000 },
        { "MB", 1000 * 1000 },
        { "GB", 1000 * 1000 * 1000 },
        { "TB", 1000ULL * 1000 * 1000 * 1000 },
    };
    return parse_with_unit(t, units, ARRAY_LEN(units), UINT64_MAX, out);
}

/* Takes "-", digits, ".digits", "e-digits" off the front as far as they go; true if that was all and there was a number. */
static bool is_decimal(struct text t)
{
    size_t i = t.len > 0 && t.at[0] == '-';
    size_t whole = count_digits(text_from(t, i));
    i += whole;
    if (whole > 0 && i < t.len && t.at[i] == '.') {
        size_t fraction = count_digits(text_from(t, ++i));
        if (fraction == 0)
            return false;
        i += fraction;
    }
    if (whole > 0 && i < t.len && lower(t.at[i]) == 'e') {
        i++;
        i += i < t.len && (t.at[i] == '-' || t.at[i] == '+');
        size_t exponent = count_digits(text_from(t, i));
        if (exponent == 0)
            return false;
        i += exponent;
    }
    return whole > 0 && i == t.len;
}

bool text_to_double(struct text t, double *out)
{
    char word[64]; /* longer than any number a person writes */
    if (t.len >= sizeof word || !is_decimal(t))
        return false;
    memcpy(word, t.at, t.len);
    word[t.len] = '\0';
    double value = strtod(word, NULL); /* weir never calls setlocale, so the point is a point */
    if (!isfinite(value))
        return false;
    *out = value;
    return true;
}

/* --- printing for people --- */

/* One decimal where it says something: "1.5", "250", "8". */
static void print_rounded(char *out, size_t out_size, const char *sign, uint64_t value, const struct unit *unit)
{
    unsigned parts = value / unit->size < 100 ? 10 : 1;
    uint64_t count = (uint64_t)(((unsigned __int128)value * parts + unit->size / 2) / unit->size);
    if (count % parts == 0)
        snprintf(out, out_size, "%s%llu%s", sign, (unsigned long long)(count / parts), unit->name);
    else
        snprintf(out, out_size, "%s%llu.%llu%s", sign, (unsigned long long)(count / parts), (unsigned long long)(count % parts), unit->name);
}

static const struct unit *largest_unit(const struct unit *units, size_t count, uint64_t value)
{
    size_t i = count - 1;
    while (i > 0 && value < units[i].size)
        i--;
    return &units[i];
}

char *nanos_print(nanos span, char out[24])
{
    if (span == NEVER || span == 0) {
        snprintf(out, 24, "%s", span == 0 ? "0" : "never");
        return out;
    }
    uint64_t size = span < 0 ? 0 - (uint64_t)span : (uint64_t)span;
    const struct unit *unit = largest_unit(time_units, ARRAY_LEN(time_units), size);
    print_rounded(out, 24, span < 0 ? "-" : "", size, unit);
    return out;
}

char *bytes_print(uint64_t bytes, char out[24])
{
    static const struct unit units[] = {
        { "B", 1 }, { "KiB", 1ULL << 10 }, { "MiB", 1ULL << 20 }, { "GiB", 1ULL << 30 }, { "TiB", 1ULL << 40 },
    };
    const struct unit *unit = largest_unit(units, ARRAY_LEN(units), bytes);
    print_rounded(out, 24, "", bytes, unit);
    return out;
}

/* --- UTF-8 --- */

size_t text_obeyed_len(struct text t)
{
    unsigned char c[3] = { 0 };
    if (t.len == 0)
        return 0;
    memcpy(c, t.at, MIN(t.len, sizeof c));
    if (c[0] < 0x20 || c[0] == 0x7f)
        return 1;
    if (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0)
        return 2;
    if (c[0] != 0xe2)
        return 0;
    bool marks = c[1] == 0x80 && (c[2] == 0x8e || c[2] == 0x8f || (c[2] >= 0xa8 && c[2] <= 0xae));
    return marks || (c[1] == 0x81 && c[2] >= 0xa6 && c[2] <= 0xa9) ? 3 : 0;
}

size_t text_utf8_len(struct text t)
{
    if (t.len == 0)
        return 0;
    const unsigned char *s = (const unsigned char *)t.at;
    if (s[0] < 0x80)
        return 1;
    /* RFC 3629, section 4: the lead byte fixes the length and the range of the second byte; that range rules out
       overlong forms (E0, F0), surrogates (ED) and what is past U+10FFFF (F4). */
    size_t len = s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
    if (len == 0 || t.len < len)
        return 0;
    unsigned char low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    unsigned char high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    if (s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool text_is_utf8(struct text t)
{
    size_t i = 0;
    while (i < t.len) {
        uint64_t eight;
        if (t.len - i >= sizeof eight) { /* most of what we see is ASCII: eight bytes a step */
            memcpy(&eight, t.at + i, sizeof eight);
            if ((eight & 0x8080808080808080ULL) == 0) {
                i += sizeof eight;
                continue;
            }
        }
        size_t len = text_utf8_len(text_from(t, i));
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

/* --- the nearest word --- */

#define WORD_MAX 63
#define FAR      UINT32_MAX

/* Three rows of the table are enough: this one, the one above, and the one above that for a swap. */
unsigned text_distance(struct text a, struct text b)
{
    if (a.len > WORD_MAX || b.len > WORD_MAX)
        return FAR;
    unsigned rows[3][WORD_MAX + 1];
    for (unsigned j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned replaced = above[j - 1] + (a.at[i - 1] != b.at[j - 1]);
            row[j] = MIN(MIN(above[j], row[j - 1]) + 1, replaced);
            if (i > 1 && j > 1 && a.at[i - 1] == b.at[j - 2] && a.at[i - 2] == b.at[j - 1])
                row[j] = MIN(row[j], above2[j - 2] + 1);
        }
    }
    return rows[a.len % 3][b.len];
}

const char *text_nearest(struct text t, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    unsigned least = FAR;
    for (size_t i = 0; i < count; i++) {
        unsigned distance = text_distance(t, text_of(words[i]));
        if (distance < least) {
            least = distance;
            nearest = words[i];
        }
    }
    return least <= 1 + t.len / 4 ? nearest : NULL;
}
