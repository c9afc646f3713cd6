/* key.h: what the parts of `weir key` share: key.c (the command: new, revoke), key_place.c (a running weir or a file), key_list.c (the list). */
#ifndef WEIR_CLI_KEY_H
#define WEIR_CLI_KEY_H

#include "base/json.h"
#include "cli/options.h"
#include "store/store.h"

#define KEY_SOCKET_MAX 108 /* sun_path */

struct key_options {
    const char *socket, *config;
    bool json;
    const char *tenant, *role, *models, *priority, *priority_max, *rpm, *tpm, *concurrency, *budget, *per;
    const char *word; /* NAME, or NAME|FINGERPRINT */
};

/* Where it is done: a running weir, or a file. */
struct key_place {
    const char *command;  /* "key new" */
    bool is_running;
    char socket[KEY_SOCKET_MAX];
    char path[STORE_PATH_MAX];
    const struct conf *conf; /* -c; NULL = none */
    struct db *db;           /* of a file that is there, or was made */
    struct buf answer;
    struct arena arena;
    yyjson_val *root;        /* of the answer, as JSON */
};

/* A running weir, or else a file. False with a sentence. */
bool key_place_find(struct key_place *p, const struct key_options *o, struct complaint *why);
void key_place_leave(struct key_place *p);
/* "weir key new: …" on stderr; both return EXIT_FAILED. */
int key_refuse(const struct key_place *p, const char *format, ...) PRINTF(2, 3);
int key_complain(const struct key_place *p, const struct complaint *why);
/* True: the running weir said yes, and p->root is what it said. Else its no is on stderr. */
bool key_place_ask(struct key_place *p, const char *method, const char *target, struct text content);
/* Opens the file, calls fn and commits; fn's failure undoes it. False with a line on stderr. */
bool key_place_change(struct key_place *p, enum fail (*fn)(struct key_place *p, void *arg, struct complaint *why), void *arg, bool make);
/* Reads the file's keys, as the running weir would have answered. */
bool key_place_list(struct key_place *p);

/* `weir key list`; returns the exit code. */
int key_list(struct key_place *p, const struct usage *u, const struct key_options *o);

#endif
