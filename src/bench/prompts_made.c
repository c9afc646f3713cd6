/* prompts_made.c: questions and conversations that scenarios make up: different from each other, and asked evenly or as often as Zipf's law says. Called by script.c. */
#include "bench/script_inner.h"
#include <math.h>
#include <stdio.h>

#define QUESTION_BYTES 96

/* Different from its first words on, so that no two share a prefix that a server could have kept. */
static bool make_turn(struct script *s, uint32_t prompt, uint32_t turn, struct turn *out)
{
    char text[QUESTION_BYTES];
    int n = snprintf(text, sizeof text, "Question %u.%u: say in one sentence what the number %u is good for.", prompt + 1, turn + 1, prompt + turn + 1);
    *out = (struct turn){ .before = TEXT(""), .content = { arena_copy(&s->arena, (struct text){ text, (size_t)n }), (size_t)n } };
    return out->content.at != NULL;
}

static bool make_prompt(struct script *s, uint32_t number, uint32_t turns, struct prompt *out)
{
    *out = (struct prompt){ .turns = arena_alloc(&s->arena, turns * sizeof *out->turns), .turn_count = turns };
    for (uint32_t i = 0; out->turns != NULL && i < turns; i++)
        if (!make_turn(s, number, i, &out->turns[i]))
            return false;
    return out->turns != NULL;
}

/* Sums of r^-exponent, as shares of the last one. */
static bool make_law(struct script *s, double exponent)
{
    struct prompts *p = &s->prompts;
    double sum = 0;
    p->below = arena_alloc(&s->arena, p->count * sizeof *p->below);
    for (uint64_t i = 0; p->below != NULL && i < p->count; i++)
        p->below[i] = sum += pow((double)i + 1, -exponent);
    for (uint64_t i = 0; p->below != NULL && i < p->count; i++)
        p->below[i] /= sum;
    return p->below != NULL;
}

bool prompts_make(struct script *s, const struct script_made *made, struct complaint *why)
{
    struct prompts *p = &s->prompts;
    uint32_t turns = MAX(made->turns, 1u);
    ASSERT(turns <= SCRIPT_TURNS_MAX && (uint64_t)made->count * turns <= SCRIPT_MADE_MAX);
    p->at = arena_alloc(&s->arena, made->count * sizeof *p->at);
    bool is_ok = p->at != NULL;
    for (; is_ok && p->count < made->count; p->count++)
        is_ok = make_prompt(s, (uint32_t)p->count, turns, &p->at[p->count]);
    p->turns_max = turns;
    is_ok = is_ok && (made->zipf == 0 || make_law(s, made->zipf));
    return is_ok || complain(why, NULL, 0, 0, "no memory left for what is sent");
}
