/* cli.h: the commands of the weir program; rows in commands.def. */
#ifndef WEIR_CLI_H
#define WEIR_CLI_H

#include "base/fail.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

/* argv[0] is the command's name. Returns the exit code. */
typedef int command_fn(int argc, char **argv);
#define COMMAND(name, what) command_fn command_##name;
#define HIDDEN(name, what) command_fn command_##name;
#include "cli/commands.def"
#undef COMMAND
#undef HIDDEN

extern const char weir_version[];

#endif
