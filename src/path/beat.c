/* beat.c: what a stream's client hears while nothing comes: after stream.heartbeat of silence comments, so that nobody between hangs up.
   Called by the steps that wait: admit, upstream, relay. */
#include "net/http_write.h"
#include "path/path.h"
#include <stdio.h>

#define BEAT_MAX 80 /* bytes of a comment: "waiting, position 100000, about 86400 s", and room */

enum fail path_stream_head(struct request *rq)
{
    struct buf *head = http_answer_head(rq->http);
    enum fail f = http_answer_begin(rq->http, 200);
    if (f == OK)
        f = http_write_header(head, TEXT("content-type"), TEXT("text/event-stream"));
    if (f == OK)
        f = http_write_header(head, TEXT("cache-control"), TEXT("no-cache"));
    if (f == OK)
        f = http_write_header(head, TEXT("x-accel-buffering"), TEXT("no")); /* an nginx in front would hold the stream back */
    return f == OK ? path_headers(rq) : f;
}

/* The first one commits 200: a later failure is then an error event. */
enum fail path_beat(struct task *t, struct request *rq, struct text what)
{
    struct http_request *http = rq->http;
    char comment[BEAT_MAX + 8];
    enum fail f = OK;
    ASSERT(what.len <= BEAT_MAX);
    if (!http->answer_begun) {
        rq->beats = true;
        f = path_stream_head(rq);
        if (f == OK)
            f = http_answer_stream(http, -1);
    }
    int n = snprintf(comment, sizeof comment, ": %.*s\n\n", TEXT_ARG(what));
    if (f == OK)
        f = http_answer_write(t, http, (struct text){ comment, (size_t)n });
    return f == OK ? http_answer_flush(http) : f;
}
