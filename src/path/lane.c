/* lane.c: the short way to an answer from memory: what is asked again byte for byte is not parsed again. A worker's own table of bodies that led to a hit, by their hash,
   proved by their SHA-256. Called by the steps body and cache. */
#include "path/path.h"
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define LANES 8192 /* a power of two; about 0.8 MB a worker, from its first hit on */

struct lane {
    uint64_t hash;
    struct cache_digest raw;  /* of tenant and body */
    const struct api *api;
    struct cache_id id;
    const struct view *view;  /* under which the body means this; another one's row is never used */
    struct pool *pool;
    bool stream, usage_wanted;
};

static uint64_t hash_of(const struct request *rq)
{
    struct text body = buf_text(&rq->http->body);
    return XXH3_64bits(body.at, body.len);
}

static struct cache_digest raw_of(const struct request *rq)
{
    struct cache_digest raw;
    cache_raw(&raw, rq->who.tenant, buf_text(&rq->http->body));
    return raw;
}

bool lane_is_possible(const struct request *rq)
{
    bool wanted = rq->cache.wish != CACHE_REFRESH && rq->cache.wish != CACHE_LEAVE && rq->conf->cache.exact.enabled == CONF_ON;
    return wanted && rq->desk->lanes != NULL && rq->http->head->content_length <= ASIDE_BYTES;
}

bool lane_find(struct request *rq)
{
    struct lane *lanes = rq->desk->lanes;
    if (!lane_is_possible(rq) || buf_len(&rq->http->body) > ASIDE_BYTES)
        return false;
    uint64_t hash = hash_of(rq);
    const struct lane *l = &lanes[hash & (LANES - 1)];
    if (l->hash != hash || l->view != rq->view || l->api != rq->api)
        return false;
    struct cache_digest raw = raw_of(rq);
    if (memcmp(&raw, &l->raw, sizeof raw) != 0)
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

void lane_add(struct request *rq)
{
    struct desk *d = rq->desk;
    if (rq->http->body.mem == NULL || (d->lanes == NULL && (d->lanes = mem_zero(LANES * sizeof *d->lanes)) == NULL))
        return;
    uint64_t hash = hash_of(rq);
    d->lanes[hash & (LANES - 1)] = (struct lane){ hash, raw_of(rq), rq->api, rq->cache.id, rq->view, rq->pool, rq->stream, rq->usage_wanted };
}

void lane_forget_all(struct desk *d)
{
    mem_free(d->lanes);
    d->lanes = NULL;
}
