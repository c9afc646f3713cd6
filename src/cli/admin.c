/* admin.c: what asks a running weir through its admin socket: status, requests, explain, reload, drain. Tables for people, --json as it came. */
#include "base/json.h"
#include "cli/admin.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/table.h"
#include "cli/tell.h"
#include "keeper/keeper.h"
#include <stdio.h>

#define ANSWER_WAIT_NS (10 * NANOS_PER_S) /* a reload may read a large file; everything else is milliseconds */

extern char **environ;

/* One command's row. */
struct admin {
    const char *name, *what, *examples, *arguments, *method, *target;
    bool takes_id;
    void (*print)(yyjson_val *root, struct arena *arena); /* for people; NULL: the answer's "message", or `done` */
    const char *done;
};

struct admin_options {
    const char *socket, *config;
    bool json;
    const char *id;
};

/* ---- which weir ---- */

static bool socket_of_config(const char *path, char out[SOCKET_PATH_MAX], struct complaint *why)
{
    struct conf_options options = { .path = path, .environ = environ, .local_fallback = true };
    const struct conf *conf;
    if (!conf_load(&options, &conf, why))
        return false;
    bool ok = true;
    if (conf->admin.socket.mode == CONF_SOCKET_PATH)
        snprintf(out, SOCKET_PATH_MAX, "%s", conf->admin.socket.path);
    else if (conf->admin.socket.mode == CONF_SOCKET_OFF)
        ok = complain(why, path, 0, 0, "admin.socket is off, so this weir cannot be asked");
    else
        ok = runtime_socket_path(conf->listen.port, out, why);
    conf_unref(conf);
    return ok;
}

static bool only_socket(char out[SOCKET_PATH_MAX], struct complaint *why)
{
    static char found[RUNTIME_SOCKETS_MAX][SOCKET_PATH_MAX];
    unsigned count = runtime_sockets(found);
    if (count == 1) {
        memcpy(out, found[0], SOCKET_PATH_MAX);
        return true;
    }
    if (count == 0)
        return complain(why, NULL, 0, 0, "no weir of this user is running here; --socket PATH or -c FILE names one");
    char list[360] = "";
    size_t said = 0;
    for (unsigned i = 0; i < count; i++) {
        int n = snprintf(list + said, sizeof list - said, "%s--socket %s", i > 0 ? " or " : "", found[i]);
        said = MIN(said + (size_t)n, sizeof list - 1);
    }
    return complain(why, NULL, 0, 0, "%u are running; say which: %s", count, list);
}

static bool find_socket(const struct admin_options *o, char out[SOCKET_PATH_MAX], struct complaint *why)
{
    if (o->socket == NULL)
        return o->config != NULL ? socket_of_config(o->config, out, why) : only_socket(out, why);
    if (snprintf(out, SOCKET_PATH_MAX, "%s", o->socket) < SOCKET_PATH_MAX)
        return true;
    return complain(why, NULL, 0, 0, "%s is too long for a socket", o->socket);
}

bool admin_find(const char *socket, const char *config, char out[SOCKET_PATH_MAX], struct complaint *why)
{
    const struct admin_options o = { .socket = socket, .config = config };
    return find_socket(&o, out, why);
}

/* ---- asking ---- */

static int refuse(const struct admin *admin, const char *what)
{
    fprintf(stderr, "weir %s: %s\n", admin->name, what);
    return EXIT_FAILED;
}

/* What weir says when it says no: its own sentence. */
static int refused(const struct admin *admin, const struct ask *a, yyjson_val *root)
{
    char text[64];
    yyjson_val *message = yyjson_obj_get(yyjson_obj_get(root, "error"), "message");
    if (message == NULL)
        message = yyjson_obj_get(root, "message");
    snprintf(text, sizeof text, "weir answered %d", a->status);
    return refuse(admin, message != NULL ? tell_plain(message) : text);
}

static int show(const struct admin *admin, const struct admin_options *o, const struct ask *a)
{
    struct arena arena;
    yyjson_doc *doc = NULL;
    bool ok = a->status / 100 == 2;
    struct text body = buf_text(&a->body);
    int code = ok ? EXIT_OK : EXIT_FAILED;
    if (o->json) {
        printf("%.*s%s", TEXT_ARG(body), text_ends(body, TEXT("\n")) ? "" : "\n");
        return code;
    }
    arena_init(&arena, NULL, 0, 4 * (size_t)ASK_ANSWER_MAX);
    if (json_parse(&arena, body, &doc, NULL) != OK)
        code = refuse(admin, "the answer is not JSON: is that a weir?");
    else if (!ok)
        code = refused(admin, a, yyjson_doc_get_root(doc));
    else if (admin->print != NULL)
        admin->print(yyjson_doc_get_root(doc), &arena);
    else
        printf("%s\n", admin->done);
    arena_fini(&arena);
    return code;
}

static int ask_weir(const struct admin *admin, const struct admin_options *o)
{
    char path[SOCKET_PATH_MAX], target[128], text[700];
    struct complaint why = { 0 };
    if (!find_socket(o, path, &why)) {
        complaint_print(&why, text, sizeof text);
        return refuse(admin, text);
    }
    snprintf(target, sizeof target, "%s%s", admin->target, o->id != NULL ? o->id : "");
    struct ask a = { .method = admin->method, .target = target, .wait = ANSWER_WAIT_NS };
    addr_unix(&a.to, path);
    enum fail f = ask_all(&a, 1);
    int code;
    if (f != OK || a.fail != OK) {
        snprintf(text, sizeof text, "%s: %s%s", path, f != OK ? fail_row(f)->text : ask_why(&a), a.fail == FAIL_CONNECT ? ": is that weir running?" : "");
        code = refuse(admin, text);
    } else {
        code = show(admin, o, &a);
    }
    if (f == OK)
        ask_fini(&a);
    return code;
}

/* A request's id is letters, digits and dashes; anything else would be another URL. */
static bool id_is_fit(const char *id)
{
    size_t n = strspn(id, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_");
    return n > 0 && n <= 64 && id[n] == '\0';
}

static int run(const struct admin *admin, int argc, char **argv)
{
    struct admin_options o = { 0 };
    const char *ids[1];
    struct words words = { ids, 0, 1 };
    const struct option options[] = {
        { "socket", 0, OPTION_TEXT, "PATH", "Its admin socket. Not needed where one weir runs.", &o.socket },
        { "config", 'c', OPTION_TEXT, "FILE", "The weir that runs with this configuration.", &o.config },
        { "json", 0, OPTION_FLAG, NULL, "The answer as JSON.", &o.json },
    };
    const struct usage usage = {
        .command = admin->name, .what = admin->what, .examples = admin->examples, .arguments = admin->arguments,
        .options = options, .count = ARRAY_LEN(options), .words = admin->takes_id ? &words : NULL, .words_least = admin->takes_id ? 1 : 0,
    };
    int code;
    if (!options_read(&usage, argc, argv, &code))
        return code;
    o.id = admin->takes_id ? ids[0] : NULL;
    if (o.id != NULL && !id_is_fit(o.id))
        return usage_refuse(&usage, "\"%s\" is no request id: it is in the header x-request-id of each answer, and in the log", o.id);
    return ask_weir(admin, &o);
}

/* ---- the commands ---- */

int command_status(int argc, char **argv)
{
    static const struct admin admin = {
        .name = "status", .method = "GET", .target = "/status", .arguments = "", .print = tell_status,
        .what = "Backends, slots, queues and workers of a running weir.",
        .examples = "  weir status\n  weir status -c weir.yaml --json\n",
    };
    return run(&admin, argc, argv);
}

int command_requests(int argc, char **argv)
{
    static const struct admin admin = {
        .name = "requests", .method = "GET", .target = "/requests", .arguments = "", .print = tell_requests,
        .what = "Where each request of a running weir is now, for how long, and what it waits for.",
        .examples = "  weir requests\n  weir requests --json\n",
    };
    return run(&admin, argc, argv);
}

int command_explain(int argc, char **argv)
{
    static const struct admin admin = {
        .name = "explain", .method = "GET", .target = "/explain/", .arguments = "REQUEST_ID", .takes_id = true, .print = tell_story,
        .what = "One request's story: who asked, what it waited for, whom weir asked, and why it ended as it did.",
        .examples = "  weir explain 06DXNBZ7S8D3V9QJ2K4M5N6P7R     the id is in x-request-id, in error bodies and in the log\n",
    };
    return run(&admin, argc, argv);
}

static void tell_reload(yyjson_val *root, struct arena *arena)
{
    size_t i, count;
    yyjson_val *change;
    (void)arena;
    printf("%s\n", tell_plain(yyjson_obj_get(root, "message")));
    yyjson_arr_foreach(yyjson_obj_get(root, "changes"), i, count, change)
        printf("  %s\n", tell_plain(change));
}

int command_reload(int argc, char **argv)
{
    static const struct admin admin = {
        .name = "reload", .method = "POST", .target = "/reload", .arguments = "", .print = tell_reload,
        .what = "Makes a running weir read its configuration again, and tells what changed. A bad one is refused and the old one stays.",
        .examples = "  weir check -c weir.yaml && weir reload\n  weir reload --socket /run/weir/4040.sock\n",
    };
    return run(&admin, argc, argv);
}

int command_drain(int argc, char **argv)
{
    static const struct admin admin = {
        .name = "drain", .method = "POST", .target = "/drain", .arguments = "", .done = "Draining: weir takes no new requests and ends when the last one has.",
        .what = "Lets a running weir finish its requests (timeouts.drain at most) and end.",
        .examples = "  weir drain\n",
    };
    return run(&admin, argc, argv);
}
