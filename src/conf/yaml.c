/* yaml.c: YAML to a tree with lines and columns, refusing what a configuration never needs. Called by load.c, override.c, and readers of other files.
   libyaml tells events; aliases, anchors, tags and several documents stop it at once, so nothing can grow beyond the text. */
#include "conf/inner.h"

#include <yaml.h>

/* ---- libyaml's memory ----
   It frees buffers, tokens and scalars as they are, and they hold the file with its keys. These stand in place of the library's own functions of these
   names: it calls them by name, and the dynamic linker finds ours first. Each block says how long it is, and is wiped when it goes. */

struct yaml_block {
    _Alignas(16) size_t bytes;
    char content[];
};
void *yaml_malloc(size_t bytes)
{
    struct yaml_block *b = mem_alloc(sizeof *b + bytes);
    if (b == NULL)
        return NULL;
    b->bytes = bytes;
    return b->content;
}

void yaml_free(void *p)
{
    if (p == NULL)
        return;
    struct yaml_block *b = CONTAINER_OF(p, struct yaml_block, content);
    mem_wipe(b->content, b->bytes);
    mem_free(b);
}

void *yaml_realloc(void *p, size_t bytes)
{
    void *next = yaml_malloc(bytes);
    if (next != NULL && p != NULL)
        memcpy(next, p, MIN(bytes, CONTAINER_OF(p, struct yaml_block, content)->bytes));
    if (next != NULL)
        yaml_free(p);
    return next;
}

unsigned char *yaml_strdup(const unsigned char *s)
{
    size_t bytes = s != NULL ? strlen((const char *)s) + 1 : 0;
    yaml_char_t *copy = s != NULL ? yaml_malloc(bytes) : NULL;
    if (copy != NULL)
        memcpy(copy, s, bytes);
    return copy;
}

struct reading {
    struct loading *l;
    const char *from; /* NULL = the file */
    struct text yaml;
    yaml_parser_t parser;
    yaml_event_t event;
};

static struct place place_of(const struct reading *r, yaml_mark_t mark)
{
    if (r->from != NULL)
        return (struct place){ .from = r->from };
    return (struct place){ NULL, (int)mark.line + 1, (int)mark.column + 1 };
}

/* The mark of a byte: libyaml counts characters in a line, and so do editors. */
static yaml_mark_t mark_at(struct text yaml, size_t offset)
{
    yaml_mark_t mark = { .index = offset };
    for (size_t i = 0; i < MIN(offset, yaml.len); i++) {
        bool is_continuation = ((unsigned char)yaml.at[i] & 0xC0) == 0x80;
        mark.column = yaml.at[i] == '\n' ? 0 : mark.column + !is_continuation;
        mark.line += yaml.at[i] == '\n';
    }
    return mark;
}

static bool is_tab_at(struct text yaml, yaml_mark_t mark)
{
    struct text line = { NULL, 0 }, rest = yaml;
    for (size_t i = 0; i <= mark.line; i++)
        rest = text_cut(rest, '\n', &line);
    return mark.column < line.len && line.at[mark.column] == '\t';
}

static bool refuse_syntax(struct reading *r)
{
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR)
        return refuse_memory(r->l);
    if (p->error == YAML_READER_ERROR) {
        struct place at = place_of(r, mark_at(r->yaml, p->problem_offset));
        return refuse(r->l, &at, "not YAML: %s", p->problem);
    }
    struct place at = place_of(r, p->problem_mark);
    if (is_tab_at(r->yaml, p->problem_mark))
        return refuse(r->l, &at, "a tab cannot indent; use spaces");
    if (p->context == NULL)
        return refuse(r->l, &at, "not YAML: %s", p->problem);
    return refuse(r->l, &at, "not YAML: %s %s that begins in line %d", p->problem, p->context, (int)p->context_mark.line + 1);
}

static void event_drop(struct reading *r)
{
    yaml_event_delete(&r->event);
}

static bool event_next(struct reading *r)
{
    event_drop(r);
    return yaml_parser_parse(&r->parser, &r->event) != 0 || refuse_syntax(r);
}

static struct place event_place(const struct reading *r)
{
    return place_of(r, r->event.start_mark);
}

/* Aliases make a few lines into gigabytes; tags make types that we do not have. */
static bool event_is_simple(struct reading *r)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    struct place at = event_place(r);
    switch (r->event.type) {
    case YAML_ALIAS_EVENT:
        return refuse(r->l, &at, "an alias (*name) is not supported; write the value again");
    case YAML_SCALAR_EVENT:
        anchor = r->event.data.scalar.anchor;
        tag = r->event.data.scalar.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = r->event.data.mapping_start.anchor;
        tag = r->event.data.mapping_start.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = r->event.data.sequence_start.anchor;
        tag = r->event.data.sequence_start.tag;
        break;
    default:
        break;
    }
    if (anchor != NULL)
        return refuse(r->l, &at, "an anchor (&name) is not supported; write the value where it is needed");
    return tag == NULL || refuse(r->l, &at, "a tag (!name) is not supported; leave it out");
}

static bool scalar_take(struct reading *r, struct tree **out)
{
    struct text text = { (const char *)r->event.data.scalar.value, r->event.data.scalar.length };
    struct place at = event_place(r);
    if (text.len > 0 && memchr(text.at, 0, text.len) != NULL)
        return refuse(r->l, &at, "a value contains a NUL character");
    struct tree *t = tree_scalar(r->l, at, text);
    if (t == NULL)
        return false;
    t->is_plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    *out = t;
    return true;
}

static bool name_take(struct reading *r, const struct tree *map, struct text *out_name)
{
    struct place at = event_place(r);
    if (!event_is_simple(r))
        return false;
    if (r->event.type != YAML_SCALAR_EVENT)
        return refuse(r->l, &at, "a key must be a plain word");
    struct text name = { (const char *)r->event.data.scalar.value, r->event.data.scalar.length };
    if (!name_is_fit(name))
        return refuse(r->l, &at, "%s cannot be a key: 1 to %d bytes without spaces", shown(r->l, name), NAME_MAX_BYTES);
    struct member *twin = tree_find(map, name);
    if (twin != NULL)
        return refuse(r->l, &at, "%s stands here twice; first in line %d", shown(r->l, name), twin->place.line);
    const char *copy = arena_copy(&r->l->scratch, name);
    if (copy == NULL)
        return refuse_memory(r->l);
    *out_name = (struct text){ copy, name.len };
    return true;
}

/* Reads the value that begins with the current event. Recursion is bounded by depth_max. */
static bool value_take(struct reading *r, int depth, struct tree **out)
{
    struct place at = event_place(r);
    if (!event_is_simple(r))
        return false;
    if (r->event.type == YAML_SCALAR_EVENT)
        return scalar_take(r, out);
    if (depth >= r->l->depth_max)
        return refuse(r->l, &at, "nested deeper than %d; no key is", r->l->depth_max);
    bool is_map = r->event.type == YAML_MAPPING_START_EVENT;
    struct tree *into = tree_new(r->l, is_map ? TREE_MAP : TREE_LIST, at);
    if (into == NULL)
        return false;
    for (;;) { /* libyaml ends every collection, or fails */
        struct text name = TEXT_NONE;
        struct tree *value;
        if (!event_next(r))
            return false;
        if (r->event.type == YAML_MAPPING_END_EVENT || r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        struct place begin = event_place(r);
        if (is_map && (!name_take(r, into, &name) || !event_next(r)))
            return false;
        if (!value_take(r, depth + 1, &value) || !tree_add(r->l, into, name, begin, value))
            return false;
    }
    *out = into;
    return true;
}

static bool document_take(struct reading *r, struct tree **out)
{
    if (!event_next(r) || !event_next(r)) /* the stream's start; then a document's, or the stream's end */
        return false;
    if (r->event.type == YAML_STREAM_END_EVENT) {
        *out = tree_new(r->l, TREE_MAP, (struct place){ .from = r->from, .line = 1, .column = 1 });
        return *out != NULL;
    }
    struct tree *t;
    if (!event_next(r) || !value_take(r, 0, &t))
        return false;
    if (!event_next(r) || !event_next(r)) /* the document's end; then the next one's start, or the stream's end */
        return false;
    struct place at = event_place(r);
    if (r->event.type != YAML_STREAM_END_EVENT)
        return refuse(r->l, &at, "a second document begins here; a configuration is one");
    *out = t;
    return true;
}

/* Length of the character that begins with c, as its first byte says; 1 for what cannot begin one. */
static size_t character_len(unsigned char c)
{
    return c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
}

static bool bytes_check(struct reading *r)
{
    struct text t = r->yaml;
    struct place at = place_of(r, (yaml_mark_t){ 0 });
    if (t.len > CONF_FILE_MAX)
        return refuse(r->l, &at, "larger than %u bytes", CONF_FILE_MAX);
    if (text_starts(t, TEXT("\xEF\xBB\xBF")) || text_starts(t, TEXT("\xFF\xFE")) || text_starts(t, TEXT("\xFE\xFF")))
        return refuse(r->l, &at, "begins with a byte order mark; save it as UTF-8 without one");
    if (text_is_utf8(t))
        return true;
    size_t i = 0;
    for (size_t n; i < t.len; i += n) {
        n = MIN(character_len((unsigned char)t.at[i]), t.len - i);
        if (!text_is_utf8((struct text){ t.at + i, n }))
            break;
    }
    at = place_of(r, mark_at(t, i));
    return refuse(r->l, &at, "not UTF-8");
}

bool yaml_parse(struct loading *l, const char *from, struct text yaml, struct tree **out)
{
    struct reading r = { .l = l, .from = from, .yaml = yaml };
    if (!bytes_check(&r))
        return false;
    if (!yaml_parser_initialize(&r.parser))
        return refuse_memory(l);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)(yaml.at ? yaml.at : ""), yaml.len);
    bool is_ok = document_take(&r, out);
    event_drop(&r);
    yaml_parser_delete(&r.parser);
    return is_ok;
}

bool tree_read(struct arena *a, const char *path, struct text yaml, struct tree **out, struct complaint *why)
{
    const struct conf_options options = { .path = path };
    struct loading l = { .options = &options, .why = why, .scratch = *a, .depth_max = TREE_DEEP_MAX };
    bool is_ok = yaml_parse(&l, NULL, yaml, out);
    if (l.has_said_less)
        is_ok = refuse_memory(&l);
    *a = l.scratch;
    return is_ok;
}
