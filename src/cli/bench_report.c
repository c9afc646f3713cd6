/* bench_report.c: what a report says about where it was made, and the files it is written to. Called by `weir bench`. */
#include "cli/bench.h"
#include "cli/cli.h"
#include "report/report.h"
#include "run/world.h"
#include <errno.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define REPORT_MAX (64u << 20) /* bytes: a hundred runs of ten minutes side by side have a tenth of it */

/* "x86_64, 8 processors, Linux 6.1.0-13-amd64 (build)" */
static void name_machine(char *out, size_t room)
{
    struct utsname u;
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    if (uname(&u) != 0)
        memset(&u, 0, sizeof u);
    snprintf(out, room, "%.16s, %ld processor%s, %.16s %.40s (%.40s)", u.machine, count, count == 1 ? "" : "s", u.sysname, u.release, u.nodename);
}

static void name_moment(char *out, size_t room)
{
    struct timespec now;
    struct tm tm;
    timespec_get(&now, TIME_UTC);
    if (gmtime_r(&now.tv_sec, &tm) == NULL || strftime(out, room, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        *out = '\0';
}

void bench_report_begin(struct result *r, const struct bench_run *run)
{
    const struct bench_target *t = &run->target;
    result_init(r);
    snprintf(r->name, sizeof r->name, "%s", run->plan.is_open ? "open loop" : "closed loop");
    snprintf(r->target, sizeof r->target, "%.180s%.75s", t->authority, t->path);
    snprintf(r->commit, sizeof r->commit, "weir %s", weir_version);
    name_moment(r->when, sizeof r->when);
    name_machine(r->machine, sizeof r->machine);
}

static bool put_file(const char *path, struct text content, struct complaint *why)
{
    FILE *f = fopen(path, "we");
    if (f == NULL)
        return complain(why, path, 0, 0, "cannot be written: %s", strerror(errno));
    size_t n = fwrite(content.at, 1, content.len, f);
    return (fclose(f) == 0 && n == content.len) || complain(why, path, 0, 0, "cannot be written to its end: %s", strerror(errno));
}

/* ---- the terminal ---- */

static void print(const struct buf *out, enum fail f)
{
    if (f == OK)
        printf("%.*s", TEXT_ARG(buf_text(out)));
    else
        printf("the report cannot be made: %s\n", fail_row(f)->text);
    fflush(stdout); /* a line is to be seen when its run ends */
}

void bench_report_print(const struct result *r)
{
    struct buf out;
    buf_init(&out, REPORT_MAX);
    enum fail f = report_text(r, &out);
    print(&out, f);
    buf_fini(&out);
}

void bench_report_print_line(const struct result *r, bool is_first)
{
    struct buf out;
    buf_init(&out, REPORT_MAX);
    enum fail f = is_first ? report_text_head(&out) : OK;
    if (f == OK)
        f = report_text_run(r, &out);
    print(&out, f);
    buf_fini(&out);
}

void bench_report_print_end(const struct result *const *runs, unsigned count)
{
    struct buf out;
    buf_init(&out, REPORT_MAX);
    enum fail f = report_text_end(runs, count, &out);
    print(&out, f);
    buf_fini(&out);
}

/* ---- files ---- */

static enum fail write_json(const struct result *const *runs, unsigned count, struct buf *out)
{
    return count == 1 ? result_write_json(runs[0], out) : result_write_runs(runs, count, out);
}

bool bench_report_put(const char *path, bench_form *form, const struct result *const *runs, unsigned count, struct complaint *why)
{
    struct buf out;
    buf_init(&out, REPORT_MAX);
    enum fail f = form(runs, count, &out);
    bool is_ok = f == OK ? put_file(path, buf_text(&out), why) : complain(why, path, 0, 0, "cannot be made: %s", fail_row(f)->text);
    buf_fini(&out);
    return is_ok;
}

/* Half an hour of load must not end with a folder that is not there. What is in the file stays until there is a report. */
bool bench_report_check(const struct bench_words *w, struct complaint *why)
{
    const char *const paths[] = { w->json, w->csv, w->html, w->junit };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        FILE *f = paths[i] != NULL ? fopen(paths[i], "wxe") : NULL;
        bool is_new = f != NULL;
        if (paths[i] != NULL && f == NULL)
            f = fopen(paths[i], "ae");
        if (paths[i] != NULL && f == NULL)
            return complain(why, paths[i], 0, 0, "cannot be written: %s", strerror(errno));
        if (f != NULL && fclose(f) != 0)
            return complain(why, paths[i], 0, 0, "cannot be written: %s", strerror(errno));
        if (is_new && remove(paths[i]) != 0) /* a load that is refused leaves no empty report */
            return complain(why, paths[i], 0, 0, "cannot be written: %s", strerror(errno));
    }
    return true;
}

bool bench_report_write(const struct result *const *runs, unsigned count, const struct bench_words *w, struct complaint *why)
{
    const struct {
        const char *path;
        bench_form *form;
    } files[] = { { w->json, write_json }, { w->csv, report_csv }, { w->html, report_html }, { w->junit, report_junit } };
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        if (files[i].path != NULL && !bench_report_put(files[i].path, files[i].form, runs, count, why))
            return false;
    return true;
}
