/* bench_target.c: from a URL to addresses where somebody answers, and to a model that may be asked. Called by `weir bench` before a test. */
#include "base/json.h"
#include "bench/call.h"
#include "cli/bench.h"
#include "net/dns.h"
#include <stdio.h>

#define LOOK_NS        (5 * NANOS_PER_S) /* for a name, for a connection, for a list of models: each */
#define HOST_AND_COLON 248               /* of 256 bytes: room for ":65535" and brackets */

/* ---- the URL ---- */

static const struct {
    const char *name;
    const char *models; /* where its models are listed; NULL: it has none */
} apis[] = {
    [LOAD_OPENAI] = { "openai", "/v1/models" },
    [LOAD_OLLAMA] = { "ollama", "/api/tags" },
    [LOAD_QUERY] = { "query", NULL },
    [LOAD_PLAIN] = { "plain", NULL },
};

static enum load_api api_of_path(struct text path)
{
    if (path.len <= 1 || text_eq(path, TEXT("/v1")) || text_starts(path, TEXT("/v1/")))
        return LOAD_OPENAI;
    if (text_starts(path, TEXT("/api/chat")) || text_starts(path, TEXT("/api/generate")))
        return LOAD_OLLAMA;
    return text_starts(path, TEXT("/api/v1/query")) ? LOAD_QUERY : LOAD_PLAIN;
}

static bool read_api(struct bench_target *t, const char *word, struct text path, struct complaint *why)
{
    const char *names[ARRAY_LEN(apis)];
    t->api = api_of_path(path);
    for (size_t i = 0; i < ARRAY_LEN(apis); i++) {
        names[i] = apis[i].name;
        if (word != NULL && strcmp(word, names[i]) == 0) {
            t->api = (enum load_api)i;
            return true;
        }
    }
    if (word == NULL)
        return true;
    const char *near = text_nearest(text_of(word), names, ARRAY_LEN(names));
    return complain(why, NULL, 0, 0, "--api is openai, ollama, query or plain, not \"%s\"%s%s", word, near != NULL ? "; did you mean " : "", near != NULL ? near : "");
}

/* "/v1/" and the like say which API is meant, and not where to ask. What stands before /v1/ or /api/ stands before the list of models too. */
static void read_path(struct bench_target *t, struct text path)
{
    struct text root = t->api == LOAD_OLLAMA ? TEXT("/api/") : TEXT("/v1/");
    bool is_base = path.len <= 1 || text_eq(path, TEXT("/v1")) || text_eq(path, TEXT("/v1/"));
    ptrdiff_t before = text_find(path, root);
    snprintf(t->path, sizeof t->path, "%.*s", is_base && t->api != LOAD_PLAIN ? 0 : (int)path.len, path.at);
    if (apis[t->api].models != NULL)
        snprintf(t->models, sizeof t->models, "%.*s%s", before > 0 ? (int)before : 0, path.at, apis[t->api].models);
}

/* Where the path or the query begins. */
static size_t authority_len(struct text url)
{
    ptrdiff_t scheme = text_find(url, TEXT("://"));
    size_t i = scheme < 0 ? 0 : (size_t)scheme + 3;
    while (i < url.len && url.at[i] != '/' && url.at[i] != '?' && url.at[i] != '#')
        i++;
    return i;
}

static bool is_written(struct text path)
{
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.at[i] <= ' ' || (unsigned char)path.at[i] >= 0x7f || path.at[i] == '#')
            return false;
    return path.len == 0 || path.at[0] == '/';
}

/* The configuration's own reading of a backend's URL: one place decides what a URL is, and what TLS trusts. */
static bool read_authority(struct bench_target *t, struct load_target *out, struct complaint *why)
{
    const char *urls[] = { t->authority };
    struct conf_options o = { .urls = urls, .urls_count = 1 };
    if (!conf_load(&o, &t->conf, why))
        return false;
    const struct conf_url *url = &t->conf->backends[0].url;
    bool is_usual = url->port == (url->is_https ? 443 : 80), is_six = strchr(url->host, ':') != NULL;
    if (strlen(url->host) > HOST_AND_COLON)
        return complain(why, NULL, 0, 0, "the host is longer than %d bytes", HOST_AND_COLON);
    snprintf(t->host, sizeof t->host, "%s", url->host);
    t->port = url->port;
    int n = snprintf(out->host, sizeof out->host, "%s%s%s", is_six ? "[" : "", url->host, is_six ? "]" : "");
    if (!is_usual)
        snprintf(out->host + n, sizeof out->host - (size_t)n, ":%u", (unsigned)url->port);
    out->tls = t->conf->backends[0].tls;
    return true;
}

bool bench_target_read(struct bench_target *t, const char *url, const char *api, struct load_target *out, struct complaint *why)
{
    struct text all = text_of(url);
    size_t len = authority_len(all);
    struct text path = { all.at + len, all.len - len };
    if (text_find(all, TEXT("://")) < 0)
        return complain(why, NULL, 0, 0, "\"%s\" is no URL such as http://127.0.0.1:4040", url);
    if (len >= sizeof t->authority || path.len >= sizeof t->path - sizeof "/v1/models")
        return complain(why, NULL, 0, 0, "the URL is longer than weir bench takes (%zu bytes of path)", sizeof t->path - sizeof "/v1/models");
    if (!is_written(path))
        return complain(why, NULL, 0, 0, "the URL's path has a blank, a fragment or a letter that must be written as %%XX");
    snprintf(t->authority, sizeof t->authority, "%.*s", (int)len, url);
    if (!read_api(t, api, path, why))
        return false;
    read_path(t, path);
    return read_authority(t, out, why);
}

void bench_target_fini(struct bench_target *t)
{
    conf_unref(t->conf);
}

/* ---- who is there ---- */

struct look {
    struct bench_target *target;
    struct load_target *out;
    struct dns *dns;
    struct worker worker;
    struct addrs all;         /* what the name leads to */
    struct dns_answer answer; /* here, because a task's stack is small */
    struct complaint *why;
    bool found;
};

static bool find_addresses(struct task *t, struct look *l)
{
    struct text host = text_of(l->target->host);
    struct addrs *out = &l->all;
    uint16_t port = l->target->port;
    if (addr_from_text(&out->at[0], host, port)) {
        out->count = 1;
        return true;
    }
    if (text_eq(host, TEXT("localhost"))) { /* without asking anybody: it must work where there is no name server */
        out->count = addr_from_text(&out->at[0], TEXT("127.0.0.1"), port) + addr_from_text(&out->at[1], TEXT("::1"), port);
        return true;
    }
    enum fail f = dns_resolve(t, l->dns, "", host, port, t->worker->now + LOOK_NS, &l->answer);
    if (f != OK)
        return complain(l->why, NULL, 0, 0, "%s does not resolve: %s", l->target->host, f == FAIL_NAME ? l->answer.why : fail_row(f)->text);
    *out = l->answer.addrs;
    return true;
}

/* An address behind which nobody is would make every second request an error of ours. */
static bool keep_answering(struct task *t, struct look *l)
{
    const struct addrs *all = &l->all;
    char text[64];
    int error = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        struct conn *c;
        if (conn_open(t, &all->at[i], t->worker->now + LOOK_NS, &c, &error) != OK)
            continue;
        conn_free(c);
        l->out->addrs.at[l->out->addrs.count++] = all->at[i];
    }
    return l->out->addrs.count > 0 ||
           complain(l->why, NULL, 0, 0, "nobody answers at %s (%s): %s", l->target->authority, addr_print(&all->at[0], text), wire_error_text(error));
}

/* {"data":[{"id":…}]} or {"models":[{"name":…}]} */
static bool first_model(struct look *l, struct text body)
{
    struct arena arena;
    yyjson_doc *doc;
    arena_init(&arena, NULL, 0, CALL_ANSWER_MAX);
    yyjson_val *root = json_parse(&arena, body, &doc, NULL) == OK ? yyjson_doc_get_root(doc) : NULL, *list = yyjson_obj_get(root, "data");
    yyjson_val *first = yyjson_arr_get_first(list != NULL ? list : yyjson_obj_get(root, "models"));
    yyjson_val *name = yyjson_obj_get(first, list != NULL ? "id" : "name");
    if (yyjson_is_str(name))
        snprintf(l->target->model, sizeof l->target->model, "%s", yyjson_get_str(name));
    l->target->model_found = yyjson_is_str(name);
    arena_fini(&arena);
    return l->target->model_found ||
           complain(l->why, NULL, 0, 0, "%s%s lists no model; name one with --model", l->target->authority, l->target->models);
}

static bool ask_model(struct task *t, struct look *l, struct call_pool *pool, struct caller *caller)
{
    struct script_call call = { .api = LOAD_PLAIN, .method = TEXT("GET"), .path = text_of(l->target->models), .wants_answer = true };
    struct sample s = { 0 };
    enum fail f = call_make(t, pool, caller, &call, t->worker->now + LOOK_NS, NULL, &s);
    if (f != OK)
        return complain(l->why, NULL, 0, 0, "%s", fail_row(f)->text);
    if (s.outcome == OUTCOME_STATUS)
        return complain(l->why, NULL, 0, 0, "%s%s answers with status %d%s", l->target->authority, l->target->models, s.status,
                        s.status == 401 || s.status == 403 ? "; --key or WEIR_KEY gives the key" : "; --model names a model, --api another API");
    if (s.outcome == OUTCOME_CONNECT)
        return complain(l->why, NULL, 0, 0, "%s: %s", l->target->authority, wire_error_text(pool->error));
    if (s.outcome != OUTCOME_OK)
        return complain(l->why, NULL, 0, 0, "%s%s: %s", l->target->authority, l->target->models, tally_outcome_what(s.outcome));
    return first_model(l, buf_text(&caller->reading.text));
}

static bool look_for_model(struct task *t, struct look *l)
{
    struct caller *caller = mem_zero(sizeof *caller);
    struct call_pool pool;
    if (caller == NULL || call_pool_init(&pool, t->worker, l->out, true) != OK) {
        mem_free(caller);
        return complain(l->why, NULL, 0, 0, "no memory is left");
    }
    caller_init(caller);
    bool found = ask_model(t, l, &pool, caller);
    caller_fini(caller);
    call_pool_fini(&pool);
    mem_free(caller);
    return found;
}

static void look(struct task *t, void *arg)
{
    struct look *l = arg;
    l->found = find_addresses(t, l) && keep_answering(t, l);
    if (l->found && l->target->models[0] != '\0' && l->target->model[0] == '\0')
        l->found = look_for_model(t, l);
    worker_stop(t->worker);
}

bool bench_target_ask(struct bench_target *target, struct load_target *out, struct complaint *why)
{
    struct look *l = mem_zero(sizeof *l);
    struct world *world = world_real_new(0);
    bool found = complain(why, NULL, 0, 0, "no memory or descriptor is left");
    if (l != NULL && world != NULL && worker_init(&l->worker, world, 0) == OK) {
        l->target = target;
        l->out = out;
        l->why = why;
        l->dns = dns_cares_new();
        if (l->dns != NULL && task_start(&l->worker, "look", look, l) != NULL) {
            worker_run(&l->worker);
            found = l->found;
        }
        worker_fini(&l->worker);
        dns_cares_free(l->dns);
    }
    if (world != NULL)
        world_real_free(world);
    mem_free(l);
    return found;
}
