/* form_same.c: bodies of chat and text completions, compared by what they mean. */
#include "lib/form_same.h"

#include <stdlib.h>

static yyjson_mut_val *get(yyjson_mut_val *object, const char *key) { return yyjson_mut_obj_get(object, key); }

static void drop_null(yyjson_mut_val *object, const char *key)
{
    if (yyjson_mut_is_null(get(object, key)))
        yyjson_mut_obj_remove_key(object, key);
}

static void plain_message(yyjson_mut_val *message)
{
    size_t i, n;
    yyjson_mut_val *call, *calls = get(message, "tool_calls");
    drop_null(message, "content");
    if (yyjson_mut_equals_str(get(message, "role"), "assistant"))
        yyjson_mut_obj_remove_key(message, "role");
    yyjson_mut_arr_foreach(calls, i, n, call)
        yyjson_mut_obj_remove_key(call, "index");
}

static yyjson_mut_doc *plain(struct text body)
{
    size_t i, n;
    yyjson_doc *doc = yyjson_read(body.at, body.len, 0);
    yyjson_mut_doc *copy = yyjson_doc_mut_copy(doc, NULL);
    ASSERT(copy != NULL);
    yyjson_doc_free(doc);
    yyjson_mut_val *choice, *root = yyjson_mut_doc_get_root(copy);
    drop_null(root, "usage");
    yyjson_mut_obj_remove_key(root, "object");
    yyjson_mut_obj_remove_key(root, "obfuscation");
    yyjson_mut_arr_foreach(get(root, "choices"), i, n, choice) {
        if (n == 1 && yyjson_mut_get_uint(get(choice, "index")) == 0)
            yyjson_mut_obj_remove_key(choice, "index");
        plain_message(get(choice, "message"));
    }
    return copy;
}

bool form_is_same(struct text a, struct text b)
{
    yyjson_mut_doc *left = plain(a), *right = plain(b);
    bool same = yyjson_mut_equals(yyjson_mut_doc_get_root(left), yyjson_mut_doc_get_root(right));
    yyjson_mut_doc_free(left);
    yyjson_mut_doc_free(right);
    return same;
}
