/* key.h: what an answer is known by. Two requests have one identity when a backend would have to answer them the same way: the order of fields, white space, the
   spelling of numbers and strings, null where it means absence, and what is the default everywhere do not count; anything else does, fields that nobody here knows
   among it, and the order of a schema's "properties", in which a model answers. defaults.def has the fields with rules of their own, canon.c the canonical form.
   path/ asks for it; exact.h, shared.h and joins find answers by it.

   It is made in two halves, since a large body is read on a job thread that knows nothing of the configuration:
     digest    of the body alone, while its tree lives: all but model, what stays out (below), and where something is generated max_tokens,
               max_completion_tokens and temperature
     identity  of the digest and what the request means here: tenant, model's pool, and the values those fields have after models.*.defaults

   What stays out, as it changes no answer: stream, stream_options that say include_usage and nothing else, user, metadata, safety_identifier, prompt_cache_key. */
#ifndef WEIR_CACHE_KEY_H
#define WEIR_CACHE_KEY_H

#include "base/json.h"
#include "base/text.h"

#define CACHE_ID_BYTES 32

struct cache_digest {
    uint8_t sha256[CACHE_ID_BYTES];
};

/* By what an answer is found: hash finds, sha256 proves. hash is the first eight bytes of it: they are uniform already. */
struct cache_id {
    uint8_t sha256[CACHE_ID_BYTES];
    uint64_t hash;
};

/* What beside the body's digest decides about an answer. */
struct cache_scope {
    struct text tenant;         /* nobody else may have the answer; "" = whoever asks where nobody needs a key */
    unsigned owner;             /* what tenant is the name of; 0: a tenant */
    struct text surface;        /* "chat" */
    struct text model;          /* its pool's name, and what is behind that; embeddings have nothing of what follows */
    bool has_max_tokens, has_temperature;
    bool max_is_completion;     /* max_completion_tokens said it: another field to a backend */
    uint32_t max_tokens;        /* as it goes out: the client's or models.*.defaults */
    double temperature;
};

/* Of a body whose tree this is, which json_check_all_keys and fields_check have passed. Any thread; memory from arena for objects of more than 32 names, some 32 bytes
   a name. FAIL_NO_MEMORY; FAIL_TOO_LARGE: it holds a number from 2^64 on, or -2^63 down, that some backends read exactly and we do not. Neither is a failure of the
   request: it has no identity, and is asked for as if there were no cache. */
MUSTUSE enum fail cache_digest(struct arena *arena, yyjson_val *root, struct cache_digest *out);
/* The same for embeddings that have inputs: of the body without them, and of each input by itself; outs has room for all of an array's items, or one.
   `[[1,2],[3]]` are two inputs, `[1,2,3]` is one, and so is a mixture: what it means is the backend's choice. An input has one digest alone, in an array, in a batch. */
unsigned cache_inputs(yyjson_val *root); /* how many; 0: input is no string and no array, or empty */
MUSTUSE enum fail cache_digest_inputs(struct arena *arena, yyjson_val *root, struct cache_digest *out_rest, struct cache_digest *outs);
/* rest and input: of cache_digest_inputs. */
struct cache_digest cache_digest_join(const struct cache_digest *rest, const struct cache_digest *input);

void cache_identify(struct cache_id *out, const struct cache_digest *digest, const struct cache_scope *scope);
/* Of the same answer in another form: each is an entry of its own. form 0 changes nothing; at most 255. All have one hash, so who looks for two touches one bucket. */
struct cache_id cache_id_form(const struct cache_id *id, unsigned form);

#endif
