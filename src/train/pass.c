/* Samples side by side, with their positions. */
#include "train/pass.h"

#include "base/mem.h"

/* Room for a pass of n_tok tokens; false when memory is out. */
static bool make_room(train_pass *p, const model *m, uint32_t n_tok, uint32_t n_target, uint32_t n_segment) {
    size_t half = MAX(m->p.n_rot / 2, 1u);
    bool ok = true;
    p->ids = mem_alloc_array(n_tok, sizeof *p->ids);
    p->last = mem_alloc_array(n_tok, sizeof *p->last);
    p->row = mem_alloc_array(n_target, sizeof *p->row);
    p->label = mem_alloc_array(n_target, sizeof *p->label);
    p->i_sample = mem_alloc_array(n_target, sizeof *p->i_sample);
    p->pos = mem_alloc_array(n_target, sizeof *p->pos);
    p->segment = mem_alloc_array(n_segment, sizeof *p->segment);
    for (uint32_t k = 0; k < m->n_ropes; k++) {
        p->cos[k] = mem_alloc_array(n_tok, half * sizeof(float));
        p->sin[k] = mem_alloc_array(n_tok, half * sizeof(float));
        ok = ok && p->cos[k] && p->sin[k];
    }
    return ok && p->ids && p->last && p->row && p->label && p->i_sample && p->pos && p->segment;
}

/* Long factors serve a sample that is longer than the original context, as they serve a sequence that may be. */
static void turn_row(train_pass *p, const model *m, uint32_t row, uint32_t pos, uint32_t n) {
    size_t half = m->p.n_rot / 2;
    for (uint32_t k = 0; k < m->n_ropes; k++) {
        const model_rope *r = &m->ropes[k];
        bool is_long = r->freq_long && n > r->n_ctx_short;
        kernel_rope_angles(pos, is_long ? r->freq_long : r->freq, m->p.n_rot / 2, r->mscale, p->cos[k] + row * half,
                           p->sin[k] + row * half);
    }
}

/* The rows of positions [from, to) of a sample as a segment. */
static train_segment *add_segment(train_pass *p, const model *m, const train_sample *s, uint32_t from, uint32_t to) {
    train_segment *g = &p->segment[p->segments.n++];
    *g = (train_segment){.from = p->n_tok, .to = p->n_tok + (to - from), .i_group = p->segments.n_group};
    for (uint32_t pos = from; pos < to; pos++) {
        p->ids[p->n_tok] = s->ids[pos];
        turn_row(p, m, p->n_tok++, pos, s->n);
    }
    return g;
}

/* What a part's samples begin with, then what each has of its own. */
static void add_part(train_pass *p, const model *m, const train_plan *plan, const train_part *part) {
    uint32_t prefix_from = p->n_tok;
    if (part->n_prefix > 0)
        add_segment(p, m, &plan->samples[plan->order[part->from]], 0, part->n_prefix);
    for (uint32_t i = part->from; i < part->to; i++) {
        const train_sample *s = &plan->samples[plan->order[i]];
        uint32_t end = train_sample_end(s);
        train_segment *g = add_segment(p, m, s, part->n_prefix, end - 1);
        g->prefix_from = part->n_prefix > 0 ? prefix_from : 0;
        g->n_prefix = part->n_prefix;
        for (uint32_t pos = 1; pos < end; pos++) {
            if (!s->target[pos])
                continue;
            p->row[p->n_target] = segment_row(g, pos - 1);
            p->label[p->n_target] = s->ids[pos];
            p->pos[p->n_target] = pos;
            p->i_sample[p->n_target++] = plan->order[i];
        }
    }
    p->segments.n_group++;
}

/* Rows that predict something, each once, and targets by their places there. */
static void choose_last(train_pass *p) {
    memset(p->last, 0, p->n_tok * sizeof *p->last);
    for (uint32_t i = 0; i < p->n_target; i++)
        p->last[p->row[i]] = 1;
    for (uint32_t row = 0, n = 0; row < p->n_tok; row++)
        p->last[row] = p->last[row] ? n++ : UINT32_MAX; /* first its place, */
    for (uint32_t i = 0; i < p->n_target; i++)
        p->row[i] = p->last[p->row[i]];
    for (uint32_t row = 0; row < p->n_tok; row++)
        if (p->last[row] != UINT32_MAX)
            p->last[p->n_last++] = row; /* then the row: a place is never behind it */
}

muga_status train_pass_init(const model *m, const train_plan *plan, uint32_t i_pass, train_pass *out, muga_error *err) {
    uint32_t first = 0, n_tok = 0, n_target = 0, n_segment = 0;
    *out = (train_pass){0};
    while (plan->parts[first].i_pass != i_pass)
        first++;
    for (uint32_t k = first; k < plan->n_parts && plan->parts[k].i_pass == i_pass; k++) {
        const train_part *part = &plan->parts[k];
        n_tok += part->n_prefix;
        n_segment += 1 + (part->to - part->from);
        for (uint32_t i = part->from; i < part->to; i++) {
            uint32_t end = train_sample_end(&plan->samples[plan->order[i]]);
            n_tok += end - 1 - part->n_prefix;
            n_target += end - 1;
        }
    }
    if (!make_room(out, m, n_tok, n_target, n_segment))
        return error_nomem(err, "the samples of a step");
    for (uint32_t k = first; k < plan->n_parts && plan->parts[k].i_pass == i_pass; k++)
        add_part(out, m, plan, &plan->parts[k]);
    out->segments.at = out->segment;
    choose_last(out);
    return MUGA_OK;
}

void train_pass_release(train_pass *p) {
    void *owned[] = {p->ids, p->last, p->row, p->label, p->i_sample, p->pos, p->segment};
    for (size_t i = 0; i < ARRAY_LEN(owned); i++)
        free(owned[i]);
    for (uint32_t k = 0; k < MODEL_MAX_ROPES; k++) {
        free(p->cos[k]);
        free(p->sin[k]);
    }
    *p = (train_pass){0};
}
