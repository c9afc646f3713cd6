/* meaning.c: whether two bodies ask for the same, said a second time without src/cache/defaults.def. Units and the fuzzer of keys call it. */
#include "lib/meaning.h"

static bool is_named(yyjson_val *name, const char *const *names)
{
    for (; *names != NULL; names++)
        if (yyjson_equals_str(name, *names))
            return true;
    return false;
}

static bool is_surface(yyjson_val *root, bool chat, bool text, bool embedding)
{
    bool c = yyjson_obj_get(root, "messages"), t = yyjson_obj_get(root, "prompt"), e = yyjson_obj_get(root, "input");
    return (c || t || e) && (chat || !c) && (text || !t) && (embedding || !e);
}

static bool is_default(yyjson_val *root, yyjson_val *name, yyjson_val *v)
{
    if (yyjson_equals_str(name, "n"))
        return is_surface(root, true, true, false) && yyjson_is_num(v) && yyjson_get_num(v) == 1;
    if (yyjson_equals_str(name, "logprobs"))
        return is_surface(root, true, false, false) && yyjson_is_false(v);
    if (yyjson_equals_str(name, "echo"))
        return is_surface(root, false, true, false) && yyjson_is_false(v);
    if (yyjson_equals_str(name, "logit_bias"))
        return is_surface(root, true, true, false) && yyjson_is_obj(v) && yyjson_obj_size(v) == 0;
    if (yyjson_equals_str(name, "response_format"))
        return is_surface(root, true, false, false) && yyjson_is_obj(v) && yyjson_obj_size(v) == 1 && yyjson_equals_str(yyjson_obj_get(v, "type"), "text");
    if (yyjson_equals_str(name, "stream_options"))
        return is_surface(root, true, true, true) && yyjson_is_obj(v) && yyjson_obj_size(v) == (yyjson_obj_get(v, "include_usage") != NULL);
    if (yyjson_equals_str(name, "encoding_format"))
        return is_surface(root, false, false, true) && yyjson_equals_str(v, "float");
    return false;
}

static bool is_out(yyjson_val *root, yyjson_val *name, yyjson_val *v)
{
    static const char *const never[] = { "stream", "user", "metadata", "safety_identifier", "prompt_cache_key", NULL };
    static const char *const limits[] = { "max_tokens", "max_completion_tokens", NULL };
    yyjson_val *input = yyjson_obj_get(root, "input");
    bool has_input = input != NULL && !yyjson_is_null(input);
    if (yyjson_is_null(v) || is_named(name, never))
        return true;
    if (yyjson_equals_str(name, "model"))
        return yyjson_is_str(v);
    if (yyjson_equals_str(name, "temperature"))
        return yyjson_is_num(v) && !has_input;
    if (is_named(name, limits)) {
        yyjson_val *a = yyjson_obj_get(root, limits[0]), *b = yyjson_obj_get(root, limits[1]);
        bool is_one = a == NULL || b == NULL || yyjson_is_null(a) || yyjson_is_null(b);
        bool is_count = yyjson_is_uint(v) || (yyjson_is_sint(v) && yyjson_get_sint(v) == 0); /* -0 is 0 */
        return !has_input && is_one && is_count && yyjson_get_uint(v) <= UINT32_MAX;
    }
    return is_default(root, name, v);
}

enum where { PLAIN, ROOT, MESSAGES, MESSAGE, ORDERED };

static bool is_same(yyjson_val *a, yyjson_val *b, enum where where);

static bool counts(yyjson_val *object, yyjson_val *name, enum where where)
{
    yyjson_val *v = yyjson_obj_iter_get_val(name);
    return !(where == ROOT && is_out(object, name, v)) && !(where == MESSAGE && yyjson_is_null(v));
}

static enum where below(enum where where, yyjson_val *name)
{
    if (yyjson_equals_str(name, "properties"))
        return ORDERED;
    return where == ROOT && yyjson_equals_str(name, "messages") ? MESSAGES : PLAIN;
}

/* Each of a's members has an equal one in b; those of "properties" at the same place. */
static bool has_all(yyjson_val *a, yyjson_val *b, enum where where)
{
    yyjson_obj_iter x = yyjson_obj_iter_with(a);
    for (yyjson_val *name; (name = yyjson_obj_iter_next(&x)) != NULL;) {
        yyjson_obj_iter y = yyjson_obj_iter_with(b);
        yyjson_val *other;
        if (!counts(a, name, where))
            continue;
        do
            other = yyjson_obj_iter_next(&y);
        while (other != NULL && !yyjson_equals_strn(other, yyjson_get_str(name), yyjson_get_len(name)));
        if (other == NULL || !counts(b, other, where) || (where == ORDERED && x.idx != y.idx))
            return false;
        if (!is_same(yyjson_obj_iter_get_val(name), yyjson_obj_iter_get_val(other), below(where, name)))
            return false;
    }
    return true;
}

static bool are_same_items(yyjson_val *a, yyjson_val *b, enum where where)
{
    size_t i, n;
    yyjson_val *v;
    if (yyjson_arr_size(a) != yyjson_arr_size(b))
        return false;
    yyjson_arr_foreach(a, i, n, v)
        if (!is_same(v, yyjson_arr_get(b, i), where))
            return false;
    return true;
}

/* Exact: it has 64 bits of mantissa. */
static long double number(yyjson_val *v)
{
    return yyjson_is_real(v) ? (long double)yyjson_get_real(v) : yyjson_is_uint(v) ? (long double)yyjson_get_uint(v) : (long double)yyjson_get_sint(v);
}

static bool is_same(yyjson_val *a, yyjson_val *b, enum where where)
{
    if (yyjson_get_type(a) != yyjson_get_type(b))
        return false;
    if (yyjson_is_obj(a))
        return has_all(a, b, where) && has_all(b, a, where);
    if (yyjson_is_arr(a))
        return are_same_items(a, b, where == MESSAGES ? MESSAGE : PLAIN);
    if (yyjson_is_num(a))
        return number(a) == number(b);
    if (yyjson_is_str(a))
        return yyjson_get_len(a) == yyjson_get_len(b) && memcmp(yyjson_get_str(a), yyjson_get_str(b), yyjson_get_len(a)) == 0;
    return yyjson_get_tag(a) == yyjson_get_tag(b);
}

bool meaning_is_same(yyjson_val *a, yyjson_val *b)
{
    return is_same(a, b, ROOT);
}

bool meaning_is_unsure(yyjson_doc *doc)
{
    yyjson_val *v = yyjson_doc_get_root(doc);
    for (size_t left = yyjson_doc_get_val_count(doc); left > 0; left--, v++)
        if (yyjson_is_real(v) && (yyjson_get_real(v) >= 0x1p64 || yyjson_get_real(v) <= -0x1p63))
            return true;
    return false;
}
