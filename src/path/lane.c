/* lane.c: the short way to an answer from memory: what is asked again byte for byte is not parsed again. A worker's own table of bodies that led to a hit, by their
   tags (cache/raw.h). Called by the steps body and cache. */
#include "cache/raw.h"
#include "path/path.h"
#include <string.h>

#define SETS 2048 /* a power of two */
#define WAYS 8    /* rows of a set: one that is full gives up the row that was not used for longest. 2 MB a worker when all are full, as pages come with use */

/* What a body means. */
struct lane {
    const struct view *view;  /* under which it does; another one's row is never used. NULL: an empty row */
    const struct api *api;
    struct cache_tag tag;     /* of owner, tenant and body */
    struct cache_id id;
    struct pool *pool;
    bool stream, usage_wanted;
};

struct lanes {
    struct cache_raw *raw;
    uint32_t now;             /* uses so far */
    uint32_t used[SETS][WAYS];
    uint32_t mark[SETS][WAYS];/* of the tag, so that a row is only looked at for a reason */
    struct lane row[SETS][WAYS];
};

static struct lanes *lanes_new(struct worker *w)
{
    uint64_t key[CACHE_RAW_KEY_BYTES / sizeof(uint64_t)];
    struct lanes *all = mem_zero(sizeof *all);
    for (unsigned i = 0; i < ARRAY_LEN(key); i++)
        key[i] = worker_random(w);
    if (all != NULL && (all->raw = cache_raw_new((const uint8_t *)key)) == NULL) {
        mem_free(all);
        return NULL;
    }
    return all;
}

static bool tag_of(struct lanes *all, const struct request *rq, struct cache_tag *out)
{
    return cache_raw_tag(all->raw, rq->who.owner, rq->who.tenant, buf_text(&rq->http->body), out);
}

static unsigned set_of(const struct cache_tag *tag) { return tag->word[0] % SETS; }
static uint32_t mark_of(const struct cache_tag *tag) { return (uint32_t)(tag->word[0] >> 32); }

bool lane_is_possible(const struct request *rq)
{
    bool wanted = rq->cache.wish != CACHE_REFRESH && rq->cache.wish != CACHE_LEAVE && rq->conf->cache.exact.enabled == CONF_ON;
    return wanted && rq->desk->lanes != NULL && rq->http->head->content_length <= ASIDE_BYTES;
}

static struct lane *find(struct lanes *all, const struct cache_tag *tag)
{
    unsigned set = set_of(tag);
    for (unsigned i = 0; i < WAYS; i++) {
        struct lane *l = &all->row[set][i];
        if (all->mark[set][i] == mark_of(tag) && l->view != NULL && memcmp(&l->tag, tag, sizeof *tag) == 0) {
            all->used[set][i] = ++all->now;
            return l;
        }
    }
    return NULL;
}

bool lane_find(struct request *rq)
{
    struct lanes *all = rq->desk->lanes;
    struct cache_tag tag;
    if (!lane_is_possible(rq) || buf_len(&rq->http->body) > ASIDE_BYTES || !tag_of(all, rq, &tag))
        return false;
    const struct lane *l = find(all, &tag);
    if (l == NULL || l->view != rq->view || l->api != rq->api)
        return false;
    rq->model = text_of(pool_name(l->pool));
    rq->pool = l->pool;
    rq->pool_conf = roster_conf_model(rq->roster, l->pool);
    rq->stream = l->stream;
    rq->usage_wanted = l->usage_wanted;
    rq->cache.id = l->id;
    rq->cache.by_lane = true;
    return true;
}

/* The row of a set that is empty, or was not used for longest. */
static unsigned oldest(const struct lanes *all, unsigned set)
{
    unsigned best = 0;
    for (unsigned i = 1; i < WAYS; i++)
        if (all->now - all->used[set][i] > all->now - all->used[set][best])
            best = i;
    return best;
}

void lane_add(struct request *rq)
{
    struct desk *d = rq->desk;
    struct cache_tag tag;
    if (rq->http->body.mem == NULL || (d->lanes == NULL && (d->lanes = lanes_new(d->worker)) == NULL))
        return;
    struct lanes *all = d->lanes;
    if (!tag_of(all, rq, &tag))
        return;
    unsigned set = set_of(&tag), i = oldest(all, set);
    all->used[set][i] = ++all->now;
    all->mark[set][i] = mark_of(&tag);
    all->row[set][i] = (struct lane){ rq->view, rq->api, tag, rq->cache.id, rq->pool, rq->stream, rq->usage_wanted };
}

void lane_forget_all(struct desk *d)
{
    if (d->lanes != NULL)
        cache_raw_free(d->lanes->raw);
    mem_free(d->lanes);
    d->lanes = NULL;
}
