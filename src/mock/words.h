/* words.h: what a mock says to which question: its seed and the question alone decide it, so whoever has both can say what an answer must have been.
   The mock's own files use it, and bench/verify.c. */
#ifndef WEIR_MOCK_WORDS_H
#define WEIR_MOCK_WORDS_H

#include "base/json.h"

#define MOCK_STOPS_MAX 16

/* ---- the question: ask.c ---- */

/* What the client asked for. Texts live in the request's arena. */
struct ask {
    struct text model;
    bool stream, with_usage;
    unsigned choices;
    uint32_t tokens_max;              /* UINT32_MAX: no limit of its own */
    uint64_t prompt_tokens;           /* words */
    uint64_t hash;                    /* of seed and question: decides every word; see ask.c */
    unsigned stop_count;
    struct text stops[MOCK_STOPS_MAX];
    struct text tool;                 /* at == NULL: no tool is to be called */
    yyjson_val *tool_schema;          /* of its parameters; may be NULL */
    yyjson_val *input;                /* of embeddings */
    uint32_t dimensions;              /* 0: as the script has it */
    bool base64;
};

enum mock_shape { SHAPE_CHAT, SHAPE_PROMPT, SHAPE_INPUT, SHAPE_OLLAMA_CHAT, SHAPE_OLLAMA_PROMPT, SHAPE_OLLAMA_INPUT, SHAPE_MESSAGES };
/* What a body asks; everything lives in the arena. FAIL_BAD_JSON, FAIL_BAD_FIELD with a sentence in *out_why; FAIL_NO_MEMORY. */
MUSTUSE enum fail mock_ask_parse(struct arena *arena, struct text body, uint64_t seed, enum mock_shape shape, struct ask *ask, const char **out_why);

/* ---- the words: words.c ---- */

enum mock_finish { MOCK_STOP, MOCK_LENGTH, MOCK_TOOL };

/* One choice: its bytes, and where each token ends in them. */
struct content {
    char *bytes;
    uint32_t *ends;
    uint32_t count;
    enum mock_finish finish;
    struct text stopped_by;           /* at == NULL if by no stop word */
};

/* What decides the words besides the question. */
struct mock_saying {
    uint32_t tokens;    /* of an answer, unless the request wants fewer */
    bool has_big_token; /* one of 10 MB in the middle */
    struct text id;     /* in front of every word; empty: none */
};
/* What is said as one choice, 0 .. ask->choices - 1; in the arena. */
MUSTUSE enum fail mock_say(struct arena *arena, const struct ask *ask, const struct mock_saying *how, unsigned choice, struct content *out);
struct text mock_content_text(const struct content *c);

#endif
