/* table.c: prints rows in columns. */
#include "cli/table.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static bool is_coloured(void)
{
    const char *none = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && (none == NULL || *none == '\0') && term != NULL && !text_eq(text_of(term), TEXT("dumb"));
}

static void add_cell(struct table *t, const char *cell)
{
    if (t->count == t->room) {
        size_t room = MAX(2 * t->room, 16u * t->columns);
        const char **cells = arena_alloc(t->arena, room * sizeof *cells);
        if (cells == NULL) {
            t->failed = true;
            return;
        }
        if (t->count > 0)
            memcpy(cells, t->cells, t->count * sizeof *cells);
        t->cells = cells;
        t->room = room;
    }
    t->cells[t->count++] = cell;
}

void table_init(struct table *t, struct arena *arena, unsigned columns, const char *const *headings)
{
    ASSERT(columns <= TABLE_COLUMNS_MAX);
    *t = (struct table){ .arena = arena, .columns = columns };
    for (unsigned i = 0; i < columns; i++)
        add_cell(t, headings[i]);
}

void table_add(struct table *t, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *cell = arena_copy(t->arena, text[0] != '\0' ? text_of(text) : TEXT("-"));
    add_cell(t, cell != NULL ? cell : "?");
}

/* Characters, not bytes: a name may be in any script. */
static int width_of(const char *cell)
{
    int n = 0;
    for (; *cell != '\0'; cell++)
        n += ((unsigned char)*cell & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *cell, int width, bool is_right, bool is_last)
{
    int blanks = width - width_of(cell);
    printf("%*s%s%*s", is_right ? blanks : 0, "", cell, is_right || is_last ? 0 : blanks, "");
    if (!is_last)
        fputs("  ", stdout);
}

void table_print(const struct table *t, const char *nothing)
{
    int widths[TABLE_COLUMNS_MAX] = { 0 };
    bool is_right[TABLE_COLUMNS_MAX];
    const char *bold = is_coloured() ? "\033[1m" : "", *plain = is_coloured() ? "\033[0m" : "";
    if (t->count <= t->columns) {
        printf("%s\n", nothing);
        return;
    }
    for (unsigned i = 0; i < t->columns; i++) {
        is_right[i] = t->cells[i][0] == '>';
        t->cells[i] += is_right[i];
    }
    for (size_t i = 0; i < t->count; i++)
        widths[i % t->columns] = MAX(widths[i % t->columns], width_of(t->cells[i]));
    for (size_t i = 0; i < t->count; i++) {
        unsigned column = i % t->columns;
        if (i == 0)
            fputs(bold, stdout);
        print_cell(t->cells[i], widths[column], is_right[column], column + 1 == t->columns);
        if (column + 1 == t->columns)
            printf("%s\n", i + 1 == t->columns ? plain : "");
    }
    if (t->failed)
        fprintf(stderr, "weir: some rows are missing: no memory left\n");
}

const char *ms_print(double ms, char out[24])
{
    return nanos_print(nanos_of(ms, NANOS_PER_MS), out);
}
