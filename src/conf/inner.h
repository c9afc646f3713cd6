/* inner.h: what the files of conf/ share: the table of keys, the tree that is read from YAML, and a load in progress. */
#ifndef WEIR_CONF_INNER_H
#define WEIR_CONF_INNER_H

#include "conf/conf.h"
#include "conf/tree.h"

#define TREE_DEPTH_MAX   8          /* models.NAME.defaults.KEY is 4, a list in it 5; deeper is a mistake */
#define TREE_MEMBERS_MAX 4096       /* of one map or list: CONF_KEYS_MAX is the largest any key allows */
#define NAME_MAX_BYTES   200        /* of a key or a name; the longest public model names have about 100 */
#define STEPS_MAX        8          /* parts of a.b.c */
#define SCRATCH_MAX      (64u << 20) /* bytes of a load in progress: a tree of CONF_FILE_MAX, about 40 times its text */
#define VALUE_MAX        (CONF_INCLUDE_MAX + 4096) /* bytes of a scalar after ${...}: one file and some text around it */

/* ---- the table (keys.c) ---- */

enum row_kind { ROW_SECTION, ROW_MAP, ROW_KEY, ROW_REFUSED };
enum reload { LIVE, RESTART, LATER };
enum type {
#define TYPE(name, field, json, what) TYPE_##name,
#include "conf/keys.def"
    TYPE_COUNT
};

struct row {
    enum row_kind kind;
    const char *path; /* "limits.queue", "keys.*.role"; a map's own is "keys" */
    const char *what;
    const char *default_text; /* "" = none */
    enum type type;
    enum reload reload;
    int64_t least, most;
    size_t offset;                    /* of the field in struct conf, or in the map's member */
    size_t count_offset, member_size; /* ROW_MAP */
};

struct word {
    enum type type;
    unsigned value;
    const char *text;
    bool is_served;
    const char *what;
};

/* for (size_t i = 0; (row = row_next(&i)) != NULL;), in the order of keys.def */
const struct row *row_next(size_t *i);
const struct row *row_find(const char *path);
bool row_is_served(const struct row *row);
/* Steps through the distinct names that may stand below path ("" = the top, "keys.*" = a key's members). False at the end. */
bool row_child_next(const char *path, size_t *i, struct text *out_child);
/* Steps through the words of a type. */
const struct word *word_next(enum type type, size_t *i);
const char *word_text(enum type type, unsigned value);
const char *type_json(enum type type);
const char *type_what(enum type type); /* "" = its words */
/* True for an environment variable that starts with WEIR_ and is not ours. */
bool is_foreign_variable(struct text name);

/* ---- a load in progress ---- */

struct loading {
    const struct conf_options *options;
    struct complaint *why;
    struct arena scratch;
    int depth_max;     /* of what is read */
    struct tree *root; /* a TREE_MAP */
    struct conf *conf;
    uint64_t mark;     /* of the configuration's own file */
    struct x509_store_st *system_store; /* the system's authorities, once a backend needed them */
    bool has_said_less; /* say() had no memory: what was looked up by its words cannot be trusted, so the load is refused */
};

/* All of these return false (or NULL) with a complaint in l->why. */
bool refuse(struct loading *l, const struct place *at, const char *format, ...) PRINTF(3, 4);
bool refuse_memory(struct loading *l);
/* `PATH is not served by this version of weir`. */
bool refuse_later(struct loading *l, const struct place *at, const char *path);
/* t fit for a complaint: at most 60 bytes, without control characters; shown adds quotes. Lives in scratch; never NULL. */
const char *clipped(struct loading *l, struct text t);
const char *shown(struct loading *l, struct text t);
/* A key or name that may be printed as it is: 1 to NAME_MAX_BYTES bytes of UTF-8 without spaces and control characters. */
bool name_is_fit(struct text name);
/* Formats into scratch; never NULL: without memory it is "?", and the load is refused in the end. */
const char *say(struct loading *l, const char *format, ...) PRINTF(2, 3);
/* ", did you mean ..." for the nearest of words, or "". */
const char *suggest(struct loading *l, struct text t, const char *const *words, size_t count);
const char *suggest_child(struct loading *l, struct text t, const char *path);
const char *variable_get(const struct loading *l, struct text name); /* NULL = unset */

/* tree.c */
struct tree *tree_new(struct loading *l, enum tree_kind kind, struct place at);
struct tree *tree_scalar(struct loading *l, struct place at, struct text text); /* copies text */
bool tree_add(struct loading *l, struct tree *into, struct text name, struct place at, struct tree *value);
const struct place *tree_place(const struct tree *map, const char *name); /* of that member's value; NULL as tree_find */

/* yaml.c: from is NULL for the file. An empty text is an empty map. */
bool yaml_parse(struct loading *l, const char *from, struct text yaml, struct tree **out);

/* In place of libyaml's own; it alone calls them. */
void *yaml_malloc(size_t bytes);
void *yaml_realloc(void *p, size_t bytes);
void yaml_free(void *p);
unsigned char *yaml_strdup(const unsigned char *s);

/* override.c: URLs, environment and flags onto l->root; then the local model if there is no backend. */
bool overrides_apply(struct loading *l);

/* expand.c: replaces ${...}; out points into scratch. */
bool expand(struct loading *l, const struct tree *scalar, struct text *out);

/* file.c: the whole file into out. what: how complaints about it begin, and it must be a regular file; NULL: the configuration itself, named by its place. */
bool file_read(struct loading *l, const struct place *at, const char *path, const char *what, struct buf *out);
bool file_is_there(const char *path); /* and may be read */
/* Differs whenever a file does that was written, or replaced by another (a symbolic link on the way turned, too). 0: it is not there. */
uint64_t file_mark(const char *path);
/* Adds a file that is about to be read to l->conf's files. */
bool file_note(struct loading *l, const char *path, uint64_t mark);

/* read.c: l->root into l->conf. values.c and lists.c: one value, path is its full name. */
bool conf_read(struct loading *l);
bool value_read(struct loading *l, const struct row *row, const char *path, const struct tree *value, void *field);
bool list_read(struct loading *l, const struct row *row, const char *path, const struct tree *list, void *field);

/* check.c: what no single key can know; resolves use and fallback. */
bool conf_check(struct loading *l);

/* tenants.c: the members of keys and of tenants. Sorts conf's tenants, so what goes through both in step comes before it. */
bool tenants_check(struct loading *l, const struct member *keys, const struct member *tenants);

/* tls.c: from files into conf's contexts; section is the tree of tls, m a backend's. tls_forget frees them all. */
bool tls_check_server(struct loading *l, const struct tree *section);
bool tls_check_backend(struct loading *l, const struct member *m, struct conf_backend *b);
void tls_forget(struct conf *c);

/* jwt.c: from the files of jwt.keys and jwt.jwks into conf's keys. jwt_forget frees them. */
bool jwt_check(struct loading *l, const struct tree *section);
void jwt_forget(struct conf *c);

/* address.c: NULL, or what is wrong, to follow the key's name. Texts go to a. */
const char *address_parse(struct arena *a, struct text text, struct conf_address *out);
/* The part before the last colon outside brackets into *out_host, the part after it into *out_port (at NULL: there is no colon). False: neither. */
bool address_split(struct text t, struct text *out_host, struct text *out_port);
/* A name, or an address as everybody reads it. */
const char *address_check_host(struct arena *a, struct text host, bool is_bracketed);
/* ADDRESS[:PORT], ... with every port said. */
const char *address_servers(struct arena *a, struct text text, const char **out);
const char *url_parse(struct arena *a, struct text text, struct conf_url *out);

/* proxy.c: NULL, or what is wrong. */
const char *proxy_parse(struct arena *a, struct text text, struct conf_proxy *out);
/* Does a NO_PROXY list exempt this host? Names with their subdomains, addresses, CIDR, each perhaps with :PORT; or *. */
bool proxy_is_exempt(struct text list, struct text host, uint16_t port);
/* redis.c: NULL, or what is wrong. */
const char *redis_parse(struct arena *a, struct text text, struct conf_redis *out);
/* What the environment says about an auto proxy. */
bool proxy_choose(struct loading *l, const struct place *at, struct conf_backend *b);

#endif
