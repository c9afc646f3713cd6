/* text.h: slices of bytes that someone else owns, and the parsing and comparing of short words. */
#ifndef WEIR_TEXT_H
#define WEIR_TEXT_H

#include "base/base.h"
#include <string.h>

/* Bytes owned elsewhere; not NUL-terminated. at may be NULL when len is 0. */
struct text {
    const char *at;
    size_t len;
};

#define TEXT(literal)   ((struct text){ (literal), sizeof(literal) - 1 })
#define TEXT_NONE       ((struct text){ NULL, 0 })
/* For printf("%.*s", TEXT_ARG(t)). */
#define TEXT_ARG(t)     (int)(t).len, (t).at ? (t).at : ""

static inline struct text text_of(const char *cstr) { return (struct text){ cstr, cstr ? strlen(cstr) : 0 }; }
static inline bool text_eq(struct text a, struct text b) { return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0); }
bool text_eq_nocase(struct text a, struct text b);          /* ASCII only */
bool text_starts(struct text t, struct text prefix);
bool text_ends(struct text t, struct text suffix);
struct text text_trim(struct text t);                        /* spaces and tabs off both ends */
/* The part before the first sep into *out_head, the part after it is returned; without sep all is head and the rest is empty (at == NULL). */
struct text text_cut(struct text t, char sep, struct text *out_head);
/* Index of needle in t, or -1. */
ptrdiff_t text_find(struct text t, struct text needle);

/* Strict decimal: digits only, no sign, no blanks; false on overflow past max. */
bool text_to_u64(struct text t, uint64_t max, uint64_t *out);
/* "250ms", "10s", "5m", "1h", "2d", "15us", "0": a count (or "1.5s": a decimal) and a unit; plain "0" is allowed. Overflow is false. */
bool text_to_nanos(struct text t, nanos *out);
/* "256KiB", "32MiB", "1GiB", "64k", "1000", "10MB" (KB = 1000, KiB = 1024; k, m, g alone are 1024s, as in nginx). */
bool text_to_bytes(struct text t, uint64_t *out);
/* A decimal number such as "0.7"; no locale. */
bool text_to_double(struct text t, double *out);
/* Prints a span with the unit a person would choose ("1.5s", "250ms", "8us"); returns out. */
char *nanos_print(nanos span, char out[24]);
char *bytes_print(uint64_t bytes, char out[24]);

/* Valid UTF-8 as RFC 3629 has it (no surrogates, no overlong forms, at most U+10FFFF). */
bool text_is_utf8(struct text t);
/* Bytes (1 to 4) of the UTF-8 character at the front of t; 0 if there is none that is valid and whole. */
size_t text_utf8_len(struct text t);

/* Bytes of the character at the front of t if terminals and browsers obey it instead of showing it, else 0: controls, C1 controls, and the marks that end a line
   (U+2028) or turn its direction around (CVE-2021-42574). */
size_t text_obeyed_len(struct text t);

/* Edits (insert, delete, replace, swap of neighbours; Damerau-Levenshtein, optimal string alignment) between a and b; words over 63 bytes count as far. */
unsigned text_distance(struct text a, struct text b);
/* The nearest of count words to t, or NULL if none is near enough to suggest (distance <= 1 + len/4). */
const char *text_nearest(struct text t, const char *const *words, size_t count);

/* 0..15, or -1 if it is none. */
static inline int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Constant time in the bytes of both; lengths may leak. */
bool text_eq_secret(struct text a, struct text b);

#endif
