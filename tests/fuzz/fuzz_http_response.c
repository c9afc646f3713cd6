/* fuzz_http_response.c: whatever a backend answers and however they are cut, http_parse tells the same story. */
#include "../lib/http_story.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Small limits, so that inputs reach them. */
static const struct http_parse_limits limits = { .head_bytes_max = 2048, .target_bytes_max = 256, .headers_max = 40 };

/* The last bytes of the input say how to cut it: they are part of it too, so a seed's text stays readable. Its length says whether HEAD was asked. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text in = { (const char *)data, size };
    size_t seeds = MIN(size, (size_t)16);
    const struct cutter cuts[] = { { .next = cut_never }, { .next = cut_bytes }, { .next = cut_seeded, .seeds = data + size - seeds, .seeds_len = seeds } };
    struct buf stories[ARRAY_LEN(cuts)];
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        buf_init(&stories[i], 64u << 20);
        http_story(&stories[i], HTTP_KIND_RESPONSE, size % 8 == 7, &limits, in, cuts[i], false);
        ASSERT(text_eq(buf_text(&stories[0]), buf_text(&stories[i])));
    }
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++)
        buf_fini(&stories[i]);
    return 0;
}
