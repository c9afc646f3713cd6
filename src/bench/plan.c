/* plan.c: plan files: which of the three forms one has, and what their readers share. Called by cli/bench.c. */
#include "bench/plan_inner.h"

#include <stdarg.h>

#define TREE_BYTES_MAX (64u << 20) /* of a plan's tree: its text has at most CONF_FILE_MAX bytes */
#define SENTENCE_MAX   300

/* ---- complaints ---- */

bool plan_refuse(struct planning *p, const struct tree *at, const char *format, ...)
{
    char text[SENTENCE_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return complain(p->why, p->path, at != NULL ? at->place.line : 0, at != NULL ? at->place.column : 0, "%s", text);
}

bool plan_refuse_memory(struct planning *p)
{
    return plan_refuse(p, NULL, "no memory left to read it");
}

bool plan_refuse_file(struct planning *p, const struct tree *at, const struct complaint *inner)
{
    char text[SENTENCE_MAX];
    complaint_print(inner, text, sizeof text);
    return plan_refuse(p, at, "%s", text);
}

const char *plan_file(struct planning *p, struct text name)
{
    const char *slash = strrchr(p->path, '/');
    if (slash == NULL || (name.len > 0 && name.at[0] == '/'))
        return arena_copy(&p->scratch, name);
    return arena_printf(&p->scratch, "%.*s/%.*s", (int)(slash - p->path), p->path, TEXT_ARG(name));
}

struct template_source plan_source(struct planning *p, const struct tree *at)
{
    return (struct template_source){ .file = p->path, .line = at->place.line, .column = at->place.column, .syntax = p->syntax, .why = p->why };
}

/* ---- tables of keys ---- */

static bool refuse_unknown(struct planning *p, const struct member *m, const struct plan_key *keys, size_t count, const char *section)
{
    const struct tree at = { .place = m->place };
    const char **known = arena_alloc(&p->scratch, count * sizeof *known);
    size_t n = 0;
    if (known == NULL)
        return plan_refuse_memory(p);
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].section, section) == 0 && keys[i].read != NULL)
            known[n++] = keys[i].name;
    const char *near = text_nearest(m->name, known, n);
    return plan_refuse(p, &at, near != NULL ? "unknown key \"%.*s\" in %s; did you mean %s?" : "unknown key \"%.*s\" in %s", TEXT_ARG(m->name), section, near);
}

static const struct plan_key *find_key(struct text name, const struct plan_key *keys, size_t count, const char *section)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(keys[i].section, section) == 0 && text_eq(name, text_of(keys[i].name)))
            return &keys[i];
    return NULL;
}

bool plan_walk(struct planning *p, const struct tree *map, const struct plan_key *keys, size_t count, const char *section, void *into)
{
    if (map->kind != TREE_MAP)
        return plan_refuse(p, map, "%s must be keys with values", section);
    for (const struct member *m = map->first; m != NULL; m = m->next) {
        const struct plan_key *key = find_key(m->name, keys, count, section);
        const struct tree at = { .place = m->place };
        if (key == NULL)
            return refuse_unknown(p, m, keys, count, section);
        if (key->read == NULL)
            return plan_refuse(p, &at, "%s is not supported: %s", key->name, key->what);
    }
    for (size_t i = 0; i < count; i++) {
        const struct member *m = strcmp(keys[i].section, section) == 0 ? tree_find(map, text_of(keys[i].name)) : NULL;
        if (m != NULL && !keys[i].read(p, m->value, into))
            return false;
    }
    return true;
}

/* ---- values ---- */

bool plan_text(struct planning *p, const struct tree *value, struct text *out)
{
    *out = value->text;
    return (value->kind == TREE_SCALAR && !tree_is_empty(value)) || plan_refuse(p, value, "must be a text");
}

bool plan_bool(struct planning *p, const struct tree *value, bool *out)
{
    *out = value->kind == TREE_SCALAR && text_eq(value->text, TEXT("true"));
    return *out || (value->kind == TREE_SCALAR && text_eq(value->text, TEXT("false"))) || plan_refuse(p, value, "must be true or false");
}

bool plan_count(struct planning *p, const struct tree *value, uint64_t least, uint64_t most, uint64_t *out)
{
    return (value->kind == TREE_SCALAR && text_to_u64(value->text, most, out) && *out >= least) ||
           plan_refuse(p, value, "must be a whole number from %llu to %llu", (unsigned long long)least, (unsigned long long)most);
}

bool plan_number(struct planning *p, const struct tree *value, double most, double *out)
{
    return (value->kind == TREE_SCALAR && text_to_double(value->text, out) && *out >= 0 && *out <= most) || plan_refuse(p, value, "must be a number from 0 to %g", most);
}

/* Units as people write them; weir's own are text_to_nanos's. */
static const struct unit {
    const char *name, *own;
} units[] = {
    { "milliseconds", "ms" }, { "millisecond", "ms" }, { "seconds", "s" }, { "second", "s" }, { "secs", "s" }, { "sec", "s" },
    { "minutes", "m" },       { "minute", "m" },       { "mins", "m" },    { "min", "m" },    { "hours", "h" }, { "hour", "h" },
    { "hrs", "h" },           { "hr", "h" },           { "days", "d" },    { "day", "d" },
};

static bool span_of(struct text t, nanos unit, nanos *out)
{
    double number;
    char text[64];
    struct text own = { text, 0 };
    if (text_to_double(t, &number)) {
        *out = nanos_of(number, unit);
        return number >= 0 && *out <= PLAN_SPAN_MAX;
    }
    for (size_t i = 0; i < ARRAY_LEN(units) && own.len == 0; i++)
        if (text_ends(t, text_of(units[i].name)) && t.len < sizeof text) {
            struct text digits = text_trim((struct text){ t.at, t.len - strlen(units[i].name) });
            own.len = (size_t)snprintf(text, sizeof text, "%.*s%s", TEXT_ARG(digits), units[i].own);
        }
    return text_to_nanos(own.len > 0 ? own : t, out) && *out <= PLAN_SPAN_MAX;
}

bool plan_span(struct planning *p, const struct tree *value, nanos unit, nanos *out)
{
    return (value->kind == TREE_SCALAR && span_of(value->text, unit, out)) || plan_refuse(p, value, "must be a span of at most 30 days such as 90s or 5m");
}

bool plan_url(struct planning *p, const struct tree *value)
{
    struct text url, rest;
    if (!plan_text(p, value, &url))
        return false;
    size_t scheme = text_starts(url, TEXT("http://")) ? 7 : text_starts(url, TEXT("https://")) ? 8 : 0;
    rest = (struct text){ url.at + scheme, url.len - scheme };
    size_t host = 0;
    while (host < rest.len && rest.at[host] != '/' && rest.at[host] != '?' && rest.at[host] != '#')
        host++;
    if (scheme == 0 || host == 0 || scheme + host >= sizeof p->plan->url)
        return plan_refuse(p, value, "must be a URL such as http://127.0.0.1:4040");
    if (host < rest.len && rest.at[host] != '/')
        return plan_refuse(p, value, "the target's URL ends before ? and #");
    memcpy(p->plan->url, url.at, scheme + host);
    p->plan->url[scheme + host] = '\0';
    p->prefix = (struct text){ rest.at + host, rest.len - host };
    while (text_ends(p->prefix, TEXT("/")))
        p->prefix.len--;
    return true;
}

bool plan_phase(struct planning *p, const struct tree *at, nanos span, double from, double to)
{
    struct pace_plan *pace = &p->plan->load.pace;
    if (span <= 0)
        return plan_refuse(p, at, "a phase needs a duration");
    if (pace->phase_count == PACE_PHASES_MAX)
        return plan_refuse(p, at, "more than %d phases", PACE_PHASES_MAX);
    pace->phases[pace->phase_count++] = (struct pace_phase){ .span = span, .from = from, .to = to };
    return true;
}

/* The place of one more criterion; NULL with a complaint. */
static struct criterion *criterion_new(struct planning *p, const struct tree *at)
{
    if (p->plan->criteria_count < PLAN_CRITERIA_MAX)
        return &p->plan->criteria[p->plan->criteria_count++];
    (void)plan_refuse(p, at, "more than %d criteria", PLAN_CRITERIA_MAX);
    return NULL;
}

bool plan_criterion(struct planning *p, const struct tree *at, struct text text)
{
    struct criterion *c = criterion_new(p, at);
    struct complaint inner;
    return c != NULL && (criterion_parse(c, text, &inner) || plan_refuse(p, at, "%s", inner.text));
}

bool plan_criterion_pair(struct planning *p, const struct tree *at, struct text word, struct text bound)
{
    struct criterion *c = criterion_new(p, at);
    struct complaint inner;
    return c != NULL && (criterion_from_pair(c, word, bound, &inner) || plan_refuse(p, at, "%s", inner.text));
}

bool plan_criteria(struct planning *p, const struct tree *value)
{
    struct text text;
    if (value->kind == TREE_SCALAR)
        return plan_text(p, value, &text) && plan_criterion(p, value, text);
    if (value->kind != TREE_LIST)
        return plan_refuse(p, value, "must be a list such as - p95 < 200ms");
    for (const struct member *m = value->first; m != NULL; m = m->next)
        if (!plan_text(p, m->value, &text) || !plan_criterion(p, m->value, text))
            return false;
    return true;
}

bool plan_name(struct planning *p, const struct tree *value)
{
    struct text name;
    if (!plan_text(p, value, &name))
        return false;
    if (name.len >= sizeof p->plan->name)
        return plan_refuse(p, value, "longer than %zu bytes", sizeof p->plan->name - 1);
    (void)snprintf(p->plan->name, sizeof p->plan->name, "%.*s", TEXT_ARG(name));
    return true;
}

/* ---- the file ---- */

static bool choose_form(struct planning *p, const struct tree *root)
{
    if (root->kind != TREE_MAP)
        return plan_refuse(p, root, "a plan is keys with values, such as url: http://127.0.0.1:4040");
    p->syntax = TEMPLATE_DOLLAR;
    if (tree_find(root, TEXT("testPlan")) != NULL)
        return plan_azure(p, root);
    if (tree_find(root, TEXT("config")) == NULL && tree_find(root, TEXT("scenarios")) == NULL)
        return plan_native(p, root);
    p->syntax = TEMPLATE_BRACES;
    return plan_artillery(p, root);
}

/* The file's name without folder and ending, unless the plan has one. */
static void name_by_file(struct planning *p)
{
    const char *slash = strrchr(p->path, '/');
    struct text name;
    (void)text_cut(text_of(slash != NULL ? slash + 1 : p->path), '.', &name);
    (void)snprintf(p->plan->name, sizeof p->plan->name, "%.*s", TEXT_ARG(name));
}

static bool check_whole(struct planning *p, const struct tree *root)
{
    const struct load_plan *load = &p->plan->load;
    if (p->plan->url[0] == '\0')
        return plan_refuse(p, root, "a plan needs a target, such as http://127.0.0.1:4040");
    if (load->pace.phase_count == 0)
        return plan_refuse(p, root, "a plan needs a duration or phases");
    if (p->script->flow_count == 0)
        return plan_refuse(p, root, "a plan needs something to ask: flows, scenarios or an endpoint");
    if (pace_peak(&load->pace) <= 0 && load->pace.kind != PACE_MOMENTS)
        return plan_refuse(p, root, "a plan needs users or a rate above 0");
    if (load->warmup >= pace_span(&load->pace))
        return plan_refuse(p, root, "the warm-up is as long as the whole test");
    return true;
}

static bool read_tree(struct planning *p)
{
    struct buf file;
    struct tree *root;
    if (!script_file_read(p->path, &file, p->why))
        return false;
    bool is_ok = tree_read(&p->scratch, p->path, buf_text(&file), &root, p->why);
    buf_fini(&file);
    name_by_file(p);
    return is_ok && choose_form(p, root) && check_whole(p, root);
}

bool plan_read(struct plan *out, const char *path, struct complaint *why)
{
    struct planning *p = mem_zero(sizeof *p);
    struct plan *plan = mem_zero(sizeof *plan);
    struct script *script = script_new(0, why);
    bool is_ok = p != NULL && plan != NULL && script != NULL;
    if (is_ok) {
        plan->load = (struct load_plan){ .script = script, .timeout = 60 * NANOS_PER_S, .drain = 30 * NANOS_PER_S };
        *p = (struct planning){ .plan = plan, .script = script, .why = why, .path = path, .loop_first = UINT32_MAX };
        arena_init(&p->scratch, NULL, 0, TREE_BYTES_MAX);
        is_ok = read_tree(p);
        arena_fini(&p->scratch);
    } else {
        (void)complain(why, path, 0, 0, "no memory left to read it");
    }
    if (is_ok)
        *out = *plan;
    else
        script_free(script);
    mem_free(plan);
    mem_free(p);
    return is_ok;
}

void plan_fini(struct plan *p)
{
    script_free(p->load.script);
    p->load.script = NULL;
}

void plan_scale(struct plan *p, double factor)
{
    ASSERT(factor > 0);
    for (unsigned i = 0; i < p->load.pace.phase_count; i++)
        p->load.pace.phases[i].span = MAX(1, (nanos)((double)p->load.pace.phases[i].span * factor));
    p->load.warmup = (nanos)((double)p->load.warmup * factor);
}
