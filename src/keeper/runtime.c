/* runtime.c: the folders weir uses while it runs, and what is found in them: admin sockets, the local models. cli/ asks. */
#include "keeper/keeper.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDERS    3

/* Where sockets may be, in the order in which a server chooses. False: there is no such folder for this user. */
static bool folder(unsigned i, char *out, size_t room)
{
    const char *xdg = getenv("XDG_RUNTIME_DIR");
    int n = -1;
    if (i == 0 && xdg != NULL && xdg[0] == '/')
        n = snprintf(out, room, "%s/weir", xdg);
    else if (i == 1 && geteuid() == 0)
        n = snprintf(out, room, "/run/weir");
    else if (i == 2)
        n = snprintf(out, room, "/tmp/weir-%u", (unsigned)geteuid());
    return n > 0 && (size_t)n < room;
}

/* A folder that others may write to, or that is a link of somebody's, would let them put their socket in place of ours. */
static bool is_ours(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 022) == 0;
}

bool runtime_dir(char *out, size_t room, struct complaint *why)
{
    for (unsigned i = 0; i < FOLDERS; i++) {
        if (!folder(i, out, room))
            continue;
        if ((mkdir(out, 0700) == 0 || errno == EEXIST) && is_ours(out))
            return true;
    }
    return complain(why, NULL, 0, 0, "there is no folder for sockets: %s cannot be made, or is not this user's alone; name one with --set admin.socket=PATH", out);
}

bool runtime_socket_path(uint16_t port, char out[SOCKET_PATH_MAX], struct complaint *why)
{
    char dir[PATH_MOST];
    if (!runtime_dir(dir, sizeof dir, why))
        return false;
    if (snprintf(out, SOCKET_PATH_MAX, "%s/%u.sock", dir, (unsigned)port) < SOCKET_PATH_MAX)
        return true;
    return complain(why, NULL, 0, 0, "%s/%u.sock is too long for a socket; name a shorter one with --set admin.socket=PATH", dir, (unsigned)port);
}

static bool answers(const char *path)
{
    struct addr a;
    addr_unix(&a, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool yes = fd >= 0 && (connect(fd, &a.any, a.len) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    return yes;
}

unsigned runtime_sockets(char out[RUNTIME_SOCKETS_MAX][SOCKET_PATH_MAX])
{
    char dir[PATH_MOST];
    unsigned count = 0;
    for (unsigned i = 0; i < FOLDERS; i++) {
        DIR *d = folder(i, dir, sizeof dir) && is_ours(dir) ? opendir(dir) : NULL;
        for (struct dirent *e = d != NULL ? readdir(d) : NULL; e != NULL && count < RUNTIME_SOCKETS_MAX; e = readdir(d))
            if (text_ends(text_of(e->d_name), TEXT(".sock")) && snprintf(out[count], SOCKET_PATH_MAX, "%s/%s", dir, e->d_name) < SOCKET_PATH_MAX && answers(out[count]))
                count++;
        if (d != NULL)
            closedir(d);
    }
    return count;
}

bool runtime_models_dir(char *out, size_t room, char *looked, size_t looked_room)
{
    char program[PATH_MOST], beside[PATH_MOST + 8] = "", server[PATH_MOST + 32];
    const char *named = getenv("WEIR_LOCAL");
    if (system_program_dir(program, sizeof program))
        snprintf(beside, sizeof beside, "%s/local", program);
    const char *const places[] = { named, beside, "/usr/lib/weir/local" };
    size_t said = 0;
    looked[0] = '\0';
    for (size_t i = named != NULL && named[0] != '\0' ? 0 : 1; i < ARRAY_LEN(places); i++) {
        snprintf(server, sizeof server, "%s/llama-server", places[i]);
        int n = snprintf(looked + said, looked_room - said, "%s%s", said > 0 ? " or " : "", places[i]);
        said = MIN(said + (size_t)n, looked_room - 1);
        if (access(server, X_OK) == 0)
            return (size_t)snprintf(out, room, "%s", places[i]) < room;
        if (i == 0)
            return false; /* whoever names a folder means that one */
    }
    return false;
}
