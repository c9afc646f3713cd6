/* parse.c: reads a flow file into scripts of acts; README.md has the format. Called by flow.c. */
#include "flow/flow.h"
#include <stdio.h>

#define FLOW_TEXT_MAX (64u << 20) /* of all a file's bytes with their repetitions */

static const struct verb_row {
    struct text word, arguments;
    enum side who;
} verbs[VERB_COUNT] = {
#define ACT(id, word, who, arguments, what) { { word, sizeof(word) - 1 }, { arguments, sizeof(arguments) - 1 }, who },
#include "flow/acts.def"
#undef ACT
};

struct reader {
    struct flow *flow;
    struct text rest;         /* after the current line */
    unsigned line;
    struct script *script;    /* whose acts follow; NULL outside */
    const struct flow_backend *backend; /* whose block this is; NULL outside */
    char *why;
    size_t room;
};

static bool complain_at(struct reader *r, const char *what, struct text word)
{
    snprintf(r->why, r->room, "line %u: %s%s%.*s", r->line, what, word.len > 0 ? ": " : "", TEXT_ARG(word));
    return false;
}

static struct text next_word(struct text *rest)
{
    struct text word;
    *rest = text_trim(text_cut(text_trim(*rest), ' ', &word));
    return word;
}

static bool next_line(struct reader *r, struct text *out)
{
    if (r->rest.len == 0)
        return false;
    r->rest = text_cut(r->rest, '\n', out);
    r->line++;
    return true;
}

/* ---- bodies ---- */

/* "…" with its escapes, from behind the opening quote; *t goes behind the closing one. */
static bool read_quoted(struct reader *r, struct text *t, struct buf *out)
{
    size_t i = 0;
    for (; i < t->len && t->at[i] != '"'; i++) {
        char c = t->at[i];
        if (c == '\\' && i + 1 < t->len) {
            c = t->at[++i];
            if (c == 'x' && i + 2 < t->len && hex_digit(t->at[i + 1]) >= 0 && hex_digit(t->at[i + 2]) >= 0) {
                c = (char)(hex_digit(t->at[i + 1]) * 16 + hex_digit(t->at[i + 2]));
                i += 2;
            } else {
                c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c;
            }
        }
        if (buf_add(out, &c, 1) != OK)
            return complain_at(r, "too long", TEXT_NONE);
    }
    if (i == t->len)
        return complain_at(r, "a closing \" is missing", TEXT_NONE);
    *t = text_trim((struct text){ t->at + i + 1, t->len - i - 1 });
    return true;
}

/* "text" "text"*1000 … */
static bool read_strings(struct reader *r, struct text t, struct buf *out)
{
    while (t.len > 0) {
        if (t.at[0] != '"')
            return complain_at(r, "a \" should begin here", t);
        size_t from = buf_len(out);
        t = (struct text){ t.at + 1, t.len - 1 };
        if (!read_quoted(r, &t, out))
            return false;
        size_t piece = buf_len(out) - from;
        if (t.len == 0 || t.at[0] != '*')
            continue;
        uint64_t times;
        t = (struct text){ t.at + 1, t.len - 1 };
        if (!text_to_u64(next_word(&t), FLOW_TEXT_MAX, &times))
            return complain_at(r, "a number should follow *", TEXT_NONE);
        for (uint64_t i = 1; i < times; i++) {
            if (buf_reserve(out, piece) != OK)
                return complain_at(r, "too long", TEXT_NONE);
            memcpy(buf_end(out), buf_text(out).at + from, piece);
            buf_added(out, piece);
        }
    }
    return true;
}

/* The lines up to END, without the blanks that END itself stands behind. */
static bool read_here(struct reader *r, const char *line_end, struct buf *out)
{
    unsigned begun = r->line;
    struct text line, from = r->rest;
    size_t indent = 0;
    unsigned lines = 0;
    for (;; lines++) {
        if (!next_line(r, &line)) {
            r->line = begun;
            return complain_at(r, "END is missing", TEXT_NONE);
        }
        if (text_eq(text_trim(line), TEXT("END")))
            break;
    }
    indent = (size_t)text_find(line, TEXT("END"));
    for (; lines > 0; lines--) {
        from = text_cut(from, '\n', &line);
        size_t skip = 0;
        while (skip < indent && skip < line.len && line.at[skip] == ' ')
            skip++;
        if (buf_add(out, line.at + skip, line.len - skip) != OK || buf_add_text(out, text_of(line_end)) != OK)
            return complain_at(r, "too long", TEXT_NONE);
    }
    return true;
}

static bool read_body(struct reader *r, struct text t, const char *line_end, struct text *out, bool *out_is_json)
{
    struct buf b;
    buf_init(&b, FLOW_TEXT_MAX);
    bool ok = true;
    *out_is_json = t.len > 0 && (t.at[0] == '{' || text_starts(t, TEXT("[{")));
    if (text_eq(t, TEXT("<<END")))
        ok = read_here(r, line_end, &b);
    else if (t.len > 0 && t.at[0] == '"')
        ok = read_strings(r, t, &b);
    else
        ok = buf_add_text(&b, t) == OK;
    if (ok) {
        char *copy = arena_copy(&r->flow->arena, buf_text(&b));
        ok = copy != NULL;
        *out = (struct text){ copy, buf_len(&b) };
    }
    buf_fini(&b);
    return ok;
}

/* ---- acts ---- */

static bool read_span(struct reader *r, struct text word, nanos *out)
{
    return text_to_nanos(word, out) || complain_at(r, "not a span such as 50ms", word);
}

/* The words after the act's own, by its row of acts.def. */
static bool read_arguments(struct reader *r, struct act *s, struct text t)
{
    struct text pattern = verbs[s->verb].arguments;
    unsigned words = 0, spans = 0;
    uint64_t number;
    while (pattern.len > 0) {
        struct text want = next_word(&pattern);
        if (text_starts(want, TEXT("BODY"))) {
            if (t.len == 0 && !text_ends(want, TEXT("?")))
                return complain_at(r, "something should follow", s->source);
            return read_body(r, t, s->verb == VERB_send ? "\r\n" : "\n", &s->body, &s->is_json);
        }
        if (text_eq(want, TEXT("HEADER"))) {
            s->words[1] = text_trim(text_cut(t, ':', &s->words[0]));
            return s->words[1].at != NULL || complain_at(r, "NAME: VALUE should follow", s->source);
        }
        struct text word = next_word(&t);
        if (word.len == 0)
            return complain_at(r, "here is missing", want);
        if (text_eq(want, TEXT("SPAN"))) {
            if (!read_span(r, word, &s->spans[spans++]))
                return false;
        } else if (text_eq(want, TEXT("NUMBER"))) {
            if (!text_to_u64(word, UINT32_MAX, &number))
                return complain_at(r, "not a number", word);
            s->number = (unsigned)number;
        } else if (want.at[0] >= 'a') {
            if (!text_eq(word, want))
                return complain_at(r, "this word should stand here", want);
        } else {
            s->words[words++] = word;
        }
    }
    return t.len == 0 || complain_at(r, "nothing should follow", t);
}

static bool find_verb(struct text word, enum side who, enum verb *out)
{
    for (unsigned i = 0; i < VERB_COUNT; i++) {
        if (text_eq(verbs[i].word, word) && (verbs[i].who & who)) {
            *out = (enum verb)i;
            return true;
        }
    }
    return false;
}

static bool new_script(struct reader *r, struct script s)
{
    struct flow *f = r->flow;
    if (f->script_count == FLOW_SCRIPTS_MAX)
        return complain_at(r, "too many clients and calls", TEXT_NONE);
    s.line = r->line;
    s.first = f->act_count;
    f->scripts[f->script_count] = s;
    r->script = &f->scripts[f->script_count++];
    return true;
}

static bool read_repeat(struct reader *r, struct text *t, unsigned *out)
{
    uint64_t n;
    struct text after = *t;
    *out = 1;
    if (!text_eq(next_word(&after), TEXT("repeat")))
        return true;
    if (!text_to_u64(next_word(&after), 10000000, &n) || n == 0)
        return complain_at(r, "repeat needs a number", TEXT_NONE);
    *out = (unsigned)n;
    *t = after;
    return true;
}

/* `with NAME: VALUE`: a header of the act before it. */
static bool add_header(struct reader *r, struct text header)
{
    struct flow *f = r->flow;
    if (r->script == NULL || r->script->count == 0)
        return complain_at(r, "with follows a request or an answer", TEXT_NONE);
    struct act *s = &f->acts[f->act_count - 1];
    char *joined = arena_printf(&f->arena, "%.*s%.*s\r\n", TEXT_ARG(s->headers), TEXT_ARG(header));
    s->headers = text_of(joined);
    return joined != NULL;
}

static bool read_act(struct reader *r, struct text line)
{
    struct flow *f = r->flow;
    struct text t = line;
    struct act s = { .line = r->line, .source = line };
    if (!read_repeat(r, &t, &s.repeat))
        return false;
    struct text word = next_word(&t);
    enum side who = r->backend != NULL ? BACKEND : CLIENT;
    if (text_eq(word, TEXT("with")))
        return add_header(r, t);
    if (r->backend == NULL && r->script == NULL)
        return complain_at(r, "a act outside client and backend", word);
    if (!find_verb(word, who, &s.verb))
        return complain_at(r, who == CLIENT ? "no act of a client" : "no act of a backend", word);
    if (s.verb == VERB_expect_call) {
        struct script call = { .name = r->backend->name, .side = BACKEND, .backend = (unsigned)(r->backend - f->backends), .repeat = s.repeat };
        s.repeat = 1;
        if (!new_script(r, call))
            return false;
    }
    if (r->script == NULL)
        return complain_at(r, "a backend's acts begin with expect METHOD PATH", TEXT_NONE);
    if (f->act_count == FLOW_ACTS_MAX)
        return complain_at(r, "too many acts", TEXT_NONE);
    if (!read_arguments(r, &s, t))
        return false;
    f->acts[f->act_count++] = s;
    r->script->count++;
    return true;
}

/* ---- blocks ---- */

static bool read_addr(struct reader *r, struct text t, struct addr *out)
{
    const char *colon = t.len > 0 ? memrchr(t.at, ':', t.len) : NULL;
    struct text host = { t.at, colon != NULL ? (size_t)(colon - t.at) : t.len }, port = colon != NULL ? (struct text){ colon + 1, t.len - host.len - 1 } : TEXT_NONE;
    uint64_t n;
    return (text_to_u64(port, 65535, &n) && addr_from_text(out, host, (uint16_t)n)) || complain_at(r, "not an address such as 10.0.0.1:8000", t);
}

/* backend NAME at ADDRESS [refuses|silent|has MODEL…] */
static bool read_backend(struct reader *r, struct text t)
{
    struct flow *f = r->flow;
    if (f->backend_count == FLOW_BACKENDS_MAX)
        return complain_at(r, "too many backends", TEXT_NONE);
    struct flow_backend *b = &f->backends[f->backend_count++];
    *b = (struct flow_backend){ .line = r->line, .name = next_word(&t) };
    if (!text_eq(next_word(&t), TEXT("at")))
        return complain_at(r, "at ADDRESS should follow", b->name);
    if (!read_addr(r, next_word(&t), &b->addr))
        return false;
    struct text how = next_word(&t);
    if (text_eq(how, TEXT("refuses")))
        b->manner = REFUSES;
    else if (text_eq(how, TEXT("silent")))
        b->manner = SILENT;
    else if (text_eq(how, TEXT("has")))
        b->models = t;
    else if (how.len > 0)
        return complain_at(r, "refuses, silent or has MODEL may follow", how);
    r->backend = b;
    r->script = NULL;
    return true;
}

/* client NAME [to admin] [repeat N] */
static bool read_client(struct reader *r, struct text t)
{
    struct script s = { .name = next_word(&t), .side = CLIENT };
    if (text_starts(t, TEXT("to admin"))) {
        s.to_admin = true;
        t = text_trim((struct text){ t.at + 8, t.len - 8 });
    }
    if (!read_repeat(r, &t, &s.repeat))
        return false;
    if (t.len > 0 || s.name.len == 0)
        return complain_at(r, "client NAME [to admin] [repeat N]", TEXT_NONE);
    r->backend = NULL;
    return new_script(r, s);
}

/* counter NAME = N, upstream calls = N */
static bool read_counter(struct reader *r, struct text source, struct text t, bool is_calls)
{
    struct flow *f = r->flow;
    if (f->counter_count == FLOW_COUNTERS_MAX)
        return complain_at(r, "too many counters", TEXT_NONE);
    struct flow_counter *c = &f->counters[f->counter_count++];
    struct text name = next_word(&t);
    *c = (struct flow_counter){ .line = r->line, .source = source, .counter = COUNTER_COUNT, .is_calls = is_calls };
    for (unsigned i = 0; i < COUNTER_COUNT && !is_calls; i++)
        if (text_eq(name, text_of(counter_name((enum counter)i))))
            c->counter = (enum counter)i;
    if (is_calls ? !text_eq(name, TEXT("calls")) : c->counter == COUNTER_COUNT)
        return complain_at(r, "no counter of this name", name);
    if (!text_eq(next_word(&t), TEXT("=")) || !text_to_u64(t, UINT64_MAX, &c->value))
        return complain_at(r, "= NUMBER should follow", name);
    return true;
}

/* name NAME: ADDRESS … */
static bool read_name(struct reader *r, struct text t)
{
    struct flow *f = r->flow;
    if (f->name_count == NAMES_MAX)
        return complain_at(r, "too many names", TEXT_NONE);
    struct flow_name *n = &f->names[f->name_count++];
    n->says = text_trim(text_cut(t, ':', &n->name));
    return n->says.at != NULL || complain_at(r, "NAME: ADDRESS ... should follow", TEXT_NONE);
}

static bool read_block(struct reader *r, struct text line)
{
    struct text t = line, word = next_word(&t);
    bool is_json;
    if (text_eq(word, TEXT("config")))
        return read_body(r, t, "\n", &r->flow->config, &is_json);
    if (text_eq(word, TEXT("backend")))
        return read_backend(r, t);
    if (text_eq(word, TEXT("client")))
        return read_client(r, t);
    if (text_eq(word, TEXT("name")))
        return read_name(r, t);
    if (text_eq(word, TEXT("counter")) || text_eq(word, TEXT("upstream")))
        return read_counter(r, line, t, text_eq(word, TEXT("upstream")));
    return complain_at(r, "config, backend, client, name, counter or upstream begin a block", word);
}

bool flow_parse(struct flow *f, struct text content, char *why, size_t room)
{
    struct reader r = { .flow = f, .rest = content, .why = why, .room = room };
    struct text line;
    memset(f, 0, sizeof *f);
    arena_init(&f->arena, NULL, 0, 2 * FLOW_TEXT_MAX);
    f->config = TEXT("");
    while (next_line(&r, &line)) {
        struct text t = text_trim(line);
        if (t.len == 0 || t.at[0] == '#')
            continue;
        if (line.at[0] == ' ' ? !read_act(&r, t) : !read_block(&r, t))
            return false;
    }
    return f->script_count > 0 || complain_at(&r, "nobody does anything", TEXT_NONE);
}
