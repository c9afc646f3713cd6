/* junit.c: a run as a test suite, each criterion as a test, for the pages of CI servers. That the run counts at all is a test too: an invalid one is an error,
   not a failure, because it says nothing about the server. The form: what Jenkins and GitLab read (testmoapp/junitxml). */
#include "bench/markup.h"
#include "report/report.h"

static unsigned missed_count(const struct result *r)
{
    unsigned missed = 0;
    for (unsigned i = 0; i < r->verdict_count; i++)
        missed += !r->verdicts[i].is_met;
    return missed;
}

static void put_attribute(struct markup *m, const char *name, const char *value)
{
    markup_put(m, " %s=\"", name);
    markup_text(m, value);
    markup_put(m, "\"");
}

static void open_case(struct markup *m, const struct result *r, const char *name)
{
    markup_put(m, "    <testcase");
    put_attribute(m, "classname", r->name[0] != '\0' ? r->name : "bench");
    put_attribute(m, "name", name);
}

static void put_validity(struct markup *m, const struct result *r)
{
    open_case(m, r, "the run counts");
    if (r->invalid[0] == '\0') {
        markup_put(m, "/>\n");
        return;
    }
    markup_put(m, "><error");
    put_attribute(m, "message", r->invalid);
    markup_put(m, "/></testcase>\n");
}

static void put_verdict(struct markup *m, const struct result *r, const struct result_verdict *v)
{
    open_case(m, r, v->text);
    if (v->is_met) {
        markup_put(m, "/>\n");
        return;
    }
    markup_put(m, "><failure message=\"measured: ");
    markup_text(m, v->measured);
    markup_put(m, "\"/></testcase>\n");
}

static void put_suite(struct markup *m, const struct result *r)
{
    markup_put(m, "  <testsuite");
    put_attribute(m, "name", r->name[0] != '\0' ? r->name : "bench");
    put_attribute(m, "timestamp", r->when);
    markup_put(m, " tests=\"%u\" failures=\"%u\" errors=\"%d\" skipped=\"0\" time=\"%.3f\">\n", r->verdict_count + 1, missed_count(r), r->invalid[0] != '\0', r->span_s);
    markup_put(m, "    <properties><property name=\"target\"");
    put_attribute(m, "value", r->target);
    markup_put(m, "/></properties>\n");
    put_validity(m, r);
    for (unsigned i = 0; i < r->verdict_count; i++)
        put_verdict(m, r, &r->verdicts[i]);
    markup_put(m, "  </testsuite>\n");
}

enum fail report_junit(const struct result *const *runs, unsigned count, struct buf *out)
{
    struct markup m = { .out = out };
    unsigned tests = 0, failures = 0, errors = 0;
    for (unsigned i = 0; i < count; i++) {
        tests += runs[i]->verdict_count + 1;
        failures += missed_count(runs[i]);
        errors += runs[i]->invalid[0] != '\0';
    }
    markup_put(&m, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"weir bench\" tests=\"%u\" failures=\"%u\" errors=\"%u\">\n", tests, failures, errors);
    for (unsigned i = 0; i < count; i++)
        put_suite(&m, runs[i]);
    markup_put(&m, "</testsuites>\n");
    return m.fail;
}
