/* joins.c: which flights can be found by their identity, and entering one. The way to other workers is links.c's. See joins.h. */
#include "relay/joins.h"
#include "relay/inner.h"
#include <string.h>

#define SHARDS    16 /* workers meet in one of them once in a while only */
#define TRIES_MAX 8 /* each but the last means that another worker was quicker by a microsecond */

struct joins {
    struct shard shards[SHARDS];
};

struct joins *joins_new(struct world *world)
{
    struct joins *js = mem_zero(sizeof *js);
    for (unsigned i = 0; js != NULL && i < SHARDS; i++)
        gate_init(&js->shards[i].gate, world, GATE_FLIGHT);
    return js;
}

void joins_free(struct joins *js)
{
    if (js == NULL)
        return;
    for (unsigned i = 0; i < SHARDS; i++) {
        ASSERT(js->shards[i].count == 0);
        gate_fini(&js->shards[i].gate);
    }
    mem_free(js);
}

unsigned joins_count(struct joins *js)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        gate_enter(&js->shards[i].gate);
        n += js->shards[i].count;
        gate_leave(&js->shards[i].gate);
    }
    return n;
}

/* ---- finding; under the gate ---- */

static struct shard *shard_of(struct joins *js, uint64_t hash) { return &js->shards[hash % SHARDS]; }
static struct join **bucket_of(struct shard *s, uint64_t hash) { return &s->bucket[hash / SHARDS % BUCKETS]; }

static struct join *find(struct shard *s, const struct join_ask *ask)
{
    struct join *j = *bucket_of(s, ask->hash);
    while (j != NULL && (j->hash != ask->hash || memcmp(j->id, ask->id, sizeof j->id) != 0))
        j = j->next;
    return j;
}

/* Without the gate, so it is a guess: nobody has begun it. */
static bool looks_new(struct shard *s, const struct join_ask *ask)
{
    return __atomic_load_n(bucket_of(s, ask->hash), __ATOMIC_RELAXED) == NULL;
}

static void open_join(struct join *j)
{
    struct join **bucket = bucket_of(j->shard, j->hash);
    j->next = *bucket;
    __atomic_store_n(bucket, j, __ATOMIC_RELAXED);
    j->is_open = true;
    j->shard->count++;
}

static void close_join(struct join *j)
{
    struct join **at = bucket_of(j->shard, j->hash);
    if (!j->is_open)
        return;
    while (*at != j)
        at = &(*at)->next;
    __atomic_store_n(at, j->next, __ATOMIC_RELAXED);
    j->is_open = false;
    j->was_unread = j->links == NULL;
    j->shard->count--;
}

/* ---- at home ---- */

void join_close(struct join *j)
{
    if (!j->is_open)
        return;
    gate_enter(&j->shard->gate);
    close_join(j);
    gate_leave(&j->shard->gate);
}

bool join_close_unread(struct join *j)
{
    if (!j->is_open && j->was_unread)
        return true;
    gate_enter(&j->shard->gate);
    bool is_unread = j->links == NULL;
    if (is_unread)
        close_join(j);
    gate_leave(&j->shard->gate);
    return is_unread;
}

bool join_free(struct join *j)
{
    if (!join_close_unread(j))
        return false;
    j->home->jobs--;
    slab_give(&j->hangar->joins, j);
    return true;
}

/* ---- entering ---- */

static enum fail join_new(struct worker *w, struct shard *s, const struct join_ask *ask, struct join **out)
{
    struct join *j = slab_take(&ask->hangar->joins);
    struct flight_bill *bill = mem_zero(sizeof *bill);
    struct flight *f = j != NULL && bill != NULL ? flight_new(ask->hangar, ask->buffer_max) : NULL;
    if (f == NULL) {
        mem_free(bill);
        if (j != NULL)
            slab_give(&ask->hangar->joins, j);
        return FAIL_NO_MEMORY;
    }
    memset(j, 0, offsetof(struct join, told.attempts));
    flight_share(f, w, ask->late_ns);
    bill->holders = 1;
    f->bill = j->bill = bill;
    f->join = j;
    j->shard = s;
    j->home = w;
    j->hangar = ask->hangar;
    j->flight = f;
    j->hash = ask->hash;
    memcpy(j->id, ask->id, sizeof j->id);
    w->jobs++; /* it does not end while letters may come */
    *out = j;
    return OK;
}

/* This worker's way to that answer, if it can be read from its beginning. */
static struct join_link *echo_of(const struct join *j, const struct worker *w)
{
    for (struct join_link *l = j->links; l != NULL; l = l->next)
        if (l->worker == w && l->flight->readers > 0 && l->flight->is_kept && l->flight->state != FLIGHT_ENDED)
            return l;
    return NULL;
}

/* What there is, with what was made so far. The flight to read, NULL: something is missing. *out_news: home is to look at that link. */
static struct flight *enter(struct worker *w, struct shard *s, const struct join_ask *ask, struct join *own, struct join_link *link, struct worker **out_home,
                            struct join_link **out_news)
{
    struct join *j = find(s, ask);
    *out_home = j != NULL ? j->home : NULL;
    *out_news = NULL;
    if (j == NULL && own != NULL) {
        open_join(own);
        return own->flight;
    }
    if (j == NULL)
        return NULL;
    if (j->home == w)
        return j->flight;
    struct join_link *l = echo_of(j, w);
    if (l == NULL && link != NULL && link->home == j->home) {
        link->join = j;
        link->shard = s;
        link->flight->bill = j->bill;
        atomic_fetch_add_explicit(&j->bill->holders, 1, memory_order_relaxed);
        link->next = j->links;
        j->links = link;
        l = link;
    }
    if (l == NULL)
        return NULL;
    if ((l == link || ask->urgency > l->urgency) && !l->to_home) {
        l->to_home = true;
        *out_news = l;
    }
    l->urgency = MAX(l->urgency, ask->urgency);
    return l->flight;
}

enum fail joins_enter(struct worker *w, struct joins *js, const struct join_ask *ask, struct flight_reader *r, enum join_role *out)
{
    struct shard *s = shard_of(js, ask->hash);
    struct join *own = NULL;
    struct join_link *link = NULL, *news = NULL;
    struct flight *f = NULL;
    struct worker *home = NULL;
    enum fail fail = OK;
    *out = JOIN_NONE;
    if (ask->may_lead && looks_new(s, ask))
        fail = join_new(w, s, ask, &own);
    for (int i = 0; f == NULL && fail == OK; i++) {
        gate_enter(&s->gate);
        f = enter(w, s, ask, own, link, &home, &news);
        gate_leave(&s->gate);
        if (f != NULL || (home == NULL && !ask->may_lead) || i == TRIES_MAX)
            break;
        if (home == NULL) {
            fail = join_new(w, s, ask, &own);
        } else if (link == NULL) {
            fail = link_new(w, home, ask, &link);
        } else { /* meanwhile a third worker leads */
            flight_let_go(link->flight);
            link = NULL;
        }
    }
    bool has_led = f != NULL && own != NULL && f == own->flight;
    if (f != NULL) {
        *out = has_led ? JOIN_LEADS : JOIN_FOLLOWS;
        flight_reader_begins(f, r);
        r->pays = has_led;
        flight_urge(f, ask->urgency);
    }
    if (news != NULL)
        link_look(news);
    if (link != NULL)
        flight_let_go(link->flight); /* its task and its reader hold it */
    if (own != NULL)
        flight_let_go(own->flight);
    return fail;
}
