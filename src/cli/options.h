/* options.h: the command line of one command, from a table of its options: reading, --help, and what to say when it is wrong. Every command uses it. */
#ifndef WEIR_OPTIONS_H
#define WEIR_OPTIONS_H

#include "base/text.h"

enum option_kind {
    OPTION_FLAG,  /* bool: true when given */
    OPTION_TEXT,  /* const char *: the last one given */
    OPTION_LIST,  /* struct words: each one given */
};

/* Words of the command line, in order. */
struct words {
    const char **at; /* room for `most`, the caller's */
    size_t count, most;
};

struct option {
    const char *name;       /* without the dashes: "listen" */
    char letter;            /* 'c' for -c; 0 = none */
    enum option_kind kind;
    const char *value;      /* as the help shows it, "ADDRESS:PORT"; NULL for a flag */
    const char *what;
    void *out;              /* where it goes, as its kind says */
};

struct usage {
    const char *command;    /* "serve" */
    const char *what;       /* a sentence */
    const char *examples;   /* lines of "  weir serve …\n": the help begins with them */
    const char *arguments;  /* "[URL ...]"; "" = none are taken */
    const struct option *options;
    size_t count;
    struct words *words;    /* arguments that are no options; NULL = none are taken */
    size_t words_least;
};

/* "-c FILE", "-cFILE", "--config FILE", "--config=FILE"; "--" ends options. -h and --help print the help.
   True: run. False: *out_exit is the exit code (0 after help, 2 after a complaint on stderr). */
bool options_read(const struct usage *u, int argc, char **argv, int *out_exit);
/* "weir serve: …; see weir serve --help" on stderr; returns EXIT_USAGE. */
int usage_refuse(const struct usage *u, const char *format, ...) PRINTF(2, 3);

#endif
