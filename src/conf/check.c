/* check.c: what no single key can know: references between sections, and settings that could have no effect. Called by load.c.
   The members of conf and of the tree stand in the same order, so each complaint has the place of what caused it. */
#include "conf/inner.h"
#include "base/account.h"

static const struct tree *tree_of(const struct loading *l, const char *section)
{
    struct member *m = tree_find(l->root, text_of(section));
    return m != NULL ? m->value : NULL;
}

static const struct member *first_of(const struct tree *map)
{
    return map != NULL && map->kind == TREE_MAP ? map->first : NULL;
}

static const struct place *place_in(const struct member *m, const char *key)
{
    const struct member *found = tree_find(m->value, text_of(key));
    return found != NULL ? &found->place : NULL;
}

/* ---- addresses ---- */

static bool check_address(struct loading *l, const struct tree *section, const char *path, const struct conf_address *a)
{
    const char *last = strrchr(path, '.');
    if (a->text == NULL || a->is_loopback || conf_asks_who(l->conf) || l->conf->tls.client_ca != NULL)
        return true;
    return refuse(l, tree_place(section, last != NULL ? last + 1 : path), "%s: a non-loopback address needs at least one key%s", path,
                  l->conf->tls.cert != NULL ? ", or tls.client_ca" : "");
}

static bool check_addresses(struct loading *l)
{
    const struct conf_address *clients = &l->conf->listen, *admin = &l->conf->admin.listen;
    if (!check_address(l, l->root, "listen", clients) || !check_address(l, tree_of(l, "admin"), "admin.listen", admin))
        return false;
    bool is_same = admin->text != NULL && admin->port != 0 && admin->port == clients->port && strcmp(admin->host, clients->host) == 0;
    return !is_same || refuse(l, tree_place(tree_of(l, "admin"), "listen"), "admin.listen is the same address as listen");
}

/* ---- limits ---- */

/* A body that never fits would be told to come back, for ever. With limits.memory: auto nobody knows yet. */
static bool check_limits(struct loading *l)
{
    char most[24];
    if (l->conf->limits.memory == 0 || l->conf->limits.body <= account_bodies(l->conf->limits.memory))
        return true;
    return refuse(l, tree_place(tree_of(l, "limits"), "body"), "limits.body is more than bodies may have of limits.memory, which is %s",
                  bytes_print(account_bodies(l->conf->limits.memory), most));
}

/* ---- keys ---- */

static bool check_key(struct loading *l, const struct member *m, const struct conf_key *k)
{
    const struct place *plain = place_in(m, "key"), *digest = place_in(m, "key_sha256");
    if (plain == NULL && digest == NULL)
        return refuse(l, &m->place, "keys.%s needs key or key_sha256", k->name);
    if (plain != NULL && digest != NULL)
        return refuse(l, digest, "keys.%s has both key and key_sha256; one of them can have no effect", k->name);
    return true;
}

static bool check_priority(struct loading *l, const struct member *m, struct conf_key *k)
{
    const struct place *most = place_in(m, "priority_max");
    if (most != NULL && k->priority_max < k->priority)
        return refuse(l, most, "keys.%s.priority_max is below its priority, %s", k->name, conf_class_name(k->priority));
    k->priority_max = MAX(k->priority_max, k->priority);
    return true;
}

static bool check_keys(struct loading *l)
{
    const struct member *m = first_of(tree_of(l, "keys"));
    for (uint32_t i = 0; i < l->conf->keys_count; i++, m = m->next) {
        struct conf_key *keys = l->conf->keys;
        if (!check_key(l, m, &keys[i]) || !check_priority(l, m, &keys[i]))
            return false;
        for (uint32_t j = 0; j < i; j++) /* at most CONF_KEYS_MAX squared, 8 million compares, once a load */
            if (memcmp(keys[i].sha256, keys[j].sha256, sizeof keys[i].sha256) == 0)
                return refuse(l, &m->place, "keys.%s is the same key as keys.%s", keys[i].name, keys[j].name);
    }
    return true;
}

/* ---- backends ---- */

static bool check_useless(struct loading *l, const struct member *m, const struct conf_backend *b, const char *const *keys, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct place *at = place_in(m, keys[i]);
        if (at != NULL)
            return refuse(l, at, "backends.%s.%s can have no effect on kind %s", b->name, keys[i], conf_kind_name(b->kind));
    }
    return true;
}

static bool check_health(struct loading *l, const struct member *m, const struct conf_backend *b)
{
    static const char *const words[] = { "auto", "tcp", "off" };
    struct text said = text_of(b->health);
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (text_eq(said, text_of(words[i])))
            return true;
    for (size_t i = 0; i < said.len; i++)
        if (said.at[0] != '/' || (unsigned char)said.at[i] <= ' ' || (unsigned char)said.at[i] > '~')
            return refuse(l, place_in(m, "health"), "backends.%s.health must be auto, tcp, off or a path that begins with /, not %s%s", b->name, shown(l, said),
                          suggest(l, said, words, ARRAY_LEN(words)));
    return true;
}

static bool check_backend(struct loading *l, const struct member *m, struct conf_backend *b)
{
    static const char *const of_remote[] = { "url", "key", "proxy", "ca", "client_cert", "client_key" }, *const of_local[] = { "model", "slots" };
    if (!check_health(l, m, b))
        return false;
    if (b->kind == CONF_KIND_LLAMA) {
        if (b->model == NULL)
            b->model = "smollm2";
        return check_useless(l, m, b, of_remote, ARRAY_LEN(of_remote));
    }
    if (b->url.text == NULL)
        return refuse(l, &m->place, "backends.%s needs a url", b->name);
    return check_useless(l, m, b, of_local, ARRAY_LEN(of_local)) && tls_check_backend(l, m, b) && proxy_choose(l, &m->place, b);
}

static bool check_backends(struct loading *l)
{
    const struct member *m = first_of(tree_of(l, "backends"));
    for (uint32_t i = 0; i < l->conf->backends_count; i++, m = m->next)
        if (!check_backend(l, m, &l->conf->backends[i]))
            return false;
    return true;
}

/* ---- models ---- */

static bool refuse_backend(struct loading *l, const struct tree *item, const char *path, struct text name)
{
    uint32_t count = l->conf->backends_count;
    const char **names = arena_alloc(&l->scratch, count * sizeof *names + 1);
    if (names == NULL)
        return refuse_memory(l);
    for (uint32_t i = 0; i < count; i++)
        names[i] = l->conf->backends[i].name;
    bool is_as_written = text_starts(item->text, name); /* not from ${...}, which is never shown */
    const char *what = shown(l, is_as_written ? name : item->text);
    return refuse(l, &item->place, "%s: there is no backend %s%s", path, what, suggest(l, name, names, count));
}

static bool resolve(struct loading *l, const struct tree *item, const char *path, struct conf_target *target)
{
    struct text name, model = text_cut(text_of(target->model), '/', &name);
    if (model.len == 0 || name.len == 0)
        return refuse(l, &item->place, "%s must be a list of backend/model, not %s", path, shown(l, item->text));
    for (uint32_t i = 0; i < l->conf->backends_count; i++)
        if (text_eq(text_of(l->conf->backends[i].name), name)) {
            *target = (struct conf_target){ .backend = i, .model = model.at };
            return true;
        }
    return refuse_backend(l, item, path, name);
}

static bool resolve_all(struct loading *l, const struct member *model, const char *key, struct conf_targets *targets)
{
    const char *path = say(l, "models.%.*s.%s", TEXT_ARG(model->name), key);
    struct member *list = tree_find(model->value, text_of(key));
    const struct member *item = list != NULL ? list->value->first : NULL;
    for (uint32_t i = 0; i < targets->count; i++, item = item->next)
        if (!resolve(l, item->value, path, &targets->at[i]))
            return false;
    return true;
}

static bool check_fallback(struct loading *l, const struct member *m, const struct conf_model *model)
{
    struct member *list = tree_find(m->value, TEXT("fallback"));
    const struct member *item = list != NULL ? list->value->first : NULL;
    for (uint32_t i = 0; i < model->fallback.count; i++, item = item->next)
        for (uint32_t j = 0; j < model->use.count; j++) {
            const struct conf_target *a = &model->fallback.at[i], *b = &model->use.at[j];
            if (a->backend == b->backend && strcmp(a->model, b->model) == 0)
                return refuse(l, &item->value->place, "models.%s.fallback: %s stands in use too, so here it can have no effect", model->name,
                              shown(l, item->value->text));
        }
    return true;
}

/* A weight counts where a model uses its backend by weight. */
static bool check_weights(struct loading *l)
{
    const struct member *m = first_of(tree_of(l, "backends"));
    for (uint32_t i = 0; i < l->conf->backends_count; i++, m = m->next) {
        const struct place *at = place_in(m, "weight");
        bool is_used = at == NULL;
        for (uint32_t j = 0; j < l->conf->models_count && !is_used; j++) {
            const struct conf_model *model = &l->conf->models[j];
            for (uint32_t k = 0; k < model->use.count + model->fallback.count && model->balance == CONF_BALANCE_WEIGHTED; k++)
                is_used |= (k < model->use.count ? &model->use.at[k] : &model->fallback.at[k - model->use.count])->backend == i;
        }
        if (!is_used)
            return refuse(l, at, "backends.%s.weight can have no effect: no model with balance: weighted uses it", l->conf->backends[i].name);
    }
    return true;
}

static bool check_models(struct loading *l)
{
    const struct member *m = first_of(tree_of(l, "models"));
    for (uint32_t i = 0; i < l->conf->models_count; i++, m = m->next) {
        struct conf_model *model = &l->conf->models[i];
        if (model->use.count == 0)
            return refuse(l, &m->place, "models.%s needs use: a list of backend/model", model->name);
        if (!resolve_all(l, m, "use", &model->use) || !resolve_all(l, m, "fallback", &model->fallback) || !check_fallback(l, m, model))
            return false;
    }
    return true;
}

/* Its name, and the models behind it in their order, each once: what one of them has said is not what another one would. Which backends have them does not count. */
static bool note_meaning(struct loading *l, struct conf_model *m)
{
    const char *text = m->name, *last = "";
    for (uint32_t i = 0; i < m->use.count + m->fallback.count && text != NULL; i++) {
        const char *model = (i < m->use.count ? &m->use.at[i] : &m->fallback.at[i - m->use.count])->model;
        text = strcmp(model, last) != 0 ? arena_printf(&l->conf->arena, "%s\n%s", text, model) : text;
        last = model;
    }
    m->cache.meaning = text;
    return text != NULL || refuse_memory(l);
}

/* So that a body of which nothing can be kept is not looked at more closely, before it is known which model it is for. */
static bool note_cache(struct loading *l)
{
    struct conf *c = l->conf;
    bool is_on = c->cache.exact.enabled == CONF_ON;
    c->cache.exact.most = is_on ? c->cache.exact.when : CONF_CACHE_NEVER;
    for (uint32_t i = 0; i < c->models_count && is_on; i++) {
        struct conf_model *m = &c->models[i];
        if (!note_meaning(l, m))
            return false;
        c->cache.exact.most = MAX(c->cache.exact.most, m->cache.when);
        c->cache.exact.zero_by_default |= m->defaults.temperature.is_set && m->defaults.temperature.value == 0;
    }
    return true;
}

bool conf_check(struct loading *l)
{
    if (!check_limits(l) || !check_keys(l) || !tenants_check(l, first_of(tree_of(l, "keys")), first_of(tree_of(l, "tenants"))) || !jwt_check(l, tree_of(l, "jwt")))
        return false;
    return check_backends(l) && check_models(l) && note_cache(l) && check_weights(l) && check_addresses(l) && tls_check_server(l, tree_of(l, "tls"));
}
