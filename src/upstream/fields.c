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
