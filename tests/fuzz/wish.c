/* wish.c: see wish.h. It knows the plainly right and the plainly wrong; what lies between is what it says nothing about. */
#include "fuzz/wish.h"
#include "base/json.h"

/* ---- plainly wrong ---- */

/* Two members of one name, a name with a NUL, or nested too deep: readers would differ. */
static bool is_unclear(yyjson_val *v, unsigned depth)
{
    size_t i, n, k, m;
    yyjson_val *key, *value, *other, *more;
    if (yyjson_is_ctn(v) && depth == JSON_DEPTH_MAX)
        return true;
    if (yyjson_is_arr(v))
        yyjson_arr_foreach(v, i, n, value)
            if (is_unclear(value, depth + 1))
                return true;
    if (yyjson_is_obj(v))
        yyjson_obj_foreach(v, i, n, key, value) {
            if (strlen(yyjson_get_str(key)) != yyjson_get_len(key) || is_unclear(value, depth + 1))
                return true;
            yyjson_obj_foreach(v, k, m, other, more)
                if (k != i && yyjson_equals_strn(other, yyjson_get_str(key), yyjson_get_len(key)))
                    return true;
        }
    return false;
}

/* Where to go, or as whom, is nothing for a client to say. */
static bool gives_orders(yyjson_val *root)
{
    static const char *const names[] = { "api_base", "base_url", "api_key", "extra_headers", "extra_body", "custom_llm_provider", "fallbacks", "proxy" };
    static const char *const stems[] = { "aws_", "azure_", "vertex_", "litellm_" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (yyjson_obj_get(root, names[i]) != NULL)
            return true;
    size_t i, n;
    yyjson_val *key, *value;
    yyjson_obj_foreach(root, i, n, key, value)
        for (size_t k = 0; k < ARRAY_LEN(stems); k++)
            if (text_starts((struct text){ yyjson_get_str(key), yyjson_get_len(key) }, text_of(stems[k])))
                return true;
    return false;
}

/* http://HOST with a host that is this machine or this network, in its usual spelling. */
static bool leads_inside(yyjson_val *url)
{
    unsigned a, b, c, d;
    char host[64] = "", behind = '\0', more;
    const char *s = yyjson_is_str(url) ? yyjson_get_str(url) : "";
    if (sscanf(s, "http://%60[a-z0-9.]%c", host, &behind) < 1 && sscanf(s, "https://%60[a-z0-9.]%c", host, &behind) < 1)
        return false;
    if (behind != '\0' && behind != '/')
        return false;
    if (strcmp(host, "localhost") == 0)
        return true;
    if (sscanf(host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &more) != 4 || MAX(MAX(a, b), MAX(c, d)) > 255)
        return false;
    return a == 10 || a == 127 || (a == 192 && b == 168) || (a == 169 && b == 254) || (a == 172 && b / 16 == 1);
}

/* messages[].content[].image_url.url */
static bool points_inside(yyjson_val *root)
{
    size_t i, n, k, m;
    yyjson_val *message, *part;
    yyjson_arr_foreach(yyjson_obj_get(root, "messages"), i, n, message)
        yyjson_arr_foreach(yyjson_obj_get(message, "content"), k, m, part)
            if (leads_inside(yyjson_obj_get(yyjson_obj_get(part, "image_url"), "url")))
                return true;
    return false;
}

/* ---- plainly right ---- */

static bool is_one_of(yyjson_val *key, const char *const *names)
{
    for (; *names != NULL; names++)
        if (yyjson_equals_str(key, *names))
            return true;
    return false;
}

static bool are_messages(yyjson_val *messages)
{
    static const char *const known[] = { "role", "content", "name", NULL };
    size_t i, n, k, m;
    yyjson_val *message, *key, *value;
    if (!yyjson_is_arr(messages) || yyjson_arr_size(messages) == 0)
        return false;
    yyjson_arr_foreach(messages, i, n, message) {
        if (!yyjson_is_obj(message) || !yyjson_is_str(yyjson_obj_get(message, "role")))
            return false;
        yyjson_obj_foreach(message, k, m, key, value)
            if (!is_one_of(key, known) || !yyjson_is_str(value))
                return false;
    }
    return true;
}

static bool is_plain(struct text path, yyjson_val *root)
{
    static const char *const known[] = { "model", "messages", "prompt", "input", "stream", "user", NULL };
    size_t i, n;
    yyjson_val *key, *value, *stream = yyjson_obj_get(root, "stream"), *user = yyjson_obj_get(root, "user"), *model = yyjson_obj_get(root, "model");
    yyjson_obj_foreach(root, i, n, key, value)
        if (!is_one_of(key, known))
            return false;
    if ((stream != NULL && !yyjson_is_bool(stream)) || (user != NULL && !yyjson_is_str(user)))
        return false;
    if (!yyjson_is_str(model) || yyjson_get_len(model) == 0 || yyjson_get_len(model) > 100 || strlen(yyjson_get_str(model)) != yyjson_get_len(model))
        return false;
    if (text_eq(path, TEXT("/v1/chat/completions")))
        return are_messages(yyjson_obj_get(root, "messages")) && yyjson_obj_get(root, "prompt") == NULL && yyjson_obj_get(root, "input") == NULL;
    return yyjson_is_str(yyjson_obj_get(root, text_eq(path, TEXT("/v1/completions")) ? "prompt" : "input")) && yyjson_obj_get(root, "messages") == NULL;
}

int wish_status(struct text path, struct text body)
{
    yyjson_doc *doc = yyjson_read(body.at, body.len, 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool chats = text_eq(path, TEXT("/v1/chat/completions"));
    int status = 0;
    if (!yyjson_is_obj(root) || is_unclear(root, 0) || gives_orders(root) || (chats && points_inside(root)))
        status = 400;
    else if (is_plain(path, root))
        status = yyjson_equals_str(yyjson_obj_get(root, "model"), "m") ? 200 : 404;
    yyjson_doc_free(doc);
    return status;
}
