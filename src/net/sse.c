/* sse.c: events are read line by line, as slices of the input for as long as they lie in it whole. Used by relay for what backends
   send and by serve for what clients get. */
#include "net/sse.h"

#define BOM TEXT("\xEF\xBB\xBF")

void sse_reader_init(struct sse_reader *r, size_t line_max)
{
    memset(r, 0, sizeof(*r));
    buf_init(&r->line, line_max);
    buf_init(&r->name.kept, line_max);
    buf_init(&r->data.kept, line_max);
    buf_init(&r->id.kept, line_max);
    r->line_max = line_max;
    r->retry_ms = -1;
    r->is_first = true;
}

void sse_reader_fini(struct sse_reader *r)
{
    buf_fini(&r->line);
    buf_fini(&r->name.kept);
    buf_fini(&r->data.kept);
    buf_fini(&r->id.kept);
}

/* --- fields --- */

static void field_clear(struct sse_field *f)
{
    f->now = TEXT_NONE;
    buf_clear(&f->kept);
}

/* Copies a field out of memory that is about to go. */
static enum fail field_keep(struct sse_field *f)
{
    if (f->now.at == NULL || (buf_len(&f->kept) > 0 && f->now.at == buf_text(&f->kept).at))
        return OK;
    if (f->now.len == 0) { /* present but empty: any lasting place will do */
        f->now.at = "";
        return OK;
    }
    buf_clear(&f->kept);
    enum fail e = buf_add_text(&f->kept, f->now);
    if (e == OK)
        f->now = buf_text(&f->kept);
    return e;
}

/* Another data line: the first that cannot be a slice. */
static enum fail data_join(struct sse_reader *r, struct text value)
{
    struct sse_field *d = &r->data;
    enum fail f = field_keep(d);
    if (f == OK)
        f = buf_reserve(&d->kept, value.len + 1);
    if (f != OK)
        return f;
    *buf_end(&d->kept) = '\n';
    if (value.len > 0)
        memcpy(buf_end(&d->kept) + 1, value.at, value.len);
    buf_added(&d->kept, value.len + 1);
    d->now = buf_text(&d->kept);
    return OK;
}

static enum fail keep_all(struct sse_reader *r)
{
    enum fail f = field_keep(&r->name);
    if (f == OK)
        f = field_keep(&r->data);
    if (f == OK)
        f = field_keep(&r->id);
    return f;
}

static void event_forget(struct sse_reader *r)
{
    field_clear(&r->name);
    field_clear(&r->data);
    field_clear(&r->id);
    r->retry_ms = -1;
    r->has_data = false;
    r->is_told = false;
}

/* "field: value" of a line that is neither empty nor a comment; an unknown field is nothing (WHATWG HTML 9.2.6). */
static enum fail field_read(struct sse_reader *r, struct text line)
{
    struct text name, value = text_cut(line, ':', &name);
    if (value.len > 0 && value.at[0] == ' ')
        value = (struct text){ value.at + 1, value.len - 1 };
    if (value.at == NULL)
        value.at = ""; /* no colon: an empty value */

    if (text_eq(name, TEXT("data"))) {
        if (r->has_data)
            return data_join(r, value);
        r->has_data = true;
        r->data.now = value;
    } else if (text_eq(name, TEXT("event"))) {
        r->name.now = value;
    } else if (text_eq(name, TEXT("id"))) {
        if (value.len == 0 || memchr(value.at, '\0', value.len) == NULL)
            r->id.now = value;
    } else if (text_eq(name, TEXT("retry"))) {
        uint64_t ms;
        if (text_to_u64(value, INT64_MAX, &ms))
            r->retry_ms = (int64_t)ms;
    }
    return OK;
}

/* One whole line without its end. *out_dispatch: it was the empty line after an event with data. */
static enum fail line_read(struct sse_reader *r, struct text line, bool *out_dispatch)
{
    *out_dispatch = false;
    if (r->is_first && text_starts(line, BOM))
        line = (struct text){ line.at + BOM.len, line.len - BOM.len };
    r->is_first = false;
    if (line.len == 0) {
        *out_dispatch = r->has_data;
        if (!r->has_data)
            event_forget(r);
        return OK;
    }
    return line.at[0] == ':' ? OK : field_read(r, line);
}

/* --- lines --- */

/* True for a word of eight bytes with a byte equal to each byte of `pattern` (Hacker's Delight section 6-1). */
static bool word_has(uint64_t word, uint64_t pattern)
{
    uint64_t x = word ^ pattern;
    return ((x - 0x0101010101010101u) & ~x & 0x8080808080808080u) != 0;
}

/* Length of the part before the first CR or LF. Both at once: a memchr for each would read a CR-only stream to its end, line by line. */
static size_t line_length(struct text t)
{
    size_t i = 0;
    for (; i + 8 <= t.len; i += 8) {
        uint64_t word;
        memcpy(&word, t.at + i, 8);
        if (word_has(word, 0x0a0a0a0a0a0a0a0au) || word_has(word, 0x0d0d0d0d0d0d0d0du))
            break;
    }
    while (i < t.len && t.at[i] != '\n' && t.at[i] != '\r')
        i++;
    return i;
}

/* The next line of in, joined with what an earlier input left of it. *out_whole is false when the input ended first. */
static enum fail line_take(struct sse_reader *r, struct text in, size_t *io_eaten, struct text *out_line, bool *out_whole)
{
    struct text rest = { in.at + *io_eaten, in.len - *io_eaten };
    size_t n = line_length(rest);
    size_t before = buf_len(&r->line);
    *out_whole = n < rest.len;
    if (n > r->line_max)
        return FAIL_TOO_LARGE; /* a line in parts meets r->line's ceiling, which is the same */
    if (before > 0 || !*out_whole) {
        enum fail f = buf_add(&r->line, rest.at, n);
        if (f != OK)
            return f;
    }
    *io_eaten += n;
    if (!*out_whole)
        return OK;
    *out_line = before > 0 ? buf_text(&r->line) : (struct text){ rest.at, n };
    r->skip_lf = rest.at[n] == '\r'; /* the event must not wait for a byte that may never come */
    *io_eaten += 1;
    return OK;
}

static enum fail end_of_input(struct sse_reader *r, size_t eaten, size_t *out_eaten, struct sse_event *out_event)
{
    enum fail f = keep_all(r);
    if (f != OK)
        return f;
    *out_eaten = eaten;
    *out_event = (struct sse_event){ .found = false, .retry_ms = -1 };
    return OK;
}

enum fail sse_feed(struct sse_reader *r, struct text in, size_t *out_eaten, struct sse_event *out_event)
{
    size_t eaten = 0;
    if (r->is_told)
        event_forget(r);
    while (eaten < in.len) { /* ends: each turn eats a byte at least */
        if (r->skip_lf) {
            r->skip_lf = false;
            if (in.at[eaten] == '\n') {
                eaten++;
                continue;
            }
        }
        struct text line;
        bool whole, dispatch;
        bool was_cut = buf_len(&r->line) > 0;
        enum fail f = line_take(r, in, &eaten, &line, &whole);
        if (f == OK && !whole)
            return end_of_input(r, eaten, out_eaten, out_event);
        if (f == OK)
            f = line_read(r, line, &dispatch);
        if (f == OK && was_cut) {
            f = keep_all(r); /* before r->line is used again */
            buf_clear(&r->line);
        }
        if (f != OK)
            return f;
        if (dispatch) {
            r->is_told = true;
            *out_eaten = eaten;
            *out_event = (struct sse_event){ true, r->name.now, r->data.now, r->id.now, r->retry_ms };
            return OK;
        }
    }
    return end_of_input(r, eaten, out_eaten, out_event);
}

bool sse_is_clean_end(const struct sse_reader *r)
{
    if (buf_len(&r->line) > 0)
        return false;
    return r->is_told || (!r->has_data && r->name.now.at == NULL && r->id.now.at == NULL);
}

/* --- writing --- */

/* Counts when at is NULL, writes otherwise: one code path for the measure and the bytes. */
struct pen {
    char *at;
    size_t len;
};

static void put(struct pen *p, struct text t)
{
    if (p->at != NULL && t.len > 0)
        memcpy(p->at + p->len, t.at, t.len);
    p->len += t.len;
}

static void put_line(struct pen *p, struct text head, struct text value)
{
    put(p, head);
    put(p, value);
    put(p, TEXT("\n"));
}

static void put_event(struct pen *p, const struct sse_event *e)
{
    if (e->id.at != NULL)
        put_line(p, TEXT("id: "), e->id);
    if (e->retry_ms >= 0) {
        char digits[20];
        size_t n = sizeof(digits);
        uint64_t ms = (uint64_t)e->retry_ms;
        do
            digits[--n] = (char)('0' + ms % 10);
        while ((ms /= 10) > 0);
        put_line(p, TEXT("retry: "), (struct text){ digits + n, sizeof(digits) - n });
    }
    if (e->name.len > 0)
        put_line(p, TEXT("event: "), e->name);
    for (struct text rest = e->data;;) { /* a CR in data would end the line for the reader, so it ends it here too */
        size_t n = line_length(rest);
        put_line(p, TEXT("data: "), (struct text){ rest.at, n });
        if (n == rest.len)
            break;
        n += rest.at[n] == '\r' && n + 1 < rest.len && rest.at[n + 1] == '\n' ? 2 : 1;
        rest = (struct text){ rest.at + n, rest.len - n };
    }
    put(p, TEXT("\n"));
}

static bool is_one_line(struct text t) { return line_length(t) == t.len; }

enum fail sse_write_event(struct buf *b, const struct sse_event *e)
{
    if (!is_one_line(e->name) || !is_one_line(e->id) || (e->id.len > 0 && memchr(e->id.at, '\0', e->id.len) != NULL))
        return FAIL_BAD_FIELD;
    struct pen measure = { NULL, 0 };
    put_event(&measure, e);
    enum fail f = buf_reserve(b, measure.len);
    if (f != OK)
        return f;
    struct pen pen = { buf_end(b), 0 };
    put_event(&pen, e);
    buf_added(b, pen.len);
    return OK;
}

enum fail sse_write(struct buf *b, struct text name, struct text data)
{
    return sse_write_event(b, &(struct sse_event){ .name = name, .data = data, .retry_ms = -1 });
}

enum fail sse_write_comment(struct buf *b, struct text comment)
{
    if (!is_one_line(comment))
        return FAIL_BAD_FIELD;
    enum fail f = buf_reserve(b, comment.len + 4);
    if (f != OK)
        return f;
    struct pen pen = { buf_end(b), 0 };
    put_line(&pen, TEXT(": "), comment);
    put(&pen, TEXT("\n"));
    buf_added(b, pen.len);
    return OK;
}
