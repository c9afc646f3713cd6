/* tree.h: YAML as a tree in which everything knows its place: what the configuration is read from, and any other file that a person writes. */
#ifndef WEIR_CONF_TREE_H
#define WEIR_CONF_TREE_H

#include "base/mem.h"

/* Where a value was written. */
struct place {
    const char *from; /* "--set a.b", "environment WEIR_A__B"; NULL = the file */
    int line, column; /* 0 when from is set */
};

enum tree_kind { TREE_SCALAR, TREE_MAP, TREE_LIST };

struct tree {
    enum tree_kind kind;
    bool is_plain; /* a scalar without quotes */
    struct place place;
    struct text text;               /* TREE_SCALAR, NUL-terminated; may be a secret */
    struct member *first, *last;    /* otherwise */
    unsigned count;
};

struct member {
    struct text name; /* empty in a list */
    struct place place;
    struct tree *value;
    struct member *next;
};

struct member *tree_find(const struct tree *map, struct text name); /* NULL if absent or map is not one */
bool tree_is_empty(const struct tree *t);                           /* nothing was written: `key:` or ~ */
/* Reads another file than the configuration, nested at most TREE_DEEP_MAX; an empty text is an empty map. The tree lives in *a, and copies what it needs of yaml.
   path is for complaints, and lives as long as they do. False with a sentence in why: what the configuration refuses (aliases, tags, tabs) is refused here too. */
#define TREE_DEEP_MAX 32 /* a body of JSON inside a request inside a flow */
MUSTUSE bool tree_read(struct arena *a, const char *path, struct text yaml, struct tree **out, struct complaint *why);

#endif
