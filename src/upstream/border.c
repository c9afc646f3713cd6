/* border.c: headers, body fields and keys at the border between clients and backends. URLs in messages are judged in border_url.c. */
#include "upstream/border.h"
#include <stdio.h>
#include <string.h>

/* ---- headers ---- */

static const struct {
    enum http_header_id id;
    size_t bytes;
} passes[BORDER_PASS_COUNT] = {
#define PASS(header, bytes, why) [BORDER_PASS_##header] = { HEADER_##header, bytes },
#include "upstream/border.def"
};

struct text border_name(enum border_pass which)
{
    return http_header_name(passes[which].id);
}

struct text border_header(const struct http_head *head, enum border_pass which)
{
    enum http_header_id id = passes[which].id;
    struct text value = http_head_get(head, id);
    bool may = value.len > 0 && value.len <= passes[which].bytes && http_head_times(head, id) == 1;
    if (!may || http_head_lists(head, HEADER_CONNECTION, http_header_name(id))) /* named there, it was meant for us alone (RFC 9110 section 7.6.1) */
        return TEXT_NONE;
    return value;
}

/* ---- fields ---- */

static const struct field {
    const char *name;
    size_t len;
} refused[] = {
#define REFUSE(name, why) { name, sizeof(name) - 1 },
#include "upstream/border.def"
};

/* Nearly every honest field is told apart by three of its bytes: a bit for first letter, last letter and length of each row; all bits of a first letter with
   rows that end in '*'. */
static uint64_t rows_like[32];

static unsigned bit_of(struct text name) { return (unsigned)(name.len * 5 + (unsigned char)name.at[name.len - 1]) & 63; }

__attribute__((constructor)) static void rows_like_build(void)
{
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct text name = { refused[i].name, refused[i].len };
        rows_like[name.at[0] & 31] |= text_ends(name, TEXT("*")) ? ~0ull : 1ull << bit_of(name);
    }
}

static bool is_row(const struct field *f, struct text name)
{
    size_t stem = f->len - 1;
    return f->name[stem] == '*' ? name.len >= stem && memcmp(name.at, f->name, stem) == 0 : text_eq(name, (struct text){ f->name, f->len });
}

static bool field_refused(struct text name)
{
    if (name.len == 0 || (rows_like[name.at[0] & 31] >> bit_of(name) & 1) == 0)
        return false;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (is_row(&refused[i], name))
            return true;
    return false;
}

/* ---- URLs in messages ---- */

#define PART_DEPTH_MAX 8 /* messages, message, content, part, image_url, url: 6 */

struct walk {
    bool private_urls;
    bool *fetches;
    const char *why;
};

/* "url", "image_url", "file_url", …: what servers fetch, by whatever name they call it. */
static bool names_url(yyjson_val *key)
{
    const char *name = yyjson_get_str(key);
    size_t len = yyjson_get_len(key);
    return len >= 3 && name[len - 1] == 'l' && name[len - 2] == 'r' && name[len - 3] == 'u' && (len == 3 || name[len - 4] == '_');
}

static void walk(struct walk *w, yyjson_val *v, bool is_url, unsigned depth);

static void look_at(struct walk *w, yyjson_val *v, bool is_url, unsigned depth)
{
    if (yyjson_is_ctn(v) && depth < PART_DEPTH_MAX) /* deeper no server looks for parts */
        walk(w, v, is_url, depth + 1);
    else if (is_url && yyjson_is_str(v) && w->why == NULL)
        w->why = border_url((struct text){ yyjson_get_str(v), yyjson_get_len(v) }, w->private_urls, w->fetches);
}

/* Everything but text: parts of a message, and what they hold. is_url: so is the name of what holds v. */
static void walk(struct walk *w, yyjson_val *v, bool is_url, unsigned depth)
{
    size_t i, n;
    yyjson_val *key, *item;
    if (yyjson_is_arr(v)) {
        yyjson_arr_foreach(v, i, n, item)
            look_at(w, item, is_url, depth);
    } else {
        yyjson_obj_foreach(v, i, n, key, item)
            look_at(w, item, names_url(key), depth);
    }
}

/* Where parts are. */
static bool holds_parts(yyjson_val *key)
{
    return yyjson_equals_str(key, "messages") || yyjson_equals_str(key, "prompt") || yyjson_equals_str(key, "input");
}

struct border_refusal border_body(yyjson_val *root, bool private_urls, bool *out_fetches)
{
    struct walk w = { private_urls, out_fetches, NULL };
    size_t i, n;
    yyjson_val *key, *value;
    *out_fetches = false;
    yyjson_obj_foreach(root, i, n, key, value) {
        struct text name = { yyjson_get_str(key), yyjson_get_len(key) };
        if (field_refused(name))
            return (struct border_refusal){ name, "is not taken from clients: it could send the call, and a key, somewhere else" };
        if (yyjson_is_ctn(value) && holds_parts(key))
            walk(&w, value, false, 0);
        if (w.why != NULL)
            return (struct border_refusal){ name, w.why };
    }
    return (struct border_refusal){ TEXT_NONE, NULL };
}

/* ---- keys ---- */

#define KEY_BYTES_MIN 8 /* a shorter key stands in any text by chance */
#define WITHHELD "what it said is withheld: its own key stands in it"

/* One character of a JSON text, escapes read; *out_used bytes of it. */
static char unescaped(struct text t, size_t *out_used)
{
    static const char letters[] = "b\bf\fn\nr\rt\t";
    unsigned point = 0;
    *out_used = 1;
    if (t.at[0] != '\\' || t.len < 2)
        return t.at[0];
    *out_used = 2;
    if (t.at[1] != 'u') {
        const char *letter = memchr(letters, t.at[1], sizeof letters - 1);
        return letter != NULL && (letter - letters) % 2 == 0 ? letter[1] : t.at[1];
    }
    for (size_t i = 2; i < 6; i++) {
        int digit = i < t.len ? hex_digit(t.at[i]) : -1;
        if (digit < 0)
            return '\0';
        point = point * 16 + (unsigned)digit;
    }
    *out_used = 6;
    return point < 0x80 ? (char)point : '\0'; /* keys are ASCII */
}

static bool begins_with(struct text t, struct text word)
{
    size_t at = 0, used;
    for (size_t i = 0; i < word.len; i++, at += used)
        if (at >= t.len || unescaped((struct text){ t.at + at, t.len - at }, &used) != word.at[i])
            return false;
    return true;
}

static bool stands_in(struct text t, struct text word)
{
    for (size_t i = 0; i < t.len; i++)
        if (begins_with((struct text){ t.at + i, t.len - i }, word))
            return true;
    return false;
}

/* Half of a key is too much: messages are cut, and so are keys by those who mean to hide them. */
static bool holds_key(const struct endpoint *e, struct text said)
{
    size_t half = e->key.len / 2;
    if (e->key.len < KEY_BYTES_MIN)
        return e->key.len > 0 && stands_in(said, e->key);
    return stands_in(said, (struct text){ e->key.at, half }) || stands_in(said, (struct text){ e->key.at + half, e->key.len - half });
}

struct text border_words(const struct endpoint *e, struct text said)
{
    return holds_key(e, said) ? TEXT("(" WITHHELD ")") : said;
}

enum fail border_error_body(struct flight *fl, const struct endpoint *e, int status)
{
    char instead[256];
    if (e->key.len == 0)
        return OK;
    enum fail f = flight_gather(fl);
    if (f != OK || !holds_key(e, flight_peek(fl)))
        return f;
    flight_forget(fl);
    int n = snprintf(instead, sizeof instead, "{\"error\":{\"message\":\"The backend refused the request with %d; " WITHHELD ".\",\"type\":\"invalid_request_error\","
                                              "\"param\":null,\"code\":\"withheld\"}}", status);
    return flight_append(fl, (struct text){ instead, (size_t)n });
}
