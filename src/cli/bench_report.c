/* bench_report.c: what a report says about where it was made, and the files it is written to. Called by `weir bench`. */
#include "cli/bench.h"
#include "cli/cli.h"
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

/* One form of it: JSON, and those that put several runs side by side. */
struct form {
    const char *path;
    enum fail (*write_one)(const struct result *r, struct buf *out);
    enum fail (*write_all)(const struct result *const *runs, unsigned count, struct buf *out);
};

static bool write_form(const struct result *r, const struct form *form, struct complaint *why)
{
    struct buf out;
    if (form->path == NULL)
        return true;
    buf_init(&out, REPORT_MAX);
    enum fail f = form->write_one != NULL ? form->write_one(r, &out) : form->write_all(&r, 1, &out);
    bool is_ok = f == OK ? put_file(form->path, buf_text(&out), why) : complain(why, form->path, 0, 0, "cannot be made: %s", fail_row(f)->text);
    buf_fini(&out);
    return is_ok;
}

bool bench_report_write(const struct result *r, const struct bench_words *w, struct complaint *why)
{
    const struct form forms[] = {
        { w->json, result_write_json, NULL },
        { w->csv, NULL, report_csv },
        { w->html, NULL, report_html },
        { w->junit, NULL, report_junit },
    };
    struct buf out;
    buf_init(&out, REPORT_MAX);
    enum fail f = report_text(r, &out);
    if (f == OK)
        printf("%.*s", TEXT_ARG(buf_text(&out)));
    buf_fini(&out);
    if (f != OK)
        return complain(why, NULL, 0, 0, "the report cannot be made: %s", fail_row(f)->text);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (!write_form(r, &forms[i], why))
            return false;
    return true;
}
