/* path.h: the request's life. serve/ makes a request of what came in and hands it to path_run; the steps are rows of steps.def, a file each.
   This is the only place where auth, fleet, upstream and relay meet. */
#ifndef WEIR_PATH_H
#define WEIR_PATH_H

#include "admit/share.h"
#include "auth/auth.h"
#include "base/json.h"
#include "cache/shared.h"
#include "net/http_server.h"
#include "relay/joins.h"
#include "stat/stat.h"
#include "upstream/upstream.h"

enum step {
#define STEP(name, fn, waits, what) STEP_##name,
#include "path/steps.def"
#undef STEP
    STEP_COUNT
};
extern const char *const step_names[STEP_COUNT];
extern const char *const step_waits[STEP_COUNT];

#define ASIDE_BYTES 262144 /* of a body: so much is parsed, or hashed, in less than a millisecond; a longer one is read on another thread */

struct request;

/* ---- answers from memory: 05_cache.c ---- */

#define ITEMS_MAX 512 /* inputs of a request for embeddings that are looked at one by one: 10 MB of answer, put together in 10 ms */

#define KEPT_MAX  (4u << 20) /* bytes of an answer that is kept, or changes its form; none that people wait for is longer */

enum { FORM_WHOLE, FORM_STREAM, JOIN_FORMS }; /* for cache_id_form */
enum cache_wish { CACHE_USE, CACHE_REFRESH, CACHE_LEAVE, CACHE_ONLY }; /* x-weir-cache: -, no-cache, no-store, only */
enum cache_result { CACHE_UNASKED, CACHE_HIT, CACHE_MISS, CACHE_BYPASS };

struct request_cache {
    enum cache_wish wish;
    enum cache_result result;
    const char *why;            /* of a bypass */
    struct text tags;           /* of x-weir-cache-tags that stands there several times; at == NULL: it does not */
    bool has_digest, has_tools; /* as the body says */
    struct cache_digest digest; /* of embeddings: of all but their input */
    struct cache_scope scope;
    struct cache_digest *inputs;/* of embeddings: of each; the request's own. items.c */
    uint32_t input_count;
    size_t input_from, input_to;
    struct item *items;         /* NULL: they are not looked at one by one */
    bool is_partial;            /* some are known, and a backend is asked for the others */
    struct cache_id id;         /* of the answer in the form that was asked for */
    struct cache_id base;       /* of it in whatever form, as instances share it */
    bool by_lane;               /* the body was not parsed: it led here before */
    bool keeps;                 /* the answer is to be kept */
    bool is_apart;              /* the answer it shared could not be told in its form: it asks for one of that form */
    struct buf tee;             /* of long embeddings: what has been sent */
};

/* The process: what all workers share. */
struct gateway;
/* One worker's share of it: what the steps use without asking anyone. */
struct desk {
    struct gateway *gateway;
    struct worker *worker;
    struct http_server *server, *admin_server;
    struct conns *conns;
    struct view *view;       /* swapped by mail when the fleet or the configuration changes */
    struct auth *auth;       /* over the view's configuration; NULL: there is no memory for that of the next one */
    struct roster *news;     /* the next view's, while there is no memory for that view */
    bool keys_changed;       /* those of the store, since auth was made */
    _Atomic bool keys_called;/* a letter that says so is under way */
    struct timer read_again;
    struct timer cache_tick; /* of worker 0 */
    struct limits *limits;   /* the process's */
    struct cache *cache;     /* the process's */
    struct shared *shared;   /* answers of other instances; NULL = none are shared */
    struct lanes *lanes;     /* lane.c; NULL until the first hit, and behind each new view */
    struct share_link *share; /* to where instances count together; NULL = nothing is shared */
    struct hangar hangar;
    struct joins *joins;     /* the process's */
    struct stories *stories;
    nanos shed_told;         /* when shed.c last logged */
    unsigned shed;           /* refused since */
    _Atomic nanos *asked_until; /* the process's, by class, for shed.c: until when it counts as asking */
    struct timer drain;      /* while draining: looks whether the last request has ended */
    nanos drain_until;
    _Atomic bool quiet;      /* while draining: it has no request */
    _Atomic bool settled;    /* while stopping: no task and no job is left here */
};

/* What a body says. It owns all it points to, so that a large one can be read by a job whose request has left. */
struct reading {
    const struct api *api;
    struct buf body;            /* the client's, lent while it is read */
    struct arena arena;         /* the tree's; gone when it was read */
    yyjson_doc *doc;
    enum fail fail;
    const char *param;          /* the field that was wrong */
    bool private_urls;          /* limits.private_urls */
    enum conf_cache_when keeps; /* the most that any model keeps */
    bool zero_by_default;       /* without a temperature it may be 0 */
    bool fetches;               /* a URL in its messages would have to be fetched by the backend */
    bool for_llama;             /* there is a local model: also look for what it may not be given */
    const char *llama_param;    /* such a field; NULL: none */
    size_t brace;               /* behind the first '{' */
    size_t model_from, model_to;
    size_t options_from, options_to; /* stream_options; 0, 0: absent */
    bool stream, usage_wanted, has_max_tokens, has_temperature; /* has_: it stands there, if only as null */
    bool says_max, says_temperature, max_is_completion;         /* says_: and is a number */
    bool has_tools, has_digest;
    double temperature;
    struct cache_digest digest; /* of embeddings: of all but their input */
    struct cache_digest *inputs;/* of each input of embeddings, mem_alloc'ed; NULL: too many, or not asked for */
    uint32_t input_count;
    size_t input_from, input_to;/* the input's value */
    uint32_t max_tokens, answers; /* answers: n; 0 = it asks for none, but for embeddings */
    uint64_t prompt_bytes;      /* of text in it; what is not text counts as its usual tokens */
    uint64_t affinity;          /* of its prompt's beginning */
    size_t model_len;
    char model[MODEL_NAME_MAX]; /* from here on nothing is cleared */
    char llama_must[96];
    char field[65];             /* for param, where it is a name of the body */
    char why[400];              /* a sentence; "" = the failure's own */
};
/* Sets why and returns f. */
MUSTUSE enum fail reading_refuse(struct reading *r, enum fail f, const char *format, ...) PRINTF(3, 4);

/* An API that clients speak. */
struct api {
    const char *name;
    enum surface number; /* for stat */
    /* Looks at the parsed body. On any thread, so it sees nothing but the reading. */
    enum fail (*read_body)(struct reading *r);
    /* Takes over what was read: model, stream, splices. On the request's worker. */
    enum fail (*take_body)(struct request *rq, const struct reading *r);
    /* An error in this API's shape. */
    enum fail (*error)(struct buf *out, const struct request *rq, enum fail f);
    /* What a stream that has begun ends with when its backend dies. */
    enum fail (*stream_error)(struct buf *out, const struct request *rq, enum fail f);
    const char *upstream_path;
    enum field_surface fields;
};

#define EVENTS_END TEXT("data: [DONE]\n\n") /* of a stream that ended well */

#define REQUEST_MAGIC 0x4e905e57u

/* One question from a client. Lives on its http_request's arena. */
struct request {
    uint32_t magic;
    struct desk *desk;
    struct task *task;
    struct http_request *http;
    const struct api *api;
    enum step step;
    nanos step_began;
    nanos step_ns[STEP_COUNT];  /* exact clock, time inside each */

    struct view *view;          /* held as long as the request lives */
    const struct conf *conf;    /* the view's */
    struct roster *roster;
    struct identity who;        /* as of the step auth; before it whoever asks where nobody needs a key. Lent: what outlives the request takes copies */
    enum conf_class class;      /* as of the step auth: the key's, or what x-weir-priority asked for */
    nanos deadline;

    const struct conf_model *pool_conf; /* settings of the configured model; NULL for a discovered one */
    struct text model;          /* as the client named it */
    bool stream, usage_wanted;
    bool fetches;               /* a URL in its messages would have to be fetched by the backend */
    uint32_t max_tokens, answers;
    uint64_t prompt_bytes;
    uint64_t affinity;          /* of its session, else of its prompt's beginning; 0 = none */
    unsigned splice_count;

    struct request_cache cache;
    struct stake stake;         /* what it has taken of its key's and tenant's limits */
    struct foresight foreseen;  /* tokens, as of the step admit */
    bool is_reserved;           /* … and its limits have set them aside */
    struct pool *pool;
    struct slot slot;
    struct waiter *waits;       /* its place in the queue, while it has one */
    uint32_t tokens;            /* what it will take of its tenant's share */
    bool joins;                 /* it may share its answer with others that ask for the same: */
    struct join_ask join;       /* its identity, and what else a flight is made of */
    enum join_role role;
    struct flight *flight;      /* the reader's */
    struct flight_reader reader;
    bool pays;                  /* as of the step record: for what that answer took */

    enum fail fail;             /* how it ended */
    bool handled;               /* the refusal has been written */
    bool is_shed;               /* this worker is late: it is told from memory or not at all */
    bool is_answered;           /* whole, before its last step: from memory */
    bool beats;                 /* heartbeats began the answer: it is 200, and events */
    bool is_told;               /* the last event of a stream is on its way: nothing may follow it */
    const char *param;          /* the field that was wrong */
    nanos retry_after;          /* -1 = none */
    bool backlog_grows;         /* refused while more and more wait: coming back soon makes it worse */
    nanos asked_at;             /* when it asked for a slot */
    nanos queue_ns;             /* waited for it; -1 = never asked */
    nanos overhead_ns;          /* as of the first byte out; -1 = never */
    nanos first_token_ns;       /* last byte in -> first token out; -1 = never */
    char why[700];              /* a sentence for the client, if the row's own is not enough; "" = none. From here on only as far as used */
    struct splice splices[SPLICES_MAX];
};

/* Runs the steps for a request that came by this surface. In the request's task. */
void path_run(struct task *t, struct desk *desk, struct http_request *http, const struct api *api);
/* Says no in the surface's shape; an answer that has begun it cuts. For serve's own pages too. */
void path_refuse(struct task *t, struct request *rq, enum fail f);
/* Ends an answer that has begun and cannot be completed: an event says why, and the connection ends without its regular end, so that nobody takes it for whole. */
void path_cut(struct task *t, struct request *rq, enum fail why);
/* http_answer_write of a stream's events. */
MUSTUSE enum fail path_write(struct task *t, struct request *rq, struct text some);
/* For handlers outside the steps: a request that only ever is refused or answered whole. */
void request_begin(struct request *rq, struct task *t, struct desk *desk, struct http_request *http, const struct api *api);

/* The steps. OK goes on to the next; anything else ends the request with that refusal. */
MUSTUSE enum fail path_head(struct task *t, struct request *rq);
MUSTUSE enum fail path_auth(struct task *t, struct request *rq);
MUSTUSE enum fail path_body(struct task *t, struct request *rq);
MUSTUSE enum fail path_limit(struct task *t, struct request *rq);
MUSTUSE enum fail path_cache(struct task *t, struct request *rq);
MUSTUSE enum fail path_route(struct task *t, struct request *rq);
MUSTUSE enum fail path_admit(struct task *t, struct request *rq);
MUSTUSE enum fail path_upstream(struct task *t, struct request *rq);
MUSTUSE enum fail path_relay(struct task *t, struct request *rq);
MUSTUSE enum fail path_record(struct task *t, struct request *rq);

/* Who asks, into rq->who; a failure has its sentence in rq->why. For pages, which have no steps. */
MUSTUSE enum fail request_identify(struct task *t, struct request *rq);

/* 04_limit.c, for admit and record: reserves what the request is foreseen to need; and what it really used takes its place. */
MUSTUSE enum fail limit_reserve(struct task *t, struct request *rq);
void limit_settle(struct request *rq);
/* x-ratelimit-… of a request that has limits, in the form of OpenAI's. */
MUSTUSE enum fail limit_headers(const struct request *rq, struct buf *head);

/* 05_cache.c and keep.c, for head, relay, record and headers: what x-weir-cache and x-weir-cache-tags say; bytes of long embeddings that went to the client;
   keeps the answer if it is one to keep; says what came of it. */
MUSTUSE enum fail cache_wish_read(struct request *rq);
MUSTUSE enum fail cache_tags_read(struct request *rq);
void cache_tee(struct request *rq, struct text bytes);
MUSTUSE enum fail cache_relay_converted(struct task *t, struct request *rq); /* an answer that was joined while it was made in the other form */
void cache_keep(struct request *rq);
const char *cache_word(const struct request *rq); /* "hit"; NULL: nobody looked */
MUSTUSE enum fail cache_headers(const struct request *rq, struct buf *head);

/* 03_body.c: parses a body that has been read, for what came by a lane and did not hit. */
MUSTUSE enum fail body_parse(struct task *t, struct request *rq);
/* 05_cache.c, for items.c: what it will join, if others ask for it just now. */
void cache_join_by(struct request *rq, const struct cache_id *id);
/* keep.c, for 05_cache.c and items.c: counts what a hit did not cost again; whose an answer is; how long it is kept. */
void cache_count_saved(struct worker *w, const struct cache_value *v);
struct cache_label cache_label_of(const struct request *rq);
nanos cache_ttl(const struct request *rq);
/* All that is to come of the flight. */
MUSTUSE enum fail cache_read_all(struct task *t, struct request *rq, struct buf *out);
/* Keeps it with what it took; v may be NULL. What is there in the other form, cache_id_form(id, form), goes. */
void cache_put_made(struct request *rq, const struct cache_id *id, unsigned form, const struct cache_id *shared_id, struct cache_value *v, uint32_t prompt_tokens,
                    uint32_t completion_tokens);
/* Keeps what another instance has made, for what is left of its time. */
void cache_put_shared(struct request *rq, const struct cache_id *id, const struct shared_hit *h);
/* items.c: answers from memory, or leaves the request to ask for what is not there. Relays what came of that together with what was known. Keeps the items of a whole
   answer. Lets go of everything. */
MUSTUSE enum fail items_look_up(struct task *t, struct request *rq);
MUSTUSE enum fail items_relay(struct task *t, struct request *rq);
void items_keep(struct request *rq, struct text body);
void items_end(struct request *rq);
/* lane.c: was this body, word for word, a hit before under this view? Then model, stream and identity are known. Adds one that is. */
bool lane_find(struct request *rq) MUSTUSE;
bool lane_is_possible(const struct request *rq); /* as far as its head tells */
void lane_add(struct request *rq);
void lane_forget_all(struct desk *d); /* another view: nothing is known any more */

/* Says no to lower classes while this worker is late and a higher one asks: part of the step auth. */
MUSTUSE enum fail path_shed(struct task *t, struct request *rq);
MUSTUSE enum fail path_shed_now(struct task *t, struct request *rq); /* what was spared, as it might have been in memory, and is not */

/* x-weir-… and x-ratelimit-… headers, as far as they are known. */
MUSTUSE enum fail path_headers(struct request *rq);
/* The head of an answer in one piece, up to its own headers' end. */
MUSTUSE enum fail path_whole_head(struct request *rq, int status, struct text type);
/* The head of an answer that is a stream of events, up to its own headers' end: status 200. */
MUSTUSE enum fail path_stream_head(struct request *rq);
/* A comment to the client of a stream in which nothing comes; it begins the answer if that has not begun. Waits for a client that does not read. */
MUSTUSE enum fail path_beat(struct task *t, struct request *rq, struct text what);
/* The same, with the place in the queue, if there is one. */
MUSTUSE enum fail path_beat_waiting(struct task *t, struct request *rq, struct flight_place at);
/* What it takes its slots with; the request's texts are in it. */
struct claim path_claim(const struct request *rq);
/* The call takes its slot itself, for all who will read the answer. FAIL_NO_MEMORY. */
MUSTUSE enum fail path_admit_later(struct request *rq, struct call *call);
/* Sets rq->why; returns f, so that steps write `return because(rq, FAIL_X, "…")`. */
enum fail because(struct request *rq, enum fail f, const char *format, ...) PRINTF(3, 4);

/* ---- stories of finished requests, for `weir explain` ---- */

#define STORIES_MAX      1024 /* a worker; a story is about 1 KiB */
#define STORIES_HITS_MAX 64   /* and so many of answers from memory */
struct stories;
struct stories *stories_new(void) MUSTUSE;
void stories_free(struct stories *s);
void stories_add(struct stories *s, const struct request *rq);
/* Adds the story as a JSON object to out. False if this worker has none by that id. */
bool stories_find(struct stories *s, struct text id, struct buf *out);

#endif
