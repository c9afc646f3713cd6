/* bench_live.c: the terminal of a load test under way; see bench_live.h. What is drawn is report/live.c's. */
#include "cli/bench_live.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DRAWN_MAX  (16u << 10) /* a dozen lines, see LINE_BYTES in report/live.c */
#define LINE_FIRST NANOS_PER_S
#define LINE_EVERY (5 * NANOS_PER_S)

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value != NULL ? value : "";
}

/* The first of the three that is set counts, as POSIX has it. */
static bool locale_is_utf8(void)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = variable(names[i]), *dot = strchr(value, '.');
        if (*value != '\0')
            return dot != NULL && (text_eq_nocase(text_of(dot), TEXT(".UTF-8")) || text_eq_nocase(text_of(dot), TEXT(".utf8")));
    }
    return false;
}

void bench_live_init(struct bench_live *l, nanos span, const char *target)
{
    const char *term = variable("TERM");
    *l = (struct bench_live){ .view = { .target = target, .span = span, .is_utf8 = locale_is_utf8() }, .next = LINE_FIRST };
    l->is_terminal = isatty(STDERR_FILENO) && *term != '\0' && strcmp(term, "dumb") != 0;
    l->view.is_coloured = l->is_terminal && *variable("NO_COLOR") == '\0';
}

/* Asked every time: windows are dragged. False: a block does not fit. */
static bool fits(struct bench_live *l)
{
    struct winsize size;
    if (!l->is_terminal || ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0)
        return false;
    l->view.columns = MAX(size.ws_col, 1u) - 1u; /* the last column makes some terminals wrap */
    return size.ws_row > LIVE_LINES_MAX && l->view.columns >= LIVE_COLUMNS_MIN;
}

static unsigned width_of(struct text line)
{
    unsigned width = 0;
    for (size_t i = 0; i < line.len; i++) {
        if (line.at[i] == '\033')
            while (i < line.len && line.at[i] != 'm')
                i++;
        else
            width += ((unsigned char)line.at[i] & 0xc0) != 0x80;
    }
    return width;
}

/* To where the block begins. A terminal that became narrower shows its lines on several rows. */
static void go_up(const struct bench_live *l)
{
    unsigned rows = 0, columns = l->view.columns + 1;
    for (unsigned i = 0; i < l->lines; i++)
        rows += MAX((l->widths[i] + columns - 1) / columns, 1u);
    if (rows > 0)
        fprintf(stderr, "\033[%uA\r", rows);
}

/* Line by line over what stands there, so that nothing flickers; what is left below goes. */
static void draw_over(struct bench_live *l, struct text block)
{
    struct text line;
    go_up(l);
    for (l->lines = 0; block.len > 0 && l->lines < LIVE_LINES_MAX; l->lines++) {
        block = text_cut(block, '\n', &line);
        l->widths[l->lines] = width_of(line);
        fprintf(stderr, "%.*s\033[K\n", TEXT_ARG(line));
    }
    fputs("\033[J", stderr);
    fflush(stderr);
}

void bench_live_end(struct bench_live *l)
{
    if (l->lines == 0)
        return;
    go_up(l);
    fputs("\033[J", stderr);
    fflush(stderr);
    l->lines = 0;
}

static void say_line(struct bench_live *l, const struct tally *so_far, nanos elapsed, struct buf *drawn)
{
    bench_live_end(l);
    if (elapsed < l->next || live_line(&l->view, so_far, elapsed, drawn) != OK)
        return;
    l->next = (elapsed / LINE_EVERY + 1) * LINE_EVERY;
    fprintf(stderr, "%.*s", TEXT_ARG(buf_text(drawn)));
}

void bench_live(const struct tally *so_far, nanos elapsed, void *arg)
{
    struct bench_live *l = arg;
    struct buf drawn;
    buf_init(&drawn, DRAWN_MAX);
    if (!fits(l))
        say_line(l, so_far, elapsed, &drawn);
    else if (live_block(&l->view, so_far, elapsed, &drawn) == OK) /* without memory it stays as it was: the test goes on */
        draw_over(l, buf_text(&drawn));
    buf_fini(&drawn);
}
