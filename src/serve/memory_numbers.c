/* memory_numbers.c: the account of memory on /metrics, /api/v1/metrics and in `weir status`. */
#include "serve/serve.h"
#include "base/account.h"

static enum fail metrics(void *arg, struct buf *out)
{
    const struct stat_number rows[] = {
        { "memory_used_bytes", "gauge", "Memory granted to threads, of limits.memory.", account_used() },
        { "memory_limit_bytes", "gauge", "limits.memory; 0: no ceiling.", account_limit_now() },
        { "memory_reserve_bytes", "gauge", "The part of it that only answers in flight, pages and logs may use.", account_reserve() },
        { "memory_refusals_total", "counter", "Times something was refused its memory at the ceiling of its share.", account_refused() },
    };
    (void)arg;
    return stat_put_numbers(out, rows, ARRAY_LEN(rows));
}

static enum fail json(void *arg, struct buf *out)
{
    (void)arg;
    return memory_print_json(out);
}

enum fail memory_print_json(struct buf *out)
{
    return buf_printf(out, "\"memory\":{\"used_bytes\":%llu,\"limit_bytes\":%llu,\"reserve_bytes\":%llu,\"refused\":%llu}", (unsigned long long)account_used(),
                      (unsigned long long)account_limit_now(), (unsigned long long)account_reserve(), (unsigned long long)account_refused());
}

struct stat_source memory_numbers(void)
{
    return (struct stat_source){ metrics, json, NULL };
}
