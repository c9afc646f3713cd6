/* shared_inner.h: what shared.c (whom to ask, and who waits), shared_value.c (an answer as a string), shared_drops.c (what was
   dropped, as a worker knows it) and shared_list.c (how it comes to know) share. */
#ifndef WEIR_SHARED_INNER_H
#define WEIR_SHARED_INNER_H

#include "cache/shared.h"

#define SHARED_STAMP_BYTES 16 /* hexadecimal digits: a drop's identity, random */
#define SHARED_LABEL_MAX   4096 /* bytes of a tenant's or model's name, or of the tags; more is not shared */
#define SHARED_ENTRY_MAX   (SHARED_STAMP_BYTES + 6 + SHARED_MATCH_MAX)

/* ---- shared_value.c ---- */

struct shared_zip; /* zstd's memory, a worker's */
struct shared_zip *shared_zip_new(void) MUSTUSE; /* NULL when out of memory */
void shared_zip_free(struct shared_zip *z); /* takes NULL */

/* *out is mem_alloc's. Packs on the caller's stack, which is no task's. FAIL_TOO_LARGE, FAIL_NO_MEMORY. */
MUSTUSE enum fail shared_value_write(struct shared_zip *z, const struct cache_id *id, const struct cache_label *label, const char stamp[SHARED_STAMP_BYTES],
                                     const struct cache_value *v, char **out, size_t *out_len);

/* An answer as it lies in Redis; all points into its bytes. */
struct shared_parts {
    struct text stamp;
    struct cache_label label;
    struct text payload;
    bool is_zipped;
    struct cache_value head; /* its numbers */
};
/* False: it is not the whole, undamaged answer to id of this tenant. */
bool shared_value_open(struct text bytes, const struct cache_id *id, struct text tenant, struct shared_parts *out);
/* With its tags behind its bytes. NULL: it is not what it says, or there is no memory. */
struct cache_value *shared_value_read(struct shared_zip *z, const struct shared_parts *parts) MUSTUSE;

/* ---- shared_drops.c ---- */

struct shared_drops {
    unsigned count; /* 0: the list is not known */
    char *bytes;    /* as Redis has it */
    struct shared_entry {
        char stamp[SHARED_STAMP_BYTES];
        struct cache_match match;
    } at[SHARED_DROPS_MAX]; /* newest first */
};
/* Bytes of an entry; 0: its texts are too long. */
size_t shared_drops_write(const char stamp[SHARED_STAMP_BYTES], const struct cache_match *match, char out[SHARED_ENTRY_MAX]);
/* Takes the list as it is now, as far as it can be understood. False: no memory; then nothing is known. */
bool shared_drops_read(struct shared_drops *d, struct text bytes);
void shared_drops_forget(struct shared_drops *d);
/* Where it stands; count if it is not there. */
unsigned shared_drops_find(const struct shared_drops *d, struct text stamp);
/* An answer of that stamp was dropped since, or nobody can tell. */
bool shared_drops_have(const struct shared_drops *d, struct text stamp, const struct cache_label *label);

/* ---- shared_list.c ---- */

extern const struct redis_use shared_writes, shared_listens;

/* ---- shared.c ---- */

#define SHARED_PREFIX     "weir:cache:"
#define SHARED_LIST       SHARED_PREFIX "drops" /* and its channel */
#define SHARED_ASKERS_MAX (SHARED_CONNECTIONS_MAX - 2) /* beside the writer and the listener */

/* What is asked goes over other connections than what is put: no question stands behind a large answer on its way out. */
struct shared {
    struct worker *worker;
    struct shared_options options;
    struct shared_zip *zip;
    struct redis_link writer;   /* puts and drops, and reads the list */
    struct redis_link listener; /* hears of drops; only with options.dropped */
    struct redis_link *askers[SHARED_ASKERS_MAX];
    unsigned asker_count;
    nanos grown;
    struct redis_call putting;  /* of all puts: it only counts those that failed */
    char told[SHARED_STAMP_BYTES]; /* the newest drop that options.dropped was told of */
    struct shared_drops drops;
};

#endif
