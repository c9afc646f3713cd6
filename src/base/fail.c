/* fail.c: the rows of errors.def as a table, complaints for people, and the end of a wrong program. Everyone calls it. */
#include "base/fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void (*assert_story)(void);

static const struct fail_row rows[FAIL_COUNT] = {
    [OK] = { "OK", 200, "", "", false, "" },
#define FAIL(name, http, type, code, retry, text) [FAIL_##name] = { #name, http, type, code, retry, text },
#include "base/errors.def"
#undef FAIL
};

const struct fail_row *fail_row(enum fail f)
{
    ASSERT((unsigned)f < FAIL_COUNT);
    return &rows[f];
}

const char *fail_name(enum fail f)
{
    return fail_row(f)->name;
}

bool complain(struct complaint *c, const char *file, int line, int column, const char *format, ...)
{
    c->file = file;
    c->line = line;
    c->column = column;
    va_list args;
    va_start(args, format);
    vsnprintf(c->text, sizeof c->text, format, args);
    va_end(args);
    return false;
}

void complaint_print(const struct complaint *c, char *out, size_t out_size)
{
    char place[32] = "";
    if (c->line > 0 && c->column > 0)
        snprintf(place, sizeof place, "%d:%d", c->line, c->column);
    else if (c->line > 0)
        snprintf(place, sizeof place, "%d", c->line);

    const char *file = c->file ? c->file : "";
    snprintf(out, out_size, "%s%s%s%s%s", file, *file && *place ? ":" : "", place, *file || *place ? ": " : "", c->text);
}

void assert_failed(const char *what, const char *file, int line)
{
    /* Not stdio: its lock and buffers may be what just broke. */
    char said[512];
    int n = snprintf(said, sizeof said, "weir: ASSERT failed: %s (%s:%d)\n", what, file, line);
    ssize_t written = write(STDERR_FILENO, said, MIN((size_t)n, sizeof said - 1));
    (void)written; /* nobody is left to tell */

    /* Taken before it is called: an ASSERT inside the story, or on a second thread, must not begin it again. */
    void (*story)(void) = __atomic_exchange_n(&assert_story, NULL, __ATOMIC_ACQ_REL);
    if (story != NULL)
        story();
    abort();
}
