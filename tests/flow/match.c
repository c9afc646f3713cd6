/* match.c: comparing what came with what a flow file expects, and saying where they differ. Used by play.c. */
#include "flow/flow.h"
#include <stdio.h>
#include <yyjson.h>

#define AROUND 60 /* bytes shown around a difference */

char *match_show(struct text t, size_t most, char *out, size_t room)
{
    size_t n = 0;
    size_t shown = MIN(t.len, most);
    for (size_t i = 0; i < shown && n + 8 < room; i++) {
        unsigned char c = (unsigned char)t.at[i];
        if (c == '\r' || c == '\n' || c == '\t')
            n += (size_t)snprintf(out + n, room - n, "\\%c", c == '\r' ? 'r' : c == '\n' ? 'n' : 't');
        else if (c < 0x20 || c == 0x7f || c == '\\')
            n += (size_t)snprintf(out + n, room - n, "\\x%02x", c);
        else
            out[n++] = (char)c;
    }
    if (shown < t.len && n + 40 < room)
        n += (size_t)snprintf(out + n, room - n, " … (%zu bytes)", t.len);
    out[n] = 0;
    return out;
}

bool match_glob(struct text pattern, struct text t)
{
    size_t p = 0, i = 0, star = SIZE_MAX, from = 0;
    while (i < t.len) { /* each turn eats a byte, or gives one more to the last star */
        if (p < pattern.len && pattern.at[p] == '*') {
            star = p++;
            from = i;
        } else if (p < pattern.len && pattern.at[p] == t.at[i]) {
            p++, i++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            i = ++from;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.at[p] == '*')
        p++;
    return p == pattern.len;
}

bool match_bytes(struct text expected, struct text came, char *why, size_t room)
{
    char left[AROUND * 4 + 64], right[AROUND * 4 + 64];
    size_t at = 0;
    while (at < expected.len && at < came.len && expected.at[at] == came.at[at])
        at++;
    if (at == expected.len && at == came.len)
        return true;
    size_t from = at > AROUND / 2 ? at - AROUND / 2 : 0;
    snprintf(why, room, "they differ from byte %zu on; expected %zu bytes, came %zu\n    expected: …%s\n    came:     …%s", at, expected.len, came.len,
             match_show((struct text){ expected.at + from, expected.len - from }, AROUND, left, sizeof left),
             match_show((struct text){ came.at + from, came.len - from }, AROUND, right, sizeof right));
    return false;
}

/* ---- JSON ---- */

struct place {
    const struct place *up;
    const char *key; /* NULL: an element */
    size_t index;
};

static size_t show_place(const struct place *p, char *out, size_t room)
{
    if (p == NULL)
        return 0;
    size_t n = show_place(p->up, out, room);
    int more = p->key != NULL ? snprintf(out + n, room - n, ".%s", p->key) : snprintf(out + n, room - n, "[%zu]", p->index);
    return MIN(n + (size_t)more, room - 1);
}

struct comparison {
    yyjson_alc alc;
    char *why;
    size_t room;
};

/* yyjson's memory from an arena: all of a comparison goes at once. */
static void *take(void *arena, size_t size) { return arena_alloc(arena, size); }
static void give(void *arena, void *at) { (void)arena, (void)at; }
static void *more(void *arena, void *at, size_t old, size_t size)
{
    void *wider = arena_alloc(arena, size);
    if (wider != NULL)
        memcpy(wider, at, MIN(old, size));
    return wider;
}

static bool differs(struct comparison *c, const struct place *p, yyjson_val *expected, yyjson_val *came)
{
    char where[256] = "", left[300], right[300];
    char *e = yyjson_val_write_opts(expected, 0, &c->alc, NULL, NULL), *g = yyjson_val_write_opts(came, 0, &c->alc, NULL, NULL);
    show_place(p, where, sizeof where);
    snprintf(c->why, c->room, "at %s:\n    expected: %s\n    came:     %s", where[0] != 0 ? where : "the top", e != NULL ? match_show(text_of(e), 200, left, sizeof left) : "nothing",
             g != NULL ? match_show(text_of(g), 200, right, sizeof right) : "nothing");
    return false;
}

static bool same(struct comparison *c, const struct place *up, yyjson_val *expected, yyjson_val *came);

static bool same_members(struct comparison *c, const struct place *up, yyjson_val *expected, yyjson_val *came)
{
    size_t i, n, named = 0;
    yyjson_val *key, *value;
    bool open = yyjson_obj_get(expected, "*") != NULL;
    yyjson_obj_foreach(expected, i, n, key, value) {
        struct place p = { up, yyjson_get_str(key), 0 };
        if (yyjson_equals_str(key, "*"))
            continue;
        named++;
        if (!same(c, &p, value, yyjson_obj_get(came, yyjson_get_str(key))))
            return false;
    }
    return open || yyjson_obj_size(came) == named || differs(c, up, expected, came);
}

static bool same_elements(struct comparison *c, const struct place *up, yyjson_val *expected, yyjson_val *came)
{
    size_t i, n;
    yyjson_val *value;
    if (yyjson_arr_size(expected) != yyjson_arr_size(came))
        return differs(c, up, expected, came);
    yyjson_arr_foreach(expected, i, n, value) {
        struct place p = { up, NULL, i };
        if (!same(c, &p, value, yyjson_arr_get(came, i)))
            return false;
    }
    return true;
}

/* As deep as the flow file's own JSON. */
static bool same(struct comparison *c, const struct place *up, yyjson_val *expected, yyjson_val *came)
{
    if (came == NULL || yyjson_get_type(expected) != yyjson_get_type(came))
        return differs(c, up, expected, came);
    if (yyjson_is_obj(expected))
        return same_members(c, up, expected, came);
    if (yyjson_is_arr(expected))
        return same_elements(c, up, expected, came);
    if (yyjson_is_str(expected) && match_glob((struct text){ yyjson_get_str(expected), yyjson_get_len(expected) }, (struct text){ yyjson_get_str(came), yyjson_get_len(came) }))
        return true;
    bool is_number = yyjson_is_num(expected);
    if (!yyjson_is_str(expected) && (is_number ? yyjson_get_num(expected) == yyjson_get_num(came) : yyjson_get_tag(expected) == yyjson_get_tag(came)))
        return true;
    return differs(c, up, expected, came);
}

static yyjson_val *read_json(struct text t, yyjson_alc *alc)
{
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)t.at, t.len, 0, alc, NULL); /* without INSITU it is not written to */
    return yyjson_doc_get_root(doc);
}

bool match_json(struct text expected, struct text came, char *why, size_t room)
{
    struct arena arena;
    struct comparison c = { { take, more, give, &arena }, why, room };
    char shown[1200];
    arena_init(&arena, NULL, 0, 64u << 20);
    yyjson_val *e = read_json(expected, &c.alc), *g = read_json(came, &c.alc);
    bool ok = false;
    if (e == NULL)
        snprintf(why, room, "what the flow expects is no JSON");
    else if (g == NULL)
        snprintf(why, room, "expected JSON, came: %s", match_show(came, 500, shown, sizeof shown));
    else
        ok = same(&c, NULL, e, g);
    arena_fini(&arena);
    return ok;
}
