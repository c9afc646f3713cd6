/* expand.c: ${NAME}, ${file:/path} and $${ inside the file's scalars. Called by values.c.
   What comes in is never expanded again, and never shown: complaints name the variable or the path. */
#include "conf/inner.h"

#include <ctype.h>

static bool is_variable_name(struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        if (!isalnum((unsigned char)t.at[i]) && t.at[i] != '_')
            return false;
    return t.len > 0 && !isdigit((unsigned char)t.at[0]);
}

static bool add(struct loading *l, const struct place *at, struct buf *b, struct text t)
{
    return buf_add_text(b, t) == OK || refuse(l, at, "longer than %u bytes after ${...} is replaced", VALUE_MAX);
}

static struct text without_newline(struct text t)
{
    if (text_ends(t, TEXT("\r\n")))
        t.len -= 2;
    else if (text_ends(t, TEXT("\n")))
        t.len--;
    return t;
}

static bool add_file(struct loading *l, const struct place *at, struct buf *b, struct text path)
{
    struct buf content;
    if (path.len == 0 || path.at[0] != '/')
        return refuse(l, at, "${file:...} must name an absolute path, not %s", shown(l, path));
    const char *name = arena_copy(&l->scratch, path);
    if (name == NULL)
        return refuse_memory(l);
    buf_init_secret(&content, CONF_INCLUDE_MAX);
    bool is_ok = file_read(l, at, name, say(l, "%s: ", shown(l, text_of(name))), &content);
    struct text t = without_newline(buf_text(&content));
    if (is_ok && (!text_is_utf8(t) || (t.len > 0 && memchr(t.at, 0, t.len) != NULL)))
        is_ok = refuse(l, at, "%s is not UTF-8 text", shown(l, path));
    is_ok = is_ok && add(l, at, b, t);
    buf_fini(&content);
    return is_ok;
}

/* what is between ${ and } */
static bool add_named(struct loading *l, const struct place *at, struct buf *b, struct text what)
{
    if (text_starts(what, TEXT("file:")))
        return add_file(l, at, b, (struct text){ what.at + 5, what.len - 5 });
    if (!is_variable_name(what))
        return refuse(l, at, "${...} must name an environment variable or file:/PATH, not %s; write $${ for a literal ${", shown(l, what));
    const char *value = variable_get(l, what);
    if (value == NULL)
        return refuse(l, at, "the environment variable %.*s is not set", TEXT_ARG(what));
    if (!text_is_utf8(text_of(value)))
        return refuse(l, at, "the environment variable %.*s is not UTF-8", TEXT_ARG(what));
    return add(l, at, b, text_of(value));
}

static bool expand_into(struct loading *l, const struct tree *scalar, struct buf *b)
{
    struct text rest = scalar->text;
    for (ptrdiff_t at; (at = text_find(rest, TEXT("${"))) >= 0;) { /* each turn eats at least the ${ */
        bool is_literal = at > 0 && rest.at[at - 1] == '$';
        struct text before = { rest.at, (size_t)at - is_literal }, name, after = { rest.at + at + 2, rest.len - (size_t)at - 2 };
        if (!add(l, &scalar->place, b, before))
            return false;
        if (is_literal) {
            if (!add(l, &scalar->place, b, TEXT("${")))
                return false;
            rest = after;
            continue;
        }
        if (after.len == 0 || memchr(after.at, '}', after.len) == NULL)
            return refuse(l, &scalar->place, "${ without its }; write $${ for a literal ${");
        rest = text_cut(after, '}', &name);
        if (!add_named(l, &scalar->place, b, name))
            return false;
    }
    return add(l, &scalar->place, b, rest);
}

bool expand(struct loading *l, const struct tree *scalar, struct text *out)
{
    bool is_from_file = scalar->place.from == NULL; /* a shell has replaced its own variables already */
    if (!is_from_file || text_find(scalar->text, TEXT("${")) < 0) {
        *out = scalar->text;
        return true;
    }
    struct buf b;
    buf_init_secret(&b, VALUE_MAX);
    bool is_ok = buf_reserve(&b, VALUE_MAX) == OK ? expand_into(l, scalar, &b) : refuse_memory(l);
    if (is_ok) {
        struct tree *kept = tree_scalar(l, scalar->place, buf_text(&b)); /* so that it is wiped with the rest */
        is_ok = kept != NULL;
        if (is_ok)
            *out = kept->text;
    }
    buf_fini(&b);
    return is_ok;
}
