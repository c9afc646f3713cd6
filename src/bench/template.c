/* template.c: reads templates: finds the places to fill, knows their names and arguments, and says what is wrong with them. Called when scripts and plans are read. */
#include "bench/script_inner.h"

#include <ctype.h>

#define PIECES_MAX  65536 /* of one template: a long body with a value every few words */
#define CHOICES_MAX 1000

enum arguments { ARGUMENTS_NONE, ARGUMENTS_BOUNDS, ARGUMENTS_LENGTH, ARGUMENTS_CHOICES };

static const struct word_row {
    struct text names[2]; /* by enum template_syntax */
    enum arguments arguments;
} words[] = {
#define WORD(id, dollar, braces, takes, what) { { TEXT(dollar), TEXT(braces) }, ARGUMENTS_##takes },
#include "bench/template_words.def"
#undef WORD
};

static const struct syntax_row {
    struct text open, close;
} syntaxes[] = { [TEMPLATE_DOLLAR] = { TEXT("${"), TEXT("}") }, [TEMPLATE_BRACES] = { TEXT("{{"), TEXT("}}") } };

/* A template that is being read. */
struct scan {
    struct script *s;
    struct template *t;
    const struct template_source *from;
    struct text source;
    enum template_place place;
    bool is_raw;    /* literal parts are taken as they are: a whole document */
    bool has_json;  /* a document whose strings are looked for */
    bool in_string; /* of it */
};

/* at: where in the source. */
static bool refuse_at(const struct scan *c, const char *at, const char *format, const char *a, const char *b)
{
    char text[400];
    int line = c->from->line, column = c->from->column;
    if (column == 0) {
        column = 1;
        for (const char *i = c->source.at; i < at; i++) {
            column = *i == '\n' ? 1 : column + 1;
            line += *i == '\n';
        }
    }
    (void)snprintf(text, sizeof text, format, a, b);
    return complain(c->from->why, c->from->file, line, column, "%s", text);
}

static bool refuse_memory(const struct scan *c)
{
    return complain(c->from->why, c->from->file, 0, 0, "no memory left to keep it");
}

static struct piece *piece_new(struct scan *c)
{
    struct template *t = c->t;
    if (t->count == t->room) {
        uint32_t room = MAX(4u, 2 * t->room);
        struct piece *pieces = room <= PIECES_MAX ? arena_alloc(&c->s->arena, room * sizeof *pieces) : NULL;
        if (pieces == NULL)
            return NULL;
        if (t->count > 0)
            memcpy(pieces, t->pieces, t->count * sizeof *pieces);
        t->pieces = pieces;
        t->room = room;
    }
    struct piece *p = &t->pieces[t->count++];
    *p = (struct piece){ .place = c->place };
    return p;
}

/* ---- literals ---- */

static bool keep_literal(struct scan *c, struct text literal)
{
    struct piece *p = literal.len > 0 ? piece_new(c) : NULL;
    const char *copy = p != NULL ? arena_copy(&c->s->arena, literal) : NULL;
    if (literal.len > 0 && copy == NULL)
        return refuse_memory(c);
    if (p != NULL) {
        p->word = WORD_LITERAL;
        p->text = (struct text){ copy, literal.len };
    }
    return true;
}

/* Follows a JSON document through its strings. */
static void watch_strings(struct scan *c, struct text literal)
{
    for (size_t i = 0; i < literal.len; i++) {
        if (c->in_string && literal.at[i] == '\\')
            i++;
        else if (literal.at[i] == '"')
            c->in_string = !c->in_string;
    }
}

static bool take_literal(struct scan *c, struct text literal)
{
    struct buf escaped;
    if (c->has_json)
        watch_strings(c, literal);
    if (c->is_raw || c->place == TEMPLATE_TEXT)
        return keep_literal(c, literal);
    buf_init(&escaped, SCRIPT_FILE_MAX);
    bool is_ok = template_put(&escaped, c->place, literal) == OK ? keep_literal(c, buf_text(&escaped)) : refuse_memory(c);
    buf_fini(&escaped);
    return is_ok;
}

/* ---- words ---- */

static bool take_number(struct text t, int64_t *out)
{
    uint64_t n;
    t = text_trim(t);
    bool is_negative = t.len > 0 && t.at[0] == '-';
    if (!text_to_u64((struct text){ t.at + is_negative, t.len - is_negative }, INT64_MAX / 2, &n))
        return false;
    *out = is_negative ? -(int64_t)n : (int64_t)n;
    return true;
}

static bool take_choices(struct scan *c, struct piece *p, struct text inside)
{
    uint32_t count = 1, i = 0;
    for (size_t k = 0; k < inside.len; k++)
        count += inside.at[k] == '|';
    struct text *choices = count <= CHOICES_MAX ? arena_alloc(&c->s->arena, count * sizeof *choices) : NULL;
    if (choices == NULL)
        return refuse_at(c, inside.at, "more than 1000 choices", NULL, NULL);
    for (struct text rest = inside, one; rest.at != NULL; choices[i++] = one) {
        rest = text_cut(rest, '|', &one);
        one.at = arena_copy(&c->s->arena, one);
        if (one.at == NULL)
            return refuse_memory(c);
    }
    p->choices = choices;
    p->count = count;
    return true;
}

static bool take_arguments(struct scan *c, struct piece *p, enum arguments takes, struct text inside)
{
    struct text first;
    struct text second = text_cut(inside, ',', &first);
    switch (takes) {
    case ARGUMENTS_NONE:
        return text_trim(inside).len == 0 || refuse_at(c, inside.at, "takes no arguments", NULL, NULL);
    case ARGUMENTS_BOUNDS:
        return (take_number(first, &p->least) && take_number(second, &p->most) && p->least <= p->most) ||
               refuse_at(c, inside.at, "needs two whole numbers, the smaller first, such as (1,100)", NULL, NULL);
    case ARGUMENTS_LENGTH:
        return (take_number(inside, &p->most) && p->most > 0 && p->most <= TEMPLATE_STRING_MAX) ||
               refuse_at(c, inside.at, "needs how many letters, from 1 to 65536, such as (8)", NULL, NULL);
    case ARGUMENTS_CHOICES:
        return inside.len > 0 ? take_choices(c, p, inside) : refuse_at(c, inside.at, "needs what to choose from, such as (a|b|c)", NULL, NULL);
    }
    return false;
}

static bool refuse_unknown(struct scan *c, struct text name)
{
    size_t count = 0;
    char shown[64];
    const char **known = arena_alloc(&c->s->arena, (ARRAY_LEN(words) + c->s->name_count) * sizeof *known);
    if (known == NULL)
        return refuse_memory(c);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        known[count++] = words[i].names[c->from->syntax].at;
    for (uint32_t i = 0; i < c->s->name_count; i++)
        known[count++] = c->s->names[i].name.at;
    const char *near = text_nearest(name, known, count);
    (void)snprintf(shown, sizeof shown, "%.*s", (int)MIN(name.len, sizeof shown - 1), name.at != NULL ? name.at : "");
    return refuse_at(c, name.at, near != NULL ? "unknown name \"%s\"; did you mean %s?" : "unknown name \"%s\"", shown, near);
}

static bool take_name(struct scan *c, struct piece *p, struct text name)
{
    int i = script_find_name(c->s, name);
    if (i < 0)
        return refuse_unknown(c, name);
    p->word = WORD_NAME;
    p->name = (uint32_t)i;
    return true;
}

/* What stands between the braces: name, or name(arguments). */
static bool take_word(struct scan *c, struct text inside)
{
    struct text name, trimmed = text_trim(inside);
    struct text arguments = text_cut(trimmed, '(', &name);
    if (arguments.at != NULL && !text_ends(arguments, TEXT(")")))
        return refuse_at(c, inside.at, "a ( without its )", NULL, NULL);
    struct piece *p = piece_new(c);
    if (p == NULL)
        return refuse_memory(c);
    if (c->has_json)
        p->place = c->in_string ? TEMPLATE_JSON : TEMPLATE_TEXT;
    name = text_trim(name);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (!text_eq_nocase(name, words[i].names[c->from->syntax]))
            continue;
        p->word = (enum template_word)i;
        struct text none = { trimmed.at, 0 };
        return take_arguments(c, p, words[i].arguments, arguments.at != NULL ? (struct text){ arguments.at, arguments.len - 1 } : none);
    }
    return arguments.at == NULL ? take_name(c, p, name) : refuse_unknown(c, name);
}

/* ---- the walk ---- */

/* Where the next place to fill opens, or the rest's length. */
static size_t find_open(const struct scan *c, struct text rest)
{
    ptrdiff_t at = text_find(rest, syntaxes[c->from->syntax].open);
    return at < 0 ? rest.len : (size_t)at;
}

static bool scan_run(struct scan *c)
{
    const struct syntax_row *syntax = &syntaxes[c->from->syntax];
    struct text rest = c->source;
    while (rest.len > 0) {
        size_t open = find_open(c, rest);
        bool is_literal = c->from->syntax == TEMPLATE_DOLLAR && open > 0 && open < rest.len && rest.at[open - 1] == '$'; /* $${ stands for ${ */
        if (!take_literal(c, (struct text){ rest.at, is_literal ? open - 1 : open }))
            return false;
        rest = (struct text){ rest.at + open, rest.len - open };
        if (rest.len == 0)
            break;
        struct text inside = { rest.at + syntax->open.len, rest.len - syntax->open.len };
        ptrdiff_t close = text_find(inside, syntax->close);
        if (is_literal) {
            if (!take_literal(c, syntax->open))
                return false;
            rest = inside;
            continue;
        }
        if (close < 0)
            return refuse_at(c, rest.at, "%s without its %s", syntax->open.at, syntax->close.at);
        if (!take_word(c, (struct text){ inside.at, (size_t)close }))
            return false;
        size_t eaten = (size_t)close + syntax->close.len;
        rest = (struct text){ inside.at + eaten, inside.len - eaten };
    }
    return true;
}

bool template_add(struct script *s, struct template *t, struct text source, enum template_place place, const struct template_source *from)
{
    struct scan c = { .s = s, .t = t, .from = from, .source = source, .place = place };
    return scan_run(&c);
}

bool template_add_literal(struct script *s, struct template *t, struct text literal, const struct template_source *from)
{
    struct scan c = { .s = s, .t = t, .from = from };
    return keep_literal(&c, literal);
}

bool template_add_string(struct script *s, struct template *t, struct text source, const struct template_source *from)
{
    uint32_t first = t->count;
    struct scan c = { .s = s, .t = t, .from = from, .source = source, .place = TEMPLATE_JSON };
    if (!keep_literal(&c, TEXT("\"")) || !scan_run(&c))
        return false;
    if (t->count == first + 2 && t->pieces[first + 1].word == WORD_NAME) {
        t->pieces[first] = t->pieces[first + 1];
        t->pieces[first].is_whole = true; /* and brings its own quotes if it needs them */
        t->count = first + 1;
        return true;
    }
    return keep_literal(&c, TEXT("\""));
}

bool template_add_body(struct script *s, struct template *t, struct text source, const struct template_source *from)
{
    struct scan c = { .s = s, .t = t, .from = from, .source = source, .place = TEMPLATE_TEXT, .is_raw = true };
    size_t i = 0;
    while (i < source.len && isspace((unsigned char)source.at[i]))
        i++;
    bool is_value = i + 1 < source.len && from->syntax == TEMPLATE_BRACES && source.at[i] == '{' && source.at[i + 1] == '{';
    c.has_json = i < source.len && (source.at[i] == '{' || source.at[i] == '[') && !is_value;
    return scan_run(&c);
}
