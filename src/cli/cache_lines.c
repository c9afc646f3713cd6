/* cache_lines.c: the file of `weir cache warm`: a request or a prompt a line. All of it is looked through before the first one is asked. Called by cache_warm.c. */
#include "base/json.h"
#include "cli/cache_warm.h"
#include <stdio.h>

#define BODY_MAX       (32u << 20)      /* bytes: what a request may weigh */
#define TREE_MAX       (17ull * BODY_MAX) /* see json_parse */
#define COMPLAINTS_MAX 10               /* that are told; who has more errs in all lines */
#define CHAT           TEXT("/v1/chat/completions")

struct reader {
    struct cache_lines *lines;
    const char *path, *model;
    unsigned complaints;
};

static bool refuse(struct reader *r, uint32_t line, const char *what, const char *more)
{
    if (r->complaints++ < COMPLAINTS_MAX)
        fprintf(stderr, "weir cache warm: %s:%u: %s%s\n", r->path, line, what, more);
    return false;
}

/* ---- a line ---- */

static bool is_path(yyjson_val *v)
{
    const char *s = yyjson_get_str(v);
    size_t len = yyjson_get_len(v);
    for (size_t i = 0; s != NULL && i < len; i++)
        if (s[i] <= ' ' || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\') /* nothing that JSON writes otherwise than it is */
            return false;
    return s != NULL && s[0] == '/';
}

/* {"path": …, "body": {…}}: their texts as they stand in the line. */
static bool unwrap(struct reader *r, yyjson_val *root, struct cache_question *q)
{
    yyjson_val *path = yyjson_obj_get(root, "path"), *body = yyjson_obj_get(root, "body");
    struct text all = q->text;
    struct json_span span;
    size_t cursor = 0;
    if (yyjson_obj_size(root) != 2 || !is_path(path) || !yyjson_is_obj(body))
        return refuse(r, q->line, "a request with a path is {\"path\": \"/v1/...\", \"body\": {...}}", "");
    while (json_span_next(all, &cursor, &span)) {
        if (text_eq(span.key, TEXT("path")))
            q->path = (struct text){ span.value.at + 1, span.value.len - 2 };
        else
            q->text = span.value;
    }
    q->lacks_model = yyjson_obj_get(body, "model") == NULL;
    return true;
}

static bool take_object(struct reader *r, struct cache_question *q, struct arena *arena)
{
    yyjson_doc *doc;
    const char *what = "out of memory";
    if (json_parse(arena, q->text, &doc, &what) != OK)
        return refuse(r, q->line, "not JSON: ", what);
    yyjson_val *root = yyjson_doc_get_root(doc);
    if (yyjson_obj_get(root, "path") != NULL || yyjson_obj_get(root, "body") != NULL)
        return unwrap(r, root, q);
    if (!yyjson_is_arr(yyjson_obj_get(root, "messages")))
        return refuse(r, q->line, "no \"messages\"; a request to another path is {\"path\": \"/v1/embeddings\", \"body\": {...}}", "");
    q->lacks_model = yyjson_obj_get(root, "model") == NULL;
    return true;
}

static bool take_line(struct reader *r, struct cache_question *q)
{
    struct arena arena;
    if (q->text.len > BODY_MAX)
        return refuse(r, q->line, "longer than 32 MiB", "");
    q->is_prompt = q->text.at[0] != '{';
    q->path = CHAT;
    q->lacks_model = q->is_prompt;
    bool is_ok = true;
    if (q->is_prompt && !text_is_utf8(q->text))
        return refuse(r, q->line, "not UTF-8", "");
    if (!q->is_prompt) {
        arena_init(&arena, NULL, 0, TREE_MAX);
        is_ok = take_object(r, q, &arena);
        arena_fini(&arena);
    }
    if (is_ok && q->lacks_model && r->model == NULL)
        return refuse(r, q->line, q->is_prompt ? "a prompt" : "a request without a model", "; --model NAME says whom to ask");
    return is_ok;
}

/* ---- the file ---- */

static bool take_file(struct reader *r)
{
    struct text rest = buf_text(&r->lines->file), line;
    uint32_t lines = 1;
    if (text_starts(rest, TEXT("\xef\xbb\xbf"))) /* a byte order mark, which some editors write */
        rest = (struct text){ rest.at + 3, rest.len - 3 };
    for (size_t i = 0; i < rest.len; i++) /* at most SCRIPT_FILE_MAX */
        lines += rest.at[i] == '\n';
    r->lines->at = mem_alloc(lines * sizeof *r->lines->at);
    if (r->lines->at == NULL)
        return refuse(r, lines, "no memory is left for so many lines", "");
    for (uint32_t number = 1; rest.len > 0; number++) {
        rest = text_cut(rest, '\n', &line);
        struct cache_question *q = &r->lines->at[r->lines->count];
        *q = (struct cache_question){ .line = number, .text = text_trim(text_ends(line, TEXT("\r")) ? (struct text){ line.at, line.len - 1 } : line) };
        if (q->text.len > 0 && take_line(r, q))
            r->lines->count++;
    }
    if (r->complaints > COMPLAINTS_MAX)
        fprintf(stderr, "weir cache warm: %s: and %u lines more are wrong\n", r->path, r->complaints - COMPLAINTS_MAX);
    if (r->complaints == 0 && r->lines->count == 0)
        fprintf(stderr, "weir cache warm: %s: holds no request\n", r->path);
    return r->complaints == 0 && r->lines->count > 0;
}

bool cache_lines_read(struct cache_lines *l, const char *path, const char *model)
{
    struct reader r = { .lines = l, .path = path, .model = model };
    struct complaint why = { 0 };
    char text[700];
    *l = (struct cache_lines){ 0 };
    if (!script_file_read(path, &l->file, &why)) {
        complaint_print(&why, text, sizeof text);
        fprintf(stderr, "weir cache warm: %s\n", text);
        return false;
    }
    bool is_ok = take_file(&r);
    if (!is_ok)
        cache_lines_free(l);
    return is_ok;
}

void cache_lines_free(struct cache_lines *l)
{
    buf_fini(&l->file);
    mem_free(l->at);
    l->at = NULL;
}

/* ---- the body ---- */

static enum fail put_model(struct buf *out, const char *model)
{
    enum fail f = buf_add_text(out, TEXT("{\"model\":"));
    return f == OK ? json_add_string(out, text_of(model)) : f;
}

static enum fail put_prompt(struct buf *out, struct text prompt)
{
    enum fail f = buf_add_text(out, TEXT(",\"temperature\":0,\"messages\":[{\"role\":\"user\",\"content\":"));
    if (f == OK)
        f = json_add_string(out, prompt);
    return f == OK ? buf_add_text(out, TEXT("}]}")) : f;
}

enum fail cache_lines_body(const struct cache_question *q, const char *model, struct buf *out)
{
    struct text rest = q->text;
    enum fail f = q->lacks_model ? put_model(out, model) : OK;
    if (f == OK && q->is_prompt)
        return put_prompt(out, q->text);
    if (f == OK && q->lacks_model) { /* behind the brace, before the first member if there is one */
        rest = text_trim((struct text){ rest.at + 1, rest.len - 1 });
        f = rest.at[0] != '}' ? buf_add_text(out, TEXT(",")) : OK;
    }
    return f == OK ? buf_add_text(out, rest) : f;
}
