/* capture.c: values taken out of answers by a path such as $.items[0].id, for later requests of the same session. Called by script.c; paths are read by plans. */
#include "bench/script_inner.h"

/* ---- reading a path ---- */

static bool is_key_byte(char c)
{
    return c != '.' && c != '[' && c != ']' && c != '*' && c != '?' && c != '(' && c != ' ';
}

static bool add_key(struct script *s, struct capture *out, struct text key)
{
    out->steps[out->step_count].key = (struct text){ arena_copy(&s->arena, key), key.len };
    return out->steps[out->step_count++].key.at != NULL;
}

/* [3], ['name'] or ["name"]; what is inside the brackets. */
static bool add_bracket(struct script *s, struct capture *out, struct text inside)
{
    uint64_t index;
    if (inside.len >= 2 && (inside.at[0] == '\'' || inside.at[0] == '"') && inside.at[inside.len - 1] == inside.at[0])
        return add_key(s, out, (struct text){ inside.at + 1, inside.len - 2 });
    if (!text_to_u64(inside, UINT32_MAX, &index))
        return false;
    out->steps[out->step_count++] = (struct capture_step){ .index = (uint32_t)index };
    return true;
}

bool capture_parse(struct script *s, struct text path, struct capture *out, const char **out_why)
{
    *out_why = "needs a path such as $.items[0].id; wildcards and filters are not supported";
    *out = (struct capture){ 0 };
    if (path.len == 0 || path.at[0] != '$')
        return false;
    for (size_t i = 1; i < path.len;) {
        struct text rest = { path.at + i + 1, path.len - i - 1 };
        size_t len = 0;
        if (out->step_count == CAPTURE_STEPS_MAX) {
            *out_why = "has more than 16 parts";
            return false;
        }
        if (path.at[i] == '.') {
            while (len < rest.len && is_key_byte(rest.at[len]))
                len++;
            if (len == 0 || !add_key(s, out, (struct text){ rest.at, len }))
                return false;
            i += len + 1;
        } else {
            ptrdiff_t close = text_find(rest, TEXT("]"));
            if (path.at[i] != '[' || close < 0 || !add_bracket(s, out, (struct text){ rest.at, (size_t)close }))
                return false;
            i += (size_t)close + 2;
        }
    }
    return true;
}

/* ---- taking ---- */

static yyjson_val *follow(const struct capture *c, yyjson_val *v)
{
    for (uint32_t i = 0; v != NULL && i < c->step_count; i++) {
        const struct capture_step *step = &c->steps[i];
        v = step->key.at != NULL ? yyjson_obj_getn(v, step->key.at, step->key.len) : yyjson_arr_get(v, step->index);
    }
    return v;
}

static enum fail keep(struct captured *to, struct text value, bool is_bare)
{
    if (value.len > CAPTURE_BYTES_MAX)
        return FAIL_TOO_LARGE;
    char *copy = mem_copy_text(value);
    if (copy == NULL)
        return FAIL_NO_MEMORY;
    mem_free(to->text);
    *to = (struct captured){ .text = copy, .len = value.len, .is_bare = is_bare };
    return OK;
}

static enum fail take_value(struct captured *to, yyjson_val *v)
{
    char number[32];
    if (yyjson_is_str(v))
        return keep(to, (struct text){ yyjson_get_str(v), yyjson_get_len(v) }, false);
    if (yyjson_is_bool(v))
        return keep(to, yyjson_get_bool(v) ? TEXT("true") : TEXT("false"), true);
    if (yyjson_is_uint(v))
        (void)snprintf(number, sizeof number, "%llu", (unsigned long long)yyjson_get_uint(v));
    else if (yyjson_is_sint(v))
        (void)snprintf(number, sizeof number, "%lld", (long long)yyjson_get_sint(v));
    else if (yyjson_is_real(v))
        (void)snprintf(number, sizeof number, "%.17g", yyjson_get_real(v));
    else
        return FAIL_BAD_FIELD; /* not there; or null, an object, an array, which are no values */
    return keep(to, text_of(number), true);
}

static struct captured *captured_of(struct script_session *x)
{
    if (x->values == NULL)
        x->values = mem_zero(x->script->captured_count * sizeof(struct captured));
    return x->values;
}

enum fail capture_take(struct script_session *x, const struct capture *first, struct text answer)
{
    struct arena scratch;
    yyjson_doc *doc;
    struct captured *captured = captured_of(x);
    if (captured == NULL)
        return FAIL_NO_MEMORY;
    arena_init(&scratch, NULL, 0, CAPTURE_ARENA_MAX);
    enum fail f = json_parse(&scratch, answer, &doc, NULL);
    for (const struct capture *c = first; f == OK && c != NULL; c = c->next)
        f = take_value(&captured[x->script->names[c->name].place], follow(c, yyjson_doc_get_root(doc)));
    arena_fini(&scratch);
    return f;
}
