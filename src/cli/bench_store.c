/* bench_store.c: runs that are kept: `weir bench save NAME` writes them, `weir bench compare` reads them, under the state folder or from any file. */
#include "cli/bench.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_ROOM    1024
#define NAME_LONGEST 64
#define FOLDER_ROOM  (PATH_ROOM - NAME_LONGEST - 16) /* for "/NAME.json.new" */

/* The XDG Base Directory Specification: a folder that is no absolute path is as if it were not set. */
static bool find_folder(char out[FOLDER_ROOM], struct complaint *why)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (state != NULL && state[0] == '/')
        n = snprintf(out, FOLDER_ROOM, "%s/weir/bench", state);
    else if (home != NULL && home[0] == '/')
        n = snprintf(out, FOLDER_ROOM, "%s/.local/state/weir/bench", home);
    return (n > 0 && n < FOLDER_ROOM) || complain(why, NULL, 0, 0, "there is no folder for runs: neither XDG_STATE_HOME nor HOME is a path");
}

static bool is_name(const char *name)
{
    for (const char *c = name; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || strchr("-_.", *c) != NULL))
            return false;
    return *name != '\0' && *name != '.' && strlen(name) < NAME_LONGEST;
}

static bool find_path(const char *name, char out[PATH_ROOM], struct complaint *why)
{
    char folder[FOLDER_ROOM];
    if (!is_name(name))
        return complain(why, NULL, 0, 0, "\"%s\" is no name for runs: letters, digits, - _ and . make one, of at most %d", name, NAME_LONGEST - 1);
    if (!find_folder(folder, why))
        return false;
    snprintf(out, PATH_ROOM, "%s/%s.json", folder, name);
    return true;
}

/* The folders of a file's path, each if it is not there yet. */
static bool make_folders(const char *path, struct complaint *why)
{
    char folder[PATH_ROOM];
    snprintf(folder, sizeof folder, "%s", path);
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(folder, 0777) != 0 && errno != EEXIST)
            return complain(why, NULL, 0, 0, "%s cannot be made: %s", folder, strerror(errno));
        *slash = '/';
    }
    return true;
}

static bool read_file(const char *path, struct result **runs, unsigned *out_count, struct complaint *why)
{
    struct buf file;
    if (!script_file_read(path, &file, why))
        return false;
    bool is_ok = result_read_runs(runs, out_count, buf_text(&file), why);
    buf_fini(&file);
    if (!is_ok)
        why->file = path;
    return is_ok;
}

bool bench_store_check(const char *name, struct complaint *why)
{
    static char path[PATH_ROOM]; /* static: larger than the caller's frame has room for */
    return find_path(name, path, why);
}

/* Whole or not at all: who looks meanwhile sees the old ones. */
static bool replace_file(const char *path, const struct result *const *runs, unsigned count, struct complaint *why)
{
    char made[PATH_ROOM + 8];
    snprintf(made, sizeof made, "%s.new", path);
    return bench_report_put(made, result_write_runs, runs, count, why) &&
           (rename(made, path) == 0 || complain(why, NULL, 0, 0, "%s cannot be written: %s", path, strerror(errno)));
}

bool bench_store_add(const char *name, const struct result *const *runs, unsigned count, struct complaint *why)
{
    static char path[PATH_ROOM]; /* static: a complaint may name it */
    static struct result *all[RESULT_RUNS_MAX]; /* and these, because a frame is small */
    static const struct result *written[RESULT_RUNS_MAX];
    unsigned before = 0;
    if (!find_path(name, path, why) || !make_folders(path, why) || (access(path, F_OK) == 0 && !read_file(path, all, &before, why)))
        return false;
    bool is_ok = before + count <= RESULT_RUNS_MAX ||
                 complain(why, path, 0, 0, "has %u runs, and with %u more it would have more than %d: save them under another name", before, count, RESULT_RUNS_MAX);
    for (unsigned i = 0; is_ok && i < before + count; i++)
        written[i] = i < before ? all[i] : runs[i - before];
    is_ok = is_ok && replace_file(path, written, before + count, why);
    for (unsigned i = 0; i < before; i++)
        mem_free(all[i]);
    return is_ok;
}

bool bench_store_read(const char *name, struct result **runs, unsigned *out_count, struct complaint *why)
{
    static char path[PATH_ROOM]; /* static: a complaint may name it */
    bool is_file = strchr(name, '/') != NULL || access(name, F_OK) == 0;
    if (is_file)
        return read_file(name, runs, out_count, why);
    if (!find_path(name, path, why))
        return false;
    if (access(path, F_OK) == 0)
        return read_file(path, runs, out_count, why);
    return complain(why, NULL, 0, 0, "there are no runs \"%s\": neither a file of that name, nor %s, where `weir bench save %s` keeps them", name, path, name);
}
