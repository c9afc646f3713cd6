/* status.c: limits, use and spend as JSON, for `weir status` and the pages of numbers. One ledger at a time is copied under the gate, and printed outside. */
#include "admit/inner.h"
#include "base/json.h"
#include <string.h>

#define PRINTED_MAX 1000 /* ledgers on a page, the oldest names first: 300 KB */
#define NAME_MAX_PRINTED 128

/* One ledger as it was at a moment. */
struct copy {
    enum limit_owner owner;
    struct conf_limits limits;
    uint32_t in_flight, requests_left, tokens_left;
    int64_t spent, held, tokens_held;
    nanos resets;
    uint64_t refused[LIMIT_KINDS];
    size_t len;
    char name[NAME_MAX_PRINTED];
};

static bool copy_of(struct limits *l, uint32_t i, struct copy *c)
{
    nanos now = world_now(l->world), wall = world_wall(l->world);
    gate_enter(&l->gate);
    bool is_there = i < l->count;
    if (is_there) {
        struct ledger *a = l->all[i];
        ledger_pass(a, now, wall);
        *c = (struct copy){ .owner = a->owner, .limits = a->limits, .in_flight = a->in_flight, .spent = a->money.spent, .held = a->money.held,
                            .tokens_held = a->tokens.held, .len = MIN(a->name_len, sizeof c->name),
                            .requests_left = bucket_left(&a->requests, a->limits.rpm), .tokens_left = bucket_left(&a->tokens, a->limits.tpm),
                            .resets = a->limits.period > 0 ? budget_wait(&a->money, now, wall) : 0 };
        memcpy(c->refused, a->refused, sizeof c->refused);
        memcpy(c->name, a->name, c->len);
    }
    gate_leave(&l->gate);
    return is_there;
}

static enum fail put_rate(struct buf *out, const char *name, uint32_t limit, uint32_t left)
{
    return limit == 0 ? OK : buf_printf(out, ",\"%s\":%u,\"%s_left\":%u", name, limit, name, left);
}

static enum fail put_ledger(struct buf *out, const struct copy *c)
{
    enum fail f = buf_printf(out, "{\"of\":\"%s\",\"name\":", limit_owners[c->owner]);
    if (f == OK)
        f = json_add_string(out, (struct text){ c->name, c->len });
    if (f == OK)
        f = put_rate(out, "rpm", c->limits.rpm, c->requests_left);
    if (f == OK)
        f = put_rate(out, "tpm", c->limits.tpm, c->tokens_left);
    if (f == OK && c->limits.concurrency > 0)
        f = buf_printf(out, ",\"concurrency\":%u", c->limits.concurrency);
    if (f == OK && c->limits.budget.is_set)
        f = buf_printf(out, ",\"budget_usd\":%.6f", c->limits.budget.value);
    if (f == OK)
        f = buf_printf(out, ",\"in_flight\":%u,\"tokens_reserved\":%lld,\"spent_usd\":%.6f,\"reserved_usd\":%.6f,\"period_ends_ms\":%lld", c->in_flight,
                       (long long)c->tokens_held, (double)c->spent / NANO_PER_USD, (double)c->held / NANO_PER_USD, (long long)(c->resets / NANOS_PER_MS));
    return f == OK ? buf_printf(out, ",\"refused\":{\"requests\":%llu,\"tokens\":%llu,\"concurrency\":%llu,\"budget\":%llu}}",
                                (unsigned long long)c->refused[LIMIT_REQUESTS], (unsigned long long)c->refused[LIMIT_TOKENS],
                                (unsigned long long)c->refused[LIMIT_CONCURRENCY], (unsigned long long)c->refused[LIMIT_BUDGET])
                   : f;
}

enum fail limits_print_json(struct limits *l, struct buf *out)
{
    struct copy c;
    uint32_t i = 0;
    enum fail f = buf_add_text(out, TEXT("{\"ledgers\":["));
    for (; i < PRINTED_MAX && f == OK && copy_of(l, i, &c); i++) {
        if (i > 0)
            f = buf_add_text(out, TEXT(","));
        if (f == OK)
            f = put_ledger(out, &c);
    }
    gate_enter(&l->gate);
    uint32_t left_out = l->count > i ? l->count - i : 0;
    gate_leave(&l->gate);
    return f == OK ? buf_printf(out, "],\"left_out\":%u}", left_out) : f;
}

static enum fail json(void *arg, struct buf *out)
{
    enum fail f = buf_add_text(out, TEXT("\"limits\":"));
    return f == OK ? limits_print_json(arg, out) : f;
}

/* No metrics of their own on /metrics: a label for each key would be as many series as there are keys. */
struct stat_source limits_numbers(struct limits *l)
{
    return (struct stat_source){ .json = json, .arg = l };
}
