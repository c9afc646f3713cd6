/* result_json.c: a result as JSON and back. The writer and the reader walk the same tables, so that what one writes the other finds. Keys of the top level stand on
   lines of their own, always in the same order: two runs can be told apart with diff. */
#include "base/json.h"
#include "bench/markup.h"
#include "bench/result.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FORMAT    1          /* of the file; a reader refuses what it does not know */
#define TREE_MAX  (64u << 20) /* bytes a file's tree may take: the largest we write takes 1 MiB */

/* What a member is, in the struct and in the file. */
enum shape { WORDS, WHOLE, SMALL, NUMBER, FLAG, SPANS, LIST, ERRORS, VERDICT, VERSION };

struct field {
    const char *key;
    enum shape shape;
    bool is_again;      /* told a second time, where people and other tools look for it; not read */
    unsigned at, bytes; /* of the member; LIST: of its count */
    const struct rows *rows;
};
struct rows {
    unsigned at, row_bytes, max;
    const struct field *fields;
    unsigned field_count;
};
#define FIELD(type, key, member, shape) { key, shape, false, offsetof(struct type, member), sizeof(((struct type *)0)->member), NULL }
#define AGAIN(type, key, member, shape) { key, shape, true, offsetof(struct type, member), sizeof(((struct type *)0)->member), NULL }

static const struct field span_fields[] = {
    FIELD(result_spans, "count", count, WHOLE),      FIELD(result_spans, "mean_ms", mean, NUMBER),   FIELD(result_spans, "stdev_ms", stdev, NUMBER),
    FIELD(result_spans, "least_ms", least, NUMBER), FIELD(result_spans, "most_ms", most, NUMBER),
#define Q(name, q) \
    FIELD(result_spans, #name "_ms", at[RESULT_##name], NUMBER), FIELD(result_spans, #name "_low_ms", low[RESULT_##name], NUMBER), \
        FIELD(result_spans, #name "_high_ms", high[RESULT_##name], NUMBER),
    RESULT_QUANTILES(Q)
#undef Q
};

static const struct field verdict_fields[] = {
    FIELD(result_verdict, "text", text, WORDS), FIELD(result_verdict, "measured", measured, WORDS), FIELD(result_verdict, "value", value, NUMBER),
    FIELD(result_verdict, "met", is_met, FLAG),
};

static const struct field level_fields[] = {
    FIELD(result_level, "level", level, NUMBER),   FIELD(result_level, "rate", rate, NUMBER),
    FIELD(result_level, "p50_ms", p50_ms, NUMBER), FIELD(result_level, "p99_ms", p99_ms, NUMBER),
    FIELD(result_level, "error_share", error_share, NUMBER), FIELD(result_level, "kept", is_kept, FLAG),
};

static const struct field window_fields[] = {
    FIELD(result_window, "at_s", at_s, NUMBER),
    FIELD(result_window, "ended", ended, SMALL),
    FIELD(result_window, "rate", rate, NUMBER),
    FIELD(result_window, "error_share", error_share, NUMBER),
    FIELD(result_window, "mean_ms", mean_ms, NUMBER),
    FIELD(result_window, "p50_ms", p50_ms, NUMBER),
    FIELD(result_window, "p95_ms", p95_ms, NUMBER),
    FIELD(result_window, "p99_ms", p99_ms, NUMBER),
    FIELD(result_window, "tokens_rate", tokens_rate, NUMBER),
    FIELD(result_window, "in_flight", in_flight, SMALL),
    FIELD(result_window, "server_cpu", server_cpu, NUMBER),
    FIELD(result_window, "server_rss_mb", server_rss_mb, NUMBER),
#define OUTCOME(id, name, what) FIELD(result_window, name, outcomes[OUTCOME_##id], SMALL),
#include "bench/outcomes.def"
#undef OUTCOME
};

static const struct field finding_fields[] = {
    FIELD(result_finding, "name", name, WORDS), FIELD(result_finding, "value", value, NUMBER), FIELD(result_finding, "low", low, NUMBER),
    FIELD(result_finding, "high", high, NUMBER),
};

static const struct rows findings = { offsetof(struct result, findings), sizeof(struct result_finding), FINDINGS, finding_fields, ARRAY_LEN(finding_fields) };
static const struct rows verdicts = { offsetof(struct result, verdicts), sizeof(struct result_verdict), RESULT_VERDICTS_MAX, verdict_fields, ARRAY_LEN(verdict_fields) };
static const struct rows levels = { offsetof(struct result, levels), sizeof(struct result_level), RESULT_LEVELS_MAX, level_fields, ARRAY_LEN(level_fields) };
static const struct rows windows = { offsetof(struct result, windows), sizeof(struct result_window), TALLY_WINDOWS_MAX, window_fields, ARRAY_LEN(window_fields) };

static const struct field fields[] = {
    { "weir_bench", VERSION, false, 0, 0, NULL },
    FIELD(result, "name", name, WORDS),
    FIELD(result, "target", target, WORDS),
    FIELD(result, "when", when, WORDS),
    FIELD(result, "commit", commit, WORDS),
    FIELD(result, "machine", machine, WORDS),
    { "verdict", VERDICT, true, 0, 0, NULL },
    FIELD(result, "invalid", invalid, WORDS),
    FIELD(result, "knee", knee, WORDS),
    FIELD(result, "warmup_s", warmup_s, NUMBER),
    FIELD(result, "span_s", span_s, NUMBER),
    FIELD(result, "requests", requests, WHOLE),
    FIELD(result, "ok", ok, WHOLE),
    { "errors", ERRORS, false, 0, 0, NULL },
    FIELD(result, "missed", missed, WHOLE),
    FIELD(result, "warmup", warmup, WHOLE),
    FIELD(result, "intended_rate", intended_rate, NUMBER),
    FIELD(result, "rate", rate, NUMBER),
    FIELD(result, "ok_rate", ok_rate, NUMBER),
    FIELD(result, "good_rate", good_rate, NUMBER),
#define Q(name, q) AGAIN(result, #name "_ms", latency.at[RESULT_##name], NUMBER),
    RESULT_QUANTILES(Q)
#undef Q
    AGAIN(result, "mean_ms", latency.mean, NUMBER),
    AGAIN(result, "stdev_ms", latency.stdev, NUMBER),
    FIELD(result, "latency", latency, SPANS),
    FIELD(result, "service", service, SPANS),
    FIELD(result, "ttft", ttft, SPANS),
    FIELD(result, "itl", itl, SPANS),
    FIELD(result, "failed", failed, SPANS),
    FIELD(result, "lag", lag, SPANS),
    AGAIN(result, "tokens", tokens_out, WHOLE),
    FIELD(result, "tokens_in", tokens_in, WHOLE),
    FIELD(result, "tokens_out", tokens_out, WHOLE),
    FIELD(result, "tokens_rate", tokens_rate, NUMBER),
    FIELD(result, "bytes_in", bytes_in, WHOLE),
    FIELD(result, "bytes_out", bytes_out, WHOLE),
    FIELD(result, "cached_share", cached_share, NUMBER),
    FIELD(result, "in_flight_max", in_flight_max, SMALL),
    AGAIN(result, "generator_lag_ms", lag.at[RESULT_p99], NUMBER),
    FIELD(result, "generator_busy", generator_busy, NUMBER),
    FIELD(result, "rss_mb", rss_mb, NUMBER),
    FIELD(result, "server_cpu", server_cpu, NUMBER),
    { "criteria", LIST, false, offsetof(struct result, verdict_count), 0, &verdicts },
    { "findings", LIST, false, offsetof(struct result, finding_count), 0, &findings },
    { "levels", LIST, false, offsetof(struct result, level_count), 0, &levels },
    { "windows", LIST, false, offsetof(struct result, window_count), 0, &windows },
};

/* ---- writing ---- */

static void put_string(struct markup *m, const char *s)
{
    if (m->fail == OK)
        m->fail = json_add_string(m->out, text_of(s));
}

/* The shortest of three that reads back as the same number: what people typed and what was measured in nanoseconds stays short. */
static void put_number(struct markup *m, double value)
{
    char text[40];
    if (!isfinite(value)) {
        markup_put(m, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    markup_put(m, "%s", text);
}

static void put_spans(struct markup *m, const struct result_spans *s);
static void put_errors(struct markup *m, const struct result *r);
static void put_list(struct markup *m, const struct result *r, const struct field *f);

static void put_value(struct markup *m, const void *of, const struct field *f)
{
    const void *member = (const char *)of + f->at;
    switch (f->shape) {
    case WORDS: put_string(m, member); break;
    case WHOLE: markup_put(m, "%" PRIu64, *(const uint64_t *)member); break;
    case SMALL: markup_put(m, "%" PRIu32, *(const uint32_t *)member); break;
    case NUMBER: put_number(m, *(const double *)member); break;
    case FLAG: markup_put(m, *(const bool *)member ? "true" : "false"); break;
    case SPANS: put_spans(m, member); break;
    case LIST: put_list(m, of, f); break;
    case ERRORS: put_errors(m, of); break;
    case VERDICT: put_string(m, result_verdict(of)); break;
    case VERSION: markup_put(m, "%d", FORMAT); break;
    }
}

/* "key":value for each, with `between` before all but the first. */
static void put_fields(struct markup *m, const void *of, const struct field *list, size_t count, const char *between)
{
    for (size_t i = 0; i < count; i++) {
        markup_put(m, "%s\"%s\": ", i > 0 ? between : "", list[i].key);
        put_value(m, of, &list[i]);
    }
}

static void put_spans(struct markup *m, const struct result_spans *s)
{
    markup_put(m, "{");
    put_fields(m, s, span_fields, ARRAY_LEN(span_fields), ", ");
    markup_put(m, ", \"spectrum\": [");
    for (unsigned i = 0; i < s->spectrum_count; i++) {
        markup_put(m, "%s[", i > 0 ? ", " : "");
        put_number(m, s->spectrum[i].share);
        markup_put(m, ", ");
        put_number(m, s->spectrum[i].ms);
        markup_put(m, "]");
    }
    markup_put(m, "]}");
}

static void put_errors(struct markup *m, const struct result *r)
{
    markup_put(m, "{");
    for (unsigned i = 0; i < r->error_count; i++) {
        markup_put(m, i > 0 ? ", " : "");
        put_string(m, r->errors[i].kind);
        markup_put(m, ": %" PRIu64, r->errors[i].count);
    }
    markup_put(m, "}");
}

static void put_list(struct markup *m, const struct result *r, const struct field *f)
{
    unsigned count = *(const unsigned *)(const void *)((const char *)r + f->at);
    markup_put(m, "[");
    for (unsigned i = 0; i < count; i++) {
        markup_put(m, "%s\n    {", i > 0 ? "," : "");
        put_fields(m, (const char *)r + f->rows->at + (size_t)i * f->rows->row_bytes, f->rows->fields, f->rows->field_count, ", ");
        markup_put(m, "}");
    }
    markup_put(m, count > 0 ? "\n  ]" : "]");
}

static void put_result(struct markup *m, const struct result *r)
{
    markup_put(m, "{\n  ");
    put_fields(m, r, fields, ARRAY_LEN(fields), ",\n  ");
    markup_put(m, "\n}");
}

enum fail result_write_json(const struct result *r, struct buf *out)
{
    struct markup m = { .out = out };
    put_result(&m, r);
    markup_put(&m, "\n");
    return m.fail;
}

enum fail result_write_runs(const struct result *const *runs, unsigned count, struct buf *out)
{
    static const char *const verdicts_of[] = { "met", "missed", "", "invalid" };
    struct markup m = { .out = out };
    markup_put(&m, "{\n\"weir_bench\": %d,\n\"verdict\": \"%s\",\n\"runs\": [", FORMAT, verdicts_of[result_exit_all(runs, count)]);
    for (unsigned i = 0; i < count; i++) {
        markup_put(&m, i > 0 ? ",\n" : "\n");
        put_result(&m, runs[i]);
    }
    markup_put(&m, "\n]\n}\n");
    return m.fail;
}

/* ---- reading ---- */

static bool wrong(struct complaint *why, const char *key, const char *wanted)
{
    return complain(why, NULL, 0, 0, "This is no result of weir bench: \"%s\" is not %s.", key, wanted);
}

static bool take_spans(struct result_spans *s, yyjson_val *v, const char *key, struct complaint *why);
static bool take_errors(struct result *r, yyjson_val *v, struct complaint *why);
static bool take_list(struct result *r, yyjson_val *v, const struct field *f, struct complaint *why);

static bool take_words(char *out, size_t bytes, yyjson_val *v, const char *key, struct complaint *why)
{
    if (!yyjson_is_str(v) || yyjson_get_len(v) >= bytes || strlen(yyjson_get_str(v)) != yyjson_get_len(v))
        return wrong(why, key, "a text that could be its value");
    memcpy(out, yyjson_get_str(v), yyjson_get_len(v) + 1);
    return true;
}

static bool take_value(void *into, yyjson_val *v, const struct field *f, struct complaint *why)
{
    void *member = (char *)into + f->at;
    switch (f->shape) {
    case WORDS:
        return take_words(member, f->bytes, v, f->key, why);
    case WHOLE:
        *(uint64_t *)member = yyjson_get_uint(v);
        return yyjson_is_uint(v) || wrong(why, f->key, "a count");
    case SMALL:
        *(uint32_t *)member = (uint32_t)yyjson_get_uint(v);
        return (yyjson_is_uint(v) && yyjson_get_uint(v) <= UINT32_MAX) || wrong(why, f->key, "a count");
    case NUMBER:
        *(double *)member = yyjson_is_null(v) ? NAN : yyjson_get_num(v);
        return yyjson_is_null(v) || yyjson_is_num(v) || wrong(why, f->key, "a number");
    case FLAG:
        *(bool *)member = yyjson_get_bool(v);
        return yyjson_is_bool(v) || wrong(why, f->key, "true or false");
    case SPANS:
        return take_spans(member, v, f->key, why);
    case LIST:
        return take_list(into, v, f, why);
    case ERRORS:
        return take_errors(into, v, why);
    case VERDICT:
        break;
    case VERSION:
        return (yyjson_is_uint(v) && yyjson_get_uint(v) == FORMAT) || wrong(why, f->key, "a version that this weir reads");
    }
    return true;
}

/* Members that are not there keep what they have: files of an older weir lack some. */
static bool take_fields(void *into, yyjson_val *object, const struct field *list, size_t count, struct complaint *why)
{
    for (size_t i = 0; i < count; i++) {
        yyjson_val *v = yyjson_obj_get(object, list[i].key);
        if (v != NULL && !list[i].is_again && !take_value(into, v, &list[i], why))
            return false;
    }
    return true;
}

static bool take_spans(struct result_spans *s, yyjson_val *v, const char *key, struct complaint *why)
{
    yyjson_val *spectrum = yyjson_obj_get(v, "spectrum"), *point;
    size_t i, count;
    if (!yyjson_is_obj(v) || (spectrum != NULL && yyjson_arr_size(spectrum) > ARRAY_LEN(s->spectrum)))
        return wrong(why, key, "an object of spans");
    yyjson_arr_foreach(spectrum, i, count, point) {
        if (!yyjson_is_num(yyjson_arr_get(point, 0)) || !yyjson_is_num(yyjson_arr_get(point, 1)))
            return wrong(why, "spectrum", "a list of shares and milliseconds");
        s->spectrum[i].share = yyjson_get_num(yyjson_arr_get(point, 0));
        s->spectrum[i].ms = yyjson_get_num(yyjson_arr_get(point, 1));
        s->spectrum_count = (unsigned)i + 1;
    }
    return take_fields(s, v, span_fields, ARRAY_LEN(span_fields), why);
}

static bool take_errors(struct result *r, yyjson_val *v, struct complaint *why)
{
    size_t i, count;
    yyjson_val *key, *value;
    if (!yyjson_is_obj(v) || yyjson_obj_size(v) > RESULT_ERRORS_MAX)
        return wrong(why, "errors", "an object of counts");
    yyjson_obj_foreach(v, i, count, key, value) {
        if (!take_words(r->errors[i].kind, sizeof r->errors[i].kind, key, "errors", why))
            return false;
        if (!yyjson_is_uint(value))
            return wrong(why, "errors", "an object of counts");
        r->errors[i].count = yyjson_get_uint(value);
        r->error_count = (unsigned)i + 1;
    }
    return true;
}

static bool take_list(struct result *r, yyjson_val *v, const struct field *f, struct complaint *why)
{
    unsigned *row_count = (unsigned *)(void *)((char *)r + f->at);
    size_t i, count;
    yyjson_val *row;
    if (!yyjson_is_arr(v) || yyjson_arr_size(v) > f->rows->max)
        return wrong(why, f->key, "a list of the right length");
    yyjson_arr_foreach(v, i, count, row) {
        if (!yyjson_is_obj(row))
            return wrong(why, f->key, "a list of objects");
        if (!take_fields((char *)r + f->rows->at + i * f->rows->row_bytes, row, f->rows->fields, f->rows->field_count, why))
            return false;
        *row_count = (unsigned)i + 1;
    }
    return true;
}

static bool take_result(struct result *r, yyjson_val *root, struct complaint *why)
{
    if (!yyjson_is_obj(root) || yyjson_obj_get(root, "weir_bench") == NULL)
        return complain(why, NULL, 0, 0, "This is no result of weir bench: it has no \"weir_bench\".");
    result_init(r);
    return take_fields(r, root, fields, ARRAY_LEN(fields), why);
}

/* NULL with a sentence; in the arena otherwise. */
static yyjson_val *parse(struct arena *arena, struct text json, struct complaint *why)
{
    yyjson_doc *doc;
    const char *sentence = "there is not enough memory";
    arena_init(arena, NULL, 0, TREE_MAX);
    if (json_parse(arena, json, &doc, &sentence) == OK)
        return yyjson_doc_get_root(doc);
    (void)complain(why, NULL, 0, 0, "This is no result of weir bench: %s.", sentence);
    return NULL;
}

bool result_read_json(struct result *r, struct text json, struct complaint *why)
{
    struct arena arena;
    yyjson_val *root = parse(&arena, json, why);
    bool ok = root != NULL && take_result(r, root, why);
    arena_fini(&arena);
    return ok;
}

static bool add_result(struct result **runs, unsigned *count, yyjson_val *v, struct complaint *why)
{
    struct result *r = *count < RESULT_RUNS_MAX ? mem_zero(sizeof *r) : NULL;
    if (r == NULL)
        return complain(why, NULL, 0, 0, *count < RESULT_RUNS_MAX ? "There is not enough memory." : "It has more than %d runs.", RESULT_RUNS_MAX);
    runs[(*count)++] = r;
    return take_result(r, v, why);
}

bool result_read_runs(struct result **runs, unsigned *out_count, struct text json, struct complaint *why)
{
    struct arena arena;
    unsigned made = 0;
    yyjson_val *root = parse(&arena, json, why), *list = yyjson_obj_get(root, "runs"), *v;
    size_t i, count;
    bool ok = root != NULL;
    if (ok && !yyjson_is_arr(list))
        ok = add_result(runs, &made, root, why);
    yyjson_arr_foreach(list, i, count, v)
        ok = ok && add_result(runs, &made, v, why);
    arena_fini(&arena);
    for (unsigned n = 0; !ok && n < made; n++)
        mem_free(runs[n]);
    *out_count = ok ? made : *out_count;
    return ok;
}
