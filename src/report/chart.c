/* chart.c: draws a chart as SVG; see chart.h. */
#include "report/chart.h"
#include <math.h>

/* The picture, in its own units: on a wide page they are pixels, more or less. Text must be readable on a telephone, so a chart is small and its letters large. */
#define WIDTH    480.0
#define HEIGHT   264.0
#define LEFT     64.0
#define RIGHT    (WIDTH - 30.0)
#define TOP      10.0
#define BOTTOM   (HEIGHT - 42.0)

#define COLUMNS_MAX  120   /* tooltips over time: as many as a finger or a mouse can tell apart, and a fifth of the file */
#define TICKS_WANTED 5
#define TICKS_MAX    16
#define LOG_FROM     30.0  /* a largest value so many times the smallest is drawn on a logarithmic axis */
#define NINES_MAX    4.0   /* 99.99 % */
#define POINT_GAP    3.0   /* tooltips of points nearer than this would cover each other */

struct range {
    double from, to;
    enum chart_scale scale;
};

struct plot {
    struct markup *m;
    const struct chart *c;
    struct range x, y;
};

/* ---- values ---- */

static const void *row_at(const struct chart_series *s, unsigned i) { return (const char *)s->rows + (size_t)i * s->row_bytes; }
static double x_at(const struct chart_series *s, unsigned i) { return s->x(row_at(s, i)); }
static double y_at(const struct chart_series *s, unsigned i) { return s->y(row_at(s, i)); }

static bool is_shown(const struct chart_series *s)
{
    for (unsigned i = 0; i < s->row_count; i++)
        if (isfinite(y_at(s, i)) && (s->mark != CHART_BANDS || y_at(s, i) > 0))
            return true;
    return false;
}

/* ---- axes ---- */

static double scaled(enum chart_scale scale, double v)
{
    switch (scale) {
    case CHART_LOG:   return log10(v);
    case CHART_NINES: return -log10(1 - v);
    default:          return v;
    }
}

static double place(const struct range *r, double v, double at_from, double at_to)
{
    double from = scaled(r->scale, r->from), to = scaled(r->scale, r->to);
    return at_from + (scaled(r->scale, v) - from) / (to - from) * (at_to - at_from);
}

static double place_x(const struct plot *p, double v) { return place(&p->x, v, LEFT, RIGHT); }
static double place_y(const struct plot *p, double v) { return place(&p->y, v, BOTTOM, TOP); }

/* Can it be drawn there at all: a logarithm needs more than 0, and the last sample lies at 100 %, which has infinitely many nines. */
static bool is_placed(const struct range *r, double v)
{
    return isfinite(v) && (r->scale != CHART_LOG || v >= r->from) && (r->scale != CHART_NINES || v <= r->to);
}

/* The smallest of 1, 2, 5, 10, ... that is at least v; the largest at most v if not is_up. */
static double round_step(double v, bool is_up)
{
    double ten = pow(10, floor(log10(v)));
    static const double steps[] = { 1, 2, 5, 10 };
    double below = ten;
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        if (is_up && steps[i] * ten >= v * (1 - 1e-9))
            return steps[i] * ten;
        if (steps[i] * ten <= v * (1 + 1e-9))
            below = steps[i] * ten;
    }
    return is_up ? 10 * ten : below;
}

/* Steps of time are those of a clock. */
static double time_step(double v)
{
    static const double steps[] = { 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400 };
    if (v >= 1)
        for (size_t i = 0; i < ARRAY_LEN(steps); i++)
            if (steps[i] >= v)
                return steps[i];
    return round_step(v, true);
}

static double step_of(const struct range *r, enum figure_unit unit)
{
    double step = (r->to - r->from) / TICKS_WANTED;
    step = unit == FIGURE_TIME ? time_step(step) : round_step(step, true);
    return unit == FIGURE_COUNT ? MAX(step, 1) : step;
}

static unsigned add_tick(double ticks[TICKS_MAX], unsigned count, const struct range *r, double v)
{
    if (count < TICKS_MAX && v >= r->from && v <= r->to * (1 + 1e-9))
        ticks[count++] = v;
    return count;
}

static unsigned log_ticks(const struct range *r, double ticks[TICKS_MAX])
{
    double decades = log10(r->to / r->from);
    unsigned count = 0, every = decades > 8 ? 2 : 1;
    for (double ten = pow(10, floor(log10(r->from) + 1e-9)); ten <= r->to * (1 + 1e-9); ten *= every == 2 ? 100 : 10) {
        count = add_tick(ticks, count, r, ten);
        if (decades < 2.5) {
            count = add_tick(ticks, count, r, 2 * ten);
            count = add_tick(ticks, count, r, 5 * ten);
        }
    }
    return count;
}

static unsigned ticks_of(const struct range *r, enum figure_unit unit, double ticks[TICKS_MAX])
{
    static const double nines[] = { 0.5, 0.9, 0.99, 0.999, 0.9999 };
    unsigned count = 0;
    if (r->scale == CHART_LOG)
        return log_ticks(r, ticks);
    if (r->scale == CHART_NINES) {
        for (size_t i = 0; i < ARRAY_LEN(nines); i++)
            count = add_tick(ticks, count, r, nines[i]);
        return count;
    }
    double step = step_of(r, unit);
    for (unsigned i = 0; i < TICKS_MAX; i++)
        count = add_tick(ticks, count, r, r->from + i * step);
    return count;
}

/* Smallest above 0, and largest, of all that is drawn. */
static void look(const struct chart *c, bool is_x, double *least, double *most)
{
    *least = INFINITY;
    *most = 0;
    for (unsigned s = 0; s < c->series_count; s++)
        for (unsigned i = 0; i < c->series[s].row_count; i++) {
            const struct chart_series *one = &c->series[s];
            double v = is_x ? x_at(one, i) : y_at(one, i);
            if (!isfinite(v) || (!is_x && one->mark == CHART_BANDS))
                continue;
            if (v > 0)
                *least = fmin(*least, v);
            *most = fmax(*most, v);
        }
}

static struct range range_of(const struct chart *c, bool is_x)
{
    const struct chart_axis *axis = is_x ? &c->x : &c->y;
    struct range r = { 0, 1, axis->scale };
    double least, most;
    if (axis->scale == CHART_NINES)
        return (struct range){ 0, 1 - pow(10, -NINES_MAX), CHART_NINES };
    look(c, is_x, &least, &most);
    if (axis->scale == CHART_FITTING)
        r.scale = most > LOG_FROM * least ? CHART_LOG : CHART_LINEAR;
    if (most <= 0)
        return (struct range){ 0, 1, CHART_LINEAR };
    r.to = most;
    if (r.scale == CHART_LOG) {
        r.from = round_step(least, false);
        r.to = round_step(most, true);
        r.to = r.to > r.from ? r.to : 10 * r.from;
    } else if (axis->unit == FIGURE_SHARE)
        r.to = most >= 0.5 ? 1 : round_step(most, true);
    else if (axis->unit != FIGURE_TIME) /* time ends where the test ends */
        r.to = ceil(most / step_of(&r, axis->unit) - 1e-9) * step_of(&r, axis->unit);
    return r;
}

static void draw_axes(const struct plot *p)
{
    char text[FIGURE_MAX];
    double ticks[TICKS_MAX];
    unsigned count = ticks_of(&p->y, p->c->y.unit, ticks);
    for (unsigned i = 0; i < count; i++) {
        double y = place_y(p, ticks[i]);
        markup_put(p->m, "<path class=\"grid\" d=\"M%g %.1fH%g\"/>", LEFT, y, RIGHT);
        markup_put(p->m, "<text class=\"end\" x=\"%g\" y=\"%.1f\">%s</text>\n", LEFT - 6, y + 4, figure_print_short(text, ticks[i], p->c->y.unit));
    }
    count = ticks_of(&p->x, p->c->x.unit, ticks);
    for (unsigned i = 0; i < count; i++) {
        double x = place_x(p, ticks[i]);
        markup_put(p->m, "<path class=\"grid\" d=\"M%.1f %gV%g\"/>", x, TOP, BOTTOM + 4);
        markup_put(p->m, "<text class=\"mid\" x=\"%.1f\" y=\"%g\">%s</text>\n", x, BOTTOM + 18, figure_print_short(text, ticks[i], p->c->x.unit));
    }
    markup_put(p->m, "<path class=\"axis\" d=\"M%g %gV%gH%g\"/>", LEFT, TOP, BOTTOM, RIGHT);
    markup_put(p->m, "<text class=\"end name\" x=\"%g\" y=\"%g\">", RIGHT, HEIGHT - 5);
    markup_text(p->m, p->c->x.name);
    markup_put(p->m, "</text>\n");
}

/* ---- series ---- */

static void draw_line(const struct plot *p, const struct chart_series *s)
{
    bool is_open = false;
    markup_put(p->m, "<path class=\"line c%u\" d=\"", s->colour);
    for (unsigned i = 0; i < s->row_count; i++) {
        double x = x_at(s, i), y = y_at(s, i);
        if (!is_placed(&p->x, x) || !is_placed(&p->y, y)) {
            is_open = false;
            continue;
        }
        markup_put(p->m, is_open ? "L%.1f %.1f" : "M%.1f %.1fh0", place_x(p, x), place_y(p, y)); /* h0: a point between two gaps is a dot, not nothing */
        is_open = true;
    }
    markup_put(p->m, "\"/>\n");
}

static void tell_value(const struct plot *p, const struct chart_series *s, double y)
{
    char text[FIGURE_MAX];
    markup_text(p->m, s->name);
    markup_put(p->m, " %s", figure_print(text, y, s->mark == CHART_BANDS ? FIGURE_SHARE : p->c->y.unit));
}

static void draw_points(const struct plot *p, const struct chart_series *s, const char *class, double radius)
{
    char text[FIGURE_MAX];
    double last_x = -INFINITY, last_y = 0;
    for (unsigned i = 0; i < s->row_count; i++) {
        double x = x_at(s, i), y = y_at(s, i);
        if (!is_placed(&p->x, x) || !is_placed(&p->y, y))
            continue;
        x = place_x(p, x);
        y = place_y(p, y);
        if (s->mark == CHART_LINE && hypot(x - last_x, y - last_y) < POINT_GAP)
            continue;
        last_x = x;
        last_y = y;
        markup_put(p->m, "<circle class=\"%s c%u\" cx=\"%.1f\" cy=\"%.1f\" r=\"%g\"><title>%s: ", class, s->colour, x, y, radius,
                   figure_print_short(text, x_at(s, i), p->c->x.unit));
        tell_value(p, s, y_at(s, i));
        markup_put(p->m, "</title></circle>\n");
    }
}

/* Where row i begins and the next one does: the last is as wide as the one before it. */
static double column_end(const struct plot *p, const struct chart_series *s, unsigned i)
{
    return i + 1 < s->row_count ? place_x(p, x_at(s, i + 1)) : RIGHT;
}

static void draw_bands(const struct plot *p, const struct chart_series *s)
{
    for (unsigned i = 0; i < s->row_count; i++) {
        unsigned first = i;
        while (i < s->row_count && y_at(s, i) > 0)
            i++;
        if (i == first)
            continue;
        double from = place_x(p, x_at(s, first)), to = column_end(p, s, i - 1);
        double width = fmax(to - from, 1.5);
        from = fmin(from, RIGHT - width);
        markup_put(p->m, "<rect class=\"band\" x=\"%.1f\" y=\"%g\" width=\"%.1f\" height=\"%g\"/>", from, TOP, width, BOTTOM - TOP);
        markup_put(p->m, "<rect class=\"bad\" x=\"%.1f\" y=\"%g\" width=\"%.1f\" height=\"5\"/>\n", from, TOP, width);
    }
}

/* ---- tooltips over time ---- */

static double most_of(const struct chart_series *s, unsigned first, unsigned end)
{
    double most = NAN;
    for (unsigned i = first; i < end; i++)
        most = fmax(most, y_at(s, i)); /* of a number and NAN it is the number */
    return most;
}

/* One column tells all series that have the same rows; of several rows it tells the highest, because what was worst is what one looks for. */
static void draw_column(const struct plot *p, unsigned first, unsigned end)
{
    const struct chart *c = p->c;
    const struct chart_series *rows = &c->series[0];
    char text[FIGURE_MAX];
    double from = place_x(p, x_at(rows, first)), width = fmax(column_end(p, rows, end - 1) - from, 0.1);
    markup_put(p->m, "<rect class=\"hit\" x=\"%.1f\" y=\"%g\" width=\"%.1f\" height=\"%g\"><title>", from, TOP, width, BOTTOM - TOP);
    markup_put(p->m, "%s", figure_print_short(text, x_at(rows, first), c->x.unit));
    if (end - first > 1)
        markup_put(p->m, " to %s, highest", figure_print_short(text, x_at(rows, end - 1), c->x.unit));
    for (unsigned s = 0; s < c->series_count; s++) {
        double most = most_of(&c->series[s], first, end);
        if (c->series[s].rows != rows->rows || (c->series[s].mark == CHART_BANDS && !(most > 0)))
            continue;
        markup_put(p->m, "\n");
        tell_value(p, &c->series[s], most);
    }
    markup_put(p->m, "</title></rect>\n");
}

static void draw_columns(const struct plot *p)
{
    unsigned count = p->c->series[0].row_count, each = (count + COLUMNS_MAX - 1) / COLUMNS_MAX;
    for (unsigned i = 0; i < count; i += each)
        draw_column(p, i, MIN(i + each, count));
}

/* ---- the whole ---- */

static void draw_mark(const struct plot *p)
{
    if (!is_placed(&p->x, p->c->mark))
        return;
    double x = place_x(p, p->c->mark);
    bool is_left = x > (LEFT + RIGHT) / 2;
    markup_put(p->m, "<path class=\"mark\" d=\"M%.1f %gV%g\"/>", x, TOP, BOTTOM);
    markup_put(p->m, "<text class=\"%s strong\" x=\"%.1f\" y=\"%g\">", is_left ? "end" : "begin", is_left ? x - 5 : x + 5, BOTTOM - 8);
    markup_text(p->m, p->c->mark_name);
    markup_put(p->m, "</text>\n");
}

static void draw_warmup(const struct plot *p)
{
    if (p->c->warmup > 0)
        markup_put(p->m, "<rect class=\"warmup\" x=\"%g\" y=\"%g\" width=\"%.1f\" height=\"%g\"/>\n", LEFT, TOP,
                   fmin(place_x(p, p->c->warmup), RIGHT) - LEFT, BOTTOM - TOP);
}

static void draw_series(const struct plot *p)
{
    draw_warmup(p);
    for (unsigned i = 0; i < p->c->series_count; i++)
        if (p->c->series[i].mark == CHART_BANDS)
            draw_bands(p, &p->c->series[i]);
    for (unsigned i = p->c->series_count; i-- > 0;) /* the first one on top */
        if (p->c->series[i].mark == CHART_LINE)
            draw_line(p, &p->c->series[i]);
    draw_mark(p);
    for (unsigned i = 0; i < p->c->series_count; i++) {
        const struct chart_series *s = &p->c->series[i];
        if (s->mark == CHART_DOTS || s->mark == CHART_RINGS)
            draw_points(p, s, s->mark == CHART_DOTS ? "dot" : "ring", 4.5);
        else if (s->mark == CHART_LINE && p->c->x.unit != FIGURE_TIME)
            draw_points(p, s, "hit", 6);
    }
    if (p->c->x.unit == FIGURE_TIME)
        draw_columns(p);
}

static void draw_legend(const struct plot *p)
{
    static const char *const classes[] = { [CHART_LINE] = "k-line", [CHART_DOTS] = "k-dot", [CHART_RINGS] = "k-ring", [CHART_BANDS] = "k-band" };
    for (unsigned i = 0; i < p->c->series_count; i++)
        if (is_shown(&p->c->series[i])) {
            markup_put(p->m, "<span class=\"key\"><i class=\"%s c%u\"></i>", classes[p->c->series[i].mark], p->c->series[i].colour);
            markup_text(p->m, p->c->series[i].name);
            markup_put(p->m, "</span> ");
        }
    if (p->c->warmup > 0)
        markup_put(p->m, "<span class=\"key\"><i class=\"k-warmup\"></i>warm-up, not counted</span> ");
}

bool chart_draw(struct markup *m, const struct chart *c)
{
    struct plot p = { m, c, range_of(c, true), range_of(c, false) };
    unsigned shown = 0;
    for (unsigned i = 0; i < c->series_count; i++)
        shown += is_shown(&c->series[i]);
    if (shown == 0)
        return false;
    markup_put(m, "<figure>\n<figcaption><b>%s</b> ", c->title);
    if (p.y.scale == CHART_LOG)
        markup_put(m, "<small>log scale</small> ");
    draw_legend(&p);
    markup_put(m, "</figcaption>\n<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, c->title);
    draw_axes(&p);
    draw_series(&p);
    markup_put(m, "</svg>\n");
    if (c->note != NULL && *c->note != '\0') {
        markup_put(m, "<p class=\"note\">");
        markup_text(m, c->note);
        markup_put(m, "</p>\n");
    }
    markup_put(m, "</figure>\n");
    return true;
}
