/* stories.c: see stories.h. */
#include "fuzz/stories.h"

/* Small limits, so that inputs reach them. */
static const struct http_parse_limits limits = { .head_bytes_max = 2048, .target_bytes_max = 256, .headers_max = 40 };

static void tell_all(struct buf *story, enum http_kind kind, bool answers_head, struct text in, unsigned way)
{
    buf_init(story, 64u << 20);
    http_story(story, kind, answers_head, &limits, in, fuzz_cutter(way, in), false);
}

static void check_next(enum http_kind kind, bool answers_head, struct text in, struct text story, const char *next)
{
    struct buf both, bytes, alone;
    if (!text_ends(story, TEXT("[end][clean]")) || text_ends(in, TEXT("\r")) || text_ends(in, TEXT("\r\n\r\n\r\n")))
        return; /* no place for a next one; or half an empty line, or so many that they count against its head */
    buf_init(&bytes, 1u << 20);
    told(buf_add_text(&bytes, in));
    told(buf_add_text(&bytes, text_of(next)));
    tell_all(&alone, kind, answers_head, text_of(next), 0);
    tell_all(&both, kind, answers_head, buf_text(&bytes), 0);
    struct text first = { story.at, story.len - (sizeof "[clean]" - 1) }, whole = buf_text(&both);
    ASSERT(text_starts(whole, first));
    struct text second = { whole.at + first.len, whole.len - first.len };
    bool is_last = text_starts(buf_text(&alone), second) && text_ends(second, TEXT("[end]")); /* STORY_MESSAGES_MAX were told, with it or before it */
    ASSERT(second.len == 0 || is_last || text_eq(second, buf_text(&alone)));
    buf_fini(&both);
    buf_fini(&alone);
    buf_fini(&bytes);
}

void stories_check(enum http_kind kind, bool answers_head, struct text in, const char *next)
{
    int64_t before = mem_alive();
    struct buf stories[FUZZ_WAYS];
    for (unsigned way = 0; way < FUZZ_WAYS; way++) {
        tell_all(&stories[way], kind, answers_head, in, way);
        ASSERT(text_eq(buf_text(&stories[0]), buf_text(&stories[way])));
    }
    check_next(kind, answers_head, in, buf_text(&stories[0]), next);
    for (unsigned way = 0; way < FUZZ_WAYS; way++)
        buf_fini(&stories[way]);
    ASSERT(mem_alive() == before);
}
