/* init.c: `weir init`: looks which model servers answer on this machine, and writes a commented configuration that loads as it stands. */
#include "base/json.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "keeper/keeper.h"
#include <stdio.h>
#include <stdlib.h>

#define LOOK_NS         NANOS_PER_S  /* a model server on this machine lists its models in milliseconds */
#define FILE_BYTES_MAX  (1u << 18)
#define MODELS_SHOWN    20           /* as comments; Ollama may have hundreds */

static const struct {
    uint16_t port;
    const char *name, *who;
} ports[] = {
#define PORT(port, name, who) { port, name, who },
#define VARIABLE(...)
#include "cli/places.def"
#undef PORT
#undef VARIABLE
};

static const struct {
    const char *name, *who, *url;
} variables[] = {
#define PORT(...)
#define VARIABLE(name, who, url) { name, who, url },
#include "cli/places.def"
#undef PORT
#undef VARIABLE
};

/* One failure ends a file; what follows does nothing. */
struct writing {
    struct buf *out;
    struct arena *arena;
    enum fail fail;
    unsigned found;
};
#define WRITE(w, ...) ((w)->fail = (w)->fail == OK ? buf_printf((w)->out, __VA_ARGS__) : (w)->fail)

/* The list of models, or NULL if this is no OpenAI-compatible server. */
static yyjson_val *models_of(const struct ask *a, struct arena *arena)
{
    yyjson_doc *doc;
    if (a->fail != OK || a->status != 200 || json_parse(arena, buf_text(&a->body), &doc, NULL) != OK)
        return NULL;
    yyjson_val *data = yyjson_obj_get(yyjson_doc_get_root(doc), "data");
    return yyjson_is_arr(data) ? data : NULL;
}

/* In a comment a line break would end it. */
static bool is_one_line(const char *name)
{
    for (; *name != '\0'; name++)
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return false;
    return true;
}

static void write_models(struct writing *w, yyjson_val *data)
{
    size_t i, n, said = 0;
    yyjson_val *row;
    yyjson_arr_foreach(data, i, n, row) {
        const char *id = yyjson_get_str(yyjson_obj_get(row, "id"));
        if (id == NULL || !is_one_line(id) || said == MODELS_SHOWN)
            continue;
        WRITE(w, "%s%s", said == 0 ? "    # has: " : ", ", id);
        said++;
    }
    if (said > 0)
        WRITE(w, "%s\n", n > said ? ", ..." : "");
}

static void write_backends(struct writing *w, const struct ask *asks)
{
    WRITE(w, "\nbackends:\n");
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        yyjson_val *data = models_of(&asks[i], w->arena);
        if (data == NULL) {
            WRITE(w, "  # nothing answered on port %u (%s)\n", (unsigned)ports[i].port, ports[i].who);
            continue;
        }
        w->found++;
        WRITE(w, "  %s: {kind: openai, url: \"http://127.0.0.1:%u\"}    # %s\n", ports[i].name, (unsigned)ports[i].port, ports[i].who);
        write_models(w, data);
    }
    WRITE(w, w->found == 0 ? "  # Nothing was found, so weir runs a small model by itself (tools/local-model.sh makes it).\n"
                             "  local: {kind: llama, model: smollm2}\n  local-embeddings: {kind: llama, model: all-minilm-l6-v2}\n"
                           : "  # local: {kind: llama, model: smollm2}               # a small model that weir runs by itself\n");
    for (size_t i = 0; i < ARRAY_LEN(variables); i++)
        if (getenv(variables[i].name) != NULL)
            WRITE(w, "  # %s is set: {url: \"%s\", key: \"${%s}\"} would be %s\n", variables[i].name, variables[i].url, variables[i].name, variables[i].who);
}

static void write_file(struct writing *w, const struct ask *asks)
{
    WRITE(w, "# weir's configuration. weir check -c FILE tells what is wrong with it; weir docs configuration explains every key.\n\n"
             "listen: 127.0.0.1:4040          # an address that is not loopback needs at least one key\n");
    write_backends(w, asks);
    WRITE(w, "\n# Names for clients, with several backends behind one, and some to fall back to. Without them each backend's own names are served.\n"
             "# models:\n#   chat: {use: [vllm/llama-3.1-8b], fallback: [ollama/llama3.1:8b]}\n"
             "\n# Who may ask. Without keys every program on this machine may.\n"
             "# keys:\n#   team-a: {key: \"${TEAM_A_KEY}\", models: [chat]}\n"
             "\nlimits:\n  queue: 1024                   # requests that may wait for a slot of one model\n"
             "\ntimeouts:\n  first_token: 60s              # then the next backend is asked\n  total: 600s\n");
}

/* What we write must load: a bug here would be the first thing a new user sees. */
static bool loads(const struct buf *file, const char *path, struct complaint *why)
{
    struct conf_options options = { .path = path, .yaml = buf_text(file), .local_fallback = true };
    const struct conf *conf;
    if (!conf_load(&options, &conf, why))
        return false;
    conf_unref(conf);
    return true;
}

static bool finish(struct writing *w, const char *path, bool force, struct complaint *why)
{
    if (w->fail != OK)
        return complain(why, path, 0, 0, "%s", fail_row(w->fail)->text);
    if (!loads(w->out, path, why))
        return false;
    struct text content = buf_text(w->out);
    if (text_eq(text_of(path), TEXT("-")))
        return fwrite(content.at, 1, content.len, stdout) == content.len || complain(why, NULL, 0, 0, "standard output is closed");
    if (!system_write_file(path, content, force, why))
        return false;
    fprintf(stderr, "weir init: wrote %s with %u backend%s that answered; next: weir serve -c %s\n", path, w->found, w->found == 1 ? "" : "s", path);
    return true;
}

static int init(const char *path, bool force)
{
    static struct ask asks[ARRAY_LEN(ports)]; /* larger than a frame should be */
    struct arena arena;
    struct buf out;
    struct complaint why = { 0 };
    char text[700];
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        asks[i] = (struct ask){ .method = "GET", .target = "/v1/models", .wait = LOOK_NS };
        bool ok = addr_from_text(&asks[i].to, TEXT("127.0.0.1"), ports[i].port);
        ASSERT(ok);
    }
    arena_init(&arena, NULL, 0, ARENA_NO_MAX);
    buf_init(&out, FILE_BYTES_MAX);
    struct writing w = { &out, &arena, ask_all(asks, ARRAY_LEN(asks)), 0 };
    write_file(&w, asks);
    bool ok = finish(&w, path, force, &why);
    for (size_t i = 0; i < ARRAY_LEN(asks); i++)
        ask_fini(&asks[i]);
    buf_fini(&out);
    arena_fini(&arena);
    if (!ok) {
        complaint_print(&why, text, sizeof text);
        fprintf(stderr, "weir init: %s\n", text);
    }
    return ok ? EXIT_OK : EXIT_FAILED;
}

int command_init(int argc, char **argv)
{
    const char *path = "weir.yaml";
    bool force = false;
    const struct option options[] = {
        { "output", 'o', OPTION_TEXT, "FILE", "Where to write (weir.yaml); - is standard output.", &path },
        { "force", 'f', OPTION_FLAG, NULL, "Replace a file that is there.", &force },
    };
    const struct usage usage = {
        .command = "init", .what = "Looks for model servers on this machine and for the usual API key variables, and writes a commented configuration.",
        .examples = "  weir init\n  weir init -o - | less\n", .arguments = "", .options = options, .count = ARRAY_LEN(options),
    };
    int code;
    if (!options_read(&usage, argc, argv, &code))
        return code;
    return init(path, force);
}
