/* version.c: which weir this is; the Makefile defines it. */
#include "cli/cli.h"

const char weir_version[] = WEIR_VERSION;
