/* http_date.c: reads HTTP's dates, in the three forms that RFC 9110 section 5.6.7 wants read. upstream/ calls it for Retry-After; http_write.c writes them. */
#include "net/http_head.h"
#include <stdio.h>
#include <string.h>

#define DATE_BYTES_MAX 40 /* "Wednesday, 09-Nov-94 08:49:37 GMT" has 33 */

struct date {
    int year, day, hour, minute, second;
    char month[4];
};

static bool scan(const char *s, struct date *d)
{
    int end = 0;
    if (sscanf(s, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &d->day, d->month, &d->year, &d->hour, &d->minute, &d->second, &end) == 6 && end > 0)
        return s[end] == 0;
    if (sscanf(s, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &d->day, d->month, &d->year, &d->hour, &d->minute, &d->second, &end) == 6 && end > 0) {
        d->year += d->year < 70 ? 2000 : 1900;
        return s[end] == 0;
    }
    return sscanf(s, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", d->month, &d->day, &d->hour, &d->minute, &d->second, &d->year, &end) == 6 && s[end] == 0;
}

/* Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", days_from_civil; month 1..12. For 1970 to 9999. */
static int64_t days_from(int year, int month, int day)
{
    int64_t y = year - (month <= 2); /* from March, so that the leap day ends the year */
    int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + of_year - 719468;
}

bool http_date_read(struct text t, int64_t *out_unix_second)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char s[DATE_BYTES_MAX];
    struct date d;
    if (t.len == 0 || t.len >= sizeof s)
        return false;
    memcpy(s, t.at, t.len);
    s[t.len] = 0;
    if (!scan(s, &d))
        return false;
    const char *month = strstr(months, d.month);
    if (month == NULL || strlen(d.month) != 3 || (month - months) % 3 != 0)
        return false;
    if (d.year < 1970 || d.day < 1 || d.day > 31 || d.hour < 0 || d.hour > 23 || d.minute < 0 || d.minute > 59 || d.second < 0 || d.second > 60)
        return false;
    *out_unix_second = days_from(d.year, (int)(month - months) / 3 + 1, d.day) * 86400 + d.hour * 3600 + d.minute * 60 + d.second;
    return true;
}
