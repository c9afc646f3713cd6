/* load.c: the one way to a struct conf: file, then URLs, environment and flags over it, then defaults, bounds and cross checks.
   Called at start, by weir check, and on reload. */
#include "conf/inner.h"

#include <openssl/x509.h>
#include <stdatomic.h>

#define CONF_MAGIC     0x434f4e46u
#define CONF_BYTES_MAX (16u << 20) /* a CONF_FILE_MAX of the smallest members: 4096 keys, 1024 models of 128 targets */

static bool source_parse(struct loading *l)
{
    if (l->options->yaml.at != NULL)
        return yaml_parse(l, NULL, l->options->yaml, &l->root);
    if (l->options->path == NULL)
        return yaml_parse(l, NULL, TEXT_NONE, &l->root);
    struct place nowhere = { 0 };
    l->mark = file_mark(l->options->path);
    struct buf file;
    buf_init_secret(&file, CONF_FILE_MAX);
    bool is_ok = file_read(l, &nowhere, l->options->path, NULL, &file) && yaml_parse(l, NULL, buf_text(&file), &l->root);
    buf_fini(&file);
    return is_ok;
}

static bool root_expect_map(struct loading *l)
{
    if (tree_is_empty(l->root)) /* only comments, or ~ */
        l->root = tree_new(l, TREE_MAP, l->root->place);
    if (l->root == NULL)
        return false;
    return l->root->kind == TREE_MAP || refuse(l, &l->root->place, "a configuration is keys with values, such as listen: 127.0.0.1:4040");
}

static bool conf_new(struct loading *l)
{
    struct conf *c = mem_zero(sizeof *c);
    if (c == NULL)
        return refuse_memory(l);
    c->magic = CONF_MAGIC;
    c->references = 1;
    arena_init(&c->arena, NULL, 0, CONF_BYTES_MAX);
    l->conf = c;
    if (l->options->path == NULL)
        return true;
    c->path = arena_copy(&c->arena, text_of(l->options->path));
    if (c->path == NULL)
        return refuse_memory(l);
    return l->options->yaml.at != NULL || file_note(l, c->path, l->mark);
}

bool conf_load(const struct conf_options *options, const struct conf **out, struct complaint *out_why)
{
    struct loading l = { .options = options, .why = out_why, .depth_max = TREE_DEPTH_MAX };
    arena_init(&l.scratch, NULL, 0, SCRATCH_MAX);
    bool is_ok = source_parse(&l) && root_expect_map(&l) && overrides_apply(&l) && conf_new(&l) && conf_read(&l) && conf_check(&l);
    if (l.has_said_less)
        is_ok = refuse_memory(&l);
    arena_wipe(&l.scratch); /* every value that was read, keys too */
    X509_STORE_free(l.system_store);
    arena_fini(&l.scratch);
    if (is_ok)
        *out = l.conf;
    else
        conf_unref(l.conf);
    return is_ok;
}

const struct conf *conf_ref(const struct conf *c)
{
    CHECK(c, CONF);
    uint32_t before = atomic_fetch_add_explicit(&((struct conf *)c)->references, 1, memory_order_relaxed);
    ASSERT(before > 0 && before < UINT32_MAX);
    return c;
}

void conf_unref(const struct conf *c)
{
    if (c == NULL)
        return;
    CHECK(c, CONF);
    struct conf *mine = (struct conf *)c; /* const towards readers; the count and the end are ours */
    if (atomic_fetch_sub_explicit(&mine->references, 1, memory_order_acq_rel) != 1)
        return;
    tls_forget(mine);
    jwt_forget(mine);
    arena_wipe(&mine->arena); /* the one place where backends' keys stand */
    arena_fini(&mine->arena);
    mine->magic = 0;
    mem_free(mine);
}
