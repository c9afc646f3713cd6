/* fail.h: the one result type of everything that may fail because of the world (peer, disk, client).
   Rows live in errors.def. A wrong program asserts instead; a wrong use gets a sentence (struct complaint). */
#ifndef WEIR_FAIL_H
#define WEIR_FAIL_H

#include "base/base.h"

enum fail {
    OK = 0,
#define FAIL(name, http, type, code, retry, text) FAIL_##name,
#include "base/errors.def"
#undef FAIL
    FAIL_COUNT
};

struct fail_row {
    const char *name;    /* "DEADLINE" */
    int http;            /* status our client sees */
    const char *type;    /* OpenAI's error.type */
    const char *code;    /* OpenAI's error.code */
    bool retry;          /* may succeed if tried again */
    const char *text;    /* a sentence for the client */
};

/* The row of f; OK has a row too (200). Never NULL. */
const struct fail_row *fail_row(enum fail f);
const char *fail_name(enum fail f);

/* What is wrong with a configuration or a command line, for a person. file may be NULL; line and column start at 1, 0 = unknown. */
struct complaint {
    const char *file;
    int line, column;
    char text[480];
};

/* Fills c and returns false, so that callers write `return complain(...)`. */
bool complain(struct complaint *c, const char *file, int line, int column, const char *format, ...) PRINTF(5, 6);
/* "FILE:LINE:COLUMN: text" into out; parts that are unknown are left out. */
void complaint_print(const struct complaint *c, char *out, size_t out_size);

#endif
