/* Which samples of a step share the rows of what they begin with, and which come in one pass (pass.h).
 *
 * Sorted, samples with a common beginning stand next to each other; families are runs of that order, chosen so that
 * most rows are saved. Passes are then filled family by family, in the order of the samples given. */
#include "train/pass.h"

#include "base/mem.h"

#define FAMILY_MOST 1024u /* samples; bounds the search, which looks at each sample's predecessors */

/* One sample while families are looked for. */
typedef struct member {
    const int32_t *ids;
    uint32_t n_row;  /* that it takes alone */
    uint32_t n_long; /* ropes that turn it by their long factors: only samples alike in this can share */
    uint32_t i_sample;
} member;

/* A run of the sorted members; `best` rows are saved up to its end. */
typedef struct family {
    uint32_t from, to, n_prefix, first; /* first: the lowest of its members' indices */
} family;

typedef struct search {
    member *members;  /* [n] sorted */
    uint32_t *common; /* [n] ids that a member and the one before it begin with */
    uint64_t *saved;  /* [n + 1] most rows that the members up to there can save */
    family *last;     /* [n + 1] the family that ends there */
    family *families; /* [n_family] in the order of `first` */
    uint32_t n, n_family;
} search;

uint32_t train_sample_end(const train_sample *s) {
    uint32_t n = s->n;
    while (n > 1 && !s->target[n - 1])
        n--;
    return n;
}

static member member_of(const model *m, const train_sample *samples, uint32_t i) {
    member x = {samples[i].ids, train_sample_end(&samples[i]) - 1, 0, i};
    for (uint32_t k = 0; k < m->n_ropes; k++)
        x.n_long += m->ropes[k].freq_long && samples[i].n > m->ropes[k].n_ctx_short;
    return x;
}

static uint32_t common_ids(const member *a, const member *b) {
    uint32_t n = 0, most = a->n_long == b->n_long ? MIN(a->n_row, b->n_row) : 0;
    while (n < most && a->ids[n] == b->ids[n])
        n++;
    return n;
}

static int compare_members(const void *x, const void *y) {
    const member *a = x, *b = y;
    if (a->n_long != b->n_long)
        return a->n_long < b->n_long ? -1 : 1;
    uint32_t n = common_ids(a, b);
    if (n < a->n_row && n < b->n_row)
        return a->ids[n] < b->ids[n] ? -1 : 1;
    if (a->n_row != b->n_row)
        return a->n_row < b->n_row ? -1 : 1;
    return a->i_sample < b->i_sample ? -1 : 1;
}

static int compare_families(const void *x, const void *y) {
    const family *a = x, *b = y;
    return a->first < b->first ? -1 : 1;
}

static int compare_indices(const void *x, const void *y) {
    const uint32_t *a = x, *b = y;
    return *a < *b ? -1 : *a > *b;
}

/* saved[i] = max over j < i of saved[j] + (i - j - 1) * ids that the members from j to i begin with. */
static void find_families(search *s) {
    s->saved[0] = 0;
    for (uint32_t i = 1; i <= s->n; i++) {
        s->saved[i] = s->saved[i - 1];
        s->last[i] = (family){i - 1, i, 0, 0};
        uint32_t n_prefix = UINT32_MAX;
        for (uint32_t j = i - 1; j > 0 && i - j < FAMILY_MOST; j--) {
            n_prefix = MIN(n_prefix, s->common[j]);
            uint64_t rows = s->saved[j - 1] + (uint64_t)(i - j) * n_prefix;
            if (n_prefix == 0)
                break;
            if (rows > s->saved[i]) {
                s->saved[i] = rows;
                s->last[i] = (family){j - 1, i, n_prefix, 0};
            }
        }
    }
    for (uint32_t i = s->n; i > 0; i = s->last[i].from) {
        family *f = &s->families[s->n_family++];
        *f = s->last[i];
        f->first = UINT32_MAX;
        for (uint32_t k = f->from; k < f->to; k++)
            f->first = MIN(f->first, s->members[k].i_sample);
    }
    qsort(s->families, s->n_family, sizeof *s->families, compare_families);
}

static muga_status search_init(search *s, const model *m, const train_sample *samples, uint32_t n, muga_error *err) {
    *s = (search){.n = n};
    s->members = mem_alloc_array(n, sizeof *s->members);
    s->common = mem_alloc_array(n, sizeof *s->common);
    s->saved = mem_alloc_array((size_t)n + 1, sizeof *s->saved);
    s->last = mem_alloc_array((size_t)n + 1, sizeof *s->last);
    s->families = mem_alloc_array(n, sizeof *s->families);
    if (!s->members || !s->common || !s->saved || !s->last || !s->families)
        return error_nomem(err, "the plan of a step");
    for (uint32_t i = 0; i < n; i++)
        s->members[i] = member_of(m, samples, i);
    qsort(s->members, n, sizeof *s->members, compare_members);
    for (uint32_t i = 1; i < n; i++)
        s->common[i] = common_ids(&s->members[i - 1], &s->members[i]);
    find_families(s);
    return MUGA_OK;
}

static void search_release(search *s) {
    void *owned[] = {s->members, s->common, s->saved, s->last, s->families};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
}

/* Passes while they are filled. */
typedef struct filling {
    train_plan *plan;
    uint32_t n_order, max_tok;
    uint32_t n_tok; /* of the last pass */
} filling;

static void next_pass(filling *f) {
    f->plan->n_pass++;
    f->n_tok = 0;
}

/* The family's samples in the order given, parted where a pass is full; one that fits a pass whole is not parted. */
static void add_family(filling *f, const search *s, const family *y) {
    train_plan *p = f->plan;
    uint64_t n_tok = y->n_prefix;
    uint32_t from = f->n_order;
    for (uint32_t k = y->from; k < y->to; k++) {
        p->order[f->n_order++] = s->members[k].i_sample;
        n_tok += s->members[k].n_row - y->n_prefix;
    }
    qsort(p->order + from, f->n_order - from, sizeof *p->order, compare_indices);
    if (f->n_tok > 0 && n_tok > f->max_tok - f->n_tok && n_tok <= f->max_tok)
        next_pass(f);
    for (train_part *part = NULL; from < f->n_order; from++) {
        uint32_t own = train_sample_end(&p->samples[p->order[from]]) - 1 - y->n_prefix;
        if (f->n_tok > 0 && own + (part ? 0 : y->n_prefix) > f->max_tok - f->n_tok) {
            next_pass(f);
            part = NULL;
        }
        if (!part) {
            part = &p->parts[p->n_parts++];
            *part = (train_part){from, from, y->n_prefix, p->n_pass};
            f->n_tok += y->n_prefix;
            p->n_row += y->n_prefix;
        }
        part->to++;
        f->n_tok += own;
        p->n_row += own;
    }
}

muga_status train_plan_init(const model *m, const train_sample *samples, uint32_t n, uint32_t max_tok, train_plan *out,
                            muga_error *err) {
    search s;
    *out = (train_plan){.samples = samples};
    out->order = mem_alloc_array(n, sizeof *out->order);
    out->parts = mem_alloc_array(n, sizeof *out->parts);
    muga_status st = search_init(&s, m, samples, n, err);
    if (!st && (!out->order || !out->parts))
        st = error_nomem(err, "the plan of a step");
    filling f = {.plan = out, .max_tok = max_tok};
    for (uint32_t i = 0; !st && i < s.n_family; i++)
        add_family(&f, &s, &s.families[i]);
    if (!st)
        next_pass(&f);
    search_release(&s);
    return st;
}

void train_plan_release(train_plan *p) {
    free(p->order);
    free(p->parts);
    *p = (train_plan){0};
}
