/* cache.h: the verbs of `weir cache`, each in a file of its own; cache.c finds them. argv[0] is the verb's name; they return the exit code. */
#ifndef WEIR_CLI_CACHE_H
#define WEIR_CLI_CACHE_H

#include <stdbool.h>

int cache_warm(int argc, char **argv);
int cache_simulate(int argc, char **argv);
/* cache.c: what was printed has been written. False with a sentence. */
bool cache_told(const char *verb);

#endif
