/* http_head.c: finding headers by id or name. Read by every step of the path; filled by http_parse.c. */
#include "net/http_head.h"

#define SLOTS 256 /* a power of two, five times the names: at most three compares a look-up, which the unit checks */

static const struct text names[HEADER_COUNT] = {
#define HTTP_NAME(id, name) [HEADER_##id] = { name, sizeof(name) - 1 },
#include "net/http_names.def"
#undef HTTP_NAME
};
_Static_assert(HEADER_COUNT < SLOTS / 4, "http_names.def has outgrown its table");

static uint8_t slots[SLOTS]; /* header ids by hash, linear probing; 0 is an empty slot */

/* Length and three characters tell apart nearly all header names in use. */
static unsigned slot_of(struct text name)
{
    const unsigned char *s = (const unsigned char *)name.at;
    unsigned h = (unsigned)name.len * 67u + s[0] * 5u + s[name.len - 1] * 37u + s[name.len / 2] * 11u;
    return (h ^ h >> 7) & (SLOTS - 1);
}

/* Before main, so that no thread ever sees it half built and no caller must remember to. */
__attribute__((constructor)) static void slots_build(void)
{
    for (unsigned id = 1; id < HEADER_COUNT; id++) {
        unsigned at = slot_of(names[id]);
        while (slots[at] != 0)
            at = (at + 1) & (SLOTS - 1);
        slots[at] = (uint8_t)id;
    }
}

enum http_header_id http_header_id(struct text lower_name)
{
    if (lower_name.len == 0)
        return HEADER_OTHER;
    for (unsigned at = slot_of(lower_name); slots[at] != 0; at = (at + 1) & (SLOTS - 1)) /* ends: most slots are empty */
        if (text_eq(names[slots[at]], lower_name))
            return (enum http_header_id)slots[at];
    return HEADER_OTHER;
}

struct text http_header_name(enum http_header_id id)
{
    ASSERT(id > HEADER_OTHER && id < HEADER_COUNT);
    return names[id];
}

struct text http_head_get(const struct http_head *h, enum http_header_id id)
{
    ASSERT(id > HEADER_OTHER && id < HEADER_COUNT);
    return h->first[id] ? h->headers[h->first[id] - 1].value : TEXT_NONE;
}

struct text http_head_find(const struct http_head *h, struct text lower_name)
{
    for (unsigned i = 0; i < h->count; i++)
        if (text_eq(h->headers[i].name, lower_name))
            return h->headers[i].value;
    return TEXT_NONE;
}

unsigned http_head_times(const struct http_head *h, enum http_header_id id)
{
    unsigned times = 0;
    if (http_head_has(h, id))
        for (unsigned i = h->first[id] - 1u; i < h->count; i++)
            times += h->headers[i].id == id;
    return times;
}

bool http_head_lists(const struct http_head *h, enum http_header_id id, struct text lower_word)
{
    if (!http_head_has(h, id))
        return false;
    for (unsigned i = h->first[id] - 1u; i < h->count; i++) {
        struct text rest = h->headers[i].id == id ? h->headers[i].value : TEXT_NONE;
        while (rest.len > 0) {
            struct text word;
            rest = text_cut(rest, ',', &word);
            if (text_eq_nocase(text_trim(word), lower_word))
                return true;
        }
    }
    return false;
}

bool http_header_is_hop(enum http_header_id id)
{
    switch (id) {
    case HEADER_HOST:
    case HEADER_CONTENT_LENGTH:
    case HEADER_TRANSFER_ENCODING:
    case HEADER_CONNECTION:
    case HEADER_KEEP_ALIVE:
    case HEADER_PROXY_CONNECTION:
    case HEADER_PROXY_AUTHENTICATE:
    case HEADER_PROXY_AUTHORIZATION:
    case HEADER_TE:
    case HEADER_TRAILER:
    case HEADER_UPGRADE:
    case HEADER_EXPECT:
    case HEADER_DATE:
        return true;
    default:
        return false;
    }
}
