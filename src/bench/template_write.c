/* template_write.c: fills a template's places for one request. Called for each request that is sent. */
#include "bench/script_inner.h"

static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/* ---- a value in its place ---- */

static bool is_fit(enum template_place place, unsigned char c)
{
    bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-._~", c) != NULL);
    return is_plain || (place == TEMPLATE_URL && c != 0 && strchr("!$&'()*+,;=:@/?%[]", c) != NULL);
}

static enum fail put_percent(struct buf *out, enum template_place place, struct text value)
{
    enum fail f = OK;
    for (size_t i = 0, run; f == OK && i < value.len; i += run) {
        for (run = 0; i + run < value.len && is_fit(place, (unsigned char)value.at[i + run]); run++)
            ;
        if (run > 0)
            f = buf_add(out, value.at + i, run);
        else
            f = buf_printf(out, "%%%02X", (unsigned char)value.at[i]), run = 1;
    }
    return f;
}

static enum fail put_json(struct buf *out, struct text value)
{
    size_t before = buf_len(out);
    enum fail f = json_add_string(out, value);
    if (f != OK)
        return f;
    char *at = out->mem + out->from + before;
    size_t len = buf_len(out) - before - 2; /* without the quotes */
    memmove(at, at + 1, len);
    out->to -= 2;
    return OK;
}

static enum fail put_header(struct buf *out, struct text value)
{
    enum fail f = buf_reserve(out, value.len);
    if (f != OK)
        return f;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.at[i];
        buf_end(out)[i] = c == '\r' || c == '\n' || c == 0 ? ' ' : c;
    }
    buf_added(out, value.len);
    return OK;
}

enum fail template_put(struct buf *out, enum template_place place, struct text value)
{
    switch (place) {
    case TEMPLATE_TEXT:
        return buf_add_text(out, value);
    case TEMPLATE_JSON:
        return put_json(out, value);
    case TEMPLATE_URL:
    case TEMPLATE_QUERY:
        return put_percent(out, place, value);
    case TEMPLATE_HEADER:
        return put_header(out, value);
    }
    return OK;
}

/* ---- words ---- */

static enum fail put_string(struct buf *out, uint64_t *random, size_t len)
{
    enum fail f = buf_reserve(out, len);
    if (f != OK)
        return f;
    char *at = buf_end(out);
    for (size_t i = 0; i < len; i++)
        at[i] = letters[random_step(random) % (sizeof letters - 1)];
    buf_added(out, len);
    return OK;
}

/* RFC 9562, 5.4. */
static enum fail put_uuid(struct buf *out, uint64_t *random)
{
    uint64_t a = random_step(random), b = random_step(random);
    return buf_printf(out, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff),
                      (unsigned)(b >> 48 & 0x3fff) | 0x8000u, (unsigned long long)(b & 0xffffffffffffULL));
}

static enum fail put_name(const struct piece *p, const struct script_session *x, struct buf *out)
{
    const struct name *n = &x->script->names[p->name];
    bool is_prompt = n->kind == NAME_PROMPT;
    struct value v = is_prompt ? (struct value){ .is_bare = false } : script_value(x, n);
    if (p->is_whole && v.is_bare)
        return buf_add_text(out, v.text);
    enum fail f = p->is_whole ? buf_add_text(out, TEXT("\"")) : OK;
    if (f == OK)
        f = is_prompt ? prompts_put(x, p->place, out) : template_put(out, p->place, v.text);
    return f == OK && p->is_whole ? buf_add_text(out, TEXT("\"")) : f;
}

static enum fail put_piece(const struct piece *p, struct script_session *x, struct buf *out)
{
    switch (p->word) {
    case WORD_LITERAL:
        return buf_add_text(out, p->text);
    case WORD_COUNTER:
        return buf_printf(out, "%llu", (unsigned long long)(x->number * x->script->calls_max + x->calls + 1));
    case WORD_RANDOM:
        return buf_printf(out, "%lld", (long long)(p->least + (int64_t)(random_step(&x->random) % (uint64_t)(p->most - p->least + 1))));
    case WORD_STRING:
        return put_string(out, &x->random, (size_t)p->most);
    case WORD_UUID:
        return put_uuid(out, &x->random);
    case WORD_CHOICE:
        return template_put(out, p->place, p->choices[random_step(&x->random) % p->count]);
    case WORD_LOOP:
        return buf_printf(out, "%u", x->loop + 1);
    case WORD_NAME:
        return put_name(p, x, out);
    }
    return OK;
}

enum fail template_write(const struct template *t, struct script_session *x, struct buf *out)
{
    enum fail f = OK;
    for (uint32_t i = 0; f == OK && i < t->count; i++)
        f = put_piece(&t->pieces[i], x, out);
    return f;
}
