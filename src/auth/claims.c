/* claims.c: what a verified token says about who asks (RFC 7519 4.1), and about what they may. Called by jwt.c. A claim of a wrong type, or a list of no
   models, refuses the token: what cannot be understood must not turn into "everything". */
#include "auth/inner.h"

#define TENANT_BYTES_MAX 255 /* as OpenID Connect bounds sub; never cut: two tenants would become one */
#define NAME_BYTES_MAX   64  /* for logs, so it may be cut */
#define MODEL_BYTES_MAX  200 /* as the configuration's */

struct claims {
    struct text sub, tenant; /* at NULL: absent */
    enum owner owner;
    nanos exp, nbf;
    enum conf_class priority;
    struct text models[CONF_LIST_MAX];
    uint32_t models_count;
};

void token_give(struct token *k)
{
    if (k != NULL && --k->references == 0)
        mem_free(k);
}

const char *token_untimely(nanos exp, nanos nbf, nanos skew, nanos wall)
{
    if (wall - skew >= exp)
        return "The token has expired.";
    return wall + skew < nbf ? "The token is not valid yet." : NULL;
}

/* at NULL: it is no text. */
static struct text text_at(yyjson_val *v)
{
    return yyjson_is_str(v) ? (struct text){ yyjson_get_str(v), yyjson_get_len(v) } : TEXT_NONE;
}

/* A NumericDate. What 64 bits of nanoseconds do not hold is for ever, or before everything. */
static bool read_date(yyjson_val *v, nanos *out)
{
    if (!yyjson_is_num(v))
        return false;
    *out = nanos_of(yyjson_get_num(v), NANOS_PER_S);
    return true;
}

/* Nothing that a reader of logs, or of C, would take for something else. */
static bool is_plain(struct text t, size_t most)
{
    for (size_t i = 0; i < t.len; i++)
        if (text_obeyed_len((struct text){ t.at + i, t.len - i }) > 0)
            return false;
    return t.len > 0 && t.len <= most;
}

static bool has_audience(yyjson_val *aud, const char *ours)
{
    yyjson_val *one;
    size_t i, count;
    if (yyjson_equals_str(aud, ours))
        return true;
    yyjson_arr_foreach(aud, i, count, one)
        if (yyjson_equals_str(one, ours))
            return true;
    return false;
}

static const char *read_validity(const struct conf *conf, yyjson_val *root, nanos wall, struct claims *c)
{
    yyjson_val *nbf = yyjson_obj_get(root, "nbf");
    if (!read_date(yyjson_obj_get(root, "exp"), &c->exp))
        return "The token has no exp that is a number: one without an end is not taken.";
    if (nbf != NULL && !read_date(nbf, &c->nbf))
        return "The token's nbf is not a number.";
    if (conf->jwt.issuer != NULL && !yyjson_equals_str(yyjson_obj_get(root, "iss"), conf->jwt.issuer))
        return "The token is from another issuer.";
    if (conf->jwt.audience != NULL && !has_audience(yyjson_obj_get(root, "aud"), conf->jwt.audience))
        return "The token is for another audience.";
    return token_untimely(c->exp, c->nbf, conf->jwt.skew, wall);
}

static const char *read_subject(const struct conf *conf, yyjson_val *root, struct claims *c)
{
    yyjson_val *sub = yyjson_obj_get(root, "sub"), *tenant = yyjson_obj_get(root, conf->jwt.tenant);
    c->sub = text_at(sub);
    c->tenant = tenant != NULL ? text_at(tenant) : c->sub;
    c->owner = tenant != NULL ? OWNER_TENANT : OWNER_SUB;
    if (sub != NULL && c->sub.at == NULL)
        return "The token's sub is not a text.";
    if (tenant == NULL && sub == NULL)
        return "The token says neither its tenant nor its sub.";
    return is_plain(c->tenant, TENANT_BYTES_MAX) ? NULL : "The token's tenant, or the sub in its place, is not a plain text of 1 to 255 bytes.";
}

static const char *read_priority(const struct conf *conf, yyjson_val *root, struct claims *c)
{
    yyjson_val *said = yyjson_obj_get(root, conf->jwt.priority);
    c->priority = CONF_CLASS_NORMAL;
    if (said == NULL)
        return NULL;
    for (c->priority = 0; c->priority < CONF_CLASSES; c->priority++)
        if (yyjson_equals_str(said, conf_class_name(c->priority)))
            return NULL;
    return "The token's priority is not high, normal or low.";
}

static bool add_model(struct claims *c, struct text model)
{
    if (!is_plain(model, MODEL_BYTES_MAX) || c->models_count == CONF_LIST_MAX)
        return false;
    c->models[c->models_count++] = model;
    return true;
}

static const char *read_models(const struct conf *conf, yyjson_val *root, struct claims *c)
{
    yyjson_val *said = yyjson_obj_get(root, conf->jwt.models), *one;
    size_t i, count;
    bool is_ok = true;
    if (said == NULL)
        return NULL;
    yyjson_arr_foreach(said, i, count, one)
        is_ok = is_ok && add_model(c, text_at(one));
    for (struct text rest = text_at(said), model; rest.len > 0;) {
        rest = text_cut(rest, ' ', &model);
        is_ok = is_ok && (model.len == 0 || add_model(c, model));
    }
    return is_ok && c->models_count > 0 ? NULL : "The token's models are not a list of 1 to 64 names.";
}

/* ---- into one piece of memory ---- */

/* The next piece of a token's memory. */
static char *put(char **at, struct text t)
{
    char *to = *at;
    memcpy(to, t.at, t.len);
    to[t.len] = 0;
    *at += t.len + 1;
    return to;
}

/* Cut between characters, with a ? for each that a terminal would obey. */
static struct text put_name(char **at, struct text t)
{
    char *to = *at;
    for (size_t n; t.len > 0 && (size_t)(*at - to) + (n = text_utf8_len(t)) <= NAME_BYTES_MAX; t.at += n, t.len -= n) {
        ASSERT(n > 0); /* json_parse took it for UTF-8 */
        if (text_obeyed_len(t) > 0)
            *(*at)++ = '?';
        else
            for (size_t i = 0; i < n; i++)
                *(*at)++ = t.at[i];
    }
    return (struct text){ to, (size_t)(*at - to) };
}

static struct token *token_new(const struct claims *c)
{
    size_t bytes = c->models_count * sizeof(char *) + c->tenant.len + 1 + NAME_BYTES_MAX;
    for (uint32_t i = 0; i < c->models_count; i++)
        bytes += c->models[i].len + 1;
    struct token *k = mem_zero(sizeof *k + bytes);
    if (k == NULL)
        return NULL;
    const char **models = (const char **)(k + 1);
    char *at = (char *)(models + c->models_count);
    for (uint32_t i = 0; i < c->models_count; i++)
        models[i] = put(&at, c->models[i]);
    k->references = 1;
    k->exp = c->exp;
    k->nbf = c->nbf;
    k->who = (struct identity){ .is_known = true, .role = CONF_ROLE_USER, .models = { models, c->models_count }, .priority = c->priority, .priority_max = c->priority };
    k->who.tenant = (struct text){ put(&at, c->tenant), c->tenant.len };
    k->who.owner = c->owner;
    k->who.name = put_name(&at, c->sub.len > 0 ? c->sub : c->tenant);
    return k;
}

enum fail claims_read(const struct conf *conf, yyjson_val *root, nanos wall, struct token **out, const char **out_why)
{
    struct claims c = { .nbf = 0 };
    const char *why = read_validity(conf, root, wall, &c);
    if (why == NULL)
        why = read_subject(conf, root, &c);
    if (why == NULL)
        why = read_priority(conf, root, &c);
    if (why == NULL)
        why = read_models(conf, root, &c);
    if (why != NULL) {
        *out_why = why;
        return FAIL_BAD_TOKEN;
    }
    struct token *k = token_new(&c);
    if (k == NULL)
        return FAIL_NO_MEMORY;
    *out = k;
    return OK;
}
