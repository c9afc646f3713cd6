/* flood_inner.h: what the files of the flood share: flood.c (plan, run, end), flood_client.c (who asks), flood_backend.c (who answers),
   flood_policy.c (limits, classes, balances), flood_check.c (what an answer must be). Nobody else includes it. */
#ifndef WEIR_TESTS_FLOOD_INNER_H
#define WEIR_TESTS_FLOOD_INNER_H

#include "lib/actor.h"
#include "lib/flood.h"
#include "lib/house.h"
#include "lib/tls_peer.h"

#define BACKENDS_MOST 4
#define MODELS_MOST   3
#define CLIENTS_MOST  40 /* times ASKS_MOST: DESIGN's 200 requests a seed */
#define ASKS_MOST     5
#define BODY_MOST     (1u << 20) /* of an answer; the longest that a backend here sends is 120 KiB */

/* ---- dice: splitmix64; each player has its own, so that one more draw of one leaves the others alone ---- */

struct dice {
    uint64_t state;
};
static inline uint64_t roll(struct dice *d)
{
    uint64_t z = d->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline unsigned below(struct dice *d, unsigned n) { return (unsigned)(roll(d) % n); }
static inline unsigned between(struct dice *d, unsigned low, unsigned high) { return low + below(d, high - low + 1); }
static inline bool once_in(struct dice *d, unsigned n) { return below(d, n) == 0; }

/* At least 1 of `left`, at most `most`. */
static inline size_t some_of(struct dice *d, size_t left, unsigned most)
{
    size_t n = 1 + below(d, most);
    return n < left ? n : left;
}

/* ---- who answers ---- */

/* What a backend does with one request: name, whether a client of it must still be served whole (it is honest), what it does. */
#define MOODS(MOOD) \
    MOOD(honest,      true,  "answers, at its own pace") \
    MOOD(split,       true,  "the same in pieces that end anywhere") \
    MOOD(interim,     true,  "says 103 before its answer") \
    MOOD(closes,      true,  "says Connection: close and does") \
    MOOD(leaves,      true,  "closes soon after its answer without a word, when we may be using the connection again") \
    MOOD(late_end,    true,  "ends its chunks long after [DONE]") \
    MOOD(no_end,      true,  "never ends its chunks after [DONE]") \
    MOOD(until_close, true,  "a plain body whose end is the connection's") \
    MOOD(no_done,     true,  "a finish_reason and the end of the body, but no [DONE]") \
    MOOD(bad_line,    true,  "an event in between that is no JSON") \
    MOOD(says_400,    false, "finds the request wrong, in JSON that carries its id") \
    MOOD(says_429,    false, "too many, with retry-after") \
    MOOD(says_500,    false, "trouble, in JSON") \
    MOOD(html,        false, "a page of its proxy") \
    MOOD(garbage,     false, "no HTTP") \
    MOOD(hang,        false, "never answers") \
    MOOD(hang_head,   false, "half a head") \
    MOOD(stall,       false, "stops in the middle and stays connected") \
    MOOD(cut,         false, "closes in the middle") \
    MOOD(reset,       false, "resets in the middle") \
    MOOD(short_body,  false, "fewer bytes than its content-length, then closes") \
    MOOD(error_event, false, "an error in its stream, or in a 200") \
    MOOD(no_finish,   false, "ends the body well in the middle of the answer") \
    MOOD(tail,        true,  "a second answer that nobody asked for, right behind the first")

enum mood {
#define MOOD(name, honest, what) MOOD_##name,
    MOODS(MOOD)
#undef MOOD
    MOOD_COUNT
};

struct flood;

struct backend_player {
    struct flood *flood;
    unsigned number;
    struct dice dice;
    struct addr addr;
    char key[24];         /* what it must be asked with; empty = no key */
    bool listens, blinks; /* blinks: is away from time to time */
    unsigned honest_of_8; /* how many of eight answers are honest */
    unsigned pace_us;     /* between two writes, at most */
    unsigned long_of_16;  /* how many of 16 answers are long */
    nanos out_from, out_until; /* since the beginning: says 500 to everybody */
    struct actor listener;
};

/* ---- who asks ---- */

/* What a client sends: name, the status it must get when nothing else goes wrong (0: that of a generation), what it is. */
#define KINDS(KIND) \
    KIND(chat,        0,   "POST /v1/chat/completions") \
    KIND(text,        0,   "POST /v1/completions") \
    KIND(embed,       0,   "POST /v1/embeddings") \
    KIND(models,      200, "GET /v1/models") \
    KIND(health,      200, "GET /health") \
    KIND(metrics,     200, "GET /metrics") \
    KIND(bad_json,    400, "a body that is no JSON") \
    KIND(bad_field,   400, "a field of a wrong type") \
    KIND(bad_timeout, 400, "x-weir-timeout-ms: soon") \
    KIND(bad_framing, 400, "no Host") \
    KIND(no_key,      401, "no key where one is needed, on any route that needs one") \
    KIND(wrong_key,   401, "an unknown key, on any route that needs one") \
    KIND(narrow_key,  403, "a key that may not use the model") \
    KIND(low_key,     403, "metrics with a user's key") \
    KIND(no_model,    404, "a model that nobody has") \
    KIND(no_path,     404, "an unknown path") \
    KIND(bad_method,  405, "DELETE on a path that exists") \
    KIND(big_body,    413, "more than limits.body") \
    KIND(big_head,    431, "more than limits.header") \
    KIND(status,      200, "admin: GET /status") \
    KIND(requests,    200, "admin: GET /requests") \
    KIND(explain,     200, "admin: GET /explain/ID") \
    KIND(reload,      200, "admin: POST /reload") \
    KIND(drain,       202, "admin: POST /drain")

enum kind {
#define KIND(name, status, what) KIND_##name,
    KINDS(KIND)
#undef KIND
    KIND_COUNT
};

enum ending { END_NONE, END_WHOLE, END_CUT, END_LEFT };

/* One request and what came of it. */
struct ask {
    enum kind kind;
    char tag[16];          /* "c12r3": in the body, and in every token of its answer */
    unsigned model;
    bool stream, usage, old_http, closes, chunked, expects;
    unsigned pad;          /* bytes of its prompt */
    unsigned timeout_ms;   /* 0 = none said */
    unsigned attempts;     /* how often a backend saw it */
    bool seen_400;         /* a backend refused it itself */
    nanos began_at, began_wall, sent_at, ended_at; /* began: 0 when it was sent with others */
    char id[32];           /* x-request-id of its answer; empty = none came */
    int status;
    bool retry_said;       /* retry-after came */
    int said_attempts;     /* x-weir-attempts; -1 = not said */
    bool answer_chunked, answer_closes, has_length, clean;
    int64_t length;
    char content_type[48];
    struct buf body;       /* of the answer */
    enum ending ending;
};

struct client_player {
    struct flood *flood;
    unsigned number;
    struct dice dice, policy;
    const char *who;      /* its key: key-who */
    bool admin;
    bool pipelines;
    bool slow_reader, slow_sender, deaf; /* deaf: reads nothing and stays */
    bool leaves, leaves_by_reset; /* at leave_at */
    nanos leave_at, start_at;
    unsigned asks_count;
    struct ask asks[ASKS_MOST];
    struct actor actor;
    bool connected;
    struct buf in;        /* read and not yet parsed */
    bool ended_in, broken;/* the other side has finished; the connection failed */
};

struct policy {
    struct dice dice;
    bool is_on, has_limits;
};

struct flood {
    struct house house;
    struct policy policy;
    uint64_t seed;
    bool trace;
    struct dice dice;
    struct sim_options options;
    bool calm;            /* no faults, honest backends, room for all: everyone must be served */
    bool has_keys, can_reset;
    SSL_CTX *tls_backends, *tls_clients; /* what the players of that side speak TLS with; NULL: they do not */
    bool time_runs;       /* a fault makes time pass that is nobody's */
    bool drained;         /* drain was asked for */
    nanos total, write;   /* timeouts of these names; the same in every configuration of a seed, as is */
    unsigned attempts_most; /* retries.attempts */
    bool hedges;          /* models.*.hedge */
    unsigned backends_count, models_count, clients_count;
    struct backend_player backends[BACKENDS_MOST];
    struct client_player clients[CLIENTS_MOST];
    unsigned clients_left;
    unsigned serial;      /* of answers */
    bool model_may_go;    /* a reload may take the last model away */
    char yaml[8192];
    char some_id[32];     /* of an answer, for explain */
    struct flood_sum sum;
    nanos began;
};

/* "seed 17 at 1.204 s: …" when tracing. */
void flood_say(struct flood *fl, const char *format, ...) PRINTF(2, 3);
/* The same always, then the end of the process. */
NORETURN void flood_broken(struct flood *fl, const char *what, const char *format, ...) PRINTF(3, 4);
#define MUST(fl, condition, ...) \
    do { \
        if (!(condition)) \
            flood_broken(fl, #condition, __VA_ARGS__); \
    } while (0)

/* Draws a configuration into fl->yaml; then another, or one that is refused, for a reload. */
void flood_configure(struct flood *fl);
void flood_reconfigure(struct flood *fl);

/* flood_policy.c. Each continues fl->yaml at `at` and returns where it ends. */
size_t flood_put(struct flood *fl, size_t at, const char *format, ...) PRINTF(3, 4);
void policy_draw(struct flood *fl);
void policy_of_client(struct client_player *c);
size_t policy_keys(struct flood *fl, size_t at);
size_t policy_classes(struct flood *fl, size_t at);
bool policy_is_adaptive(struct flood *fl);
const char *policy_balance(struct flood *fl, const char *otherwise);
const char *policy_price(const struct flood *fl);
const char *policy_hedge(const struct flood *fl);
/* A seed has too few requests for a model to learn what is late, and to earn a second call: says that it has answered so many. */
#define POLICY_TAUGHT 100
void policy_teach(struct flood *fl);
void policy_head(struct client_player *c, struct buf *out);

/* Byte i of the prompt of a request, and of the padding of its answer. */
static inline char prompt_byte(const struct ask *a, unsigned i) { return (char)('a' + (i * 7 + (unsigned char)a->tag[1] + (unsigned char)a->tag[3]) % 26); }
/* The request with this tag; ends the process if there is none. */
struct ask *flood_ask(struct flood *fl, const char *tag);

void client_draw(struct flood *fl, struct client_player *c, unsigned number);
void client_play(struct task *t, void *client);
void backend_draw(struct flood *fl, struct backend_player *b, unsigned number);
void backend_play(struct task *t, void *backend);
/* Looks at what a client got of one answer; see flood_check.c. */
void check_answer(struct client_player *c, struct ask *a);

#endif
