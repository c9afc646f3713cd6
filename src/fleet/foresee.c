/* foresee.c: how many tokens a request will need, from its bytes and from what earlier requests for the same model turned out to need. Limits reserve them before
   a backend is asked, and the queue charges them to their tenant's share. An average and a mean deviation by moving averages, as TCP estimates its round trips
   (Jacobson, Congestion Avoidance and Control, 1988). */
#include "fleet/inner.h"
#include <math.h>

#define BYTES_PER_TOKEN  4    /* English in the usual vocabularies, until a backend has counted */
#define ANSWER_UNKNOWN   1024 /* tokens of an answer nobody has bounded, while nothing is known about the model's */
#define ANSWER_MIN       16
#define HABITS_SETTLED   8    /* answers after which the averages are believed */
#define TOKEN_BYTES_MAX  16   /* nothing tokenises better than this, … */
#define TOKENS_BYTE_MAX  2    /* … and nothing worse, but templates around short prompts */
#define SHARE            8    /* a new sample's weight in an average: an eighth */

static uint64_t now_of(const _Atomic uint64_t *n) { return atomic_load_explicit(n, memory_order_relaxed); }

/* Two workers at once: one of the samples is lost, which an average survives. */
static void average(_Atomic uint64_t *mean, uint64_t sample)
{
    uint64_t old = now_of(mean);
    atomic_store_explicit(mean, old == 0 ? sample : old - old / SHARE + sample / SHARE, memory_order_relaxed);
}

static uint64_t foresee_prompt(const struct habits *h, uint64_t bytes)
{
    uint64_t seen_bytes = now_of(&h->prompt_bytes), seen_tokens = now_of(&h->prompt_tokens);
    if (seen_bytes == 0)
        return (bytes + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
    uint64_t by_ratio = (uint64_t)ceil((double)bytes * (double)seen_tokens / (double)seen_bytes);
    return MAX(MIN(by_ratio, bytes * TOKENS_BYTE_MAX), bytes / TOKEN_BYTES_MAX);
}

/* The mean and two deviations: most answers stay below that, and one that does not is settled by what it was. */
static uint64_t foresee_answer(const struct habits *h)
{
    if (atomic_load_explicit(&h->answers_seen, memory_order_relaxed) < HABITS_SETTLED)
        return ANSWER_UNKNOWN;
    return MAX((now_of(&h->answer_mean) + 2 * now_of(&h->answer_deviation)) / 256, ANSWER_MIN);
}

struct foresight pool_foresee(const struct pool *p, uint64_t prompt_bytes, uint32_t max_tokens, uint32_t answers)
{
    uint64_t prompt = foresee_prompt(&p->habits, prompt_bytes);
    uint64_t answer = answers == 0 ? 0 : (max_tokens > 0 ? max_tokens : foresee_answer(&p->habits)) * answers;
    return (struct foresight){ (uint32_t)MIN(prompt, UINT32_MAX), (uint32_t)MIN(answer, UINT32_MAX) };
}

void pool_learn(struct pool *p, uint64_t prompt_bytes, int64_t prompt_tokens, uint32_t max_tokens, uint32_t answers, int64_t answer_tokens)
{
    struct habits *h = &p->habits;
    if (prompt_tokens > 0 && prompt_bytes > 0) { /* long prompts weigh more: they are what limits are about */
        average(&h->prompt_bytes, MIN(prompt_bytes, UINT32_MAX) * 256);
        average(&h->prompt_tokens, (uint64_t)MIN(prompt_tokens, UINT32_MAX) * 256);
    }
    if (answer_tokens < 0 || max_tokens > 0 || answers == 0)
        return;
    uint64_t sample = (uint64_t)MIN(answer_tokens, UINT32_MAX) / answers * 256, mean = now_of(&h->answer_mean);
    uint32_t seen = atomic_load_explicit(&h->answers_seen, memory_order_relaxed);
    average(&h->answer_deviation, seen == 0 ? sample / 2 : sample > mean ? sample - mean : mean - sample);
    average(&h->answer_mean, sample);
    atomic_store_explicit(&h->answers_seen, MIN(seen + 1, HABITS_SETTLED), memory_order_relaxed);
}

uint32_t foresight_share(struct foresight f) { return (uint32_t)MIN(tenant_weigh(f.prompt, f.answer), UINT32_MAX); }
