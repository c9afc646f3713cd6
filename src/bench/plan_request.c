/* plan_request.c: one request of a plan: its path, headers, body and what is captured from its answer. The same for every form. */
#include "bench/plan_inner.h"

#define CONTENT_JSON TEXT("application/json")
#define CONTENT_FORM TEXT("application/x-www-form-urlencoded")

struct request *plan_request_new(struct planning *p, const char *method)
{
    struct request *r = arena_alloc(&p->script->arena, sizeof *r);
    p->url = TEXT_NONE;
    if (r == NULL)
        return NULL;
    *r = (struct request){ .method = { arena_copy(&p->script->arena, text_of(method)), strlen(method) }, .api = LOAD_PLAIN };
    return r->method.at != NULL ? r : NULL;
}

bool plan_add_step(struct planning *p, const struct tree *at, struct step step)
{
    if (p->step_count == SCRIPT_STEPS_MAX)
        return plan_refuse(p, at, "more than %d steps in one flow", SCRIPT_STEPS_MAX);
    p->steps[p->step_count++] = step;
    return true;
}

/* ---- path ---- */

bool plan_path(struct planning *p, const struct tree *value, struct request *r)
{
    struct template_source from = plan_source(p, value);
    struct text url, host = text_of(p->plan->url);
    if (!plan_text(p, value, &url))
        return false;
    bool is_whole = text_starts(url, TEXT("http://")) || text_starts(url, TEXT("https://"));
    if (is_whole) {
        struct text rest = { url.at + host.len, url.len - MIN(url.len, host.len) };
        if (!text_starts(url, host) || (rest.len > 0 && rest.at[0] != '/' && rest.at[0] != '?'))
            return plan_refuse(p, value, "another host than the target's, %s: a plan loads one server", p->plan->url);
        url = rest;
    } else if (!template_add_literal(p->script, &r->path, p->prefix, &from)) {
        return false;
    }
    if ((url.len == 0 || url.at[0] == '?') && !template_add_literal(p->script, &r->path, TEXT("/"), &from))
        return false;
    if (url.len > 0 && url.at[0] != '/' && url.at[0] != '?')
        return plan_refuse(p, value, "a path begins with /");
    struct text fragment, bare;
    fragment = text_cut(url, '#', &bare);
    if (fragment.at != NULL)
        return plan_refuse(p, value, "what stands behind a # is never sent");
    p->url = url;
    r->api = script_api_of(url);
    return template_add(p->script, &r->path, url, TEMPLATE_URL, &from);
}

static bool read_url(struct planning *p, const struct tree *value, void *into)
{
    return plan_path(p, value, into);
}

/* name=value pairs with & between them, as a query or a form has them. */
static bool add_pairs(struct planning *p, const struct tree *map, struct template *t, const char *first)
{
    if (map->kind != TREE_MAP)
        return plan_refuse(p, map, "must be names with values");
    for (const struct member *m = map->first; m != NULL; m = m->next) {
        struct template_source from = plan_source(p, m->value);
        if (m->value->kind != TREE_SCALAR)
            return plan_refuse(p, m->value, "must be one value");
        if (!template_add_literal(p->script, t, text_of(m == map->first ? first : "&"), &from) || !template_add(p->script, t, m->name, TEMPLATE_QUERY, &from) ||
            !template_add_literal(p->script, t, TEXT("="), &from) || !template_add(p->script, t, m->value->text, TEMPLATE_QUERY, &from))
            return false;
    }
    return true;
}

static bool read_query(struct planning *p, const struct tree *value, void *into)
{
    struct request *r = into;
    return add_pairs(p, value, &r->path, text_find(p->url, TEXT("?")) >= 0 ? "&" : "?");
}

/* ---- bodies ---- */

/* Depth is bounded by TREE_DEEP_MAX. */
static bool add_json(struct planning *p, const struct tree *value, struct template *t)
{
    struct template_source from = plan_source(p, value);
    bool is_map = value->kind == TREE_MAP;
    if (tree_is_empty(value))
        return template_add_literal(p->script, t, TEXT("null"), &from);
    if (value->kind == TREE_SCALAR && value->is_plain && plan_is_bare(value->text))
        return template_add_literal(p->script, t, value->text, &from);
    if (value->kind == TREE_SCALAR)
        return template_add_string(p->script, t, value->text, &from);
    if (!template_add_literal(p->script, t, is_map ? TEXT("{") : TEXT("["), &from))
        return false;
    for (const struct member *m = value->first; m != NULL; m = m->next) {
        if (m != value->first && !template_add_literal(p->script, t, TEXT(","), &from))
            return false;
        if (is_map && (!template_add_literal(p->script, t, TEXT("\""), &from) || !template_add(p->script, t, m->name, TEMPLATE_JSON, &from) ||
                       !template_add_literal(p->script, t, TEXT("\":"), &from)))
            return false;
        if (!add_json(p, m->value, t))
            return false;
    }
    return template_add_literal(p->script, t, is_map ? TEXT("}") : TEXT("]"), &from);
}

static bool begin_body(struct planning *p, const struct tree *value, struct request *r, struct text content_type)
{
    if (r->kind != BODY_NONE)
        return plan_refuse(p, value, "a request has one body: json, body or form");
    r->kind = BODY_TEMPLATE;
    r->content_type = content_type;
    return true;
}

/* Ollama streams unless told otherwise; elsewhere only who asks for it. */
static bool streams(const struct request *r, bool says_true, bool says_false)
{
    return r->api == LOAD_OLLAMA ? !says_false : r->api == LOAD_OPENAI && says_true;
}

static bool read_json(struct planning *p, const struct tree *value, void *into)
{
    struct request *r = into;
    const struct member *stream = tree_find(value, TEXT("stream"));
    struct text said = stream != NULL ? stream->value->text : TEXT_NONE;
    r->stream = streams(r, text_eq(said, TEXT("true")), text_eq(said, TEXT("false")));
    return begin_body(p, value, r, CONTENT_JSON) && add_json(p, value, &r->body);
}

/* What a JSON text says of "stream", without reading it: it may have places to fill. */
static bool says_stream(struct text body, struct text what)
{
    const struct text key = TEXT("\"stream\"");
    ptrdiff_t at = text_find(body, key);
    size_t i = at < 0 ? body.len : (size_t)at + key.len;
    while (i < body.len && strchr(" \t\r\n:", body.at[i]) != NULL)
        i++;
    return text_starts((struct text){ body.at + i, body.len - i }, what);
}

bool plan_body(struct planning *p, const struct tree *value, void *into)
{
    struct request *r = into;
    struct template_source from = plan_source(p, value);
    if (value->kind != TREE_SCALAR)
        return read_json(p, value, into);
    r->stream = streams(r, says_stream(value->text, TEXT("true")), says_stream(value->text, TEXT("false")));
    return begin_body(p, value, r, script_content_type(value->text)) && template_add_body(p->script, &r->body, value->text, &from);
}

static bool read_form(struct planning *p, const struct tree *value, void *into)
{
    struct request *r = into;
    return begin_body(p, value, r, CONTENT_FORM) && add_pairs(p, value, &r->body, "");
}

/* ---- headers ---- */

static bool is_own(struct text name)
{
    static const struct text own[] = { TEXT("host"), TEXT("content-length"), TEXT("transfer-encoding"), TEXT("connection") };
    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (text_eq_nocase(name, own[i]))
            return true;
    return false;
}

/* RFC 9110, 5.6.2. */
static bool is_token(struct text name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.at[i];
        if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c) != NULL)
            return false;
    }
    return name.len > 0;
}

static bool add_header(struct planning *p, const struct tree *at, struct text name, struct text value, struct request *r)
{
    struct template_source from = plan_source(p, at);
    if (!is_token(name))
        return plan_refuse(p, at, "\"%.*s\" cannot be a header's name", TEXT_ARG(name));
    if (is_own(name))
        return plan_refuse(p, at, "the header %.*s is written by weir", TEXT_ARG(name));
    return template_add_literal(p->script, &r->headers, name, &from) && template_add_literal(p->script, &r->headers, TEXT(": "), &from) &&
           template_add(p->script, &r->headers, value, TEMPLATE_HEADER, &from) && template_add_literal(p->script, &r->headers, TEXT("\r\n"), &from);
}

/* One entry of a map, or "Name: value" of a list. */
static void take_entry(const struct member *m, struct text *out_name, struct text *out_value)
{
    *out_name = m->name;
    *out_value = m->value->text;
    if (m->name.len == 0)
        *out_value = text_trim(text_cut(m->value->text, ':', out_name));
}

static bool has_header(const struct tree *headers, struct text name)
{
    struct text other, value;
    for (const struct member *m = headers != NULL ? headers->first : NULL; m != NULL; m = m->next) {
        take_entry(m, &other, &value);
        if (text_eq_nocase(other, name))
            return true;
    }
    return false;
}

/* Those that `over` has too are left out: the request's own win over the common ones. */
static bool add_headers(struct planning *p, const struct tree *headers, const struct tree *over, struct request *r)
{
    struct text name, value;
    if (headers != NULL && headers->kind == TREE_SCALAR && !tree_is_empty(headers))
        return plan_refuse(p, headers, "must be names with values");
    for (const struct member *m = headers != NULL ? headers->first : NULL; m != NULL; m = m->next) {
        if (m->value->kind != TREE_SCALAR)
            return plan_refuse(p, m->value, "must be one value");
        take_entry(m, &name, &value);
        if (!has_header(over, name) && !add_header(p, m->value, name, value, r))
            return false;
    }
    return true;
}

bool plan_headers(struct planning *p, const struct tree *headers, struct request *r)
{
    const struct tree nowhere = { .kind = TREE_SCALAR };
    const struct text name = TEXT("content-type");
    if (!add_headers(p, p->headers, headers, r) || !add_headers(p, headers, NULL, r))
        return false;
    bool is_said = r->content_type.at == NULL || has_header(p->headers, name) || has_header(headers, name);
    return is_said || add_header(p, &nowhere, name, r->content_type, r);
}

static bool read_nothing(struct planning *p, const struct tree *value, void *into) /* plan_headers needs the body's type: plan_call calls it last */
{
    (void)p, (void)value, (void)into;
    return true;
}

static bool read_label(struct planning *p, const struct tree *value, void *into)
{
    struct text label;
    (void)into;
    return plan_text(p, value, &label);
}

/* ---- captures ---- */

static bool read_json_path(struct planning *p, const struct tree *value, void *into)
{
    const char *why;
    struct text path;
    return plan_text(p, value, &path) && (capture_parse(p->script, path, into, &why) || plan_refuse(p, value, "%s", why));
}

static bool read_as(struct planning *p, const struct tree *value, void *into)
{
    struct capture *c = into;
    struct text name;
    if (!plan_text(p, value, &name))
        return false;
    struct name *n = script_add_name(p->script, name, NAME_CAPTURED);
    if (n == NULL)
        return plan_refuse(p, value, "\"%.*s\" is taken already, or there are more than %d names", TEXT_ARG(name), SCRIPT_NAMES_MAX);
    c->name = (uint32_t)(n - p->script->names);
    return true;
}

static bool read_capture(struct planning *p, const struct tree *value, void *into);

/* ---- the table ---- */

static const struct plan_key keys[] = {
#define KEY(section, name, read, what) { #section, name, read, what },
#define REFUSED(section, name, why) { #section, name, NULL, why },
#include "bench/plan_request.def"
#undef REFUSED
#undef KEY
};

static bool add_capture(struct planning *p, const struct tree *value, struct request *r)
{
    struct capture *c = arena_alloc(&p->script->arena, sizeof *c);
    if (c == NULL)
        return plan_refuse_memory(p);
    if (!plan_walk(p, value, keys, ARRAY_LEN(keys), "capture", c))
        return false;
    if (tree_find(value, TEXT("json")) == NULL || tree_find(value, TEXT("as")) == NULL)
        return plan_refuse(p, value, "a capture needs json and as");
    c->next = (struct capture *)r->captures;
    r->captures = c;
    return true;
}

static bool read_capture(struct planning *p, const struct tree *value, void *into)
{
    struct request *r = into;
    r->api = LOAD_PLAIN; /* the whole body is looked at, not a model's words */
    r->stream = false;
    if (value->kind != TREE_LIST)
        return add_capture(p, value, r);
    for (const struct member *m = value->first; m != NULL; m = m->next)
        if (!add_capture(p, m->value, r))
            return false;
    return true;
}

bool plan_call(struct planning *p, const char *method, const struct tree *value)
{
    struct request *r = plan_request_new(p, method);
    const struct member *headers = tree_find(value, TEXT("headers"));
    if (r == NULL)
        return plan_refuse_memory(p);
    if (!plan_walk(p, value, keys, ARRAY_LEN(keys), "request", r))
        return false;
    if (p->url.at == NULL)
        return plan_refuse(p, value, "a request needs a url");
    return plan_headers(p, headers != NULL ? headers->value : NULL, r) && plan_add_step(p, value, (struct step){ .kind = STEP_CALL, .request = r });
}

bool plan_ask(struct planning *p, const struct tree *at, nanos think)
{
    struct complaint inner;
    struct request *r = script_make_request(p->script, p->options, p->prefix, &inner);
    if (r == NULL)
        return plan_refuse_file(p, at, &inner);
    return plan_headers(p, NULL, r) && plan_add_step(p, at, (struct step){ .kind = STEP_CALL, .think = think, .request = r });
}
