/* fuzz_log.c: any bytes as what a log line tells. Input, a line each (0x01 stands for a line end within one): message, path, model, key name, client, backend.
   Oracle: exactly one line comes out, in text and in JSON; the JSON is an object that yyjson reads, and what was short and clean is read back as it was. */
#include "base/json.h"
#include "fuzz/fuzz.h"
#include "stat/inner.h"
#include <sys/mman.h>
#include <unistd.h>

static nanos clock_now = NANOS_PER_S;
static nanos now(struct world *w) { (void)w; return clock_now; }
static nanos wall(struct world *w) { (void)w; return 1769904000 * NANOS_PER_S; }
static int poll_new(struct world *w) { (void)w; return 0; }
static void poll_free(struct world *w, int poll) { (void)w, (void)poll; }
static int poll_wait(struct world *w, int poll, struct world_event *out, int max, nanos until) { (void)w, (void)poll, (void)out, (void)max, (void)until; return 0; }
static struct world world = { .name = "fake", .now = now, .wall = wall, .poll_new = poll_new, .poll_free = poll_free, .poll_wait = poll_wait };

static struct log the_log;
static struct stats stats;
static struct worker worker;
static int file;

static void begin_once(void)
{
    if (the_log.magic != 0)
        return;
    file = memfd_create("log", 0);
    ASSERT(file >= 0);
    log_init(&the_log, &world);
    the_log.fd = file;
    the_log.is_file = true;
    stat_init(&stats, &world, &the_log, "0", NULL, 0);
    told(worker_init(&worker, &world, 0));
    told(stat_attach(&stats, &worker));
}

/* What was written since; at most one line. */
static struct text said(char *room, size_t n)
{
    clock_now += 20 * NANOS_PER_MS;
    worker_turn(&worker, clock_now);
    ssize_t len = pread(file, room, n, 0);
    ASSERT(len > 0 && (size_t)len < n);
    ASSERT(ftruncate(file, 0) == 0 && lseek(file, 0, SEEK_SET) == 0);
    return (struct text){ room, (size_t)len };
}

static void check_line(struct text line)
{
    ASSERT(line.at[line.len - 1] == '\n');
    for (size_t i = 0; i + 1 < line.len; i++)
        ASSERT((unsigned char)line.at[i] >= ' ' && line.at[i] != 0x7F);
    ASSERT(text_is_utf8(line));
}

static bool is_plain(struct text t)
{
    for (size_t i = 0; i < t.len; i++)
        if ((unsigned char)t.at[i] < 0x20 || (unsigned char)t.at[i] >= 0x7F)
            return false;
    return t.len > 0;
}

static void check_member(yyjson_val *root, const char *name, struct text value, size_t max)
{
    yyjson_val *v = yyjson_obj_get(root, name);
    ASSERT((v == NULL) == (value.len == 0));
    if (is_plain(value) && 2 * value.len <= max)
        ASSERT(yyjson_get_len(v) == value.len && memcmp(yyjson_get_str(v), value.at, value.len) == 0);
}

static void check_json(struct text line, struct text message, const struct access_line *a)
{
    struct arena arena;
    yyjson_doc *doc;
    struct text path;
    arena_init(&arena, NULL, 0, 1u << 20);
    told(json_parse(&arena, line, &doc, NULL));
    yyjson_val *root = yyjson_doc_get_root(doc), *wrong;
    const char *why;
    ASSERT(yyjson_is_obj(root) && json_check_all_keys(doc, &wrong, &why) == OK);
    if (a == NULL) {
        check_member(root, "message", message, 1000);
    } else {
        (void)text_cut(a->path, '?', &path);
        check_member(root, "path", path, 256);
        check_member(root, "model", a->model, 128);
        check_member(root, "key", a->key_name, 64);
        check_member(root, "client", a->client, 64);
        check_member(root, "backend", a->backend, 128);
    }
    arena_fini(&arena);
}

/* How many fields a reader of the text format finds: a blank outside quotes, a name, an equals sign. */
static unsigned fields_of(struct text line)
{
    unsigned fields = 0;
    bool quoted = false;
    for (size_t i = 0; i < line.len; i++) {
        if (quoted && line.at[i] == '\\')
            i++;
        else if (line.at[i] == '"')
            quoted = !quoted;
        else if (!quoted && line.at[i] == '=')
            fields++;
    }
    ASSERT(!quoted);
    return fields;
}

static void try_format(enum log_format format, struct text message, const struct access_line *a)
{
    static char room[65536];
    log_set(&the_log, LOG_LEVEL_INFO, format, true);
    log_line(&worker, LOG_LEVEL_WARN, "fuzz", "%.*s", TEXT_ARG(message));
    struct text line = said(room, sizeof room);
    check_line(line);
    size_t shown = message.len > 0 ? strnlen(message.at, message.len) : 0; /* a C string to printf */
    if (format == LOG_FORMAT_JSON)
        check_json(line, (struct text){ message.at, shown }, NULL);
    else
        ASSERT(fields_of(line) == (shown > 0));
    log_access(&worker, a);
    line = said(room, sizeof room);
    check_line(line);
    if (format == LOG_FORMAT_JSON) {
        check_json(line, TEXT_NONE, a);
    } else {
        struct text path;
        (void)text_cut(a->path, '?', &path);
        unsigned texts = (path.len > 0) + (a->model.len > 0) + (a->key_name.len > 0) + (a->client.len > 0) + (a->backend.len > 0);
        ASSERT(fields_of(line) == 12 + texts); /* status, outcome, total, id, method, attempts, queue, first token, overhead, both bytes, reason */
    }
}

/* hostile 75 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text all = { (const char *)data, size };
    if (size > 4096)
        return 0;
    begin_once();
    char *bytes = fuzz_copy(all);
    struct text parts[6], rest = { bytes, size };
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        parts[i] = fuzz_line(&rest);
        for (size_t k = 0; k < parts[i].len; k++)
            if (parts[i].at[k] == 1)
                bytes[parts[i].at + k - bytes] = '\n';
    }
    struct access_line a = { .request_id = TEXT("0123456789abcdef01234567"), .method = TEXT("POST"), .path = parts[1], .model = parts[2], .key_name = parts[3],
                             .client = parts[4], .backend = parts[5], .reason = "X", .status = 200, .prompt_tokens = -1, .completion_tokens = -1 };
    try_format(LOG_FORMAT_TEXT, parts[0], &a);
    try_format(LOG_FORMAT_JSON, parts[0], &a);
    mem_free(bytes);
    return 0;
}
