/* forms_pen.c: how forms are read and written: names, one JSON object, a pen. forms.c, forms_body.c and forms_join.c call it. */
#include "relay/forms_inner.h"

const struct form_names *form_names(enum form_surface surface)
{
    static const struct form_names names[] = {
        [FORM_CHAT] = { TEXT("chat.completion"), TEXT("chat.completion.chunk"), TEXT("message"), TEXT("delta"), TEXT(",\"delta\":{"), TEXT("}") },
        [FORM_COMPLETION] = { TEXT("text_completion"), TEXT("text_completion"), TEXT("text"), TEXT("text"), TEXT(""), TEXT("") },
    };
    return &names[surface];
}

enum fail form_parse(struct arena *arena, struct text json, yyjson_val **out_root)
{
    yyjson_doc *doc;
    yyjson_val *twice;
    const char *why;
    enum fail f = json_parse(arena, json, &doc, NULL);
    if (f == OK)
        f = json_check_all_keys(doc, &twice, &why);
    if (f != OK)
        return f;
    yyjson_val *root = yyjson_doc_get_root(doc), *error = yyjson_obj_get(root, "error");
    if (!yyjson_is_obj(root) || (error != NULL && !yyjson_is_null(error)) || yyjson_equals_str(yyjson_obj_get(root, "object"), "error"))
        return FAIL_BAD_JSON;
    *out_root = root;
    return OK;
}

/* ---- the pen ---- */

void form_put(struct form_pen *p, struct text t)
{
    if (p->fail == OK)
        p->fail = buf_add_text(p->buf, t);
}

void form_put_string(struct form_pen *p, struct text t)
{
    if (p->fail == OK)
        p->fail = json_add_string(p->buf, t);
}

void form_put_number(struct form_pen *p, uint64_t n)
{
    if (p->fail == OK)
        p->fail = buf_printf(p->buf, "%llu", (unsigned long long)n);
}

static void *pen_alloc(void *ctx, size_t size) { (void)ctx; return mem_alloc(size); }
static void *pen_grow(void *ctx, void *mem, size_t old_size, size_t size) { (void)ctx; (void)old_size; return mem_resize(mem, size); }
static void pen_free(void *ctx, void *mem) { (void)ctx; mem_free(mem); }

void form_put_value(struct form_pen *p, yyjson_val *v)
{
    static const yyjson_alc alc = { pen_alloc, pen_grow, pen_free, NULL };
    if (yyjson_is_str(v)) {
        form_put_string(p, form_text(v));
    } else if (yyjson_is_uint(v)) {
        form_put_number(p, yyjson_get_uint(v));
    } else if (yyjson_is_null(v)) {
        FORM_PUT(p, "null");
    } else if (p->fail == OK) {
        struct text json;
        json.at = yyjson_val_write_opts(v, YYJSON_WRITE_NOFLAG, &alc, &json.len, NULL);
        p->fail = json.at != NULL ? buf_add_text(p->buf, json) : FAIL_NO_MEMORY; /* what was parsed can be written */
        mem_free((void *)(uintptr_t)json.at);
    }
}

void form_put_key(struct form_pen *p, struct text key)
{
    struct text before = buf_text(p->buf);
    if (before.len > 0 && before.at[before.len - 1] != '{')
        FORM_PUT(p, ",");
    form_put_string(p, key);
    FORM_PUT(p, ":");
}
