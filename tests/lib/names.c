/* names.c: see names.h. */
#include "lib/names.h"

static bool parse(struct text says, struct dns_answer *out)
{
    *out = (struct dns_answer){ .ttl = 30 * NANOS_PER_S };
    while (says.len > 0) {
        struct text word;
        says = text_trim(text_cut(says, ' ', &word));
        if (text_eq(word, TEXT("ttl")))
            return text_to_nanos(says, &out->ttl);
        if (out->addrs.count == ADDRS_MAX || !addr_from_text(&out->addrs.at[out->addrs.count++], word, 0))
            return false;
    }
    return true;
}

bool names_set(struct names *n, struct text name, struct text says)
{
    struct dns_answer answer;
    unsigned i = 0;
    if (!text_eq(says, TEXT("fails")) && !text_eq(says, TEXT("silent")) && !parse(says, &answer))
        return false;
    while (i < n->count && !text_eq(n->rows[i].name, name))
        i++;
    if (i == NAMES_MAX)
        return false;
    n->rows[i].name = name;
    n->rows[i].says = says;
    n->count = MAX(n->count, i + 1);
    return true;
}

static void names_ask(struct dns *dns, struct dns_question *q)
{
    struct names *n = CONTAINER_OF(dns, struct names, dns);
    struct text says = TEXT("fails");
    n->asked++;
    for (unsigned i = 0; i < n->count; i++)
        if (text_eq(n->rows[i].name, text_of(q->host)))
            says = n->rows[i].says;
    if (text_eq(says, TEXT("silent"))) {
        list_push(&n->unheard, &q->node);
        return;
    }
    if (text_eq(says, TEXT("fails")) || !parse(says, &q->answer))
        q->answer.why = "no such name";
    dns_answered(q);
}

static void names_forget(struct dns *dns, struct dns_question *q)
{
    struct names *n = CONTAINER_OF(dns, struct names, dns);
    if (node_is_in(&q->node)) { /* else its answer is on its way */
        list_remove(&n->unheard, &q->node);
        dns_answered(q);
    }
}

void names_init(struct names *n)
{
    *n = (struct names){ .dns = { names_ask, names_forget } };
    list_init(&n->unheard);
}
