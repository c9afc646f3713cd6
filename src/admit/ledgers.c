/* ledgers.c: the ledgers of keys and tenants by name: bounded in number, made outside the gate, and forgotten only when nothing is lost with them. */
#define OPENSSL_API_COMPAT 0x10100000L /* SHA256_Init: an EVP method would be fetched for each name */
#include "admit/inner.h"
#include <openssl/sha.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct ledger **head_of(const struct limits *l, enum limit_owner owner, struct text name)
{
    uint64_t hash = XXH3_64bits_withSeed(name.at, name.len, owner); /* names are the operator's: nobody aims collisions */
    return (struct ledger **)&l->heads[hash % LEDGER_HEADS];
}

struct ledger *ledger_find(const struct limits *l, enum limit_owner owner, struct text name)
{
    struct ledger *a = *head_of(l, owner, name);
    while (a != NULL && (a->owner != owner || !text_eq(ledger_name(a), name)))
        a = a->next;
    return a;
}

void ledger_pass(struct ledger *a, nanos now, nanos wall)
{
    bucket_pass(&a->requests, a->limits.rpm, now);
    bucket_pass(&a->tokens, a->limits.tpm, now);
    if (a->limits.period > 0)
        budget_pass(&a->money, a->limits.period, now, wall);
}

/* Would a new ledger of that name be the same? */
static bool is_fresh(struct ledger *a, nanos now, nanos wall)
{
    if (a->in_flight > 0 || a->is_telling)
        return false;
    ledger_pass(a, now, wall);
    return a->requests.used == 0 && a->tokens.used == 0 && a->money.spent == 0;
}

static void unlink_it(struct limits *l, struct ledger *a)
{
    struct ledger **at = head_of(l, a->owner, ledger_name(a));
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    l->all[a->place] = l->all[--l->count];
    l->all[a->place]->place = a->place;
}

/* All places are taken: one that nobody would miss. Some are looked at each time, in turn, so the gate is not held for long. */
static struct ledger *make_room(struct limits *l, nanos now, nanos wall)
{
    for (unsigned i = 0; i < LEDGER_LOOKS; i++) {
        struct ledger *a = l->all[l->hand++ % l->count];
        if (is_fresh(a, now, wall)) {
            unlink_it(l, a);
            return a;
        }
    }
    return NULL;
}

static bool insert(struct limits *l, struct ledger *a)
{
    struct ledger **head = head_of(l, a->owner, ledger_name(a));
    if (l->count == LEDGERS_MAX)
        return false;
    a->place = l->count;
    l->all[l->count++] = a;
    a->next = *head;
    *head = a;
    return true;
}

static void hash(struct ledger *a)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, limit_owners[a->owner], strlen(limit_owners[a->owner]) + 1);
    SHA256_Update(&ctx, a->name, a->name_len);
    SHA256_Final(digest, &ctx);
    for (unsigned i = 0; i < sizeof digest; i++) {
        a->hash[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        a->hash[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
}

enum fail ledger_add(const struct worker *w, struct limits *l, enum limit_owner owner, struct text name)
{
    struct ledger *a = mem_zero(sizeof *a + name.len), *old = NULL, *left_over = NULL;
    if (a == NULL)
        return FAIL_NO_MEMORY;
    a->owner = owner;
    a->name_len = (uint32_t)name.len;
    memcpy(a->name, name.at, name.len);
    hash(a);
    gate_enter(&l->gate);
    if (ledger_find(l, owner, name) != NULL) {
        left_over = a; /* another worker was faster */
    } else {
        if (l->count == LEDGERS_MAX && w != NULL)
            old = make_room(l, w->now, w->wall);
        if (!insert(l, a)) {
            left_over = a;
            a = NULL;
        }
    }
    gate_leave(&l->gate);
    mem_free(old);
    mem_free(left_over);
    return a != NULL ? OK : FAIL_NO_MEMORY;
}
