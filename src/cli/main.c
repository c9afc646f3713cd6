/* main.c: finds the command and runs it. */
#include "cli/cli.h"
#include "base/text.h"
#include "keeper/keeper.h"
#include "net/wire.h"
#include <stdio.h>

static const struct {
    const char *name, *what; /* what: NULL = hidden */
    command_fn *fn;
} commands[] = {
#define COMMAND(name, what) { #name, what, command_##name },
#define HIDDEN(name, what) { #name, NULL, command_##name },
#include "cli/commands.def"
#undef COMMAND
#undef HIDDEN
};

static void usage(FILE *to)
{
    fprintf(to, "weir %s: one program between your apps and a few slow models\n\n"
                "  weir serve http://localhost:11434     any URL is a backend; its models are discovered\n"
                "  weir serve                            the local model\n"
                "  weir serve -c weir.yaml               everything configured; weir init writes one\n\n"
                "usage: weir COMMAND [options]           weir COMMAND --help\n\n", weir_version);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (commands[i].what != NULL)
            fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].what);
}

int main(int argc, char **argv)
{
    const char *names[ARRAY_LEN(commands)];
    struct text name = text_of(argc > 1 ? argv[1] : "");
    size_t count = 0;
    system_open_standard();
    wire_library_start();
    if (text_eq(name, TEXT("--version")) || text_eq(name, TEXT("-V"))) {
        printf("weir %s\n", weir_version);
        return EXIT_OK;
    }
    if (text_eq(name, TEXT("--help")) || text_eq(name, TEXT("-h")) || text_eq(name, TEXT("help"))) {
        usage(stdout);
        return EXIT_OK;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (commands[i].what != NULL)
            names[count++] = commands[i].name;
        if (text_eq(name, text_of(commands[i].name)))
            return commands[i].fn(argc - 1, argv + 1);
    }
    if (name.len == 0) {
        usage(stderr);
        return EXIT_USAGE;
    }
    const char *near = text_nearest(name, names, count);
    fprintf(stderr, near != NULL ? "weir: no command \"%s\"; did you mean \"%s\"?\n" : "weir: no command \"%s\"; see weir --help\n", argv[1], near);
    return EXIT_USAGE;
}
