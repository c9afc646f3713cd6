/* figure.c: prints measured numbers with three digits that count; see figure.h. */
#include "bench/figure.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define GROUPS_MAX 1e15 /* above, a double does not hold every whole number */

/* 1234567 as "1,234,567". */
static void print_grouped(char out[FIGURE_MAX], double value)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%.0f", value), to = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && digits[i - 1] != '-' && (len - i) % 3 == 0)
            out[to++] = ',';
        out[to++] = digits[i];
    }
    out[to] = '\0';
}

static void drop_zeros(char *number)
{
    char *end = number + strlen(number);
    if (strchr(number, '.') == NULL)
        return;
    while (end[-1] == '0')
        *--end = '\0';
    if (end[-1] == '.')
        end[-1] = '\0';
}

static void print_digits(char out[FIGURE_MAX], double value, bool is_short)
{
    double size = fabs(value);
    if (size >= GROUPS_MAX) {
        snprintf(out, FIGURE_MAX, "%.3g", value);
        return;
    }
    if (is_short && size >= 10000) {
        snprintf(out, FIGURE_MAX, "%.4g%s", value / (size >= 1e6 ? 1e6 : 1e3), size >= 1e6 ? "M" : "k");
        return;
    }
    if (size >= 99.95) {
        print_grouped(out, value);
        return;
    }
    snprintf(out, FIGURE_MAX, "%.*f", size >= 9.995 ? 1 : 2, value);
    if (is_short || value == 0)
        drop_zeros(out);
}

static void print_with(char out[FIGURE_MAX], double value, const char *unit, bool is_short)
{
    print_digits(out, value, is_short);
    size_t len = strlen(out);
    snprintf(out + len, FIGURE_MAX - len, " %s", unit);
}

static void print_ms(char out[FIGURE_MAX], double ms, bool is_short)
{
    if (ms == 0)
        snprintf(out, FIGURE_MAX, "0 ms");
    else if (fabs(ms) < 0.9995)
        print_with(out, ms * 1000, "us", is_short);
    else if (fabs(ms) < 999.5)
        print_with(out, ms, "ms", is_short);
    else
        print_with(out, ms / 1000, "s", is_short);
}

static void print_time(char out[FIGURE_MAX], double seconds)
{
    if (seconds < 120)
        print_with(out, seconds, "s", true);
    else if (seconds < 7200)
        print_with(out, seconds / 60, "min", true);
    else
        print_with(out, seconds / 3600, "h", true);
}

/* A few errors of a million are not none, and one miss less than all is not all. */
static void print_share(char out[FIGURE_MAX], double share, bool is_short)
{
    double percent = share * 100;
    if (share > 0 && percent < 0.01)
        snprintf(out, FIGURE_MAX, "under 0.01 %%");
    else if (share < 1 && percent > 99.99)
        snprintf(out, FIGURE_MAX, "over 99.99 %%");
    else if (share == 0 || share == 1)
        snprintf(out, FIGURE_MAX, "%.0f %%", percent);
    else {
        snprintf(out, FIGURE_MAX, "%.*f", percent >= 9.995 && percent < 99 ? 1 : 2, percent);
        if (is_short)
            drop_zeros(out);
        size_t len = strlen(out);
        snprintf(out + len, FIGURE_MAX - len, " %%");
    }
}

static void print_count(char out[FIGURE_MAX], double value, bool is_short)
{
    print_digits(out, value, is_short);
    if (value == floor(value))
        drop_zeros(out);
}

static const char *print(char out[FIGURE_MAX], double value, enum figure_unit unit, bool is_short)
{
    if (!isfinite(value)) {
        snprintf(out, FIGURE_MAX, "-");
        return out;
    }
    switch (unit) {
    case FIGURE_COUNT: print_count(out, value, is_short); break;
    case FIGURE_MS:    print_ms(out, value, is_short); break;
    case FIGURE_TIME:  print_time(out, value); break;
    case FIGURE_SHARE: print_share(out, value, is_short); break;
    case FIGURE_RATE:  print_with(out, value, "/s", is_short); break;
    case FIGURE_MB:    print_with(out, value, "MB", is_short); break;
    case FIGURE_CORES: is_short ? print_digits(out, value, true) : print_with(out, value, "cores", false); break;
    }
    return out;
}

const char *figure_print(char out[FIGURE_MAX], double value, enum figure_unit unit)
{
    return print(out, value, unit, false);
}

const char *figure_print_short(char out[FIGURE_MAX], double value, enum figure_unit unit)
{
    return print(out, value, unit, true);
}
