/* backend_numbers.c: the numbers of backends and queues on /metrics and /api/v1/metrics. Their labels are configured or discovered names: fleet bounds how many. */
#include "serve/serve.h"
#include "base/json.h"

struct family {
    const char *name, *type, *help;
    uint64_t (*read)(const struct backend *b);
};

static uint64_t in_flight(const struct backend *b) { return atomic_load_explicit(&b->in_flight, memory_order_relaxed); }
static uint64_t slots(const struct backend *b) { return atomic_load_explicit(&b->limit, memory_order_relaxed); }
static uint64_t attempts(const struct backend *b) { return atomic_load_explicit(&b->attempts, memory_order_relaxed); }
static uint64_t failures(const struct backend *b) { return atomic_load_explicit(&b->failures, memory_order_relaxed); }

static uint64_t breaker(const struct backend *b) { return atomic_load_explicit(&b->breaker, memory_order_relaxed); }
static uint64_t opened(const struct backend *b) { return atomic_load_explicit(&b->opened, memory_order_relaxed); }

static const struct family families[] = {
    { "backend_in_flight", "gauge", "Slots of a backend that are taken now.", in_flight },
    { "backend_slots", "gauge", "Slots of a backend; fewer than it has while its breaker is not closed and for 10 s after.", slots },
    { "backend_attempts_total", "counter", "Requests sent to a backend.", attempts },
    { "backend_failures_total", "counter", "Attempts at a backend that brought no complete answer.", failures },
    { "backend_breaker", "gauge", "Whether a backend is asked: 0 closed (yes), 1 half-open (one call at a time), 2 open (no).", breaker },
    { "backend_breaker_opened_total", "counter", "Times a backend's breaker opened, half-open ones included.", opened },
};

static enum fail put_family(struct buf *out, const struct family *family, const struct endpoint *e, uint32_t count)
{
    enum fail f = stat_put_family(out, family->name, family->type, family->help);
    for (uint32_t i = 0; i < count && f == OK; i++) {
        char labels[256] = "";
        stat_put_label(labels, sizeof labels, "backend", text_of(e[i].backend->name));
        f = stat_put_u64(out, family->name, labels, family->read(e[i].backend));
    }
    return f;
}

static enum fail put_queues(struct buf *out, const struct roster *r)
{
    uint32_t count;
    const char *const *names = roster_models(r, &count);
    enum fail f = stat_put_family(out, "queue_length", "gauge", "Requests waiting for a slot, by model and class.");
    for (uint32_t i = 0; i < count * CONF_CLASSES && f == OK; i++) {
        enum conf_class class = (enum conf_class)(i % CONF_CLASSES);
        const char *name = names[i / CONF_CLASSES];
        char labels[700] = "";
        stat_put_label(labels, sizeof labels, "model", text_of(name));
        stat_put_label(labels, sizeof labels, "class", text_of(conf_class_name(class)));
        f = stat_put_u64(out, "queue_length", labels, pool_waiting_of(roster_find(r, text_of(name)), class));
    }
    return f;
}

static enum fail metrics(void *arg, struct buf *out)
{
    struct roster *r = fleet_roster(arg);
    uint32_t count;
    const struct endpoint *e = roster_endpoints(r, &count);
    enum fail f = OK;
    for (size_t i = 0; i < ARRAY_LEN(families) && f == OK; i++)
        f = put_family(out, &families[i], e, count);
    if (f == OK)
        f = put_queues(out, r);
    roster_unref(r);
    return f;
}

static enum fail json(void *arg, struct buf *out)
{
    enum fail f = buf_add_text(out, TEXT("\"fleet\":"));
    return f == OK ? fleet_print_json(arg, out) : f;
}

struct stat_source backend_numbers(struct fleet *f)
{
    return (struct stat_source){ metrics, json, f };
}
