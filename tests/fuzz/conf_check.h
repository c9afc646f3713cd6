/* conf_check.h: what must hold of every configuration, taken or refused. fuzz_yaml and fuzz_override use it. */
#ifndef WEIR_TESTS_CONF_CHECK_H
#define WEIR_TESTS_CONF_CHECK_H

#include "conf/conf.h"

/* Loads twice: the same both times; a refusal is one sentence of valid UTF-8 with a place inside the file. */
void conf_try(const struct conf_options *o);
void conf_check_same(const struct conf *a, const struct conf *b);

#endif
