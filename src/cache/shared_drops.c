/* shared_drops.c: what instances have dropped, as a worker knows it: the list that lies in Redis. Called by shared.c. */
#include "cache/inner.h"
#include "cache/shared_inner.h"

#define NOT_ASKED 0xFFFF /* a text's length; each is two bytes, the lower first, and the bytes */

/* ---- an entry ---- */

static char *put_text(char *to, struct text t)
{
    size_t len = t.at == NULL ? NOT_ASKED : t.len;
    *to++ = (char)(len & 0xFF);
    *to++ = (char)(len >> 8);
    if (t.at == NULL || t.len == 0)
        return to;
    memcpy(to, t.at, t.len);
    return to + t.len;
}

size_t shared_drops_write(const char stamp[SHARED_STAMP_BYTES], const struct cache_match *match, char out[SHARED_ENTRY_MAX])
{
    const struct cache_match *m = match;
    if (m->tenant.len > SHARED_MATCH_MAX || m->model.len > SHARED_MATCH_MAX || m->tag.len > SHARED_MATCH_MAX ||
        m->tenant.len + m->model.len + m->tag.len > SHARED_MATCH_MAX)
        return 0;
    memcpy(out, stamp, SHARED_STAMP_BYTES);
    return (size_t)(put_text(put_text(put_text(out + SHARED_STAMP_BYTES, m->tenant), m->model), m->tag) - out);
}

static bool take_text(struct text *from, struct text *out)
{
    if (from->len < 2)
        return false;
    const unsigned char *u = (const unsigned char *)from->at;
    size_t len = u[0] | (size_t)u[1] << 8;
    *out = len == NOT_ASKED ? TEXT_NONE : (struct text){ from->at + 2, len };
    if (out->len > from->len - 2)
        return false;
    *from = (struct text){ from->at + 2 + out->len, from->len - 2 - out->len };
    return true;
}

static bool take_entry(struct text *from, struct shared_entry *out)
{
    if (from->len < SHARED_STAMP_BYTES)
        return false;
    memcpy(out->stamp, from->at, SHARED_STAMP_BYTES);
    *from = (struct text){ from->at + SHARED_STAMP_BYTES, from->len - SHARED_STAMP_BYTES };
    return take_text(from, &out->match.tenant) && take_text(from, &out->match.model) && take_text(from, &out->match.tag);
}

/* ---- the list ---- */

void shared_drops_forget(struct shared_drops *d)
{
    mem_free(d->bytes);
    d->bytes = NULL;
    d->count = 0;
}

bool shared_drops_read(struct shared_drops *d, struct text bytes)
{
    shared_drops_forget(d);
    d->bytes = mem_alloc(bytes.len + 1);
    if (d->bytes == NULL)
        return false;
    memcpy(d->bytes, bytes.at, bytes.len);
    bytes.at = d->bytes;
    while (d->count < SHARED_DROPS_MAX && take_entry(&bytes, &d->at[d->count]))
        d->count++;
    return true;
}

unsigned shared_drops_find(const struct shared_drops *d, struct text stamp)
{
    unsigned i = 0;
    while (i < d->count && !text_eq((struct text){ d->at[i].stamp, SHARED_STAMP_BYTES }, stamp))
        i++;
    return i;
}

bool shared_drops_have(const struct shared_drops *d, struct text stamp, const struct cache_label *label)
{
    unsigned end = shared_drops_find(d, stamp);
    for (unsigned i = 0; i < end && end < d->count; i++)
        if (label_fits(label, &d->at[i].match))
            return true;
    return end == d->count; /* its drop is no longer known: it is older than the list */
}
