/* key_place.c: where `weir key` does its work: in a running weir, asked through its admin socket, or in the store's file. */
#include "cli/admin.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/key.h"
#include "cli/tell.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_WAIT_NS (10 * NANOS_PER_S)
#define BUSY_MS        5000 /* for another process's lock */

extern char **environ;

int key_refuse(const struct key_place *p, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "weir %s: ", p->command);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return EXIT_FAILED;
}

/* ---- where ---- */

static bool answers(const char *path)
{
    struct ask a = { .method = "GET", .target = "/healthz", .wait = ANSWER_WAIT_NS };
    addr_unix(&a.to, path);
    bool yes = ask_all(&a, 1) == OK && a.fail == OK;
    ask_fini(&a);
    return yes;
}

/* Nobody answers: the file that the configuration of -c means, or the one of a weir that was started without any. */
static bool find_file(struct key_place *p, const char *config, struct complaint *why)
{
    struct conf_options options = { .path = config, .environ = environ, .local_fallback = true };
    if (!conf_load(&options, &p->conf, why) || !store_place(p->conf, p->path, why))
        return false;
    return p->path[0] != '\0' || complain(why, config, 0, 0, "store is off, so there is no place for keys");
}

bool key_place_find(struct key_place *p, const struct key_options *o, struct complaint *why)
{
    static char found[RUNTIME_SOCKETS_MAX][SOCKET_PATH_MAX]; /* static: larger than a frame should be */
    bool may_run = o->socket != NULL || o->config != NULL || runtime_sockets(found) > 0;
    if (may_run && admin_find(o->socket, o->config, p->socket, why))
        p->is_running = o->socket != NULL || answers(p->socket);
    else if (may_run && o->config == NULL)
        return false;
    return p->is_running || find_file(p, o->config, why);
}

void key_place_leave(struct key_place *p)
{
    db_close(p->db);
    buf_fini(&p->answer);
    arena_fini(&p->arena);
    if (p->conf != NULL)
        conf_unref(p->conf);
}

int key_complain(const struct key_place *p, const struct complaint *why)
{
    char text[700];
    complaint_print(why, text, sizeof text);
    return key_refuse(p, "%s", text);
}

/* ---- asking a running one ---- */

static bool read_answer(struct key_place *p)
{
    yyjson_doc *doc;
    if (json_parse(&p->arena, buf_text(&p->answer), &doc, NULL) != OK)
        return false;
    p->root = yyjson_doc_get_root(doc);
    return true;
}

/* True: it said yes, and p->root is what it said. */
bool key_place_ask(struct key_place *p, const char *method, const char *target, struct text content)
{
    struct ask a = { .method = method, .target = target, .content = content, .wait = ANSWER_WAIT_NS };
    addr_unix(&a.to, p->socket);
    enum fail f = ask_all(&a, 1);
    if (f != OK || a.fail != OK) {
        (void)key_refuse(p, "%s: %s%s", p->socket, f != OK ? fail_row(f)->text : ask_why(&a), a.fail == FAIL_CONNECT ? ": is that weir running?" : "");
        if (f == OK)
            ask_fini(&a);
        return false;
    }
    p->answer = a.body;
    bool is_json = read_answer(p);
    yyjson_val *said = yyjson_obj_get(yyjson_obj_get(p->root, "error"), "message");
    if (is_json && a.status / 100 == 2)
        return true;
    if (said != NULL)
        (void)key_refuse(p, "%s", tell_plain(said));
    else
        (void)key_refuse(p, "%s answered %d: is that a weir of this version?", p->socket, a.status);
    return false;
}

/* ---- the file ---- */

bool key_place_change(struct key_place *p, enum fail (*fn)(struct key_place *p, void *arg, struct complaint *why), void *arg, bool make)
{
    struct complaint why;
    enum fail f = db_open(p->path, make, BUSY_MS, &p->db, &why);
    if (f == OK && p->db == NULL) {
        (void)key_refuse(p, "there is no store at %s, so there are no keys", p->path);
        return false;
    }
    if (f == OK)
        f = db_begin(p->db, &why);
    if (f == OK) {
        f = fn(p, arg, &why);
        if (f == OK)
            f = db_commit(p->db, &why);
        else
            db_rollback(p->db);
    }
    if (f != OK)
        (void)key_refuse(p, "%s", why.text);
    return f == OK;
}

bool key_place_list(struct key_place *p)
{
    struct complaint why;
    struct keyring *ring = NULL;
    enum fail f = db_open(p->path, false, BUSY_MS, &p->db, &why);
    if (f == OK && p->db != NULL)
        f = db_keys(p->db, &ring, &why);
    if (f != OK) {
        (void)key_refuse(p, "%s", why.text);
        return false;
    }
    f = keyring_print(ring, p->path, &p->answer);
    keyring_unref(ring);
    if (f == OK && read_answer(p))
        return true;
    (void)key_refuse(p, "no memory left for so many keys");
    return false;
}
