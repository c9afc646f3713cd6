/* fields.c: checking and filtering bodies by the rows of fields.def. */
#include "upstream/fields.h"
#include <stdio.h>
#include <string.h>

enum field_type { TYPE_STRING, TYPE_ARRAY, TYPE_OBJECT, TYPE_BOOLEAN, TYPE_INTEGER, TYPE_NUMBER, TYPE_ANY };

static const struct field {
    const char *name;
    size_t name_len;
    unsigned surfaces;
    enum field_type type;
    double min, max;
} fields[] = {
#define C FIELD_CHAT
#define T FIELD_COMPLETION
#define E FIELD_EMBEDDING
#define FIELD(name, surfaces, type, min, max) { #name, sizeof(#name) - 1, surfaces, TYPE_##type, min, max },
#include "upstream/fields.def"
#undef FIELD
#undef C
#undef T
#undef E
};

static bool has_type(yyjson_val *v, enum field_type type)
{
    switch (type) {
    case TYPE_STRING:
        return yyjson_is_str(v);
    case TYPE_ARRAY:
        return yyjson_is_arr(v);
    case TYPE_OBJECT:
        return yyjson_is_obj(v);
    case TYPE_BOOLEAN:
        return yyjson_is_bool(v);
    case TYPE_INTEGER:
        return yyjson_is_int(v);
    case TYPE_NUMBER:
        return yyjson_is_num(v);
    case TYPE_ANY:
        return true;
    }
    return false;
}

static const char *const type_words[] = { "a string", "an array", "an object", "true or false", "a whole number", "a number", "anything" };

static const struct field *field_find(struct text name, enum field_surface surface)
{
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i].name_len == name.len && memcmp(fields[i].name, name.at, name.len) == 0)
            return (fields[i].surfaces & (unsigned)surface) ? &fields[i] : NULL;
    return NULL;
}

/* NULL if v is what the field must be. */
static const char *field_check(const struct field *f, yyjson_val *v, char *must, size_t room)
{
    if (!has_type(v, f->type)) {
        snprintf(must, room, "%s", type_words[f->type]);
        return f->name;
    }
    double value = yyjson_is_num(v) ? yyjson_get_num(v) : f->min;
    if ((f->type == TYPE_INTEGER || f->type == TYPE_NUMBER) && !(value >= f->min && value <= f->max)) {
        snprintf(must, room, "%s from %g to %g", type_words[f->type], f->min, f->max);
        return f->name;
    }
    return NULL;
}

const char *fields_check(yyjson_val *object, enum field_surface surface, char *must, size_t room)
{
    yyjson_obj_iter it = yyjson_obj_iter_with(object);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&it)) != NULL;) {
        yyjson_val *v = yyjson_obj_iter_get_val(key);
        const struct field *f = yyjson_is_null(v) ? NULL : field_find((struct text){ yyjson_get_str(key), yyjson_get_len(key) }, surface);
        const char *bad = f != NULL ? field_check(f, v, must, room) : NULL;
        if (bad != NULL)
            return bad;
    }
    return NULL;
}

/* ---- what becomes a grammar in llama-server ---- */

#define SCHEMA_VALUES_MAX  4096 /* a large agent has some 60 tools of 40 values */
#define SCHEMA_DEPTH_MAX   24   /* each level is a few frames of its recursion */
#define SCHEMA_REPEATS_MAX 4096 /* minItems and its like are written out so many times */
#define PATTERN_BYTES_MAX  256
#define BIASES_MAX         1024
#define STOPS_MAX          16
#define STOP_BYTES_MAX     256

/* The repetitions in a pattern, multiplied: what (a{9}){9} may grow to. */
static bool pattern_is_fit(struct text pattern)
{
    uint64_t product = 1, number = 0;
    bool in_braces = false;
    for (size_t i = 0; i < pattern.len && product <= SCHEMA_REPEATS_MAX; i++) {
        char c = pattern.at[i];
        if (in_braces && c >= '0' && c <= '9') {
            number = MIN(number * 10 + (uint64_t)(c - '0'), (uint64_t)SCHEMA_REPEATS_MAX + 1);
            continue;
        }
        product *= MAX(number, 1u);
        number = 0;
        in_braces = c == '{' || (in_braces && c != '}');
    }
    return pattern.len <= PATTERN_BYTES_MAX && product <= SCHEMA_REPEATS_MAX;
}

/* A member of a schema, or of a "properties" whose names are anybody's: there the values are objects. NULL if it is fit. */
static const char *schema_member_wrong(yyjson_val *key, yyjson_val *v)
{
    static const char *const repeats[] = { "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties" };
    if (yyjson_equals_str(key, "type") && !yyjson_is_str(v) && !yyjson_is_arr(v) && !yyjson_is_obj(v))
        return "a schema whose \"type\" is a string or an array";
    if (yyjson_equals_str(key, "pattern") && !yyjson_is_obj(v) &&
        (!yyjson_is_str(v) || !pattern_is_fit((struct text){ yyjson_get_str(v), yyjson_get_len(v) })))
        return "a schema whose \"pattern\" is short and repeats little";
    if (yyjson_equals_str(key, "$ref") && yyjson_is_str(v) && yyjson_get_str(v)[0] != '#')
        return "a schema whose \"$ref\" stays within it";
    for (size_t i = 0; i < ARRAY_LEN(repeats); i++)
        if (yyjson_equals_str(key, repeats[i]) && yyjson_is_num(v) && !(yyjson_get_num(v) >= 0 && yyjson_get_num(v) <= SCHEMA_REPEATS_MAX))
            return "a schema whose least and most are numbers from 0 to 4096";
    return NULL;
}

/* Everything under v, in the order it lies in; ends[] are the ends of what is open. */
static const char *schema_wrong(yyjson_val *v)
{
    yyjson_val *ends[SCHEMA_DEPTH_MAX], *end = unsafe_yyjson_get_next(v), *key, *value;
    size_t depth = 0, i, max;
    if (end - v > SCHEMA_VALUES_MAX)
        return "of at most 4096 values";
    for (; v < end; v++) {
        while (depth > 0 && v >= ends[depth - 1])
            depth--;
        if (!yyjson_is_ctn(v))
            continue;
        if (depth == SCHEMA_DEPTH_MAX)
            return "nested at most 24 levels deep";
        ends[depth++] = unsafe_yyjson_get_next(v);
        yyjson_obj_foreach(v, i, max, key, value) {
            const char *wrong = schema_member_wrong(key, value);
            if (wrong != NULL)
                return wrong;
        }
    }
    return NULL;
}

static const char *biases_wrong(yyjson_val *v)
{
    size_t i, max;
    yyjson_val *key, *value;
    if (yyjson_obj_size(v) > BIASES_MAX)
        return "of at most 1024 tokens";
    yyjson_obj_foreach(v, i, max, key, value)
        if (!yyjson_is_num(value) || !(yyjson_get_num(value) >= -100 && yyjson_get_num(value) <= 100))
            return "an object of numbers from -100 to 100";
    return NULL;
}

static const char *stops_wrong(yyjson_val *v)
{
    size_t i, max;
    yyjson_val *stop;
    if (!yyjson_is_arr(v))
        return yyjson_is_str(v) && yyjson_get_len(v) <= STOP_BYTES_MAX ? NULL : "a string of at most 256 bytes, or an array of them";
    if (yyjson_arr_size(v) > STOPS_MAX)
        return "an array of at most 16 strings";
    yyjson_arr_foreach(v, i, max, stop)
        if (!yyjson_is_str(stop) || yyjson_get_len(stop) > STOP_BYTES_MAX)
            return "an array of strings of at most 256 bytes";
    return NULL;
}

const char *fields_check_llama(yyjson_val *object, char *must, size_t room)
{
    static const struct {
        const char *name;
        const char *(*wrong)(yyjson_val *v);
    } rows[] = { { "tools", schema_wrong },      { "response_format", schema_wrong }, { "tool_choice", schema_wrong },
                 { "logit_bias", biases_wrong }, { "stop", stops_wrong } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        yyjson_val *v = yyjson_obj_get(object, rows[i].name);
        const char *wrong = v != NULL && !yyjson_is_null(v) ? rows[i].wrong(v) : NULL;
        if (wrong != NULL) {
            snprintf(must, room, "%s", wrong);
            return rows[i].name;
        }
    }
    return NULL;
}

enum fail fields_filter(struct text body, enum field_surface surface, struct buf *out)
{
    struct json_span span;
    size_t cursor = 0;
    const char *comma = "";
    enum fail f = buf_add_text(out, TEXT("{"));
    while (f == OK && json_span_next(body, &cursor, &span)) {
        if (field_find(span.key, surface) == NULL)
            continue; /* also a known name written with escapes: nobody honest does that */
        f = buf_printf(out, "%s\"%.*s\":", comma, TEXT_ARG(span.key));
        if (f == OK)
            f = buf_add_text(out, span.value);
        comma = ",";
    }
    return f == OK ? buf_add_text(out, TEXT("}")) : f;
}
