/* fuzz_yaml.c: any bytes as a configuration. Oracle: a refusal is a sentence of valid UTF-8 with a place inside the file; what is
   accepted loads twice to the same thing; and nothing stays allocated. The same bytes are also tried as a flag's value. */
#include "fuzz/conf_check.h"
#include "fuzz/fuzz.h"

#define VALUE_MAX_TRIED 200

static void try_flag(const char *key, const uint8_t *data, size_t size)
{
    char set[64 + VALUE_MAX_TRIED];
    const char *const sets[] = { set };
    size_t len = strlen(key);
    memcpy(set, key, len);
    memcpy(set + len, data, size);
    set[len + size] = '\0';
    struct conf_options o = { .yaml = TEXT("backends: {a: {url: http://h}}\nmodels: {m.1: {use: [a/b]}}\n"), .sets = sets, .sets_count = 1 };
    conf_try(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const env[] = { "A=1", "B=${A}", "C=chat", NULL };
    static const char nothing[] = "";
    int64_t before = mem_alive();
    struct conf_options o = { .path = "weir.yaml", .yaml = { size > 0 ? (const char *)data : nothing, size }, .environ = (char *const *)env };
    conf_try(&o);
    if (size <= VALUE_MAX_TRIED) {
        try_flag("", data, size);
        try_flag("models.m.1.use=", data, size);
        try_flag("backends.a.url=", data, size);
        try_flag("listen=", data, size);
    }
    ASSERT(mem_alive() == before);
    return 0;
}
