/* main.c: finds the command and runs it. */
#include "cli/cli.h"
#include "base/text.h"
#include <stdio.h>

static const struct {
    const char *name, *what;
    command_fn *fn;
} commands[] = {
#define COMMAND(name, what) { #name, what, command_##name },
#include "cli/commands.def"
#undef COMMAND
};

static void usage(FILE *to)
{
    fprintf(to, "weir %s: one program between your apps and a few slow models\n\nusage: weir COMMAND [options]      weir COMMAND --help\n\n", weir_version);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].what);
}

int main(int argc, char **argv)
{
    const char *names[ARRAY_LEN(commands)];
    struct text name = text_of(argc > 1 ? argv[1] : "");
    if (text_eq(name, TEXT("--version")) || text_eq(name, TEXT("-V"))) {
        printf("weir %s\n", weir_version);
        return EXIT_OK;
    }
    if (text_eq(name, TEXT("--help")) || text_eq(name, TEXT("-h")) || text_eq(name, TEXT("help"))) {
        usage(stdout);
        return EXIT_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        names[i] = commands[i].name;
        if (text_eq(name, text_of(commands[i].name)))
            return commands[i].fn(argc - 1, argv + 1);
    }
    if (name.len == 0) {
        usage(stderr);
        return EXIT_USAGE;
    }
    const char *near = text_nearest(name, names, ARRAY_LEN(commands));
    fprintf(stderr, near != NULL ? "weir: no command \"%s\"; did you mean \"%s\"?\n" : "weir: no command \"%s\"; see weir --help\n", argv[1], near);
    return EXIT_USAGE;
}
