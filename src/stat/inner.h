/* inner.h: what the files of stat/ share: the rows of counters.def as tables, the process's own numbers, and the writing of one log line. */
#ifndef WEIR_STAT_INNER_H
#define WEIR_STAT_INNER_H

#include "stat/stat.h"

/* ---- counters.c ---- */

enum stat_row_kind { ROW_ALONE, ROW_FAMILY, ROW_MEMBER };

/* A COUNTER, FAMILY or MEMBER row, in the order of counters.def. */
struct stat_row {
    enum stat_row_kind kind;
    bool gauge;           /* not of members: their family says it */
    enum counter counter; /* not of families */
    const char *name;     /* of a member: of the counter */
    const char *label;    /* of a family: the label's name; of a member: its value */
    const char *help;
};
extern const struct stat_row stat_rows[];
extern const unsigned stat_row_count;

struct stat_histogram_row {
    const char *name, *help;
};
extern const struct stat_histogram_row stat_histogram_rows[HISTOGRAM_COUNT];

/* Adds one histogram of every worker into `into`, which the caller zeroed. offset: of the struct hist in struct stat_worker. */
void stat_sum_hist(const struct stats *s, size_t offset, struct hist *into);

/* ---- process.c ---- */

/* What the kernel says about this process; 0 where it will not say. */
struct process_numbers {
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_fds, max_fds;
    nanos cpu; /* user and system, all threads */
};
void process_read(struct process_numbers *out);

/* ---- line.c ---- */

/* A line being written. A field that has no room left is left out whole; callers choose the bounds so that it does not happen. */
struct line {
    char *at, *end;
    bool json;
};

/* A field's name in both formats, ready to copy: static, because building 20 of them a line took a third of its time. */
struct field {
    struct text text, json;
};
#define FIELD(name) \
    ({ \
        static const struct field field_ = { { " " name "=", sizeof(" " name "=") - 1 }, { ",\"" name "\":", sizeof(",\"" name "\":") - 1 } }; \
        &field_; \
    })

/* Escaped, quoted where it must be, and at most `max` bytes between the quotes ("..." marks a cut). An empty value leaves the field out. */
void line_text(struct line *l, const struct field *f, struct text value, size_t max);
void line_u64(struct line *l, const struct field *f, uint64_t value);
/* A span as milliseconds or microseconds with three or no decimals; a negative one leaves the field out. */
void line_ms(struct line *l, const struct field *f, nanos span);
void line_us(struct line *l, const struct field *f, nanos span);
/* Blanks until the line is `width` bytes past `from`, in the text format only: columns for the eye. */
void line_pad(struct line *l, const char *from, size_t width);
/* Bytes as they are; only for our own words. */
void line_raw(struct line *l, struct text bytes);

/* "2026-01-31T23:59:59." (RFC 3339, UTC) of a second since 1970; 20 bytes and no NUL. */
#define STAMP_LEN 20
void stamp_write(int64_t second, char out[STAMP_LEN]);

/* ---- log.c ---- */

#define LOST_LINE_MAX 256
/* "… warn log message="3 log lines were lost: No space left on device"" with its newline; returns its length. */
size_t log_lost_line(const struct log *log, char out[LOST_LINE_MAX]);

/* ---- log_file.c ---- */

/* Writes the whole lines at bytes as far as it goes without waiting, in order. Returns how many bytes are done with: written, or lost for good
   (a full disk, a reader that is gone); *out_lost counts the lines that were lost. What is left may be tried again later. */
size_t log_write_lines(struct log *log, struct text lines, unsigned *out_lost);

#endif
