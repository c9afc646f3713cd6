/* options.c: reads a command's options by their table; prints its help, and near words when one is wrong. */
#include "cli/options.h"
#include "cli/cli.h"
#include <stdarg.h>
#include <stdio.h>

#define OPTIONS_MAX 48 /* of one command */

static const char *help_left(const struct option *o, char out[64])
{
    char letter[8] = "    ";
    if (o->letter != 0)
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    snprintf(out, 64, "%s--%s%s%s", letter, o->name, o->value != NULL ? " " : "", o->value != NULL ? o->value : "");
    return out;
}

static void print_help(const struct usage *u)
{
    char left[64];
    printf("%s\n\n%s\nusage: weir %s [options]%s%s\n\n", u->what, u->examples, u->command, *u->arguments != '\0' ? " " : "", u->arguments);
    for (size_t i = 0; i < u->count; i++)
        printf("  %-28s %s\n", help_left(&u->options[i], left), u->options[i].what);
    printf("  %-28s %s\n", "-h, --help", "This text.");
}

int usage_refuse(const struct usage *u, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "weir %s: ", u->command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "; see weir %s --help\n", u->command);
    return EXIT_USAGE;
}

static int refuse_unknown(const struct usage *u, struct text name)
{
    const char *names[OPTIONS_MAX + 1] = { "help" };
    size_t count = 1;
    for (size_t i = 0; i < u->count && count < ARRAY_LEN(names); i++)
        names[count++] = u->options[i].name;
    const char *near = text_nearest(name, names, count);
    return usage_refuse(u, "there is no option --%.*s%s%s", TEXT_ARG(name), near != NULL ? ", did you mean --" : "", near != NULL ? near : "");
}

static bool words_add(struct words *w, const char *word)
{
    if (w->count == w->most)
        return false;
    w->at[w->count++] = word;
    return true;
}

/* value is NULL if none was given. */
static bool take(const struct usage *u, const struct option *o, const char *value, int *out_exit)
{
    if (o->kind != OPTION_FLAG && value == NULL) {
        *out_exit = usage_refuse(u, "--%s needs %s", o->name, o->value);
        return false;
    }
    if (o->kind == OPTION_FLAG && value != NULL) {
        *out_exit = usage_refuse(u, "--%s takes no value", o->name);
        return false;
    }
    if (o->kind == OPTION_FLAG)
        *(bool *)o->out = true;
    else if (o->kind == OPTION_TEXT)
        *(const char **)o->out = value;
    else if (!words_add(o->out, value)) {
        *out_exit = usage_refuse(u, "--%s may be given %zu times", o->name, ((struct words *)o->out)->most);
        return false;
    }
    return true;
}

static const struct option *find_long(const struct usage *u, struct text name)
{
    for (size_t i = 0; i < u->count; i++)
        if (text_eq(text_of(u->options[i].name), name))
            return &u->options[i];
    return NULL;
}

static const struct option *find_letter(const struct usage *u, char letter)
{
    for (size_t i = 0; i < u->count; i++)
        if (u->options[i].letter == letter)
            return &u->options[i];
    return NULL;
}

/* One word that begins with a dash, and the next one if it is its value: *i then moves on. */
static bool read_option(const struct usage *u, int argc, char **argv, int *i, int *out_exit)
{
    const char *word = argv[*i], *value = NULL;
    struct text name = text_of(word + 1), rest;
    const struct option *o;
    if (word[1] == '-') {
        rest = text_cut(text_of(word + 2), '=', &name);
        value = rest.at;
        o = find_long(u, name);
    } else {
        o = find_letter(u, word[1]);
        value = word[2] != '\0' ? word + 2 : NULL;
    }
    if (o == NULL) {
        *out_exit = word[1] == '-' ? refuse_unknown(u, name) : usage_refuse(u, "there is no option -%c", word[1]);
        return false;
    }
    if (o->kind != OPTION_FLAG && value == NULL && *i + 1 < argc)
        value = argv[++*i];
    return take(u, o, value, out_exit);
}

static bool asks_help(int argc, char **argv)
{
    for (int i = 1; i < argc && !text_eq(text_of(argv[i]), TEXT("--")); i++)
        if (text_eq(text_of(argv[i]), TEXT("-h")) || text_eq(text_of(argv[i]), TEXT("--help")))
            return true;
    return false;
}

bool options_read(const struct usage *u, int argc, char **argv, int *out_exit)
{
    bool only_words = false;
    ASSERT(u->count <= OPTIONS_MAX);
    *out_exit = EXIT_OK;
    if (asks_help(argc, argv)) { /* wherever it stands: whoever asks for help may have got the rest wrong */
        print_help(u);
        return false;
    }
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        if (!only_words && text_eq(text_of(word), TEXT("--"))) {
            only_words = true;
        } else if (!only_words && word[0] == '-' && word[1] != '\0') {
            if (!read_option(u, argc, argv, &i, out_exit))
                return false;
        } else if (u->words == NULL || !words_add(u->words, word)) {
            *out_exit = usage_refuse(u, u->words == NULL ? "\"%s\" is one word too many" : "\"%s\" is one too many", word);
            return false;
        }
    }
    if (u->words != NULL && u->words->count < u->words_least) {
        *out_exit = usage_refuse(u, "%s is missing", u->arguments);
        return false;
    }
    return true;
}
