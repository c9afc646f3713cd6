/* bench_fair.c: `weir bench fair`: tenants with keys of their own, of whom one asks for far more than the others, and what each of them got. */
#include "base/mem.h"
#include "bench/fair.h"
#include "cli/bench_scenario.h"
#include "cli/cli.h"
#include <math.h>
#include <stdio.h>

#define PROMPTS         10000
#define GREEDY          100     /* times as much as the others, where the file has no weights */
#define WEIGHT_MAX      1000000
#define KEYS_BYTES_MAX  65536
#define TENANTS_MAX     (BENCH_LEGS_MAX - 1) /* the whole is a run of the report, too */

struct tenants {
    char file[KEYS_BYTES_MAX]; /* keys live here */
    unsigned count;
    bool has_weights;
    struct script_asker at[TENANTS_MAX];
    char names[TENANTS_MAX][24];
};

/* ---- the keys ---- */

static bool read_line(struct bench_scene *s, struct tenants *t, int number, struct text line)
{
    struct text key, weight = text_trim(text_cut(line, ' ', &key));
    uint64_t n = 1;
    if (t->count == TENANTS_MAX)
        return complain(&s->why, s->words->keys, number, 0, "there is room for %d tenants", TENANTS_MAX);
    if (weight.len > 0 && (!text_to_u64(weight, WEIGHT_MAX, &n) || n == 0))
        return complain(&s->why, s->words->keys, number, 0, "behind the key stands its weight, a number from 1 to %d", WEIGHT_MAX);
    for (size_t i = 0; i < key.len; i++)
        if ((unsigned char)key.at[i] <= ' ' || (unsigned char)key.at[i] >= 0x7f)
            return complain(&s->why, s->words->keys, number, 0, "the key has a byte that no header can carry");
    t->has_weights = t->has_weights || weight.len > 0;
    t->at[t->count++] = (struct script_asker){ .key = key, .weight = n, .stream = s->words->stream };
    return true;
}

static bool read_keys(struct bench_scene *s, struct tenants *t)
{
    struct text line, rest;
    struct buf file;
    int number = 0;
    if (s->words->keys == NULL)
        return complain(&s->why, NULL, 0, 0, "fair needs --keys FILE: a tenant's KEY and WEIGHT a line");
    if (!script_file_read(s->words->keys, &file, &s->why))
        return false;
    size_t len = MIN(buf_len(&file), sizeof t->file);
    memcpy(t->file, buf_text(&file).at, len);
    bool is_ok = len == buf_len(&file) || complain(&s->why, s->words->keys, 0, 0, "is larger than %d bytes", KEYS_BYTES_MAX);
    buf_fini(&file);
    for (rest = (struct text){ t->file, len }; is_ok && rest.len > 0;) {
        rest = text_cut(rest, '\n', &line);
        line = text_trim(line);
        number++;
        if (line.len > 0 && line.at[0] != '#')
            is_ok = read_line(s, t, number, line);
    }
    return is_ok && (t->count >= 2 || complain(&s->why, s->words->keys, 0, 0, "has %u keys; between two tenants at least there can be fairness", t->count));
}

static void name_tenants(struct tenants *t)
{
    if (!t->has_weights)
        t->at[0].weight = GREEDY;
    for (unsigned i = 0; i < t->count; i++) {
        snprintf(t->names[i], sizeof t->names[i], "tenant %u x%llu", i + 1, (unsigned long long)t->at[i].weight);
        t->at[i].name = text_of(t->names[i]);
    }
}

/* ---- what they got ---- */

static unsigned note(void *arg, const struct script_session *x, const struct sample *s)
{
    (void)arg, (void)x;
    return s->flow;
}

/* What a tenant wanted is what his requests would have brought, answered as those that were: a refused one tells nothing of its own. */
static double index_of(const struct tenants *t, const struct tally *parts)
{
    double wanted[TENANTS_MAX] = { 0 }, got[TENANTS_MAX] = { 0 }, shares[TENANTS_MAX], tokens = 0, answers = 0;
    for (unsigned i = 0; i < t->count; i++) {
        tokens += got[i] = (double)parts[i].tokens_out;
        answers += (double)parts[i].outcomes[OUTCOME_OK];
    }
    for (unsigned i = 0; i < t->count; i++) {
        double ok = (double)parts[i].outcomes[OUTCOME_OK];
        double each = ok > 0 ? got[i] / ok : answers > 0 ? tokens / answers : 0;
        wanted[i] = (double)tally_requests(&parts[i]) * each;
    }
    fair_shares(wanted, t->count, tokens, shares);
    return tokens > 0 ? fair_index(got, shares, t->count) : NAN;
}

static bool report(struct bench_scene *s, const struct tenants *t, const struct tally *parts, struct result *r)
{
    result_add_finding(r, FINDING_jain, index_of(t, parts), NAN, NAN);
    if (r->tokens_out == 0)
        snprintf(r->knee, sizeof r->knee, "The server's answers count no tokens, so nobody can say who got how many.");
    for (unsigned i = 0; i < t->count; i++)
        if (!bench_scene_part(s, t->names[i], &parts[i], r))
            return false;
    return true;
}

static bool measure(struct bench_scene *s, struct tenants *t)
{
    static struct tally tallies[TENANTS_MAX];
    struct load_parts parts = { t->count, note, NULL, tallies };
    struct load_plan *plan = &s->run->plan;
    struct script_made made = { .count = PROMPTS };
    struct result *r;
    double rate = s->words->rate != NULL ? bench_scene_level(s, s->row->levels.at[0]) : s->row->levels.at[0];
    plan->target.key = TEXT_NONE; /* each has his own */
    if (!bench_plan_made(s->run, s->words, &made, t->at, t->count, &s->why))
        return false;
    bench_scene_begin(s);
    plan->is_open = true; /* users that wait for their answers would want less where they get less */
    plan->parts = &parts;
    s->is_several = true;
    bool is_ok = bench_scene_phase(s, bench_scene_span(s, 0), rate, rate) && bench_scene_leg(s, "all", &r);
    if (is_ok) {
        is_ok = report(s, t, tallies, r);
        for (unsigned i = 0; i < t->count; i++)
            tally_fini(&tallies[i]);
    }
    plan->parts = NULL;
    return is_ok;
}

bool bench_fair(struct bench_scene *s)
{
    struct tenants *t = mem_zero(sizeof *t);
    if (t == NULL)
        return bench_scene_fail(s, EXIT_FAILED, "no memory is left");
    s->code = EXIT_USAGE;
    bool is_ok = s->words->users == NULL || complain(&s->why, NULL, 0, 0, "fair has requests that nobody holds back: --rate instead of --users");
    is_ok = is_ok && read_keys(s, t);
    if (is_ok) {
        name_tenants(t);
        is_ok = measure(s, t);
    }
    mem_free(t);
    return is_ok;
}
