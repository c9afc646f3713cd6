/* template.h: texts with places to fill: read once, with every mistake named, and written for each request. Called by scripts and plans; only they include it. */
#ifndef WEIR_TEMPLATE_H
#define WEIR_TEMPLATE_H

#include "bench/script.h"

#define TEMPLATE_STRING_MAX 65536 /* letters of a random string */

/* Where a value is put, which says how it must be written there. */
enum template_place {
    TEMPLATE_TEXT,   /* as it is */
    TEMPLATE_JSON,   /* inside the quotes of a JSON string */
    TEMPLATE_URL,    /* in a path: what no request line can hold becomes %XX */
    TEMPLATE_QUERY,  /* in a query or form: everything but letters, digits and -._~ becomes %XX */
    TEMPLATE_HEADER, /* line ends become blanks */
};
enum template_syntax { TEMPLATE_DOLLAR, TEMPLATE_BRACES }; /* ${name} or {{ name }} */

enum template_word {
#define WORD(id, dollar, braces, arguments, what) WORD_##id,
#include "bench/template_words.def"
#undef WORD
    WORD_NAME,    /* one of the script's names */
    WORD_LITERAL,
};

struct piece {
    enum template_word word;
    enum template_place place;
    bool is_whole;              /* all that a JSON string holds: a number or a truth value is written without the quotes */
    struct text text;           /* LITERAL */
    int64_t least, most;        /* RANDOM; STRING: most letters */
    const struct text *choices; /* CHOICE */
    uint32_t count;             /* of them */
    uint32_t name;              /* NAME: which */
};

/* Lives in the script's arena. */
struct template {
    struct piece *pieces;
    uint32_t count, room;
};

/* Where a template's source was written, for complaints. */
struct template_source {
    const char *file;
    int line, column;           /* of its first byte; column 0: the source is a file of its own, and lines are counted in it */
    enum template_syntax syntax;
    struct complaint *why;
};

/* Appends source to *t. In TEMPLATE_JSON the literal parts are escaped too; quotes are the caller's. False with a complaint: an unknown name, a bad argument. */
MUSTUSE bool template_add(struct script *s, struct template *t, struct text source, enum template_place place, const struct template_source *from);
/* Appends a literal that is not looked into. */
MUSTUSE bool template_add_literal(struct script *s, struct template *t, struct text literal, const struct template_source *from);
/* Appends a string of a JSON document with its quotes; alone between them, a value that is a number or truth value is written without. */
MUSTUSE bool template_add_string(struct script *s, struct template *t, struct text source, const struct template_source *from);
/* Appends the text of a file: in JSON ({ or [ first) values inside strings are escaped. */
MUSTUSE bool template_add_body(struct script *s, struct template *t, struct text source, const struct template_source *from);
/* Writes it for the request that x stands before. FAIL_TOO_LARGE, FAIL_NO_MEMORY. */
MUSTUSE enum fail template_write(const struct template *t, struct script_session *x, struct buf *out);
/* A value as its place needs it. */
MUSTUSE enum fail template_put(struct buf *out, enum template_place place, struct text value);

#endif
