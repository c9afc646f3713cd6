/* inner.h: what the mock's files share. A model request goes mock.c (path, body, slot) -> ask.c (what is asked) -> words.c (what to say)
   -> send.c (when, and with which faults), which has one of the dialects' files write the bytes. */
#ifndef WEIR_MOCK_INNER_H
#define WEIR_MOCK_INNER_H

#include "base/random.h"
#include "mock/mock.h"
#include "mock/words.h"
#include "net/http_server.h"

#define MOCK_CHOICES_MAX 128 /* OpenAI's bound of n */
#define MOCK_PEN_MAX     (256u << 20) /* bytes written at a time: a plain answer of all choices */

extern const char *const mock_fault_names[MOCK_FAULT_COUNT];

enum mock_path {
#define PATH(id, method, path, dialect, answers) MOCK_PATH_##id,
#include "mock/paths.def"
#undef PATH
    MOCK_PATH_COUNT
};

/* number: which draw it is, for traces. */
nanos mock_span_draw(const struct mock_span *span, uint64_t *random, uint64_t number);
static inline bool mock_span_pauses(const struct mock_span *span) { return span->kind != SPAN_FIXED || span->span > 0; }

/* ---- what all workers of one mock share: board.c; any thread ---- */

struct board;

/* A script that requests may still be following. */
struct held_script {
    struct mock_script script;
    unsigned holders; /* under the board's gate */
};

/* One request's place: waiting for a slot, or having one. On its task's stack. */
struct place {
    struct node node;
    struct task_ref task;
    bool granted;                /* under the board's gate */
    bool has_slot;
    struct held_script *script;
    uint64_t number;             /* of the request, from 1 */
    uint32_t fault_set;          /* bits by place in script.faults */
};

struct board *board_new(struct world *world, const struct mock_script *script) MUSTUSE;
struct board *board_hold(struct board *b);
void board_drop(struct board *b);
/* Counts a request, draws its faults and waits for a slot. Fails as task_park does; board_leave is called in any case. */
MUSTUSE enum fail board_enter(struct task *t, struct board *b, enum mock_path path, struct place *p);
/* outcome: OK, or why it ended; FAIL_CLIENT_GONE counts as cancelled. */
void board_leave(struct task *t, struct board *b, struct place *p, enum fail outcome);
/* The script, held until board_release. */
struct held_script *board_visit(struct board *b);
void board_release(struct board *b, struct held_script *h);
void board_note_stream(struct board *b);
void board_note_path(struct board *b, enum mock_path path); /* of what asks no model */
/* Takes ownership of next; requests under way follow the old one to their end. */
void board_set_script(struct board *b, struct held_script *next);
void board_reset(struct board *b);
struct board_stats {
    struct mock_stats sums;
    uint64_t paths[MOCK_PATH_COUNT];
};
void board_read(struct board *b, struct board_stats *out);

/* ---- writing ---- */

/* Writes on after a failure as if nothing were, and tells at the end. */
struct pen {
    struct buf buf;
    enum fail fail;
};
static inline void put(struct pen *p, struct text t)
{
    if (p->fail == OK)
        p->fail = buf_add_text(&p->buf, t);
}
static inline void put_string(struct pen *p, struct text t)
{
    if (p->fail == OK)
        p->fail = json_add_string(&p->buf, t);
}
#define PUT(p, literal) put((p), TEXT(literal))
#define PUTF(p, ...) \
    do { \
        if ((p)->fail == OK) \
            (p)->fail = buf_printf(&(p)->buf, __VA_ARGS__); \
    } while (0)

/* ---- one model request ---- */

struct answer;

/* How a dialect writes an answer. A stream is open, token…, close; close leaves its end mark away if `done` is false. */
struct mock_wire {
    struct text stream_type;
    void (*open)(struct answer *a, struct pen *p);
    void (*token)(struct answer *a, struct pen *p, unsigned choice, struct text token);
    void (*close)(struct answer *a, struct pen *p, bool done);
    void (*error_event)(struct answer *a, struct pen *p);
    void (*whole)(struct answer *a, struct pen *p);
};

struct answer {
    struct mock *mock;
    struct task *t;
    struct http_request *rq;
    const struct mock_script *script; /* held while the request lasts */
    const struct mock_wire *wire;
    const struct mock_fault *faults[MOCK_FAULT_COUNT]; /* NULL: behaves */
    uint64_t number;                  /* of the request, from 1 */
    uint64_t random;                  /* of its spans: not of its words */
    uint64_t draws;
    int64_t created;                  /* unix seconds */
    nanos started;                    /* when it had its slot */
    nanos first_token;
    nanos due;                        /* of the next token */
    bool is_raw;                      /* its bytes are sent as if no head had said how long they are */
    struct ask ask;
    struct content *contents;         /* of ask.choices */
    uint64_t completion_tokens;
    struct text allow;                /* the method to tell with a 405; at == NULL: none */
    struct text head;                 /* the dialect's: the part that every event of a stream begins with */
};

static inline bool has_fault(const struct answer *a, enum mock_fault_kind kind) { return a->faults[kind] != NULL; }

/* ask.c */
/* The same for an answer's request. */
MUSTUSE enum fail mock_ask_read(struct answer *a, enum mock_shape shape, const char **out_why);
uint64_t mock_count_words(struct text t);

/* words.c */
/* All choices of an answer. */
MUSTUSE enum fail mock_words(struct answer *a);
/* The token's bytes. */
struct text mock_token(const struct content *c, uint32_t i);
/* Numbers of a unit vector, 1..MOCK_DIM_MAX of them, that the text and the seed decide. As a JSON array, or as base64 of little-endian floats. */
void mock_put_vector(struct pen *p, struct text text, uint64_t seed, uint32_t dimensions, bool base64);

/* send.c: when bytes leave, and which. All of these wait. */
MUSTUSE enum fail mock_wait_first(struct answer *a);         /* until the first token is due; before anything is composed */
MUSTUSE enum fail mock_send_words(struct answer *a);         /* with a->wire, as a stream or whole as ask.stream says */
MUSTUSE enum fail mock_send_plain(struct answer *a, struct pen *p); /* 200 and JSON */
MUSTUSE enum fail mock_send_error(struct answer *a, int status, const char *message, int retry_after); /* no fault is added to it */
/* What goes wrong whatever the answer would be; *out_handled: there is no more to answer. */
MUSTUSE enum fail mock_send_early_fault(struct answer *a, bool *out_handled);
void mock_put_error(struct pen *p, enum mock_dialect dialect, int status, const char *message);

/* mock.c: a pen on memory that all requests of this mock share: for one write; over a wait it becomes somebody else's. */
struct pen *mock_pen(struct mock *m);
void mock_note_stream(struct mock *m);
struct text mock_model_name(const struct answer *a, uint32_t i);

/* The dialects: rows of paths.def that ask a model. */
#define PATH(id, method, path, dialect, answers) MUSTUSE enum fail answers(struct answer *a);
#include "mock/paths.def"
#undef PATH

#endif
