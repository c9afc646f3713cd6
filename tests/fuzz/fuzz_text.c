/* fuzz_text.c: short words as numbers, sizes, spans, dates and names. Oracle: the C library's own reading (strtoull, strtold, gmtime_r, memmem),
   yyjson's of UTF-8, and laws: a distance is symmetric, a print is read back. */
#include "base/json.h"
#include "fuzz/fuzz.h"
#include "net/http_head.h"
#include "net/http_write.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>

static bool all_digits(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s < '0' || *s > '9')
            return false;
    return true;
}

static void check_number(struct text t, const char *s)
{
    static const uint64_t bounds[] = { 0, 255, 65535, INT64_MAX, UINT64_MAX };
    bool fits = t.len > 0 && strlen(s) == t.len && all_digits(s);
    errno = 0;
    unsigned long long due = fits ? strtoull(s, NULL, 10) : 0;
    fits = fits && errno == 0;
    for (size_t i = 0; i < ARRAY_LEN(bounds); i++) {
        uint64_t n = 1234567;
        bool is = text_to_u64(t, bounds[i], &n);
        ASSERT(is == (fits && due <= bounds[i]) && n == (is ? due : 1234567));
    }
}

/* The number in front and the word behind it. */
static long double front(const char *s, const char **out_unit)
{
    const char *end = s + strspn(s, "0123456789.");
    char digits[80];
    ASSERT(end > s && (size_t)(end - s) < sizeof digits);
    memcpy(digits, s, (size_t)(end - s));
    digits[end - s] = '\0';
    *out_unit = end;
    return strtold(digits, NULL);
}

struct unit {
    const char *name;
    long double size;
};

static void check_unit(const char *s, const struct unit *units, size_t count, long double value)
{
    const char *unit;
    long double number = front(s, &unit), due = -1;
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(unit, units[i].name) == 0)
            due = number * units[i].size;
    ASSERT(due >= 0 && fabsl(due - value) <= 1 + due * 1e-15L);
}

static void check_spans(struct text t, const char *s)
{
    static const struct unit times[] = { { "", 0 }, { "ns", 1 }, { "us", 1e3L }, { "ms", 1e6L }, { "s", 1e9L }, { "m", 60e9L }, { "h", 3600e9L }, { "d", 86400e9L } };
    static const struct unit sizes[] = {
        { "", 1 }, { "b", 1 }, { "k", 1024 }, { "m", 1048576 }, { "g", 1073741824.0L }, { "kib", 1024 }, { "mib", 1048576 }, { "gib", 1073741824.0L },
        { "tib", 1099511627776.0L }, { "t", 1099511627776.0L }, { "kb", 1e3L }, { "mb", 1e6L }, { "gb", 1e9L }, { "tb", 1e12L },
    };
    nanos span = -7;
    uint64_t bytes = 7;
    char print[24];
    if (text_to_nanos(t, &span)) {
        nanos again;
        ASSERT(span >= 0);
        check_unit(s, times, ARRAY_LEN(times), (long double)span);
        if (span < NEVER / 2) { /* past that a print may round up to what no span holds */
            ASSERT(text_to_nanos(text_of(nanos_print(span, print)), &again));
            ASSERT(fabsl((long double)again - (long double)span) <= 0.06L * (long double)span);
        }
    }
    if (text_to_bytes(t, &bytes))
        check_unit(s, sizes, ARRAY_LEN(sizes), (long double)bytes);
    ASSERT(strlen(bytes_print(bytes, print)) < sizeof print);
}

static void check_decimal(struct text t, const char *s)
{
    double d;
    char *end;
    if (!text_to_double(t, &d))
        return;
    double due = strtod(s, &end);
    ASSERT(*end == '\0' && isfinite(d) && fabs(d - due) <= 1e-12 * fabs(due));
}

static void check_date(const char *s)
{
    struct http_date date = { 0 };
    char due[40];
    struct tm tm;
    uint64_t n;
    if (!text_to_u64(text_of(s), UINT64_MAX, &n))
        return;
    time_t second = (time_t)(n % 253402300800u);
    ASSERT(gmtime_r(&second, &tm) != NULL && strftime(due, sizeof due, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 29);
    ASSERT(text_eq(http_date_at(&date, second), text_of(due)));
}

/* The three forms of RFC 9110 section 5.6.7 as the C library reads them, at its word where it knows the date's day. */
static void check_date_read(struct text t, const char *s)
{
    static const char *const forms[] = { "%a, %d %b %Y %H:%M:%S GMT", "%a, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y" };
    struct http_date date = { 0 };
    int64_t second = -1, again;
    bool is_read = http_date_read(t, &second);
    if (is_read) {
        ASSERT(second >= 0 && second <= 253402387200); /* the year 9999, and a leap second */
        ASSERT(second >= 253402300800 || (http_date_read(http_date_at(&date, second), &again) && again == second));
    }
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct tm tm = { 0 }, due;
        char print[48];
        const char *end = strptime(s, forms[i], &tm);
        if (end == NULL || *end != '\0' || strlen(s) != t.len || tm.tm_year < 70)
            continue;
        due = tm;
        time_t at = timegm(&due);
        if (due.tm_mday == tm.tm_mday && tm.tm_sec < 60 && strftime(print, sizeof print, forms[i], &due) > 0 && strcmp(print, s) == 0)
            ASSERT(is_read && second == at);
    }
}

static void check_utf8(struct text t)
{
    char json[80];
    size_t n = 0;
    json[n++] = '"';
    for (size_t i = 0; i < t.len; i++)
        json[n++] = (unsigned char)t.at[i] < ' ' || t.at[i] == '"' || t.at[i] == '\\' ? 'x' : t.at[i];
    json[n++] = '"';
    yyjson_doc *doc = yyjson_read(json, n, 0);
    ASSERT(text_is_utf8(t) == (doc != NULL));
    yyjson_doc_free(doc);
}

static void check_words(struct text a, struct text b)
{
    const char *found = b.len > 0 ? memmem(a.at, a.len, b.at, b.len) : a.at;
    ptrdiff_t at = text_find(a, b);
    ASSERT(found == NULL ? at == -1 : at == found - a.at);
    ASSERT(text_distance(a, b) == text_distance(b, a));
    ASSERT((text_distance(a, b) == 0) == text_eq(a, b) || a.len > 63 || b.len > 63);
    ASSERT(text_eq_secret(a, b) == text_eq(a, b));
    ASSERT(!text_eq(a, b) || text_eq_nocase(a, b));
    ASSERT(text_starts(a, b) == (at == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 64)
        return 0;
    struct text in = { (const char *)data, size }, b = in, a;
    char *copy = fuzz_copy(in), s[65];
    memcpy(s, data, size);
    s[size] = '\0';
    struct text t = { copy, size };
    check_number(t, s);
    check_spans(t, s);
    check_decimal(t, s);
    check_date(s);
    check_date_read(t, s);
    check_utf8(t);
    a = fuzz_line(&b);
    check_words(a, b.at != NULL ? b : TEXT(""));
    mem_free(copy);
    return 0;
}
