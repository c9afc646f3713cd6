/* fuzz_plan.c: any bytes as a plan file. Oracle: a refusal is a sentence of valid UTF-8 with a place; what is read sends the same bytes when it is read again;
   and nothing stays allocated. The file stands in a folder of its own, so that no file it names is there. */
#include "bench/plan.h"
#include "fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>

#define CALLS_TRIED 50 /* of a session: loops may have a million */

static char path[64];

static void remove_folder(void)
{
    (void)remove(path);
    *strrchr(path, '/') = '\0';
    (void)remove(path);
}

static void write_plan(const uint8_t *data, size_t size)
{
    if (path[0] == '\0') {
        snprintf(path, sizeof path, "/tmp/weir_fuzz_XXXXXX");
        ASSERT(mkdtemp(path) != NULL);
        snprintf(path + strlen(path), sizeof path - strlen(path), "/p.yml");
        ASSERT(atexit(remove_folder) == 0);
    }
    FILE *f = fopen(path, "w");
    ASSERT(f != NULL);
    ASSERT(size == 0 || fwrite(data, 1, size, f) == size);
    ASSERT(fclose(f) == 0);
}

/* What the first requests of a session are, one after the other, into out. */
static void play(const struct script *s, uint64_t number, struct buf *out)
{
    struct script_session x;
    struct script_call call;
    struct buf body;
    bool is_over = false;
    buf_init(&body, 16u << 20);
    script_begin(&x, s, number);
    for (unsigned i = 0; i < CALLS_TRIED && !is_over && script_next(&x, &body, &call, &is_over) == OK; i++) {
        ASSERT(is_over || (call.path.len > 0 && memchr(call.path.at, ' ', call.path.len) == NULL && memchr(call.path.at, '\n', call.path.len) == NULL));
        ASSERT(buf_add_text(out, is_over ? TEXT("over") : buf_text(&body)) == OK);
        if (!is_over && call.wants_answer && script_heard(&x, TEXT("{\"a\":[{\"b\":1}],\"id\":\"x y\"}")) != OK)
            break;
    }
    script_end(&x);
    buf_fini(&body);
}

/* False: refused, with a sentence as it must be. */
static bool read_and_play(struct plan *p, struct buf *out)
{
    struct complaint why = { .line = 0 };
    if (!plan_read(p, path, &why)) {
        ASSERT(why.text[0] != '\0' && text_is_utf8(text_of(why.text)));
        return false;
    }
    for (uint64_t i = 0; i < 3; i++)
        play(p->load.script, i, out);
    ASSERT(pace_span(&p->load.pace) > 0);
    plan_fini(p);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct plan first, second;
    struct buf a, b;
    int64_t before = mem_alive();
    write_plan(data, size);
    buf_init(&a, 1u << 30);
    buf_init(&b, 1u << 30);
    bool is_read = read_and_play(&first, &a);
    ASSERT(read_and_play(&second, &b) == is_read);
    ASSERT(text_eq(buf_text(&a), buf_text(&b)));
    buf_fini(&a);
    buf_fini(&b);
    ASSERT(mem_alive() == before);
    return 0;
}
