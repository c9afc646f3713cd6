/* line.c: the bytes of one log line: escaping, numbers and the date, written by hand because every request pays for one. log.c calls it. */
#include "stat/inner.h"

#define NUMBER_MAX 24 /* bytes of any number we print: 20 digits, a point, and some air */

/* How a byte travels. Everything that could end a line, move a cursor or close a quote is BYTE_ESCAPED. */
enum { BYTE_ESCAPED, BYTE_QUOTED, BYTE_BARE };
static const unsigned char byte_class[256] = {
    [' '] = BYTE_QUOTED,
    ['!'] = BYTE_BARE,
    ['#' ... '<'] = BYTE_BARE, /* '"' stands between */
    ['='] = BYTE_QUOTED,       /* so that a value cannot look like the next field */
    ['>' ... '['] = BYTE_BARE, /* then '\\' */
    [']' ... '~'] = BYTE_BARE, /* then DEL, and bytes past ASCII, which must prove to be UTF-8 */
};

static size_t room(const struct line *l)
{
    return (size_t)(l->end - l->at);
}

static void put(struct line *l, struct text t)
{
    memcpy(l->at, t.at, t.len);
    l->at += t.len;
}

static void put_byte(struct line *l, char c)
{
    *l->at++ = c;
}

void line_raw(struct line *l, struct text bytes)
{
    if (room(l) >= bytes.len)
        put(l, bytes);
}

void line_pad(struct line *l, const char *from, size_t width)
{
    while (!l->json && (size_t)(l->at - from) < width && room(l) > 0)
        put_byte(l, ' ');
}

/* The name, if value_max more bytes would fit after it. */
static bool put_name(struct line *l, const struct field *f, size_t value_max)
{
    struct text name = l->json ? f->json : f->text;
    if (room(l) < name.len + value_max)
        return false;
    put(l, name);
    return true;
}

/* ---- texts ---- */

#define ESCAPE_MAX 6 /* "\u001b" */

static size_t escape_unicode(unsigned point, char *out)
{
    static const char hex[] = "0123456789abcdef";
    out[0] = '\\';
    out[1] = 'u';
    for (int i = 0; i < 4; i++)
        out[2 + i] = hex[(point >> (12 - 4 * i)) & 15];
    return 6;
}

/* Characters that are valid UTF-8 and still must not reach a terminal: C1 controls (U+009B begins ANSI sequences like ESC [ does),
   line and paragraph separators, and the marks that turn the direction of text around (CVE-2021-42574). */
static bool is_treacherous(unsigned point)
{
    return (point >= 0x80 && point <= 0x9f) || point == 0x200e || point == 0x200f || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069);
}

/* One character past ASCII at the front of t into out; returns bytes written, *out_used bytes read. Not UTF-8: U+FFFD for one byte, as in JSON answers. */
static size_t escape_wide(struct text t, char *out, size_t *out_used)
{
    const unsigned char *s = (const unsigned char *)t.at;
    size_t len = text_utf8_len(t);
    *out_used = MAX(len, 1u);
    if (len == 0) {
        memcpy(out, "\xef\xbf\xbd", 3);
        return 3;
    }
    unsigned point = len == 2 ? (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu) : len == 3 ? (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu) : 0;
    if (is_treacherous(point))
        return escape_unicode(point, out);
    memcpy(out, s, len);
    return len;
}

static size_t escape(struct text t, char *out, size_t *out_used)
{
    unsigned char c = (unsigned char)t.at[0];
    if (c >= 0x80)
        return escape_wide(t, out, out_used);
    *out_used = 1;
    char letter = c == '\n' ? 'n' : c == '\r' ? 'r' : c == '\t' ? 't' : c == '"' || c == '\\' ? (char)c : 0;
    if (letter == 0)
        return escape_unicode(c, out);
    out[0] = '\\';
    out[1] = letter;
    return 2;
}

static size_t count_class(struct text t, size_t from, unsigned char least)
{
    size_t i = from;
    while (i < t.len && byte_class[(unsigned char)t.at[i]] >= least)
        i++;
    return i - from;
}

/* The escaped value, at most max bytes; the last three become "..." if it does not fit. */
static void put_escaped(struct line *l, struct text value, size_t max)
{
    ASSERT(max >= 3);
    char *limit = l->at + max;
    for (size_t i = 0; i < value.len;) {
        char escaped[ESCAPE_MAX];
        size_t plain = count_class(value, i, BYTE_QUOTED), used = plain, n = plain;
        const char *from = value.at + i;
        if (plain == 0) {
            n = escape((struct text){ value.at + i, value.len - i }, escaped, &used);
            from = escaped;
        }
        bool last = i + used == value.len;
        size_t fits = (size_t)(limit - l->at) - (last ? 0 : 3); /* whatever follows must leave room for the mark */
        if (n > fits) {
            if (last)
                fits -= MIN(fits, 3u);
            put(l, (struct text){ from, plain > 0 ? MIN(fits, n) : 0 }); /* an escape is not cut in half */
            put(l, TEXT("..."));
            return;
        }
        put(l, (struct text){ from, n });
        i += used;
    }
}

void line_text(struct line *l, const struct field *f, struct text value, size_t max)
{
    if (value.len == 0 || !put_name(l, f, max + 2))
        return;
    if (!l->json && value.len <= max && count_class(value, 0, BYTE_BARE) == value.len) {
        put(l, value);
        return;
    }
    put_byte(l, '"');
    put_escaped(l, value, max);
    put_byte(l, '"');
}

/* ---- numbers ---- */

static void put_u64(struct line *l, uint64_t value)
{
    char digits[NUMBER_MAX];
    char *first = digits + sizeof digits;
    do {
        *--first = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(l, (struct text){ first, (size_t)(digits + sizeof digits - first) });
}

/* Exactly `count` digits of value, leading zeros included. */
static void write_digits(char *out, unsigned value, unsigned count)
{
    for (unsigned i = count; i > 0; i--) {
        out[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
}

void line_u64(struct line *l, const struct field *f, uint64_t value)
{
    if (put_name(l, f, NUMBER_MAX))
        put_u64(l, value);
}

void line_us(struct line *l, const struct field *f, nanos span)
{
    if (span >= 0)
        line_u64(l, f, (uint64_t)span / NANOS_PER_US);
}

void line_ms(struct line *l, const struct field *f, nanos span)
{
    if (span < 0 || !put_name(l, f, NUMBER_MAX))
        return;
    uint64_t us = (uint64_t)span / NANOS_PER_US;
    put_u64(l, us / 1000);
    put_byte(l, '.');
    write_digits(l->at, (unsigned)(us % 1000), 3);
    l->at += 3;
}

/* ---- the date ---- */

/* Days since 1970-01-01 to a date of the Gregorian calendar: civil_from_days of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"
   (howardhinnant.github.io/date_algorithms.html). Years begin in March, so that the day that comes and goes is the last; 400 of them repeat. */
static void civil_from_days(int64_t days, int64_t *out_year, unsigned *out_month, unsigned *out_day)
{
    days += 719468; /* from 0000-03-01 */
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    unsigned day_of_era = (unsigned)(days - era * 146097);
    unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned month_from_march = (5 * day_of_year + 2) / 153;
    *out_day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    *out_month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
    *out_year = (int64_t)year_of_era + era * 400 + (*out_month <= 2);
}

void stamp_write(int64_t second, char out[STAMP_LEN])
{
    int64_t days = second / 86400 - (second % 86400 < 0);
    unsigned of_day = (unsigned)(second - days * 86400), month, day;
    int64_t year;
    civil_from_days(days, &year, &month, &day);
    memcpy(out, "0000-00-00T00:00:00.", STAMP_LEN);
    write_digits(out, (unsigned)year, 4); /* 64 bits of nanoseconds end in 2262 */
    write_digits(out + 5, month, 2);
    write_digits(out + 8, day, 2);
    write_digits(out + 11, of_day / 3600, 2);
    write_digits(out + 14, of_day / 60 % 60, 2);
    write_digits(out + 17, of_day % 60, 2);
}
