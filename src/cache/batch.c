/* batch.c: takes the inputs of a request apart, and the embeddings of an answer, and puts both together again. path/ calls it.

   An answer may be 40 MB of numbers, which as a tree would be 50 MB more. So a walk over its bytes takes the vectors out, which are checked where they stand, and
   leaves the number of each in its place. What is left is the outline, some dozens of bytes an item: of that yyjson makes a tree, and says whether it is JSON. */
#include "cache/batch.h"
#include "base/json.h"

/* --- a request --- */

bool batch_spans(struct text input, struct text *spans, unsigned count)
{
    unsigned found = 0;
    size_t cursor = 0;
    struct text item;
    if (input.len == 0 || input.at[0] != '[')
        return false;
    while (json_item_next(input, &cursor, &item)) {
        if (found == count)
            return false;
        spans[found++] = item;
    }
    return found == count;
}

enum fail batch_ask(const struct text *spans, const bool *missing, unsigned count, struct buf *out)
{
    struct text before = TEXT("[");
    enum fail f = OK;
    for (unsigned i = 0; i < count && f == OK; i++) {
        if (!missing[i])
            continue;
        f = buf_add_text(out, before);
        if (f == OK)
            f = buf_add_text(out, spans[i]);
        before = TEXT(",");
    }
    ASSERT(f != OK || before.at[0] == ','); /* who misses nothing asks nobody */
    return f == OK ? buf_add_text(out, TEXT("]")) : f;
}

/* --- vectors --- */

static size_t blanks_end(struct text t, size_t i)
{
    while (i < t.len && (t.at[i] == ' ' || t.at[i] == '\t' || t.at[i] == '\n' || t.at[i] == '\r'))
        i++;
    return i;
}

static bool has_at(struct text t, size_t i, char c)
{
    return i < t.len && t.at[i] == c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* RFC 4648, both alphabets. */
static bool is_base64(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '/' || c == '-' || c == '_' || c == '=';
}

/* Behind one digit or more; 0: there is none. */
static size_t digits_end(struct text t, size_t i)
{
    size_t from = i;
    while (i < t.len && is_digit(t.at[i]))
        i++;
    return i > from ? i : 0;
}

/* Behind the number at i, as RFC 8259, section 6, has it; 0: there is none. */
static size_t number_end(struct text t, size_t i)
{
    i += has_at(t, i, '-');
    bool is_zero = has_at(t, i, '0');
    i = is_zero ? i + 1 : digits_end(t, i);
    if (i > 0 && has_at(t, i, '.'))
        i = digits_end(t, i + 1);
    if (i > 0 && (has_at(t, i, 'e') || has_at(t, i, 'E'))) {
        i++;
        i = digits_end(t, i + (has_at(t, i, '-') || has_at(t, i, '+')));
    }
    return i;
}

/* Behind [1,2,…], which is not empty; 0: it is something else. */
static size_t numbers_end(struct text t, size_t i)
{
    do {
        i = number_end(t, blanks_end(t, i + 1));
        if (i == 0)
            return 0;
        i = blanks_end(t, i);
    } while (has_at(t, i, ','));
    return has_at(t, i, ']') ? i + 1 : 0;
}

/* Behind "…" of base64, which is not empty; some writers escape each slash. 0: it is something else. */
static size_t base64_end(struct text t, size_t i)
{
    size_t from = ++i;
    while (i < t.len && (is_base64(t.at[i]) || (t.at[i] == '\\' && has_at(t, i + 1, '/'))))
        i++;
    return i > from && has_at(t, i, '"') ? i + 1 : 0;
}

static size_t vector_end(struct text t, size_t i)
{
    return has_at(t, i, '[') ? numbers_end(t, i) : has_at(t, i, '"') ? base64_end(t, i) : 0;
}

/* --- the outline --- */

/* What an answer may have beside its vectors: an item has an object, an index, and perhaps a name or a token count. */
#define OUTLINE_BYTES_ANSWER 2048
#define OUTLINE_BYTES_ITEM   512

struct walk {
    struct text body;
    size_t at, copied; /* read, and copied to the outline, up to here */
    ptrdiff_t depth;   /* below 0 in what yyjson is about to refuse */
    struct text key;   /* the last string, without its quotes */
    bool is_data;      /* within the answer's "data" */
    struct text model; /* the answer's, with its quotes */
    struct text *vectors;
    unsigned found, count;
    struct buf outline;
};

/* at is behind an opening quote. The string's content; the place behind its closing quote becomes at. */
static struct text walk_string(struct walk *w)
{
    size_t from = w->at, i = from;
    while (i < w->body.len && w->body.at[i] != '"')
        i += w->body.at[i] == '\\' ? 2 : 1;
    i = MIN(i, w->body.len);
    w->at = MIN(i + 1, w->body.len);
    return (struct text){ w->body.at + from, i - from };
}

/* Is this raw key that word of small letters? A letter may stand as \u00XX, and there is no other way to escape one. */
static bool key_is(struct text raw, struct text word)
{
    size_t i = 0;
    for (size_t k = 0; k < word.len; k++) {
        struct text rest = { raw.at + i, raw.len - i };
        bool is_escaped = text_starts(rest, TEXT("\\u00")) && rest.len >= 6 && hex_digit(rest.at[4]) >= 0 && hex_digit(rest.at[5]) >= 0;
        int c = is_escaped ? hex_digit(rest.at[4]) * 16 + hex_digit(rest.at[5]) : rest.len > 0 ? rest.at[0] : -1;
        if (c != word.at[k])
            return false;
        i += is_escaped ? 6 : 1;
    }
    return i == raw.len;
}

/* Behind the colon of an item's "embedding". */
static enum fail walk_vector(struct walk *w)
{
    size_t from = blanks_end(w->body, w->at), end = vector_end(w->body, from);
    if (end == 0 || w->found == w->count)
        return FAIL_PROTOCOL;
    enum fail f = buf_add(&w->outline, w->body.at + w->copied, from - w->copied);
    if (f == OK)
        f = buf_printf(&w->outline, "%u ", w->found); /* with a blank, so that no digit behind the vector makes another number of it */
    w->vectors[w->found++] = (struct text){ w->body.at + from, end - from };
    w->at = w->copied = end;
    return f;
}

static enum fail walk_value(struct walk *w)
{
    if (w->depth == 3 && w->is_data && key_is(w->key, TEXT("embedding")))
        return walk_vector(w);
    if (w->depth != 1)
        return OK;
    w->is_data = key_is(w->key, TEXT("data"));
    size_t from = blanks_end(w->body, w->at);
    if (key_is(w->key, TEXT("model")) && has_at(w->body, from, '"')) {
        w->at = from + 1;
        walk_string(w);
        w->model = (struct text){ w->body.at + from, w->at - from };
    }
    return OK;
}

/* In bytes that are no JSON it takes the wrong things for keys, and its outline is no JSON either. */
static enum fail walk_all(struct walk *w)
{
    enum fail f = OK;
    while (w->at < w->body.len && f == OK) {
        char c = w->body.at[w->at++];
        if (c == '"')
            w->key = walk_string(w);
        else if (c == '{' || c == '[')
            w->depth++;
        else if (c == '}' || c == ']')
            w->depth--;
        else if (c == ':')
            f = walk_value(w);
    }
    if (f == OK)
        f = buf_add(&w->outline, w->body.at + w->copied, w->body.len - w->copied);
    return f == FAIL_TOO_LARGE ? FAIL_PROTOCOL : f; /* the client's body is not too large */
}

/* --- an answer --- */

static bool has_error(yyjson_val *object)
{
    yyjson_val *error = yyjson_obj_get(object, "error");
    return error != NULL && !yyjson_is_null(error);
}

static uint64_t count_of(yyjson_val *v)
{
    return yyjson_is_uint(v) ? yyjson_get_uint(v) : 0;
}

/* A sparse vector beside the dense one, the input's text, …: batch_write has none of it. */
static bool has_more(yyjson_val *item)
{
    yyjson_val *object = yyjson_obj_get(item, "object");
    return yyjson_obj_size(item) > 2u + (object != NULL) || (object != NULL && !yyjson_equals_str(object, "embedding"));
}

static enum fail read_item(const struct walk *w, yyjson_val *item, struct batch_answer *out)
{
    yyjson_val *index = yyjson_obj_get(item, "index"), *vector = yyjson_obj_get(item, "embedding");
    if (!yyjson_is_uint(index) || yyjson_get_uint(index) >= w->count || vector == NULL || has_error(item))
        return FAIL_PROTOCOL;
    ASSERT(yyjson_is_uint(vector) && yyjson_get_uint(vector) < w->found); /* the walk found each and wrote its number */
    struct batch_item *to = &out->items[yyjson_get_uint(index)];
    if (to->vector.at != NULL)
        return FAIL_PROTOCOL;
    to->vector = w->vectors[yyjson_get_uint(vector)];
    out->has_more |= has_more(item);
    return OK;
}

static enum fail read_outline(struct arena *arena, const struct walk *w, struct batch_answer *out)
{
    yyjson_doc *doc;
    yyjson_val *object, *item;
    const char *why;
    size_t i, n;
    enum fail f = json_parse(arena, buf_text(&w->outline), &doc, NULL);
    if (f == OK)
        f = json_check_all_keys(doc, &object, &why);
    if (f != OK)
        return f == FAIL_BAD_JSON ? FAIL_PROTOCOL : FAIL_NO_MEMORY;
    yyjson_val *root = yyjson_doc_get_root(doc), *data = yyjson_obj_get(root, "data"), *usage = yyjson_obj_get(root, "usage");
    if (has_error(root) || !yyjson_is_arr(data) || yyjson_arr_size(data) != w->count)
        return FAIL_PROTOCOL;
    yyjson_arr_foreach(data, i, n, item)
        if ((f = read_item(w, item, out)) != OK)
            return f;
    out->prompt_tokens = count_of(yyjson_obj_get(usage, "prompt_tokens"));
    out->total_tokens = count_of(yyjson_obj_get(usage, "total_tokens"));
    out->model = w->model;
    return OK;
}

enum fail batch_read(struct arena *arena, struct text body, unsigned count, struct batch_answer *out)
{
    if (body.len == 0)
        return FAIL_PROTOCOL;
    struct walk w = { .body = body, .key = TEXT(""), .count = count, .vectors = arena_alloc(arena, (count + 1) * sizeof *w.vectors) };
    if (w.vectors == NULL)
        return FAIL_NO_MEMORY;
    for (unsigned i = 0; i < count; i++)
        out->items[i] = (struct batch_item){ .vector = TEXT_NONE };
    out->has_more = false;
    buf_init(&w.outline, OUTLINE_BYTES_ANSWER + (size_t)OUTLINE_BYTES_ITEM * count);
    enum fail f = walk_all(&w);
    if (f == OK)
        f = read_outline(arena, &w, out);
    buf_fini(&w.outline);
    return f;
}

#define ITEM_FRONT_MAX  64  /* what stands before and behind a vector */
#define ANSWER_ENDS_MAX 160 /* the same of all of them, two counts of 20 digits among it */

enum fail batch_write(const struct batch_answer *answer, unsigned count, struct buf *out)
{
    size_t bytes = ANSWER_ENDS_MAX + answer->model.len;
    for (unsigned i = 0; i < count; i++)
        bytes += ITEM_FRONT_MAX + answer->items[i].vector.len;
    enum fail f = buf_reserve_exact(out, bytes);
    if (f == OK)
        f = buf_add_text(out, TEXT("{\"object\":\"list\",\"data\":["));
    for (unsigned i = 0; i < count && f == OK; i++) {
        struct text vector = answer->items[i].vector;
        ASSERT(vector.len > 0); /* only a whole answer is told */
        f = buf_printf(out, "%s{\"object\":\"embedding\",\"index\":%u,\"embedding\":", i > 0 ? "," : "", i);
        if (f == OK)
            f = buf_add_text(out, vector);
        if (f == OK)
            f = buf_add_text(out, TEXT("}"));
    }
    if (f == OK && answer->model.at != NULL)
        f = buf_printf(out, "],\"model\":%.*s", TEXT_ARG(answer->model));
    else if (f == OK)
        f = buf_add_text(out, TEXT("]"));
    return f == OK ? buf_printf(out, ",\"usage\":{\"prompt_tokens\":%llu,\"total_tokens\":%llu}}", (unsigned long long)answer->prompt_tokens,
                                (unsigned long long)answer->total_tokens) : f;
}
