/* fuzz_forms.c: any bytes as a body, and as the events of a stream, of either surface. Oracle: what becomes events comes back as a body that means the same;
   what becomes a body can be told in events again. */
#include "fuzz/fuzz.h"
#include "lib/form_same.h"
#include "relay/forms.h"

#define OUT_MAX (8u << 20) /* every event repeats the model's name: of 4 KB, half a name and half text make half a megabyte */

static enum fail events_of(enum form_surface surface, struct text body, struct buf *out, size_t *usage_from)
{
    struct arena arena;
    arena_init(&arena, NULL, 0, 1u << 24);
    buf_init(out, OUT_MAX);
    enum fail f = form_events(&arena, surface, body, out, usage_from);
    ASSERT(f == OK ? *usage_from <= buf_len(out) : buf_len(out) == 0);
    arena_fini(&arena);
    return f;
}

static enum fail body_of(enum form_surface surface, struct text events, struct text usage, struct buf *out)
{
    struct arena arena;
    arena_init(&arena, NULL, 0, 1u << 26);
    buf_init(out, OUT_MAX);
    enum fail f = form_body(&arena, surface, events, usage, out);
    ASSERT(f == OK || buf_len(out) == 0);
    arena_fini(&arena);
    return f;
}

/* Into events and back. */
static bool comes_back(enum form_surface surface, struct text body)
{
    struct buf events, again;
    size_t usage_from = 0;
    bool is_answer = events_of(surface, body, &events, &usage_from) == OK;
    if (is_answer) {
        struct text all = buf_text(&events), usage = { all.at + usage_from, all.len - usage_from };
        told(body_of(surface, (struct text){ all.at, usage_from }, usage, &again));
        ASSERT(form_is_same(body, buf_text(&again)));
        buf_fini(&again);
    }
    buf_fini(&events);
    return is_answer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int64_t before = mem_alive();
    if (size > 4096)
        return 0;
    char *copy = fuzz_copy((struct text){ (const char *)data, size });
    struct text in = { copy, size }, events, usage = text_cut(in, '\f', &events); /* no JSON and no event has a bare form feed */
    for (enum form_surface surface = FORM_CHAT; surface <= FORM_COMPLETION; surface++) {
        struct buf body;
        comes_back(surface, in);
        if (body_of(surface, events, usage, &body) == OK)
            ASSERT(comes_back(surface, buf_text(&body)));
        buf_fini(&body);
    }
    mem_free(copy);
    ASSERT(mem_alive() == before);
    return 0;
}
