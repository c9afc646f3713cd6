/* trace.c: traces of real traffic: when requests came, how long they were, and which prefixes they shared. Called by script.c.
   A token is a word; a prompt is made when it is sent. Mooncake's hash_ids name blocks of 512 tokens (Qin et al., "Mooncake", FAST 2025): one id is always the
   same 512 words, so equal prefixes are equal bytes, as they were. */
#include "bench/script_inner.h"

#define BLOCK_WORDS    512
#define WORDS_MAX      (16u << 20) /* of one prompt: more than any model reads */
#define LINE_ARENA_MAX (SCRIPT_LINE_MAX * 8ull)
#define FRACTION_MAX   9           /* digits behind a second's point */
#define YEAR_MAX       2261        /* the last that 64 bits of nanoseconds hold whole … */
#define MS_MAX         9.2e12      /* … and its milliseconds */

/* Short and common, so that most tokenizers make one token of each with its blank. 64 of them: six bits choose one. */
static const char *const words[64] = {
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state", "family", "student", "group",
    "country", "problem", "hand", "part", "place", "case", "week", "company", "system", "program", "question", "work", "government", "number", "night", "point",
    "home", "water", "room", "mother", "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word",
    "business", "issue", "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game", "line", "end", "member", "law",
};

struct reader {
    struct script *s;
    const char *path;
    int line;
    struct complaint *why;
    struct trace_row *row; /* the one that is being read */
    nanos first;           /* of the file */
    struct buf hashes;
};

#define REFUSE(r, ...) complain((r)->why, (r)->path, (r)->line, 0, __VA_ARGS__)

/* ---- Azure's CSV ---- */

static bool take_digits(struct text *io_rest, char end, uint64_t max, uint64_t *out)
{
    struct text digits;
    *io_rest = text_cut(*io_rest, end, &digits);
    return text_to_u64(digits, max, out);
}

/* Days since 1970 of a date of our calendar (Hinnant, "chrono-compatible low-level date algorithms"). */
static int64_t days_from_date(uint64_t year, uint64_t month, uint64_t day)
{
    int64_t y = (int64_t)year - (month <= 2), era = y / 400, of_era = y - era * 400;
    int64_t of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + (int64_t)day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

/* 2023-11-16 18:15:46.6805900, with a T for the blank and a zone of zero too. */
static bool take_moment(struct text t, nanos *out)
{
    uint64_t year, month, day, hour, minute, second, fraction = 0;
    struct text whole, part;
    if (text_ends(t, TEXT("+00:00")))
        t.len -= 6;
    else if (text_ends(t, TEXT("Z")))
        t.len--;
    part = text_cut(t, '.', &whole);
    if (whole.len != 19 || (whole.at[10] != ' ' && whole.at[10] != 'T'))
        return false;
    struct text date = { whole.at, 10 }, clock = { whole.at + 11, 8 };
    if (!take_digits(&date, '-', YEAR_MAX, &year) || year < 1970 || !take_digits(&date, '-', 12, &month) || !take_digits(&date, '-', 31, &day) || month == 0 || day == 0)
        return false;
    if (!take_digits(&clock, ':', 23, &hour) || !take_digits(&clock, ':', 59, &minute) || !take_digits(&clock, ':', 60, &second))
        return false;
    if (part.at != NULL && (part.len > FRACTION_MAX || !text_to_u64(part, NANOS_PER_S, &fraction)))
        return false;
    for (size_t i = part.len; part.at != NULL && i < FRACTION_MAX; i++)
        fraction *= 10;
    int64_t seconds = days_from_date(year, month, day) * 86400 + (int64_t)(hour * 3600 + minute * 60 + second);
    *out = seconds * NANOS_PER_S + (nanos)fraction;
    return true;
}

static bool take_csv(struct reader *r, struct text line, nanos *out_moment)
{
    struct text moment, input;
    struct text output = text_trim(text_cut(text_cut(line, ',', &moment), ',', &input));
    uint64_t words_in, words_out;
    if (!take_moment(text_trim(moment), out_moment))
        return REFUSE(r, "\"%.*s\" is no time such as 2023-11-16 18:15:46.68", (int)MIN(moment.len, 60u), moment.at);
    if (!text_to_u64(text_trim(input), WORDS_MAX, &words_in) || !text_to_u64(output, WORDS_MAX, &words_out))
        return REFUSE(r, "needs TIMESTAMP,ContextTokens,GeneratedTokens, with at most %u tokens", WORDS_MAX);
    *r->row = (struct trace_row){ .words = (uint32_t)words_in, .max_tokens = (uint32_t)words_out };
    return true;
}

/* ---- Mooncake's JSONL ---- */

static bool take_hashes(struct reader *r, yyjson_val *hashes)
{
    size_t i, n;
    yyjson_val *hash;
    if (hashes != NULL && !yyjson_is_arr(hashes))
        return REFUSE(r, "hash_ids must be an array of numbers");
    r->row->first_hash = buf_len(&r->hashes) / sizeof(uint64_t);
    yyjson_arr_foreach(hashes, i, n, hash) {
        uint64_t id = yyjson_get_uint(hash);
        if (!yyjson_is_uint(hash))
            return REFUSE(r, "hash_ids must be an array of numbers");
        if (buf_add(&r->hashes, &id, sizeof id) != OK)
            return REFUSE(r, "no memory left to keep it");
    }
    r->row->hash_count = (uint32_t)yyjson_arr_size(hashes);
    return true;
}

static bool take_object(struct reader *r, struct text line, struct arena *scratch, nanos *out_moment)
{
    yyjson_doc *doc;
    const char *what = "out of memory";
    if (json_parse(scratch, line, &doc, &what) != OK)
        return REFUSE(r, "not JSON: %s", what);
    yyjson_val *root = yyjson_doc_get_root(doc), *moment = yyjson_obj_get(root, "timestamp");
    yyjson_val *input = yyjson_obj_get(root, "input_length"), *output = yyjson_obj_get(root, "output_length");
    double ms = yyjson_get_num(moment);
    if (!yyjson_is_num(moment) || !(ms >= 0 && ms < MS_MAX) || !yyjson_is_uint(input) || !yyjson_is_uint(output))
        return REFUSE(r, "needs timestamp (ms), input_length and output_length as numbers from 0");
    if (yyjson_get_uint(input) > WORDS_MAX || yyjson_get_uint(output) > WORDS_MAX)
        return REFUSE(r, "more than %u tokens", WORDS_MAX);
    *out_moment = nanos_of(ms, NANOS_PER_MS);
    *r->row = (struct trace_row){ .words = (uint32_t)yyjson_get_uint(input), .max_tokens = (uint32_t)yyjson_get_uint(output) };
    return take_hashes(r, yyjson_obj_get(root, "hash_ids"));
}

static bool take_json(struct reader *r, struct text line, nanos *out_moment)
{
    struct arena scratch;
    arena_init(&scratch, NULL, 0, LINE_ARENA_MAX);
    bool is_ok = take_object(r, line, &scratch, out_moment);
    arena_fini(&scratch);
    return is_ok;
}

/* ---- the file ---- */

static bool take_line(struct reader *r, struct text line)
{
    struct trace *t = &r->s->trace;
    nanos moment = 0;
    r->row = &t->rows[t->count];
    if (line.len > SCRIPT_LINE_MAX)
        return REFUSE(r, "longer than %u MiB", SCRIPT_LINE_MAX >> 20);
    if (!(line.at[0] == '{' ? take_json(r, line, &moment) : take_csv(r, line, &moment)))
        return false;
    r->first = t->count == 0 ? moment : r->first;
    moment -= r->first;
    if (t->count > 0 ? moment < t->moments[t->count - 1] : moment < 0)
        return REFUSE(r, "earlier than the line before it");
    t->moments[t->count++] = moment;
    return true;
}

static bool take_file(struct reader *r, struct text rest)
{
    struct trace *t = &r->s->trace;
    uint64_t lines = 1;
    struct text line;
    for (size_t i = 0; i < rest.len; i++)
        lines += rest.at[i] == '\n';
    t->rows = arena_alloc(&r->s->arena, lines * sizeof *t->rows);
    t->moments = arena_alloc(&r->s->arena, lines * sizeof *t->moments);
    if (t->rows == NULL || t->moments == NULL)
        return REFUSE(r, "no memory left to keep it");
    for (r->line = 1; rest.len > 0; r->line++) {
        rest = text_cut(rest, '\n', &line);
        line = text_trim(text_ends(line, TEXT("\r")) ? (struct text){ line.at, line.len - 1 } : line);
        bool is_heading = t->count == 0 && text_starts(line, TEXT("TIMESTAMP"));
        if (line.len > 0 && !is_heading && !take_line(r, line))
            return false;
    }
    r->line = 0;
    if (t->count == 0)
        return REFUSE(r, "holds no request");
    t->hash_count = buf_len(&r->hashes) / sizeof *t->hashes;
    t->hashes = arena_alloc(&r->s->arena, MAX(buf_len(&r->hashes), sizeof *t->hashes));
    if (t->hashes == NULL)
        return REFUSE(r, "no memory left to keep it");
    if (t->hash_count > 0)
        memcpy(t->hashes, buf_text(&r->hashes).at, buf_len(&r->hashes));
    return true;
}

bool trace_read(struct script *s, const char *path, struct complaint *why)
{
    struct reader r = { .s = s, .path = path, .why = why };
    struct buf file;
    if (!script_file_read(path, &file, why))
        return false;
    buf_init(&r.hashes, SCRIPT_FILE_MAX);
    bool is_ok = take_file(&r, buf_text(&file));
    buf_fini(&r.hashes);
    buf_fini(&file);
    return is_ok;
}

/* ---- prompts ---- */

/* Letters and blanks are the same in every place but a URL, which has no blanks. */
static enum fail put_words(struct buf *out, enum template_place place, uint64_t random, uint32_t count, bool *is_first)
{
    bool is_url = place == TEMPLATE_URL || place == TEMPLATE_QUERY;
    struct text blank = is_url ? TEXT("%20") : TEXT(" ");
    uint64_t bits = 0;
    enum fail f = OK;
    for (uint32_t i = 0; f == OK && i < count; i++) {
        bits = i % 10 == 0 ? random_step(&random) : bits >> 6; /* ten words of six bits from one draw */
        f = *is_first ? OK : buf_add_text(out, blank);
        f = f == OK ? buf_add_text(out, text_of(words[bits & 63])) : f;
        *is_first = false;
    }
    return f;
}

enum fail trace_write(const struct script *s, uint64_t number, enum template_place place, struct buf *out)
{
    const struct trace *t = &s->trace;
    const struct trace_row *row = &t->rows[number % t->count];
    uint32_t left = row->words;
    bool is_first = true;
    enum fail f = OK;
    for (uint32_t i = 0; f == OK && left > 0 && i < row->hash_count; i++) {
        uint32_t count = MIN(left, (uint32_t)BLOCK_WORDS);
        f = put_words(out, place, script_mix(s->seed, t->hashes[row->first_hash + i], 1), count, &is_first);
        left -= count;
    }
    if (f == OK && left > 0) /* what no hash names is this request's alone */
        f = put_words(out, place, script_mix(s->seed, number, 2), left, &is_first);
    return f;
}
