/* cache.c: `weir cache warm|simulate`: finds the verb. */
#include "cli/cache.h"
#include "cli/cli.h"
#include "cli/options.h"
#include <stdio.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} verbs[] = { { "warm", cache_warm }, { "simulate", cache_simulate } };

bool cache_told(const char *verb)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return true;
    fprintf(stderr, "weir cache %s: what it had to say could not be written\n", verb);
    return false;
}

int command_cache(int argc, char **argv)
{
    const char *names[ARRAY_LEN(verbs)];
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        names[i] = verbs[i].name;
        if (argc > 1 && strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    }
    const struct usage usage = {
        .command = "cache", .what = "Answers that weir keeps. Each verb has its own --help: weir cache warm --help.",
        .examples = "  weir cache warm questions.jsonl     ask them now, so that they are answered at once later\n"
                    "  weir cache simulate trace.jsonl     what a cache would have answered, by its size\n",
        .arguments = "warm|simulate ...",
    };
    int code;
    if (argc > 1 && argv[1][0] != '-') {
        const char *near = text_nearest(text_of(argv[1]), names, ARRAY_LEN(names));
        return usage_refuse(&usage, "there is no weir cache %s%s%s", argv[1], near != NULL ? ", did you mean " : "", near != NULL ? near : "");
    }
    if (!options_read(&usage, argc, argv, &code))
        return code;
    return usage_refuse(&usage, "warm or simulate?");
}
