/* seen.c: tokens that were verified before. Called by auth.c. Who is pushed out is chosen by CLOCK (Corbató: A Paging Experiment with the Multics System, 1968): the
   hand passes over what was asked for since it came by. Only tokens whose signature holds get in, so that no stranger can push one out. */
#include "auth/inner.h"

static struct text name_of(const struct token *k) { return (struct text){ (const char *)k->sha256, sizeof k->sha256 }; }

void seen_init(struct seen *s)
{
    map_init(&s->by_hash, 0); /* keyed by SHA-256: nobody can aim collisions */
    s->count = s->hand = 0;
}

void seen_fini(struct seen *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        token_give(s->places[i]);
    map_fini(&s->by_hash);
}

struct token *seen_find(struct seen *s, struct text sha256)
{
    struct token *k = map_get(&s->by_hash, sha256);
    if (k != NULL)
        k->is_asked = true;
    return k;
}

/* A place whose token is forgotten; two rounds at most, as the first one takes every mark away. */
static uint32_t place_free(struct seen *s)
{
    if (s->count < SEEN_MAX)
        return s->count++;
    while (s->places[s->hand]->is_asked) {
        s->places[s->hand]->is_asked = false;
        s->hand = (s->hand + 1) % SEEN_MAX;
    }
    uint32_t place = s->hand;
    s->hand = (s->hand + 1) % SEEN_MAX;
    map_remove(&s->by_hash, name_of(s->places[place]));
    token_give(s->places[place]);
    return place;
}

void seen_add(struct seen *s, struct token *k)
{
    ASSERT(map_get(&s->by_hash, name_of(k)) == NULL);
    if (map_set(&s->by_hash, name_of(k), k, NULL) != OK)
        return;
    s->places[place_free(s)] = k;
    k->references++;
}
