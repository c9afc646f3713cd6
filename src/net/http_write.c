/* http_write.c: heads and chunk frames into a buf. serve answers with it, upstream asks with it. */
#include "net/http_write.h"

/* Which bytes may stand where: a token (RFC 9110 section 5.6.2), a field value (section 5.5), a request target. */
enum { IN_NAME = 1, IN_VALUE = 2, IN_TARGET = 4, PRINTED = IN_VALUE | IN_TARGET, ANY = IN_NAME | PRINTED };
static const uint8_t bytes[256] = {
    ['\t'] = IN_VALUE, [' '] = IN_VALUE, [0x80 ... 0xff] = IN_VALUE,
    ['a' ... 'z'] = ANY, ['A' ... 'Z'] = ANY, ['0' ... '9'] = ANY,
    ['!'] = ANY, ['#'] = ANY, ['$'] = ANY, ['%'] = ANY, ['&'] = ANY, ['\''] = ANY, ['*'] = ANY, ['+'] = ANY,
    ['-'] = ANY, ['.'] = ANY, ['^'] = ANY, ['_'] = ANY, ['`'] = ANY, ['|'] = ANY, ['~'] = ANY,
    ['"'] = PRINTED, ['('] = PRINTED, [')'] = PRINTED, [','] = PRINTED, ['/'] = PRINTED, [':' ... '@'] = PRINTED,
    ['[' ... ']'] = PRINTED, ['{'] = PRINTED, ['}'] = PRINTED,
};

static bool all_in(struct text t, uint8_t where)
{
    uint8_t common = where;
    for (size_t i = 0; i < t.len; i++)
        common &= bytes[(unsigned char)t.at[i]];
    return common == where;
}

/* A head is lines of a few parts each: measured and written by this one function, whole or not at all. */
static enum fail add_parts(struct buf *b, const struct text *parts, size_t count)
{
    size_t bytes_all = 0;
    for (size_t i = 0; i < count; i++)
        bytes_all += parts[i].len;
    enum fail f = buf_reserve(b, bytes_all);
    if (f != OK)
        return f;
    char *at = buf_end(b);
    for (size_t i = 0; i < count; i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].at, parts[i].len);
        at += parts[i].len;
    }
    buf_added(b, bytes_all);
    return OK;
}
#define ADD_PARTS(b, ...) add_parts(b, (const struct text[]){ __VA_ARGS__ }, ARRAY_LEN(((const struct text[]){ __VA_ARGS__ })))

#define DIGITS_MAX 20
static struct text decimal(uint64_t n, char out[DIGITS_MAX])
{
    char *at = out + DIGITS_MAX;
    do
        *--at = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    return (struct text){ at, (size_t)(out + DIGITS_MAX - at) };
}

static struct text hexadecimal(uint64_t n, char out[DIGITS_MAX])
{
    char *at = out + DIGITS_MAX;
    do
        *--at = "0123456789abcdef"[n % 16];
    while ((n /= 16) > 0);
    return (struct text){ at, (size_t)(out + DIGITS_MAX - at) };
}

struct text http_reason(int status)
{
    switch (status) {
#define HTTP_STATUS_ROW(number, phrase) \
    case number: \
        return TEXT(phrase);
#include "net/http_status.def"
#undef HTTP_STATUS_ROW
    default:
        return TEXT("");
    }
}

enum fail http_write_status(struct buf *b, int status, int minor)
{
    ASSERT(status >= 100 && status <= 999 && (minor == 0 || minor == 1));
    char digits[DIGITS_MAX];
    return ADD_PARTS(b, minor ? TEXT("HTTP/1.1 ") : TEXT("HTTP/1.0 "), decimal((uint64_t)status, digits), TEXT(" "), http_reason(status), TEXT("\r\n"));
}

enum fail http_write_request(struct buf *b, struct text method, struct text target)
{
    if (method.len == 0 || target.len == 0 || !all_in(method, IN_NAME) || !all_in(target, IN_TARGET))
        return FAIL_BAD_REQUEST;
    return ADD_PARTS(b, method, TEXT(" "), target, TEXT(" HTTP/1.1\r\n"));
}

enum fail http_write_header(struct buf *b, struct text name, struct text value)
{
    if (name.len == 0 || !all_in(name, IN_NAME) || !all_in(value, IN_VALUE))
        return FAIL_BAD_REQUEST;
    return ADD_PARTS(b, name, TEXT(": "), value, TEXT("\r\n"));
}

enum fail http_write_header_number(struct buf *b, struct text name, int64_t value)
{
    char digits[DIGITS_MAX + 1];
    struct text number = decimal(value < 0 ? 0 - (uint64_t)value : (uint64_t)value, digits + 1);
    if (value < 0) {
        digits[DIGITS_MAX - number.len] = '-';
        number = (struct text){ number.at - 1, number.len + 1 };
    }
    return http_write_header(b, name, number);
}

enum fail http_write_length(struct buf *b, uint64_t body_bytes)
{
    char digits[DIGITS_MAX];
    return ADD_PARTS(b, TEXT("content-length: "), decimal(body_bytes, digits), TEXT("\r\n"));
}

enum fail http_write_chunked(struct buf *b) { return buf_add_text(b, TEXT("transfer-encoding: chunked\r\n")); }
enum fail http_write_date(struct buf *b, struct text date) { return http_write_header(b, TEXT("date"), date); }
enum fail http_write_head_end(struct buf *b) { return buf_add_text(b, TEXT("\r\n")); }

enum fail http_write_chunk_begin(struct buf *b, size_t bytes_of_chunk)
{
    ASSERT(bytes_of_chunk > 0);
    char digits[DIGITS_MAX];
    return ADD_PARTS(b, hexadecimal(bytes_of_chunk, digits), TEXT("\r\n"));
}
enum fail http_write_chunk_end(struct buf *b) { return buf_add_text(b, TEXT("\r\n")); }
enum fail http_write_chunk_last(struct buf *b) { return buf_add_text(b, TEXT("0\r\n\r\n")); }

enum fail http_write_chunk(struct buf *b, struct text data)
{
    if (data.len == 0)
        return OK;
    char digits[DIGITS_MAX];
    return ADD_PARTS(b, hexadecimal(data.len, digits), TEXT("\r\n"), data, TEXT("\r\n"));
}

static void two_digits(char *at, int n)
{
    at[0] = (char)('0' + n / 10);
    at[1] = (char)('0' + n % 10);
}

/* Days to year, month and day: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days. For 1970 to 9999. */
struct text http_date_at(struct http_date *d, int64_t unix_second)
{
    if (d->second == unix_second && d->text[0] != '\0')
        return (struct text){ d->text, sizeof(d->text) - 1 };
    ASSERT(unix_second >= 0 && unix_second <= 253402300799);

    int64_t days = unix_second / 86400;
    int second = (int)(unix_second % 86400);
    int64_t z = days + 719468; /* from 0000-03-01, so that the leap day ends the year */
    int64_t era = z / 146097;
    int64_t of_era = z % 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t shifted = (5 * of_year + 2) / 153; /* month, counted from March */
    int day = (int)(of_year - (153 * shifted + 2) / 5 + 1);
    int month = (int)(shifted < 10 ? shifted + 2 : shifted - 10); /* 0 = January */
    int year = (int)(year_of_era + era * 400 + (month <= 1));

    memcpy(d->text, "Day, 00 Mon 0000 00:00:00 GMT", sizeof(d->text));
    memcpy(d->text, &"ThuFriSatSunMonTueWed"[days % 7 * 3], 3);
    two_digits(d->text + 5, day);
    memcpy(d->text + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[month * 3], 3);
    two_digits(d->text + 12, year / 100);
    two_digits(d->text + 14, year % 100);
    two_digits(d->text + 17, second / 3600);
    two_digits(d->text + 20, second / 60 % 60);
    two_digits(d->text + 23, second % 60);
    d->second = unix_second;
    return (struct text){ d->text, sizeof(d->text) - 1 };
}
