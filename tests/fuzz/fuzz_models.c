/* fuzz_models.c: any bytes as a backend's answer when it is asked which models it has: a whole connection, or a body in HTTP that is right.
   Oracle: the gateway lists the names that a plain reading finds in a whole and good answer, each once, and otherwise only the configured one; and then it serves. */
#include "fuzz/backend_reading.h"
#include "fuzz/meeting.h"
#include "base/json.h"
#include "fleet/fleet.h"
#include "net/http_write.h"

#define FROM_NS NANOS_PER_S /* by then the answer has come, whole or not */

static const char ask_list[] = "GET /v1/models HTTP/1.1\r\nhost: w\r\n\r\n";
static const char ask_chat[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: w\r\ncontent-length: 42\r\n\r\n{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}";

static yyjson_val *list_of(yyjson_doc *doc)
{
    yyjson_val *root = yyjson_doc_get_root(doc);
    return yyjson_is_obj(root) ? yyjson_obj_get(root, "data") : NULL;
}

static struct text name_of(yyjson_val *list, size_t i)
{
    yyjson_val *id = yyjson_obj_get(yyjson_arr_get(list, i), "id");
    return yyjson_is_str(id) ? (struct text){ yyjson_get_str(id), yyjson_get_len(id) } : TEXT_NONE;
}

static bool is_usable(struct text name)
{
    return name.len > 0 && name.len <= MODEL_NAME_MAX && memchr(name.at, '\0', name.len) == NULL;
}

static bool has(yyjson_val *list, size_t count, struct text name)
{
    for (size_t i = 0; i < count; i++)
        if (text_eq(name_of(list, i), name))
            return true;
    return false;
}

/* m stands first and once; then each name that was said, as often as it is new. */
static void check_list(struct text told_client, struct text said)
{
    struct arena arena;
    arena_init(&arena, NULL, 0, 16u << 20);
    yyjson_doc *theirs = NULL, *ours = yyjson_read(told_client.at, told_client.len, 0);
    yyjson_val *from = json_parse(&arena, said, &theirs, NULL) == OK ? list_of(theirs) : NULL, *to = list_of(ours); /* its bounds are part of what is no list */
    size_t next = 1;
    ASSERT(yyjson_is_arr(to) && text_eq(name_of(to, 0), TEXT("m")));
    for (size_t i = 0; i < yyjson_arr_size(from) && yyjson_is_arr(from); i++) {
        struct text name = name_of(from, i);
        if (!is_usable(name) || has(to, next, name))
            continue;
        ASSERT(text_eq(name_of(to, next), name));
        next++;
    }
    ASSERT(yyjson_arr_size(to) == next);
    yyjson_doc_free(ours);
    arena_fini(&arena);
}

static void read_whole(struct message *m, struct arena *arena, struct text bytes, bool eof)
{
    message_begin(m, arena);
    message_feed(m, bytes);
    if (eof)
        message_eof(m);
}

static void check(const struct meeting *m)
{
    struct message said, list, chat;
    struct arena arena;
    arena_init(&arena, NULL, 0, 16u << 20);
    read_whole(&said, &arena, m->models, m->backend_closes);
    read_whole(&list, &arena, buf_text(&m->heard), false);
    read_whole(&chat, &arena, buf_text(&m->heard_again), false);
    ASSERT(list.is_whole && list.status == 200 && list.rest.len == 0);
    check_list(buf_text(&list.body), said.is_whole && said.status == 200 ? buf_text(&said.body) : TEXT(""));
    ASSERT(chat.is_whole && chat.status == 200 && chat.rest.len == 0);
    ASSERT(text_eq(buf_text(&chat.body), TEXT("{\"choices\":[{\"finish_reason\":\"stop\"}],\"n\":\"00000000\"}")));
    buf_fini(&said.body);
    buf_fini(&list.body);
    buf_fini(&chat.body);
    arena_fini(&arena);
}

/* hostile 78 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct meeting m;
    struct text in = { (const char *)data, size };
    struct buf b;
    if (size > 16384)
        return 0;
    buf_init(&b, 1u << 20);
    if (size % 2 == 0) {
        told(buf_add_text(&b, TEXT("HTTP/1.1 200 OK\r\n")));
        told(http_write_length(&b, size));
        told(http_write_head_end(&b));
    }
    told(buf_add_text(&b, in));
    m = (struct meeting){
        .client = text_of(ask_list), .client_cuts = { .next = cut_never }, .client_from = FROM_NS, .again = ask_chat,
        .models = buf_len(&b) > 0 ? buf_text(&b) : TEXT(""), .backend_cuts = fuzz_cutter(2, in), .backend_closes = size % 3 == 0,
    };
    meeting_run(&m);
    check(&m);
    meeting_fini(&m);
    buf_fini(&b);
    return 0;
}
