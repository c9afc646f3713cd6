/* store_numbers.c: the store on /metrics, /api/v1/metrics and in `weir status`. */
#include "serve/serve.h"
#include "base/json.h"

static const char *const state_names[] = { [STORE_NONE] = "none", [STORE_OPEN] = "open", [STORE_READ_ONLY] = "read_only", [STORE_FAILED] = "failed" };

static enum fail metrics(void *arg, struct buf *out)
{
    struct store_status s;
    store_status(arg, &s);
    const struct stat_number rows[] = {
        { "store_up", "gauge", "0: the file of keys and spend cannot be used. Requests go on, with what is in memory.", s.state != STORE_FAILED },
        { "store_keys", "gauge", "Keys in it that are not revoked.", s.keys },
        { "store_commits_total", "counter", "Transactions written to it.", s.commits },
        { "store_rows_total", "counter", "Changes in these.", s.rows },
        { "store_failures_total", "counter", "Times it could not be opened or written.", s.failures },
        { "store_spend_waiting", "gauge", "Keys and tenants whose spend is not yet written.", s.spend_rows },
        { "store_spend_lost_total", "counter", "Times that a sum found no memory on its way there; the next one of its key makes up for it.", s.spend_lost },
    };
    return stat_put_numbers(out, rows, ARRAY_LEN(rows));
}

static enum fail json(void *arg, struct buf *out)
{
    return store_print_json(arg, out);
}

enum fail store_print_json(struct store *store, struct buf *out)
{
    struct store_status s;
    if (store == NULL)
        return buf_add_text(out, TEXT("\"store\":{\"state\":\"off\"}"));
    store_status(store, &s);
    enum fail f = buf_printf(out, "\"store\":{\"state\":\"%s\",\"path\":", state_names[s.state]);
    if (f == OK)
        f = json_add_string(out, text_of(store_path(store)));
    if (f == OK)
        f = buf_add_text(out, TEXT(",\"why\":"));
    if (f == OK)
        f = json_add_string(out, text_of(s.why));
    return f == OK ? buf_printf(out, ",\"keys\":%u,\"waiting\":%u,\"commits\":%llu,\"rows\":%llu,\"failures\":%llu,\"spend_waiting\":%u,\"spend_lost\":%llu}",
                                s.keys, s.waiting, (unsigned long long)s.commits, (unsigned long long)s.rows, (unsigned long long)s.failures, s.spend_rows,
                                (unsigned long long)s.spend_lost) : f;
}

struct stat_source store_numbers(struct store *s)
{
    return (struct stat_source){ metrics, json, s };
}
