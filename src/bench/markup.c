/* markup.c: writes HTML and SVG; see markup.h. */
#include "bench/markup.h"
#include <stdarg.h>
#include <stdio.h>

#define PUT_MAX 512 /* bytes of one markup_put; longer texts are put in parts */

static void add(struct markup *m, const char *bytes, size_t n)
{
    if (m->fail == OK)
        m->fail = buf_add(m->out, bytes, n);
}

void markup_put(struct markup *m, const char *format, ...)
{
    char text[PUT_MAX];
    va_list args;
    va_start(args, format);
    int said = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ASSERT(said >= 0 && said < PUT_MAX);
    add(m, text, (size_t)said);
}

static const char *entity_of(char c)
{
    switch (c) {
    case '&':  return "&amp;";
    case '<':  return "&lt;";
    case '>':  return "&gt;";
    case '"':  return "&quot;";
    case '\'': return "&#39;";
    default:   return NULL;
    }
}

/* XML 1.0, 2.2: U+FFFE and U+FFFF are no characters there. */
static bool is_no_character(struct text t)
{
    return text_starts(t, TEXT("\xef\xbf\xbe")) || text_starts(t, TEXT("\xef\xbf\xbf"));
}

void markup_text(struct markup *m, const char *text)
{
    struct text rest = text_of(text);
    while (rest.len > 0) {
        size_t bad = text_obeyed_len(rest), len = text_utf8_len(rest);
        const char *entity = entity_of(*rest.at);
        if (bad > 0 || len == 0 || is_no_character(rest)) {
            markup_put(m, "&#xFFFD;");
            len = MAX(MAX(bad, len), 1u);
        } else if (entity != NULL)
            add(m, entity, strlen(entity));
        else
            add(m, rest.at, len);
        rest.at += len;
        rest.len -= len;
    }
}
