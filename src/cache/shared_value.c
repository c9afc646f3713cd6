/* shared_value.c: an answer as a string in Redis, and back. What comes back may have been cut, damaged, put by another version or written by somebody else: it is looked
   at before any of it is believed. Called by shared.c. */
#include "cache/shared_inner.h"
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

#define ZIP_LEAST 1024 /* bytes; shorter ones gain little */
#define ZIP_LEVEL 1    /* zstd's fastest of those that pack entropy, too: it is done on a loop */

/* Before the texts of the label and the payload. As little-endian machines have it: to others it is damaged. */
struct head {
    char magic[8];     /* with the version */
    uint64_t checksum; /* XXH3 of all that follows */
    uint8_t id[CACHE_ID_BYTES];
    char stamp[SHARED_STAMP_BYTES];
    int64_t nano_usd, made;
    uint32_t len, usage_from, prompt_tokens, completion_tokens, service_ms;
    uint32_t payload; /* its bytes here */
    uint16_t tenant, model, tags; /* bytes of each */
    uint8_t form, is_zipped;
};
_Static_assert(sizeof(struct head) == 112, "no byte of it is padding");

#define CHECKED offsetof(struct head, id)
static const char magic[8] = { 'w', 'e', 'i', 'r', ' ', 'a', '1', '\n' };

struct shared_zip {
    ZSTD_CCtx *pack;
    ZSTD_DCtx *unpack;
};

struct shared_zip *shared_zip_new(void)
{
    struct shared_zip *z = mem_zero(sizeof *z);
    if (z == NULL)
        return NULL;
    z->pack = ZSTD_createCCtx();
    z->unpack = ZSTD_createDCtx();
    if (z->pack != NULL && z->unpack != NULL)
        return z;
    shared_zip_free(z);
    return NULL;
}

void shared_zip_free(struct shared_zip *z)
{
    if (z == NULL)
        return;
    ZSTD_freeCCtx(z->pack);
    ZSTD_freeDCtx(z->unpack);
    mem_free(z);
}

/* ---- there ---- */

static char *put(char *to, struct text t)
{
    if (t.len > 0)
        memcpy(to, t.at, t.len);
    return to + t.len;
}

/* Bytes of the payload. */
static size_t pack(struct shared_zip *z, const struct cache_value *v, char *to, size_t room, bool *out_is_zipped)
{
    size_t n = v->len >= ZIP_LEAST ? ZSTD_compressCCtx(z->pack, to, room, v->bytes, v->len, ZIP_LEVEL) : v->len;
    *out_is_zipped = v->len >= ZIP_LEAST && !ZSTD_isError(n) && n < v->len;
    if (*out_is_zipped)
        return n;
    memcpy(to, v->bytes, v->len);
    return v->len;
}

enum fail shared_value_write(struct shared_zip *z, const struct cache_id *id, const struct cache_label *label, const char stamp[SHARED_STAMP_BYTES],
                             const struct cache_value *v, char **out, size_t *out_len)
{
    size_t longest = MAX(MAX(label->tenant.len, label->model.len), label->tags.len);
    if (v->len > SHARED_VALUE_MAX || longest > SHARED_LABEL_MAX)
        return FAIL_TOO_LARGE;
    size_t room = ZSTD_compressBound(v->len), before = sizeof(struct head) + label->tenant.len + label->model.len + label->tags.len;
    char *bytes = mem_alloc(before + room);
    bool is_zipped;
    if (bytes == NULL)
        return FAIL_NO_MEMORY;
    put(put(put(bytes + sizeof(struct head), label->tenant), label->model), label->tags);
    size_t payload = pack(z, v, bytes + before, room, &is_zipped);
    struct head h = { .nano_usd = v->nano_usd, .made = v->made, .len = v->len, .usage_from = v->usage_from, .prompt_tokens = v->prompt_tokens,
                      .completion_tokens = v->completion_tokens, .service_ms = v->service_ms, .payload = (uint32_t)payload, .tenant = (uint16_t)label->tenant.len,
                      .model = (uint16_t)label->model.len, .tags = (uint16_t)label->tags.len, .form = (uint8_t)v->form, .is_zipped = is_zipped };
    memcpy(h.magic, magic, sizeof magic);
    memcpy(h.id, id->sha256, sizeof h.id);
    memcpy(h.stamp, stamp, sizeof h.stamp);
    memcpy(bytes, &h, sizeof h);
    h.checksum = XXH3_64bits(bytes + CHECKED, before + payload - CHECKED);
    memcpy(bytes, &h, sizeof h);
    *out = bytes;
    *out_len = before + payload;
    return OK;
}

/* ---- and back ---- */

/* What the numbers of a head, whose checksum is good, say about each other and about the string's length. */
static bool is_sound(const struct head *h, size_t len)
{
    return len == sizeof *h + (size_t)h->tenant + h->model + h->tags + h->payload && h->len <= SHARED_VALUE_MAX && h->usage_from <= h->len && h->form <= CACHE_VECTOR &&
           (h->is_zipped ? h->is_zipped == 1 : h->payload == h->len);
}

static struct text take(const char **at, size_t len)
{
    struct text t = { *at, len };
    *at += len;
    return t;
}

bool shared_value_open(struct text bytes, const struct cache_id *id, struct text tenant, struct shared_parts *out)
{
    struct head h;
    if (bytes.len < sizeof h)
        return false;
    memcpy(&h, bytes.at, sizeof h); /* it may lie anywhere */
    if (memcmp(h.magic, magic, sizeof magic) != 0 || XXH3_64bits(bytes.at + CHECKED, bytes.len - CHECKED) != h.checksum || !is_sound(&h, bytes.len))
        return false;
    const char *at = bytes.at + sizeof h;
    out->stamp = (struct text){ bytes.at + offsetof(struct head, stamp), sizeof h.stamp };
    out->label.tenant = take(&at, h.tenant);
    out->label.model = take(&at, h.model);
    out->label.tags = take(&at, h.tags);
    out->payload = take(&at, h.payload);
    out->is_zipped = h.is_zipped;
    out->head = (struct cache_value){ .len = h.len, .usage_from = h.usage_from, .form = h.form, .prompt_tokens = h.prompt_tokens, .nano_usd = h.nano_usd,
                                      .completion_tokens = h.completion_tokens, .service_ms = h.service_ms, .made = h.made };
    return memcmp(h.id, id->sha256, sizeof h.id) == 0 && text_eq(out->label.tenant, tenant);
}

/* Into exactly as many bytes as were announced: what unpacks to more, or less, is none of ours. */
static bool unpack(struct shared_zip *z, const struct shared_parts *parts, char *to)
{
    if (parts->is_zipped)
        return ZSTD_decompressDCtx(z->unpack, to, parts->head.len, parts->payload.at, parts->payload.len) == parts->head.len;
    memcpy(to, parts->payload.at, parts->payload.len);
    return true;
}

struct cache_value *shared_value_read(struct shared_zip *z, const struct shared_parts *parts)
{
    const struct cache_value *head = &parts->head;
    struct cache_value *v = cache_value_new((size_t)head->len + parts->label.tags.len);
    if (v == NULL)
        return NULL;
    v->len = head->len;
    v->usage_from = head->usage_from;
    v->form = head->form;
    v->prompt_tokens = head->prompt_tokens;
    v->completion_tokens = head->completion_tokens;
    v->service_ms = head->service_ms;
    v->nano_usd = head->nano_usd;
    v->made = head->made;
    put(v->bytes + v->len, parts->label.tags);
    if (unpack(z, parts, v->bytes))
        return v;
    cache_value_drop(v);
    return NULL;
}
