/* admin.h: finding the weir that a command is about. admin.c and key.c ask it. */
#ifndef WEIR_CLI_ADMIN_H
#define WEIR_CLI_ADMIN_H

#include "keeper/keeper.h"

/* The admin socket that --socket or -c name, or the only one of this user's; either may be NULL. False with a sentence. */
bool admin_find(const char *socket, const char *config, char out[SOCKET_PATH_MAX], struct complaint *why);

#endif
