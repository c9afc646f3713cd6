/* script.c: what a mock is told to do: options and live scripts as words, spans that vary, faults. Called by cli/mock.c and by POST /_mock/script. */
#include "mock/inner.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define TRACE_LINE_MAX 128
#define SCRIPT_ARENA_MAX (4u << 20) /* a script is some hundred bytes */

const char *const mock_fault_names[MOCK_FAULT_COUNT] = {
#define FAULT(id, name, parameters, what) [MOCK_FAULT_##id] = name,
#include "mock/faults.def"
#undef FAULT
};

static const char *const dialect_names[] = { [MOCK_OPENAI] = "openai", [MOCK_OLLAMA] = "ollama", [MOCK_ANTHROPIC] = "anthropic" };

#define REFUSE(why, ...) complain((why), NULL, 0, 0, __VA_ARGS__)

void mock_script_init(struct mock_script *s)
{
    memset(s, 0, sizeof *s);
    s->tokens = 20;
    s->embedding_dim = 384;
}

void mock_script_fini(struct mock_script *s)
{
    mem_free(s->ttft.trace);
    mem_free(s->itl.trace);
    s->ttft.trace = s->itl.trace = NULL;
}

static enum fail span_copy(struct mock_span *span)
{
    if (span->kind != SPAN_TRACE)
        return OK;
    nanos *trace = mem_alloc(span->trace_count * sizeof *trace);
    if (trace == NULL)
        return FAIL_NO_MEMORY;
    memcpy(trace, span->trace, span->trace_count * sizeof *trace);
    span->trace = trace;
    return OK;
}

enum fail mock_script_copy(struct mock_script *to, const struct mock_script *from)
{
    *to = *from;
    enum fail f = span_copy(&to->ttft);
    if (f == OK && (f = span_copy(&to->itl)) != OK)
        mem_free(to->ttft.trace);
    return f;
}

/* ---- spans ---- */

/* One span a line; blank lines do not count. */
static bool read_lines(FILE *file, struct buf *spans, struct complaint *why)
{
    char line[TRACE_LINE_MAX];
    for (int number = 1; fgets(line, sizeof line, file) != NULL; number++) { /* ends with the file, or at MOCK_TRACE_MAX spans */
        struct text word = text_of(line);
        nanos one;
        while (word.len > 0 && strchr("\r\n\t ", word.at[word.len - 1]) != NULL)
            word.len--;
        if (word.len == 0)
            continue;
        if (!text_to_nanos(text_trim(word), &one))
            return REFUSE(why, "line %d of the trace is no duration such as 50ms", number);
        if (buf_add(spans, &one, sizeof one) != OK)
            return REFUSE(why, "a trace has at most %d lines", MOCK_TRACE_MAX);
    }
    return buf_len(spans) > 0 || REFUSE(why, "the trace is empty");
}

static bool read_trace(struct mock_span *span, struct text path, struct complaint *why)
{
    struct buf spans;
    char *name = mem_copy_text(path);
    FILE *file = name != NULL ? fopen(name, "re") : NULL; /* a test's own file, read at start or on a job thread, never on a request's way */
    mem_free(name);
    if (file == NULL)
        return REFUSE(why, "cannot open the trace \"%.*s\": %s", TEXT_ARG(path), strerror(errno));
    buf_init(&spans, MOCK_TRACE_MAX * sizeof(nanos));
    bool is_ok = read_lines(file, &spans, why);
    (void)fclose(file); /* read only: nothing can be lost */
    if (!is_ok) {
        buf_fini(&spans);
        return false;
    }
    *span = (struct mock_span){ .kind = SPAN_TRACE, .trace = (nanos *)(void *)spans.mem, .trace_count = (uint32_t)(buf_len(&spans) / sizeof(nanos)) };
    return true;
}

static bool read_lognormal(struct mock_span *span, struct text inside, struct complaint *why)
{
    struct text median;
    struct text sigma = text_trim(text_cut(inside, ',', &median));
    span->kind = SPAN_LOGNORMAL;
    if (!text_to_nanos(text_trim(median), &span->span) || !text_to_double(sigma, &span->sigma) || !(span->sigma >= 0 && span->sigma <= 10))
        return REFUSE(why, "must be lognormal(MEDIAN,SIGMA) such as lognormal(2s,0.6), sigma from 0 to 10");
    return true;
}

static bool read_exponential(struct mock_span *span, struct text inside, struct complaint *why)
{
    span->kind = SPAN_EXPONENTIAL;
    return text_to_nanos(text_trim(inside), &span->span) || REFUSE(why, "must be exponential(MEAN) such as exponential(50ms)");
}

static bool set_span(struct mock_span *to, struct text value, struct complaint *why)
{
    struct mock_span span = { .kind = SPAN_FIXED };
    const struct text trace = TEXT("trace:"), lognormal = TEXT("lognormal("), exponential = TEXT("exponential(");
    if (text_starts(value, trace)) {
        if (!read_trace(&span, (struct text){ value.at + trace.len, value.len - trace.len }, why))
            return false;
    } else if (text_starts(value, lognormal) && text_ends(value, TEXT(")"))) {
        if (!read_lognormal(&span, (struct text){ value.at + lognormal.len, value.len - lognormal.len - 1 }, why))
            return false;
    } else if (text_starts(value, exponential) && text_ends(value, TEXT(")"))) {
        if (!read_exponential(&span, (struct text){ value.at + exponential.len, value.len - exponential.len - 1 }, why))
            return false;
    } else if (!text_to_nanos(value, &span.span)) {
        return REFUSE(why, "\"%.*s\" is no span: 50ms, lognormal(2s,0.6), exponential(50ms) or trace:FILE", TEXT_ARG(value));
    }
    mem_free(to->trace);
    *to = span;
    return true;
}

nanos mock_span_draw(const struct mock_span *span, uint64_t *random, uint64_t number)
{
    if (span->kind == SPAN_TRACE)
        return span->trace[number % span->trace_count];
    if (span->kind == SPAN_FIXED || span->span == 0)
        return span->span;
    /* Box and Muller 1958: two uniform numbers make a normal one */
    double u = ((double)(random_step(random) >> 11) + 1) * 0x1p-53, v = (double)(random_step(random) >> 11) * 0x1p-53;
    double normal = sqrt(-2 * log(u)) * cos(2 * M_PI * v);
    return MIN(nanos_of(span->kind == SPAN_EXPONENTIAL ? -log(u) : exp(span->sigma * normal), span->span), 3600 * NANOS_PER_S);
}

/* ---- faults ---- */

static bool fault_word(struct mock_fault *f, struct text word, struct complaint *why)
{
    uint64_t n;
    struct text value, name;
    value = text_cut(word, '=', &name);
    bool takes_first = f->kind == MOCK_FAULT_CUT || f->kind == MOCK_FAULT_STALL || f->kind == MOCK_FAULT_ERROREVENT || f->kind == MOCK_FAULT_RST;
    if (f->kind == MOCK_FAULT_STATUS && f->status == 0 && text_to_u64(word, 599, &n) && n >= 200)
        f->status = (int)n;
    else if (f->kind == MOCK_FAULT_STATUS && text_eq(name, TEXT("retry-after")) && text_to_u64(value, 86400, &n))
        f->retry_after = (int)n;
    else if (takes_first && text_eq(word, TEXT("first")))
        f->first = true;
    else if (f->kind == MOCK_FAULT_WRONGLENGTH && text_eq(word, TEXT("short")))
        f->is_short = true;
    else
        return REFUSE(why, "the fault %s cannot be \"%.*s\"", mock_fault_names[f->kind], TEXT_ARG(word));
    return true;
}

static bool fault_kind(struct mock_fault *f, struct text kind, struct complaint *why)
{
    struct text name, word;
    struct text words = text_cut(kind, '=', &name);
    while (f->kind < MOCK_FAULT_COUNT && !text_eq(name, text_of(mock_fault_names[f->kind])))
        f->kind++;
    if (f->kind == MOCK_FAULT_COUNT) {
        const char *near = text_nearest(name, mock_fault_names, MOCK_FAULT_COUNT);
        return REFUSE(why, near != NULL ? "no fault \"%.*s\"; did you mean %s?" : "no fault \"%.*s\"; see weir mock --help", TEXT_ARG(name), near);
    }
    while (words.at != NULL) {
        words = text_cut(words, ',', &word);
        if (!fault_word(f, word, why))
            return false;
    }
    if (f->kind == MOCK_FAULT_STATUS && f->status == 0)
        return REFUSE(why, "status needs a number from 200 to 599: status=500");
    return true;
}

static bool set_fault(struct mock_script *s, struct text value, struct complaint *why)
{
    struct mock_fault f = { .rate = 1, .retry_after = -1 };
    struct text kind, rate;
    struct text after = text_cut(text_cut(value, ':', &kind), ':', &rate);
    if (!fault_kind(&f, kind, why))
        return false;
    if (rate.len > 0 && (!text_to_double(rate, &f.rate) || !(f.rate >= 0 && f.rate <= 1)))
        return REFUSE(why, "the rate of a fault is from 0 to 1, not \"%.*s\"", TEXT_ARG(rate));
    if (after.len > 0 && !text_to_u64(after, UINT64_MAX, &f.after))
        return REFUSE(why, "a fault starts after a number of requests, not \"%.*s\"", TEXT_ARG(after));
    if (s->fault_count == MOCK_FAULTS_MAX)
        return REFUSE(why, "more than %d faults", MOCK_FAULTS_MAX);
    s->faults[s->fault_count++] = f;
    return true;
}

/* ---- options ---- */

static bool set_count(uint32_t *to, uint32_t min, uint32_t max, struct text value, struct complaint *why)
{
    uint64_t n;
    if (!text_to_u64(value, max, &n) || n < min)
        return REFUSE(why, "must be a number from %u to %u, not \"%.*s\"", min, max, TEXT_ARG(value));
    *to = (uint32_t)n;
    return true;
}

static bool set_ttft(struct mock_script *s, struct text v, struct complaint *why) { return set_span(&s->ttft, v, why); }
static bool set_itl(struct mock_script *s, struct text v, struct complaint *why) { return set_span(&s->itl, v, why); }
static bool set_tokens(struct mock_script *s, struct text v, struct complaint *why) { return set_count(&s->tokens, 1, MOCK_TOKENS_MAX, v, why); }
static bool set_slots(struct mock_script *s, struct text v, struct complaint *why) { return set_count(&s->slots, 0, MOCK_SLOTS_MAX, v, why); }
static bool set_embedding_dim(struct mock_script *s, struct text v, struct complaint *why) { return set_count(&s->embedding_dim, 1, MOCK_DIM_MAX, v, why); }

static bool set_seed(struct mock_script *s, struct text v, struct complaint *why)
{
    return text_to_u64(v, UINT64_MAX, &s->seed) || REFUSE(why, "must be a number, not \"%.*s\"", TEXT_ARG(v));
}

static bool set_dialect(struct mock_script *s, struct text v, struct complaint *why)
{
    for (unsigned i = 0; i < ARRAY_LEN(dialect_names); i++) {
        if (text_eq(v, text_of(dialect_names[i]))) {
            s->dialect = (enum mock_dialect)i;
            return true;
        }
    }
    return REFUSE(why, "must be openai, ollama or anthropic, not \"%.*s\"", TEXT_ARG(v));
}

static bool set_model(struct mock_script *s, struct text v, struct complaint *why)
{
    if (v.len == 0 || v.len > MOCK_NAME_MAX || !text_is_utf8(v))
        return REFUSE(why, "a model's name is 1 to %d bytes of UTF-8", MOCK_NAME_MAX);
    if (s->model_count == MOCK_MODELS_MAX)
        return REFUSE(why, "more than %d models", MOCK_MODELS_MAX);
    char *to = s->models[s->model_count++];
    memcpy(to, v.at, v.len);
    to[v.len] = 0;
    return true;
}

static const struct {
    const char *name;
    bool (*set)(struct mock_script *s, struct text value, struct complaint *why);
} options[] = {
#define OPTION(id, name, value, what) { name, set_##id },
#include "mock/options.def"
#undef OPTION
};

static const char *const option_names[] = {
#define OPTION(id, name, value, what) name,
#include "mock/options.def"
#undef OPTION
};

bool mock_script_set(struct mock_script *s, struct text name, struct text value, struct complaint *why)
{
    struct complaint inner;
    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (!text_eq(name, text_of(options[i].name)))
            continue;
        return options[i].set(s, value, &inner) || complain(why, inner.file, inner.line, 0, "%s: %s", options[i].name, inner.text);
    }
    const char *near = text_nearest(name, option_names, ARRAY_LEN(option_names));
    return REFUSE(why, near != NULL ? "no option \"%.*s\"; did you mean %s?" : "no option \"%.*s\"", TEXT_ARG(name), near);
}

/* ---- live ---- */

static bool set_value(struct mock_script *s, struct text name, yyjson_val *value, struct complaint *why)
{
    char digits[24];
    if (yyjson_is_str(value))
        return mock_script_set(s, name, (struct text){ yyjson_get_str(value), yyjson_get_len(value) }, why);
    if (!yyjson_is_uint(value))
        return REFUSE(why, "%.*s: must be a string or a number", TEXT_ARG(name));
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)yyjson_get_uint(value));
    return mock_script_set(s, name, text_of(digits), why);
}

static bool set_array(struct mock_script *s, struct text name, yyjson_val *values, struct complaint *why)
{
    size_t i, n;
    yyjson_val *value;
    yyjson_arr_foreach(values, i, n, value)
        if (!set_value(s, name, value, why))
            return false;
    return true;
}

static bool set_member(struct mock_script *s, struct text name, yyjson_val *value, struct complaint *why)
{
    if (text_eq(name, TEXT("faults")) || text_eq(name, TEXT("fault"))) {
        s->fault_count = 0;
        name = TEXT("fault");
    } else if (text_eq(name, TEXT("models")) || text_eq(name, TEXT("model"))) {
        s->model_count = 0;
        name = TEXT("model");
    } else if (text_eq(name, TEXT("embedding_dim"))) {
        name = TEXT("embedding-dim");
    } else if (yyjson_is_arr(value)) {
        return REFUSE(why, "%.*s: takes one value", TEXT_ARG(name));
    }
    return yyjson_is_arr(value) ? set_array(s, name, value, why) : set_value(s, name, value, why);
}

bool mock_script_set_json(struct mock_script *s, struct text json, struct complaint *why)
{
    struct arena arena;
    yyjson_doc *doc;
    const char *what = "out of memory";
    size_t i, n;
    yyjson_val *key, *value;
    bool is_ok = true;
    arena_init(&arena, NULL, 0, SCRIPT_ARENA_MAX);
    if (json_parse(&arena, json, &doc, &what) != OK) {
        is_ok = REFUSE(why, "%s", what);
    } else if (!yyjson_is_obj(yyjson_doc_get_root(doc))) {
        is_ok = REFUSE(why, "a script is a JSON object such as {\"ttft\":\"50ms\"}");
    } else {
        yyjson_obj_foreach(yyjson_doc_get_root(doc), i, n, key, value)
            if (is_ok)
                is_ok = set_member(s, (struct text){ yyjson_get_str(key), yyjson_get_len(key) }, value, why);
    }
    arena_fini(&arena);
    return is_ok;
}
