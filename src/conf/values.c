/* values.c: one value of the file into one field, by its type. Called by read.c, and by lists.c for each entry.
   Complaints show what was written in the file, never what ${...} brought in, and nothing of what may be a secret. */
#include "conf/inner.h"

#include <openssl/evp.h>

#define SHA256_BYTES    32
#define SOCKET_PATH_MAX 107 /* sun_path of Linux, without its NUL */

/* A scalar that is to become a field. */
struct given {
    struct loading *l;
    const struct row *row;
    const char *path;            /* "backends.gpu1.url" */
    const struct tree *tree;
    struct text text;            /* after ${...} */
};

static bool may_be_secret(const struct given *g)
{
    enum type t = g->row->type;
    return t == TYPE_secret || t == TYPE_key_plain || t == TYPE_key_digest || t == TYPE_url || t == TYPE_proxy || t == TYPE_redis ||
           t == TYPE_file || t == TYPE_file_or_auto || /* somebody may write the private key itself */
           text_starts(text_of(g->path), TEXT("keys."));
}

static bool refuse_value(const struct given *g, const char *must)
{
    struct loading *l = g->l;
    if (may_be_secret(g) || g->tree->text.len == 0)
        return refuse(l, &g->tree->place, "%s %s", g->path, must);
    return refuse(l, &g->tree->place, "%s %s, not %s", g->path, must, shown(l, g->tree->text));
}

static bool refuse_type(const struct given *g)
{
    return refuse_value(g, say(g->l, "must be %s", type_what(g->row->type)));
}

static bool is_within(const struct given *g, int64_t value, const char *least, const char *most)
{
    if (value < g->row->least)
        return refuse_value(g, say(g->l, "must be at least %s", least));
    return value <= g->row->most || refuse_value(g, say(g->l, "must be at most %s", most));
}

static bool read_count(const struct given *g, void *field)
{
    uint64_t value;
    if (!text_to_u64(g->text, UINT64_MAX, &value))
        return refuse_type(g);
    value = MIN(value, UINT32_MAX); /* past every bound, and the complaint says which */
    if (!is_within(g, (int64_t)value, say(g->l, "%lld", (long long)g->row->least), say(g->l, "%lld", (long long)g->row->most)))
        return false;
    *(uint32_t *)field = (uint32_t)value;
    return true;
}

static bool read_size(const struct given *g, void *field)
{
    uint64_t value;
    char least[24], most[24];
    if (!text_to_bytes(g->text, &value))
        return refuse_type(g);
    (void)bytes_print((uint64_t)g->row->least, least);
    (void)bytes_print((uint64_t)g->row->most, most);
    if (!is_within(g, (int64_t)MIN(value, (uint64_t)INT64_MAX), least, most))
        return false;
    *(uint64_t *)field = value;
    return true;
}

static bool read_span(const struct given *g, void *field)
{
    nanos value;
    char least[24], most[24];
    if (!text_to_nanos(g->text, &value))
        return refuse_type(g);
    if (!is_within(g, value, nanos_print(g->row->least, least), nanos_print(g->row->most, most)))
        return false;
    *(nanos *)field = value;
    return true;
}

static bool read_number(const struct given *g, void *field)
{
    double value;
    if (!text_to_double(g->text, &value))
        return refuse_type(g);
    if (!(value >= (double)g->row->least && value <= (double)g->row->most)) /* also what is no number */
        return refuse_value(g, say(g->l, "must be from %lld to %lld", (long long)g->row->least, (long long)g->row->most));
    *(struct conf_number *)field = (struct conf_number){ .value = value, .is_set = true };
    return true;
}

static bool is_auto(const struct given *g) { return text_eq(g->text, TEXT("auto")); }

static bool read_auto_count(const struct given *g, void *field)
{
    if (!is_auto(g))
        return read_count(g, field);
    *(uint32_t *)field = 0;
    return true;
}

static bool read_slots(const struct given *g, void *field)
{
    if (!text_eq(g->text, TEXT("adaptive")))
        return read_auto_count(g, field);
    *(uint32_t *)field = CONF_CONCURRENCY_ADAPTIVE;
    return true;
}

static bool read_auto_size(const struct given *g, void *field)
{
    if (!is_auto(g))
        return read_size(g, field);
    *(uint64_t *)field = 0;
    return true;
}

static bool is_fitting(const struct given *g)
{
    if ((int64_t)g->text.len < g->row->least)
        return refuse_value(g, g->text.len == 0 ? "must not be empty" : "is too short");
    return (int64_t)g->text.len <= g->row->most || refuse_value(g, say(g->l, "must be at most %lld bytes long", (long long)g->row->most));
}

/* The characters that may travel in a header, and the row's length. */
static bool is_visible(const struct given *g)
{
    for (size_t i = 0; i < g->text.len; i++)
        if (g->text.at[i] <= ' ' || g->text.at[i] >= 0x7F)
            return refuse_value(g, "must consist of visible ASCII characters");
    return is_fitting(g);
}

/* Text that may be printed: no control characters, and the row's length. */
static bool is_printable(const struct given *g)
{
    for (size_t i = 0; i < g->text.len; i++)
        if ((unsigned char)g->text.at[i] < ' ' || g->text.at[i] == 0x7F)
            return refuse_value(g, "must be without control characters");
    return is_fitting(g);
}

static bool keep(const struct given *g, const char **out)
{
    const char *copy = arena_copy(&g->l->conf->arena, g->text);
    if (copy == NULL)
        return refuse_memory(g->l);
    *out = copy;
    return true;
}

static bool read_text(const struct given *g, void *field) { return is_printable(g) && keep(g, field); }
static bool read_secret(const struct given *g, void *field) { return is_visible(g) && keep(g, field); }

static bool read_key_plain(const struct given *g, void *field)
{
    unsigned len = SHA256_BYTES;
    if (!is_visible(g))
        return false;
    return EVP_Digest(g->text.at, g->text.len, field, &len, EVP_sha256(), NULL) == 1 || refuse_memory(g->l);
}

static bool read_key_digest(const struct given *g, void *field)
{
    uint8_t digest[SHA256_BYTES];
    if (g->text.len != 2 * SHA256_BYTES)
        return refuse_type(g);
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        int high = hex_digit(g->text.at[2 * i]), low = hex_digit(g->text.at[2 * i + 1]);
        if (high < 0 || low < 0)
            return refuse_type(g);
        digest[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(field, digest, sizeof digest);
    return true;
}

static bool read_address(const struct given *g, void *field)
{
    const char *wrong = address_parse(&g->l->conf->arena, g->text, field);
    return wrong == NULL || refuse_value(g, wrong);
}

static bool read_address_or_off(const struct given *g, void *field)
{
    if (!text_eq(g->text, TEXT("off")))
        return read_address(g, field);
    *(struct conf_address *)field = (struct conf_address){ 0 };
    return true;
}

static bool read_url(const struct given *g, void *field)
{
    if ((int64_t)g->text.len > g->row->most)
        return refuse_value(g, "is too long for a URL");
    const char *wrong = url_parse(&g->l->conf->arena, g->text, field);
    return wrong == NULL || refuse_value(g, wrong);
}

static bool read_proxy(const struct given *g, void *field)
{
    struct conf_proxy proxy = { .is_auto = is_auto(g) };
    if ((int64_t)g->text.len > g->row->most)
        return refuse_value(g, "is too long for a proxy");
    bool is_off = text_eq(g->text, TEXT("off"));
    if (!proxy.is_auto && !is_off && text_find(g->text, TEXT(":")) < 0)
        return refuse_type(g); /* a word, such as none */
    const char *wrong = proxy.is_auto || is_off ? NULL : proxy_parse(&g->l->conf->arena, g->text, &proxy);
    if (wrong != NULL)
        return refuse_value(g, wrong);
    *(struct conf_proxy *)field = proxy;
    return true;
}

static bool read_redis(const struct given *g, void *field)
{
    if ((int64_t)g->text.len > g->row->most)
        return refuse_value(g, "is too long for a URL");
    const char *wrong = redis_parse(&g->l->conf->arena, g->text, field);
    return wrong == NULL || refuse_value(g, wrong);
}

static bool read_servers(const struct given *g, void *field)
{
    const char *servers = NULL;
    if (!is_fitting(g))
        return false;
    const char *wrong = text_eq(g->text, TEXT("system")) ? NULL : address_servers(&g->l->conf->arena, g->text, &servers);
    if (wrong != NULL)
        return refuse_value(g, wrong);
    *(const char **)field = servers;
    return true;
}

static bool read_socket(const struct given *g, void *field)
{
    struct conf_socket s = { .mode = CONF_SOCKET_PATH };
    if (is_auto(g))
        s.mode = CONF_SOCKET_AUTO;
    else if (text_eq(g->text, TEXT("off")))
        s.mode = CONF_SOCKET_OFF;
    else if (g->text.len == 0 || g->text.at[0] != '/' || g->text.len > SOCKET_PATH_MAX)
        return refuse_value(g, say(g->l, "must be auto, off or an absolute path of at most %d bytes", SOCKET_PATH_MAX));
    else if (!keep(g, &s.path))
        return false;
    *(struct conf_socket *)field = s;
    return true;
}

static bool read_store(const struct given *g, void *field)
{
    struct conf_store s = { .mode = CONF_STORE_PATH };
    if (text_starts(g->text, TEXT("postgres://")) || text_starts(g->text, TEXT("postgresql://")))
        return refuse_later(g->l, &g->tree->place, say(g->l, "%s: postgres", g->path));
    if (is_auto(g))
        s.mode = CONF_STORE_AUTO;
    else if (text_eq(g->text, TEXT("off")))
        s.mode = CONF_STORE_OFF;
    else if (g->text.len == 0 || g->text.at[0] != '/' || text_ends(g->text, TEXT("/")))
        return refuse_value(g, "must be auto, off or an absolute path of a file");
    else if (!read_text(g, &s.path))
        return false;
    *(struct conf_store *)field = s;
    return true;
}

static bool read_log_file(const struct given *g, void *field)
{
    if (!text_eq(g->text, TEXT("stderr")))
        return read_text(g, field);
    *(const char **)field = NULL;
    return true;
}

static bool read_file(const struct given *g, void *field)
{
    if (text_starts(g->text, TEXT("-----BEGIN")))
        return refuse_value(g, "must be the path of a PEM file, not what stands in it");
    return read_text(g, field);
}

/* What people write to have nothing verified is no file's name. */
static bool read_file_or_auto(const struct given *g, void *field)
{
    if (text_eq(g->text, TEXT("off")) || text_eq(g->text, TEXT("none")) || text_eq(g->text, TEXT("false")))
        return refuse_value(g, "must be the path of a PEM file, or auto: certificates are always verified, perhaps against the backend's own");
    if (!is_auto(g))
        return read_file(g, field);
    *(const char **)field = NULL;
    return true;
}

/* "a, b or c" of the words that are served. */
static const char *words_listed(struct loading *l, enum type type)
{
    const char *listed = "", *last = NULL;
    const struct word *w;
    for (size_t i = 0; (w = word_next(type, &i)) != NULL;) {
        if (!w->is_served)
            continue;
        if (last != NULL)
            listed = *listed ? say(l, "%s, %s", listed, last) : last;
        last = w->text;
    }
    return *listed ? say(l, "%s or %s", listed, last) : last;
}

static bool refuse_word(const struct given *g)
{
    struct loading *l = g->l;
    const char *near[16]; /* the longest choice has 5 words */
    size_t count = 0;
    const struct word *w;
    for (size_t i = 0; count < ARRAY_LEN(near) && (w = word_next(g->row->type, &i)) != NULL;)
        near[count++] = w->text;
    const char *not = may_be_secret(g) ? "" : say(l, ", not %s", shown(l, g->tree->text));
    return refuse(l, &g->tree->place, "%s must be %s%s%s", g->path, words_listed(l, g->row->type), not, suggest(l, g->text, near, count));
}

static bool read_word(const struct given *g, void *field)
{
    const struct word *w;
    for (size_t i = 0; (w = word_next(g->row->type, &i)) != NULL;) {
        if (!text_eq(g->text, text_of(w->text)))
            continue;
        if (!w->is_served)
            return refuse_later(g->l, &g->tree->place, say(g->l, "%s: %s", g->path, w->text));
        _Static_assert(sizeof(enum conf_kind) == sizeof w->value && sizeof(enum conf_switch) == sizeof w->value, "enums are one size");
        memcpy(field, &w->value, sizeof w->value);
        return true;
    }
    return refuse_word(g);
}

/* NULL: the type is one of words. */
static bool (*const readers[TYPE_COUNT])(const struct given *, void *) = {
    [TYPE_address] = read_address,       [TYPE_address_or_off] = read_address_or_off,
    [TYPE_socket] = read_socket,         [TYPE_store] = read_store,
    [TYPE_log_file] = read_log_file,
    [TYPE_count] = read_count,           [TYPE_auto_count] = read_auto_count,
    [TYPE_slots] = read_slots,
    [TYPE_size] = read_size,             [TYPE_auto_size] = read_auto_size,
    [TYPE_span] = read_span,             [TYPE_number] = read_number,
    [TYPE_text] = read_text,             [TYPE_secret] = read_secret,
    [TYPE_key_plain] = read_key_plain,   [TYPE_key_digest] = read_key_digest,
    [TYPE_url] = read_url,               [TYPE_proxy] = read_proxy,
    [TYPE_redis] = read_redis,
    [TYPE_servers] = read_servers,       [TYPE_file] = read_file,
    [TYPE_file_or_auto] = read_file_or_auto,
};

bool value_read(struct loading *l, const struct row *row, const char *path, const struct tree *value, void *field)
{
    if (tree_is_empty(value))
        return refuse(l, &value->place, "%s has no value", path);
    if (row->type == TYPE_names || row->type == TYPE_targets)
        return list_read(l, row, path, value, field);
    const char *due = *type_what(row->type) ? type_what(row->type) : words_listed(l, row->type);
    if (value->kind != TREE_SCALAR)
        return refuse(l, &value->place, "%s must be one value, not a %s: %s", path, value->kind == TREE_MAP ? "section" : "list", due);
    struct given g = { .l = l, .row = row, .path = path, .tree = value };
    if (!expand(l, value, &g.text))
        return false;
    return readers[row->type] != NULL ? readers[row->type](&g, field) : read_word(&g, field);
}
