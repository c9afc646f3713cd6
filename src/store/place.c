/* place.c: where the store's file is, from the configuration and the environment. cli/ asks, for the server and for `weir key`. */
#include "store/store.h"
#include <stdio.h>
#include <stdlib.h>

/* The first of systemd's folders (StateDirectory= may name several), else as the XDG Base Directory Specification has it: what is no absolute path counts as unset. */
static int place_auto(char out[STORE_PATH_MAX])
{
    const char *systemd = getenv("STATE_DIRECTORY"), *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (systemd != NULL && systemd[0] == '/')
        return snprintf(out, STORE_PATH_MAX, "%.*s/weir.db", (int)strcspn(systemd, ":"), systemd);
    if (xdg != NULL && xdg[0] == '/')
        return snprintf(out, STORE_PATH_MAX, "%s/weir/weir.db", xdg);
    if (home != NULL && home[0] == '/')
        return snprintf(out, STORE_PATH_MAX, "%s/.local/state/weir/weir.db", home);
    return -1;
}

bool store_place(const struct conf *conf, char out[STORE_PATH_MAX], struct complaint *why)
{
    out[0] = '\0';
    if (conf->store.mode == CONF_STORE_OFF)
        return true;
    int n = conf->store.mode == CONF_STORE_PATH ? snprintf(out, STORE_PATH_MAX, "%s", conf->store.path) : place_auto(out);
    if (n > 0 && n < STORE_PATH_MAX)
        return true;
    out[0] = '\0';
    return complain(why, NULL, 0, 0, n < 0 ? "there is no folder for the store: neither STATE_DIRECTORY, XDG_STATE_HOME nor HOME is a path" :
                    "the path of the store is too long; name a shorter one with --set store=PATH");
}
