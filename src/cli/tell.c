/* tell.c: status, requests and stories as text for people. What an older or newer weir does not say is left out. */
#include "cli/tell.h"
#include "cli/table.h"
#include "net/http_write.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Names come from backends and clients: none of them may move the reader's cursor. The tree is ours to change. */
const char *tell_plain(yyjson_val *v)
{
    char *s = (char *)(uintptr_t)yyjson_get_str(v);
    for (char *c = s; c != NULL && *c != '\0'; c++)
        for (size_t n = text_obeyed_len((struct text){ c, strnlen(c, 3) }); n > 0; n--) {
            *c = '?';
            c += n > 1;
        }
    return s != NULL ? s : "";
}

static const char *text_at(yyjson_val *v, const char *key) { return tell_plain(yyjson_obj_get(v, key)); }

static uint64_t number_at(yyjson_val *v, const char *key) { return yyjson_get_uint(yyjson_obj_get(v, key)); }
static bool is_true_at(yyjson_val *v, const char *key) { return yyjson_get_bool(yyjson_obj_get(v, key)); }
static bool has(yyjson_val *v, const char *key) { return yyjson_obj_get(v, key) != NULL; }
static double ms_at(yyjson_val *v, const char *key) { return yyjson_get_num(yyjson_obj_get(v, key)); }

/* ---- status ---- */

/* "local, gpu1", or "local, then cloud" with fallbacks. */
static const char *names_of(yyjson_val *pool, char out[256])
{
    const char *const lists[] = { "use", "fallback" };
    size_t i, n, len = 0;
    yyjson_val *name;
    out[0] = '\0';
    for (size_t k = 0; k < ARRAY_LEN(lists); k++)
        yyjson_arr_foreach(yyjson_obj_get(pool, lists[k]), i, n, name) {
            int said = snprintf(out + len, 256 - len, "%s%s", len == 0 ? "" : k == 1 && i == 0 ? ", then " : ", ", tell_plain(name));
            len = MIN(len + (size_t)said, 255u);
        }
    return out;
}

#define PLACE_MAX 400 /* bytes; eight addresses and a URL */

static void append(char out[PLACE_MAX], const char *format, ...) PRINTF(2, 3);
static void append(char out[PLACE_MAX], const char *format, ...)
{
    size_t at = strlen(out);
    va_list args;
    va_start(args, format);
    vsnprintf(out + at, PLACE_MAX - at, format, args);
    va_end(args);
}

/* "http://gpu:8000 at 10.0.0.1:8000 10.0.0.2:8000", through which proxy, and what is wrong with its name. */
static const char *place_of(yyjson_val *b, char out[PLACE_MAX])
{
    size_t i, n;
    yyjson_val *addr;
    out[0] = '\0';
    append(out, "%s", text_at(b, "url"));
    if (has(b, "proxy"))
        append(out, " through %s:%llu", text_at(b, "proxy"), (unsigned long long)number_at(b, "proxy_port"));
    yyjson_arr_foreach(yyjson_obj_get(b, "addresses"), i, n, addr)
        if (strstr(out, tell_plain(addr)) == NULL) /* of a number it would only say the same again */
            append(out, "%s%s", i == 0 ? " at " : " ", tell_plain(addr));
    if (has(b, "name_error"))
        append(out, " (its name does not resolve: %s)", text_at(b, "name_error"));
    return out;
}

static const char *state_of(yyjson_val *backend)
{
    const char *breaker = text_at(backend, "breaker");
    if (strcmp(breaker, "closed") != 0)
        return breaker;
    if (number_at(backend, "avoided_ms") > 0)
        return "avoided";
    return number_at(backend, "in_flight") >= number_at(backend, "limit") ? "full" : "free";
}

static void tell_backends(yyjson_val *fleet, struct arena *arena)
{
    static const char *const headings[] = { "BACKEND", "KIND", "STATE", ">IN FLIGHT", ">SLOTS", ">ATTEMPTS", ">FAILED", ">TOKENS IN", ">TOKENS OUT", "URL" };
    struct table t;
    size_t i, n;
    yyjson_val *b;
    char place[PLACE_MAX];
    table_init(&t, arena, ARRAY_LEN(headings), headings);
    yyjson_arr_foreach(yyjson_obj_get(fleet, "backends"), i, n, b) {
        table_add(&t, "%s", text_at(b, "name"));
        table_add(&t, "%s", has(b, "kind") ? text_at(b, "kind") : "(removed)");
        table_add(&t, "%s", state_of(b));
        static const char *const numbers[] = { "in_flight", "limit", "attempts", "failures", "tokens_in", "tokens_out" };
        for (size_t k = 0; k < ARRAY_LEN(numbers); k++)
            table_add(&t, "%llu", (unsigned long long)number_at(b, numbers[k]));
        table_add(&t, "%s", place_of(b, place));
    }
    table_print(&t, "No backend is configured.");
}

static void tell_pools(yyjson_val *fleet, struct arena *arena)
{
    static const char *const headings[] = { "MODEL", ">WAITING", ">QUEUE", ">SERVICE", "BACKENDS" };
    struct table t;
    size_t i, n;
    yyjson_val *p;
    char names[256], span[24];
    table_init(&t, arena, ARRAY_LEN(headings), headings);
    yyjson_arr_foreach(yyjson_obj_get(fleet, "pools"), i, n, p) {
        table_add(&t, "%s", text_at(p, "model"));
        table_add(&t, "%llu", (unsigned long long)number_at(p, "waiting"));
        table_add(&t, "%llu", (unsigned long long)number_at(p, "queue_max"));
        table_add(&t, "%s", number_at(p, "service_ms") > 0 ? ms_print(ms_at(p, "service_ms"), span) : "");
        table_add(&t, "%s", names_of(p, names));
    }
    table_print(&t, "No backend has named a model yet.");
}

/* "12 of 60", "12", or nothing. */
static void add_share(struct table *t, yyjson_val *a, const char *of, const char *now, bool is_always)
{
    if (has(a, of))
        table_add(t, "%llu of %llu", (unsigned long long)number_at(a, now), (unsigned long long)number_at(a, of));
    else if (is_always)
        table_add(t, "%llu", (unsigned long long)number_at(a, now));
    else
        table_add(t, "%s", "");
}

static void add_limits(struct table *t, yyjson_val *a)
{
    uint64_t refused = 0;
    size_t i, n;
    yyjson_val *kind, *count;
    yyjson_obj_foreach(yyjson_obj_get(a, "refused"), i, n, kind, count)
        refused += yyjson_get_uint(count);
    table_add(t, "%s", text_at(a, "of"));
    table_add(t, "%s", text_at(a, "name"));
    add_share(t, a, "concurrency", "in_flight", true);
    add_share(t, a, "rpm", "rpm_left", false);
    add_share(t, a, "tpm", "tpm_left", false);
    table_add(t, "$%.2f", yyjson_get_num(yyjson_obj_get(a, "spent_usd")));
    if (has(a, "budget_usd"))
        table_add(t, "$%.2f", yyjson_get_num(yyjson_obj_get(a, "budget_usd")));
    else
        table_add(t, "%s", "");
    table_add(t, "%llu", (unsigned long long)refused);
}

static void tell_limits(yyjson_val *limits, struct arena *arena)
{
    static const char *const headings[] = { "LIMITS OF", "NAME", ">IN FLIGHT", ">REQUESTS LEFT", ">TOKENS LEFT", ">SPENT", ">BUDGET", ">REFUSED" };
    struct table t;
    size_t i, n;
    yyjson_val *a, *ledgers = yyjson_obj_get(limits, "ledgers");
    if (yyjson_arr_size(ledgers) == 0)
        return;
    putchar('\n');
    table_init(&t, arena, ARRAY_LEN(headings), headings);
    yyjson_arr_foreach(ledgers, i, n, a)
        add_limits(&t, a);
    table_print(&t, "");
}

static void tell_memory(yyjson_val *memory)
{
    char used[24], limit[24], reserve[24];
    if (number_at(memory, "limit_bytes") > 0)
        printf("memory: %s of %s used, %s of it reserved for answers in flight; refused %llu times\n",
               bytes_print(number_at(memory, "used_bytes"), used), bytes_print(number_at(memory, "limit_bytes"), limit),
               bytes_print(number_at(memory, "reserve_bytes"), reserve), (unsigned long long)number_at(memory, "refused"));
    putchar('\n');
}

static void tell_store(yyjson_val *store)
{
    const char *state = text_at(store, "state");
    if (strcmp(state, "failed") == 0)
        printf("store: FAILED: %s; requests go on, and weir tries again\n", text_at(store, "why"));
    else if (strcmp(state, "open") == 0 || strcmp(state, "read_only") == 0)
        printf("store: %s%s, %llu keys\n", text_at(store, "path"), *state == 'r' ? " (CAN ONLY BE READ)" : "", (unsigned long long)number_at(store, "keys"));
}

void tell_status(yyjson_val *root, struct arena *arena)
{
    char span[24] = "under 1s";
    if (number_at(root, "uptime_seconds") > 0)
        nanos_print((nanos)number_at(root, "uptime_seconds") * NANOS_PER_S, span);
    printf("weir %s, %s for %s: %llu requests in flight, %llu connections, %llu workers\n", text_at(root, "version"),
           is_true_at(root, "draining") ? "DRAINING, up" : "up", span,
           (unsigned long long)number_at(root, "requests"), (unsigned long long)number_at(root, "connections"),
           (unsigned long long)number_at(root, "workers"));
    tell_store(yyjson_obj_get(root, "store"));
    tell_memory(yyjson_obj_get(root, "memory"));
    yyjson_val *fleet = yyjson_obj_get(root, "fleet");
    tell_backends(fleet, arena);
    putchar('\n');
    tell_pools(fleet, arena);
    if (number_at(fleet, "models_left_out") > 0)
        printf("and %llu models more than weir keeps\n", (unsigned long long)number_at(fleet, "models_left_out"));
    tell_limits(yyjson_obj_get(root, "limits"), arena);
}

/* ---- requests ---- */

/* "12" while it waits for a slot. */
static const char *place_in_queue(yyjson_val *r, char to[24])
{
    if (number_at(r, "position") == 0)
        return "";
    snprintf(to, 24, "%llu", (unsigned long long)number_at(r, "position"));
    return to;
}

void tell_requests(yyjson_val *root, struct arena *arena)
{
    static const char *const headings[] = { "REQUEST", ">AGE", "STEP", ">SINCE", "WAITS FOR", "CLASS", ">PLACE", ">ABOUT",
                                           "MODEL", "BACKEND", ">ATTEMPTS", ">SENT", "KEY" };
    struct table t;
    size_t i, n;
    yyjson_val *r;
    char span[24], bytes[24], place[24];
    table_init(&t, arena, ARRAY_LEN(headings), headings);
    yyjson_arr_foreach(yyjson_obj_get(root, "requests"), i, n, r) {
        table_add(&t, "%s", text_at(r, "id"));
        table_add(&t, "%s", ms_print(ms_at(r, "age_ms"), span));
        table_add(&t, "%s", text_at(r, "step"));
        table_add(&t, "%s", ms_print(ms_at(r, "step_ms"), span));
        table_add(&t, "%s", text_at(r, "waits_for"));
        table_add(&t, "%s", text_at(r, "class"));
        table_add(&t, "%s", place_in_queue(r, place));
        table_add(&t, "%s", number_at(r, "wait_ms") > 0 ? ms_print(ms_at(r, "wait_ms"), span) : "");
        table_add(&t, "%s", text_at(r, "model"));
        table_add(&t, "%s", text_at(r, "backend"));
        table_add(&t, "%llu", (unsigned long long)number_at(r, "attempts"));
        table_add(&t, "%s", bytes_print(number_at(r, "sent_bytes"), bytes));
        table_add(&t, "%s", text_at(r, "key"));
    }
    table_print(&t, "No request is in flight.");
}

/* ---- a story ---- */

static void tell_running(yyjson_val *r)
{
    char age[24], since[24];
    printf("Request %s is in flight: for %s now.\n", text_at(r, "id"), ms_print(ms_at(r, "age_ms"), age));
    printf("  asked    %s, model %s%s%s\n", text_at(r, "path"), text_at(r, "model"), *text_at(r, "key") != '\0' ? ", key " : "", text_at(r, "key"));
    printf("  step     %s for %s%s%s\n", text_at(r, "step"), ms_print(ms_at(r, "step_ms"), since), *text_at(r, "waits_for") != '\0' ? ", waits for " : "",
           text_at(r, "waits_for"));
    if (*text_at(r, "backend") != '\0')
        printf("  backend  %s (attempt %llu)\n", text_at(r, "backend"), (unsigned long long)number_at(r, "attempts"));
}

/* ", connected after 1ms" for those that are there. */
static void tell_span(yyjson_val *v, const char *key, const char *before, const char *after)
{
    char span[24];
    if (has(v, key))
        printf("%s%s%s", before, ms_print(ms_at(v, key), span), after);
}

static void tell_attempt(yyjson_val *a, size_t number)
{
    bool used = strcmp(text_at(a, "result"), "used") == 0;
    printf("  attempt %zu  %s: %s", number, text_at(a, "backend"), used ? "answered" : *text_at(a, "why") != '\0' ? text_at(a, "why") : text_at(a, "result"));
    if (number_at(a, "status") != 0)
        printf(" (status %llu)", (unsigned long long)number_at(a, "status"));
    if (has(a, "hedge"))
        printf(", hedged, %s", text_at(a, "hedge"));
    if (ms_at(a, "queue_ms") >= 0.5)
        tell_span(a, "queue_ms", ", its slot after ", "");
    if (is_true_at(a, "reused_connection"))
        printf(", on a kept connection");
    else
        tell_span(a, "connect_ms", ", connected after ", "");
    tell_span(a, "first_token_ms", ", first token after ", "");
    tell_span(a, "total_ms", ", ", " in all");
    putchar('\n');
}

static void tell_steps(yyjson_val *steps)
{
    size_t i, n;
    yyjson_val *key, *value;
    char span[24];
    unsigned said = 0;
    printf("  steps      ");
    yyjson_obj_foreach(steps, i, n, key, value)
        if (yyjson_get_num(value) >= 0.001) {
            printf("%s%s %s", said > 0 ? ", " : "", yyjson_get_str(key), ms_print(yyjson_get_num(value), span));
            said++;
        }
    printf("%s\n", said == 0 ? "under a microsecond each" : "");
}

static void tell_asked(yyjson_val *s)
{
    struct http_date date = { 0 };
    nanos at = nanos_of(yyjson_get_num(yyjson_obj_get(s, "at")), NANOS_PER_S);
    printf("  asked      %s%s%s%s%s, from %s\n", text_at(s, "path"), *text_at(s, "model") != '\0' ? ", model " : "", text_at(s, "model"),
           *text_at(s, "key") != '\0' ? ", key " : ", no key", text_at(s, "key"), text_at(s, "client"));
    if (at > 0)
        printf("  when       %.*s\n", TEXT_ARG(http_date_at(&date, at / NANOS_PER_S)));
}

static void tell_cache(yyjson_val *s)
{
    static const struct {
        const char *word, *text;
    } rows[] = { { "hit", "answered from memory" }, { "join", "shared the call of an equal request" }, { "miss", "nothing was kept for it" } };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (strcmp(text_at(s, "cache"), rows[i].word) == 0)
            printf("  cache      %s\n", rows[i].text);
    if (*text_at(s, "cache_why") != '\0')
        printf("  cache      not looked for: %s\n", text_at(s, "cache_why"));
}

static void tell_answer(yyjson_val *s)
{
    char bytes[24];
    printf("  answer     %s%s", is_true_at(s, "stream") ? "streamed, " : "", bytes_print(number_at(s, "bytes"), bytes));
    tell_span(s, "first_token_ms", ", first token ", " after the question's last byte");
    if (has(s, "prompt_tokens"))
        printf(", %lld tokens in and %lld out", (long long)yyjson_get_sint(yyjson_obj_get(s, "prompt_tokens")),
               (long long)yyjson_get_sint(yyjson_obj_get(s, "completion_tokens")));
    tell_span(s, "overhead_ms", "; weir itself took ", "");
    putchar('\n');
}

void tell_story(yyjson_val *s, struct arena *arena)
{
    char span[24];
    size_t i, n;
    yyjson_val *attempt;
    (void)arena;
    if (!has(s, "result")) {
        tell_running(s);
        return;
    }
    printf("Request %s: %s with status %llu in %s.\n", text_at(s, "id"), strcmp(text_at(s, "result"), "answered") == 0 ? "answered" : text_at(s, "result"),
           (unsigned long long)number_at(s, "status"), ms_print(ms_at(s, "total_ms"), span));
    if (*text_at(s, "why") != '\0')
        printf("  why        %s\n", text_at(s, "why"));
    tell_asked(s);
    tell_cache(s);
    if (ms_at(s, "queue_ms") >= 0.5)
        tell_span(s, "queue_ms", "  queue      waited ", " for a slot\n");
    else if (has(s, "queue_ms"))
        printf("  queue      a slot was free\n");
    yyjson_arr_foreach(yyjson_obj_get(s, "attempts"), i, n, attempt)
        tell_attempt(attempt, i + 1);
    tell_answer(s);
    tell_steps(yyjson_obj_get(s, "steps_ms"));
}
