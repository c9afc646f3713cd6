/* flow.c: the runner of flow files: flow [-v] [--only WAY] FILE|FOLDER… plays each file whole, byte by byte and cut at seeded points.
   A play has a process of its own: an assertion that fails in weir, or a failed play's unfinished world, ends that play and no other. */
#include "flow/flow.h"
#include "lib/child.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define FILES_MAX  1024
#define REPORT_MAX 16384
#define CUT_FAULTS { .split = 1000, .short_read = 300, .short_write = 300 }

static const struct way ways[] = {
    { "whole", 1, { 0 } },
    { "byte by byte", 2, { .drip = 1000 } },
    { "cut, seed 3", 3, CUT_FAULTS },
    { "cut, seed 4", 4, CUT_FAULTS },
    { "cut, seed 5", 5, CUT_FAULTS },
    { "cut, seed 6", 6, CUT_FAULTS },
};

static char *files[FILES_MAX];
static unsigned file_count;

static void add_file(const char *path)
{
    if (file_count < FILES_MAX && (files[file_count] = mem_copy_text(text_of(path))) != NULL)
        file_count++;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_path(const char *path)
{
    struct stat st;
    char name[4096];
    DIR *folder = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    if (folder == NULL) {
        add_file(path);
        return;
    }
    unsigned first = file_count;
    for (struct dirent *e; (e = readdir(folder)) != NULL;) {
        if (!text_ends(text_of(e->d_name), TEXT(".flow")))
            continue;
        snprintf(name, sizeof name, "%s/%s", path, e->d_name);
        add_file(name);
    }
    closedir(folder);
    qsort(&files[first], file_count - first, sizeof files[0], by_name);
}

static bool read_whole(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    size_t n = 1;
    while (f != NULL && n > 0 && buf_reserve(out, 65536) == OK) {
        n = fread(buf_end(out), 1, 65536, f);
        buf_added(out, n);
    }
    bool ok = f != NULL && !ferror(f);
    if (f != NULL)
        fclose(f);
    return ok;
}

/* In the child: all it says goes to `to`. */
static int play_here(struct flow *flow, const struct way *way, int to)
{
    static char report[REPORT_MAX];
    fflush(NULL);
    dup2(to, 1);
    dup2(to, 2);
    bool ok = flow_play(flow, way, report, sizeof report);
    if (!ok)
        printf("%s\n", report);
    fflush(NULL);
    return ok ? 0 : 1;
}

static void collect(int from, struct buf *out)
{
    char some[4096];
    for (ssize_t n; (n = read(from, some, sizeof some)) > 0;)
        if (buf_add(out, some, (size_t)n) != OK)
            return; /* enough was said */
}

/* Plays once in a child. False with what it said in out. */
static bool play_apart(struct flow *flow, const struct way *way, struct buf *out)
{
    int ends[2], status = 0;
    fflush(NULL);
    if (pipe(ends) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        child_ends(play_here(flow, way, ends[1]));
    }
    close(ends[1]);
    collect(ends[0], out);
    close(ends[0]);
    if (child < 0 || waitpid(child, &status, 0) != child)
        return false;
    if (WIFSIGNALED(status) && buf_printf(out, "  ended by signal %d\n", WTERMSIG(status)) != OK)
        return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool play_all_ways(const char *name, struct flow *flow, const char *only)
{
    struct buf out;
    buf_init(&out, 1u << 20);
    bool ok = true;
    for (unsigned i = 0; i < ARRAY_LEN(ways) && ok; i++) {
        if (only != NULL && strncmp(ways[i].name, only, strlen(only)) != 0)
            continue;
        ok = play_apart(flow, &ways[i], &out);
        if (!ok)
            printf("%s: failed (%s)\n%.*s", name, ways[i].name, TEXT_ARG(buf_text(&out)));
    }
    if (ok)
        printf("%s: ok\n", name);
    buf_fini(&out);
    return ok;
}

static bool run_file(const char *path, const char *only)
{
    static struct flow flow;
    struct buf content;
    char why[512];
    const char *slash = strrchr(path, '/');
    buf_init(&content, 16u << 20);
    bool ok = read_whole(path, &content);
    if (!ok) {
        printf("%s: failed\n  it cannot be read\n", path);
    } else if (!flow_parse(&flow, buf_text(&content), why, sizeof why)) {
        printf("%s: failed\n  %s\n", path, why);
        ok = false;
        arena_fini(&flow.arena);
    } else {
        ok = play_all_ways(slash != NULL ? slash + 1 : path, &flow, only);
        arena_fini(&flow.arena);
    }
    buf_fini(&content);
    return ok;
}

int main(int argc, char **argv)
{
    unsigned passed = 0, failed = 0;
    const char *only = NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            only = argv[++i];
        else
            add_path(argv[i]);
    }
    if (file_count == 0) {
        fprintf(stderr, "usage: flow [--only whole|byte|cut] FILE.flow|FOLDER ...\n");
        return 2;
    }
    for (unsigned i = 0; i < file_count; i++) {
        bool ok = run_file(files[i], only);
        passed += ok;
        failed += !ok;
        mem_free(files[i]);
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
