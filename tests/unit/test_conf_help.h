/* test_conf_help.h: loads a configuration from a string and tells what came of it. Used by the test_conf_*.c files. */
#ifndef TEST_CONF_HELP_H
#define TEST_CONF_HELP_H

#include "conf/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* NULL with the complaint, printed as weir check prints it, in complaint. */
static char complaint[640];

static inline const struct conf *load_with(struct conf_options *o, const char *yaml)
{
    const struct conf *c = NULL;
    struct complaint why;
    o->path = "weir.yaml";
    o->yaml = text_of(yaml);
    complaint[0] = '\0';
    if (conf_load(o, &c, &why))
        return c;
    assert_null(c);
    complaint_print(&why, complaint, sizeof complaint);
    return NULL;
}

static inline const struct conf *load(const char *yaml)
{
    struct conf_options o = { 0 };
    return load_with(&o, yaml);
}

/* For what must load. */
static inline const struct conf *loaded_with(struct conf_options *o, const char *yaml)
{
    const struct conf *c = load_with(o, yaml);
    if (c == NULL)
        fail_msg("refused: %s", complaint);
    return c;
}

static inline void assert_complaint(const struct conf *c, const char *expected)
{
    if (c != NULL)
        fail_msg("loaded, but expected: %s", expected);
    assert_string_equal(complaint, expected);
}

#endif
