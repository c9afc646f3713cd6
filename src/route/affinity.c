/* affinity.c: sessions and beginnings of prompts as numbers. Called by path/ for each request, and by serve/ when a body is read.

   Only beginnings can be in a backend's cache of prefixes, and of a conversation only its beginning stays: so everything up to the first question
   counts, and what follows does not. Each text counts with its first AFFINITY_BYTES alone: a long system prompt leaves room for the question, and with it for
   conversations that differ; a long document still brings all that is asked about it together. */
#include "route/affinity.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PARTS_MAX 16 /* of one text that comes in parts; more would be images, mostly */

static uint64_t add_text(uint64_t sum, yyjson_val *text)
{
    size_t len = yyjson_get_len(text);
    return yyjson_is_str(text) && len > 0 ? XXH3_64bits_withSeed(yyjson_get_str(text), MIN(len, (size_t)AFFINITY_BYTES), sum) : sum;
}

/* A string, strings, or parts such as {"type":"text","text":"..."}. */
static uint64_t add_content(uint64_t sum, yyjson_val *content)
{
    yyjson_val *part;
    size_t i, n;
    if (!yyjson_is_arr(content))
        return add_text(sum, content);
    yyjson_arr_foreach(content, i, n, part) {
        if (i == PARTS_MAX)
            break;
        sum = add_text(sum, yyjson_is_obj(part) ? yyjson_obj_get(part, "text") : part);
    }
    return sum;
}

uint64_t affinity_of_session(struct text session)
{
    return session.len == 0 ? 0 : XXH3_64bits(session.at, session.len) | 1;
}

uint64_t affinity_of_messages(yyjson_val *messages)
{
    yyjson_val *message;
    size_t i, n;
    uint64_t sum = 0;
    yyjson_arr_foreach(messages, i, n, message) {
        yyjson_val *role = yyjson_obj_get(message, "role");
        sum = add_content(sum, yyjson_obj_get(message, "content"));
        if (!yyjson_equals_str(role, "system") && !yyjson_equals_str(role, "developer"))
            break;
    }
    return sum;
}

uint64_t affinity_of_prompt(yyjson_val *prompt)
{
    return add_content(0, prompt);
}
