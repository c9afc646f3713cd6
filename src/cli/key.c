/* key.c: `weir key new|list|revoke`: keys in the store. A running weir is asked through its admin socket, so that what it says holds at once on all its workers; where
   none runs the file is opened here. The key itself is made here and printed here; everybody else has its SHA-256. */
#include "cli/key.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/tell.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define KEY_DIGITS     32   /* of 62 each: 190 bits */
#define KEY_ROOM       (3 + KEY_DIGITS + 1)
#define SETTINGS_MAX   (64u << 10)

/* ---- new ---- */

/* Digits and letters alone: a double click takes all of it. */
static bool make_key(char out[KEY_ROOM])
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    struct world *world = world_real_new(0);
    if (world == NULL)
        return false;
    memcpy(out, "wk-", 3);
    for (unsigned i = 0; i < KEY_DIGITS;) {
        uint8_t byte;
        world->random(world, &byte, 1);
        if (byte < 62 * 4) /* the rest would make some digits likelier than others */
            out[3 + i++] = digits[byte % 62];
    }
    out[3 + KEY_DIGITS] = '\0';
    world_real_free(world);
    return true;
}

static enum fail put_setting(struct buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return OK;
    enum fail f = buf_printf(out, ",\"%s\":", name);
    return f == OK ? json_add_string(out, text_of(value)) : f;
}

static enum fail put_models(struct buf *out, const char *list)
{
    struct text rest = text_of(list), name;
    enum fail f = list != NULL ? buf_add_text(out, TEXT(",\"models\":[")) : OK;
    for (unsigned i = 0; f == OK && rest.at != NULL; i++) {
        rest = text_cut(rest, ',', &name);
        f = i > 0 ? buf_add_text(out, TEXT(",")) : OK;
        if (f == OK)
            f = json_add_string(out, text_trim(name));
    }
    return f == OK && list != NULL ? buf_add_text(out, TEXT("]")) : f;
}

static enum fail put_budget(struct buf *out, const struct key_options *o)
{
    if (o->budget == NULL)
        return OK;
    enum fail f = buf_add_text(out, TEXT(",\"budget\":{\"usd\":"));
    if (f == OK)
        f = json_add_string(out, text_of(o->budget));
    if (f == OK)
        f = put_setting(out, "per", o->per);
    return f == OK ? buf_add_text(out, TEXT("}")) : f;
}

/* A configuration with this key and nothing else: JSON is YAML. What a key may be is known in one place. */
static enum fail put_settings(struct buf *out, const struct key_options *o, const char *key)
{
    const struct {
        const char *name, *value;
    } plain[] = { { "tenant", o->tenant }, { "role", o->role }, { "priority", o->priority }, { "priority_max", o->priority_max },
                  { "rpm", o->rpm }, { "tpm", o->tpm }, { "concurrency", o->concurrency } };
    uint8_t sha256[32];
    unsigned len = sizeof sha256;
    if (EVP_Digest(key, strlen(key), sha256, &len, EVP_sha256(), NULL) != 1)
        return FAIL_NO_MEMORY;
    enum fail f = buf_add_text(out, TEXT("{\"keys\":{"));
    if (f == OK)
        f = json_add_string(out, text_of(o->word));
    if (f == OK)
        f = buf_add_text(out, TEXT(":{\"key_sha256\":\""));
    for (size_t i = 0; f == OK && i < sizeof sha256; i++)
        f = buf_printf(out, "%02x", sha256[i]);
    if (f == OK)
        f = buf_add_text(out, TEXT("\""));
    for (size_t i = 0; f == OK && i < ARRAY_LEN(plain); i++)
        f = put_setting(out, plain[i].name, plain[i].value);
    if (f == OK)
        f = put_models(out, o->models);
    if (f == OK)
        f = put_budget(out, o);
    return f == OK ? buf_add_text(out, TEXT("}}}")) : f;
}

/* "keys.bob.rpm must be …" is about --rpm. */
static int refuse_settings(const struct usage *u, const struct complaint *why)
{
    return usage_refuse(u, "%s", why->text);
}

static bool check_clash(const struct conf *configured, const struct conf_key *key, struct complaint *why)
{
    for (uint32_t i = 0; configured != NULL && i < configured->keys_count; i++)
        if (strcmp(configured->keys[i].name, key->name) == 0)
            return complain(why, configured->path, configured->keys[i].line, 0, "there is a key \"%s\" here already: choose another name", key->name);
    return true;
}

static int64_t seconds_now(void)
{
    struct world *world = world_real_new(0);
    int64_t now = world != NULL ? world_wall(world) / NANOS_PER_S : 0;
    if (world != NULL)
        world_real_free(world);
    return now;
}

static enum fail add_key(struct key_place *p, void *arg, struct complaint *why)
{
    return db_key_add(p->db, arg, seconds_now(), why);
}

static void told_new(const struct key_place *p, const struct conf_key *k, const char *key)
{
    char fingerprint[KEYRING_FINGERPRINT];
    bool closes = yyjson_get_bool(yyjson_obj_get(p->root, "closes"));
    printf("%s\n", key);
    fprintf(stderr, "Key \"%s\" (%s) %s. It is shown only this once.\n", k->name, keyring_fingerprint(k->sha256, fingerprint),
            p->is_running ? "holds from now on" : "holds as soon as weir runs");
    fprintf(stderr, "  kept in  %s%s\n", p->is_running ? tell_plain(yyjson_obj_get(p->root, "store")) : p->path,
            p->is_running ? "" : ", as no weir of this user is running");
    if (closes)
        fprintf(stderr, "  from now on this weir asks everybody for a key; until now every program on this machine might ask\n");
    if (!p->is_running && (p->conf == NULL || p->conf->keys_count == 0))
        fprintf(stderr, "  with it a weir that uses this store asks everybody for a key\n");
}

static int make_in(struct key_place *p, struct text settings, const struct conf *made, const char *key)
{
    struct complaint why;
    struct conf_key *k = &made->keys[0];
    if (!check_clash(p->conf, k, &why))
        return key_complain(p, &why);
    bool ok = p->is_running ? key_place_ask(p, "POST", "/keys/new", settings) : key_place_change(p, add_key, k, true);
    if (ok)
        told_new(p, k, key);
    return ok ? EXIT_OK : EXIT_FAILED;
}

static int new_key(struct key_place *p, const struct usage *u, const struct key_options *o)
{
    char key[KEY_ROOM];
    struct buf settings;
    struct complaint why;
    const struct conf *made;
    buf_init(&settings, SETTINGS_MAX);
    if (!make_key(key) || put_settings(&settings, o, key) != OK) {
        buf_fini(&settings);
        return key_refuse(p, "no memory left for a key of this length");
    }
    const struct conf_options options = { .yaml = buf_text(&settings), .keys_only = true };
    int code;
    if (text_find(options.yaml, TEXT("${")) >= 0)
        code = usage_refuse(u, "a key's settings may not have ${ in them");
    else if (!conf_load(&options, &made, &why))
        code = refuse_settings(u, &why);
    else {
        code = key_place_find(p, o, &why) ? make_in(p, options.yaml, made, key) : key_complain(p, &why);
        conf_unref(made);
    }
    buf_fini(&settings);
    mem_wipe(key, sizeof key);
    return code;
}

/* ---- revoke ---- */

struct revoking {
    const char *which;
    char name[65];
};

static enum fail revoke_in(struct key_place *p, void *arg, struct complaint *why)
{
    struct revoking *r = arg;
    return db_key_revoke(p->db, text_of(r->which), seconds_now(), r->name, why);
}

static bool revoke_running(struct key_place *p, struct revoking *r)
{
    struct buf content;
    buf_init(&content, SETTINGS_MAX);
    enum fail f = buf_add_text(&content, TEXT("{\"key\":"));
    if (f == OK)
        f = json_add_string(&content, text_of(r->which));
    if (f == OK)
        f = buf_add_text(&content, TEXT("}"));
    bool ok = f == OK && key_place_ask(p, "POST", "/keys/revoke", buf_text(&content));
    if (ok)
        snprintf(r->name, sizeof r->name, "%s", tell_plain(yyjson_obj_get(p->root, "name")));
    buf_fini(&content);
    return ok;
}

static int revoke_key(struct key_place *p, const struct usage *u, const struct key_options *o)
{
    struct revoking r = { .which = o->word };
    struct complaint why;
    (void)u;
    if (!key_place_find(p, o, &why))
        return key_complain(p, &why);
    if (!(p->is_running ? revoke_running(p, &r) : key_place_change(p, revoke_in, &r, false)))
        return EXIT_FAILED;
    printf("Key \"%s\" is revoked%s.\n", r.name, p->is_running ? ": nobody is let in with it from now on" : "");
    if (yyjson_get_bool(yyjson_obj_get(p->root, "last")))
        fprintf(stderr, "  no key is left, and nobody is let in until you make one: weir key new NAME\n");
    return EXIT_OK;
}

/* ---- the command ---- */

struct verb {
    const char *name, *command, *what, *examples, *arguments;
    bool makes, prints; /* has the options of a new key; has --json */
    int (*run)(struct key_place *p, const struct usage *u, const struct key_options *o);
};

static const struct verb verbs[] = {
    { "new", "key new", "Makes a key and prints it, this once: only its SHA-256 is kept.",
      "  weir key new alice\n  weir key new ci --models chat,embed --rpm 600 --budget 20 --per 1d\n  KEY=$(weir key new ops --role admin)\n", "NAME",
      true, false, new_key },
    { "list", "key list", "The keys that weir key has made, without the keys themselves.",
      "  weir key list\n  weir key list --json\n", "", false, true, key_list },
    { "revoke", "key revoke", "Takes a key away, by its name or by the fingerprint that weir key list shows.",
      "  weir key revoke alice\n  weir key revoke 1f3a9c07\n", "NAME|FINGERPRINT", false, false, revoke_key },
};

#define OPTIONS_NEW 10

static int run(const struct verb *v, int argc, char **argv)
{
    struct key_options o = { 0 };
    const char *at[1];
    struct words words = { at, 0, 1 };
    const struct option options[] = {
        { "tenant", 0, OPTION_TEXT, "T", "Whose data it is: nothing crosses tenants. Without it: one of its own, by the key's name.", &o.tenant },
        { "role", 0, OPTION_TEXT, "user|admin", "admin may read metrics, too.", &o.role },
        { "models", 0, OPTION_TEXT, "A,B", "The models it may ask. Without it: all.", &o.models },
        { "priority", 0, OPTION_TEXT, "P", "high, normal or low: the class of its requests.", &o.priority },
        { "priority-max", 0, OPTION_TEXT, "P", "The highest class that its requests may ask for.", &o.priority_max },
        { "rpm", 0, OPTION_TEXT, "N", "Requests a minute.", &o.rpm },
        { "tpm", 0, OPTION_TEXT, "N", "Tokens a minute, of prompts and answers.", &o.tpm },
        { "concurrency", 0, OPTION_TEXT, "N", "Requests at once.", &o.concurrency },
        { "budget", 0, OPTION_TEXT, "USD", "Money it may spend in a period, by the prices of the models.", &o.budget },
        { "per", 0, OPTION_TEXT, "TIME", "That period: 1d unless you say otherwise.", &o.per },
        { "socket", 0, OPTION_TEXT, "PATH", "The admin socket of the weir to ask. Not needed where one weir runs.", &o.socket },
        { "config", 'c', OPTION_TEXT, "FILE", "The weir that runs with this configuration; where none does, the file of its store.", &o.config },
        { "json", 0, OPTION_FLAG, NULL, "The list as JSON.", &o.json },
    };
    unsigned first = v->makes ? 0 : OPTIONS_NEW;
    const struct usage usage = {
        .command = v->command, .what = v->what, .examples = v->examples, .arguments = v->arguments, .options = options + first,
        .count = ARRAY_LEN(options) - first - !v->prints, .words = v->arguments[0] != '\0' ? &words : NULL, .words_least = v->arguments[0] != '\0',
    };
    int code;
    if (!options_read(&usage, argc, argv, &code))
        return code;
    o.word = words.count > 0 ? at[0] : NULL;
    if (o.per != NULL && o.budget == NULL)
        return usage_refuse(&usage, "--per is the period of a --budget, and there is none");
    static struct key_place p; /* one a process, and larger than a frame should be */
    p.command = v->command;
    buf_init(&p.answer, ASK_ANSWER_MAX);
    arena_init(&p.arena, NULL, 0, 4 * (size_t)ASK_ANSWER_MAX);
    code = v->run(&p, &usage, &o);
    key_place_leave(&p);
    return code;
}

int command_key(int argc, char **argv)
{
    const char *names[ARRAY_LEN(verbs)];
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
        names[i] = verbs[i].name;
        if (argc > 1 && strcmp(argv[1], verbs[i].name) == 0)
            return run(&verbs[i], argc - 1, argv + 1);
    }
    const struct usage usage = {
        .command = "key", .what = "Keys for clients, in weir's store. Each has its own --help: weir key new --help.",
        .examples = "  weir key new alice --rpm 600     prints a key, once\n  weir key list\n  weir key revoke alice\n", .arguments = "new|list|revoke ...",
    };
    int code;
    if (argc > 1 && argv[1][0] != '-') {
        const char *near = text_nearest(text_of(argv[1]), names, ARRAY_LEN(names));
        return usage_refuse(&usage, "there is no weir key %s%s%s", argv[1], near != NULL ? ", did you mean " : "", near != NULL ? near : "");
    }
    if (!options_read(&usage, argc, argv, &code))
        return code;
    return usage_refuse(&usage, "new, list or revoke?");
}
