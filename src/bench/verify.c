/* verify.c: makes an answer's words again, with the mock's own code, and compares; see verify.h. */
#include "bench/verify.h"
#include "mock/words.h"

#define TREE_MAX ((size_t)256 << 20) /* of a request's JSON and of its answer: twice load.c's and call.h's own bounds */
#define BIG_ENOUGH (10u << 20) /* bytes: so long is an answer with the token of --fault bigline, and no other: a million words take less */

static enum mock_shape shape_of(const struct script_call *call)
{
    struct text path;
    (void)text_cut(call->path, '?', &path);
    if (call->api == LOAD_OLLAMA)
        return text_ends(path, TEXT("/api/generate")) ? SHAPE_OLLAMA_PROMPT : SHAPE_OLLAMA_CHAT;
    return text_ends(path, TEXT("/chat/completions")) ? SHAPE_CHAT : SHAPE_PROMPT;
}

static bool is_said(const struct content *c, struct text answer, bool is_whole, uint64_t tokens)
{
    struct text all = mock_content_text(c);
    if (!is_whole)
        return text_starts(all, answer);
    return text_eq(all, answer) && (tokens == 0 || tokens == c->count);
}

enum fail verify_answer(const struct verify *v, const struct script_call *call, struct text answer, bool is_whole, uint64_t tokens, bool *out_is_right)
{
    struct arena arena;
    struct ask ask;
    struct content content;
    const char *why;
    struct mock_saying how = { .tokens = v->tokens };
    if (call->api != LOAD_OPENAI && call->api != LOAD_OLLAMA) {
        *out_is_right = true;
        return OK;
    }
    arena_init(&arena, NULL, 0, TREE_MAX);
    enum fail f = mock_ask_parse(&arena, call->body, v->seed, shape_of(call), &ask, &why);
    how.has_big_token = answer.len > BIG_ENOUGH;
    if (f == OK)
        f = mock_say(&arena, &ask, &how, 0, &content);
    if (f == OK)
        *out_is_right = is_said(&content, answer, is_whole, tokens);
    arena_fini(&arena);
    return f;
}
